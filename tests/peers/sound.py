"""Is this sound in that one, and where? Correlation, so that tests can say who heard what."""

import wave
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.signal import fftconvolve

from callcenter.telephony.prompts import RATE, from_alaw

Samples = np.ndarray[Any, np.dtype[np.int16]]

PIECE_SECONDS: Final = 0.6


def similarity(part: Samples, whole: Samples) -> tuple[float, float]:
    """(how well ``part`` is found in ``whole``, seconds into ``whole`` where its voice starts); 8 kHz samples.

    1.0 is the very same sound. ``part`` is looked for in pieces of PIECE_SECONDS and the median of their normalised
    correlations is told: on a busy machine a telephone skips a packet now and then, and a tap starts some tenths of a
    second late, which would spoil one long correlation. Silence around ``part`` does not count. Two different sentences
    in espeak-ng's voice stay below 0.7, mostly below 0.5: they may share words.
    """
    voiced = np.flatnonzero(np.abs(part.astype(np.int32)) > 64)
    if not len(voiced):
        raise ValueError("there is no sound to look for")
    needle, hay = part[voiced[0] : voiced[-1] + 1].astype(np.float64), whole.astype(np.float64)
    length = min(len(needle), round(PIECE_SECONDS * RATE))
    if len(hay) < length:
        return 0.0, 0.0
    energy = np.concatenate([[0.0], np.cumsum(hay * hay)])
    local = energy[length:] - energy[:-length]
    scores, starts = [], []
    for at in range(0, len(needle) - length + 1, length):
        piece = needle[at : at + length]
        # where the whole is silent there is nothing to be like: a floor keeps rounding from looking like a match
        floor = max(1.0, 1e-3 * float(piece @ piece))
        score = fftconvolve(hay, piece[::-1], mode="valid") / (
            np.linalg.norm(piece) * np.sqrt(np.maximum(local, floor)) + 1e-9
        )
        scores.append(float(score.max()))
        starts.append((int(score.argmax()) - at) / RATE)
    return float(np.median(scores)), float(np.median(starts))


def read_alaw(path: Path) -> Samples:
    """Samples of a raw A-law file."""
    return from_alaw(path.read_bytes())


def read_wav(path: Path) -> Samples:
    """Samples of an 8 kHz mono WAV file that was closed properly."""
    with wave.open(str(path)) as reader:
        assert (reader.getframerate(), reader.getsampwidth(), reader.getnchannels()) == (RATE, 2, 1), path
        return np.frombuffer(reader.readframes(reader.getnframes()), np.int16)
