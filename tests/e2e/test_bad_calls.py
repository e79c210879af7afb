"""Calls as they come at night: cut off, silent, noisy, without sound. All at once, beside a good one."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from callcenter.telephony.prompts import to_alaw
from tests.e2e.calls import HEARD, LAMP, MANHOLE, error_of, finished, said, until
from tests.peers import sipp
from tests.peers.hotline import Hotline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def noise(folder: Path, seconds: float) -> Path:
    """White noise at a tenth of full scale, as A-law."""
    samples = np.random.default_rng(12319).integers(-3000, 3000, int(seconds * 8000), dtype=np.int16)
    path = folder / "noise.al"
    path.write_bytes(to_alaw(samples))
    return path


async def test_bad_calls_harm_nothing(hotline: Hotline, spoken: Callable[..., Path], tmp_path: Path) -> None:
    def dial(number: str, **how: object) -> "asyncio.Task[sipp.SippResult]":
        return asyncio.create_task(sipp.call(hotline.sip_host, hotline.sip_port, number=number, **how))  # type: ignore[arg-type]

    calls = {
        "13800003001": dial("13800003001", hangup_after=1.0),
        "13800003002": dial("13800003002", hangup_after=3.0),
        # the 8 s sentence begins at 10.6 s: cut off in the middle of a word
        "13800003003": dial("13800003003", audio=spoken(MANHOLE), hangup_after=16.0),
        "13800003004": dial("13800003004", longest=100),
        "13800003005": dial("13800003005", audio=noise(tmp_path, 60), hangup_after=60),
        "13800003006": dial("13800003006", send_rtp=False, hangup_after=30),
        "13800003007": dial("13800003007", audio=spoken(LAMP), longest=100),
    }
    results = dict(zip(calls, await asyncio.gather(*calls.values()), strict=True))
    assert {number for number, result in results.items() if not result.ok} == set()
    ended = {
        number: await until(hotline, f"the end of {number}", lambda number=number: finished(hotline, number), 60)
        for number in calls
    }

    for number in ("13800003001", "13800003002", "13800003004", "13800003005", "13800003006"):
        assert ended[number]["cases"] == [], f"{number}: a case of nothing: {said(ended[number])}"
    assert ended["13800003001"]["timeline"]["answered"], "even one second is a call with its own record"
    # half a sentence is half a sentence: its words are kept, and a case waits for an agent
    cut = ended["13800003003"]
    assert "井盖" in said(cut) or "小区" in said(cut)
    assert cut["cases"][0]["number"]
    # a silent citizen is asked twice and let go by the machine
    assert results["13800003004"].calls[0].ended_by == "hotline"
    # the good one was not harmed
    assert error_of(ended["13800003007"], LAMP) <= HEARD
    assert results["13800003007"].calls[0].ended_by == "hotline"
    # nothing of it all was an error of ours
    assert '"level": "error"' not in hotline.log_path.read_text()
