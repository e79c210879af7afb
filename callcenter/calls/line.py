"""The line: every call under way, as Asterisk tells of it over FastAGI and AMI.

FastAGI is the dialplan speaking for itself and is believed; AMI events are hints that anyone who reaches the trunk may
try to forge, so each is held against the call's own record (its UUID *and* its channel) before it means anything.
AGI routes run in the call's own thread and ask the event loop with a time limit: a slow bridge is a short silence for
the citizen, never a dead line.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import structlog

from callcenter import clock
from callcenter.calls.commands import CallStarted
from callcenter.calls.conversation import Conversation
from callcenter.calls.recovery import Recovery
from callcenter.calls.session import CallSession, LegSession, Parts
from callcenter.settings import Settings
from callcenter.telephony.agi import AgiSession
from callcenter.telephony.ami import AmiClient, AmiError, AmiMessage
from callcenter.telephony.audiosocket import AudioSocketServer

log = structlog.get_logger()

T = TypeVar("T")

INCOMING_WITHIN_S = 2.0
"""Longest silence before the greeting; the ledger's own patience is 0.3 s, the rest is for a busy loop."""
END_GRACE_S = 3.0
"""A citizen's sound that ended without a hangup event for this long is asked after."""
ASK_EVERY_S = 5.0
HANGUP_UNKNOWN = 0


@dataclass(frozen=True, slots=True)
class Incoming:
    """The arguments of the dialplan's ``incoming`` route, checked."""

    call: UUID
    line: str
    number: str
    rung_at: datetime
    answered_at: datetime
    recording: str
    channel: str

    @classmethod
    def parse(cls, args: list[str]) -> "Incoming":
        """From the AGI arguments. Raises ValueError naming the argument, never its value: it may be a number."""
        if len(args) < 7:
            raise ValueError(f"{len(args)} arguments, expected 7: does extensions.conf come from this version?")
        names = ("call", "line", "number", "rung", "answered", "recording", "channel")
        given = dict(zip(names, args, strict=False))
        for name in ("line", "number"):
            if given[name].strip("0123456789+"):
                raise ValueError(f"argument {name} is not digits")
        try:
            return cls(
                call=UUID(given["call"]),
                line=given["line"],
                number=given["number"][:20],
                rung_at=clock.from_epoch(float(given["rung"])),
                answered_at=clock.from_epoch(float(given["answered"])),
                recording=given["recording"],
                channel=given["channel"],
            )
        except (ValueError, OverflowError, OSError) as error:
            raise ValueError("call, rung or answered is not what the dialplan sends") from error


class Line:
    """All calls under way. Build it on the event loop, give ``routes`` to the AGI server, then ``attach`` the AMI."""

    def __init__(self, settings: Settings, parts: Parts, audio: AudioSocketServer, recovery: Recovery) -> None:
        self.sessions: dict[UUID, CallSession] = {}
        self._settings = settings
        self._parts = parts
        self._audio = audio
        self._recovery = recovery
        self._loop = asyncio.get_running_loop()
        self._ami: AmiClient | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False

    @property
    def routes(self) -> Mapping[str, Callable[[AgiSession], None]]:
        """What the dialplan may ask: script name -> route, each run in the call's AGI thread."""
        return {"incoming": self._incoming, "agent": self._agent, "statement": self._statement}

    def attach(self, ami: AmiClient) -> None:
        """Listen to Asterisk's events."""
        self._ami = ami
        ami.on("UserEvent", self._user_event)
        ami.on("QueueCallerJoin", lambda event: self._state(event, "queued"))
        ami.on("AgentCalled", lambda event: self._state(event, "ringing"))
        ami.on("AgentConnect", lambda event: self._state(event, "talking"))
        ami.on("Hold", lambda event: self._state(event, "held"))
        ami.on("Unhold", lambda event: self._state(event, "talking"))

    async def stop(self) -> None:
        """Let every call's words reach the ledger; calls that are still up are found again at the next start."""
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for session in list(self.sessions.values()):
            with suppress(TimeoutError):
                async with asyncio.timeout(5.0):
                    await session.close()

    # -- AGI routes: in the call's thread -----------------------------------------------------------------------------

    def _ask(self, work: Callable[[], Awaitable[T]], timeout: float) -> T:
        """Run ``work`` on the event loop and wait. Raises TimeoutError when late; the work itself goes on."""

        async def run() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout)

    def _incoming(self, agi: AgiSession) -> None:
        incoming = Incoming.parse(agi.args)
        token = self._ask(lambda: self._admit(incoming), INCOMING_WITHIN_S)
        agi.set_variable("HOTLINE_TOKEN", str(token))
        agi.set_variable("HOTLINE_NEXT", "queue")

    def _agent(self, agi: AgiSession) -> None:
        call, extension = UUID(agi.args[0]), agi.args[1]
        if extension not in self._settings.agent_extensions:
            raise ValueError("the answering member is not one of CALLCENTER_AGENT_EXTENSIONS")
        token = self._ask(lambda: self._agent_joins(call, extension), INCOMING_WITHIN_S)
        agi.set_variable("HOTLINE_TOKEN_AGENT", str(token) if token else "")

    def _statement(self, agi: AgiSession) -> None:
        session = self.sessions.get(UUID(agi.args[0]))
        if session is None:
            # The bridge was restarted during the call: its recording is all there is, the dialplan takes over.
            raise LookupError("no session for this call")
        Conversation(
            agi,
            session,
            self._ask,
            statement_max_s=self._settings.statement_max_s,
            start_s=self._settings.statement_start_s,
        ).hold()
        agi.set_variable("HOTLINE_NEXT", "hangup")

    # -- on the event loop --------------------------------------------------------------------------------------------

    async def _admit(self, incoming: Incoming) -> UUID:
        session = self.sessions.get(incoming.call)
        if session is None:
            session = CallSession(incoming.call, self._parts, channel=incoming.channel)
            self.sessions[incoming.call] = session
        await session.started(
            CallStarted(
                call=incoming.call,
                line=incoming.line,
                number=incoming.number,
                rung_at=incoming.rung_at,
                answered_at=incoming.answered_at,
                recording=incoming.recording,
                channel=incoming.channel,
            )
        )
        leg = session.add_leg("citizen")
        return self._expect(session, leg)

    async def _agent_joins(self, call: UUID, extension: str) -> UUID | None:
        session = self.sessions.get(call)
        if session is None:
            return None
        leg = session.add_leg("agent", extension)
        session.publish("call", state="talking", extension=extension)
        return self._expect(session, leg)

    def _expect(self, session: CallSession, leg: LegSession) -> UUID:
        token = uuid4()
        self._audio.expect(token, _Watched(leg, self, session))
        return token

    def leg_closed(self, session: CallSession, leg: LegSession) -> None:
        """A leg's sound ended: for the citizen that is most often the hang-up itself, but only Asterisk knows."""
        if leg.kind == "citizen":
            self._task(self._ask_after(session))

    async def _ask_after(self, session: CallSession) -> None:
        await asyncio.sleep(END_GRACE_S)
        while session.ended_at is None and not self._stopping:
            ami = self._ami
            if ami is not None and ami.connected:
                try:
                    alive = session.channel in {channel.unique_id for channel in await ami.channels()}
                except AmiError as fault:
                    log.warning("could not ask after a call", call=str(session.call), fault=type(fault).__name__)
                    alive = True
                if not alive:
                    await self._end(session, HANGUP_UNKNOWN)
                    return
            await asyncio.sleep(ASK_EVERY_S)

    async def _user_event(self, event: AmiMessage) -> None:
        if event.get("UserEvent") != "HotlineEnd":
            return
        try:
            call = UUID(event.get("CallUUID", ""))
            cause = int(event.get("Cause", "0") or 0)
        except ValueError:
            log.warning("hangup event refused", reason="not a call UUID or cause")
            return
        session = self.sessions.get(call)
        if session is None:
            self._recovery.soon()
            return
        if event.get("Uniqueid") != session.channel:
            log.warning("hangup event refused", call=str(call), reason="another channel's")
            return
        self._task(self._end(session, cause))

    def _state(self, event: AmiMessage, state: str) -> None:
        """A state for the pages only. The call is the one whose channel the event names; no other is believed."""
        named = {event.get("Uniqueid"), event.get("Linkedid"), event.get("DestLinkedid")} - {None, ""}
        session = next((one for one in self.sessions.values() if one.channel in named), None)
        if session is not None and session.ended_at is None:
            session.publish("call", state=state)

    async def _end(self, session: CallSession, cause: int) -> None:
        if session.ended_at is not None:
            return
        ended_at = clock.now()
        missing = await session.end(ended_at, cause)
        try:
            await self._recovery.finish(session, missing)
        finally:
            await session.close()
            self.sessions.pop(session.call, None)

    def _task(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            fault = task.exception()
            log.error("a step of the line failed", fault=type(fault).__name__, exc_info=fault)


class _Watched:
    """A leg as the AudioSocket server's sink; tells the line when its sound ends."""

    def __init__(self, leg: LegSession, line: Line, session: CallSession) -> None:
        self._leg = leg
        self._line = line
        self._session = session

    def opened(self) -> None:
        self._leg.opened()

    def audio(self, pcm: bytes, *, silence: bool) -> None:
        self._leg.audio(pcm, silence=silence)

    def closed(self, reason: str) -> None:
        self._leg.closed(reason)
        self._line.leg_closed(self._session, self._leg)
