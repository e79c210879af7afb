"""``callcenter transcribe`` and ``callcenter models fetch``: hearing from a terminal, the way calls are heard."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from callcenter.settings import Settings
from callcenter.speech.events import Utterance
from callcenter.speech.fetch import FetchError
from callcenter.speech.fetch import fetch as fetch_model
from callcenter.speech.models import ModelError
from callcenter.speech.recognizer import Ear, LegRecognizer, load

_PCM, _A_LAW, _U_LAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE  # wFormatTag of a RIFF WAVE file
_LONGEST_S = 6 * 3600


class SoundError(RuntimeError):
    """A sound file that cannot be read; the text says what it is and what would do."""


def transcribe(
    path: Path, *, model: Path | None, as_json: bool, out_stream: TextIO, error_stream: TextIO | None = None
) -> int:
    """Write what is said in the WAV file ``path``: a line an utterance, or one JSON object. Returns the exit code.

    The file's own rate is used where the model takes it (16 kHz sound is heard better at 16 kHz), else it is resampled.
    """
    errors = error_stream or sys.stderr
    settings = Settings()
    try:
        samples, rate = read_wav(path)
        ear = load(model.absolute() if model else settings.speech_model, stamps=settings.data_dir / "run")
        utterances = hear(ear, samples, rate)
    except (SoundError, ModelError) as error:
        print(error, file=errors)
        return 1
    if as_json:
        found = {
            "file": str(path),
            "model": ear.card.name,
            "text": "".join(utterance.text for utterance in utterances),
            "utterances": [asdict(utterance) for utterance in utterances],
        }
        print(json.dumps(found, ensure_ascii=False), file=out_stream)
    else:
        for utterance in utterances:
            print(utterance.text, file=out_stream)
    if ear.card.knows_only_synthetic:
        print(f"note: {ear.card.name} knows only a synthetic voice; people yield nonsense", file=errors)
    return 0


def fetch(
    name: str,
    models_dir: Path,
    *,
    sha256: str | None = None,
    accept_unverified: bool = False,
    base_url: str | None = None,
    out_stream: TextIO | None = None,
    error_stream: TextIO | None = None,
) -> int:
    """Fetch a published model (``speech.fetch``) and say where it is. Returns the exit code."""
    out, errors = out_stream or sys.stdout, error_stream or sys.stderr
    try:
        path = fetch_model(
            name,
            models_dir,
            progress=errors.isatty(),
            base_url=base_url,
            sha256=sha256,
            accept_unverified=accept_unverified,
            say=lambda line: print(line, file=out),
        )
    except FetchError as error:
        print(error, file=errors)
        return 1
    print(f"{path} – use it with CALLCENTER_SPEECH_MODEL={path}", file=out)
    return 0


def hear(ear: Ear, samples: npt.NDArray[np.int16], rate: int) -> list[Utterance]:
    """Every utterance in ``samples``, in pieces of 200 ms as a leg is heard. Raises ModelError."""
    wanted = ear.card.rate_for(rate)
    if wanted not in (8_000, 16_000):
        wanted = 8_000 if ear.card.resamples and rate < 16_000 else ear.card.sample_rate
    pcm = resample(samples, rate, wanted).astype("<i2").tobytes()
    recognizer, piece = LegRecognizer(ear, rate=wanted), wanted * 2 // 5
    heard = [item for at in range(0, len(pcm), piece) for item in recognizer.feed(pcm[at : at + piece])]
    heard += recognizer.finish()
    return [item.event for item in heard if isinstance(item.event, Utterance)]


def resample(samples: npt.NDArray[np.int16], rate: int, wanted: int) -> npt.NDArray[np.int16]:
    """``samples`` at another rate, by a polyphase filter."""
    if rate == wanted:
        return samples
    from math import gcd

    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    moved = resample_poly(samples.astype(np.float64), wanted // common, rate // common)
    return np.asarray(np.clip(np.round(moved), -32_768, 32_767), np.int16)


def read_wav(path: Path) -> tuple[npt.NDArray[np.int16], int]:
    """Samples (first channel) and rate of a WAV file: 16-bit PCM, A-law or µ-law. Raises SoundError.

    A file whose header promises more than is there – a recording cut off by a crash – is read as far as it goes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SoundError(f"cannot read {path}: {error.strerror}") from error
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise SoundError(f"{path} is not a WAV file: convert it, e.g. sox IN -r 8000 -c 1 -b 16 OUT.wav")
    form: tuple[int, int, int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            numbers = np.frombuffer(body[:16], "<u2")
            rate = int.from_bytes(body[4:8], "little")
            tag = int.from_bytes(body[24:26], "little") if numbers[0] == _EXTENSIBLE and len(body) >= 26 else numbers[0]
            form = (int(tag), int(numbers[1]), rate, int(numbers[7]))
        elif name == b"data":
            return _samples(path, data[at + 8 :] if size == 0 else body, form)
        at += 8 + size + size % 2
    raise SoundError(f"{path} holds no sound: its WAV header names no data")


def _samples(path: Path, body: bytes, form: tuple[int, int, int, int] | None) -> tuple[npt.NDArray[np.int16], int]:
    if form is None:
        raise SoundError(f"{path} does not say what its sound is: the fmt chunk is missing")
    tag, channels, rate, bits = form
    if not 1 <= channels <= 32 or not 4_000 <= rate <= 384_000:
        raise SoundError(f"{path} says {channels} channels at {rate} Hz: its header is damaged")
    if (tag, bits) == (_PCM, 16):
        samples = np.frombuffer(body[: len(body) // (2 * channels) * 2 * channels], "<i2")
    elif tag in (_A_LAW, _U_LAW) and bits == 8:
        codes = np.frombuffer(body[: len(body) // channels * channels], np.uint8)
        samples = (_a_law() if tag == _A_LAW else _u_law())[codes]
    else:
        raise SoundError(f"{path} is format {tag} with {bits} bits: 16-bit PCM, A-law or µ-law is read")
    if len(samples) > _LONGEST_S * rate * channels:
        raise SoundError(f"{path} is longer than {_LONGEST_S // 3600} hours: cut it")
    return np.ascontiguousarray(samples.reshape(-1, channels)[:, 0]), rate


def _a_law() -> npt.NDArray[np.int16]:
    """The 256 values of G.711 A-law (ITU-T G.711, table 1a/1b), 16-bit scale."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    size = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.int16)


def _u_law() -> npt.NDArray[np.int16]:
    """The 256 values of G.711 µ-law (ITU-T G.711, table 2a/2b), 16-bit scale."""
    code = ~np.arange(256) & 0xFF
    size = ((((code & 15) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.int16)
