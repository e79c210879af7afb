"""What cases are found by: the tokens of their words and of their telephone numbers, written as the words change.

Tokens are single characters, pairs of neighbouring characters and short numbers and Latin words, of a text made uniform
as ``classifier.text`` does. A word of two characters is a pair (trigram indexes cannot find 井盖); a longer word is all
its pairs, so every word that jieba would cut out of the text is found by them, and a text need not be cut to be kept:
the process that answers the line has no use for jieba's dictionary until somebody searches (``word_tokens``).

A telephone number is kept as keyed hashes of its last four and last eight digits. The secret lies in the data directory
and not in the database: the table alone gives no number away, although there are only 10,000 tails of four digits.

One row a case (``CaseSearch``). PostgreSQL: a ``tsvector`` with a GIN index. SQLite: the tokens with blanks between,
and FTS5 over them, which triggers keep (migration 0006); ``key`` grows with the case's time, so that FTS5, which gives
rows by their key, gives the newest first.
"""

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, Index, Text, UniqueConstraint, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.access.masking import mask_text
from callcenter.cases.model import Case, CaseParticulars
from callcenter.settings import Settings
from callcenter.storage.base import Base, BigId
from callcenter.storage.rows import insert_into
from classifier.text import clean, cut, fold

TAILS: Final = (4, 8)
"""Digits of the tails that are kept: four is what people remember and hotlines ask for; eight leaves about one case in
a million, and what lies between is compared with the number itself."""
SLOTS: Final = 1 << 14
"""Keys of one second on SQLite; what goes beyond takes those of the second after."""
FIRST_SECOND: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Keys count from here; earlier cases come before all others, in no order among themselves."""
SCRUB_PAGES: Final = 200
"""Pages of FTS5's index that one step of ``scrub`` rewrites: some milliseconds of the only writer."""

_NUMERALS: Final = "零〇一二三四五六七八九十百千万亿两幺"
_STARRED = re.compile(rf"(?:[0-9{_NUMERALS}]+[\s\-—]?)*\*(?:[\s\-—]?[0-9{_NUMERALS}*])*")
_NUMBER = re.compile(rf"(?<!\d)\d{{1,4}}(?!\d)|(?<![{_NUMERALS}])[{_NUMERALS}]{{2,4}}(?![{_NUMERALS}])")
_LATIN = re.compile(r"[a-z]{2,20}")
_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0002b73f]+")
_PARTICLES: Final = frozenset("的了在是和与就都也吗呢吧啊把被有很又还这那我你他")
"""Say nothing of a matter; asked beside other words they are left out, asked alone they are looked for."""


class CaseSearch(Base):
    """The tokens of one case. Goes when its particulars are erased."""

    __tablename__ = "case_search"
    __table_args__ = (
        UniqueConstraint("case_id"),
        # On SQLite it has no rows: FTS5 is the index there. fastupdate off: else each search also reads what was
        # written since the last vacuum, one entry after the other.
        Index(
            "ix_case_search_words",
            "words",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
            sqlite_where=text("0"),
        ),
        # Common words are found by reading the newest rows; on SQLite the key is the order of time.
        Index(None, "created_at", "case_id", sqlite_where=text("0")),
    )

    key: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    created_at: Mapped[datetime]
    """The case's: what is found is sorted before the cases themselves are read."""
    words: Mapped[Any] = mapped_column(Text().with_variant(TSVECTOR(), "postgresql"))


# -- tokens ------------------------------------------------------------------------------------------------------------
def text_tokens(text: str) -> frozenset[str]:
    """The tokens that ``text`` is found by. Numbers that could reach or identify a person are not among them: what the
    mask stars is left out (``access.masking``), so that nobody tries out digits who may not see them."""
    cleaned = clean(_STARRED.sub(" ", mask_text(text)))
    found = set(_NUMBER.findall(cleaned.text)) | set(_LATIN.findall(cleaned.text))
    for run in _HAN.findall(fold(cleaned).text):
        found.update(run)
        found.update(_pairs(run))
    return frozenset(found)


def word_tokens(words: str) -> frozenset[str]:
    """The tokens that a case must have all of to be found by ``words``; empty when there is nothing to look for.

    jieba cuts them: a word stands for itself wherever it is, so 路灯坏了 finds 路灯又坏了. Call it off the event loop.
    """
    cleaned = clean(_STARRED.sub(" ", mask_text(words)))
    found = set(_NUMBER.findall(cleaned.text)) | set(_LATIN.findall(cleaned.text))
    singles: set[str] = set()
    for run in _HAN.findall(fold(cleaned).text):
        # A run of two is a pair whatever jieba says, and its dictionary takes two seconds to be read the first time.
        for word in (word for word, _ in cut(run)) if len(run) > 2 else (run,):
            if len(word) == 1:
                singles.add(word)
            else:
                found.update(_pairs(word))
    telling = {one for one in singles - _PARTICLES if not any(one in token for token in found)}
    found |= telling
    return frozenset(found or singles)


def number_tokens(number: str | None, secret: bytes) -> frozenset[str]:
    """The tokens of a telephone number: none when it is shorter than four digits. ``#`` is in no word's token."""
    digits = digits_of(number or "")
    return frozenset(_tail_token(digits[-length:], secret) for length in TAILS if len(digits) >= length)


def tail_token(digits: str, secret: bytes) -> str:
    """The token that all numbers ending in ``digits`` have; others may have it too. Raises ValueError below four."""
    length = max((length for length in TAILS if length <= len(digits)), default=0)
    if not length:
        raise ValueError(f"{len(digits)} digits of a telephone number were given: at least {TAILS[0]} are needed")
    return _tail_token(digits[-length:], secret)


def digits_of(number: str) -> str:
    """The digits of a number as somebody wrote it."""
    return "".join(one for one in number if one.isascii() and one.isdigit())


def _tail_token(tail: str, secret: bytes) -> str:
    return "#" + hmac(secret, tail.encode(), sha256).hexdigest()[:16]


def _pairs(run: str) -> Iterable[str]:
    return (run[i : i + 2] for i in range(len(run) - 1))


# -- the secret --------------------------------------------------------------------------------------------------------
_in_force: list[bytes] = []


def use(data_dir: Path) -> None:
    """Put the secret of ``data_dir`` in force for this process: drawn from the one of ``messages.policy``, made at
    first use. Raises PolicyError, OSError."""
    # Here, not above: messages are about cases and import them.
    from callcenter.messages.policy import recipient_key

    _in_force[:] = [hmac(recipient_key(data_dir), b"case search", sha256).digest()]


async def secret() -> bytes:
    """The secret in force; of the settings' data directory where ``use`` was not called, so that whatever writes a
    case, a command too, writes what the others find."""
    if not _in_force:
        await asyncio.to_thread(lambda: use(Settings().data_dir))
    return _in_force[0]


# -- writing -----------------------------------------------------------------------------------------------------------
async def index_words(session: AsyncSession, case_id: UUID) -> None:
    """Bring the index to what ``case_particulars`` says of the case now, in the caller's transaction. Idempotent; a
    case whose particulars are erased loses its row."""
    row = (
        await session.execute(
            select(
                Case.created_at,
                CaseParticulars.text,
                CaseParticulars.address,
                CaseParticulars.wish,
                CaseParticulars.reporter_number,
                CaseParticulars.callback_number,
                CaseParticulars.erased_at,
            )
            .join(CaseParticulars, CaseParticulars.case_id == Case.id)
            .where(Case.id == case_id)
        )
    ).one_or_none()
    if row is None or row.erased_at is not None:
        await forget_words(session, case_id)
        return
    key = await secret()
    words = "\n".join(part for part in (row.text, row.address, row.wish) if part)
    found = await asyncio.to_thread(text_tokens, words)
    tokens = sorted(found | number_tokens(row.reporter_number, key) | number_tokens(row.callback_number, key))
    values: dict[str, Any] = {"case_id": case_id, "created_at": row.created_at, "words": stored(tokens)}
    table = CaseSearch.__table__.c
    if session.get_bind().dialect.name == "sqlite":
        there = await session.scalar(select(CaseSearch.key).where(CaseSearch.case_id == case_id))
        values["key"] = there if there is not None else await _free_key(session, row.created_at)
    else:
        values["words"] = func.array_to_tsvector(literal(tokens, ARRAY(Text)))
    statement = insert_into(session, CaseSearch).values(values)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[table.case_id],
            set_={"words": statement.excluded.words},
            where=table.words.is_distinct_from(statement.excluded.words),
        )
    )


async def forget_words(session: AsyncSession, case_id: UUID) -> None:
    """Take the case out of the index, in the caller's transaction."""
    await session.execute(delete(CaseSearch).where(CaseSearch.case_id == case_id))


def stored(tokens: Iterable[str]) -> str:
    """The form of SQLite: blanks around each, so that one can be looked for in a single row too."""
    return f" {' '.join(tokens)} "


def key_floor(at: datetime) -> int:
    """The smallest key, on SQLite, of a case of the second of ``at``."""
    return max(0, int((at - FIRST_SECOND).total_seconds())) * SLOTS


async def _free_key(session: AsyncSession, at: datetime) -> int:
    # Only SQLite asks, which has one writer: nobody takes the key before this transaction ends.
    floor = key_floor(at)
    while True:
        last = await session.scalar(
            select(func.max(CaseSearch.key)).where(CaseSearch.key >= floor, CaseSearch.key < floor + SLOTS)
        )
        if last is None:
            return floor
        if last + 1 < floor + SLOTS:
            return last + 1
        floor += SLOTS


async def scrub(connection: AsyncConnection, pages: int = SCRUB_PAGES) -> bool:
    """One step of overwriting what was erased from FTS5's index; True when there may be more to do.

    FTS5 strikes a row out by a note and rewrites old parts of its index as they grow, so erased tokens stay in the file
    until then (its ``secure-delete`` is of SQLite 3.42, ours is 3.40). Run it in steps, each a transaction, some time
    after an erasure; freed pages are zeroed as everywhere (``storage.engine``). On PostgreSQL vacuum does it.
    """
    if connection.dialect.name != "sqlite":
        return False
    before = await connection.scalar(text("SELECT total_changes()")) or 0
    # Negative: also parts of one level are merged, as "optimize" would do all at once.
    step = text("INSERT INTO case_search_fts(case_search_fts, rank) VALUES ('merge', :pages)")
    await connection.execute(step, {"pages": -pages})
    after = await connection.scalar(text("SELECT total_changes()")) or 0
    return after - before >= 2
