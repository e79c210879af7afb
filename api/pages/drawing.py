"""The desk's picture: which elements there are, and what each says. Knows the view and NiceGUI; decides nothing.

Everything that a person said or typed is the text of an element (Vue puts it into the document as text). No function
here takes HTML, and no prop is given such a value.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from api.pages import pieces, words
from api.pages.parts import MOUNT
from api.pages.pieces import since, tag
from api.pages.view import Changed, DeskView, Entry, runs
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from classifier.taxonomy import Category

KEYS: Final = (
    ("Enter", "确认"),
    ("1–5", "改为备选"),
    ("/", "搜索类别"),
    ("Esc", "退出搜索"),
    ("J K ↑ ↓", "切换"),
)


class Frame:
    """The elements of one page, made once; ``draw`` brings them to a view."""

    def __init__(self, principal: Principal, warning: str) -> None:
        ui.add_head_html(f'<link rel="stylesheet" href="{MOUNT}/static/desk.css">')
        ui.add_body_html(f'<script src="{MOUNT}/static/desk.js"></script>')
        self._rows: dict[str, tuple[tuple[Any, ...], TextElement]] = {}
        self._orders: dict[str, list[str]] = {}
        self._empty: dict[str, TextElement] = {}
        self._said: dict[tuple[UUID, int], tuple[Any, TextElement]] = {}
        self._said_of: str | None = None
        self._verdict_of: tuple[Any, ...] | None = None
        self._alarms: tuple[str, ...] = ()
        with tag("div", "", "desk", id="desk", data_now=f"{clock.now().timestamp():.3f}"):
            self._header(principal)
            if warning:
                tag("div", warning, "banner", role="status")
            with tag("main", "", "columns"):
                with tag("nav", "", "lists", aria_label="呼叫与案件"):
                    self._live_title, self._live = self._list("进行中", "live")
                    self._waiting_title, self._waiting = self._list("待确认", "waiting")
                with tag("section", "", "talk", aria_label="通话内容"):
                    self._talk_head = tag("div", "", "talk-head")
                    self._words = tag(
                        "div",
                        "",
                        "words",
                        id="words",
                        role="log",
                        aria_live="polite",
                        aria_label="通话记录",
                        tabindex=0,
                    )
                    self._partial = tag("div", "", "partials", aria_live="off", aria_hidden="true")
                with tag("aside", "", "judge", aria_label="分类与确认"):
                    self._alarm = tag("div", "", "alarm-box", role="alert")
                    self._notice = tag("div", "", "notice", id="notice", role="status", aria_live="polite")
                    tag("div", "", "hint", id="desk-hint", role="status", aria_live="polite")
                    self._verdict = tag("div", "", "verdict", id="verdict")
                    self._search()
            with tag("footer", "", "keys", aria_label="快捷键"):
                for key, meaning in KEYS:
                    with tag("span", "", "key"):
                        tag("kbd", key)
                        tag("span", meaning)

    def _header(self, principal: Principal) -> None:
        with tag("header", "", "bar"):
            tag("h1", "12319 热线 · 坐席台")
            self._count = tag("span", "", "counts", role="status")
            tag("span", "", "spring")
            if principal.may(Permission.INSIGHT_READ):
                tag("a", "分派质量", "who-extension", href="/insight")
            tag("span", principal.display_name, "who")
            tag("span", f"分机 {principal.extension}" if principal.extension else "未设分机", "who-extension")
            with tag("form", "", "", method="post", action="/logout"):
                tag("button", "退出", "quiet", type="submit")

    def _list(self, title: str, name: str) -> tuple[TextElement, TextElement]:
        with tag("section", "", f"list list-{name}", aria_labelledby=f"title-{name}"):
            heading = tag("h2", title, "", id=f"title-{name}")
            self._empty[name] = tag("p", "暂无来电" if name == "live" else "没有待确认的案件", "empty")
            body = tag("div", "", "rows", role="listbox", aria_labelledby=f"title-{name}")
        return heading, body

    def _search(self) -> None:
        self._search_box = tag("div", "", "search off")
        with self._search_box:
            tag("label", "改为其他类别", "", for_="category-search")
            self._input = tag(
                "input",
                "",
                "",
                id="category-search",
                type="text",
                placeholder="按 / 输入名称、拼音首字母或代码",
                autocomplete="off",
                spellcheck="false",
                maxlength=64,
                role="combobox",
                aria_expanded="false",
                aria_controls="matches",
                aria_autocomplete="list",
            )
            self._matches = tag("div", "", "matches", id="matches", role="listbox", aria_label="匹配的类别")

    # -- from the view -------------------------------------------------------------------------------------------------

    def draw(self, view: DeskView, changed: Changed) -> None:
        """Bring the parts named by ``changed`` to ``view``."""
        if Changed.LISTS in changed:
            live, waiting = view.live, view.waiting
            kept = view.current
            if kept is not None and kept.over and not kept.waiting:
                live = [*live, kept]
            self._draw_list("live", self._live, live, view.selected)
            self._draw_list("waiting", self._waiting, waiting, view.selected)
            under_way = sum(1 for one in live if not one.over)
            self._live_title.set_text(f"进行中 {under_way}")
            self._waiting_title.set_text(f"待确认 {len(waiting)}")
            self._count.set_text(f"进行中 {under_way} · 待确认 {len(waiting)}")
        entry = view.current
        if Changed.WORDS in changed:
            self._draw_words(entry)
        if Changed.PARTIAL in changed:
            self._draw_partials(entry)
        if changed & (Changed.VERDICT | Changed.LISTS):
            self._draw_talk_head(entry)
            self._draw_verdict(entry)

    def notice(self, text: str, *, alarm: bool = False) -> None:
        """Say what became of a deed; empty takes it away."""
        self._notice.classes(replace="notice" + (" on" if text else "") + (" alarm" if alarm else ""))
        self._notice.props["role"] = "alert" if alarm else "status"
        self._notice.set_text(text)

    def matches(self, found: Sequence[tuple[str, Category]], chosen: int, *, nothing: bool) -> None:
        """The categories that the typed text may mean; ``nothing`` tells that text was typed."""
        self._input.props["aria-expanded"] = "true" if found else "false"
        self._input.props["aria-activedescendant"] = f"match-{chosen}" if found else ""
        self._matches.clear()
        with self._matches:
            for index, (key, category) in enumerate(found):
                on = index == chosen
                with tag(
                    "div",
                    "",
                    "match on" if on else "match",
                    id=f"match-{index}",
                    role="option",
                    aria_selected="true" if on else "false",
                    data_pick=key,
                ):
                    tag("strong", category.minor)
                    tag(
                        "span", f"{words.name(words.KINDS, category.kind)} · {category.major} · {category.code}", "soft"
                    )
            if nothing and not found:
                tag("div", "没有匹配的类别", "match none")

    # -- lists ---------------------------------------------------------------------------------------------------------

    def _draw_list(self, name: str, body: TextElement, entries: list[Entry], selected: str | None) -> None:
        order = [one.key for one in entries]
        drawn = self._orders.setdefault(name, [])
        # Rows are kept and moved: to make thirty anew for each call that comes costs every open page 20 ms.
        for key in [key for key in drawn if key not in order]:
            drawn.remove(key)
            self._rows.pop(f"{name}:{key}")[1].delete()
        for index, key in enumerate(order):
            if key not in drawn:
                with body:
                    row = tag("div", "", "row", role="option", data_call=key)
                self._rows[f"{name}:{key}"] = ((), row)
                drawn.append(key)
            if drawn[index] != key:
                drawn.remove(key)
                drawn.insert(index, key)
                self._rows[f"{name}:{key}"][1].move(target_index=index)
        self._empty[name].classes(replace="empty off" if entries else "empty")
        for one in entries:
            seen, row = self._rows[f"{name}:{one.key}"]
            look = pieces.look(one, one.key == selected)
            if seen != look:
                self._rows[f"{name}:{one.key}"] = (look, row)
                row.clear()
                with row:
                    pieces.draw_row(one)
                row.classes(replace=pieces.row_classes(one, one.key == selected))
                row.props["aria-selected"] = "true" if one.key == selected else "false"

    # -- the talk ------------------------------------------------------------------------------------------------------

    def _draw_talk_head(self, entry: Entry | None) -> None:
        self._talk_head.clear()
        with self._talk_head:
            if entry is None:
                tag("strong", "没有选中的呼叫", "soft")
                return
            tag("strong", entry.number or "案件", "number")
            tag("span", words.name(words.CALL_STATES, entry.state), f"state state-{pieces.known_state(entry)}")
            since(entry.answered_at, entry.ended_at, "big")
            if entry.extension:
                tag("span", f"坐席 {entry.extension}", "soft")
            tag("span", clock.local(entry.rung_at).strftime("%m-%d %H:%M 来电"), "soft end")

    def _draw_words(self, entry: Entry | None) -> None:
        said = entry.said if entry is not None else []
        key = entry.key if entry is not None else None
        order = [(one.leg, one.sequence) for one in said]
        if key != self._said_of or order[: len(self._said)] != list(self._said):
            self._words.clear()
            self._said = {}
        self._said_of = key
        # Only what is new or different is touched: the log is read aloud, and what was read is not to be read again.
        for one in said:
            look = (one.kind, runs(one))
            drawn = self._said.get((one.leg, one.sequence))
            if drawn is None:
                with self._words:
                    row = tag("p", "", f"said {pieces.known_kind(one.kind)}")
            elif drawn[0] == look:
                continue
            else:
                row = drawn[1]
                row.clear()
            with row:
                pieces.draw_said(one)
            self._said[one.leg, one.sequence] = (look, row)
        self._words.props["data-of"] = key or ""
        self._words.props["data-count"] = len(said)

    def _draw_partials(self, entry: Entry | None) -> None:
        self._partial.clear()
        with self._partial:
            for kind, text in entry.partials.values() if entry is not None else ():
                with tag("p", "", f"said partial {pieces.known_kind(kind)}"):
                    tag("span", words.name(words.LEGS, kind), "leg")
                    tag("span", text, "text")

    # -- the verdict ---------------------------------------------------------------------------------------------------

    def _draw_verdict(self, entry: Entry | None) -> None:
        self._draw_alarm(entry)
        look = (entry.key, entry.case, entry.routing, entry.over, entry.hidden) if entry is not None else None
        if look == self._verdict_of and look is not None:
            return
        self._verdict_of = look
        case = entry.case if entry is not None else None
        self._verdict.props["data-case"] = str(case.id) if case is not None else ""
        self._verdict.props["data-version"] = case.version if case is not None else 0
        self._verdict.props["data-shown"] = entry.shown() if entry is not None else ""
        self._search_box.classes(replace="search" if case is not None else "search off")
        self._verdict.clear()
        with self._verdict:
            if entry is not None:
                pieces.draw_case_line(entry)
                pieces.draw_category(entry)
                pieces.draw_reasons(entry)
                pieces.draw_address(entry)
                pieces.draw_choices(entry)
            else:
                tag("p", "有来电或待确认的案件时，在这里显示分类建议。", "empty")

    def _draw_alarm(self, entry: Entry | None) -> None:
        services = tuple(entry.emergency) if entry is not None else ()
        if services == self._alarms:
            return
        self._alarms = services
        self._alarm.clear()
        with self._alarm:
            if services:
                names = "、".join(words.name(words.EMERGENCY_SERVICES, one) for one in services)
                with tag("div", "", "alarm"):
                    tag("strong", "紧急情况")
                    tag("span", f"请立即联系：{names}")
