"""The categories as data: one CSV a standard beside this file, loaded into frozen objects, nothing hard-coded.

A file opens with ``# key: value`` lines (standard, domain, revision, provenance) and holds one row a node: ``level``
(major, minor), ``kind`` (part, event, social), ``code``, ``parent`` (the major's code), ``name``, ``certainty``
(confirmed, inferred, transcribed, from_memory), ``department`` (typical, not normative) and ``words`` (what people
say for it, separated by blanks). An urban code is the standard's own: two digits of the major, then the minor's;
parts and events share numbers, so a code names a category only together with its kind. Social codes (S0101) are ours.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["part", "event", "social"]
Domain = Literal["urban", "social"]

DEFAULT_STANDARD = "GB/T 30428.2-2013"
SOCIAL = "social"
FOLDER = Path(__file__).resolve().parent

_HEADER = ["level", "kind", "code", "parent", "name", "certainty", "department", "words"]
_CROSSWALK_HEADER = ["from_standard", "from_kind", "from_name", "to_standard", "to_kind", "to_name"]
_CERTAINTIES = {"confirmed", "inferred", "transcribed", "from_memory"}


_BRACKETS = re.compile(r"（[^（）]*）")


class TaxonomyError(ValueError):
    """A taxonomy file, or a name looked up in one, is wrong; the message names file and line, or the name."""


@dataclass(frozen=True, slots=True)
class Category:
    """One minor of one standard, as it is written on a case."""

    standard: str
    code: str
    kind: Kind
    major: str
    minor: str

    @property
    def domain(self) -> Domain:
        """Which of the two domains the category belongs to."""
        return "social" if self.kind == "social" else "urban"

    def to_json(self) -> dict[str, str]:
        """The object of docs/route.schema.json."""
        return {
            "standard": self.standard,
            "code": self.code,
            "kind": self.kind,
            "major": self.major,
            "minor": self.minor,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """A category with what the taxonomy knows about it beyond its name."""

    category: Category
    certainty: str
    department: str
    words: tuple[str, ...]

    @property
    def lead(self) -> str:
        """The department that acts first, without what stands in brackets; the category's own name where none is
        known: then it stands for a unit of its own.
        """
        return _BRACKETS.sub("", self.department.split("/")[0]) or self.category.minor


@dataclass(frozen=True)
class Taxonomy:
    """One standard. ``entries`` keep the file's order."""

    standard: str
    domain: Domain
    revision: str
    provenance: str
    entries: tuple[Entry, ...]

    def find(self, kind: str, major: str, minor: str) -> Category:
        """The category of these names. Raises TaxonomyError when the standard has none such."""
        try:
            return self._by_name[(kind, major, minor)]
        except KeyError:
            raise TaxonomyError(
                f"{self.standard} has no {kind or 'category'} {major}/{minor}: use the names of its file"
            ) from None

    def by_code(self, kind: str, code: str) -> Category:
        """The category with this code and kind. Raises TaxonomyError when there is none."""
        for entry in self.entries:
            if entry.category.kind == kind and entry.category.code == code:
                return entry.category
        raise TaxonomyError(f"{self.standard} has no {kind} with code {code}")

    def named(self, major: str, minor: str) -> list[Category]:
        """All categories with these names, whatever their kind."""
        return [e.category for e in self.entries if (e.category.major, e.category.minor) == (major, minor)]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str], Category]:
        return {(e.category.kind, e.category.major, e.category.minor): e.category for e in self.entries}


def load_file(path: Path) -> Taxonomy:
    """Read and validate one taxonomy file. Raises TaxonomyError, naming file and line, at the first fault."""

    def wrong(line: int, what: str) -> TaxonomyError:
        return TaxonomyError(f"{path.name}:{line}: {what}")

    head: dict[str, str] = {}
    majors: dict[tuple[str, str], str] = {}
    codes: dict[tuple[str, str], int] = {}
    names: dict[tuple[str, str, str], int] = {}
    entries: list[Entry] = []
    for line, row in _rows(path, head, _HEADER):
        level, kind, code, parent, name, certainty, department, words = row
        if kind not in get_args(Kind):
            raise wrong(line, f"kind {kind!r} is none of {', '.join(get_args(Kind))}")
        if (kind == "social") != (head.get("domain") == "social"):
            raise wrong(line, f"kind {kind!r} does not belong into domain {head.get('domain')!r}")
        if not code or not name:
            raise wrong(line, "code and name must not be empty")
        if (kind, code) in codes:
            raise wrong(line, f"duplicate code {code} of kind {kind}, first on line {codes[kind, code]}")
        codes[kind, code] = line
        if level == "major":
            majors[kind, code] = name
            continue
        if level != "minor":
            raise wrong(line, f"level {level!r} is neither major nor minor")
        if (kind, parent) not in majors:
            raise wrong(line, f"unknown parent {parent!r} of {code} {name}: no {kind} major with that code above it")
        if certainty not in _CERTAINTIES:
            raise wrong(line, f"certainty {certainty!r} is none of {', '.join(sorted(_CERTAINTIES))}")
        key = (kind, majors[kind, parent], name)
        if key in names:
            raise wrong(line, f"duplicate name {key[1]}/{name}, first on line {names[key]}")
        names[key] = line
        category = Category(head["standard"], code, kind, majors[kind, parent], name)  # type: ignore[arg-type]
        entries.append(Entry(category, certainty, department, tuple(words.split())))
    if not entries:
        raise wrong(1, "no categories")
    return Taxonomy(
        head["standard"],
        head["domain"],  # type: ignore[arg-type]
        head.get("revision", ""),
        head.get("provenance", ""),
        tuple(entries),
    )


def _rows(path: Path, head: dict[str, str], header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) below the header; fills ``head`` from the ``# key: value`` lines first."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        seen_header = False
        for row in reader:
            line = reader.line_num
            if not row:
                continue
            if not seen_header and row[0].startswith("#"):
                key, _, value = ",".join(row)[1:].partition(":")
                head[key.strip()] = value.strip()
                continue
            if not seen_header:
                if row != header:
                    raise TaxonomyError(f"{path.name}:{line}: columns are {row}, must be {header}")
                if header is _HEADER:
                    if not head.get("standard"):
                        raise TaxonomyError(f'{path.name}:{line}: no "# standard: …" line above the columns')
                    if head.get("domain") not in get_args(Domain):
                        raise TaxonomyError(f'{path.name}:{line}: "# domain: …" must be urban or social')
                seen_header = True
                continue
            if len(row) != len(header):
                raise TaxonomyError(f"{path.name}:{line}: {len(row)} cells, must be {len(header)}")
            yield line, row


@cache
def standards() -> dict[str, Path]:
    """Every standard that has a file here, by name. Raises TaxonomyError when two files claim the same one."""
    found: dict[str, Path] = {}
    for path in sorted(FOLDER.glob("*.csv")):
        if path.name == "crosswalk.csv":
            continue
        standard = load_file(path).standard
        if standard in found:
            raise TaxonomyError(f"{path.name}:1: standard {standard} is already in {found[standard].name}")
        found[standard] = path
    return found


@cache
def load(standard: str = DEFAULT_STANDARD) -> Taxonomy:
    """The taxonomy of one standard; ``social`` is the social one. Raises TaxonomyError for an unknown name."""
    try:
        return load_file(standards()[standard])
    except KeyError:
        known = ", ".join(sorted(standards()))
        raise TaxonomyError(f"unknown standard {standard!r}: known are {known}") from None


def find(domain: str, kind: str, major: str, minor: str, standard: str = DEFAULT_STANDARD) -> Category:
    """The category a corpus row or an agent names. ``kind`` may be empty where the names alone decide.

    Raises TaxonomyError for an unknown name, or one that needs its kind.
    """
    if domain not in get_args(Domain):
        raise TaxonomyError(f"domain {domain!r} is neither urban nor social")
    taxonomy = load(SOCIAL if domain == "social" else standard)
    if kind:
        return taxonomy.find(kind, major, minor)
    found = taxonomy.named(major, minor)
    if len(found) != 1:
        raise TaxonomyError(f"{taxonomy.standard}: {len(found)} categories are named {major}/{minor}, must be 1")
    return found[0]


@cache
def crosswalk(source: str, target: str) -> dict[Category, Category]:
    """From each category of ``source`` to the same thing in ``target``, where it has one.

    crosswalk.csv says what was renamed; what keeps kind and name needs no row. Raises TaxonomyError for a row that
    names a category which is not in its standard.
    """
    if source == target:
        return {entry.category: entry.category for entry in load(source).entries}
    origin, goal = load(source), load(target)
    goal_names: dict[tuple[str, str], list[Category]] = {}
    origin_names: dict[tuple[str, str], list[Category]] = {}
    for taxonomy, index in ((origin, origin_names), (goal, goal_names)):
        for entry in taxonomy.entries:
            index.setdefault((entry.category.kind, entry.category.minor), []).append(entry.category)
    pairs = {
        only[0]: goal_names[key][0]
        for key, only in origin_names.items()
        if len(only) == 1 and len(goal_names.get(key, ())) == 1
    }
    path = FOLDER / "crosswalk.csv"
    for line, row in _rows(path, {}, _CROSSWALK_HEADER):
        if (row[0], row[3]) != (source, target):
            continue
        left, right = origin_names.get((row[1], row[2])), goal_names.get((row[4], row[5]))
        if not left or not right:
            missing = f"{row[0]} {row[2]}" if not left else f"{row[3]} {row[5]}"
            raise TaxonomyError(f"{path.name}:{line}: no such category: {missing}")
        pairs[left[0]] = right[0]
    return pairs
