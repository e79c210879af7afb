"""Parts die during a call. The citizen's telephone goes on where a telephone could; what was said before is kept."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.calls import HEARD, LAMP, error_of, find, finished, said, until
from tests.e2e.conftest import INVITED_AFTER_S, HotlineMaker
from tests.peers import sipp
from tests.peers.hotline import Hotline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MID_SENTENCE_S = INVITED_AFTER_S + 4.0
"""By then half of the sentence is spoken."""


def compute_child(hotline: Hotline) -> psutil.Process:
    """The process that hears and routes."""
    assert hotline.process is not None
    children = psutil.Process(hotline.process.pid).children()
    return next(child for child in children if "callcenter.compute" in " ".join(child.cmdline()))


def dial(hotline: Hotline, number: str, audio: Path, hangup_after: float) -> "asyncio.Task[sipp.SippResult]":
    return asyncio.create_task(
        sipp.call(hotline.sip_host, hotline.sip_port, audio=audio, number=number, hangup_after=hangup_after)
    )


async def test_child_killed_in_the_middle_of_a_word(hotline: Hotline, spoken: Callable[..., Path]) -> None:
    number = "13800004001"
    calling = dial(hotline, number, spoken(LAMP), 27.0)
    await asyncio.sleep(MID_SENTENCE_S)
    child = compute_child(hotline)
    child.kill()
    result = await calling
    assert result.ok, "the call did not notice"
    call = await until(hotline, "the call's end", lambda: finished(hotline, number))
    assert compute_child(hotline).pid != child.pid
    assert error_of(call, LAMP) <= HEARD, said(call)
    assert call["cases"][0]["domain"] == "urban"


async def test_bridge_killed_in_the_middle_of_a_word(make_hotline: HotlineMaker, spoken: Callable[..., Path]) -> None:
    hotline, number = make_hotline(), "13800004002"
    asterisk = hotline.asterisk_pid()
    calling = dial(hotline, number, spoken(LAMP), 32.0)
    await asyncio.sleep(MID_SENTENCE_S)
    hotline.kill()
    assert hotline.asterisk_pid() == asterisk, "asterisk outlives the bridge"
    await asyncio.sleep(2)
    await asyncio.to_thread(hotline.start)
    assert hotline.asterisk_pid() == asterisk, "and is found again"
    result = await calling
    assert result.ok
    assert result.calls[0].ended_by == "citizen", "the telephone call went on without the bridge"
    call = await until(hotline, "the call from its recording", lambda: finished(hotline, number), 60)
    # The greeting's words never reach the citizen's side, and every word of the citizen is there once.
    assert error_of(call, LAMP) <= HEARD, said(call)
    assert call["cases"][0]["domain"] == "urban"
    assert call["cases"][0]["number"]


async def test_bridge_down_when_the_call_comes(make_hotline: HotlineMaker, spoken: Callable[..., Path]) -> None:
    hotline, number = make_hotline(), "13800004003"
    hotline.kill()
    # Greeting, then the invitation of the dialplan's own: together longer than the bridge's.
    result = await dial(hotline, number, spoken(LAMP, lead=22.0), 34.0)
    assert result.ok
    assert result.calls[0].ended_by == "citizen", "answered, and not dropped"
    notes = list((hotline.data_dir / "recordings").rglob("*.call"))
    assert len(notes) == 1
    assert (
        notes[0].stat().st_mode & 0o077 == 0
        or notes[0].parent.stat().st_mode & 0o077 == 0
        or (hotline.data_dir / "recordings").stat().st_mode & 0o077 == 0
    ), "who called is for us to read only"
    await asyncio.to_thread(hotline.start)
    call = await until(hotline, "the call from its recording", lambda: finished(hotline, number), 60)
    assert call["recovered"] is True
    assert error_of(call, LAMP) <= HEARD, said(call)
    assert call["cases"][0]["number"]
    assert call["legs"][0]["utterances"][0]["source"] == "recording"
    assert not notes[0].exists(), "the note named the caller; the call's own row does now"


async def test_bridge_frozen_when_the_call_comes(make_hotline: HotlineMaker, spoken: Callable[..., Path]) -> None:
    hotline, number = make_hotline(), "13800004008"
    assert hotline.process is not None
    hotline.process.send_signal(signal.SIGSTOP)
    try:
        result = await dial(hotline, number, spoken(LAMP, lead=26.0), 36.0)
    finally:
        hotline.process.send_signal(signal.SIGCONT)
    assert result.ok
    assert result.calls[0].ended_by == "citizen", "answered, and not held in silence"
    call = await until(hotline, "the call from its recording", lambda: finished(hotline, number), 90)
    assert error_of(call, LAMP) <= HEARD, said(call)
    assert call["cases"][0]["number"]


async def test_asterisk_killed_during_a_call(make_hotline: HotlineMaker, spoken: Callable[..., Path]) -> None:
    hotline, number = make_hotline(), "13800004004"
    asterisk = hotline.asterisk_pid()
    assert asterisk is not None
    calling = dial(hotline, number, spoken(LAMP), MID_SENTENCE_S + 8)
    await asyncio.sleep(MID_SENTENCE_S)
    os.kill(asterisk, signal.SIGKILL)
    await calling  # no telephone survives its exchange
    call = await until(hotline, "the call's end", lambda: finished(hotline, number), 60)
    assert "路灯" in said(call) or "中山" in said(call), said(call)
    assert call["cases"][0]["number"], "what was said is a case that waits for an agent"
    assert call["recording"]["seconds"] >= MID_SENTENCE_S - 4, "at most its last 2 s of sound"
    assert "asterisk has died" in hotline.log_path.read_text()
    assert hotline.asterisk_pid() not in (None, asterisk), "and is back"

    again = "13800004005"
    assert (await dial(hotline, again, spoken(LAMP), 24.0)).ok
    call = await until(hotline, "a call on the new asterisk", lambda: finished(hotline, again), 60)
    assert error_of(call, LAMP) <= HEARD


async def test_database_locked_during_a_call(make_hotline: HotlineMaker, spoken: Callable[..., Path]) -> None:
    hotline, number = make_hotline(), "13800004006"
    thief = sqlite3.connect(hotline.data_dir / "callcenter.db", isolation_level=None, timeout=5)
    thief.execute("BEGIN IMMEDIATE")
    try:
        # The citizen stays until the machine says goodbye: with no number, for none is committed.
        result = await asyncio.create_task(
            sipp.call(hotline.sip_host, hotline.sip_port, audio=spoken(LAMP), number=number, longest=90)
        )
        assert result.ok
        assert result.calls[0].ended_by == "hotline"
        spool = list((hotline.data_dir / "spool").iterdir())
        assert any(path.stat().st_size for path in spool if path.is_file()), "nothing was journalled"
        assert not hotline.calls()
    finally:
        thief.execute("ROLLBACK")
        thief.close()
    call = await until(hotline, "the replayed call", lambda: finished(hotline, number), 60)
    assert error_of(call, LAMP) <= HEARD
    assert call["cases"][0]["number"]
    assert call["timeline"]["answered"] < call["timeline"]["stored"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small tmpfs here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_disk_full_during_a_call(
    make_hotline: HotlineMaker, spoken: Callable[..., Path], small_disk: Path
) -> None:
    hotline, number = make_hotline(data_dir=small_disk / "data"), "13800004007"
    calling = dial(hotline, number, spoken(LAMP), 32.0)
    await asyncio.sleep(8)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    assert shutil.disk_usage(small_disk).free == 0
    try:
        await asyncio.sleep(INVITED_AFTER_S + 10 - 8)
        with hotline.client() as client:
            ready = client.get("/readyz")
            assert client.get("/healthz").status_code == 200, "the process is well"
        assert ready.status_code == 503, "the fault is named"
        result = await calling
        assert result.ok, "the telephone call went on"
        assert result.calls[0].ended_by == "citizen"
    finally:
        filler.unlink()
    call = await until(
        hotline, "the call, once there is room", lambda: find(hotline, number) and ended(hotline, number), 60
    )
    assert error_of(call, LAMP) <= HEARD, said(call)
    assert call["cases"][0]["number"]


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def ended(hotline: Hotline, number: str) -> dict[str, object] | None:
    """The call once it has ended and has a case; its recording was cut off by the full disk."""
    call = find(hotline, number)
    return call if call and call["state"] == "ended" and call["cases"] and call["cases"][0]["number"] else None
