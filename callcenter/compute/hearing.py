"""The legs of the compute child: their waiting audio, the threads that decode it, and recordings when there is time.

Vosk's calls release the interpreter's lock, so threads decode side by side; a leg is on one thread at a time. Audio
waits in the leg's own queue, bounded: a leg that falls behind loses its oldest audio and says so (``Gap``), the others
lose nothing.
"""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from callcenter.compute.protocol import Kind, event_to_json, frame, message
from callcenter.speech.events import Gap, LegEvent, Utterance
from callcenter.speech.recognizer import LEG_RATE, Ear, LegRecognizer
from callcenter.speech.silence import SilenceRules

log = structlog.get_logger()

BLOCK = LEG_RATE * 2 // 5
"""Bytes of 200 ms. Vosk advances its decoder by this much; smaller pieces cost 12 % more (measured at 100 ms)."""
_MOST_AT_ONCE = 5 * BLOCK
"""A leg that lags takes a second at a time, so that it cannot hold its thread from the others."""
BACKLOG = 20 * LEG_RATE * 2
"""Bytes a leg may wait for decoding: text later than 20 s helps nobody live; the recording fills the gap."""
_PATIENCE = 0.3
"""Seconds of lag on any live leg at which recordings wait."""
_RECORDINGS_NICE = 15
"""Live legs keep the process's own priority: on a full machine a leg that waits is text that comes late."""

Send = Callable[[bytes], None]


class _Leg:
    """One open leg. Its queue is guarded by ``lock``; its recogniser belongs to the thread that holds ``scheduled``."""

    def __init__(self, number: int, recognizer: LegRecognizer) -> None:
        self.number = number
        self.recognizer = recognizer
        self.lock = threading.Lock()
        self.chunks: deque[tuple[int, bytes, float]] = deque()
        self.waiting = 0
        self.limit = BACKLOG
        self.scheduled = False
        self.finishing = False
        self.gone = False
        self.settled = recognizer.settled
        """What was told to the parent: set after the events before it are on their way, never earlier."""


class Hearing:
    """Every leg of the child and the threads that decode them."""

    def __init__(self, ear: Ear, threads: int, send: Send) -> None:
        self._ear = ear
        self._send = send
        self._legs: dict[int, _Leg] = {}
        self._ready: queue.SimpleQueue[_Leg | None] = queue.SimpleQueue()
        self._busy_since: dict[int, float] = {}
        self._recordings: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._decode, args=(number,), name=f"decode-{number}", daemon=True).start()
        threading.Thread(target=self._transcribe, name="recordings", daemon=True).start()

    # -- what the parent asks --------------------------------------------------------------------------------------
    def open(self, number: int, position: int, content: dict[str, Any]) -> None:
        """A leg begins, or goes on after a restart. ``content``: rules, spoken, replay (bytes that come at once)."""
        rules = SilenceRules(**content["rules"])
        recognizer = LegRecognizer(self._ear, rules=rules, position=position, spoken=bool(content.get("spoken")))
        leg = _Leg(number, recognizer)
        leg.limit += int(content.get("replay", 0))
        self._legs[number] = leg

    def audio(self, number: int, position: int, pcm: bytes) -> None:
        """More of a leg, from sample ``position``. Audio of a leg just abandoned is dropped."""
        leg = self._legs.get(number)
        if leg is None:
            return
        gap: Gap | None = None
        with leg.lock:
            leg.chunks.append((position, pcm, time.monotonic()))
            leg.waiting += len(pcm)
            if leg.waiting > leg.limit:
                gap = self._drop_oldest(leg)
            self._schedule(leg)
        if gap is not None:
            self._send(message(Kind.EVENT, event_to_json(gap), number, leg.settled))

    def finish(self, number: int) -> None:
        """No more audio comes: decode what waits, tell it, then CLOSED."""
        leg = self._legs.get(number)
        if leg is None:
            self._send(frame(Kind.CLOSED, number))
            return
        with leg.lock:
            leg.finishing = True
            self._schedule(leg)

    def abandon(self, number: int) -> None:
        """Forget the leg."""
        leg = self._legs.pop(number, None)
        if leg is not None:
            with leg.lock:
                leg.gone = True
                leg.chunks.clear()
                leg.waiting = 0

    def transcribe(self, number: int, pcm: bytes) -> None:
        """Hear a recording when the live legs leave time for it; answered by TRANSCRIBED."""
        self._recordings.put((number, pcm))

    def state(self) -> dict[str, Any]:
        """For PONG: lag in seconds, the longest a thread has been in one piece, and how far each leg is settled."""
        now = time.monotonic()
        return {
            "lag": round(self.lag(), 3),
            "stuck": round(max((now - since for since in list(self._busy_since.values())), default=0.0), 3),
            "settled": {leg.number: leg.settled for leg in list(self._legs.values())},
        }

    def lag(self) -> float:
        """Seconds of audio that the leg furthest behind has waiting."""
        return max((leg.waiting for leg in list(self._legs.values())), default=0) / (2 * LEG_RATE)

    # -- queues ----------------------------------------------------------------------------------------------------
    def _schedule(self, leg: _Leg) -> None:
        if not leg.scheduled and not leg.gone and (leg.waiting >= BLOCK or leg.finishing):
            leg.scheduled = True
            self._ready.put(leg)

    def _drop_oldest(self, leg: _Leg) -> Gap:
        start = leg.chunks[0][0]
        while leg.waiting > leg.limit // 2:
            _, pcm, _ = leg.chunks.popleft()
            leg.waiting -= len(pcm)
        end = leg.chunks[0][0] if leg.chunks else start
        log.warning("leg fell behind", leg=leg.number, lost_s=(end - start) / LEG_RATE)
        return Gap(start / LEG_RATE, end / LEG_RATE, "the recogniser could not keep up")

    def _take(self, leg: _Leg) -> tuple[int, bytes, float]:
        """The next pieces that follow each other, up to a second: position, PCM, when the last one came in."""
        with leg.lock:
            if not leg.chunks:
                return leg.recognizer.position, b"", time.monotonic()
            position, pcm, arrived = leg.chunks.popleft()
            pieces, size = [pcm], len(pcm)
            while leg.chunks and leg.chunks[0][0] == position + size // 2 and size < _MOST_AT_ONCE:
                _, pcm, arrived = leg.chunks.popleft()
                pieces.append(pcm)
                size += len(pcm)
            leg.waiting -= size
        return position, b"".join(pieces), arrived

    # -- threads ---------------------------------------------------------------------------------------------------
    def _decode(self, number: int) -> None:
        while (leg := self._ready.get()) is not None:
            self._busy_since[number] = time.monotonic()
            try:
                self._advance(leg)
            finally:
                del self._busy_since[number]

    def _advance(self, leg: _Leg) -> None:
        position, pcm, arrived = self._take(leg)
        closed = False
        try:
            if pcm:
                heard = leg.recognizer.feed(pcm, position=position, arrived=arrived)
            else:
                heard, closed = (leg.recognizer.finish(), True) if leg.finishing else ([], False)
        except Exception as error:  # noqa: BLE001 - vosk raises bare Exception; this leg ends here, the others go on
            log.error("recogniser failed", leg=leg.number, error=type(error).__name__)
            self._tell(leg, [(Gap(leg.settled / LEG_RATE, None, "the recogniser failed"), leg.settled)], closed=True)
            self.abandon(leg.number)
            return
        told: list[tuple[LegEvent, int]] = [(item.event, item.settled) for item in heard]
        if closed:
            self._legs.pop(leg.number, None)
        self._tell(leg, told, closed=closed)
        with leg.lock:
            if leg.waiting < BACKLOG // 2:
                leg.limit = BACKLOG  # a replay is worked off
            if not closed and not leg.gone and (leg.waiting >= BLOCK or leg.finishing):
                self._ready.put(leg)
            else:
                leg.scheduled = False

    def _tell(self, leg: _Leg, told: list[tuple[LegEvent, int]], *, closed: bool) -> None:
        if leg.gone:
            return
        data = b"".join(message(Kind.EVENT, event_to_json(event), leg.number, at) for event, at in told)
        if closed:
            data += frame(Kind.CLOSED, leg.number)
        if data:
            self._send(data)
        leg.settled = leg.recognizer.settled

    def _transcribe(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _RECORDINGS_NICE)
        while True:
            number, pcm = self._recordings.get()
            recognizer = LegRecognizer(self._ear)
            found: list[dict[str, Any]] = []
            try:
                for at in range(0, len(pcm), _MOST_AT_ONCE):
                    while self.lag() > _PATIENCE:
                        time.sleep(0.05)
                    heard = recognizer.feed(pcm[at : at + _MOST_AT_ONCE])
                    found += [event_to_json(item.event) for item in heard if isinstance(item.event, Utterance)]
                heard = recognizer.finish()
                found += [event_to_json(item.event) for item in heard if isinstance(item.event, Utterance)]
            except Exception as error:  # noqa: BLE001 - as above: answered, so that nobody waits for ever
                log.error("recogniser failed on a recording", error=type(error).__name__)
                self._send(message(Kind.TRANSCRIBED, {"error": type(error).__name__}, number))
                continue
            for piece in _pieces(found):
                self._send(message(Kind.TRANSCRIBED, piece, number))


def _pieces(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Utterances in frames of 50, the last one marked: an hour's recording is more than one frame holds."""
    starts = range(0, max(len(found), 1), 50)
    return [{"utterances": found[at : at + 50], "last": at + 50 >= len(found)} for at in starts]
