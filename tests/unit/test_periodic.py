"""Periodic work: at once, again, never twice at once, and a fault stops nothing."""

import asyncio
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from callcenter.periodic import Periodic

pytestmark = pytest.mark.unit


async def until(true: object, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_it_begins_at_once_goes_on_and_ends() -> None:
    times: list[datetime] = []

    async def work(at: datetime) -> None:
        times.append(at)

    periodic = Periodic("work", work, every_s=0.01)
    await periodic.start()
    await until(lambda: len(times) > 2)
    await periodic.stop()
    count = len(times)
    await asyncio.sleep(0.05)
    assert len(times) == count
    assert times == sorted(times)
    assert periodic.done_at == times[-1]


async def test_a_fault_is_named_once_and_tried_again() -> None:
    broken = True

    async def work(at: datetime) -> None:
        if broken:
            raise RuntimeError("a fault")

    with capture_logs() as logs:
        periodic = Periodic("work", work, every_s=0.005)
        await periodic.start()
        await until(lambda: periodic.fault)
        await asyncio.sleep(0.05)
        broken = False
        await until(lambda: periodic.fault is None)
        await periodic.stop()
    assert [(line["event"], line["work"], line["error"]) for line in logs] == [
        ("periodic work fails", "work", "RuntimeError")
    ]


async def test_work_that_hangs_does_not_keep_it_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter.periodic.STOP_PATIENCE_S", 0.05)
    running = 0

    async def work(at: datetime) -> None:
        nonlocal running
        running += 1
        await asyncio.sleep(3600)

    periodic = Periodic("work", work, every_s=0.001)
    await periodic.start()
    await until(lambda: running)
    await periodic.stop()
    assert running == 1
