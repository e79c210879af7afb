"""The case store at 10,000, 100,000 and 1,000,000 cases, on SQLite and on a PostgreSQL of its own (fsync on).

Each size is a year of an invented city (``cases_city``), filled in bulk (``cases_fill``). Then p50 and p99 in
milliseconds, and how many times the figure at the first size that is, of:

list     pages of ``find_cases`` by state, unit, area, lamp, category, and with no filter; the first and later ones.
search   by words (common, middling, rare, two together, with a filter), number, telephone.
file     a call's words to a numbered and filed case, through ``calls.repository`` and ``cases.drafts``.
act      dispatch and signing, through ``cases.acts``; each step one transaction.
sweep    the lamps that come due in an hour, all at once (``cases.supervision``).
evaluate the year by street, out of the sums. Not by itself: the first fold counts every case once and takes long.

Figures are of this process and the server on this machine together: leave it alone meanwhile.
"""

import argparse
import asyncio
import gc
import math
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import func, select

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from callcenter.calls import repository as calls
from callcenter.calls.model import case_id
from callcenter.cases import search_index
from callcenter.cases.acts import act
from callcenter.cases.lifecycle import Action, Actor, Given, Post
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cases.search import find_cases
from callcenter.cases.search_filters import Find
from callcenter.cases.supervision import sweep
from callcenter.city.model import Area, Unit
from callcenter.insight import evaluations
from callcenter.insight.evaluation_reports import Asked, report
from callcenter.storage.engine import Database
from scripts.bench.cases_city import SECRET, UNTIL
from scripts.bench.cases_fill import PostgresFill, SqliteFill, fill, migrated
from tests.databases import Cluster, new_cluster
from tests.sample_calls import SampleCall

Figures = dict[str, tuple[float, float]]
COMMON, MIDDLING, RARE = ("街", "路灯", "坏了"), ("井盖", "护栏", "树枝倒了"), ("白蚁", "消火栓", "起火")


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds, by nearest rank."""
    ordered = sorted(seconds)
    p50, p99 = (ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000 for share in (0.5, 0.99))
    return p50, p99


class Bench:
    """The measurements on one database."""

    def __init__(self, db: Database, rounds: int) -> None:
        self.db, self.rounds = db, rounds
        self.dice = random.Random(5)  # noqa: S311 - the same every time, not secret
        self.figures: Figures = {}
        self.samples: list[tuple[Any, ...]] = []
        self.units: list[UUID] = []
        self.areas: dict[int, list[str]] = {}

    async def prepare(self) -> None:
        """Something to ask for that is there."""
        async with self.db.read() as session:
            self.units = list(await session.scalars(select(Unit.id).order_by(Unit.code)))
            for code, level in await session.execute(select(Area.code, Area.level)):
                self.areas.setdefault(level, []).append(code)
            every = max(1, (await session.scalar(select(func.count()).select_from(Case)) or 0) // 300)
            found = await session.execute(
                select(Case.number, CaseParticulars.reporter_number, Case.created_at, Case.category_code)
                .join(CaseParticulars, CaseParticulars.case_id == Case.id)
                .where(Case.number.is_not(None))
                .order_by(Case.created_at)
            )
            self.samples = [tuple(row) for n, row in enumerate(found) if n % every == 0]

    async def timed(self, name: str, ask: Callable[[], Awaitable[object]], rounds: int | None = None) -> None:
        """``ask`` again and again, after two that do not count."""
        taken = []
        for number in range(-2, rounds or self.rounds):
            began = time.perf_counter()
            await ask()
            if number >= 0:
                taken.append(time.perf_counter() - began)
        self.figures[name] = percentiles(taken)

    async def find(self, make: Callable[[], Find], *, deep: bool = False) -> None:
        """One page; ``deep``: from somewhere in the year on."""
        find = make()
        if deep and self.dice.random() < 0.5:
            find = replace(find, created_before=self.dice.choice(self.samples)[2])
        async with self.db.read() as session:
            await find_cases(session, find, limit=50)

    async def lists(self) -> None:
        """What a page of a screen asks for."""
        pick = self.dice.choice
        asked: dict[str, Callable[[], Find]] = {
            "list all": Find,
            "list state": lambda: Find(states=[pick(("handling", "closed", "pending_dispatch", "suspended"))]),
            "list three states": lambda: Find(states=["pending_handle", "handling", "closed"]),
            "list unit": lambda: Find(unit=pick(self.units)),
            "list unit, state": lambda: Find(unit=pick(self.units), states=[pick(("handling", "closed"))]),
            "list unit's own": lambda: Find(unit=pick(self.units), assisting=True, filed_only=True),
            "list unit's own, state": lambda: Find(
                unit=pick(self.units), assisting=True, filed_only=True, states=[pick(("handling", "closed"))]
            ),
            "list district": lambda: Find(area=pick(self.areas[2])),
            "list street": lambda: Find(area=pick(self.areas[3])),
            "list grid": lambda: Find(area=pick(self.areas[5])),
            "list lamp": lambda: Find(lamp=pick(("red", "yellow", "warned"))),
            "list lamp, unit": lambda: Find(lamp="red", unit=pick(self.units)),
            "list category, domain": lambda: Find(category=pick(self.samples)[3], domain="social"),
            "list source": lambda: Find(source=pick(("110", "media", "phone"))),
        }
        for name, make in asked.items():
            await self.timed(name, lambda make=make: self.find(make, deep=True))  # type: ignore[misc]

    async def searches(self) -> None:
        """What somebody types."""
        pick = self.dice.choice
        asked: dict[str, Callable[[], Find]] = {
            "words common": lambda: Find(words=pick(COMMON)),
            "words middling": lambda: Find(words=pick(MIDDLING)),
            "words rare": lambda: Find(words=pick(RARE)),
            "words two": lambda: Find(words=f"{pick(RARE)} {pick(COMMON)}"),
            "words none": lambda: Find(words="鳄鱼"),
            "words common, unit": lambda: Find(words=pick(COMMON), unit=pick(self.units)),
            "words middling, street": lambda: Find(words=pick(MIDDLING), area=pick(self.areas[3])),
            "words rare, lamp": lambda: Find(words=pick(RARE), lamp="red"),
            "words middling, state": lambda: Find(words=pick(MIDDLING), states=["handling"]),
            "number": lambda: Find(number=pick(self.samples)[0]),
            "number of a day": lambda: Find(number=pick(self.samples)[0][:8]),
            "number of a month": lambda: Find(number=pick(self.samples)[0][:6]),
            "phone, last 4": lambda: Find(phone=pick(self.samples)[1][-4:]),
            "phone, last 7": lambda: Find(phone=pick(self.samples)[1][-7:]),
            "phone, whole": lambda: Find(phone=pick(self.samples)[1]),
        }
        for name, make in asked.items():
            await self.timed(name, lambda make=make: self.find(make))  # type: ignore[misc]

    async def lives(self) -> None:
        """Filing and acting: whole transactions, synced to disk."""
        filed: list[UUID] = []

        async def file() -> None:
            call = SampleCall()
            for command in (call.started(), call.routed("解放路的井盖不见了"), call.completed()):
                async with self.db.begin() as session:
                    await calls.apply(session, command)
            filed.append(case_id(call.call))

        await self.timed("file a call", file)
        dispatcher = Actor(str(UUID(int=1)), frozenset({Post.DISPATCHER}))
        unit = self.units[0]
        handler = Actor(str(UUID(int=2)), frozenset({Post.UNIT}), unit)
        moments = iter(range(10**9))

        async def step() -> None:
            number = next(moments)
            action, actor, given = (
                (Action.DISPATCH, dispatcher, Given(unit=unit)) if number % 2 == 0 else (Action.SIGN, handler, Given())
            )
            async with self.db.begin() as session:
                case = filed[number // 2]
                await act(
                    session,
                    case,
                    action,
                    actor=actor,
                    given=given,
                    expected_version=await session.scalar(select(Case.version).where(Case.id == case)),
                    at=SampleCall().at(600 + number),
                )

        await self.timed("act", step, rounds=min(self.rounds, 2 * len(filed) - 4))

    async def lamps(self) -> None:
        """One sweep, an hour after the data end."""
        began = time.perf_counter()
        result = await sweep(self.db, UNTIL + timedelta(hours=1))
        took = (time.perf_counter() - began) * 1000
        self.figures["sweep"] = (took, took)
        print(f"  {result}")

    async def evaluation(self) -> None:
        """The first fold, then the year."""
        began = time.perf_counter()
        folded = await evaluations.fold(self.db, UNTIL)
        print(f"  first fold: {folded.cases:,} cases in {time.perf_counter() - began:.0f} s")

        async def year() -> None:
            async with self.db.read() as session:
                await report(session, Asked("area", (UNTIL - timedelta(days=364)).date(), UNTIL.date(), level=3))

        await self.timed("evaluate a year", year, rounds=min(self.rounds, 50))

    async def all(self, parts: set[str]) -> Figures:
        """Everything asked for."""
        await self.prepare()
        # What the libraries brought along is not looked through again (see scripts/bench/store.py).
        gc.collect()
        gc.freeze()
        for name, part in {
            "list": self.lists,
            "search": self.searches,
            "sweep": self.lamps,
            "evaluate": self.evaluation,
            "act": self.lives,
        }.items():
            if name in parts:
                await part()
        return self.figures


async def filled(size: int, folder: Path, cluster: Cluster | None, sqlite: bool) -> dict[str, str]:
    """The URLs of new databases with so many cases."""
    path, name = folder / f"cases-{size}.db", f"cases_{size}"
    targets: list[SqliteFill | PostgresFill] = []
    urls: dict[str, str] = {}
    if sqlite:
        urls["SQLite"] = f"sqlite:///{path}"
        await (await migrated(urls["SQLite"])).close()
        targets.append(SqliteFill(path))
    if cluster is not None:
        urls["PostgreSQL"] = cluster.url(name)
        cluster.sql(f"CREATE DATABASE {name}")
        await (await migrated(urls["PostgreSQL"])).close()
        server = str(cluster.folder)
        target = PostgresFill(await asyncpg.connect(host=server, user="postgres", database=name, timeout=60))
        await target.begin()
        targets.append(target)
    began = time.perf_counter()
    await fill(size, targets)
    print(f"filled with {size:,} cases in {time.perf_counter() - began:.0f} s")
    return urls


async def run(given: argparse.Namespace, folder: Path, cluster: Cluster | None) -> None:
    """Every size on every database, then what is beside what."""
    search_index._in_force[:] = [SECRET]
    first: dict[str, Figures] = {}
    for size in [int(size) for size in given.sizes.split(",")]:
        for name, url in (await filled(size, folder, cluster, "sqlite" in given.on)).items():
            db = Database(url)
            await db.connect()
            print(f"{name}, {size:,} cases")
            figures = await Bench(db, given.rounds).all(set(given.parts.split(",")))
            await db.close()
            beside = first.setdefault(name, figures)
            for what, (p50, p99) in figures.items():
                ratio = f"p99 × {p99 / beside[what][1]:.2f}" if beside is not figures else ""
                print(f"  {what:26} p50 {p50:8.1f} ms   p99 {p99:8.1f} ms   {ratio}", flush=True)


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--on", default="sqlite,postgresql")
    parser.add_argument("--parts", default="list,search,sweep,act")
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hotline-cases-"))
    cluster = new_cluster(durable=True) if "postgresql" in given.on else None
    try:
        asyncio.run(run(given, folder, cluster))
    finally:
        if cluster is not None:
            cluster.stop()
            shutil.rmtree(cluster.folder)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
