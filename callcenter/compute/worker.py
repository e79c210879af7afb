"""The compute child: ``python -m callcenter.compute.worker FD``. Vosk and the router, and nothing that must not die.

Started by ``compute.client`` with one end of a socket pair. It loads the speech model, measures what it can bear, says
READY, and then only answers; it ends when the parent closes the pair or dies. One thread reads; decoding, recordings
and the router have threads of their own.
"""

import ctypes
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import structlog

from callcenter.compute.admission import capacity, real_time_factor
from callcenter.compute.hearing import Hearing
from callcenter.compute.protocol import Frame, FrameReader, Kind, ProtocolError, frame, message
from callcenter.logs import configure
from callcenter.speech.models import ModelError
from callcenter.speech.recognizer import Ear, load

log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_RECEIVE = 1 << 18

SHADOW_BACKLOG = 200
"""Texts waiting for the candidate: a second of them, should live ones leave it no time at all."""


class Routing:
    """The router on a thread of its own. It loads while the first calls are already heard; requests wait for it.

    A candidate in shadow answers the same texts, only while no request waits: a live one waits at most for the one
    text that the candidate is at. Another version is loaded on a thread beside and takes over between two texts.
    """

    def __init__(self, config: dict[str, Any], knows_voice: bool, send: Any) -> None:
        self._config = config
        self._knows_voice = knows_voice
        self._send = send
        self._requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._backlog: deque[Frame] = deque()
        self._router: Any = None
        self._shadow: Any = None
        self._failure = ""
        self._reloading = threading.Lock()
        threading.Thread(target=self._run, name="router", daemon=True).start()

    def ask(self, request: Frame) -> None:
        """Queue a ROUTE frame."""
        self._requests.put(request)

    def reload(self, request: Frame) -> None:
        """Load the version that is live now, and the candidate, beside the ones at work; RELOADED tells how it went."""
        threading.Thread(target=self._reload, args=(request,), name="router-reload", daemon=True).start()

    def _run(self) -> None:
        try:
            self._router = self._load(str(self._config.get("router_model") or ""))
        except Exception as error:  # noqa: BLE001 - hearing goes on without a router; every request is told why
            self._failure = f"{type(error).__name__}: {error}"
            log.error("router not loaded", error=self._failure)
        threading.Thread(target=self._load_shadow, name="router-shadow", daemon=True).start()
        while True:
            try:
                request = self._requests.get(block=not self._backlog)
            except queue.Empty:
                self._answer_in_shadow(self._backlog.popleft())
                continue
            router = self._router
            if router is None:
                answer: dict[str, Any] = {"error": f"no router: {self._failure}"}
            else:
                answer = self._answer(router, request)
            self._send(message(Kind.ROUTED, answer, request.number))
            if self._shadow is not None and "routing" in answer and request.json().get("shadow"):
                if len(self._backlog) < SHADOW_BACKLOG:
                    self._backlog.append(request)
                else:
                    log.warning("shadow left behind: this text is not judged", waiting=SHADOW_BACKLOG)

    def _load(self, version: str) -> Any:
        from classifier.gazetteer import Gazetteer
        from classifier.router import Router

        began = time.monotonic()
        try:
            named = str(self._config.get("places") or "")
            places = Gazetteer.read(Path(named)) if named else None
        except (OSError, ValueError) as error:  # then places are read as where no city is known
            log.error("names of the city not read", error=type(error).__name__)
            places = None
        folder = Path(self._config["models_dir"]) / "router"
        found = folder / version if version else folder if folder.is_dir() else None
        router = Router.load(found, gazetteer=places)
        router.route("路灯坏了")  # jieba builds its dictionary at the first cut: not while a caller waits
        log.info("router loaded", version=router.version, seconds=round(time.monotonic() - began, 2))
        return router

    def _load_shadow(self) -> str | None:
        """Load the candidate, if one is named; None, or what is wrong with it."""
        if not (version := str(self._config.get("router_shadow") or "")):
            return None
        try:
            self._shadow = self._load(version)
        except Exception as error:  # noqa: BLE001 - a broken candidate must not cost the live one
            self._shadow = None
            log.error("router in shadow not loaded", version=version, error=f"{type(error).__name__}: {error}")
            return f"{type(error).__name__}: {error}"
        return None

    def _reload(self, request: Frame) -> None:
        try:
            with self._reloading:  # one that began earlier must not end later, and put back what it replaced
                router = self._load(str(self._config.get("router_model") or ""))
                self._router = router
        except Exception as error:  # noqa: BLE001 - the version at work goes on; whoever asked is told why
            answer = {"error": f"{type(error).__name__}: {error}"}
        else:
            answer = {"version": router.version}
        self._send(message(Kind.RELOADED, answer, request.number))

    def _answer_in_shadow(self, request: Frame) -> None:
        shadow = self._shadow
        if shadow is None:
            return
        answer = self._answer(shadow, request)
        if "routing" in answer:
            self._send(message(Kind.SHADOWED, answer, request.number))

    def _answer(self, router: Any, request: Frame) -> dict[str, Any]:
        asked = request.json()
        try:
            routing = router.route(
                asked["text"],
                words=asked["words"],
                # a text that was typed was not heard through the model
                knows_voice=self._knows_voice or not asked["heard"],
                standard=self._config["standard"],
            )
            return {"routing": routing.to_json()}
        except Exception as error:  # noqa: BLE001 - one text must not stop the router; its message may quote the text
            log.error("router failed on a text", error=type(error).__name__, characters=len(asked["text"]))
            return {"error": f"the router failed: {type(error).__name__}"}


class Worker:
    """The child's reading thread and what it hands frames to."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._hearing: Hearing | None = None
        self._routing: Routing | None = None
        self._recordings: dict[int, bytearray] = {}

    def run(self) -> int:
        """Serve until the parent goes; returns the exit code."""
        reader = FrameReader()
        buffer = bytearray(_RECEIVE)
        view = memoryview(buffer)
        while count := self._channel.recv_into(buffer):
            for received in reader.feed(view[:count]):
                try:
                    self._handle(received)
                except ModelError as error:
                    self._send(message(Kind.FAILED, {"error": str(error)}))
                    return 3
        return 0

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._channel.sendall(data)

    def _handle(self, received: Frame) -> None:
        if received.kind is Kind.CONFIG:
            self._configure(received.json())
            return
        if self._hearing is None or self._routing is None:
            raise ProtocolError(f"{received.kind.name} came before CONFIG")
        number = received.number
        match received.kind:
            case Kind.AUDIO:
                self._hearing.audio(number, received.position, received.payload)
            case Kind.OPEN:
                self._hearing.open(number, received.position, received.json())
            case Kind.FINISH:
                self._hearing.finish(number)
            case Kind.ABANDON:
                self._hearing.abandon(number)
            case Kind.ROUTE:
                self._routing.ask(received)
            case Kind.RELOAD:
                self._routing.reload(received)
            case Kind.PCM:
                self._recordings.setdefault(number, bytearray()).extend(received.payload)
            case Kind.TRANSCRIBE:
                self._hearing.transcribe(number, bytes(self._recordings.pop(number, b"")))
            case Kind.PING:
                self._send(message(Kind.PONG, self._hearing.state(), number))
            case _:
                raise ProtocolError(f"{received.kind.name} does not go to the child")

    def _configure(self, config: dict[str, Any]) -> None:
        began = time.monotonic()
        path = Path(config["speech_model"])
        ear = self._load(path, Path(config["stamps"]))
        loaded = time.monotonic()
        threads, factor = int(config["threads"]), float(config.get("factor") or 0.0)
        if not factor:  # a restart in the middle of calls does not measure again
            factor = real_time_factor(ear, threads)
        self._hearing = Hearing(ear, threads, self._send)
        knows_voice = not ear.card.knows_only_synthetic or bool(config["demo_line"])
        self._routing = Routing(config, knows_voice, self._send)
        facts = {
            "model": ear.card.name,
            "sample_rate": ear.card.sample_rate,
            "voices": list(ear.card.voices),
            "knows_only_synthetic": ear.card.knows_only_synthetic,
            "carded": ear.card.carded,
            "knows_voice": knows_voice,
            "factor": factor,
            "capacity": capacity(factor, threads),
            "load_s": round(loaded - began, 3),
            "measure_s": round(time.monotonic() - loaded, 3),
        }
        self._send(message(Kind.READY, facts))

    @staticmethod
    def _load(path: Path, stamps: Path) -> Ear:
        try:
            return load(path, stamps=stamps)
        except ModelError:
            raise
        except Exception as error:  # vosk raises bare Exception("Failed to create a model")
            raise ModelError(
                f"speech model {path} cannot be loaded ({error}): a file is damaged; fetch it again"
            ) from error


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` dies, however it dies (prctl(2), PR_SET_PDEATHSIG)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:  # it died between our start and the call
        os._exit(0)


def main(arguments: list[str]) -> int:
    """Entry: the number of the inherited socket, the parent's process id, the log level."""
    channel = socket.socket(fileno=int(arguments[0]))
    die_with(int(arguments[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal: the parent ends its calls first
    sys.setswitchinterval(0.001)  # a decoding thread coming back from Vosk waits for Python code at most this long
    configure(arguments[2])
    structlog.contextvars.bind_contextvars(process="compute")
    try:
        return Worker(channel).run()
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the parent went while we were telling it something
    except ProtocolError as error:
        log.error("compute child gave up", error=str(error))
        channel.sendall(frame(Kind.FAILED, payload=b'{"error":"broken protocol"}'))
        return 4


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # at once: daemon threads inside Vosk must not run while Python takes itself apart
