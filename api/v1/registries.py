"""The registries: cameras, risk sources, devices, duty holders, meeting links, shared resources, connectors."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import not_found, responses
from api.security import require, services_of
from api.v1.city_people import CODE, Reasoned, UnitSeenOut, admission, asking_of, look_problems, unit_seen
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.city import cells, registry_reading, residents
from callcenter.city.coordinates import Point
from callcenter.city.registries import CAMERAS, REGISTRIES, Registry
from callcenter.city.registry_reading import MOST_NEAR, Entry, Narrow

router = APIRouter(prefix="/api/v1", tags=["registries"])

Reader = Annotated[Principal, require(Permission.CITY_READ)]
FullReader = Annotated[Principal, require(Permission.CITY_READ_PEOPLE_FULL)]

NAMES: Final = tuple(REGISTRIES)
Known = Literal[NAMES]  # type: ignore[valid-type]
Name = Annotated[Known, Path(description="of the registry")]
EntryCode = Annotated[str, Path(pattern=CODE, max_length=32)]
Owner = Annotated[str, Query(max_length=24, pattern=r"^[0-9A-Za-z._-]*$", description="code of the owning unit")]
OfKind = Annotated[str, Query(max_length=40, description="`kind` of the entry, where its registry has one")]
Grade = Annotated[int | None, Query(ge=0, le=4, description="of a risk source; 1 is the gravest")]


class ColumnOut(BaseModel):
    """A column of a registry's own, in `particulars` of its entries."""

    name: str = Field(examples=["grade"])
    called: list[str] = Field(description="its names in a file to import", examples=[["等级"]])
    form: str = Field(description="text, day, count, choice, address or mapping", examples=["count"])
    personal: bool = Field(description="tells of a person: masked")


class RegistryOut(BaseModel):
    """A registry and what is in force of it."""

    name: str = Field(examples=["risk_sources"])
    title: str = Field(examples=["风险源"])
    located: bool = Field(description="each entry has a place")
    entries: int = Field(examples=[4670])
    version: int | None = Field(description="of the import in force; null: nothing was imported", examples=[3])
    imported_at: datetime | None
    columns: list[ColumnOut]


class RegistryList(BaseModel):
    """Every registry."""

    items: list[RegistryOut]


class EntryOut(BaseModel):
    """An entry of a registry; what tells of people is masked."""

    code: str = Field(examples=["cam-0001"])
    name: str = Field(examples=["解放大道路口球机"])
    owner: UnitSeenOut | None = Field(description="null: none, or gone from the list of units")
    lat: float | None = Field(description="WGS84")
    lon: float | None = Field(description="WGS84")
    metres: float | None = Field(description="from the point that was asked about", examples=[12.4])
    particulars: dict[str, Any] = Field(
        description="what its registry alone has, see `columns`", examples=[{"kind": "加油站", "grade": 1}]
    )
    stream: str = Field(
        description="of a camera: open ones always; with view_right `asked` only one at a time and with"
        " `city:view_cameras`, recorded; closed ones never"
    )


class EntryList(BaseModel):
    """Entries by code, or the nearest first."""

    items: list[EntryOut]


class ParticularsOut(BaseModel):
    """What an entry tells of people, whole."""

    particulars: dict[str, str] = Field(examples=[{"holder": "张三"}])


def _out(entries: Sequence[Entry]) -> list[EntryOut]:
    return [
        EntryOut(
            code=one.code,
            name=one.name,
            owner=unit_seen(one.owner) if one.owner else None,
            lat=one.place.lat if one.place else None,
            lon=one.place.lon if one.place else None,
            metres=one.metres,
            particulars=dict(one.particulars),
            stream=one.stream,
        )
        for one in entries
    ]


@asynccontextmanager
async def _session(request: Request, *, records: bool) -> AsyncIterator[AsyncSession]:
    """A transaction that can record who reads, where that is recorded; else one that keeps no writer waiting."""
    db = services_of(request).db
    async with db.begin() if records else db.read() as session:
        yield session


def _registry(name: str) -> Registry:
    return REGISTRIES[name]


@router.get("/registries", summary="List the registries", responses=responses())
async def list_registries(_: Reader, request: Request) -> RegistryList:
    """With how many entries each has, and since when."""
    async with services_of(request).db.read() as session:
        found = await registry_reading.catalogue(session)
    return RegistryList(
        items=[
            RegistryOut(
                name=one.registry.name,
                title=one.registry.title,
                located=one.registry.located,
                entries=one.entries,
                version=one.version,
                imported_at=one.imported_at,
                columns=[
                    ColumnOut(name=name, called=list(column.called), form=column.form, personal=column.personal)
                    for name, column in one.registry.own.items()
                ],
            )
            for one in found
        ]
    )


@router.get("/registries/{registry}/entries", summary="List a registry", responses=responses())
async def list_entries(
    registry: Name,
    principal: Reader,
    request: Request,
    owner: Owner = "",
    kind: OfKind = "",
    grade: Grade = None,
    after: Annotated[str, Query(max_length=32, description="the last `code` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=500, description="items of one page")] = 200,
) -> EntryList:
    """By code. Who reads the connectors is recorded."""
    found, asking = _registry(registry), asking_of(principal, request)
    async with _session(request, records=found.audited) as session:
        narrow = Narrow(owner, kind, grade)
        return EntryList(
            items=_out(await registry_reading.entries(session, found, asking, narrow, after=after, limit=limit))
        )


@router.get("/registries/{registry}/near", summary="Entries near a point", responses=responses())
async def near_entries(
    registry: Name,
    principal: Reader,
    request: Request,
    lat: Annotated[float, Query(ge=-90, le=90, description="WGS84", examples=[31.03])],
    lon: Annotated[float, Query(ge=-180, le=180, description="WGS84", examples=[112.2])],
    within_m: Annotated[float, Query(gt=0, le=cells.FARTHEST_M, description="metres")] = 500.0,
    owner: Owner = "",
    kind: OfKind = "",
    grade: Grade = None,
    limit: Annotated[int, Query(ge=1, le=MOST_NEAR, description="items at most")] = 10,
) -> EntryList:
    """The nearest first."""
    found, asking = _registry(registry), asking_of(principal, request)
    async with _session(request, records=found.audited) as session:
        place, narrow = Point(lon, lat), Narrow(owner, kind, grade)
        near = await registry_reading.near(session, found, asking, narrow, place, within_m=within_m, most=limit)
        return EntryList(items=_out(near))


@router.get("/registries/{registry}/entries/{code}", summary="One entry", responses=responses(404))
async def get_entry(registry: Name, code: EntryCode, principal: Reader, request: Request) -> EntryOut:
    """A camera that wants to be asked shows its stream here, to who may (`city:view_cameras`), and that is recorded."""
    found, asking = _registry(registry), asking_of(principal, request)
    async with _session(request, records=found.audited or found.name == CAMERAS) as session:
        entry = await registry_reading.one(session, found, asking, code)
    if entry is None:
        raise not_found("an entry with that code")
    return _out([entry])[0]


@router.post(
    "/registries/{registry}/entries/{code}/particulars",
    summary="What an entry tells of people",
    responses=responses(404, 429),
)
async def read_particulars(
    registry: Name, code: EntryCode, asked: Reasoned, principal: FullReader, request: Request
) -> ParticularsOut:
    """Whole, such as a duty holder's telephone: a look for a purpose, recorded and counted as those at residents."""
    found = _registry(registry)
    admitted = await admission(asked, principal, request)
    async with look_problems(residents.PARTICULARS, principal, request), services_of(request).db.begin() as session:
        told = await registry_reading.particulars(session, found, code, admitted.why, admitted.asking)
    if told is None:
        raise not_found("an entry with that code")
    return ParticularsOut(particulars=told)
