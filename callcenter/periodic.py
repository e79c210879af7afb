"""Something done again and again while a process lives, with its faults named once and tried again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import structlog

from callcenter import clock
from callcenter.storage.engine import store_is_at_fault

log = structlog.get_logger()

STOP_PATIENCE_S: Final = 5.0


class Periodic:
    """Calls ``work`` with the time, at once and then ``every_s`` seconds after it has ended; never twice at once.

    A fault is logged when it begins, kept in ``fault``, and the work is tried again: nobody awaits it.
    """

    def __init__(self, name: str, work: Callable[[datetime], Awaitable[Any]], *, every_s: float) -> None:
        self._name, self._work, self._every_s = name, work, every_s
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.done_at: datetime | None = None
        """When it last ended well."""
        self.fault: str | None = None
        """What is wrong at present; None when all is well."""

    async def start(self) -> None:
        """Begin, with a first time at once: something may be left from before this process."""
        self._stopping.clear()
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End; work under way has STOP_PATIENCE_S seconds to finish, then it is cancelled."""
        self._stopping.set()
        task, self._task = self._task, None
        if task is not None:
            done, _ = await asyncio.wait([task], timeout=STOP_PATIENCE_S)
            if not done:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            at = clock.now()
            try:
                await self._work(at)
            except Exception as error:
                if self.fault is None:
                    mend = "is the database up?" if store_is_at_fault(error) else "a fault of ours: see the traceback"
                    log.error(
                        "periodic work fails", work=self._name, error=type(error).__name__, mend=mend, exc_info=error
                    )
                self.fault = type(error).__name__
            else:
                self.done_at, self.fault = at, None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._stopping.wait()
