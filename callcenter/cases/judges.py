"""What decides each step of a case: the move, or the reason why there is none. Pure.

Every judge takes the case as it is, who acts, what they give, and when; the states, posts and sides of a step are
``lifecycle.TABLE``'s and hold already.
"""

from datetime import datetime
from typing import Final

from callcenter.cases.life import CHECK, CITIZEN, CLOSE, DISPATCH, FILE, HANDLE, PHASES, SIGN, VERIFY
from callcenter.cases.model import (
    CHECKING,
    CLOSED,
    HANDLING,
    PENDING_CHECK,
    PENDING_CLOSE,
    PENDING_DISPATCH,
    PENDING_FILING,
    PENDING_HANDLE,
    PENDING_VERIFY,
    REPORTED,
    SUSPENDED,
)
from callcenter.cases.steps import (
    DISPATCH_FIRST,
    FAILED_CALLBACKS,
    LONG_SUSPENSION,
    MOST_EXTENSIONS,
    MOST_SUSPENSIONS,
    VERIFY_FIRST,
    Actor,
    Given,
    Judge,
    Move,
    Post,
    Snapshot,
)

OF_UNITS: Final = (SIGN, HANDLE)
"""Limits of the units; the others are the house's and the citizen's."""


def _needs_reason(given: Given) -> str | None:
    return None if given.reason else "a reason is needed"


def answer(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """直接答复."""
    if not (given.text or given.knowledge):
        return "the answer is needed, or the article of the knowledge base that gives it"
    return Move(CLOSED, stop=(FILE, CITIZEN), withdraw=PHASES, outcome="answered")


def ask_verify(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """发核实. 先派后核 is looked at while it goes its way."""
    if case.state == REPORTED and case.mode != DISPATCH_FIRST:
        return Move(PENDING_VERIFY, start=(VERIFY,), stop=(FILE,))
    return Move(case.state, start=(VERIFY,))


RESULTS: Final = ("exists", "not_exists", "cannot_tell")


def verify(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """What a collector found."""
    if given.result not in RESULTS:
        return f"result {given.result!r} is none of {', '.join(RESULTS)}"
    if case.state == PENDING_VERIFY:
        return Move(PENDING_FILING, start=(FILE,), stop=(VERIFY,))
    return Move(case.state, stop=(VERIFY,))


def file(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """立案."""
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
    looked_at = case.mode == DISPATCH_FIRST and case.verified is None and not case.verifying
    start = (DISPATCH, VERIFY) if looked_at else (DISPATCH,)
    return Move(PENDING_DISPATCH, start=start, stop=(FILE,))


def end(outcome: str, state: str) -> Judge:
    """An end with a reason: 不予立案, 作废."""

    def judge(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
        return _needs_reason(given) or Move(state, withdraw=PHASES, outcome=outcome)

    return judge


def self_handle(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """小事不出网格: dealt with on the spot, with proof."""
    if not case.has_category:
        return "it has no category: choose one"
    if case.level != 1:
        return "only a small matter (level 1) is handled on the spot"
    if not given.evidence_after:
        return "a picture of the place afterwards is needed"
    return Move(CLOSED, stop=(FILE, CITIZEN), withdraw=PHASES, outcome="solved")


def hand_over(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """To 110."""
    if not given.police_number:
        return "the number under which the police have it is needed"
    return Move(CLOSED, stop=(FILE, CITIZEN), withdraw=PHASES, outcome="handed_over")


def dispatch(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """派遣, 指定."""
    if given.unit is None:
        return "the unit that leads is needed"
    wanted = (given.unit, *given.assisting)
    if len(set(wanted)) != len(wanted):
        return "a unit is named twice"
    if case.excluded & set(wanted):
        return "a unit that is complained about does not get the complaint"
    return Move(PENDING_HANDLE, start=OF_UNITS, stop=(DISPATCH,))


def return_to_filing(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """回退 to filing."""
    return _needs_reason(given) or Move(PENDING_FILING, start=(FILE,), withdraw=(DISPATCH,))


def sign(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """签收."""
    return Move(HANDLING if actor.unit == case.lead else case.state, stop=(SIGN,))


def assign(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """指派: to a person."""
    return Move(case.state) if given.handler is not None else "the person who handles it is needed"


def ask_return(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """回退: not this unit's."""
    if case.designated:
        return "the duty chief has designated the unit: it stays"
    if case.return_by is not None and at > case.return_by:
        return f"it could be given back until {case.return_by.isoformat(timespec='minutes')}"
    return _needs_reason(given) or Move(case.state)


def ask_extension(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """申请延期."""
    if case.extensions >= MOST_EXTENSIONS:
        return f"it has been extended {case.extensions} times, {MOST_EXTENSIONS} is the most"
    return _needs_reason(given) or Move(case.state)


def ask_suspension(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """申请挂账."""
    if case.suspensions >= MOST_SUSPENSIONS:
        return f"it has been suspended {case.suspensions} times, {MOST_SUSPENSIONS} is the most"
    if given.until is None or given.until <= at:
        return "until when is needed, and it must lie ahead"
    return _needs_reason(given) or Move(case.state)


def grant_return(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """回退 granted."""
    return Move(PENDING_DISPATCH, start=(DISPATCH,), withdraw=OF_UNITS)


def grant_extension(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """延期 granted."""
    if case.extended_until is not None and case.extended_until <= at:
        return "even the longer limit would be over: deny it"
    return Move(case.state)


def grant_suspension(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """挂账 granted."""
    until = case.suspension_until
    if until is None or until <= at:
        return "the time it was asked for is over: deny it"
    if until - at > LONG_SUSPENSION and Post.DUTY_CHIEF not in actor.posts:
        return f"longer than {LONG_SUSPENSION.days} days is for the duty chief to grant"
    return Move(SUSPENDED, pause=(HANDLE,))


def deny(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """Any of the three refused."""
    return _needs_reason(given) or Move(case.state)


def resume(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """The suspension is over."""
    return Move(HANDLING, resume=(HANDLE,))


def report_done(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """反馈. An assisting unit that is done ends its own order only."""
    if not given.text:
        return "what was done is needed"
    if case.kind in ("part", "event") and not given.evidence_after:
        return "a new picture, taken after the order was given, is needed"
    if actor.unit != case.lead:
        return Move(case.state, stop=OF_UNITS)
    return Move(PENDING_CHECK, start=(CHECK,), stop=OF_UNITS)


def ask_check(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """发核查."""
    return Move(CHECKING)


def check(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """核查; failed: 返工 by the same unit."""
    if given.result == "passed":
        return Move(PENDING_CLOSE, start=(CLOSE,), stop=(CHECK,))
    if given.result == "failed":
        return _needs_reason(given) or Move(PENDING_HANDLE, start=OF_UNITS, stop=(CHECK,))
    return f"result {given.result!r} is neither passed nor failed"


def call_back(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """回访."""
    if given.reached is None:
        return "whether the citizen was reached is needed"
    if given.reached and given.satisfaction not in ("satisfied", "basically", "dissatisfied"):
        return "what the citizen says is needed: satisfied, basically or dissatisfied"
    return Move(case.state)


def close(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """结案."""
    if not case.checked:
        return "nobody has checked the finished work"
    if case.satisfaction == "dissatisfied" and not given.reason:
        return "the citizen is not satisfied: reopen it, or give the reason why it is closed all the same"
    if case.wants_reply and case.satisfaction is None and case.called_back < FAILED_CALLBACKS:
        return f"the citizen waits for an answer: call back ({case.called_back} of {FAILED_CALLBACKS} tries so far)"
    return Move(CLOSED, stop=(CLOSE, CITIZEN), withdraw=PHASES, outcome="solved")


def force_close(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """强制结案."""
    return _needs_reason(given) or Move(CLOSED, stop=(CITIZEN,), withdraw=PHASES, outcome="forced")


def reopen(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """The citizen is not satisfied, or it is not as it should be."""
    return _needs_reason(given) or Move(PENDING_DISPATCH, start=(DISPATCH,), withdraw=(CLOSE,))


def appeal(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """超时申诉."""
    return _needs_reason(given) or Move(case.state)


def judge_appeal(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """The first of two decisions."""
    return Move(case.state) if given.granted is not None else "granted or not is needed"


def confirm_appeal(case: Snapshot, actor: Actor, given: Given, at: datetime) -> Move | str:
    """The second, by somebody else."""
    if actor.id == case.appeal_judge:
        return "two people decide on an appeal, and you were the first"
    return judge_appeal(case, actor, given, at)
