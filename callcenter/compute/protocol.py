"""What the main process and its compute child say to each other: frames over one socket pair.

A frame is a header of 20 bytes and a payload. Audio is raw (signed 16-bit little-endian, 8 kHz, mono); everything else
is JSON. Frames of many legs go in one write: a system call costs more than a frame.
"""

import json
import struct
from dataclasses import asdict
from enum import IntEnum
from typing import Any, NamedTuple

from callcenter.speech.events import Gap, LegEvent, Partial, SpeechStarted, StatementEnded, Utterance, Word

HEADER = struct.Struct("!BxxxIQI")
"""Kind, number (of a leg or a request), position (samples on the leg's clock), bytes of payload."""
LARGEST = 1 << 20
"""No frame is larger: half a minute of a leg is 480,000 bytes. More is a broken stream, not a message."""


class Kind(IntEnum):
    """Kinds of frames; which way they go is in the comments."""

    CONFIG = 1  # to the child, once: paths, threads, rules
    OPEN = 2  # to the child: a leg, position = where its audio begins
    AUDIO = 3  # to the child: position = sample the payload begins at
    FINISH = 4  # to the child: decode what is left, tell it, then CLOSED
    ABANDON = 5  # to the child: forget the leg
    ROUTE = 6  # to the child: number is the request's
    PCM = 7  # to the child: a piece of a recording to transcribe
    TRANSCRIBE = 8  # to the child: the recording of this number is complete
    PING = 9  # to the child
    RELOAD = 10  # to the child: another version of the router may be live; number is the request's
    READY = 32  # to the parent: the model is loaded; capacity
    FAILED = 33  # to the parent: it cannot start, and why
    EVENT = 34  # to the parent: of a leg; position = samples settled by it
    CLOSED = 35  # to the parent: a finished leg has told everything
    ROUTED = 36  # to the parent: answer to ROUTE
    TRANSCRIBED = 37  # to the parent: answer to TRANSCRIBE
    PONG = 38  # to the parent: lag, and how far each leg is settled
    SHADOWED = 39  # to the parent: what the candidate answers to a ROUTE, after its ROUTED
    RELOADED = 40  # to the parent: answer to RELOAD


class Frame(NamedTuple):
    """One received frame."""

    kind: Kind
    number: int
    position: int
    payload: bytes

    def json(self) -> dict[str, Any]:
        """The payload of a JSON frame. Raises ProtocolError."""
        try:
            found = json.loads(self.payload)
        except ValueError as error:
            raise ProtocolError(f"{self.kind.name} frame of {len(self.payload)} bytes is not JSON") from error
        if not isinstance(found, dict):
            raise ProtocolError(f"{self.kind.name} frame holds a JSON {type(found).__name__}, not an object")
        return found


class ProtocolError(RuntimeError):
    """Bytes that no frame begins with: one of the two processes is broken and the pair starts anew."""


def frame(kind: Kind, number: int = 0, position: int = 0, payload: bytes = b"") -> bytes:
    """One frame as bytes. Raises ProtocolError when ``payload`` is larger than LARGEST."""
    if len(payload) > LARGEST:
        raise ProtocolError(f"a {kind.name} frame of {len(payload)} bytes is larger than {LARGEST}: send it in pieces")
    return HEADER.pack(kind, number, position, len(payload)) + payload


def message(kind: Kind, content: dict[str, Any], number: int = 0, position: int = 0) -> bytes:
    """One JSON frame as bytes."""
    return frame(kind, number, position, json.dumps(content, ensure_ascii=False).encode())


class FrameReader:
    """Cuts a stream of bytes, arriving in any pieces, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        """Take more bytes; returns the frames they complete. Raises ProtocolError."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        at, end = 0, len(buffer)
        while end - at >= HEADER.size:
            kind, number, position, length = HEADER.unpack_from(buffer, at)
            if length > LARGEST:
                raise ProtocolError(f"a frame says it has {length} bytes; the largest has {LARGEST}")
            if end - at - HEADER.size < length:
                break
            begin = at + HEADER.size
            at = begin + length
            try:
                frames.append(Frame(Kind(kind), number, position, bytes(buffer[begin:at])))
            except ValueError as error:
                raise ProtocolError(f"no frame is of kind {kind}") from error
        del buffer[:at]
        return frames


_EVENTS: dict[str, type[SpeechStarted] | type[Partial] | type[StatementEnded] | type[Gap]] = {
    "started": SpeechStarted,
    "partial": Partial,
    "statement_ended": StatementEnded,
    "gap": Gap,
}
_NAMES = {kind: name for name, kind in _EVENTS.items()}


def event_to_json(event: LegEvent) -> dict[str, Any]:
    """A leg's event as JSON; ``event`` names its kind."""
    if isinstance(event, Utterance):
        return {"event": "utterance", **asdict(event)}
    return {"event": _NAMES[type(event)], **asdict(event)}


def event_from_json(content: dict[str, Any]) -> LegEvent:
    """The event that ``event_to_json`` wrote. Raises ProtocolError."""
    fields = dict(content)
    name = fields.pop("event", None)
    try:
        if name == "utterance":
            words = tuple(Word(**word) for word in fields.pop("words"))
            return Utterance(words=words, **fields)
        return _EVENTS[name](**fields)
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"no leg event {name!r} with fields {sorted(fields)}") from error
