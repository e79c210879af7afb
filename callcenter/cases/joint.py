"""联合执法: a joint order calls several units to one place at one time, each with its duty, on one or several cases.

The command centre or the duty chief issues and ends it, each unit receipts it (SEED_FEATURES 003-08, 004-16). It is no
handling order: who leads a case and within what limit stays with ``acts``; a joint order neither moves a case's state
nor its version. Each step of it is a row in the log of every case it is about.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.masking import mask_text
from callcenter.cases.life import JointOrder, JointOrderCase
from callcenter.cases.lifecycle import OPEN, Actor, Post, Side
from callcenter.cases.model import Case, CaseCounter
from callcenter.cases.record import CaseError, CaseNotFound, append_log, locked, write_text
from callcenter.cases.responsibility import excluded_units
from callcenter.cases.sheets import MESSAGE_UNIT
from callcenter.cases.snapshots import sides_of
from callcenter.city.model import Unit
from callcenter.clock import local
from callcenter.jobs.store import add_job
from callcenter.storage.outbox import Refs, add_event
from callcenter.storage.rows import insert_into, insert_new

JOINT_ISSUED: Final = "case.joint_ordered"
JOINT_RECEIPTED: Final = "case.joint_receipted"
JOINT_ENDED: Final = "case.joint_ended"

FEWEST_UNITS: Final = 2
MOST_UNITS: Final = 16
MOST_CASES: Final = 20
LONGEST_PLACE: Final = 200
LONGEST_DUTY: Final = 400
LONGEST_TEXT: Final = 2_000
PAGE: Final = 200


class JointRefused(CaseError):
    """The joint order cannot be issued, receipted or ended so; the message says why and the mend."""


class JointNotAllowed(CaseError):
    """The actor's post, side or unit does not do this."""


class JointNotFound(CaseError):
    """There is no such joint order."""


class Duty(NamedTuple):
    """What one unit is to do. ``words`` name no person and no number: they are not erased with a case."""

    unit: UUID
    words: str


async def issue(
    session: AsyncSession,
    joint_id: UUID,
    *,
    actor: Actor,
    cases: Sequence[UUID],
    duties: Sequence[Duty],
    place: str,
    meet_at: datetime,
    at: datetime,
) -> tuple[JointOrder, bool]:
    """Call the units of ``duties`` to ``place`` at ``meet_at`` for ``cases``; each unit is told by a job.

    Idempotent by ``joint_id``: issued again, the first one is given back, and False. The cases are filed and open; no
    unit that is accused in one of them is called. Raises CaseNotFound, JointNotAllowed, JointRefused.
    """
    _commands(actor)
    wanted = _duties(duties)
    where = _words(place, "place", LONGEST_PLACE)
    if not 0 < len(set(cases)) == len(cases) <= MOST_CASES:
        raise JointRefused(f"{len(cases)} cases are named: 1 to {MOST_CASES}, each once")
    held = [await _held(session, case_id) for case_id in sorted(cases)]
    if (there := await session.get(JointOrder, joint_id)) is not None:
        return there, False  # also when the time to meet has come since
    if meet_at <= at:
        raise JointRefused(f"to meet at {meet_at.isoformat()} is not after {at.isoformat()}: choose a later time")
    for case in held:
        await _may_be_joined(session, case, actor, {UUID(one["unit"]) for one in wanted})
    await _check_units(session, [UUID(one["unit"]) for one in wanted])
    values = {
        "id": joint_id,
        "number": await _number(session, at),
        "place": where,
        "meet_at": meet_at,
        "by": actor.id,
        "issued_at": at,
        "ended_at": None,
        "duties": wanted,
    }
    if not await insert_new(session, JointOrder, values):  # the same key, at the same time, for other cases
        return await session.get_one(JointOrder, joint_id), False
    order = await session.get_one(JointOrder, joint_id)
    for case in held:
        session.add(JointOrderCase(joint_order_id=joint_id, case_id=case.id))
    await _log(session, order, held, actor, "joint_ordered", JOINT_ISSUED, at, units=[one["unit"] for one in wanted])
    for one in wanted:
        unit = UUID(one["unit"])
        refs: Refs = {"case": held[0].id, "unit": unit, "joint": joint_id, "template": "unit_joint"}
        await add_job(session, MESSAGE_UNIT, f"{MESSAGE_UNIT}:joint:{joint_id}:{unit}", refs, at=at)
    await session.flush()
    return order, True


async def receipt(session: AsyncSession, joint_id: UUID, *, actor: Actor, at: datetime) -> JointOrder:
    """The actor's unit has read the order; a second receipt changes nothing. Raises JointNotFound, JointNotAllowed,
    JointRefused (it has ended)."""
    order, cases = await _locked(session, joint_id)
    unit = str(actor.unit) if Post.UNIT in actor.posts else None
    mine = next((one for one in order.duties if one["unit"] == unit), None)
    if mine is None:
        raise JointNotAllowed(f"joint order {order.number} is receipted by the units it calls")
    if mine["receipted_at"] is not None:
        return order
    if order.ended_at is not None:
        raise JointRefused(f"joint order {order.number} ended at {order.ended_at.isoformat()}: nothing to receipt")
    # A new list: the column does not see a change within the old one.
    signed = {**mine, "receipted_at": at.isoformat(), "receipted_by": actor.id}
    order.duties = [signed if one is mine else one for one in order.duties]
    await _log(session, order, cases, actor, "joint_receipted", JOINT_RECEIPTED, at, units=[unit])
    await session.flush()
    return order


async def end(session: AsyncSession, joint_id: UUID, *, actor: Actor, at: datetime, result: str) -> JointOrder:
    """The joint action is over; ``result`` is kept with each case, erasable. Once. Raises JointNotFound,
    JointNotAllowed, JointRefused."""
    _commands(actor)
    words = result.strip()
    if not 0 < len(words) <= LONGEST_TEXT:
        raise JointRefused(f"the result has {len(words)} characters: 1 to {LONGEST_TEXT}")
    order, cases = await _locked(session, joint_id)
    if order.ended_at is not None:
        raise JointRefused(f"joint order {order.number} ended at {order.ended_at.isoformat()}")
    for case in cases:
        await _on_our_side(session, case, actor)
    order.ended_at = at
    texts = {case.id: await write_text(session, case, "result", actor.id, words, at) for case in cases}
    await _log(session, order, cases, actor, "joint_ended", JOINT_ENDED, at, texts=texts)
    await session.flush()
    return order


async def joint_order(session: AsyncSession, joint_id: UUID) -> tuple[JointOrder, list[Case]]:
    """A joint order and its cases, oldest first. Raises JointNotFound."""
    order = await session.get(JointOrder, joint_id)
    if order is None:
        raise JointNotFound(f"no joint order {joint_id}")
    return order, await _cases(session, joint_id)


async def joint_orders_of(session: AsyncSession, case_id: UUID) -> list[JointOrder]:
    """The joint orders that a case is in, oldest first."""
    query = select(JointOrder).join(JointOrderCase, JointOrderCase.joint_order_id == JointOrder.id)
    query = query.where(JointOrderCase.case_id == case_id).order_by(JointOrder.issued_at, JointOrder.number)
    return list(await session.scalars(query.limit(PAGE)))


def calls(order: JointOrder, unit: UUID) -> bool:
    """Whether the order calls this unit."""
    return any(one["unit"] == str(unit) for one in order.duties)


def _commands(actor: Actor) -> None:
    if not actor.posts & {Post.DISPATCHER, Post.DUTY_CHIEF}:
        raise JointNotAllowed("a joint order is issued and ended by the command centre or the duty chief")


async def _on_our_side(session: AsyncSession, case: Case, actor: Actor) -> None:
    # Command, as 派遣 is: who has filed or checked a case does not also command it.
    if others := await sides_of(session, case.id, actor.id, actor.posts) - {Side.COMMAND}:
        raise JointNotAllowed(f"you have acted on case {case.id} for {min(others)}: this is for somebody of command")


async def _may_be_joined(session: AsyncSession, case: Case, actor: Actor, units: set[UUID]) -> None:
    await _on_our_side(session, case, actor)
    if case.state not in OPEN or case.filed_at is None:
        raise JointRefused(f"case {case.id} is {case.state}: a joint order is about cases that are filed and open")
    if units & await excluded_units(session, case):
        raise JointRefused(f"case {case.id} complains about one of the units: leave that unit or that case out")


async def _check_units(session: AsyncSession, wanted: Sequence[UUID]) -> None:
    known = set(await session.scalars(select(Unit.id).where(Unit.id.in_(wanted), Unit.active.is_(True))))
    if missing := [unit for unit in wanted if unit not in known]:
        raise JointRefused(f"unit {missing[0]} is not there or not active: see the list of units")


def _duties(duties: Sequence[Duty]) -> list[dict[str, Any]]:
    if not FEWEST_UNITS <= len({one.unit for one in duties}) == len(duties) <= MOST_UNITS:
        raise JointRefused(f"{len(duties)} units are called: {FEWEST_UNITS} to {MOST_UNITS}, each once")
    return [
        {
            "unit": str(one.unit),
            "duty": _words(one.words, "duty", LONGEST_DUTY),
            "receipted_at": None,
            "receipted_by": None,
        }
        for one in duties
    ]


def _words(text: str, what: str, longest: int) -> str:
    words = " ".join(text.split())
    if not 0 < len(words) <= longest:
        raise JointRefused(f"the {what} has {len(words)} characters: 1 to {longest}")
    if mask_text(words) != words:
        # The value is not shown: it is what must not be here.
        raise JointRefused(f"the {what} holds a telephone or identity number: it is not erased, leave the number out")
    return words


async def _number(session: AsyncSession, at: datetime) -> str:
    """The next joint order's number of the day (Asia/Shanghai): ``LH202611230001``; counted in the caller's
    transaction in a row beside the cases' (``J261123``), so no number is given twice or lost."""
    day = local(at)
    counter = insert_into(session, CaseCounter).values(day=f"J{day:%y%m%d}", next=2)
    mine = CaseCounter.__table__.c
    taken = await session.scalar(
        counter.on_conflict_do_update(index_elements=[mine.day], set_={"next": mine.next + 1}).returning(mine.next - 1)
    )
    return f"LH{day:%Y%m%d}{taken:04d}"


async def _held(session: AsyncSession, case_id: UUID) -> Case:
    case = await locked(session, case_id)
    if case is None:
        raise CaseNotFound(f"no case {case_id}")
    return case


async def _cases(session: AsyncSession, joint_id: UUID) -> list[Case]:
    query = select(Case).join(JointOrderCase, JointOrderCase.case_id == Case.id)
    query = query.where(JointOrderCase.joint_order_id == joint_id)
    return list(await session.scalars(query.order_by(Case.created_at, Case.id)))


async def _locked(session: AsyncSession, joint_id: UUID) -> tuple[JointOrder, list[Case]]:
    """The order and its cases, locked: the cases first and by id, as ``issue`` has them."""
    keys = select(JointOrderCase.case_id).where(JointOrderCase.joint_order_id == joint_id)
    held = [await _held(session, key) for key in sorted(await session.scalars(keys))]
    order = await session.get(JointOrder, joint_id, with_for_update=True, populate_existing=True)
    if order is None:
        raise JointNotFound(f"no joint order {joint_id}")
    return order, held


async def _log(
    session: AsyncSession,
    order: JointOrder,
    cases: Sequence[Case],
    actor: Actor,
    action: str,
    event: str,
    at: datetime,
    *,
    units: Sequence[str | None] = (),
    texts: dict[UUID, UUID] | None = None,
) -> None:
    for case in cases:
        detail: dict[str, Any] = {"joint": str(order.id), "number": order.number}
        if units:
            detail["units"] = list(units)
        if texts is not None:
            detail["text"] = str(texts[case.id])
        await append_log(session, case, actor=actor.id, action=action, from_state=case.state, at=at, detail=detail)
        refs: Refs = {"joint": order.id, "version": case.version}
        if len(units) == 1 and units[0] is not None:
            refs["unit"] = UUID(units[0])
        add_event(session, event, at=at, call=case.call_id, case=case.id, refs=refs, feed=case.filed_at is not None)
