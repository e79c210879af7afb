"""What the end-to-end tests ask about a call, through the API."""

import asyncio
from collections.abc import Callable
from typing import Any

from callcenter.speech.accuracy import character_error_rate
from tests.peers.hotline import Hotline

MANHOLE = "您好我要反映我们小区东门口有个井盖不见了昨天晚上有个老人差点掉进去请你们赶快派人来看看"
LAMP = "中山路和解放路交叉口的路灯已经坏了半个多月了晚上一片漆黑骑车根本看不清路"
WAGES = "老板拖欠我们十几个工人四个月的工资每次去找他他都说下个星期给"

HEARD = 0.15
"""Most character errors that the synthetic model makes on its own voice down a telephone line (issue 1)."""


def masked(number: str) -> str:
    """``number`` as lists show it."""
    return f"{number[:3]}****{number[-4:]}"


def find(hotline: Hotline, number: str) -> dict[str, Any] | None:
    """The newest call from ``number``, whole."""
    for call in hotline.calls():
        if call["number"] == masked(number):
            whole: dict[str, Any] = hotline.get(f"/api/v1/calls/{call['id']}")
            return whole
    return None


def finished(hotline: Hotline, number: str) -> dict[str, Any] | None:
    """The same once it has ended and its recording is linked, which is the last that happens to a call."""
    call = find(hotline, number)
    return call if call and call["state"] == "ended" and call["recording"]["sha256"] else None


def said(call: dict[str, Any], kind: str = "citizen") -> str:
    """Everything that a leg's voice said."""
    parts = [part for leg in call["legs"] if leg["kind"] == kind for part in leg["utterances"]]
    return "".join(part["text"] for part in parts)


def error_of(call: dict[str, Any], text: str, kind: str = "citizen") -> float:
    """Character error of what was heard against what was spoken."""
    return character_error_rate([(text, said(call, kind))])


async def until(hotline: Hotline, what: str, probe: Callable[[], Any], within: float = 30.0) -> Any:
    """``Hotline.until`` without holding up the event loop, on which the callers live."""
    return await asyncio.to_thread(hotline.until, what, probe, within)
