"""Live events on their way from a call to the pages: in memory by default, through Redis when a setting names one."""

from .memory import MemoryBus
from .protocol import DESK, LIVE, RESYNC, Bus, BusStats, Message
from .redis_bus import RedisBus

__all__ = ["DESK", "LIVE", "RESYNC", "Bus", "BusStats", "MemoryBus", "Message", "RedisBus", "make_bus"]


def make_bus(redis_url: str) -> Bus:
    """The bus in force: in memory for an empty ``redis_url``, else through that Redis (``redis://``, ``rediss://``, ``unix://``).

    Raises ValueError for any other scheme; an unreachable Redis is no error, see ``RedisBus``.
    """
    if not redis_url:
        return MemoryBus()
    scheme = redis_url.split("://", 1)[0]
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            f"CALLCENTER_REDIS_URL has the scheme {scheme!r}: give redis://, rediss:// or unix://, or nothing"
        )
    return RedisBus(redis_url)
