"""baresip as an agent's telephone: registers, answers by itself, speaks a file, keeps what it hears.

baresip 1.0 is Debian's baresip-core. It is steered over its ctrl_tcp module (JSON in netstrings).
"""

import asyncio
import contextlib
import json
import re
import shutil
import socket
import tempfile
import time
import wave
from pathlib import Path
from typing import Any, Final

import numpy as np

from callcenter.telephony.prompts import RATE, from_alaw
from tests.peers.sipp import PeerError

REGISTER_SECONDS: Final = 10.0
STOP_SECONDS: Final = 5.0

_CONFIG: Final = """\
poll_method epoll
sip_listen {ip}:0
call_local_timeout 120
call_max_calls 4
audio_player aubridge,nil
audio_source aufile,{folder}/says.wav
audio_alert aubridge,nil
audio_srate 8000
audio_channels 1
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports {first}-{last}
module_path {modules}
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
snd_path {folder}
"""

_ACCOUNT: Final = (
    "<sip:agent{extension}@{host}:{port};transport=udp>;auth_user=agent{extension};auth_pass={password}"
    ";answermode={answer};audio_codecs=PCMA;regint=300;ptime=20\n"
)


class BaresipAgent:
    """One agent's telephone. ``async with BaresipAgent(...) as agent`` registers it and unregisters it at the end.

    ``says`` is raw 8 kHz A-law, spoken from the moment of answering and followed by silence until ``longest`` seconds:
    baresip hangs up at the end of its file. ``answers=False`` lets it ring.
    """

    def __init__(
        self,
        sip_host: str,
        sip_port: int,
        extension: str,
        password: str,
        *,
        says: Path | None = None,
        answers: bool = True,
        longest: float = 180.0,
        local_ip: str = "127.0.0.1",
    ) -> None:
        self._host, self._port = sip_host, sip_port
        self.extension = extension
        self._password = password
        self._says = says
        self._answers = answers
        self._longest = longest
        self._local_ip = local_ip
        self._folder: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._answered: list[str] = []
        self.events: list[dict[str, Any]] = []
        """What baresip told, oldest first: ``type`` is CALL_INCOMING, CALL_ESTABLISHED, CALL_CLOSED, …"""

    async def __aenter__(self) -> "BaresipAgent":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start and register. Raises PeerError when baresip is missing, or is not registered in time."""
        if shutil.which("baresip") is None:
            raise PeerError("baresip is not installed: run scripts/setup test, or apt-get install baresip-core")
        self._folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="baresip-"))
        control = await asyncio.to_thread(self._configure, self._folder)
        self._process = await asyncio.create_subprocess_exec(
            "baresip",
            "-f",
            str(self._folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            reader = await self._connect(control)
            self._listener = asyncio.get_running_loop().create_task(self._listen(reader))
            await self._registered()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Unregister, end the process, forget the recordings: copy ``heard()`` before."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()  # baresip hangs up and unregisters on SIGTERM
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, True)

    async def kill(self) -> None:
        """End it without a word, as a telephone that loses its power: the registration stays behind."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def command(self, name: str, parameters: str = "") -> None:
        """Any command of baresip's menu, such as ``hangup``, ``hold``, ``resume``, ``accept``."""
        assert self._writer is not None
        text = json.dumps({"command": name, "params": parameters}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))
        await self._writer.drain()

    async def answer(self) -> None:
        """Take the ringing call."""
        await self.command("accept")

    async def hang_up(self) -> None:
        """End the call."""
        await self.command("hangup")

    async def hold(self) -> None:
        """Put the citizen on hold."""
        await self.command("hold")

    async def resume(self) -> None:
        """Take the citizen back from hold."""
        await self.command("resume")

    async def transfer(self, extension: str) -> None:
        """Blind transfer to another agent."""
        await self.command("transfer", f"sip:{extension}@{self._host}:{self._port}")

    async def wait_for(self, kind: str, timeout: float, *, count: int = 1) -> dict[str, Any]:
        """The ``count``-th event of type ``kind`` since the start. Raises PeerError if it does not come in time."""
        deadline = time.monotonic() + timeout
        async with self._news:
            while True:
                found = [event for event in self.events if event.get("type") == kind]
                if len(found) >= count:
                    return found[count - 1]
                try:
                    await asyncio.wait_for(self._news.wait(), max(0.0, deadline - time.monotonic()))
                except TimeoutError:
                    seen = [event.get("type") for event in self.events]
                    raise PeerError(f"agent {self.extension}: no {kind} in {timeout} s, only {seen}") from None

    def heard(self) -> np.ndarray[Any, np.dtype[np.int16]]:
        """What the agent heard in the latest call: 8 kHz samples. Empty before there is a recording."""
        assert self._folder is not None
        files = sorted(self._folder.glob("dump-*-dec.wav"), key=lambda path: path.stat().st_mtime)
        if not files:
            return np.zeros(0, np.int16)
        data = files[-1].read_bytes()
        return np.frombuffer(data[44 : 44 + (len(data) - 44) // 2 * 2], np.int16)

    def _configure(self, folder: Path) -> int:
        speech = from_alaw(self._says.read_bytes()) if self._says else np.zeros(0, np.int16)
        whole = np.zeros(max(len(speech), round(self._longest * RATE)), np.int16)
        whole[: len(speech)] = speech
        with wave.open(str(folder / "says.wav"), "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(RATE)
            writer.writeframes(whole.tobytes())
        control = _free_port(socket.SOCK_STREAM)
        first = _free_port(socket.SOCK_DGRAM) // 2 * 2
        modules = next(iter(sorted(Path("/usr/lib").glob("**/baresip/modules"))), Path("/usr/lib/baresip/modules"))
        values = {"ip": self._local_ip, "folder": folder, "modules": modules, "control": control}
        (folder / "config").write_text(_CONFIG.format(first=first, last=min(65534, first + 40), **values))
        account = {"extension": self.extension, "host": self._host, "port": self._port, "password": self._password}
        answer = "auto" if self._answers else "manual"
        (folder / "accounts").write_text(_ACCOUNT.format(answer=answer, **account))
        (folder / "contacts").write_text("")
        return control

    async def _registered(self) -> None:
        """Ask until it is: the first REGISTER may have been answered before we listened to events."""
        deadline = time.monotonic() + REGISTER_SECONDS
        while not any(re.search(r"\bOK\b", answer) for answer in self._answered):
            if time.monotonic() > deadline:
                raise PeerError(
                    f"agent {self.extension} is not registered at {self._host}:{self._port}: {self._answered[-1:]}"
                )
            await self.command("reginfo")
            await asyncio.sleep(0.1)

    async def _connect(self, control: int) -> asyncio.StreamReader:
        assert self._process is not None
        deadline = time.monotonic() + REGISTER_SECONDS
        while True:
            try:
                reader, self._writer = await asyncio.open_connection("127.0.0.1", control)
                return reader
            except OSError:
                if self._process.returncode is not None or time.monotonic() > deadline:
                    raise PeerError(
                        f"baresip for agent {self.extension} did not start (exit code {self._process.returncode})"
                    ) from None
                await asyncio.sleep(0.05)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # baresip ended
            while True:
                length = int((await reader.readuntil(b":"))[:-1])
                message = json.loads((await reader.readexactly(length + 1))[:-1])
                async with self._news:
                    if message.get("event"):
                        self.events.append(message)
                    else:
                        self._answered.append(re.sub(r"\x1b\[[0-9;]*m", "", str(message.get("data"))))
                    self._news.notify_all()


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
