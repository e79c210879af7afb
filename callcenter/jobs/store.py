"""Jobs in the store: asked for in the transaction that causes them, leased, done, tried again, given up.

A job's id follows from its key, so that whoever asks twice gets the same one and needs no second look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID, uuid5

from sqlalchemy import CursorResult, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.jobs.model import Job
from callcenter.settings import Settings
from callcenter.storage.outbox import Reference, reference
from callcenter.storage.rows import insert_new

IDS: Final = UUID("6f1c4e0a-3c1d-5b52-9a0e-1d6b1f2c9d77")
"""Namespace of job ids (RFC 9562, version 5)."""
LONGEST_KIND: Final = 48
LONGEST_KEY: Final = 160
LONGEST_FAULT: Final = 200
DIED: Final = "the process died in the last attempt"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a failed job waits: ``first``, then ``factor`` times as long each time, ``longest`` at most.

    The same for the same count of attempts: no chance is in it, so that a test can say when a job is due.
    """

    first: timedelta = timedelta(seconds=5)
    factor: float = 2.0
    longest: timedelta = timedelta(hours=1)
    attempts: int = 12
    """After so many it is given up: about two and a half hours with the waits above."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Backoff":
        """As the settings have it."""
        first = timedelta(seconds=settings.job_first_wait_s)
        longest = timedelta(seconds=max(settings.job_longest_wait_s, settings.job_first_wait_s))
        return cls(first=first, longest=longest, attempts=settings.job_attempts)

    def wait(self, attempts: int) -> timedelta:
        """The wait after the ``attempts``-th attempt (1 or more) has failed."""
        if attempts > 64:  # 2 ** 64 times anything is past every limit, and more would overflow
            return self.longest
        return timedelta(
            seconds=min(self.first.total_seconds() * self.factor ** max(0, attempts - 1), self.longest.total_seconds())
        )


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What waits, by kind. ``due``: could run now; ``leased``: some runner has it; ``oldest_due_s``: how late the
    latest one is, in seconds."""

    waiting: Mapping[str, int]
    due: int
    leased: int
    oldest_due_s: float


def job_id(key: str) -> UUID:
    """The id of the job with this key."""
    return uuid5(IDS, key)


async def add_job(
    session: AsyncSession,
    kind: str,
    key: str,
    refs: Mapping[str, Reference],
    *,
    at: datetime,
    run_at: datetime | None = None,
) -> UUID:
    """Have something done after ``session``'s transaction commits; not before ``run_at`` (None: at once).

    Idempotent by ``key`` (160 characters): a job that was ever asked for under it, done or not, is not asked for again.
    Gives the job's id. ``refs`` as in the outbox: UUIDs, small integers, booleans, lower-case words. Raises ValueError
    for anything else, so that no number and no words get into a job by mistake; also for a kind or key that is too
    long or empty.
    """
    _check_name(kind, key)
    values = job_values(kind, key, refs, at=at, run_at=run_at)
    await insert_new(session, Job, values)
    return cast(UUID, values["id"])


def job_values(
    kind: str, key: str, refs: Mapping[str, Reference], *, at: datetime, run_at: datetime | None = None
) -> dict[str, Any]:
    """The row of a new job, for those who write many at once. Raises ValueError as ``add_job`` does."""
    _check_name(kind, key)
    return {
        "id": job_id(key),
        "kind": kind,
        "key": key,
        "refs": {name: reference(f"of job {kind}", name, value) for name, value in refs.items()},
        "created_at": at,
        "run_at": run_at or at,
        "attempts": 0,
    }


def _check_name(kind: str, key: str) -> None:
    # SQLite does not mind the length of a text, PostgreSQL does: both refuse here, before the transaction is spoiled.
    if not 0 < len(kind) <= LONGEST_KIND:
        raise ValueError(f"job kind {kind!r:.60} has {len(kind)} characters: 1 to {LONGEST_KIND}")
    if not 0 < len(key) <= LONGEST_KEY:
        raise ValueError(f"key of a job {kind} has {len(key)} characters: 1 to {LONGEST_KEY}")


async def any_due(session: AsyncSession, kinds: Sequence[str], at: datetime) -> bool:
    """Whether ``lease`` would find anything: a read, which on SQLite takes no writer's turn."""
    return bool(await session.scalar(select(exists().where(*_due(kinds, at)))))


async def lease(
    session: AsyncSession, kinds: Sequence[str], at: datetime, *, until: datetime, limit: int, most: int
) -> list[Job]:
    """Take up to ``limit`` due jobs of ``kinds`` until ``until``, the longest due first; counts the attempt.

    Takes also what another process leased and did not finish in time. One that has used up its ``most`` attempts, which
    happens when a process died in the last, is given up instead. PostgreSQL passes over rows that others hold.
    """
    found = await session.scalars(
        select(Job)
        .where(*_due(kinds, at))
        .order_by(Job.run_at, Job.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    taken = []
    for job in found:
        if job.attempts >= most:
            job.failed_at, job.fault, job.leased_until = at, DIED, None
            continue
        job.attempts += 1
        job.leased_until = until
        taken.append(job)
    await session.flush()
    return taken


async def finish(session: AsyncSession, job: Job, at: datetime) -> bool:
    """Mark a leased job done; False when another runner has taken it over meanwhile."""
    return await _end_lease(session, job, done_at=at)


async def retry_later(session: AsyncSession, job: Job, *, run_at: datetime, fault: str) -> bool:
    """Give a leased job back to be tried at ``run_at``; False when another runner has taken it over."""
    return await _end_lease(session, job, run_at=run_at, fault=fault[:LONGEST_FAULT])


async def give_up(session: AsyncSession, job: Job, at: datetime, *, fault: str) -> bool:
    """No more attempts: somebody has to look. ``fault`` holds no personal data. False as above."""
    return await _end_lease(session, job, failed_at=at, fault=fault[:LONGEST_FAULT])


async def release(session: AsyncSession, job: Job) -> bool:
    """Give a leased job back untried: the process ends in good order. False as above."""
    return await _end_lease(session, job, attempts=Job.attempts - 1)


async def _end_lease(session: AsyncSession, job: Job, **values: Any) -> bool:
    # The count of attempts grows with each lease: it says whether this lease is still the last one.
    mine = (Job.id == job.id, Job.attempts == job.attempts, Job.done_at.is_(None), Job.failed_at.is_(None))
    statement = update(Job).where(*mine).values(leased_until=None, **values)
    result = await session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount == 1


async def try_again(session: AsyncSession, id: UUID, at: datetime) -> bool:
    """Put a job that was given up back in the line with all its attempts; False when there is none such."""
    given_up = (Job.id == id, Job.failed_at.is_not(None))
    fresh = {"failed_at": None, "fault": None, "attempts": 0, "leased_until": None, "run_at": at}
    result = await session.execute(update(Job).where(*given_up).values(fresh))
    return cast(CursorResult[Any], result).rowcount == 1


async def given_up(session: AsyncSession, limit: int = 100) -> list[Job]:
    """The jobs that were given up, newest first. Reads the whole table: for people, not for every scrape."""
    query = select(Job).where(Job.failed_at.is_not(None)).order_by(Job.failed_at.desc(), Job.id).limit(limit)
    return list(await session.scalars(query))


async def counts(session: AsyncSession, at: datetime) -> JobCounts:
    """What waits now; reads only the waiting ones."""
    waits = (Job.done_at.is_(None), Job.failed_at.is_(None))
    kinds = await session.execute(select(Job.kind, func.count()).where(*waits).group_by(Job.kind))
    leased = await session.scalar(select(func.count()).where(*waits, Job.leased_until > at))
    due, oldest = (await session.execute(select(func.count(), func.min(Job.run_at)).where(*_ready(at)))).one()
    late = max(0.0, (at - oldest).total_seconds()) if oldest is not None else 0.0
    return JobCounts({kind: number for kind, number in kinds}, due, leased or 0, late)


def _ready(at: datetime) -> tuple[Any, ...]:
    return (
        Job.done_at.is_(None),
        Job.failed_at.is_(None),
        Job.run_at <= at,
        or_(Job.leased_until.is_(None), Job.leased_until <= at),
    )


def _due(kinds: Sequence[str], at: datetime) -> tuple[Any, ...]:
    return (*_ready(at), Job.kind.in_(kinds))
