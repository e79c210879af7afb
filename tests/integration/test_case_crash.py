"""kill -9 between any two statements of a case's life: a consistent store, nothing lost, nothing doubled.

``CRASH_KILLS`` says how often; the default is CI's.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

import pytest
from sqlalchemy import func, select

from callcenter.cases.act_effects import RESUME
from callcenter.cases.acts import resume_job
from callcenter.cases.life import CITIZEN, CaseDeadline, CaseOrder, SupervisionSheet
from callcenter.cases.lifecycle import OPEN
from callcenter.cases.model import Case, CaseLog
from callcenter.cases.supervision import sweep
from callcenter.insight.evaluations import fold, recompute
from callcenter.jobs.model import Job
from callcenter.jobs.runner import Runner
from callcenter.messages.model import Message
from callcenter.messages.sending import handlers
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent
from tests.peers.living import founded

pytestmark = pytest.mark.integration

KILLS: Final = int(os.environ.get("CRASH_KILLS", "30"))
ROOT: Final = Path(__file__).resolve().parents[2]
RUNS: Final = {
    "reported": {"file"},
    "pending_verify": {"verify"},
    "pending_filing": {"file"},
    "pending_dispatch": {"dispatch"},
    "pending_handle": {"sign", "handle"},
    "handling": {"handle"},
    "pending_close": {"close"},
}
"""Limits that run in a state, beside the citizen's."""


@pytest.mark.timeout(600)
async def test_killed_at_random_points_a_store_of_cases_stays_whole(db: Database, db_url: str) -> None:
    await founded(db)
    dice = Random(11)
    inside = 0
    launcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.peers.living", db_url),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    try:
        for number in range(KILLS):
            launcher.stdin.write(f"{number}\n".encode())
            marks = b""
            pid = 0
            while not pid or b"(" not in marks:  # a life that has begun
                line = await launcher.stdout.read(4096)
                assert line, "the lives ended by themselves"
                marks += line
                pid = pid or next((int(one) for one in marks.split(b"\n") if one.isdigit()), 0)
            await asyncio.sleep(dice.uniform(0.05, 0.9))
            os.kill(pid, signal.SIGKILL)
            while b"dead" not in marks:
                marks += await launcher.stdout.read(4096)
            done = [mark for mark in marks.decode() if mark in "()"]
            inside += done[-1] == "("
            await whole(db)
    finally:
        launcher.kill()
        await launcher.wait()
    assert inside > KILLS // 8, "hardly a kill fell into a change: the test has shown nothing"
    async with db.read() as session:
        actions = Counter(await session.scalars(select(CaseLog.action)))
        last = await session.scalar(select(func.max(CaseLog.at)))
    assert actions["sign"] > 3, actions
    assert actions["lamp"] > 3
    assert last is not None

    # What was left over is carried out, once; the figures are those of the log.
    at = last + timedelta(days=1)
    await sweep(db, at)
    runner = Runner(db, {**handlers(None, now=lambda: last), RESUME: resume_job})
    for _ in range(4):
        while await runner.run_once(at):
            pass
        at += timedelta(hours=2)
    await whole(db)
    async with db.read() as session:
        left = list(await session.scalars(select(Job).where(Job.done_at.is_(None), Job.run_at <= at)))
        found = [(job.kind, job.fault) for job in left if job.kind not in ("unit.ring", "police.result")]
        assert not found, "only rings and answers to 110 are left: nobody takes them here"
    await fold(db, at)
    assert (await recompute(db, at)).differed == 0


async def whole(db: Database) -> None:
    """What must hold of every case, whatever was cut off."""
    async with db.read() as session:
        cases = list(await session.scalars(select(Case)))
        log = list(await session.scalars(select(CaseLog).order_by(CaseLog.case_id, CaseLog.seq)))
        limits = list(await session.scalars(select(CaseDeadline)))
        orders = list(await session.scalars(select(CaseOrder)))
        events = (await session.execute(select(OutboxEvent.case_id, OutboxEvent.kind, OutboxEvent.refs))).all()
        sheets = list(await session.scalars(select(SupervisionSheet)))
        messages = list(await session.scalars(select(Message.key)))
    told = Counter((case, refs.get("version")) for case, kind, refs in events if not kind.endswith(".lamp"))
    numbers = sorted(str(case.number) for case in cases)
    by_day: dict[str, list[int]] = {}
    for number in numbers:
        by_day.setdefault(number[:8], []).append(int(number[8:]))
    for day in by_day.values():
        assert day == list(range(1, len(day) + 1)), "numbers are given once each, without a gap"
    for case in cases:
        rows = [row for row in log if row.case_id == case.id]
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert (case.state, case.version) == (rows[-1].to_state, rows[-1].version)
        assert [row.from_state for row in rows] == [None, *(row.to_state for row in rows[:-1])]
        for row in rows:
            assert told[case.id, row.version], f"{row.action} at version {row.version} was told nobody"
        running = {row.phase for row in limits if row.case_id == case.id and row.ended_at is None}
        if case.state in OPEN:
            assert CITIZEN in running
            assert RUNS.get(case.state, set()) <= running | {"verify"}, case.state
        else:
            assert not running, case.state
        leads = [row for row in orders if row.case_id == case.id and row.part == "lead" and row.ended_at is None]
        assert len(leads) == (case.state in ("pending_handle", "handling", "suspended"))
    lamps = Counter((row.detail["deadline"], row.detail["lamp"]) for row in log if row.action == "lamp")
    assert set(lamps.values()) <= {1}, "each lamp is lit once"
    unanswered = Counter((sheet.case_id, sheet.unit_id) for sheet in sheets if sheet.replied_at is None)
    assert set(unanswered.values()) <= {1}
    assert len(messages) == len(set(messages))
