"""People's voices and a model of them, where they are to be had: beside the project, never in it."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from callcenter.speech.accuracy import character_error_rate
from callcenter.speech.commands import hear, read_wav, resample, transcribe
from callcenter.speech.recognizer import Ear, load
from callcenter.telephony.prompts import from_alaw, to_alaw
from tests.speaking import REAL_VOICE, shared_speech

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (REAL_VOICE.is_dir() and (shared_speech() / "speech.tsv").is_file()),
        reason=f"no real-voice model and recordings at {REAL_VOICE} and {shared_speech()}: they are not in the project",
    ),
]


@pytest.fixture(scope="module")
def ear() -> Ear:
    return load(REAL_VOICE)


def recordings() -> list[tuple[Path, str]]:
    with (shared_speech() / "speech.tsv").open(encoding="utf-8") as file:
        return [(shared_speech() / row["file"], row["transcript"]) for row in csv.DictReader(file, delimiter="\t")]


def heard(ear: Ear, samples: np.ndarray, rate: int) -> str:
    return "".join(utterance.text for utterance in hear(ear, samples, rate))


def test_character_error_at_16_khz_is_what_was_published(ear: Ear) -> None:
    pairs = [(said, heard(ear, *read_wav(path))) for path, said in recordings()]
    assert len(pairs) > 50
    assert character_error_rate(pairs) == pytest.approx(0.284, abs=0.02)


def test_character_error_over_a_telephone_line_is_what_was_published(ear: Ear) -> None:
    pairs = []
    for path, said in recordings():
        samples, rate = read_wav(path)
        pairs.append((said, heard(ear, from_alaw(to_alaw(resample(samples, rate, 8_000))), 8_000)))
    assert character_error_rate(pairs) == pytest.approx(0.359, abs=0.02)


def test_the_command_hears_the_same(ear: Ear) -> None:
    path, _ = recordings()[0]
    out, errors = io.StringIO(), io.StringIO()
    assert transcribe(path, model=REAL_VOICE, as_json=True, out_stream=out, error_stream=errors) == 0
    assert json.loads(out.getvalue())["text"] == heard(ear, *read_wav(path))
    assert errors.getvalue() == ""
