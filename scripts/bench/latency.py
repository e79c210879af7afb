"""From the last voiced sample to the stored case, at shares of the measured speech capacity.

A hotline of its own, SIPp as the callers; each caller states the same sentence to the machine. Prints p50 and p99 of
the timeline's parts (seconds) for each share. Asterisk, SIPp and the hotline share this machine's cores: the figures
are those of a small city's one box under load that includes its own callers.
"""

import argparse
import asyncio
import math
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from callcenter.calls.timeline import SPANS
from callcenter.speech.accuracy import character_error_rate
from tests.e2e.calls import LAMP, masked, said
from tests.peers import sipp
from tests.peers.hotline import Hotline

INVITED_AFTER_S = 10.6
STAYS_S = 6.0
PARTS = [name for name, _, _ in SPANS if name != "stored_to_pulled"]


def percentile(values: list[float], share: float) -> float:
    """The ``share`` (0–1) percentile by the nearest-rank method."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def cpu_of(hotline: Hotline) -> dict[str, float]:
    """CPU seconds so far of the bridge, its compute child and Asterisk."""
    assert hotline.process is not None
    bridge = psutil.Process(hotline.process.pid)
    child = next(one for one in bridge.children() if "callcenter.compute" in " ".join(one.cmdline()))
    asterisk = psutil.Process(hotline.asterisk_pid() or 0)
    return {
        name: sum(one.cpu_times()[:2]) for name, one in (("bridge", bridge), ("child", child), ("asterisk", asterisk))
    }


async def round_of(hotline: Hotline, calls: int, speech: Path, spoken: float, series: int) -> None:
    """``calls`` callers at once; prints their figures."""
    numbers = [f"1370000{series * 1000 + index:04d}" for index in range(calls)]  # lists show the last four digits
    before, began = cpu_of(hotline), time.monotonic()
    result = await sipp.call(
        hotline.sip_host, hotline.sip_port, audio=speech, numbers=numbers, rate=min(50, max(5, calls / 4)),
        hangup_after=INVITED_AFTER_S + spoken + STAYS_S,
    )  # fmt: skip
    wall, after = time.monotonic() - began, cpu_of(hotline)
    wanted = {masked(number) for number in numbers}

    def linked() -> list[dict[str, Any]] | None:
        listed: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(listed) < calls:
            page = hotline.get("/api/v1/calls", limit=200, **({"cursor": cursor} if cursor else {}))
            listed += [call for call in page["items"] if call["number"] in wanted]
            cursor = page["next"]
            if cursor is None:
                break
        return listed if len(listed) >= calls and all(call["state"] == "ended" for call in listed) else None

    ended = await asyncio.to_thread(hotline.until, f"{calls} calls", linked, 120)
    whole = [hotline.get(f"/api/v1/calls/{call['id']}") for call in ended]
    live = [call for call in whole if not any(leg["gaps"] for leg in call["legs"]) and call["cases"]]
    errors = character_error_rate([(LAMP, said(call)) for call in live]) if live else 1.0
    print(
        f"\n{calls} calls at once: {len(whole)} recorded, {len(live)} heard live to the end, "
        f"character error {errors:.1%}, SIPp exit {result.exit_code}"
    )
    share = {name: 100 * (after[name] - before[name]) / wall for name in after}
    print("  CPU, % of a core: " + ", ".join(f"{name} {value:.0f}" for name, value in share.items()))
    print(f"  {'part':28} {'p50':>8} {'p99':>8}   n")
    for part in PARTS:
        values = [call["spans"][part] for call in live if part in call["spans"]]
        if values:
            print(f"  {part:28} {percentile(values, 0.5):8.3f} {percentile(values, 0.99):8.3f}   {len(values)}")


async def main() -> None:
    """All rounds, smallest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shares", default="0,25,50,80,100", help="per cent of capacity; 0: one call")
    parser.add_argument("--capacity", type=int, help="legs, instead of what the compute child measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-latency-") as name:
        folder = Path(name)
        speech = folder / "speech.al"
        spoken = sipp.render_speech(LAMP, speech, lead=INVITED_AFTER_S)
        hotline = Hotline(folder / "hotline", env={"CALLCENTER_DEMO_LINE": "true"})
        try:
            hotline.start()
            hotline.set_up()
            with hotline.client() as client:
                metrics = client.get("/metrics").text
            measured = re.search(r"^hotline_leg_capacity (\d+)", metrics, re.M)
            capacity = arguments.capacity or (int(measured[1]) if measured else 1)
            print(f"capacity as measured at start: {capacity} legs; sentence of {spoken:.1f} s")
            for series, share in enumerate(int(part) for part in arguments.shares.split(",")):
                await round_of(hotline, max(1, capacity * share // 100), speech, spoken, series)
        finally:
            hotline.stop()


if __name__ == "__main__":
    asyncio.run(main())
