"""The life of a case: which step may be taken from where, by whom, with what. Pure: no clock, no store.

The states and steps are those of city systems after GB/T 30428.8 (filing, disposal, closing). Supervision (受理 核实
立案 核查 结案) is kept apart from command (派遣 退回 延期 挂账), and both from handling: nobody is on two sides of one
case. A step that is refused says why and what could be done instead.

``steps`` has the words (they are given here too), ``judges`` what decides each step.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from callcenter.cases import judges
from callcenter.cases.model import (
    CANCELLED,
    CHECKING,
    CLOSED,
    DRAFT,
    ENDED,
    HANDLING,
    NOT_ACCEPTED,
    PENDING_CHECK,
    PENDING_CLOSE,
    PENDING_DISPATCH,
    PENDING_FILING,
    PENDING_HANDLE,
    PENDING_VERIFY,
    REPORTED,
    STATES,
    SUSPENDED,
)
from callcenter.cases.steps import (
    DESIGNATE_FROM,
    DISPATCH_FIRST,
    EXEMPT,
    FAILED_CALLBACKS,
    LONG_SUSPENSION,
    MODES,
    MOST_EXTENSIONS,
    MOST_SUSPENSIONS,
    VERIFY_FIRST,
    Action,
    Actor,
    Given,
    Judge,
    Move,
    Post,
    Refused,
    Side,
    Snapshot,
    Step,
)

__all__ = [
    "DESIGNATE_FROM",
    "DISPATCH_FIRST",
    "EXEMPT",
    "FAILED_CALLBACKS",
    "LONG_SUSPENSION",
    "MODES",
    "MOST_EXTENSIONS",
    "MOST_SUSPENSIONS",
    "OPEN",
    "TABLE",
    "VERIFY_FIRST",
    "Action",
    "Actor",
    "Given",
    "Judge",
    "Move",
    "Post",
    "Refused",
    "Side",
    "Snapshot",
    "Step",
    "decide",
    "legal",
    "side_of",
]

OPEN: Final = frozenset(STATES) - ENDED - {DRAFT}
"""States of a case that somebody still has to do something about."""


def decide(case: Snapshot, action: Action, actor: Actor, given: Given, at: datetime) -> Move:
    """The move that ``action`` is for ``actor`` now. Raises Refused."""
    step = TABLE[action]
    reason = _why_not(step, case, actor)
    result = reason if reason is not None else step.judge(case, actor, given, at)
    if isinstance(result, str):
        raise Refused(action, case.state, result, tuple(one for one in legal(case, actor) if one is not action))
    return result


def legal(case: Snapshot, actor: Actor) -> tuple[Action, ...]:
    """The steps that ``actor`` could take now, given what each needs."""
    return tuple(action for action, step in TABLE.items() if _why_not(step, case, actor) is None)


def side_of(action: str) -> Side | None:
    """The side on which a logged action counts; None for one that is on none, or that is no step of a case."""
    try:
        return TABLE[Action(action)].side
    except ValueError:
        return _ACCEPTED.get(action)


def _why_not(step: Step, case: Snapshot, actor: Actor) -> str | None:
    if case.state not in step.states:
        return f"it is a step from {', '.join(sorted(step.states, key=STATES.index))}"
    if not actor.posts & step.posts:
        return f"it is for {', '.join(sorted(step.posts))}"
    if step.side is not None and (others := actor.sides - {step.side}):
        return f"you have acted on this case for {min(others)}, and {step.side} is somebody else's"
    return step.ready(case, actor)


# -- what makes sense now --------------------------------------------------------------------------------------------


def _is(disposition: str, why_not: str) -> Callable[[Snapshot, Actor], str | None]:
    return lambda case, actor: None if case.disposition == disposition else why_not


def _own(case: Snapshot, actor: Actor) -> str | None:
    return None if actor.unit is not None and actor.unit in case.orders else "your unit has no open order"


def _unsigned(case: Snapshot, actor: Actor) -> str | None:
    return _own(case, actor) or (None if actor.unit in case.unsigned else "your unit has signed for it")


def _signed(case: Snapshot, actor: Actor) -> str | None:
    return _own(case, actor) or ("your unit has not signed for it yet" if actor.unit in case.unsigned else None)


def _led(case: Snapshot, actor: Actor) -> str | None:
    return None if actor.unit is not None and actor.unit == case.lead else "your unit does not lead it"


def _asked(kind: str) -> Callable[[Snapshot, Actor], str | None]:
    return lambda case, actor: None if kind in case.asked else f"nobody has asked for a {kind}"


def _free(kind: str) -> Callable[[Snapshot, Actor], str | None]:
    return lambda case, actor: (
        _led(case, actor) or (f"a {kind} has been asked for and not been decided" if kind in case.asked else None)
    )


def _may_ask_verify(case: Snapshot, actor: Actor) -> str | None:
    if case.disposition != "case":
        return f"a {case.disposition} is not verified"
    if case.verified == "exists":
        return "it has been verified"
    return "somebody has been asked to look" if case.verifying else None


def _may_verify(case: Snapshot, actor: Actor) -> str | None:
    return None if case.verifying else "nobody has asked for it to be verified"


def _often_returned(case: Snapshot, actor: Actor) -> str | None:
    if case.returns >= DESIGNATE_FROM:
        return None
    return f"it was given back {case.returns} times, from {DESIGNATE_FROM} on the unit is designated"


def _not_stuck(case: Snapshot, actor: Actor) -> str | None:
    if case.returns < DESIGNATE_FROM:
        return None
    return f"it was given back {case.returns} times: the duty chief designates the unit"


def _may_resume(case: Snapshot, actor: Actor) -> str | None:
    return None if actor.posts & {Post.DISPATCHER, Post.SYSTEM} else _led(case, actor)


def _late(case: Snapshot, actor: Actor) -> str | None:
    if case.appeal is not None:
        return "there has been an appeal: one a case"
    return None if actor.unit in case.late else "your unit missed no limit of it"


def _appeal_is(stage: str) -> Callable[[Snapshot, Actor], str | None]:
    return lambda case, actor: None if case.appeal == stage else "no appeal waits for this decision"


# -- the table -------------------------------------------------------------------------------------------------------

_WITH_UNIT: Final = frozenset({PENDING_HANDLE, HANDLING})
_FILED: Final = OPEN - {REPORTED, PENDING_VERIFY, PENDING_FILING}

_AGENT, _CHIEF, _SYSTEM = Post.AGENT, Post.DUTY_CHIEF, Post.SYSTEM
_COLLECTOR, _DISPATCHER, _UNIT = Post.COLLECTOR, Post.DISPATCHER, Post.UNIT


def _step(
    states: frozenset[str] | set[str],
    posts: set[Post],
    side: Side | None,
    judge: Judge,
    ready: Callable[[Snapshot, Actor], str | None] | None = None,
) -> Step:
    return Step(frozenset(states), frozenset(posts), side, judge, ready or (lambda case, actor: None))


_WATCH, _COMMAND, _HANDLE = Side.SUPERVISION, Side.COMMAND, Side.HANDLING
TABLE: Final[Mapping[Action, Step]] = MappingProxyType(
    {
        Action.ANSWER: _step(
            {REPORTED},
            {_AGENT, _CHIEF},
            _WATCH,
            judges.answer,
            _is("question", "only a question is answered; a matter is handled"),
        ),
        Action.ASK_VERIFY: _step(
            {REPORTED, PENDING_FILING, PENDING_DISPATCH, *_WITH_UNIT},
            {_AGENT, _CHIEF, _SYSTEM},
            _WATCH,
            judges.ask_verify,
            _may_ask_verify,
        ),
        Action.VERIFY: _step(
            {REPORTED, PENDING_VERIFY, PENDING_FILING, PENDING_DISPATCH, *_WITH_UNIT, SUSPENDED},
            {_COLLECTOR},
            _WATCH,
            judges.verify,
            _may_verify,
        ),
        Action.FILE: _step(
            {REPORTED, PENDING_FILING},
            {_AGENT, _CHIEF, _SYSTEM},
            _WATCH,
            judges.file,
            _is("case", "a question is not filed, it is answered"),
        ),
        Action.REFUSE: _step({REPORTED, PENDING_FILING}, {_CHIEF}, _WATCH, judges.end("not_accepted", NOT_ACCEPTED)),
        Action.CANCEL: _step(
            {REPORTED, PENDING_VERIFY, PENDING_FILING, PENDING_DISPATCH},
            {_CHIEF},
            _WATCH,
            judges.end("cancelled", CANCELLED),
        ),
        Action.SELF_HANDLE: _step({REPORTED, PENDING_VERIFY}, {_COLLECTOR}, _WATCH, judges.self_handle),
        Action.HAND_OVER: _step({REPORTED, PENDING_FILING}, {_AGENT, _CHIEF}, _WATCH, judges.hand_over),
        Action.DISPATCH: _step({PENDING_DISPATCH}, {_DISPATCHER, _SYSTEM}, _COMMAND, judges.dispatch, _not_stuck),
        Action.DESIGNATE: _step({PENDING_DISPATCH}, {_CHIEF}, _COMMAND, judges.dispatch, _often_returned),
        Action.RETURN_TO_FILING: _step({PENDING_DISPATCH}, {_DISPATCHER}, _COMMAND, judges.return_to_filing),
        Action.SIGN: _step(_WITH_UNIT, {_UNIT}, _HANDLE, judges.sign, _unsigned),
        Action.ASSIGN: _step({HANDLING}, {_UNIT}, _HANDLE, judges.assign, _signed),
        Action.ASK_RETURN: _step(_WITH_UNIT, {_UNIT}, _HANDLE, judges.ask_return, _free("return")),
        Action.GRANT_RETURN: _step(_WITH_UNIT, {_DISPATCHER}, _COMMAND, judges.grant_return, _asked("return")),
        Action.DENY_RETURN: _step(_WITH_UNIT, {_DISPATCHER}, _COMMAND, judges.deny, _asked("return")),
        Action.ASK_EXTENSION: _step({HANDLING}, {_UNIT}, _HANDLE, judges.ask_extension, _free("extension")),
        Action.GRANT_EXTENSION: _step({HANDLING}, {_DISPATCHER}, _COMMAND, judges.grant_extension, _asked("extension")),
        Action.DENY_EXTENSION: _step({HANDLING}, {_DISPATCHER}, _COMMAND, judges.deny, _asked("extension")),
        Action.ASK_SUSPENSION: _step({HANDLING}, {_UNIT}, _HANDLE, judges.ask_suspension, _free("suspension")),
        Action.GRANT_SUSPENSION: _step(
            {HANDLING}, {_DISPATCHER, _CHIEF}, _COMMAND, judges.grant_suspension, _asked("suspension")
        ),
        Action.DENY_SUSPENSION: _step({HANDLING}, {_DISPATCHER, _CHIEF}, _COMMAND, judges.deny, _asked("suspension")),
        Action.RESUME: _step({SUSPENDED}, {_DISPATCHER, _UNIT, _SYSTEM}, None, judges.resume, _may_resume),
        Action.REPORT_DONE: _step({HANDLING}, {_UNIT}, _HANDLE, judges.report_done, _signed),
        Action.ASK_CHECK: _step({PENDING_CHECK}, {_AGENT, _CHIEF, _SYSTEM}, _WATCH, judges.ask_check),
        Action.CHECK: _step({CHECKING}, {_COLLECTOR, _AGENT}, _WATCH, judges.check),
        Action.CALL_BACK: _step({PENDING_CLOSE}, {_AGENT, _CHIEF}, _WATCH, judges.call_back),
        Action.CLOSE: _step({PENDING_CLOSE}, {_CHIEF}, _WATCH, judges.close),
        Action.FORCE_CLOSE: _step(_FILED, {_CHIEF}, _WATCH, judges.force_close),
        Action.REOPEN: _step({PENDING_CLOSE}, {_AGENT, _CHIEF}, _WATCH, judges.reopen),
        Action.APPEAL: _step({CLOSED}, {_UNIT}, _HANDLE, judges.appeal, _late),
        Action.JUDGE_APPEAL: _step({CLOSED}, {_DISPATCHER}, _COMMAND, judges.judge_appeal, _appeal_is("asked")),
        Action.CONFIRM_APPEAL: _step({CLOSED}, {_AGENT, _CHIEF}, _WATCH, judges.confirm_appeal, _appeal_is("judged")),
    }
)
"""Sheets, notes, links, lamps and words added leave the state as it is and are not here."""

_ACCEPTED: Final[Mapping[str, Side]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("registered", "amended", "confirmed", "corrected", "filed", "adjudicated", "split", "item_chosen"),
            Side.SUPERVISION,
        ),
        **dict.fromkeys(("item_commanded", "joint_ordered", "joint_ended"), Side.COMMAND),
    }
)
"""What else is logged of taking a case in, and of choosing its rule: on whose side it counts."""
