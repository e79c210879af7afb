"""Bringing a database to the schema of this program, and refusing to run on any other.

Alembic is driven from here and configured in code: the settings name the database, so a second configuration file could
only disagree. ``python -m callcenter.storage.migrate --help`` is for developers; ``callcenter serve`` migrates by
itself.
"""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from callcenter.storage.engine import StoreError, parse_url, postgres_engine, sqlite_engine
from callcenter.storage.schema import metadata

MIGRATIONS: Final = Path(__file__).resolve().parent / "migrations"
WAIT_MS: Final = 120_000
"""How long one process waits on SQLite for another that is migrating: a large store's indexes take minutes."""
LOCK: Final = 1231901
"""PostgreSQL advisory lock of whoever migrates: two processes started at once must not both."""


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration; ``connection`` is the one that its environment will work on."""
    config = Config()
    # Alembic interpolates "%" in options.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def in_models(name: str | None, kind: str, _: object) -> bool:
    """Whether the models speak for it: SQLite's full text tables are made by their migration alone."""
    return not (kind == "table" and name is not None and name.startswith("case_search_fts"))


def head() -> str:
    """The newest revision this program knows."""
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    if revision is None:
        raise StoreError(f"no migrations in {MIGRATIONS}")
    return revision


async def migrate(url: str, revision: str = "head") -> None:
    """Bring the database at ``url`` to ``revision``, in one transaction: all of it or nothing.

    Raises StoreError when the database cannot be opened or is newer than this program.
    """
    await _on_own_connection(url, lambda connection: _upgrade(connection, revision))


async def downgrade(url: str, revision: str) -> None:
    """Take the database back to ``revision``. Tables that it does not know lose their rows."""
    await _on_own_connection(url, lambda connection: command.downgrade(configuration(connection), revision))


async def current(url: str) -> str | None:
    """The database's revision, None for an empty one."""
    found: list[str | None] = []
    await _on_own_connection(url, lambda connection: found.append(_current(connection)))
    return found[0]


async def check_current(url: str) -> None:
    """Raises StoreError unless the database is at this program's revision."""
    have, want = await current(url), head()
    if have != want:
        raise StoreError(
            f"database {parse_url(url).render_as_string(hide_password=True)} is at revision {have or 'none'},"
            f" this program needs {want}: run `python -m callcenter.storage.migrate URL upgrade`"
        )


async def differences(url: str) -> list[object]:
    """What the database at ``url`` lacks or has too much beside the models; empty when they agree."""
    found: list[object] = []

    def compare(connection: Connection) -> None:
        opts = {"compare_type": True, "compare_server_default": True, "include_name": in_models}
        context = MigrationContext.configure(connection, opts=opts)
        found.extend(compare_metadata(context, metadata()))

    await _on_own_connection(url, compare)
    return found


def _upgrade(connection: Connection, revision: str) -> None:
    have = _current(connection)
    known = {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}
    if have is not None and have not in known:
        raise StoreError(f"the database is at revision {have}, unknown here: it belongs to a newer program")
    command.upgrade(configuration(connection), revision)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def _on_own_connection(url: str, work: Callable[[Connection], None]) -> None:
    parsed = parse_url(url)
    engine = _engine(url)
    try:
        async with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            await connection.run_sync(work)
            if connection.dialect.name == "sqlite":
                broken = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
                if broken:
                    raise StoreError(f"migration would leave {len(broken)} rows without what they refer to: undone")
    except (DBAPIError, OSError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        name = parsed.render_as_string(hide_password=True)
        raise StoreError(f"database {name} cannot be migrated: {reason}") from error
    finally:
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    parsed = parse_url(url)
    if parsed.drivername.startswith("sqlite"):
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        # SQLite changes a table by rebuilding it; with foreign keys on, dropping the old one would take its children
        # along. They are checked as a whole before the commit instead.
        return sqlite_engine(parsed, write=True, pooled=False, foreign_keys=False, busy_ms=WAIT_MS)
    return postgres_engine(parsed, pooled=False)


def main(arguments: list[str] | None = None) -> None:
    """``upgrade``, ``downgrade REVISION``, ``check`` or, for developers, ``revise MESSAGE`` (a draft to be cleaned)."""
    parser = argparse.ArgumentParser(prog="python -m callcenter.storage.migrate", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("action", choices=("upgrade", "downgrade", "check", "revise"))
    parser.add_argument("argument", nargs="?", default="")
    given = parser.parse_args(arguments)
    if given.action == "upgrade":
        asyncio.run(migrate(given.url, given.argument or "head"))
    elif given.action == "downgrade":
        asyncio.run(downgrade(given.url, given.argument))
    elif given.action == "check":
        asyncio.run(check_current(given.url))
    else:
        number = f"{len(list((MIGRATIONS / 'versions').glob('*.py'))) + 1:04d}"

        def revise(connection: Connection) -> None:
            command.revision(configuration(connection), message=given.argument, autogenerate=True, rev_id=number)

        asyncio.run(_on_own_connection(given.url, revise))


if __name__ == "__main__":
    main()
