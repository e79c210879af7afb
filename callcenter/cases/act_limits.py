"""Which limits a step of a case starts, ends, pauses and resumes, as rows: the hands of ``lifecycle.Move``.

What each clock does is ``clocks``'; which limit a phase has is the city's (``city_settings``), that of handling the
responsibility list's.
"""

from collections.abc import Iterable
from typing import Final

from callcenter.cases import clocks
from callcenter.cases.act_effects import Doing
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.deadlines import Limit
from callcenter.cases.life import HANDLE, SIGN, CaseDeadline
from callcenter.cases.lifecycle import Action
from callcenter.cases.model import Case
from callcenter.city.model import UTILITY, Unit

CRITICAL: Final = "critical"
"""特急."""

_OF_ONE_ORDER: Final = frozenset({Action.SIGN, Action.REPORT_DONE})
"""Steps that end the limits of the order of whoever takes them, and no other's."""


def sign_limit(case: Case, unit: Unit, city: CitySettings) -> Limit:
    """Within what a unit must sign for an order: danger first, then who is there round the clock, then the others."""
    if case.emergency or case.urgency == CRITICAL:
        return city.sign_danger
    return city.sign_utility if unit.kind == UTILITY or unit.round_the_clock else city.sign


async def end_limits(doing: Doing) -> None:
    """Stop, withdraw, pause and resume what the move says; before the effects, which end the orders."""
    session, case, move, at = doing.session, doing.case, doing.move, doing.at
    order = doing.own if doing.action in _OF_ONE_ORDER else None
    if move.stop:
        ended = await clocks.stop(session, case, move.stop, at, order=order, calendar=doing.calendar)
        _note(doing, "met", ended)
    if move.withdraw:
        await clocks.withdraw(session, case, move.withdraw, at)
    if move.pause:
        await clocks.pause(session, case, move.pause, at, doing.calendar)
    if move.resume:
        await clocks.resume(session, case, move.resume, at, doing.calendar)


async def start_limits(doing: Doing) -> None:
    """Start what the move says; after the effects, which give the orders that limits of units belong to."""
    started = []
    for phase in doing.move.start:
        if phase not in (SIGN, HANDLE):
            started.append(await _start(doing, phase, doing.city.limit_of(phase)))
            continue
        for order in doing.issued:
            if phase == SIGN:
                limit = sign_limit(doing.case, await doing.session.get_one(Unit, order.unit_id), doing.city)
            elif doing.finding is not None:
                limit = doing.finding.limit
            else:
                raise LookupError(f"case {doing.case.id}: an order was given and nobody looked for its limit")
            deadline = await clocks.start(
                doing.session, doing.case, phase, limit, doing.at, calendar=doing.calendar, order=order
            )
            if order is doing.issued[0]:
                started.append(deadline)
    if started:
        doing.detail["due"] = {one.phase: one.due_at.isoformat() for one in started}


async def _start(doing: Doing, phase: str, limit: Limit) -> CaseDeadline:
    return await clocks.start(doing.session, doing.case, phase, limit, doing.at, calendar=doing.calendar)


def _note(doing: Doing, name: str, ended: Iterable[CaseDeadline]) -> None:
    """Whether limits were met, by phase; with several of one phase: whether all were."""
    found: dict[str, bool] = {}
    for deadline in ended:
        if deadline.met is not None:
            found[deadline.phase] = found.get(deadline.phase, True) and deadline.met
    if found:
        doing.detail[name] = found
