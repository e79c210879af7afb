"""The AudioSocket server over real sockets: clocks, tokens, floods, half frames, legs that die."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from callcenter.telephony.audiosocket import AudioSocketServer

pytestmark = pytest.mark.integration

FRAME_20MS = 320


def frame(kind: int, payload: bytes = b"") -> bytes:
    return bytes((kind,)) + len(payload).to_bytes(2, "big") + payload


def hello(token: UUID) -> bytes:
    return frame(0x01, token.bytes)


class Sink:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.opens = 0
        self.opened_at = 0.0
        self.parts: list[tuple[bool, bytes]] = []
        self.keys: list[str] = []
        self.reasons: list[str] = []
        self.end = asyncio.Event()

    def opened(self) -> None:
        self.opens += 1
        self.opened_at = time.monotonic()

    def audio(self, pcm: bytes, *, silence: bool) -> None:
        assert self.opens == 1
        assert not self.reasons
        assert len(pcm) % 2 == 0
        self.parts.append((silence, pcm))

    def dtmf(self, digit: str) -> None:
        self.keys.append(digit)

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self.end.set()

    @property
    def seconds(self) -> float:
        return sum(len(pcm) for _, pcm in self.parts) / 16_000

    @property
    def voice(self) -> bytes:
        return b"".join(pcm for silence, pcm in self.parts if not silence)

    async def ended(self) -> str:
        async with asyncio.timeout(10):
            await self.end.wait()
        return self.reasons[0]


@contextlib.asynccontextmanager
async def serving(**options: float) -> AsyncIterator[AudioSocketServer]:
    server = AudioSocketServer("127.0.0.1", 0, **options)  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert server.live == 0


async def dial(server: AudioSocketServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


async def closed_by_server(reader: asyncio.StreamReader, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def until(condition, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is awaited is anybody's state
            await asyncio.sleep(0.01)


async def test_a_leg_is_heard_whole_and_ends_with_the_hang_up():
    sound = random.Random(1).randbytes(FRAME_20MS * 60)
    async with serving() as server:
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        _, writer = await dial(server)
        writer.write(hello(token))
        for at in range(0, len(sound), FRAME_20MS):
            writer.write(frame(0x10, sound[at : at + FRAME_20MS]))
            await asyncio.sleep(0.02)
        await hang_up(writer)
        assert await sink.ended() == "eof"
        assert sink.voice == sound
        assert sink.opens == 1
        assert sink.reasons == ["eof"]
        # Sleeping 60 times takes a little over 1.2 s: the clock is the wall's, whatever was sent.
        assert abs(sink.seconds - (time.monotonic() - sink.opened_at)) < 0.3
        assert (server.counters["opened"], server.counters["closed"]) == (1, 1)


async def test_silence_is_fed_on_the_clock_where_nothing_comes():
    async with serving() as server:
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        _, writer = await dial(server)
        writer.write(hello(token))
        await until(lambda: sink.opens == 1)
        await asyncio.sleep(1.0)  # no RTP yet
        assert abs(sink.seconds - (time.monotonic() - sink.opened_at)) < 0.25
        assert sink.voice == b""
        voice = b"\x11\x22" * 160
        for _ in range(25):
            writer.write(frame(0x10, voice))
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)  # RTP stopped
        assert abs(sink.seconds - (time.monotonic() - sink.opened_at)) < 0.25
        assert sink.voice == voice * 25
        kinds = [silence for silence, _ in sink.parts]
        assert kinds[0] is True
        assert kinds[-1] is True
        first = sum(len(pcm) for silence, pcm in sink.parts[: kinds.index(False)] if silence) / 16_000
        assert abs(first - 1.0) < 0.25  # the voice stands at its own place
        assert all(not any(pcm) for silence, pcm in sink.parts if silence)
        await hang_up(writer)
        await sink.ended()


async def test_no_false_silence_while_frames_come_as_asterisk_sends_them_with_jitter():
    async with serving() as server:
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        _, writer = await dial(server)
        writer.write(hello(token))
        await asyncio.sleep(0.12)  # the first 120 ms of a tap are lost
        dice = random.Random(2)
        begin = time.monotonic()
        for n in range(100):
            await asyncio.sleep(max(0, begin + n * 0.02 + dice.uniform(0, 0.08) - time.monotonic()))
            writer.write(frame(0x10, b"\x01\x00" * 160))
        await asyncio.sleep(0.15)
        await hang_up(writer)
        await sink.ended()
        kinds = [silence for silence, _ in sink.parts]
        begins = kinds.index(False)
        ends = len(kinds) - kinds[::-1].index(False)
        assert not any(kinds[begins:ends])
        assert len(sink.voice) == 100 * FRAME_20MS


async def test_a_token_is_good_once():
    async with serving() as server:
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        with pytest.raises(ValueError, match="expected before"):
            server.expect(token, Sink())
        reader, writer = await dial(server)
        writer.write(hello(token))
        await until(lambda: sink.opens == 1)
        for other, counter in ((token, "reused_token"), (uuid4(), "unknown_token")):
            with capture_logs() as logs:
                other_reader, other_writer = await dial(server)
                other_writer.write(hello(other))
                await closed_by_server(other_reader)
            await hang_up(other_writer)
            assert server.counters[counter] == 1
            assert str(other) not in repr(logs)
        assert server.live == 1
        await hang_up(writer)
        await sink.ended()
        with pytest.raises(ValueError, match="expected before"):
            server.expect(token, Sink())
        reader, writer = await dial(server)
        writer.write(hello(token))
        await closed_by_server(reader)
        await hang_up(writer)
        assert server.counters["reused_token"] == 2
        assert sink.opens == 1


async def test_a_token_that_comes_late_or_never():
    async with serving() as server:
        sink, token = Sink(), uuid4()
        server.expect(token, sink, ttl_s=0.2)
        assert await sink.ended() == "expired"
        reader, writer = await dial(server)
        writer.write(hello(token))
        await closed_by_server(reader)
        await hang_up(writer)
        assert (server.counters["expired"], server.counters["late_token"], sink.opens) == (1, 1, 0)


async def test_revoked_before_and_after_it_opened():
    async with serving() as server:
        early, late = Sink(), Sink()
        first, second = uuid4(), uuid4()
        server.expect(first, early)
        server.expect(second, late)
        server.revoke(first)
        assert early.reasons == ["revoked"]
        reader, writer = await dial(server)
        writer.write(hello(second))
        await until(lambda: late.opens == 1)
        server.revoke(second)
        server.revoke(second)
        server.revoke(uuid4())
        assert late.reasons == ["revoked"]
        await closed_by_server(reader)
        await hang_up(writer)


@pytest.mark.parametrize(
    "first",
    [
        frame(0x10, b"\0" * 320),
        frame(0x01, b"\0" * 15),
        frame(0x01, b"\0" * 17),
        frame(0x01),
        frame(0x00),
        frame(0x77, b"junk"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 100,
    ],
)
async def test_a_first_frame_that_is_no_uuid_is_closed(first):
    async with serving() as server:
        reader, writer = await dial(server)
        writer.write(first)
        await closed_by_server(reader)
        await hang_up(writer)
        assert server.counters["bad_first_frame"] == 1


async def test_half_open_connections_are_few_and_do_not_last():
    async with serving(first_frame_s=0.6, max_pending=5) as server:
        slow = [await dial(server) for _ in range(5)]
        for n, (_, writer) in enumerate(slow):
            writer.write(hello(uuid4())[:n])
        await asyncio.sleep(0.1)
        slow.append(await dial(server))
        await closed_by_server(slow[0][0], 0.4)  # the one that has held its place longest
        assert server.counters["too_many_pending"] == 1
        for reader, writer in slow:
            await closed_by_server(reader, 2)
            await hang_up(writer)
        assert server.counters["silent_first_frame"] == 5
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        _, writer = await dial(server)
        for byte in hello(token) + frame(0x10, b"ab" * 160):  # byte by byte, but in time
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.001)
        await until(lambda: sink.voice == b"ab" * 160)
        await hang_up(writer)
        await sink.ended()


async def test_a_hundred_legs_that_come_at_once_are_all_heard():
    async with serving(max_pending=5) as server:
        sinks, sockets = [], []
        for _ in range(100):  # the loop has no turn until all of them are there
            sink, token = Sink(), uuid4()
            server.expect(token, sink)
            sinks.append(sink)
            sockets.append(socket.create_connection(("127.0.0.1", server.port)))
            sockets[-1].sendall(hello(token) + frame(0x10, token.bytes * 20))
            sink.keys.append(token.bytes.hex())
        await until(lambda: all(sink.voice for sink in sinks))
        assert all(sink.voice == bytes.fromhex(sink.keys[0]) * 20 for sink in sinks)
        assert server.counters["too_many_pending"] == 0
        for one in sockets:
            one.close()
        await asyncio.gather(*(sink.ended() for sink in sinks))


async def test_connect_and_close_leaves_nothing_behind():
    async with serving() as server:
        for _ in range(200):
            socket.create_connection(("127.0.0.1", server.port)).close()
            await asyncio.sleep(0)
        await until(lambda: server.counters["bad_first_frame"] == 200)
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        _, writer = await dial(server)
        writer.write(hello(token))
        await until(lambda: sink.opens == 1)
        await hang_up(writer)


async def test_every_end_of_a_leg_is_told_once():
    ends = {
        "hangup": frame(0x00),
        "error": frame(0xFF, b"\x01"),
        "broken": b"\x10\xff\xff" + b"x" * 100,
        "eof": b"\x10\x01\x40" + b"x" * 100,  # half a frame, then gone
    }
    async with serving() as server:
        for reason, last in ends.items():
            sink, token = Sink(), uuid4()
            server.expect(token, sink)
            reader, writer = await dial(server)
            writer.write(hello(token) + frame(0x10, b"ab" * 160) + last + (b"" if reason == "eof" else frame(0x00)))
            if reason == "eof":
                await hang_up(writer)
            assert await sink.ended() == reason
            assert sink.voice == b"ab" * 160
            if reason != "eof":
                await closed_by_server(reader)
                await hang_up(writer)
            await asyncio.sleep(0.15)
            assert sink.reasons == [reason]
        assert server.counters["broken"] == 1


async def test_a_leg_that_resets_and_one_that_goes_on():
    async with serving() as server:
        gone, stays = Sink(), Sink()
        for sink in (gone, stays):
            token = uuid4()
            server.expect(token, sink)
            _, writer = await dial(server)
            writer.write(hello(token))
            await until(lambda sink=sink: sink.opens == 1)
            if sink is gone:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                writer.transport.abort()
        assert await gone.ended() == "eof"
        writer.write(frame(0x10, b"ab" * 160))
        await until(lambda: stays.voice == b"ab" * 160)
        await hang_up(writer)


async def test_keys_are_passed_on_and_nonsense_keys_are_not():
    async with serving() as server:
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        _, writer = await dial(server)
        writer.write(hello(token) + b"".join(frame(0x03, key) for key in (b"5", b"#", b"", b"12", b"\xff", b"x", b"A")))
        await until(lambda: len(sink.keys) == 3)
        assert sink.keys == ["5", "#", "A"]
        await hang_up(writer)


async def test_a_flood_is_bounded_and_its_neighbour_hears_on():
    async with serving() as server:
        flooded, calm = Sink(), Sink()
        tokens = uuid4(), uuid4()
        for token, sink in zip(tokens, (flooded, calm), strict=True):
            server.expect(token, sink)
        _, loud = await dial(server)
        loud.write(hello(tokens[0]))
        _, quiet = await dial(server)
        quiet.write(hello(tokens[1]))

        async def flood() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    loud.write(frame(0x10, b"\1\0" * 160) * 200)
                    await loud.drain()

        task = asyncio.create_task(flood())
        for _ in range(50):
            quiet.write(frame(0x10, b"ab" * 160))
            await asyncio.sleep(0.02)
        assert flooded.seconds < time.monotonic() - flooded.opened_at + 2.2
        assert calm.voice[: FRAME_20MS * 40] == b"ab" * 160 * 40
        assert await flooded.ended() == "flood"
        await task
        assert server.counters["flood_bytes"] > 60 * 16_000
        assert not calm.reasons
        await hang_up(loud)
        await hang_up(quiet)


async def test_sound_that_was_held_up_is_heard_late_rather_than_lost():
    async with serving() as server:
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        _, writer = await dial(server)
        writer.write(hello(token))
        await asyncio.sleep(1.0)
        sound = random.Random(3).randbytes(FRAME_20MS * 50)  # the whole second at once
        writer.write(b"".join(frame(0x10, sound[at : at + FRAME_20MS]) for at in range(0, len(sound), FRAME_20MS)))
        await until(lambda: len(sink.voice) == len(sound))
        assert sink.voice == sound
        await asyncio.sleep(1.3)  # and the silence after it lets the clock catch up
        assert abs(sink.seconds - (time.monotonic() - sink.opened_at)) < 0.25
        await hang_up(writer)


async def test_a_loop_that_stood_still_loses_nothing_and_adds_no_silence():
    async with serving() as server:
        sink, token = Sink(), uuid4()
        server.expect(token, sink)
        raw = socket.create_connection(("127.0.0.1", server.port))
        raw.sendall(hello(token))
        await until(lambda: sink.opens == 1)
        begin = time.monotonic()
        sound = random.Random(4).randbytes(FRAME_20MS * 100)
        for n in range(100):  # two seconds, the loop never getting its turn
            raw.sendall(frame(0x10, sound[n * FRAME_20MS : (n + 1) * FRAME_20MS]))
            time.sleep(max(0, begin + (n + 1) * 0.02 - time.monotonic()))  # noqa: ASYNC251 - a loop that stands still
        await until(lambda: len(sink.voice) == len(sound))
        assert sink.voice == sound
        assert sum(len(pcm) for silence, pcm in sink.parts if silence) < 0.2 * 16_000
        assert server.counters["slow_ticks"] == 1
        raw.close()
        await sink.ended()


async def test_a_sink_that_fails_loses_its_own_leg_only_and_its_words_are_not_logged():
    class Bad(Sink):
        def audio(self, pcm: bytes, *, silence: bool) -> None:
            raise RuntimeError("what the caller said")

    async with serving() as server:
        bad, good = Bad(), Sink()
        writers = []
        with capture_logs() as logs:
            for sink in (bad, good):
                token = uuid4()
                server.expect(token, sink)
                _, writer = await dial(server)
                writer.write(hello(token) + frame(0x10, b"ab" * 160))
                writers.append(writer)
            assert await bad.ended() == "sink failed"
            await until(lambda: good.voice == b"ab" * 160)
        assert "caller said" not in repr(logs)
        assert server.counters["sink_failures"] == 1
        for writer in writers:
            await hang_up(writer)


async def test_stop_tells_every_sink_and_frees_the_port():
    server = AudioSocketServer("127.0.0.1", 0)
    await server.start()
    waiting, talking, token = Sink(), Sink(), uuid4()
    server.expect(uuid4(), waiting)
    server.expect(token, talking)
    reader, writer = await dial(server)
    pending_reader, pending_writer = await dial(server)
    writer.write(hello(token))
    await until(lambda: talking.opens == 1)
    port = server.port
    await server.stop()
    await server.stop()
    assert waiting.reasons == ["stopped"]
    assert talking.reasons == ["stopped"]
    await closed_by_server(reader)
    await closed_by_server(pending_reader)
    for one in (writer, pending_writer):
        await hang_up(one)
    with pytest.raises(RuntimeError):
        server.expect(uuid4(), Sink())
    again = AudioSocketServer("127.0.0.1", port)
    await again.start()
    await again.stop()
