"""``callcenter learning`` as it is typed, and drift measured on both databases with a child of its own."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from callcenter import clock
from callcenter.calls.model import case_id
from callcenter.calls.repository import erase_call
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cli import main
from callcenter.insight import commands, learning
from callcenter.insight.drift import DriftWatch, measure
from callcenter.settings import REPOSITORY, Settings
from callcenter.storage.engine import Database
from tests.labels import Label
from tests.telling import category

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_export_and_check_as_they_are_typed(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    call = await Label("路灯", "污水井盖", text="井盖没了").write(db)
    await Label("路灯", "路灯", seconds=1).write(db)
    monkeypatch.setenv("CALLCENTER_DATABASE_URL", db.url.render_as_string(hide_password=False))
    monkeypatch.setenv("CALLCENTER_MODELS_DIR", str(tmp_path / "models"))
    out, version = tmp_path / "rows.tsv", tmp_path / "models" / "router" / "v9"
    version.mkdir(parents=True)
    assert await asyncio.to_thread(main, ["learning", "export", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1 rows" in said
    assert "habit: 1" in said
    assert out.read_text().count("\n") == 2

    # A training with that file leaves in the new version's folder whom it learned from.
    commands.remember_trained(version.parent, ["v1"], ["v1", "v9"], [out])
    assert learning.learned(version) == [case_id(call)]
    assert await asyncio.to_thread(main, ["learning", "check"]) == 0
    async with db.begin() as session:
        await erase_call(session, call, actor="system", at=clock.now())
    assert await asyncio.to_thread(main, ["learning", "check", "--scrub", str(out)]) == 1
    said = capsys.readouterr().out
    assert "v9: trained on 1 cases erased since" in said
    assert "1 rows of erased calls taken out" in said
    assert "井盖没了" not in out.read_text()

    assert await asyncio.to_thread(main, ["learning", "export", "--out", str(tmp_path / "no" / "rows.tsv")]) == 2
    assert "name a file in a folder that exists" in capsys.readouterr().err
    (version / learning.LEARNED_FILE).write_text("{}")
    assert await asyncio.to_thread(main, ["learning", "check"]) == 2
    assert "train the version anew" in capsys.readouterr().err


async def put(db: Database, text: str, minor: str, count: int, days: float) -> None:
    """``count`` complete cases of one category, ``days`` ago."""
    from uuid import uuid4

    one, at = category(minor), clock.now() - timedelta(days=days)
    ids = [uuid4() for _ in range(count)]
    rows = [
        {
            "id": id_,
            "source": "phone",
            "state": "reported",
            "disposition": "case",
            "domain": one.domain,
            "category_standard": one.standard,
            "category_code": one.code,
            "category_kind": one.kind,
            "decision": "confirm",
            "emergency": [],
            "secrecy": False,
            "version": 1,
            "created_at": at,
            "completed_at": at,
        }
        for id_ in ids
    ]
    async with db.begin() as session:
        await session.execute(insert(Case), rows)
        await session.execute(insert(CaseParticulars), [{"case_id": id_, "text": text} for id_ in ids])


async def test_drift_is_told_when_people_call_about_something_else(db: Database, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, models_dir=REPOSITORY / "models")
    nothing = await measure(db, settings)
    assert (nothing.new_words, nothing.mix, nothing.alarms) == (None, None, ())
    watch = DriftWatch(db, settings)
    for days in (2, 20):
        await put(db, "人民路的路灯不亮了", "路灯", 120, days)
    calm = await watch.once()
    assert calm is not None
    assert (calm.cases, calm.before, calm.texts, calm.mix, calm.alarms) == (120, 120, 120, 0, ())
    assert calm.new_words is not None
    assert calm.new_words < 0.2
    assert calm.domain is not None
    await put(db, "羊驼蹿房梁嚎叫，饕餮魍魉踟蹰", "邻里纠纷", 400, 1)
    loud = await watch.once()
    assert loud is not None
    assert set(loud.alarms) == {"mix", "new_words"}
    assert loud.mix == pytest.approx(400 / 520)
    assert json.dumps(loud.alarms)
    assert watch.latest is loud


def test_a_training_without_the_citys_rows_is_not_noted(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    own = tmp_path / "own.tsv"
    own.write_text("id\ttext\tdomain\nx-1\t路灯\turban\ncase-nonsense\t路灯\turban\n", encoding="utf-8")
    commands.remember_trained(tmp_path, [], ["v2"], [own])
    assert list((tmp_path / "v2").iterdir()) == []
