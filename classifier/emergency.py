"""Who must be called at once: 110 police, 119 fire and rescue, 120 ambulance, 122 traffic police. Patterns, first form.

The patterns are data (emergency.tsv), one a line, so that a supervisor can read and extend them. Their roles:
``sure`` needs nothing more; ``doubtful`` counts only beside an ``urgent`` word; ``unreal`` (万一) or a denial just
before takes a match back, ``past`` (去年) too unless the text is urgent; ``over`` (灭了, 算不算工伤) anywhere says
that nobody needs to come now. ``PERSON`` in a pattern stands for any word of the role ``person``. Tuned to miss
little rather than to tire nobody; what they miss, and where they cry wolf on the corpus, ``scripts/bench/router
--emergencies`` lists.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from classifier.text import Traced

SERVICES = ("110", "119", "120", "122")
ROLES = ("sure", "doubtful", "urgent", "unreal", "past", "over", "person")
PATTERNS = Path(__file__).resolve().parent / "emergency.tsv"

_DENIED = re.compile(r"(没|没有|没人|并没|未|不|不会|不是)[^,。!?; ]{0,3}$")
_BEFORE = 20
"""Characters before a match in which a doubt about it can stand."""


class EmergencyPatternError(ValueError):
    """The file of patterns is wrong; the message names file and line."""


@dataclass(frozen=True)
class _Rules:
    sure: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]
    doubtful: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]
    urgent: re.Pattern[str]
    unreal: re.Pattern[str]
    past: re.Pattern[str]
    over: re.Pattern[str]


def read(path: Path) -> _Rules:
    """The rules of a pattern file. Raises EmergencyPatternError, naming the line, for a role, service or pattern that
    is none.
    """
    by_role: dict[str, dict[tuple[str, ...], list[str]]] = {role: {} for role in ROLES}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows, None)
        for row in rows:
            place = f"{path.name}:{rows.line_num}"
            if len(row) != 3 or row[0] not in ROLES or not row[2]:
                raise EmergencyPatternError(f"{place}: must be a role ({', '.join(ROLES)}), services and a pattern")
            services = tuple(name for name in row[1].split(",") if name)
            if not set(services) <= set(SERVICES) or (row[0] in ("sure", "doubtful")) != bool(services):
                raise EmergencyPatternError(
                    f"{place}: services {row[1]!r}: {', '.join(SERVICES)}, for sure and doubtful only"
                )
            try:
                re.compile(row[2])
            except re.error as fault:
                raise EmergencyPatternError(f"{place}: {row[2]!r} is no pattern: {fault}") from fault
            by_role[row[0]].setdefault(services, []).append(row[2])
    person = f"(?:{'|'.join(by_role['person'].get((), ['人']))})"

    def one(role: str, around: str = "(?:{})") -> re.Pattern[str]:
        patterns = by_role[role].get((), [])
        if not patterns:
            raise EmergencyPatternError(f"{path.name}: no pattern of role {role}")
        return re.compile(around.replace("{}", "|".join(patterns), 1))

    def several(role: str) -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
        return tuple(
            (services, re.compile("|".join(patterns).replace("PERSON", person)))
            for services, patterns in by_role[role].items()
        )

    return _Rules(
        several("sure"),
        several("doubtful"),
        one("urgent"),
        one("unreal", "(?:{})[^,。!?; ]{0,8}$"),
        one("past", "(?:{})[^。!?;]{0,14}$"),
        one("over"),
    )


@cache
def _rules() -> _Rules:
    return read(PATTERNS)


def services(cleaned: Traced) -> tuple[str, ...]:
    """Who must be called, in ascending order; empty when nobody must."""
    rules, source = _rules(), cleaned.text
    if rules.over.search(source):
        return ()
    found: set[str] = set()
    urgent = rules.urgent.search(source) is not None
    for called, pattern in (*rules.sure, *(rules.doubtful if urgent else ())):
        for match in pattern.finditer(source):
            before = source[max(0, match.start() - _BEFORE) : match.start()]
            doubted = rules.unreal.search(before) or _DENIED.search(before)
            if not doubted and (urgent or not rules.past.search(before)):
                found.update(called)
                break
    return tuple(service for service in SERVICES if service in found)
