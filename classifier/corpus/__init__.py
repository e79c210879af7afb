"""The project's own labelled utterances, and the checks they must pass before anything is trained on them.

Rows are tab-separated with the columns of COLUMNS. ``disposition`` is case, question or none; a case names its category
(domain, kind, major, minor) as the taxonomy does, a question may. ``emergency`` lists who is to be called
(110, 119, 120, 122, comma-separated). No sentence comes from anywhere but this project's own writers.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from classifier import taxonomy
from classifier.taxonomy import Category, TaxonomyError
from classifier.text import clean, cut, fold

COLUMNS = ["id", "text", "disposition", "domain", "kind", "major", "minor", "intent", "emergency", "address", "source"]
"""What every file of the corpus has; ``secondary`` (kind/major/minor of a second matter) may follow."""
REQUIRED = ("id", "text", "domain")
DISPOSITIONS = ("case", "question", "none")
SERVICES = {"110", "119", "120", "122"}
FOLDER = Path(__file__).resolve().parent

APART = FOLDER / "apart" / "ordinary.tsv"
"""Calls as they come in, in their natural mix, by a writer who wrote nothing else here."""

NEAR = 0.8
"""Two rows whose character 3-grams have a higher cosine are the same sentence written twice."""
ALIKE = 0.5
"""Rows more alike than this stay on one side of a split."""

FRAME_MOST, FRAME_LEAST = 5, 4
"""A frame of at least FRAME_LEAST words may stand FRAME_MOST times with one word swapped; more is a template."""


class CorpusError(ValueError):
    """A labelled file is wrong; the message names file, line and column of each fault. Nothing is trained on it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled utterance. ``domain`` is empty for what is no case; ``category`` None where only the domain is
    known.
    """

    id: str
    text: str
    disposition: str
    domain: str
    category: Category | None
    intent: str
    emergency: tuple[str, ...]
    address: str
    source: str
    secondary: Category | None = None
    """The second matter that stands on its own in the text, where there is one."""


def load(paths: Iterable[Path] | None = None) -> list[Row]:
    """All rows of ``paths`` (default: the files beside this module). Raises CorpusError with every fault found."""
    rows: list[Row] = []
    faults: list[str] = []
    seen: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.tsv")) if paths is None else paths:
        for line, cells in read(path):
            place = f"{path.name}:{line}"
            try:
                row = _row(cells)
            except (TaxonomyError, ValueError) as fault:
                faults.append(f"{place}: {fault}")
                continue
            if row.id in seen:
                faults.append(f"{place}: column id: {row.id} is already on {seen[row.id]}")
            seen[row.id] = place
            rows.append(row)
    if faults:
        more = f"\n… and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise CorpusError("\n".join(faults[:20]) + more)
    return rows


def apart() -> list[Row]:
    """The ordinary calls that no weight is learned from: the model is calibrated on them."""
    return load([APART])


def read(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a tab-separated file as (line, cells). Raises CorpusError for a broken shape or encoding."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise CorpusError(f"{path.name}: not UTF-8 at byte {fault.start}: save it as UTF-8") from fault
    reader = csv.reader(content.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(reader, [])
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise CorpusError(
            f"{path.name}:1: no column {', '.join(missing)}: the first line names the columns, tab-separated"
        )
    rows: list[tuple[int, dict[str, str]]] = []
    for cells in reader:
        if not any(cells):
            continue
        if len(cells) > len(header):
            raise CorpusError(f"{path.name}:{reader.line_num}: {len(cells)} cells, but {len(header)} columns")
        cells += [""] * (len(header) - len(cells))
        rows.append((reader.line_num, {k: v.strip() for k, v in zip(header, cells, strict=True)}))
    return rows


def _row(cells: dict[str, str]) -> Row:
    """Check one row. Raises ValueError or TaxonomyError naming column and value."""
    if not cells["id"]:
        raise ValueError("column id: empty")
    if not cells["text"]:
        raise ValueError(f"column text: empty (row {cells['id']})")
    disposition = cells.get("disposition") or "case"
    if disposition not in DISPOSITIONS:
        raise ValueError(f"column disposition: {disposition!r} is none of {', '.join(DISPOSITIONS)}")
    domain = cells["domain"]
    if domain not in ("urban", "social", ""):
        raise ValueError(f"column domain: {domain!r} is neither urban nor social nor empty")
    if disposition == "case" and not domain:
        raise ValueError("column domain: empty, but a case has one")
    category = None
    if cells.get("minor"):
        category = taxonomy.find(domain, cells.get("kind", ""), cells.get("major", ""), cells["minor"])
    emergency = tuple(
        x.strip() for x in cells.get("emergency", "").replace("，", ",").split(",") if x.strip() not in ("", "0")
    )
    if not SERVICES.issuperset(emergency):
        raise ValueError(f"column emergency: {cells['emergency']!r} has other than {', '.join(sorted(SERVICES))}")
    return Row(
        cells["id"],
        cells["text"],
        disposition,
        domain,
        category,
        cells.get("intent", ""),
        emergency,
        cells.get("address", ""),
        cells.get("source", ""),
        named(cells["secondary"]) if cells.get("secondary") else None,
    )


def named(path: str) -> Category:
    """The category of ``kind/major/minor``. Raises ValueError or TaxonomyError where there is none."""
    kind, _, rest = path.partition("/")
    major, _, minor = rest.partition("/")
    if kind not in ("part", "event", "social") or not minor:
        raise ValueError(f"column secondary: {path!r} must be kind/major/minor")
    return taxonomy.find("social" if kind == "social" else "urban", kind, major, minor)


def likeness(texts: Sequence[str]) -> sparse.csr_matrix:
    """Unit rows of character 3-gram counts of the folded texts: a product of two is their cosine."""
    index: dict[str, int] = {}
    indptr, indices, values = [0], [], []
    for text in texts:
        cleaned = clean(text)
        folded = fold(cleaned).text or cleaned.text  # a mere 嗯 folds to nothing, and is not the same as 你好
        grams = Counter(folded[i : i + 3] for i in range(max(1, len(folded) - 2)))
        norm = sum(n * n for n in grams.values()) ** 0.5
        for gram, n in grams.items():
            indices.append(index.setdefault(gram, len(index)))
            values.append(n / norm)
        indptr.append(len(indices))
    return sparse.csr_matrix((values, indices, indptr), shape=(len(texts), max(1, len(index))), dtype=np.float32)


def pairs_above(texts: Sequence[str], limit: float) -> list[tuple[int, int, float]]:
    """All pairs of texts with a cosine above ``limit``, most alike first."""
    rows = likeness(texts)
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(texts), 512):
        block = (rows[start : start + 512] @ rows.T).tocoo()
        found += [
            (int(i) + start, int(j), float(v))
            for i, j, v in zip(block.row, block.col, block.data, strict=True)
            if v > limit and int(i) + start < int(j)
        ]
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))


def near_duplicates(rows: Sequence[Row]) -> list[str]:
    """One line for each pair of rows that is the same sentence written twice."""
    return [
        f"{rows[i].id} and {rows[j].id} are alike ({value:.2f} > {NEAR}): {rows[i].text} | {rows[j].text}"
        for i, j, value in pairs_above([row.text for row in rows], NEAR)
    ]


def templates(rows: Sequence[Row]) -> list[str]:
    """One line for each frame that more than FRAME_MOST rows share, one word swapped: 某路的路灯坏了 for every road."""
    frames: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        words = [word for word, _ in cut(fold(clean(row.text)).text)]
        if len(words) >= FRAME_LEAST:
            for i, word in enumerate(words):
                frames.setdefault((*words[:i], "…", *words[i + 1 :]), {})[word] = row.id
    return [
        f"{', '.join(sorted(swapped.values())[:8])} are one template with a word swapped: {''.join(frame)}"
        for frame, swapped in frames.items()
        if len(swapped) > FRAME_MOST
    ]


def groups(texts: Sequence[str]) -> list[int]:
    """A group number for each text; texts more alike than ALIKE share one, so that no split parts them."""
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, _ in pairs_above(texts, ALIKE):
        parent[root(j)] = root(i)
    return [root(i) for i in range(len(texts))]
