"""What each step of a case writes beside its state and log row: orders, requests, checks, callbacks, appeals, counters.

Each effect runs in the transaction of ``acts.take``, on a locked case, after the step has been decided. It puts
references and codes into ``detail``, which becomes the log row's. Limits are ``act_limits``'.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final
from uuid import uuid4

from callcenter.cases import act_orders
from callcenter.cases.doing import NOTIFY as NOTIFY
from callcenter.cases.doing import RESUME as RESUME
from callcenter.cases.doing import Doing as Doing
from callcenter.cases.doing import Words as Words
from callcenter.cases.doing import looked, note_pictures, take_rule
from callcenter.cases.life import VERIFY, CaseAppeal, CaseCallback, CaseCheck, PoliceHandover
from callcenter.cases.lifecycle import Action, Refused
from callcenter.cases.model import SYSTEM
from callcenter.cases.snapshots import CHECKING, VERIFYING, appeal_of
from callcenter.storage.rows import insert_new

Effect = Callable[[Doing], Awaitable[None]]


async def _nothing(doing: Doing) -> None:
    """The state, the log and the limits are all."""


# -- taking in -------------------------------------------------------------------------------------------------------


async def _answer(doing: Doing) -> None:
    if doing.words.knowledge is not None:
        doing.detail["knowledge"] = str(doing.words.knowledge)


async def _ask_look(doing: Doing, kind: str) -> None:
    check = CaseCheck(
        id=uuid4(),
        case_id=doing.case.id,
        kind=kind,
        collector=doing.words.collector,
        asked_by=doing.actor.id,
        asked_at=doing.at,
    )
    doing.session.add(check)
    doing.detail["check"] = str(check.id)


async def _ask_verify(doing: Doing) -> None:
    await _ask_look(doing, VERIFYING)


async def _verify(doing: Doing) -> None:
    await looked(doing, VERIFYING)


async def _file(doing: Doing) -> None:
    case, finding = doing.case, doing.finding
    if case.filed_at is None:
        case.filed_at = doing.at
    doing.detail["mode"] = case.verification
    take_rule(case, finding, doing.detail)
    if VERIFY in doing.move.start:
        doing.session.add(CaseCheck(id=uuid4(), case_id=case.id, kind=VERIFYING, asked_by=SYSTEM, asked_at=doing.at))


async def _self_handle(doing: Doing) -> None:
    take_rule(doing.case, doing.finding, doing.detail)
    doing.case.self_handled = True
    await note_pictures(doing, doing.case.created_at)


async def _hand_over(doing: Doing) -> None:
    values = {
        "id": uuid4(),
        "case_id": doing.case.id,
        "direction": "out",
        "police_number": doing.words.police_number.strip(),
        "handed_at": doing.at,
        "by": doing.actor.id,
        "result_at": None,
        "result": None,
    }
    if not await insert_new(doing.session, PoliceHandover, values):
        # Another case, at the same time: ``acts`` did not see it yet.
        raise Refused(doing.action, doing.case.state, "another case was handed over under that police number", ())
    doing.detail["handover"] = str(values["id"])


# -- afterwards ------------------------------------------------------------------------------------------------------


async def _ask_check(doing: Doing) -> None:
    await _ask_look(doing, CHECKING)


async def _call_back(doing: Doing) -> None:
    callback = CaseCallback(
        id=uuid4(),
        case_id=doing.case.id,
        by=doing.actor.id,
        at=doing.at,
        reached=bool(doing.given.reached),
        satisfaction=doing.given.satisfaction if doing.given.reached else None,
        reason=doing.reason or doing.text,
        call_id=doing.words.call,
    )
    doing.session.add(callback)
    doing.detail |= {"callback": str(callback.id), "reached": callback.reached, "satisfaction": callback.satisfaction}


async def _appeal(doing: Doing) -> None:
    appeal = CaseAppeal(
        id=uuid4(), case_id=doing.case.id, asked_by=doing.actor.id, asked_at=doing.at, reason=doing.reason
    )
    doing.session.add(appeal)
    doing.detail |= {"appeal": str(appeal.id), "unit": str(doing.actor.unit)}


async def _judge_appeal(doing: Doing) -> None:
    appeal = await _the_appeal(doing)
    appeal.first_by, appeal.first_at, appeal.first_granted = doing.actor.id, doing.at, doing.given.granted
    doing.detail |= {"appeal": str(appeal.id), "granted": doing.given.granted}


async def _confirm_appeal(doing: Doing) -> None:
    appeal = await _the_appeal(doing)
    appeal.second_by, appeal.second_at = doing.actor.id, doing.at
    appeal.granted = bool(appeal.first_granted and doing.given.granted)
    doing.detail |= {"appeal": str(appeal.id), "granted": appeal.granted}


EFFECTS: Final[Mapping[Action, Effect]] = MappingProxyType(
    {
        Action.ANSWER: _answer,
        Action.ASK_VERIFY: _ask_verify,
        Action.VERIFY: _verify,
        Action.FILE: _file,
        Action.REFUSE: _nothing,
        Action.CANCEL: _nothing,
        Action.SELF_HANDLE: _self_handle,
        Action.HAND_OVER: _hand_over,
        Action.DISPATCH: act_orders.dispatch,
        Action.DESIGNATE: act_orders.dispatch,
        Action.RETURN_TO_FILING: _nothing,
        Action.SIGN: act_orders.sign,
        Action.ASSIGN: act_orders.assign,
        Action.ASK_RETURN: act_orders.ask,
        Action.GRANT_RETURN: act_orders.grant_return,
        Action.DENY_RETURN: act_orders.deny,
        Action.ASK_EXTENSION: act_orders.ask,
        Action.GRANT_EXTENSION: act_orders.grant_extension,
        Action.DENY_EXTENSION: act_orders.deny,
        Action.ASK_SUSPENSION: act_orders.ask,
        Action.GRANT_SUSPENSION: act_orders.grant_suspension,
        Action.DENY_SUSPENSION: act_orders.deny,
        Action.RESUME: act_orders.resume,
        Action.REPORT_DONE: act_orders.report_done,
        Action.ASK_CHECK: _ask_check,
        Action.CHECK: act_orders.check,
        Action.CALL_BACK: _call_back,
        Action.CLOSE: _nothing,
        Action.FORCE_CLOSE: act_orders.force_close,
        Action.REOPEN: act_orders.reopen,
        Action.APPEAL: _appeal,
        Action.JUDGE_APPEAL: _judge_appeal,
        Action.CONFIRM_APPEAL: _confirm_appeal,
    }
)


async def _the_appeal(doing: Doing) -> CaseAppeal:
    appeal = await appeal_of(doing.session, doing.case.id)
    if appeal is None:
        raise LookupError(f"case {doing.case.id} has no appeal, though one is decided")
    return appeal
