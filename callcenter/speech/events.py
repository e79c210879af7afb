"""What the hearing tells of one leg. Positions are seconds from the leg's first sample, on the leg's own clock."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word: ``start`` and ``end`` in seconds, ``confidence`` in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The first voiced sample of an utterance, by our own measure of level."""

    at: float


@dataclass(frozen=True, slots=True)
class Partial:
    """What the utterance under way sounds like so far; the next one replaces it."""

    text: str
    start: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """One finished piece of a leg. ``sequence`` counts from 0 on the leg and never repeats, also after a restart."""

    sequence: int
    text: str
    start: float
    end: float
    confidence: float
    words: tuple[Word, ...] = field(default=())
    last_voiced: float = 0.0
    """Position of the last voiced sample (t0)."""
    end_decided: float = 0.0
    """Position at which our silence measure ended the utterance."""
    decode_ms: float = 0.0
    """Time from that decision until the text was final."""


@dataclass(frozen=True, slots=True)
class StatementEnded:
    """The caller has been silent for ``statement_silence_ms`` after having spoken."""

    last_voiced: float
    decided: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the leg that was not heard live (seconds); the recording fills it. ``end`` is None: to its end."""

    start: float
    end: float | None
    reason: str


LegEvent = SpeechStarted | Partial | Utterance | StatementEnded | Gap
