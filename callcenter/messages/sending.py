"""The handlers of the two kinds of jobs that messages are: hand one to the gateway, tell a unit of something."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.cases.act_effects import NOTIFY
from callcenter.cases.life import HANDLE, CaseDeadline, SupervisionSheet
from callcenter.cases.model import Case
from callcenter.cases.sheets import MESSAGE_UNIT
from callcenter.jobs.model import Job
from callcenter.jobs.runner import GiveUp, Handler
from callcenter.jobs.store import Backoff
from callcenter.messages.gateways import Gateway, GatewayDown, GatewayRefused, Outgoing
from callcenter.messages.model import Message, MessageParticulars
from callcenter.messages.policy import Policy, in_force
from callcenter.messages.telling import ERASED, FAILED, NO_GATEWAY, SEND, SENT, WAITING, WITHHELD, hidden, tell
from callcenter.messages.templates import TemplateError, template
from callcenter.storage.engine import Database

PHASE_NAMES: Final = {
    "verify": "核实",
    "file": "立案",
    "dispatch": "派遣",
    "sign": "签收",
    "handle": "处置",
    "check": "核查",
    "close": "结案",
    "citizen": "办理",
}
ORDER: Final = "unit_order"
"""What a unit is told by a job that names no template."""
UNREACHABLE: Final = "unreachable"
"""The gateway took no attempt."""


def handlers(
    gateway: Gateway | None,
    *,
    policy: Policy | None = None,
    backoff: Backoff | None = None,
    now: Callable[[], datetime] = clock.now,
) -> dict[str, Handler]:
    """The handlers of ``message.send``, ``message.unit`` and ``order.notify``, by kind.

    ``backoff``: the runner's, for it says which attempt is the last.
    """
    most = (backoff or Backoff()).attempts

    async def send(db: Database, job: Job) -> None:
        message = _id(job, "message")
        async with db.begin() as session:
            outgoing = await _to_send(session, message, has_gateway=gateway is not None)
        if outgoing is None or gateway is None:
            return
        try:
            ref = await gateway.send(outgoing)
        except GatewayRefused as refusal:
            await _settle(db, message, FAILED, reason=refusal.code, at=now())
            raise GiveUp(refusal.code) from None
        except GatewayDown as fault:
            if job.attempts >= most:
                await _settle(db, message, FAILED, reason=UNREACHABLE, at=now())
                raise GiveUp(f"{UNREACHABLE} {fault}") from None
            raise
        await _settle(db, message, SENT, ref=ref, at=now())

    async def tell_unit(db: Database, job: Job) -> None:
        unit, name = _id(job, "unit"), str(job.refs.get("template") or ORDER)
        async with db.begin() as session:
            case = await session.get(Case, _id(job, "case"))
            if case is None:
                raise GiveUp("the case is not there")
            values, about = await _about(session, job)
            if values is None:
                return
            try:
                await tell(
                    session,
                    case,
                    name,
                    at=now(),
                    unit=unit,
                    milestone=f"{name}:{about}",
                    values=values,
                    policy=policy or in_force(),
                )
            except (TemplateError, LookupError) as fault:
                raise GiveUp(type(fault).__name__) from None

    return {SEND: send, MESSAGE_UNIT: tell_unit, NOTIFY: tell_unit}


def _id(job: Job, name: str) -> UUID:
    try:
        return UUID(job.refs[name])
    except (KeyError, TypeError, ValueError):
        raise GiveUp(f"the job names no {name}") from None


async def _to_send(session: AsyncSession, id: UUID, *, has_gateway: bool) -> Outgoing | None:
    """What is to be sent; None when nothing is, also because the case became confidential since it was written."""
    message = await session.get(Message, id, with_for_update=True)
    if message is None:
        raise GiveUp("the message is not there")
    if message.state != WAITING:
        return None
    particulars = await session.get(MessageParticulars, id)
    case = await session.get(Case, message.case_id) if message.case_id is not None else None
    reason = None
    if particulars is None or particulars.erased_at is not None or not particulars.number or not particulars.words:
        reason = ERASED
    elif message.unit_id is None and case is not None and not template(message.template).neutral:
        reason = hidden(case)
    if reason is None and not has_gateway:
        reason = NO_GATEWAY
    if reason is None and particulars is not None:
        return Outgoing(id, particulars.number or "", particulars.words or "", message.channel)
    message.state, message.reason = WITHHELD, reason
    if particulars is not None:
        particulars.number = particulars.words = None
    return None


async def _settle(
    db: Database, id: UUID, state: str, *, at: datetime, reason: str | None = None, ref: str | None = None
) -> None:
    async with db.begin() as session:
        message = await session.get(Message, id, with_for_update=True)
        if message is None or message.state != WAITING:
            return
        message.state, message.reason, message.gateway_ref = state, reason, ref
        if state == SENT:
            message.sent_at = at


async def _about(session: AsyncSession, job: Job) -> tuple[Mapping[str, Any] | None, str]:
    """What the words need beyond the case, and the id of what they are about; None: it has settled itself."""
    if "sheet" in job.refs:
        sheet = await session.get(SupervisionSheet, _id(job, "sheet"))
        if sheet is None:
            raise GiveUp("the sheet is not there")
        return {"sheet": sheet.number, "addressee": sheet.addressee, "reply_by": sheet.reply_by}, str(sheet.id)
    if "deadline" in job.refs:
        limit = await session.get(CaseDeadline, _id(job, "deadline"))
        if limit is None:
            raise GiveUp("the limit is not there")
        if limit.ended_at is not None and job.refs.get("template") == "unit_warned":
            return None, ""  # a warning comes too late once it is done; that it was late stays true
        return {"phase": PHASE_NAMES.get(limit.phase, limit.phase), "due": limit.due_at}, str(limit.id)
    if "order" not in job.refs:
        return {}, str(job.id)
    order = _id(job, "order")
    handle = CaseDeadline.phase == HANDLE
    due = await session.scalar(select(CaseDeadline.due_at).where(CaseDeadline.order_id == order, handle))
    return ({"due": due} if due is not None else {}), str(order)
