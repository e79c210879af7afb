"""The desk against both databases: what pages are shown, who is there, and an agent's word on a routing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from callcenter import clock
from callcenter.access.service import AccessService
from callcenter.bus import LIVE, MemoryBus
from callcenter.calls.desk import CaseMoved, Desk, NothingToConfirm, masked
from callcenter.cases.model import PENDING_DISPATCH, Case, Confirmation
from callcenter.settings import Settings
from callcenter.storage.engine import Database
from tests.telling import ToldCall, category

pytestmark = pytest.mark.integration


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    made = MemoryBus()
    yield made
    await made.close()


@pytest.fixture
async def desk(db: Database, bus: MemoryBus) -> Desk:
    return Desk(db, bus)


@pytest.fixture
async def agent(db: Database) -> AsyncIterator[UUID]:
    access = AccessService(db, Settings())
    user = await access.users.create(
        "wang.li", password="a long enough one", roles=["agent"], display_name="王丽", extension="101"
    )
    yield user.id
    access.close()


async def confirmations(db: Database, case: UUID) -> list[Confirmation]:
    async with db.read() as session:
        rows = await session.scalars(select(Confirmation).where(Confirmation.case_id == case).order_by(Confirmation.at))
        return list(rows)


async def test_a_live_call_is_shown_with_both_voices_in_order_and_the_newest_routing(db: Database, desk: Desk) -> None:
    call = await ToldCall(db).rings()
    await call.joins("agent", "101")
    await call.says("您好，请讲", "agent")
    await call.says("路灯不亮了", words=[{"text": "路灯", "start": 2, "end": 3, "confidence": 0.9}])
    await call.is_routed("路灯", "路灯井盖", "路灯")
    await call.is_routed("路灯不亮了", "路灯", "路灯井盖", address={"text": "人民路3号"})
    [card] = await desk.live_calls()
    assert (card.id, card.number, card.state, card.extension) == (call.id, "138****5678", "live", "101")
    assert [(said.kind, said.text) for said in card.said] == [("citizen", "路灯不亮了"), ("agent", "您好，请讲")]
    assert card.said[0].words == (("路灯", 0.9),)
    assert card.routing is not None
    assert card.routing["category"]["minor"] == "路灯"
    assert card.routing["address"] == {"text": "人民路3号"}
    assert card.case is not None
    assert (card.case.state, card.case.number, card.case.address) == ("draft", None, "人民路3号")


async def test_newest_calls_first_and_ended_ones_not_at_all(db: Database, desk: Desk) -> None:
    start = clock.now()
    calls = [await ToldCall(db, rung_at=start + timedelta(seconds=n)).rings() for n in range(3)]
    await calls[1].ends()
    assert [card.id for card in await desk.live_calls()] == [calls[2].id, calls[0].id]
    over = await desk.call(calls[1].id)
    assert over is not None
    assert over.state == "ended"
    assert over.ended_at is not None
    assert await desk.call(uuid4()) is None


async def test_what_waits_is_complete_undecided_and_oldest_first(db: Database, desk: Desk, agent: UUID) -> None:
    first, second, automatic, draft = [await ToldCall(db).rings() for _ in range(4)]
    for call in (first, second, draft):
        await call.is_routed("路灯不亮了", "路灯")
    await automatic.is_routed("路灯不亮了", "路灯", decision="auto", reasons=[])
    for call in (second, first, automatic):
        await call.ends()
    waiting = await desk.waiting()
    assert [case.id for case in waiting] == [first.case, second.case]
    assert waiting[0].number is not None
    assert waiting[0].call == first.id
    await desk.confirm(first.case, agent, None, waiting[0].version, seen=waiting[0].category)
    assert [case.id for case in await desk.waiting()] == [second.case]


async def test_a_confirmation_is_kept_with_agent_model_and_time_and_goes_live(
    db: Database, desk: Desk, bus: MemoryBus, agent: UUID
) -> None:
    call = await ToldCall(db).rings()
    await call.is_routed("路灯不亮了", "路灯")
    await call.ends()
    [case] = await desk.waiting()
    before = clock.now()
    async with bus.subscribe(LIVE) as messages:
        card = await desk.confirm(case.id, agent, None, case.version, seen=case.category)
        live = await asyncio.wait_for(anext(messages), 1)
    assert (live["type"], live["case"], live["call"]) == ("case", str(case.id), str(call.id))
    assert live["version"] == card.version
    assert (card.confirmed, card.confirmed_by, card.state) == (True, "王丽", PENDING_DISPATCH)
    [kept] = await confirmations(db, case.id)
    assert (kept.user_id, kept.verdict, kept.model, kept.blind) == (agent, "confirmed", "router-test-7", False)
    assert kept.code_before == kept.code_after == category("路灯").code
    assert before <= kept.at <= clock.now()


async def test_a_correction_is_kept_as_one(db: Database, desk: Desk, agent: UUID) -> None:
    call = await ToldCall(db).rings()
    await call.is_routed("楼上太吵了", "路灯")
    await call.ends()
    [case] = await desk.waiting()
    chosen = category("婚姻家庭纠纷")
    card = await desk.confirm(case.id, agent, chosen, case.version, seen=case.category)
    assert card.category == chosen.to_json()
    assert card.domain == "social"
    [kept] = await confirmations(db, case.id)
    assert (kept.verdict, kept.domain_before, kept.domain_after) == ("corrected", "urban", "social")
    assert (kept.code_before, kept.code_after) == (category("路灯").code, chosen.code)


async def test_two_agents_at_once_and_only_one_is_believed(db: Database, desk: Desk, agent: UUID) -> None:
    call = await ToldCall(db).rings()
    await call.is_routed("路灯不亮了", "路灯")
    await call.ends()
    [case] = await desk.waiting()
    results = await asyncio.gather(
        desk.confirm(case.id, agent, None, case.version, seen=case.category),
        desk.confirm(case.id, agent, category("路灯井盖"), case.version, seen=case.category),
        return_exceptions=True,
    )
    moved = [one for one in results if isinstance(one, CaseMoved)]
    assert len(moved) == 1
    assert moved[0].card.confirmed_by == "王丽"
    assert moved[0].card.version > case.version
    assert len(await confirmations(db, case.id)) == 1


async def test_what_was_not_seen_is_not_confirmed_even_at_the_same_version(
    db: Database, desk: Desk, agent: UUID
) -> None:
    call = await ToldCall(db).rings()
    await call.is_routed("路灯不亮了", "路灯")
    card = await desk.call(call.id)
    assert card is not None
    assert card.case is not None
    with pytest.raises(CaseMoved) as caught:
        await desk.confirm(call.case, agent, None, card.case.version, seen=category("路灯井盖").to_json())
    assert caught.value.card.version == card.case.version
    assert await confirmations(db, call.case) == []


async def test_more_words_do_not_move_what_an_agent_has_decided(db: Database, desk: Desk, agent: UUID) -> None:
    call = await ToldCall(db).rings()
    await call.is_routed("路灯不亮了", "路灯")
    card = await desk.call(call.id)
    assert card is not None
    assert card.case is not None
    await desk.confirm(call.case, agent, None, card.case.version, seen=card.case.category)
    await call.is_routed("路灯不亮了，井盖也没了", "路灯井盖")
    await call.ends()
    async with db.read() as session:
        case = await session.get_one(Case, call.case)
    assert (case.category_code, case.state) == (category("路灯").code, PENDING_DISPATCH)
    assert await desk.waiting() == []


async def test_nothing_to_confirm(db: Database, desk: Desk, agent: UUID) -> None:
    with pytest.raises(NothingToConfirm) as caught:
        await desk.confirm(uuid4(), agent, None, 1, seen=None)
    assert caught.value.reason == "no_case"


async def test_presence_is_known_to_the_process_of_the_line(db: Database, bus: MemoryBus) -> None:
    line, pages = Desk(db, bus), Desk(db, bus)
    pages.arrive("tab-1", uuid4(), "101")
    await line.start()
    await pages.start()
    try:
        await reached(line, {"101"})
        pages.arrive("tab-2", uuid4(), "102")
        pages.arrive("tab-3", uuid4(), "")
        await reached(line, {"101", "102"})
        pages.leave("tab-1")
        pages.leave("never there")
        await reached(line, {"102"})
        late = Desk(db, bus)
        await late.start()
        await reached(late, {"102"})
        await late.stop()
        await pages.stop()
        await reached(line, set())
    finally:
        await line.stop()
        await pages.stop()


async def reached(desk: Desk, extensions: set[str]) -> None:
    async with asyncio.timeout(3):
        while desk.signed_in_extensions() != extensions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_an_answered_call_is_offered_to_the_page_of_its_telephone(bus: MemoryBus, desk: Desk) -> None:
    call = uuid4()
    async with bus.subscribe(LIVE) as messages:
        await desk.offer(call, "101")
        told = await asyncio.wait_for(anext(messages), 1)
    assert told == {"type": "call", "call": str(call), "state": "talking", "extension": "101"}


async def test_logs_hold_no_words_and_no_numbers(db: Database, desk: Desk, agent: UUID) -> None:
    with capture_logs() as logs:
        call = await ToldCall(db).rings()
        await call.is_routed("路灯不亮了", "路灯")
        await call.ends()
        [case] = await desk.waiting()
        await desk.confirm(case.id, agent, None, case.version, seen=case.category)
    assert logs
    for secret in ("138", "路灯", "王丽"):
        assert secret not in str(logs)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("13812345678", "138****5678"),
        ("+8613812345678", "+86*******5678"),
        ("01088886666", "010****6666"),
        ("88886666", "88****66"),
        ("12345", "*****"),
        ("", "未显示号码"),
    ],
)
async def test_numbers_are_masked(number: str, shown: str) -> None:
    assert masked(number) == shown
