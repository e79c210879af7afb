"""What ``callcenter route | evaluate | train | models`` do, on streams; ``python -m classifier`` is the same.

Everything here reads and writes text; exit codes are 0 for done, 1 for done with rows that could not be used. What the
user must mend is raised as ValueError or OSError with one line that says so.
"""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from classifier import corpus, taxonomy
from classifier.corpus import CorpusError, Row
from classifier.evaluation import Judged, figures
from classifier.registry import Registry
from classifier.router import Router
from classifier.taxonomy import Category

_SCHEMA_NOTE = "docs/router.md says what each figure means"


def route(in_stream: TextIO, out_stream: TextIO, *, standard: str | None = None, version: str | None = None) -> int:
    """One text, or one JSON object with ``text`` and ``words``, a line in; one Routing a line out, in order.

    A line that is no such object is a text like any other: every line gets its answer. Raises ModelError without a
    model and TaxonomyError for an unknown standard, before the first line is read.
    """
    for stream in (in_stream, out_stream):
        if isinstance(stream, io.TextIOWrapper):  # a byte that is no UTF-8 must cost one character, not the lines below
            stream.reconfigure(encoding="utf-8", errors="replace")
    router = Router.load(version)
    router.route("", standard=standard)
    for line in in_stream:
        text, words = _line(line.rstrip("\r\n"))
        answer = router.route(text, words=words, standard=standard)
        out_stream.write(json.dumps(answer.to_json(), ensure_ascii=False) + "\n")
        out_stream.flush()
    return 0


def _line(line: str) -> tuple[str, list[dict[str, Any]] | None]:
    if line.lstrip().startswith("{"):
        try:
            given = json.loads(line)
        except (ValueError, RecursionError):
            return line, None
        if isinstance(given, dict) and isinstance(given.get("text"), str):
            words = given.get("words")
            usable = [word for word in words if isinstance(word, dict)] if isinstance(words, list) else None
            return given["text"], usable
    return line, None


def evaluate(
    path: str | Path,
    *,
    as_json: bool = False,
    out_stream: TextIO = sys.stdout,
    version: str | None = None,
    urban_prior: float | None = None,
) -> int:
    """Judge the live version (or ``version``) on a labelled file with columns id, text, domain and, where known,
    kind, major, minor, acceptable (``major/minor`` joined by ``;``), disposition, intent, emergency. Other columns
    are left alone.

    A domain that is neither urban nor social (``either``) is left out of the figures. Raises CorpusError for a broken
    file, naming row and column.
    """
    rows = _labelled(Path(path))
    router = Router.load(version, urban_prior=urban_prior)
    judged = []
    emergencies = {"labelled": 0, "found": 0, "ordinary": 0, "false_alarms": 0}
    for cells, category, acceptable in rows:
        answer = router.route(cells["text"])
        ranked = [(answer.category, answer.probability)] if answer.category else []
        ranked += [(a.category, a.probability) for a in answer.alternatives]
        judged.append(
            Judged(
                cells["id"],
                cells["domain"],
                category,
                acceptable,
                answer.domain or "",
                answer.domain_probability,
                tuple(ranked),
                cells.get("disposition", ""),
                answer.disposition,
                cells.get("intent", ""),
                answer.intent or "",
                answer.decision,
            )
        )
        if "emergency" in cells:
            urgent = cells["emergency"] not in ("", "0")
            emergencies["labelled" if urgent else "ordinary"] += 1
            if answer.emergency:
                emergencies["found" if urgent else "false_alarms"] += 1
    result = {"file": Path(path).name, "model": router.version, **figures(judged)}
    if emergencies["labelled"] or emergencies["ordinary"]:
        result["emergency"] = emergencies
    if as_json:
        out_stream.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        _print(result, out_stream)
    return 0


def _labelled(path: Path) -> list[tuple[dict[str, str], Category | None, tuple[tuple[str, str], ...]]]:
    rows = []
    faults = []
    for line, cells in corpus.read(path):
        category = None
        if not cells["text"]:
            faults.append(f"{path.name}:{line}: column text: empty")
        if cells.get("minor") and cells["domain"] in ("urban", "social"):
            try:
                category = taxonomy.find(cells["domain"], cells.get("kind", ""), cells.get("major", ""), cells["minor"])
            except taxonomy.TaxonomyError as fault:
                faults.append(f"{path.name}:{line}: column minor: {fault}")
        pairs = [pair.strip().partition("/") for pair in cells.get("acceptable", "").split(";") if pair.strip()]
        rows.append((cells, category, tuple((major, minor) for major, _, minor in pairs)))
    if faults:
        raise CorpusError("\n".join(faults[:20]))
    if not rows:
        raise CorpusError(f"{path.name}:1: no rows")
    return rows


def _print(result: dict[str, Any], out: TextIO) -> None:
    out.write(f"{result['file']}: {result['rows']} rows, model {result['model']} ({_SCHEMA_NOTE})\n")
    for name in ("domain", "category"):
        part = result.get(name)
        if not part:
            continue
        low, high = part["interval"]
        out.write(f"{name}: accuracy {part['accuracy']:.1%} (95 %: {low:.1%}-{high:.1%}, n = {part['n']})")
        out.write(f", macro-F1 {part['macro_f1']:.3f}, ECE {part['ece']:.3f}\n")
        if "top3" in part:
            out.write(f"  top-3 {part['top3']['accuracy']:.1%}\n")
        reached = ", ".join(f"{share:.1%} at {level}" for level, share in part["coverage"].items())
        out.write(f"  coverage: {reached} accuracy\n")
    if "domain" in result:
        out.write("confusion matrix (rows: truth, columns: answer)\n")
        _matrix(result["domain"]["confusion"], out)
    for confusion in result.get("category", {}).get("commonest_confusions", [])[:10]:
        out.write(f"  {confusion['truth']} → {confusion['answer'] or 'none'}: {confusion['times']}\n")
    if result.get("auto"):
        right = result["auto"]["right"]
        out.write(f"auto: {result['auto']['share']:.1%} of rows")
        out.write(f", right {right['accuracy']:.1%} of {right['n']}\n" if right else "\n")
    if "emergency" in result:
        counted = result["emergency"]
        out.write(f"emergencies: {counted['found']} of {counted['labelled']} found")
        out.write(f", {counted['false_alarms']} false alarms on {counted['ordinary']} ordinary rows\n")


def _matrix(confusion: dict[str, dict[str, int]], out: TextIO) -> None:
    answers = sorted({answer for row in confusion.values() for answer in row})
    out.write("  " + " " * 8 + "".join(f"{answer:>8}" for answer in answers) + "\n")
    for truth, row in confusion.items():
        out.write(f"  {truth:<8}" + "".join(f"{row.get(answer, 0):>8}" for answer in answers) + "\n")


def train(
    with_files: Sequence[str | Path] | None,
    name: str | None,
    out_stream: TextIO,
    *,
    registry: Registry | None = None,
    paths: Sequence[Path] | None = None,
) -> int:
    """Train a candidate on the project's corpus and ``with_files``, store it under ``name`` (default: the next v1,
    v2, …).

    The candidate is not live until it is promoted, unless it is the first version there is. Raises CorpusError, having
    trained on nothing, when a row is wrong.
    """
    from tqdm import tqdm

    from classifier import training

    registry = registry or Registry()
    own = corpus.load(paths)
    training.check(own)
    added = corpus.load([Path(path) for path in with_files or ()])
    taken = {row.id for row in own}
    clashing = [row.id for row in added if row.id in taken]
    if clashing:
        raise CorpusError(f"column id: {clashing[0]} of the added files is an id of the corpus: give it another")
    name = name or registry.next_name()
    if name in registry.names():
        raise CorpusError(f"router version {name!r} exists already: choose another name")
    rows: list[Row] = [*own, *added]
    with tqdm(total=training.STEPS, desc="training", file=sys.stderr, disable=None) as bar:

        def progress(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update()

        made = training.train(rows, added=len(added), progress=progress)
    card = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "seed": training.SEED,
        "standard": taxonomy.DEFAULT_STANDARD,
        "counts": {**made.counts, "added_rows": len(added)},
        "auto_threshold": made.model.auto_threshold,
        "figures": made.figures,
        "measured_on": "clean, misheard: ordinary calls no weight has seen, each judged by what was calibrated on the "
        "other four fifths of them; hard: a tenth of the rows to train on, held back from a second fit",
    }
    first = registry.promoted() is None
    registry.store(name, made.model, card)
    if first:
        registry.promote(name)
    domain, category = made.figures["clean"]["domain"], made.figures["clean"]["category"]
    out_stream.write(
        f"{name}: {len(rows)} rows; ordinary calls unseen: domain {domain['accuracy']:.1%} (ECE {domain['ece']:.3f}), "
        f"category {category['accuracy']:.1%}, top-3 {category['top3']['accuracy']:.1%} (ECE {category['ece']:.3f})"
        f"{'; promoted' if first else '; promote it to make it live'}\n"
    )
    return 0


def _commit() -> str:
    """The commit the code stands at; empty where there is no git to ask."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            cwd=Path(__file__).parent,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def models_list(out_stream: TextIO, *, registry: Registry | None = None) -> int:
    """One line a version; the live one is marked."""
    versions = (registry or Registry()).versions()
    for version in versions:
        clean = version.card.get("figures", {}).get("clean", {})
        shown = [f"{name} {clean[name]['accuracy']:.1%}" for name in ("domain", "category") if name in clean]
        mark = "*" if version.promoted else " "
        out_stream.write(f"{mark} {version.name}  {version.card.get('date', '')}  {', '.join(shown)}\n")
    if not versions:
        out_stream.write("no router versions: run train\n")
    return 0


def models_show(name: str | None, out_stream: TextIO, *, registry: Registry | None = None) -> int:
    """The card of a version, or of the live one. Raises ModelError when there is none."""
    registry = registry or Registry()
    chosen = name or registry.promoted()
    card = registry.card(chosen or "none-promoted")
    out_stream.write(json.dumps(card, ensure_ascii=False, indent=1) + "\n")
    return 0


def models_promote(name: str, out_stream: TextIO, *, registry: Registry | None = None) -> int:
    """Make a version live. Raises ModelError when it cannot be loaded."""
    (registry or Registry()).promote(name)
    out_stream.write(f"{name} is live\n")
    return 0


def models_rollback(out_stream: TextIO, *, registry: Registry | None = None) -> int:
    """Make the version before the live one live again. Raises ModelError when there is none."""
    out_stream.write(f"{(registry or Registry()).rollback()} is live again\n")
    return 0
