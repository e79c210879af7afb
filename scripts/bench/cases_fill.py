"""Filling databases for ``scripts/bench/cases``: bulk inserts into tables without their indexes, which are built after.

The same rows go into both databases at once, for making them takes as long as writing them.
"""

import io
import itertools
import random
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from callcenter.cases.search_index import key_floor, stored
from callcenter.storage.engine import Database
from callcenter.storage.schema import metadata
from scripts.bench.cases_city import UNTIL, City, Made, cases

CHUNK = 10_000
MOMENT = UNTIL
ORDERED_AFTER = timedelta(minutes=10)
"""As ``cases_city`` has it: an order is ten minutes younger than its case."""


def _sqlite_value(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return round(value.timestamp() * 1_000_000)
    return value


def _copy_value(value: Any) -> str:
    if value is None:
        return r"\N"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "t" if value else "f"
    return str(value)


def _rows(made: Sequence[Made]) -> dict[str, list[dict[str, Any]]]:
    return {
        "cases": [one.case for one in made],
        "case_particulars": [one.particulars for one in made],
        "case_orders": [one.order for one in made if one.order is not None],
        "case_assists": _assists([one.order for one in made if one.order is not None]),
        "case_deadlines": [deadline for one in made for deadline in one.deadlines],
        "case_log": [step for one in made for step in one.log],
    }


def _assists(orders: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """In every fifth case that a unit leads, the unit of the next one assists."""
    pairs = [pair for n, pair in enumerate(itertools.pairwise(orders)) if n % 5 == 0]
    return [
        {"unit_id": other["unit_id"], "created_at": own["issued_at"] - ORDERED_AFTER, "case_id": own["case_id"]}
        for own, other in pairs
        if other["unit_id"] != own["unit_id"]
    ]


def _city_rows(city: City) -> dict[str, list[dict[str, Any]]]:
    areas = [{"id": a, "code": b, "name": c, "level": d, "parent_id": e} for a, b, c, d, e in city.areas]
    units = [
        {
            **{"id": unit, "code": code, "name": name, "kind": "street" if area else "department", "level": 1},
            **{"area_id": area, "leader": "主任", "duty_phone": "", "round_the_clock": False, "active": True},
            "created_at": MOMENT,
        }
        for unit, code, name, area in city.units
    ]
    return {"areas": areas, "units": units}


class SqliteFill:
    """Rows into a SQLite file, unsafe while it is filled."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript(
            "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF; PRAGMA cache_size=-1000000; PRAGMA foreign_keys=OFF"
        )
        self.last = -1
        names = ("cases", "case_particulars", "case_orders", "case_deadlines", "case_log", "case_search")
        self.indexes = self.db.execute(
            f"SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type = 'index' AND tbl_name IN {names}"  # noqa: S608
        ).fetchall()
        for name, _ in self.indexes:
            self.db.execute(f'DROP INDEX "{name}"')
        self.triggers = self.db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'case_search%'"
        ).fetchall()
        for name, _ in self.triggers:
            self.db.execute(f"DROP TRIGGER {name}")

    async def add(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Rows by table."""
        self.db.execute("BEGIN")
        for table, many in rows.items():
            if many:
                names = list(many[0])
                self.db.executemany(
                    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608
                    ([_sqlite_value(row.get(name)) for name in names] for row in many),
                )
        self.db.execute("COMMIT")

    async def tokens(self, made: Sequence[Made]) -> None:
        """The index of words."""
        rows = []
        for one in made:
            self.last = max(self.last + 1, key_floor(one.case["created_at"]))
            rows.append((self.last, one.case["id"].hex, _sqlite_value(one.case["created_at"]), stored(one.tokens)))
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO case_search(key, case_id, created_at, words) VALUES (?, ?, ?, ?)", rows)
        self.db.execute("COMMIT")

    async def done(self) -> None:
        """Indexes, figures, and safety again."""
        for _, sql in self.indexes:
            self.db.execute(sql)
        self.db.execute("INSERT INTO case_search_fts(case_search_fts) VALUES ('rebuild')")
        for _, sql in self.triggers:
            self.db.execute(sql)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.close()


class PostgresFill:
    """Rows into a PostgreSQL database by COPY."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.db = connection
        self.indexes: list[str] = []

    async def begin(self) -> None:
        """Take the indexes away that no constraint needs."""
        found = await self.db.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename LIKE 'case%'"
            " AND indexname LIKE 'ix_%'"
        )
        self.indexes = [row["indexdef"] for row in found]
        for row in found:
            await self.db.execute(f'DROP INDEX "{row["indexname"]}"')
        await self.db.execute("SET session_replication_role = replica")  # foreign keys are right as they are made

    async def add(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Rows by table."""
        for table, many in rows.items():
            if many:
                names = list(many[0])
                await self._copy(table, names, ([_copy_value(row.get(name)) for name in names] for row in many))

    async def tokens(self, made: Sequence[Made]) -> None:
        """The index of words."""
        rows = (
            [one.case["id"].hex, one.case["created_at"].isoformat(), " ".join(f"'{token}'" for token in one.tokens)]
            for one in made
        )
        await self._copy("case_search", ["case_id", "created_at", "words"], rows)

    async def _copy(self, table: str, names: list[str], rows: Any) -> None:
        data = "".join("\t".join(row) + "\n" for row in rows).encode()
        await self.db.copy_to_table(table, source=io.BytesIO(data), columns=names, format="text")

    async def done(self) -> None:
        """Indexes and figures."""
        await self.db.execute("SET session_replication_role = origin")
        await self.db.execute("SET maintenance_work_mem = '1GB'")
        for sql in self.indexes:
            await self.db.execute(sql)
        await self.db.execute("VACUUM ANALYZE")
        await self.db.close()


async def fill(count: int, targets: Sequence[SqliteFill | PostgresFill]) -> City:
    """The city and ``count`` cases into each target."""
    city = City(random.Random(count))  # noqa: S311 - the same every time, not secret
    for target in targets:
        await target.add(_city_rows(city))
    made = cases(city, count, UNTIL)
    while chunk := list(itertools.islice(made, CHUNK)):
        rows = _rows(chunk)
        for target in targets:
            await target.add(rows)
            await target.tokens(chunk)
    for target in targets:
        await target.done()
    return city


async def migrated(url: str) -> Database:
    """An empty database with today's tables, connected."""
    metadata()
    db = Database(url)
    await db.connect()
    await db.migrate()
    return db
