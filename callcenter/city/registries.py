"""The registries that a case can point to: what an entry of each has beside its code, name, owner and place.

Cameras (天网), risk sources (风险源), devices, duty holders of shop fronts (门前三包), meeting links for remote
exchange (远程交流), resources that departments share. One table keeps them all (``Registered``); here is what their own
columns must hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from callcenter.tables.rows import Row

Form = Literal["text", "day", "count", "choice"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a registry's own. ``most``: characters of a text, the highest count."""

    called: Sequence[str]
    form: Form = "text"
    most: int = 120
    needed: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registry:
    """One registry. ``located``: each entry must have a place."""

    name: str
    title: str
    own: Mapping[str, Column]
    located: bool = True

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
                case "choice":
                    value = row.choice(name, column.choices, default=next(iter(column.choices.values())))
            if value not in (None, ""):
                found[name] = value
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

REGISTRIES: Final[Mapping[str, Registry]] = MappingProxyType(
    {
        registry.name: registry
        for registry in (
            Registry(
                CAMERAS,
                "视频监控",
                {
                    "view_right": _choice(("调看权限",), ("公开", "open"), ("申请", "asked"), ("不公开", "closed")),
                    "stream": Column(("视频地址",), most=300),
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
                    "holder": Column(("使用人",), most=40),
                    "threshold": Column(("阈值",), most=40),
                },
                located=False,
            ),
            Registry(
                DUTY_HOLDERS,
                "门前三包责任人",
                {
                    "holder": Column(("责任人",), most=60, needed=True),
                    "phone": Column(("电话",), most=32),
                    "duties": Column(("责任内容",), most=200),
                },
            ),
            Registry(
                MEETING_LINKS,
                "远程交流",
                {"link": Column(("地址",), most=300, needed=True), "contact": Column(("联系人",), most=60)},
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
        )
    }
)
