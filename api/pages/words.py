"""How codes read on the screen: states, reasons, services, in Chinese. A code that is not here is shown as it is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from callcenter.calls.desk import CaseCard

DOMAINS: Final[Mapping[str, str]] = MappingProxyType({"urban": "城管", "social": "社管"})
KINDS: Final[Mapping[str, str]] = MappingProxyType({"part": "部件", "event": "事件", "social": "社管"})
LEGS: Final[Mapping[str, str]] = MappingProxyType({"citizen": "市民", "agent": "坐席"})
DECISIONS: Final[Mapping[str, str]] = MappingProxyType({"auto": "自动", "confirm": "待确认"})
DISPOSITIONS: Final[Mapping[str, str]] = MappingProxyType({"question": "咨询", "none": "未成件"})

CALL_STATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "live": "已接通",
        "queued": "排队中",
        "queue": "排队中",
        "ringing": "振铃中",
        "held": "保持中",
        "statement": "自助受理",
        "talking": "通话中",
        "ending": "正在结束",
        "ended": "已结束",
    }
)

EMERGENCY_SERVICES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "110": "公安 110",
        "119": "消防 119",
        "120": "急救 120",
        "122": "交通事故 122",
    }
)

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "question": "属于咨询，需要答复而非处置",
        "no_case": "未听到需要处置的事项",
        "emergency": "紧急情况，须立即联系应急部门",
        "secrecy": "市民要求保密",
        "official_accused": "反映对象为干部或单位",
        "minor_involved": "可能涉及未成年人",
        "violence": "可能涉及暴力",
        "self_harm": "可能有人要自伤",
        "no_place": "没有说明地点",
        "vague_place": "地点不够具体",
        "two_matters": "可能有第二件事",
        "low_confidence_words": "语音识别把握低",
        "unknown_voice": "语音模型不适用于真实来电",
        "low_probability": "分类把握不足",
        "short_text": "说得太少",
        "long_text": "内容过长",
        "not_chinese": "没有识别出中文",
        "no_crosswalk": "该类别在当前标准中没有对应项",
        "router_unavailable": "分类器暂不可用",
    }
)


REFUSALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no_case": "案件不存在或已被删除。",
        "no_category": "没有建议类别，请按 / 搜索后选择。",
        "state": "此案已进入处置流程，不能在此更改类别。",
    }
)


def name(table: Mapping[str, str], code: Any) -> str:
    """``code`` in words; itself where the table does not know it, so that nothing new goes unseen."""
    text = "" if code is None else str(code)
    return table.get(text, text)


def reason(code: str) -> str:
    """Why the machine does not decide by itself; ``code`` may carry a value after a colon."""
    head, _, value = code.partition(":")
    text = name(REASONS, head)
    return f"{text}（{value}）" if value else text


def category_name(category: dict[str, Any] | None) -> str:
    """``大类 / 小类``, or nothing."""
    if not category:
        return ""
    return f"{category.get('major', '')} / {category.get('minor', '')}"


def confirmed(case: CaseCard, *, corrected: bool) -> str:
    """What is said after a confirmation or a correction."""
    number = f"（案件 {case.number}）" if case.number else ""
    return f"{'已改为' if corrected else '已确认'}：{category_name(case.category) or '不派遣'}{number}"


def decided_blind(case: CaseCard) -> str:
    """What is said after a case of the blind sample was decided."""
    number = f"（案件 {case.number}）" if case.number else ""
    return f"盲测已记录：{category_name(case.category)}{number}"


def conflict(case: CaseCard) -> str:
    """What is said when the case changed before the agent's key arrived."""
    if case.confirmed:
        return f"未保存：{case.confirmed_by or '其他坐席'}已将此案确认为“{category_name(case.category) or '不派遣'}”。"
    return f"未保存：建议刚刚变为“{category_name(case.category) or '无建议'}”，请看清后再确认。"


def refusal(code: str) -> str:
    """What is said when the case cannot be confirmed as it is."""
    return name(REFUSALS, code)
