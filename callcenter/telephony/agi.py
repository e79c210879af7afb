"""FastAGI: Asterisk asks here what to do with a call. First stop of every call, before a word is spoken.

A thread a call; the conversation itself is ``AgiSession``. The dialplan goes on when the socket closes, so whatever
fails here costs the call its bridge, never its line. No number, name or argument of a call is ever logged.
"""

import contextlib
import re
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from callcenter.telephony.agi_session import (
    ENVIRONMENT_SECONDS,
    AgiBadValue,
    AgiCommandFailed,
    AgiHangup,
    AgiProtocolError,
    AgiSession,
    AgiTimeout,
)

__all__ = [
    "AgiBadValue",
    "AgiCommandFailed",
    "AgiHangup",
    "AgiProtocolError",
    "AgiServer",
    "AgiSession",
    "AgiTimeout",
    "Route",
]

log = structlog.get_logger()

_SCRIPT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

Route = Callable[[AgiSession], None]


class AgiServer:
    """Accepts FastAGI connections and runs each call's route on a thread of its own.

    ``routes`` maps the script of ``agi://host:port/script`` to a function. ``port`` 0 takes a free one, known after
    ``start()``. ``max_sessions`` bounds the threads: one more is closed at once, and counted. ``counters`` holds what
    metrics want: accepted, busy, unknown_script, bad_environment, abandoned (closed before it said anything), done,
    hangup, timeout, failed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        routes: Mapping[str, Route],
        *,
        command_timeout: float = 10.0,
        environment_timeout: float = ENVIRONMENT_SECONDS,
        max_sessions: int = 600,
    ) -> None:
        for script in routes:
            if not _SCRIPT.match(script):
                raise ValueError(f"route {script!r}: a script's name is letters, digits, - and _")
        self._address = (host, port)
        self._routes = dict(routes)
        self._command_timeout = command_timeout
        self._environment_timeout = environment_timeout
        self._max_sessions = max_sessions
        self._lock = threading.Lock()
        self._sessions: dict[AgiSession, threading.Thread] = {}
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._stopping = threading.Event()
        self._busy_logged = float("-inf")
        self.counters: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """The port in force. Raises RuntimeError before ``start()``."""
        if self._listener is None:
            raise RuntimeError("the AGI server is not started")
        return int(self._listener.getsockname()[1])

    @property
    def live(self) -> int:
        """Conversations going on."""
        return len(self._sessions)

    def start(self) -> None:
        """Binds and begins to accept. Raises OSError when the address is taken."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(self._address)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
        self._stopping.clear()
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), name="agi-accept", daemon=True)
        self._acceptor.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stops accepting, closes every conversation and waits for their threads, ``timeout`` seconds in all."""
        if self._listener is None or self._acceptor is None:
            return
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept() of the other thread, which close() does not
        deadline = time.monotonic() + timeout
        self._acceptor.join(timeout)
        self._listener.close()
        self._listener = self._acceptor = None
        with self._lock:
            sessions = dict(self._sessions)
        for session in sessions:
            session.abort()
        for thread in sessions.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        if stuck := sum(thread.is_alive() for thread in sessions.values()):
            log.warning("agi sessions outlive the stop", sessions=stuck, waited_s=timeout)

    def _count(self, name: str) -> None:
        with self._lock:
            self.counters[name] += 1

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                # Out of descriptors, or the peer gone before its turn: neither ends the line.
                log.error("agi cannot accept", error=error.strerror or type(error).__name__)
                self._stopping.wait(0.1)
                continue
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        session = AgiSession(connection, command_timeout=self._command_timeout)
        thread = threading.Thread(target=self._serve, args=(session,), name="agi-call", daemon=True)
        with self._lock:
            full = len(self._sessions) >= self._max_sessions
            if not full:
                self._sessions[session] = thread
        try:
            if full:
                raise RuntimeError(f"{self._max_sessions} AGI sessions are open")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread.start()
            self._count("accepted")
        except (RuntimeError, OSError) as error:  # full, no thread to be had, or the peer is gone already
            with self._lock:
                self._sessions.pop(session, None)
                self.counters["busy"] += 1
            session.close()
            if time.monotonic() - self._busy_logged > 1:  # a flood of calls must not become a flood of lines
                self._busy_logged = time.monotonic()
                log.error("agi call refused, the dialplan goes on without the bridge", reason=str(error))

    def _serve(self, session: AgiSession) -> None:
        try:
            self._run(session)
        finally:
            session.close()
            with self._lock:
                self._sessions.pop(session, None)

    def _run(self, session: AgiSession) -> None:
        try:
            session.read_environment(self._environment_timeout)
        except AgiHangup:
            self._count("abandoned")
            return
        except (AgiTimeout, AgiProtocolError) as error:
            self._count("bad_environment")
            log.warning("agi environment refused", reason=str(error))
            return
        route = self._routes.get(session.script)
        if route is None:
            self._count("unknown_script")
            log.warning("agi script unknown", script=session.script[:64], known=sorted(self._routes))
            return
        outcome = "done"
        try:
            route(session)
        except AgiHangup:
            outcome = "hangup"
        except AgiTimeout as error:
            outcome = "timeout"
            log.error("agi command not answered", script=session.script, channel=session.unique_id, reason=str(error))
        except Exception as error:  # noqa: BLE001 - a route's fault ends its own call's conversation and no other's
            outcome = "failed"
            log.error(
                "agi route failed",
                script=session.script,
                channel=session.unique_id,
                error=type(error).__name__,  # never its text, which may hold what the caller said
                where=_where(error),
            )
        self._count(outcome)


def _where(error: BaseException) -> list[str]:
    """The places an exception passed, without the values it carried."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
