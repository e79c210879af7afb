"""The pages in Debian's Chromium, against a real server: first start, sign-in, a live call, one key, a row."""

import asyncio
import contextlib
import http.client
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Browser, Page, expect
from sqlalchemy import delete, select

from api.app import create_app
from api.services import Services
from callcenter.access.model import SignIn
from callcenter.access.service import AccessService
from callcenter.bus import LIVE, MemoryBus
from callcenter.calls.desk import Desk
from callcenter.cases.model import Case, Confirmation
from callcenter.settings import Settings
from callcenter.storage.engine import Database
from tests.browser import Watched, chromium, page, watched
from tests.telling import ToldCall, category

__all__ = ["chromium", "page", "watched"]

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)]

PASSWORD = "一个足够长的密码 2026"
SETTLED_MS = 450
"""Longer than desk.js waits after a new picture before it believes a key."""


@dataclass
class Hotline:
    """A server with everything but a telephone."""

    url: str
    port: int
    db: Database
    bus: MemoryBus
    access: AccessService
    desk: Desk
    compute: SimpleNamespace

    async def call(self, number: str = "13812345678") -> ToldCall:
        """A call that has just been answered."""
        return await ToldCall(self.db, self.bus, number=number).rings()

    async def waiting(self, text: str, first: str, *others: str, number: str = "13700001111") -> ToldCall:
        """A call that is over and whose case waits."""
        call = await self.call(number)
        await call.says(text)
        await call.is_routed(text, first, *others)
        await call.ends()
        return call

    async def confirmations(self, call: ToldCall) -> list[Confirmation]:
        """What agents said about the call's case."""
        async with self.db.read() as session:
            return list(await session.scalars(select(Confirmation).where(Confirmation.case_id == call.case)))


@pytest.fixture
async def hotline(db: Database, tmp_path: Path) -> AsyncIterator[Hotline]:
    settings = Settings(data_dir=tmp_path)
    bus, access = MemoryBus(), AccessService(db, settings)
    desk = Desk(db, bus)
    # What the pages ask of the hearing, without starting a speech model for it.
    compute = SimpleNamespace(ready=True, capacity=4, live=0, knows_only_synthetic=False)
    services = Services(settings=settings, db=db, bus=bus, access=access, desk=desk, compute=compute)
    server = uvicorn.Server(
        uvicorn.Config(create_app(services), host="127.0.0.1", port=0, log_level="error", access_log=False)
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    yield Hotline(f"http://127.0.0.1:{port}", port, db, bus, access, desk, compute)
    server.should_exit = True
    await bus.close()
    await asyncio.wait_for(serving, 20)
    access.close()


async def sign_in(
    hotline: Hotline, page: Page, username: str = "wang.li", *, roles: tuple[str, ...] = ("agent",), name: str = "王丽"
) -> Any:
    """Make a user and have them sign in through the form."""
    user = await hotline.access.users.create(
        username, password=PASSWORD, roles=roles, display_name=name, extension="101"
    )
    await page.goto(hotline.url + "/login")
    await page.fill("#username", username)
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    return user


async def on_desk(page: Page, hotline: Hotline) -> None:
    """Wait until the page follows the bus."""
    await page.wait_for_url("**/desk/")
    await until(lambda: hotline.bus.stats().subscribers > 0)
    await page.wait_for_function("window.did_handshake === true")


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def press(page: Page, key: str) -> None:
    """A key, once the agent has had the time to see the picture."""
    await page.wait_for_timeout(SETTLED_MS)
    await page.keyboard.press(key)


async def test_from_the_one_time_link_to_a_confirmed_case(hotline: Hotline, page: Page, watched: Watched) -> None:
    link = await hotline.access.first_start()
    assert link is not None
    await page.goto(hotline.url + link)
    await page.get_by_label("用户名").fill("zhang.gong")
    await page.get_by_label("姓名").fill("张工")
    await page.get_by_label("密码", exact=True).fill(PASSWORD)
    await page.get_by_label("再次输入密码").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await on_desk(page, hotline)
    await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    assert link.split("=")[1] not in await page.content()

    await page.get_by_role("button", name="退出").click()
    await page.wait_for_url("**/login")
    await page.fill("#username", "zhang.gong")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await on_desk(page, hotline)

    call = await hotline.call()
    await expect(page.locator(".list-live .row")).to_contain_text("138****5678")
    assert "13812345678" not in await page.content()
    await call.hears("路灯")
    await expect(page.locator(".partial .text")).to_have_text("路灯")
    await call.says("人民路的路灯不亮了")
    await expect(page.locator("#words .said")).to_have_text("市民人民路的路灯不亮了")
    await expect(page.locator(".partial")).to_have_count(0)
    await call.is_routed("人民路的路灯不亮了", "路灯", "路灯井盖", address={"text": "人民路"}, reasons=["vague_place"])
    verdict = page.locator("#verdict")
    await expect(verdict).to_contain_text("路灯")
    await expect(verdict).to_contain_text("公用设施")
    await expect(verdict).to_contain_text("83%")
    await expect(verdict).to_contain_text("地点不够具体")
    await expect(verdict.locator(".address")).to_contain_text("人民路")
    await expect(verdict.locator(".domain")).to_have_text("城管")
    await expect(page.get_by_role("button", name="确认")).to_be_visible()

    await press(page, "Enter")
    await expect(page.locator("#notice")).to_have_text("已确认：公用设施 / 路灯")
    [kept] = await hotline.confirmations(call)
    assert (kept.verdict, kept.model, kept.blind) == ("confirmed", "router-test-7", False)
    assert kept.at.tzinfo is not None
    [admin] = [user for user in await hotline.access.users.all() if user.username == "zhang.gong"]
    assert kept.user_id == admin.id
    await expect(verdict).to_contain_text("已确认 · 张工")
    await press(page, "Enter")  # the same word twice would be two labels
    await expect(page.locator("#notice")).to_contain_text("此案已确认为这个类别")
    assert len(await hotline.confirmations(call)) == 1

    # The link is worth nothing a second time.
    await page.context.clear_cookies()
    await page.goto(hotline.url + link)
    await page.fill("#username", "second.one")
    await page.fill("#password", PASSWORD)
    await page.fill("#again", PASSWORD)
    watched.allowed.append("403")
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_contain_text("已使用")
    assert len(await hotline.access.users.all()) == 1


async def test_digits_correct_and_the_next_waiting_case_comes_up(hotline: Hotline, page: Page) -> None:
    first = await hotline.waiting("井盖没有了", "上水井盖", "污水井盖", "雨水井盖")
    second = await hotline.waiting("路边摆摊", "占道经营", "无照经营游商", number="13700002222")
    user = await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator(".list-waiting .row")).to_have_count(2)
    await expect(page.locator(".list-waiting .row.selected")).to_contain_text("上水井盖")
    await expect(page.locator("#words")).to_contain_text("井盖没有了")
    await press(page, "2")
    await expect(page.locator("#notice")).to_contain_text("已改为：公用设施 / 雨水井盖")
    [kept] = await hotline.confirmations(first)
    assert (kept.verdict, kept.user_id) == ("corrected", user.id)
    assert (kept.code_before, kept.code_after) == (category("上水井盖").code, category("雨水井盖").code)
    # The next one is chosen, and a second press of the same key that came too soon decides nothing about it.
    await expect(page.locator(".row.selected")).to_contain_text("占道经营")
    await expect(page.locator("#words")).to_contain_text("路边摆摊")
    await press(page, "5")
    await expect(page.locator("#notice")).to_contain_text("没有这个备选类别")
    assert await hotline.confirmations(second) == []
    await press(page, "Enter")
    await expect(page.locator("#notice")).to_contain_text("已确认：街面秩序 / 占道经营")
    await expect(page.locator(".list-waiting .row")).to_have_count(0)
    async with hotline.db.read() as session:
        case = await session.get_one(Case, second.case)
    assert case.state == "pending_dispatch"


async def test_a_double_press_does_not_decide_what_nobody_has_read(hotline: Hotline, page: Page) -> None:
    calls = [await hotline.waiting("井盖没有了", "上水井盖", number=f"1370000{n:04d}") for n in range(3)]
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator(".list-waiting .row")).to_have_count(3)
    await page.wait_for_timeout(SETTLED_MS)
    # Pressed again the moment the next case is on the screen, faster than any network: in the page itself.
    await page.evaluate(
        """() => new Promise((done) => {
            const key = () => document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
            const panel = document.getElementById("verdict");
            const first = panel.dataset.case;
            new MutationObserver((_, observer) => {
                if (panel.dataset.case === first) return;
                observer.disconnect();
                requestAnimationFrame(() => { key(); done(); });
            }).observe(panel, {attributes: true});
            key();
        })"""
    )
    await expect(page.locator("#desk-hint")).to_contain_text("刚刚更新")
    await page.wait_for_timeout(500)
    assert [len(await hotline.confirmations(call)) for call in calls] == [1, 0, 0]


async def test_search_finds_by_pinyin_and_keys_do_not_fire_while_typing(hotline: Hotline, page: Page) -> None:
    call = await hotline.waiting("楼上天天吵", "路灯", "路灯井盖")
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator("#verdict")).to_contain_text("路灯井盖")
    await press(page, "/")
    box = page.locator("#category-search")
    await expect(box).to_be_focused()
    await page.keyboard.type("1j/k2")
    await expect(box).to_have_value("1j/k2")
    await expect(page.locator(".match.none")).to_have_text("没有匹配的类别")
    await page.keyboard.press("Enter")
    await expect(page.locator("#notice")).to_contain_text("没有找到这个类别")
    assert await hotline.confirmations(call) == []

    await press(page, "/")
    await page.keyboard.type("hyjtjf")
    await expect(page.locator(".match")).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(page.locator(".match")).to_have_count(0)
    await expect(box).to_have_value("")
    assert await hotline.confirmations(call) == []

    await press(page, "/")
    await page.keyboard.type("井盖")
    await expect(page.locator(".match.on strong")).to_have_text("上水井盖")
    await page.keyboard.press("ArrowDown")
    await expect(page.locator(".match.on strong")).to_have_text("污水井盖")
    await page.keyboard.press("Enter")
    await expect(page.locator("#notice")).to_contain_text("已改为：公用设施 / 污水井盖")
    [kept] = await hotline.confirmations(call)
    assert kept.code_after == category("污水井盖").code


async def test_hostile_text_is_text(hotline: Hotline, page: Page) -> None:
    evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>{{ window.owned=1 }}'
    await sign_in(hotline, page, name="<b onmouseover=alert(1)>王</b>")
    await on_desk(page, hotline)
    call = await hotline.call("<img/onerror=1>")
    await call.hears(evil)
    await expect(page.locator(".partial .text")).to_have_text(evil)
    await call.says(evil, words=[{"text": evil, "confidence": 0.1}])
    await call.is_routed(evil, "路灯", address={"text": evil}, reasons=[evil], emergency={"services": [evil]})
    await expect(page.locator("#words .text")).to_have_text(evil)
    await expect(page.locator("#verdict .address")).to_contain_text(evil)
    await expect(page.locator(".alarm")).to_contain_text(evil)
    # What a hostile process on the bus may send: types that are none, markup as states and kinds.
    for broken in (
        {"type": "partial", "call": str(call.id), "leg": evil, "kind": evil, "text": evil},
        {"type": "utterance", "call": str(call.id), "leg": evil, "sequence": "x"},
        {"type": "routing", "call": str(call.id), "routing": evil},
        {"type": "routing", "call": str(call.id), "routing": {"category": evil, "alternatives": [evil], "reasons": 5}},
        {"type": "call", "call": str(call.id), "state": evil, "extension": {"a": evil}},
        {"type": evil, "call": evil},
        {"type": "partial"},
    ):
        await hotline.bus.publish(LIVE, broken)
    await call.says("还在")
    await expect(page.locator("#words")).to_contain_text("还在")
    assert await page.evaluate("window.owned") is None
    assert await page.locator("#desk img, #desk script").count() == 0


async def test_emergencies_are_announced_with_whom_to_call(hotline: Hotline, page: Page) -> None:
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    call = await hotline.call()
    await call.says("楼下着火了")
    await call.is_routed("楼下着火了", "安全生产隐患", emergency={"services": ["119", "120"]}, reasons=["emergency"])
    alarm = page.locator("[role=alert] .alarm")
    await expect(alarm).to_have_text("紧急情况请立即联系：消防 119、急救 120")
    await expect(page.locator(".row .urgent")).to_be_visible()
    await expect(page.locator("#verdict .domain")).to_have_text("社管")


async def test_badly_heard_words_are_underlined_and_both_voices_named(hotline: Hotline, page: Page) -> None:
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    call = await hotline.call()
    await call.joins("agent", "205")
    await call.says("您好请讲", "agent")
    await call.says(
        "人民路三号路灯不亮",
        words=[
            {"text": "人民路", "confidence": 0.9},
            {"text": "三号", "confidence": 0.3},
            {"text": "路灯不亮", "confidence": 0.8},
        ],
    )
    await expect(page.locator("#words .low")).to_have_text("三号")
    await expect(page.locator("#words .said .leg")).to_have_text(["坐席", "市民"])
    # The routing makes the page read the store again: the lines keep their places, nothing is doubled.
    await call.is_routed("人民路三号路灯不亮", "路灯")
    await expect(page.locator("#verdict")).to_contain_text("路灯")
    await page.wait_for_timeout(300)
    await expect(page.locator("#words .said .leg")).to_have_text(["坐席", "市民"])


async def test_an_answered_call_comes_to_the_front_of_its_own_agent(hotline: Hotline, page: Page) -> None:
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    assert hotline.desk.signed_in_extensions() == {"101"}
    first, second = await hotline.call("13811110000"), await hotline.call("13822220000")
    await expect(page.locator(".list-live .row")).to_have_count(2)
    await second.joins("agent", "102")
    await expect(page.locator(".row.selected")).to_contain_text("138****0000")
    await hotline.desk.offer(second.id, "101")
    await expect(page.locator(f'.row.selected[data-call="{second.id}"]')).to_be_visible()
    await expect(page.locator(".talk-head .state")).to_have_text("通话中")
    await press(page, "j")
    await expect(page.locator(f'.row.selected[data-call="{first.id}"]')).to_be_visible()
    await press(page, "k")
    await expect(page.locator(f'.row.selected[data-call="{second.id}"]')).to_be_visible()
    clock = page.locator(".talk-head .clock")
    await expect(clock).to_have_text(re.compile(r"^00:0\d$"))
    await expect(clock).to_have_text("00:03", timeout=6000)


async def test_who_decides_second_is_told_what_changed(hotline: Hotline, page: Page) -> None:
    call = await hotline.waiting("井盖没有了", "上水井盖", "污水井盖")
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator("#verdict")).to_contain_text("污水井盖")
    other = await hotline.access.users.create("li.na", password=PASSWORD, roles=["agent"], display_name="李娜")
    quiet = Desk(hotline.db, MemoryBus())  # another process, whose message was lost
    [case] = await quiet.waiting()
    await quiet.confirm(case.id, other.id, category("污水井盖"), case.version, seen=case.category)
    await press(page, "Enter")
    await expect(page.locator("#notice")).to_have_text("未保存：李娜已将此案确认为“公用设施 / 污水井盖”。")
    await expect(page.locator("#notice")).to_have_attribute("role", "alert")
    [kept] = await hotline.confirmations(call)
    assert kept.user_id == other.id
    await expect(page.locator("#verdict")).to_contain_text("已确认 · 李娜")


async def test_the_router_moving_on_does_not_make_an_agent_confirm_what_they_did_not_see(
    hotline: Hotline, page: Page
) -> None:
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    call = await hotline.call()
    await call.is_routed("井盖", "上水井盖")
    await expect(page.locator("#verdict")).to_contain_text("上水井盖")
    await expect(page.locator("#verdict")).not_to_have_attribute("data-case", "")
    hidden = ToldCall(hotline.db, id=call.id, routed=1)  # the store moves, the live message is lost
    await hidden.is_routed("路灯井盖", "路灯井盖")
    await press(page, "Enter")
    await expect(page.locator("#notice")).to_have_text("未保存：建议刚刚变为“公用设施 / 路灯井盖”，请看清后再确认。")
    assert await hotline.confirmations(call) == []
    # The same suggestion at a newer version is what the agent agreed to: it is taken.
    await hidden.is_routed("路灯井盖没有了", "路灯井盖", decision="auto")
    await press(page, "Enter")
    await expect(page.locator("#notice")).to_contain_text("已确认：公用设施 / 路灯井盖")
    [kept] = await hotline.confirmations(call)
    assert kept.code_after == category("路灯井盖").code


async def test_the_synthetic_voice_is_warned_of(hotline: Hotline, page: Page) -> None:
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator(".banner")).to_have_count(0)
    hotline.compute.knows_only_synthetic = True
    await page.reload()
    await expect(page.locator(".banner")).to_have_text("语音模型仅识别合成语音，所有分派须人工确认")


async def test_wrong_passwords_missing_sessions_and_missing_rights(
    hotline: Hotline, page: Page, watched: Watched
) -> None:
    watched.allowed += ["401", "403"]
    await page.goto(hotline.url + "/desk/")
    await page.wait_for_url("**/login")
    await page.goto(hotline.url + "/")
    await page.wait_for_url("**/login")
    await hotline.access.users.create("wang.li", password=PASSWORD, roles=["agent"])
    await page.fill("#username", "wang.li")
    await page.fill("#password", "not the password")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("用户名或密码不正确")
    await expect(page.locator("#username")).to_have_value("wang.li")
    await page.goto(hotline.url + "/desk/")
    await page.wait_for_url("**/login")
    assert hotline.bus.stats().subscribers == 0

    await sign_in(hotline, page, "units.program", roles=("dispatcher",), name="处置单位")
    await page.wait_for_url("**/desk/")
    await expect(page.locator("main")).to_contain_text("没有坐席台的权限")
    await expect(page.locator("#desk")).to_have_count(0)


async def test_an_auditor_sees_and_decides_nothing(hotline: Hotline, page: Page) -> None:
    call = await hotline.waiting("井盖没有了", "上水井盖", "污水井盖")
    await sign_in(hotline, page, roles=("auditor",), name="审计")
    await on_desk(page, hotline)
    await expect(page.locator("#words")).to_contain_text("井盖没有了")
    for key in ("Enter", "1"):
        await press(page, key)
        await expect(page.locator("#notice")).to_have_text("您没有确认分类的权限。")
    assert await hotline.confirmations(call) == []


async def test_a_session_that_ended_elsewhere_decides_nothing_any_more(hotline: Hotline, page: Page) -> None:
    call = await hotline.waiting("井盖没有了", "上水井盖")
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator("#verdict")).to_contain_text("上水井盖")
    async with hotline.db.begin() as session:
        await session.execute(delete(SignIn))
    await press(page, "Enter")
    await page.wait_for_url("**/login")
    assert await hotline.confirmations(call) == []


async def test_messages_lost_by_the_bus_are_had_from_the_store(hotline: Hotline, page: Page) -> None:
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    call = await ToldCall(hotline.db).rings()  # nothing of it goes over the bus
    await call.says("路灯不亮了")
    await call.is_routed("路灯不亮了", "路灯")
    await page.wait_for_timeout(300)
    await expect(page.locator(".list-live .row")).to_have_count(0)
    hotline.bus._resync_all()
    await expect(page.locator(".list-live .row")).to_have_count(1)
    await expect(page.locator("#words")).to_contain_text("路灯不亮了")
    await expect(page.locator("#verdict")).to_contain_text("路灯")


async def test_a_call_is_shown_also_while_the_store_does_not_have_it(hotline: Hotline, page: Page) -> None:
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    call = ToldCall(hotline.db, hotline.bus)
    leg = str(call.case)
    live = {"call": str(call.id), "leg": leg, "kind": "citizen"}
    await hotline.bus.publish(LIVE, {"type": "call", "call": str(call.id), "state": "live"})
    await hotline.bus.publish(
        LIVE, {"type": "utterance", **live, "sequence": 0, "text": "数据库停了", "confidence": 1.0}
    )
    await expect(page.locator(".list-live .row")).to_contain_text("新来电")
    await expect(page.locator("#words")).to_contain_text("数据库停了")
    await press(page, "Enter")
    await expect(page.locator("#notice")).to_have_text("案件尚未入库，请稍候再确认。")
    await call.rings()
    await expect(page.locator(".list-live .row")).to_contain_text("138****5678")


async def test_twenty_page_loads_leave_no_subscriber_and_no_seat(
    hotline: Hotline, page: Page, chromium: Browser
) -> None:
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    for _ in range(20):
        await page.reload()
        await page.wait_for_function("window.did_handshake === true")
    await until(lambda: hotline.bus.stats().subscribers == 1 and len(hotline.desk.seats) == 1)
    # A page that is fetched and never opened (a link checker, a prefetch) follows nothing.
    cookies = {cookie["name"]: cookie["value"] for cookie in await page.context.cookies()}
    status, body = await asyncio.to_thread(fetch, hotline.port, "/desk/", cookies)
    assert status == 200
    assert "desk.js" in body
    assert hotline.bus.stats().subscribers == 1
    await page.goto("about:blank")
    await until(lambda: hotline.bus.stats().subscribers == 0 and hotline.desk.seats == ())
    assert hotline.desk.signed_in_extensions() == frozenset()


async def test_a_lost_connection_is_told_and_no_key_is_kept_for_later(
    hotline: Hotline, page: Page, watched: Watched
) -> None:
    watched.allowed += ["ERR_", "WebSocket"]
    call = await hotline.waiting("井盖没有了", "上水井盖")
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator("#verdict")).to_contain_text("上水井盖")
    await page.wait_for_timeout(SETTLED_MS)
    await page.evaluate("window.socket.io.engine.close()")
    await page.keyboard.press("Enter")
    await expect(page.locator("#desk-hint")).to_contain_text("连接已断开")
    # socket.io comes back by itself; what was pressed meanwhile is not delivered then.
    await page.wait_for_function("window.socket.connected === true")
    await page.wait_for_timeout(1000)
    assert await hotline.confirmations(call) == []


async def test_the_connection_banner_is_chinese_and_on_top(hotline: Hotline, page: Page, watched: Watched) -> None:
    watched.allowed += ["ERR_", "WebSocket"]
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await page.evaluate("window.socket.io.reconnection(false); window.socket.io.engine.close()")
    banner = page.locator("#popup")
    await expect(banner).to_be_visible()
    await expect(banner).to_contain_text("连接")
    box = await banner.bounding_box()
    assert box is not None
    assert (box["x"], box["y"]) == (0, 0)
    assert box["width"] == 1366


async def test_forms_refuse_other_sites_and_keep_secrets_out_of_the_page(hotline: Hotline) -> None:
    await hotline.access.users.create("wang.li", password=PASSWORD, roles=["agent"])
    body = b"username=wang.li&password=whatever+it+is"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    own = {"Origin": hotline.url, **form}
    for headers, status in (
        ({"Origin": "http://evil.example", **form}, 403),
        ({"Sec-Fetch-Site": "cross-site", **form}, 403),
        (form, 403),
        (own, 401),
    ):
        got, answer = await asyncio.to_thread(fetch, hotline.port, "/login", {}, body, headers)
        assert got == status, headers
        assert "whatever" not in answer
    for path in ("/logout", "/setup"):
        got, _ = await asyncio.to_thread(fetch, hotline.port, path, {}, body, {"Origin": "null", **form})
        assert got == 403
    got, answer = await asyncio.to_thread(fetch, hotline.port, "/setup?token=%3Cscript%3E", {})
    assert got == 200
    assert "<script>" not in answer
    got, _ = await asyncio.to_thread(fetch, hotline.port, "/setup", {}, b"token=" + b"x" * 43 + b"&" + body, own)
    assert got == 422


async def test_the_live_socket_asks_who_is_there(hotline: Hotline, page: Page) -> None:
    path = "/desk/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    got, _ = await asyncio.to_thread(fetch, hotline.port, path, {})
    assert got == 403
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    cookies = {cookie["name"]: cookie["value"] for cookie in await page.context.cookies()}
    got, _ = await asyncio.to_thread(fetch, hotline.port, path, cookies, None, {"Origin": "http://evil.example"})
    assert got == 403
    got, _ = await asyncio.to_thread(fetch, hotline.port, path, cookies, None, {"Origin": hotline.url})
    assert got == 200


async def test_everything_works_by_keyboard_and_says_what_it_is(hotline: Hotline, page: Page) -> None:
    await hotline.waiting("井盖没有了", "上水井盖", "污水井盖")
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator("#verdict")).to_contain_text("污水井盖")
    await expect(page.get_by_role("log", name="通话记录")).to_have_attribute("aria-live", "polite")
    await expect(page.get_by_role("listbox", name="待确认")).to_be_visible()
    await expect(page.get_by_role("option", selected=True)).to_have_count(1)
    await expect(page.get_by_role("combobox", name="改为其他类别")).to_be_visible()
    # Nothing lies outside the screen that agents have.
    size = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size[0] <= 1366
    assert size[1] <= 768
    poor = await page.evaluate(CONTRASTS)
    assert json.loads(poor) == []


CONTRASTS = """() => {
    const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => {
        const [R, G, B] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * R + 0.7152 * G + 0.0722 * B;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.99) return colour;
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const element of document.querySelectorAll("#desk *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.getClientRects().length) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push([element.className, element.textContent.slice(0, 20), ratio.toFixed(2)]);
    }
    return JSON.stringify(poor);
}"""


def fetch(
    port: int, path: str, cookies: dict[str, str], body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """One request by a client that is no browser."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), **(headers or {})}
        connection.request("POST" if body is not None else "GET", path, body, sent)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
