"""The HTTP face over a real database, served by a real uvicorn on a free port; and calls as the line would write them.

``api`` runs a test on SQLite and on PostgreSQL. Import it into a test module together with what it needs.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.security import COOKIE
from api.services import Services
from callcenter import clock
from callcenter.access.model import User
from callcenter.access.service import AccessService
from callcenter.bus import MemoryBus
from callcenter.calls.commands import (
    CallEnded,
    CallStarted,
    CaseCompleted,
    Command,
    LegClosed,
    LegOpened,
    RecordingLinked,
    RoutingMade,
    TimelineMarked,
    UtteranceHeard,
)
from callcenter.calls.model import case_id
from callcenter.calls.repository import apply
from callcenter.city.model import DEPARTMENT, Unit
from callcenter.dispatch.feed import FeedSequencer
from callcenter.settings import Settings
from callcenter.storage.engine import Database

PASSWORD = "a long enough one 7"
NUMBER = "13800138000"
MATTER = "解放路的路灯坏了我的电话是幺三八零零幺三八零零零"
LAMP = {"standard": "GB/T 30428.2-2013", "code": "0209", "kind": "part", "major": "道路交通设施", "minor": "路灯"}


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Api:
    """A served application and the parts behind it."""

    app: FastAPI
    services: Services
    url: str
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def client(self, **headers: str) -> httpx.AsyncClient:
        """A client with cookies of its own."""
        client = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)
        self.clients.append(client)
        return client

    def browser(self) -> httpx.AsyncClient:
        """A client that says, as a browser does, that this site's own page asks."""
        return self.client(Origin=self.url)

    async def signed_in(self, *roles: str, username: str = "", unit: UUID | None = None) -> httpx.AsyncClient:
        """A browser of a new user with ``roles``, of ``unit`` where one is given.

        The session is made by the access service, as the route makes it: a test with many people is not stopped by
        the limit on guessing, which counts an address's attempts and stays as it is.
        """
        name = username or f"{roles[0]}.{uuid4().hex[:8]}"
        await self.administrator()
        user = await self.services.access.users.create(name, password=PASSWORD, roles=roles, extension="101")
        if unit is not None:
            async with self.services.db.begin() as session:
                (await session.get_one(User, user.id)).unit_id = unit
        session_of = await self.services.access.sign_in(name, PASSWORD)
        client = self.browser()
        client.cookies.set(COOKIE, session_of.token, domain="127.0.0.1", path="/")
        return client

    async def unit(self, name: str, **values: Any) -> UUID:
        """A new unit: a department of a district."""
        async with self.services.db.begin() as session:
            unit = Unit(
                id=uuid4(),
                **{"code": name, "name": name, "kind": DEPARTMENT, "level": 2, "leader": "处长", "duty_phone": ""},
                **{"round_the_clock": False, "active": True, "created_at": clock.now(), **values},
            )
            session.add(unit)
        return unit.id

    async def administrator(self) -> None:
        """Makes sure that one exists: the last cannot be made to go, and other users need one before them."""
        if not await self.services.access.users.all():
            await self.services.access.users.create("first.admin", password=PASSWORD, roles=["admin"])

    async def with_key(self, role: str = "dispatcher", *permissions: str) -> httpx.AsyncClient:
        """A program with a new API key."""
        made = await self.services.access.keys.create("test", roles=[role] if role else [], permissions=permissions)
        return self.client(Authorization=f"Bearer {made.text}")


@pytest.fixture
async def api(db: Database, tmp_path: Path) -> AsyncIterator[Api]:
    settings = Settings(data_dir=tmp_path, asterisk="none")
    bus, access, sequencer = MemoryBus(), AccessService(db, settings), FeedSequencer(db)
    await sequencer.start()
    services = Services(settings=settings, db=db, bus=bus, access=access, sequencer=sequencer)
    async with served(services) as running:
        yield running
    await sequencer.stop()
    await bus.close()
    access.close()


@contextlib.asynccontextmanager
async def served(services: Services) -> AsyncIterator[Api]:
    """``services`` behind a real server."""
    app = create_app(services)
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio sets this only on sockets that were made with proto=IPPROTO_TCP (base_events._set_nodelay), which
    # create_server does not: without it each answer waits 40 ms for the delayed acknowledgement of its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="on"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        assert not task.done(), task.exception()
        await asyncio.sleep(0.01)
    running = Api(app, services, f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        yield running
    finally:
        for client in running.clients:
            await client.aclose()
        server.should_exit = True
        await task
        listener.close()


# -- calls as the line would write them --------------------------------------------------------------------------------
def routing(**changes: Any) -> dict[str, Any]:
    """A router's answer for MATTER."""
    return {
        "text": MATTER,
        "disposition": "case",
        "domain": "urban",
        "domain_probability": 0.999,
        "category": LAMP,
        "probability": 0.991,
        "alternatives": [],
        "decision": "auto",
        "reasons": [],
        "emergency": None,
        "intent": "report",
        "address": "解放路",
        "accused": None,
        "secrecy": False,
        "secondary": None,
        "evidence": [[4, 6]],
        "model": "test-1",
        "elapsed_ms": 1.5,
        **changes,
    }


@dataclass(frozen=True)
class Told:
    """One call of a citizen."""

    call: UUID = field(default_factory=uuid4)
    leg: UUID = field(default_factory=uuid4)
    rung_at: datetime = field(default_factory=lambda: clock.now() - timedelta(seconds=30))
    number: str = NUMBER
    answer: dict[str, Any] = field(default_factory=routing)

    @property
    def case(self) -> UUID:
        """The id of its case."""
        return case_id(self.call)

    def but(self, **changes: Any) -> "Told":
        """The same with another answer of the router."""
        return replace(self, answer=routing(**changes))

    def speaking(self) -> list[Command]:
        """What is written until the citizen has stopped speaking."""
        at = self.rung_at
        return [
            CallStarted(self.call, "12319", self.number, at, at + timedelta(seconds=2), f"20261120/{self.call}.wav"),
            LegOpened(self.call, self.leg, "citizen", "", at + timedelta(seconds=2)),
            UtteranceHeard(
                call=self.call,
                leg=self.leg,
                sequence=0,
                text=MATTER,
                start=0.5,
                end=4.5,
                confidence=0.97,
                words=[{"text": "路灯", "start": 1.0, "end": 1.5, "confidence": 0.99}],
                heard_at=at + timedelta(seconds=7),
            ),
            RoutingMade(self.call, 0, MATTER, self.answer, at + timedelta(seconds=7.01)),
        ]

    def ended(self) -> list[Command]:
        """What is written from then on."""
        at = self.rung_at
        marks = {"last_voiced": 6.5, "end_decided": 6.7, "decoded": 6.8, "routed": 6.81, "stored": 6.85}
        return [
            CaseCompleted(self.call, at + timedelta(seconds=8)),
            TimelineMarked(self.call, {name: at + timedelta(seconds=after) for name, after in marks.items()}),
            LegClosed(self.call, self.leg, at + timedelta(seconds=9), 7.0),
            CallEnded(self.call, at + timedelta(seconds=9), 16),
            RecordingLinked(self.call, "ab" * 32, 112_000, 7.0),
        ]


async def write(db: Database, commands: list[Command]) -> None:
    """Applies ``commands``, each in a transaction, as the ledger does."""
    for command in commands:
        async with db.begin() as session:
            await apply(session, command)


async def told(db: Database, **changes: Any) -> Told:
    """A whole call in the store; ``changes`` are the router's."""
    call = Told().but(**changes)
    await write(db, [*call.speaking(), *call.ended()])
    return call
