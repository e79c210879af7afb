"""The supervisor's page in Debian's Chromium: figures, the cases behind them, promoting and rolling back."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from api.services import Services
from callcenter.access.service import AccessService
from callcenter.bus import MemoryBus
from callcenter.calls.desk import Desk
from callcenter.settings import REPOSITORY, Settings
from callcenter.storage.engine import Database
from tests.api import PASSWORD, Api, served
from tests.browser import Watched, chromium, page, watched
from tests.labels import Label

__all__ = ["chromium", "page", "watched"]

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two versions of the router: the shipped one, live, and a copy of it under another name."""
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
async def hotline(db: Database, tmp_path: Path, models: Path) -> AsyncIterator[Api]:
    settings = Settings(data_dir=tmp_path, models_dir=models, asterisk="none", router_shadow="v2")
    bus, access = MemoryBus(), AccessService(db, settings)
    services = Services(settings=settings, db=db, bus=bus, access=access, desk=Desk(db, bus))
    async with served(services) as running:
        yield running
    await bus.close()
    access.close()


async def judged(hotline: Api) -> Any:
    """Some weeks of one agent's words."""
    await hotline.administrator()
    agent = await hotline.services.access.users.create(
        "wang.li", password=PASSWORD, roles=["agent"], display_name="王丽", extension="101"
    )
    for day in range(6):
        ago = timedelta(days=day, hours=1)
        for label in (
            Label("路灯", "路灯", shadow="路灯"),
            Label("路灯", "路灯", seconds=0.8),
            Label("路灯井盖", "污水井盖", text="井盖没了，我电话13812345678", shadow="污水井盖"),
            Label("占道经营", "邻里纠纷", shadow="占道经营", probability=0.55),
            Label("路灯", "路灯", blind=True, decision="auto", probability=0.99),
        ):
            await Label(
                **{**{n: getattr(label, n) for n in label.__dataclass_fields__}, "ago": ago, "user": agent.id}
            ).write(hotline.services.db)
    return agent


async def sign_in(hotline: Api, page: Page, *roles: str) -> None:
    await hotline.administrator()
    await hotline.services.access.users.create("chen.zhang", password=PASSWORD, roles=roles, display_name="陈班长")
    await page.goto(hotline.url + "/login")
    await page.fill("#username", "chen.zhang")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/desk/")
    await page.goto(hotline.url + "/insight")
    await page.wait_for_function("window.did_handshake === true")


async def test_figures_and_the_cases_behind_them(hotline: Api, page: Page, tmp_path: Path) -> None:
    await judged(hotline)
    await sign_in(hotline, page, "supervisor")
    tiles = page.locator(".tiles")
    await expect(tiles).to_contain_text("人工判定30其中习惯性确认 6")
    await expect(tiles).to_contain_text("更正率40.0%")
    await expect(page.locator(".blind-tile")).to_contain_text("100.0%")
    await expect(page.locator(".blind-tile")).to_contain_text("n=6")
    await expect(tiles).to_contain_text("0.25 秒")
    await expect(page.locator(".chart").filter(has=page.locator("canvas"))).to_have_count(3)
    await expect(page.get_by_label("各坐席更正")).to_contain_text("王丽")
    row = page.get_by_label("最常混淆的类别").locator("tr.clickable", has_text="污水井盖")
    await expect(row).to_contain_text("6")
    await row.click()
    cases = page.locator("#case-list")
    await expect(cases.locator(".case-row")).to_have_count(6)
    await expect(cases).to_contain_text("138****5678")
    assert "13812345678" not in await page.content()
    # A cell of the matrix: the router said urban, the person social.
    matrix = page.locator(".chart.square").first
    box = await matrix.bounding_box()
    assert box is not None
    at = {"x": 76 + (box["width"] - 92) / 6, "y": 12 + (box["height"] - 64) / 2}
    await matrix.click(position=at)
    await expect(cases.locator("h2")).to_contain_text("系统 城管 → 人工 社管：最近 6 件")
    await expect(cases.locator(".case-row").first).to_contain_text("邻里纠纷")
    beside = page.locator(".beside")
    await expect(beside).to_contain_text("v2")
    await expect(beside).to_contain_text("6 / 0")
    if shot := tmp_path / "insight.png":
        await page.screenshot(path=shot, full_page=True)
        assert shot.stat().st_size > 20_000


async def test_promote_and_roll_back_with_a_reason(hotline: Api, page: Page, models: Path) -> None:
    told: list[dict[str, Any]] = []

    async def listen() -> None:
        async with hotline.services.bus.subscribe("router") as messages:
            async for one in messages:
                told.append(one)

    listening = asyncio.create_task(listen())
    await sign_in(hotline, page, "supervisor")
    await page.locator("[data-promote=v2]").click()
    await page.locator("#change").click()
    await expect(page.locator(".ask")).to_contain_text("请写明原因")
    await page.get_by_label("原因").fill("影子评测两周均优于现用版本")
    await page.locator("#change").click()
    await expect(page.locator("#notice")).to_have_text("版本 v2 已启用（此前 v1）。", timeout=30_000)
    assert (models / "router" / "promoted").read_text().split() == ["v2", "v1"]
    await expect(page.locator(".live-version .version-name")).to_have_text("v2")
    await expect(page.get_by_label("版本变更")).to_contain_text("影子评测两周均优于现用版本")
    await page.locator("#rollback").click()
    await page.get_by_label("原因").fill("误报增多，先退回")
    await page.locator("#change").click()
    await expect(page.locator("#notice")).to_have_text("版本 v1 已启用（此前 v2）。", timeout=30_000)
    assert [one["version"] for one in told] == ["v2", "v1"]
    listening.cancel()


async def test_who_may_only_read_changes_nothing_and_sees_no_words(hotline: Api, page: Page, watched: Watched) -> None:
    watched.allowed.append("403")  # of the desk, which an administrator has no business at
    await judged(hotline)
    await sign_in(hotline, page, "admin")
    await expect(page.locator(".tiles")).to_contain_text("30")
    await expect(page.locator("[data-promote], #rollback")).to_have_count(0)
    await page.get_by_label("最常混淆的类别").locator("tr.clickable").first.click()
    await expect(page.locator("#notice")).to_have_text("您没有此操作的权限。")
    await expect(page.locator(".case-row")).to_have_count(0)


async def test_an_agent_is_sent_away(hotline: Api, page: Page, watched: Watched) -> None:
    watched.allowed.append("403")
    await hotline.administrator()
    await hotline.services.access.users.create("li.na", password=PASSWORD, roles=["agent"])
    await page.goto(hotline.url + "/insight")
    await page.wait_for_url("**/login")
    await page.fill("#username", "li.na")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/desk/")
    await page.goto(hotline.url + "/insight")
    await expect(page.locator("main")).to_contain_text("没有查看分派质量的权限")
