"""Pictures as they may be kept: a JPEG, PNG or WebP that is whole, of a size one can look at, and with nothing in it
but the picture.

A telephone writes the place, its own number and more beside the picture (EXIF, XMP, IPTC, comments), and anything may
hang on behind it. None of that is needed to see whether a manhole has its cover, so it is left off; the picture itself
is copied byte by byte and never decoded here. Which way is up (EXIF orientation) is kept. When the picture was taken is
read first, for ``CaseEvidence.taken_at``. After the formats' own texts: ITU-T T.81 and Exif 2.32 (JPEG), ISO/IEC 15948
(PNG), RFC 9649 (WebP).
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from callcenter.clock import SHANGHAI

MOST_PIXELS: Final = 120_000_000
"""Telephones make up to 108 million. Decoded these are some 480 MB: beyond, a file is meant to choke its reader."""
LONGEST_SIDE: Final = 30_000

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"


class BadPhoto(Exception):
    """The bytes are no such picture; the message says what is wrong with them."""


class Bytes(Protocol):
    """Bytes that are there: ``bytes`` or a mapped file."""

    def __getitem__(self, part: slice, /) -> bytes: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture that may be kept: the parts of it, in order, and what it says of itself."""

    media: str
    width: int
    height: int
    taken_at: datetime | None
    parts: tuple[bytes | slice, ...]
    """What to write: new bytes, or where in the source to copy from."""


def sniff(head: bytes) -> str | None:
    """The image type that a file begins as; None: none of ours. What the sender calls it does not count."""
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    return WEBP if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def read_photo(source: Bytes) -> Photo:
    """What of ``source`` is a picture. Reads it through once. Raises BadPhoto."""
    media = sniff(source[:16])
    if media is None:
        raise BadPhoto("the body is no JPEG, PNG or WebP picture, whatever its name says")
    try:
        return {JPEG: _jpeg, PNG: _png, WEBP: _webp}[media](source)
    except (struct.error, IndexError):
        raise BadPhoto("the picture breaks off: send the whole file") from None


def _checked(width: int, height: int) -> None:
    if not width or not height:
        raise BadPhoto("the picture has no width or no height")
    if max(width, height) > LONGEST_SIDE or width * height > MOST_PIXELS:
        raise BadPhoto(f"the picture has {width} by {height} pixels: {MOST_PIXELS} at most, a side {LONGEST_SIDE}")


def _take(source: Bytes, start: int, count: int) -> bytes:
    part = source[start : start + count]
    if len(part) < count:
        raise BadPhoto("the picture breaks off: send the whole file")
    return part


# -- JPEG --------------------------------------------------------------------------------------------------------------
_MARKER: Final = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
"""The next marker in coded data: neither a stuffed zero nor a restart."""
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES: Final = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
_APP_KEPT: Final = {0xE0: (b"JFIF\0", 14), 0xE2: (b"ICC_PROFILE\0", 65_533), 0xEE: (b"Adobe", 12)}
"""How they begin and how long they are at most: density (without a thumbnail), colours."""
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1


def _jpeg(source: Bytes) -> Photo:
    parts: list[bytes | slice] = [slice(0, 2)]
    at, size, seen = 2, (0, 0), False
    taken, orientation = None, 1
    while True:
        if _take(source, at, 1) != b"\xff":
            raise BadPhoto("the JPEG has no marker where one must be")
        while (kind := _take(source, at + 1, 1)[0]) == 0xFF:
            at += 1
        if kind == _EOI:
            break
        (length,) = struct.unpack(">H", _take(source, at + 2, 2))
        if length < 2 or kind in (_SOI, 0x01):
            raise BadPhoto("the JPEG has a segment that cannot be")
        end = at + 2 + length
        body = _take(source, at + 4, length - 2)
        if kind in _FRAMES:
            if size != (0, 0):
                raise BadPhoto("the JPEG has more than one frame")
            height, width = struct.unpack(">HH", _take(body, 1, 4))
            _checked(width, height)
            size = (width, height)
            parts.append(slice(at, end))
        elif kind == _APP1 and body.startswith(b"Exif\0\0"):
            found = _exif(body[6:])
            taken, orientation = taken or found[0], found[1]
        elif kind in _TABLES or _of_the_picture(kind, body):
            parts.append(slice(at, end))
        elif kind == _SOS:
            if size == (0, 0):
                raise BadPhoto("the JPEG has data before its frame")
            found_next = _MARKER.search(source, end)  # type: ignore[call-overload]  # a mapped file is searched too
            if found_next is None:
                raise BadPhoto("the picture breaks off: send the whole file")
            parts.append(slice(at, found_next.start()))
            end, seen = found_next.start(), True
        at = end
    if not seen:
        raise BadPhoto("the JPEG has no picture in it")
    if orientation != 1:
        parts.insert(1, _upright(orientation))
    return Photo(JPEG, *size, taken, (*parts, b"\xff\xd9"))


def _of_the_picture(kind: int, body: bytes) -> bool:
    begin, longest = _APP_KEPT.get(kind, (b"", -1))
    return body.startswith(begin) and len(body) <= longest


def _upright(orientation: int) -> bytes:
    """An EXIF segment that says which way is up, and no more."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


# -- PNG ---------------------------------------------------------------------------------------------------------------
_PNG_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs"})
"""Without texts, times, EXIF and further frames; without iCCP, which is packed and so may be a bomb itself."""


def _png(source: Bytes) -> Photo:
    parts: list[bytes | slice] = [slice(0, 8)]
    at, size, seen = 8, (0, 0), False
    taken = None
    while True:
        (length,) = struct.unpack(">I", _take(source, at, 4))
        kind, body = _take(source, at + 4, 4), _take(source, at + 8, length)
        (crc,) = struct.unpack(">I", _take(source, at + 8 + length, 4))
        if zlib.crc32(body, zlib.crc32(kind)) != crc:
            raise BadPhoto("the PNG is damaged: send it again")
        if (kind == b"IHDR") != (at == 8) or (kind == b"IHDR" and length != 13):
            raise BadPhoto("the PNG has no header where it must be")
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
            _checked(*size)
        elif kind == b"eXIf":
            taken = _exif(body)[0]
        seen = seen or (kind == b"IDAT" and length > 0)
        end = at + 12 + length
        if kind in _PNG_KEPT:
            parts.append(slice(at, end))
        if kind == b"IEND":
            break
        at = end
    if not seen:
        raise BadPhoto("the PNG has no picture in it")
    return Photo(PNG, *size, taken, tuple(parts))


# -- WebP --------------------------------------------------------------------------------------------------------------
_WEBP_KEPT: Final = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ICCP"})
_EXIF_FLAG, _XMP_FLAG, _ANIMATED = 0x08, 0x04, 0x02


def _webp(source: Bytes) -> Photo:
    (total,) = struct.unpack("<I", _take(source, 4, 4))
    stop = 8 + total
    if stop > len(source) + 1:
        raise BadPhoto("the picture breaks off: send the whole file")
    chunks: list[bytes | slice] = []
    at, size, seen, written = 12, (0, 0), False, 4
    taken = None
    while at + 8 <= min(stop, len(source)):
        kind = _take(source, at, 4)
        (length,) = struct.unpack("<I", _take(source, at + 4, 4))
        body = _take(source, at + 8, length)
        part: bytes | slice | None = None
        if kind == b"VP8X":
            if body[0] & _ANIMATED:
                raise BadPhoto("the WebP moves: send a still picture")
            size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
            part = kind + struct.pack("<I", length) + bytes([body[0] & ~(_EXIF_FLAG | _XMP_FLAG)]) + body[1:]
        elif kind in (b"VP8 ", b"VP8L"):
            own = _vp8(body) if kind == b"VP8 " else _vp8l(body)
            _checked(*own)
            size, seen = (size if size != (0, 0) else own), True
        elif kind == b"EXIF":
            taken = _exif(body.removeprefix(b"Exif\0\0"))[0]
        if part is None and kind in _WEBP_KEPT:
            part = slice(at, at + 8 + length)
        if part is not None:
            chunks += [part, b"\0" * (length % 2)]
            written += 8 + length + length % 2
        at += 8 + length + length % 2
    if not seen:
        raise BadPhoto("the WebP has no picture in it")
    _checked(*size)
    head = b"RIFF" + struct.pack("<I", written) + b"WEBP"
    return Photo(WEBP, size[0], size[1], taken, (head, *chunks))


def _vp8(body: bytes) -> tuple[int, int]:
    if _take(body, 3, 3) != b"\x9d\x01\x2a":
        raise BadPhoto("the WebP has no key frame")
    width, height = struct.unpack("<HH", _take(body, 6, 4))
    return width & 0x3FFF, height & 0x3FFF


def _vp8l(body: bytes) -> tuple[int, int]:
    if _take(body, 0, 1) != b"\x2f":
        raise BadPhoto("the WebP has no picture in it")
    (bits,) = struct.unpack("<I", _take(body, 1, 4))
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


# -- EXIF --------------------------------------------------------------------------------------------------------------
_ORIENTATION, _EXIF_FOLDER, _TAKEN, _OFFSET = 0x0112, 0x8769, 0x9003, 0x9011
_MOST_ENTRIES: Final = 512


def _exif(tiff: bytes) -> tuple[datetime | None, int]:
    """When it was taken and which way is up (1: as it is), as far as ``tiff`` says so in order. Never raises."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None, 1
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        top = dict(_entries(tiff, first, order))
        orientation = top.get(_ORIENTATION, (3, 1, b""))[2]
        (turned,) = struct.unpack_from(f"{order}H", orientation) if len(orientation) >= 2 else (1,)
        below: dict[int, tuple[int, int, bytes]] = {}
        if _EXIF_FOLDER in top:
            (folder,) = struct.unpack(f"{order}I", top[_EXIF_FOLDER][2])
            below = dict(_entries(tiff, folder, order))
        return _time(tiff, below, order), turned if 1 <= turned <= 8 else 1
    except struct.error:
        return None, 1


def _entries(tiff: bytes, start: int, order: str) -> Iterator[tuple[int, tuple[int, int, bytes]]]:
    """Tag, then type, count and the four bytes that hold the value or its place."""
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for n in range(min(count, _MOST_ENTRIES)):
        tag, kind, many, value = struct.unpack_from(f"{order}HHI4s", tiff, start + 2 + 12 * n)
        yield tag, (kind, many, value)


def _time(tiff: bytes, entries: dict[int, tuple[int, int, bytes]], order: str) -> datetime | None:
    def text(tag: int) -> str:
        _, many, value = entries.get(tag, (0, 0, b""))
        if not 4 < many <= 64:
            return ""
        (place,) = struct.unpack(f"{order}I", value)
        return tiff[place : place + many].rstrip(b"\0 ").decode("ascii", "replace")

    try:
        told = datetime.strptime(text(_TAKEN), "%Y:%m:%d %H:%M:%S").replace(tzinfo=SHANGHAI)
        if offset := text(_OFFSET):
            told = told.replace(tzinfo=datetime.strptime(offset, "%z").tzinfo)
        return told.astimezone(UTC) if 1990 <= told.year <= 2199 else None
    except ValueError:
        return None
