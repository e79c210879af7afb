"""What the citizen is told of their case: that it has a number, whose it is, that it is done. In the transaction of the
step; whether anything goes out, and to whom nothing may, is ``messages.telling``'s to say. Units hear of orders by jobs
(``act_orders``), of lamps and sheets by theirs.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.doing import Doing
from callcenter.cases.life import LEAD
from callcenter.cases.lifecycle import Action
from callcenter.cases.model import Case
from callcenter.messages.telling import tell

ACCEPTED: Final = "accepted"
CANCELLED: Final = "cancelled"

OF_STEP: Final[Mapping[Action, str]] = MappingProxyType(
    {
        Action.ANSWER: "answered",
        Action.REFUSE: "not_accepted",
        Action.CANCEL: CANCELLED,
        Action.HAND_OVER: "handed_over",
        Action.DISPATCH: "dispatched",
        Action.DESIGNATE: "dispatched",
        Action.GRANT_EXTENSION: "extended",
        Action.GRANT_SUSPENSION: "suspended",
        Action.REPORT_DONE: "done",
        Action.SELF_HANDLE: "closed",
        Action.CLOSE: "closed",
        Action.FORCE_CLOSE: "closed",
    }
)
"""The template of each step that a citizen is told of. Filing is not among them: who has a number and hears whose the
matter is needs no third message in the same minute."""
_ONCE: Final = frozenset({"answered", "not_accepted", CANCELLED, "handed_over"})
"""Said once in a case's life."""


async def tell_accepted(session: AsyncSession, case: Case, at: datetime) -> None:
    """受理: the case has just got its number."""
    await tell(session, case, ACCEPTED, at=at, milestone=ACCEPTED)


async def tell_step(doing: Doing) -> None:
    """The citizen hears of a step, where it is one for them."""
    name = OF_STEP.get(doing.action)
    if name is None or (doing.own is not None and doing.own.part != LEAD):
        return  # a unit that assists has done its part: the matter is not
    milestone = name if name in _ONCE else f"{name}:{doing.case.version}"
    if name == "dispatched":
        milestone = f"{name}:{doing.case.lead_unit_id}"  # the same unit again is no news
    await tell(doing.session, doing.case, name, at=doing.at, milestone=milestone)
