"""The supervisor's page: how good the router is, what it mistakes for what, and which version of it is live.

Every deed asks again who is signed in and whether they may. What citizens said is shown with numbers masked, as text,
and only to who may read cases.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import Client, ui
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import EChartPointClickEventArguments, ValueChangeEventArguments
from sqlalchemy import select

from api.pages import charts, words
from api.pages.parts import MOUNT, Pages, message, pages_of, principal_of, token_of
from api.pages.pieces import tag
from callcenter import clock
from callcenter.access.masking import mask_text
from callcenter.access.model import User
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.insight import quality
from callcenter.insight.arithmetic import Share
from callcenter.insight.quality import Beside, CategoryKey, Confusion, Decided, Period, Quality, Tally
from callcenter.insight.versions import SHORTEST_REASON, CannotChange, Version
from callcenter.storage.engine import store_is_at_fault
from classifier.taxonomy import TaxonomyError, load

log = structlog.get_logger()

PERIODS: Final = {7: "近 7 天", 30: "近 30 天", 90: "近 90 天"}
MOST_CASES: Final = 50
MOST_CATEGORIES: Final = 15
NO_STORE: Final = "数据库暂时无法访问，请稍后再试。"


def register() -> None:
    """Adds the page to NiceGUI's application."""

    @ui.page("/insight", title="分派质量 · 12319 热线", response_timeout=15.0)
    async def insight(request: Request, client: Client) -> Response | None:
        pages = pages_of(request)
        principal = await principal_of(request, pages.services)
        if principal is None:
            return RedirectResponse("/login", status_code=303)
        if not principal.may(Permission.INSIGHT_READ):
            return message(
                "分派质量",
                f"账号“{principal.display_name}”没有查看分派质量的权限。请联系系统管理员分配“值班长”角色。",
                status=403,
                signed_in=True,
            )
        await InsightPage(pages, principal, token_of(request), client, request.client).open()
        return None


class InsightPage:
    """One open page."""

    def __init__(self, pages: Pages, principal: Principal, token: str, client: Client, address: Any) -> None:
        self._pages = pages
        self._principal = principal
        self._token = token
        self._client = client
        self._address = address.host if address is not None else ""
        self._days = 30
        self._model: str | None = None
        self._names: dict[UUID, str] = {}
        self._body: TextElement
        self._notice: TextElement
        self._list: TextElement

    async def open(self) -> None:
        """Draw the frame and the figures."""
        ui.add_head_html(f'<link rel="stylesheet" href="{MOUNT}/static/desk.css">')
        ui.add_head_html(f'<link rel="stylesheet" href="{MOUNT}/static/insight.css">')
        with tag("div", "", "insight", id="insight"):
            with tag("header", "", "bar"):
                tag("h1", "12319 热线 · 分派质量")
                tag("a", "坐席台", "who-extension", href=f"{MOUNT}/")
                tag("span", "", "spring")
                tag("span", self._principal.display_name, "who")
                with tag("form", "", "", method="post", action="/logout"):
                    tag("button", "退出", "quiet", type="submit")
            self._notice = tag("div", "", "notice", id="notice", role="status", aria_live="polite")
            with tag("div", "", "filters"):
                ui.select(PERIODS, value=self._days, on_change=self._period_chosen).props(
                    'dense outlined aria-label="时段"'
                )
                versions = await self._pages.versions.all()
                options = {"": "全部版本", **{one.name: f"版本 {one.name}" for one in versions}}
                ui.select(options, value="", on_change=self._model_chosen).props('dense outlined aria-label="版本"')
            self._body = tag("main", "", "figures")
            self._list = tag("section", "", "panel case-list", id="case-list")
        await self._draw()

    async def _period_chosen(self, event: ValueChangeEventArguments[Any]) -> None:
        self._days = event.value if event.value in PERIODS else 30
        await self._deed(self._draw)

    async def _model_chosen(self, event: ValueChangeEventArguments[Any]) -> None:
        self._model = str(event.value) or None
        await self._deed(self._draw)

    async def _deed(self, work: Callable[[], Awaitable[None]], needed: Permission = Permission.INSIGHT_READ) -> None:
        """Do ``work`` for who is still signed in and may."""
        try:
            principal = await self._pages.services.access.principal_of_session(self._token)
            if principal is None:
                ui.navigate.to("../login")
                return
            if not principal.may(needed):
                self._tell("您没有此操作的权限。", alarm=True)
                return
            self._principal = principal
            await work()
        except Exception as fault:  # noqa: BLE001 - whoever waits must be told, and NiceGUI would print the text
            if not store_is_at_fault(fault):
                log.error("insight deed failed", fault=type(fault).__name__)
            self._tell(NO_STORE if store_is_at_fault(fault) else "操作失败，请重试或联系管理员。", alarm=True)

    def _tell(self, text: str, *, alarm: bool = False) -> None:
        self._notice.classes(replace="notice" + (" on" if text else "") + (" alarm" if alarm else ""))
        self._notice.set_text(text)

    def _period(self) -> Period:
        last = clock.local(clock.now()).date()
        begin, end = quality.days_of(last - timedelta(days=self._days - 1), last)
        return Period(begin, end, model=self._model)

    # -- figures -------------------------------------------------------------------------------------------------------

    async def _draw(self) -> None:
        period = self._period()
        async with self._pages.services.db.read() as session:
            found = await quality.quality(session, period)
            mistakes = await quality.confusion(session, period)
            beside = await quality.beside_live(session, Period(period.since, period.until))
            users = await session.execute(select(User.id, User.display_name).where(User.id.in_(list(found.agents))))
            self._names = {user: name for user, name in users}
        versions = await self._pages.versions.all()
        history = await self._pages.versions.history(8)
        await asyncio.to_thread(_warm)
        self._list.clear()
        self._body.clear()
        with self._body:
            self._drift()
            self._tiles(found)
            with _panel("趋势", "wide", "准确率与更正率的色带为 95% 置信区间；3 秒内直接回车视为习惯，不计入准确率。"):
                ui.echart(charts.trend(found.days, found.auto)).classes("chart")
            with _panel("城管与社管", "", "点击格子查看案件"):
                ui.echart(charts.domain_matrix(mistakes.domains), on_point_click=self._cell_clicked).classes(
                    "chart square"
                )
            with _panel("把握与实际", "", "点越靠近虚线，系统给出的把握越可信"):
                ui.echart(charts.reliability(found.calibration)).classes("chart square")
            self._pairs(mistakes)
            self._categories(mistakes)
            self._agents(found)
            self._versions(versions, beside)
            self._history(history)

    def _tiles(self, found: Quality) -> None:
        total = found.total
        complete = Share(sum(one.auto for one in found.auto.values()), sum(one.complete for one in found.auto.values()))
        seconds = found.routing_seconds
        with tag("section", "", "tiles", aria_label="概况"):
            _tile("人工判定", str(total.decided), f"其中习惯性确认 {total.habits}")
            _tile("更正率", _percent(total.overridden), _range(total.overridden))
            _tile("准确率（看到建议）", _percent(total.accuracy), _range(total.accuracy))
            _tile("准确率（盲测）", _percent(total.blind_accuracy), _range(total.blind_accuracy), "blind-tile")
            _tile("自动件准确率（盲测）", _percent(total.blind_auto_accuracy), _range(total.blind_auto_accuracy))
            _tile("自动比例", _percent(complete), _range(complete))
            ece = "—" if found.category_ece is None else f"{found.category_ece:.3f}"
            domain = "—" if found.domain_ece is None else f"{found.domain_ece:.3f}"
            _tile("校准误差 ECE", ece, f"城管/社管 {domain}")
            p50, p95 = seconds.get("p50"), seconds.get("p95")
            _tile(
                "末音到分派",
                "—" if p50 is None else f"{p50:.2f} 秒",
                "无通话" if p95 is None else f"95% 不超过 {p95:.2f} 秒，n={int(seconds['n'] or 0)}",
            )

    def _drift(self) -> None:
        watch = self._pages.services.drift
        found = watch.latest if watch is not None else None
        if found is None or not found.alarms:
            return
        parts = []
        if "new_words" in found.alarms:
            parts.append(f"新词占 {found.new_words:.1%}（通常 {found.new_words_reference:.1%}）")
        if "mix" in found.alarms:
            parts.append(f"近 7 天与此前 28 天相比，{found.mix:.1%} 的案件换了类别（偶然约 {found.mix_by_chance:.1%}）")
        tag("div", "来电内容发生变化，分类器可能需要重新训练：" + "；".join(parts), "banner wide-banner", role="status")

    def _pairs(self, mistakes: Confusion) -> None:
        with _panel("最常混淆的类别", "", "点击一行查看案件"), _table("系统分类", "人工分类", "件数"):
            for said, meant, count in mistakes.pairs[:MOST_CATEGORIES]:
                row = tag("tr", "", "clickable", tabindex=0, role="button")
                with row:
                    tag("td", _name(said))
                    tag("td", _name(meant))
                    tag("td", str(count), "number")
                row.on("click", self._on_pair(said, meant))
                row.on("keydown.enter", self._on_pair(said, meant))
            if not mistakes.pairs:
                _nothing(3, "本时段没有更正")

    def _categories(self, mistakes: Confusion) -> None:
        worst = sorted(mistakes.categories.items(), key=lambda one: (-one[1].part, -one[1].n, one[0]))
        with _panel("各类别更正", ""), _table("系统分类", "更正", "判定", "更正率（95% 区间）"):
            for key, share in worst[:MOST_CATEGORIES]:
                with tag("tr"):
                    tag("td", _name(key))
                    tag("td", str(share.part), "number")
                    tag("td", str(share.n), "number")
                    tag("td", f"{_percent(share)}（{_range(share, n=False)}）", "number")
            if not worst:
                _nothing(4)

    def _agents(self, found: Quality) -> None:
        with _panel("各坐席更正", ""), _table("坐席", "判定", "更正", "更正率（95% 区间）", "习惯", "平均用时"):
            for user, tally in sorted(found.agents.items(), key=lambda one: -one[1].decided):
                with tag("tr"):
                    tag("td", self._names.get(user, "已删除账号"))
                    _tally_cells(tally)
            if not found.agents:
                _nothing(6)

    # -- versions ------------------------------------------------------------------------------------------------------

    def _versions(self, versions: list[Version], beside: list[Beside]) -> None:
        may = self._principal.may(Permission.MODELS_MANAGE)
        with _panel("分类器版本", "wide", "候选版本在影子中运行：对同样的通话作答，但不生效。"):
            if self._pages.versions.pinned:
                tag("p", f"设置 CALLCENTER_ROUTER_MODEL 固定为 {self._pages.versions.pinned}，此处不能切换。", "soft")
            with _table("版本", "状态", "训练日期", "留出集：城管/社管", "留出集：类别", "本市样本", ""):
                for one in versions:
                    with tag("tr", "", "live-version" if one.live else ""):
                        tag("td", one.name, "version-name")
                        state = "使用中" if one.live else "影子" if one.shadow else "候选"
                        tag("td", (one.fault and "损坏") or state, "soft" if state == "候选" else "")
                        tag("td", one.date)
                        tag("td", _figure(one.figures, "domain"), "number")
                        tag("td", _figure(one.figures, "category"), "number")
                        learned = f"{one.learned_from}" + (f"（{one.erased} 已删除，须重训）" if one.erased else "")
                        tag("td", learned, "number")
                        with tag("td"):
                            if may and not one.live and not one.erased and not one.fault:
                                button = tag("button", "启用", "small", type="button", data_promote=one.name)
                                button.on("click", self._on_change(one.name))
            if beside:
                tag("h3", "候选与现用，同一批人工判定")
                with _table("候选", "现用", "判定", "候选准确率", "现用准确率", "仅候选对 / 仅现用对", "偶然的可能"):
                    for pair in beside:
                        with tag("tr", "", "beside"):
                            tag("td", pair.candidate)
                            tag("td", pair.live or "—")
                            tag("td", str(pair.labels), "number")
                            tag("td", _whole(Share(pair.candidate_right, pair.labels)), "number")
                            tag("td", _whole(Share(pair.live_right, pair.labels)), "number")
                            tag("td", f"{pair.only_candidate} / {pair.only_live}", "number")
                            tag("td", f"{pair.sign_test:.3f}", "number")
            if may:
                tag("button", "回退到上一版本", "small rollback", type="button", id="rollback").on(
                    "click", self._on_change(None)
                )

    def _history(self, history: list[Any]) -> None:
        with _panel("版本变更", "wide"), _table("时间", "操作", "版本", "此前", "原因", "结果"):
            for one in history:
                with tag("tr"):
                    tag("td", clock.local(one.asked_at).strftime("%Y-%m-%d %H:%M"))
                    tag("td", "启用" if one.action == "promote" else "回退")
                    tag("td", one.version)
                    tag("td", one.previous)
                    tag("td", one.reason)
                    tag("td", "未生效：" + one.fault if one.fault else "已生效" if one.done_at else "未完成")
            if not history:
                _nothing(6)

    def _on_change(self, version: str | None) -> Callable[[], None]:
        """Ask for a reason, then promote ``version``, or roll back with None."""

        def ask() -> None:
            with self._client, ui.dialog() as dialog, ui.card().classes("ask"):
                tag("h2", f"启用版本 {version}" if version else "回退到上一版本")
                tag("p", "所有正在进行的通话不受影响；原因将记入审计。", "soft")
                reason = ui.textarea("原因").props("outlined autofocus maxlength=400").classes("reason")
                with tag("div", "", "buttons"):
                    tag("button", "取消", "small", type="button").on("click", dialog.close)

                    async def change() -> None:
                        if len(str(reason.value or "").strip()) < SHORTEST_REASON:
                            reason.props('error error-message="请写明原因（至少 4 个字）"')
                            return
                        dialog.close()
                        await self._deed(lambda: self._change(version, str(reason.value)), Permission.MODELS_MANAGE)

                    tag("button", "确定", "small primary", type="button", id="change").on("click", change)
            dialog.open()

        return ask

    async def _change(self, version: str | None, reason: str) -> None:
        self._tell("正在校验并切换版本…")
        actor = self._principal.actor(self._address)
        try:
            if version is None:
                done = await self._pages.versions.rollback(reason=reason, user=self._principal.id, actor=actor)
            else:
                done = await self._pages.versions.promote(version, reason=reason, user=self._principal.id, actor=actor)
        except CannotChange as fault:
            self._tell(f"未切换：{fault}", alarm=True)
            return
        await self._draw()
        self._tell(f"版本 {done.version} 已启用（此前 {done.previous or '无'}）。")

    # -- the cases behind a figure -------------------------------------------------------------------------------------

    async def _cell_clicked(self, event: EChartPointClickEventArguments) -> None:
        point = event.value
        if not isinstance(point, list) or len(point) < 2:
            return
        order = charts.DOMAIN_ORDER
        if not all(isinstance(one, int) and 0 <= one < len(order) for one in point[:2]):
            return
        domains = (order[point[0]], order[point[1]])
        title = f"系统 {words.DOMAINS.get(domains[0], '无')} → 人工 {words.DOMAINS.get(domains[1], '无')}"
        await self._deed(lambda: self._show(title, domains=domains), Permission.CASES_READ_DRAFTS)

    def _on_pair(self, said: CategoryKey, meant: CategoryKey) -> Callable[[], Awaitable[None]]:
        async def show() -> None:
            title = f"系统 {_name(said)} → 人工 {_name(meant)}"
            await self._deed(lambda: self._show(title, before=said, after=meant), Permission.CASES_READ_DRAFTS)

        return show

    async def _show(self, title: str, **which: Any) -> None:
        async with self._pages.services.db.read() as session:
            found = await quality.decided_cases(session, self._period(), limit=MOST_CASES, **which)
        self._list.clear()
        with self._list:
            tag("h2", f"{title}：最近 {len(found)} 件")
            with _table("案件", "时间", "坐席", "系统", "人工", "把握", "市民所述"):
                for one in found:
                    self._case_row(one)
                if not found:
                    _nothing(7)
        ui.run_javascript('document.getElementById("case-list").scrollIntoView({block: "start"})')

    def _case_row(self, one: Decided) -> None:
        with tag("tr", "", "case-row"):
            tag("td", one.number or "草稿")
            tag("td", clock.local(one.at).strftime("%m-%d %H:%M"))
            tag("td", self._names.get(one.user_id, "—"))
            tag("td", _name(one.before))
            tag("td", _name(one.after) + ("（盲测）" if one.blind else ""))
            tag("td", "" if one.probability is None else f"{one.probability:.0%}", "number")
            tag("td", mask_text(one.text) if one.text else "（已删除）", "said-text")


# -- small things ------------------------------------------------------------------------------------------------------


def _warm() -> None:
    """Read the taxonomies of what is shown, in a thread: files, the first time."""
    for standard in ("GB/T 30428.2-2013", "social"):
        load(standard)


def _name(key: CategoryKey) -> str:
    if not key.code:
        return "无类别"
    try:
        found = load(key.standard).by_code(key.kind, key.code)
    except TaxonomyError:
        return f"{key.kind} {key.code}"
    return f"{found.minor}（{words.name(words.KINDS, key.kind)} {key.code}）"


def _percent(share: Share) -> str:
    return "—" if share.share is None else f"{share.share:.1%}"


def _range(share: Share, *, n: bool = True) -> str:
    if not share.n:
        return "无数据"
    low, high = share.interval
    return f"{low:.1%}–{high:.1%}" + (f"，n={share.n}" if n else "")


def _whole(share: Share) -> str:
    return f"{_percent(share)}（{_range(share, n=False)}）"


def _figure(figures: Mapping[str, Any], level: str) -> str:
    clean = figures.get("clean")
    part = clean.get(level) if isinstance(clean, dict) else None
    found = part.get("accuracy") if isinstance(part, dict) else None
    return f"{found:.1%}" if isinstance(found, int | float) else "—"


def _tile(title: str, value: str, note: str, more: str = "") -> None:
    with tag("div", "", f"tile {more}".strip()):
        tag("div", title, "tile-title")
        tag("div", value, "tile-value")
        tag("div", note, "tile-note")


def _panel(title: str, more: str = "", note: str = "") -> TextElement:
    panel = tag("section", "", f"panel {more}".strip(), aria_label=title)
    with panel:
        tag("h2", title)
        if note:
            tag("p", note, "soft note")
    return panel


def _table(*heads: str) -> TextElement:
    """A table with ``heads``; use it with ``with``, for its rows."""
    with tag("div", "", "scroll"), tag("table"):
        with tag("thead"), tag("tr"):
            for head in heads:
                tag("th", head, scope="col")
        return tag("tbody")


def _nothing(columns: int, text: str = "暂无数据") -> None:
    with tag("tr"):
        tag("td", text, "empty", colspan=columns)


def _tally_cells(tally: Tally) -> None:
    tag("td", str(tally.decided), "number")
    tag("td", str(tally.corrected), "number")
    tag("td", _whole(tally.overridden), "number")
    tag("td", str(tally.habits), "number")
    tag("td", "—" if tally.mean_seconds is None else f"{tally.mean_seconds:.1f} 秒", "number")
