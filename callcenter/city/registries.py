"""The registries that a case can point to: what an entry of each has beside its code, name, owner and place.

Cameras (天网), risk sources (风险源), devices, duty holders of shop fronts (门前三包), meeting links for remote
exchange (远程交流), resources that departments share, connectors by which they exchange data (数据对接). One table
keeps them all (``Registered``); here is what their own columns must hold. How they are read is ``registry_reading``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from callcenter.tables.rows import Row

Form = Literal["text", "day", "count", "choice", "address", "mapping"]
STREAMS: Final = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "ws", "wss")
PAGES: Final = ("http", "https")
MOST_MAPPED: Final = 200
"""Fields of one connector: the largest form known has some sixty."""
_GB28181: Final = re.compile(r"[0-9]{20}")
"""The number of a camera in a network of GB/T 28181, instead of an address."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a registry's own. ``most``: characters of a text, the highest count; ``schemes``: of an address;
    ``personal``: tells of a person, so it is masked for whoever may not see people whole."""

    called: Sequence[str]
    form: Form = "text"
    most: int = 120
    needed: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)
    schemes: Sequence[str] = ()
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Registry:
    """One registry. ``located``: each entry must have a place; ``audited``: who reads it is recorded."""

    name: str
    title: str
    own: Mapping[str, Column]
    located: bool = True
    audited: bool = False

    @property
    def personal(self) -> frozenset[str]:
        """Its own columns that tell of people."""
        return frozenset(name for name, column in self.own.items() if column.personal)

    @property
    def columns(self) -> dict[str, Sequence[str]]:
        """The names of the registry's own columns."""
        return {name: column.called for name, column in self.own.items()}

    @property
    def needs(self) -> set[str]:
        """Those that a file must have."""
        return {name for name, column in self.own.items() if column.needed}

    def read(self, row: Row) -> dict[str, Any]:
        """What the row's own columns hold; faults where they hold something else."""
        found: dict[str, Any] = {}
        for name, column in self.own.items():
            value: Any
            match column.form:
                case "text":
                    value = row.text(name, column.most, needed=column.needed)
                case "day":
                    day = row.day(name)
                    value = day.isoformat() if day else None
                case "count":
                    value = row.whole(name, 0, column.most)
                case "address":
                    value = _address(row, name, column)
                case "mapping":
                    value = _mapping(row, name, column)
                case "choice":
                    value = row.choice(name, column.choices, default=next(iter(column.choices.values())))
            if value not in (None, ""):
                found[name] = value
        return found


def _address(row: Row, name: str, column: Column) -> str:
    """Where something is to be seen or met: an address that a browser or player opens, without anybody's password."""
    value = row.text(name, column.most, needed=column.needed)
    if not value or row.bad or (column.schemes == STREAMS and _GB28181.fullmatch(value)):
        return value
    try:
        parts = urlsplit(value)
        named = parts.hostname
    except ValueError:
        named = None
    if not named or urlsplit(value).scheme.lower() not in column.schemes or any(letter.isspace() for letter in value):
        row.fault(name, f"is no address: must begin with {', '.join(f'{one}://' for one in column.schemes)}")
    elif "@" in parts.netloc:
        # Whoever may read the registry would read it: a stream is opened through the owner's own gate.
        row.fault(name, "holds a username or password: take them out, everything before the @")
    return value


def _mapping(row: Row, name: str, column: Column) -> dict[str, str] | None:
    """A JSON object of texts: the other side's field by ours."""
    text = row.text(name, column.most, needed=column.needed)
    if not text or row.bad:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or len(found) > MOST_MAPPED:
        row.fault(name, f'must be a JSON object of at most {MOST_MAPPED}, such as {{"name": "XM"}}')
        return None
    for ours, theirs in found.items():
        if not isinstance(theirs, str) or not 0 < len(theirs) <= 80 or not (ours + theirs).isprintable():
            row.fault(name, "must map texts of 1 to 80 printable characters to such texts")
            return None
    return found


def _choice(called: Sequence[str], *names: tuple[str, str]) -> Column:
    given = dict(names) | {value: value for _, value in names}
    return Column(called, "choice", choices=MappingProxyType(given))


CAMERAS: Final = "cameras"
RISK_SOURCES: Final = "risk_sources"
DEVICES: Final = "devices"
DUTY_HOLDERS: Final = "duty_holders"
MEETING_LINKS: Final = "meeting_links"
RESOURCES: Final = "resources"
CONNECTORS: Final = "connectors"
OPEN: Final = "open"
ASKED: Final = "asked"
CLOSED: Final = "closed"
"""View rights of cameras; one whose owner says nothing wants to be asked."""

REGISTRIES: Final[Mapping[str, Registry]] = MappingProxyType(
    {
        registry.name: registry
        for registry in (
            Registry(
                CAMERAS,
                "视频监控",
                {
                    "view_right": _choice(("调看权限",), ("申请", ASKED), ("公开", OPEN), ("不公开", CLOSED)),
                    "stream": Column(("视频地址",), "address", most=300, schemes=STREAMS),
                },
            ),
            Registry(
                RISK_SOURCES,
                "风险源",
                {
                    "kind": Column(("类型",), most=40, needed=True),
                    "grade": Column(("等级",), "count", most=4, needed=True),
                    "inspected_on": Column(("检查日期",), "day"),
                    "finding": Column(("检查结果",), most=200),
                },
            ),
            Registry(
                DEVICES,
                "设备与车辆",
                {
                    "kind": Column(("类型",), most=40, needed=True),
                    "plate": Column(("车牌",), most=12),
                    "holder": Column(("使用人",), most=40, personal=True),
                    "threshold": Column(("阈值",), most=40),
                },
                located=False,
            ),
            Registry(
                DUTY_HOLDERS,
                "门前三包责任人",
                {
                    "holder": Column(("责任人",), most=60, needed=True, personal=True),
                    "phone": Column(("电话",), most=32, personal=True),
                    "duties": Column(("责任内容",), most=200),
                },
            ),
            Registry(
                MEETING_LINKS,
                "远程交流",
                {
                    "link": Column(("地址",), "address", most=300, needed=True, schemes=PAGES),
                    "contact": Column(("联系人",), most=60, personal=True),
                },
                located=False,
            ),
            Registry(
                RESOURCES,
                "共享资源目录",
                {
                    "kind": Column(("类型",), most=40),
                    "amount": Column(("数量",), "count", most=10**12),
                    "synced_on": Column(("同步日期",), "day"),
                },
                located=False,
            ),
            Registry(
                CONNECTORS,
                "数据对接",
                {
                    "direction": _choice(("方向",), ("拉取", "pull"), ("推送", "push")),
                    "synced_on": Column(("同步日期",), "day"),
                    "errors": Column(("错误数",), "count", most=10**9),
                    "mapping": Column(("字段映射",), "mapping", most=16_000),
                },
                located=False,
                audited=True,
            ),
        )
    }
)
