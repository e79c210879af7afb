"""知识库: what is answered to a question, from what source, by whom, until when it may be believed.

An article is never changed: each change is a new version, so that an answer given last year can still be read. A
withdrawn article is no longer offered; its rows stay. ``Search`` keeps the words of the articles in force in memory.
"""

import asyncio
import heapq
import math
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import Actor, add_entry
from callcenter.cases.lists import KnowledgeArticle
from callcenter.city.model import Unit
from classifier import taxonomy
from classifier.text import clean, cut

LONGEST_ANSWER: Final = 20_000
LONGEST_QUERY: Final = 200
MOST_HITS: Final = 50
TITLE_WEIGHT: Final = 3
"""A word of the title says as much as three of the answer: titles are the question as people ask it."""
K1, B = 1.2, 0.75
"""Okapi BM25's usual constants (Robertson and Zaragoza, 2009)."""
_KEPT_STORES: Final = 4
_AT_ONCE: Final = 50
"""Articles taken into the index, some 10 ms, before others have their turn."""
_FEW: Final = 500
"""New articles that are asked for by id; more are read with all."""


class KnowledgeError(Exception):
    """An article cannot be kept as asked; the message names it and the mend."""


class NoArticle(KnowledgeError):
    """There is no such article, or no such version of it."""


class ArticleMoved(KnowledgeError):
    """Somebody wrote another version since this one was read."""


class BadArticle(KnowledgeError):
    """A value that no article can have."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What an article is to say. ``source``: where the answer comes from (a regulation, a notice, a unit)."""

    title: str
    answer: str
    source: str
    review_by: date
    """The last day on which it may be believed without another look."""
    source_date: date | None = None
    owner_unit_id: UUID | None = None
    standard: str = ""
    kind: str = ""
    category_code: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """An article found. ``overdue``: its review is; it is offered all the same, and should be checked."""

    article: KnowledgeArticle
    score: float
    overdue: bool


async def write(
    session: AsyncSession, code: str, draft: Draft, *, expected_version: int, actor: Actor, at: datetime
) -> KnowledgeArticle:
    """The next version of article ``code``; ``expected_version`` is the newest that the writer saw, 0 for a new one.

    A withdrawn article is taken up again by it. Audited. Raises BadArticle, ArticleMoved.
    """
    _check(code, draft)
    if draft.owner_unit_id is not None and await session.get(Unit, draft.owner_unit_id) is None:
        raise BadArticle(f"article {code}: there is no unit with its owner's id, take it from the list of units")
    newest = await session.scalar(select(func.max(KnowledgeArticle.version)).where(KnowledgeArticle.code == code)) or 0
    if newest != expected_version:
        raise ArticleMoved(f"article {code} is at version {newest}, you saw {expected_version}: read it again")
    article = KnowledgeArticle(
        id=uuid4(),
        code=code,
        version=newest + 1,
        title=draft.title,
        answer=draft.answer,
        source=draft.source,
        source_date=draft.source_date,
        owner_unit_id=draft.owner_unit_id,
        standard=draft.standard,
        kind=draft.kind,
        category_code=draft.category_code,
        review_by=draft.review_by,
        written_by=actor.id or actor.kind,
        written_at=at,
        withdrawn_at=None,
    )
    try:
        async with session.begin_nested():
            session.add(article)
    except IntegrityError:
        raise ArticleMoved(f"article {code}: another version was written at this moment, read it again") from None
    detail: dict[str, str | int | bool | list[str]] = {"code": code, "version": article.version}
    add_entry(session, actor, "article written", at=at, subject=f"article:{article.id}", detail=detail)
    return article


async def withdraw(
    session: AsyncSession, code: str, *, expected_version: int, actor: Actor, at: datetime
) -> KnowledgeArticle:
    """No longer offer article ``code``. Audited; once only. Raises NoArticle, ArticleMoved."""
    article = await session.scalar(_newest(code).with_for_update())
    if article is None:
        raise NoArticle(f"there is no article {code!r:.42}")
    if article.version != expected_version:
        raise ArticleMoved(f"article {code} is at version {article.version}, you saw {expected_version}: read it again")
    if article.withdrawn_at is None:
        article.withdrawn_at = at
        detail: dict[str, str | int | bool | list[str]] = {"code": code, "version": article.version}
        add_entry(session, actor, "article withdrawn", at=at, subject=f"article:{article.id}", detail=detail)
    return article


async def article(session: AsyncSession, code: str, version: int | None = None) -> KnowledgeArticle:
    """One version of an article, the newest by default, withdrawn or not. Raises NoArticle."""
    query = _newest(code)
    if version is not None:
        query = select(KnowledgeArticle).where(KnowledgeArticle.code == code, KnowledgeArticle.version == version)
    found = await session.scalar(query)
    if found is None:
        raise NoArticle(f"there is no article {code!r:.42}" + (f" of version {version}" if version else ""))
    return found


async def article_by_id(session: AsyncSession, article_id: UUID) -> KnowledgeArticle:
    """The version that an old answer was given from, whatever became of it. Raises NoArticle."""
    found = await session.get(KnowledgeArticle, article_id)
    if found is None:
        raise NoArticle(f"there is no article with id {article_id}")
    return found


async def offered(session: AsyncSession, *, after: str = "", limit: int = 200) -> list[KnowledgeArticle]:
    """The articles in force by code, those after ``after``."""
    query = _in_force().where(KnowledgeArticle.code > after).order_by(KnowledgeArticle.code).limit(limit)
    return list(await session.scalars(query))


async def overdue(session: AsyncSession, today: date, *, limit: int = 200) -> list[KnowledgeArticle]:
    """The articles in force whose review was due before ``today`` (Asia/Shanghai), the longest overdue first."""
    query = _in_force().where(KnowledgeArticle.review_by < today)
    return list(await session.scalars(query.order_by(KnowledgeArticle.review_by, KnowledgeArticle.code).limit(limit)))


async def search(session: AsyncSession, words: str, today: date, *, limit: int = 10) -> list[Hit]:
    """The articles in force that fit ``words``, the best first; empty when none shares a word with them.

    The index of a store is kept in this process and follows what is written: cutting 10,000 articles of 300 characters
    takes some ten seconds once, a new article and a search some milliseconds.
    """
    index = await _index_of(session)
    found = index.find(words[:LONGEST_QUERY], max(1, min(limit, MOST_HITS)))
    if not found:
        return []
    query = select(KnowledgeArticle).where(KnowledgeArticle.id.in_([key for key, _ in found]))
    articles = {one.id: one for one in await session.scalars(query)}
    return [
        Hit(articles[key], score, articles[key].review_by < today)
        for key, score in found
        if key in articles and articles[key].withdrawn_at is None
    ]


def tokens(text: str) -> list[str]:
    """The words of a text and, of runs of Chinese, every pair of characters: 井盖 is found in 雨水井盖 however jieba
    cuts it. A Chinese character alone says too little to be one."""
    cleaned = clean(text).text
    chinese = [_chinese(letter) for letter in cleaned]
    # A two-character word is a pair too: counted once, or it would weigh twice what a longer word does.
    words = [
        word
        for word, at in cut(cleaned)
        if (len(word) > 2 or not all(chinese[at : at + len(word)])) and any(map(str.isalnum, word))
    ]
    return words + [cleaned[i : i + 2] for i in range(len(cleaned) - 1) if chinese[i] and chinese[i + 1]]


@dataclass(slots=True)
class Index:
    """An inverted index over short texts, ranked by BM25; pure. Texts are added and taken out one by one."""

    counts: dict[UUID, Counter[str]] = field(default_factory=dict)
    lengths: dict[UUID, int] = field(default_factory=dict)
    postings: dict[str, dict[UUID, int]] = field(default_factory=dict)
    total: int = 0
    """Of the lengths."""

    def add(self, key: UUID, counts: Counter[str]) -> None:
        """One more text, as ``counted`` counts it; one that is there already stays as it is."""
        if key in self.counts:
            return
        self.counts[key] = counts
        self.lengths[key] = counts.total()
        self.total += self.lengths[key]
        for token, count in counts.items():
            self.postings.setdefault(token, {})[key] = count

    def remove(self, key: UUID) -> None:
        """One text less; nothing happens when it is not there."""
        for token in self.counts.pop(key, ()):
            del self.postings[token][key]
        self.total -= self.lengths.pop(key, 0)

    def find(self, words: str, limit: int) -> list[tuple[UUID, float]]:
        """The best texts for ``words`` with their scores; equals by id, so that the order is the same each time."""
        scores: dict[UUID, float] = {}
        mean = max(1.0, self.total / max(1, len(self.lengths)))
        for token in dict.fromkeys(tokens(words)):
            having = self.postings.get(token, {})
            rarity = math.log(1 + (len(self.lengths) - len(having) + 0.5) / (len(having) + 0.5))
            for key, count in having.items():
                length = 1 - B + B * self.lengths[key] / mean
                scores[key] = scores.get(key, 0.0) + rarity * count * (K1 + 1) / (count + K1 * length)
        return heapq.nsmallest(limit, scores.items(), key=lambda one: (-one[1], one[0].hex))


def counted(title: str, answer: str) -> Counter[str]:
    """How often each token is in an article, those of the title weighed."""
    counts = Counter(tokens(answer))
    for token, count in Counter(tokens(title)).items():
        counts[token] += TITLE_WEIGHT * count
    return counts


@dataclass(slots=True)
class _Store:
    """What is kept in memory of one store."""

    stamp: tuple[Any, ...] = ()
    index: Index = field(default_factory=Index)


_stores: OrderedDict[str, _Store] = OrderedDict()


async def _index_of(session: AsyncSession) -> Index:
    store = _stores.setdefault(session.get_bind().engine.url.render_as_string(), _Store())
    _stores.move_to_end(session.get_bind().engine.url.render_as_string())
    while len(_stores) > _KEPT_STORES:
        _stores.popitem(last=False)
    # Rows are only added, and withdrawn once: the two counts change with every change.
    changed = select(func.count(), func.count(KnowledgeArticle.withdrawn_at), func.max(KnowledgeArticle.written_at))
    stamp = tuple((await session.execute(changed)).one())
    if store.stamp == stamp:
        return store.index
    in_force = set(await session.scalars(_in_force().with_only_columns(KnowledgeArticle.id)))
    fresh = in_force - store.index.counts.keys()
    if fresh:
        columns = KnowledgeArticle.id, KnowledgeArticle.title, KnowledgeArticle.answer
        query = _in_force().with_only_columns(*columns)
        if len(fresh) <= _FEW:
            query = query.where(KnowledgeArticle.id.in_(fresh))
        rows = [(key, title, answer) for key, title, answer in await session.execute(query) if key in fresh]
        # Cutting is what takes time: beside the loop, which answers calls.
        for done, (key, counts) in enumerate(await asyncio.to_thread(_counted, rows)):
            store.index.add(key, counts)
            if done % _AT_ONCE == 0:
                await asyncio.sleep(0)
    for key in store.index.counts.keys() - in_force:
        store.index.remove(key)
    # Two searches may bring it up to date at once. Whichever ends last may have read less, but then its stamp is the
    # older one too, and the next search puts it right.
    store.stamp = stamp
    return store.index


def _counted(rows: Iterable[tuple[UUID, str, str]]) -> list[tuple[UUID, Counter[str]]]:
    return [(key, counted(title, answer)) for key, title, answer in rows]


def _chinese(letter: str) -> bool:
    return "\u3400" <= letter <= "\u9fff"


def _newest(code: str) -> Select[KnowledgeArticle]:
    return (
        select(KnowledgeArticle).where(KnowledgeArticle.code == code).order_by(KnowledgeArticle.version.desc()).limit(1)
    )


def _in_force() -> Select[KnowledgeArticle]:
    newest = (
        select(KnowledgeArticle.code, func.max(KnowledgeArticle.version).label("version"))
        .group_by(KnowledgeArticle.code)
        .subquery()
    )
    return (
        select(KnowledgeArticle)
        .join(newest, (KnowledgeArticle.code == newest.c.code) & (KnowledgeArticle.version == newest.c.version))
        .where(KnowledgeArticle.withdrawn_at.is_(None))
    )


def _check(code: str, draft: Draft) -> None:
    for what, value, longest in (
        ("code", code, 40),
        ("title", draft.title, 200),
        ("source", draft.source, 200),
        ("answer", draft.answer, LONGEST_ANSWER),
    ):
        if not value.strip() or len(value) > longest or "\0" in value:
            raise BadArticle(f"article: its {what} has {len(value)} characters, must have 1 to {longest}")
    if draft.category_code:
        try:
            taxonomy.load(draft.standard).by_code(draft.kind, draft.category_code)
        except taxonomy.TaxonomyError as error:
            raise BadArticle(f"article {code}: {error}") from None
