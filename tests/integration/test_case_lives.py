"""Random lives of cases: whatever people try, in whatever order, what must hold of a case holds after every step.

``CASE_LIVES`` says how many lives (the bench: 10,000); a life is some thirty steps and attempts on one case. On a
SQLite file.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from callcenter.cases import intake
from callcenter.cases.act_effects import Words
from callcenter.cases.acts import MACHINE, act, resume_suspended
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.deadlines import default_calendar
from callcenter.cases.life import CaseAppeal, CaseDeadline, CaseEvidence, CaseOrder, CaseRequest
from callcenter.cases.lifecycle import TABLE, Action, Actor, Given, Post, Refused, Side, legal, side_of
from callcenter.cases.model import ENDED, Case, CaseLog
from callcenter.cases.record import Conflict
from callcenter.cases.snapshots import snapshot_of
from callcenter.city.model import DEPARTMENT, STREET, UTILITY, Unit
from callcenter.storage.engine import Database
from callcenter.storage.migrate import migrate
from callcenter.storage.outbox import OutboxEvent
from tests.sample_calls import MANHOLE, QUARREL
from tests.unit.test_lifecycle import LEADS_TO

pytestmark = pytest.mark.integration

LIVES: Final = int(os.environ.get("CASE_LIVES", "25"))
STEPS: Final = 10
"""Rules of one life after its first stretch; ``go_on`` is up to six steps of the case."""
NINE: Final = datetime.fromisoformat("2026-11-23T09:00:00+08:00")
CITY: Final = CitySettings(dispatch_by_rule=False)
UNITS: Final = tuple(uuid4() for _ in range(4))
LOGGED: Final = {"filed": Action.FILE}
LIT: Final = frozenset({"lamp", "sheet_issued"})
"""What is lit or issued for a late case: rows of the log between its steps."""
WITH_LEAD: Final = frozenset({"pending_handle", "handling", "suspended"})


SEEDS: Final = st.integers(0, 2**32 - 1)


def _actor(*posts: Post, unit: UUID | None = None) -> Actor:
    return Actor(str(uuid4()), frozenset(posts), unit)


PEOPLE: Final = (
    _actor(Post.AGENT),
    _actor(Post.AGENT),
    _actor(Post.DUTY_CHIEF),
    _actor(Post.DUTY_CHIEF),
    _actor(Post.DISPATCHER),
    _actor(Post.DISPATCHER),
    _actor(Post.COLLECTOR),
    *(_actor(Post.UNIT, unit=unit) for unit in UNITS),
    _actor(*(set(Post) - {Post.SYSTEM}), unit=UNITS[0]),
    _actor(Post.INSPECTOR, Post.LEADER, Post.ANALYST, Post.MAINTAINER, Post.VOLUNTEER),
    MACHINE,
)


class Store:
    """The one store of a run, and the loop it lives in."""

    db: Database
    runner: asyncio.Runner

    @classmethod
    def run(cls, work: Coroutine[Any, Any, Any]) -> Any:
        """Wait for ``work``."""
        return cls.runner.run(work)


@pytest.fixture
def store() -> Iterator[None]:
    # In memory where there is such a place: a life is some forty commits, each synced.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="case-lives-", dir=memory if os.access(memory, os.W_OK) else None))
    with asyncio.Runner() as runner:
        Store.runner, Store.db = runner, Database(f"sqlite+aiosqlite:///{folder / 'lives.db'}")
        runner.run(_open(Store.db))
        yield
        runner.run(Store.db.close())
    shutil.rmtree(folder)


async def _open(db: Database) -> None:
    await migrate(str(db.url))
    await db.connect()
    async with db.begin() as session:
        for number, (unit, kind) in enumerate(zip(UNITS, (DEPARTMENT, STREET, UTILITY, DEPARTMENT), strict=True)):
            session.add(
                Unit(
                    id=unit,
                    code=f"u{number}",
                    name=f"u{number}",
                    kind=kind,
                    level=2,
                    # The second stands under the first: who accuses the first accuses it, too.
                    parent_id=UNITS[0] if number == 1 else None,
                    leader="",
                    duty_phone="",
                    round_the_clock=False,
                    active=number != 3,
                    created_at=NINE,
                )
            )
            await session.flush()


class Life(RuleBasedStateMachine):
    """One case and everybody who may want something of it."""

    def __init__(self) -> None:
        super().__init__()
        self.at = NINE
        self.case = uuid4()
        self.accused: UUID | None = None
        self.seen: list[tuple[Any, ...]] = []
        self.sides: dict[str, set[Side]] = {}
        self.taken = 0
        self.pictures = 0

    @initialize(
        source=st.sampled_from(["110", "web", "collector", "iot", "other"]),
        category=st.sampled_from([MANHOLE, QUARREL, MANHOLE, None]),
        question=st.integers(0, 9).map(lambda number: number == 0),
        accused=st.sampled_from([None, None, UNITS[0]]),
        number=st.sampled_from(["13812345678", None]),
        urgency=st.sampled_from(["ordinary", "urgent", "critical"]),
        seed=SEEDS,
        stretch=st.integers(0, 30),
    )
    def report(
        self,
        source: str,
        category: tuple[str, ...] | None,
        question: bool,
        accused: UUID | None,
        number: str | None,
        urgency: str,
        seed: int,
        stretch: int,
    ) -> None:
        """The case comes in, and has gone some way before anything unusual is tried."""
        standard, code, kind, major, minor = category or (None,) * 5
        new = intake.NewCase(
            source=source,
            text="井盖",
            disposition="question" if question else "case",
            standard=standard,
            code=code,
            kind=kind,
            major=major,
            minor=minor,
            accused_unit_id=accused,
            reporter_number=number,
            urgency=urgency,
        )
        self.accused = accused

        async def work() -> None:
            async with Store.db.begin() as session:
                await intake.register(session, self.case, new, by=PEOPLE[0].id, at=self.at, city=CITY)

        Store.run(work())
        self.sides[PEOPLE[0].id] = {Side.SUPERVISION}
        self._go(Random(seed), stretch)

    @rule(minutes=st.sampled_from([1, 10, 120, 24 * 60, 24 * 60, 5 * 24 * 60, 40 * 24 * 60]))
    def wait(self, minutes: int) -> None:
        """Time passes."""
        self.at += timedelta(minutes=minutes)

    @rule(kind=st.sampled_from(["after", "after", "before"]), old=st.booleans())
    @precondition(lambda self: self.pictures < 8)
    def picture(self, kind: str, old: bool) -> None:
        """Somebody adds a picture; an old one has been in another case before."""
        self.pictures += 1
        self._add_picture(kind, old)

    def _add_picture(self, kind: str, old: bool) -> None:
        self.at += timedelta(minutes=1)

        async def work() -> None:
            async with Store.db.begin() as session:
                sha = uuid4().hex * 2
                row = {"kind": kind, "sha256": sha, "media": "image/jpeg", "size": 1, "added_by": PEOPLE[6].id}
                if old:
                    elsewhere = await session.scalar(select(Case.id).where(Case.id != self.case).limit(1))
                    if elsewhere is not None:
                        before = self.at - timedelta(seconds=1)
                        session.add(CaseEvidence(id=uuid4(), case_id=elsewhere, added_at=before, **row))
                session.add(CaseEvidence(id=uuid4(), case_id=self.case, added_at=self.at, **row))

        Store.run(work())

    @rule(seed=SEEDS, steps=st.integers(1, 6))
    def go_on(self, seed: int, steps: int) -> None:
        """Steps that are open to those who take them, each nearly always with what it needs."""
        self._go(Random(seed), steps)

    def _go(self, lot: Random, steps: int) -> None:
        # By lot and not by hypothesis, whose choices lean to the first ones: a life should get somewhere.
        for number in range(steps):
            pairs = Store.run(self._open_steps())
            if not pairs:
                return
            lasting = [pair for pair in pairs if pair[0] not in ENDS]
            action, who = lot.choice(lasting if lasting and lot.random() < 0.97 else pairs)
            self.at += timedelta(minutes=lot.choice([1, 1, 30, 300, 3000]))
            if action in (Action.REPORT_DONE, Action.SELF_HANDLE) and lot.random() < 0.8:
                self._add_picture("after", old=False)
            self._try(action, who, *self._fitting(lot, action))
            if number < steps - 1:
                self.everything_holds()

    @rule(seed=SEEDS, steps=st.integers(3, 6))
    def go_further(self, seed: int, steps: int) -> None:
        """As above, so that a life gets somewhere."""
        self._go(Random(seed), steps)

    @rule(data=st.data(), action=st.sampled_from(Action), who=st.sampled_from(PEOPLE))
    def any_step(self, data: st.DataObject, action: Action, who: Actor) -> None:
        """Somebody tries whatever comes to mind."""
        self._try(action, who, *self._anything(data))

    @rule(behind=st.integers(1, 3), action=st.sampled_from(Action), who=st.sampled_from(PEOPLE[:-1]))
    def a_step_on_an_old_version(self, behind: int, action: Action, who: Actor) -> None:
        """Somebody has not seen what was done since."""

        async def work() -> None:
            async with Store.db.begin() as session:
                case = await session.get_one(Case, self.case)
                await act(session, self.case, action, actor=who, expected_version=case.version - behind, at=self.at)

        with pytest.raises(Conflict):
            Store.run(work())

    @rule()
    def the_job_resumes(self) -> None:
        """The time of a suspension is over, or the job comes again."""

        async def work() -> None:
            async with Store.db.begin() as session:
                await resume_suspended(session, self.case, self.at, CITY)

        Store.run(work())

    # -- how steps are tried ---------------------------------------------------------------------------------------

    async def _open_steps(self) -> list[tuple[Action, Actor]]:
        async with Store.db.read() as session:
            case = await session.get_one(Case, self.case)
            now = await snapshot_of(session, case, calendar=default_calendar(), city=CITY)
        found: list[tuple[Action, Actor]] = []
        for who in PEOPLE:
            sides = frozenset() if who is MACHINE else frozenset(self.sides.get(who.id, ()))
            found += [(step, who) for step in legal(now, replace(who, sides=sides))]
        return found

    def _fitting(self, lot: Random, action: Action) -> tuple[Given, Words]:
        results = ["passed", "failed"] if action is Action.CHECK else ["exists", "exists", "cannot_tell", "not_exists"]
        given = Given(
            unit=lot.choice(UNITS[:3]),
            assisting=lot.choice([(), (), (UNITS[2],)]),
            result=lot.choice(results),
            until=self.at + timedelta(days=lot.choice([2, 50])),
            reached=lot.random() < 0.8,
            satisfaction=lot.choice(["satisfied", "basically", "dissatisfied"]),
            granted=lot.random() < 0.5,
        )
        return given, Words(reason=lot.choice(["因为"] * 9 + [""]), text="如此", police_number=uuid4().hex)

    def _anything(self, data: st.DataObject) -> tuple[Given, Words]:
        some = data.draw(
            st.fixed_dictionaries(
                {
                    "reason": st.booleans(),  # does not count: Words do
                    "evidence_after": st.booleans(),
                    "unit": st.sampled_from([None, *UNITS, uuid4()]),
                    "assisting": st.lists(st.sampled_from(UNITS), max_size=2).map(tuple),
                    "handler": st.sampled_from([None, uuid4()]),
                    "result": st.sampled_from([None, "exists", "passed", "failed", "x"]),
                    "until": st.sampled_from([None, self.at, self.at + timedelta(days=3)]),
                    "reached": st.sampled_from([None, True, False]),
                    "satisfaction": st.sampled_from([None, "satisfied", "x"]),
                    "granted": st.sampled_from([None, True, False]),
                }
            )
        )
        return Given(**some), Words(reason=data.draw(st.sampled_from(["", " ", "因为"])))

    def _try(self, action: Action, who: Actor, given: Given, words: Words) -> None:
        self.at += timedelta(minutes=1)

        async def work() -> Case | None:
            async with Store.db.read() as session:
                before = await session.get_one(Case, self.case)
            try:
                async with Store.db.begin() as session:
                    return await act(
                        session,
                        self.case,
                        action,
                        actor=who,
                        given=given,
                        words=words,
                        expected_version=before.version,
                        at=self.at,
                        city=CITY,
                        rule="test.rule" if who is MACHINE else None,
                    )
            except Refused as refused:
                assert refused.reason  # noqa: PT017
            async with Store.db.read() as session:
                after = await session.get_one(Case, self.case)
            assert (after.version, after.state, after.due_at) == (before.version, before.state, before.due_at)
            return None

        if Store.run(work()) is not None:
            self.taken += 1
            if (side := side_of(action)) is not None and who is not MACHINE:
                self.sides.setdefault(who.id, set()).add(side)

    # -- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def everything_holds(self) -> None:
        """See the module."""
        Store.run(self._check())

    async def _check(self) -> None:
        async with Store.db.read() as session:
            case = await session.get(Case, self.case)
            if case is None:
                return  # not reported yet
            rows = await session.scalars(select(CaseLog).where(CaseLog.case_id == self.case).order_by(CaseLog.seq))
            log = list(rows)
            orders = list(await session.scalars(select(CaseOrder).where(CaseOrder.case_id == self.case)))
            limits = list(await session.scalars(select(CaseDeadline).where(CaseDeadline.case_id == self.case)))
            requests = list(await session.scalars(select(CaseRequest).where(CaseRequest.case_id == self.case)))
            appeals = list(await session.scalars(select(CaseAppeal).where(CaseAppeal.case_id == self.case)))
            told = list(await session.scalars(select(OutboxEvent.id).where(OutboxEvent.case_id == self.case)))
        self._log_holds(case, log)
        assert len(told) == len(log), "one event a step"

        open_orders = [order for order in orders if order.ended_at is None]
        leads = [order for order in open_orders if order.part == "lead"]
        running = [limit for limit in limits if limit.ended_at is None]
        assert len(leads) == (1 if case.state in WITH_LEAD else 0)
        assert not leads or leads[0].unit_id == case.lead_unit_id
        assert bool(open_orders) == bool(leads), "nobody assists where nobody leads"
        assert len({order.unit_id for order in open_orders}) == len(open_orders)
        if self.accused is not None:
            assert not {UNITS[0], UNITS[1]} & {order.unit_id for order in orders}, "the accused, and all under it"
        assert UNITS[3] not in {order.unit_id for order in orders}, "a unit that is dissolved gets no order"
        assert sorted({order.round for order in orders}) == list(range(1, len({o.round for o in orders}) + 1))
        assert [limit.phase for limit in running].count("citizen") == (0 if case.state in ENDED else 1)
        if case.state in ENDED:
            assert not open_orders
            assert not running
            assert not [one for one in requests if one.decided_at is None]
            assert case.closed_at is not None
            assert case.outcome is not None
            assert case.due_at is None
        else:
            assert case.closed_at is None
            assert case.outcome is None
        assert any(limit.paused_at is not None for limit in running) == (case.state == "suspended")
        assert all(limit.order_id in {order.id for order in open_orders} for limit in running if limit.order_id)
        waiting = [one for one in requests if one.decided_at is None]
        assert len({one.kind for one in waiting}) == len(waiting)
        assert len(appeals) <= 1
        assert all(one.second_by != one.first_by for one in appeals if one.second_by is not None)

    def _log_holds(self, case: Case, log: list[CaseLog]) -> None:
        assert [row.seq for row in log] == list(range(1, len(log) + 1)), "no gaps"
        written = [(row.id, row.seq, row.actor, row.action, row.from_state, row.to_state, row.version) for row in log]
        assert written[: len(self.seen)] == self.seen, "append only"
        self.seen = written
        assert case.state == log[-1].to_state
        steps = [row for row in log if row.action not in LIT]
        assert case.version == log[-1].version == len(steps), "a lamp or a sheet is no step"
        assert [row.from_state for row in log] == [None, *(row.to_state for row in log[:-1])]
        for row in log[1:]:
            if row.action in LIT:
                assert (row.from_state, row.actor) == (row.to_state, "system")
                continue
            step = LOGGED.get(row.action) or Action(row.action)
            assert row.to_state in LEADS_TO[step][row.from_state or ""], "every transition is in the table"
            assert row.from_state in TABLE[step].states
            assert (row.rule is not None) or row.actor != "system", "what the machine does names its rule"
        acted: dict[str, set[Side]] = {}
        for row in log:
            if row.actor != "system" and (side := side_of(row.action)) is not None:
                acted.setdefault(row.actor, set()).add(side)
        assert all(len(sides) == 1 for sides in acted.values()), "nobody is on two sides of one case"
        counted = [(row.action, row.to_state) for row in log]
        assert case.returns == sum(action == "grant_return" for action, _ in counted)
        assert case.extensions == sum(action == "grant_extension" for action, _ in counted) <= 2
        assert case.suspensions == sum(action == "grant_suspension" for action, _ in counted) <= 1
        assert case.reworks == counted.count(("check", "pending_handle"))


ENDS: Final = frozenset({Action.REFUSE, Action.CANCEL, Action.HAND_OVER, Action.FORCE_CLOSE, Action.ANSWER})


@pytest.mark.timeout(0)
@pytest.mark.usefixtures("store")
def test_lives_of_cases() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    states, steps = Store.run(_reached())
    print(f"\n{LIVES} lives, {steps} steps taken; states at the end: {dict(sorted(states.items()))}")
    if LIVES >= 1000:
        missing = {action.value for action in Action} - {"answer", "assign", "self_handle"} - Store.run(_taken())
        assert not missing, f"no life ever took {missing}"


async def _reached() -> tuple[dict[str, int], int]:
    async with Store.db.read() as session:
        states: dict[str, int] = {}
        for state in await session.scalars(select(Case.state)):
            states[state] = states.get(state, 0) + 1
        return states, len(list(await session.scalars(select(CaseLog.id))))


async def _taken() -> set[str]:
    async with Store.db.read() as session:
        return set(await session.scalars(select(CaseLog.action).distinct()))
