"""Calls told to a store without a telephone: the commands a real call leads to, in the order in which it does."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from callcenter import clock
from callcenter.bus import LIVE, Bus
from callcenter.calls.commands import (
    CallEnded,
    CallStarted,
    CaseCompleted,
    Command,
    LegKind,
    LegOpened,
    RoutingMade,
    UtteranceHeard,
)
from callcenter.calls.model import case_id
from callcenter.calls.repository import apply
from callcenter.storage.engine import Database
from classifier.taxonomy import Category, load

URBAN = load("GB/T 30428.2-2013")
SOCIAL = load("social")


def category(minor: str) -> Category:
    """The category with this minor name, urban first."""
    return next(entry.category for entry in (*URBAN.entries, *SOCIAL.entries) if entry.category.minor == minor)


def routing(text: str, first: str | None, *others: str, **more: Any) -> dict[str, Any]:
    """An answer as docs/route.schema.json has it, with these minors as the suggestion and the alternatives."""
    found = category(first) if first else None
    return {
        "text": text,
        "disposition": "case" if found else "none",
        "domain": found.domain if found else None,
        "domain_probability": 0.97 if found else 0.0,
        "category": found.to_json() if found else None,
        "probability": 0.83 if found else 0.0,
        "alternatives": [
            {"category": category(name).to_json(), "probability": round(0.09 / (rank + 1), 3)}
            for rank, name in enumerate(others)
        ],
        "decision": "confirm",
        "reasons": ["unit_uncertain"],
        "emergency": None,
        "intent": "complaint",
        "address": None,
        "accused": None,
        "secrecy": False,
        "secondary": None,
        "evidence": [],
        "model": "router-test-7",
        "elapsed_ms": 1.5,
        **more,
    }


@dataclass
class ToldCall:
    """One call: each method is one thing that happens, in the store and, where a bus is given, live."""

    db: Database
    bus: Bus | None = None
    id: UUID = field(default_factory=uuid4)
    number: str = "13812345678"
    rung_at: datetime = field(default_factory=clock.now)
    legs: dict[str, UUID] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)
    routed: int = 0

    @property
    def case(self) -> UUID:
        """The id of the case its words open."""
        return case_id(self.id)

    async def rings(self) -> "ToldCall":
        """It reaches the line and is answered; the citizen's leg opens."""
        await self._apply(
            CallStarted(
                call=self.id,
                line="12319",
                number=self.number,
                rung_at=self.rung_at,
                answered_at=self.rung_at + timedelta(seconds=1),
                recording=f"20261120/{self.id}.wav",
            )
        )
        await self._tell("call", state="live")
        await self.joins("citizen")
        return self

    async def joins(self, kind: LegKind, extension: str = "") -> None:
        """A voice joins."""
        self.legs[kind] = uuid4()
        opened = self.rung_at + timedelta(seconds=1 if kind == "citizen" else 3)
        await self._apply(LegOpened(self.id, self.legs[kind], kind, extension, opened))
        if kind == "agent":
            await self._tell("call", state="talking", extension=extension)

    async def hears(self, text: str, kind: LegKind = "citizen") -> None:
        """Words so far of an utterance under way: live only."""
        await self._tell("partial", leg=str(self.legs[kind]), kind=kind, text=text)

    async def says(
        self,
        text: str,
        kind: LegKind = "citizen",
        *,
        confidence: float = 0.95,
        words: list[dict[str, Any]] | None = None,
    ) -> None:
        """A finished utterance."""
        sequence = self.said.get(kind, 0)
        self.said[kind] = sequence + 1
        start = 2.0 + 4 * sequence
        await self._apply(
            UtteranceHeard(
                call=self.id,
                leg=self.legs[kind],
                sequence=sequence,
                text=text,
                start=start,
                end=start + 3,
                confidence=confidence,
                words=words or [],
                heard_at=clock.now(),
            )
        )
        await self._tell(
            "utterance",
            leg=str(self.legs[kind]),
            kind=kind,
            sequence=sequence,
            text=text,
            start=start,
            end=start + 3,
            confidence=confidence,
            words=words or [],
        )

    async def is_routed(self, text: str, first: str | None, *others: str, **more: Any) -> None:
        """The router answers for the text so far."""
        answer = routing(text, first, *others, **more)
        await self._apply(RoutingMade(self.id, self.routed, text, answer, clock.now()))
        await self._tell("routing", case=str(self.case), sequence=self.routed, routing=answer)
        self.routed += 1

    async def completes(self) -> None:
        """The citizen has said all."""
        await self._apply(CaseCompleted(self.id, clock.now()))
        await self._tell("case", case=str(self.case), state="reported")

    async def ends(self) -> None:
        """The line is free again."""
        await self.completes()
        await self._apply(CallEnded(self.id, clock.now(), 16))
        await self._tell("ended")

    async def _apply(self, command: Command) -> None:
        async with self.db.begin() as session:
            await apply(session, command)

    async def _tell(self, type_: str, /, **fields: Any) -> None:
        if self.bus is not None:
            await self.bus.publish(LIVE, {"type": type_, "call": str(self.id), **fields})
