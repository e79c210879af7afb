"""The ledger: where what happens to a live call becomes durable, whatever the store is doing.

Stands between the session of a call and ``calls.repository``. A command goes to the store; when that does not take it
within the patience of a telephone call, it goes to the synced spool and the call goes on; when the disk refuses too,
it is held in memory and the fault is named. What was put by is replayed in order as soon as the store answers – also
by the next process, should this one be killed at any point: commands may be applied twice, so a replay needs no
bookkeeping.

One worker applies commands, many in one transaction when many wait: a commit costs one sync of a disk, and fifty calls
that speak at once share it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.calls import repository, timeline
from callcenter.calls.commands import CaseCompleted, Command, TimelineMarked
from callcenter.calls.repository import UnknownCall
from callcenter.calls.spool import Place, Spool, Undecodable, decode, encode
from callcenter.storage.engine import Database, store_is_at_fault

log = structlog.get_logger()

BATCH: Final = 64
"""Commands in one transaction: some 60 ms of work on SQLite, so a live command behind a replayed batch is in time."""
TRANSACTION_LIMIT_S: Final = 10.0
"""Longer than SQLite's busy timeout; a transaction that takes this long hangs on a dead connection."""
RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 60.0
MAX_TRIES: Final = 6
"""Refusals by a store that is well, after which a command is put aside: with growing pauses, half a minute."""
UNKNOWN_FOR_S: Final = 3600.0
"""How long a command may wait for its call to become known before it is put aside."""
BREATH_S: Final = 0.01
"""Between replayed batches: SQLite's lock is not fair, and a long replay must let other programs write."""
MEMORY_LIMIT: Final = 10_000
"""Commands held when neither store nor disk takes any: about 20 MB, several minutes of a large room."""
STOP_PATIENCE_S: Final = 5.0

Fault = Callable[[str, str | None], None]
Apply = Callable[[AsyncSession, Command], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """How safe a command is. ``result`` is what ``repository.apply`` gave, None unless it is in the store.

    ``memory``: neither store nor disk took it; it is tried again until one does. ``lost``: and memory is full.
    """

    durable_in: Literal["store", "spool", "memory", "lost"]
    result: dict[str, Any] | None = None


class _Job:
    """A command on its way to the store, and the future of whoever waits for that."""

    __slots__ = ("abandoned", "command", "done")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        # Whoever waited may have left for the spool; an error nobody fetches is no news then.
        self.done.add_done_callback(lambda future: future.cancelled() or future.exception())
        self.abandoned = False

    def succeed(self, result: dict[str, Any]) -> None:
        if not self.done.done():
            self.done.set_result(result)

    @property
    def succeeded(self) -> bool:
        return self.done.done() and not self.done.cancelled() and self.done.exception() is None

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _Entry:
    """A command put by: in memory (``command``), or on the disk (``place``), or both while it is being written."""

    __slots__ = ("call", "command", "gone", "held", "kept_at", "not_before", "place", "tries", "writing")

    def __init__(self, call: UUID, command: Command | None, place: Place | None, kept_at: float, tries: int) -> None:
        self.call = call
        self.command = command
        self.place = place
        self.kept_at = kept_at
        self.tries = tries
        """How often a store that was well refused it."""
        self.not_before = 0.0
        self.writing = False
        self.held = False
        """The disk did not take it and memory did."""
        self.gone = False


class CallLedger:
    """``await record(command)`` from the event loop; never raises for a fault of the store or the disk.

    ``on_fault(name, reason)`` is called when ``store`` or ``spool`` begins to fail and, with None, when it is well
    again. ``counts`` counts commands: stored, spooled, held (in memory), replayed, rejected, lost.
    """

    def __init__(
        self,
        db: Database,
        spool_dir: Path,
        *,
        patience_ms: int = 300,
        on_fault: Fault | None = None,
        memory_limit: int = MEMORY_LIMIT,
        max_tries: int = MAX_TRIES,
        retry_s: float = RETRY_S,
        transaction_limit_s: float = TRANSACTION_LIMIT_S,
        apply: Apply = repository.apply,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.store_fault: str | None = None
        """Why commands go to the spool at present; None when the store takes them."""
        self.fault: str | None = None
        """What is wrong with the spool itself; None when nothing is."""
        self._db = db
        self._spool = Spool(spool_dir)
        self._patience_s = patience_ms / 1000
        self._on_fault = on_fault
        self._memory_limit = memory_limit
        self._max_tries = max_tries
        self._retry_s = retry_s
        self._transaction_limit_s = transaction_limit_s
        self._apply = apply
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._put_by: dict[UUID, deque[_Entry]] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._following: set[asyncio.Task[Recorded]] = set()
        self._recording = 0
        self._progressed = asyncio.Event()
        self._open = False

    @property
    def pending(self) -> int:
        """Commands put by that the store has not taken yet."""
        return sum(len(entries) for entries in self._put_by.values())

    def holds(self, call: UUID) -> bool:
        """Whether something of ``call`` is put by: then the store does not show it as it is."""
        return call in self._put_by

    async def start(self) -> None:
        """Take the spool, begin to replay what is in it. Raises SpoolInUse, or OSError when it cannot be made."""
        moment = asyncio.get_running_loop().time()
        for place, command in await self._spool.open():
            self._remember(_Entry(command.call, None, place, moment, 0))
        if self._put_by:
            log.warning("commands of an earlier process are replayed", commands=self.pending, calls=len(self._put_by))
            self._wake.set()
        self._open = True
        self._tasks = [
            asyncio.create_task(self._work(), name="ledger-worker"),
            asyncio.create_task(self._replay(), name="ledger-replay"),
            asyncio.create_task(self._save(), name="ledger-save"),
        ]

    async def stop(self) -> None:
        """Stop. What is being recorded is finished first; what is put by stays in the spool for the next process."""
        if not self._open:
            return
        self._open = False
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_PATIENCE_S):
                while self._recording or self._following:
                    await self._progress()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._save_memory()
        held = self._held()
        if held:
            log.critical("commands are lost: neither store nor spool took them", commands=held, fault=self.fault)
        await self._spool.close()

    async def record(self, command: Command) -> Recorded:
        """Make ``command`` durable; takes no longer than the patience and one write to the spool.

        Commands of one call are applied in the order of these calls: once one was put by, its successors are too, until
        the store has it. The transaction that took too long may still commit; the replay then changes nothing.
        """
        if not self._open:
            raise RuntimeError("the ledger is not running: await start() first")
        self._recording += 1
        try:
            return await self._record(command)
        finally:
            self._recording -= 1
            self._progressed.set()

    async def _progress(self) -> None:
        """Until something has been recorded, or taken by the store."""
        self._progressed.clear()
        await self._progressed.wait()

    async def settled(self, call: UUID, timeout: float) -> bool:
        """Wait until the store has everything recorded of ``call``; False when it has not within ``timeout``
        seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while call in self._put_by:
                    await self._progress()
        return call not in self._put_by

    async def forget(self, call: UUID) -> int:
        """Delete the commands of an erased call that were put aside as rejected; gives how many."""
        return await self._spool.forget(call)

    async def _record(self, command: Command) -> Recorded:
        tries = 0
        if self.store_fault is None and not self._is_behind(command.call):
            job = _Job(command)
            self._jobs.put_nowait(job)
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes as its future is done.
                async with asyncio.timeout(self._patience_s):
                    result = await asyncio.shield(job.done)
            except Exception as error:  # noqa: BLE001 - told apart below; none may reach a live call
                if job.succeeded:
                    self.counts["stored"] += 1
                    return Recorded("store", job.done.result())  # in the very moment that patience ended
                if not job.done.done():
                    job.abandoned = True
                    self._store_fails(f"a write took longer than {self._patience_s * 1000:.0f} ms")
                elif store_is_at_fault(error):
                    self._store_fails(type(error).__name__)
                else:
                    tries = 1
                    if not isinstance(error, UnknownCall):
                        log.error("the store refuses a command", **_named(command), error=type(error).__name__)
            else:
                self.counts["stored"] += 1
                return Recorded("store", result)
        return await self._put(command, tries)

    def _is_behind(self, call: UUID) -> bool:
        """Whether something of ``call`` waits for the store. What the store refused by itself holds nobody up."""
        return any(entry.tries == 0 for entry in self._put_by.get(call, ()))

    # -- putting by
    # -----------------------------------------------------------------------------------------------------

    async def _put(self, command: Command, tries: int) -> Recorded:
        record = encode(command)
        entry = _Entry(command.call, command, None, asyncio.get_running_loop().time(), tries)
        self._remember(entry)
        self._wake.set()
        if await self._write(entry, record):
            self.counts["spooled"] += 1
            return Recorded("spool")
        if entry.gone:
            return Recorded("store")  # the store came back before the disk did
        if self._held() < self._memory_limit:
            entry.held = True
            self.counts["held"] += 1
            return Recorded("memory")
        self._take_out(entry)
        self.counts["lost"] += 1
        log.critical("a command is lost: store, disk and memory are full", **_named(command))
        return Recorded("lost")

    async def _write(self, entry: _Entry, record: bytes) -> bool:
        """Bring an entry to the disk. False when the disk does not take it."""
        entry.writing = True
        try:
            place = await self._spool.append(record)
        except OSError as error:
            self._spool_fails(error.strerror or type(error).__name__)
            return False
        finally:
            entry.writing = False
        if entry.gone:
            await self._clear([place])  # the store was faster
        else:
            entry.place, entry.command = place, None
        if self.fault is not None and not self._held():
            self._spool_is_well()  # not before: on a nearly full disk short commands fit and long ones do not
        return True

    async def _save(self) -> None:
        """Bring to the disk what it did not take, once it does; beside the replay, which may be waiting for the
        store."""
        while True:
            await asyncio.sleep(self._retry_s)
            if self.fault is None:
                continue
            await self._save_memory()
            if not self._held():
                self._spool_is_well()  # the store has taken it all: the next write will tell

    async def _save_memory(self) -> None:
        waiting = [entry for entries in self._put_by.values() for entry in entries]
        for entry in waiting:
            if entry.command is None or entry.writing or entry.gone:
                continue
            if not await self._write(entry, encode(entry.command)):
                return

    def _held(self) -> int:
        """Commands that are in memory only because the disk did not take them, those it is tried for again included."""
        if self.fault is None:
            return 0
        return sum(entry.held and entry.command is not None for entries in self._put_by.values() for entry in entries)

    def _remember(self, entry: _Entry) -> None:
        self._put_by.setdefault(entry.call, deque()).append(entry)

    def _take_out(self, entry: _Entry) -> None:
        if entry.gone:
            return  # given up as lost while the store was taking it after all
        entry.gone = True
        entries = self._put_by[entry.call]
        entries.remove(entry)
        if not entries:
            del self._put_by[entry.call]
        self._progressed.set()

    async def _clear(self, places: Sequence[Place]) -> None:
        try:
            await self._spool.done(places)
        except OSError as error:
            # The file stays and is replayed once more by the next process: harmless.
            log.warning("a spool file cannot be deleted", error=error.strerror)

    # -- the store
    # ------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            jobs = [await self._jobs.get()]
            while len(jobs) < BATCH and not self._jobs.empty():
                jobs.append(self._jobs.get_nowait())
            await self._run([job for job in jobs if not job.abandoned])

    async def _run(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            results = await self._transaction([job.command for job in jobs])
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the job
            if len(jobs) == 1:
                jobs[0].fail(error)
            elif store_is_at_fault(error) and not await self._store_answers():
                for job in jobs:
                    job.fail(error)
            else:
                for job in jobs:  # one of them spoilt it for all: each by itself
                    await self._run([job])
        else:
            for job, result in zip(jobs, results, strict=True):
                job.succeed(result)

    async def _transaction(self, commands: list[Command]) -> list[dict[str, Any]]:
        async with asyncio.timeout(self._transaction_limit_s), self._db.begin() as session:
            return [await self._apply(session, command) for command in commands]

    async def _store_answers(self) -> bool:
        try:
            async with asyncio.timeout(self._transaction_limit_s):
                await self._db.ping()
        except Exception as error:
            if not store_is_at_fault(error):
                raise
            return False
        return True

    def _store_fails(self, reason: str) -> None:
        if self.store_fault is None:
            log.error("the store does not take writes: calls go to the spool", reason=reason)
            if self._on_fault is not None:
                self._on_fault("store", reason)
        self.store_fault = reason
        self._wake.set()

    def _store_is_well(self) -> None:
        if self.store_fault is not None:
            self.store_fault = None
            log.info("the store takes writes again", pending=self.pending)
            if self._on_fault is not None:
                self._on_fault("store", None)

    def _spool_fails(self, reason: str) -> None:
        if self.fault is None:
            log.critical("the spool cannot be written", folder=str(self._spool.folder), reason=reason)
            if self._on_fault is not None:
                self._on_fault("spool", reason)
        self.fault = f"spool {self._spool.folder} cannot be written: {reason}"

    def _spool_is_well(self) -> None:
        if self.fault is not None:
            self.fault = None
            log.info("the spool can be written again")
            if self._on_fault is not None:
                self._on_fault("spool", None)

    # -- replaying
    # ------------------------------------------------------------------------------------------------------

    async def _replay(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._retry_s):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if self.store_fault is not None and not await self._store_answers():
                    await asyncio.sleep(self._retry_s)
                    continue
                while True:
                    if not await self._replay_some():
                        break
                    await asyncio.sleep(BREATH_S)
            except Exception as error:  # nobody awaits this task, and it must not end: it is the only way out
                log.error("replay failed", error=type(error).__name__, exc_info=error)
                await asyncio.sleep(self._retry_s)

    async def _replay_some(self) -> bool:
        """One batch of what is put by, oldest call first; False when nothing is due or the store has gone again."""
        moment = asyncio.get_running_loop().time()
        due: list[_Entry] = []
        for entries in self._put_by.values():
            due.extend(entry for entry in entries if entry.not_before <= moment)
            if len(due) >= BATCH:
                break
        due = due[:BATCH]
        if not due:
            if not self._put_by:
                self._store_is_well()
            return False
        jobs: list[tuple[_Entry, _Job]] = []
        for entry, command in zip(due, await self._commands(due), strict=True):
            if command is not None:
                job = _Job(command)
                jobs.append((entry, job))
                self._jobs.put_nowait(job)
        outcomes = await asyncio.gather(*(job.done for _, job in jobs), return_exceptions=True)
        faults = [outcome for outcome in outcomes if isinstance(outcome, BaseException) and store_is_at_fault(outcome)]
        if faults and len(faults) == len(outcomes):
            # An empty transaction may have passed and yet no write does: SQLite on a full disk.
            self._store_fails(type(faults[0]).__name__)
            await asyncio.sleep(self._retry_s)
            return False
        self._store_is_well()
        done: list[_Entry] = []
        for (entry, job), outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                await self._refused(entry, job.command, outcome)
            else:
                done.append(entry)
                self._follow_up(job.command, outcome)
        for entry in done:
            self._take_out(entry)
        self.counts["replayed"] += len(done)
        await self._clear([entry.place for entry in done if entry.place is not None])
        return True

    async def _commands(self, entries: list[_Entry]) -> list[Command | None]:
        """The commands of entries, from memory or the disk; None for one that the disk does not give back."""
        # As it is now: an entry that is in memory may be on the disk, and only there, when the others have been read.
        commands = [entry.command for entry in entries]
        places = {
            n: entry.place for n, entry in enumerate(entries) if entry.command is None and entry.place is not None
        }
        try:
            records = await self._spool.read(list(places.values()))
            for n, record in zip(places, records, strict=True):
                commands[n] = decode(record)
        except (OSError, Undecodable) as error:
            if len(entries) > 1:
                return [command for entry in entries for command in await self._commands([entry])]
            log.error("a spooled command cannot be read back", call=str(entries[0].call), error=str(error))
            self._defer(entries[0])
            return [None]
        return commands

    async def _refused(self, entry: _Entry, command: Command, error: BaseException) -> None:
        """The store is well and does not take this one: later, or never."""
        waited = asyncio.get_running_loop().time() - entry.kept_at
        self._defer(entry)
        if store_is_at_fault(error):
            log.warning("the store fails at one command", **_named(command), error=type(error).__name__)
            return  # as long as the store itself is the reason, it can succeed later
        if waited < UNKNOWN_FOR_S if isinstance(error, UnknownCall) else entry.tries < self._max_tries:
            return
        # The message of a ValueError of ours names fields, not what citizens said; that of a database quotes values.
        reason = (
            f"{type(error).__name__}: {error}" if type(error) in (ValueError, UnknownCall) else type(error).__name__
        )
        try:
            path = await self._spool.reject(entry.call, encode(command), reason, clock.now())
        except OSError as full:
            self._spool_fails(full.strerror or type(full).__name__)
            return
        log.error("a command is put aside: the store will never take it", **_named(command), file=path.name)
        self._take_out(entry)
        if entry.place is not None:
            await self._clear([entry.place])
        self.counts["rejected"] += 1

    def _defer(self, entry: _Entry) -> None:
        entry.tries += 1
        pause = min(self._retry_s * 2 ** min(entry.tries - 1, 10), LONGEST_RETRY_S)
        entry.not_before = asyncio.get_running_loop().time() + pause

    def _follow_up(self, command: Command, result: dict[str, Any]) -> None:
        """Mark when a replayed completion reached the store. A live one is marked by its session, which is told."""
        if isinstance(command, CaseCompleted) and result.get("case") and not result.get("marked") and self._open:
            task = asyncio.create_task(self._record(TimelineMarked(command.call, {timeline.STORED: clock.now()})))
            self._following.add(task)
            task.add_done_callback(self._followed)

    def _followed(self, task: asyncio.Task[Recorded]) -> None:
        self._following.discard(task)
        self._progressed.set()


def _named(command: Command) -> dict[str, str]:
    return {"command": type(command).__name__, "call": str(command.call)}
