"""One row of a limit: what follows from its start, what it has used, how it is counted again. No store, no case.

``clocks`` is the door; nothing else writes these rows but the lamp that ``supervision`` lights.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

import structlog

from callcenter.cases.deadlines import (
    Calendar,
    Due,
    LampSettings,
    Limit,
    LimitUnit,
    due,
    lamps,
    next_lamp,
    remaining_due,
    used,
)
from callcenter.cases.life import CaseDeadline
from callcenter.clock import local

log = structlog.get_logger()


def limit_of(row: CaseDeadline) -> Limit:
    """The limit as it was first given."""
    return Limit(row.limit_value, LimitUnit(row.limit_unit))


def granted(row: CaseDeadline) -> Limit:
    """All that was given: the limit and its extensions."""
    return limit_of(row).times(1 + row.extended)


def counted(row: CaseDeadline, calendar: Calendar) -> Due:
    """The due that follows from what a row says; of a paused one, as if it were resumed at the same moment."""
    return remaining_due(row.started_at, granted(row), timedelta(seconds=row.used_s), calendar)


def used_by(deadline: CaseDeadline, calendar: Calendar, at: datetime) -> timedelta:
    """How much of its own kind of time a limit has used by ``at``, or by its end or pause if that was earlier."""
    until = min(moment for moment in (at, deadline.paused_at, deadline.ended_at) if moment is not None)
    since = used(deadline.started_at, until, LimitUnit(deadline.limit_unit), calendar)
    return timedelta(seconds=deadline.used_s) + since


def begin(
    row: CaseDeadline,
    at: datetime,
    calendar: Calendar,
    lamp_settings: LampSettings,
    signing: CaseDeadline | None = None,
) -> None:
    """Let a limit that has not run yet run from ``at``; ``signing``: the sign limit whose end that is."""
    unsure = signing is not None and signing.provisional
    row.started_at, row.original_due_at = at, due(at, limit_of(row), calendar).at
    over = counted(row, calendar)
    put(row, Due(over.at, over.provisional or unsure), calendar, lamp_settings)


def put(row: CaseDeadline, over: Due, calendar: Calendar, lamp_settings: LampSettings) -> None:
    """Give a row its due and the lamps that follow from it. A lamp that is lit stays lit."""
    row.due_at, row.provisional = over.at, over.provisional
    lit = lamps(row.started_at, over.at, granted(row), calendar, lamp_settings)
    row.warn_at, row.yellow_at, row.red_at = lit.warn_at, lit.yellow_at, lit.red_at
    row.next_lamp_at = next_lamp(lit, row.lamp)


def end(row: CaseDeadline, at: datetime, *, met: bool | None) -> None:
    """End a limit; no lamp of it is lit any more."""
    row.ended_at, row.met, row.next_lamp_at = at, met, None


def count_again(
    row: CaseDeadline,
    signing: CaseDeadline | None,
    dues_before: Mapping[UUID, datetime],
    calendar: Calendar,
    lamp_settings: LampSettings,
) -> None:
    """Count a row by a calendar that has changed. ``signing``: the sign limit that a handle limit may wait for;
    ``dues_before``: by id of the row, before anything was counted again."""
    if signing is not None and row.started_at == dues_before[signing.id]:
        begin(row, signing.due_at, calendar, lamp_settings, signing)
        return
    over = counted(row, calendar)
    # The end of a day and the start of the next are one moment of working time: a due is not moved between them.
    if used(min(over.at, row.due_at), max(over.at, row.due_at), LimitUnit(row.limit_unit), calendar):
        put(row, over, calendar, lamp_settings)
    else:
        row.provisional = over.provisional


def alarm(row: CaseDeadline, calendar: Calendar) -> None:
    """Say in the log, once a year and process, that limits reach into a year whose holidays are not known."""
    if row.provisional:
        first, last = sorted((local(row.started_at).date(), local(row.due_at).date()))
        if (unknown := calendar.first_unknown(first, last)) is not None:
            tell_unknown(unknown.year)


@lru_cache(maxsize=64)
def tell_unknown(year: int) -> None:
    """The alarm itself; ``tell_unknown.cache_clear()`` makes it sound again."""
    log.warning(
        "calendar.year_unknown",
        year=year,
        mend="install the chinesecalendar that knows it; open limits are then recomputed",
    )
