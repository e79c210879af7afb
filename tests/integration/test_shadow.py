"""A candidate in shadow and a change of version, in a real compute child: no answer waits, no word is lost."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select

from callcenter import clock
from callcenter.bus import MemoryBus
from callcenter.calls.commands import CallStarted
from callcenter.calls.ledger import CallLedger
from callcenter.calls.model import Routing, routing_id
from callcenter.calls.session import CallSession, Parts
from callcenter.compute.client import ComputeClient
from callcenter.compute.errors import ComputeError
from callcenter.insight.model import ShadowRouting
from callcenter.insight.versions import ROUTER, follow
from callcenter.settings import REPOSITORY, Settings
from callcenter.speech.events import LegEvent
from callcenter.storage.engine import Database
from classifier.registry import Registry
from tests.speaking import SENTENCES, line, say, text_of, utterances

pytestmark = pytest.mark.integration

TICK = 1_600


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "router"
    shipped = REPOSITORY / "models" / "router"
    live = (shipped / "promoted").read_text().split()[0]
    for name in ("v1", "v2"):
        shutil.copytree(shipped / live, folder / name)
        card = json.loads((folder / name / "card.json").read_text())
        (folder / name / "card.json").write_text(json.dumps({**card, "version": name}))
    (folder / "promoted").write_text("v1\n")
    return tmp_path / "models"


@pytest.fixture
async def compute(tmp_path: Path, models: Path) -> AsyncIterator[ComputeClient]:
    client = ComputeClient(Settings(data_dir=tmp_path, models_dir=models, router_shadow="v2"))
    await client.start()
    yield client
    await client.stop()


async def until(true: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def in_shadow(compute: ComputeClient) -> None:
    """Wait until the candidate is loaded: from then on it answers."""
    told: list[object] = []
    for _ in range(100):
        await compute.route("路灯坏了", timeout=20, shadow=told.append)
        await asyncio.sleep(0.1)
        if told:
            return
    raise AssertionError("the candidate never answered")


async def test_the_candidate_answers_after_the_live_one_and_only_where_asked(compute: ComputeClient) -> None:
    await in_shadow(compute)
    told: list[dict[str, object]] = []
    answer = await compute.route("人民路的路灯不亮了", shadow=told.append)
    assert (answer["model"], told) == ("v1", [])
    await until(lambda: told)
    assert (told[0]["model"], told[0]["category"]) == ("v2", answer["category"])
    told.clear()
    await compute.route("人民路的路灯不亮了")
    await asyncio.sleep(0.3)
    assert told == []
    # Many at once: the live answers come first, all of them; the candidate catches up afterwards.
    order: list[str] = []

    async def one(number: int) -> None:
        await compute.route(f"{number}号楼前的井盖没有了", timeout=20, shadow=lambda _: order.append("shadow"))
        order.append("live")

    await asyncio.gather(*(one(number) for number in range(100)))
    await until(lambda: len(order) == 200)
    # A candidate's text that was begun while nothing waited is finished; none is begun while a live one waits.
    assert order[:90].count("shadow") <= 5


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_a_call_keeps_both_answers_and_no_words_of_the_candidate(
    compute: ComputeClient, db: Database, tmp_path: Path
) -> None:
    await in_shadow(compute)
    ledger = CallLedger(db, tmp_path / "spool", patience_ms=2_000)
    await ledger.start()
    bus, call = MemoryBus(), uuid4()
    session = CallSession(call, Parts(ledger, compute, bus))
    await session.started(CallStarted(call, "12319", "13812345678", clock.now(), clock.now(), f"20261120/{call}.wav"))
    leg = session.add_leg("citizen")
    leg.opened()
    pcm = line(0.3, say(SENTENCES[0]), 2.5)
    for at in range(0, len(pcm), TICK):
        leg.audio(pcm[at : at + TICK], silence=False)
        await asyncio.sleep(0.005)
    await until(lambda: session.heard_words)
    await session.complete()
    leg.closed("test")
    await session.end(clock.now(), 16)
    await session.close()

    async def rows() -> tuple[list[Routing], list[ShadowRouting]]:
        async with db.read() as reading:
            return list(await reading.scalars(select(Routing))), list(await reading.scalars(select(ShadowRouting)))

    made, shadows = await rows()
    deadline = time.monotonic() + 10
    while len(shadows) < len(made) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        made, shadows = await rows()
    assert made
    assert {row.model for row in made} == {"v1"}
    assert {row.routing_id for row in shadows} == {routing_id(call, row.sequence) for row in made}
    assert {row.model for row in shadows} == {"v2"}
    assert [row.category_code for row in shadows] == [row.category_code for row in made]
    await ledger.stop()


async def test_another_version_takes_over_in_the_middle_of_a_call(compute: ComputeClient, models: Path) -> None:
    bus = MemoryBus()
    following = asyncio.create_task(follow(bus, compute, models / "router"))
    await until(lambda: bus.stats().subscribers == 1)
    assert (await compute.route("路灯坏了", timeout=20))["model"] == "v1"
    events: list[LegEvent] = []
    stream = compute.open_leg(uuid4(), events.append)
    pcm, pid = line(0.3, say(SENTENCES[0]), 1.5, say(SENTENCES[1]), 1.5), compute.pid
    slowest = 0.0
    for at in range(0, len(pcm), TICK):
        stream.feed(pcm[at : at + TICK])
        if at == TICK * 10:
            await asyncio.to_thread(Registry(models / "router").promote, "v2")
            await bus.publish(ROUTER, {"type": "live", "version": "v2"})
        began = time.monotonic()
        await compute.route("路灯坏了", timeout=5)
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.03)
    await stream.finish(8)
    async with asyncio.timeout(20):
        while (await compute.route("路灯坏了"))["model"] != "v2":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (compute.pid, compute.restarts) == (pid, 0)
    assert len(utterances(events)) == 2
    assert len(text_of(events)) > 10
    assert slowest < 3.0
    await bus.close()
    await following


async def test_a_version_that_cannot_be_loaded_changes_nothing(compute: ComputeClient, models: Path) -> None:
    assert (await compute.route("路灯坏了", timeout=20))["model"] == "v1"
    (models / "router" / "promoted").write_text("v9\n")
    with pytest.raises(ComputeError, match="no router version 'v9'"):
        await compute.reload_router()
    assert (await compute.route("路灯坏了"))["model"] == "v1"
