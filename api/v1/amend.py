"""Filling in a work order: what the caller's words did not give."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from api.errors import FieldProblem, Problem, moved, not_found, responses
from api.security import require, services_of
from api.v1.acts import actor_of, city_of
from api.v1.cases import CaseDetail, CaseRef, detail_of, find_case
from api.v1.shapes import View
from api.v1.values import Moment, Place, not_ahead
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import amending, intake
from callcenter.cases.record import CaseNotFound, Conflict

router = APIRouter(prefix="/api/v1", tags=["cases"])

Confirmer = Annotated[Principal, require(Permission.CASES_CONFIRM)]

_STORED: Final = {
    "area": "area_id",
    "asset": "asset_code",
    "asset_owner": "asset_owner_id",
    "accused_unit": "accused_unit_id",
}
"""Names here that are others in the store."""


class Amendment(Place):
    """What is set; a field that is left out stays as it is, null empties one."""

    expected_version: int = Field(ge=1, le=2**31 - 1, description="the `version` you decided on", examples=[3])
    address: str | None = Field(None, max_length=400, examples=["解放路"])
    area: UUID | None = None
    happened_at: Moment | None = Field(None, description="not ahead")
    reporter_name: str | None = Field(None, max_length=40, examples=["王丽"])
    reporter_number: str | None = Field(None, max_length=32, pattern=r"^[0-9+*# -]*$", examples=["13800138000"])
    callback_number: str | None = Field(None, max_length=32, pattern=r"^[0-9+*# -]*$")
    wish: str | None = Field(None, max_length=400, description="what the citizen hopes for")
    wants_reply: bool = True
    secrecy: bool = Field(True, description="once asked for it is never taken back")
    anonymous: bool = False
    urgency: Literal[intake.URGENCIES] = "ordinary"  # type: ignore[valid-type]
    accused: str | None = Field(None, max_length=120, description="who or what is complained about")
    accused_unit: UUID | None = Field(None, description="if it is a unit: it never gets the order")
    asset: str | None = Field(
        None, pattern=r"^[0-9]{16,17}$", description="the 标识码 of the part it is about: it lies where that stands"
    )
    asset_owner: UUID | None = Field(None, description="the unit that owns the thing")


@router.patch("/cases/{case}", summary="Fill in a work order", responses=responses(404, 409))
async def amend_case(case: CaseRef, amendment: Amendment, principal: Confirmer, request: Request) -> CaseDetail:
    """Until a unit has the case; name, numbers and wish of the citizen as long as it lives. One step of the log, which
    names the fields and not what stood in them. A filed case whose place is now known is dispatched by the lists."""
    not_ahead(amendment.happened_at, "body.happened_at")
    given = amendment.model_dump(include=amendment.model_fields_set - {"expected_version", "datum"})
    changes: dict[str, Any] = {_STORED.get(name, name): value for name, value in given.items()}
    seen = await find_case(request, principal, case)
    try:
        async with services_of(request).db.begin() as session:
            await amending.amend(
                session,
                seen.case.id,
                changes,
                actor=await actor_of(session, principal),
                expected_version=amendment.expected_version,
                at=clock.now(),
                city=city_of(request),
            )
    except CaseNotFound:
        raise not_found("a case with that id or number") from None
    except Conflict as fault:
        raise moved(fault.seen, fault.actual, fault.changes) from None
    except intake.Unknown as fault:
        errors = [FieldProblem(where=f"body.{fault.field}", problem="is not there")]
        raise Problem(422, "value_refused", str(fault), errors=errors) from None
    except amending.AmendRefused as fault:
        errors = [FieldProblem(where=f"body.{fault.field.removesuffix('_id')}", problem=str(fault)[:200])]
        raise Problem(409, "conflict", str(fault), errors=errors) from None
    return detail_of(await find_case(request, principal, str(seen.case.id)), View.masked(principal))
