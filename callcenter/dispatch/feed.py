"""The feed: filed cases as an ordered stream that dispatch systems pull at their own pace and acknowledge.

An event's place in the stream cannot be counted when it is written: a transaction that began first may commit last,
and a reader that has passed its number would never see it. So events are written without a position, and one
sequencer – the holder of a lock, in whichever process – gives positions to what has been committed. A position once
visible is final, and no lower one can appear after it.
"""

import asyncio
import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

import structlog
from sqlalchemy import Connection, CursorResult, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from callcenter.cases.repository import CaseRow, cases_by_id, mark_pulled
from callcenter.dispatch.model import FeedConsumer
from callcenter.storage.engine import Database, postgres_engine, store_is_at_fault
from callcenter.storage.outbox import OutboxEvent
from callcenter.storage.rows import insert_into

log = structlog.get_logger()

LOCK: Final = 1231902
"""PostgreSQL advisory lock of the sequencer."""
POLL_S: Final = 0.2
"""How often commits of other processes are looked for; those of this one wake the sequencer."""
BATCH: Final = 1_000
"""Events placed in one transaction: small enough that on SQLite a caller's write waits no more than some 20 ms."""
PULL_LIMIT: Final = 500
STOP_PATIENCE_S: Final = 5.0

_PLACE: Final = text(
    """
    UPDATE outbox_events SET position = placed.position
    FROM (
        SELECT id, row_number() OVER (ORDER BY id) + (SELECT coalesce(max(position), 0) FROM outbox_events) AS position
        FROM (SELECT id FROM outbox_events WHERE position IS NULL ORDER BY id LIMIT :batch) AS waiting
    ) AS placed
    WHERE outbox_events.id = placed.id
    """
)
_WAITING: Final = text("SELECT 1 FROM outbox_events WHERE position IS NULL LIMIT 1")


class AckBeyondEnd(ValueError):
    """Someone acknowledged a position that the feed has not reached."""


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One event of a filed case, with the case as it is now: after two changes both items show the second.

    ``event`` is the id by which a reader recognises an item that it gets twice. What of the case the reader may see is
    for the API to decide.
    """

    position: int
    event: UUID
    kind: str
    at: datetime
    case: CaseRow


async def pull(
    session: AsyncSession, consumer: str, *, after: int | None = None, limit: int = 100, at: datetime
) -> list[FeedItem]:
    """The next items for ``consumer``: those after position ``after``, or, if None, after what it has acknowledged.

    Pulling takes nothing away: until it acknowledges, a reader that died pulls the same again. ``session`` is a writing
    one, for the moment a case is first pulled is kept; for a reader that finds nothing new see :class:`Feed`.
    """
    items = await peek(session, consumer, after=after, limit=limit)
    fresh = {item.case.case.id for item in items if item.case.case.pulled_at is None}
    if fresh:
        await mark_pulled(session, sorted(fresh), at)
    return items


async def peek(session: AsyncSession, consumer: str, *, after: int | None = None, limit: int = 100) -> list[FeedItem]:
    """As ``pull``, but reads only."""
    if after is None:
        after = await acknowledged(session, consumer)
    rows = await session.scalars(
        select(OutboxEvent)
        .where(OutboxEvent.feed, OutboxEvent.position > after)
        .order_by(OutboxEvent.position)
        .limit(max(1, min(limit, PULL_LIMIT)))
    )
    found = [(row, row.case_id, row.position) for row in rows]
    cases = await cases_by_id(session, sorted({case for _, case, _ in found if case is not None}))
    return [
        FeedItem(position, row.event_id, row.kind, row.at, cases[case])
        for row, case, position in found
        if case is not None and position is not None
    ]


async def ack(session: AsyncSession, consumer: str, position: int, *, at: datetime) -> int:
    """``consumer`` has safely got everything up to ``position``: a receipt of transport, no more.

    Gives the position acknowledged now: it only grows, so acknowledging again or an older one changes nothing. Raises
    AckBeyondEnd for a position that the feed has not reached, ValueError for a negative one.
    """
    if position < 0:
        raise ValueError(f"position {position}: positions count from 1, 0 acknowledges nothing")
    end = await end_of_feed(session)
    if position > end:
        raise AckBeyondEnd(f"position {position} is beyond the end of the feed, {end}: acknowledge what was pulled")
    statement = insert_into(session, FeedConsumer).values(id=consumer, acked_position=position, acked_at=at)
    mine = FeedConsumer.__table__.c
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[mine.id],
            set_={"acked_position": position, "acked_at": at},
            where=mine.acked_position < position,
        )
    )
    return await acknowledged(session, consumer)


async def acknowledged(session: AsyncSession, consumer: str) -> int:
    """The position up to which ``consumer`` has acknowledged; 0: nothing yet."""
    query = select(FeedConsumer.acked_position).where(FeedConsumer.id == consumer)
    return await session.scalar(query) or 0


async def end_of_feed(session: AsyncSession) -> int:
    """The last position given; 0 for an empty feed."""
    return await session.scalar(select(func.max(OutboxEvent.position))) or 0


class Feed:
    """``pull`` and ``ack`` in transactions of their own: a reader that polls in vain never takes the write lock."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def pull(self, consumer: str, *, after: int | None = None, limit: int = 100, at: datetime) -> list[FeedItem]:
        """See :func:`pull`."""
        async with self._db.read() as session:
            items = await peek(session, consumer, after=after, limit=limit)
        fresh = {item.case.case.id for item in items if item.case.case.pulled_at is None}
        if fresh:
            async with self._db.begin() as session:
                await mark_pulled(session, sorted(fresh), at)
        return items

    async def ack(self, consumer: str, position: int, *, at: datetime) -> int:
        """See :func:`ack`."""
        async with self._db.begin() as session:
            return await ack(session, consumer, position, at=at)


class FeedSequencer:
    """Gives positions to committed events, while it holds the lock. Every process may run one; one at a time works."""

    def __init__(self, db: Database, *, poll_s: float = POLL_S) -> None:
        self._db = db
        self._poll_s = poll_s
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._turn: _Turn = _SqliteTurn(db) if db.is_sqlite else _PostgresTurn(db)
        self._listeners: list[Callable[[], None]] = []
        self._forget: Callable[[], None] | None = None
        self.fault: str | None = None
        """Why no positions are given at present; None when all is well."""

    @property
    def holds(self) -> bool:
        """Whether this process is the one that gives positions."""
        return self._turn.held

    def on_placed(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever this process has given new positions."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Begin; does not wait for the lock."""
        self._stopping = False
        self._forget = self._db.on_events(self._wake.set)
        self._task = asyncio.create_task(self._run(), name="feed-sequencer")

    async def stop(self) -> None:
        """End, and let another process take over at once."""
        if self._forget is not None:
            self._forget()
            self._forget = None
        task, self._task = self._task, None
        if task is not None:
            # Asked, not cancelled: a connection whose opening is cancelled is left to the garbage collector.
            self._stopping = True
            self._wake.set()
            done, _ = await asyncio.wait([task], timeout=STOP_PATIENCE_S)
            if not done:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._turn.release()

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                placed = await self._turn.take() and await self._turn.place()
            except Exception as error:  # nobody awaits this task: it names the fault and tries again
                await self._turn.release()
                if self.fault is None:
                    mend = "is the database up?" if store_is_at_fault(error) else "a fault of ours: see the traceback"
                    log.error("feed gets no positions", error=type(error).__name__, mend=mend, exc_info=error)
                self.fault = f"the store does not give positions ({type(error).__name__})"
                placed = 0
            else:
                if self.fault is not None:
                    log.info("feed gets positions again")
                self.fault = None
            if placed:
                for listener in self._listeners:
                    listener()
            if placed < BATCH and not self._stopping:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._wake.wait()


class _Turn(ABC):
    """The lock, and the placing that needs it."""

    held = False

    @abstractmethod
    async def take(self) -> bool:
        """Whether the lock is held, trying to take it when not. Never waits for it."""

    @abstractmethod
    async def place(self) -> int:
        """Give positions to up to BATCH committed events; gives how many."""

    @abstractmethod
    async def release(self) -> None:
        """Give the lock up, also when the store has gone."""


class _PostgresTurn(_Turn):
    """An advisory lock on a connection of its own. Placing runs on that very connection: should the server or the
    network end it, the lock and the unfinished placing go together, and the next holder cannot meet a late commit of
    ours."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None

    async def take(self) -> bool:
        if self.held:
            return True
        if self._engine is None:
            self._engine = postgres_engine(self._db.url, pooled=False)
        if self._connection is None:
            self._connection = await self._engine.connect()
        async with self._connection.begin():
            got = await self._connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK})
        self.held = bool(got)
        return self.held

    async def place(self) -> int:
        connection = self._connection
        if connection is None:
            return 0
        async with connection.begin():
            return await connection.run_sync(_place)

    async def release(self) -> None:
        self.held = False
        connection, self._connection = self._connection, None
        engine, self._engine = self._engine, None
        if connection is not None:
            with suppress(DBAPIError, OSError):  # it may be the broken one that we are here for
                await connection.invalidate()
                await connection.close()
        if engine is not None:
            await engine.dispose()


class _SqliteTurn(_Turn):
    """flock on a file beside the database: the kernel releases it with the process, however that ends."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._path = f"{db.path}.feed-lock"
        self._file: int | None = None

    async def take(self) -> bool:
        if not self.held:
            self.held = await asyncio.to_thread(self._lock)
        return self.held

    def _lock(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    async def place(self) -> int:
        async with self._db.read() as session:
            if await session.scalar(_WAITING) is None:
                return 0  # five times a second: not worth taking the one write lock for
        async with self._db.begin() as session:
            return await (await session.connection()).run_sync(_place)

    async def release(self) -> None:
        self.held = False
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _place(connection: Connection) -> int:
    result = cast(CursorResult[Any], connection.execute(_PLACE, {"batch": BATCH}))
    return result.rowcount
