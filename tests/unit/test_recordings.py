"""Recordings as Asterisk leaves them: whole, killed at any byte, and files that are not ours."""

import hashlib
import os
import struct
import wave
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.telephony.recordings import (
    RecordingError,
    duration_s,
    find_unclaimed,
    read_pcm,
    read_sidecar,
    resolve,
    scan,
    sha256,
)

pytestmark = pytest.mark.unit

PCM = b"".join(struct.pack("<h", n % 30000) for n in range(16_000))  # two seconds, each sample its own number


def wav(
    pcm: bytes = PCM, *, data_size: int | None = None, rate: int = 8000, channels: int = 1, after: bytes = b""
) -> bytes:
    size = len(pcm) if data_size is None else data_size
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", (36 + size) & 0xFFFFFFFF, b"WAVE")
        + form
        + struct.pack("<4sI", b"data", size)
        + pcm
        + after
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.wav"


def test_a_file_that_another_program_wrote(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(PCM)
    assert read_pcm(path) == PCM
    assert duration_s(path) == 2.0
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("stale", [0, 320, 16_000, 0xFFFFFFFF, len(PCM) * 2])
def test_a_header_that_asterisk_never_finished(path, stale):
    path.write_bytes(wav(data_size=stale))
    assert read_pcm(path) == PCM
    assert duration_s(path) == 2.0


def test_chunks_after_the_sound_are_no_sound(path):
    path.write_bytes(wav(after=b"LIST" + struct.pack("<I", 5) + b"abcde\0"))
    assert read_pcm(path) == PCM


def test_parts_are_cut_at_samples(path):
    path.write_bytes(wav())
    assert read_pcm(path, 0.5, 1.5) == PCM[8000:24000]
    assert read_pcm(path, 1.99999) == PCM[-2:]
    assert read_pcm(path, 1.5, 60) == PCM[24000:]
    assert read_pcm(path, 60, 61) == b""
    for start, end in ((-1, 1), (2, 1)):
        with pytest.raises(ValueError, match="no such part"):
            read_pcm(path, start, end)


@given(st.integers(0, 44 + 200))
def test_killed_at_any_byte(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "a.wav"
    path.write_bytes(wav(data_size=0)[:length])
    heard = max(0, length - 44) & ~1
    assert read_pcm(path) == PCM[:heard]
    assert duration_s(path) == heard / 16_000


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name_or_read(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "a.wav"
    for content in (noise, b"RIFF" + noise, wav()[:12] + noise, wav()[:36] + noise):
        path.write_bytes(content)
        try:
            assert len(read_pcm(path)) % 2 == 0
        except RecordingError as error:
            assert "a.wav" in str(error)  # noqa: PT017


@pytest.mark.parametrize("content", [wav(rate=16_000), wav(channels=2), b"ID3" + bytes(100), b"OggS" + bytes(100)])
def test_other_formats_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"a\.wav"):
        read_pcm(path)


def test_links_folders_and_pipes_are_not_opened(tmp_path, path):
    real = tmp_path / "real.wav"
    real.write_bytes(wav())
    path.symlink_to(real)
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    for one in (path, tmp_path / "folder.wav", tmp_path / "pipe.wav", tmp_path / "linked" / "real.wav"):
        with pytest.raises(RecordingError):
            read_pcm(one)
    with pytest.raises(FileNotFoundError):
        read_pcm(tmp_path / "none.wav")


GOOD = "v1|12319|13800138000|1763672400.25|1763672401|1763672400.7"


def test_a_sidecar(tmp_path):
    path = tmp_path / "x.call"
    path.write_text(GOOD + "\n")
    note = read_sidecar(path)
    assert (note.line, note.number, note.unique_id) == ("12319", "13800138000", "1763672400.7")
    assert note.rung_at == datetime.fromtimestamp(1763672400.25, UTC)
    assert note.answered_at == datetime.fromtimestamp(1763672401, UTC)
    path.write_text("v1|12319||1763672400||u1")
    assert (read_sidecar(path).number, read_sidecar(path).answered_at) == ("", None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"v2|12319|1|1763672400||u",
        GOOD.encode() + b"|more",
        b"v1|12319|<script>|1763672400||u",
        b"v1|12319|\xd9\xa1\xd9\xa2|1763672400||u",
        b"v1|12319|1|soon||u",
        b"v1|12319|1|1e999||u",
        b"v1||1|1763672400||u",
        b"v1|12319|1|1763672400||../etc",
        b"\xff" * 5000,
        GOOD.encode() + b"\n" + GOOD.encode(),
    ],
)
def test_other_sidecars_are_refused_without_repeating_them(tmp_path, content):
    path = tmp_path / "x.call"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        read_sidecar(path)
    assert "script" not in str(caught.value)


def lay(root: Path, day: str, name: str, at: float = 1000.0) -> Path:
    path = root / day / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    os.utime(path, (at, at))
    return path


def test_a_scan_finds_each_calls_files_and_nothing_else(tmp_path):
    root = tmp_path / "recordings"
    root.mkdir()
    one, two, three = uuid4(), uuid4(), uuid4()
    lay(root, "20261121", f"{three}.wav")
    for name in (f"{one}.wav", f"{one}-citizen.wav", f"{one}-agent.wav", f"{two}.call"):
        lay(root, "20261120", name)
    for name in (
        "notes.wav",
        f"{str(uuid4()).upper()}.wav",
        f"{uuid4()}-x.wav",
        f"{uuid4()}.wav.tmp",
        f"{uuid4()}.wav\n",
    ):
        lay(root, "20261120", name)
    lay(root, "20269999", f"{uuid4()}.wav")
    lay(root, "other", f"{uuid4()}.wav")
    outside = lay(tmp_path, "20261120", f"{uuid4()}.wav")
    (root / "20261120" / f"{uuid4()}.wav").symlink_to(outside)
    (root / "20261119").symlink_to(outside.parent, target_is_directory=True)
    (root / "20261120" / f"{uuid4()}.wav").mkdir()

    found = scan(root)
    assert [entry.call for entry in found][-1] == three
    assert {entry.call for entry in found} == {one, two, three}
    first = next(entry for entry in found if entry.call == one)
    assert (first.day, first.relative) == (date(2026, 11, 20), f"20261120/{one}.wav")
    assert [p.name if p else None for p in (first.mixed, first.citizen, first.agent, first.sidecar)] == [
        f"{one}.wav",
        f"{one}-citizen.wav",
        f"{one}-agent.wav",
        None,
    ]
    assert next(entry for entry in found if entry.call == two).sidecar == root / "20261120" / f"{two}.call"
    assert [entry.call for entry in scan(root, since=date(2026, 11, 21))] == [three]
    assert scan(tmp_path / "nowhere") == []


async def test_unclaimed_calls_are_those_unknown_and_at_rest(tmp_path):
    calls = [uuid4() for _ in range(1203)]
    for call in calls:
        lay(tmp_path, "20261120", f"{call}.wav", at=1000)
    going_on = uuid4()
    lay(tmp_path, "20261120", f"{going_on}.wav", at=1000)
    lay(tmp_path, "20261120", f"{going_on}-citizen.wav", at=2000)
    asked: list[int] = []

    async def known(some: set[UUID]) -> set[UUID]:
        asked.append(len(some))
        return some & set(calls[:1200])

    found = await find_unclaimed(tmp_path, known, before=1999)
    assert {entry.call for entry in found} == set(calls[1200:])
    assert asked == [500, 500, 203]
    assert going_on in {entry.call for entry in await find_unclaimed(tmp_path, known, before=2000)}


def test_a_recordings_path_is_checked_before_it_is_used(tmp_path):
    call = uuid4()
    assert resolve(tmp_path, f"20261120/{call}.wav") == tmp_path / "20261120" / f"{call}.wav"
    for bad in (
        "../x.wav",
        f"/etc/{call}.wav",
        f"20261120/../{call}.wav",
        f"20261120/{call}.wav\n",
        "",
        f"x/{call}.wav",
    ):
        with pytest.raises(RecordingError):
            resolve(tmp_path, bad)
