"""A process that outlives its starter: find it again, end it, and see what it holds. Linux only (/proc, pidfd).

Used by ``asterisk.py`` alone. A process is named by its id *and* the moment it started, for ids are used again.
"""

import contextlib
import os
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

STOP_SECONDS: Final = 5.0
"""From SIGTERM to SIGKILL: enough for Asterisk to say BYE on every call."""


def start_ticks(pid: int) -> int | None:
    """When ``pid`` started, in clock ticks since boot (proc(5), field 22); None if it is gone or waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def runs_with(pid: int, started: int, word: str) -> bool:
    """Whether ``pid`` still is the process that began at ``started`` ticks, with ``word`` among its arguments."""
    if not pid or start_ticks(pid) != started:
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.fsencode(word) in words


def spawn(arguments: list[str], output: Path) -> int:
    """Start ``arguments`` in a session of its own, writing to ``output``; returns its id.

    posix_spawn, not Popen: it is meant to outlive us, and belongs to no object that would complain of that.
    """
    out = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return os.posix_spawn(
            arguments[0],
            arguments,
            environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, out, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(out)


def environment() -> dict[str, str]:
    """Only what a program needs: our settings, secrets among them, are none of its business."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TZ") if name in os.environ} | {"LANG": "C.UTF-8"}


def reap(pid: int) -> str:
    """How ``pid`` ended. Of one that is not our child (adopted) nobody tells us more than that it is gone.

    Waits for its last threads for up to a second: the main thread's end shows before the process's.
    """
    deadline = time.monotonic() + 1
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return "gone"
        if done:
            code = os.waitstatus_to_exitcode(status)
            return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if time.monotonic() > deadline:
            return "running"
        time.sleep(0.01)


def end(pid: int, started: int) -> None:
    """SIGTERM, then SIGKILL after STOP_SECONDS. By pidfd: a later process of the same id is never hit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            if start_ticks(pid) == started:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if start_ticks(pid) != started:
                    reap(pid)
                    return
                time.sleep(0.02)
            log.warning("process did not end in time", pid=pid, signal=number.name)
    finally:
        os.close(descriptor)


def has_udp_port(pid: int, port: int) -> bool:
    """Whether process ``pid`` holds a UDP socket bound to ``port``."""
    inodes = set()
    for table in (Path("/proc/net/udp"), Path("/proc/net/udp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            columns = line.split()
            if int(columns[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed between listing and reading
            if str(descriptor.readlink()) in inodes:
                return True
    return False


def free_port(host: str, kind: socket.SocketKind, wanted: int) -> int:
    """``wanted`` if not 0 and free on ``host``, else a free one. Raises OSError for an address that is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        probe = stack.enter_context(socket.socket(family, kind))
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Asterisk does: TIME_WAIT is no bar
        try:
            probe.bind((host, wanted))
        except OSError:
            if not wanted:
                raise
            probe = stack.enter_context(socket.socket(family, kind))
            probe.bind((host, 0))
        return int(probe.getsockname()[1])


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` as a whole, readable by us only from its first moment."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def link(path: Path, target: Path) -> None:
    """Make ``path`` a link to ``target``. Raises FileExistsError when something else than a link is there."""
    if path.is_symlink() and path.readlink() == target:
        return
    if path.exists() and not path.is_symlink():
        raise FileExistsError(f"{path} is not the link to {target} that belongs there: move it away")
    path.unlink(missing_ok=True)
    path.symlink_to(target)
