"""The store under load, on SQLite and on a PostgreSQL of its own (fsync on, as in service).

record   ``--calls`` calls at once through the ledger: as fast as each is answered (a flood, without the patience that
would
         send it to the spool: what the store itself can take), then at the pace of speech, with the patience of
         service.
feed     ``--items`` filed cases pulled and acknowledged, 100 at a time, while the sequencer runs.
lists    pages of cases at 10,000 and, with ``--cases N``, at N cases.
replay   commands a second out of the spool after an outage.
"""

import argparse
import asyncio
import gc
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from callcenter.calls import repository as calls
from callcenter.calls.ledger import CallLedger
from callcenter.calls.spool import Spool, encode
from callcenter.cases.repository import list_cases
from callcenter.clock import now
from callcenter.dispatch.feed import Feed, FeedSequencer
from callcenter.storage.engine import Database
from tests.databases import new_cluster
from tests.sample_calls import SampleCall

PACE_S = 1.5
"""Between two commands of a call that is spoken: an utterance and its routing every three seconds."""


def percentiles(seconds: list[float]) -> str:
    """p50, p99 and the largest, in milliseconds, by nearest rank."""
    ordered = sorted(seconds)
    p50, p99 = (ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000 for share in (0.5, 0.99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {ordered[-1] * 1000:.1f} ms"


async def record(db: Database, spool: Path, at_once: int, seconds: float, pace: float) -> None:
    """Calls at once through the ledger for ``seconds``, ``pace`` seconds between the commands of each."""
    ledger = CallLedger(db, spool, patience_ms=300 if pace else 60_000)
    await ledger.start()
    taken: list[float] = []
    ends = time.monotonic() + seconds

    async def speak(first: float) -> None:
        await asyncio.sleep(first)
        while time.monotonic() < ends:
            for command in SampleCall().whole():
                before = time.perf_counter()
                await ledger.record(command)
                taken.append(time.perf_counter() - before)
                if pace:
                    await asyncio.sleep(pace)
                    if time.monotonic() > ends:
                        return

    started, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(speak(pace * n / at_once) for n in range(at_once)))
    took, used = time.monotonic() - started, time.process_time() - cpu
    places = ", ".join(f"{name} {number}" for name, number in sorted(ledger.counts.items()))
    how = f"pace {pace} s" if pace else "flood"
    print(
        f"  record   {at_once} calls, {how}: {percentiles(taken)}; {len(taken) / took:.0f} commands/s; {places};",
        end="",
    )
    print(f" {used / len(taken) * 1e3:.2f} ms CPU each (all our threads)")
    while ledger.pending:  # noqa: ASYNC110 - a benchmark may look
        await asyncio.sleep(0.05)
    await ledger.stop()


async def replay(db: Database, spool: Path, number: int) -> None:
    """The spool of an outage, replayed."""
    filled = Spool(spool)
    await filled.open()
    commands = [command for _ in range(number // 10) for command in SampleCall().whole()]
    before = time.perf_counter()
    await asyncio.gather(*(filled.append(encode(command)) for command in commands))
    wrote = time.perf_counter() - before
    await filled.close()
    ledger = CallLedger(db, spool)
    before = time.perf_counter()
    await ledger.start()
    while ledger.pending:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    took = time.perf_counter() - before
    await ledger.stop()
    print(
        f"  replay   {len(commands)} commands: {len(commands) / took:.0f}/s (spooled at {len(commands) / wrote:.0f}/s)"
    )


async def feed(db: Database, items: int) -> None:
    """Filed cases through the feed, by one reader."""
    for _ in range(0, items, 100):
        async with db.begin() as session:
            for _ in range(100):
                call = SampleCall()
                for command in (call.started(), call.routed("井盖不见了"), call.completed()):
                    await calls.apply(session, command)
    sequencer = FeedSequencer(db)
    before = time.perf_counter()
    await sequencer.start()
    while True:
        async with db.read() as session:
            if await session.scalar(text("SELECT count(*) FROM outbox_events WHERE position IS NULL")) == 0:
                break
        await asyncio.sleep(0.01)
    placed = time.perf_counter() - before
    reader = Feed(db)
    taken: list[float] = []
    got = 0
    before = time.perf_counter()
    while True:
        began = time.perf_counter()
        page = await reader.pull("bench", limit=100, at=now())
        if not page:
            break
        await reader.ack("bench", page[-1].position, at=now())
        taken.append(time.perf_counter() - began)
        got += len(page)
    took = time.perf_counter() - before
    await sequencer.stop()
    print(f"  feed     {got} items pulled and acknowledged by 100: {got / took:.0f}/s; each 100: {percentiles(taken)}")
    print(f"           positions for all waiting events in {placed:.2f} s")


async def lists(db: Database, total: int) -> None:
    """First and later pages of cases, with and without filters, at ``total`` cases."""
    async with db.read() as session:
        have = await session.scalar(text("SELECT count(*) FROM cases")) or 0
    # Straight into the tables: only how many there are matters here.
    at = "1763000000000000 + n * 1000000" if db.is_sqlite else "to_timestamp(1763000000 + n)"
    key = "lower(hex(randomblob(16)))" if db.is_sqlite else "gen_random_uuid()"
    series = (
        "WITH RECURSIVE s(n) AS (SELECT :a UNION ALL SELECT n + 1 FROM s WHERE n < :b) SELECT n FROM s"
        if db.is_sqlite
        else "SELECT generate_series(:a ::int, :b ::int) AS n"
    )
    flag = "0" if db.is_sqlite else "false"
    for first in range(have, total, 50_000):
        async with db.begin() as session:
            values = (
                f"{key}, 'bench', CASE WHEN n % 10 = 0 THEN 'reported' ELSE 'pending_dispatch' END, 'case',"
                " CASE WHEN n % 3 = 0 THEN 'social' ELSE 'urban' END, 'bench', '0' || (n % 40),"
                f" CASE WHEN n % 5 = 0 THEN 'confirm' ELSE 'auto' END, '[]', {flag}, 1, {at}"
            )
            columns = (
                "id, source, state, disposition, domain, category_standard, category_code, decision,"
                " emergency, secrecy, version, created_at"
            )
            await session.execute(
                text(f"INSERT INTO cases ({columns}) SELECT {values} FROM ({series}) AS series"),  # noqa: S608
                {"a": first, "b": min(first + 50_000, total) - 1},
            )
            await session.execute(
                text(
                    "INSERT INTO case_particulars (case_id, text) SELECT id, '井盖不见了' FROM cases"
                    " WHERE NOT EXISTS (SELECT 1 FROM case_particulars AS p WHERE p.case_id = cases.id)"
                )
            )
    async with db.begin() as session:
        await session.execute(text("ANALYZE"))
    taken: dict[str, list[float]] = {}
    filters: dict[str, dict[str, object]] = {
        "all": {},
        "state": {"states": ["reported"]},
        "two states": {"states": ["reported", "pending_dispatch"]},
        "state, domain": {"states": ["reported"], "domain": "social"},
        "category": {"category": "07"},
    }
    for name, given in filters.items():
        cursor: str | None = None
        for _ in range(200):
            before = time.perf_counter()
            async with db.read() as session:
                page = await list_cases(session, limit=50, after=cursor, **given)  # type: ignore[arg-type]
            taken.setdefault(name, []).append(time.perf_counter() - before)
            cursor = page.next if len(taken[name]) % 40 else None
    for name, seconds in taken.items():
        print(f"  list     {total:,} cases, {name}: {percentiles(seconds)}")


async def measure(name: str, url: str, folder: Path, given: argparse.Namespace) -> None:
    """Everything, on one database."""
    print(name)
    db = Database(url)
    await db.connect()
    await db.migrate()
    # What the libraries brought along is not looked through again: a full collection of Python's garbage collector
    # would stop everything for 60 to 90 ms now and then, and p99 would be the collector's.
    gc.collect()
    gc.freeze()
    await record(db, folder / "flood", given.calls, given.seconds, 0)
    await record(db, folder / "pace", given.calls, given.seconds, PACE_S)
    await replay(db, folder / "replay", 5000)
    await feed(db, given.items)
    for total in (10_000, given.cases):
        if total:
            await lists(db, total)
    await db.close()


def main() -> None:
    """Both databases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--cases", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hotline-bench-"))
    try:
        asyncio.run(measure("SQLite", f"sqlite:///{folder / 'callcenter.db'}", folder / "sqlite", given))
        cluster = new_cluster(durable=True)
        try:
            asyncio.run(measure("PostgreSQL", cluster.url("postgres"), folder / "postgresql", given))
        finally:
            cluster.stop()
            shutil.rmtree(cluster.folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
