"""What steps write of orders and of what units ask: given, signed for, done, given back, extended, suspended."""

from uuid import UUID, uuid4

from sqlalchemy import select

from callcenter.cases import clocks
from callcenter.cases.doing import NOTIFY, RESUME, Doing, looked, note_pictures, own_order, take_rule
from callcenter.cases.life import ASSIST, HANDLE, LEAD, SIGN, CaseAssist, CaseDeadline, CaseOrder, CaseRequest
from callcenter.cases.lifecycle import Action
from callcenter.cases.model import PENDING_HANDLE, SYSTEM
from callcenter.cases.snapshots import CHECKING, DESIGNATED, last_lead, open_orders, open_requests, rounds
from callcenter.jobs.store import add_job
from callcenter.storage.outbox import Refs
from callcenter.storage.rows import insert_new

ORDER, REWORK = "unit_order", "unit_rework"
"""Templates of what a unit is told of an order."""


async def dispatch(doing: Doing) -> None:
    """派遣, 指定."""
    unit = doing.given.unit
    if unit is None:
        raise LookupError(f"case {doing.case.id} was to be dispatched without a unit")
    take_rule(doing.case, doing.finding, doing.detail)
    if doing.action is Action.DESIGNATE:
        doing.rule = DESIGNATED
    await issue(doing, unit, doing.given.assisting, await rounds(doing.session, doing.case.id) + 1)


async def issue(doing: Doing, unit: UUID, assisting: tuple[UUID, ...], round_: int) -> None:
    """Give the orders of one round: to the unit that leads and to those that assist; each is told by a job."""
    case, at = doing.case, doing.at
    template = REWORK if doing.action is Action.CHECK else ORDER
    for part, whose in [(LEAD, unit), *((ASSIST, other) for other in assisting)]:
        order = CaseOrder(
            id=uuid4(),
            case_id=case.id,
            unit_id=whose,
            part=part,
            round=round_,
            issued_at=at,
            issued_by=doing.actor.id,
            rule=doing.rule,
            opinion=doing.text or doing.reason,
        )
        doing.session.add(order)
        doing.issued.append(order)
    await doing.session.flush()  # limits and requests refer to them
    for other in assisting:
        assists = {"unit_id": other, "created_at": case.created_at, "case_id": case.id}
        await insert_new(doing.session, CaseAssist, assists)
    for order in doing.issued:
        refs: Refs = {"case": case.id, "order": order.id, "unit": order.unit_id, "template": template}
        await add_job(doing.session, NOTIFY, f"{NOTIFY}:{order.id}", refs, at=at)
    case.lead_unit_id = unit
    doing.detail |= {"unit": str(unit), "order": str(doing.issued[0].id), "round": round_}
    if assisting:
        doing.detail["assisting"] = [str(other) for other in assisting]


async def end_orders(doing: Doing, outcome: str, *, lead_outcome: str | None = None) -> None:
    """End every open order of the case; what units had asked for and nobody decided lapses with them."""
    for order in await open_orders(doing.session, doing.case.id):
        order.ended_at = doing.at
        order.outcome = (lead_outcome or outcome) if order.part == LEAD else outcome
    for request in await open_requests(doing.session, doing.case.id):
        request.decided_by, request.decided_at = SYSTEM, doing.at  # granted stays None: it lapsed


async def sign(doing: Doing) -> None:
    """签收."""
    order = own_order(doing)
    order.signed_at, order.signed_by = doing.at, doing.actor.id
    doing.detail |= {"unit": str(order.unit_id), "order": str(order.id), "round": order.round}


async def assign(doing: Doing) -> None:
    """指派."""
    order = own_order(doing)
    order.handler = doing.given.handler
    doing.detail |= {"unit": str(order.unit_id), "order": str(order.id), "handler": str(doing.given.handler)}


async def report_done(doing: Doing) -> None:
    """反馈, of the lead or of one that assists."""
    order = own_order(doing)
    await note_pictures(doing, order.issued_at)
    doing.detail |= {"unit": str(order.unit_id), "order": str(order.id), "round": order.round, "part": order.part}
    if order.part == LEAD:
        # 首接负责: the lead answers for the whole, what others had left to do is withdrawn.
        for other in await open_orders(doing.session, doing.case.id):
            if other.id != order.id:
                await clocks.withdraw(doing.session, doing.case, (SIGN, HANDLE), doing.at, order=other)
        await end_orders(doing, "withdrawn", lead_outcome="done")
    else:
        order.ended_at, order.outcome = doing.at, "done"


async def check(doing: Doing) -> None:
    """核查; failed: a new order to the same unit."""
    await looked(doing, CHECKING)
    last = await last_lead(doing.session, doing.case.id)
    if last is None:
        raise LookupError(f"case {doing.case.id} was checked without ever having been ordered")
    doing.detail["unit"] = str(last.unit_id)
    if doing.move.to_state == PENDING_HANDLE:
        last.outcome = "rework"
        doing.case.reworks += 1
        await issue(doing, last.unit_id, (), last.round + 1)


async def reopen(doing: Doing) -> None:
    """Nobody leads until it is dispatched again."""
    if doing.case.lead_unit_id is not None:
        doing.detail["unit"] = str(doing.case.lead_unit_id)
    doing.case.lead_unit_id = None


async def force_close(doing: Doing) -> None:
    """Orders end with the case."""
    await end_orders(doing, "closed")


async def ask(doing: Doing) -> None:
    """A unit asks to give it back, for more time, for a suspension."""
    order = own_order(doing)
    request = CaseRequest(
        id=uuid4(),
        case_id=doing.case.id,
        order_id=order.id,
        kind=doing.action.removeprefix("ask_"),
        asked_by=doing.actor.id,
        asked_at=doing.at,
        until=doing.given.until if doing.action is Action.ASK_SUSPENSION else None,
        reason=doing.reason,
    )
    doing.session.add(request)
    doing.detail |= {"request": str(request.id), "unit": str(order.unit_id)}
    if request.until is not None:
        doing.detail["until"] = request.until.isoformat()


async def _decide(doing: Doing, granted: bool) -> CaseRequest:
    kind = doing.action.rpartition("_")[2]
    request = next(one for one in await open_requests(doing.session, doing.case.id) if one.kind == kind)
    request.decided_by, request.decided_at, request.granted = doing.actor.id, doing.at, granted
    doing.detail |= {"request": str(request.id), "unit": str(doing.case.lead_unit_id)}
    return request


async def deny(doing: Doing) -> None:
    """Not granted."""
    await _decide(doing, False)


async def grant_return(doing: Doing) -> None:
    """回退."""
    await _decide(doing, True)
    await end_orders(doing, "withdrawn", lead_outcome="returned")
    doing.case.returns += 1
    doing.case.lead_unit_id = None


async def grant_extension(doing: Doing) -> None:
    """延期."""
    request = await _decide(doing, True)
    doing.case.extensions += 1
    running = await doing.session.scalars(
        select(CaseDeadline).where(
            CaseDeadline.case_id == doing.case.id,
            CaseDeadline.order_id == request.order_id,
            CaseDeadline.phase == HANDLE,
            CaseDeadline.ended_at.is_(None),
        )
    )
    for deadline in running:
        await clocks.extend(doing.session, deadline, doing.calendar, doing.at)
        doing.detail["due"] = {HANDLE: deadline.due_at.isoformat()}


async def grant_suspension(doing: Doing) -> None:
    """挂账, with the job that ends it."""
    request = await _decide(doing, True)
    doing.case.suspensions += 1
    refs = {"case": doing.case.id, "request": request.id}
    await add_job(doing.session, RESUME, f"{RESUME}:{request.id}", refs, at=doing.at, run_at=request.until)
    if request.until is not None:
        doing.detail["until"] = request.until.isoformat()


async def resume(doing: Doing) -> None:
    """The log names the unit that goes on."""
    doing.detail["unit"] = str(doing.case.lead_unit_id)
