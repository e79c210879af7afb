"""The spool: commands of calls that the store did not take in time, on disk, synced, until it does.

Append-only files of one record a line: ``length crc32 json\\n``, lengths and checks in hexadecimal, so that a record
torn by a crash or a full disk is recognised and a person can read the rest. A file is deleted when the store has
everything in it; until then a restart replays all of it, which commands allow. Particulars of citizens are in here:
modes are 0700 and 0600, and nothing of a record is ever logged.
"""

import asyncio
import fcntl
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_type_hints
from uuid import UUID
from zlib import crc32

import structlog

from callcenter.calls.commands import Command

log = structlog.get_logger()
T = TypeVar("T")

ROTATE_BYTES: Final = 16 * 1024 * 1024
"""A file no longer than this is read at once when it is replayed or searched."""
_HEADER: Final = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ")
_HEADER_BYTES: Final = 18

KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Command)}
_HINTS: Final = {name: get_type_hints(kind) for name, kind in KINDS.items()}


class SpoolInUse(RuntimeError):
    """Another process has this spool."""


class Undecodable(ValueError):
    """A record that is whole but is no command that this program knows."""


# -- commands as bytes ------------------------------------------------------------------------------------------------


def encode(command: Command) -> bytes:
    """``command`` as one line of ASCII JSON, without the newline."""
    values = {field.name: _plain(getattr(command, field.name)) for field in fields(command)}
    return json.dumps({"command": type(command).__name__, **values}, separators=(",", ":")).encode()


def decode(record: bytes) -> Command:
    """The command that ``encode`` wrote. Raises Undecodable, which shows nothing of the record."""
    try:
        values = json.loads(record)
        name = values.pop("command")
        kind, hints = KINDS[name], _HINTS[name]
        command: Command = kind(**{key: _typed(hints[key], value) for key, value in values.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = type(error).__name__
        raise Undecodable(f"record of {len(record)} bytes is no command of this program: {what}") from None
    return command


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("naive time in a command: times carry their zone, use clock.now()")
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _typed(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if hint is UUID:
        return UUID(value)
    if hint is datetime or hint == datetime | None:
        return datetime.fromisoformat(value)
    if hint == dict[str, datetime]:
        return {name: datetime.fromisoformat(moment) for name, moment in value.items()}
    if hint == list[tuple[float, float | None, str]]:
        return [tuple(item) for item in value]
    return value


# -- records as lines -------------------------------------------------------------------------------------------------


def frame(record: bytes) -> bytes:
    """One record as it stands in a file."""
    return b"%08x %08x " % (len(record), crc32(record)) + record + b"\n"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at ``offset`` of a file: a whole record, or, with ``record`` None, ``length`` bytes that are none."""

    offset: int
    length: int
    record: bytes | None


def scan(data: bytes) -> list[Found]:
    """Every record in a file's bytes, and what is damaged between them: reading goes on at the next line."""
    found: list[Found] = []
    offset = 0
    while offset < len(data):
        head = _HEADER.match(data, offset)
        if head is not None:
            start = offset + _HEADER_BYTES
            end = start + int(head[1], 16)
            record = data[start:end]
            if data[end : end + 1] == b"\n" and crc32(record) == int(head[2], 16):
                found.append(Found(offset, end + 1 - offset, record))
                offset = end + 1
                continue
        line_end = data.find(b"\n", offset)
        end = len(data) if line_end < 0 else line_end + 1
        found.append(Found(offset, end - offset, None))
        offset = end
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands."""

    file: str
    offset: int
    length: int


class Spool:
    """The folder of the spool. ``open`` first; one process at a time.

    All file work is done by one thread of its own, in the order it was asked for: a full default executor cannot delay
    a call's commands, and what waits for the disk is written and synced together.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rejected = folder / "rejected"
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._lock: int | None = None
        self._waiting: list[tuple[bytes, asyncio.Future[Place]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        # Below: touched by the spool's thread only.
        self._number = 0
        self._file: int | None = None
        self._name = ""
        self._size = 0
        self._live: Counter[str] = Counter()

    async def open(self) -> list[tuple[Place, Command]]:
        """Take the folder and give what an earlier process left in it, oldest first.

        Raises SpoolInUse when another process has it, OSError when the folder cannot be used.
        """
        return await self._in_thread(self._open)

    async def append(self, record: bytes) -> Place:
        """Write a record; returns when it is on the disk. Raises OSError when the disk does not take it; the file is
        then as it was before."""
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting(), name="spool-writer")
        return await future

    async def read(self, places: Sequence[Place]) -> list[bytes]:
        """The records at ``places``. Raises OSError, and Undecodable where the disk gives back something else."""
        return await self._in_thread(self._read, list(places))

    async def done(self, places: Sequence[Place]) -> None:
        """The store has these: a file without others is deleted."""
        await self._in_thread(self._done, list(places))

    async def reject(self, call: UUID, record: bytes, reason: str, at: datetime) -> Path:
        """Put a record aside that can never be applied; gives the file, named by its call. Raises OSError."""
        return await self._in_thread(self._reject, str(call), record, reason, at)

    async def forget(self, call: UUID) -> int:
        """Delete what was put aside of a call that is being erased; gives how many files."""
        return await self._in_thread(self._forget, call)

    async def close(self) -> None:
        """Finish what is being written and give the folder back. Closing twice is once."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._in_thread(self._close)
        self._executor.shutdown(wait=False)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                places = await self._in_thread(self._write, [record for record, _ in batch])
            except OSError as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), place in zip(batch, places, strict=True):
                    if not future.done():
                        future.set_result(place)

    # -- in the spool's thread
    # ------------------------------------------------------------------------------------------

    def _open(self) -> list[tuple[Place, Command]]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self.rejected.mkdir(exist_ok=True, mode=0o700)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise SpoolInUse(
                f"spool {self.folder} is in use by another process: stop it,"
                " or give this one its own CALLCENTER_DATA_DIR"
            ) from None
        left: list[tuple[Place, Command]] = []
        for path in sorted(self.folder.glob("*.journal")):
            self._number = max(self._number, int(path.stem))
            left.extend(self._left_in(path))
            if not self._live[path.name]:
                path.unlink()
        return left

    def _left_in(self, path: Path) -> list[tuple[Place, Command]]:
        data = path.read_bytes()
        left: list[tuple[Place, Command]] = []
        for found in scan(data):
            reason = "damaged"
            if found.record is not None:
                try:
                    left.append((Place(path.name, found.offset, found.length), decode(found.record)))
                    self._live[path.name] += 1
                    continue
                except Undecodable as error:
                    reason = str(error)
            elif found.offset + found.length == len(data):
                # Nobody was told that it is durable: its sync had not returned.
                log.warning("torn last record in the spool", file=path.name, offset=found.offset, bytes=found.length)
                continue
            piece = data[found.offset : found.offset + found.length]
            kept = self.rejected / f"damaged-{path.stem}-{found.offset}"
            _write_private(kept, piece)
            log.error("spool record cannot be read", file=path.name, offset=found.offset, reason=reason, kept=kept.name)
        return left

    def _write(self, records: list[bytes]) -> list[Place]:
        if self._file is None or self._size >= ROTATE_BYTES:
            self._start_file()
        file = self._file
        if file is None:
            raise OSError("spool has no file open")
        places: list[Place] = []
        data = bytearray()
        for record in records:
            line = frame(record)
            places.append(Place(self._name, self._size + len(data), len(line)))
            data += line
        try:
            written = 0
            while written < len(data):
                written += os.write(file, memoryview(data)[written:])
            os.fdatasync(file)
        except OSError:
            # After a failed sync nobody knows what the disk has (Linux forgets the error and drops the pages), so
            # this file is not written to again; what was whole before stays.
            self._abandon_file()
            raise
        self._size += len(data)
        self._live[self._name] += len(records)
        return places

    def _start_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        name = f"{self._number + 1:08d}.journal"
        file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._number += 1
        self._file, self._name, self._size = file, name, 0
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the file's name must be on the disk as well as its content
        finally:
            os.close(folder)

    def _abandon_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            os.ftruncate(file, self._size)
        except OSError as error:
            log.warning("spool file keeps a torn record", file=self._name, error=error.strerror)
        finally:
            os.close(file)
        if not self._live[self._name]:
            (self.folder / self._name).unlink(missing_ok=True)

    def _read(self, places: list[Place]) -> list[bytes]:
        records: list[bytes] = []
        for place in places:
            with (self.folder / place.file).open("rb") as file:
                file.seek(place.offset)
                found = scan(file.read(place.length))
            if len(found) != 1 or found[0].record is None:
                raise Undecodable(f"spool {place.file} at {place.offset}: the record cannot be read back")
            records.append(found[0].record)
        return records

    def _done(self, places: list[Place]) -> None:
        self._live.subtract(place.file for place in places)
        for name in {place.file for place in places}:
            if self._live[name] > 0:
                continue
            if name == self._name and self._file is not None:
                os.close(self._file)
                self._file = None
            (self.folder / name).unlink(missing_ok=True)
            del self._live[name]

    def _reject(self, call: str, record: bytes, reason: str, at: datetime) -> Path:
        # Named by content: the same record rejected again after a crash is the same file.
        path = self.rejected / f"{call}-{sha256(record).hexdigest()[:16]}.json"
        kept = {"rejected_at": at.isoformat(), "reason": reason, "record": record.decode("ascii", "replace")}
        _write_private(path, json.dumps(kept, indent=1).encode())
        return path

    def _forget(self, call: UUID) -> int:
        found = list(self.rejected.glob(f"{call}-*.json"))
        for path in found:
            path.unlink()
        return len(found)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _write_private(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
