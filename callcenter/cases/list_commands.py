"""What ``callcenter lists import`` does: figures, or each fault of a refused file, to stdout."""

import asyncio
from datetime import date, datetime, time
from pathlib import Path
from typing import Final, TextIO

from callcenter import clock
from callcenter.access.audit import SYSTEM
from callcenter.cases import list_import
from callcenter.cases.list_import import Imported
from callcenter.settings import Settings
from callcenter.storage.engine import Database
from callcenter.tables.rows import LARGEST_LIST, TableRefused

ITEMS: Final = "事项清单"
PATROL: Final = "巡查清单"
"""Names of a city's only lists; one with several gives each its own."""


def import_file(
    settings: Settings, file: Path, out_stream: TextIO, *, name: str = "", patrol: bool = False, since: str = ""
) -> int:
    """Import ``file`` as a responsibility list, or with ``patrol`` as a patrol list. 0: done; 1: refused, each fault on
    a line. ``since``: the first day (YYYY-MM-DD, Asia/Shanghai) on which it is in force; default: from now on.

    Raises ValueError for a day or a file that is none, OSError for one that cannot be read.
    """
    in_force_from = _midnight(since) if since else None
    if patrol and since:
        raise ValueError("--since: a patrol list is used from its import on, leave it out")
    if file.stat().st_size > LARGEST_LIST:
        raise ValueError(f"{file}: longer than {LARGEST_LIST} bytes, no list is: split it")
    data = file.read_bytes()

    async def work() -> Imported:
        database = Database(settings.store_url)
        await database.connect()
        try:
            await database.check_current()
            at = clock.now()
            async with database.begin() as session:
                if patrol:
                    return await list_import.import_patrol(session, data, name=name or PATROL, actor=SYSTEM, at=at)
                return await list_import.import_items(
                    session, data, name=name or ITEMS, actor=SYSTEM, at=at, in_force_from=in_force_from
                )
        finally:
            await database.close()

    try:
        told = asyncio.run(work())
    except TableRefused as refused:
        out_stream.write(f"{file}: nothing was imported\n")
        for fault in refused.faults:
            out_stream.write(f"  {fault}\n")
        return 1
    if not told.new:
        out_stream.write(f"{told.name}: version {told.version} has this content already, nothing to import\n")
        return 0
    out_stream.write(f"{told.name}: version {told.version}, {told.rows} items\n")
    return 0


def _midnight(day: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(day), time(), clock.SHANGHAI)
    except ValueError:
        raise ValueError(f"--since {day!r:.20}: no day, write it as 2026-10-01") from None
