"""The benchmark scores anyone's answers, says what is wrong with them, and its misheard forms are what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from classifier import taxonomy
from classifier.benchmark import __main__ as benchmark
from classifier.benchmark import score

pytestmark = pytest.mark.unit

ROWS = score.texts()


def perfect(row: dict[str, str], noise: int = 0) -> dict[str, object]:
    category = {"kind": row["kind"], "major": row["major"], "minor": row["minor"]} if row["minor"] else None
    kind, _, rest = row["secondary"].partition("/")
    major, _, minor = rest.partition("/")
    return {
        "id": row["id"],
        "noise": noise,
        "domain": row["domain"] or None,
        "domain_probability": 1.0,
        "category": category,
        "probability": 1.0,
        "alternatives": [],
        "disposition": row["disposition"],
        "emergency": {"services": row["emergency"].split(",")} if row["emergency"] else None,
        "secondary": {"category": {"kind": kind, "major": major, "minor": minor}} if kind else None,
        "decision": "auto",
    }


def test_the_texts_are_many_and_their_labels_real() -> None:
    assert len(ROWS) >= 2000
    assert len({row["id"] for row in ROWS}) == len({row["text"] for row in ROWS}) == len(ROWS)
    assert sum(bool(row["emergency"]) for row in ROWS) >= 300
    for row in ROWS:
        if row["minor"]:
            taxonomy.find(row["domain"], row["kind"], row["major"], row["minor"])
        for pair in row["acceptable"].split(";"):
            assert not pair or "/" in pair, row["id"]


def test_perfect_answers_are_perfect() -> None:
    result = score.score({row["id"]: perfect(row) for row in ROWS})
    for name in ("domain", "category", "category_top3", "disposition", "auto", "auto_unit"):
        assert result[name]["share"] == 1.0
    assert result["category"]["ece"] == 0.0
    assert result["emergency"]["recall"]["share"] == 1.0
    assert result["emergency"]["false_alarms"]["share"] == 0.0
    assert result["secondary"]["category"]["share"] == 1.0
    assert result["secondary"]["made_up"]["share"] == 0.0
    assert result["domain"]["interval"][0] < 1.0


def test_departments_are_those_of_the_taxonomies() -> None:
    known = {
        f"{entry.category.major}/{entry.category.minor}": entry.lead
        for name in (taxonomy.DEFAULT_STANDARD, taxonomy.SOCIAL)
        for entry in taxonomy.load(name).entries
    }
    assert score.departments() == known
    assert len(set(known.values())) > 40, "so coarse that every order would be right"


def test_an_order_to_the_right_department_counts_and_what_may_never_be_auto_is_left_out() -> None:
    row = next(row for row in ROWS if row["minor"] == "污水井盖" and not row["acceptable"])
    near = {**perfect(row), "category": {"major": "公用设施", "minor": "雨水井盖"}, "reasons": []}
    far = {**perfect(row), "id": "b", "category": {"major": "公用设施", "minor": "电力井盖"}, "reasons": []}
    never = {**perfect(row), "id": "c", "decision": "confirm", "reasons": ["no_place", "low_probability"]}
    low = {**perfect(row), "id": "d", "decision": "confirm", "reasons": ["low_probability"]}
    given = {str(one["id"]): one for one in (near, far, never, low)}
    result = score.score(given, [{**row, "id": name} for name in given])
    assert (result["auto"]["share"], result["auto_unit"]["share"]) == (0.0, 0.5)
    assert (result["auto_unit"]["coverage"], result["auto_unit"]["free_texts"]) == (0.5, 3)
    assert result["auto_unit"]["free"] == round(2 / 3, 4)


def test_an_acceptable_label_counts_and_an_unanswered_text_is_wrong() -> None:
    row = next(row for row in ROWS if row["acceptable"])
    major, _, minor = row["acceptable"].split(";")[0].partition("/")
    given = {**perfect(row), "category": {"major": major, "minor": minor}}
    result = score.score({row["id"]: given}, [row, {**row, "id": "other"}])
    assert result["category"]["share"] == 0.5
    assert result["category"]["first_label_only"] == 0.0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "mine:1: not JSON"),
        (['{"id": "nobody"}'], "mine:1: must be an object with an id"),
        (['{"id": "b00001", "noise": 5}'], "mine:1: noise 5"),
        (['{"id": "b00001"}', "", '{"id": "b00001"}'], "mine:3: b00001 at noise 0 is answered twice"),
    ],
)
def test_wrong_answers_name_their_line(lines: list[str], message: str) -> None:
    with pytest.raises(score.AnswerError, match=message):
        score.answers(lines, "mine")


def test_the_scorer_runs_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps(perfect(row, 20)) + "\n" for row in ROWS), encoding="utf-8")
    script = Path(score.__file__)
    done = subprocess.run(
        [sys.executable, "-I", str(script), str(mine), "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["20"]["domain"]["share"] == 1.0
    mine.write_text("nothing\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", str(script), str(mine)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "mine.jsonl:1: not JSON" in done.stderr


def test_the_stored_misheard_forms_are_the_ones_the_seed_gives() -> None:
    stored = [form for form in benchmark.forms() if form[1]]
    assert stored == list(benchmark.misheard())
    clean = {row["id"]: row["text"] for row in ROWS}
    for noise in score.NOISES[1:]:
        same = total = 0
        for name, share, text in stored:
            if share == noise and len(text) == len(clean[name]):
                same += sum(a == b for a, b in zip(text, clean[name], strict=True))
                total += len(text)
        assert abs((1 - same / total) - noise / 100) < 0.05


def test_our_figures_are_of_the_promoted_version() -> None:
    from classifier.registry import Registry

    figures = json.loads(Path(score.__file__).with_name("ours.json").read_text(encoding="utf-8"))
    assert figures["model"] == Registry().promoted()
    assert set(figures["noise"]) == {str(noise) for noise in score.NOISES}
