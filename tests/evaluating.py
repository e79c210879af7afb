"""A small city whose cases are written straight into the tables, a step at a time: what evaluation counts from."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.life import CaseDeadline, CaseOrder
from callcenter.cases.model import Case, CaseLog
from callcenter.city.model import Area, Unit
from callcenter.insight.evaluations import fold
from callcenter.storage.engine import Database

T0 = datetime(2026, 9, 28, 1, 0, tzinfo=UTC)
AT = datetime(2026, 12, 1, tzinfo=UTC)
CITY, STREET, GRID, GRID2 = (UUID(int=n) for n in (1, 2, 3, 4))
UNITS = [UUID(int=n) for n in (11, 12, 13)]
PEOPLE = [str(UUID(int=n)) for n in range(21, 27)]
CODES = ["0101", "0209"]


@dataclass
class City:
    """Writes cases straight into the tables, a step at a time."""

    db: Database
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    seq: Counter[UUID] = field(default_factory=Counter)

    async def found(self) -> None:
        async with self.db.begin() as session:
            for key, level, above in ((CITY, 1, None), (STREET, 3, CITY), (GRID, 5, STREET), (GRID2, 5, STREET)):
                session.add(Area(id=key, code=str(key.int), name=f"区域{key.int}", level=level, parent_id=above))
                await session.flush()
            for key in UNITS:
                session.add(
                    Unit(id=key, code=str(key.int), name=f"单位{key.int}", kind="department", level=1, leader="科长",
                         duty_phone="", round_the_clock=False, active=True, created_at=T0)
                )  # fmt: skip

    async def log(
        self,
        session: AsyncSession,
        case: UUID,
        action: str,
        before: str | None,
        after: str,
        at: datetime,
        **detail: Any,
    ) -> None:
        self.seq[case] += 1
        actor = detail.pop("actor", self.dice.choice(PEOPLE))
        session.add(
            CaseLog(case_id=case, seq=self.seq[case], actor=actor, action=action, from_state=before, to_state=after,
                    rule=None, version=self.seq[case], detail=detail, at=at)
        )  # fmt: skip
        await session.execute(update(Case).where(Case.id == case).values(state=after))

    async def opens(self, session: AsyncSession, at: datetime, **more: Any) -> UUID:
        case = UUID(int=self.dice.getrandbits(128))
        values = {
            **{"id": case, "source": self.dice.choice(["phone", "grid", "video"]), "state": "reported"},
            **{"disposition": "case", "decision": "auto", "emergency": [], "secrecy": False, "version": 1},
            **{"created_at": at, "domain": self.dice.choice(["urban", "social"]), "category_kind": "part"},
            **{"category_standard": "GB/T 30428.2-2013", "category_code": self.dice.choice(CODES)},
            **{"area_id": self.dice.choice([GRID, GRID2, STREET])},
            **more,
        }
        await session.execute(insert(Case).values(values))
        await self.log(session, case, "completed", None, "reported", at)
        return case

    async def limit(
        self, session: AsyncSession, case: UUID, phase: str, start: datetime, due: datetime, ended: datetime | None,
        met: bool | None = None, order: UUID | None = None, **more: Any,
    ) -> None:  # fmt: skip
        await session.execute(
            insert(CaseDeadline).values(
                {
                    **{"id": uuid4(), "case_id": case, "order_id": order, "phase": phase, "limit_value": 1.0},
                    **{"limit_unit": "work_day", "started_at": start, "due_at": due, "original_due_at": due},
                    **{"extended": 0, "used_s": 0, "warn_at": due, "yellow_at": due, "red_at": due, "lamp": "none"},
                    **{"provisional": False, "ended_at": ended, "met": met},
                    **more,
                }
            )
        )

    async def order(self, session: AsyncSession, case: UUID, unit: UUID, at: datetime, number: int = 1) -> UUID:
        key = UUID(int=self.dice.getrandbits(128))
        await session.execute(
            insert(CaseOrder).values(
                id=key, case_id=case, unit_id=unit, part="lead", round=number, issued_at=at, issued_by=PEOPLE[0]
            )
        )
        return key

    async def live(self, session: AsyncSession, case: UUID, at: datetime, *, close: bool = True) -> None:
        """From filed to handled, and closed."""
        hour = timedelta(hours=1)
        unit = self.dice.choice(UNITS)
        await self.limit(session, case, "citizen", at, at + 40 * hour, None)
        await self.log(session, case, "file", "reported", "pending_dispatch", at + hour)
        await self.log(session, case, "dispatch", "pending_dispatch", "pending_handle", at + 2 * hour)
        order = await self.order(session, case, unit, at + 2 * hour)
        await self.log(session, case, "sign", "pending_handle", "handling", at + 3 * hour)
        took = self.dice.choice([10, 20, 60])
        done = at + took * hour
        await self.limit(session, case, "handle", at, at + 26 * hour, done, took <= 26, order)
        await self.log(session, case, "report_done", "handling", "pending_check", done)
        if close:
            await self.log(session, case, "check", "checking", "pending_close", done + hour)
            await self.log(session, case, "close", "pending_close", "closed", done + 2 * hour)
            await session.execute(update(Case).where(Case.id == case).values(closed_at=done + 2 * hour))


async def filled(city: City) -> None:
    async with city.db.begin() as session:
        for day in range(0, 60, 2):
            at = T0 + timedelta(days=day, hours=day % 20)
            case = await city.opens(session, at)
            await city.live(session, case, at)
    await fold(city.db, AT)
