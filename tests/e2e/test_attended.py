"""A citizen calls, an agent answers: both voices are heard, each under its own name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.calls import HEARD, LAMP, error_of, finished, said, until
from tests.peers import sipp
from tests.peers.baresip import BaresipAgent
from tests.peers.hotline import Hotline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

AGENT_SAYS = "您好请问您反映的路灯在什么位置我帮您登记一下"
"""Spoken by the agent from the moment they answer."""


async def test_both_legs_are_transcribed_under_their_own_names(hotline: Hotline, spoken: Callable[..., Path]) -> None:
    number = "13800002001"
    endpoint = hotline.agents()
    speech = spoken(AGENT_SAYS, lead=1.0)
    async with BaresipAgent(hotline.sip_host, hotline.sip_port, "101", endpoint["101"], says=speech):
        result = await sipp.call(
            hotline.sip_host, hotline.sip_port, audio=spoken(LAMP, lead=12.0), number=number, hangup_after=26.0
        )
    assert result.ok
    call = await until(hotline, "the call's end", lambda: finished(hotline, number))
    legs = {leg["kind"]: leg for leg in call["legs"]}
    assert set(legs) == {"citizen", "agent"}
    assert legs["agent"]["extension"] == "101"
    assert error_of(call, LAMP, "citizen") <= HEARD, said(call, "citizen")
    assert error_of(call, AGENT_SAYS, "agent") <= 0.25, said(call, "agent")
    # no echo from one leg into the other
    assert "登记" not in said(call, "citizen")
    assert "漆黑" not in said(call, "agent")
    # the case rests on the citizen's words
    assert call["cases"][0]["domain"] == "urban"
    assert "路灯" in call["cases"][0]["category"]["minor"]
