"""How long a report over a year of a large city takes and what folding costs, on SQLite and a PostgreSQL of its own.

``--cases`` lives of a year are counted by the very code of service and put into the cells in bulk, without their log
(that would be eight million rows that no report reads). Then each report is asked for ``--rounds`` times: over the
calendar year, and over a year from the middle of a month to the middle of a month, which is the worst to read.
``--folded`` more cases are written as rows – case, log, order, limits – and folded and recomputed as in service.
"""

import argparse
import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api.v1.evaluation import page_of
from callcenter.cases.life import CaseDeadline, CaseOrder
from callcenter.cases.model import Case, CaseLog
from callcenter.city.model import Area, Unit
from callcenter.insight.evaluation_cells import contribution
from callcenter.insight.evaluation_facts import Callback, Check, Facts, Limit, Order, Picture, Step
from callcenter.insight.evaluation_model import CELLS, EvaluationState
from callcenter.insight.evaluation_reports import Asked, hot_spots, report
from callcenter.insight.evaluation_writing import Delta, _apply
from callcenter.insight.evaluations import fold, recompute
from callcenter.storage.engine import Database
from tests.databases import new_cluster

YEAR = datetime(2026, 1, 1, tzinfo=UTC)
LEVELS = (1, 8, 100, 600, 2_300)
"""Areas of each level: a city, its districts, streets, communities, unit grids (Dongcheng has 2,314)."""
UNITS, PEOPLE, CATEGORIES = 300, 800, 200
STEPS = (
    ("completed", None, "reported", 0.0),
    ("file", "reported", "pending_dispatch", 0.5),
    ("dispatch", "pending_dispatch", "pending_handle", 1.0),
    ("sign", "pending_handle", "handling", 2.0),
    ("report_done", "handling", "pending_check", 0.0),
    ("ask_check", "pending_check", "checking", 1.0),
    ("check", "checking", "pending_close", 3.0),
    ("close", "pending_close", "closed", 8.0),
)


def say(line: str) -> None:
    """To the screen at once: it takes minutes."""
    print(line, flush=True)


class City:
    """Areas, units, people, and lives drawn from a fixed seed."""

    def __init__(self) -> None:
        self.dice = random.Random(1)  # noqa: S311 - the same every time, not secret
        self.areas: list[list[UUID]] = [[self.key() for _ in range(count)] for count in LEVELS]
        self.tree: dict[UUID, tuple[int, UUID | None]] = {}
        for level, areas in enumerate(self.areas):
            for number, area in enumerate(areas):
                above = self.areas[level - 1] if level else []
                self.tree[area] = (level + 1, above[number % len(above)] if above else None)
        self.units = [self.key() for _ in range(UNITS)]
        self.people = [str(self.key()) for _ in range(PEOPLE)]

    def key(self) -> UUID:
        return UUID(int=self.dice.getrandbits(128))

    def life(self, when: float | None = None) -> Facts:
        """One case, opened at ``when`` of the year, 0 to 1, or at any time of it."""
        dice, hour = self.dice, timedelta(hours=1)
        at = YEAR + timedelta(seconds=(dice.random() if when is None else when) * 365 * 86_400)
        unit, order, took = dice.choice(self.units), self.key(), dice.choice((4, 10, 30, 60, 100)) * hour
        rework = dice.random() < 0.05
        steps = []
        for action, before, after, hours in STEPS[: 4 if dice.random() < 0.05 else 8]:
            when = at + hours * hour + (took if hours != 0.5 and before not in (None, "reported") else timedelta())
            steps.append(Step(action, dice.choice(self.people), before, after, when))
        dispatched, done = at + hour, at + took
        limits = [
            Limit("citizen", at + 72 * hour, at + 72 * hour, steps[-1].at, steps[-1].at <= at + 72 * hour),
            Limit("file", at + hour, at + hour, steps[1].at, True),
            Limit("dispatch", at + 3 * hour, at + 3 * hour, steps[2].at, dice.random() < 0.9),
            Limit("sign", at + 9 * hour, at + 9 * hour, steps[3].at, dice.random() < 0.9, order),
            Limit("handle", at + 32 * hour, at + 32 * hour, done, took <= 32 * hour, order, int(rework)),
            Limit("check", done + 4 * hour, done + 4 * hour, steps[-1].at, dice.random() < 0.9),
        ]
        return Facts(
            case=self.key(),
            source=dice.choice(("phone", "phone", "grid", "grid", "video")),
            opened_at=at,
            domain=dice.choice(("urban", "social")),
            kind="part",
            category=f"GB/T 30428.2-2013|part|{dice.randrange(CATEGORIES):04d}",
            area=dice.choice(self.areas[4]),
            area_level=5,
            steps=steps,
            orders=[Order(order, unit, dispatched, dice.choice(self.people), UUID(dice.choice(self.people)), "done")],
            limits=limits,
            checks=[Check("verify", dice.choice(self.people), "exists")],
            pictures=[Picture(done, True)],
            callbacks=[Callback(steps[-1].at, True, "satisfied")],
        )


async def fill(db: Database, city: City, count: int) -> None:
    """The cells of ``count`` cases, in bulk."""
    began = time.perf_counter()
    async with db.begin() as session:
        for areas in city.areas:
            for area in areas:
                level, above = city.tree[area]
                session.add(Area(id=area, code=area.hex[:20], name=f"区域{area.hex[:4]}", level=level, parent_id=above))
            await session.flush()
        for number, unit in enumerate(city.units):
            values = {"kind": "department", "level": 1, "leader": "", "duty_phone": "", "round_the_clock": False}
            session.add(Unit(id=unit, code=str(number), name=f"单位{number}", active=True, created_at=YEAR, **values))
        session.add(EvaluationState(id=1, book=0, settled_id=0, seen_id=0, seen_at=YEAR, folded_at=YEAR))
    delta: Delta = {}
    for number in range(1, count + 1):
        for cell, counts in contribution(city.life(number / count), city.tree).cells().items():
            into = delta.get(cell)
            if into is None:
                delta[cell] = counts
            else:
                into.update(counts)
        if number % 4_000 == 0 or number == count:
            async with db.begin() as session:
                await _apply(session, 0, delta)
            delta = {}
    async with db.begin() as session:
        rows = await session.scalar(select(func.count()).select_from(CELLS))
    say(f"  {count:,} cases counted into {rows:,} cells in {time.perf_counter() - began:.0f} s")
    if not db.is_sqlite:
        async with db.engine.connect() as connection:
            await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("VACUUM ANALYZE"))


def shown(name: str, seconds: list[float]) -> None:
    """One line of figures."""
    ordered = sorted(seconds)
    say(f"  {name}: median {statistics.median(ordered) * 1e3:.0f} ms, worst {ordered[-1] * 1e3:.0f} ms")


async def reports(db: Database, rounds: int) -> None:
    """Each report, from the question to the JSON of the API's answer, names included."""
    periods = {
        "2026": (date(2026, 1, 1), date(2026, 12, 31)),
        "16 Jan 2026 to 15 Jan 2027": (date(2026, 1, 16), date(2027, 1, 15)),
    }
    for name, (first, last) in periods.items():
        asked: dict[str, Asked] = {
            one: Asked(one, first, last) for one in ("unit", "post", "person", "category", "day", "month")
        }
        asked["area (districts)"] = Asked("area", first, last, level=2)
        asked["area (streets)"] = Asked("area", first, last, level=3)
        asked["area (communities)"] = Asked("area", first, last, level=4)
        asked["unit, urban only"] = Asked("unit", first, last, domain="urban")
        if first.day == 1:
            asked["area (2,300 grids)"] = Asked("area", first, last, level=5)
        for what, one in asked.items():
            taken, counted, worked = [], [], []
            for _ in range(rounds):
                began, at_work = time.perf_counter(), time.process_time()
                async with db.read() as session:
                    found = await report(session, one)
                    counted.append(time.perf_counter() - began)
                    await page_of(session, one, found, limit=100)
                taken.append(time.perf_counter() - began)
                worked.append(time.process_time() - at_work)
            sums, work = (statistics.median(one) * 1e3 for one in (counted, worked))
            shown(
                f"{name}, by {what}: {len(found.rows)} rows, sums {sums:.0f} ms, processor {work:.0f} ms; whole", taken
            )

    async def spots(session: AsyncSession) -> Any:
        return await hot_spots(session, date(2026, 1, 1), date(2026, 12, 31))

    await timed(db, "2026, hot spots", spots, rounds)


async def timed(db: Database, name: str, ask: Callable[[AsyncSession], Awaitable[Any]], rounds: int) -> None:
    """One question, several times."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        async with db.read() as session:
            await ask(session)
        taken.append(time.perf_counter() - began)
    shown(name, taken)


def rows_of(facts: Facts) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A life as rows of the store."""
    standard, kind, code = (facts.category or "||").split("|")
    yield (
        Case,
        {
            **{"id": facts.case, "source": facts.source, "state": facts.steps[-1].to_state, "disposition": "case"},
            **{"decision": "auto", "emergency": [], "secrecy": False, "version": 1, "created_at": facts.opened_at},
            **{"domain": facts.domain, "category_standard": standard, "category_kind": kind, "category_code": code},
            **{"area_id": facts.area},
        },
    )
    for seq, step in enumerate(facts.steps, 1):
        yield (
            CaseLog,
            {
                **{"case_id": facts.case, "seq": seq, "actor": step.actor, "action": step.action, "version": seq},
                **{"from_state": step.from_state, "to_state": step.to_state, "detail": {}, "at": step.at},
            },
        )
    for order in facts.orders:
        yield (
            CaseOrder,
            {
                **{"id": order.id, "case_id": facts.case, "unit_id": order.unit, "part": "lead", "round": 1},
                **{"issued_at": order.issued_at, "issued_by": order.issued_by, "outcome": order.outcome},
            },
        )
    for limit in facts.limits:
        due = limit.due_at
        yield (
            CaseDeadline,
            {
                **{"id": uuid4(), "case_id": facts.case, "order_id": limit.order, "phase": limit.phase},
                **{"limit_value": 1.0, "limit_unit": "work_day", "started_at": facts.opened_at, "due_at": due},
                **{"original_due_at": due, "extended": limit.extended, "used_s": 0, "warn_at": due, "yellow_at": due},
                **{"red_at": due, "lamp": "none", "provisional": False, "ended_at": limit.ended_at, "met": limit.met},
            },
        )


async def folding(db: Database, city: City, count: int) -> None:
    """``count`` cases as rows, folded and recomputed; the cells of the year before them are put away first."""
    async with db.begin() as session:
        await session.execute(CELLS.delete())
    for start in range(0, count, 1_000):
        rows: dict[Any, list[dict[str, Any]]] = {}
        for _ in range(min(1_000, count - start)):
            for model, values in rows_of(city.life()):
                rows.setdefault(model, []).append(values)
        async with db.begin() as session:
            for model in (Case, CaseLog, CaseOrder, CaseDeadline):
                await session.execute(insert(model), rows[model])
    at = YEAR + timedelta(days=400)
    began = time.perf_counter()
    folded = await fold(db, at)
    took = time.perf_counter() - began
    say(f"  first fold of {folded.cases:,} cases: {folded.cases / took:.0f} cases/s")
    async with db.begin() as session:  # 100 cases of the last minute
        keys = list(await session.scalars(select(Case.id).limit(100)))
        await session.execute(update(EvaluationState).values(settled_id=EvaluationState.seen_id))
        for key in keys:
            values = {"case_id": key, "seq": 99, "actor": city.people[0], "action": "grant_extension", "version": 9}
            states = {"from_state": "handling", "to_state": "handling", "detail": {}, "at": at}
            await session.execute(insert(CaseLog), {**values, **states})
    began = time.perf_counter()
    folded = await fold(db, at)
    say(f"  fold of 100 cases that moved: {(time.perf_counter() - began) * 1e3:.0f} ms")
    began = time.perf_counter()
    done = await recompute(db, at)
    took = time.perf_counter() - began
    say(f"  recomputation of {done.cases:,} cases: {done.cases / took:.0f} cases/s, {done.differed} cells differed")


async def measure(name: str, url: str, given: argparse.Namespace) -> None:
    """Everything, on one database."""
    say(name)
    db, city = Database(url), City()
    await db.connect()
    await db.migrate()
    await fill(db, city, given.cases)
    await reports(db, given.rounds)
    if given.folded:
        await folding(db, city, given.folded)
    await db.close()


def main() -> None:
    """Both databases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400_000)
    parser.add_argument("--folded", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hotline-evaluation-"))
    try:
        if given.only != "postgresql":
            asyncio.run(measure("SQLite", f"sqlite:///{folder / 'callcenter.db'}", given))
        if given.only != "sqlite":
            cluster = new_cluster(durable=True)
            try:
                asyncio.run(measure("PostgreSQL", cluster.url("postgres"), given))
            finally:
                cluster.stop()
                shutil.rmtree(cluster.folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
