"""The bridge's parts against a real Asterisk and a real SIP caller: what was asked, heard, told and recorded."""

import asyncio
import os
import signal
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest

from callcenter.settings import Settings
from callcenter.telephony import recordings
from callcenter.telephony.agi import AgiHangup, AgiServer, AgiSession
from callcenter.telephony.ami import AmiClient, AmiMessage, AmiRefused
from callcenter.telephony.asterisk import AsteriskServer
from callcenter.telephony.audiosocket import AudioSocketServer
from callcenter.telephony.prompts import to_alaw
from tests.peers import sipp

pytestmark = pytest.mark.integration


class Leg:
    """What a leg heard."""

    def __init__(self) -> None:
        self.opens = 0
        self.voice = b""
        self.reasons: list[str] = []

    def opened(self) -> None:
        self.opens += 1

    def audio(self, pcm: bytes, *, silence: bool) -> None:
        if not silence:
            self.voice += pcm

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


@dataclass
class Bridge:
    """Everything that Asterisk speaks to, with routes that keep what they were asked."""

    settings: Settings
    sound: AudioSocketServer
    asterisk: AsteriskServer
    ami: AmiClient
    agi: AgiServer
    loop: asyncio.AbstractEventLoop
    events: list[AmiMessage] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    legs: list[Leg] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)

    def incoming(self, session: AgiSession) -> None:
        self.asked.append(session.args)
        session.uuid_arg(0)
        leg, token = Leg(), uuid4()
        self.legs.append(leg)
        announced = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (self.sound.expect(token, leg), announced.set()))
        assert announced.wait(2)
        session.set_variable("HOTLINE_TOKEN", str(token))
        session.set_variable("HOTLINE_NEXT", "statement")

    def statement(self, session: AgiSession) -> None:
        self.statements.append("begun")
        try:
            assert session.is_up()
            session.play("hotline/beep")
            session.say_digit_prompts("10")
            self.statements.append("played")
            while True:
                session.pause(500)
        except AgiHangup:
            self.statements.append("hung up")
            raise

    def heard(self, user_event: str) -> list[AmiMessage]:
        return [event for event in self.events if event.get("userevent") == user_event]


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    settings = Settings(data_dir=tmp_path)
    sound = AudioSocketServer("127.0.0.1", 0)
    await sound.start()
    routes: dict[str, Callable[[AgiSession], None]] = {}
    agi = AgiServer("127.0.0.1", 0, {name: lambda s, name=name: routes[name](s) for name in ("incoming", "statement")})
    agi.start()
    asterisk = AsteriskServer(settings, agi_port=agi.port, audiosocket_port=sound.port)
    await asterisk.start()
    at = asterisk.endpoint
    ami = AmiClient(at.ami_host, at.ami_port, at.ami_user, at.ami_secret)
    made = Bridge(settings, sound, asterisk, ami, agi, asyncio.get_running_loop())
    routes.update(incoming=made.incoming, statement=made.statement)
    ami.on("UserEvent", made.events.append)
    await ami.start()
    try:
        await ami.wait_connected(5)
        yield made
    finally:
        await ami.stop()
        await asterisk.stop()
        await asyncio.to_thread(agi.stop)
        await sound.stop()


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is awaited is anybody's state
            await asyncio.sleep(0.02)


def dial(bridge: Bridge, tmp_path: Path, hangup_after: float) -> "asyncio.Task[sipp.SippResult]":
    """A citizen who hums 440 Hz."""
    tone = tmp_path / "tone.al"
    pcm = 8000 * np.sin(2 * np.pi * 440 * np.arange(8000 * 20) / 8000)
    tone.write_bytes(to_alaw(pcm.astype(np.int16)))
    at = bridge.asterisk.endpoint
    return asyncio.create_task(
        sipp.call(at.sip_host, at.sip_port, audio=tone, hangup_after=hangup_after, local_ip=at.trunk_ip)
    )


def loudness_at(pcm: bytes, hertz: float) -> float:
    """The share of ``pcm``'s energy at one frequency, 0 to 1."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    wave = np.exp(2j * np.pi * hertz / 8000 * np.arange(len(samples)))
    return float(2 * abs(samples @ wave) ** 2 / (len(samples) * (samples @ samples) + 1))


async def test_a_call_is_asked_about_heard_told_of_and_recorded(bridge, tmp_path):
    call = dial(bridge, tmp_path, 16)
    await until(lambda: "played" in bridge.statements, 20)
    uuid = UUID(bridge.asked[0][0])
    assert bridge.asked[0][1] == "12319"
    assert await bridge.ami.live_calls() == {uuid}
    citizen = next(channel for channel in await bridge.ami.channels() if channel.unique_id == bridge.asked[0][6])
    assert (citizen.state, citizen.call) == ("Up", uuid)
    assert bridge.agi.live == 1

    result = await call
    await until(lambda: bridge.legs[0].reasons and "hung up" in bridge.statements and bridge.heard("HotlineEnd"))
    assert result.ok
    assert bridge.legs[0].reasons == ["eof"]
    assert bridge.heard("HotlineCall")[0].get("calluuid") == str(uuid)
    voice = bridge.legs[0].voice
    assert len(voice) > 16_000 * 14
    assert loudness_at(voice[16_000:48_000], 440) > 0.9
    await until(lambda: bridge.agi.counters["hangup"] == 1)
    assert bridge.sound.counters["flood_bytes"] == bridge.sound.counters["junk_frames"] == 0

    root = bridge.settings.recordings
    recording = recordings.resolve(root, bridge.asked[0][5])
    found = recordings.scan(root)
    assert [(one.call, one.relative) for one in found] == [(uuid, bridge.asked[0][5])]
    assert (found[0].mixed, found[0].sidecar) == (recording, None)
    assert found[0].citizen is not None
    assert found[0].agent is not None
    await asyncio.sleep(0.5)  # MixMonitor closes its files in a thread of its own
    assert recordings.duration_s(recording) == pytest.approx(result.calls[0].seconds, abs=1)
    assert loudness_at(recordings.read_pcm(found[0].citizen, 1, 3), 440) > 0.9
    assert recordings.read_pcm(found[0].agent, 0, 5).strip(b"\0")


async def test_a_stopped_asterisk_is_noticed_and_found_again(bridge):
    os.kill(bridge.asterisk.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        await until(lambda: not bridge.ami.connected, 6)
        assert time.monotonic() - started <= 5
        assert bridge.ami.counters["dead"] == 1
    finally:
        os.kill(bridge.asterisk.pid, signal.SIGCONT)
    await bridge.ami.wait_connected(10)
    assert await bridge.ami.channels() == []


async def test_a_killed_asterisk_ends_every_conversation_and_leaves_its_sound(bridge, tmp_path):
    call = dial(bridge, tmp_path, 30)
    await until(lambda: "begun" in bridge.statements, 20)
    await asyncio.sleep(3)
    os.kill(bridge.asterisk.pid, signal.SIGKILL)
    await until(lambda: bridge.legs[0].reasons == ["eof"] and "hung up" in bridge.statements)
    await until(lambda: not bridge.ami.connected)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    async def none_known(_: set[UUID]) -> set[UUID]:
        return set()

    found = await recordings.find_unclaimed(bridge.settings.recordings, none_known, before=time.time() + 1)
    assert [str(one.call) for one in found] == [bridge.asked[0][0]]
    assert found[0].citizen is not None
    header = struct.unpack_from("<I", found[0].citizen.read_bytes(), 40)[0]
    heard = recordings.duration_s(found[0].citizen)
    assert heard > 2
    assert header < heard * 16_000  # what the header says is stale
    assert loudness_at(recordings.read_pcm(found[0].citizen, 1, 2), 440) > 0.9


async def test_a_wrong_password_is_refused_by_asterisk(bridge):
    at = bridge.asterisk.endpoint
    client = AmiClient(at.ami_host, at.ami_port, at.ami_user, "wrong")
    await client.start()
    with pytest.raises(AmiRefused):
        await client.wait_connected(5)
    await client.stop()
    refused = await bridge.ami.action({"Action": "Command", "Command": "core show version"})
    assert not refused[0].success  # least rights
