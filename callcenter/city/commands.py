"""What ``callcenter city …`` does: a progress bar on stderr, figures or each fault of a refused file on stdout."""

import asyncio
from pathlib import Path
from typing import Any, Final, TextIO

from tqdm import tqdm

from callcenter import clock
from callcenter.access.audit import SYSTEM
from callcenter.city import importing, kinds, registries
from callcenter.city.coordinates import WGS84
from callcenter.city.ground import IN_FORCE
from callcenter.city.importing import Outcome
from callcenter.settings import Settings
from callcenter.storage.engine import Database
from callcenter.tables.rows import TableRefused
from callcenter.tables.sources import Source

FOLDER: Final = (
    (kinds.AREAS, "areas.geojson"),
    (kinds.UNITS, "units.csv"),
    (kinds.PLACES, "places.geojson"),
    (kinds.ADDRESSES, "addresses.csv"),
    (kinds.ASSETS, "assets.csv"),
    (kinds.HOUSES, "houses.csv"),
    (kinds.PEOPLE, "people.csv"),
    (kinds.ORGANISATIONS, "enterprises.csv"),
    (registries.CAMERAS, "cameras.csv"),
    (registries.RISK_SOURCES, "risk_sources.csv"),
    (registries.DEVICES, "devices.csv"),
    (registries.DUTY_HOLDERS, "duty_holders.csv"),
    (registries.MEETING_LINKS, "meeting_links.csv"),
    (registries.RESOURCES, "resources.csv"),
    (registries.CONNECTORS, "connectors.csv"),
    (kinds.FORMS, "forms.csv"),
    (kinds.FORM_RECORDS, "form_records.csv"),
)
"""The files of a whole city, in the order in which one needs another."""


def import_file(settings: Settings, kind: str, file: Path, out_stream: TextIO, *, datum: str = "") -> int:
    """Import ``file`` as the next version of ``kind``. 0: in force; 1: refused, each fault on a line.

    Raises ValueError for a kind or datum that is none, OSError for a file that cannot be read.
    """
    return asyncio.run(_with_store(settings, [(kind, file)], out_stream, datum))


def import_folder(settings: Settings, folder: Path, out_stream: TextIO, *, datum: str = WGS84) -> int:
    """Import the files of a whole city (``FOLDER``), those that are there. 0: all in force; 1: one was refused."""
    there = [(kind, folder / name) for kind, name in FOLDER if (folder / name).exists()]
    if not there:
        raise ValueError(f"{folder}: holds none of {', '.join(name for _, name in FOLDER)}")
    return asyncio.run(_with_store(settings, there, out_stream, datum))


def history(settings: Settings, out_stream: TextIO) -> int:
    """What was imported, the newest first."""

    async def work() -> None:
        database = Database(settings.store_url)
        await database.connect()
        try:
            async with database.read() as session:
                for row in await importing.history(session):
                    what = f"{row.kind} version {row.version}: {row.state}, {row.rows} rows, {row.refused} refused"
                    out_stream.write(f"{row.at:%Y-%m-%d %H:%M}  {what}  {row.source}\n")
        finally:
            await database.close()

    asyncio.run(work())
    return 0


def go_back(settings: Settings, kind: str, out_stream: TextIO) -> int:
    """The version before comes into force again."""

    async def work() -> Outcome:
        database = Database(settings.store_url)
        await database.connect()
        try:
            return await importing.go_back(database, kind, actor=SYSTEM, at=clock.now())
        finally:
            await database.close()

    told = asyncio.run(work())
    out_stream.write(f"{kind}: version {told.version} is in force again, {told.rows} rows\n")
    return 0


async def _with_store(settings: Settings, files: list[tuple[str, Path]], out_stream: TextIO, datum: str) -> int:
    database = Database(settings.store_url)
    await database.connect()
    try:
        await database.check_current()
        for kind, file in files:
            if await _one(database, kind, file, out_stream, datum):
                return 1
    finally:
        await database.close()
    return 0


async def _one(database: Database, kind: str, file: Path, out_stream: TextIO, datum: str) -> int:
    try:
        source = Source(path=file)
    except TableRefused as refused:
        out_stream.write(f"{file}: nothing was imported\n" + "".join(f"  {fault}\n" for fault in refused.faults))
        return 1
    with tqdm(total=source.size, unit="B", unit_scale=True, desc=kind, disable=None, leave=False) as bar:
        told = await importing.import_file(
            database,
            kind,
            source,
            actor=SYSTEM,
            at=clock.now(),
            datum=datum,
            progress=lambda read, _: _moved(bar, read),
        )
    if told.state != IN_FORCE:
        out_stream.write(f"{file}: nothing was imported, {told.refused} rows are wrong\n")
        out_stream.writelines(f"  {fault}\n" for fault in told.faults)
        return 1
    if not told.new:
        out_stream.write(f"{kind}: version {told.version} has this content already, nothing to import\n")
        return 0
    out_stream.write(f"{kind}: version {told.version} in force, {told.rows} rows\n")
    return 0


def _moved(bar: Any, read: int) -> None:
    bar.update(read - bar.n)
