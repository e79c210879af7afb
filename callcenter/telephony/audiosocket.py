"""AudioSocket: the sound of each leg arrives here, 50 frames a second, from a ChanSpy tap that Asterisk started.

A leg's socket is read once a tick (100 ms), all its frames at
once: a callback for each frame costs 21 µs of CPU, 50 times a second and leg. We only ever listen; a tap that we close
or stop reading does no harm to its call.

PCM is signed 16-bit little-endian, 8 kHz, mono.
"""

import asyncio
import contextlib
import socket
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable
from uuid import UUID

import structlog

from callcenter.telephony.frames import KIND_AUDIO, KIND_DTMF, KIND_ERROR, KIND_HANGUP, KIND_UUID, Frame, FrameParser

__all__ = ["AudioSocketServer", "DtmfSink", "Frame", "FrameParser", "LegSink"]

log = structlog.get_logger()

BYTES_PER_SECOND: Final = 16_000
FIRST_FRAME_SECONDS: Final = 2.0
"""Asterisk sends the UUID as soon as it is connected."""
MAX_PENDING: Final = 256
"""Connections that have not said their UUID yet; with one more the oldest is closed."""
READ_BYTES: Final = 64 * 1024
"""Read from one leg in one tick: 4 s of sound, so a loop that stalled catches up 40 times faster than real time."""
MAX_LAG: Final = 0.15
"""A leg this far behind its clock (seconds) is given silence. Asterisk's worst gap with 500 legs was 86 ms."""
MAX_LEAD: Final = 2.0
"""A leg may run ahead of its clock by this much: sound that was held up comes after the silence put in its place."""
MAX_FLOOD: Final = 60.0
"""Seconds of sound dropped beyond MAX_LEAD after which the leg is closed."""
REMEMBERED_TOKENS: Final = 20_000


class LegSink(Protocol):
    """Who hears a leg. All on the event loop; none may block. ``closed`` is called exactly once for each sink given to
    ``expect``, also when the leg never opened."""

    def opened(self) -> None:
        """The leg's clock starts now."""

    def audio(self, pcm: bytes, *, silence: bool) -> None:
        """The next sound; ``silence`` is True for zeros that stand for what the leg did not send."""

    def closed(self, reason: str) -> None:
        """No more will come: eof (a hang-up, as Asterisk tells it), hangup, error, revoked, expired, broken, flood,
        sink failed, stopped."""


@runtime_checkable
class DtmfSink(Protocol):
    """A sink that also wants keys. They come only from AudioSocket on the caller's own channel, not from a tap."""

    def dtmf(self, digit: str) -> None:
        """One key: 0–9, *, #, A–D."""


@dataclass(eq=False, slots=True)
class _Connection:
    """A connection; ``sink`` is None until it has said an expected token."""

    socket: socket.socket
    since: float
    parser: FrameParser = field(default_factory=FrameParser)
    sink: LegSink | None = None
    token: UUID | None = None
    position: int = 0
    """Bytes of PCM handed on, silence included: the leg's clock."""
    heard: bool = False
    quiet: bool = False
    """True while silence is being fed: then every tick fills up to the clock."""
    flooded: int = 0


@dataclass(slots=True)
class _Expected:
    sink: LegSink
    until: float


class AudioSocketServer:
    """Takes the legs that were announced with ``expect``; everything else is closed and counted.

    ``counters`` (for metrics): opened, closed, unknown_token, reused_token, late_token (expired or revoked before it
    came), expired (never came), bad_first_frame, silent_first_frame (none within FIRST_FRAME_SECONDS),
    too_many_pending, broken, junk_frames, flood_bytes (dropped), sink_failures, slow_ticks (the loop came back more
    than two ticks late).

    A leg's position is its wall time since it opened: where nothing comes it is given zeros. Sound that was held up is
    handed on late rather than lost, up to MAX_LEAD ahead of the clock; beyond it the newest is dropped, since what was
    handed on cannot be taken back, and after MAX_FLOOD of that the leg is closed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tick_ms: int = 100,
        first_frame_s: float = FIRST_FRAME_SECONDS,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._address = (host, port)
        self._tick_s = tick_ms / 1000
        self._first_frame_s = first_frame_s
        self._max_pending = max_pending
        self._expected: dict[UUID, _Expected] = {}
        self._spent: OrderedDict[UUID, str] = OrderedDict()
        self._pending: dict[_Connection, None] = {}
        self._legs: dict[UUID, _Connection] = {}
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_tick = 0.0
        self.counters: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """The port in force. Raises RuntimeError before ``start()``."""
        if self._listener is None:
            raise RuntimeError("the AudioSocket server is not started")
        return int(self._listener.getsockname()[1])

    @property
    def live(self) -> int:
        """Legs open now."""
        return len(self._legs)

    async def start(self) -> None:
        """Binds and begins to accept. Raises OSError when the address is taken."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(self._address)
            listener.listen(1024)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._accept)
        self._next_tick = self._loop.time() + self._tick_s
        self._timer = self._loop.call_at(self._next_tick, self._tick)

    async def stop(self) -> None:
        """Closes everything; every sink still expected or open hears ``closed("stopped")``."""
        if self._listener is None or self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        for connection in list(self._pending):
            self._drop(connection)
        for leg in list(self._legs.values()):
            self._close_leg(leg, "stopped")
        expected, self._expected = self._expected, {}
        for token, one in expected.items():
            self._spend(token, "expired")
            self._tell_closed(one.sink, "stopped")

    def expect(self, token: UUID, sink: LegSink, *, ttl_s: float = 30) -> None:
        """The leg that says ``token`` within ``ttl_s`` seconds is ``sink``'s. A token is good for one connection, once.
        Like everything here it belongs on the event loop: an AGI thread comes by ``loop.call_soon_threadsafe``.

        Raises ValueError for a token that was expected before, RuntimeError when the server is not started.
        """
        if self._loop is None or self._listener is None:
            raise RuntimeError("the AudioSocket server is not started")
        if token in self._expected or token in self._spent:
            raise ValueError("this AudioSocket token was expected before: take a new uuid4() for each leg")
        self._expected[token] = _Expected(sink, self._loop.time() + ttl_s)

    def revoke(self, token: UUID) -> None:
        """Forgets an expected token or closes its open leg; its sink hears ``closed("revoked")`` before this returns.
        Unknown and finished tokens are ignored."""
        expected = self._expected.pop(token, None)
        if expected is not None:
            self._spend(token, "expired")
            self._tell_closed(expected.sink, "revoked")
        elif (leg := self._legs.get(token)) is not None:
            self._close_leg(leg, "revoked")

    # -- until a connection has said who it is -----------------------------------------------------------------------
    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 - the reader is removed before the listener is
        assert self._loop is not None  # noqa: S101
        for _ in range(100):  # a flood of connections must leave the loop its turn
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors, or the peer gone before its turn
                log.error("audiosocket cannot accept", error=error.strerror or type(error).__name__)
                return
            connection.setblocking(False)
            pending = _Connection(connection, self._loop.time())
            self._pending[pending] = None
            # The few bytes of the first frame are read as they come, so that the leg's clock starts when the leg does.
            self._loop.add_reader(connection, self._introduce, pending)
            self._introduce(pending)  # as a rule they are here already
            if len(self._pending) > self._max_pending:
                # The oldest goes: Asterisk says its UUID within a millisecond, who holds a place open does not.
                self.counters["too_many_pending"] += 1
                self._drop(next(iter(self._pending)))

    def _introduce(self, connection: _Connection) -> None:
        data = self._receive(connection, 4096)
        if data is None:
            return
        if not data:
            self.counters["bad_first_frame"] += 1
            self._drop(connection)
            return
        frames = connection.parser.feed(data)
        if not frames and connection.parser.broken is None and connection.parser.junk == 0:
            return
        first = frames[0] if frames and connection.parser.junk == 0 else None
        if first is None or first.kind != KIND_UUID or len(first.payload) != 16:
            self.counters["bad_first_frame"] += 1
            log.warning("audiosocket connection refused", reason="its first frame is no UUID")
            self._drop(connection)
            return
        token = UUID(bytes=first.payload)
        expected = self._expected.pop(token, None)
        if expected is None:
            counter = {"used": "reused_token", "expired": "late_token"}.get(self._spent.get(token, ""), "unknown_token")
            self.counters[counter] += 1
            log.warning("audiosocket connection refused", reason=counter)  # a token is a secret: not named
            self._drop(connection)
            return
        self._spend(token, "used")
        self._forget_pending(connection)
        connection.token, connection.sink = token, expected.sink
        connection.since = self._now()
        self._legs[token] = connection
        self.counters["opened"] += 1
        try:
            expected.sink.opened()
        except Exception as error:  # noqa: BLE001 - a sink's fault ends its own leg and no other's
            self._sink_failed(connection, error)
            return
        self._hand_on(connection, frames[1:], drained=len(data) < 4096)

    def _receive(self, connection: _Connection, size: int) -> bytes | None:
        """What is there; None for nothing yet, b"" at the end."""
        try:
            return connection.socket.recv(size)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:  # reset: as good as the end
            return b""

    def _forget_pending(self, connection: _Connection) -> None:
        assert self._loop is not None  # noqa: S101
        self._pending.pop(connection, None)
        self._loop.remove_reader(connection.socket)

    def _drop(self, connection: _Connection) -> None:
        self._forget_pending(connection)
        connection.socket.close()

    def _spend(self, token: UUID, how: str) -> None:
        self._spent[token] = how
        while len(self._spent) > REMEMBERED_TOKENS:
            self._spent.popitem(last=False)

    # -- the tick ------------------------------------------------------------------------------------------------------
    def _now(self) -> float:
        assert self._loop is not None  # noqa: S101
        return self._loop.time()

    def _tick(self) -> None:
        assert self._loop is not None  # noqa: S101
        now = self._now()
        if now - self._next_tick > 2 * self._tick_s:
            self.counters["slow_ticks"] += 1
        try:
            for leg in list(self._legs.values()):
                self._drain(leg)
            for connection in [one for one in self._pending if now - one.since > self._first_frame_s]:
                self.counters["silent_first_frame"] += 1
                self._drop(connection)
            for token in [token for token, one in self._expected.items() if now > one.until]:
                self.counters["expired"] += 1
                self._spend(token, "expired")
                self._tell_closed(self._expected.pop(token).sink, "expired")
        finally:
            if self._listener is not None:
                self._next_tick = max(self._next_tick + self._tick_s, self._now())
                self._timer = self._loop.call_at(self._next_tick, self._tick)

    def _drain(self, leg: _Connection) -> None:
        data = self._receive(leg, READ_BYTES)
        if data == b"":
            self._close_leg(leg, "eof")  # Asterisk's hang-up is a plain end of file, no 0x00 frame
            return
        frames = leg.parser.feed(data) if data else []
        self._hand_on(leg, frames, drained=data is None or len(data) < READ_BYTES)

    def _hand_on(self, leg: _Connection, frames: list[Frame], *, drained: bool) -> None:
        end: str | None = None
        sink = leg.sink
        assert sink is not None  # noqa: S101 - only legs come here
        try:
            heard = False
            for frame in frames:
                if frame.kind == KIND_AUDIO:
                    self._audio(leg, sink, frame.payload, drained)
                    heard = True
                elif frame.kind == KIND_DTMF:
                    digit = frame.payload.decode("ascii", "replace")
                    if len(digit) == 1 and digit in "0123456789*#ABCD" and isinstance(sink, DtmfSink):
                        sink.dtmf(digit)
                elif frame.kind in (KIND_HANGUP, KIND_ERROR):
                    end = "hangup" if frame.kind == KIND_HANGUP else "error"
                    break
            if not heard and drained and end is None:
                self._fill(leg, sink)
        except Exception as error:  # noqa: BLE001 - a sink's fault ends its own leg and no other's
            self._sink_failed(leg, error)
            return
        if end is None and leg.parser.broken is not None:
            end = "broken"
            self.counters["broken"] += 1
            log.warning("audiosocket leg broken", reason=leg.parser.broken)
        if end is None and leg.flooded > MAX_FLOOD * BYTES_PER_SECOND:
            end = "flood"
        if end is not None:
            self._close_leg(leg, end)

    def _behind(self, leg: _Connection) -> int:
        """Bytes that the leg is behind its clock, even; negative when ahead."""
        return (int((self._now() - leg.since) * BYTES_PER_SECOND) & ~1) - leg.position

    def _audio(self, leg: _Connection, sink: LegSink, pcm: bytes, drained: bool) -> None:
        missing = self._behind(leg) - len(pcm)
        # The first 120 ms of a tap are lost; later, sound that comes back does so at its own place on the clock.
        if drained and missing > 0 and (not leg.heard or leg.quiet or missing > MAX_LAG * BYTES_PER_SECOND):
            self._silence(leg, sink, missing)
        leg.heard, leg.quiet = True, False
        room = int(MAX_LEAD * BYTES_PER_SECOND) + self._behind(leg)
        if len(pcm) > room:
            room = max(0, room)
            leg.flooded += len(pcm) - room
            self.counters["flood_bytes"] += len(pcm) - room
            pcm = pcm[:room]
        if pcm:
            leg.position += len(pcm)
            sink.audio(pcm, silence=False)

    def _fill(self, leg: _Connection, sink: LegSink) -> None:
        missing = self._behind(leg)
        if missing > 0 and (leg.quiet or missing > MAX_LAG * BYTES_PER_SECOND):
            leg.quiet = True
            self._silence(leg, sink, missing)

    def _silence(self, leg: _Connection, sink: LegSink, size: int) -> None:
        leg.position += size
        sink.audio(bytes(size), silence=True)

    # -- the end of a leg ------------------------------------------------------------------------------------------
    def _sink_failed(self, leg: _Connection, error: Exception) -> None:
        self.counters["sink_failures"] += 1
        # The error's text is not logged: it may hold what was said.
        log.error("audiosocket sink failed, its leg is closed", error=type(error).__name__)
        self._close_leg(leg, "sink failed")

    def _close_leg(self, leg: _Connection, reason: str) -> None:
        if leg.token is None or self._legs.pop(leg.token, None) is None:
            return
        with contextlib.suppress(OSError):
            leg.socket.close()
        self.counters["closed"] += 1
        self.counters["junk_frames"] += leg.parser.junk
        if leg.sink is not None:
            self._tell_closed(leg.sink, reason)

    def _tell_closed(self, sink: LegSink, reason: str) -> None:
        try:
            sink.closed(reason)
        except Exception as error:  # noqa: BLE001 - see _sink_failed
            self.counters["sink_failures"] += 1
            log.error("audiosocket sink failed on closing", error=type(error).__name__)
