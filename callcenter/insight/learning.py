"""What people decided, as rows to train on – and which versions were trained on whom, so that a deletion reaches them.

A row is a case's last word, with the text that was routed, numbers masked. Left out: habits, cases whose citizen asked
for secrecy, erased calls, words without a text. Row ids are ``case-`` and the case's UUID: ``train --with`` keeps those
of a version in its folder (``classifier.registry``), and ``stale`` compares them with what has been erased since.
"""

import csv
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Uuid, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.masking import mask_text
from callcenter.calls.model import CallParticulars, RoutingText
from callcenter.cases.model import Case, CaseParticulars, Confirmation
from callcenter.clock import local
from callcenter.insight.quality import HABIT_S
from callcenter.storage.base import UtcDateTime
from classifier.taxonomy import DEFAULT_STANDARD, SOCIAL, TaxonomyError, load

ROW_ID: Final = "case-"
LEARNED_FILE: Final = "learned.json"
"""In a version's folder: the cases it was trained on."""

COLUMNS: Final = (
    *("id", "text", "disposition", "domain", "kind", "major", "minor", "intent", "emergency", "address", "source"),
    *("decided_by", "decided_at", "verdict", "seen", "model"),
)
"""The corpus' columns, then who decided, when, how, whether they had seen the answer, and of which version it was."""

BATCH: Final = 2_000
TRAINABLE: Final = frozenset({DEFAULT_STANDARD, SOCIAL})
"""The router is trained in these; a city's other standard is reached by the crosswalk, which cannot be walked back."""

_HELD: Final = "secrecy"


@dataclass(slots=True)
class Exported:
    """What an export took and left out, and why."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


async def rows(session: AsyncSession, told: Exported) -> AsyncIterator[dict[str, str]]:
    """Every training row there is, oldest case first; ``told`` counts them and what was left out."""
    last = select(Confirmation.case_id, func.max(Confirmation.at).label("at")).group_by(Confirmation.case_id).subquery()
    query = (
        select(Confirmation, Case, CaseParticulars, RoutingText.text, CallParticulars.erased_at)
        .join(last, (Confirmation.case_id == last.c.case_id) & (Confirmation.at == last.c.at))
        .join(Case, Case.id == Confirmation.case_id)
        .join(CaseParticulars, CaseParticulars.case_id == Case.id)
        .outerjoin(RoutingText, RoutingText.routing_id == Confirmation.routing_id)
        .outerjoin(CallParticulars, CallParticulars.call_id == Case.call_id)
        .order_by(Confirmation.at, Confirmation.id)
        .limit(BATCH)
    )
    seen: set[UUID] = set()
    page = (await session.execute(query)).all()
    while page:
        for label, case, particulars, routed, call_erased_at in page:
            if case.id in seen:  # two words in one microsecond: the first read stands
                continue
            seen.add(case.id)
            why = _left_out(label, case, particulars, call_erased_at)
            row = _row(label, case, routed or particulars.text or "") if not why else None
            if row is None:
                told.left_out[why or "no category of a standard that is trained in"] += 1
                continue
            told.rows += 1
            yield row
        end = tuple_(literal(page[-1][0].at, UtcDateTime()), literal(page[-1][0].id, Uuid()))
        session.expunge_all()  # a city's years are not to be held in memory
        page = (await session.execute(query.where(tuple_(Confirmation.at, Confirmation.id) > end))).all()


def _left_out(label: Confirmation, case: Case, particulars: CaseParticulars, call_erased_at: Any) -> str:
    if particulars.erased_at is not None or call_erased_at is not None:
        return "erased"
    if case.secrecy:
        return _HELD
    habit = label.verdict == "confirmed" and not label.blind and not label.repeated
    if habit and label.seconds_to_decide is not None and label.seconds_to_decide < HABIT_S:
        return "habit"
    if not (particulars.text or "").strip():
        return "no text"
    return ""


def _row(label: Confirmation, case: Case, text: str) -> dict[str, str] | None:
    disposition = label.disposition_after or case.disposition
    kind, major, minor, domain = "", "", "", label.domain_after or ""
    if label.code_after is not None:
        standard, kind = label.standard_after or "", label.kind_after or case.category_kind or ""
        if standard not in TRAINABLE:
            return None
        try:
            category = load(standard).by_code(kind, label.code_after)
        except TaxonomyError:
            return None
        major, minor, domain = category.major, category.minor, category.domain
    elif disposition == "case":
        return None
    else:
        domain = domain if disposition == "question" else ""
    return {
        "id": f"{ROW_ID}{case.id}",
        "text": " ".join(mask_text(text).split()),
        "disposition": disposition,
        "domain": domain,
        "kind": kind,
        "major": major,
        "minor": minor,
        "intent": "",
        "emergency": ",".join(str(one) for one in case.emergency),
        "address": "",
        "source": "confirmed",
        "decided_by": str(label.user_id),
        "decided_at": local(label.at).isoformat(timespec="seconds"),
        "verdict": label.verdict,
        "seen": "blind" if label.blind else "seen",
        "model": label.model or "",
    }


async def export(session: AsyncSession, out: Path) -> Exported:
    """Write every training row to ``out`` (0600: it holds what citizens said), whole or not at all. Raises OSError."""
    told = Exported()
    temporary = out.with_name(f".{out.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write("\t".join(COLUMNS) + "\n")
            async for row in rows(session, told):
                file.write("\t".join(row[name] for name in COLUMNS) + "\n")
        temporary.replace(out)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return told


# -- which version learned from whom -----------------------------------------------------------------------------------


def cases_in(files: Iterable[Path]) -> list[UUID]:
    """The cases whose rows are in ``files``; rows of other origin are left alone."""
    found: dict[UUID, None] = {}
    for path in files:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if (case := _case_of(row.get("id") or "")) is not None:
                    found[case] = None
    return list(found)


def _case_of(row_id: str) -> UUID | None:
    if not row_id.startswith(ROW_ID):
        return None
    try:
        return UUID(row_id.removeprefix(ROW_ID))
    except ValueError:
        return None


def remember(version: Path, cases: Sequence[UUID]) -> None:
    """Write into a version's folder which cases it was trained on: references, no words."""
    (version / LEARNED_FILE).write_text(json.dumps({"cases": [str(case) for case in cases]}) + "\n", encoding="utf-8")


def learned(version: Path) -> list[UUID]:
    """The cases that a version was trained on; none where nothing was added to the project's own corpus. Raises
    ValueError for a file that is none of ours."""
    try:
        content = json.loads((version / LEARNED_FILE).read_text(encoding="utf-8"))
        return [UUID(case) for case in content["cases"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as fault:
        raise ValueError(f"{version / LEARNED_FILE} cannot be read ({fault}): train the version anew") from fault


async def erased_among(session: AsyncSession, cases: Sequence[UUID]) -> list[UUID]:
    """Which of ``cases`` must not be trained on any more: erased since, made secret since, or gone."""
    kept: set[UUID] = set()
    for start in range(0, len(cases), 500):
        some = cases[start : start + 500]
        query = (
            select(Case.id)
            .join(CaseParticulars, CaseParticulars.case_id == Case.id)
            .outerjoin(CallParticulars, CallParticulars.call_id == Case.call_id)
            .where(
                Case.id.in_(some),
                Case.secrecy.is_(False),
                CaseParticulars.erased_at.is_(None),
                CallParticulars.erased_at.is_(None),
            )
        )
        kept.update(await session.scalars(query))
    return [case for case in cases if case not in kept]


async def stale(session: AsyncSession, registry: Path) -> dict[str, list[UUID]]:
    """The versions in ``registry`` that learned from cases erased since, with those cases: to be trained anew from a
    fresh export, and not to be made live."""
    found: dict[str, list[UUID]] = {}
    for path in sorted(registry.glob(f"*/{LEARNED_FILE}")):
        if gone := await erased_among(session, learned(path.parent)):
            found[path.parent.name] = gone
    return found


async def scrub(session: AsyncSession, file: Path) -> int:
    """Take the rows of erased cases out of an exported file; the number taken. The file is replaced at once."""
    gone = {f"{ROW_ID}{case}" for case in await erased_among(session, cases_in([file]))}
    if not gone:
        return 0
    temporary = file.with_name(f".{file.name}.new")
    temporary.touch(mode=0o600)
    try:
        with file.open(encoding="utf-8-sig", newline="") as old, temporary.open("w", encoding="utf-8") as new:
            taken = 0
            header = old.readline()
            new.write(header)
            place = header.rstrip("\r\n").split("\t").index("id")
            for line in old:
                cells = line.rstrip("\r\n").split("\t")
                if len(cells) > place and cells[place].strip() in gone:
                    taken += 1
                else:
                    new.write(line)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return taken
