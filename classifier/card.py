"""A version's card for people: 说明.md in Chinese with two pictures, drawn here so that nothing but text is needed.

The confusion picture has a square for each pair of majors; the risk curve is the dial a supervisor sets: what share of
calls would go by themselves at which rate of wrong categories. Both are made from figures that stand in card.json.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from classifier.evaluation import Judged

README, CONFUSION, RISK = "README.md", "confusion.svg", "risk.svg"
RISK_STEPS = 60
_FONT = 'font-family="Noto Sans CJK SC, WenQuanYi Zen Hei, Microsoft YaHei, sans-serif"'


def pictured(judged: Sequence[Judged]) -> dict[str, Any]:
    """What the pictures are made from: confusion of the majors, and the risk at RISK_STEPS coverages.

    ``risk`` holds [probability, share of calls at or above it, share of those that are wrong].
    """
    known = [j for j in judged if j.category and j.ranked]
    majors = Counter((j.category.major, j.ranked[0][0].major) for j in known if j.category)
    names = sorted({j.category.major for j in known if j.category}, key=lambda name: _place(known, name))
    ordered = sorted(known, key=lambda j: -j.ranked[0][1])
    risk: list[list[float]] = []
    wrong = 0
    marks = {max(1, round(len(ordered) * step / RISK_STEPS)) for step in range(1, RISK_STEPS + 1)}
    for taken, j in enumerate(ordered, 1):
        wrong += j.category is not None and not j.right(j.ranked[0][0])
        if taken in marks:
            risk.append([round(j.ranked[0][1], 4), round(taken / len(ordered), 4), round(wrong / taken, 4)])
    return {
        "majors": names,
        "majors_confusion": [[majors[truth, answer] for answer in names] for truth in names],
        "risk": risk,
    }


def _place(judged: Sequence[Judged], major: str) -> tuple[str, str]:
    category = next(j.category for j in judged if j.category and j.category.major == major)
    return ({"part": "0", "event": "1", "social": "2"}[category.kind], category.code[:3])


def files(name: str, card: Mapping[str, Any]) -> dict[str, str]:
    """The files beside card.json; none where the card holds no figures for them."""
    clean = card.get("figures", {}).get("clean", {})
    hard = card.get("figures", {}).get("hard", {})
    if "risk" not in clean or "category" not in clean or "majors" not in hard:
        return {}
    return {
        README: _readme(name, card),
        CONFUSION: _confusion(hard["majors"], hard["majors_confusion"]),
        RISK: _risk(clean["risk"], card.get("auto_threshold")),
    }


def _percent(part: Mapping[str, Any]) -> str:
    low, high = part["interval"]
    return f"{part['accuracy']:.1%}（95% 区间 {low:.1%}–{high:.1%}，{part['n']} 条）"


def _readme(name: str, card: Mapping[str, Any]) -> str:
    figures = card["figures"]
    clean = figures["clean"]
    hard = figures["hard"]
    noisy = next((value for key, value in figures.items() if key.startswith("misheard")), None)
    hard_noisy = next((value for key, value in figures.items() if key.startswith("hard_misheard")), None)
    counts, domain, category = card["counts"], clean["domain"], clean["category"]
    threshold = card.get("auto_threshold")
    lines = [
        f"# 分派模型 {name}",
        "",
        f"训练日期 {card.get('date', '')}，代码版本 {str(card.get('commit', ''))[:10]}。"
        f"分类标准：{card.get('standard', '')} 与社会治理目录。",
        "",
        "## 它从什么学来",
        "",
        f"{counts['rows']} 条自编口语语料：城管 {counts['urban']} 条，社管 {counts['social']} 条，"
        f"纯咨询 {counts['questions']} 条，非诉求 {counts['none']} 条，紧急 {counts['emergencies']} 条；"
        f"覆盖 {counts['categories_with_rows']} 个小类。本市追加 {counts.get('added_rows', 0)} 条。",
        "",
        "## 它有多准",
        "",
        "两栏都是训练时没有见过的话。“平常来电”由另一人按一个城市来电的自然比例写成；“难句”是训练语料里留出的十分之一，"
        "少见的小类和常见的一样多，三分之一故意写得容易混淆。另写的公开评测集（classifier/benchmark）的结果在两者之间。",
        "",
        "| 指标 | 平常来电 | 难句 |",
        "|---|---|---|",
        f"| 城管/社管分对 | {_percent(domain)} | {_percent(hard['domain'])} |",
        f"| 小类第一个就对 | {_percent(category)} | {_percent(hard['category'])} |",
        f"| 正确小类在前三个里 | {_percent(category['top3'])} | {_percent(hard['category']['top3'])} |",
        f"| 说的把握与实际相差（城管/社管） | {domain['ece']:.3f} | {hard['domain']['ece']:.3f} |",
        f"| 说的把握与实际相差（小类） | {category['ece']:.3f} | {hard['category']['ece']:.3f} |",
    ]
    if noisy and hard_noisy:
        lines += [
            f"| 五个字听错一个时，{what} | {_percent(noisy[level])} | {_percent(hard_noisy[level])} |"
            for what, level in (("城管/社管分对", "domain"), ("小类第一个就对", "category"))
        ]
    found, false = [], []
    for part in (clean, hard):
        urgent = part["emergency"]
        low, high = urgent["interval"]
        found.append(f"{urgent['found']['together']} / {urgent['emergencies']}（95% 区间 {low:.1%}–{high:.1%}）")
        false.append(f"{urgent['false_alarms_per_1000']} 条")
    lines += [
        f"| 紧急来电被认出 | {' | '.join(found)} |",
        f"| 每千条不紧急的误报 | {' | '.join(false)} |",
    ]
    lines += ["", "**紧急判断会漏。坐席听到险情时，不要等系统提示。**", "", "## 自动与人工", ""]
    if threshold is None:
        lines.append("这个版本在没见过的平常来电上没有达到 98% 的把握，所有来电都由坐席确认。")
    else:
        share = max((step[1] for step in clean["risk"] if step[0] >= threshold), default=0.0)
        reached = f"约 {share:.1%} " if share else f"不到 {clean['risk'][0][1]:.1%} "
        lines.append(
            f"小类把握不低于 {threshold:.3f} 时预填（没见过的平常来电中{reached}达到，其中错的不超过 2%）；"
            "其余由坐席确认。"
            "有险情、要求保密、反映干部、涉未成年人、暴力、自伤、没说地点、一次说两件事、听得不清的，一律由坐席确认。"
        )
    lines += [
        "",
        f"![让多少来电自动走，会错多少]({RISK})",
        "",
        "横轴是自动预填的比例，纵轴是其中小类错的比例：想错得少，就让系统少替人做主。",
        "",
        "## 常把什么认成什么",
        "",
        f"![大类混淆图]({CONFUSION})",
        "",
        "难句里，每行是应有的大类，每列是系统给的大类，颜色越深次数越多；对角线是对的。小类里最常见的混淆：",
        "",
        "| 应为 | 给成 | 次数 |",
        "|---|---|---|",
        *(f"| {c['truth']} | {c['answer'] or '无'} | {c['times']} |" for c in hard["category"]["commonest_confusions"]),
        "",
        "## 它不会什么",
        "",
        "语料都是写出来的口语，不是真实录音；方言、极短的话、很少见的部件最容易错。上线后以坐席确认的结果为准，重新训练。",
        "",
    ]
    return "\n".join(lines)


def _svg(width: int, height: int, body: list[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" {_FONT}>',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    size, left, top = 26, 150, 130
    body = []
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        y = top + i * size
        body.append(
            f'<text x="{left - 6}" y="{y + size * 0.68:.0f}" font-size="12" text-anchor="end">{escape(name)}</text>'
        )
        x = left + i * size + size * 0.62
        body.append(
            f'<text x="{x:.0f}" y="{top - 8}" font-size="12" transform="rotate(-60 {x:.0f} {top - 8})">'
            f"{escape(name)}</text>"
        )
        total = sum(row) or 1
        for j, n in enumerate(row):
            share = n / total
            fill = (
                f"rgb({round(255 - 200 * share)},{round(255 - 110 * share)},{round(255 - 160 * share)})"
                if i == j
                else f"rgb(255,{round(255 - 225 * min(1.0, share * 3))},{round(255 - 225 * min(1.0, share * 3))})"
            )
            body.append(
                f'<rect x="{left + j * size}" y="{y}" width="{size - 1}" height="{size - 1}" fill="{fill}">'
                f"<title>{escape(name)} → {escape(names[j])}：{n}</title></rect>"
            )
            if n:
                middle = left + j * size + size / 2
                body.append(
                    f'<text x="{middle:.0f}" y="{y + size * 0.64:.0f}" font-size="9" text-anchor="middle">{n}</text>'
                )
    return _svg(left + size * len(names) + 90, top + size * len(names) + 12, body)


def _risk(steps: Sequence[Sequence[float]], threshold: float | None) -> str:
    width, height, left, bottom = 640, 360, 60, 50
    inner_w, inner_h = width - left - 20, height - bottom - 20
    most = max(0.1, max(step[2] for step in steps))

    def at(share: float, wrong: float) -> tuple[float, float]:
        return left + share * inner_w, 20 + inner_h * (1 - wrong / most)

    body = []
    for tick in range(6):
        x, y = left + tick / 5 * inner_w, 20 + inner_h * (1 - tick / 5)
        body += [
            f'<line x1="{left}" y1="{y:.1f}" x2="{width - 20}" y2="{y:.1f}" stroke="#e5e5e5"/>',
            f'<text x="{left - 6}" y="{y + 4:.1f}" font-size="11" text-anchor="end">{most * tick / 5:.0%}</text>',
            f'<text x="{x:.1f}" y="{height - bottom + 18}" font-size="11" text-anchor="middle">{tick * 20}%</text>',
        ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(step[1], step[2]) for step in steps))
    body.append(f'<polyline points="{line}" fill="none" stroke="#1a6fb5" stroke-width="2.5"/>')
    level = at(0, 0.02)[1]
    body.append(
        f'<line x1="{left}" y1="{level:.1f}" x2="{width - 20}" y2="{level:.1f}" stroke="#c33" stroke-dasharray="5 4"/>'
    )
    body.append(f'<text x="{width - 24}" y="{level - 5:.1f}" font-size="11" fill="#c33" text-anchor="end">错 2%</text>')
    if threshold is not None:
        share = max((step[1] for step in steps if step[0] >= threshold), default=0.0)
        x = at(share, 0)[0]
        body.append(f'<line x1="{x:.1f}" y1="20" x2="{x:.1f}" y2="{height - bottom}" stroke="#2a8a4a"/>')
        body.append(f'<text x="{x + 5:.1f}" y="34" font-size="11" fill="#2a8a4a">现在的门槛</text>')
    across, down = round(left + inner_w / 2), round(20 + inner_h / 2)
    middle = 'font-size="12" text-anchor="middle"'
    body += [
        f'<text x="{across}" y="{height - 10}" {middle}>自动预填的来电比例</text>',
        f'<text x="16" y="{down}" {middle} transform="rotate(-90 16 {down})">其中小类错的比例</text>',
    ]
    return _svg(width, height, body)
