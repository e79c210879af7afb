"""Jobs: written with their cause, done once by their key, tried again, given up visibly, whatever process dies."""

import asyncio
import contextlib
import random
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from callcenter import clock
from callcenter.cases.model import CaseCounter
from callcenter.city.model import Area
from callcenter.jobs import store
from callcenter.jobs.model import Job
from callcenter.jobs.runner import GiveUp, Runner
from callcenter.jobs.store import Backoff, add_job
from callcenter.storage.engine import Database
from callcenter.storage.rows import insert_into, insert_new

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
NUMBER = "13800138000"


async def asked(db: Database, key: str = "one", kind: str = "test.do", **more: object) -> UUID:
    async with db.begin() as session:
        return await add_job(session, kind, key, {"count": 1}, at=AT, **more)  # type: ignore[arg-type]


async def the_job(db: Database, id: UUID) -> Job:
    async with db.read() as session:
        return await session.get_one(Job, id)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


# -- asking ------------------------------------------------------------------------------------------------------------
async def test_a_job_is_asked_for_once_and_with_its_cause(db: Database) -> None:
    first, again, other = await asked(db), await asked(db), await asked(db, "two")
    assert first == again != other

    class HalfwayError(Exception):
        pass

    with contextlib.suppress(HalfwayError):
        async with db.begin() as session:
            await add_job(session, "test.do", "three", {}, at=AT)
            raise HalfwayError
    async with db.read() as session:
        assert set(await session.scalars(select(Job.key))) == {"one", "two"}


@pytest.mark.parametrize("value", [NUMBER, "解放路", 13800138000, 1.5, ["a"], {"a": 1}, "a b"])
async def test_no_words_and_no_number_get_into_a_job(db: Database, value: object) -> None:
    with pytest.raises(ValueError, match=r"of job test\.do: ref 'what'") as refused:
        async with db.begin() as session:
            await add_job(session, "test.do", "key", {"what": value}, at=AT)  # type: ignore[dict-item]
    assert str(value) not in str(refused.value)


@pytest.mark.parametrize(("kind", "key"), [("", "k"), ("k", ""), ("k" * 49, "k"), ("k", "k" * 161)])
async def test_a_name_that_one_database_would_cut_is_refused_by_both(db: Database, kind: str, key: str) -> None:
    with pytest.raises(ValueError, match="1 to"):
        async with db.begin() as session:
            await add_job(session, kind, key, {}, at=AT)


# -- carrying out ------------------------------------------------------------------------------------------------------
class Handler:
    """Does what it is told, and remembers."""

    def __init__(self, *faults: BaseException | None) -> None:
        self.faults = list(faults)
        self.seen: list[str] = []

    async def __call__(self, db: Database, job: Job) -> None:
        self.seen.append(job.key)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault


async def test_a_due_job_is_done_and_never_again(db: Database) -> None:
    handler = Handler()
    runner = Runner(db, {"test.do": handler})
    id = await asked(db, run_at=AT + seconds(10))
    await asked(db, "other kind", kind="test.other")
    assert await runner.run_once(AT + seconds(9.999)) == 0
    assert await runner.run_once(AT + seconds(10)) == 1
    assert await runner.run_once(AT + timedelta(days=9)) == 0
    await asked(db, run_at=AT)
    assert await runner.run_once(AT + timedelta(days=9)) == 0
    job = await the_job(db, id)
    assert (job.done_at, job.attempts, job.leased_until, job.fault) == (AT + seconds(10), 1, None, None)
    assert handler.seen == ["one"]
    assert runner.counts == {"done": 1}


async def test_waits_grow_exactly_and_it_is_given_up_visibly(db: Database) -> None:
    backoff = Backoff(attempts=4)
    runner = Runner(db, {"test.do": Handler(*(RuntimeError(f"call {NUMBER}") for _ in range(9)))}, backoff=backoff)
    id, at = await asked(db), AT
    for wait in (5, 10, 20):
        assert await runner.run_once(at) == 1
        job = await the_job(db, id)
        assert (job.run_at, job.fault, job.failed_at) == (at + seconds(wait), "RuntimeError", None)
        assert await runner.run_once(at + seconds(wait - 0.001)) == 0
        at = job.run_at
    assert await runner.run_once(at) == 1
    job = await the_job(db, id)
    assert (job.failed_at, job.attempts, job.done_at) == (at, 4, None)
    assert NUMBER not in str(job.fault)
    assert await runner.run_once(at + timedelta(days=9)) == 0
    async with db.read() as session:
        assert [one.id for one in await store.given_up(session)] == [id]
    async with db.begin() as session:
        assert await store.try_again(session, id, at)
        assert not await store.try_again(session, uuid4(), at)
    runner = Runner(db, {"test.do": Handler()}, backoff=backoff)
    assert await runner.run_once(at) == 1
    assert (await the_job(db, id)).done_at == at


@given(st.integers(1, 10_000), st.floats(0.1, 60), st.floats(1, 4), st.floats(60, 1e5))
def test_waits_never_shrink_and_never_pass_the_longest(attempts: int, first: float, factor: float, most: float) -> None:
    backoff = Backoff(seconds(first), factor, seconds(most))
    assert seconds(first) <= backoff.wait(attempts) + seconds(1e-5)
    assert backoff.wait(attempts) <= backoff.wait(attempts + 1) <= seconds(most)


async def test_what_cannot_be_mended_is_given_up_at_once(db: Database) -> None:
    runner = Runner(db, {"test.do": Handler(GiveUp("gateway_400")), "test.mute": Handler(GiveUp())})
    id, mute = await asked(db), await asked(db, "mute", kind="test.mute")
    assert await runner.run_once(AT) == 2
    job = await the_job(db, id)
    assert (job.failed_at, job.attempts, job.fault) == (AT, 1, "gateway_400")
    assert (await the_job(db, mute)).failed_at == AT
    assert runner.counts == {"given_up": 2}


async def test_a_handler_that_hangs_has_failed_before_its_lease_ends(db: Database) -> None:
    async def hang(db: Database, job: Job) -> None:
        await asyncio.Event().wait()

    id = await asked(db)
    await Runner(db, {"test.do": hang}, lease_s=0.05).run_once(AT)
    job = await the_job(db, id)
    assert (job.fault, job.run_at, job.leased_until) == ("TimeoutError", AT + seconds(5), None)


async def test_a_dead_process_job_is_taken_again_and_its_ghost_changes_nothing(db: Database) -> None:
    id = await asked(db)
    ghost = Runner(db, {"test.do": Handler()}, lease_s=60)
    [held] = await ghost._lease(AT, 8)
    handler = Handler()
    runner = Runner(db, {"test.do": handler}, lease_s=60)
    assert await runner.run_once(AT + seconds(59.9)) == 0
    [again] = await runner._lease(AT + seconds(60), 8)
    await ghost._carry_out(held, AT + seconds(61))  # it was only slow, and writes its outcome now
    assert ghost.counts == {"overtaken": 1}
    assert (await the_job(db, id)).done_at is None
    await runner._carry_out(again, AT + seconds(62))
    job = await the_job(db, id)
    assert (job.done_at, job.attempts) == (AT + seconds(62), 2)


async def test_a_job_that_kills_its_process_each_time_is_given_up(db: Database) -> None:
    id, at = await asked(db), AT
    runner = Runner(db, {"test.do": Handler()}, backoff=Backoff(attempts=3), lease_s=60)
    for _ in range(3):
        assert len(await runner._lease(at, 8)) == 1
        at += seconds(60)
    assert await runner.run_once(at) == 0
    job = await the_job(db, id)
    assert (job.failed_at, job.fault, job.attempts) == (at, store.DIED, 3)


async def test_two_runners_share_the_work_without_doing_any_twice(db: Database, db_url: str) -> None:
    other = Database(db_url)
    await other.connect()
    keys = [f"job-{number}" for number in range(60)]
    for key in keys:
        await asked(db, key)
    handler = Handler()
    runners = [Runner(one, {"test.do": handler}, parallel=4) for one in (db, other)]

    async def work(runner: Runner) -> None:
        while await runner.run_once(AT):
            pass

    await asyncio.gather(*(work(runner) for runner in runners))
    await other.close()
    assert Counter(handler.seen) == Counter(keys)
    assert sum(runner.counts["done"] for runner in runners) == 60


async def test_counts_say_what_waits(db: Database) -> None:
    for number in range(3):
        await asked(db, f"a{number}", run_at=AT + seconds(number))
    await asked(db, "b", kind="test.other", run_at=AT + timedelta(hours=1))
    runner = Runner(db, {"test.do": Handler()})
    await runner._lease(AT, 1)
    async with db.read() as session:
        counts = await store.counts(session, AT + seconds(2))
    assert counts == store.JobCounts({"test.do": 3, "test.other": 1}, due=2, leased=1, oldest_due_s=1.0)


# -- as a process ------------------------------------------------------------------------------------------------------
async def test_a_running_runner_takes_jobs_by_itself_and_gives_back_what_it_cannot_end(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter.jobs.runner.STOP_PATIENCE_S", 0.05)
    begun, done = asyncio.Event(), asyncio.Event()

    async def handle(db: Database, job: Job) -> None:
        if job.key == "long":
            begun.set()
            await asyncio.Event().wait()
        done.set()

    runner = Runner(db, {"test.do": handler_of(handle)}, poll_s=0.01)
    await runner.start()
    await asked(db, "short")
    await asyncio.wait_for(done.wait(), 10)
    long = await asked(db, "long")
    await asyncio.wait_for(begun.wait(), 10)
    await runner.stop()
    job = await the_job(db, long)
    assert (job.done_at, job.leased_until, job.attempts) == (None, None, 0)
    assert await Runner(db, {"test.do": Handler()}).run_once(clock.now()) == 1


def handler_of(handle: object) -> Handler:
    return handle  # type: ignore[return-value]


CHILD = """
import asyncio, sys
from callcenter.jobs.runner import Runner
from callcenter.storage.engine import Database
from tests.integration.test_jobs import effect

async def main():
    db = Database(sys.argv[1])
    await db.connect()
    async def handle(db, job):
        print("begin", job.key, flush=True)
        await effect(db, job)
        print("end", job.key, flush=True)
    await Runner(db, {"test.do": handle}, lease_s=0.4, parallel=3, poll_s=0.01).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def start_child(url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE, text=True)


async def effect(db: Database, job: Job) -> None:
    """Counts on by one, once for each key: what a handler does that is idempotent by its job's key."""
    async with db.begin() as session:
        row = {"id": job.id, "code": job.key, "name": "", "level": 1}
        if await insert_new(session, Area, row):
            counter = insert_into(session, CaseCounter).values(day="T", next=1)
            mine = CaseCounter.__table__.c
            await session.execute(
                counter.on_conflict_do_update(index_elements=[mine.day], set_={"next": mine.next + 1})
            )


async def test_killed_at_random_points_every_job_has_its_effect_once(db: Database, db_url: str) -> None:
    keys = [f"job-{number:03d}" for number in range(90)]
    async with db.begin() as session:
        for key in keys:
            await add_job(session, "test.do", key, {}, at=AT)
    chance, begun = random.Random(1231), 0
    for _ in range(6):
        child = await asyncio.to_thread(start_child, db_url)
        assert child.stdout is not None
        for _ in range(chance.randint(1, 21)):
            line = await asyncio.to_thread(child.stdout.readline)
            assert line, "the child ended by itself"
            begun += line.startswith("begin")
        child.kill()
        child.wait()
        child.stdout.close()
    runner = Runner(db, {"test.do": effect}, lease_s=60)
    later = clock.now() + timedelta(hours=2)
    while await runner.run_once(later):
        pass
    async with db.read() as session:
        jobs = (await session.scalars(select(Job))).all()
        counted = await session.scalar(select(CaseCounter.next).where(CaseCounter.day == "T"))
        areas = await session.scalar(select(func.count()).select_from(Area))
    assert len(jobs) == 90
    assert all(job.done_at is not None and job.failed_at is None for job in jobs)
    assert counted == areas == 90
    assert max(job.attempts for job in jobs) > 1, "no kill fell into a job: the test has shown nothing"
    assert begun > 0
