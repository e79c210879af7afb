"""The pieces of the desk's picture: a row of a list, a line of the talk, the parts of the verdict. See ``drawing``."""

from datetime import datetime
from typing import Any

from nicegui.elements.mixins.text_element import TextElement

from api.pages import words
from api.pages.view import Entry, runs
from callcenter.calls.desk import CaseCard, Said, identity


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


def percent(probability: Any) -> str:
    """A probability as people read it; 99.9 % is not rounded to certainty."""
    if not isinstance(probability, int | float):
        return ""
    return ">99%" if probability > 0.99 else f"{probability * 100:.0f}%"


def draw_row(entry: Entry) -> None:
    """A call or case in a list."""
    with tag("div", "", "row-top"):
        title = entry.number or (entry.case.number if entry.case is not None and entry.case.number else "案件")
        tag("span", title, "number")
        if entry.emergency:
            tag("span", "急", "urgent", title="紧急情况")
        since(entry.answered_at or (entry.case.created_at if entry.case is not None else None), entry.ended_at)
    with tag("div", "", "row-bottom"):
        category = entry.category
        domain = domain_of(entry)
        if domain:
            tag("span", words.name(words.DOMAINS, domain), f"domain {known_domain(domain)}")
        none = "盲测 · 请独立判断" if entry.hidden else "尚无建议"
        tag("span", str(category.get("minor", "")) if category else none, "minor" if category else "minor soft")
        if not entry.over:
            tag("span", words.name(words.CALL_STATES, entry.state), f"state state-{known_state(entry)}")
        elif entry.case is not None and entry.case.confirmed:
            tag("span", "已确认", "state state-done")


def draw_said(said: Said) -> None:
    """A finished utterance; what was heard badly is underlined."""
    tag("span", words.name(words.LEGS, said.kind), "leg")
    with tag("span", "", "text"):
        for text, low in runs(said):
            if low:
                tag("span", text, "low", title="识别把握低，请向市民核实")
            else:
                tag("span", text)


def draw_case_line(entry: Entry) -> None:
    """The case's number and who decides."""
    case = entry.case
    with tag("div", "", "case-line"):
        if case is None:
            tag("span", "尚未形成案件", "soft")
            return
        tag("span", f"案件 {case.number}" if case.number else "草稿（市民仍在陈述）", "case-number")
        if case.confirmed:
            who = f"已确认 · {case.confirmed_by}" if case.confirmed_by else "已确认"
            tag("span", who, "decision decision-done")
        elif entry.hidden:
            tag("span", "盲测", "decision decision-blind", title="抽样检验分类质量")
        else:
            tag("span", words.name(words.DECISIONS, case.decision), f"decision decision-{known_decision(case)}")


def draw_category(entry: Entry) -> None:
    """The category in force, large."""
    if entry.hidden:
        with tag("div", "", "category blind"):
            tag("div", "盲测案件", "minor")
            tag("p", "本案抽中质量检验：不显示系统建议。请按 / 搜索并选择您认为正确的类别。", "major soft")
        return
    category, routing = entry.category, entry.routing or {}
    disposition = words.DISPOSITIONS.get(str(routing.get("disposition", "")))
    with tag("div", "", "category"):
        with tag("div", "", "category-top"):
            domain = domain_of(entry)
            if domain:
                tag("span", words.name(words.DOMAINS, domain), f"domain big {known_domain(domain)}")
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


def draw_reasons(entry: Entry) -> None:
    """Why the machine does not decide by itself."""
    routing = entry.routing or {}
    reasons = [one for one in routing.get("reasons") or () if isinstance(one, str) and not entry.hidden]
    if reasons and not (entry.case is not None and entry.case.confirmed):
        with tag("ul", "", "reasons", aria_label="需要人工确认的原因"):
            for one in reasons:
                tag("li", words.reason(one))


def draw_address(entry: Entry) -> None:
    """The place, as far as it was said."""
    address = (entry.routing or {}).get("address")
    text = address.get("text") if isinstance(address, dict) else address
    text = text or (entry.case.address if entry.case is not None else None)
    with tag("p", "", "address"):
        tag("span", "地点", "label")
        tag("span", str(text) if text else "未说明", "" if text else "soft")


def draw_choices(entry: Entry) -> None:
    """The button to confirm and the alternatives, each with its key."""
    if entry.case is None:
        return
    if entry.hidden:
        with tag("button", "", "quiet-dark", type="button", data_act="reveal"):
            tag("span", "无法判断，显示系统建议（不计入检验）")
        return
    if not entry.case.confirmed:
        with tag("button", "", "confirm", type="button", data_act="confirm"):
            tag("kbd", "Enter")
            tag("span", "确认")
    if entry.alternatives:
        with tag("ol", "", "alternatives", aria_label="备选类别"):
            for rank, one in enumerate(entry.alternatives, 1):
                category = one.get("category") or {}
                with tag("li"), tag("button", "", "alternative", type="button", data_act=str(rank)):
                    tag("kbd", str(rank))
                    tag("span", str(category.get("minor", "")), "minor")
                    tag("span", str(category.get("major", "")), "soft")
                    tag("span", percent(one.get("probability")), "probability")


def domain_of(entry: Entry) -> str:
    """The domain in force: the case's once it is settled, else the newest routing's; empty for none, or while it is
    kept from the agent."""
    if entry.hidden:
        return ""
    if entry.settled and entry.case is not None:
        return entry.case.domain or ""
    return str((entry.routing or {}).get("domain") or (entry.case.domain if entry.case is not None else None) or "")


# A class name is made of what a message says only where the style sheet knows it.
def known_domain(domain: str) -> str:
    """A domain as a class name; empty for one the style sheet does not know."""
    return domain if domain in words.DOMAINS else ""


def known_kind(kind: str) -> str:
    """A leg's kind as a class name; empty for one the style sheet does not know."""
    return kind if kind in words.LEGS else ""


def known_state(entry: Entry) -> str:
    """A call's state as a class name."""
    return entry.state if entry.state in words.CALL_STATES else "other"


def known_decision(case: CaseCard) -> str:
    """A decision as a class name."""
    return case.decision if case.decision in words.DECISIONS else "confirm"


def look(entry: Entry, selected: bool) -> tuple[Any, ...]:
    """Everything a row shows: drawn again only when this changes."""
    case = entry.case
    return (
        selected,
        entry.hidden,
        entry.number,
        entry.state,
        entry.answered_at,
        entry.ended_at,
        entry.category,
        domain_of(entry),
        bool(entry.emergency),
        case.number if case is not None else None,
        case.confirmed if case is not None else None,
    )


def row_classes(entry: Entry, selected: bool) -> str:
    """The class names of a row."""
    return " ".join(["row", *(["selected"] if selected else []), *(["emergency"] if entry.emergency else [])])
