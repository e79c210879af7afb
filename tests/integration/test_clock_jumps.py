"""The wall clock steps forward, back and forward again under a running process: lamps are lit once, and stay lit."""

import asyncio
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select

from callcenter import clock
from callcenter.cases.life import CaseDeadline, SupervisionSheet
from callcenter.cases.model import CaseLog
from callcenter.jobs.model import Job
from callcenter.storage.engine import Database
from tests.acting import House

pytestmark = pytest.mark.integration

ROOT: Final = Path(__file__).resolve().parents[2]
FAKETIME: Final = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


class Watch:
    """The process, with a wall clock that the test moves (libfaketime)."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self._child: asyncio.subprocess.Process | None = None

    async def start(self, url: str) -> None:
        assert FAKETIME is not None, "libfaketime is missing: scripts/setup test brings it"
        self._offset.write_text("+0")
        faked = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.peers.watching", url),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **faked},
            stdout=asyncio.subprocess.PIPE,
        )

    async def at(self, offset: timedelta) -> None:
        """Step the clock, and wait for some sweeps by the new time."""
        now = clock.now()
        self._offset.write_text(f"{offset.total_seconds():+.0f}")
        seen = 0
        async with asyncio.timeout(30):
            while seen < 4:
                assert self._child is not None
                assert self._child.stdout is not None
                line = (await self._child.stdout.readline()).decode().split()
                assert line, "the process ended by itself"
                assert line[1] == "well", line[1]
                seen += abs(datetime.fromisoformat(line[0]) - now - offset) < timedelta(minutes=10)

    async def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            await self._child.wait()


async def test_a_clock_that_jumps_lights_no_lamp_twice_and_puts_none_out(
    db: Database, db_url: str, tmp_path: Path
) -> None:
    house = await House(db, at=clock.now() - timedelta(minutes=20)).open()
    case = await house.handled(urgency="urgent")
    watch = Watch(tmp_path)
    await watch.start(db_url)
    try:
        await watch.at(timedelta(0))
        assert await lit(house, case) == []
        await watch.at(timedelta(days=40))
        late = await lit(house, case)
        limits = await house.rows(CaseDeadline, case)
        handle = next(row for row in limits if row.phase == "handle")
        mine = [(lamp, at) for deadline, lamp, at in late if deadline == str(handle.id)]
        assert mine == [("warned", handle.warn_at), ("yellow", handle.yellow_at), ("red", handle.red_at)]
        sheets = len(await house.rows(SupervisionSheet, case))
        assert sheets == 1
        for jump in (timedelta(hours=-2), timedelta(days=40), timedelta(0)):
            await watch.at(jump)
            assert await lit(house, case) == late, "nothing twice, nothing undone"
            assert len(await house.rows(SupervisionSheet, case)) == sheets
        assert (await house.case(case)).lamp == "red"
        for row in limits:
            assert row.used_s >= 0
            assert row.warn_at <= row.yellow_at <= row.red_at
    finally:
        await watch.stop()
    async with db.read() as session:
        keys = list(await session.scalars(select(Job.key)))
    assert len(keys) == len(set(keys))


async def lit(house: House, case: object) -> list[tuple[str, str, datetime]]:
    """Deadline, lamp and moment of each lamp in the log."""
    async with house.db.read() as session:
        rows = await session.scalars(
            select(CaseLog).where(CaseLog.case_id == case, CaseLog.action == "lamp").order_by(CaseLog.seq)
        )
        return [(row.detail["deadline"], row.detail["lamp"], row.at) for row in rows]
