"""No command of a call is lost, and no call waits: the store slow, locked, gone and back, the disk full, kill -9."""

import asyncio
import contextlib
import errno
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from callcenter.calls import repository as calls
from callcenter.calls.commands import Command, TimelineMarked, UtteranceHeard
from callcenter.calls.ledger import CallLedger
from callcenter.calls.model import Call, Utterance, case_id
from callcenter.calls.spool import Spool, encode
from callcenter.cases.model import Case
from callcenter.storage import engine
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent
from tests.databases import new_cluster
from tests.sample_calls import SampleCall

pytestmark = pytest.mark.integration

PATIENCE_MS = 200
SOON_S = 1.0
"""A patience and a write to the spool, on a machine that others keep busy."""


@contextlib.asynccontextmanager
async def running(db: Database, spool: Path, **options: Any) -> AsyncIterator[CallLedger]:
    ledger = CallLedger(db, spool, **{"patience_ms": PATIENCE_MS, "retry_s": 0.05, **options})
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.stop()


async def eventually(holds: Callable[[], object], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def locked(db: Database) -> AsyncIterator[None]:
    """Another program has the SQLite file's write lock. It is waited for beside the event loop, which the transaction
    that has it at that moment needs to come to its end."""
    assert db.path is not None
    other = sqlite3.connect(db.path, isolation_level=None, timeout=30, check_same_thread=False)
    await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def stored(db: Database, call: SampleCall) -> calls.CallDetail:
    async with db.read() as session:
        return await calls.get_call(session, call.call)


def files(spool: Path) -> list[Path]:
    return sorted(spool.glob("*.journal"))


async def test_a_call_goes_straight_to_a_store_that_is_well(db: Database, tmp_path: Path) -> None:
    call = SampleCall()
    async with running(db, tmp_path / "spool", patience_ms=5000) as ledger:
        results = [await ledger.record(command) for command in call.whole()]
    assert {recorded.durable_in for recorded in results} == {"store"}
    completed = results[6].result
    assert completed is not None
    assert completed["number"] == "2026112000001"
    assert ledger.counts == {"stored": len(results)}
    assert files(tmp_path / "spool") == []
    assert (await stored(db, call)).call.state == "ended"


async def test_calls_that_speak_at_once_share_transactions_and_stay_apart(db: Database, tmp_path: Path) -> None:
    many = [SampleCall() for _ in range(20)]

    async def speak(ledger: CallLedger, call: SampleCall) -> None:
        for command in call.whole():
            assert (await ledger.record(command)).durable_in == "store"

    async with running(db, tmp_path / "spool", patience_ms=5000) as ledger:
        await asyncio.gather(*(speak(ledger, call) for call in many))
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(Call).where(Call.state == "ended")) == 20
        numbers = list(await session.scalars(select(Case.number).order_by(Case.number)))
    assert numbers == [f"20261120{n:05d}" for n in range(1, 21)]


async def test_one_bad_command_does_not_spoil_the_others_of_its_transaction(db: Database, tmp_path: Path) -> None:
    good = [SampleCall() for _ in range(10)]
    bad = SampleCall()
    async with running(db, tmp_path / "spool", patience_ms=5000) as ledger:
        commands: list[Command] = [call.started() for call in good]
        commands.insert(5, bad.leg_opened())
        results = await asyncio.gather(*map(ledger.record, commands))
        assert [recorded.durable_in for recorded in results] == ["store"] * 5 + ["spool"] + ["store"] * 5


async def test_a_locked_store_costs_a_call_its_patience_and_no_word(tmp_path: Path, db: Database) -> None:
    if not db.is_sqlite:
        await _postgres_is_frozen(db, tmp_path)
        return
    call = SampleCall()
    faults: list[tuple[str, bool]] = []
    async with running(
        db, tmp_path / "spool", on_fault=lambda name, reason: faults.append((name, reason is not None))
    ) as ledger:
        async with locked(db):
            waits = []
            for command in call.whole():
                before = time.monotonic()
                assert (await ledger.record(command)).durable_in == "spool"
                waits.append(time.monotonic() - before)
            assert max(waits) < SOON_S, "one patience, then the spool at once"
            assert ledger.pending == len(waits)
            assert ledger.store_fault is not None
        assert await ledger.settled(call.call, 10)
        assert ledger.store_fault is None
        assert (await ledger.record(call.marked(pulled=99))).durable_in == "store"
    assert faults == [("store", True), ("store", False)]
    assert files(tmp_path / "spool") == []
    await _is_whole(db, call)


async def _postgres_is_frozen(db: Database, tmp_path: Path) -> None:
    """Every table is locked by someone else's transaction: connections work, writes hang."""
    call = SampleCall()
    async with running(db, tmp_path / "spool", transaction_limit_s=1.0) as ledger, db.begin() as other:
        await (await other.connection()).exec_driver_sql("LOCK TABLE calls IN ACCESS EXCLUSIVE MODE")
        for command in call.whole():
            assert (await ledger.record(command)).durable_in == "spool"
        await asyncio.sleep(2.5)  # transactions of the ledger run into their limit meanwhile
        await other.rollback()
        assert await ledger.settled(call.call, 15)
    await _is_whole(db, call)


async def _is_whole(db: Database, call: SampleCall) -> None:
    found = await stored(db, call)
    assert found.call.state == "ended"
    assert [text.text for _, text in found.legs[0].utterances] == ["解放大道路口的井盖不见了"]
    (row,) = found.cases
    assert row.case.state == "pending_dispatch"
    assert row.case.number == "2026112000001"
    assert "stored" in found.marks, "a completion that was replayed is marked by the ledger"


async def test_a_commit_that_lands_late_and_is_replayed_counts_once(db: Database, tmp_path: Path) -> None:
    call = SampleCall()

    async def slow(session: AsyncSession, command: Command) -> dict[str, Any]:
        if isinstance(command, UtteranceHeard):
            await asyncio.sleep(0.4)
        return await calls.apply(session, command)

    async with running(db, tmp_path / "spool", apply=slow) as ledger:
        results = [await ledger.record(command) for command in call.whole()]
        assert "spool" in {recorded.durable_in for recorded in results}
        assert await ledger.settled(call.call, 10)
    await _is_whole(db, call)
    async with db.read() as session:
        heard = select(func.count()).select_from(OutboxEvent).where(OutboxEvent.kind == "call.heard")
        assert await session.scalar(heard) == 1


async def test_other_calls_are_not_held_up_by_one_that_is_behind(db: Database, tmp_path: Path) -> None:
    behind, other = SampleCall(), SampleCall()
    gate = asyncio.Event()

    async def stuck(session: AsyncSession, command: Command) -> dict[str, Any]:
        if isinstance(command, TimelineMarked) and command.call == behind.call and not gate.is_set():
            raise ValueError("not now")
        return await calls.apply(session, command)

    async with running(db, tmp_path / "spool", apply=stuck, max_tries=1000, patience_ms=5000) as ledger:
        await ledger.record(behind.started())
        assert (await ledger.record(behind.marked(first_audio=2))).durable_in == "spool"
        for command in other.whole():
            assert (await ledger.record(command)).durable_in == "store"
        # Nor are the other commands of that very call: the store is well, it is this one command that it refuses.
        assert (await ledger.record(behind.leg_opened())).durable_in == "store"
        gate.set()
        assert await ledger.settled(behind.call, 10)


async def test_a_command_ahead_of_its_call_waits_for_it(db: Database, tmp_path: Path) -> None:
    call = SampleCall()
    async with running(db, tmp_path / "spool", patience_ms=5000) as ledger:
        assert (await ledger.record(call.leg_opened())).durable_in == "spool"
        assert (await ledger.record(call.said("井盖不见了"))).durable_in == "spool"
        await asyncio.sleep(0.3)
        assert ledger.pending == 2
        assert (await ledger.record(call.started())).durable_in == "store"
        assert await ledger.settled(call.call, 10)
    assert (await stored(db, call)).legs[0].utterances[0][1].text == "井盖不见了"


async def test_a_command_that_can_never_be_applied_is_put_aside_with_its_reason(db: Database, tmp_path: Path) -> None:
    call, other = SampleCall(), SampleCall()
    bad = TimelineMarked(call.call, {"lunch": call.at(5)})
    with capture_logs() as logs:
        async with running(db, tmp_path / "spool", max_tries=3, patience_ms=5000) as ledger:
            await ledger.record(call.started())
            assert (await ledger.record(bad)).durable_in == "spool"
            assert (await ledger.record(other.started())).durable_in == "store"
            await eventually(lambda: ledger.counts["rejected"])
            assert ledger.pending == 0
    (path,) = (tmp_path / "spool" / "rejected").iterdir()
    assert path.name.startswith(str(call.call))
    kept = json.loads(path.read_text())
    assert "unknown timeline mark 'lunch'" in kept["reason"]
    assert "lunch" in kept["record"]
    (told,) = [entry for entry in logs if "put aside" in entry["event"]]
    assert told["file"] == path.name
    assert files(tmp_path / "spool") == []


async def test_nothing_that_was_said_and_no_number_is_ever_logged(db: Database, tmp_path: Path) -> None:
    """Through every branch that logs: refusal, rejection, a fault of the store, replay."""
    call = SampleCall(number="13987654321")

    async def refuse(session: AsyncSession, command: Command) -> dict[str, Any]:
        if isinstance(command, UtteranceHeard):
            # A constraint that the database itself checks: its message quotes the row.
            await calls.apply(session, command)
            session.add(Case(id=case_id(call.call), number=call.number, state="井盖不见了"))
            await session.flush()
        return await calls.apply(session, command)

    with capture_logs() as logs:
        async with running(db, tmp_path / "spool", apply=refuse, max_tries=2, patience_ms=5000) as ledger:
            for command in call.whole("井盖不见了"):
                await ledger.record(command)
            await eventually(lambda: ledger.counts["rejected"])
    told = repr(logs)
    assert "put aside" in told
    assert "井盖" not in told
    assert call.number not in told
    (path,) = (tmp_path / "spool" / "rejected").iterdir()
    assert json.loads(path.read_text())["reason"] == "IntegrityError"


async def test_what_an_earlier_process_left_is_replayed(db: Database, tmp_path: Path) -> None:
    call = SampleCall()
    spool = Spool(tmp_path / "spool")
    await spool.open()
    for command in call.whole():
        await spool.append(encode(command))
    await spool.close()
    async with running(db, tmp_path / "spool") as ledger:
        assert await ledger.settled(call.call, 10)
        assert ledger.counts["replayed"] == 10
    await _is_whole(db, call)
    assert files(tmp_path / "spool") == []


async def test_order_holds_for_each_call_while_the_store_comes_and_goes(tmp_path: Path) -> None:
    """Ten calls speak through a store that is locked again and again; each transcript comes out in its order."""
    db = Database(f"sqlite:///{tmp_path / 'callcenter.db'}")
    await db.connect()
    await db.migrate()
    dice = random.Random(12319)
    applied: dict[UUID, list[int]] = {}

    async def noted(session: AsyncSession, command: Command) -> dict[str, Any]:
        result = await calls.apply(session, command)
        if isinstance(command, UtteranceHeard):
            order = applied.setdefault(command.call, [])
            if command.sequence not in order:
                order.append(command.sequence)
        return result

    speaking = 10

    async def speak(ledger: CallLedger, call: SampleCall) -> None:
        nonlocal speaking
        await ledger.record(call.started())
        await ledger.record(call.leg_opened())
        for n in range(15):
            await ledger.record(call.said(f"第{n}句"))
            await asyncio.sleep(dice.random() * 0.3)
        speaking -= 1

    async def disturb() -> None:
        while speaking:
            async with locked(db):
                await asyncio.sleep(0.25)
            await asyncio.sleep(0.5)

    many = [SampleCall() for _ in range(10)]
    async with running(db, tmp_path / "spool", apply=noted, patience_ms=100) as ledger:
        await asyncio.gather(disturb(), *(speak(ledger, call) for call in many))
        await eventually(lambda: ledger.pending == 0, 20)
        assert ledger.counts["spooled"] > 10
        assert ledger.counts["stored"] > 10
    for call in many:
        assert applied[call.call] == list(range(15))
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(Utterance)) == 150
    await db.close()


async def test_a_database_that_goes_and_comes_back(tmp_path: Path) -> None:
    """PostgreSQL crashes during calls and is started again seconds later."""
    cluster = new_cluster(durable=True)
    try:
        db = Database(cluster.url("postgres"))
        await db.connect()
        await db.migrate()
        before, during, after = SampleCall(), SampleCall(), SampleCall()
        async with running(db, tmp_path / "spool") as ledger:
            for command in before.whole():
                assert (await ledger.record(command)).durable_in == "store"
            half = before.said("还有")
            cluster.stop(signal.SIGQUIT)
            for command in [half, *during.whole()]:
                started = time.monotonic()
                assert (await ledger.record(command)).durable_in == "spool"
                assert time.monotonic() - started < SOON_S
            await asyncio.sleep(1)
            assert ledger.pending == 11
            cluster.start()
            await eventually(lambda: ledger.pending == 0, 20)
            for command in after.whole():
                assert (await ledger.record(command)).durable_in == "store"
        for call in (before, during, after):
            found = await stored(db, call)
            assert found.cases[0].case.state == "pending_dispatch"
        assert len((await stored(db, before)).legs[0].utterances) == 2
        await db.close()
    finally:
        cluster.stop()
        shutil.rmtree(cluster.folder)


async def test_a_database_that_does_not_answer_at_all(tmp_path: Path) -> None:
    """PostgreSQL is frozen (SIGSTOP): connections hang, no error ever comes."""
    cluster = new_cluster()
    try:
        db = Database(cluster.url("postgres"))
        await db.connect()
        await db.migrate()
        call = SampleCall()
        async with running(db, tmp_path / "spool", transaction_limit_s=1.0) as ledger:
            await ledger.record(call.started())
            backends = [int(pid) for pid in cluster.sql("SELECT pid FROM pg_stat_activity").split()]
            assert cluster.process is not None
            frozen = [cluster.process.pid, *backends]
            for pid in frozen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            waits = []
            for command in call.whole()[1:]:
                before = time.monotonic()
                assert (await ledger.record(command)).durable_in == "spool"
                waits.append(time.monotonic() - before)
            assert max(waits) < SOON_S
            await asyncio.sleep(2.5)
            for pid in frozen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            assert await ledger.settled(call.call, 20)
        await _is_whole(db, call)
        await db.close()
    finally:
        cluster.stop()
        shutil.rmtree(cluster.folder)


# -- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB: an empty store takes one, and its log as much again while it is made."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_store_locked_and_disk_full_then_both_well(small_disk: Path, tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'callcenter.db'}")
    await db.connect()
    await db.migrate()
    many = [SampleCall() for _ in range(12)]
    faults: list[tuple[str, str | None]] = []
    with capture_logs() as logs:
        async with running(db, small_disk / "spool", on_fault=lambda *told: faults.append(told)) as ledger:
            async with locked(db):
                assert (await ledger.record(many[0].started())).durable_in == "spool"
                (small_disk / "ballast").write_bytes(b"")
                with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
                    while True:
                        ballast.write(b"x" * 4096)
                places = []
                for call in many:
                    for command in call.whole(text="井盖" * 300):
                        places.append((await ledger.record(command)).durable_in)
                assert set(places) <= {"spool", "memory"}
                assert places.count("memory") > 50
                assert ledger.fault is not None
                assert "No space left on device" in ledger.fault
            await eventually(lambda: ledger.pending == 0, 20)
            (small_disk / "ballast").unlink()
            async with locked(db):
                assert (await ledger.record(many[0].said("喂"))).durable_in == "spool"
            await eventually(lambda: ledger.pending == 0, 20)
            assert ledger.fault is None
    for call in many:
        assert (await stored(db, call)).cases[0].case.state == "pending_dispatch"
    spool_faults = [reason for name, reason in faults if name == "spool"]
    assert spool_faults == ["No space left on device", None], "told once, and once that it is over"
    assert sum("spool cannot be written" in entry["event"] for entry in logs) == 1
    await db.close()


async def test_what_is_in_memory_goes_to_the_disk_as_soon_as_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 300)  # stopping waits for the statement under way
    db = Database(f"sqlite:///{tmp_path / 'callcenter.db'}")
    await db.connect()
    await db.migrate()
    call = SampleCall()
    async with locked(db), running(db, tmp_path / "spool") as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "_write", _no_space)
            for command in call.whole():
                assert (await ledger.record(command)).durable_in == "memory"
        await eventually(lambda: ledger.fault is None)
        # Stopped with the store still locked: everything is on the disk, in order.
    async with running(db, tmp_path / "spool") as ledger:
        assert await ledger.settled(call.call, 10)
    await _is_whole(db, call)
    await db.close()


async def test_when_memory_is_full_too_the_loss_is_named_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'callcenter.db'}")
    await db.connect()
    await db.migrate()
    call = SampleCall()
    monkeypatch.setattr(Spool, "_write", _no_space)
    with capture_logs() as logs:
        async with running(db, tmp_path / "spool", memory_limit=4) as ledger:
            async with locked(db):
                places = [(await ledger.record(command)).durable_in for command in call.whole()]
            assert places == ["memory"] * 4 + ["lost"] * 6
            assert ledger.counts["lost"] == 6
            assert await ledger.settled(call.call, 10)
    assert sum("is lost" in entry["event"] for entry in logs) == 6
    assert len((await stored(db, call)).legs) == 1
    await db.close()


def _no_space(_spool: Spool, _records: list[bytes]) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)


async def test_a_full_disk_under_the_database_itself(small_disk: Path, tmp_path: Path) -> None:
    db = Database(f"sqlite:///{small_disk / 'callcenter.db'}")
    await db.connect()
    await db.migrate()
    ballast = small_disk / "ballast"
    many = [SampleCall() for _ in range(40)]
    async with running(db, tmp_path / "spool") as ledger:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as full:
            while True:
                full.write(b"x" * 4096)
        places = []
        for call in many:
            for command in call.whole():
                places.append((await ledger.record(command)).durable_in)
        assert places.count("spool") > 50
        assert "lost" not in places
        ballast.unlink()
        await asyncio.to_thread(_grow, small_disk)
        await eventually(lambda: ledger.pending == 0, 30)
    for call in many:
        assert (await stored(db, call)).call.state == "ended"
    await db.close()


# -- kill -9 ----------------------------------------------------------------------------------------------------------

VICTIM = """
import asyncio, sys, uuid
from pathlib import Path
from callcenter.calls.ledger import CallLedger
from callcenter.logs import configure
from callcenter.storage.engine import Database
from tests.sample_calls import SampleCall

async def speak(ledger, n):
    while True:
        call = SampleCall()
        for command in call.whole():
            recorded = await ledger.record(command)
            print(recorded.durable_in, call.call, type(command).__name__, flush=True)
            await asyncio.sleep(0.02)

async def main():
    configure("error")
    db = Database(sys.argv[1])
    await db.connect()
    ledger = CallLedger(db, Path(sys.argv[2]), patience_ms=60, retry_s=0.02)
    await ledger.start()
    print("ready", flush=True)
    await asyncio.gather(*(speak(ledger, n) for n in range(5)))

asyncio.run(main())
"""


def _victim(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", VICTIM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


async def test_kill_9_between_any_two_steps_loses_nothing_that_was_durable(tmp_path: Path) -> None:
    """A process records calls while its store is locked now and then, and is killed at random moments, seven times;
    at the end the store has everything that any of them had said was durable."""
    db = Database(f"sqlite:///{tmp_path / 'callcenter.db'}")
    await db.connect()
    await db.migrate()
    dice = random.Random(12319)
    promised: dict[str, set[str]] = {}
    kept_in: set[str] = set()
    for _ in range(7):
        victim = await asyncio.to_thread(_victim, str(db.url), str(tmp_path / "spool"))
        assert victim.stdout is not None
        try:
            assert await asyncio.to_thread(victim.stdout.readline) == "ready\n"
            await asyncio.sleep(dice.random() * 0.3)
            async with locked(db):
                await asyncio.sleep(0.1 + dice.random() * 0.2)
                if dice.random() < 0.5:
                    victim.send_signal(signal.SIGKILL)
            await asyncio.sleep(dice.random() * 0.2)
        finally:
            victim.send_signal(signal.SIGKILL)
        said, _ = await asyncio.to_thread(victim.communicate)
        lines = said.splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):
                place, call, name = line.split()
                kept_in.add(place)
                promised.setdefault(call, set()).add(name)
    assert kept_in == {"store", "spool"}
    async with running(db, tmp_path / "spool") as ledger:
        await eventually(lambda: ledger.pending == 0, 60)
        assert ledger.counts["rejected"] == 0
    assert len(promised) > 20
    for call_id, names in promised.items():
        async with db.read() as session:
            found = await calls.get_call(session, UUID(call_id))
        had = {"CallStarted"}
        had |= {"LegOpened"} if found.legs else set()
        had |= {"UtteranceHeard"} if found.legs and found.legs[0].utterances else set()
        had |= {"RoutingMade"} if found.routings else set()
        had |= {"TimelineMarked"} if "first_audio" in found.marks else set()
        had |= {"CaseCompleted"} if found.cases and found.cases[0].case.number else set()
        had |= {"LegClosed"} if found.legs and found.legs[0].leg.closed_at else set()
        had |= {"CallEnded"} if found.call.ended_at else set()
        had |= {"RecordingLinked"} if found.call.recording_sha256 else set()
        assert names <= had, f"call {call_id} lost {names - had}"
    async with db.read() as session:
        numbers = sorted(await session.scalars(select(Case.number).where(Case.number.is_not(None))))
    assert numbers == [f"20261120{n:05d}" for n, _ in zip(itertools.count(1), numbers, strict=False)]
    await db.close()
