"""The one clock. Times are UTC inside, Asia/Shanghai outside; a rule is given the time, it never reads it."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")


def now() -> datetime:
    """The present moment, aware, UTC."""
    return datetime.now(UTC)


def from_epoch(seconds: float) -> datetime:
    """The aware UTC time of ``seconds`` since the Unix epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def local(moment: datetime) -> datetime:
    """``moment`` as people in the city read it. Raises ValueError for a naive time."""
    if moment.tzinfo is None:
        raise ValueError(f"naive time {moment.isoformat()}: times carry their zone, use clock.now()")
    return moment.astimezone(SHANGHAI)
