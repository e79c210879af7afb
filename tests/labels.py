"""Calls that the router answered and a person judged, put into a store as the line and the desk put them there."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from callcenter import clock
from callcenter.calls.commands import (
    CallEnded,
    CallStarted,
    CaseCompleted,
    RoutingMade,
    ShadowMade,
    TimelineMarked,
    shadow_answer,
)
from callcenter.calls.model import case_id
from callcenter.calls.repository import apply
from callcenter.cases.model import Case
from callcenter.cases.repository import CategoryChoice, confirm_routing
from callcenter.storage.engine import Database
from classifier.taxonomy import Category
from tests.telling import category, routing


def chosen(minor: str) -> CategoryChoice:
    """A person's choice of the category with this name."""
    one: Category = category(minor)
    return CategoryChoice(one.domain, one.standard, one.code, one.kind, one.major, one.minor)


AGENT = UUID(int=7)


@dataclass(frozen=True)
class Label:
    """One call from its ring to a person's word: the router says ``said``, the person ``meant``."""

    said: str
    meant: str
    text: str = "人民路的路灯不亮了"
    model: str = "v1"
    decision: str = "confirm"
    probability: float = 0.83
    blind: bool = False
    seconds: float | None = 8.0
    user: UUID = AGENT
    ago: timedelta = timedelta(hours=1)
    shadow: str | None = None
    """What a candidate ``v2`` would have said."""
    more: dict[str, Any] | None = None

    async def write(self, db: Database) -> UUID:
        """Put it into the store; the call's id."""
        call, at = uuid4(), clock.now() - self.ago
        answer = routing(
            self.text,
            self.said,
            model=self.model,
            decision=self.decision,
            probability=self.probability,
            **(self.more or {}),
        )
        commands: list[Any] = [
            CallStarted(call, "12319", "13812345678", at, at, f"20261120/{call}.wav"),
            RoutingMade(call, 0, self.text, answer, at + timedelta(seconds=5)),
            CaseCompleted(call, at + timedelta(seconds=6)),
            TimelineMarked(
                call, {"last_voiced": at + timedelta(seconds=4), "routed": at + timedelta(seconds=4, milliseconds=250)}
            ),
            CallEnded(call, at + timedelta(seconds=9), 16),
        ]
        if self.shadow is not None:
            candidate = shadow_answer(routing(self.text, self.shadow, model="v2", decision=self.decision))
            commands.append(ShadowMade(call, 0, candidate, at + timedelta(seconds=5)))
        async with db.begin() as session:
            for command in commands:
                await apply(session, command)
        async with db.begin() as session:
            case = await session.get_one(Case, case_id(call))
            await confirm_routing(
                session,
                case.id,
                user_id=self.user,
                choice=chosen(self.meant) if self.blind or self.meant != self.said else None,
                expected_version=case.version,
                at=at + timedelta(seconds=20),
                blind=self.blind,
                seconds_to_decide=self.seconds,
            )
        return call


def naming(at: datetime) -> str:
    """The city's day of a moment, as the API names it."""
    return clock.local(at).date().isoformat()
