"""The main process's side of the compute child: starts it, watches it, replaces it, and never waits for it.

``ComputeClient`` lives on the event loop. Legs hand it PCM, calls ask it for routings; when the child dies or hangs, a
new one is started, is sent what the old one had not settled, and requests under way wait for it up to their time limit.
"""

import asyncio
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from callcenter.compute.errors import ComputeError, ComputeTimeout
from callcenter.compute.protocol import Frame, FrameReader, Kind, ProtocolError, event_from_json, frame, message
from callcenter.compute.stream import LegStream
from callcenter.settings import REPOSITORY, Settings
from callcenter.speech.events import LegEvent, Utterance
from callcenter.speech.silence import SilenceRules

log = structlog.get_logger()

_PING_S = 1.0
_HANGS_AFTER_S = 4.0
"""No PONG for this long: the child hangs (it answers within milliseconds, also under full load)."""
_STUCK_AFTER_S = 12.0
"""One second of audio has been on a thread this long: native code goes round in circles."""
_LOAD_S = 120.0
"""A model of 2 GB from a slow disk, and measuring it."""
_LAG_S = 2.0
"""A leg lags this much: the machine is full, whatever was measured at start."""
_PIECE = 1 << 16
PLACES = "places.json"
"""In the data folder's ``run``: the city's names (``city.names_file``), for the router."""
_WRITE_HIGH = 4 << 20
"""Bytes waiting in the socket's buffer from which on audio stays in the legs' own, bounded ones."""
_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0)
_LIVED_WELL_S = 20.0
_SHADOWS = 1_000
"""Answers of a candidate still waited for."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Whose voice the loaded speech model knows."""

    model: str
    sample_rate: int
    voices: tuple[str, ...]
    knows_only_synthetic: bool
    carded: bool


@dataclass(slots=True)
class _Request:
    """A request under way; kept as frames so that a new child can be asked again."""

    frames: list[bytes]
    answer: asyncio.Future[Any]
    asked: int = 0


class _Channel(asyncio.Protocol):
    """One child's socket: frames in, back-pressure out."""

    def __init__(self, client: "ComputeClient") -> None:
        self._client = client
        self._reader = FrameReader()
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type; asyncio gives no other
        self.transport = transport
        transport.set_write_buffer_limits(high=_WRITE_HIGH)

    def data_received(self, data: bytes) -> None:
        try:
            for received in self._reader.feed(data):
                self._client.received(received)
        except ProtocolError as error:
            log.error("compute child sends nonsense", error=str(error))
            if self.transport is not None:
                self.transport.abort()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._client.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if not self.lost.done():
            self.lost.set_result(None)


class ComputeClient:
    """The compute child as the main process sees it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = settings.speech_threads or len(os.sched_getaffinity(0))
        self._rules = SilenceRules(
            utterance_ms=settings.utterance_silence_ms, statement_ms=settings.statement_silence_ms
        )
        self._numbers = itertools.count(1)
        self._legs: dict[int, LegStream] = {}
        self._dirty: list[LegStream] = []
        self._flushing = False
        self._requests: dict[int, _Request] = {}
        self._found: dict[int, list[Utterance]] = {}
        self._shadows: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._early: dict[int, dict[str, Any]] = {}
        self._channel: _Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._first_ready: asyncio.Future[None] | None = None
        self._voice: Voice | None = None
        self._factor = 0.0
        self._measured = 0
        self._lag = 0.0
        self._stuck = 0.0
        self._heard_at = 0.0
        self._failure = ""
        self.ready = False
        """Whether a child is loaded and answers."""
        self.restarts = 0
        """Children that had to be replaced."""

    # -- life ------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Start the child and wait until it is ready. Raises ComputeError with the child's own reason."""
        self._first_ready = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(), name="compute-keeper")
        try:
            await asyncio.wait_for(asyncio.shield(self._first_ready), _LOAD_S)
        except TimeoutError:
            await self.stop()
            raise ComputeError(
                f"the compute child was not ready in {_LOAD_S:.0f} s: is {self._settings.speech_model} on a slow disk?"
            ) from None
        except ComputeError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the child; legs still open are told that the rest was not heard."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        for leg in list(self._legs.values()):
            leg.give_up("the hotline is shutting down")
        for request in self._requests.values():
            if not request.answer.done():
                request.answer.set_exception(ComputeError("the compute child was stopped"))
        if self._first_ready is not None and self._first_ready.done():
            self._first_ready.exception()  # seen: asyncio must not complain of it later

    @property
    def capacity(self) -> int:
        """Legs heard at once: as measured at start, and no more than ``speech_max_legs`` where that is set."""
        most = self._settings.speech_max_legs
        return min(self._measured, most) if most else self._measured

    @property
    def live(self) -> int:
        """Legs being heard now."""
        return len(self._legs)

    @property
    def lag(self) -> float:
        """Seconds of audio that the leg furthest behind has waiting in the child."""
        return self._lag

    @property
    def voice(self) -> Voice | None:
        """Whose voice the model knows; None before the first child was ready."""
        return self._voice

    @property
    def knows_only_synthetic(self) -> bool:
        """True when real callers yield nonsense: no decision may rest on what is heard."""
        return self._voice is None or self._voice.knows_only_synthetic

    @property
    def real_time_factor(self) -> float:
        """Processor seconds a second of speech costs, as measured at start."""
        return self._factor

    @property
    def pid(self) -> int | None:
        """The child's process id, None between two children."""
        return self._process.pid if self._process is not None else None

    # -- legs ------------------------------------------------------------------------------------------------------
    def open_leg(
        self, leg: UUID, on_event: Callable[[LegEvent], None], *, silence: SilenceRules | None = None
    ) -> LegStream:
        """Begin to hear a leg. ``on_event`` is called on the event loop, first after this returned.

        Without room for it the stream is ``refused``, and one Gap says that nothing of it is heard live.
        """
        loop = asyncio.get_running_loop()
        if self.live >= self.capacity:
            reason = f"all {self.capacity} legs that can be heard at once are in use"
        elif self._lag > _LAG_S:
            reason = "the recogniser lags"
        else:
            reason = ""
        stream = LegStream(self, next(self._numbers), leg, on_event, silence or self._rules, refused=bool(reason))
        if reason:
            log.warning("leg not heard live", leg=str(leg), reason=reason, lag_s=self._lag)
            loop.call_soon(stream.refuse, reason)
            return stream
        self._legs[stream.number] = stream
        if self.ready:
            self._write(stream.opening())
        return stream

    def leg_has_audio(self, leg: LegStream) -> None:
        """A leg has something to send: all that came in one turn of the loop goes in one write."""
        leg.dirty = True
        self._dirty.append(leg)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def leg_finishes(self, leg: LegStream) -> None:
        """No more audio of this leg comes."""
        if self.ready:
            self._write(leg.take_unsent() + frame(Kind.FINISH, leg.number))

    def leg_is_over(self, leg: LegStream) -> None:
        """The leg told everything, or was given up."""
        if self._legs.pop(leg.number, None) is not None and self.ready:
            self._write(frame(Kind.ABANDON, leg.number))

    # -- requests --------------------------------------------------------------------------------------------------
    async def route(
        self,
        text: str,
        words: list[dict[str, Any]] | None = None,
        timeout: float = 2.0,
        *,
        heard: bool = True,
        shadow: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Route ``text`` (docs/route.schema.json). ``words``: ``Word`` as dicts; ``heard``: False for typed text.
        ``shadow`` is called with what a candidate answers to the same, after this returned, if there is one.

        Waits through a restart of the child. Raises ComputeTimeout (a TimeoutError) after ``timeout`` seconds and
        ComputeError when there is no router.
        """
        number = next(self._numbers)
        content = {"text": text, "words": words, "heard": heard, "shadow": shadow is not None}
        asked = message(Kind.ROUTE, content, number)
        if shadow is not None and self._settings.router_shadow:
            self._shadows[number] = shadow
            while len(self._shadows) > _SHADOWS:  # of children that died, of texts the candidate failed on
                del self._shadows[next(iter(self._shadows))]
        try:
            answer = await self._ask(number, [asked], timeout, "the router")
        except BaseException:
            self._shadows.pop(number, None)  # a text without an answer has none to be compared with
            self._early.pop(number, None)
            raise
        if (early := self._early.pop(number, None)) is not None and shadow is not None:
            self._shadows.pop(number, None)
            asyncio.get_running_loop().call_soon(shadow, early)
        if not isinstance(answer, dict):
            raise ComputeError("the router answered without a routing")
        return answer

    async def reload_router(self, timeout: float = 30.0) -> str:
        """Have the child load the version that is live now, while it goes on answering with the old one; the version.

        Raises ComputeTimeout, and ComputeError with the child's reason: then the old one goes on.
        """
        number = next(self._numbers)
        found = await self._ask(number, [message(Kind.RELOAD, {}, number)], timeout, "the router")
        return str(found)

    async def transcribe(self, pcm: bytes, *, timeout: float | None = None) -> list[Utterance]:
        """Hear a recording (8 kHz, signed 16-bit, mono) when live legs leave time. Raises ComputeError."""
        number = next(self._numbers)
        pieces = [frame(Kind.PCM, number, 0, pcm[at : at + _PIECE]) for at in range(0, len(pcm), _PIECE)]
        self._found[number] = []
        try:
            await self._ask(number, [*pieces, frame(Kind.TRANSCRIBE, number)], timeout, "the recogniser")
            found = self._found[number]
        finally:
            del self._found[number]
        return found

    async def _ask(self, number: int, frames: list[bytes], timeout: float | None, who: str) -> Any:
        if self._keeper is None:
            raise ComputeError("the compute child is not running: start it first")
        request = _Request(frames, asyncio.get_running_loop().create_future())
        self._requests[number] = request
        if self.ready:
            self._send_request(number, request)
        try:
            return await asyncio.wait_for(request.answer, timeout)
        except TimeoutError:
            raise ComputeTimeout(f"{who} did not answer within {timeout} s") from None
        finally:
            del self._requests[number]

    def _send_request(self, number: int, request: _Request) -> None:
        request.asked += 1
        if request.asked > 3:
            if not request.answer.done():
                request.answer.set_exception(ComputeError("the compute child died three times over this request"))
            return
        if number in self._found:
            self._found[number].clear()
        for piece in request.frames:
            self._write(piece)

    # -- from the child --------------------------------------------------------------------------------------------
    def received(self, got: Frame) -> None:
        """A frame came from the child. Raises ProtocolError."""
        self._heard_at = time.monotonic()
        match got.kind:
            case Kind.EVENT:
                if (leg := self._legs.get(got.number)) is not None:
                    leg.told(event_from_json(got.json()), got.position)
            case Kind.ROUTED:
                content = got.json()
                self._answer(got.number, content.get("routing"), content.get("error"))
            case Kind.SHADOWED:
                if got.number in self._requests:
                    # Both answers came in one reading, and whoever waits for the live one has not gone on yet.
                    self._early[got.number] = got.json()["routing"]
                elif (shadow := self._shadows.pop(got.number, None)) is not None:
                    shadow(got.json()["routing"])
            case Kind.RELOADED:
                content = got.json()
                self._answer(got.number, content.get("version"), content.get("error"))
            case Kind.PONG:
                self._take_state(got.json())
            case Kind.CLOSED:
                if (leg := self._legs.get(got.number)) is not None:
                    leg.finished()
            case Kind.TRANSCRIBED:
                self._transcribed(got)
            case Kind.READY:
                self._become_ready(got.json())
            case Kind.FAILED:
                self._failure = str(got.json().get("error"))
            case _:
                raise ProtocolError(f"{got.kind.name} does not come from the child")

    def _answer(self, number: int, result: Any, error: str | None) -> None:
        request = self._requests.get(number)
        if request is None or request.answer.done():
            return  # its asker gave up
        if error is not None:
            request.answer.set_exception(ComputeError(error))
        else:
            request.answer.set_result(result)

    def _transcribed(self, got: Frame) -> None:
        content, found = got.json(), self._found.get(got.number)
        if found is None:
            return
        for item in content.get("utterances", ()):
            event = event_from_json(item)
            if isinstance(event, Utterance):
                found.append(event)
        if content.get("last") or "error" in content:
            error = content.get("error")
            self._answer(got.number, None, f"the recogniser failed: {error}" if error else None)

    def _take_state(self, state: dict[str, Any]) -> None:
        self._lag, self._stuck = float(state["lag"]), float(state["stuck"])
        for number, settled in state["settled"].items():
            if (leg := self._legs.get(int(number))) is not None:
                leg.settle(settled)

    def _become_ready(self, facts: dict[str, Any]) -> None:
        self._factor, self._measured = float(facts["factor"]), int(facts["capacity"])
        self._voice = Voice(
            str(facts["model"]),
            int(facts["sample_rate"]),
            tuple(facts["voices"]),
            bool(facts["knows_only_synthetic"]),
            bool(facts["carded"]),
        )
        log.info("compute child ready", pid=self.pid, restarts=self.restarts, **facts)
        if not facts["knows_voice"]:
            log.warning(
                "the speech model knows only a synthetic voice: every decision is confirm", model=facts["model"]
            )
        self.ready = True
        self._lag = self._stuck = 0.0
        for leg in list(self._legs.values()):
            data = leg.opening() + leg.take_unsent()
            self._write(data + frame(Kind.FINISH, leg.number) if leg.finishing else data)
        self._dirty = [leg for leg in self._dirty if leg.dirty]
        for number, request in list(self._requests.items()):
            self._send_request(number, request)
        if self._first_ready is not None and not self._first_ready.done():
            self._first_ready.set_result(None)

    # -- to the child ----------------------------------------------------------------------------------------------
    def writable(self) -> None:
        """The socket takes bytes again."""
        self._flush()

    def _write(self, data: bytes) -> None:
        if data and self._channel is not None and self._channel.transport is not None:
            self._channel.transport.write(data)

    def _flush(self) -> None:
        self._flushing = False
        if not self.ready or self._channel is None or self._channel.paused:
            return  # the audio stays in the legs' own bounded buffers
        legs, self._dirty = self._dirty, []
        self._write(b"".join([leg.take_unsent() for leg in legs if leg.dirty]))

    # -- the child's keeper ----------------------------------------------------------------------------------------
    async def _keep(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._run_child()
            finally:
                self.ready = False
                await self._bury()
            if self._first_ready is not None and not self._first_ready.done():
                reason = self._failure or "the compute child ended before it was ready: its log says why"
                self._first_ready.set_exception(ComputeError(reason))
                return
            self.restarts += 1
            failures = 0 if time.monotonic() - began > _LIVED_WELL_S else failures + 1
            pause = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
            log.error("compute child lost", restarts=self.restarts, again_in_s=pause, reason=self._failure or "it died")
            self._failure = ""
            await asyncio.sleep(pause)

    async def _run_child(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "callcenter.compute.worker",
                str(theirs.fileno()),
                str(os.getpid()),
                self._settings.log_level,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                start_new_session=True,  # Ctrl-C at the terminal is the parent's to handle
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        _, channel = await asyncio.get_running_loop().create_connection(lambda: _Channel(self), sock=ours)
        self._channel = channel
        self._write(message(Kind.CONFIG, self._config()))
        await self._watch(channel)

    async def _watch(self, channel: _Channel) -> None:
        """Until the child is gone; ends it when it hangs."""
        started = self._heard_at = looked = time.monotonic()
        while True:
            done, _ = await asyncio.wait([channel.lost], timeout=_PING_S)
            if done:
                return
            now = time.monotonic()
            if now - looked > _PING_S + 1.0:
                self._heard_at = now  # it was this process that stood still: the child had no chance to be heard
            looked = now
            if not self.ready:
                hangs = now - started > _LOAD_S
            else:
                hangs = now - self._heard_at > _HANGS_AFTER_S or self._stuck > _STUCK_AFTER_S
            if hangs:
                self._failure = "it hung"
                log.error("compute child hangs", silent_s=round(now - self._heard_at, 1), stuck_s=self._stuck)
                self._kill()
            else:
                self._write(frame(Kind.PING))

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _bury(self) -> None:
        """Close the socket, give the child a moment to leave, and wait for its end."""
        channel, self._channel = self._channel, None
        if channel is not None and channel.transport is not None:
            channel.transport.abort()
            await asyncio.shield(channel.lost)
        process = self._process
        if process is not None:
            try:
                await asyncio.wait_for(process.wait(), 0.5)
            except TimeoutError:
                self._kill()
                await process.wait()
            self._process = None

    def _config(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "speech_model": str(settings.speech_model),
            "models_dir": str(settings.models_dir),
            "router_model": settings.router_model,
            "router_shadow": settings.router_shadow,
            "standard": settings.category_standard,
            "demo_line": settings.demo_line,
            "threads": self._threads,
            "factor": self._factor,
            "stamps": str(settings.data_dir / "run"),
            "places": str(settings.data_dir / "run" / PLACES),
        }


def _environment() -> dict[str, str]:
    """The child's environment: ours, numerical libraries on one thread (decoding has threads of its own)."""
    path = os.pathsep.join(filter(None, [str(Path(REPOSITORY)), os.environ.get("PYTHONPATH")]))
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **single, "PYTHONPATH": path}
