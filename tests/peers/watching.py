"""Lamps and jobs as a process runs them, until it is ended: ``python -m tests.peers.watching URL``, under libfaketime.

Prints a line after each sweep: the wall clock as it sees it, and what is wrong, if anything.
"""

import asyncio
import sys
from datetime import datetime

from callcenter import clock
from callcenter.cases.supervision import SweepSettings, sweep
from callcenter.jobs.runner import Runner
from callcenter.messages.sending import handlers
from callcenter.periodic import Periodic
from callcenter.storage.engine import Database


async def _watch(url: str) -> None:
    db = Database(url)
    await db.connect()

    async def look(at: datetime) -> None:
        await sweep(db, at, SweepSettings())

    lamps = Periodic("lamps", look, every_s=0.05)
    runner = Runner(db, handlers(None), poll_s=0.05)
    await lamps.start()
    await runner.start()
    done = None
    while True:
        if lamps.done_at != done or lamps.fault:
            done = lamps.done_at
            print(clock.now().isoformat(), lamps.fault or runner.fault or "well", flush=True)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(_watch(sys.argv[1]))
