"""The one door to the store: two databases, one code path.

``begin()`` is one writing transaction, ``read()`` one reading one. SQLite by default; PostgreSQL when the city
outgrows one machine. On SQLite the process has a single writing connection: SQLite lets one writer in at a time
anyway, and its own waiting (busy_timeout) polls with growing sleeps and is not fair, while a pool of one is a queue.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from callcenter.storage.outbox import write_events
from callcenter.storage.sqlite import open_connection

BUSY_TIMEOUT_MS: Final = 5_000
"""How long SQLite waits for a writer in another process (an import, a backup) before "database is locked"."""
POOL_WAIT_S: Final = 10.0
CONNECT_LIMIT_S: Final = 5.0
STATEMENT_LIMIT_S: Final = 30.0
"""A statement of ours takes milliseconds; one that takes this long hangs on a dead network."""
SQLITE_READERS: Final = 4
POSTGRES_POOL: Final = 10


class StoreError(Exception):
    """The store cannot be used as asked; the message says what to mend."""


def parse_url(url: str) -> URL:
    """A URL of one of the two databases, with its asynchronous driver. Raises StoreError, never showing a password."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(
            "database URL cannot be read: expected sqlite+aiosqlite:////path/to/file.db or"
            " postgresql+asyncpg://user:password@host/name"
        ) from None
    kind = parsed.drivername.partition("+")[0]
    if kind == "sqlite":
        if parsed.database in (None, "", ":memory:") or "mode=memory" in str(parsed.database):
            raise StoreError(
                "an in-memory SQLite has one database a connection: name a file, sqlite+aiosqlite:////path"
            )
        return parsed.set(drivername="sqlite+aiosqlite")
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+asyncpg")
    raise StoreError(
        f"database {parsed.render_as_string(hide_password=True)}: {kind!r} is not supported, use sqlite or postgresql"
    )


def store_is_at_fault(error: BaseException) -> bool:
    """True when ``error`` says that the store cannot answer now (gone, locked, full, unmigrated), not that what was
    asked of it is wrong: the same command can succeed later."""
    if isinstance(error, IntegrityError | DataError):
        return False
    if isinstance(error, DBAPIError):
        # SQLSTATE classes 22 (data exception) and 23 (integrity): asyncpg's dialect raises class 22 as a bare
        # DBAPIError.
        state = getattr(error.orig, "sqlstate", None) or ""
        return not str(state).startswith(("22", "23"))
    return isinstance(error, PoolTimeout | TimeoutError | OSError | StoreError)


class Database:
    """The store behind ``url``. ``connect()`` first; ``close()`` last.

    >>> async with db.begin() as session: ...   # commits at the end, rolls back on an exception
    >>> async with db.read() as session: ...    # cannot write; a writer never waits for it
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.drivername.startswith("sqlite")
        self._writer: AsyncEngine | None = None
        self._reader: AsyncEngine | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def path(self) -> Path | None:
        """The SQLite file, None on PostgreSQL."""
        return Path(str(self.url.database)) if self.is_sqlite else None

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @property
    def engine(self) -> AsyncEngine:
        """The writing engine. Raises StoreError before ``connect()``."""
        if self._writer is None:
            raise StoreError(f"database {self.name} is not connected: await connect() first")
        return self._writer

    async def connect(self) -> None:
        """Open the store and try it. Raises StoreError naming the database and what is wrong."""
        if self._writer is not None:
            return
        if self.is_sqlite:
            await asyncio.to_thread(self._create_file)
            self._writer = sqlite_engine(self.url, write=True)
            self._reader = sqlite_engine(self.url, write=False)
        else:
            self._writer = postgres_engine(self.url)
            self._reader = self._writer.execution_options(postgresql_readonly=True)
        try:
            await self.ping()
        except (DBAPIError, OSError, PoolTimeout) as error:
            await self.close()
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise StoreError(f"database {self.name} cannot be opened: {reason}") from error

    async def close(self) -> None:
        """Close every connection."""
        reader, writer = self._reader, self._writer
        self._reader = self._writer = None
        if reader is not None and self.is_sqlite:
            await reader.dispose()
        if writer is not None:
            await writer.dispose()

    async def migrate(self) -> None:
        """Bring the database to this program's schema (``storage.migrate``). Raises StoreError."""
        # Here, not above: migrations need this module.
        from callcenter.storage.migrate import migrate

        await migrate(self.url.render_as_string(hide_password=False))

    async def check_current(self) -> None:
        """Raises StoreError unless the database has this program's schema."""
        from callcenter.storage.migrate import check_current

        await check_current(self.url.render_as_string(hide_password=False))

    async def ping(self) -> None:
        """A writing transaction that writes nothing: raises when the store would not take a write now."""
        async with self.engine.begin() as connection:
            await connection.execute(text("SELECT 1"))

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """One writing transaction: committed at the end of the block, rolled back when it raises."""
        session = AsyncSession(self.engine, expire_on_commit=False)
        try:
            async with session.begin():
                yield session
                told = await write_events(session)
        finally:
            # Shielded: a cancelled caller must not leave SQLite's only writing connection checked out.
            await asyncio.shield(session.close())
        if told:
            for listener in self._listeners:
                listener()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """One reading transaction: a steady view; any write in it is refused by the database."""
        if self._reader is None:
            raise StoreError(f"database {self.name} is not connected: await connect() first")
        session = AsyncSession(self._reader, expire_on_commit=False)
        try:
            yield session
        finally:
            await asyncio.shield(session.close())

    def on_events(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after each commit of this process that wrote events; gives the function that stops it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _create_file(self) -> None:
        """Make the SQLite file readable by its owner only: it holds what citizens said. SQLite gives -wal and -shm the
        same mode."""
        path = self.path
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreError(f"database file {path} cannot be opened: {error.strerror}") from error


def sqlite_engine(
    url: URL, *, write: bool, pooled: bool = True, foreign_keys: bool = True, busy_ms: int = BUSY_TIMEOUT_MS
) -> AsyncEngine:
    """An engine on a SQLite file: one connection that writes, or several that cannot. ``busy_ms``: how long it waits
    for another process's write."""
    engine = create_async_engine(
        url,
        hide_parameters=True,
        # isolation_level None: sqlite3 would otherwise begin transactions by itself, DEFERRED and only before DML, so
        # that two writers that both read first would deadlock into "database is locked" at once.
        connect_args={"isolation_level": None, "async_creator_fn": open_connection},
        **(
            {"pool_size": 1 if write else SQLITE_READERS, "max_overflow": 0, "pool_timeout": POOL_WAIT_S}
            if pooled
            else {"poolclass": NullPool}
        ),
    )

    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout={busy_ms}")
            cursor.execute("PRAGMA journal_mode=WAL")
            row = cursor.fetchone()
            if row is None or str(row[0]).lower() != "wal":
                raise StoreError(
                    f"SQLite {url.database} cannot use WAL here (journal is {row}): put it on a local disk"
                )
            # FULL: the log is synced at each commit. With NORMAL a power cut takes back commits, and with them a case
            # number that a citizen has already been told.
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
            # Erased particulars are overwritten with zeros in the file, not only unlinked.
            cursor.execute("PRAGMA secure_delete=ON")
            if not write:
                cursor.execute("PRAGMA query_only=ON")
        finally:
            cursor.close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


def postgres_engine(url: URL, *, pooled: bool = True) -> AsyncEngine:
    """An engine on PostgreSQL through asyncpg."""
    return create_async_engine(
        url,
        hide_parameters=True,  # what citizens said must not get into the text of an error
        connect_args={
            "timeout": CONNECT_LIMIT_S,
            "command_timeout": STATEMENT_LIMIT_S,
            # jit: our statements take less than compiling them would.
            "server_settings": {"application_name": "callcenter", "jit": "off", "timezone": "UTC"},
        },
        **(
            {
                "pool_size": POSTGRES_POOL,
                "max_overflow": POSTGRES_POOL,
                "pool_timeout": POOL_WAIT_S,
                # The server may have been restarted between two calls: a dead connection is found before it is used.
                "pool_pre_ping": True,
            }
            if pooled
            else {"poolclass": NullPool}
        ),
    )
