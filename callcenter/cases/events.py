"""What is told about cases, by name, and which of it units may hear."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from callcenter.cases.steps import Action

OPENED: Final = "case.opened"
COMPLETED: Final = "case.completed"
REGISTERED: Final = "case.registered"
"""A person took it in, without a call that the machine heard."""
CANCELLED: Final = "case.cancelled"
CONFIRMED: Final = "case.confirmed"
CORRECTED: Final = "case.corrected"
FILED: Final = "case.filed"
UPDATED: Final = "case.updated"
"""A filed case has new words or another category."""
ERASED: Final = "case.erased"
EVIDENCE: Final = "case.evidence"
"""A picture was added."""

ANSWERED: Final = "case.answered"
VERIFYING: Final = "case.verifying"
VERIFIED: Final = "case.verified"
REFUSED: Final = "case.refused"
HANDED_OVER: Final = "case.handed_over"
DISPATCHED: Final = "case.dispatched"
UNFILED: Final = "case.unfiled"
"""It went back to whoever files: there is nothing to do about it for now."""
SIGNED: Final = "case.signed"
ASSIGNED: Final = "case.assigned"
ASKED: Final = "case.asked"
"""A unit asked to give it back, for more time, or for a suspension."""
RETURNED: Final = "case.returned"
DENIED: Final = "case.denied"
EXTENDED: Final = "case.extended"
SUSPENDED: Final = "case.suspended"
RESUMED: Final = "case.resumed"
PART_DONE: Final = "case.part_done"
"""An assisting unit has done its part."""
DONE: Final = "case.done"
CHECK_ASKED: Final = "case.check_asked"
CHECKED: Final = "case.checked"
REWORKED: Final = "case.reworked"
CALLED_BACK: Final = "case.called_back"
CLOSED: Final = "case.closed"
REOPENED: Final = "case.reopened"
APPEALED: Final = "case.appealed"
APPEAL_JUDGED: Final = "case.appeal_judged"

OF_STEP: Final[Mapping[Action, str]] = MappingProxyType(
    {
        Action.ANSWER: ANSWERED,
        Action.ASK_VERIFY: VERIFYING,
        Action.VERIFY: VERIFIED,
        Action.FILE: FILED,
        Action.REFUSE: REFUSED,
        Action.CANCEL: CANCELLED,
        Action.SELF_HANDLE: CLOSED,
        Action.HAND_OVER: HANDED_OVER,
        Action.DISPATCH: DISPATCHED,
        Action.DESIGNATE: DISPATCHED,
        Action.RETURN_TO_FILING: UNFILED,
        Action.SIGN: SIGNED,
        Action.ASSIGN: ASSIGNED,
        Action.ASK_RETURN: ASKED,
        Action.GRANT_RETURN: RETURNED,
        Action.DENY_RETURN: DENIED,
        Action.ASK_EXTENSION: ASKED,
        Action.GRANT_EXTENSION: EXTENDED,
        Action.DENY_EXTENSION: DENIED,
        Action.ASK_SUSPENSION: ASKED,
        Action.GRANT_SUSPENSION: SUSPENDED,
        Action.DENY_SUSPENSION: DENIED,
        Action.RESUME: RESUMED,
        Action.REPORT_DONE: DONE,
        Action.ASK_CHECK: CHECK_ASKED,
        Action.CHECK: CHECKED,
        Action.CALL_BACK: CALLED_BACK,
        Action.CLOSE: CLOSED,
        Action.FORCE_CLOSE: CLOSED,
        Action.REOPEN: REOPENED,
        Action.APPEAL: APPEALED,
        Action.JUDGE_APPEAL: APPEAL_JUDGED,
        Action.CONFIRM_APPEAL: APPEAL_JUDGED,
    }
)
"""What is told of each step; PART_DONE and REWORKED are two that are told apart by what came of it."""

FEED_KINDS: Final = (
    FILED,
    UPDATED,
    ERASED,
    UNFILED,
    CANCELLED,
    DISPATCHED,
    SIGNED,
    RETURNED,
    DENIED,
    EXTENDED,
    SUSPENDED,
    RESUMED,
    DONE,
    REWORKED,
    CLOSED,
    HANDED_OVER,
    REOPENED,
)
"""Kinds that enter the feed once their case is filed: what whoever handles it must hear."""
