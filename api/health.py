"""``/healthz``: this process lives. ``/readyz``: it can do its work, and if not, what is missing.

A supervisor restarts what is not healthy and a balancer passes by what is not ready, so the two must not be mixed: a
database that is gone makes us not ready, and a restart would end the calls that go on without it.
"""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from alembic.script import ScriptDirectory
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import callcenter.storage
from api.security import public, services_of
from api.services import Services
from callcenter.storage.engine import Database, store_is_at_fault

STORE_LIMIT_S: Final = 1.0
"""A store that takes longer is as good as gone for whoever waits at a telephone."""

KEPT_S: Final = 1.0
"""``/readyz`` is open to everyone, so asking it often must not ask the store often."""

MIGRATIONS: Final = Path(callcenter.storage.__file__).parent / "migrations"

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """This process lives."""

    status: str = Field(examples=["alive"])


class Check(BaseModel):
    """One part that has to be there."""

    ok: bool
    detail: str = Field(description="what is wrong, or what was found", examples=["answered in 0.4 ms"])


class Readiness(BaseModel):
    """Whether this process can do its work, and each part of it."""

    ready: bool
    not_ready: list[str] = Field(description="the checks that failed", examples=[["store"]])
    checks: dict[str, Check]


@router.get("/healthz", summary="Alive")
@public("asked by supervisors; tells nothing")
async def healthz() -> Health:
    """Always 200 while the event loop turns. Asks nothing else, least of all the database."""
    return Health(status="alive")


@router.get("/readyz", summary="Ready", responses={503: {"model": Readiness, "description": "not ready"}})
@public("asked by balancers; names parts, no data")
async def readyz(request: Request, response: Response) -> Readiness:
    """200 when every part of this process does its work, else 503 with the names of those that do not."""
    probe: Probe = request.app.state.probe
    readiness = await probe.ask(services_of(request))
    response.status_code = 200 if readiness.ready else 503
    return readiness


class Probe:
    """Asks the parts, at most once in KEPT_S however many ask."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._answer: Readiness | None = None
        self._heads: frozenset[str] | None = None
        self._ping: asyncio.Task[None] | None = None

    async def ask(self, services: Services) -> Readiness:
        """The readiness now, or what it was less than KEPT_S ago."""
        async with self._lock:
            if self._answer is None or time.monotonic() - self._asked_at >= KEPT_S:
                self._answer = await self._ask(services)
                self._asked_at = time.monotonic()
            return self._answer

    async def _ask(self, services: Services) -> Readiness:
        checks = {"store": await self._store(services.db)}
        if checks["store"].ok:
            checks["migrations"] = await self._migrations(services.db)
        checks |= _parts(services)
        missing = [name for name, check in checks.items() if not check.ok]
        return Readiness(ready=not missing, not_ready=missing, checks=checks)

    async def _store(self, db: Database) -> Check:
        started = time.perf_counter()
        # Not cancelled when it takes too long: SQLite's driver would make us wait for its thread all the same, and
        # a probe every second must not leave another hanging attempt behind each time.
        if self._ping is None:
            self._ping = asyncio.create_task(db.ping(), name="readyz-ping")
        done, _ = await asyncio.wait({self._ping}, timeout=STORE_LIMIT_S)
        if not done:
            return Check(ok=False, detail=f"no answer within {STORE_LIMIT_S:g} s")
        fault, self._ping = self._ping.exception(), None
        if fault is None:
            return Check(ok=True, detail=f"answered in {(time.perf_counter() - started) * 1000:.1f} ms")
        if not store_is_at_fault(fault):
            raise fault
        # Only the kind: a driver's text names hosts and users.
        return Check(ok=False, detail=f"not reachable ({type(fault).__name__})")

    async def _migrations(self, db: Database) -> Check:
        if self._heads is None:
            self._heads = await asyncio.to_thread(_heads)
        try:
            async with asyncio.timeout(STORE_LIMIT_S), db.read() as session:
                found = frozenset((await session.execute(text("SELECT version_num FROM alembic_version"))).scalars())
        except (DBAPIError, TimeoutError) as fault:
            return Check(ok=False, detail=f"no schema version ({type(fault).__name__}): run the migrations")
        if found != self._heads:
            return Check(
                ok=False,
                detail=f"schema is {_names(found)}, this program needs {_names(self._heads)}: run the migrations",
            )
        return Check(ok=True, detail=_names(found))


def _parts(services: Services) -> dict[str, Check]:
    """The parts beside the store. One that this process does not have is not missing."""
    checks: dict[str, Check] = {}
    if (ledger := services.ledger) is not None:
        # Waiting commands are stored late, not lost: told, but not a reason to pass this process by.
        waiting = f"{ledger.pending} commands wait for the store"
        checks["spool"] = Check(ok=ledger.fault is None, detail=ledger.fault or waiting)
    if (compute := services.compute) is not None:
        capacity = f"{compute.live} of {compute.capacity} legs heard"
        checks["compute"] = Check(
            ok=compute.ready, detail=capacity if compute.ready else "the compute child is not ready"
        )
    line: dict[str, Any] = dict(services.line_status())
    if line.get("asterisk") != "none":
        state = ", ".join(f"{name} {value}" for name, value in sorted(line.items()))
        checks["line"] = Check(ok=bool(line.get("up")), detail=state)
    return checks


def _heads() -> frozenset[str]:
    return frozenset(ScriptDirectory(str(MIGRATIONS)).get_heads())


def _names(revisions: frozenset[str]) -> str:
    return ", ".join(sorted(revisions)) or "nothing"
