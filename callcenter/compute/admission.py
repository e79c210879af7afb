"""How many legs this machine hears at once with this model: measured at start, never guessed.

In the compute child, before the first call. A sound that moves like speech is decoded on every thread at the same time,
through the same path as a leg, and the processor time it took decides.
"""

import threading
import time

import numpy as np
import numpy.typing as npt

from callcenter.speech.recognizer import LEG_RATE, Ear, LegRecognizer

_LOAD = 0.45
"""The part of the threads' time that is given away. The cores are Asterisk's and the bridge's too, and a full hour has
everybody speaking at once: on two cores shared with Asterisk and the callers themselves, half of what 0.8 would admit
kept up (last voiced sample to stored 2.3 s, p99 3.0 s), four fifths of it did not (11 s; scripts/bench/latency)."""
_TRANSPORT = 1.1
"""What frames, queues and the main process's share add to decoding (scripts/bench/speech)."""
_HARDER_THAN_SPEECH = 1.6
"""``speech_like`` costs a real-voice model 2.2 times what read Mandarin does, the synthetic model 1.5 times what
its own voice does (measured with thread CPU time); less is taken off than both, on the safe side."""
_SAMPLE_S = 6.0
_SYLLABLE_S = 0.19
"""About five syllables a second, as Mandarin on the telephone."""
_FORMANTS = ((730, 1090), (270, 2290), (300, 870), (570, 840), (530, 1840), (440, 1020))
"""First and second formants of six vowels, Hz (Peterson and Barney 1952, men)."""


def speech_like(seconds: float, rate: int = LEG_RATE, seed: int = 12_319) -> npt.NDArray[np.int16]:
    """A sound that keeps a decoder as busy as speech does: buzzing vowels with moving pitch, hisses between them.

    It says nothing in any language, which is the hard case: no path through the graph stands out.
    """
    rng = np.random.default_rng(seed)
    pieces: list[npt.NDArray[np.float64]] = []
    while sum(map(len, pieces)) < seconds * rate:
        count = int(rate * _SYLLABLE_S * rng.uniform(0.7, 1.4))
        at = np.arange(count) / rate
        pitch = rng.uniform(110, 240) * (1 + rng.uniform(-0.3, 0.3) * at / at[-1])
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        first, second = _FORMANTS[rng.integers(len(_FORMANTS))]
        vowel = np.zeros(count)
        for harmonic in range(1, int(3_400 / pitch.max())):
            hertz = harmonic * pitch.mean()
            near = np.exp(-(((hertz - first) / 180) ** 2)) + 0.5 * np.exp(-(((hertz - second) / 250) ** 2)) + 0.02
            vowel += near * np.sin(harmonic * phase)
        hiss = int(count * rng.uniform(0.1, 0.35))
        vowel *= np.hanning(count)
        vowel[:hiss] += 0.15 * np.diff(rng.standard_normal(hiss + 1))
        pieces.append(vowel * rng.uniform(0.5, 1.0))
    sound = np.concatenate(pieces)[: int(seconds * rate)] + 0.003 * rng.standard_normal(int(seconds * rate))
    return np.asarray(np.clip(sound * 8_000, -32_000, 32_000), np.int16)


def real_time_factor(ear: Ear, threads: int) -> float:
    """Processor seconds a second of speech costs on each of ``threads`` threads working at once."""
    pcm = speech_like(_SAMPLE_S).tobytes()
    block = LEG_RATE * 2 // 5
    spent: list[float] = []

    def listen() -> None:
        leg = LegRecognizer(ear)
        leg.feed(pcm[: 5 * block])  # the first blocks of all pay for caches
        began = time.thread_time()
        for at in range(5 * block, len(pcm), block):
            leg.feed(pcm[at : at + block])
        leg.finish()
        spent.append((time.thread_time() - began) / (_SAMPLE_S - 5 * block / (2 * LEG_RATE)))

    workers = [threading.Thread(target=listen, name=f"measure-{n}") for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(spent, default=1.0) / _HARDER_THAN_SPEECH


def capacity(factor: float, threads: int) -> int:
    """Legs heard at once when one costs ``factor`` of a thread; at least one."""
    return max(1, int(threads * _LOAD / (factor * _TRANSPORT)))
