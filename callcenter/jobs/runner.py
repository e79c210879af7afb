"""The runner: takes due jobs, calls the handler of each kind, and sees to it that each is done or given up visibly.

At least once, never "perhaps": a process that dies leaves its leases to run out, and another takes the jobs again. A
handler must therefore be idempotent by the job's key. Several runners, in several processes, may work at once.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import structlog

from callcenter import clock
from callcenter.jobs import store
from callcenter.jobs.model import Job
from callcenter.jobs.store import Backoff
from callcenter.storage.engine import Database, store_is_at_fault

log = structlog.get_logger()

POLL_S: Final = 1.0
"""How often jobs that come due, or that another process wrote, are looked for."""
LEASE_S: Final = 60.0
"""A dead process's jobs are taken again after this; a handler that takes longer than nine tenths of it has failed."""
PARALLEL: Final = 8
"""Jobs carried out at once: most of them wait for somebody's answer."""
STOP_PATIENCE_S: Final = 5.0

Handler = Callable[[Database, Job], Awaitable[None]]
"""Carries out one job. It may be called again for the same job, also after it has succeeded; it opens its own
transactions. Raises GiveUp when another attempt cannot help, anything else to be tried again."""


class GiveUp(Exception):
    """Another attempt cannot help. The text goes into ``Job.fault``: codes and ids, no personal data."""


class Runner:
    """Carries out jobs of the kinds that ``handlers`` names, and leaves others alone.

    ``start()`` and ``stop()`` for a process; ``run_once`` for tests and commands. ``counts`` since the start: ``done``,
    ``retried``, ``given_up``, ``overtaken`` (another runner had taken the job again).
    """

    def __init__(
        self,
        db: Database,
        handlers: Mapping[str, Handler],
        *,
        backoff: Backoff | None = None,
        lease_s: float = LEASE_S,
        parallel: int = PARALLEL,
        poll_s: float = POLL_S,
    ) -> None:
        self._db = db
        self._handlers = dict(handlers)
        self._backoff = backoff or Backoff()
        self._lease_s = lease_s
        self._parallel = parallel
        self._poll_s = poll_s
        self._wake = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None
        self._running: dict[asyncio.Task[None], Job] = {}
        self._forget: Callable[[], None] | None = None
        self.counts: Counter[str] = Counter()
        self.fault: str | None = None
        """Why no jobs are taken at present; None when all is well."""

    async def run_once(self, at: datetime) -> int:
        """Take one batch of what is due at ``at`` and carry it out; gives how many were taken. Raises what the store
        raises."""
        jobs = await self._lease(at, self._parallel)
        await asyncio.gather(*(self._carry_out(job, at) for job in jobs))
        return len(jobs)

    async def start(self) -> None:
        """Begin."""
        self._stopping = False
        self._forget = self._db.on_events(self._wake.set)
        self._loop = asyncio.create_task(self._run(), name="jobs")

    async def stop(self) -> None:
        """Take no more, wait a little for what is under way, give back the rest."""
        if self._forget is not None:
            self._forget()
            self._forget = None
        self._stopping = True
        self._wake.set()
        loop, self._loop = self._loop, None
        if loop is not None:
            await asyncio.gather(loop, return_exceptions=True)
        if self._running:
            await asyncio.wait(self._running, timeout=STOP_PATIENCE_S)
        unfinished = dict(self._running)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        with suppress(Exception):  # the store may be what hangs: then the leases run out by themselves
            async with asyncio.timeout(STOP_PATIENCE_S):
                for job in unfinished.values():
                    async with self._db.begin() as session:
                        await store.release(session, job)

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            room = self._parallel - len(self._running)
            taken = 0
            try:
                for job in await self._lease(clock.now(), room) if room else ():
                    task = asyncio.create_task(self._carry_out(job, None), name=f"job-{job.kind}")
                    self._running[task] = job
                    task.add_done_callback(self._over)
                    taken += 1
            except Exception as error:  # nobody awaits this task: it names the fault and tries again
                if self.fault is None:
                    mend = "is the database up?" if store_is_at_fault(error) else "a fault of ours: see the traceback"
                    log.error("no jobs are taken", error=type(error).__name__, mend=mend, exc_info=error)
                self.fault = f"the store gives no jobs ({type(error).__name__})"
            else:
                if self.fault is not None:
                    log.info("jobs are taken again")
                self.fault = None
            if (taken < room or not room) and not self._stopping:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._wake.wait()

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The store went while the outcome was being written: the lease runs out and the job is taken again.
            log.warning("the outcome of a job was not written", error=type(error).__name__)
        self._wake.set()

    async def _lease(self, at: datetime, limit: int) -> list[Job]:
        kinds = list(self._handlers)
        async with self._db.read() as session:
            if not await store.any_due(session, kinds, at):
                return []
        until = at + timedelta(seconds=self._lease_s)
        async with self._db.begin() as session:
            return await store.lease(session, kinds, at, until=until, limit=limit, most=self._backoff.attempts)

    async def _carry_out(self, job: Job, at: datetime | None) -> None:
        """Call the handler and write the outcome; ``at`` None: by the clock. Raises what the store raises."""
        fault, final = "", False
        try:
            # Less than the lease: nobody else has the job while its handler works.
            async with asyncio.timeout(self._lease_s * 0.9):
                await self._handlers[job.kind](self._db, job)
        except GiveUp as error:
            fault, final = str(error) or "given up", True
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the job is tried again
            # Only the kind of a foreign error: its text may hold what was sent, and to whom.
            fault = type(error).__name__
            final = job.attempts >= self._backoff.attempts
            log.warning("a job failed", kind=job.kind, job=str(job.id), attempt=job.attempts, error=fault)
        moment = at or clock.now()
        async with self._db.begin() as session:
            if not fault:
                outcome, written = "done", await store.finish(session, job, moment)
            elif final:
                outcome, written = "given_up", await store.give_up(session, job, moment, fault=fault)
            else:
                run_at = moment + self._backoff.wait(job.attempts)
                outcome, written = "retried", await store.retry_later(session, job, run_at=run_at, fault=fault)
        self.counts[outcome if written else "overtaken"] += 1
        if outcome == "given_up" and written:
            log.error("a job is given up", kind=job.kind, job=str(job.id), fault=fault, mend="see docs/supervision.md")
