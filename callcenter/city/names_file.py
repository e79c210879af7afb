"""The city's names for the router: a file that the compute child reads, written anew when another version is in force.

The child has no store; a file of some hundred kilobytes is all that it needs to tell a place from a word.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import structlog

from callcenter.city.city import LOOK_EVERY_S, City
from callcenter.city.gazetteer import Gazetteer

log = structlog.get_logger()


class Reloads(Protocol):
    """What loads its router again, with the names that are there now."""

    async def reload_router(self, timeout: float = 30.0) -> str: ...


def write(path: Path, names: Mapping[str, str | None]) -> None:
    """The names with the areas that they lie in, as JSON. Raises OSError."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(dict(names), ensure_ascii=False), encoding="utf-8")
    beside.replace(path)


async def follow(city: City, path: Path, router: Reloads) -> None:
    """Have ``router`` read the names whenever others are in force, for as long as the process lives."""
    known: Gazetteer | None = None
    while True:
        try:
            names = await city.names()
            if names is not known:
                count = await asyncio.to_thread(_write_all, path, names)
                await router.reload_router()
                known = names
                log.info("the router knows the city's names", names=count)
        except Exception as fault:  # noqa: BLE001 - places are read as before; the next look tries again
            log.error("the router does not know the city's names", fault=type(fault).__name__)
        await asyncio.sleep(LOOK_EVERY_S)


def _write_all(path: Path, gazetteer: Gazetteer) -> int:
    names = gazetteer.names
    write(path, names)
    return len(names)
