"""What a city settles about the life of its cases: the limit of every phase, and what the machine may do by itself.

GB/T 30428.8 asks for a limit of each phase and leaves the value to the city; the values here are defaults. Where they
come from: 24 h for verifying is one city system's; two working days for giving an order back is a province's rule, as
is signing within one working day; 15 and 30 minutes for signing round the clock, two working hours for filing and for
dispatch, one working day for checking and for closing are ours; fifteen working days for the citizen is the longest
term that a city's draft promises (its 15 days, taken as working days). The limit of handling is the responsibility
list's.
"""

from dataclasses import dataclass
from typing import Final

from callcenter.cases import life
from callcenter.cases.calendar import WORK_PERIODS
from callcenter.cases.deadlines import Limit, LimitUnit

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
