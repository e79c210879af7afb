"""``callcenter doctor``: what a hotline on this machine is missing, and how to mend it."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from callcenter.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``mend`` is empty when it is well; a warning is no reason not to start."""

    what: str
    well: bool
    mend: str = ""
    warning: bool = False


def examine(settings: Settings, out: TextIO) -> int:
    """Print one line a finding; 0 when nothing that is needed is missing, else 1."""
    findings = list(_look(settings))
    for found in findings:
        mark = "ok     " if found.well else "warning" if found.warning else "MISSING"
        print(f"{mark} {found.what}" + (f": {found.mend}" if found.mend and not found.well else ""), file=out)
    return 0 if all(found.well or found.warning for found in findings) else 1


def _look(settings: Settings) -> Iterator[Finding]:
    yield _writable("data folder", settings.data_dir)
    yield _writable("recordings folder", settings.recordings)
    yield _store(settings)
    yield from _redis(settings)
    if settings.asterisk == "own":
        yield Finding(
            f"our own Asterisk in {settings.asterisk_dir}",
            (settings.asterisk_dir / "current").exists(),
            'run "scripts/setup run", or set CALLCENTER_ASTERISK=external (docs/asterisk.md)',
        )
        yield Finding(
            f"prompts in {settings.prompts_dir}",
            settings.prompts_dir.exists(),
            'run "scripts/setup run", which lets espeak-ng speak them',
        )
    if settings.asterisk == "external":
        yield Finding(
            "access to your Asterisk",
            bool(settings.ami_port and settings.ami_secret.get_secret_value()),
            "set CALLCENTER_AMI_PORT and CALLCENTER_AMI_SECRET (docs/asterisk.md)",
        )
    yield _speech(settings)
    yield _router(settings)
    yield Finding(
        "espeak-ng", shutil.which("espeak-ng") is not None, "only needed to render prompts again", warning=True
    )


def _writable(what: str, folder: Path) -> Finding:
    nearest = folder
    while not nearest.exists():
        nearest = nearest.parent
    return Finding(f"{what} {folder}", os.access(nearest, os.W_OK), f"make {nearest} writable for this user")


def _store(settings: Settings) -> Finding:
    from callcenter.storage.engine import Database, StoreError

    async def ask() -> None:
        database = Database(settings.store_url)
        await database.connect()
        await database.close()

    name = "PostgreSQL" if settings.store_url.startswith("postgres") else "SQLite"
    if name == "SQLite" and not settings.data_dir.exists():
        return Finding("store (SQLite)", True)
    try:
        asyncio.run(ask())
    except (StoreError, OSError, ValueError) as fault:
        return Finding(f"store ({name})", False, str(fault))
    return Finding(f"store ({name})", True)


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        return
    import redis

    client = redis.Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
        yield Finding("Redis", True)
    except (redis.RedisError, OSError) as fault:
        yield Finding(
            "Redis", False, f"{type(fault).__name__}: is it running? live events stay in each process until then"
        )
    finally:
        client.close()


def _speech(settings: Settings) -> Finding:
    from callcenter.speech.models import ModelError, load_card, verify

    try:
        card = load_card(settings.speech_model)
        verify(settings.speech_model)
    except (ModelError, OSError) as fault:
        return Finding("speech model", False, str(fault))
    if card.knows_only_synthetic and not settings.demo_line:
        return Finding(
            f"speech model {card.name}",
            False,
            "it knows only a synthetic voice, so every decision waits for an agent: "
            '"callcenter models fetch vosk-model-cn-0.22", then CALLCENTER_SPEECH_MODEL',
            warning=True,
        )
    return Finding(f"speech model {card.name}", True)


def _router(settings: Settings) -> Finding:
    from classifier.router import Router

    try:
        router = Router.load(settings.router_model or None)
    except (OSError, ValueError) as fault:
        return Finding("router", False, str(fault))
    return Finding(f"router {router.version}", True)
