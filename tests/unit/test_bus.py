"""The bus in memory: order, isolation, bounds, resynchronisation, a clean end."""

import asyncio

import pytest
from structlog.testing import capture_logs

from callcenter.bus import MemoryBus, RedisBus, make_bus
from callcenter.bus.memory import MESSAGE_LIMIT

pytestmark = pytest.mark.unit


async def test_messages_arrive_in_order_and_only_those_of_the_topics_asked_for() -> None:
    bus = MemoryBus()
    async with bus.subscribe("live") as live, bus.subscribe("live", "desk") as both:
        await bus.publish("live", {"type": "partial", "text": "你"})
        await bus.publish("desk", {"type": "presence"})
        await bus.publish("live", {"type": "partial", "text": "你好"})
        assert [(await anext(live)).get("text") for _ in range(2)] == ["你", "你好"]
        assert [(await anext(both))["type"] for _ in range(3)] == ["partial", "presence", "partial"]
    assert bus.stats().subscribers == 0
    assert bus.stats().lost == 0


async def test_what_one_reader_does_to_a_message_no_other_sees() -> None:
    bus = MemoryBus()
    sent = {"type": "routing", "routing": {"alternatives": [1, 2]}}
    async with bus.subscribe("live") as first, bus.subscribe("live") as second:
        await bus.publish("live", sent)
        sent["routing"]["alternatives"].clear()
        (await anext(first))["routing"]["alternatives"].append(3)
        assert (await anext(second))["routing"]["alternatives"] == [1, 2]


async def test_a_slow_reader_loses_its_oldest_messages_and_is_told_first() -> None:
    bus = MemoryBus(queue_limit=3)
    async with bus.subscribe("live") as slow:
        for number in range(5):
            await bus.publish("live", {"type": "partial", "number": number})
        received = [await anext(slow) for _ in range(4)]
    assert received[0] == {"type": "resync"}
    assert [message["number"] for message in received[1:]] == [2, 3, 4]
    stats = bus.stats()
    assert (stats.published, stats.lost, stats.resyncs) == (5, 2, 1)


async def test_a_slow_reader_costs_a_quick_one_nothing() -> None:
    bus = MemoryBus(queue_limit=2)
    async with bus.subscribe("live"), bus.subscribe("live") as quick:
        for number in range(50):
            await bus.publish("live", {"type": "partial", "number": number})
            assert (await anext(quick))["number"] == number


async def test_close_ends_a_reader_that_waits_and_one_that_has_messages_left() -> None:
    bus = MemoryBus()

    async def read(seen: list[object]) -> None:
        async with bus.subscribe("live") as messages:
            async for message in messages:
                seen.append(message)

    seen: list[object] = []
    reader = asyncio.create_task(read(seen))
    await asyncio.sleep(0)
    async with bus.subscribe("live") as late:
        await bus.publish("live", {"type": "ended"})
        await asyncio.sleep(0)
        await bus.close()
        with pytest.raises(StopAsyncIteration):
            await anext(late)
    await asyncio.wait_for(reader, 1)
    assert seen == [{"type": "ended"}]
    await bus.publish("live", {"type": "ended"})
    async with bus.subscribe("live") as after:
        with pytest.raises(StopAsyncIteration):
            await anext(after)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "partial", "text": object()},
        {"type": "partial", "text": float("nan")},
        {"type": "partial", "text": "长" * MESSAGE_LIMIT},
        {"text": "without a type"},
        {"type": ["not", "text"]},
    ],
)
async def test_a_message_that_cannot_travel_is_counted_and_never_raised_or_logged(message: dict[str, object]) -> None:
    bus = MemoryBus()
    async with bus.subscribe("live") as messages:
        with capture_logs() as logs:
            await bus.publish("live", message)
        await bus.publish("live", {"type": "ended"})
        assert await anext(messages) == {"type": "ended"}
    assert bus.stats().lost == 1
    assert len(logs) == 1
    assert "长" not in str(logs)
    assert "object at" not in str(logs)


async def test_text_that_utf8_cannot_carry_still_arrives() -> None:
    bus = MemoryBus()
    async with bus.subscribe("live") as messages:
        await bus.publish("live", {"type": "partial", "text": "\ud800 '\u2028"})
        assert (await anext(messages))["text"] == "\ud800 '\u2028"


async def test_a_subscription_names_its_topics() -> None:
    with pytest.raises(ValueError, match="needs a topic"):
        async with MemoryBus().subscribe():
            pass


def test_make_bus_follows_the_setting() -> None:
    assert type(make_bus("")) is MemoryBus
    assert type(make_bus("redis://127.0.0.1:1/0")) is RedisBus
    with pytest.raises(ValueError, match="scheme 'http'"):
        make_bus("http://user:secret@127.0.0.1/")
    with pytest.raises(ValueError, match="REDIS_URL") as caught:
        make_bus("amqp://user:secret@127.0.0.1/")
    assert "secret" not in str(caught.value)
