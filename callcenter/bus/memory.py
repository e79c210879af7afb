"""The bus inside one process, and the part of the Redis bus that serves this process's own pages.

Each subscriber has a bounded queue. One that does not keep up loses its oldest messages and is told to resynchronise;
the publisher notices nothing. A message is encoded when it is published and decoded for each reader, so that no reader
can change what another sees and a message that JSON cannot carry is found in memory as it would be on Redis.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from .protocol import RESYNC, BusStats, Message

log = structlog.get_logger()

QUEUE_LIMIT: Final = 1000
"""Messages a subscriber may be behind: 30 calls speaking at once make some 150 a second, so this is several seconds."""

MESSAGE_LIMIT: Final = 256 * 1024
"""Longest encoded message, in characters. A routing with its evidence is some 4 kB; more than this is a fault."""


def encoded(topic: str, message: Message) -> str | None:
    """``message`` as JSON, or None when it is not one that can travel. The log names its type, not its content."""
    kind = message.get("type")
    if not isinstance(kind, str):
        log.error("bus message without a type", topic=topic)
        return None
    try:
        text = json.dumps(message, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        # The error's own text may quote a value of the message, so only its type is kept.
        log.error("bus message not encodable", topic=topic, type=kind, error=type(error).__name__)
        return None
    if len(text) > MESSAGE_LIMIT:
        log.error("bus message too long", topic=topic, type=kind, characters=len(text), limit=MESSAGE_LIMIT)
        return None
    return text


class Subscription:
    """One reader's queue: an async iterator of messages that ends when the bus closes."""

    def __init__(self, topics: frozenset[str], limit: int) -> None:
        self.topics = topics
        self.lost = 0
        self.resyncs = 0
        self._queue: deque[str] = deque()
        self._limit = limit
        self._resync = False
        self._closed = False
        self._ready = asyncio.Event()

    def put(self, text: str) -> bool:
        """Queue an encoded message; False when an older one had to go for it."""
        whole = True
        if len(self._queue) >= self._limit:
            self._queue.popleft()
            self.lost += 1
            self._resync = True
            whole = False
        self._queue.append(text)
        self._ready.set()
        return whole

    def resync(self) -> None:
        """Tell the reader, before anything still queued, to look into the store again."""
        self._resync = True
        self._ready.set()

    def close(self) -> None:
        """End the iteration at once: what is still queued is not delivered."""
        self._closed = True
        self._queue.clear()
        self._ready.set()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Message:
        while not (self._closed or self._resync or self._queue):
            self._ready.clear()
            await self._ready.wait()
        if self._closed:
            raise StopAsyncIteration
        if self._resync:
            # First the resync, then what is queued: a page that has just loaded applies later messages on top.
            self._resync = False
            self.resyncs += 1
            return {"type": RESYNC}
        message: Message = json.loads(self._queue.popleft())
        return message


class MemoryBus:
    """Live events within one process."""

    def __init__(self, *, queue_limit: int = QUEUE_LIMIT) -> None:
        self._queue_limit = queue_limit
        self._subscriptions: set[Subscription] = set()
        self._published = 0
        self._lost = 0
        self._resyncs = 0
        self._closed = False

    async def publish(self, topic: str, message: Message) -> None:
        """Hand ``message`` to this process's subscribers of ``topic``. Never raises, never waits."""
        if self._closed:
            return
        self._published += 1
        text = encoded(topic, message)
        if text is None:
            self._lost += 1
        else:
            self._deliver(topic, text)

    @asynccontextmanager
    async def subscribe(self, *topics: str) -> AsyncIterator[AsyncIterator[Message]]:
        """A subscription to ``topics`` for as long as the context lasts. Raises ValueError when no topic is named."""
        if not topics:
            raise ValueError("a subscription needs a topic: bus.subscribe('live')")
        subscription = Subscription(frozenset(topics), self._queue_limit)
        if self._closed:
            subscription.close()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            self._resyncs += subscription.resyncs

    def stats(self) -> BusStats:
        """The counts so far."""
        return BusStats(
            published=self._published,
            lost=self._lost,
            resyncs=self._resyncs + sum(one.resyncs for one in self._subscriptions),
            subscribers=len(self._subscriptions),
            connected=True,
        )

    async def close(self) -> None:
        """End every subscription."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    def _deliver(self, topic: str, text: str) -> None:
        for subscription in self._subscriptions:
            if topic in subscription.topics and not subscription.put(text):
                self._lost += 1

    def _resync_all(self) -> None:
        for subscription in self._subscriptions:
            subscription.resync()
