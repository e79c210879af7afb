"""``/metrics`` for Prometheus: how long each part of a call takes, how many there are, what waits where.

Calls and cases are counted from the outbox, which is written in the same transaction as what it tells, so a count is
never of something that was rolled back. Labels are kinds and references, never a person's.
"""

import contextlib
import ipaddress
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from fastapi import APIRouter, Request, Response, Security
from fastapi.security.http import HTTPAuthorizationCredentials
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.security import Require, address_of, bearer_scheme, cookie_scheme, header_scheme, services_of
from api.services import Services
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.calls.model import Call
from callcenter.calls.repository import read_marks
from callcenter.calls.timeline import PULLED, spans
from callcenter.cases import events
from callcenter.cases.clocks import provisional_open
from callcenter.cases.model import Case
from callcenter.dispatch.feed import FeedItem
from callcenter.dispatch.model import FeedConsumer
from callcenter.jobs import store as jobs
from callcenter.storage.engine import store_is_at_fault
from callcenter.storage.outbox import OutboxEvent

log = structlog.get_logger()

BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0)
"""Seconds. 0.3 is the store's patience, 1 and 5 are what the hotline promises."""

BATCH: Final = 5_000
MAX_BATCHES: Final = 10
"""Events counted in one scrape at most: 50,000, some minutes of a big city's busiest hour; the rest comes next time."""

SETTLED_AFTER: Final = timedelta(seconds=10)
"""A call's marks may come a little after its end (the case is stored last); its parts are measured once it is quiet."""

MAX_UNSETTLED: Final = 20_000
MAX_CONSUMERS: Final = 50

CALL_OVER: Final = frozenset({"call.ended", "call.completed"})

router = APIRouter(tags=["health"])


class FromHereOr(Require):
    """Lets in this machine itself, and from elsewhere whoever has the permission.

    A monitoring agent on the machine needs no key. A request that came through a proxy is not from this machine.
    """

    PROXIED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")

    async def __call__(  # type: ignore[override]
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)],
        header: Annotated[str | None, Security(header_scheme)],
        cookie: Annotated[str | None, Security(cookie_scheme)],
    ) -> Principal | None:
        """The one who asks; None for this machine. Raises Problem 401 or 403."""
        if _loopback(address_of(request)) and not any(name in request.headers for name in self.PROXIED):
            return None
        return await super().__call__(request, bearer, header, cookie)


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    dependencies=[Security(FromHereOr(Permission.METRICS_READ))],
)
async def metrics(request: Request) -> Response:
    """Open to this machine; from elsewhere with `metrics:read`. Answers also while the database is gone."""
    found: Metrics = request.app.state.metrics
    return Response(await found.scrape(services_of(request)), media_type=CONTENT_TYPE_LATEST)


class Metrics:
    """The numbers of one application, in a registry of their own: two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._position: int | None = None
        self._unsettled: dict[UUID, datetime] = {}
        self._pulled: deque[tuple[UUID, datetime]] = deque(maxlen=MAX_UNSETTLED)
        self.waiting_pulls = 0

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=self.registry)

        self._spans = Histogram(
            "hotline_span_seconds", "Parts of a call's way", ["span"], buckets=BUCKETS, registry=self.registry
        )
        self._events = Counter(
            "hotline_events", "What happened to calls and cases, by kind", ["kind"], registry=self.registry
        )
        self._decisions = Counter(
            "hotline_decisions",
            "Complete cases by decision",
            ["decision", "domain"],
            registry=self.registry,
        )
        self._legs = gauge("hotline_live_legs", "Legs heard live now")
        self._capacity = gauge("hotline_leg_capacity", "Legs that can be heard live at once")
        self._compute = gauge("hotline_compute_ready", "1 when the compute child answers")
        self._line = gauge("hotline_line_up", "1 when the telephone line is up")
        self._pending = gauge("hotline_spool_pending", "Commands of calls that wait for the store")
        self._faults = gauge("hotline_fault", "1 while a part has a fault", ["part"])
        self._store = gauge("hotline_store_up", "1 when the store answered this scrape")
        self._lag = gauge(
            "hotline_feed_lag_seconds", "Age of the oldest item that a reader has not acknowledged", ["consumer"]
        )
        self._unplaced = gauge("hotline_feed_unplaced_seconds", "Age of the oldest event without a place in the feed")
        self._waiting = gauge("hotline_feed_waiting_pulls", "Pulls that wait for a first item")
        self._drift = gauge("hotline_drift", "Drift of the input, shares in [0, 1]; see docs/insight.md", ["measure"])
        self._drifted = gauge("hotline_drift_alarm", "1 while the input has drifted beyond the setting", ["measure"])
        self._bus = gauge("hotline_bus_lost_messages", "Live messages that a page did not get")
        self._jobs = gauge("hotline_jobs_waiting", "Jobs not done yet, by kind", ["kind"])
        self._jobs_late = gauge("hotline_jobs_late_seconds", "How long the job that is due longest has waited")
        self._jobs_given_up = gauge("hotline_jobs_given_up", "Jobs that somebody has to look at (at most 100 counted)")
        self._provisional = gauge(
            "hotline_deadlines_provisional", "Running limits counted over days whose holidays are not known yet"
        )

    async def begin(self, services: Services) -> None:
        """Count from here on. A store that is away now is counted from when it is back."""
        try:
            async with services.db.read() as session:
                self._position = await _end(session)
        except Exception as fault:
            if not store_is_at_fault(fault):
                raise
            log.warning("metrics begin later", fault=type(fault).__name__)

    @contextlib.contextmanager
    def waiting_pull(self) -> Iterator[None]:
        """A pull waits."""
        self.waiting_pulls += 1
        try:
            yield
        finally:
            self.waiting_pulls -= 1

    def pulled(self, items: Sequence[FeedItem]) -> None:
        """These items were pulled; of those that nobody had before, the time from stored to pulled is measured."""
        moment = clock.now()
        for item in items:
            case = item.case.case
            if case.pulled_at is None and case.call_id is not None:
                self._pulled.append((case.call_id, moment))

    async def scrape(self, services: Services) -> bytes:
        """Everything as Prometheus reads it."""
        self._parts(services)
        try:
            async with services.db.read() as session:
                await self._count(session)
                await self._measure(session)
                await self._feed(session)
                await self._jobs_and_days(session)
        except Exception as fault:
            if not store_is_at_fault(fault):
                raise
            self._store.set(0)
            log.warning("metrics without the store", fault=type(fault).__name__)
        else:
            self._store.set(1)
        return generate_latest(self.registry)

    def _parts(self, services: Services) -> None:
        compute, ledger, sequencer = services.compute, services.ledger, services.sequencer
        self._legs.set(compute.live if compute else 0)
        self._capacity.set(compute.capacity if compute else 0)
        self._compute.set(bool(compute and compute.ready))
        self._line.set(bool(services.line_status().get("up")))
        self._pending.set(ledger.pending if ledger else 0)
        self._faults.labels("spool").set(bool(ledger and ledger.fault))
        self._faults.labels("feed").set(bool(sequencer and sequencer.fault))
        self._waiting.set(self.waiting_pulls)
        drift = services.drift.latest if services.drift else None
        if drift is not None:
            for name, value in (("new_words", drift.new_words), ("mix", drift.mix), ("domain", drift.domain)):
                if value is not None:
                    self._drift.labels(name).set(value)
            for name in ("new_words", "mix"):
                self._drifted.labels(name).set(name in drift.alarms)
        self._bus.set(services.bus.stats().lost)

    async def _count(self, session: AsyncSession) -> None:
        if self._position is None:
            self._position = await _end(session)
            return
        moment = clock.now()
        for _ in range(MAX_BATCHES):
            rows = (
                await session.execute(
                    select(OutboxEvent.position, OutboxEvent.kind, OutboxEvent.call_id, OutboxEvent.case_id)
                    .where(OutboxEvent.position > self._position)
                    .order_by(OutboxEvent.position)
                    .limit(BATCH)
                )
            ).all()
            completed = []
            for position, kind, call, case in rows:
                self._events.labels(kind).inc()
                if kind in CALL_OVER and call is not None and len(self._unsettled) < MAX_UNSETTLED:
                    self._unsettled[call] = moment
                elif kind == events.COMPLETED and case is not None:
                    completed.append(case)
                self._position = position
            for some in _chunks(completed):
                query = select(Case.decision, Case.domain).where(Case.id.in_(some))
                for decision, domain in await session.execute(query):
                    self._decisions.labels(decision, domain or "none").inc()
            if len(rows) < BATCH:
                return

    async def _measure(self, session: AsyncSession) -> None:
        quiet = clock.now() - SETTLED_AFTER
        settled = [call for call, over in self._unsettled.items() if over <= quiet]
        taken = list(self._pulled)
        pulled = dict(taken)
        for some in _chunks(sorted({*settled, *pulled})):
            query = select(Call.id, Call.timeline).where(Call.id.in_(some))
            for call, stored in await session.execute(query):
                marks = read_marks(stored)
                if call in self._unsettled and self._unsettled[call] <= quiet:
                    for name, seconds in spans(marks).items():
                        self._spans.labels(name).observe(seconds)
                if call in pulled:
                    waited = spans({**marks, PULLED: pulled[call]}).get("stored_to_pulled")
                    if waited is not None:
                        self._spans.labels("stored_to_pulled").observe(waited)
        for call in settled:
            del self._unsettled[call]
        for _ in taken:
            self._pulled.popleft()

    async def _feed(self, session: AsyncSession) -> None:
        moment = clock.now()
        oldest = await session.scalar(
            select(OutboxEvent.at).where(OutboxEvent.position.is_(None)).order_by(OutboxEvent.id).limit(1)
        )
        self._unplaced.set(_age(moment, oldest))
        self._lag.clear()
        consumers = await session.execute(
            select(FeedConsumer.id, FeedConsumer.acked_position).order_by(FeedConsumer.id).limit(MAX_CONSUMERS)
        )
        for consumer, acked in consumers.all():
            waiting = await session.scalar(
                select(OutboxEvent.at)
                .where(OutboxEvent.feed, OutboxEvent.position > acked)
                .order_by(OutboxEvent.position)
                .limit(1)
            )
            self._lag.labels(consumer).set(_age(moment, waiting))

    async def _jobs_and_days(self, session: AsyncSession) -> None:
        waiting = await jobs.counts(session, clock.now())
        self._jobs.clear()
        for kind, number in waiting.waiting.items():
            self._jobs.labels(kind).set(number)
        self._jobs_late.set(waiting.oldest_due_s)
        self._jobs_given_up.set(len(await jobs.given_up(session)))
        self._provisional.set(await provisional_open(session))


async def _end(session: AsyncSession) -> int:
    return await session.scalar(select(func.max(OutboxEvent.position))) or 0


def _age(moment: datetime, at: datetime | None) -> float:
    return max(0.0, (moment - at).total_seconds()) if at is not None else 0.0


def _chunks(ids: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    """SQLite takes so many parameters in one statement and no more."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
