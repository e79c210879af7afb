"""An Asterisk of our own: rendered, started, watched and stopped by the bridge, and kept when the bridge dies.

It stands before everything else in the way of a call. It is the Debian build that ``scripts/setup`` unpacked, run
through its own dynamic loader in a session of its own: a bridge that is killed does not take the calls with it, and the
next bridge adopts the running Asterisk instead of starting another. What must outlive a bridge (process, ports, AMI
secret, the agents' passwords) is in ``data_dir/run/asterisk.json``, mode 0600.

``python -m callcenter.telephony.asterisk render --out DIR`` writes what an existing Asterisk needs; docs/asterisk.md.
"""

import argparse
import asyncio
import contextlib
import fcntl
import hashlib
import inspect
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from callcenter.settings import Settings
from callcenter.telephony import asterisk_state, dialplan, external, process
from callcenter.telephony.asterisk_state import AsteriskError, AsteriskState
from callcenter.telephony.dialplan import AsteriskEndpoint, DialplanError, Place
from callcenter.telephony.prompts import PromptError, current

__all__ = ["AsteriskEndpoint", "AsteriskError", "AsteriskServer"]

log = structlog.get_logger()

BOOT_SECONDS: Final = 10.0
"""Boots in 0.3 s on a quiet machine; thirty times that means that something is wrong."""

LOG_BYTES: Final = 4 * 1024 * 1024
"""The log is put aside at this size, and the one put aside before it forgotten."""

CONTROL_PATH_MAX: Final = 100
"""A Unix socket's path has 108 bytes (sun_path); Asterisk cuts a longer one short without a word."""

_RELOADS: Final = {
    "extensions.conf": "dialplan reload",
    "pjsip.conf": "module reload res_pjsip.so",
    "queues.conf": "queue reload all",
    "musiconhold.conf": "moh reload",
    "rtp.conf": "module reload res_rtp_asterisk.so",
}
"""What makes a running Asterisk read a changed file. Others are read at its next start."""


class _Died(AsteriskError):
    """It ended while starting; ``port_taken`` when somebody else has one of its ports."""

    def __init__(self, text: str, *, port_taken: bool) -> None:
        super().__init__(text)
        self.port_taken = port_taken


class AsteriskServer:
    """Our own Asterisk, for one data directory.

    ``agi_port`` and ``audiosocket_port`` are where the bridge listens on ``settings.bridge_host``. The methods may be
    called again and again: ``start`` after ``watch`` told of a death starts a new one on the same ports.
    """

    def __init__(self, settings: Settings, *, agi_port: int, audiosocket_port: int) -> None:
        self._settings = settings
        self._agi_port = agi_port
        self._audiosocket_port = audiosocket_port
        self._run = settings.data_dir / "run"
        self._root = self._run / "asterisk"
        self._configuration = self._root / "etc" / "asterisk.conf"
        self._installation = settings.asterisk_dir / "current"
        self._state = AsteriskState()
        self._stopping = False
        self.adopted = False
        """Whether the last ``start`` found a running one."""

    @property
    def pid(self) -> int:
        """Process id of the running Asterisk; 0 before ``start`` and after ``stop``."""
        return self._state.pid

    @property
    def log_file(self) -> Path:
        """Asterisk's warnings and errors."""
        return self._root / "log" / "messages.log"

    @property
    def endpoint(self) -> AsteriskEndpoint:
        """Where it is and what opens it. Raises AsteriskError before ``start``."""
        if not self._state.pid:
            raise AsteriskError("our own Asterisk is not running: await start() first")
        return self._endpoint(self._state)

    async def start(self) -> None:
        """Adopt the Asterisk that a former bridge left, or start one, and wait until it takes calls.

        Raises AsteriskError when it is not installed, is misconfigured, or is not up within BOOT_SECONDS.
        """
        self._stopping = False
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._start)
        except (DialplanError, PromptError, OSError) as error:
            raise AsteriskError(f"our own Asterisk cannot start: {error}") from error
        log.info(
            "asterisk adopted" if self.adopted else "asterisk started",
            pid=self._state.pid,
            sip_port=self._state.sip_port,
            seconds=round(time.monotonic() - began, 2),
        )

    async def stop(self) -> None:
        """End it: SIGTERM, which hangs up every call, and SIGKILL if it has not ended after STOP_SECONDS."""
        self._stopping = True
        if self._state.pid:
            await asyncio.to_thread(self._end)

    async def watch(self, on_exit: Callable[[str], Awaitable[None] | None]) -> None:
        """Return when Asterisk has ended. If ``stop`` was not called, ``on_exit`` has then been told how it ended.

        A death is noticed at once, by the kernel's notice, whether we started the process or adopted it. Meanwhile the
        log is kept to a size.
        """
        state = self._state
        try:
            descriptor = os.pidfd_open(state.pid)
        except ProcessLookupError:
            descriptor = -1
        if descriptor >= 0:
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            loop.add_reader(descriptor, ended.set)
            try:
                while not ended.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(ended.wait(), 60)
                    await asyncio.to_thread(self._limit_log)
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        how = await asyncio.to_thread(process.reap, state.pid)
        if self._stopping:
            return
        log.error("asterisk died", pid=state.pid, how=how)
        told = on_exit(how)
        if inspect.isawaitable(told):
            await told

    def command(self, line: str) -> str:
        """What Asterisk's own command line answers to ``line``. Blocking. Raises AsteriskError when it does not."""
        arguments = [*self._program(), "-C", str(self._configuration), "-rx", line]
        try:
            done = subprocess.run(
                arguments, capture_output=True, text=True, check=False, timeout=10, env=process.environment()
            )
        except subprocess.TimeoutExpired:
            raise AsteriskError(f"Asterisk's command line did not answer {line!r} in 10 s") from None
        if done.returncode != 0:
            raise AsteriskError(
                f"Asterisk's command line refused {line!r}: {(done.stdout + done.stderr).strip()[:300]}"
            )
        return done.stdout

    # -- in a thread: files, processes, sockets ------------------------------------------------------------------------

    def _start(self) -> None:
        self._check_installation()
        for folder in (self._settings.data_dir, self._run, self._root):
            folder.mkdir(parents=True, exist_ok=True)
            if folder != self._settings.data_dir:
                folder.chmod(0o700)
        with (self._run / "asterisk.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two bridges on one data directory must not both start one
            state = self._left_running()
            self.adopted = False
            if state.pid:
                if _answers(state, self._settings.ami_host, self._settings.ami_user):
                    self._adopt(state)
                    return
                log.warning("asterisk left by a former bridge does not answer, ending it", pid=state.pid)
                process.end(state.pid, state.started)
            given = self._settings.ami_secret.get_secret_value()
            secret = given or state.ami_secret or secrets.token_urlsafe(24)
            for attempt in range(3):
                state = self._with_ports(replace(state, ami_secret=secret), afresh=attempt > 0)
                asterisk_state.save(self._settings, state)
                self._write(self._rendered(state))
                try:
                    self._spawn(state)
                    return
                except _Died as died:
                    if not died.port_taken or attempt == 2:
                        raise
                    log.warning("asterisk found a port taken, trying others", attempt=attempt + 1)

    def _check_installation(self) -> None:
        program = self._installation / "bin" / "asterisk"
        if not program.is_file():
            raise AsteriskError(
                f"no Asterisk at {self._installation}: run scripts/setup, or use one of your own (docs/asterisk.md)"
            )
        current(self._settings.prompts_dir)
        missing = [
            name
            for name in dialplan.modules(self._settings.dialplans_dir)
            if not (self._installation / "modules" / name).is_file()
        ]
        if missing:
            raise AsteriskError(f"{self._installation} lacks {', '.join(missing)}: run scripts/setup")

    def _left_running(self) -> AsteriskState:
        """What was remembered, with ``pid`` 0 unless that very process still runs."""
        state = asterisk_state.load(self._settings)
        if self._is_ours(state):
            return state
        # a bridge killed between starting it and writing that down: Asterisk's own note tells
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int((self._control() / "asterisk.pid").read_text())
            noted = replace(state, pid=pid, started=process.start_ticks(pid) or 0)
            if self._is_ours(noted):
                return noted
        return replace(state, pid=0, started=0)

    def _with_ports(self, state: AsteriskState, *, afresh: bool) -> AsteriskState:
        """Ports as set; where a setting is 0, as remembered if still free, otherwise any free one."""
        settings = self._settings
        sip = settings.sip_port or process.free_port(
            settings.sip_host, socket.SOCK_DGRAM, 0 if afresh else state.sip_port
        )
        ami = settings.ami_port or process.free_port(
            settings.ami_host, socket.SOCK_STREAM, 0 if afresh else state.ami_port
        )
        return replace(state, pid=0, started=0, sip_port=sip, ami_port=ami)

    def _endpoint(self, state: AsteriskState) -> AsteriskEndpoint:
        settings = self._settings
        return AsteriskEndpoint(
            sip_host=settings.sip_host,
            sip_port=state.sip_port,
            ami_host=settings.ami_host,
            ami_port=state.ami_port,
            ami_user=settings.ami_user,
            ami_secret=state.ami_secret,
            agents={extension: state.agents[extension] for extension in settings.agent_extensions},
            trunk_ip=dialplan.trunk_ip(settings),
        )

    @property
    def _name(self) -> str:
        return f"hotline-{hashlib.sha256(str(self._settings.data_dir).encode()).hexdigest()[:12]}"

    def _control(self) -> Path:
        control = self._root / "run"
        if len(str(control / "asterisk.ctl")) > CONTROL_PATH_MAX:
            control = Path(tempfile.gettempdir()) / f"{self._name}-{os.getuid()}"
        return control

    def _rendered(self, state: AsteriskState) -> dict[str, str]:
        control = self._control()
        control.mkdir(mode=0o700, exist_ok=True)
        if control.stat().st_uid != os.getuid():
            raise AsteriskError(f"{control} belongs to somebody else: remove it")
        place = Place(
            root=self._root,
            installation=self._installation.resolve(),
            sounds=self._root / "data" / "sounds" / "zh",
            control=control,
        )
        known = dialplan.values(
            self._settings,
            self._endpoint(state),
            place,
            agi_port=self._agi_port,
            audiosocket_port=self._audiosocket_port,
        )
        return dialplan.render(self._settings.dialplans_dir, known)

    def _write(self, files: dict[str, str]) -> set[str]:
        """Write what differs from the disk; returns those files' names. Old files that are no longer rendered go."""
        for folder in ("etc/hotline", "varlib", "data/sounds", "agi-bin", "spool", "log"):
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        self._settings.recordings.mkdir(parents=True, exist_ok=True, mode=0o700)
        process.link(self._root / "spool" / "monitor", self._settings.recordings)
        process.link(self._root / "data" / "sounds" / "zh", self._settings.prompts_dir / "current")
        process.link(self._root / "data" / "documentation", self._installation.resolve() / "documentation")
        etc = self._root / "etc"
        changed = set()
        for name, text in files.items():
            path = etc / name
            if not path.is_file() or path.read_text("utf-8") != text:
                process.write_private(path, text)
                changed.add(name)
        for path in etc.rglob("*.conf"):
            if path.relative_to(etc).as_posix() not in files:
                path.unlink()
        return changed

    def _program(self) -> list[str]:
        lib = self._installation.resolve() / "lib"
        program = self._installation.resolve() / "bin" / "asterisk"
        return [str(lib / "ld.so"), "--library-path", str(lib), "--argv0", "asterisk", str(program)]

    def _spawn(self, state: AsteriskState) -> None:
        """Run it and wait until it is up."""
        began = time.monotonic()
        arguments = [*self._program(), "-C", str(self._configuration), "-f", "-q"]
        console = self._root / "log" / "console.log"
        for path in (console, self.log_file):
            path.write_bytes(b"")
            path.chmod(0o600)
        pid = process.spawn(arguments, console)
        state = replace(state, pid=pid, started=process.start_ticks(pid) or 0)
        asterisk_state.save(self._settings, state)
        try:
            while not self._is_up(state):
                if process.start_ticks(pid) != state.started:
                    how = process.reap(pid)
                    raise _Died(f"Asterisk ended while starting ({how}){self._last_words()}", port_taken=self._taken())
                if time.monotonic() - began > BOOT_SECONDS:
                    text = f"Asterisk was not up after {BOOT_SECONDS:.0f} s{self._last_words()}"
                    raise _Died(text, port_taken=self._taken())
                time.sleep(0.05)
        except BaseException:
            process.end(pid, state.started)
            asterisk_state.save(self._settings, replace(state, pid=0, started=0))
            raise
        self._state = state

    def _is_up(self, state: AsteriskState) -> bool:
        """Fully booted by AMI's word, and the SIP port its own: Asterisk boots without a transport that cannot bind."""
        if not _answers(state, self._settings.ami_host, self._settings.ami_user, booted=True):
            return False
        if process.has_udp_port(state.pid, state.sip_port):
            return True
        raise _Died(f"Asterisk cannot have SIP port {state.sip_port}{self._last_words()}", port_taken=True)

    def _adopt(self, state: AsteriskState) -> None:
        if self._settings.sip_port not in (0, state.sip_port) or self._settings.ami_port not in (0, state.ami_port):
            log.warning(
                "asterisk keeps its ports until it is stopped", sip_port=state.sip_port, ami_port=state.ami_port
            )
        self._state = state
        asterisk_state.save(self._settings, state)
        changed = {Path(name).name for name in self._write(self._rendered(state))}
        for name in sorted(changed):
            if name in _RELOADS:
                self.command(_RELOADS[name])
            else:
                log.warning("a changed asterisk file takes effect at its next start", file=name)
        if changed:
            log.info("asterisk reloaded", files=sorted(changed))
        self.adopted = True

    def _is_ours(self, state: AsteriskState) -> bool:
        return process.runs_with(state.pid, state.started, str(self._configuration))

    def _end(self) -> None:
        state = self._state
        if self._is_ours(state):
            process.end(state.pid, state.started)
        self._state = replace(state, pid=0, started=0)
        asterisk_state.save(self._settings, self._state)

    def _lines(self) -> list[str]:
        lines: list[str] = []
        for path in (self._root / "log" / "console.log", self.log_file):
            if path.is_file():
                lines += path.read_text("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()]

    def _last_words(self) -> str:
        last = self._lines()[-6:]
        return ": " + " | ".join(last) if last else f"; nothing in {self.log_file}"

    def _taken(self) -> bool:
        return any("Address already in use" in line or "Unable to bind" in line for line in self._lines())

    def _limit_log(self) -> None:
        if self.log_file.is_file() and self.log_file.stat().st_size > LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
            self.command("logger reload")


def _answers(state: AsteriskState, host: str, user: str, *, booted: bool = False) -> bool:
    """Whether AMI greets, takes our secret (so it is ours), and, if asked, says FullyBooted. At most 3 s."""
    login = f"Action: Login\r\nUsername: {user}\r\nSecret: {state.ami_secret}\r\n\r\n"
    try:
        with socket.create_connection((host, state.ami_port), timeout=1) as connection:
            connection.settimeout(1)
            deadline = time.monotonic() + 3
            heard = b""
            while time.monotonic() < deadline:
                if heard.startswith(b"Asterisk Call Manager/") and login:
                    connection.sendall(login.encode())
                    login = ""
                if b"Response: Error" in heard:
                    return False
                if b"Message: Authentication accepted" in heard and (b"Event: FullyBooted" in heard or not booted):
                    return True
                piece = connection.recv(4096)
                if not piece:
                    return False
                heard += piece
    except OSError:
        return False
    return False


# -- the command line --------------------------------------------------------------------------------------------------


async def _smoke(asterisk_dir: Path) -> None:
    """Start it in a folder of its own with everything it loads, ask it a question, and end it."""
    with tempfile.TemporaryDirectory(prefix="hotline-smoke-") as folder:
        settings = Settings().model_copy(update={"data_dir": Path(folder), "asterisk_dir": asterisk_dir})
        settings = settings.model_copy(update={"sip_port": 0, "ami_port": 0, "recordings_dir": None})
        server = AsteriskServer(settings, agi_port=9, audiosocket_port=9)  # 9: nobody calls during a smoke test
        await server.start()
        try:
            sys.stdout.write(await asyncio.to_thread(server.command, "core show version"))
        finally:
            await server.stop()


def main(arguments: list[str] | None = None) -> int:
    """``render``: files for an existing Asterisk. ``smoke``: does the unpacked one run. 0: done; 2: a fault, told."""
    parser = argparse.ArgumentParser(prog="callcenter asterisk")
    commands = parser.add_subparsers(dest="what", required=True)
    rendering = commands.add_parser("render", help="write what an existing Asterisk needs (docs/asterisk.md)")
    rendering.add_argument("--out", type=Path, required=True, help="folder to write hotline/*.conf into")
    rendering.add_argument(
        "--sounds", type=Path, default=Path("/var/lib/asterisk/sounds/zh"), help="its Chinese sounds"
    )
    rendering.add_argument("--spool", type=Path, default=Path("/var/spool/asterisk"), help="its astspooldir")
    smoking = commands.add_parser("smoke", help="start and stop the Asterisk that scripts/setup unpacked")
    smoking.add_argument("--asterisk-dir", type=Path, default=Settings().asterisk_dir)
    asked = parser.parse_args(arguments)
    try:
        if asked.what == "render":
            for path in external.render(Settings(), asked.out, sounds=asked.sounds, spool=asked.spool):
                sys.stdout.write(f"{path}\n")
        else:
            asyncio.run(_smoke(asked.asterisk_dir.absolute()))
    except (AsteriskError, DialplanError, PromptError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
