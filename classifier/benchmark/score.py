#!/usr/bin/env python3
"""Score anyone's answers to the benchmark of spoken hotline matters. Needs nothing but Python and the files beside it.

    python score.py ANSWERS.jsonl [--json]

One JSON object a line, with ``id`` of texts.tsv, ``noise`` (0, 10, 20 or 30; default 0: which form of the text was
answered), and whatever the answerer gives of: ``domain`` (urban, social), ``domain_probability``, ``category`` (an
object with major and minor), ``probability``, ``alternatives`` (objects with ``category``, next best first),
``disposition``, ``emergency`` (null or anything true), ``secondary`` (null or an object with ``category``),
``decision``, ``reasons`` (why it is not auto). What no answer of a form gives is not scored; a text of a form that has
no answer counts as wrong. Every share comes with its 95 % interval (Wilson), n beside it. ``auto_unit`` counts an
``auto`` answer as right when its category is handled by the department that handles the true one (departments.tsv
beside this file): the order then goes to the right door. Its ``free`` share leaves out texts that must never be auto
whatever the router knows (no place is said, an emergency, two matters …): those with another reason than
``low_probability``.
"""

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

TEXTS = Path(__file__).resolve().parent / "texts.tsv"
DEPARTMENTS = TEXTS.with_name("departments.tsv")
NOISES = (0, 10, 20, 30)
Cells = dict[str, str]
Answer = dict[str, Any]


class AnswerError(ValueError):
    """A line of answers is no answer; the message names file and line."""


def texts(path: Path = TEXTS) -> list[Cells]:
    """The rows of the benchmark."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def answers(lines: Iterable[str], name: str = "answers") -> dict[int, dict[str, Answer]]:
    """The answers by noise and id. Raises AnswerError for a line that is none, or answers a text twice."""
    known = {row["id"] for row in texts()}
    found: dict[int, dict[str, Answer]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
        except ValueError as fault:
            raise AnswerError(f"{name}:{number}: not JSON: {fault}") from fault
        if not isinstance(given, dict) or given.get("id") not in known:
            raise AnswerError(f"{name}:{number}: must be an object with an id of texts.tsv")
        noise = given.get("noise", 0)
        if noise not in NOISES:
            raise AnswerError(f"{name}:{number}: noise {noise!r} is none of {NOISES}")
        form = found.setdefault(noise, {})
        if given["id"] in form:
            raise AnswerError(f"{name}:{number}: {given['id']} at noise {noise} is answered twice")
        form[given["id"]] = given
    return found


def score(given: dict[str, Answer], rows: Sequence[Cells] | None = None) -> dict[str, Any]:
    """Every figure of one form of the texts."""
    rows = texts() if rows is None else rows
    result: dict[str, Any] = {"texts": len(rows), "answered": sum(row["id"] in given for row in rows)}
    pairs = [(row, given.get(row["id"], {})) for row in rows]
    gives = {key for answer in given.values() for key in answer}
    with_domain = [(row, answer) for row, answer in pairs if row["domain"]]
    if "domain" in gives:
        right = [answer.get("domain") == row["domain"] for row, answer in with_domain]
        result["domain"] = share(right)
        if "domain_probability" in gives:
            result["domain"]["ece"] = ece([float(a.get("domain_probability") or 0) for _, a in with_domain], right)
    with_category = [(row, answer) for row, answer in pairs if row["minor"]]
    if "category" in gives:
        first = [_right(row, answer.get("category")) for row, answer in with_category]
        strict = [_right(row, answer.get("category"), strictly=True) for row, answer in with_category]
        result["category"] = {**share(first), "first_label_only": share(strict)["share"]}
        if "alternatives" in gives:
            result["category_top3"] = share(
                [
                    any(_right(row, c) for c in [answer.get("category"), *_others(answer)][:3])
                    for row, answer in with_category
                ]
            )
        if "probability" in gives:
            sure = [float(a.get("probability") or 0) for _, a in with_category]
            result["category"]["ece"] = ece(sure, first)
            result["category"]["coverage"] = coverage(sure, first)
        if "decision" in gives:
            auto = [ok for ok, (_, a) in zip(first, with_category, strict=True) if a.get("decision") == "auto"]
            result["auto"] = {**share(auto), "coverage": round(len(auto) / len(with_category), 4)}
            doors = departments()
            taken = [_same_door(row, a, doors) for row, a in with_category if a.get("decision") == "auto"]
            result["auto_unit"] = {**share(taken), "coverage": round(len(taken) / len(with_category), 4)}
            if "reasons" in gives:
                free = sum(set(a.get("reasons") or ()) <= {"low_probability"} for _, a in with_category)
                result["auto_unit"]["free"] = round(len(taken) / free, 4) if free else None
                result["auto_unit"]["free_texts"] = free
    if "disposition" in gives:
        result["disposition"] = share([a.get("disposition") == row["disposition"] for row, a in pairs])
    if "emergency" in gives:
        urgent = [bool(a.get("emergency")) for row, a in pairs if row["emergency"]]
        calm = [bool(a.get("emergency")) for row, a in pairs if not row["emergency"]]
        result["emergency"] = {"recall": share(urgent), "false_alarms": share(calm)}
    if "secondary" in gives:
        two = [(row, a.get("secondary")) for row, a in pairs if row["secondary"]]
        one = [a.get("secondary") for row, a in pairs if not row["secondary"]]
        result["secondary"] = {
            "found": share([bool(s) for _, s in two]),
            "category": share([_second(row, s) for row, s in two]),
            "made_up": share([bool(s) for s in one]),
        }
    return result


def departments(path: Path = DEPARTMENTS) -> dict[str, str]:
    """Who typically acts first, by ``major/minor``."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["category"]: row["department"] for row in csv.DictReader(file, delimiter="\t")}


def _same_door(row: Cells, answer: Answer, doors: dict[str, str]) -> bool:
    category = answer.get("category")
    if not isinstance(category, dict):
        return False
    door = doors.get(f"{category.get('major')}/{category.get('minor')}")
    known = [f"{row['major']}/{row['minor']}", *row["acceptable"].split(";")]
    return door is not None and door in {doors.get(one) for one in known if one}


def _others(answer: Answer) -> list[Any]:
    return [a.get("category") for a in answer.get("alternatives") or [] if isinstance(a, dict)]


def _right(row: Cells, category: Any, *, strictly: bool = False) -> bool:
    if not isinstance(category, dict):
        return False
    said = f"{category.get('major')}/{category.get('minor')}"
    if said == f"{row['major']}/{row['minor']}":
        return bool(category.get("kind", row["kind"]) == row["kind"])
    return not strictly and said in row["acceptable"].split(";")


def _second(row: Cells, second: Any) -> bool:
    category = second.get("category") if isinstance(second, dict) else None
    if not isinstance(category, dict):
        return False
    return f"{category.get('major')}/{category.get('minor')}" == row["secondary"].partition("/")[2]


def share(right: Sequence[bool]) -> dict[str, Any]:
    """A share with its 95 % interval (Wilson)."""
    n, k, z = len(right), sum(right), 1.959964
    if not n:
        return {"share": None, "interval": [0.0, 1.0], "n": 0}
    p = k / n
    middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - width) / (1 + z * z / n), (middle + width) / (1 + z * z / n)
    return {"share": round(p, 4), "interval": [round(max(0.0, low), 4), round(min(1.0, high), 4)], "n": n}


def ece(sure: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error over ten equal bins."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(10)]
    for p, ok in zip(sure, right, strict=True):
        bins[min(9, int(p * 10))].append((p, ok))
    return round(sum(abs(sum(p for p, _ in b) - sum(ok for _, ok in b)) for b in bins) / max(1, len(sure)), 4)


def coverage(sure: Sequence[float], right: Sequence[bool]) -> dict[str, float]:
    """The share of texts, surest first, that stays at 90, 95 and 98 % right."""
    order = sorted(range(len(sure)), key=lambda i: -sure[i])
    best, correct = dict.fromkeys((0.90, 0.95, 0.98), 0), 0
    for taken, i in enumerate(order, 1):
        correct += right[i]
        for level in best:
            if correct >= level * taken:
                best[level] = taken
    return {f"{level:.0%}": round(n / max(1, len(order)), 4) for level, n in best.items()}


def show(results: dict[int, dict[str, Any]]) -> str:
    """The figures as lines a person reads."""

    def one(name: str, value: dict[str, Any]) -> str:
        if value["share"] is None:
            return f"  {name}: none"
        low, high = value["interval"]
        extra = "".join(f", {k} {v}" for k, v in value.items() if k not in ("share", "interval", "n"))
        return f"  {name}: {value['share']:.1%} (95 %: {low:.1%}-{high:.1%}, n = {value['n']}){extra}"

    lines = []
    for noise, result in sorted(results.items()):
        lines.append(f"noise {noise} %: {result['answered']} of {result['texts']} texts answered")
        for name, value in result.items():
            if isinstance(value, dict):
                parts = [(name, value)] if "share" in value else [(f"{name} {k}", v) for k, v in value.items()]
                lines += [one(*part) for part in parts]
    return "\n".join(lines)


def main() -> int:
    """Score a file of answers; exit code 2 with one line where it is none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("answers", type=Path)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    try:
        with chosen.answers.open(encoding="utf-8") as file:
            forms = answers(file, chosen.answers.name)
    except (OSError, AnswerError) as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    results = {noise: score(given) for noise, given in sorted(forms.items())}
    sys.stdout.write((json.dumps(results, ensure_ascii=False) if chosen.json else show(results)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
