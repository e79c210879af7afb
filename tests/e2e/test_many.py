"""Thirty citizens at once: none is lost, and each says what they said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.calls import HEARD, LAMP, error_of, masked, until
from tests.peers import sipp
from tests.peers.hotline import Hotline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_thirty_calls_at_once_none_lost(hotline: Hotline, spoken: Callable[..., Path]) -> None:
    numbers = [f"1390000{index:04d}" for index in range(30)]
    result = await sipp.call(
        hotline.sip_host, hotline.sip_port, audio=spoken(LAMP), numbers=numbers, rate=15, hangup_after=25.0
    )
    assert result.ok
    assert len(result.calls) == 30

    def all_linked() -> list[dict[str, object]] | None:
        mine = [call for call in hotline.calls() if call["number"] in {masked(number) for number in numbers}]
        return mine if len(mine) == 30 and all(call["recording"]["sha256"] for call in mine) else None

    calls = [hotline.get(f"/api/v1/calls/{call['id']}") for call in await until(hotline, "30 calls", all_linked, 90)]
    assert {call["number"] for call in calls} == {masked(number) for number in numbers}
    assert {error_of(call, LAMP) <= HEARD for call in calls} == {True}
    cases = [call["cases"][0] for call in calls]
    assert len({case["number"] for case in cases}) == 30, "thirty cases, thirty numbers"
    assert all(case["domain"] == "urban" for case in cases)
