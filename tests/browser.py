"""A real browser for tests: Debian's Chromium, driven by playwright, never a downloaded one.

``page`` is a fresh profile's tab. Whatever it asks of another origin than ``127.0.0.1``, and whatever goes wrong in its
scripts, fails the test: city networks are closed, and a page that throws is a page that does not answer its keys.
"""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Watched:
    """What a tab asked for and complained about. ``allowed`` are parts of complaints that a test provokes itself."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def foreign(self) -> list[str]:
        """Requests to anything but this machine."""
        schemes = {"http", "https", "ws", "wss"}
        return [url for url in self.requests if (at := urlsplit(url)).scheme in schemes and at.hostname != "127.0.0.1"]

    def unexpected(self) -> list[str]:
        """Complaints that no test asked for."""
        return [text for text in self.complaints if not any(part in text for part in self.allowed)]


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("no chromium on this machine: apt-get install chromium")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def watched() -> Watched:
    """What the ``page`` fixture's tab did."""
    return Watched()


@pytest.fixture
async def page(chromium: Browser, watched: Watched) -> AsyncIterator[Page]:
    """A tab of a fresh profile, as large as the screens that agents have."""
    context = await chromium.new_context(viewport={"width": 1366, "height": 768}, locale="zh-CN")
    tab = await context.new_page()
    watch(tab, watched)
    yield tab
    await context.close()
    assert watched.foreign() == []
    assert watched.unexpected() == []


def watch(tab: Page, watched: Watched) -> None:
    """Note down what ``tab`` asks for and complains about."""

    def asked(request: Request) -> None:
        watched.requests.append(request.url)

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            watched.complaints.append(message.text)

    tab.on("request", asked)
    tab.on("websocket", lambda socket: watched.requests.append(socket.url))
    tab.on("console", said)
    tab.on("pageerror", lambda error: watched.complaints.append(str(error)))
