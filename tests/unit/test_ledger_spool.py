"""The spool's records: any command comes back as it was, and no bytes on a disk can make it stumble."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter.calls import spool as spooling
from callcenter.calls.commands import (
    CallEnded,
    CallStarted,
    CaseCompleted,
    Command,
    LegClosed,
    LegOpened,
    RecordingLinked,
    RoutingMade,
    ShadowMade,
    TimelineMarked,
    UtteranceHeard,
)
from callcenter.calls.spool import Spool, SpoolInUse, Undecodable, decode, encode, frame, scan
from tests.sample_calls import SampleCall

pytestmark = pytest.mark.unit

MOMENTS = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=8))]),
)
TEXTS = st.text(max_size=40)
NUMBERS = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=4)
COMMANDS: st.SearchStrategy[Any] = st.one_of(
    st.builds(CallStarted, st.uuids(), TEXTS, TEXTS, MOMENTS, st.none() | MOMENTS, TEXTS, TEXTS, st.booleans()),
    st.builds(LegOpened, st.uuids(), st.uuids(), st.sampled_from(["citizen", "agent"]), TEXTS, MOMENTS),
    st.builds(
        UtteranceHeard,
        *(st.uuids(), st.uuids(), st.integers(0), TEXTS, NUMBERS, NUMBERS, NUMBERS),
        *(st.lists(OBJECTS, max_size=3), MOMENTS, st.sampled_from(["live", "recording"])),
    ),
    st.builds(RoutingMade, st.uuids(), st.integers(0), TEXTS, OBJECTS, MOMENTS),
    st.builds(ShadowMade, st.uuids(), st.integers(0), OBJECTS, MOMENTS),
    st.builds(TimelineMarked, st.uuids(), st.dictionaries(TEXTS, MOMENTS)),
    st.builds(CaseCompleted, st.uuids(), MOMENTS),
    st.builds(
        LegClosed, st.uuids(), st.uuids(), MOMENTS, NUMBERS, st.lists(st.tuples(NUMBERS, st.none() | NUMBERS, TEXTS))
    ),
    st.builds(CallEnded, st.uuids(), MOMENTS, st.integers()),
    st.builds(RecordingLinked, st.uuids(), TEXTS, st.integers(), NUMBERS),
)


def test_every_kind_of_command_is_tried() -> None:
    assert set(spooling.KINDS.values()) == {
        *(CallStarted, LegOpened, UtteranceHeard, RoutingMade, ShadowMade, TimelineMarked),
        *(CaseCompleted, LegClosed, CallEnded, RecordingLinked),
    }


@given(COMMANDS)
@settings(max_examples=300, deadline=None)
def test_a_command_comes_back_as_it_was(command: Command) -> None:
    record = encode(command)
    assert decode(record) == command
    assert b"\n" not in record


@given(st.binary(max_size=200) | st.builds(lambda value: str(value).encode(), JSON))
def test_bytes_that_are_no_command_are_refused_without_being_shown(record: bytes) -> None:
    with pytest.raises(Undecodable) as refusal:
        decode(record)
    assert repr(record) not in str(refusal.value)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        encode(CaseCompleted(uuid4(), datetime(2026, 11, 20)))  # noqa: DTZ001


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_whole_records_are_all_found(records: list[bytes]) -> None:
    found = scan(b"".join(map(frame, records)))
    assert [piece.record for piece in found] == records


@given(st.lists(COMMANDS, min_size=1, max_size=5), st.data())
@settings(deadline=None)
def test_a_file_cut_anywhere_gives_back_what_was_whole(commands: list[Command], data: st.DataObject) -> None:
    lines = [frame(encode(command)) for command in commands]
    cut = data.draw(st.integers(0, sum(map(len, lines)) - 1))
    whole, length = 0, 0
    for line in lines:
        if length + len(line) > cut:
            break
        whole, length = whole + 1, length + len(line)
    found = scan(b"".join(lines)[:cut])
    assert [decode(piece.record) for piece in found if piece.record is not None] == commands[:whole]
    assert sum(piece.length for piece in found) == cut
    assert len(found) == whole + (cut > length)


@given(st.lists(COMMANDS, min_size=2, max_size=4), st.data())
@settings(deadline=None)
def test_damage_to_one_record_costs_no_other(commands: list[Command], data: st.DataObject) -> None:
    lines = [frame(encode(command)) for command in commands]
    hit = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[hit]) - 1))
    broken = bytearray(lines[hit])
    broken[at] ^= data.draw(st.integers(1, 255))
    found = scan(b"".join([*lines[:hit], bytes(broken), *lines[hit + 1 :]]))
    left = [decode(piece.record) for piece in found if piece.record is not None]
    others = commands[:hit] + commands[hit + 1 :]
    # Damage to a line's end joins it with the next one, which is then lost with it: two at most, never a wrong one.
    assert left == others or (at == len(lines[hit]) - 1 and left == commands[:hit] + commands[hit + 2 :])


@given(st.binary(max_size=300))
def test_any_bytes_are_accounted_for(data: bytes) -> None:
    found = scan(data)
    assert sum(piece.length for piece in found) == len(data)


# -- the folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    opened = Spool(tmp_path / "spool")
    assert await opened.open() == []
    yield opened
    await opened.close()


async def left_in(folder: Path) -> list[Command]:
    again = Spool(folder)
    try:
        return [command for _, command in await again.open()]
    finally:
        await again.close()


def journals(spool: Spool) -> list[Path]:
    return sorted(spool.folder.glob("*.journal"))


async def test_what_is_appended_is_read_back_and_left_for_the_next_process(spool: Spool) -> None:
    commands = SampleCall().whole()
    places = await asyncio.gather(*(spool.append(encode(command)) for command in commands))
    assert [decode(record) for record in await spool.read(places)] == commands
    await spool.close()
    assert await left_in(spool.folder) == commands
    assert await left_in(spool.folder) == commands, "opening takes nothing away"


async def test_a_file_goes_when_the_store_has_all_of_it(spool: Spool) -> None:
    commands = SampleCall().whole()
    places = [await spool.append(encode(command)) for command in commands]
    await spool.done(places[1:])
    assert len(journals(spool)) == 1
    await spool.done(places[:1])
    assert journals(spool) == []
    await spool.append(encode(commands[0]))
    await spool.close()
    assert await left_in(spool.folder) == commands[:1]


async def test_only_its_owner_can_read_the_spool(spool: Spool) -> None:
    call = SampleCall()
    await spool.append(encode(call.started()))
    await spool.reject(call.call, encode(call.started()), "because", call.at(0))
    for path in (spool.folder, *spool.folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_a_second_process_is_refused(spool: Spool) -> None:
    with pytest.raises(SpoolInUse, match="in use by another process"):
        await Spool(spool.folder).open()


async def test_a_torn_record_is_left_out_and_a_damaged_one_is_kept_aside(spool: Spool) -> None:
    call = SampleCall()
    first, second, third = call.started(), call.leg_opened(), call.ended()
    for command in (first, second, third):
        await spool.append(encode(command))
    await spool.close()
    (path,) = journals(spool)
    data = bytearray(path.read_bytes())
    middle = len(frame(encode(first))) + 40
    data[middle] ^= 1
    path.write_bytes(bytes(data) + frame(encode(first))[:30])
    assert await left_in(spool.folder) == [first, third]
    (kept,) = spool.rejected.iterdir()
    assert kept.name.startswith("damaged-")
    assert len(kept.read_bytes()) == len(frame(encode(second)))


async def test_a_whole_record_of_another_program_is_kept_aside(spool: Spool) -> None:
    await spool.append(b'{"command":"CallTeleported","call":"x"}')
    await spool.close()
    assert await left_in(spool.folder) == []
    (kept,) = spool.rejected.iterdir()
    assert b"CallTeleported" in kept.read_bytes()


async def test_a_file_is_not_written_without_end(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "ROTATE_BYTES", 1000)
    commands = SampleCall().whole()
    for command in commands:
        await spool.append(encode(command))
    assert len(journals(spool)) > 2
    await spool.close()
    assert await left_in(spool.folder) == commands


async def test_a_write_that_fails_half_way_leaves_no_half_record(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills within a record; what was there and what comes after are whole."""
    call = SampleCall()
    await spool.append(encode(call.started()))
    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) < 40:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(spooling.os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            await spool.append(encode(call.leg_opened()))
    await spool.append(encode(call.ended()))
    await spool.close()
    assert await left_in(spool.folder) == [call.started(), call.ended()]
    assert list(spool.rejected.iterdir()) == []


async def test_rejected_commands_of_an_erased_call_can_be_forgotten(spool: Spool) -> None:
    one, other = SampleCall(), SampleCall()
    for call in (one, one, other):
        await spool.reject(call.call, encode(call.started()), "because", call.at(0))
    await spool.reject(one.call, encode(one.ended()), "because", one.at(0))
    assert await spool.forget(one.call) == 2, "the same record rejected twice is one file"
    (left,) = spool.rejected.iterdir()
    assert UUID(left.name[:36]) == other.call
