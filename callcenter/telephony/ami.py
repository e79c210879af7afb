"""AMI: Asterisk tells here what happens to its channels, and is asked things. Beside the way of a call, never in it.

panoramisk speaks, supervision is ours: one ``Link`` (a panoramisk Manager, mended) is one TCP connection, and a new
connection is a new ``Link``, so nothing of an old one can be sent twice.

**Events are hints.** A SIP caller can forge them (a line break smuggled into a header), and some are lost while the
connection is down. Whoever handles one cross-checks it with the call's own record, and reconciles with ``channels()``.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog

from callcenter.telephony.ami_link import (
    AmiBadValue,
    AmiConnectionLost,
    AmiError,
    AmiMessage,
    AmiRefused,
    AmiTimeout,
    Link,
    check,
)

__all__ = [
    "AmiBadValue",
    "AmiClient",
    "AmiConnectionLost",
    "AmiError",
    "AmiMessage",
    "AmiRefused",
    "AmiTimeout",
    "Handler",
    "LiveChannel",
]

log = structlog.get_logger()

CONNECT_SECONDS: Final = 3.0
LOGIN_SECONDS: Final = 3.0
BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
REFUSED_SECONDS: Final = 30.0
"""A refused login is asked again this slowly: the password does not change by itself, Asterisk logs every attempt."""
PING_UNANSWERED_SECONDS: Final = 30.0
"""A peer that sends events but answers no ping for so long is as good as dead."""
QUEUED_EVENTS: Final = 10_000
HANDLERS_AT_ONCE: Final = 16
HANDLER_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class LiveChannel:
    """One channel that Asterisk has now. ``call`` is its inherited CALL_UUID, None where there is none (taps)."""

    unique_id: str
    name: str
    state: str
    call: UUID | None
    account: str


Handler = Callable[[AmiMessage], Awaitable[None] | None]


class AmiClient:
    """Stays connected to Asterisk's AMI, hands events to handlers, asks things with a time limit.

    A peer that is silent (stopped, cut off) is noticed within ``dead_after`` seconds of its last sign and left; new
    connections are tried with growing pauses. ``counters`` (for metrics): connected, lost, dead, refused, events,
    events_dropped, handler_failures, indigestible, oversize.
    """

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        secret: str,
        *,
        ping_every: float = 1.5,
        dead_after: float = 4.5,
        refused_every: float = REFUSED_SECONDS,
    ) -> None:
        if not 0 < ping_every < dead_after:
            raise ValueError(f"ping_every {ping_every} must lie between 0 and dead_after {dead_after}")
        self._host, self._port, self._user, self._secret = host, port, user, secret
        self._ping_every, self._dead_after, self._refused_every = ping_every, dead_after, refused_every
        self._handlers: dict[str, list[Handler]] = {}
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._refused: AmiRefused | None = None
        self._changed = asyncio.Event()
        self._events: asyncio.Queue[AmiMessage] = asyncio.Queue(QUEUED_EVENTS)
        self._tasks: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[None]] = set()
        self.counters: Counter[str] = Counter()

    # -- the connection ----------------------------------------------------------------------------------------------
    @property
    def connected(self) -> bool:
        """True while logged in on a connection not known to be dead."""
        return self._up.is_set()

    async def start(self) -> None:
        """Begins to connect, and returns at once; ``wait_connected`` waits."""
        if self._tasks:
            raise RuntimeError("the AMI client is started already")
        self._tasks = [
            asyncio.create_task(self._supervise(), name="ami-supervise"),
            asyncio.create_task(self._dispatch(), name="ami-dispatch"),
        ]

    async def stop(self) -> None:
        """Logs off and ends everything; running handlers are cancelled. Actions under way raise AmiConnectionLost."""
        link = self._link
        if link is not None and self.connected:
            with contextlib.suppress(AmiError):
                await link.ask({"Action": "Logoff"}, 0.5)
        tasks, self._tasks = [*self._tasks, *self._running], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_connected(self, timeout: float) -> None:
        """Returns once logged in. Raises AmiRefused as soon as a login is refused, AmiTimeout after ``timeout`` s."""
        async with _limit(timeout, f"no AMI at {self._host}:{self._port} within {timeout:g} s"):
            while not self.connected:
                if self._refused is not None:
                    raise self._refused
                await self._changed.wait()

    def _note(self) -> None:
        """Wakes ``wait_connected``."""
        self._changed.set()
        self._changed.clear()

    async def _supervise(self) -> None:
        pauses = iter(BACKOFF_SECONDS)
        reachable = True
        while True:
            pause = 0.0
            link = Link(self._host, self._port, self._take, self._count)
            try:
                await self._connect(link)
                pauses = iter(BACKOFF_SECONDS)
                reachable, self._link, self._refused = True, link, None
                self._up.set()
                self.counters["connected"] += 1
                log.info("ami connected", host=self._host, port=self._port)
                self._note()
                reason = await self._heartbeat(link)
                self.counters[reason] += 1
                log.warning("ami connection left", reason=reason)
            except AmiRefused as error:
                self.counters["refused"] += 1
                self._refused = error
                pause = self._refused_every
                log.error(
                    "ami login refused",
                    user=self._user,
                    mend="check CALLCENTER_AMI_USER and CALLCENTER_AMI_SECRET",
                    again_in_s=pause,
                )
                self._note()
            except (OSError, AmiError) as error:
                if reachable:  # once an outage, not once an attempt
                    log.warning("ami not reachable", host=self._host, port=self._port, error=type(error).__name__)
                reachable = False
            finally:
                self._up.clear()
                self._link = None
                link.cut()
            pause = pause or next(pauses, BACKOFF_SECONDS[-1])
            await asyncio.sleep(pause)

    async def _connect(self, link: Link) -> None:
        async with _limit(CONNECT_SECONDS, "AMI takes no connection"):
            await link.connect()
        login = {"Action": "Login", "Username": self._user, "Secret": self._secret, "Events": "on"}
        check(login)
        answer = (await link.ask(login, LOGIN_SECONDS))[0]
        if not answer.success:
            raise AmiRefused(
                f"Asterisk refused the AMI user {self._user!r}: check ami_user and ami_secret (manager.conf)"
            )

    async def _heartbeat(self, link: Link) -> str:
        """Returns when the connection is over: "lost" or "dead"."""
        loop = asyncio.get_running_loop()
        ping: asyncio.Task[list[AmiMessage]] | None = None
        asked = loop.time()
        try:
            while not link.lost.done():
                now = loop.time()
                # Any byte is a sign of life: events in full flow can hold up the answer to a ping.
                silent_until = link.heard + self._dead_after
                if now >= silent_until:
                    return "dead"
                if ping is not None and ping.done():
                    if ping.exception() is not None:
                        return "lost" if link.lost.done() else "dead"
                    ping = None
                if ping is None and now >= asked + self._ping_every:
                    asked = now
                    ping = asyncio.create_task(link.ask({"Action": "Ping"}, PING_UNANSWERED_SECONDS))
                wake = silent_until if ping is not None else min(silent_until, asked + self._ping_every)
                await asyncio.wait(
                    {link.lost, *([ping] if ping else ())},
                    timeout=max(0.0, wake - now) + 0.001,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            return "lost"
        finally:
            if ping is not None:
                ping.cancel()
                await asyncio.gather(ping, return_exceptions=True)

    # -- actions -------------------------------------------------------------------------------------------------------
    async def action(self, fields: Mapping[str, str | Sequence[str]], timeout: float = 5.0) -> list[AmiMessage]:
        """Sends one action; returns its response, followed by its list of events where it has one.

        A value may be a list: the header is repeated. Raises AmiBadValue before anything is sent, AmiConnectionLost,
        AmiTimeout; an error that Asterisk answers is a response whose ``success`` is False.
        """
        check(fields)
        if self._link is None or not self.connected:
            raise AmiConnectionLost("no connection to Asterisk's AMI")
        return await self._link.ask(fields, timeout)

    async def channels(self, timeout: float = 5.0) -> list[LiveChannel]:
        """The channels that Asterisk has now, to reconcile calls with. Needs the write class ``call`` (Status)."""
        answer = await self.action({"Action": "Status", "Variables": "CALL_UUID"}, timeout)
        if not answer[0].success:
            raise AmiError(f"Asterisk refused Status: {answer[0].text}; give the AMI user write=call")
        found = []
        for message in answer:
            if message.event == "Status":
                values = (value.partition("=") for value in message.all("variable"))
                call = next((value for name, _, value in values if name == "CALL_UUID"), "")
                found.append(
                    LiveChannel(
                        message.get("uniqueid"),
                        message.get("channel"),
                        message.get("channelstatedesc"),
                        _uuid(call),
                        message.get("accountcode"),
                    )
                )
        return found

    async def live_calls(self, timeout: float = 5.0) -> set[UUID]:
        """The CALL_UUIDs of the channels that Asterisk has now."""
        return {channel.call for channel in await self.channels(timeout) if channel.call is not None}

    # -- events --------------------------------------------------------------------------------------------------------
    def on(self, event_name: str, handler: Handler) -> None:
        """Calls ``handler`` with each event of that name (case does not matter; "*" is every event).

        Plain functions are called in the order of events and must be quick. Coroutine functions run beside each other,
        HANDLERS_AT_ONCE at most and HANDLER_SECONDS long; what they raise is logged by type and counted.
        """
        self._handlers.setdefault(event_name.lower(), []).append(handler)

    def _count(self, name: str) -> None:
        self.counters[name] += 1

    def _take(self, message: AmiMessage) -> None:
        if message.event.lower() not in self._handlers and "*" not in self._handlers:
            return
        self.counters["events"] += 1
        if self._events.full():  # hints: the newest are worth more, and channels() mends the rest
            self._events.get_nowait()
            self.counters["events_dropped"] += 1
        self._events.put_nowait(message)

    async def _dispatch(self) -> None:
        slots = asyncio.Semaphore(HANDLERS_AT_ONCE)
        while True:
            message = await self._events.get()
            name = message.event.lower()
            for handler in itertools.chain(self._handlers.get(name, ()), self._handlers.get("*", ())):
                try:
                    waiting = handler(message)
                except Exception as error:  # noqa: BLE001 - a handler's fault is its own, never the connection's
                    self._failed(name, error)
                    continue
                if waiting is not None:
                    await slots.acquire()
                    task = asyncio.create_task(self._finish(name, waiting))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                    task.add_done_callback(lambda _: slots.release())

    async def _finish(self, name: str, waiting: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(HANDLER_SECONDS):
                await waiting
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self.counters["handler_failures"] += 1
        log.error("ami handler failed", event_name=name[:64], error=type(error).__name__)


@contextlib.asynccontextmanager
async def _limit(seconds: float, message: str) -> Any:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AmiTimeout(message) from None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
