"""People's voices down the telephone line come out as they do when they are fed directly."""

import asyncio
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from callcenter.speech.accuracy import character_error_rate
from callcenter.speech.commands import hear, read_wav, resample
from callcenter.speech.recognizer import load
from callcenter.telephony.prompts import from_alaw, to_alaw
from tests.e2e.calls import masked, said, until
from tests.e2e.conftest import INVITED_AFTER_S
from tests.peers import sipp
from tests.peers.hotline import Hotline
from tests.speaking import REAL_VOICE, shared_speech

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (REAL_VOICE.is_dir() and (shared_speech() / "speech.tsv").is_file()),
        reason=f"no real-voice model and recordings at {REAL_VOICE} and {shared_speech()}: they are not in the project",
    ),
]

AT_ONCE = 4
"""Fewer than what the slower model is admitted for on two cores."""
RECORDINGS = 16
LEVEL = 0.5
"""Full-scale recordings are turned down as a telephone would, for both ways alike."""


@pytest.fixture(scope="module")
def real_hotline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotline]:
    """A hotline that knows people's voices."""
    one = Hotline(tmp_path_factory.mktemp("hotline"), env={"CALLCENTER_SPEECH_MODEL": str(REAL_VOICE)})
    try:
        one.start()
        yield one.set_up()
    finally:
        one.stop()


def recordings() -> list[tuple[np.ndarray, str]]:
    """8 kHz samples and what is said in them, spread over the speakers."""
    with (shared_speech() / "speech.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["file"].startswith("aishell")]
    chosen = rows[:: max(1, len(rows) // RECORDINGS)][:RECORDINGS]
    found = []
    for row in chosen:
        samples, rate = read_wav(shared_speech() / row["file"])
        telephone = np.clip(resample(samples, rate, 8_000).astype(np.float64) * LEVEL, -32768, 32767)
        found.append((telephone.astype(np.int16), row["transcript"]))
    return found


async def down_the_line(
    hotline: Hotline, voices: list[tuple[np.ndarray, str]], first: int, folder: Path
) -> list[tuple[str, str]]:
    """What was said and what was heard of each, called in by numbers from ``first`` on."""
    quiet = np.zeros(round(INVITED_AFTER_S * 8_000), np.int16)
    numbers = [f"1360000{first + index:04d}" for index in range(len(voices))]
    for start in range(0, len(voices), AT_ONCE):
        calling = []
        for number, (samples, _) in list(zip(numbers, voices, strict=True))[start : start + AT_ONCE]:
            path = folder / f"{number}.al"
            path.write_bytes(to_alaw(quiet) + to_alaw(samples))
            stays = INVITED_AFTER_S + len(samples) / 8_000 + 1.5
            calling.append(sipp.call(hotline.sip_host, hotline.sip_port, audio=path, number=number, hangup_after=stays))
        assert all(result.ok for result in await asyncio.gather(*calling))

    def ended() -> dict[str, str] | None:
        calls = [call for call in hotline.calls() if call["state"] == "ended" and call["recording"]["sha256"]]
        known = {call["number"]: call["id"] for call in calls}
        return known if all(masked(number) in known for number in numbers) else None

    found = await until(hotline, "all calls", ended, 60)
    heard = [said(hotline.get(f"/api/v1/calls/{found[masked(number)]}")) for number in numbers]
    return [(text, spoken) for (_, text), spoken in zip(voices, heard, strict=True)]


async def test_the_line_costs_no_more_than_three_points(real_hotline: Hotline, tmp_path: Path) -> None:
    voices = recordings()
    assert len(voices) == RECORDINGS
    ear = load(REAL_VOICE)
    directly = [
        (text, "".join(one.text for one in hear(ear, from_alaw(to_alaw(samples)), 8_000))) for samples, text in voices
    ]

    fed = character_error_rate(directly)
    # Twice at most: on a machine that is busy with other tests the telephones themselves send late, and lose words.
    for first in (0, len(voices)):
        spoken = character_error_rate(await down_the_line(real_hotline, voices, first, tmp_path))
        print(f"character error fed directly {fed:.1%}, down the line {spoken:.1%}, {len(voices)} recordings")
        if abs(spoken - fed) <= 0.03:
            break
    assert abs(spoken - fed) <= 0.03
    # a model of people's voices is believed: nothing waits because of the voice
    assert "knows only" not in (real_hotline.data_dir / "serve.out").read_text()
