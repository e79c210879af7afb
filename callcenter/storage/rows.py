"""Three things that both databases can do and SQLAlchemy spells differently for each: add a row unless it is there,
add or change one, and walk a long list by key."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, Table, Uuid, literal, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from callcenter.storage.base import EPOCH, Base, UtcDateTime


def insert_into(session: AsyncSession, model: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """The INSERT of the database at hand, with its ON CONFLICT clauses; past the ORM, which these rows do not need."""
    return _insert(session.get_bind().dialect.name, model)


def _insert(dialect: str, model: type[Base]) -> sqlite.Insert | postgresql.Insert:
    table = cast(Table, model.__table__)
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@cache
def _insert_unless_there(dialect: str, model: type[Base]) -> sqlite.Insert | postgresql.Insert:
    # Built once: building a statement costs SQLAlchemy more than running it.
    return _insert(dialect, model).on_conflict_do_nothing()


async def insert_new(session: AsyncSession, model: type[Base], values: dict[str, Any]) -> bool:
    """Add a row unless one with the same key is there; tells whether it was added. The way to be idempotent."""
    statement = _insert_unless_there(session.get_bind().dialect.name, model)
    result = cast(CursorResult[Any], await session.execute(statement, values))
    return result.rowcount == 1


def before(
    moment: InstrumentedAttribute[datetime], key: InstrumentedAttribute[UUID], cursor: str
) -> ColumnElement[bool]:
    """The rows after ``cursor`` in a list sorted newest first. Raises ValueError for a cursor that is none of ours."""
    at, last = decode_cursor(cursor)
    return tuple_(moment, key) < tuple_(literal(at, UtcDateTime()), literal(last, Uuid()))


def encode_cursor(at: datetime, key: UUID) -> str:
    """Where a page ended: a place, not a page number, so that rows added meanwhile neither repeat nor hide any."""
    return f"{(at - EPOCH) // timedelta(microseconds=1)}-{key.hex}"


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """The place that ``encode_cursor`` wrote. Raises ValueError."""
    micros, _, key = cursor.partition("-")
    try:
        return EPOCH + timedelta(microseconds=int(micros)), UUID(key)
    except (ValueError, OverflowError):
        raise ValueError("cursor cannot be read: pass the one of the page before, unchanged") from None
