"""Which rule of the responsibility lists a case is filed and handled by, where a person has seen which one it is.

Of several rules that apply the machine takes the strictest (``responsibility``); whoever knows the place chooses the
one that is right. A filed case keeps its rule (docs/responsibility.md): afterwards one is chosen only where there is
none.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.lifecycle import Actor, Post, Side
from callcenter.cases.model import PENDING_DISPATCH, PENDING_FILING, PENDING_VERIFY, REPORTED, Case
from callcenter.cases.record import CaseError, CaseNotFound, Conflict, append_log, changes_since, locked
from callcenter.cases.responsibility import applicable
from callcenter.cases.snapshots import sides_of
from callcenter.storage.outbox import Refs, add_event

ITEM_CHOSEN: Final = "case.item_chosen"

BEFORE_FILING: Final = frozenset({REPORTED, PENDING_VERIFY, PENDING_FILING})
FILERS: Final = frozenset({Post.AGENT, Post.DUTY_CHIEF})


class ItemRefused(CaseError):
    """The case cannot be handled by that rule, or no rule is chosen for it now; the message says why and the mend."""


class NotYours(CaseError):
    """The actor's post does not choose now, or they act on another side of the case."""


async def choose_item(
    session: AsyncSession, case_id: UUID, item_id: UUID, *, actor: Actor, expected_version: int, at: datetime
) -> Case:
    """Let a case be filed and handled by one of the rules that apply to it.

    Before filing by agents and duty chiefs, as often as they see something else; before dispatch by dispatchers, and
    only where the case has none. Logged as ``item_chosen`` (before dispatch ``item_commanded``: it counts as command).
    Raises CaseNotFound, Conflict, NotYours, ItemRefused.
    """
    case = await locked(session, case_id)
    if case is None:
        raise CaseNotFound(f"no case {case_id}")
    if case.version != expected_version:
        changes = await changes_since(session, case_id, expected_version)
        raise Conflict(case_id, expected_version, case.version, changes)
    action, side = _step(case, actor)
    if others := await sides_of(session, case_id, actor.id, actor.posts) - {side}:
        raise NotYours(f"you have acted on case {case_id} for {min(others)}: this is for somebody of {side}")
    if case.disposition != "case" or case.category_code is None:
        raise ItemRefused(f"case {case_id} is a {case.disposition} or has no category yet: confirm one, then choose")
    rule = next((one for one in await applicable(session, case, at=at) if one.id == item_id), None)
    if rule is None:
        raise ItemRefused(f"item {item_id} does not apply to case {case_id}: choose one of those that do")
    detail: dict[str, Any] = {"item": str(item_id), "from": str(case.item_id) if case.item_id is not None else None}
    case.item_id, case.line, case.level = item_id, rule.line, rule.level
    case.version += 1
    await append_log(session, case, actor=actor.id, action=action, from_state=case.state, at=at, detail=detail)
    refs: Refs = {"item": item_id, "version": case.version}
    add_event(session, ITEM_CHOSEN, at=at, call=case.call_id, case=case.id, refs=refs)
    await session.flush()
    return case


def _step(case: Case, actor: Actor) -> tuple[str, Side]:
    """The log's word for choosing now, and the side it is on. Raises NotYours, ItemRefused."""
    if case.state in BEFORE_FILING:
        if not actor.posts & FILERS:
            raise NotYours("before filing the item is chosen by agents and duty chiefs")
        return "item_chosen", Side.SUPERVISION
    if case.state != PENDING_DISPATCH:
        raise ItemRefused(f"case {case.id} is {case.state}: the item is chosen before a unit has the case")
    if Post.DISPATCHER not in actor.posts:
        raise NotYours("before dispatch the item is chosen by dispatchers")
    if case.item_id is not None:
        raise ItemRefused(f"case {case.id} was filed by item {case.item_id} and keeps it: return it to filing instead")
    return "item_commanded", Side.COMMAND
