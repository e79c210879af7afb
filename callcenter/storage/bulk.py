"""Many rows at once, past the ORM and past SQLAlchemy's work for each row: what thousands of changes in one transaction
would spend most of their time on.

SQLite takes rows one by one in C (``executemany``). PostgreSQL would take a message and a plan for each: it gets the
columns as arrays, and one statement.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Dialect, Table, Uuid, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.storage.base import Base
from callcenter.storage.schema import metadata

_LENGTH: Final = re.compile(r"\(\d+\)")


class _Plan(NamedTuple):
    """How rows with certain columns are written to a table of one database."""

    sql: str
    names: tuple[str, ...]
    to_driver: tuple[Callable[[Any], Any] | None, ...]
    """Of each column, what makes the driver's value of ours; None: it takes ours."""


async def insert_many(
    session: AsyncSession, model: type[Base], rows: Sequence[Mapping[str, Any]], *, unless_there: bool = False
) -> None:
    """Add rows in their order; all have the same columns, others stay as the database has them by default.

    ``unless_there``: a row whose key is there already is left out. Raises what an INSERT raises.
    """
    if not rows:
        return
    plan = _plan(session.get_bind().dialect, model, tuple(rows[0]), unless_there)
    columns = [
        [row[name] for row in rows] if made is None else [made(row[name]) for row in rows]
        for name, made in zip(plan.names, plan.to_driver, strict=True)
    ]
    connection = await session.connection()
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql(plan.sql, list(zip(*columns, strict=True)))
    else:
        await connection.exec_driver_sql(plan.sql, tuple(columns))


@lru_cache(maxsize=64)
def _plan(dialect: Dialect, model: type[Base], names: tuple[str, ...], unless_there: bool) -> _Plan:
    metadata()  # a column that refers to another has that one's type, which must be known
    table = cast(Table, model.__table__)
    types = [table.c[name].type.dialect_impl(dialect) for name in names]
    quote = dialect.identifier_preparer.quote
    into = f"INSERT INTO {quote(table.name)} ({', '.join(quote(name) for name in names)})"
    if dialect.name == "sqlite":
        sql = f"{into} VALUES ({', '.join('?' for _ in names)})"
    else:
        arrays, read = [], []
        for place, one in enumerate(types, 1):
            # Without its length: a cast to it would cut a text that is too long, an INSERT refuses it.
            kind = _LENGTH.sub("", dialect.type_compiler_instance.process(one))
            document = isinstance(one, JSONB)
            arrays.append(f"${place}::{'text' if document else kind}[]")
            read.append(f"c{place}::jsonb" if document else f"c{place}")
        named = ", ".join(f"c{place}" for place in range(1, len(names) + 1))
        sql = f"{into} SELECT {', '.join(read)} FROM unnest({', '.join(arrays)}) AS given({named})"  # noqa: S608 - ours
    sql += " ON CONFLICT DO NOTHING" if unless_there else ""
    return _Plan(sql, names, tuple(one.bind_processor(dialect) for one in types))


def among(session: AsyncSession, column: Any, ids: Sequence[UUID]) -> ColumnElement[bool]:
    """``column`` is one of ``ids``, however many, as one parameter: one statement, compiled once."""
    if session.get_bind().dialect.name == "sqlite":
        return column.in_(select(as_rows(ids).c.value))  # type: ignore[no-any-return]
    return column == func.any(literal(list(ids), ARRAY(Uuid())))  # type: ignore[no-any-return]


def as_rows(ids: Sequence[UUID]) -> Any:
    """Ids as the rows of a table with the column ``value``, on SQLite."""
    return func.json_each(json.dumps([one.hex for one in ids])).table_valued("value")
