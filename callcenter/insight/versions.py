"""The router's versions as a supervisor deals with them: which there are, which is live, who made it so and why.

The files are ``classifier.registry``'s; here are the reasons, the audit, and the word to every process that routes.
"""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import structlog
from sqlalchemy import select, update

from callcenter import clock
from callcenter.access.audit import Actor, add_entry
from callcenter.bus import RESYNC, Bus
from callcenter.insight import learning
from callcenter.insight.model import PROMOTE, ROLLBACK, RouterChange
from callcenter.settings import Settings
from callcenter.storage.engine import Database
from classifier.model import ModelError
from classifier.registry import Registry

log = structlog.get_logger()

ROUTER: Final = "router"
"""The bus' topic: ``{"type": "live", "version"}`` when another version is live."""

SHORTEST_REASON, LONGEST_REASON = 4, 400
CHANGE_LIMIT_S: Final = 60.0


class CannotChange(Exception):
    """The version cannot be made live; the message says why and what to do. Nothing has changed. ``code`` is stable."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Version:
    """A version as its card tells of it."""

    name: str
    live: bool
    shadow: bool
    date: str
    commit: str
    figures: dict[str, Any]
    counts: dict[str, Any]
    learned_from: int
    """Cases of this city that it was trained on."""
    erased: int
    """Of those, how many were erased since: above 0 it is to be trained anew and cannot be made live."""
    fault: str = ""
    card: dict[str, Any] = field(default_factory=dict)


class Reloads(Protocol):
    """What is told that another version is live (``compute.ComputeClient``)."""

    async def reload_router(self) -> str: ...


class RouterVersions:
    """The versions under ``settings.models_dir``/router."""

    def __init__(self, db: Database, bus: Bus, settings: Settings) -> None:
        self._db = db
        self._bus = bus
        self._settings = settings
        self._folder = settings.models_dir / "router"
        self._changing = asyncio.Lock()

    @property
    def pinned(self) -> str:
        """The version that a setting names, whatever is promoted; empty: none."""
        return self._settings.router_model

    async def all(self) -> list[Version]:
        """Every version, the live one first, then by name. A broken one says so in ``fault``."""
        found = await asyncio.to_thread(self._read)
        async with self._db.read() as session:
            stale = await learning.stale(session, self._folder)
        return [
            Version(**{**one, "erased": len(stale.get(one["name"], ()))})
            for one in sorted(found, key=lambda one: (not one["live"], one["name"]))
        ]

    def _read(self) -> list[dict[str, Any]]:
        registry = Registry(self._folder)
        live = self.pinned or registry.promoted()
        found = []
        for name in registry.names():
            card: dict[str, Any] = {}
            fault = ""
            cases = 0
            try:
                card = registry.card(name)
                cases = len(learning.learned(self._folder / name))
            except (ModelError, ValueError, OSError) as error:
                fault = str(error)
            figures, counts = card.get("figures"), card.get("counts")
            found.append(
                {
                    "name": name,
                    "live": name == live,
                    "shadow": name == self._settings.router_shadow and name != live,
                    "date": str(card.get("date", "")),
                    "commit": str(card.get("commit", "")),
                    "figures": figures if isinstance(figures, dict) else {},
                    "counts": counts if isinstance(counts, dict) else {},
                    "learned_from": cases,
                    "fault": fault,
                    "card": card,
                }
            )
        return found

    async def history(self, limit: int = 20) -> list[RouterChange]:
        """Who made what live, the newest first."""
        async with self._db.read() as session:
            query = select(RouterChange).order_by(RouterChange.asked_at.desc(), RouterChange.id.desc()).limit(limit)
            return list(await session.scalars(query))

    async def promote(self, version: str, *, reason: str, user: UUID, actor: Actor) -> RouterChange:
        """Make ``version`` live in every process. Raises CannotChange."""
        names = await asyncio.to_thread(Registry(self._folder).names)
        if version not in names:
            raise CannotChange("no_version", f"there is no such router version: there is {', '.join(names) or 'none'}")
        async with self._db.read() as session:
            gone = (await learning.stale(session, self._folder)).get(version)
        if gone:
            raise CannotChange(
                "stale", f"version {version} was trained on {len(gone)} cases erased since: train a new one"
            )
        return await self._change(PROMOTE, version, reason, user, actor)

    async def rollback(self, *, reason: str, user: UUID, actor: Actor) -> RouterChange:
        """Make the version live that was so before. Raises CannotChange."""
        return await self._change(ROLLBACK, "", reason, user, actor)

    async def _change(self, action: str, version: str, reason: str, user: UUID, actor: Actor) -> RouterChange:
        reason = "".join(letter for letter in " ".join(reason.split()) if letter.isprintable())
        if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
            raise CannotChange("reason", f"a reason has {SHORTEST_REASON} to {LONGEST_REASON} characters")
        if self.pinned:
            raise CannotChange(
                "pinned",
                f"CALLCENTER_ROUTER_MODEL names {self.pinned}, whatever is promoted: take the setting away first",
            )
        async with self._changing:
            change = RouterChange(
                id=uuid4(),
                action=action,
                version=version,
                previous="",
                reason=reason,
                user_id=user,
                asked_at=clock.now(),
            )
            # First, and on its own: what was asked for is known also when this process dies over it.
            async with self._db.begin() as session:
                session.add(change)
            found = await self._run(version or "--back")
            fault = found.get("error")
            change.version = str(found.get("live") or version)
            change.previous = str(found.get("previous") or "")
            change.fault = str(fault)[:400] if fault else None
            change.done_at = clock.now()
            async with self._db.begin() as session:
                values = {name: getattr(change, name) for name in ("version", "previous", "fault", "done_at")}
                await session.execute(update(RouterChange).where(RouterChange.id == change.id).values(**values))
                add_entry(
                    session,
                    actor,
                    f"router {action}",
                    at=change.done_at,
                    subject=f"router:{change.version}"[:64],
                    result="refused" if fault else "done",
                    detail={"change": str(change.id), "previous": change.previous},
                )
        if fault:
            raise CannotChange("refused", str(fault))
        log.info("router version made live", version=change.version, previous=change.previous, action=action)
        await self._bus.publish(ROUTER, {"type": "live", "version": change.version})
        return change

    async def _run(self, version: str) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "callcenter.insight.promotion",
            str(self._folder),
            version,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
        )
        try:
            out, _ = await asyncio.wait_for(process.communicate(), CHANGE_LIMIT_S)
            found = json.loads(out)
        except TimeoutError:
            process.kill()
            await process.wait()
            return {"error": f"loading the version took longer than {CHANGE_LIMIT_S:.0f} s: is the disk slow?"}
        except ValueError:
            return {"error": f"loading the version ended with code {process.returncode}: the log says why"}
        return found if isinstance(found, dict) else {"error": "loading the version answered nothing"}


async def follow(bus: Bus, router: Reloads, folder: Path) -> None:
    """Have ``router`` reload whenever another version is live, here or in another process, until the bus closes."""
    registry = Registry(folder)
    live = await asyncio.to_thread(registry.promoted)
    async with bus.subscribe(ROUTER) as messages:
        async for told in messages:
            try:
                now = await asyncio.to_thread(registry.promoted)
                if told["type"] == RESYNC and now == live:
                    continue
                version = await router.reload_router()
            except Exception as fault:  # noqa: BLE001 - the version at work goes on; a restart takes the new one
                log.error("router not reloaded", fault=f"{type(fault).__name__}: {fault}")
            else:
                live = now
                log.info("router reloaded", version=version)
