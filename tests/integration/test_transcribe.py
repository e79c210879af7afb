"""``callcenter transcribe`` on files of every kind a recorder leaves behind."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from callcenter.speech.accuracy import character_error_rate
from callcenter.speech.commands import read_wav, transcribe
from callcenter.telephony.prompts import to_alaw
from tests.speaking import SENTENCES, SYNTHETIC, say

pytestmark = pytest.mark.integration


def wav(
    body: bytes, *, tag: int = 1, channels: int = 1, rate: int = 8_000, bits: int = 16, size: int | None = None
) -> bytes:
    width = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits)
    length = len(body) if size is None else size
    chunks = (
        b"fmt " + struct.pack("<I", len(form)) + form + b"LIST\x03\0\0\0abc\0" + b"data" + struct.pack("<I", length)
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(body)) + b"WAVE" + chunks + body


def run(path: Path, *, as_json: bool = False, model: Path | None = SYNTHETIC) -> tuple[int, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    return (
        transcribe(path, model=model, as_json=as_json, out_stream=out, error_stream=errors),
        out.getvalue(),
        errors.getvalue(),
    )


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return np.concatenate([np.zeros(4_000, np.int16), say(SENTENCES[1]), np.zeros(8_000, np.int16)])


def variants(voice: np.ndarray) -> dict[str, bytes]:
    from scipy.signal import resample_poly

    def at(rate: int) -> bytes:
        return np.clip(resample_poly(voice.astype(float), rate, 8_000), -32_768, 32_767).astype("<i2").tobytes()

    pcm = voice.astype("<i2").tobytes()
    return {
        "8 kHz": wav(pcm),
        "16 kHz": wav(at(16_000), rate=16_000),
        "44.1 kHz": wav(at(44_100), rate=44_100),
        "A-law": wav(to_alaw(voice), tag=6, bits=8),
        "stereo": wav(np.stack([voice, np.zeros_like(voice)], axis=1).astype("<i2").tobytes(), channels=2),
        "cut off": wav(pcm, size=len(pcm) * 3),
        "never closed": wav(pcm, size=0),
    }


@pytest.mark.parametrize("kind", ["8 kHz", "16 kHz", "44.1 kHz", "A-law", "stereo", "cut off", "never closed"])
def test_a_file_is_heard(tmp_path: Path, voice: np.ndarray, kind: str) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(variants(voice)[kind])
    code, out, errors = run(path)
    assert code == 0
    assert character_error_rate([(SENTENCES[1], out)]) <= 0.15
    assert "synthetic" in errors


def test_json_tells_words_and_times(tmp_path: Path, voice: np.ndarray) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(variants(voice)["8 kHz"])
    code, out, _ = run(path, as_json=True)
    found = json.loads(out)
    assert code == 0
    assert found["model"] == "cmn-synthetic"
    assert found["text"] == "".join(utterance["text"] for utterance in found["utterances"])
    assert {"start", "end", "confidence", "words"} <= found["utterances"][0].keys()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a WAV file"),
        (b"ID3\x04" + bytes(100), "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "names no data"),
        (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd", "fmt chunk is missing"),
        (wav(bytes(100), tag=3, bits=32), "format 3"),
        (wav(bytes(100), bits=24), "24 bits"),
        (wav(bytes(100), channels=0), "damaged"),
        (wav(bytes(100), rate=1), "damaged"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(content)
    code, out, errors = run(path)
    assert (code, out) == (1, "")
    assert said in errors
    assert errors.count("\n") == 1


def test_an_empty_recording_is_silence(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.write_bytes(wav(b""))
    assert run(path)[:2] == (0, "")


def test_missing_file_and_missing_model_are_named(tmp_path: Path) -> None:
    code, _, errors = run(tmp_path / "none.wav")
    assert code == 1
    assert "none.wav" in errors
    path = tmp_path / "call.wav"
    path.write_bytes(wav(bytes(1_600)))
    code, _, errors = run(path, model=tmp_path)
    assert code == 1
    assert "callcenter models fetch" in errors


def test_u_law_is_read_as_the_standard_says(tmp_path: Path) -> None:
    path = tmp_path / "u.wav"
    path.write_bytes(wav(bytes([0xFF, 0x7F, 0x80, 0x00, 0xF0, 0xA7]), tag=7, bits=8))
    samples, rate = read_wav(path)
    assert rate == 8_000
    assert samples.tolist() == [0, 0, 32_124, -32_124, 120, 6_140]
