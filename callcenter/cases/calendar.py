"""When the city works: several periods a day, Chinese holidays and make-up workdays, and the days on which this city
differs.

Holidays are those of the kept library ``chinesecalendar`` (the State Council's yearly notice). Each autumn the next
year is not known yet: its days are then taken by the weekday and said to be provisional.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Protocol

import chinese_calendar
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.lists import CalendarDay
from callcenter.clock import SHANGHAI, local

WORK_PERIODS: Final = ("08:30-12:00", "14:00-17:30")
"""The default working hours, Asia/Shanghai; a city sets its own (``CalendarSettings``)."""

LONGEST_REST: Final = 62
"""Days in a row without work after which a calendar is taken to be broken; the longest rest there was is ten."""

Holidays = Callable[[date], bool | None]
"""Whether the country works on a day; None: nobody has said yet."""


def china(day: date) -> bool | None:
    """Whether ``day`` is a workday in China by the State Council's notice (``chinesecalendar``); None: the installed
    library does not know that year."""
    try:
        works: bool = chinese_calendar.is_workday(day)
    except NotImplementedError:
        return None
    return works


@dataclass(frozen=True, slots=True)
class Period:
    """Working time from ``start`` (inclusive) to ``end`` (exclusive) of one day, Asia/Shanghai.

    Raises ValueError for a period that is not one: night work over midnight is two.
    """

    start: time
    end: time

    def __post_init__(self) -> None:
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise ValueError(f"working period {self}: times of day carry no zone, they are Asia/Shanghai")
        if self.start >= self.end:
            raise ValueError(f"working period {self} ends before it starts: split one over midnight in two")

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return _since_midnight(self.end) - _since_midnight(self.start)


@dataclass(frozen=True)
class Calendar:
    """Working time. ``periods`` are the same on every working day and do not overlap; ``holidays`` says whether the
    country works on a day; ``overrides`` says it for days on which the city differs, and goes first.

    Asia/Shanghai has had no daylight saving time since 1991: a day has 24 hours. Raises ValueError for no periods, or
    periods that overlap.
    """

    periods: tuple[Period, ...]
    holidays: Holidays = china
    overrides: Mapping[date, bool] = field(default_factory=dict)
    _works: dict[date, tuple[bool, bool]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.periods:
            raise ValueError("a calendar without working periods: give at least one, such as 08:30-12:00")
        for one, next_one in zip(self.periods, self.periods[1:], strict=False):
            if one.end > next_one.start:
                raise ValueError(f"working periods {one} and {next_one} overlap or are out of order")

    @property
    def day_length(self) -> timedelta:
        """The working time of one working day."""
        return sum((period.length for period in self.periods), timedelta())

    def works(self, day: date) -> bool:
        """Whether the city works on ``day``. Of a year nobody knows yet: Monday to Friday."""
        return self._of(day)[0]

    def knows(self, day: date) -> bool:
        """Whether that is settled: False makes what is counted over the day provisional."""
        return self._of(day)[1]

    def first_unknown(self, first: date, last: date) -> date | None:
        """The first day from ``first`` to ``last``, both included, that is not settled; None: all are."""
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return next((day for day in days if not self.knows(day)), None)

    def unknown_year(self, first: int) -> int | None:
        """The first year from ``first`` on that the country has said nothing of; None: the next ten are known."""
        return next((year for year in range(first, first + 10) if self.holidays(date(year, 1, 1)) is None), None)

    def _of(self, day: date) -> tuple[bool, bool]:
        found = self._works.get(day)
        if found is None:
            works = self.overrides.get(day)
            if works is None:
                works = self.holidays(day)
            found = (day.weekday() < 5, False) if works is None else (works, True)
            self._works[day] = found
        return found

    def next_workday(self, day: date) -> date:
        """The first working day after ``day``. Raises ValueError when there is none within LONGEST_REST days."""
        return self._workday(day, 1)

    def workday_before(self, day: date) -> date:
        """The last working day before ``day``. Raises ValueError as ``next_workday``."""
        return self._workday(day, -1)

    def _workday(self, day: date, step: int) -> date:
        found = day
        for _ in range(LONGEST_REST):
            found += timedelta(days=step)
            if self.works(found):
                return found
        raise ValueError(
            f"no working day within {LONGEST_REST} days of {day.isoformat()}: remove local days off from the calendar"
        )

    def next_moment(self, moment: datetime) -> datetime:
        """``moment`` if it is working time, else the next moment that is. A period's end is not working time."""
        here = local(moment)
        day = here.date()
        if self.works(day):
            for period in self.periods:
                if here.time() < period.end:
                    return here if here.time() >= period.start else at_time(day, period.start)
        return at_time(self.next_workday(day), self.periods[0].start)

    def worked(self, clock_time: time) -> timedelta:
        """Working time of a working day up to this time of day."""
        index = bisect_right([period.start for period in self.periods], clock_time)
        total = sum((period.length for period in self.periods[:index]), timedelta())
        if index and clock_time < self.periods[index - 1].end:
            total -= _since_midnight(self.periods[index - 1].end) - _since_midnight(clock_time)
        return total

    def after(self, moment: datetime, length: timedelta) -> datetime:
        """The first moment at which ``length`` (above zero) of working time has gone by since ``moment``."""
        here = self.next_moment(moment)
        day, left = here.date(), length + self.worked(here.time())
        while left > self.day_length:
            left -= self.day_length
            day = self.next_workday(day)
        return at_time(day, self._reached(left, last=False))

    def before(self, moment: datetime, length: timedelta) -> datetime:
        """The last moment from which there is ``length`` (above zero) of working time until ``moment``."""
        here = local(moment)
        day = here.date()
        left = (self.worked(here.time()) if self.works(day) else timedelta()) - length
        while left < timedelta():
            left += self.day_length
            day = self.workday_before(day)
        return at_time(day, self._reached(left, last=True))

    def between(self, start: datetime, end: datetime) -> timedelta:
        """Working time from ``start`` to ``end``; zero when ``end`` is the earlier, as after a clock that jumped."""
        first, last = local(start), local(end)
        if last <= first:
            return timedelta()
        total = -self.worked(first.time()) if self.works(first.date()) else timedelta()
        if self.works(last.date()):
            total += self.worked(last.time())
        day = first.date()
        days = 0
        while day < last.date():
            days += self.works(day)
            day += timedelta(days=1)
        return total + days * self.day_length

    def _reached(self, worked: timedelta, *, last: bool) -> time:
        """The time of day by which ``worked`` is done; where a break makes it many, the ``last`` or the first."""
        for period in self.periods:
            if worked < period.length or (worked == period.length and not last):
                return (datetime.combine(date.min, period.start) + worked).time()
            worked -= period.length
        return self.periods[-1].end


class CalendarSettings(Protocol):
    """What of the settings a calendar is made from."""

    @property
    def work_periods(self) -> tuple[str, ...]:
        """Working periods of a day in order, ``HH:MM-HH:MM``, Asia/Shanghai; the default is WORK_PERIODS."""
        ...


def parse_periods(texts: Iterable[str]) -> tuple[Period, ...]:
    """Periods from their text form ``HH:MM-HH:MM``. Raises ValueError naming the one that cannot be read."""
    periods = []
    for text in texts:
        first, dash, last = text.partition("-")
        try:
            start, end = time.fromisoformat(first.strip()), time.fromisoformat(last.strip())
        except ValueError:
            dash = ""
        if not dash:
            raise ValueError(f"working period {text!r} cannot be read: write it as 08:30-12:00") from None
        periods.append(Period(start, end))
    return tuple(periods)


@lru_cache(maxsize=8)
def _calendar(periods: tuple[str, ...], overrides: tuple[tuple[date, bool], ...]) -> Calendar:
    return Calendar(parse_periods(periods), china, dict(overrides))


def default_calendar() -> Calendar:
    """The country's calendar with the default hours and no local days."""
    return _calendar(WORK_PERIODS, ())


async def load_calendar(session: AsyncSession, settings: CalendarSettings) -> Calendar:
    """The city's calendar in force: its hours from ``settings``, its local days from the store.

    The local days are read each time (a small table, and another process may have set one); the calendar made from
    them is kept, with what it has looked up. Raises ValueError for hours that cannot be read.
    """
    rows = await session.execute(select(CalendarDay.day, CalendarDay.works).order_by(CalendarDay.day))
    return _calendar(tuple(settings.work_periods), tuple((day, works) for day, works in rows))


def at_time(day: date, clock_time: time = time.min) -> datetime:
    """A time of day in the city; midnight, when the day begins, unless given."""
    return datetime.combine(day, clock_time, SHANGHAI)


def _since_midnight(clock_time: time) -> timedelta:
    return timedelta(
        hours=clock_time.hour,
        minutes=clock_time.minute,
        seconds=clock_time.second,
        microseconds=clock_time.microsecond,
    )
