"""Recurrences, cells and periods of evaluation: what is the same place, that spans add up, that a period is covered."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from math import cos, radians, sin
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.insight import evaluation_reports as reports
from callcenter.insight.evaluation_cells import Contribution, chain, contribution
from callcenter.insight.evaluation_facts import Placed, closed_at, placed, recurs
from tests.unit.test_evaluation import LIFE, T0, TAKEN_IN, h

pytestmark = pytest.mark.unit

# -- recurrence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "back"),
    [
        (timedelta(days=1), True),
        (timedelta(days=30), True),
        (timedelta(days=30, seconds=1), False),
        (timedelta(0), False),
        (-timedelta(hours=1), False),  # reported while it was open: a duplicate
    ],
)
def test_a_matter_recurs_within_thirty_days_of_closing(later: timedelta, back: bool) -> None:
    first = Placed(T0, h(30), 31.03, 112.2, True)
    assert recurs(first, Placed(h(30) + later, None, 31.03, 112.2, True)) is back


@given(st.floats(-89, 89), st.floats(-179, 179), st.floats(0, 6.283), st.sampled_from([(45.0, True), (56.0, False)]))
def test_the_same_place_is_within_fifty_metres(lat: float, lon: float, angle: float, away: tuple[float, bool]) -> None:
    metres, near = away
    north, east = metres * cos(angle), metres * sin(angle)
    there = (lat + north / 111_195, lon + east / 111_195 / cos(radians(lat)))
    first, later = Placed(T0, h(1), lat, lon, False), Placed(h(2), None, *there, False)
    assert recurs(first, later) is near


def test_without_a_point_one_grid_is_one_place_and_a_street_is_not() -> None:
    assert recurs(Placed(T0, h(1), None, None, True), Placed(h(2), None, 31.0, 112.0, True))
    assert not recurs(Placed(T0, h(1), None, None, False), Placed(h(2), None, None, None, False))


def test_a_case_that_is_open_has_no_recurrence() -> None:
    assert contribution(replace(LIFE, steps=TAKEN_IN), {}).recurrence is None
    assert closed_at(LIFE) == h(30) == placed(LIFE).closed_at


# -- cells -------------------------------------------------------------------------------------------------------------

CITY, STREET, GRID = UUID(int=21), UUID(int=22), UUID(int=23)
TREE = {CITY: (1, None), STREET: (3, CITY), GRID: (5, STREET)}


def test_a_case_counts_in_its_area_and_in_all_above() -> None:
    cells = contribution(replace(LIFE, area=GRID), TREE).cells()
    months = {cell.axis: counts for cell, counts in cells.items() if cell.span == "m" and counts["closed"]}
    assert set(months) == {"all", "area1", "area3", "area5", "unit", "post", "person", "category"}
    assert {cell.axis for cell in cells if cell.span == "d"} == set(months) - {"area5"}
    assert {cell.key for cell in cells if cell.axis == "spot"} == {f"{STREET}|{LIFE.category}"}
    assert chain(GRID, {GRID: (5, STREET), STREET: (3, GRID)}) == [(str(GRID), 5), (str(STREET), 3)]  # a circle ends


def test_days_add_up_to_months_and_years_on_every_axis() -> None:
    cells = contribution(replace(LIFE, area=STREET), TREE).cells()
    for axis in ("all", "area1", "area3", "unit", "post", "person", "category"):
        by = {span: Counter[str]() for span in "dmy"}
        for cell, counts in cells.items():
            if cell.axis == axis:
                by[cell.span].update(counts)
        assert by["d"] == by["m"] == by["y"] != Counter()


def test_a_contribution_comes_back_from_json_as_it_was() -> None:
    one = contribution(replace(LIFE, area=GRID), TREE)
    again = Contribution.of(one.kept())
    assert again.kept() == one.kept()
    assert again.cells() == one.cells()
    assert again.recurrence_cells() == one.recurrence_cells() != {}


# -- periods -----------------------------------------------------------------------------------------------------------


@given(st.dates(date(2020, 1, 1), date(2030, 12, 31)), st.integers(0, 800))
def test_a_period_is_cut_into_months_and_days_that_cover_it_once(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    covered: list[date] = []
    cut = reports.pieces(first, last)
    for piece in cut:
        for start in piece.starts:
            end = reports.end_of(piece.span, start)
            assert end is not None
            covered += [start + timedelta(days=n) for n in range((end - start).days + 1)]
    assert sorted(covered) == [first + timedelta(days=n) for n in range(length + 1)]
    assert sum(len(piece.starts) for piece in cut if piece.span == "d") <= 60
    assert sum(len(piece.starts) for piece in cut if piece.span == "m") <= 22


def test_grids_are_asked_for_by_whole_months() -> None:
    with pytest.raises(reports.WholeMonths, match="2026-02-01 to 2026-03-31"):
        reports.pieces(date(2026, 2, 3), date(2026, 3, 31), reports.MONTHLY)
    assert reports.pieces(date(2025, 12, 1), date(2026, 12, 31), reports.MONTHLY) == [
        reports.Piece("y", (date(2026, 1, 1),)),
        reports.Piece("m", (date(2025, 12, 1),)),
    ]
