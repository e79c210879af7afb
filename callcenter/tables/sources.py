"""Files to records, one after another, so that ten million rows need no more memory than ten: CSV, XLSX, GeoJSON.

CSV is UTF-8 or GBK (read as GB 18030, which contains it), with or without a byte order mark. A workbook is a zip: what
it says it unpacks to is bounded before anything is unpacked, and zipfile unpacks no more than is said. A map is read
whole, so it is bounded; anything that grows (doors, parts, people) comes as CSV.
"""

import codecs
import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from callcenter.tables.rows import LARGEST_LIST, SHOWN, Fault, Record, TableRefused

LARGEST_FILE: Final = 4 * 1024**3
LARGEST_MAP: Final = 64 * 1024**2
LARGEST_BOOK: Final = 100 * 1024**2
MOST_UNPACKED: Final = 1024**3
MOST_SHARED: Final = 128 * 1024**2
"""Of a workbook's table of words, which is held in memory."""
MOST_MEMBERS: Final = 200
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
                # keep_links False: another workbook that this one points to is none of ours to open.
                book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, SyntaxError, OSError) as error:
                raise _wrong(
                    type(error).__name__, "is a workbook that cannot be read: save it as CSV (UTF-8)"
                ) from None
            with closing(book):
                if not book.worksheets:
                    raise _wrong("", "is a workbook without a sheet")
                sheet = book.worksheets[0]
                try:
                    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
                        # The sheet may say it is 16,384 columns wide; the empty ones at the end are none.
                        given = [_cell(cell) for cell in cells]
                        while given and not given[-1]:
                            given.pop()
                        if number == 1:
                            width = len(given)
                        if number % 1000 == 0:
                            self._told(file)
                        yield Record(number, given + [""] * (width - len(given)) if given else [""])
                except (zipfile.BadZipFile, KeyError, ValueError, SyntaxError, EOFError) as error:
                    raise _wrong(type(error).__name__, "is a workbook that is broken: save it as CSV (UTF-8)") from None

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
        return ";".join(_cell(one) for one in value)
    return repr(float(value)) if isinstance(value, int) and abs(value) >= _EXACT else str(value)
