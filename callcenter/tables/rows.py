"""The rows of a table: columns by their names, cells with what they must hold, every fault with row, column and mend.

Lines before the columns that begin with ``#`` are remarks. Where the cells come from, ``sources`` knows.
"""

import math
import unicodedata
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final
from uuid import UUID

LARGEST_LIST: Final = 10 * 1024 * 1024
MOST_LISTED: Final = 20_000
"""The largest list known has 1,367 items; ten times that is a mistake or an attack."""
MOST_FAULTS: Final = 200
"""Faults told at once: who has more mends these first."""
SHOWN: Final = 40
"""Characters of a cell that a fault repeats."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file. ``row``: the line of the file, from 1; 0: the file itself."""

    row: int
    column: str
    value: str
    mend: str

    def __post_init__(self) -> None:
        if not self.value.isprintable():
            # NUL and half a surrogate pair, which JSON can hold, neither a database nor a terminal takes.
            object.__setattr__(self, "value", "".join(one if one.isprintable() else "\ufffd" for one in self.value))

    def __str__(self) -> str:
        where = f"row {self.row}, {self.column}" if self.row else self.column
        return f"{where}: {self.value!r}: {self.mend}"


class TableRefused(ValueError):
    """The file was not imported, and nothing was stored. ``faults``: what is wrong, at most MOST_FAULTS."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        super().__init__(f"list refused: {faults[0]}{more}; nothing was imported")
        self.faults = tuple(faults)


class Faults(list[Fault]):
    """The faults of a file: the first MOST_FAULTS of them, and how many rows have any."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def add(self, fault: Fault) -> None:
        """Keep ``fault`` while there is room."""
        if len(self) < MOST_FAULTS:
            self.append(fault)


@dataclass(slots=True)
class Row:
    """One row while it is read; its faults go to ``faults``. ``geometry``: of a feature of a map. ``private``: it tells
    of people, so faults, which are kept and shown, say where and what to mend and repeat no cell."""

    number: int
    cells: Mapping[str, str]
    faults: list[Fault]
    geometry: Any = None
    bad: bool = field(default=False)
    private: bool = False

    def fault(self, column: str, mend: str) -> None:
        """Something is wrong with a cell."""
        if not self.bad and isinstance(self.faults, Faults):
            self.faults.rows += 1
        self.bad = True
        if len(self.faults) < MOST_FAULTS:
            shown = "" if self.private else self.cells.get(column, "")[:SHOWN]
            self.faults.append(Fault(self.number, column, shown, mend))

    def text(self, column: str, longest: int, *, needed: bool = True) -> str:
        """A cell of text; with ``needed`` it must hold something."""
        value = self.cells.get(column, "")
        if not value:
            if needed:
                self.fault(column, "is empty: fill it in")
        elif len(value) > longest:
            self.fault(column, f"has {len(value)} characters: at most {longest}")
        elif not value.isprintable() and not all(letter.isprintable() or letter == "\n" for letter in value):
            self.fault(column, "holds a control character: take it out")
        return value

    def word(self, column: str, longest: int, *, needed: bool = True) -> str:
        """A cell of text with full-width letters and digits as plain ones: a code, a telephone."""
        self.cells = {**self.cells, column: plain(self.cells.get(column, ""))}
        return self.text(column, longest, needed=needed)

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

    def whole(self, column: str, least: int, most: int) -> int | None:
        """A whole number; None for an empty cell."""
        value = plain(self.cells.get(column, ""))
        if not value:
            return None
        try:
            number = int(value) if "_" not in value else most + 1
        except ValueError:
            number = most + 1
        if not least <= number <= most:
            self.fault(column, f"must be a whole number from {least} to {most}")
            return None
        return number

    def degrees(self, column: str) -> float | None:
        """A longitude or latitude, degrees; None for an empty cell."""
        value = plain(self.cells.get(column, ""))
        if not value:
            return None
        try:
            number = float(value) if "_" not in value else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or abs(number) > 180:
            self.fault(column, "must be degrees with decimals, such as 112.204318")
            return None
        return number

    def day(self, column: str) -> date | None:
        """A day; None for an empty cell."""
        value = plain(self.cells.get(column, ""))
        if not value:
            return None
        try:
            # A workbook's day comes with an hour.
            if len(value) >= 10 and value[4] == value[7] and value[4] in "-/" and value[10:11] in ("", " ", "T"):
                return date(int(value[:4]), int(value[5:7]), int(value[8:10]))
            raise ValueError(value)
        except ValueError:
            self.fault(column, "is no day, write it as 2026-10-01")
            return None


def plain(text: str) -> str:
    """Full-width letters and digits as plain ones."""
    return text.strip() if text.isascii() else unicodedata.normalize("NFKC", text).strip()


@dataclass(frozen=True, slots=True)
class Record:
    """What a source gives for one row: the cells as they stand, and the ground of a feature."""

    number: int
    cells: Sequence[str]
    geometry: Any = None


def rows_of(
    records: Iterator[Record],
    columns: Mapping[str, Sequence[str]],
    needs: frozenset[str],
    faults: list[Fault],
    *,
    most: int = MOST_LISTED,
    private: bool = False,
) -> Iterator[Row]:
    """The rows below the columns. ``columns``: their names with what else they are called; ``private``: no fault
    repeats a cell. Raises TableRefused for a file whose rows cannot be told apart, or with more than ``most``."""
    names = {alias: name for name, aliases in columns.items() for alias in (name, *aliases)}
    head: list[str] | None = None
    count = 0
    for record in records:
        cells = record.cells
        if head is None:
            if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
                continue
            head = _head(record.number, cells, names, needs, private)
            continue
        if record.geometry is None and not any(cell.strip() for cell in cells):
            continue
        count += 1
        if count > most:
            raise TableRefused([Fault(record.number, "file", f"row {count}", f"has more than {most} rows: split it")])
        given = {name: cell.strip() for name, cell in zip(head, cells, strict=False)}
        row = Row(record.number, given, faults, record.geometry, private=private)
        if len(cells) != len(head):
            row.fault(head[0], f"the row has {len(cells)} cells, the columns are {len(head)}: a comma in a cell?")
        yield row
    if not count:
        raise TableRefused([Fault(0, "file", "", f"has no rows below the columns {', '.join(sorted(needs))}")])


def _head(
    number: int, cells: Sequence[str], names: Mapping[str, str], needs: frozenset[str], private: bool
) -> list[str]:
    faults: list[Fault] = []
    head: list[str] = []
    for place, cell in enumerate(cells, 1):
        # A file without its columns begins with somebody's row.
        shown = f"column {place}" if private else cell[:SHOWN]
        name = names.get(plain(cell).casefold())
        if name is None:
            # A misspelt column that is passed over would give every matter to the street.
            known = ", ".join(dict.fromkeys(names.values()))
            faults.append(Fault(number, "columns", shown, f"is no column, they are {known}"))
        elif name in head:
            faults.append(Fault(number, "columns", shown, "is there twice: take one out"))
        head.append(name or "")
    faults.extend(Fault(number, "columns", name, "is missing: add it") for name in sorted(needs - set(head)))
    if faults:
        raise TableRefused(faults[:MOST_FAULTS])
    return head


def once(row: Row, column: str, key: Hashable, seen: dict[Hashable, int]) -> None:
    """A fault when ``key`` was there before."""
    if key in seen:
        row.fault(column, f"is there already, in row {seen[key]}: take one out")
    seen.setdefault(key, row.number)
