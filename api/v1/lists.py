"""What a city fills in: responsibility and patrol lists as CSV, and how matters are verified."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.errors import FieldProblem, Problem, responses
from api.security import address_of, require, services_of, signed_in
from api.v1.values import Body, Moment
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import list_import, responsibility
from callcenter.cases.list_commands import ITEMS, PATROL
from callcenter.cases.list_import import Imported, ListBusy
from callcenter.tables.rows import TableRefused

router = APIRouter(prefix="/api/v1", tags=["lists"])

Reader = Annotated[Principal, signed_in()]
Manager = Annotated[Principal, require(Permission.LISTS_MANAGE)]

Name = Annotated[str, Query(min_length=1, max_length=80, description="of the list, where there are several")]
CSV: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The CSV itself, UTF-8 or GBK, at most 1 MiB; larger ones by `callcenter lists import`.",
        "content": {"text/csv": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class ListOut(BaseModel):
    """One version of a responsibility list."""

    id: UUID
    name: str = Field(examples=[ITEMS])
    version: int = Field(examples=[3])
    in_force_from: datetime
    imported_at: datetime
    imported_by: str = Field(description="the id of a user or key, or `system`")
    sha256: str = Field(description="of the file")
    items: int = Field(examples=[1367])


class ListList(BaseModel):
    """Versions of lists, the newest import first."""

    items: list[ListOut]


class ImportOut(BaseModel):
    """What an import did."""

    name: str = Field(examples=[ITEMS])
    version: int = Field(description="the newest now", examples=[3])
    rows: int = Field(examples=[1367])
    new: bool = Field(description="false: the newest version has this content already, nothing was stored")


class PatrolOut(BaseModel):
    """One thing that a grid worker looks after."""

    code: str = Field(examples=["P001"])
    name: str = Field(examples=["看井盖"])
    standard: str = Field(examples=["GB/T 30428.2-2013"])
    kind: str = Field(examples=["part"])
    category_code: str = Field(examples=["0101"])
    every_days: int | None = Field(description="null: no fixed round", examples=[7])


class PatrolList(BaseModel):
    """The newest version of a patrol list, by code."""

    items: list[PatrolOut]


class VerificationOut(BaseModel):
    """A rule on whether a matter is looked at before it is filed; empty columns mean any."""

    source: str = Field(examples=["phone"])
    domain: str = Field(examples=["urban"])
    kind: str = Field(examples=[""])
    category_code: str = Field(examples=[""])
    mode: str = Field(description="verify_first 先核后立, exempt 免核实, dispatch_first 先派后核", examples=["exempt"])


class VerificationList(BaseModel):
    """The city's rules; without one the defaults of docs/responsibility.md hold."""

    items: list[VerificationOut]


class VerificationIn(Body):
    """A rule to make, change or drop."""

    source: Annotated[str, Field(max_length=16)] = ""
    domain: Literal["", "urban", "social"] = ""
    kind: Literal["", "part", "event", "social"] = ""
    category_code: Annotated[str, Field(pattern=r"^[0-9A-Za-z.-]{0,16}$")] = ""
    mode: Literal["verify_first", "exempt", "dispatch_first"] | None = Field(description="null drops the rule")


def _refused(fault: TableRefused) -> Problem:
    found = [
        FieldProblem(
            where=f"row {one.row}, {one.column}" if one.row else one.column, problem=f"{one.value!r}: {one.mend}"
        )
        for one in fault.faults
    ]
    return Problem(422, "value_refused", "nothing was imported: mend the rows in errors, send it again", errors=found)


def _out(told: Imported) -> ImportOut:
    return ImportOut(name=told.name, version=told.version, rows=told.rows, new=told.new)


@router.get("/lists", summary="List the responsibility lists", responses=responses())
async def list_lists(_: Reader, request: Request) -> ListList:
    """Every version, at most 200."""
    async with services_of(request).db.read() as session:
        return ListList(
            items=[ListOut.model_validate(one, from_attributes=True) for one in await list_import.lists(session)]
        )


@router.post("/lists/import", summary="Import a responsibility list", openapi_extra=CSV, responses=responses(409, 413))
async def import_list(
    principal: Manager,
    request: Request,
    name: Name = ITEMS,
    since: Annotated[Moment | None, Query(description="in force from; default: from now on")] = None,
) -> ImportOut:
    """All or nothing: 422 names every wrong row, column and mend. The same file again makes no version. Audited."""
    data, at = await request.body(), clock.now()
    actor = principal.actor(address_of(request))
    try:
        async with services_of(request).db.begin() as session:
            return _out(
                await list_import.import_items(session, data, name=name, actor=actor, at=at, in_force_from=since)
            )
    except TableRefused as fault:
        raise _refused(fault) from None
    except ListBusy as fault:
        raise Problem(409, "conflict", str(fault)) from None
    except ValueError as fault:
        raise Problem(422, "value_refused", str(fault)) from None


@router.get("/lists/patrol", summary="A patrol list", responses=responses())
async def get_patrol(_: Reader, request: Request, name: Name = PATROL) -> PatrolList:
    """Its newest version; empty when there is none."""
    async with services_of(request).db.read() as session:
        found = await list_import.patrol_items(session, name)
    return PatrolList(items=[PatrolOut.model_validate(one, from_attributes=True) for one in found])


@router.post("/lists/patrol/import", summary="Import a patrol list", openapi_extra=CSV, responses=responses(409, 413))
async def import_patrol(principal: Manager, request: Request, name: Name = PATROL) -> ImportOut:
    """All or nothing, as a responsibility list. Audited."""
    data, at = await request.body(), clock.now()
    actor = principal.actor(address_of(request))
    try:
        async with services_of(request).db.begin() as session:
            return _out(await list_import.import_patrol(session, data, name=name, actor=actor, at=at))
    except TableRefused as fault:
        raise _refused(fault) from None
    except ListBusy as fault:
        raise Problem(409, "conflict", str(fault)) from None
    except ValueError as fault:
        raise Problem(422, "value_refused", str(fault)) from None


@router.get("/lists/verification", summary="How matters are verified", responses=responses())
async def list_verification(_: Reader, request: Request) -> VerificationList:
    """The city's own rules."""
    async with services_of(request).db.read() as session:
        found = await responsibility.verification_rules(session)
    return VerificationList(items=[VerificationOut.model_validate(one, from_attributes=True) for one in found])


@router.put("/lists/verification", summary="Settle how a matter is verified", responses=responses())
async def set_verification(rule: VerificationIn, principal: Manager, request: Request) -> VerificationList:
    """The rule of exactly these columns; the most specific rule wins. Audited."""
    async with services_of(request).db.begin() as session:
        await responsibility.set_verification(
            session,
            rule.mode,
            source=rule.source,
            domain=rule.domain,
            kind=rule.kind,
            category_code=rule.category_code,
            actor=principal.actor(address_of(request)),
            at=clock.now(),
        )
        await session.flush()
        found = await responsibility.verification_rules(session)
    return VerificationList(items=[VerificationOut.model_validate(one, from_attributes=True) for one in found])
