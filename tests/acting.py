"""People who act on cases without HTTP, and a clock that the test moves. Import ``house`` with what it needs."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from callcenter.cases import intake
from callcenter.cases.act_effects import Words
from callcenter.cases.acts import act
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.life import CaseDeadline, CaseEvidence
from callcenter.cases.lifecycle import Action, Actor, Given, Post, Refused
from callcenter.cases.model import Case, CaseLog
from callcenter.city.model import DEPARTMENT, STREET, Area, Unit
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent
from tests.sample_calls import MANHOLE

NINE = datetime.fromisoformat("2026-11-23T09:00:00+08:00")
"""A Monday morning."""
WEB = intake.NewCase(
    source="110",
    text="解放大道路口的井盖不见了",
    domain="urban",
    standard=MANHOLE[0],
    code=MANHOLE[1],
    kind=MANHOLE[2],
    major=MANHOLE[3],
    minor=MANHOLE[4],
    address="解放大道",
    reporter_number="13812345678",
)
"""What 110 hands over is exempt from verification (免核实)."""
BY_HAND = CitySettings(dispatch_by_rule=False)


def somebody(*posts: Post, unit: UUID | None = None) -> Actor:
    """A new person with these posts."""
    return Actor(str(uuid4()), frozenset(posts), unit)


@dataclass
class House:
    """People of both centres, two units, and a clock that the test moves."""

    db: Database
    roads: UUID = field(default_factory=uuid4)
    street: UUID = field(default_factory=uuid4)
    other: UUID = field(default_factory=uuid4)
    area: UUID = field(default_factory=uuid4)
    at: datetime = NINE
    city: CitySettings = BY_HAND
    agent: Actor = field(default_factory=lambda: somebody(Post.AGENT))
    chief: Actor = field(default_factory=lambda: somebody(Post.DUTY_CHIEF))
    second_chief: Actor = field(default_factory=lambda: somebody(Post.DUTY_CHIEF))
    dispatcher: Actor = field(default_factory=lambda: somebody(Post.DISPATCHER))
    collector: Actor = field(default_factory=lambda: somebody(Post.COLLECTOR))

    async def open(self) -> "House":
        """Write the units."""
        async with self.db.begin() as session:
            session.add(Area(id=self.area, code="420802001", name="龙泉街道", level=3, parent_id=None))
            await session.flush()
            for unit, kind, area in (
                (self.roads, DEPARTMENT, None),
                (self.street, STREET, self.area),
                (self.other, DEPARTMENT, None),
            ):
                session.add(
                    Unit(
                        id=unit,
                        code=unit.hex[:8],
                        name="市政管理处",
                        kind=kind,
                        level=2,
                        area_id=area,
                        leader="处长",
                        duty_phone="",
                        round_the_clock=False,
                        active=True,
                        created_at=self.at,
                    )
                )
        return self

    def of(self, unit: UUID) -> Actor:
        """A person of a unit."""
        return somebody(Post.UNIT, unit=unit)

    def later(self, **time: float) -> None:
        """Let time pass."""
        self.at += timedelta(**time)

    async def report(self, **changes: Any) -> UUID:
        """A case that was registered."""
        values = {**{name: getattr(WEB, name) for name in WEB.__slots__}, **changes}
        async with self.db.begin() as session:
            case, fresh = await intake.register(
                session, uuid4(), intake.NewCase(**values), by=self.agent.id, at=self.at, city=self.city
            )
        assert fresh
        return case.id

    async def do(self, case: UUID, action: Action, who: Actor, words: Words | str = "", **given: Any) -> Case:
        """Take a step a minute later; ``words``: a text is both the reason and the opinion."""
        self.later(minutes=1)
        if isinstance(words, str):
            words = Words(reason=words, text=words)
        async with self.db.begin() as session:
            version = await session.scalar(select(Case.version).where(Case.id == case))
            return await act(
                session,
                case,
                action,
                actor=who,
                given=Given(**given),
                words=words,
                expected_version=version,
                at=self.at,
                city=self.city,
            )

    async def picture(self, case: UUID, sha: str = "", kind: str = "after", taken_at: datetime | None = None) -> UUID:
        """A new picture of a case."""
        self.later(minutes=1)
        row = CaseEvidence(
            id=uuid4(),
            case_id=case,
            kind=kind,
            sha256=sha or uuid4().hex * 2,
            media="image/jpeg",
            size=1000,
            taken_at=taken_at,
            added_at=self.at,
            added_by=self.collector.id,
        )
        async with self.db.begin() as session:
            session.add(row)
        return row.id

    async def handled(self, unit: UUID | None = None, **changes: Any) -> UUID:
        """A case that the unit has signed for."""
        case = await self.report(**changes)
        await self.do(case, Action.FILE, self.agent)
        await self.do(case, Action.DISPATCH, self.dispatcher, unit=unit or self.roads)
        await self.do(case, Action.SIGN, self.of(unit or self.roads))
        return case

    async def done(self, case: UUID, unit: UUID | None = None) -> None:
        """The unit reports it done, with a new picture, and it is sent to be checked."""
        await self.picture(case)
        await self.do(case, Action.REPORT_DONE, self.of(unit or self.roads), "修好了")
        await self.do(case, Action.ASK_CHECK, self.agent)

    async def closed(self, **changes: Any) -> UUID:
        """A case that went the straight way."""
        case = await self.handled(**changes)
        await self.done(case)
        await self.do(case, Action.CHECK, self.collector, result="passed")
        await self.do(case, Action.CALL_BACK, self.agent, reached=True, satisfaction="satisfied")
        await self.do(case, Action.CLOSE, self.chief)
        return case

    async def case(self, case: UUID) -> Case:
        """The case as it is."""
        async with self.db.read() as session:
            return await session.get_one(Case, case)

    async def rows(self, model: Any, case: UUID, *order: Any) -> list[Any]:
        """What hangs on a case."""
        async with self.db.read() as session:
            return list(await session.scalars(select(model).where(model.case_id == case).order_by(*order)))

    async def log(self, case: UUID) -> list[CaseLog]:
        """The log of a case."""
        return await self.rows(CaseLog, case, CaseLog.seq)

    async def events(self, case: UUID) -> list[tuple[str, bool]]:
        """What was told of a case, and whether to units."""
        return [(row.kind, row.feed) for row in await self.rows(OutboxEvent, case, OutboxEvent.id)]

    async def running(self, case: UUID) -> set[str]:
        """Phases whose limits run."""
        return {row.phase for row in await self.rows(CaseDeadline, case) if row.ended_at is None}

    async def refused(self, case: UUID, action: Action, who: Actor, match: str, *rest: Any, **given: Any) -> Refused:
        """The refusal of a step, which must change nothing."""
        before = await self.case(case)
        with pytest.raises(Refused, match=match) as refusal:
            await self.do(case, action, who, *rest, **given)
        after = await self.case(case)
        assert (after.state, after.version) == (before.state, before.version)
        return refusal.value


@pytest.fixture
async def house(db: Database) -> House:
    return await House(db).open()
