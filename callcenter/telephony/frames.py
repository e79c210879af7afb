"""AudioSocket's framing, pure: bytes in, frames out. What ``audiosocket.AudioSocketServer`` reads each leg with."""

from typing import Final, NamedTuple

KIND_HANGUP: Final = 0x00
KIND_UUID: Final = 0x01
KIND_DTMF: Final = 0x03
KIND_AUDIO: Final = 0x10
KIND_ERROR: Final = 0xFF

MAX_PAYLOAD: Final = 8192
"""Asterisk's longest frame is 20 ms of 192 kHz audio, 7,680 bytes."""
MAX_JUNK: Final = 1000
"""Frames that say nothing (unknown kinds, empty or odd audio) that one connection may send."""

_AUDIO_20MS = bytes((KIND_AUDIO,)) + (320).to_bytes(2, "big")
_STRIDE = len(_AUDIO_20MS) + 320


class Frame(NamedTuple):
    """One frame, or the joined payload of audio frames that followed each other."""

    kind: int
    payload: bytes


class FrameParser:
    """Bytes in, frames out. Pure; survives any bytes in pieces of any size.

    A frame is 1 byte kind, 2 bytes length (big-endian), payload. What cannot be (a payload over MAX_PAYLOAD, more than
    MAX_JUNK frames that say nothing) sets ``broken`` to the reason; what was whole before it is still handed out, and
    whatever comes after is ignored.
    """

    def __init__(self) -> None:
        self.broken: str | None = None
        self.junk = 0
        """Frames skipped: unknown kind, empty audio, audio of an odd number of bytes (its last byte is dropped)."""
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes, adjacent audio joined, in order."""
        if self.broken is not None:
            return []
        buffer = self._rest + data if self._rest else data
        size = len(buffer)
        frames: list[Frame] = []
        audio: list[bytes] = []
        at = 0
        while True:
            # What Asterisk sends, hour by hour: audio frames of 20 ms, whole and back to back.
            while buffer.startswith(_AUDIO_20MS, at) and at + _STRIDE <= size:
                audio.append(buffer[at + 3 : at + _STRIDE])
                at += _STRIDE
            if size - at < 3:
                break
            kind = buffer[at]
            length = buffer[at + 1] << 8 | buffer[at + 2]
            if length > MAX_PAYLOAD:
                self.broken = f"a frame of {length} bytes"
                break
            if size - at < 3 + length:
                break
            payload = buffer[at + 3 : at + 3 + length]
            at += 3 + length
            if kind == KIND_AUDIO:
                if length == 0 or length % 2:
                    self._count_junk()
                if length > 1:
                    audio.append(payload[: length & ~1])
            elif kind in (KIND_HANGUP, KIND_UUID, KIND_DTMF, KIND_ERROR):
                if audio:
                    frames.append(Frame(KIND_AUDIO, b"".join(audio)))
                    audio = []
                frames.append(Frame(kind, payload))
            else:
                self._count_junk()
            if self.broken is not None:
                break
        if audio:
            frames.append(Frame(KIND_AUDIO, b"".join(audio)))
        self._rest = b"" if self.broken is not None else buffer[at:]
        return frames

    def _count_junk(self) -> None:
        self.junk += 1
        if self.junk > MAX_JUNK:
            self.broken = f"more than {MAX_JUNK} frames that say nothing"
