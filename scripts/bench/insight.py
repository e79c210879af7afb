"""How long the figures of quality take over a month of labels: each query's best and median wall time, on SQLite or
the database named."""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.bus import MemoryBus
from callcenter.calls.desk import Desk
from callcenter.cases.model import Case, CaseParticulars, Confirmation, lot
from callcenter.insight import quality
from callcenter.insight.quality import Period
from callcenter.storage.engine import Database
from classifier.taxonomy import load


async def fill(db: Database, count: int) -> None:
    """``count`` decided cases of the last 30 days by 20 agents, one in ten corrected, one in fifty blind."""
    dice, now = random.Random(1), clock.now()  # noqa: S311 - the same every time, not secret
    agents = [UUID(int=dice.getrandbits(128)) for _ in range(20)]
    categories = [entry.category for entry in load("GB/T 30428.2-2013").entries]
    for start in range(0, count, 2_000):
        cases, words, labels = [], [], []
        for number in range(start, min(start + 2_000, count)):
            said = dice.choice(categories)
            meant = said if dice.random() < 0.9 else dice.choice(categories)
            case, at = UUID(int=dice.getrandbits(128)), now - timedelta(seconds=dice.random() * 30 * 86_400)
            decision, agent = dice.choice(("auto", "confirm")), dice.choice(agents)
            cases.append(
                {
                    **{"id": case, "number": f"2026{number:09d}", "source": "phone", "state": "pending_dispatch"},
                    **{"disposition": "case", "domain": "urban", "category_standard": meant.standard},
                    **{"category_code": meant.code, "category_kind": meant.kind, "decision": decision},
                    **{"emergency": [], "secrecy": False, "version": 2, "created_at": at, "completed_at": at},
                    **{"draw": lot(case), "confirmed_by": agent},
                }
            )
            words.append({"case_id": case, "text": "人民路的路灯不亮了"})
            labels.append(
                {
                    **{"id": uuid4(), "case_id": case, "user_id": agent, "model": "v1", "at": at, "repeated": False},
                    **{"verdict": "confirmed" if said == meant else "corrected", "blind": dice.random() < 0.02},
                    **{"domain_before": "urban", "domain_after": "urban", "decision_before": decision},
                    **{"standard_before": said.standard, "kind_before": said.kind, "code_before": said.code},
                    **{"standard_after": meant.standard, "kind_after": meant.kind, "code_after": meant.code},
                    **{"disposition_before": "case", "disposition_after": "case"},
                    **{"probability_before": dice.random(), "domain_probability_before": dice.random()},
                    "seconds_to_decide": dice.random() * 20,
                }
            )
        async with db.begin() as session:
            for model, rows in ((Case, cases), (CaseParticulars, words), (Confirmation, labels)):
                await session.execute(insert(model), rows)


async def measure(url: str, count: int, rounds: int) -> None:
    """Fill and measure."""
    db = Database(url)
    await db.connect()
    await db.migrate()
    await fill(db, count)
    period = Period(clock.now() - timedelta(days=31), clock.now() + timedelta(days=1))
    desk = Desk(db, MemoryBus(), blind_every=50)
    asked: dict[str, Callable[[AsyncSession], Awaitable[Any]]] = {
        "quality": lambda session: quality.quality(session, period),
        "confusion": lambda session: quality.confusion(session, period),
        "candidate beside live": lambda session: quality.beside_live(session, period),
        "cases behind a figure": lambda session: quality.decided_cases(session, period, corrected_only=True),
        "what waits at the desk, blind sample included": lambda _: desk.waiting(),
    }
    for name, ask in asked.items():
        taken, worked = [], []
        for _ in range(rounds):
            began, at_work = time.perf_counter(), time.process_time()
            async with db.read() as session:
                await ask(session)
            taken.append((time.perf_counter() - began) * 1_000)
            worked.append((time.process_time() - at_work) * 1_000)
        wall = f"wall best {min(taken):.0f} ms, median {statistics.median(taken):.0f} ms"
        print(f"{name}: {wall}; this process's processor time, median {statistics.median(worked):.0f} ms")
    await db.close()


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--url", help="an empty database to fill (default: SQLite in a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hotline-insight-") as folder:
        url = given.url or f"sqlite+aiosqlite:///{Path(folder) / 'callcenter.db'}"
        asyncio.run(measure(url, given.labels, given.rounds))


if __name__ == "__main__":
    main()
