"""The desk's picture: which elements there are, and what each says. Knows the view and NiceGUI; decides nothing.

Everything that a person said or typed is the text of an element (Vue puts it into the document as text). No function
here takes HTML, and no prop is given such a value.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from api.pages import words
from api.pages.parts import MOUNT
from api.pages.view import Changed, DeskView, Entry, runs
from callcenter import clock
from callcenter.access.principal import Principal
from callcenter.calls.desk import CaseCard, Said, identity
from classifier.taxonomy import Category

KEYS: Final = (
    ("Enter", "确认"),
    ("1–5", "改为备选"),
    ("/", "搜索类别"),
    ("Esc", "退出搜索"),
    ("J K ↑ ↓", "切换"),
)


def tag(name: str, text: str = "", classes: str = "", **props: str | int | bool | None) -> TextElement:
    """An element with ``text`` in it. ``aria_label="…"`` becomes ``aria-label``; a prop of None is left out."""
    element = TextElement(tag=name, text=text)
    if classes:
        element.classes(classes)
    for key, value in props.items():
        if value is not None:
            element.props[key.rstrip("_").replace("_", "-")] = value
    return element


def since(start: datetime | None, end: datetime | None, classes: str = "") -> None:
    """A clock that the browser keeps: mm:ss from ``start`` to ``end``, or to now."""
    if start is None:
        tag("span", "--:--", f"clock {classes}")
    else:
        until = f"{end.timestamp():.3f}" if end is not None else None
        tag("span", "", f"clock {classes}", data_since=f"{start.timestamp():.3f}", data_until=until, role="timer")


def category_name(category: dict[str, Any] | None) -> str:
    """``大类 / 小类``, or nothing."""
    if not category:
        return ""
    return f"{category.get('major', '')} / {category.get('minor', '')}"


def percent(probability: Any) -> str:
    """A probability as people read it; 99.9 % is not rounded to certainty."""
    if not isinstance(probability, int | float):
        return ""
    return ">99%" if probability > 0.99 else f"{probability * 100:.0f}%"


class Frame:
    """The elements of one page, made once; ``draw`` brings them to a view."""

    def __init__(self, principal: Principal, warning: str) -> None:
        ui.add_head_html(f'<link rel="stylesheet" href="{MOUNT}/static/desk.css">')
        ui.add_body_html(f'<script src="{MOUNT}/static/desk.js"></script>')
        self._rows: dict[str, tuple[tuple[Any, ...], TextElement]] = {}
        self._orders: dict[str, list[str]] = {}
        self._said: list[Said] = []
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
            tag("span", principal.display_name, "who")
            tag("span", f"分机 {principal.extension}" if principal.extension else "未设分机", "who-extension")
            with tag("form", "", "", method="post", action="/logout"):
                tag("button", "退出", "quiet", type="submit")

    def _list(self, title: str, name: str) -> tuple[TextElement, TextElement]:
        with tag("section", "", f"list list-{name}", aria_labelledby=f"title-{name}"):
            heading = tag("h2", title, "", id=f"title-{name}")
            body = tag("div", "", "rows", role="listbox", aria_labelledby=f"title-{name}")
        return heading, body

    def _search(self) -> None:
        with tag("div", "", "search"):
            tag("label", "改为其他类别", "", for_="category-search")
            tag(
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
        self._matches.clear()
        with self._matches:
            for index, (key, category) in enumerate(found):
                on = index == chosen
                with tag(
                    "div",
                    "",
                    "match on" if on else "match",
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
        if self._orders.get(name) != order:
            self._orders[name] = order
            body.clear()
            for key in [key for key in self._rows if key.startswith(f"{name}:")]:
                del self._rows[key]
            with body:
                if not entries:
                    tag("p", "暂无来电" if name == "live" else "没有待确认的案件", "empty")
                for one in entries:
                    self._rows[f"{name}:{one.key}"] = ((), tag("div", "", "row", role="option", data_call=one.key))
        for one in entries:
            seen, row = self._rows[f"{name}:{one.key}"]
            look = _look(one, one.key == selected)
            if seen != look:
                self._rows[f"{name}:{one.key}"] = (look, row)
                row.clear()
                with row:
                    _draw_row(one)
                row.classes(replace=_row_classes(one, one.key == selected))
                row.props["aria-selected"] = "true" if one.key == selected else "false"

    # -- the talk ------------------------------------------------------------------------------------------------------

    def _draw_talk_head(self, entry: Entry | None) -> None:
        self._talk_head.clear()
        with self._talk_head:
            if entry is None:
                tag("strong", "没有选中的呼叫", "soft")
                return
            tag("strong", entry.number or "案件", "number")
            tag("span", words.name(words.CALL_STATES, entry.state), f"state state-{_known_state(entry)}")
            since(entry.answered_at, entry.ended_at, "big")
            if entry.extension:
                tag("span", f"坐席 {entry.extension}", "soft")
            tag("span", clock.local(entry.rung_at).strftime("%m-%d %H:%M 来电"), "soft end")

    def _draw_words(self, entry: Entry | None) -> None:
        said = list(entry.said) if entry is not None else []
        key = entry.key if entry is not None else None
        if key != self._said_of or said[: len(self._said)] != self._said:
            self._words.clear()
            self._said = []
        self._said_of = key
        with self._words:
            for one in said[len(self._said) :]:
                _draw_said(one)
        self._said = said
        self._words.props["data-of"] = key or ""
        self._words.props["data-count"] = len(said)

    def _draw_partials(self, entry: Entry | None) -> None:
        self._partial.clear()
        with self._partial:
            for kind, text in entry.partials.values() if entry is not None else ():
                with tag("p", "", f"said partial {_known_kind(kind)}"):
                    tag("span", words.name(words.LEGS, kind), "leg")
                    tag("span", text, "text")

    # -- the verdict ---------------------------------------------------------------------------------------------------

    def _draw_verdict(self, entry: Entry | None) -> None:
        self._draw_alarm(entry)
        look = (entry.key, entry.case, entry.routing, entry.over) if entry is not None else None
        if look == self._verdict_of and look is not None:
            return
        self._verdict_of = look
        case = entry.case if entry is not None else None
        self._verdict.props["data-case"] = str(case.id) if case is not None else ""
        self._verdict.props["data-version"] = case.version if case is not None else 0
        self._verdict.props["data-shown"] = entry.shown() if entry is not None else ""
        self._verdict.clear()
        with self._verdict:
            if entry is not None:
                _draw_case_line(entry)
                _draw_category(entry)
                _draw_reasons(entry)
                _draw_address(entry)
                _draw_choices(entry)
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


def _draw_row(entry: Entry) -> None:
    with tag("div", "", "row-top"):
        title = entry.number or (entry.case.number if entry.case is not None and entry.case.number else "案件")
        tag("span", title, "number")
        if entry.emergency:
            tag("span", "急", "urgent", title="紧急情况")
        since(entry.answered_at or (entry.case.created_at if entry.case is not None else None), entry.ended_at)
    with tag("div", "", "row-bottom"):
        category = entry.category
        domain = _domain(entry)
        if domain:
            tag("span", words.name(words.DOMAINS, domain), f"domain {_known_domain(domain)}")
        tag("span", str(category.get("minor", "")) if category else "尚无建议", "minor" if category else "minor soft")
        if not entry.over:
            tag("span", words.name(words.CALL_STATES, entry.state), f"state state-{_known_state(entry)}")
        elif entry.case is not None and entry.case.confirmed:
            tag("span", "已确认", "state state-done")


def _draw_said(said: Said) -> None:
    with tag("p", "", f"said {_known_kind(said.kind)}"):
        tag("span", words.name(words.LEGS, said.kind), "leg")
        with tag("span", "", "text"):
            for text, low in runs(said):
                if low:
                    tag("span", text, "low", title="识别把握低，请向市民核实")
                else:
                    tag("span", text)


def _draw_case_line(entry: Entry) -> None:
    case = entry.case
    with tag("div", "", "case-line"):
        if case is None:
            tag("span", "尚未形成案件", "soft")
            return
        tag("span", f"案件 {case.number}" if case.number else "草稿（市民仍在陈述）", "case-number")
        if case.confirmed:
            who = f"已确认 · {case.confirmed_by}" if case.confirmed_by else "已确认"
            tag("span", who, "decision decision-done")
        else:
            tag("span", words.name(words.DECISIONS, case.decision), f"decision decision-{_known_decision(case)}")


def _draw_category(entry: Entry) -> None:
    category, routing = entry.category, entry.routing or {}
    disposition = words.DISPOSITIONS.get(str(routing.get("disposition", "")))
    with tag("div", "", "category"):
        with tag("div", "", "category-top"):
            domain = _domain(entry)
            if domain:
                tag("span", words.name(words.DOMAINS, domain), f"domain big {_known_domain(domain)}")
            if category and category.get("kind") in ("part", "event"):
                tag("span", words.name(words.KINDS, category.get("kind")), "kind")
            if disposition:
                tag("span", disposition, "kind")
            own = category is not None and identity(category) == identity(routing.get("category"))
            if own:
                tag("span", percent(routing.get("probability")), "probability", title="分类把握")
        tag(
            "div", str(category.get("minor", "")) if category else "尚无建议类别", "minor" if category else "minor soft"
        )
        if category:
            tag("div", f"{category.get('major', '')} · {category.get('code', '')}", "major soft")


def _draw_reasons(entry: Entry) -> None:
    routing = entry.routing or {}
    reasons = [one for one in routing.get("reasons") or () if isinstance(one, str)]
    if reasons and not (entry.case is not None and entry.case.confirmed):
        with tag("ul", "", "reasons", aria_label="需要人工确认的原因"):
            for one in reasons:
                tag("li", words.reason(one))


def _draw_address(entry: Entry) -> None:
    address = (entry.routing or {}).get("address")
    text = address.get("text") if isinstance(address, dict) else address
    text = text or (entry.case.address if entry.case is not None else None)
    with tag("p", "", "address"):
        tag("span", "地点", "label")
        tag("span", str(text) if text else "未说明", "" if text else "soft")


def _draw_choices(entry: Entry) -> None:
    if entry.case is None:
        return
    done = entry.case.confirmed
    with tag("button", "", "confirm done" if done else "confirm", type="button", data_act="confirm"):
        tag("kbd", "Enter")
        tag("span", "再次确认" if done else "确认")
    if entry.alternatives:
        with tag("ol", "", "alternatives", aria_label="备选类别"):
            for rank, one in enumerate(entry.alternatives, 1):
                category = one.get("category") or {}
                with tag("li"), tag("button", "", "alternative", type="button", data_act=str(rank)):
                    tag("kbd", str(rank))
                    tag("span", str(category.get("minor", "")), "minor")
                    tag("span", str(category.get("major", "")), "soft")
                    tag("span", percent(one.get("probability")), "probability")


def _domain(entry: Entry) -> str:
    if entry.settled and entry.case is not None:
        return entry.case.domain or ""
    return str((entry.routing or {}).get("domain") or (entry.case.domain if entry.case is not None else None) or "")


# A class name is made of what a message says only where the style sheet knows it.
def _known_domain(domain: str) -> str:
    return domain if domain in words.DOMAINS else ""


def _known_kind(kind: str) -> str:
    return kind if kind in words.LEGS else ""


def _known_state(entry: Entry) -> str:
    return entry.state if entry.state in words.CALL_STATES else "other"


def _known_decision(case: CaseCard) -> str:
    return case.decision if case.decision in words.DECISIONS else "confirm"


def _look(entry: Entry, selected: bool) -> tuple[Any, ...]:
    case = entry.case
    return (
        selected,
        entry.number,
        entry.state,
        entry.answered_at,
        entry.ended_at,
        entry.category,
        _domain(entry),
        bool(entry.emergency),
        case.number if case is not None else None,
        case.confirmed if case is not None else None,
    )


def _row_classes(entry: Entry, selected: bool) -> str:
    return " ".join(["row", *(["selected"] if selected else []), *(["emergency"] if entry.emergency else [])])


# -- what became of a deed ---------------------------------------------------------------------------------------------


def confirmed(case: CaseCard, *, corrected: bool) -> str:
    """What is said after a confirmation or a correction."""
    number = f"（案件 {case.number}）" if case.number else ""
    return f"{'已改为' if corrected else '已确认'}：{category_name(case.category)}{number}"


def conflict(case: CaseCard) -> str:
    """What is said when the case changed before the agent's key arrived."""
    if case.confirmed:
        return f"未保存：{case.confirmed_by or '其他坐席'}已将此案确认为“{category_name(case.category)}”。"
    return f"未保存：建议刚刚变为“{category_name(case.category) or '无建议'}”，请看清后再确认。"


def refusal(reason: str) -> str:
    """What is said when the case cannot be confirmed as it is."""
    return words.name(words.REFUSALS, reason)
