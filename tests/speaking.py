"""Sound for the tests of the hearing: the synthetic voice on a telephone line, and what else a line carries."""

from pathlib import Path
from typing import Any

import numpy as np

from callcenter.settings import REPOSITORY
from callcenter.speech.events import LegEvent, Utterance
from callcenter.telephony.prompts import RATE, from_alaw, speak, to_alaw

Samples = np.ndarray[Any, np.dtype[np.int16]]

SYNTHETIC = REPOSITORY / "models" / "cmn-synthetic"
REAL_VOICE = REPOSITORY.parent / "shared" / "models" / "cmn-fsmn"
"""A model of people's voices that stays outside the project; tests that need it skip without it."""

SENTENCES = (
    "中山路和解放路交叉口的路灯已经坏了半个多月了",
    "我家楼下有几个烧烤摊每天摆到凌晨两点",
    "小区门口的垃圾好几天没有人清理",
    "楼上邻居半夜装修噪音很大",
)


def line(*parts: Samples | float, noise: float = 0.0, seed: int = 7) -> bytes:
    """PCM of ``parts`` one after the other (a number: so many seconds of silence) as an A-law line delivers it."""
    pieces = [part if isinstance(part, np.ndarray) else np.zeros(round(part * RATE), np.int16) for part in parts]
    whole = np.concatenate(pieces).astype(np.float64)
    if noise:
        whole += np.random.default_rng(seed).standard_normal(len(whole)) * noise
    clipped = np.clip(np.round(whole), -32_768, 32_767).astype(np.int16)
    # a line's silence is digital silence here, not A-law's smallest step, so that both occur in the tests
    heard = from_alaw(to_alaw(clipped))
    return np.where(clipped == 0, 0, heard).astype("<i2").tobytes()


def say(text: str) -> Samples:
    """``text`` by the voice the synthetic model knows."""
    return speak(text)


def tone(hertz: float, seconds: float, level: float = 8_000) -> Samples:
    """A sine."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.int16)


def utterances(events: list[LegEvent]) -> list[Utterance]:
    """The final utterances among ``events``."""
    return [event for event in events if isinstance(event, Utterance)]


def text_of(events: list[LegEvent]) -> str:
    """All that was heard."""
    return "".join(utterance.text for utterance in utterances(events))


def shared_speech() -> Path:
    """The folder of real recordings beside the project; it may be absent."""
    return REPOSITORY.parent / "shared" / "speech"
