"""Evaluation on both databases: folding as the log grows gives what counting from nothing gives; reports."""

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, insert, select, update

from callcenter import clock
from callcenter.cases.life import CaseAppeal, CaseDeadline, CaseEvidence, CaseOrder
from callcenter.cases.model import Case
from callcenter.insight.evaluation_cells import Cell, contribution
from callcenter.insight.evaluation_model import CELL_KEY, CELLS, EvaluationCase, EvaluationState
from callcenter.insight.evaluation_reading import read_facts, read_tree
from callcenter.insight.evaluation_reports import Asked, WholeMonths, hot_spots, report
from callcenter.insight.evaluations import Busy, fold, recompute
from callcenter.insight.indicators import COUNTERS, rates
from callcenter.storage.engine import Database
from tests.evaluating import AT, CODES, GRID, GRID2, PEOPLE, STREET, T0, UNITS, City, filled

pytestmark = pytest.mark.integration


@pytest.fixture
async def city(db: Database) -> City:
    one = City(db)
    await one.found()
    return one


async def cells(db: Database, book: int | None = None) -> dict[Cell, dict[str, int]]:
    async with db.read() as session:
        if book is None:
            book = await session.scalar(select(EvaluationState.book))
        rows = await session.execute(select(CELLS).where(CELLS.c.book == book))
        return {
            Cell(*(getattr(row, name) for name in CELL_KEY[1:])): {
                name: getattr(row, name) for name in COUNTERS if getattr(row, name)
            }
            for row in rows
        }


async def counted_here(db: Database) -> dict[Cell, dict[str, int]]:
    """The cells by a plain sum over all cases, without folding; recurrences left out."""
    found: dict[Cell, Counter[str]] = {}
    async with db.read() as session:
        tree = await read_tree(session)
        ids = list(await session.scalars(select(Case.id)))
        for one in await read_facts(session, ids, tree):
            for cell, counts in contribution(one.facts, tree).cells().items():
                found.setdefault(cell, Counter()).update(counts)
    return {cell: dict(counts) for cell, counts in found.items()}


def without(found: dict[Cell, dict[str, int]], name: str) -> dict[Cell, dict[str, int]]:
    rest = {cell: {key: n for key, n in counts.items() if key != name} for cell, counts in found.items()}
    return {cell: counts for cell, counts in rest.items() if counts}


async def whole(db: Database, **more: Any) -> Counter[str]:
    async with db.read() as session:
        return (await report(session, Asked("month", date(2026, 1, 1), date(2026, 12, 31), **more))).total


# -- folding -----------------------------------------------------------------------------------------------------------


async def test_folding_as_it_grows_is_counting_from_nothing(city: City) -> None:
    db, dice = city.db, city.dice
    open_cases: list[tuple[UUID, datetime]] = []
    for turn in range(12):
        async with db.begin() as session:
            for _ in range(6):
                at = T0 + timedelta(days=turn * 4, hours=dice.randrange(48))
                case = await city.opens(session, at)
                if dice.random() < 0.6:
                    await city.live(session, case, at, close=dice.random() < 0.8)
                else:
                    open_cases.append((case, at))
            for _ in range(min(2, len(open_cases))):  # older ones go on, are corrected, or cancelled
                case, at = open_cases.pop(dice.randrange(len(open_cases)))
                choice = dice.randrange(3)
                if choice == 0:
                    await city.live(session, case, at)
                elif choice == 1:
                    await city.log(session, case, "cancel", "reported", "cancelled", at + timedelta(days=2))
                else:
                    moved = update(Case).where(Case.id == case).values(category_code=CODES[0], area_id=GRID)
                    await session.execute(moved)
                    await city.log(session, case, "corrected", "reported", "reported", at + timedelta(hours=1))
                    open_cases.append((case, at))
        await fold(db, T0 + timedelta(days=turn * 4, minutes=turn))
    grown = await cells(db)
    assert (await fold(db, AT)).cells == 0
    assert without(grown, "recurred") == without(await counted_here(db), "recurred")
    assert sum(counts.get("recurred", 0) for cell, counts in grown.items() if cell.axis == "all") > 0
    done = await recompute(db, AT)
    assert (done.differed, done.examples) == (0, ())
    assert done.cases == 72
    assert await cells(db) == grown
    async with db.read() as session:  # the book that is no longer read is empty
        state = await session.get_one(EvaluationState, 1)
        assert (state.book, state.building_at) == (1, None)
        assert await session.scalar(select(func.count()).select_from(CELLS).where(CELLS.c.book == 0)) == 0
        assert await session.scalar(select(func.count()).where(EvaluationCase.book == 0)) == 0


async def test_what_somebody_typed_into_the_sums_is_found_and_mended(city: City) -> None:
    async with city.db.begin() as session:
        case = await city.opens(session, T0)
        await city.live(session, case, T0)
    await fold(city.db, AT)
    true = await cells(city.db)
    async with city.db.begin() as session:
        await session.execute(update(CELLS).where(CELLS.c.axis == "all").values(due_on_time=99))
    done = await recompute(city.db, AT)
    assert done.differed == sum(cell.axis == "all" for cell in true)
    assert all(example[0] == "all" for example in done.examples)
    assert await cells(city.db) == true
    assert (await recompute(city.db, AT)).differed == 0


async def test_a_case_that_moves_on_is_taken_out_where_it_was(city: City) -> None:
    async with city.db.begin() as session:
        case = await city.opens(session, T0, area_id=GRID, domain="urban", category_code="0101")
    await fold(city.db, AT)
    async with city.db.begin() as session:
        await session.execute(
            update(Case).where(Case.id == case).values(area_id=GRID2, domain="social", category_code="0209")
        )
        await city.log(session, case, "corrected", "reported", "reported", T0)
    folded = await fold(city.db, AT)
    assert folded.cases == 1
    found = await cells(city.db)
    assert {cell.domain for cell in found} == {"social"}
    assert not [cell for cell in found if cell.key == str(GRID)]
    assert found == await counted_here(city.db)


async def test_a_row_that_commits_late_is_not_missed(pg_db: Database) -> None:
    city = City(pg_db)
    await city.found()
    async with pg_db.begin() as session:
        case = await city.opens(session, T0)
        other = await city.opens(session, T0)
    await fold(pg_db, AT)
    async with pg_db.begin() as slow:
        await city.log(slow, case, "file", "reported", "pending_dispatch", T0)
        await slow.flush()  # has its number, and is seen by nobody
        async with pg_db.begin() as session:
            await city.log(session, other, "file", "reported", "pending_dispatch", T0)
        await fold(pg_db, AT + timedelta(minutes=1))
        assert (await whole(pg_db))["filed"] == 1
    await fold(pg_db, AT + timedelta(minutes=2))
    assert (await whole(pg_db))["filed"] == 2


async def test_limits_that_were_not_sure_are_counted_again_once_they_are(city: City) -> None:
    async with city.db.begin() as session:
        case = await city.opens(session, T0)
        await city.live(session, case, T0)
        await session.execute(update(CaseDeadline).values(provisional=True))
    await fold(city.db, AT)
    moved = T0 + timedelta(days=9)
    async with city.db.begin() as session:  # no step of the case: the calendar has become known
        await session.execute(
            update(CaseDeadline).where(CaseDeadline.phase == "citizen").values(provisional=False, original_due_at=moved)
        )
        await session.execute(update(CaseDeadline).values(provisional=False))
        await session.execute(update(EvaluationState).values(settled_id=10**6))
    assert (await fold(city.db, AT)).cases == 1
    due = [cell.start for cell, counts in (await cells(city.db)).items() if counts.get("due") and cell.span == "d"]
    assert set(due) == {clock.local(moved).date()}


async def test_one_recomputation_at_a_time_and_a_dead_one_is_forgotten(city: City) -> None:
    async with city.db.begin() as session:
        await city.opens(session, T0)
    await fold(city.db, AT)
    async with city.db.begin() as session:
        await session.execute(update(EvaluationState).values(building_at=AT))
    with pytest.raises(Busy, match="counted again"):
        await recompute(city.db, AT + timedelta(minutes=1))
    assert (await fold(city.db, AT + timedelta(minutes=1))).waiting
    assert (await recompute(city.db, AT + timedelta(minutes=11))).differed == 0


# -- facts -------------------------------------------------------------------------------------------------------------


async def test_a_matter_that_comes_back_counts_against_the_unit_that_closed_it(city: City) -> None:
    spot = {"area_id": STREET, "category_code": "0101", "domain": "urban", "lat": 31.0300, "lon": 112.2000}
    async with city.db.begin() as session:
        first = await city.opens(session, T0, **spot)
        await city.live(session, first, T0)
    await fold(city.db, AT)
    assert (await whole(city.db))["recurred"] == 0
    month_later = T0 + timedelta(days=20)
    async with city.db.begin() as session:
        far = await city.opens(session, month_later, **{**spot, "lat": 31.0310})  # 111 m
        other = await city.opens(session, month_later, **{**spot, "category_code": "0209"})
    await fold(city.db, AT)
    assert (await whole(city.db))["recurred"] == 0
    async with city.db.begin() as session:
        again = await city.opens(session, month_later, **{**spot, "lat": 31.0303})  # 33 m
    await fold(city.db, AT)
    async with city.db.read() as session:
        unit = str(await session.scalar(select(CaseOrder.unit_id).where(CaseOrder.case_id == first)))
        found = await report(session, Asked("unit", date(2026, 9, 1), date(2026, 12, 31)))
    assert {row.key: rates(row.counts)["recurrence"].value for row in found.rows} == {unit: 1.0}
    async with city.db.begin() as session:  # it was something else after all
        await session.execute(update(Case).where(Case.id == again).values(category_code="0209"))
        await city.log(session, again, "corrected", "reported", "reported", month_later)
    await fold(city.db, AT)
    assert (await whole(city.db))["recurred"] == 0
    assert len({first, far, other, again}) == 4
    assert (await recompute(city.db, AT)).differed == 0


async def test_a_picture_of_another_case_proves_nothing(city: City) -> None:
    async with city.db.begin() as session:
        for number in range(3):
            at = T0 + timedelta(days=number)
            case = await city.opens(session, at)
            await city.live(session, case, at)
            await session.execute(
                insert(CaseEvidence).values(
                    {
                        **{"id": uuid4(), "case_id": case, "kind": "after", "media": "image/jpeg", "size": 9},
                        **{"sha256": ("ab" if number < 2 else "cd") * 32, "taken_at": at + timedelta(hours=9)},
                        **{"added_at": at + timedelta(hours=10), "added_by": PEOPLE[0]},
                    }
                )
            )
    await fold(city.db, AT)
    proof = rates(await whole(city.db))["proof"]
    assert (proof.numerator, proof.denominator) == (2, 3)


async def test_an_appeal_is_read_when_two_have_decided(city: City) -> None:
    async with city.db.begin() as session:
        case = await city.opens(session, T0)
        await city.live(session, case, T0)
        await session.execute(update(CaseDeadline).values(met=False, due_at=T0 + timedelta(hours=5)))
        appeal = CaseAppeal(id=uuid4(), case_id=case, asked_by=PEOPLE[0], asked_at=AT, first_granted=True, first_at=AT)
        session.add(appeal)
        await city.log(session, case, "judge_appeal", "closed", "closed", AT)
    await fold(city.db, AT)
    assert rates(await whole(city.db))["handling_on_time"].exclusions["appeal_granted"] == 0
    async with city.db.begin() as session:
        await session.execute(update(CaseAppeal).values(granted=True, second_at=AT))
        await city.log(session, case, "confirm_appeal", "closed", "closed", AT)
    await fold(city.db, AT)
    counts = await whole(city.db)
    assert rates(counts)["handling_on_time"].exclusions["appeal_granted"] == 1
    assert rates(counts)["overtime_raw"].numerator == 1
    assert counts["overtime_s"] > 0


# -- reports -----------------------------------------------------------------------------------------------------------


async def test_every_way_of_asking_adds_up_to_the_same(city: City) -> None:
    await filled(city)
    first, last = date(2026, 10, 5), date(2026, 11, 20)
    async with city.db.read() as session:
        by = {name: await report(session, Asked(name, first, last)) for name in ("unit", "category", "day", "month")}
        areas = [await report(session, Asked("area", first, last, level=level)) for level in (1, 3)]
        urban = await report(session, Asked("day", first, last, domain="urban"))
        social = await report(session, Asked("day", first, last, domain="social"))
        one = await report(session, Asked("month", first, last, only=("unit", str(UNITS[0]))))
        people = await report(session, Asked("person", first, last))
    whole_ = by["day"].total
    assert 20 <= whole_["reported"] <= 24
    for found in [*by.values(), *areas]:
        assert found.total == whole_
        assert sum((row.counts for row in found.rows), Counter()) == whole_ or found is by["unit"]
    assert urban.total + social.total == whole_
    [unit] = [row for row in by["unit"].rows if row.key == str(UNITS[0])]
    assert one.total == unit.counts
    assert sum(row.counts["closed"] for row in people.rows) == whole_["closed"]
    assert [row.key for row in by["month"].rows] == ["2026-10-01", "2026-11-01"]


async def test_grids_and_spots_are_asked_for_by_whole_months(city: City) -> None:
    await filled(city)
    async with city.db.read() as session:
        with pytest.raises(WholeMonths, match="2026-10-01 to 2026-11-30"):
            await report(session, Asked("area", date(2026, 10, 5), date(2026, 11, 20), level=5))
        grids = await report(session, Asked("area", date(2026, 10, 1), date(2026, 11, 30), level=5))
        spots = await hot_spots(session, date(2026, 9, 1), date(2026, 11, 30))
    assert {row.key for row in grids.rows} == {str(GRID), str(GRID2)}
    assert spots[0].key.startswith(f"{STREET}|GB/T 30428.2-2013|part|0")
    assert [row.counts["reported"] for row in spots] == sorted((row.counts["reported"] for row in spots), reverse=True)
    assert sum(row.counts["reported"] for row in spots) == 30


async def test_nothing_folded_is_said(db: Database) -> None:
    async with db.read() as session:
        found = await report(session, Asked("unit", date(2026, 1, 1), date(2026, 1, 2)))
    assert (found.rows, found.folded_at) == ([], None)
    assert (await recompute(db, AT)).differed == 0
