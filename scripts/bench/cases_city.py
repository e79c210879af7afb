"""An invented city for ``scripts/bench/cases``: areas, units, and as many cases as asked for, over a year.

Nothing is a real place, person or number. States, units, areas, categories, lamps and hours are spread as unevenly as
a hotline's are; texts are put together from a vocabulary in which some words are in every second text (街) and some in
one of thousands (白蚁).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from callcenter.cases.search_index import number_tokens, text_tokens
from classifier.taxonomy import load

SECRET = b"bench" * 8
YEAR = timedelta(days=365)
STATES = {
    **{"closed": 845, "handling": 45, "pending_handle": 18, "pending_dispatch": 8, "pending_check": 12},
    **{"checking": 10, "pending_close": 12, "suspended": 6, "pending_verify": 5, "pending_filing": 4},
    **{"reported": 5, "not_accepted": 20, "cancelled": 9, "draft": 1},
}
LAMPS = {"none": 900, "warned": 55, "yellow": 30, "red": 15}
SOURCES = {"phone": 700, "collector": 200, "web": 70, "110": 20, "media": 10}
HOURS = [1, 1, 1, 1, 1, 2, 4, 8, 14, 16, 14, 12, 8, 10, 14, 15, 13, 11, 9, 8, 7, 5, 3, 2]
ROADS = [
    first + second + kind
    for first in "解和长建人光新东西南北中金银"
    for second in "放平安设民明华风湖山江"
    for kind in ("街", "路", "大街")
]
THINGS = {
    **{"路灯": 60, "垃圾桶": 60, "井盖": 30, "树枝": 30, "污水": 25, "人行道": 25, "共享单车": 25, "广告牌": 12},
    **{"下水道": 20, "噪音": 40, "停车位": 40, "护栏": 8, "公交站牌": 5, "消火栓": 2, "化粪池": 3, "白蚁": 0.2},
}
WRONGS = {
    **{"坏了": 40, "不见了": 15, "堵塞了": 15, "没人清理": 30, "倒了": 15, "很吵睡不着": 20, "被占用": 25},
    **{"漏水": 12, "冒出来了": 6, "生锈断裂": 4, "塌陷": 3, "起火": 0.5},
}
OPENINGS = ["你好我要反映", "我想投诉一下", "请问", "这里是", "反映一个问题", "麻烦你们看看", "我是附近居民"]
ENDINGS = [
    "请尽快处理",
    "已经好几天了",
    "希望有人来看一下",
    "打过电话没有人管",
    "老人小孩走路很危险",
    "谢谢",
    "希望给个答复",
]


@dataclass
class City:
    """Areas of five levels and units, with their ids."""

    dice: random.Random
    areas: list[tuple[UUID, str, str, int, UUID | None]] = field(default_factory=list)
    grids: list[UUID] = field(default_factory=list)
    units: list[tuple[UUID, str, str, UUID | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        level: list[tuple[UUID, str]] = [(self.id(), "42")]
        self.areas.append((level[0][0], "42", "城", 1, None))
        for depth, below in enumerate((10, 10, 8, 6), 2):
            deeper = []
            for parent, code in level:
                for number in range(1, below + 1):
                    area, mine = self.id(), f"{code}{number:02d}"
                    self.areas.append((area, mine, f"区{mine}", depth, parent))
                    deeper.append((area, mine))
            level = deeper
        self.grids = [area for area, _ in level]
        for number in range(60):
            self.units.append((self.id(), f"U{number:03d}", f"单位{number}", None))
        for area, code, _, depth, _ in self.areas:
            if depth == 3:
                self.units.append((self.id(), f"S{code}", f"街道{code}", area))

    def id(self) -> UUID:
        """A random id, the same in every run."""
        return UUID(int=self.dice.getrandbits(128), version=4)


@dataclass(slots=True)
class Made:
    """One case as the tables have it: plain values, moments aware."""

    case: dict[str, Any]
    particulars: dict[str, Any]
    tokens: list[str]
    order: dict[str, Any] | None
    deadlines: list[dict[str, Any]]
    log: list[dict[str, Any]]


def cases(city: City, count: int, until: datetime) -> Iterator[Made]:
    """``count`` cases of the year before ``until``, the oldest first."""
    dice = city.dice
    categories = [entry.category for entry in load("GB/T 30428.2-2013").entries]
    weights = [1 / (rank + 3) for rank in range(len(categories))]
    dice.shuffle(weights)
    unit_weights = [1 / (rank + 4) for rank in range(len(city.units))]
    grid_weights = [1 / (1 + rank // 480) for rank in range(len(city.grids))]
    draw = {
        "category": dice.choices(categories, weights, k=count),
        "unit": dice.choices([unit[0] for unit in city.units], unit_weights, k=count),
        "area": dice.choices(city.grids, grid_weights, k=count),
        "state": dice.choices(list(STATES), list(STATES.values()), k=count),
        "lamp": dice.choices(list(LAMPS), list(LAMPS.values()), k=count),
        "source": dice.choices(list(SOURCES), list(SOURCES.values()), k=count),
        "thing": dice.choices(list(THINGS), list(THINGS.values()), k=count),
        "wrong": dice.choices(list(WRONGS), list(WRONGS.values()), k=count),
    }
    hours = dice.choices(range(24), HOURS, k=count)
    start = (until - YEAR).replace(hour=16, minute=0, second=0, microsecond=0)
    moments = sorted(
        start + timedelta(days=dice.randrange(364), hours=hour, seconds=dice.random() * 3600) for hour in hours
    )
    day, number = "", 0
    for n, at in enumerate(moments):
        today = (at + timedelta(hours=8)).strftime("%Y%m%d")
        day, number = (today, number + 1) if today == day else (today, 1)
        one = {name: values[n] for name, values in draw.items()}
        yield _made(city, one, at, until, f"{day}{number:05d}")


def _made(city: City, one: dict[str, Any], at: datetime, until: datetime, number: str) -> Made:
    dice, case_id, category, state = city.dice, city.id(), one["category"], one["state"]
    if state not in ("closed", "not_accepted", "cancelled") and (until - at).days > 40 and dice.random() < 0.9:
        state = "closed"  # what is open is young
    social = dice.random() < 0.3
    road = dice.choice(ROADS)
    address = f"{road}{dice.randrange(1, 300)}号"
    text = f"{dice.choice(OPENINGS)}{address}附近的{one['thing']}{one['wrong']}，{dice.choice(ENDINGS)}"
    if dice.random() < 0.4:
        text += f"，{dice.choice(ROADS)}那边的{dice.choice(list(THINGS))}也有问题"
    phone = f"1{dice.choice('3578')}{dice.randrange(10**9):09d}"
    filed = state not in ("draft", "reported", "cancelled", "not_accepted", "pending_verify", "pending_filing")
    dispatched = filed and state != "pending_dispatch"
    ended = state in ("closed", "not_accepted", "cancelled")
    closed_at = min(at + timedelta(hours=dice.expovariate(1 / 40) + 1), until) if ended else None
    case = {
        **{"id": case_id, "number": None if state == "draft" else number, "source": one["source"], "state": state},
        **{"disposition": "case", "domain": "social" if social else "urban", "category_standard": category.standard},
        **{"category_code": category.code, "category_kind": category.kind, "category_major": category.major},
        **{"category_minor": category.minor, "probability": 0.97, "domain_probability": 0.99},
        **{"decision": "auto" if dice.random() < 0.8 else "confirm", "emergency": "[]", "secrecy": False},
        **{"version": 3, "created_at": at, "completed_at": None if state == "draft" else at + timedelta(seconds=60)},
        **{"filed_at": at + timedelta(seconds=90) if filed else None, "area_id": one["area"], "draw": n_lot(case_id)},
        **{"lead_unit_id": one["unit"] if dispatched else None, "lamp": one["lamp"] if dispatched else "none"},
        **{"due_at": at + timedelta(days=5) if dispatched and not ended else None, "closed_at": closed_at},
        **{
            "outcome": "solved" if state == "closed" else None,
            "monitored": one["lamp"] == "red",
            "urgency": "ordinary",
        },
        **{"anonymous": False, "wants_reply": True, "reworks": 0, "returns": 0, "extensions": 0, "suspensions": 0},
        **{"self_handled": dice.random() < 0.05},
    }
    particulars = {"case_id": case_id, "text": text, "address": address, "reporter_number": phone}
    tokens = sorted(text_tokens(f"{text}\n{address}") | number_tokens(phone, SECRET))
    order = None
    deadlines = []
    if dispatched:
        order = {
            **{"id": city.id(), "case_id": case_id, "unit_id": one["unit"], "part": "lead", "round": 1},
            **{"issued_at": at + timedelta(minutes=10), "issued_by": "system", "signed_at": at + timedelta(hours=1)},
            **{"ended_at": closed_at, "outcome": "done" if ended else None},
        }
        deadlines.append(_deadline(city, case_id, order["id"], "handle", at, timedelta(days=2), closed_at))
    deadlines.append(_deadline(city, case_id, None, "citizen", at, timedelta(days=7), closed_at))
    log = []
    steps = [("opened", None, "draft", 0), ("completed", "draft", "reported", 60)]
    steps += [("filed", "reported", "pending_dispatch", 90)] if filed else []
    steps += [("dispatched", "pending_dispatch", "pending_handle", 600)] if dispatched else []
    for seq, (action, before, after, seconds) in enumerate(steps, 1):
        log.append(
            {
                **{"case_id": case_id, "seq": seq, "actor": "system", "action": action, "from_state": before},
                **{"to_state": after, "version": seq, "detail": "{}", "at": at + timedelta(seconds=seconds)},
            }
        )
    if closed_at is not None:
        log.append(
            {
                **{"case_id": case_id, "seq": len(steps) + 1, "actor": "system", "action": "closed"},
                **{"from_state": steps[-1][2], "to_state": state, "version": 9, "detail": "{}", "at": closed_at},
            }
        )
    return Made(case, particulars, tokens, order, deadlines, log)


def n_lot(case_id: UUID) -> int:
    """A lot; not the real one, which takes a hash."""
    return case_id.int & 0xFFFF


def _deadline(
    city: City, case_id: UUID, order: UUID | None, phase: str, at: datetime, limit: timedelta, ended: datetime | None
) -> dict[str, Any]:
    due = at + limit
    warn, yellow, red = at + limit * 0.8, due + timedelta(days=1), due + timedelta(days=2)
    # What was due before is lit already: a sweep finds what came due since the last one.
    rings = next((moment for moment in (warn, yellow, red) if moment > UNTIL), None) if ended is None else None
    lit = "none" if warn > UNTIL or ended is not None else "warned" if yellow > UNTIL else "yellow"
    lit = "red" if red <= UNTIL and ended is None else lit
    return {
        **{"id": city.id(), "case_id": case_id, "order_id": order, "phase": phase, "limit_value": limit.days},
        **{"limit_unit": "urgent_day", "started_at": at, "due_at": due, "original_due_at": due, "extended": 0},
        **{"used_s": 0, "warn_at": warn, "yellow_at": yellow},
        **{"red_at": red, "lamp": lit, "provisional": False, "ended_at": ended},
        **{"next_lamp_at": rings, "met": None if ended is None else ended <= due},
    }


UNTIL = datetime(2026, 11, 20, 16, tzinfo=UTC)
