"""Pictures of a case: added, listed, shown. The files lie under the data directory by their hash."""

import asyncio
import mmap
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import FieldProblem, Problem, not_found, responses
from api.limits import BodyLimit
from api.photos import JPEG, PNG, WEBP, BadPhoto, Photo, read_photo
from api.security import require, services_of
from api.v1.cases import CaseRef, find_case
from api.v1.values import Moment, not_ahead
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import events
from callcenter.cases.life import CaseEvidence
from callcenter.cases.model import DRAFT, ENDED, Case, CaseLog
from callcenter.cases.record import append_log, locked
from callcenter.storage.outbox import add_event

router = APIRouter(prefix="/api/v1", tags=["cases"])

Adder = Annotated[Principal, require(Permission.CASES_ADD_EVIDENCE)]
Viewer = Annotated[Principal, require(Permission.CASES_READ_EVIDENCE)]

LARGEST: Final = 20 * 1024 * 1024
"""Bytes of one picture."""
MOST: Final = 100
"""Pictures of one case."""
_BINARY: Final = {media: {"schema": {"type": "string", "format": "binary"}} for media in (JPEG, PNG, WEBP)}


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
    taken_at: Annotated[Moment | None, Query(description="when it was taken, with its offset")] = None,
) -> EvidenceOut:
    """The body is the file itself: JPEG, PNG or WebP, 20 MB and 120 million pixels at most. Place, camera and all else
    that is beside the picture is left off before it is kept; `sha256` is of what is kept.

    When the picture says itself that it was taken earlier than `taken_at`, that counts. The same picture again is
    answered with 200 and stays what it was. As proof counts only a picture `after` that is new in the whole store and
    was taken and added after the order was given.
    """
    services = services_of(request)
    if principal.may(Permission.CASES_READ):
        case_id = (await find_case(request, principal, case)).case.id
    else:
        case_id = await _registered_by(request, principal, case)
    moment = clock.now()
    not_ahead(taken_at, "query.taken_at", moment)
    async with services.db.read() as session:  # before twenty megabytes are read for nothing
        await _check_open(session, await session.get(Case, case_id))
    folder = services.settings.data_dir / "evidence"
    async with _received(request.stream(), folder) as got, services.db.begin() as session:
        row = await locked(session, case_id)
        same = await session.scalar(
            select(CaseEvidence).where(CaseEvidence.case_id == case_id, CaseEvidence.sha256 == got.sha256)
        )
        if same is not None and same.erased_at is None:
            response.status_code = 200
            return EvidenceOut.model_validate(same, from_attributes=True)
        if same is not None:
            raise Problem(409, "conflict", "that picture of the case was erased: it is not taken again")
        row = await _check_open(session, row)
        told = got.photo.taken_at
        picture = CaseEvidence(
            id=uuid4(),
            case_id=case_id,
            kind=kind,
            sha256=got.sha256,
            media=got.photo.media,
            size=got.size,
            # A camera whose clock is ahead proves nothing either way.
            taken_at=min((one for one in (taken_at, told) if one is not None and one <= moment), default=None),
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
        await session.flush()
        await asyncio.to_thread(got.keep)
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
    """The picture, as an attachment."""
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


async def _check_open(session: AsyncSession, case: Case | None) -> Case:
    """``case`` if pictures are added to it. Raises Problem 404 and 409."""
    if case is None:
        raise not_found("a case with that id or number")
    if case.state in ENDED or case.state == DRAFT:
        raise Problem(409, "conflict", f"the case is {case.state}: nothing is added to it")
    count = select(func.count()).select_from(CaseEvidence).where(CaseEvidence.case_id == case.id)
    if (await session.scalar(count) or 0) >= MOST:
        raise Problem(409, "conflict", f"the case has {MOST} pictures: nothing is added to it")
    return case


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


@asynccontextmanager
async def _received(chunks: AsyncIterator[bytes], folder: Path) -> AsyncIterator["_Received"]:
    """A picture as it may be kept, in a file of its own beside the others; gone afterwards unless it was kept.

    Raises Problem 413 and 422.
    """
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    raw, clean = [Path(name) for name in await asyncio.to_thread(_two_files, folder)]
    try:
        size = 0
        with await asyncio.to_thread(raw.open, "wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > LARGEST:
                    raise Problem(413, "body_too_large", f"a picture has {LARGEST} bytes at most: send a smaller one")
                await asyncio.to_thread(file.write, chunk)
        yield await asyncio.to_thread(_clean, raw, clean)
    except ClientDisconnect:
        raise Problem(422, "value_refused", "the picture broke off: send it again") from None
    except BadPhoto as fault:
        errors = [FieldProblem(where="body", problem=str(fault)[:200])]
        raise Problem(422, "value_refused", str(fault), errors=errors) from None
    finally:
        for path in (raw, clean):
            await asyncio.to_thread(path.unlink, missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Received:
    """A picture in a file that has no name yet."""

    path: Path
    sha256: str
    size: int
    photo: Photo

    def keep(self) -> None:
        """Give the file its name, the hash; whole or not at all. A file whose row never comes is found by it again."""
        self.path.replace(self.path.parent / self.sha256)


def _two_files(folder: Path) -> list[str]:
    made = []
    for _ in range(2):
        handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
        os.close(handle)
        made.append(name)
    return made


def _clean(raw: Path, clean: Path) -> _Received:
    """Copy the picture out of what was sent, into ``clean``, synced. Raises BadPhoto."""
    if not raw.stat().st_size:
        raise BadPhoto("the body is empty: send the picture itself")
    digest, size = sha256(), 0
    with (
        raw.open("rb") as source,
        mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data,
        clean.open("wb") as target,
    ):
        photo = read_photo(data)
        for part in photo.parts:
            piece = data[part] if isinstance(part, slice) else part
            digest.update(piece)
            size += len(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    return _Received(clean, digest.hexdigest(), size, photo)
