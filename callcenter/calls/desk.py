"""The desk: which agents are there, what their pages show, and their word on a routing.

Here the call and the case meet the person who decides. Pages read the store through this module and then follow the
bus; the line asks it who is there; a confirmation is one transaction and one live event.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.access.model import User
from callcenter.bus import DESK, LIVE, RESYNC, Bus
from callcenter.calls import model as calls
from callcenter.cases import model as cases
from callcenter.cases.repository import CaseNotFound, CategoryChoice, Conflict, NotConfirmable, confirm_routing
from callcenter.storage.engine import Database
from classifier.taxonomy import Category

log = structlog.get_logger()

HEARTBEAT_S: Final = 10.0
FORGET_AFTER_S: Final = 35.0
"""Seats of another process that has not been heard for three heartbeats are taken for gone: it may have been killed."""

BLIND_FOR: Final = timedelta(days=1)
"""A filed case of the blind sample is offered to agents this long."""

MOST_LIVE: Final = 200
MOST_WAITING: Final = 200
"""A page shows no more than this; the oldest come first, so what is cut off is what can wait longest."""


@dataclass(frozen=True, slots=True)
class Said:
    """One final utterance as the page shows it. ``words`` are (text, confidence), empty where not known."""

    leg: UUID
    kind: str
    sequence: int
    text: str
    at: datetime
    confidence: float
    words: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class CaseCard:
    """A case as the desk shows it. ``category`` has the names of the one in force, whoever put it there."""

    id: UUID
    call: UUID | None
    number: str | None
    state: str
    disposition: str
    domain: str | None
    category: dict[str, str] | None
    decision: str
    version: int
    confirmed: bool
    confirmed_by: str | None
    """Display name of the one who confirmed or corrected; None when nobody has, or their account is gone."""
    address: str | None
    created_at: datetime
    completed_at: datetime | None
    blind: bool = False
    """Of the blind sample and not decided yet: the router's answer is not shown before the agent has chosen."""


@dataclass(frozen=True, slots=True)
class CallCard:
    """A call as the desk shows it, with its words, the routing in force and its case."""

    id: UUID
    number: str
    """Masked: the desk's screen stands where others can see it."""
    line: str
    state: str
    rung_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    extension: str
    said: tuple[Said, ...]
    routing: dict[str, Any] | None
    case: CaseCard | None
    routed: int = -1
    """Place of ``routing`` among the call's, counted from 0; -1 for none."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A signed-in agent's open page."""

    id: str
    user: UUID
    extension: str


class CaseMoved(Exception):
    """The case is no longer what the agent was looking at. ``card``: as it is now."""

    def __init__(self, card: CaseCard) -> None:
        super().__init__(f"case {card.id} is at version {card.version} and not as it was seen: look again")
        self.card = card


class NothingToConfirm(Exception):
    """There is no case, or no category in it, to confirm. ``reason``: ``no_case``, ``no_category`` or ``state``."""

    def __init__(self, case: UUID, reason: str) -> None:
        super().__init__(f"case {case} cannot be confirmed: {reason}")
        self.reason = reason


class Desk:
    """Agents' presence, the pages' view of the store, and confirmations. One a process; they tell each other by bus."""

    def __init__(self, db: Database, bus: Bus, *, blind_every: int = 0) -> None:
        self._db = db
        self.blind_every = blind_every
        """One case in so many is decided without the router's answer being shown; 0: none."""
        self._bus = bus
        self._id = uuid4().hex
        self._seats: dict[str, Seat] = {}
        self._elsewhere: dict[str, tuple[float, frozenset[str]]] = {}
        """Other processes' extensions: when they were last told, and which they are."""
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to tell other processes who is here, and to hear who is there. Idempotent."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._tell(), name="desk-tell"),
                asyncio.create_task(self._hear(), name="desk-hear"),
            ]

    async def stop(self) -> None:
        """Tell the others that nobody is here any more, and end."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            self._seats.clear()
            await self._tell_seats()

    # -- presence ----------------------------------------------------------------------------------------------------

    def arrive(self, seat: str, user: UUID, extension: str) -> None:
        """A signed-in agent's page ``seat`` (an id of the page's own) is connected; ``extension`` may be empty."""
        self._seats[seat] = Seat(seat, user, extension)
        self._changed.set()

    def leave(self, seat: str) -> None:
        """That page is gone. Nothing happens for one that never arrived."""
        if self._seats.pop(seat, None) is not None:
            self._changed.set()

    @property
    def seats(self) -> tuple[Seat, ...]:
        """The pages connected to this process."""
        return tuple(self._seats.values())

    def signed_in_extensions(self) -> frozenset[str]:
        """Telephones of the agents whose page is open, in any process. Whether each telephone is registered is
        Asterisk's to say: a call should ring where both are true."""
        oldest = time.monotonic() - FORGET_AFTER_S
        found = {seat.extension for seat in self._seats.values()}
        for told_at, extensions in self._elsewhere.values():
            if told_at >= oldest:
                found |= extensions
        return frozenset(found - {""})

    async def _tell(self) -> None:
        await self._bus.publish(DESK, {"type": "roll-call", "desk": self._id})
        while True:
            await self._tell_seats()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                continue
            finally:
                self._changed.clear()

    async def _tell_seats(self) -> None:
        extensions = sorted({seat.extension for seat in self._seats.values()} - {""})
        await self._bus.publish(DESK, {"type": "seats", "desk": self._id, "extensions": extensions})

    async def _hear(self) -> None:
        async with self._bus.subscribe(DESK) as messages:
            async for message in messages:
                other = message.get("desk")
                if message["type"] == RESYNC:
                    # Nothing is forgotten: whoever is gone falls silent, whoever is there is asked to say so.
                    await self._bus.publish(DESK, {"type": "roll-call", "desk": self._id})
                elif not isinstance(other, str) or other == self._id:
                    continue
                elif message["type"] == "roll-call":
                    self._changed.set()
                elif message["type"] == "seats":
                    extensions = frozenset(str(one) for one in message.get("extensions", ()))
                    self._elsewhere[other] = (time.monotonic(), extensions)
                    if not extensions:
                        del self._elsewhere[other]

    # -- the call and its agent ----------------------------------------------------------------------------------------

    async def offer(self, call: UUID, extension: str) -> None:
        """The agent at ``extension`` has answered ``call``: their page brings it to the front."""
        await self._bus.publish(LIVE, {"type": "call", "call": str(call), "state": "talking", "extension": extension})

    async def confirm(
        self,
        case: UUID,
        user: UUID,
        choice: Category | None,
        expected_version: int,
        *,
        seen: Mapping[str, Any] | None,
        blind: bool = False,
        seconds_to_decide: float | None = None,
    ) -> CaseCard:
        """An agent's word on a case: ``choice`` None confirms the category in force, which must be the one they have
        ``seen`` (an object of docs/route.schema.json's ``category``); another corrects it. ``blind``: they had not seen
        the router's answer; ``seconds_to_decide``: how long they had it before them. One transaction, then one live
        event.

        Raises CaseMoved, NothingToConfirm.
        """
        given = None
        if choice is not None:
            given = CategoryChoice(choice.domain, choice.standard, choice.code, choice.kind, choice.major, choice.minor)
        at = clock.now()
        try:
            async with self._db.begin() as session:
                before = await session.get(cases.Case, case)
                if before is not None and choice is None and identity(_category(before)) != identity(seen):
                    # Also at the same version: what a page shows may be ahead of a store that is slow.
                    raise _NotAsSeen
                row = await confirm_routing(
                    session,
                    case,
                    user_id=user,
                    choice=given,
                    expected_version=expected_version,
                    at=at,
                    blind=blind,
                    seconds_to_decide=seconds_to_decide,
                )
                card = (await self._case_cards(session, [row]))[row.id]
        except (Conflict, _NotAsSeen):
            now = await self.case(case)
            if now is None:
                raise NothingToConfirm(case, "no_case") from None
            raise CaseMoved(now) from None
        except CaseNotFound:
            raise NothingToConfirm(case, "no_case") from None
        except NotConfirmable:
            raise NothingToConfirm(case, "no_category" if choice is None else "state") from None
        await self._bus.publish(
            LIVE,
            {
                "type": "case",
                "call": str(card.call) if card.call is not None else None,
                "case": str(card.id),
                "state": card.state,
                "version": card.version,
            },
        )
        log.info("routing confirmed" if choice is None else "routing decided", case=str(case), user=str(user))
        return card

    # -- what pages show -----------------------------------------------------------------------------------------------

    async def live_calls(self) -> list[CallCard]:
        """Calls under way, newest first, with everything said so far."""
        async with self._db.read() as session:
            query = (
                select(calls.Call)
                .where(calls.Call.state.in_((calls.RINGING, calls.LIVE)))
                .order_by(calls.Call.rung_at.desc(), calls.Call.id)
                .limit(MOST_LIVE)
            )
            return await self._cards(session, (await session.scalars(query)).all())

    async def call(self, call: UUID) -> CallCard | None:
        """One call, under way or over; None when the store does not have it."""
        async with self._db.read() as session:
            row = await session.get(calls.Call, call)
            return (await self._cards(session, [row]))[0] if row is not None else None

    async def waiting(self, limit: int = MOST_WAITING) -> list[CaseCard]:
        """Complete cases that await an agent's decision, oldest first; after them the newest ones that were filed by
        themselves and are of the blind sample: they wait for nobody, but somebody says whether the router was right."""
        async with self._db.read() as session:
            query = (
                select(cases.Case)
                # What a rule may file is filed as it completes: whatever is still reported waits for a person.
                .where(cases.Case.state == cases.REPORTED, cases.Case.confirmed_by.is_(None))
                .order_by(cases.Case.created_at, cases.Case.id)
                .limit(limit)
            )
            found = list((await session.scalars(query)).all())
            if self.blind_every:
                found.extend((await session.scalars(_blind_sample(self.blind_every, clock.now(), limit))).all())
            return list((await self._case_cards(session, found)).values())

    async def case(self, case: UUID) -> CaseCard | None:
        """One case; None when there is none such."""
        async with self._db.read() as session:
            row = await session.get(cases.Case, case)
            return (await self._case_cards(session, [row]))[row.id] if row is not None else None

    async def _cards(self, session: AsyncSession, rows: Iterable[calls.Call]) -> list[CallCard]:
        return await _cards(session, rows, self.blind_every)

    async def _case_cards(self, session: AsyncSession, rows: Iterable[cases.Case]) -> dict[UUID, CaseCard]:
        return await _case_cards(session, rows, self.blind_every)


def _blind_sample(every: int, now: datetime, limit: int) -> Select[cases.Case]:
    """Filed cases of the blind sample that nobody has decided, of the last day: what is older says little of today."""
    return (
        select(cases.Case)
        .where(
            text(cases.BLIND_WHERE),  # as written in the partial index, or SQLite would not see that it may use it
            cases.Case.draw < cases.LOTS // every,
            # coalesce, though a case always has a state: SQLite would take the index on states, and with it read every
            # case filed today.
            func.coalesce(cases.Case.state, "") == cases.PENDING_DISPATCH,
            cases.Case.created_at > now - BLIND_FOR,
        )
        .order_by(cases.Case.created_at.desc(), cases.Case.id.desc())
        .limit(limit)
    )


class _NotAsSeen(Exception):
    """Ends the transaction of a confirmation whose category is not the one that was seen."""


def identity(category: Mapping[str, Any] | None) -> tuple[Any, Any, Any] | None:
    """What makes two categories the same one: standard, kind and code; None for none."""
    return (category.get("standard"), category.get("kind"), category.get("code")) if category else None


def masked(number: str) -> str:
    """``number`` as a screen in a shared room shows it: 138****5678; the middle of any number is stars."""
    digits = number.strip()
    if not digits:
        return "未显示号码"
    if len(digits) < 7:
        return "*" * len(digits)
    head = 3 if len(digits) >= 10 else 2
    tail = 4 if len(digits) >= 10 else 2
    return digits[:head] + "*" * (len(digits) - head - tail) + digits[-tail:]


async def _cards(session: AsyncSession, rows: Iterable[calls.Call], blind_every: int) -> list[CallCard]:
    """The cards of ``rows``, in their order: five queries, however many calls."""
    found = list(rows)
    ids = [row.id for row in found]
    if not ids:
        return []
    callers = select(calls.CallParticulars).where(calls.CallParticulars.call_id.in_(ids))
    numbers = {one.call_id: one.number for one in await session.scalars(callers)}
    legs = {leg.id: leg for leg in await session.scalars(select(calls.Leg).where(calls.Leg.call_id.in_(ids)))}
    said: dict[UUID, list[Said]] = {call: [] for call in ids}
    spoken = select(calls.Utterance, calls.UtteranceText).join(
        calls.UtteranceText, calls.UtteranceText.utterance_id == calls.Utterance.id
    )
    for utterance, words in await session.execute(spoken.where(calls.Utterance.call_id.in_(ids))):
        leg = legs[utterance.leg_id]
        if words.text:
            said[utterance.call_id].append(
                Said(
                    leg=leg.id,
                    kind=leg.kind,
                    sequence=utterance.sequence,
                    text=words.text,
                    # Each leg has a clock of its own; the moment it opened brings both onto one.
                    at=clock.from_epoch(leg.opened_at.timestamp() + utterance.start),
                    confidence=utterance.confidence,
                    words=words_of(words.words),
                )
            )
    routings = await _routings(session, ids)
    own = {
        row.call_id: row
        for row in await session.scalars(
            select(cases.Case).where(cases.Case.id.in_([calls.case_id(call) for call in ids]))
        )
    }
    cards = await _case_cards(session, own.values(), blind_every)
    return [
        CallCard(
            id=row.id,
            number=masked(numbers.get(row.id) or ""),
            line=row.line,
            state=row.state,
            rung_at=row.rung_at,
            answered_at=row.answered_at,
            ended_at=row.ended_at,
            extension=next((leg.extension for leg in legs.values() if leg.call_id == row.id and leg.extension), ""),
            said=tuple(sorted(said[row.id], key=lambda one: (one.at, one.sequence))),
            routing=routings[row.id][1] if row.id in routings else None,
            routed=routings[row.id][0] if row.id in routings else -1,
            case=cards[own[row.id].id] if row.id in own else None,
        )
        for row in found
    ]


async def _routings(session: AsyncSession, ids: list[UUID]) -> dict[UUID, tuple[int, dict[str, Any]]]:
    """The newest routing of each call and its sequence: what may be kept for ever joined with what can be erased."""
    newest = (
        select(calls.Routing.call_id, func.max(calls.Routing.sequence).label("sequence"))
        .where(calls.Routing.call_id.in_(ids))
        .group_by(calls.Routing.call_id)
        .subquery()
    )
    query = (
        select(calls.Routing, calls.RoutingText)
        .join(newest, (calls.Routing.call_id == newest.c.call_id) & (calls.Routing.sequence == newest.c.sequence))
        .outerjoin(calls.RoutingText, calls.RoutingText.routing_id == calls.Routing.id)
    )
    return {
        routing.call_id: (
            routing.sequence,
            {**routing.answer, **((rest.answer if rest is not None else None) or {})},
        )
        for routing, rest in (await session.execute(query))
    }


async def _case_cards(session: AsyncSession, rows: Iterable[cases.Case], blind_every: int) -> dict[UUID, CaseCard]:
    found = list(rows)
    people = {row.confirmed_by for row in found} - {None}
    names: dict[UUID, str] = {}
    places: dict[UUID, str | None] = {}
    if people:
        users = await session.scalars(select(User).where(User.id.in_(people)))
        names = {user.id: user.display_name for user in users}
    if found:
        of_cases = select(cases.CaseParticulars).where(cases.CaseParticulars.case_id.in_([row.id for row in found]))
        places = {one.case_id: one.address for one in await session.scalars(of_cases)}
    return {
        row.id: CaseCard(
            id=row.id,
            call=row.call_id,
            number=row.number,
            state=row.state,
            disposition=row.disposition,
            domain=row.domain,
            category=_category(row),
            decision=row.decision,
            version=row.version,
            confirmed=row.confirmed_by is not None,
            blind=is_blind(row, blind_every),
            confirmed_by=names.get(row.confirmed_by) if row.confirmed_by is not None else None,
            address=places.get(row.id),
            created_at=row.created_at,
            completed_at=row.completed_at,
        )
        for row in found
    }


def is_blind(row: cases.Case, every: int) -> bool:
    """Whether ``row`` is decided without the router's answer being shown. Never where help is to be called: there the
    agent needs everything that is known."""
    return row.confirmed_by is None and not row.emergency and cases.in_blind_sample(row.id, every)


def _category(row: cases.Case) -> dict[str, str] | None:
    if row.category_code is None:
        return None
    return {
        "standard": row.category_standard or "",
        "code": row.category_code,
        "kind": row.category_kind or "",
        "major": row.category_major or "",
        "minor": row.category_minor or "",
    }


def words_of(words: Any) -> tuple[tuple[str, float], ...]:
    """(text, confidence) of words as they are stored or sent, ``[{"text", "confidence", …}, …]``; () for none."""
    found = []
    for word in words if isinstance(words, list) else ():
        if isinstance(word, dict) and isinstance(word.get("text"), str):
            confidence = word.get("confidence")
            found.append((word["text"], float(confidence) if isinstance(confidence, int | float) else 1.0))
    return tuple(found)
