"""Pictures for tests: the smallest files that are JPEG, PNG or WebP, each its own, with what telephones put beside."""

import struct
import zlib
from uuid import uuid4

PLACE = b"30.5928N114.3055E"
"""Stands for the place that a telephone writes into a picture."""


def exif(*, taken: str = "", offset: str = "", orientation: int = 1, order: str = "<") -> bytes:
    """An EXIF block (TIFF) with PLACE in it."""
    taken_at, offset_at = b"", b""
    entries = [(0x0112, 3, 1, struct.pack(f"{order}HH", orientation, 0)), (0x8769, 4, 1, struct.pack(f"{order}I", 100))]
    start = struct.pack(f"{order}H", len(entries))
    top = start + b"".join(struct.pack(f"{order}HHI", *one[:3]) + one[3] for one in entries) + bytes(4)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + top
    head += PLACE.ljust(100 - len(head), b"\0")
    folder = []
    if taken:
        taken_at = taken.encode() + b"\0"
        folder.append((0x9003, 2, len(taken_at), struct.pack(f"{order}I", 200)))
    if offset:
        offset_at = offset.encode() + b"\0"
        folder.append((0x9011, 2, len(offset_at), struct.pack(f"{order}I", 240)))
    below = struct.pack(f"{order}H", len(folder))
    below += b"".join(struct.pack(f"{order}HHI", *one[:3]) + one[3] for one in folder) + bytes(4)
    return (head + below).ljust(200, b"\0") + taken_at.ljust(40, b"\0") + offset_at


def segment(kind: int, body: bytes) -> bytes:
    """One segment of a JPEG."""
    return b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body


def jpeg(
    name: str = "", *, width: int = 16, height: int = 16, beside: bytes = b"", behind: bytes = b"", data: int = 0
) -> bytes:
    """A JPEG of its own for each ``name`` (by default: each call). ``beside``: more segments; ``behind``: after the
    end; ``data``: how many bytes of coded picture."""
    seed = (name or uuid4().hex).encode().replace(b"\xff", b"")
    frame = b"\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    coded = (seed * (1 + data // len(seed)))[: max(data, len(seed))] + b"\xff\x00" + seed + b"\xff\xd0" + seed
    return (
        b"\xff\xd8"
        + segment(0xE0, b"JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00")
        + beside
        + segment(0xDB, bytes(65))
        + segment(0xC0, frame)
        + segment(0xC4, bytes(17))
        + segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
        + coded
        + b"\xff\xd9"
        + behind
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*, width: int = 16, height: int = 16, beside: bytes = b"", behind: bytes = b"") -> bytes:
    """A grey PNG."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + 16) * 16 + uuid4().bytes)
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + beside + chunk(b"IDAT", rows) + end + behind


def webp(*, width: int = 16, height: int = 16, flags: int = 0, beside: bytes = b"", behind: bytes = b"") -> bytes:
    """A WebP of the extended form."""
    canvas = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    coded = b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width & 0x3FFF, height & 0x3FFF) + uuid4().bytes
    body = b"WEBP" + riff(b"VP8X", canvas) + riff(b"VP8 ", coded) + beside
    return b"RIFF" + struct.pack("<I", len(body)) + body + behind


def riff(kind: bytes, body: bytes) -> bytes:
    """One chunk of a WebP."""
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
