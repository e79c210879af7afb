"""What of a picture is kept: the picture, and nothing that is beside it."""

import random
import struct
import zlib
from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.photos import MOST_PIXELS, BadPhoto, Photo, read_photo, sniff
from tests.pictures import PLACE, chunk, exif, jpeg, png, riff, segment, webp

pytestmark = pytest.mark.unit

TEN = "2026:11:23 10:00:00"
TEN_UTC = datetime(2026, 11, 23, 2, tzinfo=UTC)


def kept(data: bytes) -> tuple[bytes, Photo]:
    """What would be written, and what was read."""
    photo = read_photo(data)
    return b"".join(data[part] if isinstance(part, slice) else part for part in photo.parts), photo


def test_a_plain_picture_is_kept_as_it_is() -> None:
    for data in (jpeg("a"), png()):
        assert kept(data)[0] == data
    assert kept(webp())[0][:4] == b"RIFF"
    assert [read_photo(one).media for one in (jpeg(), png(), webp())] == ["image/jpeg", "image/png", "image/webp"]
    assert (read_photo(webp(width=300, height=200)).width, read_photo(webp(width=300, height=200)).height) == (300, 200)


BESIDE = [
    (jpeg, segment(0xE1, b"Exif\0\0" + exif(taken=TEN))),
    (jpeg, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>" + PLACE)),
    (jpeg, segment(0xED, b"Photoshop 3.0\0" + PLACE)),
    (jpeg, segment(0xFE, b"taken at " + PLACE)),
    (jpeg, segment(0xE2, b"MPF\0" + PLACE)),
    (jpeg, segment(0xE0, b"JFXX\0" + PLACE)),
    (jpeg, segment(0xE0, b"JFIF\0" + PLACE * 3)),
    (jpeg, segment(0xEE, b"Adobe" + PLACE)),
    (png, chunk(b"eXIf", exif(taken=TEN))),
    (png, chunk(b"tEXt", b"Comment\0" + PLACE)),
    (png, chunk(b"zTXt", b"Comment\0\0" + PLACE)),
    (png, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PLACE)),
    (png, chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(9)) + PLACE)),
    (png, chunk(b"prVt", PLACE)),
    (webp, riff(b"EXIF", exif(taken=TEN))),
    (webp, riff(b"XMP ", b"<x>" + PLACE)),
    (webp, riff(b"ABCD", PLACE)),
]


@pytest.mark.parametrize(("make", "beside"), BESIDE, ids=map(str, count()))
def test_what_is_beside_or_behind_the_picture_is_left_off(make: object, beside: bytes) -> None:
    assert callable(make)
    data = make(beside=beside, behind=b"<script>" + PLACE)
    assert PLACE in data
    clean, photo = kept(data)
    assert PLACE not in clean
    assert b"<script>" not in clean
    assert (photo.width, photo.height) == (16, 16)
    assert kept(clean)[0] == clean, "cleaned again it is the same: by its hash it is known again"


def test_the_same_picture_with_other_things_beside_it_is_the_same() -> None:
    plain, other = jpeg("one"), jpeg("one", beside=segment(0xFE, b"other"), behind=b"x" * 100)
    assert kept(plain)[0] == kept(other)[0] != kept(jpeg("two"))[0]


def test_colours_stay() -> None:
    profile = segment(0xE2, b"ICC_PROFILE\0\x01\x01" + bytes(40))
    assert profile in kept(jpeg(beside=profile))[0]


def test_which_way_is_up_stays() -> None:
    for order in ("<", ">"):
        clean, _ = kept(jpeg(beside=segment(0xE1, b"Exif\0\0" + exif(orientation=6, order=order))))
        assert clean[2:4] == b"\xff\xe1"
        assert PLACE not in clean
        assert kept(clean)[0] == clean
    upright, _ = kept(jpeg(beside=segment(0xE1, b"Exif\0\0" + exif(orientation=99))))
    assert upright[2:4] == b"\xff\xe0", "no such turn"


def test_a_webp_no_longer_says_that_it_has_what_was_left_off() -> None:
    clean, _ = kept(webp(flags=0x0C, beside=riff(b"EXIF", exif())))
    assert clean[20] == 0
    assert struct.unpack("<I", clean[4:8])[0] == len(clean) - 8


@pytest.mark.parametrize(
    ("block", "at"),
    [
        (exif(taken=TEN), TEN_UTC),
        (exif(taken=TEN, order=">"), TEN_UTC),
        (exif(taken=TEN, offset="+00:00"), TEN_UTC.replace(hour=10)),
        (exif(taken=TEN, offset="nonsense"), None),
        (exif(taken="0001:01:01 00:00:00", offset="+14:00"), None),
        (exif(taken="0000:00:00 00:00:00"), None),
        (exif(), None),
        (b"II*\0\xff\xff\xff\xff", None),
        (b"MM\0*" + bytes(4), None),
        (exif(taken=TEN)[:120], None),
        (b"nonsense", None),
    ],
    ids=map(str, count()),
)
def test_when_it_was_taken_is_read_first(block: bytes, at: datetime | None) -> None:
    assert read_photo(jpeg(beside=segment(0xE1, b"Exif\0\0" + block))).taken_at == at
    assert read_photo(png(beside=chunk(b"eXIf", block))).taken_at == at
    assert read_photo(webp(beside=riff(b"EXIF", block))).taken_at == at


@pytest.mark.parametrize(
    "data",
    [
        jpeg(width=60_000, height=60_000),
        jpeg(width=0),
        png(width=2**31 - 1, height=2**31 - 1),
        png(width=40_000, height=1),
        webp(width=2**24, height=2**24),
        webp(width=16_383, height=16_383),
    ],
    ids=map(str, count()),
)
def test_a_small_file_that_would_be_a_huge_picture_is_refused(data: bytes) -> None:
    assert len(data) < 1000
    with pytest.raises(BadPhoto, match=f"{MOST_PIXELS} at most|no width"):
        read_photo(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<script>alert(1)</script>",
        b"%PDF-1.7",
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xff\xd8\xff\xe0" + b"picture of a manhole " * 40,
        b"\xff\xd8\xff\xd9",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
        b"RIFF\x04\0\0\0WEBP",
        jpeg()[:-2],
        png()[:-1],
        webp()[:-3],
        png().replace(b"IDAT", b"IDAX"),
        webp(flags=0x02),
        jpeg(beside=segment(0xC0, b"\x08\x00\x10\x00\x10\x01\x01\x11\x00")),
    ],
    ids=map(str, count()),
)
def test_what_is_no_whole_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadPhoto):
        read_photo(data)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBP"]))
def test_no_bytes_break_it(data: bytes, head: bytes) -> None:
    with pytest.raises(BadPhoto):
        read_photo(head + data)


@given(st.sampled_from([jpeg, png, webp]), st.integers(0, 2**32))
def test_a_damaged_picture_is_refused_or_kept_clean(make: object, seed: int) -> None:
    assert callable(make)
    rnd, data = random.Random(seed), bytearray(make())
    for _ in range(rnd.randint(1, 4)):
        data[rnd.randrange(len(data))] = rnd.randrange(256)
    try:
        clean, photo = kept(bytes(data))
    except BadPhoto:
        return
    assert sniff(clean) == photo.media
    assert photo.width * photo.height <= MOST_PIXELS
    assert kept(clean)[0] == clean
