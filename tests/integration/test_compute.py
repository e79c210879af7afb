"""The real compute child: heard while it lives, killed, stopped, starved and fed nonsense."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from callcenter.compute.client import ComputeClient
from callcenter.compute.errors import ComputeError, ComputeTimeout
from callcenter.compute.stream import KEPT_S
from callcenter.settings import REPOSITORY, Settings
from callcenter.speech.accuracy import character_error_rate
from callcenter.speech.events import Gap, LegEvent, Partial, SpeechStarted, StatementEnded, Utterance
from tests.speaking import SENTENCES, SYNTHETIC, line, say, text_of, utterances

pytestmark = pytest.mark.integration

TICK = 1_600
"""Bytes of 100 ms."""


def settings(tmp_path: Path, **changes: object) -> Settings:
    return Settings(data_dir=tmp_path, speech_model=changes.pop("speech_model", SYNTHETIC), **changes)  # type: ignore[arg-type]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[ComputeClient]:
    compute = ComputeClient(settings(tmp_path))
    await compute.start()
    yield compute
    await compute.stop()


async def until(true: Callable[[], bool], timeout: float = 20.0) -> float:
    """Wait for ``true``; returns the seconds it took."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > timeout:
            raise AssertionError(f"not so within {timeout} s")
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def speak_into(stream: object, pcm: bytes, speed: float = 20.0) -> None:
    """Feed ``pcm`` in ticks, ``speed`` times faster than it is spoken."""
    for at in range(0, len(pcm), TICK):
        stream.feed(pcm[at : at + TICK])  # type: ignore[attr-defined]
        await asyncio.sleep(0.1 / speed)


def error_of(said: str, events: list[LegEvent]) -> float:
    return character_error_rate([(said, text_of(events))])


async def test_a_leg_is_heard_to_its_end(client: ComputeClient) -> None:
    events: list[LegEvent] = []
    stream = client.open_leg(uuid4(), events.append)
    assert (client.live, stream.refused) == (1, False)
    pcm = line(0.5, say(SENTENCES[0]), 3.0, say(SENTENCES[1]))
    await speak_into(stream, pcm)
    assert stream.position == pytest.approx(len(pcm) / 16_000)
    await stream.finish(5)
    assert client.live == 0
    assert error_of(SENTENCES[0] + SENTENCES[1], events) <= 0.15
    assert [got.sequence for got in utterances(events)] == [0, 1]
    assert [type(e) for e in events if not isinstance(e, Partial)] == [
        SpeechStarted, Utterance, StatementEnded, SpeechStarted, Utterance,
    ]  # fmt: skip
    assert utterances(events)[1].decode_ms < 1_000


async def test_twenty_legs_at_once_are_all_heard(client: ComputeClient) -> None:
    heard: dict[int, list[LegEvent]] = {n: [] for n in range(20)}
    streams = [client.open_leg(uuid4(), heard[n].append) for n in range(20)]
    voices = [line(0.2 + 0.05 * n, say(SENTENCES[n % len(SENTENCES)]), 1.0) for n in range(20)]
    await asyncio.gather(*(speak_into(s, pcm, speed=3) for s, pcm in zip(streams, voices, strict=True)))
    await asyncio.gather(*(stream.finish(10) for stream in streams))
    pairs = [(SENTENCES[n % len(SENTENCES)], text_of(heard[n])) for n in range(20)]
    assert character_error_rate(pairs) <= 0.15
    assert all(len(utterances(events)) == 1 for events in heard.values())
    assert client.live == 0


async def test_killed_in_the_middle_of_a_word_nothing_is_lost_or_told_twice(client: ComputeClient) -> None:
    events: list[LegEvent] = []
    other: list[LegEvent] = []
    stream, silent = client.open_leg(uuid4(), events.append), client.open_leg(uuid4(), other.append)
    await speak_into(stream, line(0.3, say(SENTENCES[0]), 1.2))
    await until(lambda: len(utterances(events)) == 1)
    second = line(say(SENTENCES[1]), 1.0)
    half = len(second) // 3 // TICK * TICK
    await speak_into(stream, second[:half])
    await until(lambda: isinstance(events[-1], Partial))
    assert client.pid is not None
    before = client.pid
    os.kill(before, signal.SIGKILL)
    await speak_into(stream, second[half:])
    silent.feed(bytes(TICK))
    await until(lambda: len(utterances(events)) == 2)
    assert client.restarts == 1
    assert client.pid not in (None, before)
    await stream.finish(10)
    await silent.finish(10)
    assert [got.sequence for got in utterances(events)] == [0, 1]
    assert error_of(SENTENCES[0] + SENTENCES[1], events) <= 0.15
    assert len([e for e in events if isinstance(e, SpeechStarted)]) == 2
    assert not any(isinstance(e, Gap) for e in events + other)
    assert client.capacity > 0


async def test_killed_between_statements_the_statement_still_ends(client: ComputeClient) -> None:
    events: list[LegEvent] = []
    stream = client.open_leg(uuid4(), events.append)
    await speak_into(stream, line(0.3, say(SENTENCES[2]), 1.0))
    await until(lambda: len(utterances(events)) == 1)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    await speak_into(stream, line(4.0))
    await until(lambda: any(isinstance(e, StatementEnded) for e in events))
    await stream.finish(10)
    assert len(utterances(events)) == 1


async def test_a_hanging_child_is_noticed_and_replaced(client: ComputeClient) -> None:
    events: list[LegEvent] = []
    stream = client.open_leg(uuid4(), events.append)
    await speak_into(stream, line(0.3, say(SENTENCES[3])))
    assert client.pid is not None
    os.kill(client.pid, signal.SIGSTOP)
    assert await until(lambda: client.restarts == 1, 8) <= 6.0
    await until(lambda: client.ready)
    await speak_into(stream, line(1.0))
    await stream.finish(10)
    assert error_of(SENTENCES[3], events) <= 0.15
    assert len(utterances(events)) == 1


async def test_finishing_waits_for_the_new_child(client: ComputeClient) -> None:
    events: list[LegEvent] = []
    stream = client.open_leg(uuid4(), events.append)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGSTOP)  # nothing of this leg is heard by the first child
    await speak_into(stream, line(0.3, say(SENTENCES[0])), speed=100)
    os.kill(client.pid, signal.SIGKILL)
    await stream.finish(15)
    assert error_of(SENTENCES[0], events) <= 0.15


async def test_what_no_child_took_in_time_is_one_gap(client: ComputeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter.compute.client._BACKOFF_S", (2.0,))
    events: list[LegEvent] = []
    stream = client.open_leg(uuid4(), events.append)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    await until(lambda: not client.ready)
    ahead = KEPT_S + 12.0
    for _ in range(int(ahead * 10)):  # as if the child were away for that long
        stream.feed(bytes(TICK))
    for at in range(0, len(tail := line(say(SENTENCES[1]), 1.0)), TICK):
        stream.feed(tail[at : at + TICK])
    await until(lambda: client.ready)
    await stream.finish(10)
    gaps = [e for e in events if isinstance(e, Gap)]
    assert gaps[0].start == 0.0
    assert gaps[-1].end == pytest.approx(ahead + len(tail) / 16_000 - KEPT_S, abs=0.2)
    assert all(a.end == b.start for a, b in itertools.pairwise(gaps))
    assert error_of(SENTENCES[1], events) <= 0.15
    assert utterances(events)[0].start == pytest.approx(ahead, abs=0.3)


async def test_a_finish_that_takes_too_long_is_a_gap(client: ComputeClient) -> None:
    events: list[LegEvent] = []
    stream = client.open_leg(uuid4(), events.append)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGSTOP)
    await speak_into(stream, line(0.3, say(SENTENCES[0])), speed=100)
    await stream.finish(0.3)
    [gap] = [e for e in events if isinstance(e, Gap)]
    assert (gap.start, gap.end) == (0.0, None)
    assert client.live == 0
    stream.feed(bytes(TICK))
    os.kill(client.pid, signal.SIGKILL)


async def test_no_leg_is_taken_beyond_capacity(tmp_path: Path) -> None:
    compute = ComputeClient(settings(tmp_path, speech_max_legs=2))
    await compute.start()
    try:
        assert compute.capacity == 2
        events: list[LegEvent] = []
        kept = [compute.open_leg(uuid4(), lambda _: None) for _ in range(2)]
        refused = compute.open_leg(uuid4(), events.append)
        assert refused.refused
        assert events == []  # told after open_leg returned, never within
        refused.feed(bytes(TICK))
        await asyncio.sleep(0)
        [gap] = events
        assert isinstance(gap, Gap)
        assert (gap.start, gap.end) == (0.0, None)
        assert refused.position == pytest.approx(0.1)
        await refused.finish(1)
        kept[0].abandon()
        assert not compute.open_leg(uuid4(), lambda _: None).refused
    finally:
        await compute.stop()


async def test_silence_and_strange_bytes_do_no_harm(client: ComputeClient) -> None:
    events: list[LegEvent] = []
    stream = client.open_leg(uuid4(), events.append)
    for _ in range(600):
        stream.feed(bytes(TICK), silence=True)
    stream.feed(b"")
    stream.feed(b"\x01")
    stream.feed(os.urandom(3_333))
    stream.feed(bytes(11))
    await stream.finish(10)
    assert stream.position == pytest.approx(60.2, abs=0.1)
    assert len(text_of(events)) <= 1
    assert client.restarts == 0


async def test_a_listener_that_fails_harms_no_other_leg(client: ComputeClient) -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def broken(event: LegEvent) -> None:
        raise ValueError("a fault in a call")

    events: list[LegEvent] = []
    bad, good = client.open_leg(uuid4(), broken), client.open_leg(uuid4(), events.append)
    pcm = line(0.3, say(SENTENCES[0]), 1.0)
    await asyncio.gather(speak_into(bad, pcm), speak_into(good, pcm))
    await asyncio.gather(bad.finish(5), good.finish(5))
    assert error_of(SENTENCES[0], events) <= 0.15
    assert complaints


async def test_recordings_are_transcribed_beside_live_legs(client: ComputeClient) -> None:
    events: list[LegEvent] = []
    stream = client.open_leg(uuid4(), events.append)
    long = line(0.5, *[part for sentence in SENTENCES for part in (say(sentence), 1.0)] * 6)
    job = asyncio.create_task(client.transcribe(long))
    await speak_into(stream, line(0.5, say(SENTENCES[0]), 1.0), speed=2)
    assert utterances(events), "a recording kept a live leg waiting"
    assert utterances(events)[0].decode_ms < 500
    found = await asyncio.wait_for(job, 60)
    assert len(found) == 24
    assert character_error_rate([("".join(SENTENCES) * 6, "".join(got.text for got in found))]) <= 0.15
    await stream.finish(5)
    assert await client.transcribe(b"") == []


async def test_a_transcription_survives_the_child(client: ComputeClient) -> None:
    pcm = line(0.5, *[part for sentence in SENTENCES for part in (say(sentence), 1.0)] * 4)
    job = asyncio.create_task(client.transcribe(pcm))
    await asyncio.sleep(0.1)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    found = await asyncio.wait_for(job, 60)
    assert len(found) == 16


async def test_routing_waits_through_a_restart(client: ComputeClient) -> None:
    routing = await client.route(SENTENCES[0], timeout=30)
    assert routing["domain"] == "urban"
    assert routing["text"] == SENTENCES[0]
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    await until(lambda: not client.ready)
    again = await client.route(SENTENCES[0], timeout=30)
    assert again["category"] == routing["category"]


async def test_what_was_heard_by_a_model_of_no_real_voice_is_never_routed_by_itself(
    client: ComputeClient, tmp_path: Path
) -> None:
    assert client.knows_only_synthetic
    words = [{"text": word, "start": 0.0, "end": 1.0, "confidence": 1.0} for word in ("路灯", "坏", "了")]
    heard = await client.route("路灯坏了", words, timeout=30)
    assert heard["decision"] == "confirm"
    assert "unknown_voice" in heard["reasons"]
    typed = await client.route("路灯坏了", timeout=30, heard=False)
    assert "unknown_voice" not in typed["reasons"]
    demo = ComputeClient(settings(tmp_path / "demo", demo_line=True))
    await demo.start()
    try:
        assert "unknown_voice" not in (await demo.route("路灯坏了", words, timeout=30))["reasons"]
    finally:
        await demo.stop()


async def test_routing_gives_up_in_time(client: ComputeClient) -> None:
    assert client.pid is not None
    os.kill(client.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(ComputeTimeout):
        await client.route("路灯坏了", timeout=0.3)
    assert time.monotonic() - began < 0.6
    os.kill(client.pid, signal.SIGKILL)


async def test_without_a_router_legs_are_heard_and_the_reason_is_told(tmp_path: Path) -> None:
    compute = ComputeClient(settings(tmp_path, router_model="no-such-version"))
    await compute.start()
    try:
        with pytest.raises(ComputeError, match="no router"):
            await compute.route("路灯坏了", timeout=30)
        events: list[LegEvent] = []
        stream = compute.open_leg(uuid4(), events.append)
        await speak_into(stream, line(0.3, say(SENTENCES[0])))
        await stream.finish(5)
        assert error_of(SENTENCES[0], events) <= 0.15
    finally:
        await compute.stop()


async def test_a_damaged_model_is_refused_before_native_code_sees_it(tmp_path: Path) -> None:
    model = Path(shutil.copytree(SYNTHETIC, tmp_path / "model"))
    with (model / "graph" / "HCLG.fst").open("r+b") as file:
        file.seek(200_000)
        file.write(b"\xff" * 64)  # transition numbers out of range: Vosk would die of them at the first decode
    compute = ComputeClient(settings(tmp_path, speech_model=model))
    with pytest.raises(ComputeError, match=r"HCLG\.fst is damaged"):
        await compute.start()
    assert compute.pid is None
    assert not compute.ready


async def test_no_model_says_what_to_run(tmp_path: Path) -> None:
    compute = ComputeClient(settings(tmp_path, speech_model=tmp_path / "nowhere"))
    with pytest.raises(ComputeError, match="callcenter models fetch"):
        await compute.start()


async def test_stopping_tells_open_legs_and_leaves_no_child(tmp_path: Path) -> None:
    compute = ComputeClient(settings(tmp_path))
    await compute.start()
    events: list[LegEvent] = []
    compute.open_leg(uuid4(), events.append)
    assert compute.pid is not None
    child = psutil.Process(compute.pid)
    await compute.stop()
    assert [type(e) for e in events] == [Gap]
    assert not child.is_running()
    await compute.stop()


def test_the_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys, pathlib\n"
        "from callcenter.compute.client import ComputeClient\n"
        "from callcenter.settings import Settings\n"
        "async def main():\n"
        "    compute = ComputeClient(Settings(data_dir=pathlib.Path(sys.argv[1]), speech_model=sys.argv[2]))\n"
        "    await compute.start()\n"
        "    print('child', compute.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), str(SYNTHETIC)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
    )
    assert parent.stdout is not None
    try:
        told = next(told for told in parent.stdout if told.startswith("child "))
        child = psutil.Process(int(told.split()[1]))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert not alive
