"""The blind sample at the desk, in Debian's Chromium: no suggestion before the agent's own word, and how long they
looked."""

import asyncio
from uuid import UUID, uuid4

import pytest
from playwright.async_api import Page, expect

from callcenter.calls.model import case_id
from callcenter.cases.model import in_blind_sample
from tests.browser import chromium, page, watched
from tests.integration.test_desk_page import Hotline, hotline, on_desk, press, sign_in
from tests.telling import ToldCall, category

__all__ = ["chromium", "hotline", "page", "watched"]

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)]


def drawn(every: int = 50) -> UUID:
    """A call whose case is of the blind sample."""
    while not in_blind_sample(case_id(call := uuid4()), every):
        pass
    return call


def not_drawn() -> UUID:
    while in_blind_sample(case_id(call := uuid4()), 20):
        pass
    return call


async def told(hotline: Hotline, call: UUID, *, decision: str, ends: bool = True, **more: object) -> ToldCall:
    made = await ToldCall(hotline.db, hotline.bus, id=call).rings()
    await made.says("人民路的路灯不亮了")
    await made.is_routed("人民路的路灯不亮了", "路灯", "路灯井盖", decision=decision, **more)
    if ends:
        await made.ends()
    return made


async def test_a_case_that_was_filed_by_itself_is_judged_unseen(hotline: Hotline, page: Page) -> None:
    hotline.desk.blind_every = 50
    blind = await told(hotline, drawn(), decision="auto")
    filed = await told(hotline, not_drawn(), decision="auto")
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator(".list-waiting .row")).to_have_count(1)
    await expect(page.locator(".list-waiting .row")).to_contain_text("盲测")
    verdict = page.locator("#verdict")
    await expect(verdict).to_contain_text("不显示系统建议")
    await expect(page.locator("#words")).to_contain_text("路灯不亮了")
    for hidden in ("路灯", "公用设施", "城管", "83%", "自动"):
        await expect(verdict).not_to_contain_text(hidden)
        await expect(page.locator(".list-waiting")).not_to_contain_text(hidden)
    await expect(page.locator(".confirm, .alternative")).to_have_count(0)
    for key in ("Enter", "1"):
        await press(page, key)
        assert await hotline.confirmations(blind) == []
    await press(page, "/")
    await page.keyboard.type("路灯井盖")
    await expect(page.locator(".match.on strong")).to_have_text("路灯井盖")
    await page.keyboard.press("Enter")
    await expect(page.locator("#notice")).to_contain_text("盲测已记录：公用设施 / 路灯井盖")
    [kept] = await hotline.confirmations(blind)
    assert (kept.blind, kept.verdict, kept.decision_before) == (True, "corrected", "auto")
    assert (kept.code_before, kept.code_after) == (category("路灯").code, category("路灯井盖").code)
    assert await hotline.confirmations(filed) == []


async def test_an_agent_who_cannot_tell_sees_the_suggestion_and_it_is_no_blind_label(
    hotline: Hotline, page: Page
) -> None:
    hotline.desk.blind_every = 50
    call = await told(hotline, drawn(), decision="confirm")
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await page.get_by_role("button", name="无法判断").click()
    await expect(page.locator("#verdict")).to_contain_text("83%")
    await page.wait_for_timeout(3_200)
    await press(page, "Enter")
    await expect(page.locator("#notice")).to_contain_text("已确认：公用设施 / 路灯")
    [kept] = await hotline.confirmations(call)
    assert (kept.blind, kept.verdict) == (False, "confirmed")
    assert kept.seconds_to_decide is not None
    assert 3.2 <= kept.seconds_to_decide < 10


async def test_enter_at_once_is_kept_with_its_time(hotline: Hotline, page: Page) -> None:
    call = await told(hotline, not_drawn(), decision="confirm")
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    await expect(page.locator("#verdict")).to_contain_text("83%")
    await press(page, "Enter")
    await expect(page.locator("#notice")).to_contain_text("已确认")
    [kept] = await hotline.confirmations(call)
    assert kept.seconds_to_decide is not None
    assert 0.3 < kept.seconds_to_decide < 3


async def test_during_a_call_nothing_slips_through_and_help_is_called_all_the_same(
    hotline: Hotline, page: Page
) -> None:
    hotline.desk.blind_every = 50
    await sign_in(hotline, page)
    await on_desk(page, hotline)
    # Everything the page was ever given, also what stood there for a moment.
    await page.evaluate(
        """() => {
            window.seen = "";
            new MutationObserver(() => { window.seen += document.getElementById("verdict").innerText; })
                .observe(document.body, {subtree: true, childList: true, characterData: true});
        }"""
    )
    quiet = await told(hotline, drawn(), decision="auto", ends=False)
    await expect(page.locator("#verdict")).to_contain_text("盲测案件")
    await quiet.is_routed("人民路的路灯不亮了，好几天了", "路灯", "路灯井盖")
    await asyncio.sleep(0.5)
    assert "路灯" not in await page.evaluate("window.seen")
    await quiet.is_routed("路灯杆漏电，有人触电了", "路灯", emergency={"services": ["120"]}, reasons=["emergency"])
    await expect(page.locator("[role=alert] .alarm")).to_contain_text("急救 120")
    await expect(page.locator("#verdict")).to_contain_text("路灯")
