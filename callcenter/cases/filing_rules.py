"""The filing rules that are shipped: what holds until a city has imported a responsibility list of its own.

``data/filing_rules.csv`` has the form of such a list. Limits and units are facts of one city's published table of
GB/T 30428.2-2013 minors; the conditions are in our words, lines and levels are our proposal.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from callcenter.cases.deadlines import Limit, LimitUnit
from callcenter.cases.list_import import Item, parse_items
from classifier import taxonomy

FILE: Final = Path(__file__).resolve().parent / "data" / "filing_rules.csv"

ORDINARY: Final = Limit(5, LimitUnit.WORK_DAY)
"""Where no rule is known: five working days, a province's rule for every hotline order (Shandong, DOMAIN.md §3)."""

Key = tuple[str, str, str]
"""Standard, kind and code of a category."""


@cache
def loaded() -> Mapping[Key, tuple[Item, ...]]:
    """The shipped rules by category, read once a process. Raises TableRefused when the file is broken."""
    found: dict[Key, tuple[Item, ...]] = {}
    for item in parse_items(FILE.read_bytes(), {}, {}):
        key = (item.standard, item.kind, item.category_code)
        found[key] = (*found.get(key, ()), item)
    return MappingProxyType(found)


def rules_for(standard: str, kind: str, code: str) -> tuple[Item, ...]:
    """The shipped rules of a category; of another standard's, those of the same thing where the crosswalk knows it.

    Empty for a category without rules, and for one that is not known.
    """
    rules = loaded().get((standard, kind, code), ())
    if rules or standard not in taxonomy.standards() or standard in (taxonomy.SOCIAL, taxonomy.DEFAULT_STANDARD):
        return rules
    # From ours to theirs: the crosswalk is written in that direction, and several of ours may be one of theirs.
    same = taxonomy.crosswalk(taxonomy.DEFAULT_STANDARD, standard)
    return tuple(
        rule
        for ours, theirs in same.items()
        if (theirs.kind, theirs.code) == (kind, code)
        for rule in loaded().get((ours.standard, ours.kind, ours.code), ())
    )
