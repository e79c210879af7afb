"""How codes read on the screen: states, reasons, services, in Chinese. A code that is not here is shown as it is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

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
        "gas": "燃气抢修",
        "power": "供电抢修",
        "water": "供水抢修",
    }
)

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
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
