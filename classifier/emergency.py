"""Who must be called at once: 110 police, 119 fire and rescue, 120 ambulance, 122 traffic police. Patterns.

The patterns are data (emergency.tsv), one a line, so that a supervisor can read and extend them. Their roles:
``sure`` needs nothing more; ``doubtful`` counts only beside an ``urgent`` word; ``broad`` is a sign among others, which
the model weighs with its own score (``signs``); ``unreal`` (万一) or a denial just
before takes a match back, ``past`` (去年) too unless the text is urgent; ``over`` (灭了, 算不算工伤) anywhere says
that nobody needs to come now. ``PERSON`` in a pattern stands for any word of the role ``person``. Tuned to miss
little rather than to tire nobody; what they miss, and where they cry wolf on the corpus, ``scripts/bench/routing
--emergencies`` lists.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from classifier.text import Traced

SERVICES = ("110", "119", "120", "122")
ROLES = ("sure", "doubtful", "broad", "urgent", "unreal", "past", "over", "person")
PATTERNS = Path(__file__).resolve().parent / "emergency.tsv"

_DENIED = re.compile(r"(没|没有|没人|并没|未|不|不会|不是)[^,。!?; ]{0,3}$")
UTILITIES = ("gas", "power", "water", "heating")
"""Whose own emergency crews are wanted beside the services; a city says under which number each is called."""
CARE_LINE = "12356"
"""The national line for people in despair (统一心理援助热线), offered beside the services that go out."""

_UTILITY = (
    ("gas", re.compile(r"煤气|燃气|天然气|液化气|臭鸡蛋|煤气罐|瓦斯|沼气")),
    ("power", re.compile(r"电线|高压线|变压器|电线杆|触电|漏电|带电|电缆|配电|电箱|麻手|火花|电弧")),
    ("water", re.compile(r"(自来)?水管.{0,6}(爆|裂|炸|断)|爆管|主管.{0,4}(爆|裂)")),
    ("heating", re.compile(r"(暖气|热力|供热).{0,8}(爆|裂|喷|烫)|喷.{0,3}(热水|蒸汽)")),
)
_DESPAIR = re.compile(
    r"自杀|不想活|不活了|活不下去|活着(没|有什么)意思|没(什么)?活头|轻生|割腕|跳(楼|河|桥|江|下去)|上吊|寻死|死给|想死|去死|了断|遗书"
    r"|安眠药|农药|百草枯|敌敌畏|一了百了|从.{0,8}跳"
)
_BEFORE = 20
"""Characters before a match in which a doubt about it can stand."""


class EmergencyPatternError(ValueError):
    """The file of patterns is wrong; the message names file and line."""


@dataclass(frozen=True)
class _Rules:
    sure: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]
    doubtful: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]
    broad: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]
    urgent: re.Pattern[str]
    unreal: re.Pattern[str]
    past: re.Pattern[str]
    over: re.Pattern[str]


def read(path: Path) -> _Rules:
    """The rules of a pattern file. Raises EmergencyPatternError, naming the line, for a role, service or pattern that
    is none.
    """
    by_role: dict[str, dict[tuple[str, ...], list[str]]] = {role: {} for role in ROLES}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows, None)
        for row in rows:
            place = f"{path.name}:{rows.line_num}"
            if len(row) != 3 or row[0] not in ROLES or not row[2]:
                raise EmergencyPatternError(f"{place}: must be a role ({', '.join(ROLES)}), services and a pattern")
            services = tuple(name for name in row[1].split(",") if name)
            if not set(services) <= set(SERVICES) or (row[0] in ("sure", "doubtful", "broad")) != bool(services):
                raise EmergencyPatternError(
                    f"{place}: services {row[1]!r}: {', '.join(SERVICES)}, for sure, doubtful and broad only"
                )
            try:
                re.compile(row[2])
            except re.error as fault:
                raise EmergencyPatternError(f"{place}: {row[2]!r} is no pattern: {fault}") from fault
            by_role[row[0]].setdefault(services, []).append(row[2])
    person = f"(?:{'|'.join(by_role['person'].get((), ['人']))})"

    def one(role: str, around: str = "(?:{})") -> re.Pattern[str]:
        patterns = by_role[role].get((), [])
        if not patterns:
            raise EmergencyPatternError(f"{path.name}: no pattern of role {role}")
        return re.compile(around.replace("{}", "|".join(patterns), 1))

    def several(role: str) -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
        return tuple(
            (services, re.compile("|".join(patterns).replace("PERSON", person)))
            for services, patterns in by_role[role].items()
        )

    return _Rules(
        several("sure"),
        several("doubtful"),
        several("broad"),
        one("urgent"),
        one("unreal", "(?:{})[^,。!?; ]{0,8}$"),
        one("past", "(?:{})[^。!?;]{0,14}$"),
        one("over"),
    )


@cache
def _rules() -> _Rules:
    return read(PATTERNS)


def services(cleaned: Traced) -> tuple[str, ...]:
    """Who must be called, in ascending order; empty when nobody must."""
    rules, source = _rules(), cleaned.text
    if rules.over.search(source):
        return ()
    found: set[str] = set()
    urgent = rules.urgent.search(source) is not None
    for called, pattern in (*rules.sure, *(rules.doubtful if urgent else ())):
        for match in pattern.finditer(source):
            before = source[max(0, match.start() - _BEFORE) : match.start()]
            doubted = rules.unreal.search(before) or _DENIED.search(before)
            if not doubted and (urgent or not rules.past.search(before)):
                found.update(called)
                break
    return tuple(service for service in SERVICES if service in found)


_NOW = re.compile(
    r"现在|正在|这会儿|快来|快点|赶紧|快叫|救命|救人|马上|立刻|来不及|还在|刚才?|越来越|怎么办|咋办|咋整|要不要"
)
_LATER = re.compile(
    r"赔|报销|理赔|鉴定|认定|判决|公示|申请|补助|手续|政策|规定|培训|演练|宣传|检查|隐患|整改|上次|以前|去年|前年|上个?月|上周|上礼拜|前几天|那天|昨天|已经(好|灭|修|处理|解决)|早就|没事了"
    r"|请问|咨询|想问|建议"
)
SIGNS = ("sure", "broad", "broad_110", "broad_119", "broad_120", "broad_122", "twice", "now", "later", "over", "unreal")
"""What ``signs`` tells, in its order."""


def signs(cleaned: Traced) -> tuple[float, ...]:
    """What a text shows of an emergency, a number a SIGN: the model weighs them with its own score."""
    rules, source = _rules(), cleaned.text
    hit: dict[str, int] = {}
    for called, pattern in rules.broad:
        for match in pattern.finditer(source):
            before = source[max(0, match.start() - _BEFORE) : match.start()]
            if not (rules.unreal.search(before) or _DENIED.search(before)):
                for name in called:
                    hit[name] = hit.get(name, 0) + 1
                break
    return (
        float(bool(services(cleaned))),
        float(bool(hit)),
        *(float(name in hit) for name in SERVICES),
        float(max(hit.values(), default=0) > 1),
        float(_NOW.search(source) is not None),
        float(_LATER.search(source) is not None),
        float(rules.over.search(source) is not None),
        float("万一" in source or "要是" in source),
    )


def named(cleaned: Traced) -> tuple[str, ...]:
    """The services that patterns of any strength name, in ascending order."""
    certain = services(cleaned)
    shown = signs(cleaned)[2:6]
    return certain or tuple(name for name, here in zip(SERVICES, shown, strict=True) if here)


def utilities(cleaned: Traced) -> tuple[str, ...]:
    """Which utilities' crews an emergency concerns; to be asked only where somebody must be called."""
    return tuple(name for name, pattern in _UTILITY if pattern.search(cleaned.text))


def despair(cleaned: Traced) -> bool:
    """Does somebody speak of ending their life?"""
    return _DESPAIR.search(cleaned.text) is not None
