"""The moments of a call, from the first ring to the case in a dispatch system's hands."""

from datetime import datetime
from typing import Final

RUNG: Final = "rung"
ANSWERED: Final = "answered"
FIRST_AUDIO: Final = "first_audio"
FIRST_WORDS: Final = "first_words"
LAST_VOICED: Final = "last_voiced"
"""t0: the last voiced sample of the citizen."""
END_DECIDED: Final = "end_decided"
DECODED: Final = "decoded"
ROUTED: Final = "routed"
STORED: Final = "stored"
PULLED: Final = "pulled"

MARKS: Final = (
    RUNG,
    ANSWERED,
    FIRST_AUDIO,
    FIRST_WORDS,
    LAST_VOICED,
    END_DECIDED,
    DECODED,
    ROUTED,
    STORED,
    PULLED,
)

LAST_WINS: Final = frozenset({LAST_VOICED, END_DECIDED, DECODED, ROUTED, STORED})
"""Marks that a later utterance moves; the others keep their first value."""

SPANS: Final = (
    ("rung_to_answered", RUNG, ANSWERED),
    ("answered_to_first_audio", ANSWERED, FIRST_AUDIO),
    ("last_voiced_to_end_decided", LAST_VOICED, END_DECIDED),
    ("end_decided_to_decoded", END_DECIDED, DECODED),
    ("decoded_to_routed", DECODED, ROUTED),
    ("routed_to_stored", ROUTED, STORED),
    ("end_decided_to_stored", END_DECIDED, STORED),
    ("last_voiced_to_stored", LAST_VOICED, STORED),
    ("stored_to_pulled", STORED, PULLED),
)
"""The parts that the histograms show: name, from, to."""


def merged(old: dict[str, datetime], new: dict[str, datetime]) -> dict[str, datetime]:
    """``old`` with ``new`` added: the first value of a mark stays, save that LAST_WINS marks take the later one.

    Raises ValueError for a mark that does not exist.
    """
    result = dict(old)
    for name, moment in new.items():
        if name not in MARKS:
            raise ValueError(f"unknown timeline mark {name!r}: one of {', '.join(MARKS)}")
        have = result.get(name)
        if have is None or (name in LAST_WINS and moment > have):
            result[name] = moment
    return result


def spans(marks: dict[str, datetime]) -> dict[str, float]:
    """Seconds of each part of SPANS whose two ends are known and in order."""
    found: dict[str, float] = {}
    for name, start, end in SPANS:
        if start in marks and end in marks and marks[end] >= marks[start]:
            found[name] = (marks[end] - marks[start]).total_seconds()
    return found
