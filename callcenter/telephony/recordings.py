"""Recordings as Asterisk wrote them: the last word on a call, when nothing else of it was kept.

Asterisk records each call from its first second, whether or not the bridge is there, into
``YYYYMMDD/<call>.wav``, ``…-citizen.wav`` (what the citizen said) and ``…-agent.wav`` (what the citizen heard), and
leaves a note ``YYYYMMDD/<call>.call`` where the bridge did not answer. All of it blocks: call it from a thread.

PCM is signed 16-bit little-endian, 8 kHz, mono. Names and contents are untrusted: only files named by a UUID count, no
link is followed, nothing outside the folder is opened.
"""

import asyncio
import contextlib
import hashlib
import io
import os
import re
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from callcenter.clock import from_epoch

log = structlog.get_logger()

RATE: Final = 8000
SAMPLE_BYTES: Final = 2
HEADER_SEARCH: Final = 4096
"""The data begins within this much of a file that Asterisk wrote (at byte 44)."""
SIDECAR_BYTES: Final = 1024
KNOWN_AT_ONCE: Final = 500
"""SQLite takes 999 values in a statement on old builds."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_DAY = re.compile(r"\d{8}\Z")
_FILE = re.compile(rf"({_UUID})(?:(-citizen|-agent)?\.wav|(\.call))\Z")
_RELATIVE = re.compile(rf"(\d{{8}})/({_UUID})(?:-citizen|-agent)?\.wav\Z")
_NUMBER = re.compile(r"\+?\d{0,32}\Z", re.ASCII)
_LINE = re.compile(r"\d{1,32}\Z", re.ASCII)
_EPOCH = re.compile(r"\d{9,11}(?:\.\d{1,9})?\Z", re.ASCII)
_UNIQUE_ID = re.compile(r"[A-Za-z0-9._-]{1,150}\Z")


class RecordingError(Exception):
    """A file that is not what Asterisk writes for us. Names the file and the fault, never a number."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What the dialplan noted of a call that the bridge did not answer for."""

    line: str
    number: str
    """Digits and ``+``, empty when withheld."""
    rung_at: datetime
    answered_at: datetime | None
    unique_id: str


@dataclass(slots=True)
class CallRecording:
    """The files of one call. ``touched`` is the latest change of any of them, seconds since the epoch."""

    call: UUID
    day: date
    mixed: Path | None = None
    citizen: Path | None = None
    agent: Path | None = None
    sidecar: Path | None = None
    touched: float = 0.0
    relative: str = field(default="")
    """Path of the mixed recording under the folder, as commands name it (also when only a leg's file is there)."""


def resolve(root: Path, relative: str) -> Path:
    """The file that ``YYYYMMDD/<call>[-leg].wav`` names under ``root``. Raises RecordingError for any other form."""
    if not _RELATIVE.match(relative):
        raise RecordingError("a recording's path is YYYYMMDD/<call UUID>[-citizen|-agent].wav")
    return root / relative


def read_pcm(path: Path, start_s: float = 0.0, end_s: float | None = None) -> bytes:
    """The sound from ``start_s`` to ``end_s`` (None: to the end), as much of it as the file has.

    Raises RecordingError for what is no 8 kHz mono 16-bit WAV, OSError when it cannot be read.
    """
    if start_s < 0 or (end_s is not None and end_s < start_s):
        raise ValueError(f"no such part of a recording: {start_s} to {end_s}")
    with _open(path) as file:
        offset, size = _data(file, path)
        first = min(size, int(start_s * RATE) * SAMPLE_BYTES)
        last = size if end_s is None else min(size, int(end_s * RATE) * SAMPLE_BYTES)
        file.seek(offset + first)
        return file.read(last - first)


def duration_s(path: Path) -> float:
    """Seconds of sound in the file, whatever its header says. Raises as ``read_pcm``."""
    with _open(path) as file:
        return _data(file, path)[1] / (RATE * SAMPLE_BYTES)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the whole file. Raises as ``read_pcm``."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sidecar(path: Path) -> Sidecar:
    """Reads ``v1|line|number|rung_epoch|answered_epoch|uniqueid``. Raises RecordingError for any other content."""
    with _open(path) as file:
        raw = file.read(SIDECAR_BYTES + 1)
    parts = raw.decode("utf-8", "replace").rstrip("\r\n").split("|")
    if len(raw) > SIDECAR_BYTES or len(parts) != 6 or parts[0] != "v1":
        raise RecordingError(f"{path.name}: not v1|line|number|rung|answered|uniqueid")
    _, line, number, rung, answered, unique_id = parts
    faults = [
        name
        for name, good in (
            ("line", _LINE.match(line)),
            ("number", _NUMBER.match(number) and number != "+"),
            ("rung", _EPOCH.match(rung)),
            ("answered", not answered or _EPOCH.match(answered)),
            ("uniqueid", _UNIQUE_ID.match(unique_id)),
        )
        if not good
    ]
    if faults:
        raise RecordingError(f"{path.name}: {', '.join(faults)} malformed")
    return Sidecar(line, number, _moment(rung), _moment(answered) if answered else None, unique_id)


def scan(root: Path, *, since: date | None = None) -> list[CallRecording]:
    """Every call that has files under ``root``, oldest day first; days before ``since`` are left out.

    Folders that are no date, files that are not named by a UUID, links and whatever is no plain file are passed over.
    """
    found: list[CallRecording] = []
    for day, folder in sorted(_days(root)):
        if since is not None and day < since:
            continue
        calls: dict[UUID, CallRecording] = {}
        for entry in _entries(folder):
            match = _FILE.match(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            with contextlib.suppress(FileNotFoundError):  # erased meanwhile
                call = UUID(match[1])
                one = calls.setdefault(call, CallRecording(call, day, relative=f"{folder.name}/{call}.wav"))
                one.touched = max(one.touched, entry.stat(follow_symlinks=False).st_mtime)
                path = folder / entry.name
                if match[3]:
                    one.sidecar = path
                elif match[2] == "-citizen":
                    one.citizen = path
                elif match[2] == "-agent":
                    one.agent = path
                else:
                    one.mixed = path
        found.extend(sorted(calls.values(), key=lambda one: one.touched))
    return found


async def find_unclaimed(
    root: Path,
    known: Callable[[set[UUID]], Awaitable[set[UUID]]],
    *,
    before: float,
    since: date | None = None,
) -> list[CallRecording]:
    """The calls under ``root`` that ``known`` (given UUIDs, returns those it knows) knows nothing of.

    Only calls not touched after ``before`` (seconds since the epoch): a recording under way is flushed every 2 s, so
    "half a minute ago" leaves out the calls going on. The folder is read on a thread, ``known`` asked on the loop.
    """
    quiet = [one for one in await asyncio.to_thread(scan, root, since=since) if one.touched <= before]
    unclaimed: list[CallRecording] = []
    for start in range(0, len(quiet), KNOWN_AT_ONCE):
        some = quiet[start : start + KNOWN_AT_ONCE]
        claimed = await known({one.call for one in some})
        unclaimed.extend(one for one in some if one.call not in claimed)
    return unclaimed


# -- the file itself -----------------------------------------------------------------------------------------------
def _open(path: Path) -> io.BufferedReader:
    """Opens a plain file, and no link (O_NOFOLLOW guards the last part of the path, _days the folder)."""
    if path.parent.is_symlink():
        raise RecordingError(f"{path.name}: its folder is a link")
    try:
        # O_NONBLOCK: a FIFO of that name must not hold us for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise RecordingError(f"{path.name}: a link, not a file") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise RecordingError(f"{path.name}: no plain file")
    return os.fdopen(handle, "rb")


def _data(file: io.BufferedReader, path: Path) -> tuple[int, int]:
    """Where the samples begin, and how many bytes they are (even).

    Asterisk writes the sizes when it closes the file (format_wav.c), so one that was killed leaves 0, or what was true
    earlier. The samples therefore run to the end of the file, unless what follows them by the header is whole chunks.
    """
    total = os.fstat(file.fileno()).st_size
    head = file.read(HEADER_SEARCH)
    if len(head) < 44 and b"RIFF".startswith(head[:4]):
        return len(head), 0  # killed before its first flush
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise RecordingError(f"{path.name}: no WAV file")
    at = 12
    format_known = False
    while at + 8 <= len(head):
        name, size = head[at : at + 4], struct.unpack_from("<I", head, at + 4)[0]
        at += 8
        if name == b"fmt " and size >= 16 and at + 16 <= len(head):
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", head, at)
            if (kind, channels, rate, bits) != (1, 1, RATE, 16):
                raise RecordingError(
                    f"{path.name}: format {kind}, {channels} × {bits} bits at {rate} Hz, not 16-bit mono PCM at 8 kHz"
                )
            format_known = True
        elif name == b"data":
            if not format_known:
                raise RecordingError(f"{path.name}: no format before its data")
            rest = max(0, total - at)
            if not (0 < size < rest and _whole_chunks(file, at + size + size % 2, total)):
                size = rest
            return at, size & ~1
        at += size + size % 2
    raise RecordingError(f"{path.name}: no data in its first {HEADER_SEARCH} bytes")


def _whole_chunks(file: io.BufferedReader, at: int, total: int) -> bool:
    """True if well-formed chunks, one after the other, end exactly where the file does."""
    while at + 8 <= total:
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        if not all(32 <= byte < 127 for byte in name):
            return False
        at += 8 + size + size % 2
    return at == total


def _days(root: Path) -> Iterator[tuple[date, Path]]:
    for entry in _entries(root):
        if _DAY.match(entry.name) and entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(ValueError):  # 20261399 is no day
                yield datetime.strptime(entry.name, "%Y%m%d").date(), root / entry.name  # noqa: DTZ007 - a date only


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []  # no call was recorded yet


def _moment(epoch: str) -> datetime:
    return from_epoch(float(epoch))
