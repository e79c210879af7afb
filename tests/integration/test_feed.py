"""The feed skips nothing: whatever order transactions commit in, whoever gives the positions, whenever readers look."""

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from callcenter.calls import repository as calls
from callcenter.calls.model import case_id
from callcenter.cases import repository as cases
from callcenter.clock import now
from callcenter.dispatch.feed import (
    AckBeyondEnd,
    Feed,
    FeedItem,
    FeedSequencer,
    ack,
    acknowledged,
    end_of_feed,
    peek,
    pull,
)
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent, write_events
from tests.databases import Cluster, new_cluster
from tests.sample_calls import RUNG, SampleCall

pytestmark = pytest.mark.integration

HOLDER = """
import asyncio, sys
from callcenter.dispatch.feed import FeedSequencer
from callcenter.storage.engine import Database

async def main():
    db = Database(sys.argv[1])
    await db.connect()
    sequencer = FeedSequencer(db, poll_s=0.05)
    await sequencer.start()
    while not sequencer.holds:
        await asyncio.sleep(0.01)
    print("holds", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def file_case(db: Database, call: SampleCall | None = None) -> UUID:
    """A call whose case is filed, in one transaction."""
    call = call or SampleCall()
    async with db.begin() as session:
        for command in (call.started(), call.routed("井盖不见了"), call.completed()):
            await calls.apply(session, command)
    return case_id(call.call)


async def eventually(holds: Callable[[], object], within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is waited for is another process, or tells nobody
            await asyncio.sleep(0.01)


async def placed(db: Database, within: float = 5.0) -> None:
    """Until every committed event has its position."""
    async with asyncio.timeout(within):
        while True:
            async with db.read() as session:
                if await session.scalar(text("SELECT count(*) FROM outbox_events WHERE position IS NULL")) == 0:
                    return
            await asyncio.sleep(0.01)


@pytest.fixture
async def sequencer(db: Database) -> AsyncIterator[FeedSequencer]:
    running = FeedSequencer(db)
    await running.start()
    yield running
    await running.stop()


async def test_only_filed_cases_are_in_the_feed_in_order_and_as_they_are_now(
    db: Database, sequencer: FeedSequencer
) -> None:
    draft, waiting, question = SampleCall(), SampleCall(), SampleCall()
    first = await file_case(db)
    async with db.begin() as session:
        for command in (draft.started(), draft.routed("井盖不见了")):
            await calls.apply(session, command)
        for command in waiting.whole(decision="confirm") + question.whole(disposition="question", category=None):
            await calls.apply(session, command)
    second = await file_case(db)
    await placed(db)
    async with db.begin() as session:
        items = await pull(session, "unit-1", at=RUNG + timedelta(hours=1))
    assert [(item.kind, item.case.case.id) for item in items] == [("case.filed", first), ("case.filed", second)]
    assert items[0].position < items[1].position
    assert items[0].case.particulars.text == "井盖不见了"

    async with db.begin() as session:
        reported = (await cases.get_case(session, case_id(waiting.call))).case
        await cases.confirm_routing(
            session, reported.id, user_id=uuid4(), choice=None, expected_version=reported.version, at=now()
        )
    await placed(db)
    async with db.read() as session:
        more = await peek(session, "unit-1", after=items[-1].position)
        everything = list(await session.scalars(select(OutboxEvent.position).order_by(OutboxEvent.position)))
    assert [item.case.case.id for item in more] == [case_id(waiting.call)]
    assert everything == list(range(1, len(everything) + 1)), "positions have no gaps"


async def test_the_first_pull_is_on_the_calls_timeline(db: Database, sequencer: FeedSequencer) -> None:
    call = SampleCall()
    await file_case(db, call)
    await placed(db)
    feed = Feed(db)
    (item,) = await feed.pull("unit-1", at=call.at(40))
    assert item.case.case.pulled_at is None, "the item shows the case as it was when it was pulled"
    await feed.pull("unit-2", at=call.at(50))
    async with db.read() as session:
        found = await calls.get_call(session, call.call)
    assert found.marks["pulled"] == call.at(40)
    assert found.cases[0].case.version == item.case.case.version, "a pull is no change of the case"


async def test_pulling_takes_nothing_away_until_it_is_acknowledged(db: Database, sequencer: FeedSequencer) -> None:
    for _ in range(5):
        await file_case(db)
    await placed(db)
    feed = Feed(db)
    first = await feed.pull("unit-1", limit=2, at=now())
    assert [item.event for item in await feed.pull("unit-1", limit=2, at=now())] == [item.event for item in first]
    assert await feed.ack("unit-1", first[-1].position, at=now()) == first[-1].position
    rest = await feed.pull("unit-1", at=now())
    assert len(rest) == 3
    assert rest[0].position > first[-1].position
    assert len(await feed.pull("unit-2", at=now())) == 5, "each reader has a position of its own"


async def test_acknowledging_only_moves_forward_and_not_beyond_the_end(db: Database, sequencer: FeedSequencer) -> None:
    await file_case(db)
    await placed(db)
    async with db.begin() as session:
        end = await end_of_feed(session)
        assert await ack(session, "unit-1", end, at=now()) == end
        assert await ack(session, "unit-1", end, at=now()) == end
        assert await ack(session, "unit-1", 1, at=now()) == end
        with pytest.raises(AckBeyondEnd, match=f"position {end + 1} is beyond the end of the feed, {end}"):
            await ack(session, "unit-1", end + 1, at=now())
        with pytest.raises(ValueError, match="count from 1"):
            await ack(session, "unit-1", -1, at=now())
        assert await acknowledged(session, "unit-1") == end
        assert await acknowledged(session, "nobody") == 0


async def test_two_acknowledgements_at_once_keep_the_further(db: Database, sequencer: FeedSequencer) -> None:
    for _ in range(10):
        await file_case(db)
    await placed(db)
    async with db.read() as session:
        end = await end_of_feed(session)
    feed = Feed(db)
    positions = list(range(1, end + 1))
    random.Random(1).shuffle(positions)
    await asyncio.gather(*(feed.ack("unit-1", position, at=now()) for position in positions))
    async with db.read() as session:
        assert await acknowledged(session, "unit-1") == end


async def test_transactions_that_commit_in_inverse_order_are_both_seen(pg_db: Database) -> None:
    """The first-begun commits last: its event has the lower id, and a reader has long passed that."""
    db = pg_db
    sequencer = FeedSequencer(db)
    await sequencer.start()
    feed = Feed(db)
    # Of another citizen: what one is sent is counted, and waits for whoever is telling them.
    early, late = SampleCall(rung_at=RUNG), SampleCall(number="13700000000", rung_at=RUNG + timedelta(days=1))
    may_commit = asyncio.Event()
    written = asyncio.Event()

    async def slow() -> None:
        async with db.begin() as session:
            for command in (early.started(), early.routed("井盖不见了"), early.completed()):
                await calls.apply(session, command)
            await write_events(session)
            written.set()
            await may_commit.wait()

    begun_first = asyncio.create_task(slow())
    await written.wait()
    await file_case(db, late)
    seen: list[FeedItem] = []
    async with asyncio.timeout(5):
        while not seen:
            seen += await feed.pull("unit-1", after=0, at=now())
    assert [item.case.case.id for item in seen] == [case_id(late.call)]
    await feed.ack("unit-1", seen[-1].position, at=now())
    await asyncio.sleep(0.5)  # several rounds of the sequencer pass while the first one is still open
    may_commit.set()
    await begun_first
    async with asyncio.timeout(5):
        while len(seen) < 2:
            seen += await feed.pull("unit-1", at=now())
    assert [item.case.case.id for item in seen] == [case_id(late.call), case_id(early.call)]
    async with db.read() as session:
        ids = dict((await session.execute(select(OutboxEvent.position, OutboxEvent.id).where(OutboxEvent.feed))).all())
    assert ids[seen[0].position] > ids[seen[1].position], "the ids were in inverse order, or the test shows nothing"
    await sequencer.stop()


async def test_readers_in_a_storm_of_writers_skip_nothing_and_see_one_order(db: Database) -> None:
    """20 writers of 5 cases, some of which roll back or dawdle; two sequencers that hand over; 4 readers that poll."""
    dice = random.Random(12319)
    sequencers = [FeedSequencer(db, poll_s=0.02), FeedSequencer(db, poll_s=0.02)]
    for sequencer in sequencers:
        await sequencer.start()
    feed = Feed(db)
    filed: set[UUID] = set()
    finished = False

    async def writer() -> None:
        for _ in range(5):
            call, fails, pause = SampleCall(), dice.random() < 0.2, dice.random() * 0.05
            with contextlib.suppress(ZeroDivisionError):
                async with db.begin() as session:
                    for command in (call.started(), call.routed("井盖不见了"), call.completed()):
                        await calls.apply(session, command)
                    await write_events(session)
                    if not db.is_sqlite:
                        await asyncio.sleep(pause)
                    if fails:
                        raise ZeroDivisionError
                filed.add(case_id(call.call))

    async def reader(name: str) -> list[tuple[int, UUID]]:
        got: list[tuple[int, UUID]] = []
        while True:
            last_round = finished
            items = await feed.pull(name, limit=dice.choice([1, 3, 50]), at=now())
            got += [(item.position, item.case.case.id) for item in items]
            if items:
                await feed.ack(name, items[-1].position, at=now())
            elif last_round:
                return got
            await asyncio.sleep(0.001)

    async def hand_over() -> None:
        while not finished:
            await asyncio.sleep(0.15)
            for sequencer in sequencers:
                if sequencer.holds:
                    await sequencer.stop()
                    await sequencer.start()

    readers = [asyncio.create_task(reader(f"unit-{n}")) for n in range(4)]
    turns = asyncio.create_task(hand_over())
    await asyncio.gather(*(writer() for _ in range(20)))
    await placed(db, 20)
    finished = True
    seen = [await task for task in readers]
    await turns
    for sequencer in sequencers:
        await sequencer.stop()
    assert 50 < len(filed) < 100
    for got in seen:
        assert got == seen[0]
        assert [position for position, _ in got] == sorted({position for position, _ in got})
        assert {case for _, case in got} == filed
        assert len(got) == len(filed)


async def test_only_one_sequencer_holds_and_the_next_takes_over(db: Database) -> None:
    first, second = FeedSequencer(db, poll_s=0.05), FeedSequencer(db, poll_s=0.05)
    await first.start()
    await eventually(lambda: first.holds)
    await second.start()
    await asyncio.sleep(0.3)
    assert not second.holds
    await first.stop()
    await eventually(lambda: second.holds)
    await file_case(db)
    await placed(db)
    await second.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_another_process_takes_over_when_the_holder_is_killed(db: Database, how: signal.Signals) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, db.url.render_as_string(hide_password=False), stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert await asyncio.wait_for(holder.stdout.readline(), 20) == b"holds\n"
        mine = FeedSequencer(db, poll_s=0.05)
        await mine.start()
        await file_case(db)
        await placed(db)
        assert not mine.holds, "the other process gave the positions"
    finally:
        holder.send_signal(how)
        await holder.wait()
    before = asyncio.get_running_loop().time()
    await eventually(lambda: mine.holds)
    assert asyncio.get_running_loop().time() - before < 2
    await file_case(db)
    await placed(db)
    await mine.stop()


async def test_a_holder_whose_connection_is_cut_gives_way_and_comes_back(postgres: Cluster, pg_db: Database) -> None:
    db = pg_db
    sequencer = FeedSequencer(db, poll_s=0.05)
    await sequencer.start()
    await eventually(lambda: sequencer.holds)
    cut = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert postgres.sql(cut, str(db.url.database)).strip() == "1"
    await file_case(db)
    await placed(db)
    assert sequencer.holds
    assert sequencer.fault is None
    await sequencer.stop()


async def test_the_feed_comes_back_with_its_database() -> None:
    """PostgreSQL crashes and returns: no positions meanwhile, the fault is named, nothing is skipped or given twice."""
    cluster = new_cluster(durable=True)
    try:
        db = Database(cluster.url("postgres"))
        await db.connect()
        await db.migrate()
        sequencer = FeedSequencer(db, poll_s=0.05)
        await sequencer.start()
        first = await file_case(db)
        await placed(db)
        cluster.stop(signal.SIGQUIT)
        await eventually(lambda: sequencer.fault is not None)
        assert not sequencer.holds
        cluster.start()
        second = await file_case(db)
        await placed(db, 10)
        assert sequencer.fault is None
        items = await Feed(db).pull("unit-1", at=now())
        assert [item.case.case.id for item in items] == [first, second]
        await sequencer.stop()
        await db.close()
    finally:
        cluster.stop()
        shutil.rmtree(cluster.folder)
