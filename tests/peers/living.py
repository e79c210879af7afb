"""Lives of cases until somebody kills it: ``python -m tests.peers.living URL``, a seed to live by a line on stdin.

Forks for each seed, so that a kill costs no second of imports, and prints the child's pid. The child prints ``(``
before and ``)`` after each change it makes to the store; what it makes follows from the store and the seed alone.
"""

import asyncio
import os
import sys
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import intake
from callcenter.cases.act_effects import RESUME, Words
from callcenter.cases.acts import act, legal_now, resume_suspended
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.life import CaseEvidence
from callcenter.cases.lifecycle import OPEN, Action, Actor, Given, Post, Refused
from callcenter.cases.model import Case, CaseLog
from callcenter.cases.record import Conflict
from callcenter.cases.supervision import sweep
from callcenter.city.model import DEPARTMENT, UTILITY, Unit
from callcenter.insight.evaluations import fold
from callcenter.jobs.model import Job
from callcenter.jobs.runner import Runner
from callcenter.messages.sending import handlers
from callcenter.storage.engine import Database, store_is_at_fault
from tests.acting import NINE, WEB

SPACE: Final = UUID("7d0c5a0e-1c11-4e59-9d35-2b1c1f6b7a10")
UNITS: Final = tuple(uuid5(SPACE, f"unit {number}") for number in range(3))
CASES: Final = 12
CITY: Final = CitySettings(dispatch_by_rule=False)
SELDOM: Final = frozenset(
    {
        *(Action.CANCEL, Action.REFUSE, Action.HAND_OVER, Action.SELF_HANDLE, Action.RETURN_TO_FILING),
        *(Action.FORCE_CLOSE, Action.ASK_VERIFY),
    }
)
"""What would end most lives before they have begun."""
POSTS: Final = (Post.AGENT, Post.DUTY_CHIEF, Post.DISPATCHER, Post.COLLECTOR)


def person(post: Post, number: int = 0, unit: UUID | None = None) -> Actor:
    """Always the same one of a post and a number."""
    return Actor(str(uuid5(SPACE, f"{post} {number} {unit}")), frozenset({post}), unit)


async def founded(db: Database) -> None:
    """Write the units that live here."""
    async with db.begin() as session:
        for number, unit in enumerate(UNITS):
            session.add(
                Unit(
                    id=unit,
                    code=f"u{number}",
                    name=f"单位{number}",
                    kind=UTILITY if number == 2 else DEPARTMENT,
                    level=2,
                    leader="处长",
                    duty_phone="13900001111",
                    round_the_clock=number == 2,
                    active=True,
                    created_at=NINE,
                )
            )


class Life:
    """One stretch of it."""

    def __init__(self, db: Database, seed: int, say: Any) -> None:
        self.db, self.dice, self._say = db, Random(seed), say

    async def go(self) -> None:
        """One change after the other."""
        while True:
            async with self.db.read() as session:
                last = await session.scalar(select(func.max(CaseLog.at)))
            at = max(last or NINE, NINE) + timedelta(minutes=self.dice.choice([1, 7, 60, 600]))
            what = self.dice.choices([self.report, self.step, self.lamps, self.jobs, self.figures], [2, 16, 2, 2, 1])[0]
            self._say("(")
            try:
                await what(at)
            except (Refused, Conflict):
                pass
            except Exception as error:
                if not store_is_at_fault(error):
                    raise
            self._say(")")

    async def report(self, at: datetime) -> None:
        """Register a case: a new one, or one that was there."""
        number = self.dice.randrange(CASES)
        values = {name: getattr(WEB, name) for name in WEB.__slots__}
        new = intake.NewCase(
            **{**values, "police_number": f"J{number:05d}", "urgency": ["ordinary", "urgent"][number % 2]}
        )
        async with self.db.begin() as session:
            await intake.register(
                session, uuid5(SPACE, f"case {number}"), new, by=person(Post.AGENT).id, at=at, city=CITY
            )

    async def step(self, at: datetime) -> None:
        """Some legal step of some open case, by whoever may take it."""
        async with self.db.begin() as session:
            open_ = list(await session.scalars(select(Case).where(Case.state.in_(OPEN)).order_by(Case.id)))
            if not open_:
                return
            case = self.dice.choice(open_)
            who = [person(post, number) for post in POSTS for number in range(2)]
            who += [person(Post.UNIT, 0, unit) for unit in UNITS]
            self.dice.shuffle(who)
            for actor in who:
                legal = [one for one in await legal_now(session, case, actor, city=CITY) if one not in SELDOM]
                if legal:
                    await self._take(session, case, self.dice.choice(legal), actor, at)
                    return
            await resume_suspended(session, case.id, at, CITY)

    async def _take(self, session: AsyncSession, case: Case, action: Action, actor: Actor, at: datetime) -> None:
        if action in (Action.REPORT_DONE, Action.SELF_HANDLE):
            key = uuid5(case.id, f"{at}")
            session.add(
                CaseEvidence(
                    id=key,
                    case_id=case.id,
                    kind="after",
                    sha256=key.hex * 2,
                    media="image/jpeg",
                    size=1,
                    taken_at=at,
                    added_at=at,
                    added_by=actor.id,
                )
            )
        dice = self.dice
        await act(
            session,
            case.id,
            action,
            actor=actor,
            given=Given(
                unit=dice.choice(UNITS),
                until=at + timedelta(days=dice.choice([1, 5])),
                result=dice.choice(["passed", "passed", "failed"]) if action is Action.CHECK else "exists",
                reached=True,
                satisfaction=dice.choice(["satisfied", "satisfied", "dissatisfied"]),
                granted=True,
            ),
            words=Words(reason="有理由", text="办好了", police_number=f"P{case.number}"),
            expected_version=case.version,
            at=at,
            city=CITY,
        )

    async def lamps(self, at: datetime) -> None:
        """What has come due is lit."""
        await sweep(self.db, at)

    async def jobs(self, at: datetime) -> None:
        """What was asked for is done."""

        async def resume(db: Database, job: Job) -> None:
            async with db.begin() as session:
                await resume_suspended(session, UUID(str(job.refs["case"])), at, CITY)

        await Runner(self.db, {**handlers(None, now=lambda: at), RESUME: resume}, lease_s=600).run_once(at)

    async def figures(self, at: datetime) -> None:
        """The log is folded into the figures."""
        await fold(self.db, at)


async def _live(url: str, seed: int) -> None:
    db = Database(url)
    await db.connect()
    await Life(db, seed, lambda mark: os.write(1, mark.encode())).go()


def main() -> None:
    """Fork a life for each seed."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(_live(sys.argv[1], int(line)))
            os._exit(0)
        os.write(1, f"\n{child}\n".encode())
        os.waitpid(child, 0)
        os.write(1, b"\ndead\n")


if __name__ == "__main__":
    main()
