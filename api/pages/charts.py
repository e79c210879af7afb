"""The insight page's pictures as ECharts options: figures in, plain JSON out. No text of a citizen's gets in here."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from api.pages import words
from callcenter.insight.arithmetic import Bin, Share
from callcenter.insight.quality import AutoShare, Tally

INK, SOFT, LINE = "#17202b", "#515c69", "#d3d9e0"
BLUE, AMBER, TEAL = "#15599c", "#b35c00", "#0b5d6b"
FONT: Final = "Noto Sans CJK SC, Noto Sans SC, Microsoft YaHei, sans-serif"

DOMAIN_ORDER: Final = ("urban", "social", "none")


def trend(days: Mapping[date, Tally], auto: Mapping[date, AutoShare]) -> dict[str, Any]:
    """Accuracy and override rate by day, each with its 95 % interval as a band; the number decided in the tooltip."""
    shown = sorted(days.keys() | auto.keys())
    accuracy = [days[day].accuracy if day in days else Share(0, 0) for day in shown]
    overridden = [days[day].overridden if day in days else Share(0, 0) for day in shown]
    autos = [Share(auto[day].auto, auto[day].complete) if day in auto else Share(0, 0) for day in shown]
    series = [
        *_band("准确率（看到建议）", accuracy, BLUE),
        *_band("更正率", overridden, AMBER),
        {**_line("自动比例", autos, TEAL), "lineStyle": {"color": TEAL, "type": "dashed", "width": 2}},
        {
            "name": "判定数",
            "type": "bar",
            "yAxisIndex": 1,
            "data": [days[day].decided if day in days else 0 for day in shown],
            "itemStyle": {"color": "#dde5ee"},
            "barMaxWidth": 18,
            "z": 0,
        },
    ]
    return {
        "textStyle": {"fontFamily": FONT, "color": INK},
        "animation": False,
        "grid": {"left": 52, "right": 52, "top": 40, "bottom": 32},
        "legend": {"data": ["准确率（看到建议）", "更正率", "自动比例", "判定数"], "top": 4},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "category", "data": [f"{day:%m-%d}" for day in shown]},
        "yAxis": [
            {"type": "value", "min": 0, "max": 100, "axisLabel": {"formatter": "{value}%"}},
            {"type": "value", "minInterval": 1, "splitLine": {"show": False}, "name": "件"},
        ],
        "series": series,
    }


def _line(name: str, shares: list[Share], colour: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "data": [_percent(one.share) for one in shares],
        "itemStyle": {"color": colour},
        "lineStyle": {"color": colour, "width": 2},
        "symbolSize": 6,
        "connectNulls": False,
    }


def _band(name: str, shares: list[Share], colour: str) -> list[dict[str, Any]]:
    """A line and its interval: an unseen line at the low end, and on it an area as high as the interval is wide."""
    hidden = {
        "type": "line",
        "stack": f"band-{name}",
        "symbol": "none",
        "lineStyle": {"opacity": 0},
        "silent": True,
        "tooltip": {"show": False},
    }
    low = [_percent(one.interval[0]) if one.n else None for one in shares]
    wide = [_percent(one.interval[1] - one.interval[0]) if one.n else None for one in shares]
    return [
        {**hidden, "name": f"{name} 下限", "data": low},
        {**hidden, "name": f"{name} 区间", "data": wide, "areaStyle": {"color": colour, "opacity": 0.13}},
        _line(name, shares, colour),
    ]


def domain_matrix(cells: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Router (columns) against people (rows); each point carries ``[column, row, n]`` and can be clicked."""
    names = [words.DOMAINS.get(one, "无") for one in DOMAIN_ORDER]
    data = [
        [column, row, cells.get((one, other), 0)]
        for column, one in enumerate(DOMAIN_ORDER)
        for row, other in enumerate(DOMAIN_ORDER)
    ]
    most = max(1, *(count for _, _, count in data))
    return {
        "textStyle": {"fontFamily": FONT, "color": INK},
        "animation": False,
        "grid": {"left": 76, "right": 16, "top": 12, "bottom": 52},
        "tooltip": {"show": False},
        "xAxis": {"type": "category", "data": names, "name": "系统", "nameLocation": "middle", "nameGap": 30},
        "yAxis": {
            "type": "category",
            "data": names,
            "name": "人工",
            "nameLocation": "middle",
            "nameGap": 48,
            "inverse": True,
        },
        "visualMap": {"show": False, "min": 0, "max": most, "inRange": {"color": ["#f3f7fb", "#9cc2e6"]}},
        "series": [{"type": "heatmap", "data": data, "label": {"show": True, "color": INK, "fontSize": 15}}],
    }


def reliability(bins: list[Bin]) -> dict[str, Any]:
    """Probability against accuracy, with the line on which a calibrated router lies; points as large as their n."""
    filled = [one for one in bins if one.n]
    most = max((one.n for one in filled), default=1)
    points = [
        {
            "value": [round(one.probability_sum / one.n * 100, 1), round(one.right / one.n * 100, 1), one.n],
            "symbolSize": 6 + 16 * (one.n / most) ** 0.5,
        }
        for one in filled
    ]
    axis = {"type": "value", "min": 0, "max": 100, "axisLabel": {"formatter": "{value}%"}}
    return {
        "textStyle": {"fontFamily": FONT, "color": INK},
        "animation": False,
        "grid": {"left": 58, "right": 16, "top": 12, "bottom": 52},
        "xAxis": {**axis, "name": "系统把握", "nameLocation": "middle", "nameGap": 30},
        "yAxis": {**axis, "name": "实际正确", "nameLocation": "middle", "nameGap": 42},
        "series": [
            {
                "type": "line",
                "data": [[0, 0], [100, 100]],
                "symbol": "none",
                "lineStyle": {"color": SOFT, "type": "dashed", "width": 1},
                "silent": True,
            },
            {"type": "scatter", "data": points, "itemStyle": {"color": BLUE, "opacity": 0.8}},
        ],
    }


def _percent(share: float | None) -> float | None:
    return round(share * 100, 1) if share is not None else None
