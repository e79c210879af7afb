"""The life of a case: which step may be taken from where, by whom, with what. Pure: no clock, no store.

The states and steps are those of city systems after GB/T 30428.8 (filing, disposal, closing). Supervision (受理 核实 立案
核查 结案) is kept apart from command (派遣 退回 延期 挂账): nobody does both on one case. A step that is refused says
why and what could be done instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from callcenter.cases.life import CHECK, CITIZEN, CLOSE, DISPATCH, FILE, HANDLE, PHASES, SIGN, VERIFY
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

VERIFY_FIRST: Final = "verify_first"
EXEMPT: Final = "exempt"
DISPATCH_FIRST: Final = "dispatch_first"
MODES: Final = (VERIFY_FIRST, EXEMPT, DISPATCH_FIRST)

MOST_EXTENSIONS: Final = 2
"""Each gives one more original limit: the rule of one city."""
MOST_SUSPENSIONS: Final = 1
"""The rule of the same city."""
LONG_SUSPENSION: Final = timedelta(days=30)
"""A longer one is granted by the supervision centre's duty chief, not by a dispatcher."""
DESIGNATE_FROM: Final = 3
"""Returns after which the duty chief names a unit that cannot give the case back."""
FAILED_CALLBACKS: Final = 3
"""Tries after which a citizen who cannot be reached no longer keeps a case open."""


class Action(StrEnum):
    """One step."""

    ANSWER = "answer"
    """直接答复: a question is answered and closed."""
    ASK_VERIFY = "ask_verify"
    VERIFY = "verify"
    FILE = "file"
    REFUSE = "refuse"
    """不予立案"""
    CANCEL = "cancel"
    """作废"""
    SELF_HANDLE = "self_handle"
    """A grid worker has dealt with a small matter on the spot."""
    HAND_OVER = "hand_over"
    """To the police (110)."""
    DISPATCH = "dispatch"
    DESIGNATE = "designate"
    """The duty chief names the unit after DESIGNATE_FROM returns."""
    RETURN_TO_FILING = "return_to_filing"
    SIGN = "sign"
    """签收"""
    ASSIGN = "assign"
    """The unit names who handles it."""
    ASK_RETURN = "ask_return"
    GRANT_RETURN = "grant_return"
    DENY_RETURN = "deny_return"
    ASK_EXTENSION = "ask_extension"
    GRANT_EXTENSION = "grant_extension"
    DENY_EXTENSION = "deny_extension"
    ASK_SUSPENSION = "ask_suspension"
    GRANT_SUSPENSION = "grant_suspension"
    DENY_SUSPENSION = "deny_suspension"
    RESUME = "resume"
    REPORT_DONE = "report_done"
    """反馈"""
    ASK_CHECK = "ask_check"
    CHECK = "check"
    CALL_BACK = "call_back"
    """回访"""
    CLOSE = "close"
    FORCE_CLOSE = "force_close"
    REOPEN = "reopen"
    """The citizen is not satisfied, or the closing condition is not met."""
    APPEAL = "appeal"
    """超时申诉"""
    JUDGE_APPEAL = "judge_appeal"
    CONFIRM_APPEAL = "confirm_appeal"


class Post(StrEnum):
    """What somebody does in the house, or from outside it."""

    AGENT = "agent"
    DUTY_CHIEF = "duty_chief"
    DISPATCHER = "dispatcher"
    COLLECTOR = "collector"
    UNIT = "unit"
    INSPECTOR = "inspector"
    LEADER = "leader"
    ANALYST = "analyst"
    MAINTAINER = "maintainer"
    VOLUNTEER = "volunteer"
    SYSTEM = "system"


class Side(StrEnum):
    """The two axes that are kept apart: who watches and who commands."""

    SUPERVISION = "supervision"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who takes a step. ``id``: a user's UUID, or ``system``; ``unit``: whose side a Post.UNIT speaks for; ``sides``:
    those on which they have acted on this case before.
    """

    id: str
    posts: frozenset[Post]
    unit: UUID | None = None
    sides: frozenset[Side] = frozenset()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What of a case decides its next step. Defaults are those of a case nobody has touched."""

    state: str
    disposition: str = "case"
    has_category: bool = False
    mode: str | None = None
    """verify_first, exempt or dispatch_first; None: not settled yet."""
    kind: str | None = None
    """part, event or social."""
    level: int | None = None
    source: str = "phone"
    verified: str | None = None
    """The last verification's result: exists, not_exists, cannot_tell; None: nobody has looked."""
    checked: bool = False
    """A check of the finished work has passed in this round."""
    lead: UUID | None = None
    """The unit whose lead order is open."""
    orders: frozenset[UUID] = frozenset()
    """All units with an open order."""
    signed: bool = False
    designated: bool = False
    """The open lead order was designated: it cannot be given back."""
    excluded: frozenset[UUID] = frozenset()
    """Units that must not get the order: the accused."""
    asked: frozenset[str] = frozenset()
    """Kinds of requests that wait for an answer: return, extension, suspension."""
    suspension_until: datetime | None = None
    """Of the suspension asked for."""
    return_by: datetime | None = None
    """Until when the open order may be given back as not this unit's."""
    returns: int = 0
    extensions: int = 0
    suspensions: int = 0
    reworks: int = 0
    wants_reply: bool = True
    called_back: int = 0
    """Tries to reach the citizen in this round."""
    satisfaction: str | None = None
    """The last answer: satisfied, basically, dissatisfied; None: none yet."""
    overtime: bool = False
    """Some unit's limit was missed."""
    appeal: str | None = None
    """None, asked, judged, ended."""
    appeal_judge: str | None = None
    """Who judged it first."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the actor gives. Texts are not here: whether there is one is what counts."""

    reason: bool = False
    text: bool = False
    """An answer, a result, an opinion."""
    knowledge: bool = False
    """The answer is an article of the knowledge base."""
    unit: UUID | None = None
    assisting: tuple[UUID, ...] = ()
    handler: UUID | None = None
    result: str | None = None
    """Of a verification or a check."""
    until: datetime | None = None
    evidence_after: bool = False
    """A new picture, taken after the order was given."""
    reached: bool | None = None
    satisfaction: str | None = None
    police_number: bool = False
    granted: bool | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """What a step does: the state it leads to, and which limits it starts, stops, withdraws, pauses or resumes."""

    to_state: str
    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    withdraw: tuple[str, ...] = ()
    pause: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    outcome: str | None = None
    """Set when the case ends by it."""


class Refused(Exception):
    """A step that cannot be taken. ``reason``: why; ``legal``: what this actor could do instead."""

    def __init__(self, action: Action, state: str, reason: str, legal: tuple[Action, ...]) -> None:
        instead = ", ".join(legal) or "nothing"
        super().__init__(f"{action} is refused while the case is {state}: {reason}. Open to you now: {instead}.")
        self.action, self.state, self.reason, self.legal = action, state, reason, legal


Judge = Callable[[Snapshot, Actor, Given, datetime], Move | str]
"""Gives the move, or why there is none."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the table: from which states, by which posts, on which side, and what else decides."""

    states: frozenset[str]
    posts: frozenset[Post]
    side: Side | None
    judge: Judge
    ready: Callable[[Snapshot, Actor], bool] = field(default=lambda case, actor: True)
    """Whether it makes sense now, before anything is given: what ``legal`` goes by."""


def decide(case: Snapshot, action: Action, actor: Actor, given: Given, at: datetime) -> Move:
    """The move that ``action`` is for ``actor`` now. Raises Refused."""
    step = TABLE[action]
    reason: str | None = None
    if case.state not in step.states:
        reason = f"it is a step from {', '.join(sorted(step.states, key=STATES.index))}"
    elif not actor.posts & step.posts:
        reason = f"it is for {', '.join(sorted(step.posts))}"
    elif step.side is not None and actor.sides - {step.side}:
        other = next(iter(actor.sides - {step.side}))
        reason = f"you have acted on this case for {other}, and {step.side} is somebody else's"
    elif not step.ready(case, actor):
        reason = "it is not open now"
    result = reason if reason is not None else step.judge(case, actor, given, at)
    if isinstance(result, str):
        raise Refused(action, case.state, result, tuple(one for one in legal(case, actor) if one is not action))
    return result


def legal(case: Snapshot, actor: Actor) -> tuple[Action, ...]:
    """The steps that ``actor`` could take now, given what each needs."""
    return tuple(
        action
        for action, step in TABLE.items()
        if case.state in step.states
        and actor.posts & step.posts
        and not (step.side is not None and actor.sides - {step.side})
        and step.ready(case, actor)
    )


def side_of(action: str) -> Side | None:
    """The side on which a logged action counts; None for one on neither, or that is no step of this table."""
    try:
        return TABLE[Action(action)].side
    except ValueError:
        return None


# -- the judges ------------------------------------------------------------------------------------------------------

OF_UNITS: Final = (SIGN, HANDLE)
"""Limits of the units; the others are the house's and the citizen's."""


def _needs_reason(given: Given) -> str | None:
    return None if given.reason else "a reason is needed"


def _answer(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if case.disposition != "question":
        return "only a question is answered; a matter is handled"
    if not (given.text or given.knowledge):
        return "the answer is needed, or the article of the knowledge base that gives it"
    return Move(CLOSED, stop=(FILE, CITIZEN), withdraw=PHASES, outcome="answered")


def _ask_verify(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if case.state == REPORTED and case.mode != DISPATCH_FIRST:
        return Move(PENDING_VERIFY, start=(VERIFY,))
    return Move(case.state, start=(VERIFY,))  # 先派后核: looked at while it goes its way


RESULTS: Final = ("exists", "not_exists", "cannot_tell")


def _verify(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if given.result not in RESULTS:
        return f"result {given.result!r} is none of {', '.join(RESULTS)}"
    if case.state == PENDING_VERIFY:
        return Move(PENDING_FILING, start=(FILE,), stop=(VERIFY,))
    return Move(case.state, stop=(VERIFY,))


def _file(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if case.disposition != "case":
        return f"a {case.disposition} is not filed"
    if not case.has_category:
        return "it has no category: choose one"
    if case.mode is None:
        return "whether it is verified first is not settled"
    if case.mode == VERIFY_FIRST and case.verified is None:
        return "it is verified first (先核后立): ask for it"
    if case.verified == "not_exists":
        return "who looked found nothing: refuse it, or have it verified again"
    if case.verified == "cannot_tell" and Post.DUTY_CHIEF not in actor.posts:
        return "who looked could not tell: the duty chief decides"
    start = (DISPATCH, VERIFY) if case.mode == DISPATCH_FIRST and case.verified is None else (DISPATCH,)
    return Move(PENDING_DISPATCH, start=start, stop=(FILE,))


def _end(outcome: str, state: str) -> Judge:
    def judge(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
        return _needs_reason(given) or Move(state, withdraw=PHASES, outcome=outcome)

    return judge


def _self_handle(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if not case.has_category:
        return "it has no category: choose one"
    if case.level != 1:
        return "only a small matter (level 1) is handled on the spot"
    if not given.evidence_after:
        return "a picture of the place afterwards is needed"
    return Move(CLOSED, stop=(FILE, CITIZEN), withdraw=PHASES, outcome="solved")


def _hand_over(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if not given.police_number:
        return "the number under which the police have it is needed"
    return Move(CLOSED, stop=(FILE, CITIZEN), withdraw=PHASES, outcome="handed_over")


def _dispatch(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if given.unit is None:
        return "the unit that leads is needed"
    wanted = (given.unit, *given.assisting)
    if len(set(wanted)) != len(wanted):
        return "a unit is named twice"
    if case.excluded & set(wanted):
        return "a unit that is complained about does not get the complaint"
    return Move(PENDING_HANDLE, start=OF_UNITS, stop=(DISPATCH,))


def _return_to_filing(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return _needs_reason(given) or Move(PENDING_FILING, start=(FILE,), withdraw=(DISPATCH,))


def _sign(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return Move(HANDLING if actor.unit == case.lead else case.state, stop=(SIGN,))


def _assign(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return Move(case.state) if given.handler is not None else "the person who handles it is needed"


def _ask_return(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if case.designated:
        return "the duty chief has designated the unit: it stays"
    if case.return_by is not None and at > case.return_by:
        return f"it could be given back until {case.return_by.isoformat(timespec='minutes')}"
    return _needs_reason(given) or Move(case.state)


def _ask_extension(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if case.extensions >= MOST_EXTENSIONS:
        return f"it has been extended {case.extensions} times, {MOST_EXTENSIONS} is the most"
    return _needs_reason(given) or Move(case.state)


def _ask_suspension(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if case.suspensions >= MOST_SUSPENSIONS:
        return f"it has been suspended {case.suspensions} times, {MOST_SUSPENSIONS} is the most"
    if given.until is None or given.until <= at:
        return "until when is needed, and it must lie ahead"
    return _needs_reason(given) or Move(case.state)


def _grant_return(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return Move(PENDING_DISPATCH, start=(DISPATCH,), withdraw=OF_UNITS)


def _grant_extension(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return Move(case.state)


def _grant_suspension(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    until = case.suspension_until
    if until is None or until <= at:
        return "the time it was asked for is over: deny it"
    if until - at > LONG_SUSPENSION and Post.DUTY_CHIEF not in actor.posts:
        return f"longer than {LONG_SUSPENSION.days} days is for the duty chief to grant"
    return Move(SUSPENDED, pause=(HANDLE,))


def _deny(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return _needs_reason(given) or Move(case.state)


def _resume(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return Move(HANDLING, resume=(HANDLE,))


def _report_done(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if not given.text:
        return "what was done is needed"
    if case.kind in ("part", "event") and not given.evidence_after:
        return "a new picture, taken after the order was given, is needed"
    if actor.unit != case.lead:
        return Move(case.state)  # an assisting unit has done its part
    return Move(PENDING_CHECK, start=(CHECK,), stop=OF_UNITS)


def _ask_check(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return Move(CHECKING)


def _check(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if given.result == "passed":
        return Move(PENDING_CLOSE, start=(CLOSE,), stop=(CHECK,))
    if given.result == "failed":
        return _needs_reason(given) or Move(PENDING_HANDLE, start=OF_UNITS, stop=(CHECK,))
    return f"result {given.result!r} is neither passed nor failed"


def _call_back(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if given.reached is None:
        return "whether the citizen was reached is needed"
    if given.reached and given.satisfaction not in ("satisfied", "basically", "dissatisfied"):
        return "what the citizen says is needed: satisfied, basically or dissatisfied"
    return Move(case.state)


def _close(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if not case.checked:
        return "nobody has checked the finished work"
    if case.satisfaction == "dissatisfied" and not given.reason:
        return "the citizen is not satisfied: reopen it, or give the reason why it is closed all the same"
    if case.wants_reply and case.satisfaction is None and case.called_back < FAILED_CALLBACKS:
        return f"the citizen waits for an answer: call back ({case.called_back} of {FAILED_CALLBACKS} tries so far)"
    return Move(CLOSED, stop=(CLOSE, CITIZEN), withdraw=PHASES, outcome="solved")


def _force_close(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return _needs_reason(given) or Move(CLOSED, stop=(CITIZEN,), withdraw=PHASES, outcome="forced")


def _reopen(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return _needs_reason(given) or Move(PENDING_DISPATCH, start=(DISPATCH,), withdraw=(CLOSE,))


def _appeal(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return _needs_reason(given) or Move(case.state)


def _judge_appeal(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    return Move(case.state) if given.granted is not None else "granted or not is needed"


def _confirm_appeal(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    if actor.id == case.appeal_judge:
        return "two people decide on an appeal, and you were the first"
    return _judge_appeal(case, actor, given, at)


# -- the table -------------------------------------------------------------------------------------------------------

OPEN: Final = frozenset(STATES) - ENDED - {DRAFT}
"""States of a case that somebody still has to do something about."""
_WITH_UNIT: Final = frozenset({PENDING_HANDLE, HANDLING})
_FILED: Final = OPEN - {REPORTED, PENDING_VERIFY, PENDING_FILING}

_AGENT, _CHIEF, _SYSTEM = Post.AGENT, Post.DUTY_CHIEF, Post.SYSTEM


def _own(case: Snapshot, actor: Actor) -> bool:
    return actor.unit is not None and actor.unit in case.orders


def _led(case: Snapshot, actor: Actor) -> bool:
    return actor.unit is not None and actor.unit == case.lead


def _asked(kind: str) -> Callable[[Snapshot, Actor], bool]:
    return lambda case, actor: kind in case.asked


def _free(kind: str) -> Callable[[Snapshot, Actor], bool]:
    return lambda case, actor: _led(case, actor) and kind not in case.asked


def _may_verify(case: Snapshot, actor: Actor) -> bool:
    return case.disposition == "case" and case.verified != "exists"


def _step(
    states: frozenset[str] | set[str],
    posts: set[Post],
    side: Side | None,
    judge: Judge,
    ready: Callable[[Snapshot, Actor], bool] | None = None,
) -> Step:
    return Step(frozenset(states), frozenset(posts), side, judge, ready or (lambda case, actor: True))


_WATCH, _COMMAND = Side.SUPERVISION, Side.COMMAND
TABLE: Final[Mapping[Action, Step]] = MappingProxyType(
    {
        Action.ANSWER: _step({REPORTED}, {_AGENT, _CHIEF}, _WATCH, _answer),
        Action.ASK_VERIFY: _step(
            {REPORTED, PENDING_FILING, PENDING_DISPATCH, *_WITH_UNIT},
            {_AGENT, _CHIEF, _SYSTEM},
            _WATCH,
            _ask_verify,
            _may_verify,
        ),
        Action.VERIFY: _step(
            {PENDING_VERIFY, PENDING_FILING, PENDING_DISPATCH, *_WITH_UNIT, SUSPENDED},
            {Post.COLLECTOR},
            _WATCH,
            _verify,
            _may_verify,
        ),
        Action.FILE: _step({REPORTED, PENDING_FILING}, {_AGENT, _CHIEF, _SYSTEM}, _WATCH, _file),
        Action.REFUSE: _step({REPORTED, PENDING_FILING}, {_CHIEF}, _WATCH, _end("not_accepted", NOT_ACCEPTED)),
        Action.CANCEL: _step(
            {REPORTED, PENDING_VERIFY, PENDING_FILING, PENDING_DISPATCH},
            {_CHIEF},
            _WATCH,
            _end("cancelled", CANCELLED),
        ),
        Action.SELF_HANDLE: _step({REPORTED, PENDING_VERIFY}, {Post.COLLECTOR}, _WATCH, _self_handle),
        Action.HAND_OVER: _step({REPORTED, PENDING_FILING}, {_AGENT, _CHIEF}, _WATCH, _hand_over),
        Action.DISPATCH: _step({PENDING_DISPATCH}, {Post.DISPATCHER, _SYSTEM}, _COMMAND, _dispatch),
        Action.DESIGNATE: _step(
            {PENDING_DISPATCH}, {_CHIEF}, _COMMAND, _dispatch, lambda case, actor: case.returns >= DESIGNATE_FROM
        ),
        Action.RETURN_TO_FILING: _step({PENDING_DISPATCH}, {Post.DISPATCHER}, _COMMAND, _return_to_filing),
        Action.SIGN: _step(_WITH_UNIT, {Post.UNIT}, None, _sign, _own),
        Action.ASSIGN: _step({HANDLING}, {Post.UNIT}, None, _assign, _own),
        Action.ASK_RETURN: _step(_WITH_UNIT, {Post.UNIT}, None, _ask_return, _free("return")),
        Action.GRANT_RETURN: _step(_WITH_UNIT, {Post.DISPATCHER}, _COMMAND, _grant_return, _asked("return")),
        Action.DENY_RETURN: _step(_WITH_UNIT, {Post.DISPATCHER}, _COMMAND, _deny, _asked("return")),
        Action.ASK_EXTENSION: _step({HANDLING}, {Post.UNIT}, None, _ask_extension, _free("extension")),
        Action.GRANT_EXTENSION: _step({HANDLING}, {Post.DISPATCHER}, _COMMAND, _grant_extension, _asked("extension")),
        Action.DENY_EXTENSION: _step({HANDLING}, {Post.DISPATCHER}, _COMMAND, _deny, _asked("extension")),
        Action.ASK_SUSPENSION: _step({HANDLING}, {Post.UNIT}, None, _ask_suspension, _free("suspension")),
        Action.GRANT_SUSPENSION: _step(
            {HANDLING}, {Post.DISPATCHER, _CHIEF}, _COMMAND, _grant_suspension, _asked("suspension")
        ),
        Action.DENY_SUSPENSION: _step({HANDLING}, {Post.DISPATCHER, _CHIEF}, _COMMAND, _deny, _asked("suspension")),
        Action.RESUME: _step({SUSPENDED}, {Post.DISPATCHER, Post.UNIT, _SYSTEM}, None, _resume),
        Action.REPORT_DONE: _step({HANDLING}, {Post.UNIT}, None, _report_done, _own),
        Action.ASK_CHECK: _step({PENDING_CHECK}, {_AGENT, _CHIEF, _SYSTEM}, _WATCH, _ask_check),
        Action.CHECK: _step({CHECKING}, {Post.COLLECTOR, _AGENT}, _WATCH, _check),
        Action.CALL_BACK: _step({PENDING_CLOSE}, {_AGENT, _CHIEF}, _WATCH, _call_back),
        Action.CLOSE: _step({PENDING_CLOSE}, {_CHIEF}, _WATCH, _close),
        Action.FORCE_CLOSE: _step(_FILED, {_CHIEF}, _WATCH, _force_close),
        Action.REOPEN: _step({PENDING_CLOSE}, {_AGENT, _CHIEF}, _WATCH, _reopen),
        Action.APPEAL: _step(
            {CLOSED}, {Post.UNIT}, None, _appeal, lambda case, actor: case.overtime and case.appeal is None
        ),
        Action.JUDGE_APPEAL: _step(
            {CLOSED}, {Post.DISPATCHER}, _COMMAND, _judge_appeal, lambda case, actor: case.appeal == "asked"
        ),
        Action.CONFIRM_APPEAL: _step(
            {CLOSED}, {_AGENT, _CHIEF}, _WATCH, _confirm_appeal, lambda case, actor: case.appeal == "judged"
        ),
    }
)
"""Sheets, notes, links, lamps and words added leave the state as it is and are not here."""
