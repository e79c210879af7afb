"""The bus between processes: Redis publish/subscribe, for a fleet whose line and pages are separate processes.

Readers in this process are served directly, as by the bus in memory; Redis carries messages to the other processes. So
a Redis that dies costs other processes some hints and costs this one nothing.

``publish`` only queues: one writer task sends, in order and in batches. One reader task listens. Both reconnect by
themselves with growing pauses; after every reconnection, this process's subscribers – and, when messages of ours were
lost, everyone's – are told to resynchronise from the store.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .memory import QUEUE_LIMIT, MemoryBus, encoded
from .protocol import RESYNC, BusStats, Message

log = structlog.get_logger()

CHANNEL_PREFIX: Final = "callcenter:bus:"
OUTGOING_LIMIT: Final = 2000
"""Messages waiting for Redis. Beyond it the oldest are lost: a hint ten seconds old helps nobody."""
BATCH: Final = 100
CONNECT_TIMEOUT_S: Final = 2.0
REPLY_TIMEOUT_S: Final = 2.0
PING_AFTER_S: Final = 3.0
"""A Redis that says nothing for this long is asked; one that does not answer within REPLY_TIMEOUT_S is dead."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
SUBSCRIBE_PATIENCE_S: Final = 1.0
"""A new subscriber waits so long for Redis to confirm, then reads what this process has to tell."""

_FAULTS = (RedisError, OSError, TimeoutError)


class RedisBus(MemoryBus):
    """Live events within this process and, through Redis, between all that name the same Redis."""

    def __init__(
        self,
        url: str,
        *,
        queue_limit: int = QUEUE_LIMIT,
        outgoing_limit: int = OUTGOING_LIMIT,
        prefix: str = CHANNEL_PREFIX,
    ) -> None:
        super().__init__(queue_limit=queue_limit)
        self._url = url
        self._prefix = prefix
        self._sender = uuid4().hex
        self._outgoing: deque[tuple[str, str]] = deque()
        self._outgoing_limit = outgoing_limit
        self._missed: set[str] = set()
        """Topics of which other processes missed messages of ours: they are told so once Redis is back."""
        self._outgoing_ready = asyncio.Event()
        self._drained = asyncio.Event()
        self._listening = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._writer_up = True

    async def publish(self, topic: str, message: Message) -> None:
        """Hand ``message`` to this process's subscribers and queue it for the others. Never raises, never waits."""
        if self._closed:
            return
        self._published += 1
        text = encoded(topic, message)
        if text is None:
            self._lost += 1
            return
        self._deliver(topic, text)
        if len(self._outgoing) >= self._outgoing_limit:
            stale, _ = self._outgoing.popleft()
            self._lose(stale, 1)
        self._outgoing.append((topic, text))
        self._outgoing_ready.set()
        self._run("writer", self._write)

    @asynccontextmanager
    async def subscribe(self, *topics: str) -> AsyncIterator[AsyncIterator[Message]]:
        """As the bus in memory; also hears the other processes, once Redis confirms (waited for, at most a second)."""
        async with super().subscribe(*topics) as messages:
            if not self._closed:
                self._run("reader", self._read)
                with suppress(TimeoutError):
                    # Without Redis the subscription stands: when the reader gets through, a resync makes up for this.
                    async with asyncio.timeout(SUBSCRIBE_PATIENCE_S):
                        await self._listening.wait()
            yield messages

    def stats(self) -> BusStats:
        """The counts so far."""
        memory = super().stats()
        reading = "reader" not in self._tasks or self._listening.is_set()
        return BusStats(memory.published, memory.lost, memory.resyncs, memory.subscribers, self._writer_up and reading)

    async def flush(self, timeout: float = 1.0) -> bool:
        """Wait until everything published so far was taken by Redis or lost; False when that lasts longer."""
        if not self._outgoing and not self._missed:
            return True
        self._drained.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Send what is queued (for at most a second), end every subscription, let go of Redis."""
        if self._closed:
            return
        if self._writer_up:
            await self.flush()
        await super().close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- to the others ---------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            async with self._client() as redis:
                try:
                    await redis.ping()
                    if not self._writer_up:
                        self._writer_up = True
                        log.info("bus redis publishing again")
                    pause = FIRST_PAUSE_S
                    await self._send_all(redis)
                except _FAULTS as error:
                    if self._writer_up:
                        log.warning("bus redis lost for publishing", error=type(error).__name__)
                    self._writer_up = False
            # What waits is stale by the time Redis is back, and the readers will load the store anyway.
            while self._outgoing:
                self._lose(self._outgoing.popleft()[0], 1)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _send_all(self, redis: Redis) -> None:
        """Send until Redis fails, which raises; a batch in doubt counts as lost."""
        while True:
            while not self._outgoing and not self._missed:
                self._drained.set()
                self._outgoing_ready.clear()
                await self._outgoing_ready.wait()
            missed, self._missed = self._missed, set()
            batch = [self._outgoing.popleft() for _ in range(min(BATCH, len(self._outgoing)))]
            try:
                async with redis.pipeline(transaction=False) as pipe:
                    for topic in missed:
                        pipe.publish(self._prefix + topic, self._envelope(json.dumps({"type": RESYNC})))
                    for topic, text in batch:
                        pipe.publish(self._prefix + topic, self._envelope(text))
                    await pipe.execute()
            except _FAULTS:
                self._missed |= missed
                for topic, _ in batch:
                    self._lose(topic, 1)
                raise

    def _envelope(self, text: str) -> str:
        return f'{{"sender":"{self._sender}","message":{text}}}'

    def _lose(self, topic: str, count: int) -> None:
        self._lost += count
        self._missed.add(topic)

    # -- from the others -------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        pause = FIRST_PAUSE_S
        first = True
        while True:
            began = time.monotonic()
            async with self._client() as redis:
                pubsub = redis.pubsub()
                try:
                    await pubsub.psubscribe(self._prefix + "*")
                    await self._listen(pubsub, first)
                except _FAULTS as error:
                    if self._listening.is_set() or first:
                        log.warning("bus redis lost for listening", error=type(error).__name__)
                    first = False
                finally:
                    self._listening.clear()
                    with suppress(*_FAULTS):
                        # The connection is being thrown away: whatever it says on closing changes nothing.
                        await pubsub.aclose()  # type: ignore[no-untyped-call]
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pause = FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _listen(self, pubsub: PubSub, first: bool) -> None:
        """Deliver what arrives until Redis fails or falls silent, which raises."""
        heard = time.monotonic()
        asked = False
        while True:
            incoming = await pubsub.get_message(timeout=1.0)
            if incoming is not None:
                heard, asked = time.monotonic(), False
                if incoming["type"] == "psubscribe":
                    # redis-py also reconnects on its own (PubSub.parse_response, _reconnect) and subscribes again
                    # without a word; the confirmation is the only trace, so each but the first means "may have missed".
                    if not first:
                        log.info("bus redis listening again")
                        self._resync_all()
                    first = False
                    self._listening.set()
                elif incoming["type"] == "pmessage":
                    self._receive(incoming["channel"], incoming["data"])
            elif time.monotonic() - heard > PING_AFTER_S:
                if asked and time.monotonic() - heard > PING_AFTER_S + REPLY_TIMEOUT_S:
                    raise TimeoutError
                if not asked:
                    asked = True
                    await pubsub.ping()

    def _receive(self, channel: bytes, data: bytes) -> None:
        """Deliver one message of another process; anything that is none of ours is dropped and counted."""
        try:
            envelope = json.loads(data)
            sender, message = envelope["sender"], envelope["message"]
            if not isinstance(message, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            self._lost += 1
            log.warning("bus message not understood", bytes=len(data))
            return
        if sender == self._sender:
            return
        topic = channel.decode(errors="replace").removeprefix(self._prefix)
        if message.get("type") == RESYNC:
            for subscription in self._subscriptions:
                if topic in subscription.topics:
                    subscription.resync()
        else:
            self._deliver(topic, json.dumps(message, separators=(",", ":")))

    # -- both ------------------------------------------------------------------------------------------------------

    def _client(self) -> Redis:
        # redis-py's own retries would hold a message back and hide a lost connection; ours are above.
        return Redis.from_url(
            self._url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=REPLY_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            client_name="callcenter-bus",
        )

    def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the task ``name`` unless it runs. Started when first needed: a bus can be made without a loop."""
        if name not in self._tasks:
            task = asyncio.get_running_loop().create_task(work(), name=f"bus-{name}")
            task.add_done_callback(lambda done: self._ended(name, done))
            self._tasks[name] = task

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        """A task that ended without being told to is a fault of ours: named, and started again at the next need."""
        self._tasks.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("bus task died", task=name, error=type(error).__name__)
