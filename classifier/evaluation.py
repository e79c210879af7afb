"""How right the answers are, and how well they know it: one list of judged rows in, every figure out.

ECE: expected calibration error over ten equal bins of the top answer's probability. Coverage at 95/98/99 %: the
largest share of rows, taken from the surest down, of which that many are right. Intervals are Wilson's, 95 %.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from classifier.taxonomy import Category

COVERAGES = (0.95, 0.98, 0.99)


@dataclass(frozen=True, slots=True)
class Judged:
    """One row with its truth and the answer. Empty strings and None stand for what the row, or the answer, leaves
    open.
    """

    id: str
    domain: str
    category: Category | None
    acceptable: tuple[tuple[str, str], ...]
    """(major, minor) pairs that count as right beside ``category``."""
    answered_domain: str
    domain_probability: float
    ranked: tuple[tuple[Category, float], ...]
    """Categories with their probabilities, best first."""
    disposition: str = ""
    answered_disposition: str = ""
    intent: str = ""
    answered_intent: str = ""
    decision: str = ""
    unit_probability: float = 0.0
    unit_right: bool = False
    """Of the department that acts first on the answered category."""

    def right(self, category: Category) -> bool:
        """Would this category have been right?"""
        if self.category is not None and (category.major, category.minor, category.domain) == (
            self.category.major,
            self.category.minor,
            self.category.domain,
        ):
            return True
        return (category.major, category.minor) in self.acceptable


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """Every figure of docs/router.md that ``rows`` allow; ``n`` stands beside each."""
    result: dict[str, Any] = {"rows": len(rows)}
    known = [r for r in rows if r.domain in ("urban", "social")]
    if known:
        right = [r.answered_domain == r.domain for r in known]
        sure = [r.domain_probability for r in known]
        result["domain"] = {
            **_share(right),
            "macro_f1": _macro_f1([(r.domain, r.answered_domain) for r in known], ("urban", "social")),
            "ece": _ece(sure, right),
            "coverage": _coverages(sure, right),
            "confusion": _confusion([(r.domain, r.answered_domain or "none") for r in known]),
        }
    labelled = [r for r in rows if r.category is not None]
    if labelled:
        right = [bool(r.ranked) and r.right(r.ranked[0][0]) for r in labelled]
        sure = [r.ranked[0][1] if r.ranked else 0.0 for r in labelled]
        truths = [r.category.minor for r in labelled if r.category]
        answers = [
            t if ok else (r.ranked[0][0].minor if r.ranked else "")
            for r, t, ok in zip(labelled, truths, right, strict=True)
        ]
        result["category"] = {
            **_share(right),
            "top3": _share([any(r.right(c) for c, _ in r.ranked[:3]) for r in labelled]),
            "macro_f1": _macro_f1(list(zip(truths, answers, strict=True)), tuple(sorted(set(truths)))),
            "ece": _ece(sure, right),
            "coverage": _coverages(sure, right),
            "commonest_confusions": [
                {"truth": t, "answer": a, "times": n}
                for (t, a), n in Counter((t, a) for t, a in zip(truths, answers, strict=True) if t != a).most_common(15)
            ],
        }
        if any(r.unit_probability for r in labelled):
            right, sure = [r.unit_right for r in labelled], [r.unit_probability for r in labelled]
            result["unit"] = {**_share(right), "ece": _ece(sure, right), "coverage": _coverages(sure, right)}
    for name in ("disposition", "intent"):
        pairs = [(getattr(r, name), getattr(r, f"answered_{name}")) for r in rows if getattr(r, name)]
        if pairs and any(answer for _, answer in pairs):
            result[name] = {**_share([t == a for t, a in pairs]), "confusion": _confusion(pairs)}
    decided = [r for r in rows if r.decision]
    if decided:
        auto = [r for r in decided if r.decision == "auto"]
        checkable = [r for r in auto if r.category is not None]
        result["auto"] = {
            "share": round(len(auto) / len(decided), 4),
            "right": _share([bool(r.ranked) and r.right(r.ranked[0][0]) for r in checkable]) if checkable else None,
        }
    return result


def _share(right: Sequence[bool]) -> dict[str, Any]:
    n, k = len(right), sum(right)
    low, high = wilson(k, n)
    return {"accuracy": round(k / n, 4) if n else 0.0, "interval": [round(low, 4), round(high, 4)], "n": n}


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``right`` in ``n``; (0, 1) for nothing."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, right / n
    middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - width) / (1 + z * z / n)), min(1.0, (middle + width) / (1 + z * z / n))


def _macro_f1(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> float:
    scores = []
    for name in classes:
        both = sum(t == name and a == name for t, a in pairs)
        either = sum(t == name for t, _ in pairs) + sum(a == name for _, a in pairs)
        scores.append(2 * both / either if either else 0.0)
    return round(sum(scores) / len(scores), 4)


def _ece(sure: Sequence[float], right: Sequence[bool]) -> float:
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(10)]
    for p, ok in zip(sure, right, strict=True):
        bins[min(9, int(p * 10))].append((p, ok))
    gap = sum(abs(sum(p for p, _ in b) - sum(ok for _, ok in b)) for b in bins)
    return round(gap / len(sure), 4)


def _coverages(sure: Sequence[float], right: Sequence[bool]) -> dict[str, float]:
    order = sorted(range(len(sure)), key=lambda i: -sure[i])
    best = dict.fromkeys(COVERAGES, 0)
    correct = 0
    for taken, i in enumerate(order, 1):
        correct += right[i]
        if taken < len(order) and sure[order[taken]] == sure[i]:
            continue  # equal probabilities stand or fall together
        for level in COVERAGES:
            if correct >= level * taken:
                best[level] = taken
    return {f"{level:.0%}": round(n / len(order), 4) for level, n in best.items()}


def _confusion(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    counts = Counter(pairs)
    truths, answers = sorted({t for t, _ in pairs}), sorted({a for _, a in pairs})
    return {t: {a: counts[t, a] for a in answers} for t in truths}
