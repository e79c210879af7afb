"""The sound of one call in Python: for the few tests that must hear, on the wire, what the citizen hears.

SIPp sends sound but keeps nothing of what it gets. With ``sipp.call(..., hear=path)`` SIPp does the signalling and this
the media: A-law both ways, 20 ms a packet.
"""

import asyncio
import socket
import struct
import time
from pathlib import Path
from typing import Final, cast

import numpy as np

PACKET_SAMPLES: Final = 160
"""20 ms."""

SILENCE: Final = b"\xd5"
"""A-law zero."""


class RtpEar(asyncio.DatagramProtocol):
    """Sends ``speech`` (A-law) and then silence on the clock, and keeps what comes in with its time."""

    def __init__(self, speech: bytes, *, send: bool = True) -> None:
        self._speech = speech
        self._send = send
        self._transport: asyncio.DatagramTransport | None = None
        self._sender: asyncio.Task[None] | None = None
        self.packets: list[tuple[float, int, bytes]] = []
        """(monotonic seconds, RTP timestamp, payload) as received."""

    @classmethod
    async def open(cls, host: str, speech: bytes, *, send: bool = True) -> "RtpEar":
        """Bind a free even port of ``host``. RTCP's odd one above it is left alone."""
        loop = asyncio.get_running_loop()
        for _ in range(50):
            probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            probe.setblocking(False)
            probe.bind((host, 0))
            if probe.getsockname()[1] % 2 == 0:
                _, ear = await loop.create_datagram_endpoint(lambda: cls(speech, send=send), sock=probe)
                return ear
            probe.close()
        raise OSError(f"no free even UDP port on {host}")

    @property
    def port(self) -> int:
        """The port to name in the session description."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep the packet; the first one tells where ours go to, and starts them."""
        if len(data) < 12 or data[0] >> 6 != 2 or data[1] & 0x7F != 8:
            return
        self.packets.append((time.monotonic(), struct.unpack(">I", data[4:8])[0], data[12:]))
        if self._send and self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._speak(addr))

    async def _speak(self, to: tuple[str, int]) -> None:
        assert self._transport is not None
        began = time.monotonic()
        sequence = 0
        while True:
            at = sequence * PACKET_SAMPLES
            sound = self._speech[at : at + PACKET_SAMPLES].ljust(PACKET_SAMPLES, SILENCE)
            header = struct.pack(">BBHII", 0x80, 8, sequence & 0xFFFF, at & 0xFFFFFFFF, 0x12319)
            self._transport.sendto(header + sound, to)
            sequence += 1
            await asyncio.sleep(max(0.0, began + sequence * 0.02 - time.monotonic()))

    def heard(self) -> bytes:
        """A-law as heard, gaps filled with silence by the packets' own timestamps."""
        if not self.packets:
            return b""
        first = self.packets[0][1]
        # a source that changes (prompt, agent, music) may start its timestamps anew: a jump beyond 10 s is a new piece
        out = np.zeros(0, np.uint8)
        base = 0
        last = first
        for _, stamp, sound in self.packets:
            if abs(stamp - last) > 80_000:
                base, first = len(out), stamp
            last = stamp
            at = base + stamp - first
            if at < 0:
                continue
            if at + len(sound) > len(out):
                out = np.concatenate([out, np.full(at + len(sound) - len(out), SILENCE[0], np.uint8)])
            out[at : at + len(sound)] = np.frombuffer(sound, np.uint8)
        return out.tobytes()

    async def close(self, keep: Path | None = None) -> None:
        """Stop, and write what was heard to ``keep`` (raw A-law)."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
            await asyncio.sleep(0)
        if keep is not None:
            await asyncio.to_thread(keep.write_bytes, self.heard())
