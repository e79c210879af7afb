"""Reading a table that a city keeps in a spreadsheet: CSV to rows, every fault named with row, column, value and mend.

UTF-8 or GBK (read as GB 18030, which contains it), with or without a byte order mark. Lines before the columns that
begin with ``#`` are remarks.
"""

import csv
import io
import unicodedata
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

LARGEST_FILE: Final = 10 * 1024 * 1024
MOST_ROWS: Final = 20_000
"""The largest list known has 1,367 items; ten times that is a mistake or an attack."""
MOST_FAULTS: Final = 200
"""Faults told at once: who has more mends these first."""
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file. ``row``: the line of the file, from 1; 0: the file itself."""

    row: int
    column: str
    value: str
    mend: str

    def __str__(self) -> str:
        where = f"row {self.row}, {self.column}" if self.row else self.column
        return f"{where}: {self.value!r}: {self.mend}"


class ListRefused(ValueError):
    """The file was not imported, and nothing was stored. ``faults``: what is wrong, at most MOST_FAULTS."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        super().__init__(f"list refused: {faults[0]}{more}; nothing was imported")
        self.faults = tuple(faults)


@dataclass
class Row:
    """One row while it is read; faults go to ``faults``."""

    number: int
    cells: Mapping[str, str]
    faults: list[Fault]
    bad: bool = field(default=False)

    def fault(self, column: str, mend: str) -> None:
        self.bad = True
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(self.number, column, self.cells.get(column, "")[:_SHOWN], mend))

    def text(self, column: str, longest: int) -> str:
        """A cell that must hold something."""
        value = self.cells.get(column, "")
        if not value:
            self.fault(column, "is empty: fill it in")
        elif len(value) > longest:
            self.fault(column, f"has {len(value)} characters: at most {longest}")
        elif not all(letter.isprintable() or letter == "\n" for letter in value):
            self.fault(column, "holds a control character: take it out")
        return value

    def choice(self, column: str, names: Mapping[str, str], default: str = "") -> str:
        """A cell that holds one of a few words, or their Chinese names."""
        value = plain(self.cells.get(column, "")) or default
        value = names.get(value, value)
        if value not in names.values():
            known = dict.fromkeys(names.values())
            self.fault(column, f"is none of {', '.join(known)} ({'、'.join(names)})")
        return value

    def reference(self, column: str, known: Mapping[str, UUID], what: str) -> UUID | None:
        """The id behind a code; None for an empty cell."""
        code = plain(self.cells.get(column, ""))
        if code and code not in known:
            self.fault(column, f"there is no such {what}: make it first, or take its code from the list of {what}s")
        return known.get(code)


def plain(text: str) -> str:
    """Full-width letters and digits as plain ones."""
    return unicodedata.normalize("NFKC", text).strip()


def _decoded(data: bytes) -> str:
    if len(data) > LARGEST_FILE:
        raise ListRefused([Fault(0, "file", f"{len(data)} bytes", f"is longer than {LARGEST_FILE} bytes: split it")])
    if data.startswith(b"PK\x03\x04"):
        raise ListRefused([Fault(0, "file", "XLSX", "is a workbook: save the sheet as CSV (UTF-8)")])
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ListRefused([Fault(0, "file", data[:4].hex(), "is neither UTF-8 nor GBK text: save it as CSV (UTF-8)")])


def table(
    data: bytes, columns: Mapping[str, Sequence[str]], needs: frozenset[str], faults: list[Fault]
) -> Iterator[Row]:
    """The rows below the columns. Raises ListRefused for a file whose rows cannot be told apart."""
    names = {alias: name for name, aliases in columns.items() for alias in (name, *aliases)}
    reader = csv.reader(io.StringIO(_decoded(data), newline=""), strict=True)
    head: list[str] | None = None
    line = count = 0
    try:
        for cells in reader:
            number, line = line + 1, reader.line_num
            if not any(cell.strip() for cell in cells) or (head is None and cells[0].startswith("#")):
                continue
            if head is None:
                head = _head(number, cells, names, needs)
                continue
            count += 1
            if count > MOST_ROWS:
                raise ListRefused([Fault(number, "file", f"row {count}", f"has more than {MOST_ROWS} rows: split it")])
            row = Row(number, {name: cell.strip() for name, cell in zip(head, cells, strict=False)}, faults)
            if len(cells) != len(head):
                row.fault(head[0], f"the row has {len(cells)} cells, the columns are {len(head)}: a comma in a cell?")
            yield row
    except csv.Error as error:
        raise ListRefused([Fault(line + 1, "file", str(error), "quote cells that hold commas or quotes")]) from None
    if not count:
        raise ListRefused([Fault(0, "file", "", f"has no rows below the columns {', '.join(sorted(needs))}")])


def _head(number: int, cells: Sequence[str], names: Mapping[str, str], needs: frozenset[str]) -> list[str]:
    faults: list[Fault] = []
    head: list[str] = []
    for cell in cells:
        name = names.get(plain(cell).casefold())
        if name is None:
            # A misspelt column that is passed over would give every matter to the street.
            known = ", ".join(dict.fromkeys(names.values()))
            faults.append(Fault(number, "columns", cell[:_SHOWN], f"is no column, they are {known}"))
        elif name in head:
            faults.append(Fault(number, "columns", cell[:_SHOWN], "is there twice: take one out"))
        head.append(name or "")
    faults.extend(Fault(number, "columns", name, "is missing: add it") for name in sorted(needs - set(head)))
    if faults:
        raise ListRefused(faults[:MOST_FAULTS])
    return head


def once(row: Row, column: str, key: Hashable, seen: dict[Hashable, int]) -> None:
    if key in seen:
        row.fault(column, f"is there already, in row {seen[key]}: take one out")
    seen.setdefault(key, row.number)
