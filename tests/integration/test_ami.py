"""The AMI client over real sockets, against a peer that speaks AMI as Asterisk 22 does and can be made to misbehave."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from callcenter.telephony.ami import (
    AmiBadValue,
    AmiClient,
    AmiConnectionLost,
    AmiMessage,
    AmiRefused,
    AmiTimeout,
)

pytestmark = pytest.mark.integration

GREETING = b"Asterisk Call Manager/11.0.0\r\n"


def message(**headers: str) -> bytes:
    return ("".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode()


class Peer:
    """The other end. ``silent`` stops every answer, as a stopped process does: connections stay, nothing comes."""

    def __init__(self, secret: str = "s3cret") -> None:  # noqa: S107
        self.secret = secret
        self.silent = False
        self.accepted = 0
        self.actions: list[dict[str, str]] = []
        self.answers: dict[str, Callable[[dict[str, str]], bytes | None]] = {}
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        self.cut()
        await self.server.wait_closed()
        await asyncio.sleep(0.05)

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    def named(self, action: str) -> list[dict[str, str]]:
        return [one for one in self.actions if one["Action"] == action]

    def send(self, data: bytes) -> None:
        for writer in self.writers:
            writer.write(data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.writers.append(writer)
        if not self.silent:
            writer.write(GREETING)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                text = (await reader.readuntil(b"\r\n\r\n")).decode()
                action = dict(line.split(": ", 1) for line in text.strip().split("\r\n"))
                self.actions.append(action)
                if not self.silent:
                    self.answer(action, writer)
        writer.close()

    def answer(self, action: dict[str, str], writer: asyncio.StreamWriter) -> None:
        me = action["ActionID"]
        if action["Action"] == "Login":
            if action["Secret"] != self.secret:
                writer.write(message(Response="Error", ActionID=me, Message="Authentication failed"))
                writer.close()
                return
            writer.write(message(Response="Success", ActionID=me, Message="Authentication accepted"))
            writer.write(message(Event="FullyBooted", Privilege="system,all", Status="Fully Booted"))
        elif action["Action"] in self.answers:
            if (data := self.answers[action["Action"]](action)) is not None:
                writer.write(data)
        elif action["Action"] == "Ping":
            writer.write(message(Response="Success", ActionID=me, Ping="Pong"))
        else:
            writer.write(message(Response="Error", ActionID=me, Message="Invalid/unknown command"))


@contextlib.asynccontextmanager
async def connected(peer: Peer | None = None, **options: float) -> AsyncIterator[tuple[Peer, AmiClient]]:
    peer = peer or Peer()
    await peer.start()
    client = AmiClient("127.0.0.1", peer.port, "hotline", "s3cret", **options)
    await client.start()
    try:
        await client.wait_connected(5)
        yield peer, client
    finally:
        await client.stop()
        await peer.stop()


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is awaited is anybody's state
            await asyncio.sleep(0.01)


async def test_actions_are_answered_in_any_order_each_its_own():
    async with connected() as (peer, client):
        held: list[bytes] = []

        def later(action: dict[str, str]) -> None:
            held.append(message(Response="Success", ActionID=action["ActionID"], Value=action["Variable"]))

        peer.answers["Getvar"] = later
        asked = [asyncio.create_task(client.action({"Action": "Getvar", "Variable": f"V{n}"})) for n in range(240)]
        await until(lambda: len(held) == 240)
        peer.send(b"".join(reversed(held)))
        answers = await asyncio.gather(*asked)
        assert [answer[0].get("value") for answer in answers] == [f"V{n}" for n in range(240)]
        refused = await client.action({"Action": "Nonsense"})
        assert (refused[0].success, refused[0].text) == (False, "Invalid/unknown command")


async def test_channels_for_reconciliation():
    call = uuid4()

    def status(action: dict[str, str]) -> bytes:
        assert action["Variables"] == "CALL_UUID"
        me = action["ActionID"]
        one = message(
            Event="Status",
            Channel="PJSIP/trunk-1",
            ChannelStateDesc="Up",
            Uniqueid="17.1",
            AccountCode="",
            Variable=f"CALL_UUID={call}",
            ActionID=me,
        )
        tap = message(Event="Status", Channel="AudioSocket/x", Uniqueid="17.2", Variable="CALL_UUID=", ActionID=me)
        return (
            message(Response="Success", ActionID=me, EventList="start", Message="Channel status will follow")
            + one
            + tap
            + message(Event="StatusComplete", ActionID=me, EventList="Complete", ListItems="2")
        )

    async with connected() as (peer, client):
        peer.answers["Status"] = status
        channels = await client.channels()
        assert [(c.unique_id, c.name, c.state, c.call) for c in channels] == [
            ("17.1", "PJSIP/trunk-1", "Up", call),
            ("17.2", "AudioSocket/x", "", None),
        ]
        assert await client.live_calls() == {call}


@pytest.mark.parametrize(
    "fields",
    [
        {"Action": "Originate", "Channel": "x\r\nAction: Command"},
        {"Action": "Originate", "Variable": ["A=1", "B=2\nAction: Hangup"]},
        {"Action": "Ping\r\n"},
        {"Action": "Ping", "X: y\r\nZ": "1"},
        {"Action": "Ping", "Value": "\0"},
        {"Action": "Ping", "Value": "\ud800"},
        {"Action": "Ping", "Value": "x" * 2000},
        {"Action": "Ping", "ActionID": "mine"},
        {"Action": "Ping", "a": "1", "A": "2"},
        {"Action": "Ping", "Value": 5},
        {"Variable": "x"},
    ],
)
async def test_what_would_be_another_action_is_refused_unsent(fields):
    async with connected() as (peer, client):
        before = len(peer.actions)
        with pytest.raises(AmiBadValue) as caught:
            await client.action(fields)
        assert "Hangup" not in str(caught.value)
        await asyncio.sleep(0.05)
        assert len(peer.actions) == before


async def test_an_action_has_its_time_limit_and_a_late_answer_is_nobodys():
    async with connected() as (peer, client):
        ids: list[str] = []
        peer.answers["Slow"] = lambda action: ids.append(action["ActionID"])
        with pytest.raises(AmiTimeout, match="Slow"):
            await client.action({"Action": "Slow"}, 0.2)
        peer.send(message(Response="Success", ActionID=ids[0], Message="late"))
        assert (await client.action({"Action": "Ping"}))[0].get("ping") == "Pong"
        assert client.connected


async def test_nothing_is_sent_twice_when_the_connection_dies_under_it():
    async with connected() as (peer, client):
        peer.answers["Originate"] = lambda _: None
        under_way = asyncio.create_task(client.action({"Action": "Originate", "Channel": "x"}, 10))
        await until(lambda: len(peer.named("Originate")) == 1)
        peer.cut()
        started = time.monotonic()
        with pytest.raises(AmiConnectionLost, match="Originate"):
            await under_way
        assert time.monotonic() - started < 1
        with pytest.raises(AmiConnectionLost):
            await client.action({"Action": "Originate", "Channel": "y"})
        await until(lambda: peer.accepted == 2)
        await client.wait_connected(5)
        await asyncio.sleep(0.3)  # FullyBooted has come: panoramisk would send it again now
        assert len(peer.named("Originate")) == 1
        assert client.counters["lost"] == 1


async def test_a_peer_that_falls_silent_is_left_within_five_seconds_and_found_again():
    async with connected() as (peer, client):
        await asyncio.sleep(1.6)  # right after a ping: the worst moment
        peer.silent = True
        started = time.monotonic()
        under_way = asyncio.create_task(client.action({"Action": "Getvar", "Variable": "x"}, 60))
        await until(lambda: not client.connected, 6)
        assert time.monotonic() - started <= 5
        with pytest.raises(AmiConnectionLost):
            await under_way
        assert client.counters["dead"] == 1
        peer.silent = False
        await client.wait_connected(8)
        assert (await client.action({"Action": "Ping"}))[0].success


async def test_events_in_full_flow_are_a_sign_of_life():
    async with connected(ping_every=0.2, dead_after=0.5) as (peer, client):
        peer.answers["Ping"] = lambda _: None
        for _ in range(15):
            peer.send(message(Event="Newexten", Channel="x"))
            await asyncio.sleep(0.1)
        assert client.connected
        await until(lambda: not client.connected, 2)


async def test_a_wrong_password_is_said_clearly_and_not_hammered():
    peer = Peer(secret="another")
    await peer.start()
    client = AmiClient("127.0.0.1", peer.port, "hotline", "s3cret", refused_every=0.5)
    with capture_logs() as logs:
        await client.start()
        started = time.monotonic()
        with pytest.raises(AmiRefused, match="ami_user"):
            await client.wait_connected(5)
        assert time.monotonic() - started < 2
        await asyncio.sleep(1.2)
        assert 2 <= peer.accepted <= 4
        assert "s3cret" not in repr(logs)
        peer.secret = "s3cret"
        await until(lambda: client.connected, 3)
    await client.stop()
    await peer.stop()


async def test_a_peer_that_says_nothing_at_all_and_one_that_is_not_there():
    mute = Peer()
    mute.silent = True
    await mute.start()
    client = AmiClient("127.0.0.1", mute.port, "hotline", "s3cret")
    await client.start()
    with pytest.raises(AmiTimeout):
        await client.wait_connected(1)
    assert not client.connected
    with pytest.raises(AmiConnectionLost):
        await client.action({"Action": "Ping"})
    port = mute.port
    await mute.stop()
    await asyncio.sleep(1)
    back = Peer()
    back.port = port
    await back.start()
    await client.wait_connected(10)
    await client.stop()
    await back.stop()


async def test_characters_cut_between_segments_stay_whole():
    async with connected() as (peer, client):
        seen: list[str] = []
        client.on("UserEvent", lambda event: seen.append(event.get("text")))
        for byte in message(Event="UserEvent", Text="市民张三"):
            peer.send(bytes((byte,)))
            await asyncio.sleep(0.002)
        await until(lambda: seen == ["市民张三"])


async def test_handlers_that_fail_or_hang_keep_nobody_from_hearing():
    async with connected() as (peer, client):
        heard: list[str] = []
        running = most = 0

        def bad(_: AmiMessage) -> None:
            raise RuntimeError("13800138000")

        async def slow(_: AmiMessage) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1

        async def bad_later(_: AmiMessage) -> None:
            raise ValueError("13800138000")

        for handler in (bad, slow, bad_later, lambda event: heard.append(event.get("n"))):
            client.on("hangup", handler)
        client.on("*", lambda event: heard.append(event.event))
        with capture_logs() as logs:
            peer.send(b"".join(message(Event="Hangup", N=str(n)) for n in range(100)))
            peer.send(message(Event="Newchannel", Uniqueid="1"))
            await until(lambda: heard[-1:] == ["Newchannel"])
        assert [one for one in heard if one.isdigit()] == [str(n) for n in range(100)]
        assert most <= 16
        assert client.counters["handler_failures"] >= 190
        assert "138" not in repr(logs)
        assert client.connected
        assert peer.accepted == 1


async def test_messages_that_cannot_be_digested_are_skipped():
    async with connected() as (peer, client):
        seen: list[AmiMessage] = []
        client.on("Hangup", seen.append)
        for bad in (
            b"Event: Hangup\r\nEvent: Hangup\r\n\r\n",  # forged by a line break in a header
            b"\xff\xfe\xfd\r\n\r\n",
            b"\r\n\r\n\r\n",
            b"no colon at all\r\n\r\n",
            b"Response: Success\r\nActionID: nobody\r\n\r\n",
        ):
            peer.send(bad)
        peer.send(message(Event="Hangup", Cause="16") + b"Event: Hangup\r\nVariable: a\r\nVariable: b\r\n\r\n")
        await until(lambda: len(seen) >= 2)
        assert seen[-2].get("Cause") == "16"
        assert seen[-1].all("variable") == ("a", "b")
        assert client.counters["indigestible"] >= 1
        assert peer.accepted == 1


async def test_a_message_without_end_is_cut_off():
    async with connected() as (peer, client):
        peer.send(b"Event: X\r\nText: " + b"x" * 3_000_000)
        await until(lambda: peer.accepted == 2)
        await client.wait_connected(5)
        assert client.counters["oversize"] >= 1


async def test_five_thousand_events_are_heard_in_order():
    async with connected() as (peer, client):
        heard: list[int] = []
        client.on("Newexten", lambda event: heard.append(int(event.get("n"))))
        peer.send(b"".join(message(Event="Newexten", N=str(n), Channel="PJSIP/trunk-00000001") for n in range(5000)))
        await until(lambda: len(heard) == 5000)
        assert heard == list(range(5000))


async def test_stop_leaves_no_task_and_logs_off():
    before = asyncio.all_tasks()
    async with connected() as (peer, client):
        peer.answers["Hold"] = lambda _: None
        under_way = asyncio.create_task(client.action({"Action": "Hold"}, 30))
        await until(lambda: len(peer.named("Hold")) == 1)
        await client.stop()
        with pytest.raises(AmiConnectionLost):
            await under_way
        assert not client.connected
        assert len(peer.named("Logoff")) == 1
        await asyncio.sleep(2.5)
        assert peer.accepted == 1
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() - before if "ami" in task.get_name()} == set()
