"""Limits: due, used, paused, extended, lit – against an oracle that walks the minutes one by one, and the edge cases
that docs/deadlines.md writes down."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from callcenter.cases.calendar import LONGEST_REST, Calendar, Period, at_time, china, default_calendar, parse_periods
from callcenter.cases.deadlines import (
    Lamps,
    LampSettings,
    Limit,
    LimitUnit,
    PastDeadline,
    ahead,
    due,
    lamps,
    length,
    lit_by,
    next_lamp,
    remaining_due,
    strictest,
    used,
)
from callcenter.cases.life import NO_LAMP, RED, WARNED, YELLOW
from callcenter.clock import SHANGHAI, local

pytestmark = pytest.mark.unit

HOUR, DAY = LimitUnit.WORK_HOUR, LimitUnit.WORK_DAY
URGENT_HOUR, URGENT_DAY = LimitUnit.URGENT_HOUR, LimitUnit.URGENT_DAY
CITY = default_calendar()
MINUTE = timedelta(minutes=1)


def t(text: str) -> datetime:
    """A moment of 2026 in the city, ``MM-DD HH:MM``."""
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI)


def ends(start: str, value: float, unit: LimitUnit, calendar: Calendar = CITY) -> str:
    return f"{local(due(t(start), Limit(value, unit), calendar).at):%m-%d %H:%M}"


# -- the oracle ------------------------------------------------------------------------------------------------------
BASE = date(2026, 1, 5)
SPAN = 100


@dataclass(frozen=True)
class World:
    """A made-up calendar, and beside it which minutes from BASE on are working ones, written down one by one."""

    calendar: Calendar
    minutes: bytes

    def count(self, start: int, end: int) -> int:
        """Working minutes from ``start`` to ``end``."""
        return sum(self.minutes[minute] for minute in range(start, end))

    def first_after(self, start: int, wanted: int) -> int:
        """The first minute by which ``wanted`` working minutes have gone by."""
        now = start
        while wanted:
            wanted -= self.minutes[now]
            now += 1
        return now

    def last_before(self, end: int, wanted: int) -> int:
        """The last minute from which there are ``wanted`` working minutes until ``end``."""
        now = end
        while wanted:
            now -= 1
            wanted -= self.minutes[now]
        return now

    def days_after(self, start: int, wanted: int) -> int:
        """The same time of day, ``wanted`` working days later; from the next working minute on."""
        now = start
        while not self.minutes[now]:
            now += 1
        while wanted:
            now += 1440
            wanted -= self.minutes[now]  # one that works at this time of day works that day
        return now

    def due(self, start: int, limit: Limit) -> int:
        """When a limit of whole minutes and days is over."""
        if limit.unit is URGENT_HOUR:
            return start + round(limit.value * 60)
        if limit.unit is URGENT_DAY:
            return start + round(limit.value * 1440)
        if limit.unit is HOUR:
            return self.first_after(start, round(limit.value * 60))
        return self.days_after(start, round(limit.value))


def moment(minute: int) -> datetime:
    return at_time(BASE) + minute * MINUTE


def minute_of(at: datetime) -> int:
    minutes, rest = divmod(at - at_time(BASE), MINUTE)
    assert not rest
    return minutes


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """One to three periods on a grid of five minutes, rests of up to nine days, make-up days, and local days."""
    edges = draw(
        st.lists(st.integers(0, 287), min_size=2, max_size=6, unique=True).filter(lambda got: len(got) % 2 == 0)
    )
    edges.sort()
    periods = tuple(
        Period(time(a * 5 // 60, a * 5 % 60), time(b * 5 // 60, b * 5 % 60))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    )
    country: dict[date, bool] = {}
    for first, days in draw(st.lists(st.tuples(st.integers(0, SPAN - 30), st.integers(1, 9)), max_size=3)):
        country |= {BASE + timedelta(days=first + n): False for n in range(days)}
    for day in draw(st.lists(st.integers(0, SPAN - 30), max_size=4)):
        country[BASE + timedelta(days=day)] = True
    local_days = draw(st.dictionaries(st.integers(0, SPAN - 30), st.booleans(), max_size=4))
    overrides = {BASE + timedelta(days=day): works for day, works in local_days.items()}
    calendar = Calendar(periods, lambda day: country.get(day, day.weekday() < 5), overrides)
    minutes = bytearray(SPAN * 1440)
    for n in range(SPAN):
        day = BASE + timedelta(days=n)
        if overrides.get(day, country.get(day, day.weekday() < 5)):
            for a, b in zip(edges[::2], edges[1::2], strict=True):
                minutes[n * 1440 + a * 5 : n * 1440 + b * 5] = b"\1" * (b - a) * 5
    return World(calendar, bytes(minutes))


starts = st.integers(15 * 1440, 45 * 1440)
"""Minutes: with days before that an overdue limit can reach back to."""
limits = st.one_of(
    st.builds(lambda fives: Limit(fives / 12, URGENT_HOUR), st.integers(1, 600)),
    st.builds(lambda days: Limit(days, URGENT_DAY), st.integers(1, 9)),
    st.builds(lambda days: Limit(days, DAY), st.integers(1, 6)),
    st.builds(lambda fives: Limit(fives / 12, HOUR), st.integers(1, 12)),
)


def minutes_of(limit: Limit, calendar: Calendar) -> int:
    return round(length(limit, calendar) / MINUTE)


@given(worlds(), starts, limits)
@settings(max_examples=300, deadline=None)
def test_the_due_is_the_oracles(world: World, start: int, limit: Limit) -> None:
    assert minute_of(due(moment(start), limit, world.calendar).at) == world.due(start, limit)


@given(worlds(), starts, st.integers(-3000, 12_000))
@settings(max_examples=300, deadline=None)
def test_used_is_the_oracles_and_never_negative(world: World, start: int, gone: int) -> None:
    found = used(moment(start), moment(start + gone), HOUR, world.calendar)
    assert found == world.count(start, start + gone) * MINUTE  # a range that runs backwards is empty
    assert used(moment(start), moment(start + gone), URGENT_DAY, world.calendar) == max(gone, 0) * MINUTE


@given(worlds(), starts, limits)
@settings(max_examples=300, deadline=None)
def test_at_the_due_the_whole_limit_is_used_and_not_before(world: World, start: int, limit: Limit) -> None:
    over = due(moment(start), limit, world.calendar).at
    whole = length(limit, world.calendar)
    assert used(moment(start), over, limit.unit, world.calendar) == whole
    if limit.unit is not DAY:  # a day is over at a time of day, which may come after a break
        assert used(moment(start), over - MINUTE, limit.unit, world.calendar) < whole


@given(worlds(), starts, limits, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3000)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_after_any_pauses_what_was_used_stays_used(
    world: World, start: int, limit: Limit, pauses: list[tuple[int, int]]
) -> None:
    calendar, at, so_far = world.calendar, start, timedelta()
    plain = due(moment(start), limit, calendar).at
    over = plain
    for runs, rests in pauses:
        so_far += used(moment(at), moment(at + runs), limit.unit, calendar)
        at += runs + rests
        resumed = remaining_due(moment(at), limit, so_far, calendar).at
        assert resumed >= over or used(resumed, over, limit.unit, calendar) == timedelta()  # a pause never shortens
        over = resumed
    left = length(limit, calendar) - so_far
    if left >= timedelta():
        assert used(moment(at), over, limit.unit, calendar) == left
    else:
        assert over < moment(at)
        assert used(over, moment(at), limit.unit, calendar) == -left  # as overdue as before
        expected = at - round(-left / MINUTE) if limit.unit.on_clock else world.last_before(at, round(-left / MINUTE))
        assert minute_of(over) == expected


@given(worlds(), starts, st.integers(0, 3000), limits)
@settings(max_examples=200, deadline=None)
def test_who_starts_later_is_not_due_earlier(world: World, start: int, later: int, limit: Limit) -> None:
    first = due(moment(start), limit, world.calendar).at
    assert first <= due(moment(start + later), limit, world.calendar).at


@given(worlds(), starts, st.floats(0.05, 5), st.floats(0.01, 3), st.sampled_from(LimitUnit))
@settings(max_examples=300, deadline=None)
def test_more_is_not_due_earlier(world: World, start: int, value: float, more: float, unit: LimitUnit) -> None:
    if unit is HOUR:
        value, more = value / 2, more / 2
    first = due(moment(start), Limit(value, unit), world.calendar).at
    longer = due(moment(start), Limit(value + more, unit), world.calendar).at
    assert moment(start) < first < longer
    assert used(moment(start), first, unit, world.calendar) == length(Limit(value, unit), world.calendar)


@given(worlds(), starts, limits)
@settings(max_examples=200, deadline=None)
def test_an_extension_gives_one_more_limit_and_never_shortens(world: World, start: int, limit: Limit) -> None:
    once = due(moment(start), limit, world.calendar).at
    twice = due(once, limit, world.calendar).at
    assert twice > once
    assert used(once, twice, limit.unit, world.calendar) == length(limit, world.calendar)
    assert used(moment(start), twice, limit.unit, world.calendar) == length(limit.times(2), world.calendar)


@given(worlds(), starts, limits, st.integers(0, 4000))
@settings(max_examples=300, deadline=None)
def test_lamps_are_in_order_and_the_warning_is_the_oracles(world: World, start: int, limit: Limit, later: int) -> None:
    over = due(moment(start), limit, world.calendar).at
    lit = lamps(moment(start), over, limit, world.calendar)
    fifth = minutes_of(limit, world.calendar) // 5
    back = minute_of(over) - fifth if limit.unit.on_clock else world.last_before(minute_of(over), fifth)
    assert minute_of(lit.warn_at) == max(back, start)
    assert lit.warn_at <= over <= lit.yellow_at < lit.red_at
    assert lit.yellow_at - over == (timedelta() if limit.unit.on_clock else timedelta(hours=24))
    assert lit.red_at - over == timedelta(hours=48)
    again = lamps(moment(start + later), over, limit, world.calendar)  # runs again from later on
    assert again.warn_at <= over
    assert again.warn_at >= min(moment(start + later), over)


# -- the edge cases of docs/deadlines.md -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("start", "value", "unit", "end"),
    [
        # Saturday 21 November 2026 is a plain weekend; Monday is the 23rd.
        ("11-23 10:00", 1, DAY, "11-24 10:00"),
        ("11-20 16:10", 1, DAY, "11-23 16:10"),  # over the weekend
        ("11-23 10:00", 5, DAY, "11-30 10:00"),
        ("11-23 12:30", 1, DAY, "11-24 14:00"),  # in the lunch break: from 14:00
        ("11-23 12:00", 1, DAY, "11-24 14:00"),  # the end of a period is not working time
        ("11-23 11:59", 1, DAY, "11-24 11:59"),
        ("11-23 17:30", 1, DAY, "11-25 08:30"),  # at the end of the day: from the next morning
        ("11-23 17:29", 1, DAY, "11-24 17:29"),
        ("11-23 07:00", 1, DAY, "11-24 08:30"),  # before work
        ("11-21 10:00", 1, DAY, "11-24 08:30"),  # on a Saturday: from Monday morning
        ("11-23 08:30", 0.5, DAY, "11-23 12:00"),  # half a day is half its working time, 3.5 h
        ("11-23 14:00", 0.5, DAY, "11-23 17:30"),
        ("11-23 10:00", 1.5, DAY, "11-24 15:30"),
        ("11-23 11:00", 2, HOUR, "11-23 15:00"),
        ("11-23 10:00", 2, HOUR, "11-23 12:00"),  # over at noon, not at two
        ("11-23 15:30", 2, HOUR, "11-23 17:30"),
        ("11-20 17:00", 1, HOUR, "11-23 09:00"),
        ("11-20 17:30", 7, HOUR, "11-23 17:30"),
        # Spring Festival: 14 February, a Saturday, is a make-up workday; 15 to 23 are off; 28 is a make-up workday.
        ("02-13 10:00", 1, DAY, "02-14 10:00"),
        ("02-14 10:00", 1, DAY, "02-24 10:00"),
        ("02-14 16:30", 2, HOUR, "02-24 09:30"),
        ("02-18 09:00", 1, DAY, "02-25 08:30"),
        ("02-27 10:00", 2, DAY, "03-02 10:00"),
        ("02-28 09:00", 1, HOUR, "02-28 10:00"),
        # National Day: 20 September, a Sunday, works; 1 to 7 October do not; Saturday 10 October does.
        ("09-30 16:00", 3, DAY, "10-10 16:00"),
        ("09-20 09:00", 1, DAY, "09-21 09:00"),
        # Urgent: the clock, whatever the day.
        ("02-14 23:30", 2, URGENT_HOUR, "02-15 01:30"),
        ("02-14 10:00", 2, URGENT_DAY, "02-16 10:00"),
        ("11-20 17:30", 0.25, URGENT_HOUR, "11-20 17:45"),
        # The clocks of other countries change on 29 March and 25 October; ours do not.
        ("03-28 23:00", 1, URGENT_DAY, "03-29 23:00"),
        ("10-24 23:00", 1, URGENT_DAY, "10-25 23:00"),
    ],
)
def test_edge_cases(start: str, value: float, unit: LimitUnit, end: str) -> None:
    assert ends(start, value, unit) == end
    assert not due(t(start), Limit(value, unit), CITY).provisional


def test_dues_are_utc_whatever_zone_the_start_was_in() -> None:
    start = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)  # 10:00 in the city
    for unit in LimitUnit:
        found = due(start, Limit(1, unit), CITY)
        assert found.at.tzinfo is UTC
        assert found == due(start.astimezone(SHANGHAI), Limit(1, unit), CITY)
    assert due(start, Limit(1, DAY), CITY).at == datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def test_local_days_go_before_the_country() -> None:
    calendar = Calendar(CITY.periods, china, {date(2026, 11, 24): False, date(2026, 11, 28): True})
    assert ends("11-23 10:00", 1, DAY, calendar) == "11-25 10:00"
    assert ends("11-27 10:00", 1, DAY, calendar) == "11-28 10:00"  # a Saturday that the city works


def test_other_hours_make_another_day() -> None:
    calendar = Calendar(parse_periods(["09:00-11:30", "13:00-15:00", "16:00-18:00"]))
    assert calendar.day_length == timedelta(hours=6.5)
    assert ends("11-23 10:30", 4, HOUR, calendar) == "11-23 17:00"
    assert ends("11-23 15:30", 1, DAY, calendar) == "11-24 16:00"


def test_a_suspension_gives_back_what_was_left() -> None:
    limit = Limit(1, DAY)  # from Monday 10:00, suspended at 11:00 with one hour used, until Wednesday 09:00
    so_far = used(t("11-23 10:00"), t("11-23 11:00"), DAY, CITY)
    assert so_far == timedelta(hours=1)
    assert remaining_due(t("11-25 09:00"), limit, so_far, CITY).at == t("11-25 17:00")


def test_what_was_overdue_stays_as_overdue() -> None:
    limit = Limit(2, HOUR)
    assert remaining_due(t("11-25 09:00"), limit, timedelta(hours=3), CITY).at == t("11-24 17:00")
    assert remaining_due(t("11-25 09:00"), limit, timedelta(hours=2), CITY).at == t("11-25 09:00")
    assert remaining_due(t("11-25 20:00"), limit, timedelta(hours=2), CITY).at == t("11-25 20:00")  # nothing is left
    with pytest.raises(ValueError, match="used"):
        remaining_due(t("11-25 09:00"), limit, -timedelta(minutes=1), CITY)


def test_a_year_that_nobody_knows_is_counted_by_weekday_and_said_to_be() -> None:
    assert china(date(2027, 1, 1)) is None, "chinesecalendar knows 2027 now: move this test to the next unknown year"
    new_year = at_time(date(2027, 1, 1), time(9))  # a Friday; nobody has said that it is a holiday, though it will be
    found = due(t("12-31 10:00"), Limit(1, DAY), CITY)
    assert (found.at, found.provisional) == (new_year + timedelta(hours=1), True)
    assert not due(t("12-31 09:00"), Limit(6, HOUR), CITY).provisional  # over within the known year
    assert not due(t("12-31 10:00"), Limit(3, URGENT_DAY), CITY).provisional  # the clock has no holidays
    told = Calendar(CITY.periods, lambda day: None if day.year > 2027 else day.weekday() < 5 and day.day > 3)
    assert due(t("12-31 10:00"), Limit(1, DAY), told).at == at_time(date(2027, 1, 4), time(10))
    assert CITY.unknown_year(2026) == 2027
    assert told.unknown_year(2026) == 2028
    assert Calendar(CITY.periods, lambda day: True).unknown_year(2026) is None


def test_lamps_of_a_day_and_of_an_urgent_hour() -> None:
    work = lamps(t("11-23 10:00"), t("11-24 10:00"), Limit(1, DAY), CITY)  # 20 % of 7 h: 84 min before
    assert work == Lamps(t("11-24 08:36"), t("11-25 10:00"), t("11-26 10:00"))
    urgent = lamps(t("11-21 10:00"), t("11-21 12:00"), Limit(2, URGENT_HOUR), CITY)
    assert urgent == Lamps(t("11-21 11:36"), t("11-21 12:00"), t("11-23 12:00"))
    late = LampSettings(warn_share=0.5, yellow_after_h=1, red_after_h=2, urgent_yellow_after_h=0.5)
    assert lamps(t("11-21 10:00"), t("11-21 12:00"), Limit(2, URGENT_HOUR), CITY, late) == Lamps(
        t("11-21 11:00"), t("11-21 12:30"), t("11-21 14:00")
    )
    silent = LampSettings(warn_share=1)
    assert lamps(t("11-23 10:00"), t("11-24 10:00"), Limit(1, DAY), CITY, silent).warn_at == t("11-24 10:00")


def test_the_highest_lamp_whose_time_has_come_and_the_one_after_it() -> None:
    lit = Lamps(t("11-23 10:00"), t("11-24 10:00"), t("11-25 10:00"))
    steps = [("11-23 09:59", NO_LAMP), ("11-23 10:00", WARNED), ("11-24 10:00", YELLOW), ("11-30 10:00", RED)]
    assert [lit_by(lit, t(at)) for at, _ in steps] == [lamp for _, lamp in steps]
    assert [next_lamp(lit, lamp) for _, lamp in steps] == [lit.warn_at, lit.yellow_at, lit.red_at, None]
    with pytest.raises(KeyError):
        next_lamp(lit, "green")


def test_the_strictest_is_the_one_that_is_over_first() -> None:
    two_urgent_days, one_day = Limit(2, URGENT_DAY), Limit(1, DAY)
    assert strictest([two_urgent_days, one_day], t("11-23 10:00"), CITY) == one_day
    assert strictest([one_day, two_urgent_days], t("02-14 10:00"), CITY) == two_urgent_days  # ten days are off
    with pytest.raises(ValueError, match="no limits"):
        strictest([], t("11-23 10:00"), CITY)


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 3661])
def test_a_limit_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="give more than zero"):
        Limit(value, DAY)


def test_the_longest_limit_can_be_counted() -> None:
    assert due(t("11-23 10:00"), Limit(3660, DAY), CITY).at > t("11-23 10:00") + timedelta(days=3660)


def test_an_unknown_unit_is_refused_and_a_stored_one_is_read() -> None:
    wrong: Any = "week"
    with pytest.raises(ValueError, match=r"'week'.*urgent_hour, urgent_day, work_hour, work_day"):
        Limit(1, wrong)
    stored: Any = "work_day"
    assert Limit(1, stored).unit is DAY


def test_naive_times_are_refused() -> None:
    naive = datetime(2026, 11, 23, 10)  # noqa: DTZ001 - what is refused
    for unit in LimitUnit:
        with pytest.raises(ValueError, match="naive"):
            due(naive, Limit(1, unit), CITY)
        with pytest.raises(ValueError, match="naive"):
            used(naive, t("11-23 10:00"), unit, CITY)


def test_what_must_lie_ahead_and_does_not_is_named() -> None:
    assert ahead(t("11-24 10:00"), t("11-23 10:00"), "the suspension") == t("11-24 10:00")
    with pytest.raises(PastDeadline, match=r"the suspension would be over on 2026-11-23T10:00.*11:00\+08:00 now"):
        ahead(t("11-23 10:00"), t("11-23 11:00"), "the suspension")


@pytest.mark.parametrize(
    "wrong", [{"warn_share": 0}, {"warn_share": 1.1}, {"yellow_after_h": 49}, {"urgent_yellow_after_h": -1}]
)
def test_lamps_out_of_order_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"warn_share|lamps yellow"):
        LampSettings(**wrong)


@pytest.mark.parametrize(
    "texts",
    [
        *([], ["08:30"], ["8h-12h"], ["12:00-08:30"], ["22:00-06:00"]),
        *(["08:30-12:00", "11:00-15:00"], ["14:00-18:00", "08:00-12:00"]),
    ],
)
def test_working_hours_that_are_none_are_refused(texts: Iterable[str]) -> None:
    with pytest.raises(ValueError, match="working period"):
        Calendar(parse_periods(texts))


def test_a_calendar_without_working_days_is_told_and_not_searched_for_ever() -> None:
    rest = Calendar(CITY.periods, lambda day: False)
    with pytest.raises(ValueError, match=f"no working day within {LONGEST_REST} days"):
        due(t("11-23 10:00"), Limit(1, HOUR), rest)


def test_the_library_knows_the_country() -> None:
    known = [day for day in (date(2026, 2, 10) + timedelta(days=n) for n in range(20)) if china(day)]
    assert [f"{day:%m-%d}" for day in known] == [
        *("02-10", "02-11", "02-12", "02-13", "02-14", "02-24", "02-25", "02-26", "02-27", "02-28"),
    ]


@given(worlds(), starts, limits)
@settings(max_examples=50, deadline=None)
def test_a_limit_is_over_within_its_days(world: World, start: int, limit: Limit) -> None:
    assume(limit.unit is DAY)
    over = local(due(moment(start), limit, world.calendar).at)
    assert world.calendar.works(over.date())
    assert world.calendar.next_moment(over) == over  # at a time at which people work
