"""The lamps: what is late is seen, once for each lamp, with the moment at which it became late.

``sweep`` reads only the limits whose next lamp is due (a partial index), locks their cases in small batches, and lights
what is due: also after a week without a process each lamp's row in the log has the moment it was due at, never the
moment it was noticed. What a lamp causes – a word to the unit, a ring for an urgent order nobody signed for, a
supervision sheet – is written in the same transaction (``cases.lamps``). Sheets and notes of people: ``cases.sheets``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select

from callcenter.cases.lamps import SweepResult, due, light
from callcenter.cases.life import CaseDeadline
from callcenter.cases.sheets import add_note, issue_sheet, receipt_sheet, reply_sheet
from callcenter.periodic import Periodic
from callcenter.storage.engine import Database, store_is_at_fault

__all__ = [
    "LampWatch",
    "SweepResult",
    "SweepSettings",
    "add_note",
    "issue_sheet",
    "light",
    "receipt_sheet",
    "reply_sheet",
    "sweep",
]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """How a sweep works."""

    batch: int = 200
    """Cases of one transaction: on SQLite a caller's write waits for it, some tens of milliseconds."""
    read: int = 10_000
    """Limits read at once."""


async def sweep(db: Database, at: datetime, settings: SweepSettings = SweepSettings()) -> SweepResult:
    """Light every lamp that is due at ``at``. Idempotent; several processes may sweep at once.

    A case that cannot be done is left for the next sweep, logged, and counted in ``faults``. Raises what the store
    raises when it is the store that fails.
    """
    result = SweepResult()
    tried: set[UUID] = set()
    while True:
        async with db.read() as session:
            found = await session.scalars(
                select(CaseDeadline.case_id)
                .where(*due(at))
                .order_by(CaseDeadline.next_lamp_at)
                .limit(settings.read + len(tried))
            )
            # A case is tried once a sweep: one that cannot be done must not keep it going round.
            cases = [id for id in dict.fromkeys(found) if id not in tried]
        if not cases:
            return result
        tried.update(cases)
        for start in range(0, len(cases), settings.batch):
            result.add(await _batch(db, cases[start : start + settings.batch], at))


async def _batch(db: Database, cases: Sequence[UUID], at: datetime) -> SweepResult:
    try:
        async with db.begin() as session:
            return await light(session, cases, at)
    except Exception as error:
        if len(cases) > 1:
            # One bad case, or a deadlock with somebody who holds several: each for itself.
            result = SweepResult()
            for case in cases:
                result.add(await _batch(db, [case], at))
            return result
        if store_is_at_fault(error):
            raise
        log.error("lamps of a case cannot be lit", case=str(cases[0]), error=type(error).__name__, exc_info=error)
        return SweepResult(faults=1)


class LampWatch(Periodic):
    """Sweeps again and again while a process lives, first at once: lamps may have come due while none ran."""

    def __init__(self, db: Database, *, every_s: float, settings: SweepSettings = SweepSettings()) -> None:
        super().__init__("lamps", lambda at: sweep(db, at, settings), every_s=every_s)
