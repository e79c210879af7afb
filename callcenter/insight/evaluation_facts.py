"""What is evaluated of a case: its log, orders, limits, checks, pictures, and their times; and when a matter has come
back. Pure types: ``evaluation_reading`` fills them, ``evaluation`` counts from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import cos, hypot, radians
from typing import Final, NamedTuple
from uuid import UUID

from callcenter.cases.life import LEAD
from callcenter.cases.model import CLOSED, DRAFT

COLLECTED: Final = frozenset({"collector", "patrol", "grid"})
"""Sources of a case that a collector or grid worker reported."""
PROACTIVE: Final = COLLECTED | {"video", "vehicle", "sensor", "iot", "census", "department", "inspection"}
"""Sources by which a city finds out by itself (seed 004-05: video, vehicle, people); any other is the public."""

RECURS_WITHIN: Final = timedelta(days=30)
RECURS_NEAR_M: Final = 50.0
GRID: Final = 5
"""Level of a unit grid, about 100 m on a side (CJ/T 213): without coordinates, one grid is one place."""


@dataclass(frozen=True, slots=True)
class Step:
    """A row of the log."""

    action: str
    actor: str
    from_state: str | None
    to_state: str
    at: datetime
    post: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order to the unit that leads."""

    id: UUID
    unit: UUID
    issued_at: datetime
    issued_by: str
    handler: UUID | None = None
    outcome: str | None = None
    part: str = LEAD


@dataclass(frozen=True, slots=True)
class Limit:
    """A running or ended limit. ``met`` None with ``ended_at``: withdrawn."""

    phase: str
    original_due_at: datetime
    due_at: datetime
    ended_at: datetime | None = None
    met: bool | None = None
    order: UUID | None = None
    extended: int = 0
    urgent: bool = False
    lamp: str = "none"
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Somebody was asked to look: ``verify`` or ``check``."""

    kind: str
    collector: str | None
    result: str | None


@dataclass(frozen=True, slots=True)
class Picture:
    """Evidence of the work done. ``fresh``: no other case had the same file before."""

    taken_at: datetime | None
    fresh: bool


@dataclass(frozen=True, slots=True)
class Callback:
    """The citizen was asked."""

    at: datetime
    reached: bool
    satisfaction: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All of one case that is evaluated. Steps, orders, limits and callbacks: the oldest first."""

    case: UUID
    source: str
    opened_at: datetime
    domain: str | None = None
    kind: str | None = None
    category: str | None = None
    """standard|kind|code: standards have slashes in their names."""
    urgent: bool = False
    area: UUID | None = None
    area_level: int | None = None
    lat: float | None = None
    lon: float | None = None
    wants_reply: bool = True
    steps: Sequence[Step] = ()
    orders: Sequence[Order] = ()
    limits: Sequence[Limit] = ()
    checks: Sequence[Check] = ()
    pictures: Sequence[Picture] = ()
    callbacks: Sequence[Callback] = ()
    appeal: tuple[datetime, bool] | None = None
    """When two people had decided, and whether it was granted."""
    sheets: Sequence[tuple[datetime, UUID]] = ()


class Placed(NamedTuple):
    """When and where a case was, for telling a recurrence."""

    opened_at: datetime
    closed_at: datetime | None
    lat: float | None
    lon: float | None
    grid: bool
    """Its area is a unit grid."""


def recurs(earlier: Placed, later: Placed) -> bool:
    """Whether ``later``, of the same category and area, is the matter of ``earlier`` come back: opened within 30 days
    of its closing, at most 50 m away. Where one has no point, one unit grid is one place, a larger area is not."""
    if earlier.closed_at is None or not timedelta() < later.opened_at - earlier.closed_at <= RECURS_WITHIN:
        return False
    if earlier.lat is None or earlier.lon is None or later.lat is None or later.lon is None:
        return earlier.grid and later.grid
    metres = 111_195.0  # of one degree, on a sphere of 6,371 km
    east = (later.lon - earlier.lon) * cos(radians((earlier.lat + later.lat) / 2))
    return hypot(later.lat - earlier.lat, east) * metres <= RECURS_NEAR_M


def closed_at(facts: Facts) -> datetime | None:
    """When the case was closed, by its log; None: it is not."""
    last = facts.steps[-1].to_state if facts.steps else DRAFT
    found = [one.at for one in facts.steps if one.to_state == CLOSED and one.from_state != CLOSED]
    return found[-1] if found and last == CLOSED else None


def placed(facts: Facts) -> Placed:
    """Of the case of these facts."""
    return Placed(facts.opened_at, closed_at(facts), facts.lat, facts.lon, facts.area_level == GRID)
