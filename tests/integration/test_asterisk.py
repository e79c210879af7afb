"""Our own Asterisk, for real: started, adopted, killed, called by SIPp and answered by baresip.

The bridge's side of FastAGI and AudioSocket is played here by a few lines of raw protocol, so that what is tested is
Asterisk and its dialplan alone.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest

from callcenter.settings import REPOSITORY, Settings
from callcenter.telephony import external, process
from callcenter.telephony.asterisk import AsteriskEndpoint, AsteriskError, AsteriskServer
from callcenter.telephony.prompts import current
from tests.peers import sipp
from tests.peers.baresip import BaresipAgent
from tests.peers.sound import Samples, read_alaw, read_wav, similarity

pytestmark = pytest.mark.integration

COMPLAINT = "中山路的路灯坏了，晚上很黑。"


def settings_in(folder: Path, **changed: object) -> Settings:
    return Settings(data_dir=folder / "data", **changed)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    return process.start_ticks(pid) is not None


# -- the bridge's side, in raw protocol --------------------------------------------------------------------------------


@dataclass
class AgiCall:
    """One FastAGI session as it came in: script, arguments, the whole environment."""

    script: str
    arguments: list[str]
    environment: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, command: str) -> str:
        self.writer.write(f"{command}\n".encode())
        return (await self.reader.readline()).decode().strip()


@dataclass
class Bridge:
    """Answers FastAGI with ``handlers[script]`` and keeps what AudioSocket brings, by token."""

    handlers: dict[str, Callable[[AgiCall], Awaitable[None]]] = field(default_factory=dict)
    calls: list[AgiCall] = field(default_factory=list)
    sound: dict[UUID, bytearray] = field(default_factory=dict)
    agi_port: int = 0
    audiosocket_port: int = 0

    def arguments(self, script: str) -> list[list[str]]:
        return [one.arguments for one in self.calls if one.script == script]

    def heard(self, token: UUID) -> Samples:
        data = bytes(self.sound.get(token, b""))
        return np.frombuffer(data, np.int16)

    async def agi(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        environment = {}
        while line := (await reader.readline()).decode().strip():
            name, _, value = line.partition(": ")
            environment[name.rstrip(":")] = value
        number = 1
        arguments = []
        while f"agi_arg_{number}" in environment:
            arguments.append(environment[f"agi_arg_{number}"])
            number += 1
        one = AgiCall(environment.get("agi_network_script", ""), arguments, environment, reader, writer)
        self.calls.append(one)
        try:
            await self.handlers[one.script](one)
        finally:
            writer.close()

    async def audiosocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        token = None
        try:
            while True:
                kind, high, low = await reader.readexactly(3)
                payload = await reader.readexactly(high * 256 + low)
                if kind == 0x01:
                    token = UUID(bytes=payload)
                    self.sound.setdefault(token, bytearray())
                elif kind == 0x10 and token is not None:
                    self.sound[token] += payload
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def bridge(**handlers: Callable[[AgiCall], Awaitable[None]]) -> AsyncIterator[Bridge]:
    one = Bridge(dict(handlers))
    agi = await asyncio.start_server(one.agi, "127.0.0.1", 0)
    audio = await asyncio.start_server(one.audiosocket, "127.0.0.1", 0)
    one.agi_port = agi.sockets[0].getsockname()[1]
    one.audiosocket_port = audio.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        agi.close()
        audio.close()


@asynccontextmanager
async def asterisk(settings: Settings, with_bridge: Bridge | None = None) -> AsyncIterator[AsteriskServer]:
    """A running one; without a bridge its ports are ones where nobody listens."""
    agi, audio = (with_bridge.agi_port, with_bridge.audiosocket_port) if with_bridge else (1, 1)
    server = AsteriskServer(settings, agi_port=agi, audiosocket_port=audio)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class AmiListener:
    """Everything AMI says, raw, so that a forged line would be seen as the bridge's library would see it."""

    def __init__(self, endpoint: AsteriskEndpoint) -> None:
        self._endpoint = endpoint
        self.heard = b""

    async def __aenter__(self) -> "AmiListener":
        self._reader, self._writer = await asyncio.open_connection(self._endpoint.ami_host, self._endpoint.ami_port)
        self.send({"Action": "Login", "Username": self._endpoint.ami_user, "Secret": self._endpoint.ami_secret})
        self._task = asyncio.get_running_loop().create_task(self._listen())
        await self.until(b"Event: FullyBooted")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()

    def send(self, action: dict[str, str]) -> None:
        self._writer.write("".join(f"{name}: {value}\r\n" for name, value in action.items()).encode() + b"\r\n")

    async def _listen(self) -> None:
        while piece := await self._reader.read(65536):
            self.heard += piece

    async def until(self, text: bytes, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.heard:
            assert time.monotonic() < deadline, f"AMI never said {text!r}: {self.heard[-2000:]!r}"
            await asyncio.sleep(0.02)

    def events(self, kind: str) -> list[dict[str, str]]:
        found = []
        for block in self.heard.decode().split("\r\n\r\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\r\n") if ": " in line)
            if kind in (fields.get("Event"), fields.get("UserEvent")):
                found.append(fields)
        return found


def to(**variables: str) -> Callable[[AgiCall], Awaitable[None]]:
    """A handler that sets channel variables and is done."""

    async def handle(call: AgiCall) -> None:
        for name, value in variables.items():
            assert await call.say(f'SET VARIABLE {name} "{value}"') == "200 result=1"

    return handle


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "complaint.alaw"
    sipp.render_speech(COMPLAINT, path, lead=2.0, trail=1.0)
    return path


@pytest.fixture(scope="module")
def other_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "agent.alaw"
    sipp.render_speech("您好，请问具体在什么地方？", path, lead=1.0, trail=1.0)
    return path


def the_call(settings: Settings) -> tuple[Path, UUID]:
    """Folder and UUID of the one call that was recorded."""
    mixed = [path for path in settings.recordings.rglob("*.wav") if re.fullmatch(r"[0-9a-f-]{36}", path.stem)]
    assert len(mixed) == 1, mixed
    return mixed[0].parent, UUID(mixed[0].stem)


# -- the process -------------------------------------------------------------------------------------------------------


async def test_it_boots_in_time_and_keeps_its_secrets_to_itself(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    began = time.monotonic()
    async with asterisk(settings) as server:
        assert time.monotonic() - began < 10
        assert "Asterisk 22" in await asyncio.to_thread(server.command, "core show version")
        async with AmiListener(server.endpoint):
            pass
        state = settings.data_dir / "run" / "asterisk.json"
        assert state.stat().st_mode & 0o777 == 0o600
        assert (settings.data_dir / "run").stat().st_mode & 0o777 == 0o700
        assert (settings.data_dir / "run/asterisk/etc/hotline/pjsip.conf").stat().st_mode & 0o777 == 0o600
        assert settings.recordings.stat().st_mode & 0o777 == 0o700
        secrets = [server.endpoint.ami_secret, *server.endpoint.agents.values()]
        assert len(set(secrets)) == 3
        assert all(len(secret) >= 24 for secret in secrets)
        pid = server.pid
    assert not alive(pid)


async def test_every_module_and_file_loads_without_a_complaint(tmp_path: Path) -> None:
    async with asterisk(settings_in(tmp_path)) as server:
        lines = server.log_file.read_text().splitlines()
        assert [line for line in lines if "WARNING" in line or "ERROR" in line] == []


async def test_two_run_side_by_side(tmp_path: Path) -> None:
    async with asterisk(settings_in(tmp_path / "one")) as one, asterisk(settings_in(tmp_path / "two")) as two:
        assert one.endpoint.sip_port != two.endpoint.sip_port
        for server in (one, two):
            result = await sipp.call(server.endpoint.sip_host, server.endpoint.sip_port, hangup_after=0.3)
            assert result.ok, result


async def test_a_long_data_directory_still_has_a_command_line(tmp_path: Path) -> None:
    async with asterisk(settings_in(tmp_path / ("long" * 20))) as server:
        assert "Asterisk 22" in await asyncio.to_thread(server.command, "core show version")


async def test_the_same_secrets_and_ports_after_a_restart(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with asterisk(settings) as server:
        before = server.endpoint
    async with asterisk(settings) as server:
        assert server.endpoint == before
        assert not server.adopted


STARTER = """
import asyncio, sys
from pathlib import Path
from callcenter.settings import Settings
from callcenter.telephony.asterisk import AsteriskServer

async def main():
    server = AsteriskServer(Settings(data_dir=Path(sys.argv[1])), agi_port=1, audiosocket_port=1)
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_one_left_by_a_killed_bridge_is_adopted_and_still_watched(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(settings.data_dir), stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY
    )
    assert starter.stdout is not None
    line = b""
    while not line.strip().isdigit():  # log lines may come first
        line = await asyncio.wait_for(starter.stdout.readline(), 20)
        assert line, "the starter ended"
    pid = int(line)
    starter.kill()
    await starter.wait()
    await asyncio.sleep(0.3)
    assert alive(pid)

    adopter = AsteriskServer(settings, agi_port=4321, audiosocket_port=1)
    await adopter.start()
    try:
        assert adopter.adopted
        assert adopter.pid == pid
        # the new bridge listens elsewhere: the running Asterisk was told
        assert "agi://127.0.0.1:4321/incoming" in await asyncio.to_thread(adopter.command, "dialplan show hotline-call")
        told: list[str] = []
        watching = asyncio.create_task(adopter.watch(told.append))
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(watching, 1)
        assert told == ["gone"]
    finally:
        await adopter.stop()


async def test_a_death_is_noticed_at_once_and_mended_by_starting_again(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with asterisk(settings) as server:
        before = server.endpoint
        told: list[str] = []
        watching = asyncio.create_task(server.watch(told.append))
        await asyncio.sleep(0.1)
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        await asyncio.wait_for(watching, 1)
        assert told == ["killed by SIGKILL"]
        await server.start()
        assert server.pid != killed
        assert server.endpoint == before


async def test_stopping_is_no_death(tmp_path: Path) -> None:
    async with asterisk(settings_in(tmp_path)) as server:
        told: list[str] = []
        watching = asyncio.create_task(server.watch(told.append))
        await asyncio.sleep(0.1)
        await server.stop()
        await asyncio.wait_for(watching, 1)
        assert told == []
        with pytest.raises(AsteriskError, match=r"start\(\) first"):
            _ = server.endpoint


async def test_one_that_hangs_is_replaced(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with asterisk(settings) as server:
        os.kill(server.pid, signal.SIGSTOP)
        successor = AsteriskServer(settings, agi_port=1, audiosocket_port=1)
        stopped = server.pid
        await successor.start()
        try:
            assert not successor.adopted
            assert not alive(stopped)
        finally:
            await successor.stop()


async def test_a_stale_process_id_is_not_touched(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with asterisk(settings) as server:
        started = server.pid
    state = settings.data_dir / "run" / "asterisk.json"
    remembered = json.loads(state.read_text())
    bystander = await asyncio.create_subprocess_exec("sleep", "30")
    remembered |= {"pid": bystander.pid, "started": process.start_ticks(bystander.pid)}
    state.write_text(json.dumps(remembered))
    try:
        async with asterisk(settings) as server:
            assert server.pid not in (started, bystander.pid)
            assert not server.adopted
        assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_sip_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        server = AsteriskServer(settings_in(tmp_path, sip_port=port), agi_port=1, audiosocket_port=1)
        with pytest.raises(AsteriskError, match=f"SIP port {port}"):
            await server.start()
    assert json.loads((tmp_path / "data/run/asterisk.json").read_text())["pid"] == 0


async def test_a_remembered_port_that_somebody_took_is_replaced(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with asterisk(settings) as server:
        port = server.endpoint.sip_port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", port))
        async with asterisk(settings) as server:
            assert server.endpoint.sip_port != port


async def test_without_an_installation_the_mend_is_named(tmp_path: Path) -> None:
    server = AsteriskServer(settings_in(tmp_path, asterisk_dir=tmp_path / "none"), agi_port=1, audiosocket_port=1)
    with pytest.raises(AsteriskError, match="run scripts/setup"):
        await server.start()


# -- calls without a bridge --------------------------------------------------------------------------------------------


async def test_with_the_bridge_down_a_call_is_answered_recorded_and_kept_for_later(
    tmp_path: Path, speech: Path
) -> None:
    settings = settings_in(tmp_path, statement_max_s=10)
    heard = tmp_path / "heard.alaw"
    async with asterisk(settings) as server:
        where = server.endpoint
        result = await sipp.call(where.sip_host, where.sip_port, audio=speech, hear=heard, longest=60)
        log = server.log_file.read_text()
    assert result.ok, result
    assert result.calls[0].ended_by == "hotline"
    assert 15 < result.calls[0].seconds < 50

    prompts = current(settings.prompts_dir)
    greeting, at = similarity(read_alaw(prompts / "hotline/greeting.alaw"), read_alaw(heard))
    assert greeting > 0.9
    assert at < 2
    down, later = similarity(read_alaw(prompts / "hotline/bridge-down.alaw"), read_alaw(heard))
    assert down > 0.9
    assert later > at

    # packets keep coming while nothing is said: 10 s of waiting after the prompts are in what was heard
    assert len(heard.read_bytes()) / 8000 > result.calls[0].seconds - 1.5

    folder, call = the_call(settings)
    version, line, number, rung, answered, channel = (folder / f"{call}.call").read_text().strip().split("|")
    assert (version, line, number) == ("v1", "12319", "13800000001")
    assert abs(float(rung) - result.calls[0].dialled_at) < 1
    assert float(rung) <= float(answered) < float(rung) + 1
    assert re.fullmatch(r"[0-9]+\.[0-9]+", channel)
    assert re.fullmatch(r"20[0-9]{6}", folder.name)

    said = read_alaw(speech)
    assert similarity(said, read_wav(folder / f"{call}-citizen.wav"))[0] > 0.9
    assert similarity(said, read_wav(folder / f"{call}-agent.wav"))[0] < 0.6
    assert similarity(read_alaw(prompts / "hotline/greeting.alaw"), read_wav(folder / f"{call}-agent.wav"))[0] > 0.9
    assert "13800000001" not in log


async def test_a_citizen_who_hangs_up_in_the_greeting_is_kept_too(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with asterisk(settings) as server:
        where = server.endpoint
        assert (await sipp.call(where.sip_host, where.sip_port, hangup_after=0.05)).ok
        await asyncio.sleep(0.3)
    folder, call = the_call(settings)
    assert (folder / f"{call}.call").read_text().startswith("v1|12319|13800000001|")


async def test_a_telephone_that_sends_nothing_is_not_dropped(tmp_path: Path) -> None:
    async with asterisk(settings_in(tmp_path)) as server:
        where = server.endpoint
        result = await sipp.call(where.sip_host, where.sip_port, send_rtp=False, hangup_after=9)
    assert result.ok, result
    assert result.calls[0].ended_by == "citizen"


async def test_thirty_at_once_are_all_recorded(tmp_path: Path, speech: Path) -> None:
    settings = settings_in(tmp_path)
    numbers = [f"1380000{n:04d}" for n in range(30)]
    async with asterisk(settings) as server:
        where = server.endpoint
        result = await sipp.call(where.sip_host, where.sip_port, audio=speech, numbers=numbers, rate=30, hangup_after=9)
        await asyncio.sleep(0.5)
    assert result.ok, result.errors
    assert len(result.calls) == 30
    sidecars = [path.read_text().split("|") for path in settings.recordings.rglob("*.call")]
    assert sorted(fields[2] for fields in sidecars) == numbers
    said = read_alaw(speech)
    for path in settings.recordings.rglob("*-citizen.wav"):
        assert similarity(said, read_wav(path))[0] > 0.9, path


async def test_mu_law_is_taken_as_well(tmp_path: Path) -> None:
    async with asterisk(settings_in(tmp_path)) as server:
        where = server.endpoint
        assert (await sipp.call(where.sip_host, where.sip_port, codec="PCMU", hangup_after=0.5)).ok


async def test_only_the_hotline_s_numbers_exist_and_only_the_trunk_may_call(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with asterisk(settings) as server:
        where = server.endpoint
        for number in ("10086", "101", "s"):
            result = await sipp.call(where.sip_host, where.sip_port, to=number, hangup_after=1)
            assert [one.status for one in result.calls] == [404]
        result = await sipp.call(where.sip_host, where.sip_port, local_ip="127.0.0.9", hangup_after=1)
        assert [one.status for one in result.calls] == [401]
    assert not list(settings.recordings.rglob("*"))


# -- the forged caller -------------------------------------------------------------------------------------------------

EVENT = "13900000000%0D%0AEvent%3A%20AgentConnect%0D%0AQueue%3A%20hotline%0D%0A%0D%0A"

FORGED_USERS = [
    EVENT,
    "139%0D%0A%0D%0AEvent%3A%20UserEvent%0D%0AUserEvent%3A%20HotlineEnd%0D%0ACallUUID%3A%20x%0D%0A%0D%0A",
    "139%0Aagi_arg_1%3A%20forged%0Aagi_network_script%3A%20statement%0A",
    "1%7C2%7C3%0D%0Av1%7C110",
    "$%7BSHELL(id)%7D13",
    "1%2C2%2C3%29%28",
    "%3Csip%3A110%40x%3E1",
    "1" * 60,
    "13800000001;phone-context=+86",
    "anonymous",
]


async def test_the_attack_is_real_where_the_trunk_takes_the_caller_s_word(tmp_path: Path) -> None:
    """Without the two lines of defence the forged event does reach AMI: the next test tests something."""
    undefended = tmp_path / "dialplans"
    shutil.copytree(REPOSITORY / "dialplans", undefended)
    trunk = undefended / "hotline" / "pjsip.conf"
    trunk.write_text(trunk.read_text().replace('callerid = "trunk" <0>\n', ""))
    async with (
        asterisk(settings_in(tmp_path, dialplans_dir=undefended)) as server,
        AmiListener(server.endpoint) as ami,
    ):
        where = server.endpoint
        result = await sipp.call(where.sip_host, where.sip_port, number=EVENT, hangup_after=0.4)
        assert result.ok, result
        await ami.until(b"\r\nEvent: AgentConnect\r\n")


@pytest.mark.parametrize("user", FORGED_USERS)
async def test_a_forged_caller_injects_nothing(tmp_path: Path, user: str) -> None:
    settings = settings_in(tmp_path)
    async with bridge(incoming=to(HOTLINE_NEXT="queue")) as one, asterisk(settings, one) as server:
        where = server.endpoint
        async with AmiListener(where) as ami:
            result = await sipp.call(
                where.sip_host,
                where.sip_port,
                number=user,
                from_name='"x%0D%0AEvent: AgentConnect%0D%0A" ',
                headers="P-Asserted-Identity: <sip:110%0D%0AEvent:%20AgentConnect@127.0.0.2>",
                hangup_after=0.4,
            )
            assert result.ok, result
            await ami.until(b"UserEvent: HotlineEnd")
            await asyncio.sleep(0.2)
        assert len(ami.events("HotlineCall")) == 1
        assert len(ami.events("HotlineEnd")) == 1
        assert b"AgentConnect" not in ami.heard
        for event in ami.events("Newchannel"):
            assert event["CallerIDNum"] in ("0", "<unknown>") or event["CallerIDNum"].isdigit()
        [incoming] = [call for call in one.calls if call.script == "incoming"]
        call, line, number, rung, answered, recording, channel = incoming.arguments
        assert str(UUID(call)) == call
        assert line == "12319"
        assert re.fullmatch(r"[0-9+]{0,20}", number)
        assert float(rung) <= float(answered)
        assert re.fullmatch(rf"20[0-9]{{6}}/{call}\.wav", recording)
        assert re.fullmatch(r"[0-9.]+", channel)
        assert incoming.environment["agi_callerid"] in (number, "unknown")
        assert incoming.environment["agi_calleridname"] == "unknown"
        if user == "anonymous":
            assert number == ""
        if user.endswith("+86"):
            assert number == "13800000001"


async def test_the_bridge_s_ami_user_reaches_neither_files_nor_a_shell(tmp_path: Path) -> None:
    async with asterisk(settings_in(tmp_path)) as server, AmiListener(server.endpoint) as ami:
        trap = tmp_path / "trap"
        channel = "Local/s@hotline-sidecar"
        refused = [
            {"Action": "Command", "Command": "core show version", "ActionID": "a1"},
            {"Action": "GetConfig", "Filename": "pjsip.conf", "ActionID": "a2"},
            {
                "Action": "Originate",
                "Channel": channel,
                "Application": "System",
                "Data": f"touch {trap}",
                "ActionID": "a3",
            },
            {"Action": "Setvar", "Variable": f"FILE({trap})", "Value": "x", "ActionID": "a4"},
            {"Action": "ModuleLoad", "LoadType": "reload", "ActionID": "a5"},
        ]
        for action in refused:
            ami.send(action)
            await ami.until(f"ActionID: {action['ActionID']}".encode())
        ami.send({"Action": "CoreShowChannels", "ActionID": "a9"})
        await ami.until(b"CoreShowChannelsComplete")
        assert ami.heard.count(b"Response: Error") == len(refused)
        await asyncio.sleep(0.3)
        assert not trap.exists()


# -- calls with a bridge -----------------------------------------------------------------------------------------------


async def test_a_statement_is_tapped_answered_and_hung_up_by_us(tmp_path: Path, speech: Path) -> None:
    token = uuid4()
    heard = tmp_path / "heard.alaw"

    async def statement(call: AgiCall) -> None:
        assert (await call.say('STREAM FILE hotline/statement ""')).startswith("200 result=0")
        assert (await call.say('STREAM FILE hotline/beep ""')).startswith("200 result=0")
        await asyncio.sleep(3)  # listening: not a word to the citizen
        assert (await call.say('STREAM FILE hotline/case-number ""')).startswith("200 result=0")
        assert (await call.say('SAY DIGITS 9150 ""')).startswith("200 result=0")
        await call.say("SET VARIABLE HOTLINE_NEXT hangup")

    settings = settings_in(tmp_path)
    incoming = to(HOTLINE_NEXT="statement", HOTLINE_TOKEN=str(token))
    async with bridge(incoming=incoming, statement=statement) as one, asterisk(settings, one) as server:
        where = server.endpoint
        async with AmiListener(where) as ami:
            result = await sipp.call(where.sip_host, where.sip_port, audio=speech, hear=heard, longest=60)
            await ami.until(b"UserEvent: HotlineEnd")
        assert result.ok, result
        assert result.calls[0].ended_by == "hotline"
        folder, call = the_call(settings)
        assert one.arguments("statement") == [[str(call)]]
        assert ami.events("HotlineEnd")[0]["CallUUID"] == str(call)
        assert ami.events("HotlineEnd")[0]["Cause"] == "16"
        assert ami.events("HotlineRecording")[0]["File"] == f"{folder.name}/{call}.wav"
    # the tap brings the citizen's voice and nothing else, and never the call's own UUID as its key
    assert set(one.sound) == {token}
    assert similarity(read_alaw(speech), one.heard(token))[0] > 0.9
    prompts = current(settings.prompts_dir)
    ear = read_alaw(heard)
    assert similarity(read_alaw(prompts / "hotline/statement.alaw"), one.heard(token))[0] < 0.6
    places = []
    for name in (
        "hotline/greeting",
        "hotline/statement",
        "hotline/beep",
        "hotline/case-number",
        "digits/9",
        "digits/0",
    ):
        score, at = similarity(read_alaw(prompts / f"{name}.alaw"), ear)
        assert score > 0.9, name
        places.append(at)
    assert places == sorted(places)
    # while the machine listened the line was quiet, not dead
    assert len(ear) / 8000 > result.calls[0].seconds - 1.5
    assert not (folder / f"{call}.call").exists()


async def test_a_bridge_that_dies_in_the_statement_leaves_the_call_to_asterisk(tmp_path: Path, speech: Path) -> None:
    async def dies(call: AgiCall) -> None:
        await call.say('STREAM FILE hotline/beep ""')
        call.writer.transport.abort()

    settings = settings_in(tmp_path, statement_max_s=10)
    heard = tmp_path / "heard.alaw"
    async with bridge(incoming=to(HOTLINE_NEXT="statement"), statement=dies) as one, asterisk(settings, one) as server:
        where = server.endpoint
        result = await sipp.call(where.sip_host, where.sip_port, audio=speech, hear=heard, longest=60)
    assert result.ok, result
    prompts = current(settings.prompts_dir)
    assert similarity(read_alaw(prompts / "hotline/bridge-down.alaw"), read_alaw(heard))[0] > 0.9
    folder, call = the_call(settings)
    assert (folder / f"{call}.call").is_file()


async def test_an_agent_and_a_citizen_hear_each_other_and_each_has_a_tap(
    tmp_path: Path, speech: Path, other_speech: Path
) -> None:
    citizen, agent = uuid4(), uuid4()
    settings = settings_in(tmp_path)
    # the citizen speaks after the greeting, when the agent is there
    late = tmp_path / "late.alaw"
    late.write_bytes(b"\xd5" * 8000 * 11 + speech.read_bytes())
    async with (
        bridge(
            incoming=to(HOTLINE_NEXT="queue", HOTLINE_TOKEN=str(citizen)), agent=to(HOTLINE_TOKEN_AGENT=str(agent))
        ) as one,
        asterisk(settings, one) as server,
        BaresipAgent(
            "127.0.0.1", server.endpoint.sip_port, "101", server.endpoint.agents["101"], says=other_speech
        ) as phone,
        AmiListener(server.endpoint) as ami,
    ):
        where = server.endpoint
        result = await sipp.call(where.sip_host, where.sip_port, audio=late, hangup_after=20)
        assert result.ok, result
        await ami.until(b"UserEvent: HotlineEnd")
        await phone.wait_for("CALL_CLOSED", 5)
        at_the_agent = phone.heard()
        folder, call = the_call(settings)
        [arguments] = one.arguments("agent")
        assert arguments[:2] == [str(call), "101"]
        assert ami.events("AgentConnect")[0]["DestUniqueid"] == arguments[2]
    citizen_said, agent_said = read_alaw(speech), read_alaw(other_speech)
    assert similarity(citizen_said, one.heard(citizen))[0] > 0.9
    assert similarity(agent_said, one.heard(agent))[0] > 0.9
    assert similarity(agent_said, one.heard(citizen))[0] < 0.6
    assert similarity(citizen_said, one.heard(agent))[0] < 0.6
    assert similarity(citizen_said, at_the_agent)[0] > 0.9
    assert similarity(citizen_said, read_wav(folder / f"{call}-citizen.wav"))[0] > 0.9
    assert similarity(agent_said, read_wav(folder / f"{call}-agent.wav"))[0] > 0.9
    assert not (folder / f"{call}.call").exists()


async def test_a_citizen_is_held_and_sent_on_to_another_agent(tmp_path: Path, other_speech: Path) -> None:
    tokens = [uuid4(), uuid4()]
    waiting = list(tokens)

    async def agent(call: AgiCall) -> None:
        await call.say(f"SET VARIABLE HOTLINE_TOKEN_AGENT {waiting.pop(0)}")

    settings = settings_in(tmp_path)
    async with (
        bridge(incoming=to(HOTLINE_NEXT="queue"), agent=agent) as one,
        asterisk(settings, one) as server,
        BaresipAgent("127.0.0.1", server.endpoint.sip_port, "101", server.endpoint.agents["101"]) as first,
        AmiListener(server.endpoint) as ami,
    ):
        where = server.endpoint
        calling = asyncio.create_task(sipp.call(where.sip_host, where.sip_port, hangup_after=25))
        await first.wait_for("CALL_ESTABLISHED", 15)
        async with BaresipAgent("127.0.0.1", where.sip_port, "102", where.agents["102"], says=other_speech) as second:
            await asyncio.sleep(0.5)
            await first.hold()
            await ami.until(b"Event: Hold")
            await first.resume()
            await ami.until(b"Event: Unhold")
            await first.transfer("102")
            await second.wait_for("CALL_ESTABLISHED", 10)
            await ami.until(b"Event: BlindTransfer")
            result = await calling
            await ami.until(b"UserEvent: HotlineEnd")
    assert result.ok, result
    assert [arguments[1] for arguments in one.arguments("agent")] == ["101", "102"]
    assert similarity(read_alaw(other_speech), one.heard(tokens[1]))[0] > 0.9


async def test_when_the_agent_hangs_up_the_call_is_over(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with (
        bridge(incoming=to(HOTLINE_NEXT="queue"), agent=to(HOTLINE_TOKEN_AGENT="")) as one,
        asterisk(settings, one) as server,
        BaresipAgent("127.0.0.1", server.endpoint.sip_port, "101", server.endpoint.agents["101"]) as phone,
    ):
        where = server.endpoint
        calling = asyncio.create_task(sipp.call(where.sip_host, where.sip_port, longest=30))
        await phone.wait_for("CALL_ESTABLISHED", 15)
        await asyncio.sleep(0.5)
        await phone.hang_up()
        result = await calling
    assert result.ok, result
    assert result.calls[0].ended_by == "hotline"
    assert one.arguments("statement") == []


async def test_a_telephone_that_lost_its_power_soon_rings_for_nobody(tmp_path: Path) -> None:
    async with (
        bridge(incoming=to(HOTLINE_NEXT="queue"), statement=to(HOTLINE_NEXT="hangup")) as one,
        asterisk(settings_in(tmp_path), one) as server,
        BaresipAgent("127.0.0.1", server.endpoint.sip_port, "101", server.endpoint.agents["101"]) as phone,
    ):
        where = server.endpoint
        await phone.kill()
        deadline = time.monotonic() + 20
        while "(Unavailable)" not in (
            line := next(
                line
                for line in (await asyncio.to_thread(server.command, "queue show hotline")).splitlines()
                if "agent101" in line
            )
        ):
            assert time.monotonic() < deadline, line
            await asyncio.sleep(0.5)
        result = await sipp.call(where.sip_host, where.sip_port, longest=30)
    assert result.ok, result
    greeting = len(read_alaw(current(Settings().prompts_dir) / "hotline/greeting.alaw")) / 8000
    assert result.calls[0].seconds < greeting + 2
    assert len(one.arguments("statement")) == 1


async def test_an_agent_who_does_not_answer_leaves_the_citizen_to_the_machine_after_the_wait(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, queue_timeout_s=3)
    async with (
        bridge(incoming=to(HOTLINE_NEXT="queue"), statement=to(HOTLINE_NEXT="hangup")) as one,
        asterisk(settings, one) as server,
        BaresipAgent(
            "127.0.0.1", server.endpoint.sip_port, "101", server.endpoint.agents["101"], answers=False
        ) as phone,
    ):
        where = server.endpoint
        result = await sipp.call(where.sip_host, where.sip_port, longest=40)
        await phone.wait_for("CALL_INCOMING", 1)
    assert result.ok, result
    assert result.calls[0].ended_by == "hotline"
    assert len(one.arguments("statement")) == 1
    greeting = len(read_alaw(current(settings.prompts_dir) / "hotline/greeting.alaw")) / 8000
    assert greeting + 3 <= result.calls[0].seconds < greeting + 3 + 4


# -- an Asterisk that is not ours --------------------------------------------------------------------------------------


async def test_what_an_existing_asterisk_is_given_is_what_ours_runs(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path,
        asterisk="external",
        ami_secret="chosen-by-the-operator",
        ami_port=5038,
        agi_port=4573,
        audiosocket_port=9092,
        recordings_dir=tmp_path / "monitor",
    )
    out = tmp_path / "out"
    files = external.render(
        settings, out, sounds=Path("/var/lib/asterisk/sounds/zh"), spool=Path("/var/spool/asterisk")
    )
    assert {path.relative_to(out).as_posix() for path in files} == {
        f"hotline/{name}.conf" for name in ("extensions", "pjsip", "queues", "manager", "musiconhold")
    }
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
    where = external.endpoint(settings)
    assert where.sip_port == 5060
    assert where.agents["101"] in (out / "hotline/pjsip.conf").read_text()
    assert external.endpoint(settings) == where  # passwords stay
    with pytest.raises(AsteriskError, match="CALLCENTER_AMI_SECRET"):
        external.endpoint(settings.model_copy(update={"ami_secret": type(settings.ami_secret)("")}))
