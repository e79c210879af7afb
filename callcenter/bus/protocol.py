"""What a bus is: live events of a call on their way to the pages that show it.

A message is a hint, the store is the truth. So a bus may lose messages – a page that is slow, a Redis that is gone –
but it never makes a call wait, never raises into the way of a call, counts what it lost, and tells every subscriber
that may have missed something to look into the store again (``RESYNC``).

Messages carry transcripts: nothing in this package logs one.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

Message = dict[str, Any]
"""A JSON object with a ``type``; on ``live``: call, partial, utterance, routing, case, ended, each with ``call``."""

LIVE: Final = "live"
"""The topic of calls under way: what agents' pages show."""

DESK: Final = "desk"
"""The topic of agents' presence, between the process that shows pages and the one that answers the line."""

RESYNC: Final = "resync"
"""``{"type": "resync"}``: messages may have been missed, load from the store again."""


@dataclass(frozen=True, slots=True)
class BusStats:
    """Counts since the bus was made, for metrics and tests."""

    published: int
    """Messages given to ``publish``."""
    lost: int
    """Messages that at least one reader (or the way to other processes) did not get."""
    resyncs: int
    """Times a subscriber was told to look into the store again."""
    subscribers: int
    """Subscriptions open now."""
    connected: bool
    """False while other processes cannot be reached. Always true for the bus in memory."""


class Bus(Protocol):
    """Publish and subscribe, within a process or between processes."""

    async def publish(self, topic: str, message: Message) -> None:
        """Hand ``message`` to the subscribers of ``topic``. Never raises, never waits for a reader or a network."""
        ...

    def subscribe(self, *topics: str) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """``async with bus.subscribe("live") as messages: async for message in messages`` until the bus closes."""
        ...

    def stats(self) -> BusStats:
        """The counts so far."""
        ...

    async def close(self) -> None:
        """End every subscription; ``publish`` does nothing from here on."""
        ...
