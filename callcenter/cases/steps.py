"""The words of a case's life: steps, posts, sides, what decides a step and what a step does. Pure.

``lifecycle`` has the table of the steps, ``judges`` what decides each.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

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
    """What is kept apart: who watches (监督轴), who commands (指挥轴), who handles. Nobody is on two on one case."""

    SUPERVISION = "supervision"
    COMMAND = "command"
    HANDLING = "handling"
    """Of the units: who handles a matter neither watches over it nor commands."""


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
    verifying: bool = False
    """Somebody has been asked to look and has not answered."""
    checked: bool = False
    """A check of the finished work has passed in this round."""
    lead: UUID | None = None
    """The unit whose lead order is open."""
    orders: frozenset[UUID] = frozenset()
    """All units with an open order."""
    unsigned: frozenset[UUID] = frozenset()
    """Those of them that have not signed for it."""
    designated: bool = False
    """The open lead order was designated: it cannot be given back."""
    excluded: frozenset[UUID] = frozenset()
    """Units that must not get the order: the accused."""
    asked: frozenset[str] = frozenset()
    """Kinds of requests that wait for an answer: return, extension, suspension."""
    suspension_until: datetime | None = None
    """Of the suspension asked for."""
    extended_until: datetime | None = None
    """When the limit would be over with the extension asked for."""
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
    late: frozenset[UUID] = frozenset()
    """Units that missed a limit of theirs."""
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
    ready: Callable[[Snapshot, Actor], str | None] = field(default=lambda case, actor: None)
    """Why it makes no sense now, before anything is given; None: it does. What ``legal`` goes by."""
