"""The ground under the cases: which areas, parts and places there are, what lies around a point, and imports of it."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.errors import FieldProblem, Problem, moved, not_found, responses
from api.security import address_of, require, services_of
from api.v1.acts import actor_of, city_of
from api.v1.cases import CaseRef, find_case
from api.v1.shapes import AreaNameOut, CategoryOut, may_see
from api.v1.units import UnitOut, unit_out
from api.v1.values import Body, Words
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import alike, links, locating
from callcenter.cases.lifecycle import Refused
from callcenter.cases.model import Case
from callcenter.cases.record import CaseError, CaseNotFound, Conflict
from callcenter.city import assets, cells, context, importing, kinds
from callcenter.city.areas import AreaRef
from callcenter.city.city import City
from callcenter.city.coordinates import DATUMS, WGS84, BadPoint, Point, point
from callcenter.city.gazetteer import REASONS, Candidate
from callcenter.city.ground import STATES, CityImport
from callcenter.tables.rows import TableRefused
from callcenter.tables.sources import Source

router = APIRouter(prefix="/api/v1", tags=["city"])

Reader = Annotated[Principal, require(Permission.CITY_READ)]
Manager = Annotated[Principal, require(Permission.LISTS_MANAGE)]
CaseReader = Annotated[Principal, require(Permission.CASES_READ)]
DraftReader = Annotated[Principal, require(Permission.CASES_READ_DRAFTS)]
Decider = Annotated[Principal, require(Permission.CASES_DECIDE)]

Lon = Annotated[float, Query(ge=-180, le=180, description="in `datum`", examples=[112.2])]
Lat = Annotated[float, Query(ge=-90, le=90, description="in `datum`", examples=[31.03])]
Datum = Annotated[Literal[DATUMS], Query(description="of lon and lat")]  # type: ignore[valid-type]
Kind = Annotated[Literal[kinds.ALL], "what the rows are"]  # type: ignore[valid-type]
FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "CSV (UTF-8 or GBK), XLSX or GeoJSON, at most 1 MiB; larger ones by `callcenter city import`.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
RECENT: Final = timedelta(days=30)
"""How far back the cases around a point go."""
CASES_M: Final = 300.0


class AreasAt(BaseModel):
    """Where a point lies."""

    tree: list[AreaNameOut] = Field(description="the narrowest area, then those above it; empty outside of the city")
    across: list["AcrossOut"] = Field(description="professional grids that the point lies in, too")


class AcrossOut(AreaNameOut):
    """A professional grid."""

    layer: str = Field(examples=["police"])


class PlaceOut(BaseModel):
    """A point that the words may mean."""

    lon: float = Field(examples=[112.2])
    lat: float = Field(examples=[31.03])
    name: str = Field(description="what it was found by", examples=["柳泉路"])
    address: str | None = Field(description="the code of the door, where one was found")
    share: float = Field(description="of all that it may be, 0 to 1", examples=[0.83])
    reasons: list[Literal[REASONS]] = Field(examples=[["name_heard", "door"]])  # type: ignore[valid-type]
    areas: list[AreaNameOut]


class PlaceList(BaseModel):
    """Points, the likeliest first, one an area."""

    items: list[PlaceOut]


class Phrase(Body):
    """What was said of a place."""

    phrase: Annotated[str, Words, Field(min_length=2, max_length=400)] = Field(examples=["柳泉路五十八号"])


class AssetOut(BaseModel):
    """A registered part."""

    code: str = Field(description="标识码", examples=["9908010101000001"])
    category: str = Field(description="its code in the standard of 标识码", examples=["0101"])
    name: str = Field(examples=["上水井盖"])
    owner: str = Field(description="权属单位, a unit's code; empty: nobody is known")
    keeper: str = Field(description="养护单位, a unit's code")
    state: str = Field(description="完好, 破损, 丢失, 废弃 or 移除", examples=["完好"])
    tag: str | None
    lon: float = Field(examples=[112.2])
    lat: float = Field(examples=[31.03])
    metres: float | None = Field(description="from the point asked about", examples=[12.5])


class AssetList(BaseModel):
    """Parts, the nearest first."""

    items: list[AssetOut]


class EntryOut(BaseModel):
    """An entry of a registry near a point."""

    registry: str = Field(examples=["cameras"])
    code: str
    name: str
    owner: str = Field(description="a unit's code")
    lon: float
    lat: float
    metres: float


class NearCase(BaseModel):
    """A case near a point: what it is about, nothing of who reported it."""

    id: UUID
    number: str | None
    state: str
    category: CategoryOut | None
    created_at: datetime
    metres: float | None = Field(description="null: one of the two has no place")


class ContextOut(BaseModel):
    """What lies around a point (004-14)."""

    areas: AreasAt
    governments: list[UnitOut] = Field(description="属地, the nearest first")
    assets: list[AssetOut]
    cameras: list[EntryOut]
    risks: list[EntryOut]
    cases: list[NearCase] = Field(description="open ones first; of the last 30 days, those that you may see")


class SuggestionOut(BaseModel):
    """Another case that may be the same matter."""

    other: NearCase
    likeness: float = Field(description="of the words, 0 to 1", examples=[0.62])
    later: bool = Field(description="the other one came later")
    decided: Literal["merged", "two"] | None = Field(description="null: nobody has looked")


class SuggestionList(BaseModel):
    """Newest first; only cases that you may see."""

    items: list[SuggestionOut]


class Decision(Body):
    """What somebody found who looked."""

    decided: Literal["merged", "two"] = Field(description="merged: the later one is cancelled and linked")
    reason: Annotated[str, Words, Field(max_length=400)] = Field(examples=["同一处井盖"])
    expected_version: int = Field(ge=1, le=2**31 - 1, description="of the later case", examples=[3])


class HotSpotOut(BaseModel):
    """Many callers on one matter at one place."""

    id: UUID
    domain: str | None
    kind: str | None
    category_code: str | None
    areas: list[AreaNameOut]
    lon: float
    lat: float
    cases: int = Field(examples=[9])
    callers: int = Field(description="different telephones", examples=[7])
    raised_at: datetime
    last_at: datetime


class HotSpotList(BaseModel):
    """The most callers first."""

    items: list[HotSpotOut]


class ImportOut(BaseModel):
    """One file that was imported, or refused."""

    id: int
    kind: str = Field(examples=["assets"])
    version: int = Field(examples=[3])
    state: Literal[STATES]  # type: ignore[valid-type]
    source: str
    rows: int
    refused: int
    faults: list[FieldProblem] = Field(description="the first 200")
    by: str
    at: datetime


class ImportList(BaseModel):
    """Imports, the newest first."""

    items: list[ImportOut]


class ImportTold(BaseModel):
    """What an import did."""

    kind: str
    version: int
    rows: int
    new: bool = Field(description="false: the version in force has this content already, nothing was stored")


def known_city(request: Request) -> City:
    """The city of this process."""
    services = services_of(request)
    if services.city is not None:
        return services.city
    state = request.app.state
    if getattr(state, "ground", None) is None:
        state.ground = City(services.db)
    city: City = state.ground
    return city


def _point(lon: float, lat: float, datum: str) -> Point:
    try:
        return point(lon, lat, datum)
    except BadPoint as fault:
        raise Problem(422, "value_refused", str(fault)) from None


def _names(areas: tuple[AreaRef, ...]) -> list[AreaNameOut]:
    return [AreaNameOut(code=one.code, name=one.name, level=one.level) for one in areas]


async def _areas_at(city: City, place: Point) -> AreasAt:
    lies = await city.at(place)
    across = [AcrossOut(code=one.code, name=one.name, level=one.level, layer=one.layer) for one in lies.across]
    return AreasAt(tree=_names(lies.tree), across=across)


def _asset(part: assets.Part, metres: float | None = None) -> AssetOut:
    return AssetOut(
        code=part.code,
        category=part.category,
        name=part.name,
        owner=part.owner,
        keeper=part.keeper,
        state=part.state,
        tag=part.tag,
        lon=part.lon,
        lat=part.lat,
        metres=metres,
    )


def _place(city: City, one: Candidate) -> PlaceOut:
    return PlaceOut(
        lon=round(one.point.lon, 7),
        lat=round(one.point.lat, 7),
        name=one.name,
        address=one.address,
        share=one.share,
        reasons=list(one.reasons),
        areas=_names(city.known(one.area.id)) if one.area else [],
    )


def _near(case: Case, metres: float | None) -> NearCase:
    category = None
    if case.category_code is not None:
        category = CategoryOut(
            standard=case.category_standard or "",
            code=case.category_code,
            kind=case.category_kind or "",
            major=case.category_major or "",
            minor=case.category_minor or "",
        )
    return NearCase(
        id=case.id,
        number=case.number,
        state=case.state,
        category=category,
        created_at=case.created_at,
        metres=metres,
    )


@router.get("/city/areas-at", summary="Where a point lies", responses=responses())
async def areas_at(_: Reader, request: Request, lon: Lon, lat: Lat, datum: Datum = WGS84) -> AreasAt:
    """The grid with all above it, and the professional grids across it."""
    return await _areas_at(known_city(request), _point(lon, lat, datum))


@router.post("/city/places", summary="From what was said to points", responses=responses())
async def find_places(said: Phrase, _: Reader, request: Request) -> PlaceList:
    """By name as written and as heard, number, building, crossing, direction; a body, for an address may name a home
    and addresses of requests are logged by others on the way."""
    city = known_city(request)
    return PlaceList(items=[_place(city, one) for one in await city.find(said.phrase)])


@router.get("/city/assets/near", summary="Parts near a point", responses=responses())
async def assets_near(
    _: Reader,
    request: Request,
    lon: Lon,
    lat: Lat,
    datum: Datum = WGS84,
    category: Annotated[list[str], Query(max_length=20, description="codes; none: all")] = [],  # noqa: B006 - FastAPI copies it
    within: Annotated[float, Query(gt=0, le=cells.FARTHEST_M, description="metres")] = 200.0,
    limit: Annotated[int, Query(ge=1, le=assets.MOST_NEAR)] = 10,
) -> AssetList:
    """Nearest first, those that are gone left out."""
    place = _point(lon, lat, datum)
    versions = await known_city(request).versions()
    async with services_of(request).db.read() as session:
        found = await assets.nearest(
            session,
            versions.get(kinds.ASSETS),
            place,
            categories=[one[:5] for one in category],
            within_m=within,
            most=limit,
        )
    return AssetList(items=[_asset(one.asset, one.metres) for one in found])


@router.get("/city/assets/{code}", summary="One part", responses=responses(404))
async def one_asset(code: str, _: Reader, request: Request) -> AssetOut:
    """By its 标识码."""
    versions = await known_city(request).versions()
    async with services_of(request).db.read() as session:
        found = await assets.by_code(session, versions.get(kinds.ASSETS), code[:20])
    if found is None:
        raise not_found("a part with that code")
    return _asset(found)


@router.get("/city/tags/{tag}", summary="The part that carries a tag", responses=responses(404))
async def asset_of_tag(tag: str, _: Reader, request: Request) -> AssetOut:
    """QR code or RFID; with its `code` a case is registered where it stands (004-10)."""
    versions = await known_city(request).versions()
    async with services_of(request).db.read() as session:
        found = await assets.by_tag(session, versions.get(kinds.ASSETS), tag[:200])
    if found is None:
        raise not_found("a part with that tag")
    return _asset(found)


@router.get("/city/context", summary="What lies around a point", responses=responses())
async def context_of(principal: Reader, request: Request, lon: Lon, lat: Lat, datum: Datum = WGS84) -> ContextOut:
    """Areas, governments, parts, cameras, risk sources and cases, in one call (004-14)."""
    place, city = _point(lon, lat, datum), known_city(request)
    lies, versions = await city.at(place), await city.versions()
    async with services_of(request).db.read() as session:
        found = await context.around(session, place, lies, versions)
        cases = []
        if principal.may(Permission.CASES_READ):
            near = await alike.around(session, place, within_m=CASES_M, since=clock.now() - RECENT)
            cases = [_near(case, far) for case, far in near if await may_see(session, case, principal)]
    return ContextOut(
        areas=await _areas_at(city, place),
        governments=[unit_out(unit, principal) for unit in found.governments],
        assets=[_asset(one.asset, one.metres) for one in found.assets],
        cameras=[_entry(one) for one in found.cameras],
        risks=[_entry(one) for one in found.risks],
        cases=cases,
    )


def _entry(one: context.Entry) -> EntryOut:
    return EntryOut(
        registry=one.registry,
        code=one.code,
        name=one.name,
        owner=one.owner,
        lon=one.place.lon,
        lat=one.place.lat,
        metres=one.metres,
    )


@router.get("/cases/{case}/places", summary="Where a case may be", responses=responses(404))
async def places_of_case(case: CaseRef, principal: DraftReader, request: Request) -> PlaceList:
    """What its words may mean, the likeliest first: an agent takes one by amending the case."""
    seen, city = await find_case(request, principal, case), known_city(request)
    async with services_of(request).db.read() as session:
        found = await locating.candidates(session, city, seen.case.id)
    return PlaceList(items=[_place(city, one) for one in found])


@router.get("/cases/{case}/suggestions", summary="What may be the same matter", responses=responses(404))
async def suggestions_of_case(case: CaseRef, principal: CaseReader, request: Request) -> SuggestionList:
    """Near in place and time, or in like words. Merging is a person's."""
    seen = await find_case(request, principal, case)
    async with services_of(request).db.read() as session:
        found = [
            (one, other)
            for one, other in await alike.suggestions_of(session, seen.case.id)
            if await may_see(session, other, principal)
        ]
    return SuggestionList(
        items=[
            SuggestionOut(
                other=_near(other, one.distance_m),
                likeness=one.likeness,
                later=one.case_id == other.id,
                decided=one.decided,
            )
            for one, other in found
        ]
    )


@router.post("/cases/{case}/suggestions/{other}", summary="Decide on a suggestion", responses=responses(404, 409))
async def decide_suggestion(
    case: CaseRef, other: CaseRef, word: Decision, principal: Decider, request: Request
) -> SuggestionList:
    """`merged` cancels the later case, links it to the older one and tells its reporter, of their own case only."""
    one, two = await find_case(request, principal, case), await find_case(request, principal, other)
    at = clock.now()
    newer, older = (
        (one, two) if (one.case.created_at, one.case.id.hex) > (two.case.created_at, two.case.id.hex) else (two, one)
    )
    try:
        async with services_of(request).db.begin() as session:
            if word.decided == alike.MERGED:
                await links.merge_duplicate(
                    session,
                    newer.case.id,
                    older.case.id,
                    actor=await actor_of(session, principal),
                    reason=word.reason,
                    expected_version=word.expected_version,
                    at=at,
                    city=city_of(request),
                )
            await alike.decide(session, newer.case.id, older.case.id, word.decided, by=str(principal.id), at=at)
    except CaseNotFound:
        raise not_found("a suggestion of these two cases") from None
    except Conflict as fault:
        raise moved(fault.seen, fault.actual, fault.changes) from None
    except (CaseError, Refused) as fault:
        raise Problem(409, "conflict", str(fault)) from None
    return await suggestions_of_case(case, principal, request)


@router.get("/hot-spots", summary="Where many call about one matter", responses=responses())
async def list_hot_spots(
    _: CaseReader, request: Request, hours: Annotated[int, Query(ge=1, le=720, description="back from now")] = 24
) -> HotSpotList:
    """Raised when five different callers report one category within 300 m and two hours."""
    city = known_city(request)
    await city.areas()
    async with services_of(request).db.read() as session:
        found = await alike.hot_spots(session, clock.now() - timedelta(hours=hours))
    return HotSpotList(
        items=[
            HotSpotOut(
                id=spot.id,
                domain=spot.domain,
                kind=spot.category_kind,
                category_code=spot.category_code,
                areas=_names(city.known(spot.area_id)),
                lon=spot.lon,
                lat=spot.lat,
                cases=spot.cases,
                callers=spot.callers,
                raised_at=spot.raised_at,
                last_at=spot.last_at,
            )
            for spot in found
        ]
    )


@router.get("/city/imports", summary="What was imported", responses=responses())
async def list_imports(_: Manager, request: Request, kind: Annotated[str, Query(max_length=24)] = "") -> ImportList:
    """The newest 50, refused ones with their faults."""
    async with services_of(request).db.read() as session:
        return ImportList(items=[_import(row) for row in await importing.history(session, kind=kind)])


def _import(row: CityImport) -> ImportOut:
    return ImportOut(
        id=row.id,
        kind=row.kind,
        version=row.version,
        state=row.state,
        source=row.source,
        rows=row.rows,
        refused=row.refused,
        faults=[_fault(*one) for one in row.faults],
        by=row.by,
        at=row.at,
    )


def _fault(row: int, column: str, value: str, mend: str) -> FieldProblem:
    return FieldProblem(where=f"row {row}, {column}" if row else column, problem=f"{value!r}: {mend}")


@router.post("/city/imports/{kind}", summary="Import a file", openapi_extra=FILE, responses=responses(409, 413))
async def import_city(
    kind: Kind,
    principal: Manager,
    request: Request,
    datum: Annotated[str, Query(max_length=8, description="of the file's degrees: wgs84, cgcs2000, gcj02")] = "",
) -> ImportTold:
    """All or nothing, as the next version of its kind: 422 names every wrong row, column and mend. Audited."""
    data = await request.body()
    try:
        told = await importing.import_file(
            services_of(request).db,
            kind,
            Source(data=data),
            actor=principal.actor(address_of(request)),
            at=clock.now(),
            datum=datum,
        )
    except TableRefused as fault:
        raise _refused([_fault(f.row, f.column, f.value, f.mend) for f in fault.faults]) from None
    except importing.ImportBusy as fault:
        raise Problem(409, "conflict", str(fault)) from None
    except ValueError as fault:
        raise Problem(422, "value_refused", str(fault)) from None
    if told.faults:
        raise _refused([_fault(f.row, f.column, f.value, f.mend) for f in told.faults])
    known_city(request).forget()
    return ImportTold(kind=told.kind, version=told.version, rows=told.rows, new=told.new)


def _refused(found: list[FieldProblem]) -> Problem:
    return Problem(422, "value_refused", "nothing was imported: mend the rows in errors, send it again", errors=found)


@router.post("/city/imports/{kind}/go-back", summary="The version before", responses=responses(409))
async def go_back(kind: Kind, principal: Manager, request: Request) -> ImportTold:
    """It comes into force again, at once. Audited. Not for areas and units: import an older file."""
    try:
        told = await importing.go_back(
            services_of(request).db, kind, actor=principal.actor(address_of(request)), at=clock.now()
        )
    except ValueError as fault:
        raise Problem(409, "conflict", str(fault)) from None
    known_city(request).forget()
    return ImportTold(kind=told.kind, version=told.version, rows=told.rows, new=True)
