"""A citizen calls, nobody is there: the machine listens, and a dispatch system pulls the case."""

import io
import wave
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from callcenter.calls import timeline
from callcenter.speech.commands import transcribe
from callcenter.telephony.prompts import from_alaw
from tests.e2e.calls import HEARD, LAMP, error_of, finished, until
from tests.peers import sipp
from tests.peers.hotline import REPOSITORY, Hotline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DIGITS = dict(zip("0123456789", "零幺二三四五六七八九", strict=True))


async def test_statement_becomes_a_case_that_is_pulled(
    hotline: Hotline, spoken: Callable[..., Path], tmp_path: Path
) -> None:
    number, ear = "13800001001", tmp_path / "heard.al"
    result = await sipp.call(
        hotline.sip_host, hotline.sip_port, audio=spoken(LAMP), number=number, longest=100, hear=ear
    )
    assert result.ok
    assert result.calls[0].ended_by == "hotline", "the machine says goodbye; the citizen did not have to hang up"

    call = await until(hotline, "the call's end", lambda: finished(hotline, number))
    assert error_of(call, LAMP) <= HEARD
    assert [leg["kind"] for leg in call["legs"]] == ["citizen"]
    case = call["cases"][0]
    assert case["number"]
    assert case["domain"] == "urban"
    assert "路灯" in case["category"]["minor"]

    # every final utterance updated the draft: the last routing is of the whole text
    assert call["routings"][-1]["sequence"] == len(call["legs"][0]["utterances"]) - 1

    # nobody sees it before it is filed
    with hotline.client() as dispatch:
        if case["state"] != "pending_dispatch":
            assert dispatch.get("/api/v1/dispatch/feed", params={"after": 0}).json()["items"] == []
            with hotline.signed_in("zhang") as desk:
                desk.post(
                    f"/api/v1/cases/{case['id']}/confirm", json={"expected_version": case["version"]}
                ).raise_for_status()

        def pull() -> list[dict[str, object]]:
            items: list[dict[str, object]] = dispatch.get("/api/v1/dispatch/feed", params={"after": 0}).json()["items"]
            return items

        items = await until(hotline, "the case in the feed", pull)
        assert items[0]["case"]["number"] == case["number"]
        acked = dispatch.post("/api/v1/dispatch/ack", json={"position": items[-1]["position"]})
        assert acked.json()["position"] == items[-1]["position"]
        assert dispatch.get("/api/v1/dispatch/feed").json()["items"] == []

    # the timeline is whole and in order, and the promises hold
    call = hotline.get(f"/api/v1/calls/{call['id']}")
    marks = {name: datetime.fromisoformat(at) for name, at in call["timeline"].items()}
    assert set(marks) == set(timeline.MARKS)
    order = [marks[name] for name in (
        timeline.RUNG, timeline.ANSWERED, timeline.FIRST_WORDS, timeline.LAST_VOICED, timeline.END_DECIDED,
        timeline.DECODED, timeline.ROUTED, timeline.STORED, timeline.PULLED,
    )]  # fmt: skip
    assert order == sorted(order)
    assert call["spans"]["end_decided_to_stored"] <= 1.0
    assert call["spans"]["last_voiced_to_stored"] <= 5.0

    # and the citizen heard their number, as the same voice's model hears it
    pcm = from_alaw(ear.read_bytes()).tobytes()
    wav = tmp_path / "heard.wav"
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(pcm)
    out = io.StringIO()
    assert transcribe(wav, model=REPOSITORY / "models" / "cmn-synthetic", as_json=False, out_stream=out) == 0
    heard = out.getvalue().replace("\n", "").replace("一", "幺")
    wanted = "".join(DIGITS[digit] for digit in case["number"])
    # twice, and the model's little language model may swallow a digit: the longest common part must be nearly all
    assert _common(wanted, heard) >= len(wanted) - 3, heard


def _common(a: str, b: str) -> int:
    """Length of the longest common subsequence within any window of ``b`` as long as ``a`` and half of it again."""
    best = 0
    window = len(a) * 3 // 2
    for start in range(max(1, len(b) - window + 1)):
        part = b[start : start + window]
        row = [0] * (len(part) + 1)
        for left in a:
            before = 0
            for index, right in enumerate(part, 1):
                before, row[index] = row[index], before + 1 if left == right else max(row[index], row[index - 1])
        best = max(best, row[-1])
    return best


async def test_citizen_who_hangs_up_after_speaking_is_not_lost(hotline: Hotline, spoken: Callable[..., Path]) -> None:
    number = "13800001002"
    # the sentence lasts 11 s from the invitation; the citizen hangs up before the machine has said anything
    result = await sipp.call(hotline.sip_host, hotline.sip_port, audio=spoken(LAMP), number=number, hangup_after=23.4)
    assert result.ok
    call = await until(hotline, "the call's end", lambda: finished(hotline, number))
    assert error_of(call, LAMP) <= HEARD
    assert call["cases"][0]["number"]
    assert call["recording"]["seconds"] == pytest.approx(23.4, abs=2.5)
