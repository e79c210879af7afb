"""Files to records, one after another, so that ten million rows need no more memory than ten: CSV, XLSX, GeoJSON.

CSV is UTF-8 or GBK (read as GB 18030, which contains it), with or without a byte order mark. A workbook is a zip: what
it says it unpacks to is bounded before anything is unpacked, zipfile unpacks no more than is said, and what of it must
be held whole (a row, the table of words, everything that is no sheet) is bounded where it is read. A map is read whole,
so it is bounded; anything that grows (doors, parts, people) comes as CSV.
"""

import codecs
import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from openpyxl.packaging.relationship import Relationship
from openpyxl.reader.excel import ExcelReader
from openpyxl.workbook.child import _WorkbookChild
from openpyxl.xml.constants import SHARED_STRINGS

from callcenter.tables.rows import LARGEST_LIST, SHOWN, Fault, Record, TableRefused

LARGEST_FILE: Final = 4 * 1024**3
LARGEST_MAP: Final = 64 * 1024**2
LARGEST_BOOK: Final = 100 * 1024**2
MOST_UNPACKED: Final = 1024**3
MOST_SHARED: Final = 128 * 1024**2
"""Of a workbook's table of words, which is held in memory."""
LARGEST_PART: Final = 8 * 1024**2
"""Of any other part of a workbook that is no sheet: styles, properties."""
LARGEST_ROW: Final = 4 * 1024**2
"""Of a row of a workbook, as XML; a cell holds 32,767 characters at most."""
MOST_MEMBERS: Final = 200
MOST_COLUMNS: Final = 128
"""Of a workbook that are looked at; a file of ours has some thirty."""
MOST_BOOK_ROWS: Final = 1_048_576
"""A sheet has no more."""
_CHUNK: Final = 1 << 20
_EXACT: Final = 10**15
"""A spreadsheet keeps fifteen digits of a number; a longer code stored as one has lost its last."""

csv.field_size_limit(1 << 16)  # of one cell, characters: the longest address is a thousandth of it


def _wrong(value: str, mend: str) -> TableRefused:
    return TableRefused([Fault(0, "file", value[:SHOWN], mend)])


class Source:
    """One file. ``path`` or ``data``; raises TableRefused for a file that is none of the three kinds, OSError for one
    that cannot be read. ``progress`` is called with bytes read, now and then.

    >>> for record in Source(path=Path("doors.csv")).records(): ...
    """

    def __init__(self, *, path: Path | None = None, data: bytes | None = None) -> None:
        if (path is None) == (data is None):
            raise TypeError("a source is a path or data, one of them")
        self._path, self._data = path, data
        self.size = len(data) if data is not None else path.stat().st_size if path is not None else 0
        """Bytes."""
        self.name = path.name if path is not None else ""
        self.progress: Callable[[int], None] | None = None
        if self.size > LARGEST_FILE:
            raise _wrong(f"{self.size} bytes", f"is longer than {LARGEST_FILE} bytes: split it")
        with self._open() as file:
            start = file.read(512)
        self.form = "xlsx" if start.startswith(b"PK\x03\x04") else "csv"
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            self.form = "geojson"
        if start.startswith(b"\xd0\xcf\x11\xe0"):
            raise _wrong("XLS", "is a workbook of the old form: save it as XLSX or CSV (UTF-8)")

    def digest(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        summed = sha256()
        with self._open() as file:
            while chunk := file.read(_CHUNK):
                summed.update(chunk)
        return summed.hexdigest()

    def records(self) -> Iterator[Record]:
        """The columns' names first, then one record a row. Raises TableRefused where the file is broken."""
        if self.form == "xlsx":
            return self._book()
        return self._map() if self.form == "geojson" else self._csv()

    def _open(self) -> BinaryIO:
        if self._path is not None:
            return self._path.open("rb")
        return io.BytesIO(self._data or b"")

    def _told(self, file: BinaryIO) -> None:
        if self.progress is not None:
            self.progress(min(file.tell(), self.size))

    # -- CSV -----------------------------------------------------------------------------------------------------------
    def _encoding(self) -> str:
        for encoding in ("utf-8-sig", "gb18030"):
            decoder = codecs.getincrementaldecoder(encoding)()
            with self._open() as file:
                try:
                    while chunk := file.read(_CHUNK):
                        if "\0" in decoder.decode(chunk):
                            break
                    else:
                        decoder.decode(b"", final=True)
                        return encoding
                except UnicodeDecodeError:
                    continue
        with self._open() as file:
            start = file.read(4).hex()
        raise _wrong(start, "is neither UTF-8 nor GBK text: save it as CSV (UTF-8)")

    def _csv(self) -> Iterator[Record]:
        encoding = self._encoding()
        line = 0
        with self._open() as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            reader = csv.reader(text, strict=True)
            try:
                for cells in reader:
                    number, line = line + 1, reader.line_num
                    if number % 1000 == 1:
                        self._told(file)
                    if cells:
                        yield Record(number, cells)
            except csv.Error as error:
                fault = Fault(line + 1, "file", str(error)[:SHOWN], "quote cells that hold commas or quotes")
                raise TableRefused([fault]) from None
            self._told(file)

    # -- workbooks -----------------------------------------------------------------------------------------------------
    def _book(self) -> Iterator[Record]:
        if self.size > LARGEST_BOOK:
            raise _wrong(
                f"{self.size} bytes", f"is a workbook longer than {LARGEST_BOOK} bytes: save it as CSV (UTF-8)"
            )
        with self._open() as file:
            self._bounded(file)
            try:
                yield from self._rows(file)
            except TableRefused:
                raise
            except Exception as error:
                if isinstance(error.__cause__, TableRefused):  # ours, that openpyxl wrapped
                    raise error.__cause__ from None
                # zipfile, zlib, expat and openpyxl raise nearly anything for a file that is broken on purpose.
                name = type(error).__name__
                raise _wrong(name, "is a workbook that is broken or cannot be read: save it as CSV (UTF-8)") from error

    def _rows(self, file: BinaryIO) -> Iterator[Record]:
        reader = _Reader(file)
        reader.read()
        with closing(reader.wb) as book:
            if not book.worksheets:
                raise _wrong("", "is a workbook without a sheet")
            sheet: Any = book.worksheets[0]
            sheet.reset_dimensions()  # what the sheet says of its size is not what it has
            width = 0
            for number, cells in enumerate(sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True), 1):
                if number > MOST_BOOK_ROWS:
                    raise _wrong(f"row {number}", "is a workbook with more rows than one has: save it as CSV (UTF-8)")
                if number % 1000 == 0:
                    self._told(file)
                if cells.count(None) == len(cells):
                    continue
                given = [
                    _cell(cell) for cell in cells[: max(at for at, cell in enumerate(cells, 1) if cell is not None)]
                ]
                if not width and not given[0].startswith("#"):
                    width = len(given)
                # The empty cells at the end are none, in a row that is shorter than the columns they are.
                while len(given) > width and not given[-1]:
                    given.pop()
                yield Record(number, given + [""] * (width - len(given)))

    @staticmethod
    def _bounded(file: BinaryIO) -> None:
        try:
            with zipfile.ZipFile(file) as book:
                members = book.infolist()
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise _wrong(
                type(error).__name__, "is a workbook or zip that cannot be read: save it as CSV (UTF-8)"
            ) from None
        unpacked = sum(member.file_size for member in members)
        shared = sum(member.file_size for member in members if member.filename.endswith("sharedStrings.xml"))
        if len(members) > MOST_MEMBERS or unpacked > MOST_UNPACKED or shared > MOST_SHARED:
            raise _wrong(
                f"{len(members)} files, {unpacked} bytes",
                f"unpacks to more than {MOST_UNPACKED} bytes, {MOST_SHARED} of words or {MOST_MEMBERS} files: save it"
                " as CSV (UTF-8)",
            )
        if "[Content_Types].xml" not in {member.filename for member in members}:
            raise _wrong("zip", "is a zip and no workbook: send the file in it")
        file.seek(0)

    # -- maps ----------------------------------------------------------------------------------------------------------
    def _map(self) -> Iterator[Record]:
        if self.size > LARGEST_MAP:
            raise _wrong(f"{self.size} bytes", f"is a map longer than {LARGEST_MAP} bytes: send points as CSV")
        with self._open() as file:
            data = file.read()
        try:
            whole = json.loads(data.decode("utf-8-sig"), parse_constant=_no_number)
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise _wrong(type(error).__name__, "is no JSON that can be read: GeoJSON is UTF-8 (RFC 7946)") from None
        features = whole.get("features") if isinstance(whole, dict) else None
        if not isinstance(features, list) or whole.get("type") != "FeatureCollection":
            raise _wrong("JSON", "is no GeoJSON FeatureCollection (RFC 7946)")
        columns: dict[str, None] = {}
        for feature in features:
            given = feature.get("properties") if isinstance(feature, dict) else None
            columns.update(dict.fromkeys(given if isinstance(given, dict) else ()))
        yield Record(0, list(columns))
        for number, feature in enumerate(features, 1):
            given = feature.get("properties") if isinstance(feature, dict) else None
            cells = [_cell(given.get(column)) for column in columns] if isinstance(given, dict) else [""] * len(columns)
            ground = feature.get("geometry") if isinstance(feature, dict) else None
            yield Record(number, cells, ground if isinstance(ground, dict) else {})
            if self.progress is not None and number % 100 == 0:
                self.progress(self.size * number // len(features))


class _Archive(zipfile.ZipFile):
    """A workbook's zip that holds no more of it than may be held."""

    def read(self, name: str | zipfile.ZipInfo, pwd: bytes | None = None) -> bytes:
        if self._size(name) > LARGEST_PART:
            raise _wrong(
                f"{name}: {self._size(name)} bytes", f"unpacks to more than {LARGEST_PART} bytes: save it as CSV"
            )
        return super().read(name, pwd)

    def open(self, name: Any, *given: Any, **named: Any) -> Any:
        return _Guarded(super().open(name, *given, **named))

    def _size(self, name: str | zipfile.ZipInfo) -> int:
        return self.getinfo(name).file_size if isinstance(name, str) else name.file_size


_ENDS: Final = re.compile(rb"</(?:\w+:)?(?:row|si)\s*>")
_BEGINS: Final = re.compile(rb"<(?:\w+:)?row[\s/>]")


class _Guarded(io.RawIOBase):
    """A part of a workbook while it is read: nothing in it is so long that it could not be held."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self._since = self._begun = 0
        self._tail = b""

    def read(self, size: int = -1) -> bytes:
        chunk: bytes = self._part.read(size)
        text = self._tail + chunk
        # No program writes these into a sheet: entities grow, the others hide where a row ends.
        if b"<!" in text:
            raise _wrong("<!", "is a workbook with declarations, which none needs: save it as CSV (UTF-8)")
        end = max((match.end() for match in _ENDS.finditer(text)), default=None)
        self._since = self._since + len(chunk) if end is None else len(text) - end
        self._begun += len(_BEGINS.findall(text))
        if size != -1 and (self._since > LARGEST_ROW or self._begun > MOST_BOOK_ROWS):
            raise _wrong(f"{self._since} bytes", f"has a row of more than {LARGEST_ROW} bytes: save it as CSV (UTF-8)")
        # What may be the first half of a mark is looked at again with the second.
        at = text.rfind(b"<")
        self._tail = text[at:] if at >= 0 and b">" not in text[at:] and len(text) - at < 64 else b""
        return chunk

    def close(self) -> None:
        self._part.close()
        super().close()


class _Reader(ExcelReader):
    """openpyxl's, reading rows as they come, with bounds on what it holds."""

    def __init__(self, file: BinaryIO) -> None:
        # keep_links False: another workbook that this one points to is none of ours to open.
        super().__init__(file, read_only=True, data_only=True, keep_links=False)
        self.archive: zipfile.ZipFile = _Archive(file)

    def read_strings(self) -> None:
        part = cast(Any, self.package).find(SHARED_STRINGS)
        if part is not None:
            size = self.archive.getinfo(part.PartName[1:]).file_size
            if size > MOST_SHARED:
                raise _wrong(f"{size} bytes", f"unpacks to more than {MOST_SHARED} bytes of words: save it as CSV")
        super().read_strings()

    def read_chartsheet(self, sheet: _WorkbookChild, rel: Relationship) -> None:
        """A drawing has no rows."""


def records_of_list(data: bytes) -> Iterator[Record]:
    """The records of a list that somebody sends, CSV or XLSX. Raises TableRefused; a map is none."""
    if len(data) > LARGEST_LIST:
        raise _wrong(f"{len(data)} bytes", f"is longer than {LARGEST_LIST} bytes: split it")
    source = Source(data=data)
    if source.form == "geojson":
        raise _wrong("JSON", "is a map: a list is CSV (UTF-8) or XLSX")
    return source.records()


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _cell(value: Any) -> str:
    """A value of a workbook or a map as the text that a CSV would hold."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if isinstance(value, list):
        return ";".join("[…]" if isinstance(one, list) else _cell(one) for one in value)
    if isinstance(value, dict):
        return "{…}"
    # Not as digits alone: it must not pass for a code whose last digits are lost.
    return f"{value}.0" if isinstance(value, int) and abs(value) >= _EXACT else str(value)
