"""The main process's end of one leg: takes PCM without ever blocking, keeps what the child may have to hear again.

What was said lives here until the child says it is settled. When the child dies, the kept part goes to its successor,
so a crash costs a moment, not a sentence; what is older than the bound becomes a ``Gap`` that the recording fills.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Protocol
from uuid import UUID

import structlog

from callcenter.compute.protocol import Kind, frame, message
from callcenter.speech.events import Gap, LegEvent, SpeechStarted, StatementEnded, Utterance
from callcenter.speech.silence import SilenceRules

log = structlog.get_logger()

RATE = 8_000
KEPT_S = 30
"""Seconds of a leg kept for a new child: half as long again as the longest utterance (speech.silence.SilenceRules)."""
_KEPT = KEPT_S * RATE * 2
_REPLAYS = 2
"""A leg whose sound met its child's death this often, with nothing settled in between, may be what kills it."""


class Channel(Protocol):
    """What a leg needs of the client that owns it."""

    def leg_has_audio(self, leg: "LegStream") -> None: ...
    def leg_finishes(self, leg: "LegStream") -> None: ...
    def leg_is_over(self, leg: "LegStream") -> None: ...


class LegStream:
    """One leg on its way to the child. All methods are called on the event loop."""

    def __init__(
        self,
        channel: Channel,
        number: int,
        leg: UUID,
        on_event: Callable[[LegEvent], None],
        rules: SilenceRules,
        *,
        refused: bool,
    ) -> None:
        self.number = number
        self.leg = leg
        self.refused = refused
        """True: there was no room to hear this leg live; all of it is one gap."""
        self.dirty = False
        """Whether it stands in the client's list of legs with something to send."""
        self.finishing = False
        self._channel = channel
        self._on_event = on_event
        self._rules = rules
        self._kept = bytearray()
        self._kept_from = 0
        """Sample at which ``_kept`` begins."""
        self._sent = 0
        """Sample up to which the present child was sent the audio."""
        self._settled = 0
        self._sequence = 0
        self._started = False
        self._statement_open = False
        self._replays = 0
        self._risky_until = 0
        """Sample up to which the last child had been sent the audio when it died."""
        self._over: asyncio.Future[None] | None = None
        self._closed = refused

    @property
    def position(self) -> float:
        """Seconds of the leg fed so far."""
        return self._end / RATE

    @property
    def _end(self) -> int:
        return self._kept_from + len(self._kept) // 2

    # -- for the call ----------------------------------------------------------------------------------------------
    def feed(self, pcm: bytes, *, silence: bool = False) -> None:
        """Take PCM (whole samples: signed 16-bit little-endian, 8 kHz). ``silence``: filled in by the clock, zeros.

        Never blocks and never raises; the child finds zeros out by itself and does not decode them.
        """
        if self.finishing:
            return
        if self._closed:
            self._kept_from += len(pcm) // 2  # the position still tells how long the leg was
            return
        self._kept += pcm
        surplus = len(self._kept) - _KEPT
        if surplus > 0:
            self._forget(self._kept_from + surplus // 2)
        if not self.dirty:
            self._channel.leg_has_audio(self)

    async def finish(self, timeout: float) -> None:
        """The leg is over: returns when every event of it was told, at the latest after ``timeout`` seconds; what was
        not heard by then is told as a gap.
        """
        if self._closed or self.finishing:
            return
        self.finishing = True
        self._over = asyncio.get_running_loop().create_future()
        self._channel.leg_finishes(self)
        try:
            await asyncio.wait_for(self._over, timeout)
        except TimeoutError:
            log.warning("leg not finished in time", leg=str(self.leg), timeout_s=timeout)
            self.give_up("not decoded in time")
        except asyncio.CancelledError:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Forget the leg; no event of it is told any more."""
        if not self._closed:
            self._close()

    # -- for the client --------------------------------------------------------------------------------------------
    def opening(self) -> bytes:
        """The frame that opens the leg in a new child, which then is sent the kept audio from its start."""
        if self._settled < self._kept_from:
            self._lose(self._settled, self._kept_from, "lost with the speech process")
        if self._sent > self._settled:
            self._replays += 1
            self._risky_until = self._sent
        if self._replays > _REPLAYS:
            self._lose(self._kept_from, self._end, "the speech process died over it")
        self._sent = self._kept_from
        content = {"rules": asdict(self._rules), "spoken": self._statement_open, "replay": len(self._kept)}
        return message(Kind.OPEN, content, self.number, self._kept_from)

    def take_unsent(self) -> bytes:
        """Frames of the audio that the child was not sent yet."""
        self.dirty = False
        start = 2 * (self._sent - self._kept_from)
        whole = len(self._kept) // 2 * 2
        if start >= whole:
            return b""
        data = frame(Kind.AUDIO, self.number, self._sent, bytes(self._kept[start:whole]))
        self._sent = self._end
        return data

    def settle(self, position: int) -> None:
        """The child will not need what lies before sample ``position`` again."""
        if position > self._settled:
            self._settled = position
            if position >= self._risky_until:
                self._replays = 0
            if position > self._kept_from:
                self._drop(min(position, self._end))

    def told(self, event: LegEvent, settled: int) -> None:
        """An event came from the child. The sequence of utterances is counted here: it outlives the child."""
        if self._closed:
            return
        if isinstance(event, Utterance):
            event = replace(event, sequence=self._sequence)
            self._sequence += 1
            self._started = False
            self._statement_open = True
        elif isinstance(event, SpeechStarted):
            if self._started:
                return  # told before the child died; the successor hears the same start again
            self._started = True
        elif isinstance(event, StatementEnded):
            self._statement_open = False
        self.settle(settled)
        self._tell(event)

    def finished(self) -> None:
        """The child has told everything of the leg."""
        if not self._closed:
            self._close()

    def give_up(self, reason: str) -> None:
        """Nothing more of this leg will be heard live: the rest is a gap."""
        if not self._closed:
            self._close()
            self._tell(Gap(self._settled / RATE, None, reason))

    def refuse(self, reason: str) -> None:
        """Tell the one gap of a leg that was refused."""
        self._tell(Gap(0.0, None, reason))

    # -- within ----------------------------------------------------------------------------------------------------
    def _tell(self, event: LegEvent) -> None:
        try:
            self._on_event(event)
        except Exception as fault:  # noqa: BLE001 - one call's fault must not stop the hearing of the others
            context = {"message": f"the listener of a leg failed on {type(event).__name__}", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)

    def _close(self) -> None:
        self._closed = True
        self._kept_from = self._end
        self._kept.clear()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        self._channel.leg_is_over(self)

    def _forget(self, position: int) -> None:
        """Keep only what lies after ``position``: the bound of memory."""
        if self._sent < position:
            self._lose(self._sent, position, "the speech process did not take it in time")
        else:
            self._drop(position)

    def _lose(self, start: int, end: int, reason: str) -> None:
        self._drop(max(end, self._kept_from))
        self._sent = max(self._sent, end)
        self._settled = max(self._settled, end)
        log.warning("part of a leg not heard live", leg=str(self.leg), seconds=round((end - start) / RATE, 1))
        self._tell(Gap(start / RATE, end / RATE, reason))

    def _drop(self, position: int) -> None:
        del self._kept[: 2 * (position - self._kept_from)]
        self._kept_from = position
