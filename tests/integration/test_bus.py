"""The bus through a real redis-server, which the tests start, freeze and kill."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from callcenter.bus import Message, RedisBus

pytestmark = pytest.mark.integration


class RedisServer:
    """A redis-server of our own, without persistence, on one port for all its lives."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("no redis-server on this machine: apt-get install redis-server")
        self.program = program
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail(f"redis-server did not listen on port {self.port} within 10 s")

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@asynccontextmanager
async def buses(url: str, count: int = 2) -> AsyncIterator[list[RedisBus]]:
    """``count`` buses as separate processes would have them: nothing shared but Redis."""
    made = [RedisBus(url) for _ in range(count)]
    try:
        yield made
    finally:
        for bus in made:
            await bus.close()


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        await asyncio.sleep(0.02)


async def until_type(messages: AsyncIterator[Message], kind: str, seconds: float = 15) -> Message:
    async with asyncio.timeout(seconds):
        async for message in messages:
            if message["type"] == kind:
                return message
    raise AssertionError("the subscription ended")


async def test_every_process_hears_each_message_once_and_in_order(redis_server: RedisServer) -> None:
    async with (
        buses(redis_server.url) as (line, pages),
        line.subscribe("live") as here,
        pages.subscribe("live") as there,
    ):
        for number in range(500):
            await line.publish("live", {"type": "partial", "number": number, "text": "路灯坏了"})
        await line.publish("live", {"type": "ended"})
        for messages in (here, there):
            async with asyncio.timeout(10):
                seen = [await anext(messages) for _ in range(501)]
            assert [message["number"] for message in seen[:-1]] == list(range(500))
            assert seen[-1] == {"type": "ended"}
        assert line.stats().lost == pages.stats().lost == 0
        assert line.stats().resyncs == pages.stats().resyncs == 0


async def test_redis_dies_and_comes_back(redis_server: RedisServer) -> None:
    async with (
        buses(redis_server.url) as (line, pages),
        line.subscribe("live") as here,
        pages.subscribe("live") as there,
    ):
        await line.publish("live", {"type": "partial", "number": 1})
        assert (await until_type(there, "partial"))["number"] == 1
        assert (await until_type(here, "partial"))["number"] == 1

        redis_server.kill()
        slowest = 0.0
        for number in range(100):
            began = time.monotonic()
            await line.publish("live", {"type": "partial", "number": 100 + number})
            slowest = max(slowest, time.monotonic() - began)
            # This process's own pages go on seeing everything, Redis or not.
            assert (await until_type(here, "partial", 1))["number"] == 100 + number
            await asyncio.sleep(0.005)
        assert slowest < 0.2
        async with asyncio.timeout(10):
            while line.stats().connected or pages.stats().connected:
                await asyncio.sleep(0.02)
                await pages.publish("desk", {"type": "presence"})
        redis_server.start()

        await until_type(there, "resync")
        # After the resynchronisation new messages arrive again; what was lost is counted and never sent late.
        await until(lambda: line.stats().connected and pages.stats().connected)
        await line.publish("live", {"type": "utterance", "number": 2})
        assert (await until_type(there, "utterance"))["number"] == 2
        assert line.stats().lost > 0


async def test_a_reader_is_told_when_only_the_publisher_lost_messages(redis_server: RedisServer) -> None:
    async with buses(redis_server.url) as (line, pages), pages.subscribe("live") as there:
        small = RedisBus(redis_server.url, outgoing_limit=5)
        try:
            for number in range(20):
                await small.publish("live", {"type": "partial", "number": number})
            assert await small.flush()
            assert small.stats().lost == 15
            async with asyncio.timeout(5):
                assert await anext(there) == {"type": "resync"}
                assert [(await anext(there))["number"] for _ in range(5)] == [15, 16, 17, 18, 19]
        finally:
            await small.close()
        assert line.stats().published == 0


async def test_a_redis_that_hangs_neither_blocks_nor_hides(redis_server: RedisServer) -> None:
    async with buses(redis_server.url) as (line, pages), pages.subscribe("live") as there:
        await line.publish("live", {"type": "partial", "number": 1})
        await until_type(there, "partial")
        redis_server.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(15):
                while line.stats().connected or pages.stats().connected:
                    began = time.monotonic()
                    await line.publish("live", {"type": "partial", "number": 2})
                    assert time.monotonic() - began < 0.2
                    await asyncio.sleep(0.05)
        finally:
            redis_server.signal(signal.SIGCONT)
        await until_type(there, "resync")
        await until(lambda: line.stats().connected)
        await line.publish("live", {"type": "utterance"})
        await until_type(there, "utterance")


async def test_redis_is_not_there_at_first(redis_server: RedisServer) -> None:
    redis_server.kill()
    async with buses(redis_server.url) as (line, pages):
        began = time.monotonic()
        async with pages.subscribe("live") as there:
            assert time.monotonic() - began < 2
            await line.publish("live", {"type": "partial"})
            redis_server.start()
            await until_type(there, "resync")
            await until(lambda: line.stats().connected)
            await line.publish("live", {"type": "utterance"})
            await until_type(there, "utterance")


async def test_strangers_on_the_channel_are_dropped_and_counted(redis_server: RedisServer) -> None:
    async with buses(redis_server.url, 1) as (pages,), pages.subscribe("live") as there:
        with socket.create_connection(("127.0.0.1", redis_server.port), 5) as stranger, capture_logs() as logs:
            for payload in (b"\xff\xfe", b"[]", b"{}", b'{"sender":"x","message":7}', b"[" * 5000):
                channel = b"callcenter:bus:live"
                stranger.sendall(
                    b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"
                    % (len(channel), channel, len(payload), payload)
                )
            await until(lambda: pages.stats().lost == 5)
        assert [entry["event"] for entry in logs] == ["bus message not understood"] * 5
        await pages.publish("live", {"type": "ended"})
        assert await anext(there) == {"type": "ended"}


async def test_close_ends_readers_and_leaves_no_task(redis_server: RedisServer) -> None:
    before = asyncio.all_tasks()
    async with buses(redis_server.url, 1) as (bus,), bus.subscribe("live") as messages:
        await bus.publish("live", {"type": "partial"})
        assert (await anext(messages))["type"] == "partial"
        waiting = asyncio.ensure_future(anext(messages))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await bus.close()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 1)
    assert asyncio.all_tasks() == before
