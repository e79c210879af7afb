"""The one door that changes a numbered case: a step is decided by ``lifecycle`` and carried out in one transaction.

Locks the case, checks the version that the actor saw, decides, and writes together: the state and counters, orders,
requests and checks (``act_effects``), limits (``act_limits``), texts, the log row, the event, the jobs.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.model import User
from callcenter.access.permissions import posts_of
from callcenter.cases import events
from callcenter.cases.act_effects import EFFECTS, Doing, Words
from callcenter.cases.act_limits import end_limits, start_limits
from callcenter.cases.calendar import load_calendar
from callcenter.cases.city_settings import CitySettings, in_force
from callcenter.cases.lamps import light
from callcenter.cases.life import LEAD, PoliceHandover
from callcenter.cases.lifecycle import Action, Actor, Given, Post, Refused, decide, legal
from callcenter.cases.lists import KnowledgeArticle
from callcenter.cases.milestones import tell_step
from callcenter.cases.model import ENDED, PENDING_FILING, PENDING_HANDLE, REPORTED, SUSPENDED, SYSTEM, Case
from callcenter.cases.police_results import owe
from callcenter.cases.record import CaseNotFound, Conflict, append_log, changes_since, locked, write_text
from callcenter.cases.responsibility import find, name_accused, verification
from callcenter.cases.snapshots import new_pictures, open_orders, sides_of, snapshot_of
from callcenter.city.model import Unit
from callcenter.clock import local, now
from callcenter.jobs.model import Job
from callcenter.storage.base import Base
from callcenter.storage.engine import Database
from callcenter.storage.outbox import Refs, add_event

MACHINE: Final = Actor(SYSTEM, frozenset({Post.SYSTEM}))
"""Who acts when a rule does; such log rows name the rule."""
NO_WORDS: Final = Words()
NOTHING_GIVEN: Final = Given()

SUSPENSION_OVER: Final = "suspension.over"

_FINDS: Final = frozenset({Action.FILE, Action.SELF_HANDLE, Action.DISPATCH, Action.DESIGNATE, Action.CHECK})
"""Steps that need to know whose the case is, or within what limit."""
_TEXTS: Final[Mapping[Action, str]] = {
    Action.ANSWER: "answer",
    Action.SELF_HANDLE: "result",
    Action.REPORT_DONE: "result",
    Action.CALL_BACK: "reply",
}
"""Kinds of CaseText; any other step's is an opinion."""
_PROVEN: Final = frozenset({Action.REPORT_DONE, Action.SELF_HANDLE})
"""Steps that need a new picture."""


async def act(
    session: AsyncSession,
    case_id: UUID,
    action: Action,
    *,
    actor: Actor,
    given: Given = NOTHING_GIVEN,
    expected_version: int | None,
    at: datetime,
    city: CitySettings | None = None,
    words: Words = NO_WORDS,
    rule: str | None = None,
) -> Case:
    """Take one step of a case, in the caller's transaction.

    ``expected_version``: the one the actor decided on; None, for the machine only: whatever it is now. ``given`` holds
    the codes, ``words`` the texts. Whether there is a reason, a text, a new picture is read from ``words`` and from the
    store; what ``given`` says of it does not count. ``rule``: under which the machine acts. Raises CaseNotFound,
    Conflict (which tells what changed and by whom), lifecycle.Refused; ValueError when a person gives no version.
    """
    case = await locked(session, case_id)
    if case is None:
        raise CaseNotFound(f"no case {case_id}")
    if expected_version is None and Post.SYSTEM not in actor.posts:
        raise ValueError(f"{action} on case {case_id}: a person says which version they decided on")
    if expected_version is not None and case.version != expected_version:
        changes = await changes_since(session, case_id, expected_version)
        raise Conflict(case_id, expected_version, case.version, changes)
    return await take(session, case, action, actor=actor, given=given, words=words, at=at, city=city, rule=rule)


async def take(
    session: AsyncSession,
    case: Case,
    action: Action,
    *,
    actor: Actor,
    given: Given = NOTHING_GIVEN,
    words: Words = NO_WORDS,
    at: datetime,
    city: CitySettings | None = None,
    rule: str | None = None,
    logged_as: str | None = None,
) -> Case:
    """``act`` on a case that the caller holds locked, at whatever version it is. ``logged_as``: the log's word for the
    step where it is another than the step's own. Raises Refused."""
    city = city or in_force()
    calendar = await load_calendar(session, city)
    if case.verification is None and case.state in (REPORTED, PENDING_FILING) and case.disposition == "case":
        case.verification = await verification(session, case)
    if action in _FINDS:
        await name_accused(session, case)
    finding = await find(session, case, at=at, calendar=calendar) if action in _FINDS else None
    present = await snapshot_of(
        session, case, calendar=calendar, city=city, excluded=finding.excluded if finding is not None else ()
    )
    if action is Action.SELF_HANDLE and finding is not None:
        present = replace(present, level=finding.level)
    actor = replace(actor, sides=await sides_of(session, case.id, actor.id, actor.posts))
    orders = await open_orders(session, case.id) if actor.unit is not None else []
    own = next((order for order in orders if order.unit_id == actor.unit), None)
    since = own.issued_at if own is not None else case.created_at
    given = replace(
        given,
        reason=bool(words.reason.strip()),
        text=bool(words.text.strip()),
        knowledge=words.knowledge is not None,
        police_number=bool(words.police_number.strip()),
        evidence_after=bool(await new_pictures(session, case, since)) if action in _PROVEN else False,
    )
    move = decide(present, action, actor, given, at)
    if (wrong := await _wrong(session, action, actor, given, words, at)) is not None:
        raise Refused(action, case.state, wrong, tuple(one for one in legal(present, actor) if one is not action))

    doing = Doing(
        session=session,
        case=case,
        action=action,
        actor=actor,
        given=given,
        words=words,
        move=move,
        at=at,
        city=city,
        calendar=calendar,
        rule=rule,
        finding=finding,
        own=own,
    )
    if given.reason:
        doing.reason = await write_text(session, case, "reason", actor.id, words.reason.strip(), at)
        doing.detail["reason"] = str(doing.reason)
    if given.text:
        kind = _TEXTS.get(action, "opinion")
        doing.text = await write_text(session, case, kind, actor.id, words.text.strip(), at)
        doing.detail["text"] = str(doing.text)
    await light(session, [case.id], at)  # what came due since the last sweep, before its limit ends
    await end_limits(doing)
    await EFFECTS[action](doing)
    await start_limits(doing)

    before = case.state
    case.state = move.to_state
    case.version += 1
    if move.outcome is not None:
        case.outcome = move.outcome
    if case.state in ENDED:
        case.closed_at = at if case.closed_at is None else case.closed_at
        await owe(session, case, at)
    await append_log(
        session,
        case,
        actor=actor.id,
        action=logged_as or action.value,
        from_state=before,
        at=at,
        rule=doing.rule,
        detail=doing.detail,
    )
    _tell(doing)
    await session.flush()
    await tell_step(doing)
    return case


async def legal_now(
    session: AsyncSession, case: Case, actor: Actor, *, city: CitySettings | None = None
) -> tuple[Action, ...]:
    """The steps open to ``actor`` now, in the table's order; reads only."""
    city = city or in_force()
    calendar = await load_calendar(session, city)
    present = await snapshot_of(session, case, calendar=calendar, city=city)
    return legal(present, replace(actor, sides=await sides_of(session, case.id, actor.id, actor.posts)))


async def resume_suspended(
    session: AsyncSession, case_id: UUID, at: datetime, city: CitySettings | None = None
) -> bool:
    """The time of a suspension is over: the case goes on. Tells whether there was one to end: doing it twice, or on a
    case that somebody resumed before, changes nothing."""
    case = await locked(session, case_id)
    if case is None or case.state != SUSPENDED:
        return False
    await take(session, case, Action.RESUME, actor=MACHINE, at=at, city=city, rule=SUSPENSION_OVER)
    return True


async def resume_job(db: Database, job: Job) -> None:
    """Handler of the job ``act_effects.RESUME``."""
    async with db.begin() as session:
        await resume_suspended(session, UUID(str(job.refs["case"])), max(now(), job.run_at))


async def person(session: AsyncSession, user_id: UUID, posts: frozenset[Post]) -> Actor:
    """The Actor that a user is, with the unit they belong to."""
    unit = await session.scalar(select(User.unit_id).where(User.id == user_id))
    return Actor(str(user_id), posts, unit if Post.UNIT in posts else None)


async def _wrong(
    session: AsyncSession, action: Action, actor: Actor, given: Given, words: Words, at: datetime
) -> str | None:
    """What is wrong with the units, people, articles and numbers that a step names; None: nothing."""
    if action in (Action.DISPATCH, Action.DESIGNATE):
        wanted = {given.unit, *given.assisting} - {None}
        known = set(await session.scalars(select(Unit.id).where(Unit.id.in_(wanted), Unit.active.is_(True))))
        if wanted - known:
            return "there is no active unit with that id: see the list of units"
    if action is Action.ASSIGN and given.handler is not None:
        handler = await session.get(User, given.handler)
        if handler is None or handler.disabled or handler.unit_id != actor.unit:
            return "the handler is nobody of your unit"
    if words.collector is not None:
        collector = await session.get(User, words.collector)
        if collector is None or collector.disabled or Post.COLLECTOR not in posts_of(collector.roles):
            return "who is asked to look is no collector"
    if words.call is not None:
        calls = Base.metadata.tables["calls"]  # by its name: cases know no telephones
        if await session.scalar(select(calls.c.id).where(calls.c.id == words.call)) is None:
            return "there is no call with that id"
    if action is Action.ANSWER and words.knowledge is not None:
        article = await session.get(KnowledgeArticle, words.knowledge)
        if article is None or article.withdrawn_at is not None:
            return "there is no such article in the knowledge base, or it was withdrawn"
        if article.review_by < local(at).date():
            return "that article is past its review date: have it reviewed, or write the answer"
    if action is Action.HAND_OVER:
        taken = select(PoliceHandover.id).where(
            PoliceHandover.direction == "out", PoliceHandover.police_number == words.police_number.strip()
        )
        if await session.scalar(taken) is not None:
            return "another case was handed over under that police number"
    return None


def _tell(doing: Doing) -> None:
    """One event a step; into the feed when its case is filed and whoever handles it must hear."""
    case, kind = doing.case, events.OF_STEP[doing.action]
    if doing.action is Action.REPORT_DONE and doing.own is not None and doing.own.part != LEAD:
        kind = events.PART_DONE
    if doing.action is Action.CHECK and case.state == PENDING_HANDLE:
        kind = events.REWORKED
    refs: Refs = {"version": case.version}
    for name in ("unit", "order", "request"):
        if (key := doing.detail.get(name)) is not None:
            refs[name] = UUID(key)
    for name in ("round", "result"):
        if (value := doing.detail.get(name)) is not None:
            refs[name] = value
    if doing.rule is not None:
        refs["rule"] = doing.rule
    if doing.move.outcome is not None:
        refs["outcome"] = doing.move.outcome
    feed = case.filed_at is not None and kind in events.FEED_KINDS
    add_event(doing.session, kind, at=doing.at, call=case.call_id, case=case.id, refs=refs, feed=feed)
