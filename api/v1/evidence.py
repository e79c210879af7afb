"""Pictures of a case: added, listed, shown. The files lie under the data directory by their hash."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import select
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import FieldProblem, Problem, not_found, responses
from api.limits import BodyLimit
from api.security import require, services_of
from api.v1.cases import CaseRef, find_case
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import events
from callcenter.cases.life import CaseEvidence
from callcenter.cases.model import DRAFT, ENDED, CaseLog
from callcenter.cases.record import append_log, locked
from callcenter.storage.outbox import add_event

router = APIRouter(prefix="/api/v1", tags=["cases"])

Adder = Annotated[Principal, require(Permission.CASES_ADD_EVIDENCE)]
Viewer = Annotated[Principal, require(Permission.CASES_READ_EVIDENCE)]

LARGEST: Final = 20 * 1024 * 1024
"""Bytes of one picture."""
_MAGIC: Final = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))
MEDIA: Final = ("image/jpeg", "image/png", "image/webp")

_BINARY: Final = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA}


class EvidenceOut(BaseModel):
    """A picture of a case."""

    id: UUID
    kind: str = Field(description="before, after, check or other", examples=["after"])
    sha256: str = Field(examples=["ab" * 32])
    media: str = Field(examples=["image/jpeg"])
    size: int = Field(description="bytes", examples=[204800])
    taken_at: datetime | None
    added_at: datetime
    added_by: str = Field(description="the id of a user")


class EvidenceList(BaseModel):
    """The pictures of a case, the oldest first."""

    items: list[EvidenceOut]


class PictureBodyLimit:
    """The limit of bodies, with room for pictures where pictures are sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._small, self._large = BodyLimit(app), BodyLimit(app, limit=LARGEST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        parts = str(scope.get("path", "")).strip("/").split("/")
        picture = scope.get("method") == "POST" and parts[:3] == ["api", "v1", "cases"] and parts[4:] == ["evidence"]
        await (self._large if picture else self._small)(scope, receive, send)


def sniff(head: bytes) -> str | None:
    """The image type that a file begins as; None: none of ours. What the sender calls it does not count."""
    for magic, media in _MAGIC:
        if head.startswith(magic):
            return media
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


@router.post(
    "/cases/{case}/evidence",
    status_code=201,
    summary="Add a picture",
    responses={**responses(404, 409, 413), 200: {"model": EvidenceOut}},
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
)
async def add_evidence(
    case: CaseRef,
    principal: Adder,
    request: Request,
    response: Response,
    kind: Annotated[Literal["before", "after", "check", "other"], Query()],
    taken_at: Annotated[AwareDatetime | None, Query(description="when it was taken, with its offset")] = None,
) -> EvidenceOut:
    """The body is the file itself: JPEG, PNG or WebP, 20 MB at most. The same picture again is answered with 200 and
    stays what it was. As proof counts only a picture `after` that is new in the whole store and was taken and added
    after the order was given."""
    services = services_of(request)
    if principal.may(Permission.CASES_READ):
        case_id = (await find_case(request, principal, case)).case.id
    else:
        case_id = await _registered_by(request, principal, case)
    moment = clock.now()
    if taken_at is not None and taken_at > moment:
        raise Problem(
            422,
            "value_refused",
            "query.taken_at lies ahead: send the time at which it was taken",
            errors=[FieldProblem(where="query.taken_at", problem="lies ahead")],
        )
    folder = services.settings.data_dir / "evidence"
    digest, media, size = await _store(request.stream(), folder)
    async with services.db.begin() as session:
        row = await locked(session, case_id)
        if row is None:
            raise not_found("a case with that id or number")
        same = await session.scalar(
            select(CaseEvidence).where(CaseEvidence.case_id == case_id, CaseEvidence.sha256 == digest)
        )
        if same is not None:
            response.status_code = 200
            return EvidenceOut.model_validate(same, from_attributes=True)
        if row.state in ENDED or row.state == DRAFT:
            raise Problem(409, "conflict", f"the case is {row.state}: nothing is added to it")
        picture = CaseEvidence(
            id=uuid4(),
            case_id=case_id,
            kind=kind,
            sha256=digest,
            media=media,
            size=size,
            taken_at=taken_at,
            added_at=moment,
            added_by=str(principal.id),
        )
        session.add(picture)
        await append_log(
            session,
            row,
            actor=str(principal.id),
            action="evidence_added",
            from_state=row.state,
            at=moment,
            detail={"evidence": str(picture.id), "kind": kind},
        )
        refs = {"evidence": picture.id, "kind": kind}
        add_event(session, events.EVIDENCE, at=moment, call=row.call_id, case=case_id, refs=refs)
        return EvidenceOut.model_validate(picture, from_attributes=True)


@router.get("/cases/{case}/evidence", summary="List pictures", responses=responses(404))
async def list_evidence(case: CaseRef, principal: Viewer, request: Request) -> EvidenceList:
    """Without those that were erased."""
    found = (await find_case(request, principal, case)).case
    async with services_of(request).db.read() as session:
        rows = await session.scalars(
            select(CaseEvidence)
            .where(CaseEvidence.case_id == found.id, CaseEvidence.erased_at.is_(None))
            .order_by(CaseEvidence.added_at, CaseEvidence.id)
        )
        return EvidenceList(items=[EvidenceOut.model_validate(row, from_attributes=True) for row in rows])


@router.get(
    "/cases/{case}/evidence/{evidence_id}",
    summary="One picture",
    response_class=FileResponse,
    responses={**responses(404), 200: {"description": "The file", "content": _BINARY}},
)
async def show_evidence(case: CaseRef, evidence_id: UUID, principal: Viewer, request: Request) -> FileResponse:
    """The file as it was sent."""
    found = (await find_case(request, principal, case)).case
    services = services_of(request)
    async with services.db.read() as session:
        row = await session.get(CaseEvidence, evidence_id)
    if row is None or row.case_id != found.id or row.erased_at is not None:
        raise not_found("a picture of that case with that id")
    path = services.settings.data_dir / "evidence" / row.sha256
    if not await asyncio.to_thread(path.is_file):
        raise not_found("the file of that picture")
    # Attached, never shown in place: whatever else the file may be read as, no browser runs it here.
    name = f"{row.sha256[:16]}.{row.media.partition('/')[2]}"
    return FileResponse(path, media_type=row.media, filename=name, headers={"Cache-Control": "private, no-store"})


async def _registered_by(request: Request, principal: Principal, ref: str) -> UUID:
    """The case that ``principal``, who may read none, has registered. Raises Problem 404."""
    try:
        key = UUID(ref)
    except ValueError:
        raise not_found("a case with that id") from None
    async with services_of(request).db.read() as session:
        own = await session.scalar(
            select(CaseLog.id).where(
                CaseLog.case_id == key, CaseLog.action == "registered", CaseLog.actor == str(principal.id)
            )
        )
    if own is None:
        raise not_found("a case with that id")
    return key


async def _store(chunks: AsyncIterator[bytes], folder: Path) -> tuple[str, str, int]:
    """Write a picture under its hash; gives hash, type and size. Raises Problem 422 for what is none of ours.

    Whole or not at all: written beside, synced, then renamed. A file whose row never came is found by its hash again.
    """
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    handle, name = await asyncio.to_thread(tempfile.mkstemp, dir=folder, prefix=".new-")
    path = Path(name)
    try:
        digest, size, head = sha256(), 0, b""
        with os.fdopen(handle, "wb") as file:
            async for chunk in chunks:
                head = head if len(head) >= 16 else head + chunk[:16]
                size += len(chunk)
                if size > LARGEST:
                    raise Problem(413, "body_too_large", f"a picture has {LARGEST} bytes at most: send a smaller one")
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            media = sniff(head)
            if media is None:
                raise Problem(
                    422,
                    "value_refused",
                    "the body is no JPEG, PNG or WebP picture, whatever its name says",
                    errors=[FieldProblem(where="body", problem="not an image of a known type")],
                )
            await asyncio.to_thread(_sync, file.fileno())
        await asyncio.to_thread(path.replace, folder / digest.hexdigest())
    except ClientDisconnect:
        raise Problem(422, "value_refused", "the picture broke off: send it again") from None
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return digest.hexdigest(), media, size


def _sync(file: int) -> None:
    os.fsync(file)
