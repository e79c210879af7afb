"""Quality from labels on both databases: days of the city, habits, blind labels, candidates, training rows, erasure."""

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select

from callcenter import clock
from callcenter.access.audit import entries
from callcenter.calls.model import case_id
from callcenter.calls.repository import erase_call
from callcenter.cases.model import LOTS, Case, Confirmation, in_blind_sample, lot
from callcenter.cases.repository import confirm_routing
from callcenter.insight import learning, quality
from callcenter.insight.arithmetic import Share
from callcenter.insight.quality import CategoryKey, Period
from callcenter.storage.engine import Database
from classifier import corpus
from tests.api import Api, api
from tests.labels import Label, chosen
from tests.telling import URBAN, category

__all__ = ["api"]

pytestmark = pytest.mark.integration

OTHER = UUID(int=8)


def lately(**more: Any) -> Period:
    return Period(clock.now() - timedelta(days=40), clock.now() + timedelta(days=1), **more)


def key(minor: str) -> CategoryKey:
    one = category(minor)
    return CategoryKey(one.standard, one.kind, one.code)


async def write(db: Database, *labels: Label) -> list[UUID]:
    return [await label.write(db) for label in labels]


async def test_habits_and_blind_labels_are_kept_apart(db: Database) -> None:
    await write(
        db,
        Label("路灯", "路灯"),
        Label("路灯", "路灯", seconds=2.99),  # a habit
        Label("路灯", "路灯", seconds=3.0),
        Label("路灯", "路灯", seconds=None),  # not known: a label
        Label("路灯", "路灯井盖", seconds=0.5, user=OTHER),  # nobody corrects out of habit
        Label("路灯", "路灯", seconds=0.5, blind=True, decision="auto"),
        Label("占道经营", "邻里纠纷", blind=True, model="v2"),
    )
    async with db.read() as session:
        found = await quality.quality(session, lately())
        only = await quality.quality(session, lately(agent=OTHER))
        urban = await quality.quality(session, lately(kind="event", code=category("占道经营").code))
        newer = await quality.quality(session, lately(model="v2"))
    total = found.total
    assert (total.decided, total.confirmed, total.corrected, total.habits) == (7, 5, 2, 1)
    assert total.accuracy == Share(3, 4)
    assert total.blind_accuracy == Share(1, 2)
    assert total.blind_auto_accuracy == Share(1, 1)
    assert total.domain_accuracy == Share(5, 6)
    assert total.mean_seconds == pytest.approx((8 + 2.99 + 3 + 0.5 + 0.5 + 8) / 6)
    assert found.models.keys() == {"v1", "v2"}
    assert found.agents[OTHER].overridden == Share(1, 1)
    assert only.total.decided == urban.total.decided == newer.total.decided == 1
    assert sum(tally.decided for tally in found.days.values()) == 7
    assert sum(one.complete for one in found.auto.values()) == 7
    assert sum(one.auto for one in found.auto.values()) == 1
    assert found.routing_seconds == {"n": 7, "p50": 0.25, "p95": 0.25, "p99": 0.25}
    # Six labels with a category at 0.83 (one bin), four of them right.
    [bin_] = [one for one in found.calibration if one.n]
    assert (bin_.n, bin_.right) == (6, 4)
    assert found.category_ece == pytest.approx(abs(0.83 - 4 / 6))
    assert found.domain_ece == pytest.approx(abs(0.97 - 5 / 6))


async def test_a_day_is_one_of_the_city(db: Database) -> None:
    # 15:59:59 and 16:00:00 UTC lie on two sides of midnight in Asia/Shanghai. The word comes 20 s after the ring.
    moment = datetime(2026, 11, 10, 16, 0, 0, tzinfo=UTC)
    for at in (moment - timedelta(seconds=1), moment):
        await Label("路灯", "路灯", ago=clock.now() - at + timedelta(seconds=20)).write(db)
    async with db.begin() as session:  # the clock moved between: put them where they are meant to be
        rows = list(await session.scalars(select(Confirmation).order_by(Confirmation.at)))
        rows[0].at, rows[1].at = moment - timedelta(seconds=1), moment
    begin, end = quality.days_of(date(2026, 11, 10), date(2026, 11, 11))
    async with db.read() as session:
        found = await quality.quality(session, Period(begin, end))
        first = await quality.quality(session, Period(*quality.days_of(date(2026, 11, 10), date(2026, 11, 10))))
    assert {day: tally.decided for day, tally in found.days.items()} == {date(2026, 11, 10): 1, date(2026, 11, 11): 1}
    assert list(first.days) == [date(2026, 11, 10)]


async def test_a_second_word_says_nothing_about_the_router(db: Database) -> None:
    [call] = await write(db, Label("路灯", "路灯井盖"))
    async with db.begin() as session:
        case = await session.get_one(Case, case_id(call))
        await confirm_routing(
            session, case.id, user_id=OTHER, choice=chosen("污水井盖"), expected_version=case.version, at=clock.now()
        )
    async with db.read() as session:
        found = await quality.quality(session, lately())
        [row] = [row async for row in learning.rows(session, learning.Exported())]
    assert found.total.decided == 1
    assert (row["minor"], row["decided_by"]) == ("污水井盖", str(OTHER))


async def test_a_part_and_an_event_of_one_code_are_two_categories(db: Database) -> None:
    part = category("污水井盖")
    event = next(
        one.minor
        for one in (entry.category for entry in URBAN.entries)
        if one.kind == "event" and one.code == part.code
    )
    await write(db, Label("污水井盖", event))
    async with db.read() as session:
        found = await quality.confusion(session, lately())
    assert found.pairs == [(key("污水井盖"), key(event), 1)]


async def test_confusion_and_the_cases_behind_it(db: Database) -> None:
    calls = await write(
        db,
        Label("路灯", "路灯"),
        Label("路灯", "路灯", seconds=1),  # a habit: not counted
        Label("路灯", "污水井盖", ago=timedelta(hours=3)),
        Label("路灯", "污水井盖"),
        Label("占道经营", "邻里纠纷"),
    )
    async with db.read() as session:
        found = await quality.confusion(session, lately())
        shown = await quality.decided_cases(session, lately(), before=key("路灯"), after=key("污水井盖"))
        crossed = await quality.decided_cases(session, lately(), domains=("urban", "social"))
    assert found.domains == {("urban", "urban"): 3, ("urban", "social"): 1}
    assert found.pairs[0] == (key("路灯"), key("污水井盖"), 2)
    assert found.categories[key("路灯")] == Share(2, 3)
    assert [one.case_id for one in shown] == [case_id(calls[3]), case_id(calls[2])]
    assert [one.case_id for one in crossed] == [case_id(calls[4])]


async def test_a_candidate_in_shadow_is_judged_by_the_same_labels(db: Database) -> None:
    await write(
        db,
        Label("路灯", "路灯", shadow="路灯"),
        Label("路灯", "污水井盖", shadow="污水井盖"),
        Label("路灯", "污水井盖", shadow="占道经营"),
        Label("路灯", "路灯", shadow="占道经营", decision="auto", blind=True),
        Label("路灯", "路灯", shadow="路灯", seconds=1),  # a habit
        Label("路灯", "路灯"),  # made before there was a candidate
    )
    async with db.read() as session:
        [found] = await quality.beside_live(session, lately())
    assert (found.candidate, found.live, found.labels) == ("v2", "v1", 4)
    assert (found.live_right, found.candidate_right, found.only_live, found.only_candidate) == (2, 2, 1, 1)
    assert (found.candidate_auto, found.candidate_auto_right, found.live_auto_right) == (1, 0, 1)
    assert found.sign_test == 1


def test_one_case_in_fifty_is_drawn_whoever_looks() -> None:
    ids = [uuid4() for _ in range(20_000)]
    drawn = [one for one in ids if in_blind_sample(one, 50)]
    assert 300 < len(drawn) < 500
    assert drawn == [one for one in ids if in_blind_sample(one, 50)]
    assert not any(in_blind_sample(one, 0) for one in ids)
    assert all(0 <= lot(one) < LOTS for one in ids)


# -- learning ----------------------------------------------------------------------------------------------------------


async def test_training_rows_leave_out_what_must_not_train(db: Database, tmp_path: Path) -> None:
    calls = await write(
        db,
        Label("路灯", "路灯井盖", text="路灯\t井盖没了\n我电话13812345678"),
        Label("路灯", "路灯", seconds=1),
        Label("路灯", "路灯", more={"secrecy": True}),
        Label("路灯", "路灯", text="要删除的话"),
        Label("占道经营", "邻里纠纷", blind=True, text="楼上天天吵"),
    )
    async with db.begin() as session:
        await erase_call(session, calls[3], actor="system", at=clock.now())
    out = tmp_path / "rows.tsv"
    async with db.read() as session:
        told = await learning.export(session, out)
    assert (told.rows, dict(told.left_out)) == (2, {"habit": 1, "secrecy": 1, "erased": 1})
    assert out.stat().st_mode & 0o077 == 0
    content = out.read_text()
    assert "13812345678" not in content
    assert "要删除的话" not in content
    rows = {row.id: row for row in corpus.load([out])}  # what train --with reads
    assert rows[f"case-{case_id(calls[0])}"].category == category("路灯井盖")
    assert rows[f"case-{case_id(calls[4])}"].domain == "social"
    seen = {cells["id"]: (cells["seen"], cells["model"], cells["verdict"]) for _, cells in corpus.read(out)}
    assert seen[f"case-{case_id(calls[4])}"] == ("blind", "v1", "corrected")


async def test_an_erasure_names_the_versions_and_empties_the_files(db: Database, tmp_path: Path) -> None:
    kept, gone = await write(db, Label("路灯", "路灯井盖"), Label("路灯", "污水井盖", text="删我"))
    out = tmp_path / "rows.tsv"
    async with db.read() as session:
        await learning.export(session, out)
    for name in ("v2", "v3"):
        (tmp_path / "router" / name).mkdir(parents=True)
    learning.remember(tmp_path / "router" / "v2", learning.cases_in([out]))
    learning.remember(tmp_path / "router" / "v3", [case_id(kept)])
    async with db.read() as session:
        assert await learning.stale(session, tmp_path / "router") == {}
        assert await learning.scrub(session, out) == 0
    async with db.begin() as session:
        await erase_call(session, gone, actor="system", at=clock.now())
    async with db.read() as session:
        assert await learning.stale(session, tmp_path / "router") == {"v2": [case_id(gone)]}
        assert await learning.scrub(session, out) == 1
    assert "删我" not in out.read_text()
    assert [row.id for row in corpus.load([out])] == [f"case-{case_id(kept)}"]


# -- by API ------------------------------------------------------------------------------------------------------------


async def test_the_api_tells_supervisors_and_auditors_and_refuses_agents(api: Api) -> None:
    await write(api.services.db, Label("路灯", "路灯"), Label("路灯", "污水井盖", text="电话13812345678"))
    supervisor = await api.signed_in("supervisor")
    agent = await api.signed_in("agent")
    auditor = await api.signed_in("auditor")
    admin = await api.signed_in("admin")
    for who, status in ((supervisor, 200), (auditor, 200), (admin, 200), (agent, 403)):
        for path in ("quality", "confusion", "models"):
            assert (await who.get(f"/api/v1/insight/{path}")).status_code == status, path
    figures = (await supervisor.get("/api/v1/insight/quality")).json()
    assert figures["total"]["overridden"] == pytest.approx(
        {"part": 1, "n": 2, "share": 0.5, "low": 0.0945, "high": 0.9055}, abs=1e-4
    )
    pairs = (await supervisor.get("/api/v1/insight/confusion")).json()["pairs"]
    assert [(pair["router"]["minor"], pair["person"]["minor"], pair["n"]) for pair in pairs] == [
        ("路灯", "污水井盖", 1)
    ]
    [case] = (await supervisor.get("/api/v1/insight/cases")).json()["items"]
    assert case["text"] == "电话138****5678"
    assert (await admin.get("/api/v1/insight/cases")).status_code == 403
    for wrong in ("since=2026-02-01&until=2026-01-01", "since=0001-01-01", "until=0001-01-01", "kind=x", "model=%00"):
        answer = await supervisor.get(f"/api/v1/insight/quality?{wrong}")
        assert answer.status_code == 422, wrong


async def test_a_blind_word_by_api_names_a_category(api: Api) -> None:
    agent = await api.signed_in("agent")
    answer = await agent.post(f"/api/v1/cases/{uuid4()}/confirm", json={"expected_version": 1, "blind": True})
    assert answer.status_code == 422


async def test_promoting_needs_the_right_a_reason_and_a_whole_version(api: Api, tmp_path: Path) -> None:
    db = api.services.db
    shipped = api.services.settings.models_dir / "router"
    folder = tmp_path / "router"
    live = (shipped / "promoted").read_text().split()[0]
    for name in ("v1", "v2", "broken"):
        shutil.copytree(shipped / live, folder / name)
    (folder / "promoted").write_text("v1\n")
    (folder / "broken" / "weights.npz").write_bytes(b"x")
    api.app.state.versions._folder = folder
    supervisor, admin = await api.signed_in("supervisor"), await api.signed_in("admin")

    async def promote(who: httpx.AsyncClient, version: str, reason: str = "两周影子评测更好") -> httpx.Response:
        return await who.post(f"/api/v1/insight/models/{version}/promote", json={"reason": reason})

    assert (await promote(admin, "v2")).status_code == 403
    assert (await promote(supervisor, "v9")).status_code == 404
    assert (await promote(supervisor, "v2", " \u2028   ")).status_code == 422
    assert (await promote(supervisor, "broken")).status_code == 409
    assert (folder / "promoted").read_text().split() == ["v1"]
    done = await promote(supervisor, "v2")
    assert done.status_code == 200, done.text
    assert (done.json()["version"], done.json()["previous"], done.json()["fault"]) == ("v2", "v1", None)
    back = await supervisor.post("/api/v1/insight/models/rollback", json={"reason": "误报增多"})
    assert (back.json()["version"], back.json()["previous"]) == ("v1", "v2")
    none = await supervisor.post("/api/v1/insight/models/rollback", json={"reason": "再退一次"})
    assert none.status_code == 409
    told = (await supervisor.get("/api/v1/insight/models")).json()
    assert [one["name"] for one in told["versions"]] == ["v1", "broken", "v2"]
    assert [(one["action"], one["fault"] is None) for one in told["history"]] == [
        ("rollback", False),
        ("rollback", True),
        ("promote", True),
        ("promote", False),
    ]
    async with db.read() as session:
        audited = [(one.action, one.result) for one in await entries(session) if one.action.startswith("router")]
    assert audited == [
        ("router rollback", "refused"),
        ("router rollback", "done"),
        ("router promote", "done"),
        ("router promote", "refused"),
    ]
    # A version that learned from a call erased since is not made live.
    [call] = await write(db, Label("路灯", "污水井盖"))
    learning.remember(folder / "v2", [case_id(call)])
    async with db.begin() as session:
        await erase_call(session, call, actor="system", at=clock.now())
    refused = await promote(supervisor, "v2")
    assert refused.status_code == 409
    assert "erased" in refused.json()["detail"]
    told = (await supervisor.get("/api/v1/insight/models")).json()
    assert {one["name"]: one["erased"] for one in told["versions"]} == {"v1": 0, "broken": 0, "v2": 1}
    assert json.loads((folder / "v2" / learning.LEARNED_FILE).read_text()) == {"cases": [str(case_id(call))]}
