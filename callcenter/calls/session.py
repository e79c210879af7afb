"""A call under way: its legs, what they say, and what becomes of it.

Stands between the line (who rang, who hung up), the hearing (what was said), the router (what it is about) and the
ledger (what is kept). Knows no Asterisk and no HTTP. Everything here runs on the event loop; one worker task a call
keeps its own order: an utterance is recorded before the routing made from it, and both before the case is complete.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

import structlog

from callcenter import clock
from callcenter.bus import Bus
from callcenter.calls import timeline
from callcenter.calls.commands import (
    CallEnded,
    CallStarted,
    CaseCompleted,
    Command,
    LegClosed,
    LegKind,
    LegOpened,
    RoutingMade,
    ShadowMade,
    TimelineMarked,
    UtteranceHeard,
    shadow_answer,
)
from callcenter.calls.ledger import Recorded
from callcenter.compute.errors import ComputeError
from callcenter.speech.events import Gap, LegEvent, Partial, SpeechStarted, StatementEnded, Utterance

log = structlog.get_logger()

LIVE_TOPIC = "live"
FINISH_WITHIN_S = 8.0
"""Time given to a leg's last words after its sound has ended; what is late comes from the recording."""
SOUND_ENDS_WITHIN_S = 0.6
"""A tap ends with its channel; measured well below this."""
LOST_SOUND_S = 2.0
ROUTE_WITHIN_S = 3.0
"""A routing takes milliseconds; this long only when the compute child is being restarted."""


class LegStream(Protocol):
    """One leg as the compute child hears it (``compute.client.LegStream``)."""

    refused: bool

    @property
    def position(self) -> float: ...
    def feed(self, pcm: bytes, *, silence: bool = False) -> None: ...
    async def finish(self, timeout: float) -> None: ...


class Compute(Protocol):
    """What a call needs of the compute child (``compute.client.ComputeClient``)."""

    def open_leg(self, leg: UUID, on_event: Callable[[LegEvent], None]) -> LegStream: ...
    async def route(
        self,
        text: str,
        words: list[dict[str, Any]] | None = None,
        timeout: float = 2.0,
        *,
        shadow: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]: ...
    async def transcribe(self, pcm: bytes) -> list[Utterance]: ...


class Ledger(Protocol):
    """Where a call's commands are made durable (``calls.ledger.CallLedger``)."""

    async def record(self, command: Command) -> Recorded: ...
    def holds(self, call: UUID) -> bool: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What every call of a process shares."""

    ledger: Ledger
    compute: Compute
    bus: Bus


def unrouted(text: str) -> dict[str, Any]:
    """The answer in place of a router that does not answer: an agent decides, nothing that was said is lost."""
    return {
        "text": text,
        "disposition": "case",
        "domain": None,
        "domain_probability": 0.0,
        "category": None,
        "probability": 0.0,
        "alternatives": [],
        "decision": "confirm",
        "reasons": ["router_unavailable"],
        "emergency": None,
        "intent": None,
        "address": None,
        "accused": None,
        "secrecy": False,
        "secondary": None,
        "evidence": [],
        "model": "none",
        "elapsed_ms": 0.0,
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a completed statement led to. ``number`` is None until it is committed: only a committed one is spoken."""

    case: UUID | None
    number: str | None
    state: str | None
    heard_words: bool
    emergency: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """False when nothing was heard, or nothing that is a matter: then it is worth asking again."""
        return self.heard_words and self.state != "cancelled"


class LegSession:
    """One voice: takes PCM from the line, gives it to the hearing, and the hearing's events to the call.

    The leg's clock starts when its sound connects; the AudioSocket server keeps it equal to wall time by handing
    silence where the line gave none, so a position maps to a moment by addition.
    """

    def __init__(self, session: "CallSession", kind: LegKind, extension: str) -> None:
        self.id = uuid4()
        self.kind = kind
        self.extension = extension
        self.opened_at: datetime | None = None
        self.closed_at: datetime | None = None
        self.speaking = False
        """Between a voiced sample and the silence that ends a statement."""
        self.turns = 0
        """Statements finished so far: voice, then ``statement_silence_ms`` of none."""
        self.gaps: list[Gap] = []
        self.next_sequence = 0
        self._session = session
        self._stream: LegStream | None = None
        self._sound_ended = asyncio.Event()

    @property
    def live(self) -> bool:
        """Whether this leg is being heard at this moment."""
        return self._stream is not None and not self._stream.refused and self.closed_at is None

    def opened(self) -> None:
        """The leg's AudioSocket is connected: its clock starts."""
        self.opened_at = clock.now()
        self._stream = self._session.parts.compute.open_leg(self.id, self._on_event)
        self._session.leg_opened(self)

    def audio(self, pcm: bytes, *, silence: bool) -> None:
        """PCM of the leg, in order; ``silence`` where the clock filled in for a line that gave nothing."""
        if self._stream is not None:
            self._stream.feed(pcm, silence=silence)
        if not silence:
            self._session.mark_once(timeline.FIRST_AUDIO)

    def closed(self, reason: str) -> None:
        """The leg's sound has ended, for whatever reason."""
        if self.closed_at is None:
            self.closed_at = clock.now()
            self._sound_ended.set()
            self._session.leg_closed(self, reason)

    def moment(self, position: float) -> datetime:
        """The wall time of ``position`` seconds on the leg's clock."""
        return (self.opened_at or clock.now()) + timedelta(seconds=position)

    def _on_event(self, event: LegEvent) -> None:
        self._session.leg_event(self, event)

    async def finish(self) -> float:
        """Wait for the last words and return the leg's length in seconds; what is still missing becomes a gap."""
        stream = self._stream
        if stream is None:
            return 0.0
        with suppress(TimeoutError):
            # The hang-up event overtakes the last tenth of a second of sound, which is still in the socket.
            async with asyncio.timeout(SOUND_ENDS_WITHIN_S):
                await self._sound_ended.wait()
        before = stream.position
        await stream.finish(FINISH_WITHIN_S)  # what is late is told as a Gap, and comes from the recording
        self._stream = None
        ended_at = self._session.ended_at
        if self.kind == "citizen" and self.closed_at is not None and ended_at is not None:
            # An agent may leave before the call ends; a citizen's sound that ended early was lost on the way.
            lost = (ended_at - self.closed_at).total_seconds() > LOST_SOUND_S
            if lost and not self._open_gap():
                self.gaps.append(Gap(self._session.heard_until(self), None, "connection lost"))
        return before

    def never_heard(self, since: datetime) -> None:
        """The leg's sound never connected: all of it is to be had from the recording, which began at ``since``."""
        self.opened_at = since
        self.gaps.append(Gap(0.0, None, "never connected"))

    def _open_gap(self) -> bool:
        return any(gap.end is None for gap in self.gaps)


class CallSession:
    """One call, from the moment the line names it until its recording is linked.

    ``first_routing`` and the legs' ``next_sequence`` continue where an earlier process stopped, so that nothing that
    is replayed or resumed takes the identity of something else.
    """

    def __init__(
        self,
        call: UUID,
        parts: Parts,
        *,
        channel: str = "",
        first_routing: int = 0,
        said: Sequence[tuple[datetime, str]] = (),
    ) -> None:
        self.call = call
        self.parts = parts
        self.channel = channel
        self.legs: list[LegSession] = []
        self.recording = ""
        self.recording_started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.agent_spoke = False
        self.outcome: Outcome | None = None
        self._said = list(said)
        self._words: list[dict[str, Any]] = []
        self._routed_said = 0
        self._routed_texts = first_routing
        self._emergency: tuple[str, ...] = ()
        self._marked: set[str] = set()
        self._last_voiced: datetime | None = None
        self._last_decided: datetime | None = None
        self._last_decoded: datetime | None = None
        self._last_routed: datetime | None = None
        self._completed_at_text = -1
        self._heard_until: dict[UUID, float] = {}
        self._completing = asyncio.Lock()
        self._in_shadow: set[asyncio.Task[None]] = set()
        self._todo: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._worker = asyncio.create_task(self._work(), name=f"call-{call}")

    # -- from the line ------------------------------------------------------------------------------------------------

    async def started(self, command: CallStarted) -> Recorded:
        """Make the call durable; returns once it is, in the store or in the spool."""
        self.recording = command.recording
        self.recording_started_at = command.answered_at
        recorded = await self.parts.ledger.record(command)
        marks = {timeline.RUNG: command.rung_at}
        if command.answered_at is not None:
            marks[timeline.ANSWERED] = command.answered_at
        self._do(lambda: self._record_marks(marks))
        self.publish("call", state="live")
        return recorded

    def add_leg(self, kind: LegKind, extension: str = "") -> LegSession:
        """A voice that is about to connect."""
        leg = LegSession(self, kind, extension)
        self.legs.append(leg)
        return leg

    @property
    def citizen(self) -> LegSession | None:
        """The citizen's leg, if its sound was ever asked for."""
        return next((leg for leg in self.legs if leg.kind == "citizen"), None)

    @property
    def heard_words(self) -> bool:
        """Whether any words of the citizen are known."""
        return bool(self._said)

    async def complete(self) -> Outcome:
        """The citizen has said what they have to say: complete the draft and return what became of it.

        Raises nothing that the store does: a case that could not be committed in time has ``number`` None, and the
        ledger sees to it later.
        """
        decided = clock.now()
        async with self._completing:
            return await self._complete(decided)

    async def _complete(self, decided: datetime) -> Outcome:
        await self._todo.join()
        if not self._said:
            self.outcome = Outcome(None, None, None, False, ())
            return self.outcome
        if len(self._said) == self._completed_at_text and self.outcome is not None:
            return self.outcome
        if self._routed_said < len(self._said):
            await self._route(last_chance=True)
        self._completed_at_text = len(self._said)
        recorded = await self.parts.ledger.record(CaseCompleted(self.call, decided))
        result = recorded.result or {}
        marks = {timeline.END_DECIDED: decided}
        if self._last_voiced is not None:
            marks[timeline.LAST_VOICED] = min(self._last_voiced, decided)
        # A call is complete when both are true: its words are known and its end is decided. So neither mark can lie
        # before the decision, even where decoding and routing were done during the silence that led to it.
        if self._last_decoded is not None:
            marks[timeline.DECODED] = max(self._last_decoded, decided)
        if self._last_routed is not None:
            marks[timeline.ROUTED] = max(self._last_routed, decided)
        if recorded.durable_in == "store":
            marks[timeline.STORED] = max(clock.now(), *marks.values())
        await self.parts.ledger.record(TimelineMarked(self.call, marks))
        case = result.get("case")
        self.outcome = Outcome(
            case=UUID(str(case)) if case else None,
            number=result.get("number") if recorded.durable_in == "store" else None,
            state=result.get("state"),
            heard_words=True,
            emergency=self._emergency,
        )
        self.publish("case", case=str(case) if case else None, state=result.get("state"))
        return self.outcome

    async def end(self, ended_at: datetime, cause: int) -> list[tuple[LegSession, list[Gap]]]:
        """The citizen's line is free. Returns the parts of each leg that are still to be had from the recording."""
        if self.ended_at is not None:
            return []
        self.ended_at = ended_at
        self.publish("call", state="ending")
        missing: list[tuple[LegSession, list[Gap]]] = []
        for leg in self.legs:
            if leg.opened_at is None:
                if leg.kind == "agent" or self.recording_started_at is None:
                    continue
                leg.never_heard(self.recording_started_at)
                self.leg_opened(leg)
            seconds = await leg.finish()
            await self._todo.join()
            await self.parts.ledger.record(
                LegClosed(
                    call=self.call,
                    leg=leg.id,
                    closed_at=leg.closed_at or ended_at,
                    seconds=round(seconds, 3),
                    gaps=[(gap.start, gap.end, gap.reason) for gap in leg.gaps],
                )
            )
            if leg.gaps:
                missing.append((leg, list(leg.gaps)))
        await self.complete()
        await self.parts.ledger.record(CallEnded(self.call, ended_at, cause))
        self.publish("ended")
        return missing

    async def settle(self) -> None:
        """Wait until everything asked for so far is done."""
        await self._todo.join()

    async def close(self) -> None:
        """Stop the worker; what it had to do is done first."""
        await self._todo.join()
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    # -- from the hearing ---------------------------------------------------------------------------------------------

    def leg_opened(self, leg: LegSession) -> None:
        """``leg``'s sound is connected."""
        opened_at = leg.opened_at or clock.now()
        command = LegOpened(self.call, leg.id, leg.kind, leg.extension, opened_at)
        self._do(lambda: self._record(command))
        self.publish("call", state="live", leg=str(leg.id), kind=leg.kind, extension=leg.extension)

    def leg_closed(self, leg: LegSession, reason: str) -> None:
        """``leg``'s sound has ended; the call itself may go on."""
        log.info("leg closed", call=str(self.call), leg=str(leg.id), kind=leg.kind, reason=reason)

    def leg_event(self, leg: LegSession, event: LegEvent) -> None:
        """What the hearing tells of ``leg``; called on the event loop, never blocks."""
        match event:
            case SpeechStarted():
                leg.speaking = True
            case Partial(text=text):
                if text:
                    self.mark_once(timeline.FIRST_WORDS)
                    self.publish("partial", leg=str(leg.id), kind=leg.kind, text=text)
            case Utterance():
                leg.next_sequence = max(leg.next_sequence, event.sequence + 1)
                self._heard_until[leg.id] = event.end
                decoded = clock.now()
                if leg.kind == "citizen":
                    self._last_voiced = leg.moment(event.last_voiced or event.end)
                    self._last_decided = decoded - timedelta(milliseconds=event.decode_ms)
                    self._last_decoded = decoded
                else:
                    self.agent_spoke = True
                self._do(lambda: self._heard(leg, event, decoded, "live"))
            case StatementEnded(last_voiced=last_voiced):
                leg.speaking = False
                leg.turns += 1
                if leg.kind == "citizen":
                    self._last_voiced = leg.moment(last_voiced)
            case Gap():
                leg.gaps.append(event)
                log.warning(
                    "part of a leg was not heard live",
                    call=str(self.call),
                    leg=str(leg.id),
                    start=event.start,
                    end=event.end,
                    reason=event.reason,
                )

    def heard_until(self, leg: LegSession) -> float:
        """End of the last final utterance of ``leg``, seconds on its clock."""
        return self._heard_until.get(leg.id, 0.0)

    async def heard_in_recording(self, leg: LegSession, utterances: list[Utterance], offset: float) -> None:
        """Utterances found in the recording: ``offset`` seconds are added to bring them to the leg's clock."""
        for found in utterances:
            moved = Utterance(
                sequence=leg.next_sequence,
                text=found.text,
                start=round(found.start + offset, 3),
                end=round(found.end + offset, 3),
                confidence=found.confidence,
                words=found.words,
            )
            leg.next_sequence += 1
            await self._heard(leg, moved, clock.now(), "recording")

    def mark_once(self, name: str) -> None:
        """Mark this moment as ``name`` unless that was done."""
        if name not in self._marked:
            self._marked.add(name)
            moment = clock.now()
            self._do(lambda: self._record_marks({name: moment}))

    def publish(self, type_: str, **fields: Any) -> None:
        """Tell the pages; a live event is a hint, the store is the truth."""
        message = {"type": type_, "call": str(self.call), **fields}
        self._do(lambda: self.parts.bus.publish(LIVE_TOPIC, message))

    # -- in order -----------------------------------------------------------------------------------------------------

    def _do(self, step: Callable[[], Awaitable[Any]]) -> None:
        self._todo.put_nowait(step)

    async def _work(self) -> None:
        while True:
            step = await self._todo.get()
            try:
                await step()
            except Exception as fault:  # a step of one call must not end the call; it is named and counted
                log.error("a step of a call failed", call=str(self.call), fault=type(fault).__name__, exc_info=True)
            finally:
                self._todo.task_done()

    async def _record_shadow(self, sequence: int, routing: dict[str, Any], kept: asyncio.Event) -> None:
        """Record a candidate's answer once the routing it stands beside is recorded."""
        await kept.wait()
        try:
            answer = shadow_answer(routing)
            await self.parts.ledger.record(ShadowMade(self.call, sequence, answer, clock.now()))
        except Exception as fault:  # noqa: BLE001 - one text less to judge a candidate by
            log.error("answer in shadow not recorded", call=str(self.call), fault=type(fault).__name__)

    async def _record(self, command: Command) -> None:
        await self.parts.ledger.record(command)

    async def _record_marks(self, marks: dict[str, datetime]) -> None:
        await self.parts.ledger.record(TimelineMarked(self.call, marks))

    async def _heard(self, leg: LegSession, utterance: Utterance, heard_at: datetime, source: Any) -> None:
        if not utterance.text:
            return
        await self.parts.ledger.record(
            UtteranceHeard(
                call=self.call,
                leg=leg.id,
                sequence=utterance.sequence,
                text=utterance.text,
                start=utterance.start,
                end=utterance.end,
                confidence=utterance.confidence,
                words=[asdict(word) for word in utterance.words],
                heard_at=heard_at,
                source=source,
            )
        )
        await self.parts.bus.publish(
            LIVE_TOPIC,
            {
                "type": "utterance",
                "call": str(self.call),
                "leg": str(leg.id),
                "kind": leg.kind,
                "sequence": utterance.sequence,
                "text": utterance.text,
                "start": utterance.start,
                "end": utterance.end,
                "confidence": utterance.confidence,
                "words": [{"text": word.text, "confidence": word.confidence} for word in utterance.words],
            },
        )
        if leg.kind == "citizen":
            self._said.append((leg.moment(utterance.start), utterance.text))
            self._said.sort(key=lambda part: part[0])  # what comes from the recording may lie before what was live
            self._words.extend(asdict(word) for word in utterance.words)
            await self._route()

    async def _route(self, *, last_chance: bool = False) -> None:
        text = "，".join(part for _, part in self._said)
        sequence, kept = self._routed_texts, asyncio.Event()

        def in_shadow(routing: dict[str, Any]) -> None:
            # Not a step of the call: its completion waits for all steps, and shall not wait for this.
            task = asyncio.create_task(self._record_shadow(sequence, routing, kept), name=f"shadow-{self.call}")
            self._in_shadow.add(task)
            task.add_done_callback(self._in_shadow.discard)

        try:
            routing = await self.parts.compute.route(text, self._words, timeout=ROUTE_WITHIN_S, shadow=in_shadow)
        except (TimeoutError, ComputeError) as fault:
            log.error("no routing in time", call=str(self.call), fault=type(fault).__name__)
            if not last_chance:
                return  # the next utterance, or the end of the statement, routes these words again
            routing = unrouted(text)
        made_at = clock.now()
        self._routed_said = len(self._said)
        self._last_routed = made_at
        self._emergency = tuple((routing.get("emergency") or {}).get("services", ()))
        recorded = await self.parts.ledger.record(RoutingMade(self.call, self._routed_texts, text, routing, made_at))
        self._routed_texts += 1
        kept.set()
        await self.parts.bus.publish(
            LIVE_TOPIC,
            {
                "type": "routing",
                "call": str(self.call),
                "case": str((recorded.result or {}).get("case") or "") or None,
                "sequence": sequence,
                "routing": routing,
            },
        )
