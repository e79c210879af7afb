"""The agent's desk: live calls with their words and routing, and one key to confirm or correct.

Drawn by NiceGUI from a ``DeskView``: loaded from the store, then kept by the bus. What a citizen said reaches the
browser only as the text of elements, never as HTML. What the agent does comes back as one event ("desk", see
static/desk.js) that names the picture it was done on; every deed asks again who is signed in and whether they may.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import Client, background_tasks, ui
from nicegui.events import GenericEventArguments

from api.pages import drawing, voice, words
from api.pages.categories import Categories, categories_of
from api.pages.parts import MOUNT, Pages, message, pages_of, principal_of, token_of
from api.pages.view import Changed, DeskView, Entry
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.bus import LIVE, RESYNC
from callcenter.calls.desk import CaseMoved, NothingToConfirm, identity
from callcenter.storage.engine import store_is_at_fault
from classifier.taxonomy import Category

log = structlog.get_logger()

DRAW_EVERY_S: Final = 0.06
"""Live messages are drawn together this often: faster is not seen, slower is felt."""

ASK_AGAIN_S: Final = 10.0
"""A page that is only looked at loses its sight this long after its session ended."""

STORE_AGAIN_S: Final = 2.0
STORE_TRIES: Final = 60
"""A call that the store does not have is in the spool: it comes within seconds, or once the database is back."""

LONGEST_LOOK_S: Final = 86_400.0
"""A browser that says it has shown a case for longer than a day is not believed."""

NO_STORE: Final = "数据库暂时无法访问；电话照常，内容可能不是最新。"

NEEDED: Final = (Permission.CALLS_READ, Permission.CASES_READ, Permission.CASES_READ_DRAFTS)


def register() -> None:
    """Adds the page to NiceGUI's application. Once a process would do; again does no harm."""

    @ui.page("/", title="坐席台 · 12319 热线", response_timeout=10.0)
    async def desk(request: Request, client: Client) -> Response | None:
        pages = pages_of(request)
        principal = await principal_of(request, pages.services)
        if principal is None:
            return RedirectResponse("/login", status_code=303)
        if not all(principal.may(one) for one in NEEDED):
            return message(
                "坐席台",
                f"账号“{principal.display_name}”没有坐席台的权限。请联系系统管理员分配“坐席”或“值班长”角色。",
                status=403,
                signed_in=True,
            )
        standard = pages.services.settings.category_standard
        categories = await asyncio.to_thread(categories_of, standard)
        page = DeskPage(pages, principal, token_of(request), client, categories)
        await page.open()
        return None


class DeskPage:
    """One open desk in one browser tab, from its first drawing until the tab is gone."""

    def __init__(self, pages: Pages, principal: Principal, token: str, client: Client, categories: Categories) -> None:
        self._pages = pages
        self._principal = principal
        self._token = token
        self._client = client
        self._categories = categories
        self._seat = uuid4().hex
        self._view = DeskView(principal.extension, pages.desk.blind_every)
        self._asked_at = 0.0
        self._dirty = Changed.NOTHING
        self._drawing: asyncio.TimerHandle | None = None
        self._deeds = asyncio.Lock()
        self._matches: list[str] = []
        self._match = 0
        self._loading = False
        self._misses: dict[UUID, tuple[int, float]] = {}
        """Calls that the store did not have: how often it was asked, and from when on it may be asked again."""
        self._tasks: list[asyncio.Task[Any]] = []
        self._frame: drawing.Frame | None = None

    async def open(self) -> None:
        """Load and draw; following begins once the browser is connected, so that a page nobody opens costs nothing."""
        await self._load()
        self._frame = drawing.Frame(self._principal, voice.banner(self._pages.services))
        self._draw(Changed.ALL)
        ui.on("desk", self._deed)
        self._client.on_connect(self._connected)
        self._client.on_delete(self._deleted)

    # -- the life of the page ------------------------------------------------------------------------------------------

    def _connected(self) -> None:
        self._pages.desk.arrive(self._seat, self._principal.id, self._principal.extension)
        if not self._tasks:
            self._tasks = [
                background_tasks.create(self._guarded(self._follow), name="desk follow"),
                background_tasks.create(self._guarded(self._watch_session), name="desk session"),
            ]

    def _deleted(self) -> None:
        self._pages.desk.leave(self._seat)
        if self._drawing is not None:
            self._drawing.cancel()
        for task in self._tasks:
            task.cancel()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as fault:  # noqa: BLE001  # its text may quote a citizen, and NiceGUI would print it
            log.error("desk page stopped", task=work.__name__, fault=type(fault).__name__)
            self._notice("页面遇到故障，请刷新。", alarm=True)

    async def _follow(self) -> None:
        """Live messages until the bus closes. What happened between loading and now is loaded again first."""
        async with self._pages.services.bus.subscribe(LIVE) as messages:
            await self._resync()
            async for live in messages:
                if live["type"] == RESYNC:
                    await self._resync()
                else:
                    self._draw_soon(self._view.apply(live, clock.now()))
        self._notice("服务正在停止，请稍候重新打开页面。", alarm=True)

    async def _watch_session(self) -> None:
        while await self._still_signed_in():  # noqa: ASYNC110  # the store is asked: no event tells of an end
            await asyncio.sleep(ASK_AGAIN_S)
        self._to_login()

    async def _still_signed_in(self, *, within_s: float = 0.0) -> bool:
        """Whether the session lives and may still see the desk; asked of the store unless asked ``within_s`` ago."""
        now = asyncio.get_running_loop().time()
        if self._asked_at and now - self._asked_at < within_s:
            return True
        try:
            principal = await self._pages.services.access.principal_of_session(self._token)
        except Exception as fault:
            if not store_is_at_fault(fault):
                raise
            # Nobody can be let in anew, but a call under way goes on, and so does the page of who was let in.
            self._notice(NO_STORE, alarm=True)
            return True
        if principal is None or not all(principal.may(one) for one in NEEDED):
            return False
        self._principal = principal
        self._asked_at = now
        return True

    def _to_login(self) -> None:
        with self._client:
            ui.navigate.to("../login")  # NiceGUI puts its mount before what begins with a slash

    # -- the store -----------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        desk = self._pages.desk
        self._view.load(await desk.live_calls(), await desk.waiting())
        await self._load_current()

    async def _load_current(self) -> None:
        entry = self._view.current
        if entry is not None and not entry.loaded and entry.call is not None:
            card = await self._pages.desk.call(entry.call)
            if card is not None:
                self._view.put(card)

    async def _resync(self) -> None:
        try:
            await self._load()
        except Exception as fault:
            if not store_is_at_fault(fault):
                raise
            self._notice(NO_STORE, alarm=True)
        self._draw_soon(Changed.ALL)

    async def _load_unknown(self) -> None:
        """Calls that messages told of: their cases' versions, their numbers, or the whole of them."""
        now = asyncio.get_running_loop().time
        due = self._due()
        self._view.unknown -= due
        self._loading = True
        try:
            for call in due:
                card = await self._pages.desk.call(call)
                if card is not None:
                    self._misses.pop(call, None)
                    self._draw_soon(self._view.put(card))
                else:
                    self._ask_later({call}, now())
            await self._load_current()
        except Exception as fault:
            if not store_is_at_fault(fault):
                raise
            self._ask_later(due, now())
            self._notice(NO_STORE, alarm=True)
        finally:
            self._loading = False
        if self._due():
            self._draw_soon(Changed.NOTHING)
        elif self._view.unknown:
            asyncio.get_running_loop().call_later(STORE_AGAIN_S, self._draw_soon, Changed.NOTHING)

    def _due(self) -> set[UUID]:
        """The unknown calls that the store may be asked for now."""
        now = asyncio.get_running_loop().time()
        return {call for call in self._view.unknown if self._misses.get(call, (0, 0.0))[1] <= now}

    def _ask_later(self, calls: set[UUID], now: float) -> None:
        """The store does not have these (yet): ask again, but neither at every message nor for ever."""
        for call in calls:
            count = self._misses.get(call, (0, 0.0))[0] + 1
            if count < STORE_TRIES:
                self._misses[call] = (count, now + STORE_AGAIN_S)
                self._view.unknown.add(call)
            else:
                self._misses.pop(call, None)

    # -- drawing -------------------------------------------------------------------------------------------------------

    def _draw_soon(self, changed: Changed) -> None:
        self._dirty |= changed
        if (self._dirty or self._view.unknown) and self._drawing is None and not self._client.is_deleted:
            self._drawing = asyncio.get_running_loop().call_later(DRAW_EVERY_S, self._draw_now)

    def _draw_now(self) -> None:
        self._drawing = None
        dirty, self._dirty = self._dirty, Changed.NOTHING
        if self._client.is_deleted:
            return
        try:
            self._draw(dirty)
        except Exception as fault:  # noqa: BLE001  # as in _guarded; the rest of the page goes on
            log.error("desk drawing failed", fault=type(fault).__name__)
        if not self._loading and self._due():
            background_tasks.create(self._guarded(self._load_unknown), name="desk load")

    def _draw(self, changed: Changed) -> None:
        if self._frame is not None:
            with self._client:
                self._frame.draw(self._view, changed)

    def _notice(self, text: str, *, alarm: bool = False) -> None:
        if self._frame is not None and not self._client.is_deleted:
            with self._client:
                self._frame.notice(text, alarm=alarm)

    # -- deeds ---------------------------------------------------------------------------------------------------------

    async def _deed(self, event: GenericEventArguments) -> None:
        """One thing the agent did. What a browser sends is not believed: types, names and rights are checked here."""
        args = event.args if isinstance(event.args, dict) else {}
        try:
            async with self._deeds:
                await self._do(str(args.get("deed", "")), args)
        except Exception as fault:  # noqa: BLE001  # the agent must be told, and NiceGUI would print the fault's text
            if not store_is_at_fault(fault):
                log.error("desk deed failed", deed=str(args.get("deed", ""))[:16], fault=type(fault).__name__)
                self._notice("操作失败，未做任何更改。请重试或联系管理员。", alarm=True)
                return
            self._notice("数据库暂时无法访问，操作未保存，请稍后再试。", alarm=True)

    async def _do(self, deed: str, args: dict[str, Any]) -> None:
        decides = deed in ("confirm", "choose", "search-pick")
        if not await self._still_signed_in(within_s=0.0 if decides else ASK_AGAIN_S):
            self._to_login()
        elif deed == "select":
            await self._go(self._view.select(str(args.get("call", ""))))
        elif deed == "move":
            await self._go(self._view.move(1 if args.get("by") == 1 else -1))
        elif deed == "search":
            self._search(str(args.get("text", ""))[:64])
        elif deed == "search-move":
            self._move_match(1 if args.get("by") == 1 else -1)
        elif deed == "search-close":
            self._search("")
        elif deed == "search-pick":
            await self._pick(args)
        elif deed == "reveal":
            if (entry := self._view.current) is not None and entry.hidden:
                self._draw(self._view.reveal(entry))
        elif deed == "confirm":
            await self._decide(args, None)
        elif deed == "choose":
            await self._choose(args)

    async def _go(self, changed: Changed) -> None:
        if changed:
            self._search("")
            self._notice("")
            await self._load_current()
            self._draw(changed)

    def _search(self, text: str) -> None:
        self._matches = [one.key for one in self._categories.search(text)]
        self._match = 0
        self._draw_matches(text)

    def _move_match(self, by: int) -> None:
        if self._matches:
            self._match = (self._match + by) % len(self._matches)
            self._draw_matches("…")

    def _draw_matches(self, text: str) -> None:
        found = [one for key in self._matches if (one := self._categories.get(key)) is not None]
        if self._frame is not None:
            with self._client:
                self._frame.matches([(one.key, one.category) for one in found], self._match, nothing=bool(text.strip()))

    async def _pick(self, args: dict[str, Any]) -> None:
        if isinstance(key := args.get("pick"), str):
            chosen = self._categories.get(key)
        else:
            # Searched for anew: Enter may overtake the list that the last characters asked for.
            found = self._categories.search(str(args.get("text", ""))[:64])
            keys = [one.key for one in found]
            chosen = found[self._match if keys == self._matches else 0] if found else None
        self._search("")
        if chosen is None:
            self._notice("没有找到这个类别。")
        else:
            await self._decide(args, chosen.category)

    async def _choose(self, args: dict[str, Any]) -> None:
        entry, rank = self._view.current, args.get("rank")
        if entry is None or not isinstance(rank, int) or not 1 <= rank <= len(entry.alternatives):
            self._notice("没有这个备选类别。")
            return
        chosen = self._categories.of(entry.alternatives[rank - 1].get("category") or {})
        if chosen is None:
            self._notice("该备选不属于当前分类标准，请按 / 搜索。", alarm=True)
        else:
            await self._decide(args, chosen.category)

    async def _decide(self, args: dict[str, Any], choice: Category | None) -> None:
        """Confirm (``choice`` None) or correct the case the agent was looking at."""
        entry = self._view.current
        if not self._principal.may(Permission.CASES_CONFIRM):
            self._notice("您没有确认分类的权限。", alarm=True)
            return
        if entry is None or entry.case is None:
            self._notice("案件尚未入库，请稍候再确认。" if entry is not None else "没有选中的呼叫。")
            return
        if args.get("case") != str(entry.case.id) or args.get("shown") != entry.shown():
            self._notice("内容刚刚更新，请看清后再按一次。", alarm=True)
            self._draw(Changed.ALL)
            return
        if choice is None and entry.category is None:
            blind = "盲测案件：请按 / 搜索并选择类别。"
            self._notice(blind if entry.hidden else "没有建议类别，请按 / 搜索后选择。")
            return
        suggested = entry.category
        chosen = suggested if choice is None else choice.to_json()
        if entry.case.confirmed and identity(chosen) == identity(suggested):
            # Each word of an agent is a label: the same one twice would count twice.
            self._notice("此案已确认为这个类别；如需更改，请按 1–5 或 /。")
            return
        looked = args.get("looked")
        seconds = float(looked) if isinstance(looked, int | float) and 0 <= looked < LONGEST_LOOK_S else None
        await self._confirm(entry, entry.case.id, choice, suggested, seconds)

    async def _confirm(
        self,
        entry: Entry,
        case: UUID,
        choice: Category | None,
        suggested: dict[str, Any] | None,
        seconds: float | None,
    ) -> None:
        blind = entry.hidden
        desk, version = self._pages.desk, entry.case.version if entry.case is not None else 0
        for _ in range(3):
            try:
                card = await desk.confirm(
                    case,
                    self._principal.id,
                    choice,
                    version,
                    seen=suggested,
                    blind=blind,
                    seconds_to_decide=seconds,
                )
            except NothingToConfirm as fault:
                self._notice(words.refusal(fault.reason), alarm=True)
                return
            except CaseMoved as conflict:
                now = conflict.card
                # The router has spoken again meanwhile: where it still says what the agent agreed to, or the agent has
                # named the category, that changes nothing about their word. A person's decision does.
                same = choice is not None or identity(now.category) == identity(suggested)
                if same and not now.confirmed and now.version != version:
                    version = now.version
                    continue
                entry.case = now
                await self._load_one(entry)
                self._notice(words.conflict(now), alarm=True)
                self._draw(Changed.ALL)
                return
            self._draw(self._view.decided(entry, card))
            await self._load_current()
            self._draw(Changed.ALL)
            if blind:
                self._notice(words.decided_blind(card))
            else:
                self._notice(words.confirmed(card, corrected=identity(card.category) != identity(suggested)))
            return
        self._notice("内容更新过快，请再按一次。", alarm=True)

    async def _load_one(self, entry: Entry) -> None:
        card = await self._pages.desk.call(entry.call) if entry.call is not None else None
        if card is not None:
            self._view.put(card)


__all__ = ["MOUNT", "DeskPage", "register"]
