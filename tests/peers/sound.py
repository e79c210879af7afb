"""Is this sound in that one, and where? Correlation, so that tests can say who heard what."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import fftconvolve

from callcenter.telephony.prompts import RATE, from_alaw

Samples = np.ndarray[Any, np.dtype[np.int16]]


def similarity(part: Samples, whole: Samples) -> tuple[float, float]:
    """(normalised correlation at the best place, seconds into ``whole``). 1.0: the very same; 8 kHz samples.

    The silence around ``part`` does not count, for a tap starts some tenths of a second late; nor does the time to it.
    """
    voiced = np.flatnonzero(np.abs(part.astype(np.int32)) > 64)
    if not len(voiced):
        raise ValueError("there is no sound to look for")
    needle, hay = part[voiced[0] : voiced[-1] + 1].astype(np.float64), whole.astype(np.float64)
    if len(hay) < len(needle):
        return 0.0, 0.0
    found = fftconvolve(hay, needle[::-1], mode="valid")
    power = np.concatenate([[0.0], np.cumsum(hay * hay)])
    local = power[len(needle) :] - power[: -len(needle)]
    # where the whole is silent there is nothing to be like: a floor keeps rounding from looking like a match
    scale = np.linalg.norm(needle) * np.sqrt(np.maximum(local, 1e-3 * float(needle @ needle)))
    score = found / scale
    best = int(np.argmax(score))
    return float(score[best]), best / RATE


def read_alaw(path: Path) -> Samples:
    """Samples of a raw A-law file."""
    return from_alaw(path.read_bytes())


def read_wav(path: Path) -> Samples:
    """Samples of an 8 kHz mono WAV file that was closed properly."""
    with wave.open(str(path)) as reader:
        assert (reader.getframerate(), reader.getsampwidth(), reader.getnchannels()) == (RATE, 2, 1), path
        return np.frombuffer(reader.readframes(reader.getnframes()), np.int16)
