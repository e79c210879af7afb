"""Cases that belong together: one report split into two, a duplicate merged into the case that was there first, and the
unsure adjudicated.

"井盖" is the urban system's matter, what came of its loss the social one's (SEED_FEATURES 000-20): one call, two cases,
each numbered and with a life of its own. What is decided here is supervision's, before a unit has the case.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import clocks, events
from callcenter.cases.acts import act
from callcenter.cases.calendar import load_calendar
from callcenter.cases.city_settings import CitySettings, in_force
from callcenter.cases.doing import Words
from callcenter.cases.intake import accept, file_if_allowed
from callcenter.cases.life import CITIZEN, CaseLink
from callcenter.cases.lifecycle import OPEN, Action, Actor, Post, Side
from callcenter.cases.milestones import CANCELLED
from callcenter.cases.model import (
    PENDING_DISPATCH,
    PENDING_FILING,
    PENDING_VERIFY,
    REPORTED,
    Case,
    CaseParticulars,
    lot,
)
from callcenter.cases.record import (
    CaseError,
    CaseNotFound,
    Conflict,
    append_log,
    changes_since,
    locked,
    next_number,
    write_text,
)
from callcenter.cases.repository import CategoryChoice, confirm_routing
from callcenter.cases.search_index import index_words
from callcenter.cases.snapshots import sides_of
from callcenter.messages.telling import tell
from callcenter.storage.outbox import Refs, add_event

SPLIT: Final = "split"
DUPLICATE: Final = "duplicate"
RECURRENCE: Final = "recurrence"
RELATED: Final = "related"
KINDS: Final = (SPLIT, DUPLICATE, RECURRENCE, RELATED)

DOMAINS: Final = ("urban", "social")

CASE_SPLIT: Final = "case.split"
CASE_ADJUDICATED: Final = "case.adjudicated"
CASE_MERGED: Final = "case.merged"

MERGED_TEMPLATE: Final = "duplicate"
"""What the reporter of a duplicate is sent."""

_WITHOUT_UNIT: Final = frozenset({REPORTED, PENDING_VERIFY, PENDING_FILING, PENDING_DISPATCH})
_LONGEST_TEXT: Final = 4_000


class LinkRefused(CaseError):
    """Cases cannot be linked, split or adjudicated so; the message says why and what to do instead."""


class NotYours(CaseError):
    """The actor's post does not do this, or they act on another side of the case."""


@dataclass(frozen=True, slots=True)
class Linked:
    """One link as seen from a case: the other case, and whether this one was there first."""

    link: CaseLink
    other: Case
    first: bool


async def split(
    session: AsyncSession,
    case_id: UUID,
    *,
    actor: Actor,
    domain: str,
    category: CategoryChoice | None,
    text: str,
    reason: str,
    expected_version: int,
    at: datetime,
    city: CitySettings | None = None,
) -> tuple[Case, Case]:
    """Make a second case of part of what was reported: ``text`` in ``domain``; gives the first and the second.

    The second has a number, limits, a log and erasable particulars of its own. It keeps source, call, place, secrecy,
    who is accused and how the reporter is reached (nothing once that was erased). With a ``category``, which the actor
    has then decided, it goes on by rule as a confirmed case does; without, it waits to be confirmed. The citizen's
    clock does not begin again: the second's runs since the first was completed.

    For agents and duty chiefs; once a unit has the first, for the duty chief only. Raises CaseNotFound, Conflict,
    NotYours, LinkRefused.
    """
    first = await _held(session, case_id, expected_version)
    await _supervises(session, first, actor)
    words = _needed(text, "text of the second part")
    why = _needed(reason, "reason")
    _check_domain(domain, category)
    if first.disposition != "case" or first.state not in OPEN:
        raise LinkRefused(f"case {case_id} is a {first.disposition} and {first.state}: only an open matter is split")
    if first.domain is None:
        raise LinkRefused(f"case {case_id} is of neither domain yet: adjudicate it first")
    if first.domain == domain:
        raise LinkRefused(f"case {case_id} is {domain} itself: the second part is of the other domain")
    if first.state not in _WITHOUT_UNIT and Post.DUTY_CHIEF not in actor.posts:
        raise LinkRefused(f"case {case_id} is with a unit ({first.state}): only the duty chief splits it now")

    second = await _second(session, first, actor, domain, category, words, at)
    link = await _link(session, first, second, SPLIT, actor, why, at)
    await append_log(
        session,
        second,
        actor=actor.id,
        action="registered",
        from_state=None,
        at=at,
        detail={"source": second.source, "code": second.category_code, "split_from": str(first.id)},
    )
    first.version += 1
    detail = {"other": str(second.id), "link": str(link.id), "reason": str(link.reason)}
    await append_log(session, first, actor=actor.id, action=SPLIT, from_state=first.state, at=at, detail=detail)
    refs: Refs = {"other": second.id, "version": first.version}
    add_event(session, CASE_SPLIT, at=at, call=first.call_id, case=first.id, refs=refs)
    add_event(session, events.REGISTERED, at=at, call=second.call_id, case=second.id, refs={"version": second.version})
    await session.flush()
    await index_words(session, second.id)
    city = city or in_force()
    calendar = await load_calendar(session, city)
    since = first.completed_at or first.created_at
    await clocks.start(session, second, CITIZEN, city.limit_of(CITIZEN), since, calendar=calendar)
    await accept(session, second, at, city)  # finds the citizen's running and leaves it
    await file_if_allowed(session, second, at, city)
    await session.flush()
    return first, second


async def adjudicate(
    session: AsyncSession,
    case_id: UUID,
    *,
    actor: Actor,
    domain: str,
    category: CategoryChoice | None,
    reason: str,
    expected_version: int,
    at: datetime,
) -> Case:
    """Decide what an unsure case (REPORTED, decision ``confirm``) is: its domain, and its category where it is known.

    The reason is kept as a CaseText, the step as the log row ``adjudicated``. With a category it is also a label, and
    the case goes on by rule (``repository.confirm_routing``); without one the case is of ``domain`` from now on, a
    category of the other domain is dropped, and it waits for one. For agents and duty chiefs. Raises CaseNotFound,
    Conflict, NotYours, LinkRefused.
    """
    case = await _held(session, case_id, expected_version)
    await _supervises(session, case, actor)
    why = _needed(reason, "reason")
    _check_domain(domain, category)
    if case.state != REPORTED or case.disposition != "case":
        raise LinkRefused(f"case {case_id} is a {case.disposition} and {case.state}: a reported matter is adjudicated")
    if case.decision != "confirm":
        raise LinkRefused(f"case {case_id} was decided by rule ({case.decision}): correct its category instead")
    before = case.domain, case.category_code
    text = await write_text(session, case, "reason", actor.id, why, at)
    if category is None:
        if case.domain != domain:
            case.category_standard = case.category_kind = case.category_code = None
            case.category_major = case.category_minor = None
        case.domain = domain
    case.version += 1
    detail = {
        "reason": str(text),
        "from_domain": before[0],
        "to_domain": domain,
        "from": before[1],
        "to": category.code if category is not None else case.category_code,
    }
    await append_log(session, case, actor=actor.id, action="adjudicated", from_state=case.state, at=at, detail=detail)
    refs: Refs = {"domain": domain, "version": case.version}
    add_event(session, CASE_ADJUDICATED, at=at, call=case.call_id, case=case.id, refs=refs)
    if category is not None:
        user = UUID(actor.id)
        await confirm_routing(session, case_id, user_id=user, choice=category, expected_version=case.version, at=at)
    await session.flush()
    return case


async def merge_duplicate(
    session: AsyncSession,
    newer_id: UUID,
    into_id: UUID,
    *,
    actor: Actor,
    reason: str,
    expected_version: int,
    at: datetime,
    city: CitySettings | None = None,
) -> Case:
    """Link ``newer_id`` as a 重复件 to the open case ``into_id`` and cancel it; gives the newer case.

    The newer's reporter is told in the same transaction, of their own case only; ``merged_into`` names them to whoever
    tells of the older case's end. ``expected_version`` is the newer's. Cancelling is the duty chief's and ends where a
    unit has the case (``lifecycle``). Raises CaseNotFound, Conflict, NotYours, LinkRefused, lifecycle.Refused.
    """
    if newer_id == into_id:
        raise LinkRefused(f"case {newer_id} is no duplicate of itself")
    # In one order, whichever way two people merge at once: neither waits for the other in a circle.
    held = {id: await locked(session, id) for id in sorted((newer_id, into_id))}
    newer, into = held[newer_id], held[into_id]
    if newer is None or into is None:
        raise CaseNotFound(f"no case {newer_id if newer is None else into_id}")
    why = _needed(reason, "reason")
    if into.state not in OPEN:
        raise LinkRefused(f"case {into_id} is {into.state}: a duplicate is merged into an open case")
    if (into.created_at, into.id.hex) > (newer.created_at, newer.id.hex):
        raise LinkRefused(f"case {into_id} is the newer: merge it into {newer_id}")
    await _supervises(session, into, actor)
    # In place of what the step would say: that the matter is cancelled.
    await tell(session, newer, MERGED_TEMPLATE, at=at, milestone=CANCELLED)
    newer = await act(
        session,
        newer_id,
        Action.CANCEL,
        actor=actor,
        words=Words(reason=why),
        expected_version=expected_version,
        at=at,
        city=city,
    )
    link = await _link(session, into, newer, DUPLICATE, actor, why, at)
    for case, other in ((newer, into), (into, newer)):
        detail = {"other": str(other.id), "link": str(link.id), "kind": DUPLICATE}
        await append_log(session, case, actor=actor.id, action="linked", from_state=case.state, at=at, detail=detail)
    refs: Refs = {"other": newer.id, "version": into.version}
    add_event(session, CASE_MERGED, at=at, call=into.call_id, case=into.id, refs=refs)
    await session.flush()
    return newer


async def links_of(session: AsyncSession, case_id: UUID) -> list[Linked]:
    """The cases that a case is linked to, oldest link first; without anybody's particulars. Who may see which of them
    is for the caller to decide."""
    rows = await session.execute(
        select(CaseLink, Case)
        .join(
            Case,
            or_(
                (CaseLink.case_id == case_id) & (Case.id == CaseLink.other_id),
                (CaseLink.other_id == case_id) & (Case.id == CaseLink.case_id),
            ),
        )
        .order_by(CaseLink.at, CaseLink.id)
    )
    return [Linked(link, other, first=link.case_id == case_id) for link, other in rows]


async def merged_into(session: AsyncSession, case_id: UUID) -> list[UUID]:
    """The duplicates merged into a case, and into those: whose reporters wait for its end. Oldest link first."""
    found: list[UUID] = []
    todo: Collection[UUID] = [case_id]
    while todo:
        query = select(CaseLink.other_id).where(CaseLink.case_id.in_(todo), CaseLink.kind == DUPLICATE)
        todo = [id for id in await session.scalars(query.order_by(CaseLink.at, CaseLink.id)) if id not in found]
        found += todo
    return found


async def _second(
    session: AsyncSession,
    first: Case,
    actor: Actor,
    domain: str,
    category: CategoryChoice | None,
    text: str,
    at: datetime,
) -> Case:
    known = await session.get_one(CaseParticulars, first.id)
    number = known.callback_number or known.reporter_number
    id = uuid4()
    second = Case(
        id=id,
        number=await next_number(session, at),
        call_id=first.call_id,
        source=first.source,
        state=REPORTED,
        disposition="case",
        domain=domain,
        category_standard=category.standard if category else None,
        category_code=category.code if category else None,
        category_kind=category.kind if category else None,
        category_major=category.major if category else None,
        category_minor=category.minor if category else None,
        decision="confirm",
        intent=first.intent,
        emergency=list(first.emergency),
        secrecy=first.secrecy,
        anonymous=first.anonymous,
        wants_reply=first.wants_reply and bool(number),
        happened_at=first.happened_at,
        urgency=first.urgency,
        area_id=first.area_id,
        lat=first.lat,
        lon=first.lon,
        # The thing, and so its owner, is the urban part's; who is accused may be by either.
        asset_owner_id=first.asset_owner_id if domain == "urban" else None,
        accused_unit_id=first.accused_unit_id,
        confirmed_by=UUID(actor.id) if category else None,
        version=1,
        created_at=at,
        completed_at=at,
        draw=lot(id),
    )
    session.add(second)
    await session.flush()
    session.add(
        CaseParticulars(
            case_id=id,
            text=text,
            address=known.address,
            reporter_number=known.reporter_number,
            reporter_name=known.reporter_name,
            callback_number=known.callback_number,
            accused=known.accused,
        )
    )
    await session.flush()
    return second


async def _link(
    session: AsyncSession, first: Case, second: Case, kind: str, actor: Actor, reason: str, at: datetime
) -> CaseLink:
    text = await write_text(session, first, "reason", actor.id, reason, at)
    link = CaseLink(id=uuid4(), case_id=first.id, other_id=second.id, kind=kind, by=actor.id, at=at, reason=text)
    session.add(link)
    await session.flush()
    return link


async def _held(session: AsyncSession, case_id: UUID, expected_version: int) -> Case:
    case = await locked(session, case_id)
    if case is None:
        raise CaseNotFound(f"no case {case_id}")
    if case.version != expected_version:
        changes = await changes_since(session, case_id, expected_version)
        raise Conflict(case_id, expected_version, case.version, changes)
    return case


async def _supervises(session: AsyncSession, case: Case, actor: Actor) -> None:
    if not actor.posts & {Post.AGENT, Post.DUTY_CHIEF}:
        raise NotYours("cases are split, merged and adjudicated by agents and duty chiefs")
    others = await sides_of(session, case.id, actor.id, actor.posts) - {Side.SUPERVISION}
    if others:
        raise NotYours(f"you have acted on case {case.id} for {min(others)}: this is for somebody of supervision")


def _needed(text: str, what: str) -> str:
    words = text.strip()
    if not 0 < len(words) <= _LONGEST_TEXT:
        raise LinkRefused(f"the {what} has {len(words)} characters: 1 to {_LONGEST_TEXT}")
    return words


def _check_domain(domain: str, category: CategoryChoice | None) -> None:
    if domain not in DOMAINS:
        raise LinkRefused(f"domain {domain!r:.24} is none of {', '.join(DOMAINS)}")
    if category is not None and category.domain != domain:
        raise LinkRefused(f"category {category.code} is {category.domain}, not {domain}: choose one of that domain")
