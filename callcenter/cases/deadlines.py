"""When a limit is over, how much of it is used, and when its lamps are lit. Pure: no clock, no store.

A limit is counted in its own kind of time. Urgent hours and days (紧急工作时, 紧急工作日) run on the clock, through
nights, weekends and holidays; working hours and days (工作时, 工作日) only in working time: the units of GB/T 30428.8
as two city systems use them. One working day is over at the same time of day on the next working day, which is the
working time of exactly one day; what starts outside working time counts from the next working moment.
docs/deadlines.md has the edge cases. Which limit a phase has is ``city_settings``'.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Final

from callcenter.cases.calendar import Calendar, default_calendar
from callcenter.cases.life import NO_LAMP, RED, WARNED, YELLOW
from callcenter.clock import local

__all__ = [
    "DEFAULT_LAMPS",
    "Calendar",
    "Due",
    "LampSettings",
    "Lamps",
    "Limit",
    "LimitUnit",
    "PastDeadline",
    "ahead",
    "default_calendar",
    "due",
    "lamps",
    "length",
    "lit_by",
    "next_lamp",
    "remaining_due",
    "strictest",
    "used",
]

LONGEST: Final = timedelta(days=3660)
"""Ten years: a longer limit is a slip of the pen, and counting it would take seconds."""


class PastDeadline(ValueError):
    """A moment that must lie ahead does not. The message names it."""


class LimitUnit(StrEnum):
    """The kind of time a limit is counted in."""

    URGENT_HOUR = "urgent_hour"
    """紧急工作时: an hour of the clock."""
    URGENT_DAY = "urgent_day"
    """紧急工作日: 24 hours of the clock."""
    WORK_HOUR = "work_hour"
    """工作时: an hour of working time."""
    WORK_DAY = "work_day"
    """工作日: the working time of one working day."""

    @property
    def on_clock(self) -> bool:
        """Whether nights, weekends and holidays count."""
        return self in (LimitUnit.URGENT_HOUR, LimitUnit.URGENT_DAY)


@dataclass(frozen=True, slots=True)
class Limit:
    """So much of a kind of time. Raises ValueError unless ``value`` is above zero and at most LONGEST of the clock."""

    value: float
    unit: LimitUnit

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", _unit(self.unit))
        hours = 1 if self.unit in (LimitUnit.URGENT_HOUR, LimitUnit.WORK_HOUR) else 24
        if not isfinite(self.value) or self.value <= 0 or self.value * hours > LONGEST / timedelta(hours=1):
            raise ValueError(
                f"a limit of {self.value} {self.unit}: give more than zero and at most {LONGEST.days} days"
            )

    def times(self, count: int) -> "Limit":
        """This limit ``count`` times over, as extensions grant it."""
        return Limit(self.value * count, self.unit)


@dataclass(frozen=True, slots=True)
class Due:
    """When a limit is over, UTC. ``provisional``: counted over days of a year whose holidays are not known yet."""

    at: datetime
    provisional: bool


@dataclass(frozen=True, slots=True)
class LampSettings:
    """When lamps are lit. Hours are of the clock, after the due. Raises ValueError for values out of order.

    Defaults: DOMAIN.md §4 row 20 (overdue one day yellow, two days red; 80 % of a limit a warning).
    """

    warn_share: float = 0.8
    """Of the limit's own time."""
    yellow_after_h: float = 24.0
    red_after_h: float = 48.0
    urgent_yellow_after_h: float = 0.0
    """Of limits in urgent hours and days: yellow at the limit itself."""

    def __post_init__(self) -> None:
        if not 0 < self.warn_share <= 1:
            raise ValueError(f"warn_share {self.warn_share}: a share of the limit, above 0 and at most 1")
        if not 0 <= self.urgent_yellow_after_h <= self.red_after_h or not 0 <= self.yellow_after_h <= self.red_after_h:
            raise ValueError(
                f"lamps yellow after {self.yellow_after_h} h (urgent {self.urgent_yellow_after_h} h), red after "
                f"{self.red_after_h} h: none before the limit, and red not before yellow"
            )


DEFAULT_LAMPS: Final = LampSettings()


@dataclass(frozen=True, slots=True)
class Lamps:
    """When each lamp of a limit is lit, UTC; never out of order."""

    warn_at: datetime
    yellow_at: datetime
    red_at: datetime


def length(limit: Limit, calendar: Calendar) -> timedelta:
    """How much of its own kind of time a limit is: a working day is ``calendar.day_length``."""
    if limit.unit is LimitUnit.URGENT_DAY:
        return timedelta(days=limit.value)
    if limit.unit is LimitUnit.WORK_DAY:
        return calendar.day_length * limit.value
    return timedelta(hours=limit.value)


def due(start: datetime, limit: Limit, calendar: Calendar) -> Due:
    """When ``limit`` is over that runs from ``start`` without a pause. Raises ValueError for a naive time."""
    return remaining_due(start, limit, timedelta(), calendar)


def remaining_due(resume_at: datetime, limit: Limit, used: timedelta, calendar: Calendar) -> Due:
    """When ``limit`` is over that runs on from ``resume_at`` after ``used`` of its own kind of time.

    More used than there was: the due lies before ``resume_at`` by what is over, so an overdue limit stays as much
    overdue as it was. Raises ValueError for a naive time or a negative ``used``.
    """
    if used < timedelta():
        raise ValueError(f"{used} of a limit used: a clock that jumped back uses nothing, see used()")
    start, left = local(resume_at), length(limit, calendar) - used
    if limit.unit.on_clock or not left:
        over = start + left
    elif left < timedelta():
        over = calendar.before(start, -left)
    elif limit.unit is LimitUnit.WORK_HOUR:
        over = calendar.after(start, left)
    else:
        over = calendar.next_moment(start)
        days, left = divmod(left, calendar.day_length)
        for _ in range(days):
            over = datetime.combine(calendar.next_workday(over.date()), over.timetz())
        if left:
            over = calendar.after(over, left)
    first, last = sorted((start.date(), over.date()))
    known = limit.unit.on_clock or calendar.first_unknown(first, last) is None
    return Due(over.astimezone(UTC), not known)


def used(start: datetime, end: datetime, unit: LimitUnit, calendar: Calendar) -> timedelta:
    """How much time of its kind has gone by; zero when ``end`` is the earlier, as after a clock that jumped back."""
    if LimitUnit(unit).on_clock:
        return max(local(end) - local(start), timedelta())
    return calendar.between(start, end)


def lamps(
    start: datetime, due: datetime, limit: Limit, calendar: Calendar, settings: LampSettings = DEFAULT_LAMPS
) -> Lamps:
    """When the lamps of a limit are lit. ``limit``: all that was granted, extensions included; ``start``: since when it
    runs, or runs again.

    The warning comes when ``warn_share`` of the limit is used, but not before ``start``, nor after the due.
    """
    left = length(limit, calendar) * (1 - settings.warn_share)
    on_clock = limit.unit.on_clock or not left
    warn = due - left if on_clock else calendar.before(due, left).astimezone(UTC)
    yellow_h = settings.urgent_yellow_after_h if limit.unit.on_clock else settings.yellow_after_h
    return Lamps(
        warn_at=min(max(warn, start), due),
        yellow_at=due + timedelta(hours=yellow_h),
        red_at=due + timedelta(hours=settings.red_after_h),
    )


def lit_by(lamps: Lamps, at: datetime) -> str:
    """The highest lamp whose moment has come by ``at``: one of ``life.LAMPS``."""
    if at >= lamps.red_at:
        return RED
    if at >= lamps.yellow_at:
        return YELLOW
    return WARNED if at >= lamps.warn_at else NO_LAMP


def next_lamp(lamps: Lamps, lit: str) -> datetime | None:
    """When the lamp after ``lit`` is lit; None: there is none. A lamp is lit once: those up to ``lit`` are not lit
    again, whatever moved the limit since. Raises KeyError for a lamp that does not exist."""
    return {NO_LAMP: lamps.warn_at, WARNED: lamps.yellow_at, YELLOW: lamps.red_at, RED: None}[lit]


def strictest(limits: Iterable[Limit], start: datetime, calendar: Calendar) -> Limit:
    """The limit that is over first (就高不就低); of several that end together, the one given first. Raises ValueError
    for none.

    Which of a working and an urgent limit is the stricter depends on when they start: two urgent days end before one
    working day only when days off follow.
    """
    found = min(limits, key=lambda limit: due(start, limit, calendar).at, default=None)
    if found is None:
        raise ValueError("the strictest of no limits: give at least one")
    return found


def ahead(moment: datetime, at: datetime, what: str) -> datetime:
    """``moment``, which must lie after ``at``. Raises PastDeadline naming ``what`` (words of ours, no citizen's)."""
    if moment <= at:
        raise PastDeadline(
            f"{what} would be over on {local(moment).isoformat(timespec='minutes')}, and it is "
            f"{local(at).isoformat(timespec='minutes')} now: give a moment that lies ahead"
        )
    return moment


def _unit(name: str) -> LimitUnit:
    try:
        return LimitUnit(name)
    except ValueError:
        raise ValueError(f"unknown unit {name!r} of a limit: one of {', '.join(LimitUnit)}") from None
