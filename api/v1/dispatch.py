"""The feed: filed cases in order, pulled by dispatch systems at their own pace."""

import asyncio
import contextlib
import time
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.errors import FieldProblem, Problem, responses
from api.metrics import Metrics
from api.security import require, services_of
from api.v1.shapes import CaseOut, View, case_out
from api.v1.values import Body
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.dispatch.feed import AckBeyondEnd, Feed, FeedItem, acknowledged
from callcenter.storage.engine import Database

router = APIRouter(prefix="/api/v1/dispatch", tags=["dispatch"])

Puller = Annotated[Principal, require(Permission.FEED_PULL)]
Acknowledger = Annotated[Principal, require(Permission.FEED_ACK)]

MAX_WAIT_S: Final = 20
"""Proxies commonly close a connection that says nothing for 30 or 60 s."""

ASK_AGAIN_S: Final = 1.0
"""A waiting pull asks the store this often even if not woken: events may be placed by another process than this."""

MAX_WAITING: Final = 200
"""Pulls that may wait at once; beyond, a pull answers at once and empty, and its reader comes again."""

MAX_POSITION: Final = 2**63 - 1


class FeedItemOut(BaseModel):
    """One event of a filed case, with the case as it is now."""

    position: int = Field(description="its place in the feed; send the last one as `after` and to `ack`", examples=[42])
    event: UUID = Field(description="the same when the item is pulled again: recognise duplicates by it")
    kind: str = Field(description="case.filed, case.updated or case.erased", examples=["case.filed"])
    at: datetime
    case: CaseOut


class FeedPage(BaseModel):
    """The next items, in order."""

    items: list[FeedItemOut]
    after: int = Field(description="the position to go on from: the last item's, or what was asked for", examples=[42])


class Ack(Body):
    """Receipt of everything up to a position."""

    position: int = Field(ge=0, le=MAX_POSITION, description="of the last item that is safely stored", examples=[42])


class Acked(BaseModel):
    """What is acknowledged now; it only grows."""

    position: int = Field(examples=[42])


def _item(item: FeedItem, view: View) -> FeedItemOut:
    return FeedItemOut(
        position=item.position,
        event=item.event,
        kind=item.kind,
        at=item.at,
        case=case_out(item.case.case, item.case.particulars, view),
    )


@router.get("/feed", summary="Pull filed cases", responses=responses())
async def pull(
    principal: Puller,
    request: Request,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_POSITION, description="a position; left out: after what was acknowledged")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="seconds to wait for a first item")] = 0,
) -> FeedPage:
    """Each reader (API key) keeps its own place. Pulling takes nothing away: what is not acknowledged comes again.

    Only filed cases are here. Signing for an order is an act of the case, not of the feed.
    """
    services = services_of(request)
    metrics: Metrics = request.app.state.metrics
    feed, consumer = Feed(services.db), str(principal.id)
    items = await feed.pull(consumer, after=after, limit=limit, at=clock.now())
    if not items and wait and metrics.waiting_pulls < MAX_WAITING:
        with metrics.waiting_pull():
            items = await _wait(services.db, request, consumer, after, limit, wait)
    metrics.pulled(items)
    view = View.masked(principal)
    found = [_item(item, view) for item in items]
    return FeedPage(items=found, after=found[-1].position if found else await _place(services.db, consumer, after))


@router.post("/ack", summary="Acknowledge what was pulled", responses=responses())
async def acknowledge(ack: Ack, principal: Acknowledger, request: Request) -> Acked:
    """A receipt of transport: everything up to `position` is safely yours. Again, or an older one, changes nothing."""
    try:
        now = await Feed(services_of(request).db).ack(str(principal.id), ack.position, at=clock.now())
    except AckBeyondEnd as fault:
        raise Problem(
            422, "value_refused", str(fault), errors=[FieldProblem(where="body.position", problem="beyond the end")]
        ) from None
    return Acked(position=now)


async def _wait(
    db: Database, request: Request, consumer: str, after: int | None, limit: int, seconds: float
) -> list[FeedItem]:
    """The first items that come within ``seconds``; none when the reader hangs up."""
    arrivals: Arrivals = request.app.state.arrivals
    feed, deadline = Feed(db), time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        await arrivals.wait(min(left, ASK_AGAIN_S))
        if await request.is_disconnected():
            return []
        if items := await feed.pull(consumer, after=after, limit=limit, at=clock.now()):
            return items
    return []


async def _place(db: Database, consumer: str, after: int | None) -> int:
    if after is not None:
        return after
    async with db.read() as session:
        return await acknowledged(session, consumer)


class Arrivals:
    """Wakes every pull that waits when this process has placed new events."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """New events are there."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, seconds: float) -> None:
        """Until ``tell``, or ``seconds`` have passed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
