"""Training is repeatable, versions are checked when loaded, and promotion can be undone."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from classifier import commands, corpus, training
from classifier.corpus import CorpusError, Row
from classifier.evaluation import Judged, figures, wilson
from classifier.model import ModelError, sobered
from classifier.registry import Registry
from classifier.router import Router
from classifier.training import Trained

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def small() -> list[Row]:
    """A tenth of the corpus, with every disposition."""
    rows = corpus.load()
    kept = rows[::10]
    kept += [row for row in rows if row.disposition != "case" and row not in kept][:60]
    return kept


@pytest.fixture(scope="module")
def trained(small: list[Row]) -> Trained:
    return training.train(small)


@pytest.fixture
def registry(tmp_path: Path, trained: Trained) -> Registry:
    made = Registry(tmp_path / "router")
    made.store("v1", trained.model, {"counts": trained.counts, "figures": trained.figures})
    made.store("v2", trained.model, {"counts": trained.counts})
    made.promote("v1")
    return made


def test_the_same_rows_give_the_same_model_and_figures(small: list[Row], trained: Trained, tmp_path: Path) -> None:
    again = training.train(small)
    assert again.figures == trained.figures
    assert again.counts == trained.counts
    for name, made in (("a", trained), ("b", again)):
        Registry(tmp_path).store(name, made.model, {})
    for file in ("weights.npz", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_stored_model_answers_as_the_trained_one(registry: Registry, trained: Trained) -> None:
    stored = Router.load(registry.folder)
    kept = Router("v1", trained.model)
    for text in ("路灯不亮，柳泉路三十三号", "老板拖欠工资", "", "喂打错了"):
        left, right = stored.route(text).to_json(), kept.route(text).to_json()
        left.pop("elapsed_ms")
        right.pop("elapsed_ms")
        assert left == right
    assert Router.load(registry.folder / "v2").version == "v2"


def test_a_changed_file_is_refused(registry: Registry) -> None:
    path = registry.folder / "v1" / "weights.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"weights.npz has SHA-256 .* its card says"):
        registry.load()
    with pytest.raises(ModelError, match="SHA-256"):
        registry.promote("v1")


def test_a_pickle_is_not_loaded_even_with_a_right_hash(registry: Registry) -> None:
    import hashlib

    folder = registry.folder / "v1"
    np.savez(folder / "weights.npz", weights=np.array([{"a": 1}], dtype=object))
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["sha256"]["weights.npz"] = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelError, match="not a router model"):
        registry.load()


def test_promote_and_roll_back(registry: Registry) -> None:
    registry.promote("v2")
    assert registry.promoted() == "v2"
    assert registry.rollback() == "v1"
    assert registry.promoted() == "v1"
    with pytest.raises(ModelError, match="nothing to roll back to"):
        registry.rollback()
    assert [p.name for p in registry.folder.iterdir() if p.name.startswith(".")] == []


def test_a_shadow_is_named_and_taken_away(registry: Registry) -> None:
    assert registry.shadow() is None
    registry.set_shadow("v2")
    assert (registry.shadow(), registry.promoted()) == ("v2", "v1")
    with pytest.raises(ModelError, match="no router version"):
        registry.set_shadow("v9")
    registry.set_shadow(None)
    assert registry.shadow() is None


@pytest.mark.parametrize("name", ["../v1", "", ".hidden", "a/b", "x" * 65])
def test_a_version_name_cannot_leave_its_folder(registry: Registry, name: str) -> None:
    with pytest.raises(ModelError, match="is no version name"):
        registry.promote(name)


def test_what_is_missing_is_named(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(ModelError, match="no router version is promoted"):
        Registry(tmp_path / "nothing").load()
    with pytest.raises(ModelError, match=r"no router version 'v9' .* v1, v2"):
        registry.load("v9")
    with pytest.raises(ModelError, match="exists already"):
        registry.store("v1", registry.load()[1], {})
    with pytest.raises(ModelError, match="no router model at"):
        Router.load(tmp_path / "elsewhere")


def test_commands_show_and_switch_versions(registry: Registry) -> None:
    out = io.StringIO()
    commands.models_list(out, registry=registry)
    assert [line[:4] for line in out.getvalue().splitlines()] == ["* v1", "  v2"]
    commands.models_promote("v2", io.StringIO(), registry=registry)
    out = io.StringIO()
    commands.models_show(None, out, registry=registry)
    assert json.loads(out.getvalue())["version"] == "v2"
    commands.models_rollback(io.StringIO(), registry=registry)
    assert registry.promoted() == "v1"


def test_rows_without_questions_cannot_be_trained_on(small: list[Row]) -> None:
    with pytest.raises(CorpusError, match="0 rows with disposition question"):
        training.train([row for row in small if row.disposition != "question"])


def judged(domain: str, answer: str, sure: float) -> Judged:
    return Judged("1", domain, None, (), answer, sure, ())


def test_figures_are_what_their_names_say() -> None:
    rows = [judged("urban", "urban", 0.95)] * 9 + [judged("social", "urban", 0.85)]
    domain = figures(rows)["domain"]
    assert domain["accuracy"] == 0.9
    assert domain["confusion"] == {"social": {"urban": 1}, "urban": {"urban": 9}}
    assert domain["coverage"] == {"95%": 0.9, "98%": 0.9, "99%": 0.9}
    assert domain["ece"] == pytest.approx((9 * 0.05 + 0.85) / 10)
    assert domain["macro_f1"] == pytest.approx(18 / 19 / 2, abs=1e-4)


def test_wilson_interval() -> None:
    low, high = wilson(90, 100)
    assert (round(low, 3), round(high, 3)) == (0.826, 0.945)
    assert wilson(0, 0) == (0.0, 1.0)


def test_sobering_keeps_the_best_best_and_the_sum_one() -> None:
    p = np.array([0.5, 0.3, 0.2])
    for line in ((0.5, -2.0), (1.0, 0.0), (2.0, 3.0)):
        out = sobered(p, line)
        assert out.sum() == pytest.approx(1.0)
        assert int(np.argmax(out)) == 0
