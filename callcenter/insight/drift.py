"""Whether what people call about is still what the router was trained on: new words, another mix of matters.

Measured every few hours, never on the process of the line: words are cut in a child (``python -m
callcenter.insight.drift``, texts on stdin, never in arguments). An alarm warns supervisors; it stops nothing.
"""

import asyncio
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.cases.model import Case, CaseParticulars
from callcenter.insight.arithmetic import distance, distance_by_chance
from callcenter.settings import Settings
from callcenter.storage.engine import Database, store_is_at_fault
from classifier.model import ModelError
from classifier.registry import Registry

log = structlog.get_logger()

NOW: Final = timedelta(days=7)
BEFORE: Final = timedelta(days=28)
TEXTS: Final = 1_000
"""The newest texts of the last days whose words are looked at: a few seconds of cutting."""
FEWEST: Final = 100
"""Of fewer cases nothing is said: chance alone moves them."""
EVERY: Final = timedelta(hours=6)
CHILD_LIMIT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Drift:
    """One measurement. Shares and distances lie in [0, 1]; None: too little to tell."""

    at: datetime
    cases: int
    """Cases of the last 7 days."""
    before: int
    """Cases of the 28 days before those."""
    texts: int
    new_words: float | None
    """Share of the words of the newest texts that are nowhere in the training corpus."""
    new_words_reference: float | None
    """The same share for one half of the corpus against the other: what is new even where nothing has changed."""
    mix: float | None
    """Distance of the categories of the last 7 days to those of the 28 before: the share of cases that moved."""
    mix_by_chance: float | None
    domain: float | None
    """Distance of urban and social among cases to those of the training rows, as the live version's card counts
    them. No alarm hangs on it: a corpus is not written in the proportions of a city's calls."""
    alarms: tuple[str, ...]
    """``new_words``, ``mix``: further from their references than the setting allows."""


def judged(
    *,
    at: datetime,
    now: Mapping[Hashable, int],
    before: Mapping[Hashable, int],
    domains: Mapping[Hashable, int],
    trained: Mapping[Hashable, int],
    words: tuple[int, float, float] | None,
    limit: float,
) -> Drift:
    """The measurement from its counts; ``words``: texts, share of new words, reference. Pure."""
    cases, earlier = sum(now.values()), sum(before.values())
    enough = cases >= FEWEST and earlier >= FEWEST
    mix = distance(now, before) if enough else None
    chance = distance_by_chance(cases, earlier, before) if enough else None
    texts, new, reference = (
        words if words is not None and words[0] >= FEWEST else (words[0] if words else 0, None, None)
    )
    alarms = []
    if new is not None and reference is not None and new - reference > limit:
        alarms.append("new_words")
    if mix is not None and chance is not None and mix - chance > limit:
        alarms.append("mix")
    return Drift(
        at=at,
        cases=cases,
        before=earlier,
        texts=texts,
        new_words=new,
        new_words_reference=reference,
        mix=mix,
        mix_by_chance=chance,
        domain=distance(domains, trained) if cases >= FEWEST else None,
        alarms=tuple(alarms),
    )


async def measure(db: Database, settings: Settings) -> Drift:
    """Measure now. Raises what the store raises; a child that fails costs the words, not the mix."""
    at = clock.now()
    async with db.read() as session:
        now = await _mix(session, at - NOW, at)
        before = await _mix(session, at - NOW - BEFORE, at - NOW)
        texts = await _texts(session, at - NOW)
    domains: Counter[Hashable] = Counter()
    for key, count in now.items():
        if isinstance(key, tuple) and key[0] in ("urban", "social"):
            domains[key[0]] += count
    trained = await asyncio.to_thread(_trained, settings)
    words = await _words(texts) if len(texts) >= FEWEST else None
    return judged(
        at=at, now=now, before=before, domains=domains, trained=trained, words=words, limit=settings.drift_alarm
    )


async def _mix(session: AsyncSession, since: datetime, until: datetime) -> dict[Hashable, int]:
    query = (
        select(Case.domain, Case.category_kind, Case.category_code, Case.disposition, func.count())
        .where(Case.created_at >= since, Case.created_at < until, Case.completed_at.is_not(None))
        .group_by(Case.domain, Case.category_kind, Case.category_code, Case.disposition)
    )
    return {tuple(row[:4]): row[4] for row in await session.execute(query)}


async def _texts(session: AsyncSession, since: datetime) -> list[str]:
    query = (
        select(CaseParticulars.text)
        .join(Case, Case.id == CaseParticulars.case_id)
        .where(Case.created_at >= since, Case.completed_at.is_not(None), CaseParticulars.text.is_not(None))
        .order_by(Case.created_at.desc(), Case.id.desc())
        .limit(TEXTS)
    )
    return [text for text in await session.scalars(query) if text]


def _trained(settings: Settings) -> dict[Hashable, int]:
    registry = Registry(settings.models_dir / "router")
    try:
        counts = registry.card(settings.router_model or registry.promoted() or "none").get("counts")
    except ModelError:
        return {}
    if not isinstance(counts, dict):
        return {}
    return {name: int(counts[name]) for name in ("urban", "social") if isinstance(counts.get(name), int)}


async def _words(texts: list[str]) -> tuple[int, float, float] | None:
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "19", sys.executable, "-m", "callcenter.insight.drift"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # jieba tells of its dictionary there
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(json.dumps(texts).encode()), CHILD_LIMIT_S)
        found = json.loads(out)
        return len(texts), float(found["new"]), float(found["reference"])
    except TimeoutError:
        process.kill()
        await process.wait()
        log.warning("drift of words not measured", reason=f"took longer than {CHILD_LIMIT_S:.0f} s")
    except (ValueError, KeyError, TypeError):
        log.warning("drift of words not measured", reason=f"its process ended with code {process.returncode}")
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return None


class DriftWatch:
    """Measures every few hours and keeps the latest; an alarm is logged once when it begins and once when it ends."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings
        self.latest: Drift | None = None

    async def run(self, *, first_after: timedelta = timedelta(minutes=2)) -> None:
        """For ever; cancel it to end it."""
        await asyncio.sleep(first_after.total_seconds())
        while True:
            try:
                await self.once()
            except Exception as fault:  # noqa: BLE001 - one measurement less; its text may quote what was said
                log.error("drift not measured", fault=type(fault).__name__)
            await asyncio.sleep(EVERY.total_seconds())

    async def once(self) -> Drift | None:
        """Measure now; the latest there is when the store does not answer."""
        try:
            found = await measure(self._db, self._settings)
        except Exception as fault:
            if not store_is_at_fault(fault):
                raise
            log.warning("drift not measured", fault=type(fault).__name__)
            return self.latest
        before = set(self.latest.alarms) if self.latest is not None else set()
        for name in sorted(set(found.alarms) - before):
            log.warning("input has drifted", measure=name, new_words=found.new_words, mix=found.mix)
        for name in sorted(before - set(found.alarms)):
            log.info("input is as it was", measure=name)
        self.latest = found
        return found


# -- in the child ------------------------------------------------------------------------------------------------------


def new_share(texts: Iterable[Iterable[str]], known: set[str]) -> float:
    """The share of words of two characters or more, each text's words counted once, that are not ``known``."""
    new = total = 0
    for words in texts:
        for word in set(words):
            if len(word) >= 2:
                total += 1
                new += word not in known
    return new / total if total else 0.0


def main() -> int:
    """Entry of the child: a JSON list of texts on stdin, the two shares on stdout."""
    from classifier import corpus
    from classifier.text import clean, cut, fold

    def words(text: str) -> list[str]:
        # Numbers, names of places and dates differ in every call; folding has made numbers alike already.
        return [word for word, _ in cut(fold(clean(text)).text)]

    rows = [words(row.text) for row in corpus.load()]
    halves: tuple[list[list[str]], list[list[str]]] = ([], [])
    for row in rows:
        halves[hashlib.sha256(" ".join(row).encode()).digest()[0] % 2].append(row)
    reference = new_share(halves[0], {word for row in halves[1] for word in row})
    known = {word for row in rows for word in row}
    given: Any = json.load(sys.stdin)
    new = new_share((words(str(text)) for text in given), known)
    sys.stdout.write(json.dumps({"new": new, "reference": reference}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
