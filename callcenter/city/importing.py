"""Imports of what a city knows of itself: all or nothing, versioned, a report of every row refused, memory bounded.

Rows are loaded beside the version in force in transactions of some thousand, each a fraction of what a caller would
notice; then one row of ``city_imports`` brings all of them into force, or none. Areas and units are different: cases
point into them, so they are changed in place by their code, in one transaction, and never deleted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, cast
from uuid import UUID, uuid4

import shapely
import structlog
from sqlalchemy import Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from callcenter.access.audit import Actor, add_entry
from callcenter.city import kinds, maps, unit_table
from callcenter.city.coordinates import DATUMS
from callcenter.city.ground import (
    GONE,
    IN_FORCE,
    LOADING,
    REFUSED,
    SUPERSEDED,
    WITHDRAWN,
    Address,
    AreaShape,
    Asset,
    CityImport,
    FormField,
    FormRecord,
    House,
    Organisation,
    Person,
    Place,
    Registered,
)
from callcenter.city.kinds import ADDRESSES, AREAS, FORM_RECORDS, FORMS, KINDS, PLACES, UNITS, Known
from callcenter.city.model import TREE, Area, Unit
from callcenter.storage.base import Base
from callcenter.storage.engine import Database, store_is_at_fault
from callcenter.tables.rows import MOST_FAULTS, SHOWN, Fault, Faults, Row, TableRefused, rows_of
from callcenter.tables.sources import Source
from classifier import taxonomy

log = structlog.get_logger()

BATCH: Final = 4_000
"""Rows of one transaction: some 40 ms, during which a call's own row waits."""
KEPT: Final = 1
"""Versions kept beside the one in force, to go back to."""
ABANDONED_AFTER: Final = timedelta(hours=1)
"""An import that has been loading for so long was killed; its rows are swept away. The largest, of 580,000 rows, takes
half a minute."""
ROW_TABLES: Final = (
    *(AreaShape, Place, Address, Asset, House, Person, Organisation, Registered),
    *(FormField, FormRecord),
)

Progress = Callable[[int, int], None]
"""Told (bytes read, bytes in all) now and then."""
InPlace = Callable[[AsyncSession], Awaitable[int]]
"""What is changed in the transaction that brings the import into force; gives how many rows."""


class ImportBusy(RuntimeError):
    """Somebody else imports the same kind at this moment: wait for it, then import again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import did. ``new`` False: the version in force has the same content, nothing was stored."""

    id: int
    kind: str
    version: int
    state: str
    rows: int
    refused: int
    faults: tuple[Fault, ...]
    new: bool = True


async def import_file(
    db: Database,
    kind: str,
    source: Source,
    *,
    actor: Actor,
    at: datetime,
    datum: str = "",
    progress: Progress | None = None,
) -> Outcome:
    """Import ``source`` as the next version of ``kind``; what was refused is in the outcome, nothing is then in force.

    ``datum``: of the coordinates in the file (``coordinates.DATUMS``); kinds with places need one. Raises ValueError
    for a kind or datum that is none, ImportBusy.
    """
    if kind not in kinds.ALL:
        raise ValueError(f"kind {kind!r:.24} is none of {', '.join(kinds.ALL)}")
    if (kind == AREAS or (kind in KINDS and KINDS[kind].geographic)) and datum not in DATUMS:
        raise ValueError(f"datum {datum!r:.20} must be one of {', '.join(DATUMS)}: name what the file's degrees are in")
    digest = await asyncio.to_thread(source.digest)
    begun = await _begin(db, kind, source.name, digest, datum, actor, at)
    if isinstance(begun, Outcome):
        return begun
    faults = Faults()
    if progress is not None:
        size = source.size
        source.progress = lambda read: progress(read, size)
    stored, in_place = 0, None
    try:
        if kind == AREAS:
            in_place = await _areas(begun, source, datum, faults, actor, at)
        elif kind == UNITS:
            in_place = await _units(db, begun, source, faults, actor, at)
        else:
            stored = await _rows(db, begun, kind, source, datum, faults)
        state = REFUSED if faults else IN_FORCE
        outcome = await _end(db, begun, state, stored, faults, actor, at, in_place)
    except TableRefused as refused:
        faults.extend(refused.faults[: MOST_FAULTS - len(faults)])
        faults.rows = max(faults.rows, 1)
        outcome = await _end(db, begun, REFUSED, 0, faults, actor, at)
    except BaseException:
        # Whatever happened, including the end of the process: the rows are swept later, here at once if it can be.
        await asyncio.shield(_end(db, begun, REFUSED, 0, faults, actor, at))
        raise
    try:
        await sweep(db, at)
    except Exception as fault:
        if not store_is_at_fault(fault):
            raise
        # What was imported stands; the next import sweeps.
        log.warning("old rows of the city were not swept", fault=type(fault).__name__)
    return outcome


async def go_back(db: Database, kind: str, *, actor: Actor, at: datetime) -> Outcome:
    """The version before comes into force again, the one in force is withdrawn; import its file again to undo that.

    Raises ValueError for a kind changed in place or without a version before.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r:.24}: one can go back for {', '.join(KINDS)}; import an older file instead")
    async with db.begin() as session:
        await _locked(session, kind)
        ours = select(CityImport).where(CityImport.kind == kind)
        now = await session.scalar(ours.where(CityImport.state == IN_FORCE))
        older = ours.where(CityImport.state == SUPERSEDED).order_by(CityImport.version.desc())
        before = await session.scalar(older.limit(1))
        if before is None:
            raise ValueError(f"kind {kind!r:.24}: no version before is kept, import its file again")
        if now is not None:
            now.state = WITHDRAWN
            await session.flush()
        before.state = IN_FORCE
        add_entry(session, actor, "city import restored", at=at, subject=f"import:{before.id}", detail={"kind": kind})
    return _told(before)


async def sweep(db: Database, at: datetime) -> int:
    """Take away rows that nothing needs: of refused and abandoned imports, of versions long superseded. How many.

    In small transactions; an import's own row stays, it tells who imported what.
    """
    async with db.begin() as session:
        await session.execute(
            update(CityImport)
            .where(CityImport.state == LOADING, CityImport.at < at - ABANDONED_AFTER)
            .values(state=REFUSED, ended_at=at)
        )
        older = aliased(CityImport)
        newer = select(func.count()).where(
            older.kind == CityImport.kind, older.state == SUPERSEDED, older.version > CityImport.version
        )
        # Said before the first row goes: nobody can go back to half of a version.
        await session.execute(
            update(CityImport)
            .where(CityImport.state == SUPERSEDED, newer.scalar_subquery() >= KEPT)
            .values(state=GONE)
            .execution_options(synchronize_session=False)
        )
    gone = 0
    for table in ROW_TABLES:
        async with db.read() as session:
            left = select(table.import_id).where(table.import_id == CityImport.id).exists()
            done_with = CityImport.state.in_((REFUSED, WITHDRAWN, GONE))
            doomed = list(await session.scalars(select(CityImport.id).where(done_with, left)))
        for key in doomed:
            while True:
                async with db.begin() as session:
                    some = select(table.code).where(table.import_id == key).limit(BATCH)
                    done = await session.execute(
                        delete(table).where(table.import_id == key, table.code.in_(some.scalar_subquery()))
                    )
                count = cast(Any, done).rowcount
                gone += count
                if count < BATCH:
                    break
                await asyncio.sleep(0)
    return gone


async def in_force(session: AsyncSession) -> dict[str, int]:
    """The key of the version in force of every kind that has one."""
    rows = await session.execute(select(CityImport.kind, CityImport.id).where(CityImport.state == IN_FORCE))
    return {kind: key for kind, key in rows}


async def history(session: AsyncSession, *, kind: str = "", limit: int = 50) -> list[CityImport]:
    """Imports, the newest first; of one ``kind`` where given."""
    query = select(CityImport).order_by(CityImport.id.desc()).limit(limit)
    if kind:
        query = query.where(CityImport.kind == kind)
    return list(await session.scalars(query))


# -- one import --------------------------------------------------------------------------------------------------------
async def _begin(
    db: Database, kind: str, name: str, digest: str, datum: str, actor: Actor, at: datetime
) -> CityImport | Outcome:
    try:
        async with db.begin() as session:
            ours = select(CityImport).where(CityImport.kind == kind)
            now = await session.scalar(ours.where(CityImport.state == IN_FORCE))
            if now is not None and (now.sha256, now.datum) == (digest, datum):
                return _told(now, new=False)
            # Before looking who else is loading: who begins in between takes the same version, and one of us fails.
            version = await session.scalar(select(func.max(CityImport.version)).where(CityImport.kind == kind))
            loading = await session.scalar(
                ours.where(CityImport.state == LOADING, CityImport.at >= at - ABANDONED_AFTER)
            )
            if loading is not None:
                raise ImportBusy(f"{kind}: version {loading.version} is being imported: wait, then import again")
            begun = CityImport(
                kind=kind,
                version=(version or 0) + 1,
                state=LOADING,
                source=name[:120],
                sha256=digest,
                datum=datum,
                rows=0,
                refused=0,
                faults=[],
                by=actor.id or actor.kind,
                at=at,
                ended_at=None,
            )
            session.add(begun)
    except IntegrityError:
        raise ImportBusy(f"{kind}: another import began at the same moment: wait, then import again") from None
    return begun


async def _locked(session: AsyncSession, kind: str) -> None:
    """Wait for whoever else changes what of ``kind`` is in force (PostgreSQL; SQLite has one writer)."""
    await session.execute(
        select(CityImport.id).where(CityImport.kind == kind).order_by(CityImport.id).with_for_update()
    )


async def _end(
    db: Database,
    begun: CityImport,
    state: str,
    stored: int,
    faults: Faults,
    actor: Actor,
    at: datetime,
    in_place: InPlace | None = None,
) -> Outcome:
    """Bring the import into force, with what it changes ``in_place``, or say that it was refused: one transaction."""
    async with db.begin() as session:
        await _locked(session, begun.kind)
        row = await session.get_one(CityImport, begun.id)
        if row.state == IN_FORCE:  # cancelled after the commit: what is done is done
            return _told(row)
        if row.state != LOADING:
            # Given up for dead (ABANDONED_AFTER), and its rows swept from under it.
            faults.add(Fault(0, "file", begun.source[:SHOWN], "took too long and was given up: import it again"))
            faults.rows = max(faults.rows, 1)
            state = REFUSED
        if state == IN_FORCE:
            if in_place is not None:
                stored = await in_place(session)
            await session.execute(
                update(CityImport)
                .where(CityImport.kind == begun.kind, CityImport.state == IN_FORCE)
                .values(state=SUPERSEDED)
            )
        row.state, row.rows, row.refused, row.ended_at = state, stored, faults.rows, at
        row.faults = [[one.row, one.column, one.value, one.mend] for one in faults]
        done = "city import in force" if state == IN_FORCE else "city import refused"
        detail: dict[str, str | int | bool | list[str]] = {"kind": row.kind, "rows": stored, "refused": faults.rows}
        add_entry(session, actor, done, at=at, subject=f"import:{row.id}", detail=detail)
    return _told(row)


def _told(row: CityImport, *, new: bool = True) -> Outcome:
    faults = tuple(Fault(*one) for one in row.faults)
    return Outcome(row.id, row.kind, row.version, row.state, row.rows, row.refused, faults, new)


async def _known(db: Database, datum: str, kind: str) -> Known:
    async with db.read() as session:
        versions = await in_force(session)
        units = frozenset(await session.scalars(select(Unit.code).where(Unit.active.is_(True))))
        places: frozenset[str] = frozenset()
        if kind == ADDRESSES and PLACES in versions:
            places = frozenset(await session.scalars(select(Place.code).where(Place.import_id == versions[PLACES])))
        fields: dict[str, dict[str, tuple[str, str]]] = {}
        if kind == FORM_RECORDS and FORMS in versions:
            asked = select(FormField.form, FormField.field, FormField.label, FormField.form_of)
            # Labels first: a label that is another field's code names that other field.
            rows = (await session.execute(asked.where(FormField.import_id == versions[FORMS]))).all()
            for name in ("label", "field"):
                for one in rows:
                    fields.setdefault(one.form, {})[getattr(one, name)] = (one.field, one.form_of)
        shapes: list[bytes] = []
        if AREAS in versions:
            top = select(AreaShape.shape).join(Area, Area.code == AreaShape.code)
            lowest = select(func.min(Area.level)).join(AreaShape, AreaShape.code == Area.code)
            lowest = lowest.where(AreaShape.import_id == versions[AREAS], Area.layer == TREE)
            level = await session.scalar(lowest)
            chosen = top.where(AreaShape.import_id == versions[AREAS], Area.layer == TREE, Area.level == level)
            shapes = list(await session.scalars(chosen))
    bounds = cast("tuple[float, float, float, float] | None", _bounds(shapes))
    standards = [taxonomy.load(name) for name in taxonomy.standards()]
    parts = [entry.category for one in standards for entry in one.entries if entry.category.kind == "part"]
    categories = frozenset(category.code for category in parts)
    return Known(datum, units, places, bounds, categories, fields=fields)


def _bounds(shapes: list[bytes]) -> tuple[float, ...] | None:
    return tuple(float(edge) for edge in shapely.total_bounds(shapely.from_wkb(shapes))) if shapes else None


async def _rows(db: Database, begun: CityImport, kind: str, source: Source, datum: str, faults: Faults) -> int:
    """Load the rows unseen. How many; faults say why they must not come into force."""
    what = KINDS[kind]
    known = await _known(db, datum, kind)
    rows = rows_of(source.records(), what.columns, what.needs, faults, most=what.most, private=what.private)

    def some() -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        for row in islice(rows, BATCH):
            parsed = what.parse(row, known)
            if not row.bad:
                batch.append(parsed | {"import_id": begun.id, "row": row.number})
            else:
                batch.append({})
        return batch

    stored = 0
    while batch := await asyncio.to_thread(some):
        good = [row for row in batch if row]
        # After the first fault nothing can come into force: the rest is read for the report only.
        if not faults and good:
            await _store(db, what.table, good, faults)
            stored += len(good)
        await asyncio.sleep(0)
    if not faults and kind in kinds.POINTS_TO:
        await _points(db, kind, begun.id, faults)
    return stored if not faults else 0


async def _store(db: Database, table: type[Base], rows: list[dict[str, Any]], faults: Faults) -> None:
    numbers = [row.pop("row") for row in rows]
    try:
        async with db.begin() as session:
            if db.is_sqlite:
                await session.execute(insert(cast(Table, table.__table__)), rows)
            else:
                await _copy(session, table, rows)
    except IntegrityError:
        if not await _twice(db, table, rows, numbers, faults):
            raise
    except Exception as error:
        # asyncpg's own, past SQLAlchemy: unique_violation
        if getattr(error, "sqlstate", "") != "23505" or not await _twice(db, table, rows, numbers, faults):
            raise


async def _copy(session: AsyncSession, table: type[Base], rows: list[dict[str, Any]]) -> None:
    """PostgreSQL's COPY: ten times as fast as INSERT."""
    columns = cast(Table, table.__table__).columns
    dialect = session.get_bind().dialect
    given = [column.name for column in columns]
    makers = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in columns]
    records = [
        tuple(
            make(row[name]) if make is not None and row[name] is not None else row[name]
            for name, make in zip(given, makers, strict=True)
        )
        for row in rows
    ]
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    driver = cast(Any, raw.driver_connection)
    await driver.copy_records_to_table(table.__tablename__, records=records, columns=given)


async def _twice(
    db: Database, table: type[Base], rows: list[dict[str, Any]], numbers: list[int], faults: Faults
) -> bool:
    """Name the rows whose code was there before. False: there are none."""
    model = cast(Any, table)
    async with db.read() as session:
        codes = [row["code"] for row in rows]
        there = set(
            await session.scalars(
                select(model.code).where(model.import_id == rows[0]["import_id"], model.code.in_(codes))
            )
        )
    for row, number in zip(rows, numbers, strict=True):
        if row["code"] in there:
            Row(number, {"code": row["code"]}, faults).fault("code", "is there already, in a row before: take one out")
        there.add(row["code"])
    return bool(faults)


async def _points(db: Database, kind: str, import_id: int, faults: Faults) -> None:
    """Rows that point at what is not there."""
    column, whither, target = kinds.POINTS_TO[kind]
    model, there = cast(Any, column.class_), cast(Any, target)
    async with db.read() as session:
        versions = await in_force(session)
        reached = select(there.code).where(there.import_id == versions.get(whither, -1), there.code == column).exists()
        lost = select(model.code, column).where(model.import_id == import_id, column != "", ~reached)
        for code, value in await session.execute(lost.limit(MOST_FAULTS)):
            faults.rows += 1
            faults.add(
                Fault(0, f"{column.key} of {code}", value, f"there is no such one in force: import {whither} first")
            )


# -- what cases point into ---------------------------------------------------------------------------------------------
async def _areas(begun: CityImport, source: Source, datum: str, faults: Faults, actor: Actor, at: datetime) -> InPlace:
    def read() -> list[maps.MapArea]:
        rows: Iterator[Row] = rows_of(source.records(), maps.COLUMNS, maps.NEEDS, faults, most=maps.MOST_AREAS)
        return maps.areas_of(rows, datum)

    found = await asyncio.to_thread(read)
    shapes = [{"import_id": begun.id, "code": area.code, "shape": bytes(shapely.to_wkb(area.shape))} for area in found]

    async def draw(session: AsyncSession) -> int:
        there = {area.code: area for area in await session.scalars(select(Area))}
        ids: Mapping[str, UUID] = {area.code: there[area.code].id if area.code in there else uuid4() for area in found}
        for area in sorted(found, key=lambda one: one.level):
            row = there.get(area.code)
            if row is None:
                row = Area(id=ids[area.code], code=area.code)
                session.add(row)
            row.name, row.level, row.layer, row.active = area.name, area.level, area.layer, True
            row.parent_id = ids[area.parent] if area.parent else None
        dropped = [code for code in there if code not in ids]
        for code in dropped:
            there[code].active = False
        await session.flush()
        await session.execute(insert(AreaShape), shapes)
        detail: dict[str, str | int | bool | list[str]] = {"areas": len(found), "dropped": len(dropped)}
        add_entry(session, actor, "areas drawn", at=at, subject=f"import:{begun.id}", detail=detail)
        return len(found)

    return draw


async def _units(
    db: Database, begun: CityImport, source: Source, faults: Faults, actor: Actor, at: datetime
) -> InPlace:
    async with db.read() as session:
        codes = frozenset(await session.scalars(select(Area.code).where(Area.active.is_(True))))
    found = await asyncio.to_thread(unit_table.units_of, source, codes, faults)

    async def enter(session: AsyncSession) -> int:
        await unit_table.store(session, found, at)
        detail: dict[str, str | int | bool | list[str]] = {"units": len(found)}
        add_entry(session, actor, "units imported", at=at, subject=f"import:{begun.id}", detail=detail)
        return len(found)

    return enter
