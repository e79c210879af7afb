"""What a city settles about the life of its cases: the limit of every phase, and what the machine may do by itself.

GB/T 30428.8 asks for a limit of each phase and leaves the value to the city; the values here are defaults. Where they
come from: 24 h for verifying is one city system's; two working days for giving an order back is a province's rule, as
is signing within one working day; 15 and 30 minutes for signing round the clock, two working hours for filing and for
dispatch, one working day for checking and for closing are ours; fifteen working days for the citizen is the longest
term that a city's draft promises (its 15 days, taken as working days). The limit of handling is the responsibility
list's.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from callcenter.cases import life
from callcenter.cases.calendar import WORK_PERIODS, parse_periods
from callcenter.cases.deadlines import DEFAULT_LAMPS, LampSettings, Limit, LimitUnit

_VERIFY: Final = Limit(24, LimitUnit.URGENT_HOUR)
_FILE: Final = Limit(2, LimitUnit.WORK_HOUR)
_DISPATCH: Final = Limit(2, LimitUnit.WORK_HOUR)
_SIGN: Final = Limit(1, LimitUnit.WORK_DAY)
_SIGN_UTILITY: Final = Limit(0.5, LimitUnit.URGENT_HOUR)
_SIGN_DANGER: Final = Limit(0.25, LimitUnit.URGENT_HOUR)
_CHECK: Final = Limit(1, LimitUnit.WORK_DAY)
_CLOSE: Final = Limit(1, LimitUnit.WORK_DAY)
_CITIZEN: Final = Limit(15, LimitUnit.WORK_DAY)
_GIVE_BACK: Final = Limit(2, LimitUnit.WORK_DAY)


@dataclass(frozen=True, slots=True)
class LikeSettings:
    """What counts as near, recent, alike and hot. Metres, hours, shares of 0 to 1."""

    near_m: float = 50.0
    within_h: float = 24.0
    words_near: float = 0.25
    """Likeness of words that is asked beside a place that is near, where the category is another."""
    words_alone: float = 0.6
    """Likeness that is asked where one of the two has no place."""
    hot_callers: int = 5
    hot_m: float = 300.0
    hot_within_h: float = 2.0

    def __post_init__(self) -> None:
        for name, most in (("near_m", 1_000), ("hot_m", 2_000), ("within_h", 720), ("hot_within_h", 720)):
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"alike.{name} = {getattr(self, name)!r} must be above 0 and at most {most}")
        for name in ("words_near", "words_alone"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"alike.{name} = {getattr(self, name)!r} must be above 0 and at most 1")
        if self.hot_callers < 2:
            raise ValueError(f"alike.hot_callers = {self.hot_callers!r} must be 2 at least: one caller is no crowd")


@dataclass(frozen=True, slots=True)
class CitySettings:
    """The rules of one city. Limits are of their own kind of time: ``urgent_*`` run on the clock, ``work_*`` on the
    working calendar.
    """

    verify: Limit = _VERIFY
    file: Limit = _FILE
    dispatch: Limit = _DISPATCH
    sign: Limit = _SIGN
    sign_utility: Limit = _SIGN_UTILITY
    """30 minutes, for a unit that is there round the clock: water, power, gas, heating."""
    sign_danger: Limit = _SIGN_DANGER
    """15 minutes, when somebody may come to harm, whichever the unit."""
    check: Limit = _CHECK
    close: Limit = _CLOSE
    citizen: Limit = _CITIZEN
    """From the report to the close; never stops."""
    give_back: Limit = _GIVE_BACK
    """How long a unit may say that an order is not its own."""
    dispatch_by_rule: bool = True
    """The machine gives the order by itself when the responsibility list names the unit."""
    work_periods: tuple[str, ...] = WORK_PERIODS
    lamps: LampSettings = DEFAULT_LAMPS
    alike: LikeSettings = LikeSettings()
    """When two cases may be one matter, and when many make a hot spot."""

    def limit_of(self, phase: str) -> Limit:
        """The limit of a phase that has one limit for every case. Raises KeyError for ``sign`` and ``handle``."""
        return {
            life.VERIFY: self.verify,
            life.FILE: self.file,
            life.DISPATCH: self.dispatch,
            life.CHECK: self.check,
            life.CLOSE: self.close,
            life.CITIZEN: self.citizen,
        }[phase]


DEFAULT_CITY: Final = CitySettings()
"""For a city that has settled nothing."""

_LIMITS: Final = tuple(one.name for one in fields(CitySettings) if isinstance(one.default, Limit))


class CitySettingsError(ValueError):
    """A file of a city's rules cannot be used; the message names the file, the key, the value and the mend."""


def read(path: Path) -> CitySettings:
    """The rules in a TOML file; what it does not say is as by default.

        dispatch_by_rule = true
        work_periods = ["08:30-12:00", "14:00-17:30"]
        [limits]            # a number and a unit: urgent_hour, urgent_day, work_hour, work_day
        sign_danger = "0.25 urgent_hour"
        [lamps]             # hours of the clock after the due
        red_after_h = 48
        [alike]             # metres, hours, shares: LikeSettings
        near_m = 50
        within_h = 24

    Raises CitySettingsError, also for a key that is none.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise CitySettingsError(f"{path} cannot be read as TOML: {fault}") from None
    values: dict[str, Any] = {}
    limits, lamps, alike = (_table(path, given, name) for name in ("limits", "lamps", "alike"))
    for key, value in limits.items():
        if key not in _LIMITS:
            raise CitySettingsError(f"{path}: limits.{key} is none of {', '.join(_LIMITS)}")
        values[key] = _limit(path, key, value)
    try:
        if lamps:
            values["lamps"] = LampSettings(**lamps)
        if alike:
            values["alike"] = LikeSettings(**alike)
        if "work_periods" in given:
            values["work_periods"] = tuple(given.pop("work_periods"))
            parse_periods(values["work_periods"])
    except (TypeError, ValueError) as fault:
        raise CitySettingsError(f"{path}: {fault}") from None
    if not isinstance(by_rule := given.pop("dispatch_by_rule", True), bool):
        raise CitySettingsError(f"{path}: dispatch_by_rule = {by_rule!r} must be true or false")
    if given:
        known = "dispatch_by_rule, work_periods, [limits], [lamps], [alike]"
        raise CitySettingsError(f"{path}: {', '.join(sorted(given))}: there are only {known}")
    return CitySettings(**values, dispatch_by_rule=by_rule)


def _table(path: Path, given: dict[str, Any], name: str) -> Mapping[str, Any]:
    table = given.pop(name, {})
    if not isinstance(table, dict):
        raise CitySettingsError(f"{path}: {name} must be a table: begin it with a line [{name}]")
    return table


def _limit(path: Path, key: str, value: object) -> Limit:
    number, _, unit = str(value).partition(" ")
    try:
        return Limit(float(number), LimitUnit(unit.strip()))
    except ValueError:
        units = ", ".join(LimitUnit)
        raise CitySettingsError(f"{path}: limits.{key} = {value!r} must be a number and one of {units}") from None


_in_force: list[CitySettings] = []


def use(settings: CitySettings) -> None:
    """Put a city's rules in force for this process."""
    _in_force[:] = [settings]


def in_force() -> CitySettings:
    """The rules of this process's city."""
    return _in_force[0] if _in_force else DEFAULT_CITY
