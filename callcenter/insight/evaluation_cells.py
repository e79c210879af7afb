"""From what a case contributes to the cells of the pre-aggregated table, and back out of them again. Pure.

A cell is one axis (everything, areas of a level, units, posts, persons, categories, spots), one key on it, one domain,
one day, month or year. A case counts in its area and in every area above it. What a case put in is kept as it was put
in, so that exactly that can be taken out again when the case moves on.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple
from uuid import UUID

from callcenter.insight.evaluation import Whose, recurrence, tallies
from callcenter.insight.evaluation_facts import GRID, Facts

ALL, UNIT, POST, PERSON, CATEGORY, SPOT = "all", "unit", "post", "person", "category", "spot"
DAY, MONTH, YEAR = "d", "m", "y"

STREET: Final = 3
"""The level of area at which a spot (place and category) is counted: finer ones are too many to compare."""
FINEST_DAILY: Final = GRID - 1
"""A grid has a case a day at most: its days would be the cases again, so it is counted by month only."""
SPOT_COUNTERS: Final = frozenset({"reported", "filed", "recurred"})

Area = tuple[str, int]
"""Its id and level."""


class Cell(NamedTuple):
    """Which row of the table. ``start``: the day, or the first of the month or year."""

    axis: str
    span: str
    start: date
    key: str
    domain: str


@dataclass(frozen=True, slots=True)
class Contribution:
    """All that one case put into the table. ``areas``: its own first, then those above."""

    areas: Sequence[Area]
    category: str
    domain: str
    by: Mapping[Whose, Counter[str]]
    recurrence: tuple[Whose, Counter[str]] | None
    """Put in only if the matter has come back."""

    def cells(self) -> dict[Cell, Counter[str]]:
        """Without the recurrence."""
        found: dict[Cell, Counter[str]] = {}
        for whose, counts in self.by.items():
            self._spread(whose, counts, found)
        return found

    def recurrence_cells(self) -> dict[Cell, Counter[str]]:
        """What the recurrence alone adds."""
        found: dict[Cell, Counter[str]] = {}
        if self.recurrence is not None:
            self._spread(*self.recurrence, found)
        return found

    def _spread(self, whose: Whose, counts: Counter[str], into: dict[Cell, Counter[str]]) -> None:
        month = whose.day.replace(day=1)
        year = month.replace(month=1)
        for axis, key, daily in self._keys(whose):
            add(into, Cell(axis, YEAR, year, key, self.domain), counts)
            add(into, Cell(axis, MONTH, month, key, self.domain), counts)
            if daily:
                add(into, Cell(axis, DAY, whose.day, key, self.domain), counts)
        spot = self.spot
        if spot and (of_spot := Counter({name: n for name, n in counts.items() if name in SPOT_COUNTERS})):
            add(into, Cell(SPOT, YEAR, year, spot, self.domain), of_spot)
            add(into, Cell(SPOT, MONTH, month, spot, self.domain), of_spot)

    def _keys(self, whose: Whose) -> Iterator[tuple[str, str, bool]]:
        yield ALL, "", True
        for area, level in self.areas:
            yield area_axis(level), area, level <= FINEST_DAILY
        for axis, key in ((UNIT, whose.unit), (POST, whose.post), (PERSON, whose.person), (CATEGORY, self.category)):
            if key:
                yield axis, key, True

    @property
    def spot(self) -> str:
        """area|standard|kind|code; empty where one is not known."""
        area = next((one for one, level in self.areas if level <= STREET), "")
        return f"{area}|{self.category}" if area and self.category else ""

    def kept(self) -> dict[str, Any]:
        """As JSON keeps it: equal contributions give equal documents."""
        return {
            "areas": [list(area) for area in self.areas],
            "category": self.category,
            "domain": self.domain,
            "by": [_kept(*one) for one in sorted(self.by.items())],
            "recurrence": _kept(*self.recurrence) if self.recurrence is not None else None,
        }

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Contribution":
        """What ``kept`` wrote."""
        return cls(
            areas=[(area, level) for area, level in kept["areas"]],
            category=kept["category"],
            domain=kept["domain"],
            by=dict(_read(one) for one in kept["by"]),
            recurrence=_read(kept["recurrence"]) if kept["recurrence"] else None,
        )


def contribution(facts: Facts, tree: Mapping[UUID, tuple[int, UUID | None]]) -> Contribution:
    """What the case puts in. ``tree``: an area's level and the area above it."""
    return Contribution(
        areas=chain(facts.area, tree),
        category=facts.category or "",
        domain=facts.domain or "",
        by=tallies(facts),
        recurrence=recurrence(facts),
    )


def area_axis(level: int) -> str:
    """The axis of areas of one level: a question about districts does not wade through grids."""
    return f"area{level}"


def chain(area: UUID | None, tree: Mapping[UUID, tuple[int, UUID | None]]) -> list[Area]:
    """The area and those above it; ends where one is not known, or would come twice."""
    found: list[Area] = []
    seen: set[UUID] = set()
    while area is not None and area in tree and area not in seen:
        seen.add(area)
        level, above = tree[area]
        found.append((str(area), level))
        area = above
    return found


def add(into: dict[Cell, Counter[str]], cell: Cell, counts: Mapping[str, int], sign: int = 1) -> None:
    """Add ``counts`` to a cell, or with ``sign`` −1 take them out."""
    sums = into.get(cell)
    if sums is None:  # not setdefault: a Counter that is thrown away costs more than all the rest
        sums = into[cell] = Counter()
    have = sums.get
    for name, n in counts.items():
        sums[name] = have(name, 0) + sign * n


def _kept(whose: Whose, counts: Counter[str]) -> list[Any]:
    return [whose.day.isoformat(), *whose[1:], dict(sorted(counts.items()))]


def _read(kept: list[Any]) -> tuple[Whose, Counter[str]]:
    day, *rest, counts = kept
    return Whose(date.fromisoformat(day), *rest), Counter(counts)
