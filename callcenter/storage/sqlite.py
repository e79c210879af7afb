"""A SQLite connection that makes one trip to its thread a statement.

aiosqlite runs each connection in a thread and goes there and back for every step: open a cursor, execute, fetch, close.
SQLAlchemy asks for all four. Here execute brings the rows along, and opening and closing a cursor is nothing: a command
of a call takes 5.5 trips instead of 17.8, and 2.5 ms instead of 3.6 (``scripts/bench/store``, two shared cores).
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Self

import aiosqlite

_CHUNK = 64
"""Rows that aiosqlite's own iteration would fetch at once; never used here."""


class OneTripCursor:
    """The part of a cursor that SQLAlchemy's aiosqlite dialect uses; no streaming."""

    def __init__(self, connection: "OneTripConnection") -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> Self:
        """Run a statement and take its rows. Raises what sqlite3 raises."""
        await self._connection.run(self._run, sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Run a statement once for each set of parameters."""
        await self._connection.run(self._run_many, sql, parameters)
        return self

    async def fetchall(self) -> Sequence[Any]:
        """The rows, once."""
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        """Nothing is open."""

    def _run(self, sql: str, parameters: Any) -> None:
        self._take(self._connection.sqlite.execute(sql, parameters))

    def _run_many(self, sql: str, parameters: Any) -> None:
        self._take(self._connection.sqlite.executemany(sql, parameters))

    def _take(self, cursor: sqlite3.Cursor) -> None:
        self.description = cursor.description
        self._rows = cursor.fetchall() if cursor.description else ()
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        cursor.close()


class OneTripConnection(aiosqlite.Connection):
    """aiosqlite's connection with such cursors."""

    def cursor(self) -> OneTripCursor:  # type: ignore[override]
        """A cursor; made without a trip, unlike aiosqlite's."""
        return OneTripCursor(self)

    @property
    def sqlite(self) -> sqlite3.Connection:
        """The connection itself, for use in its thread."""
        return self._conn

    async def run(self, work: Any, *arguments: Any) -> None:
        """Do ``work`` in the connection's thread."""
        await self._execute(work, *arguments)  # type: ignore[no-untyped-call]


def open_connection(database: str, **arguments: Any) -> OneTripConnection:
    """A connection to be awaited: SQLAlchemy's ``async_creator_fn``. ``arguments`` are those of ``sqlite3.connect``."""
    connection = OneTripConnection(lambda: sqlite3.connect(database, **arguments), _CHUNK)
    # As SQLAlchemy does with connections it makes: a process must be able to end although one was never closed.
    connection._thread.daemon = True
    return connection
