"""From what a caller said of a place to points on the map, ranked, each with the reasons for it.

Names are found as they stand and as they sound (``classifier.sounds``): a telephone and a recogniser blur zh and z, n
and l, -ng and -n, and give another character of the same sound. Of names that sound alike the one whose characters
were heard counts more, and then whatever else was said: the number that exists on one road and not on the other, the
market beside it, the street government's name. Nothing is thrown away before all of that is weighed.

Everything but the doors lies in memory (some thousand names); doors are asked of the database, in one statement.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city import spoken
from callcenter.city.areas import AreaIndex, AreaRef
from callcenter.city.coordinates import EARTH_M, Point
from callcenter.city.ground import Address, Place
from callcenter.city.model import TREE
from classifier.sounds import symbol

ROAD: Final = "road"
ESTATE: Final = "estate"
AREA: Final = "area"
_SHORT_FOR: Final = {
    ROAD: ("大道", "大街", "路", "街", "巷", "道", "弄", "胡同"),
    ESTATE: ("小区", "花园", "家园", "公寓", "新村", "社区", "苑", "里", "城", "府"),
    AREA: ("街道办事处", "街道", "社区居委会", "社区", "居委会", "区", "镇", "乡", "村"),
}
"""Endings that callers leave away, by kind."""
SHORTEST: Final = 2
SHORTEST_HEARD: Final = 3
"""Characters of the shortest name that is found by its sound alone: two syllables stand for too many words."""
MOST_ALTERNATIVES: Final = 40
"""Things that one stretch of a text may be: a chain has a shop in every street, and what else is said chooses."""
MOST_MENTIONS: Final = 16
"""Stretches of a text that are weighed, the fullest names of it."""
CROSSING_M: Final = 45.0
"""Two roads that come so near meet: both are drawn as lines, and wide."""
NEAR_M: Final = 400.0
"""How far apart two things said together usually are, metres: what is so far counts a third."""
DOORS_BESIDE: Final = 12
"""How far from the number said another door still tells where it is."""
_CROSSING_WORDS: Final = ("路口", "交叉", "十字", "丁字", "交汇", "交界", "拐角", "转角", "红绿灯", "交口")
UNWRITTEN: Final = 0.8
"""What a name of the same sound is worth beside one that stands in the text."""
_EXACT, _SHORT, _ALIAS = 1.0, 0.8, 0.95
_STEP_M: Final = 60.0
"""Between the points that a road without a number is looked at."""

WRITTEN, HEARD, BLURRED = "name_written", "name_heard", "name_blurred"
DOOR, DOOR_BESIDE, NO_SUCH_DOOR = "door", "door_beside", "no_such_door"
BUILDING, STAIRCASE, NO_SUCH_BUILDING = "building", "staircase", "no_such_building"
CROSSING, WHOLE_ROAD, WHOLE_AREA, BESIDE, MOVED = "crossing", "whole_road", "whole_area", "beside", "moved"
REASONS: Final = (
    *(WRITTEN, HEARD, BLURRED, DOOR, DOOR_BESIDE, NO_SUCH_DOOR, BUILDING, STAIRCASE, NO_SUCH_BUILDING),
    *(CROSSING, WHOLE_ROAD, WHOLE_AREA, BESIDE, MOVED),
)
"""Why a point is offered: the name stands in the text, sounds like it, nearly so; the door or building exists, another
beside it does, none does; two roads meet; all of a road or an area is meant; another thing that was said is near;
metres and a direction were said."""


@dataclass(frozen=True, slots=True)
class Known:
    """A place or an area of the gazetteer. ``flat``: its shape in metres from the city's middle."""

    code: str
    name: str
    kind: str
    flat: BaseGeometry
    area: AreaRef | None = None


@dataclass(frozen=True, slots=True)
class _Name:
    known: Known
    text: str
    sounds: str
    weight: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A name found in a text. ``score``: 0 to 1."""

    known: Known
    start: int
    end: int
    score: float
    how: str


@dataclass(slots=True)
class Mention:
    """One stretch of the text that names something, and what that may be, the likeliest first."""

    start: int
    end: int
    hits: list[Hit]
    said: list[spoken.Said] = field(default_factory=list)

    def numbers(self, kind: str) -> tuple[int, ...]:
        """What the numbers of ``kind`` said with it may be."""
        return tuple(dict.fromkeys(reading for said in self.said if said.kind == kind for reading in said.readings))


@dataclass(slots=True)
class Heard:
    """What a text says of places, before the doors are looked up."""

    text: str
    mentions: list[Mention]
    way: tuple[float, float] | None

    @property
    def doors(self) -> tuple[list[str], list[int], list[int]]:
        """Codes of places, numbers and buildings to look up."""
        places = [h.known.code for m in self.mentions if m.said for h in m.hits if h.known.kind in (ROAD, ESTATE)]
        numbers = {
            near
            for mention in self.mentions
            for number in mention.numbers(spoken.NUMBER)
            for near in range(max(1, number - DOORS_BESIDE), number + DOORS_BESIDE + 1)
        }
        buildings = {
            n for mention in self.mentions for kind in (spoken.BUILDING, spoken.NUMBER) for n in mention.numbers(kind)
        }
        return list(dict.fromkeys(places)), sorted(numbers), sorted(buildings)


@dataclass(frozen=True, slots=True)
class Door:
    """A row of ``addresses``; ``x``, ``y`` metres from the city's middle."""

    code: str
    place: str
    number: int | None
    building: int | None
    door: int | None
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point that the words may mean. ``score``: to rank by, 0 to about 1.5; ``share``: of all scores, 0 to 1.

    ``address``: the code of the door, where one was found; ``reasons``: of REASONS.
    """

    point: Point
    name: str
    place: str
    address: str | None
    score: float
    share: float
    reasons: tuple[str, ...]
    area: AreaRef | None


@dataclass(slots=True)
class _Guess:
    x: float
    y: float
    score: float
    used: tuple[int, ...]
    name: str
    place: str
    address: str | None
    reasons: list[str]
    area: AreaRef | None = None


class Gazetteer:
    """The names of one city."""

    def __init__(self, places: Iterable[tuple[str, str, str, Sequence[str], BaseGeometry]], areas: AreaIndex) -> None:
        given = list(places)
        self.areas = areas
        bounds = shapely.total_bounds(np.array([shape for *_, shape in given], dtype=object)) if given else None
        if bounds is None or not np.isfinite(bounds).all():
            bounds = np.array([0.0, 0.0, 0.0, 0.0])
        self._lon, self._lat = float(bounds[0] + bounds[2]) / 2, float(bounds[1] + bounds[3]) / 2
        metre = math.radians(1) * EARTH_M
        self._scale = np.array([metre * math.cos(math.radians(self._lat)), metre])
        self._names: list[_Name] = []
        for code, name, kind, aliases, shape in given:
            self._add(Known(code, name, kind, self.flat(shape)), aliases)
        for area in areas.areas:
            ground = areas.shape(area.code)
            if area.layer == TREE and ground is not None and 1 < area.level < 5:
                self._add(Known(area.code, area.name, AREA, self.flat(ground), area), ())
        self._by_start: dict[str, list[_Name]] = {}
        self._by_pair: dict[str, list[int]] = {}
        for at, one in enumerate(self._names):
            self._by_start.setdefault(one.sounds[:2], []).append(one)
            if len(one.sounds) > SHORTEST_HEARD and one.weight > _SHORT:
                for pair in {one.sounds[i : i + 2] for i in range(len(one.sounds) - 1)}:
                    self._by_pair.setdefault(pair, []).append(at)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> Mapping[str, str | None]:
        """Each name with the code of the area it lies in, None where it crosses several: what the router is told."""
        found: dict[str, str | None] = {}
        for one in self._names:
            if one.weight <= _SHORT or one.known.kind == AREA:
                continue
            middle = self.point(*_middle(one.known.flat))
            lies = self.areas.at(middle).narrowest if one.known.flat.geom_type == "Point" else None
            found[one.text] = None if one.text in found or lies is None else lies.code
        return found

    def _add(self, known: Known, aliases: Sequence[str]) -> None:
        shorter = [known.name[: -len(end)] for end in _SHORT_FOR.get(known.kind, ()) if known.name.endswith(end)][:1]
        # 榆乐路一 for 榆乐路一巷 would take the first numeral of every number on 榆乐路.
        shorter = [text for text in shorter if not spoken.is_numeral(text[-1:])]
        texts = [(known.name, _EXACT), *((alias, _ALIAS) for alias in aliases), *((text, _SHORT) for text in shorter)]
        for text, weight in texts:
            if len(text) >= SHORTEST:
                self._names.append(_Name(known, text, "".join(map(symbol, text)), weight))

    def flat(self, shape: BaseGeometry) -> BaseGeometry:
        """A shape in degrees as metres from the city's middle."""
        middle = np.array([self._lon, self._lat])
        drawn: BaseGeometry = shapely.transform(shape, lambda corners: (corners - middle) * self._scale)
        return drawn

    def metres(self, place: Point) -> tuple[float, float]:
        """How many metres east and north of the city's middle ``place`` is."""
        return (place.lon - self._lon) * float(self._scale[0]), (place.lat - self._lat) * float(self._scale[1])

    def point(self, x: float, y: float) -> Point:
        """The point so many metres from the city's middle."""
        return Point(self._lon + x / float(self._scale[0]), self._lat + y / float(self._scale[1]))

    # -- what the text names -------------------------------------------------------------------------------------------
    def read(self, text: str) -> Heard:
        """The places that ``text`` names, with the numbers that belong to each. CPU: some milliseconds."""
        sounds = "".join(map(symbol, text))
        hits = self._exact(text, sounds)
        hits += self._blurred(text, sounds, hits)
        mentions = _mentions(text, hits)
        for said in spoken.numbers(text):
            owner = None
            for mention in mentions:
                if mention.start <= said.start < mention.end < said.end:
                    mention.end = said.start  # 三 of 柳泉三号: the number's, not the name's
                if mention.end <= said.start and said.start - mention.end <= 12:
                    owner = mention
            if owner is not None:
                owner.said.append(said)
        for mention in mentions:
            bare = spoken.bare(text, mention.end) if not mention.said else None
            if bare is not None and any(hit.known.kind == ROAD for hit in mention.hits):
                mention.said.append(bare)
        return Heard(text, mentions, spoken.way(text))

    def _exact(self, text: str, sounds: str) -> list[Hit]:
        found: list[Hit] = []
        for start in range(len(text) - 1):
            for one in self._by_start.get(sounds[start : start + 2], ()):
                if not sounds.startswith(one.sounds, start):
                    continue
                size = len(one.text)
                same = sum(a == b for a, b in zip(one.text, text[start : start + size], strict=True))
                if same < size and (size < SHORTEST_HEARD or (one.weight == _SHORT and same < size - 1)):
                    continue
                score = one.weight * (0.62 + 0.38 * same / size)
                found.append(Hit(one.known, start, start + size, score, WRITTEN if same == size else HEARD))
        return found

    def _blurred(self, text: str, sounds: str, exact: Sequence[Hit]) -> list[Hit]:
        """Names of four characters and more with one sound wrong, lost or too many, where none was found whole."""
        covered = {at for hit in exact if hit.end - hit.start >= SHORTEST_HEARD for at in range(hit.start, hit.end)}
        votes: dict[tuple[int, int], int] = {}
        for at in range(len(text) - 1):
            if at in covered:
                continue
            for index in self._by_pair.get(sounds[at : at + 2], ()):
                start = at - self._names[index].sounds.find(sounds[at : at + 2])
                votes[(index, start)] = votes.get((index, start), 0) + 1
        found: list[Hit] = []
        seen: set[int] = set()
        for (index, start), _ in sorted(votes.items(), key=lambda item: -item[1])[:120]:
            if index in seen:
                continue
            one = self._names[index]
            size = len(one.sounds)
            for end in (start + size, start + size - 1, start + size + 1):
                for begin in (start, start - 1, start + 1):
                    if 0 <= begin < end <= len(text) and _near(sounds[begin:end], one.sounds):
                        same = sum(character in text[begin:end] for character in one.text)
                        score = one.weight * (0.38 + 0.3 * same / size) * (1 - 1 / (size + 1))
                        found.append(Hit(one.known, begin, end, score, BLURRED))
                        seen.add(index)
                        break
                if index in seen:
                    break
        return found

    # -- what it may mean ----------------------------------------------------------------------------------------------
    def rank(self, heard: Heard, doors: Sequence[Door], *, most: int = 5) -> list[Candidate]:
        """The points that were meant, the likeliest first, one an area, at most ``most``."""
        # A store gives rows in any order; of two doors as likely the one with the smaller code is offered, every day.
        doors = sorted(doors, key=lambda door: door.code)
        guesses = [
            guess
            for at, mention in enumerate(heard.mentions)
            for hit in mention.hits
            for guess in self._of(at, mention, hit, doors)
        ]
        crossings = self._crossings(heard)
        if crossings:
            # Where two roads meet is said by naming both: neither is then meant as a whole.
            met = {at for crossing in crossings for at in crossing.used}
            guesses = [guess for guess in guesses if WHOLE_ROAD not in guess.reasons or guess.used[0] not in met]
            guesses += crossings
        if not guesses:
            return []
        for guess in guesses:
            self._support(guess, heard)
            if heard.way is not None and WHOLE_AREA not in guess.reasons:
                guess.x, guess.y = guess.x + heard.way[0], guess.y + heard.way[1]
                guess.reasons.append(MOVED)
        guesses.sort(key=lambda guess: -guess.score)
        best: dict[str, Candidate] = {}
        sharp = [math.exp(6 * (guess.score - guesses[0].score)) for guess in guesses[:40]]
        for guess, weight in zip(guesses, sharp, strict=False):
            place = self.point(guess.x, guess.y)
            area = guess.area or self.areas.at(place).narrowest
            key = area.code if area else f"{place.lon:.4f} {place.lat:.4f}"
            if key not in best:
                best[key] = Candidate(
                    place,
                    guess.name,
                    guess.place,
                    guess.address,
                    round(guess.score, 4),
                    round(weight / sum(sharp), 4),
                    tuple(dict.fromkeys(guess.reasons)),
                    area,
                )
        return list(best.values())[:most]

    def _of(self, at: int, mention: Mention, hit: Hit, doors: Sequence[Door]) -> list[_Guess]:
        known = hit.known

        def guess(x: float, y: float, worth: float, *reasons: str, address: str | None = None) -> _Guess:
            return _Guess(x, y, hit.score * worth, (at,), known.name, known.code, address, [hit.how, *reasons])

        own = [door for door in doors if door.place == known.code]
        if known.kind == ROAD:
            numbers = mention.numbers(spoken.NUMBER)
            if not numbers:
                return self._along(at, hit)
            found = [
                guess(door.x, door.y, 1.1 - 0.06 * rank, DOOR, address=door.code)
                for rank, number in enumerate(numbers)
                for door in own
                if door.number == number
            ]
            if not found:
                beside = [
                    (
                        abs((door.number or 0) - number) + (0 if ((door.number or 0) - number) % 2 == 0 else 2),
                        rank,
                        door,
                    )
                    for rank, number in enumerate(numbers)
                    for door in own
                    if door.number is not None
                ]
                for gap, rank, door in sorted(beside, key=lambda one: (one[0], one[1], one[2].code))[:1]:
                    found.append(guess(door.x, door.y, 0.9 - 0.01 * gap - 0.06 * rank, DOOR_BESIDE))
            return found or [
                _Guess(g.x, g.y, g.score * 0.7, g.used, g.name, g.place, None, [*g.reasons, NO_SUCH_DOOR])
                for g in self._along(at, hit)
            ]
        x, y = _middle(known.flat)
        if known.kind == AREA:
            whole = guess(x, y, 0.45, WHOLE_AREA)
            whole.area = known.area
            return [whole]
        if known.kind == ESTATE and mention.said:
            buildings = mention.numbers(spoken.BUILDING) or mention.numbers(spoken.NUMBER)
            staircases = mention.numbers(spoken.DOOR)
            found = []
            for rank, number in enumerate(buildings):
                there = [door for door in own if door.building == number]
                exact = [door for door in there if door.door in staircases]
                for door in (exact or there)[:1]:
                    reasons = (BUILDING, STAIRCASE) if exact else (BUILDING,)
                    address = door.code if exact or len(there) == 1 else None
                    found.append(guess(door.x, door.y, 1.1 - 0.06 * rank, *reasons, address=address))
            return found or [guess(x, y, 0.8, NO_SUCH_BUILDING)]
        return [guess(x, y, 0.95)]

    def _along(self, at: int, hit: Hit) -> list[_Guess]:
        """A whole road: one guess in each area that it crosses, at the middle of its part there."""
        line = hit.known.flat
        if line.length == 0:
            return [_Guess(*_middle(line), hit.score * 0.9, (at,), hit.known.name, hit.known.code, None, [hit.how])]
        steps = max(1, int(line.length / _STEP_M))
        spots = [line.interpolate((i + 0.5) / steps, normalized=True) for i in range(steps)]
        parts: dict[str, list[tuple[float, float]]] = {}
        for spot in spots:
            area = self.areas.at(self.point(spot.x, spot.y)).narrowest
            parts.setdefault(area.code if area else "", []).append((spot.x, spot.y))
        found = []
        for part in parts.values():
            x, y = part[len(part) // 2]
            worth = 0.55 + 0.1 * len(part) / steps
            reasons = [hit.how, WHOLE_ROAD]
            found.append(_Guess(x, y, hit.score * worth, (at,), hit.known.name, hit.known.code, None, reasons))
        return found

    def _crossings(self, heard: Heard) -> list[_Guess]:
        roads = [(at, m) for at, m in enumerate(heard.mentions) if any(hit.known.kind == ROAD for hit in m.hits)]
        said = any(word in heard.text for word in _CROSSING_WORDS)
        found: list[_Guess] = []
        for (one_at, one), (other_at, other) in combinations(roads, 2):
            for a in one.hits:
                for b in other.hits:
                    if not (a.known.kind == b.known.kind == ROAD) or a.known is b.known:
                        continue
                    if a.known.flat.distance(b.known.flat) > CROSSING_M:
                        continue
                    near, far = shapely.shortest_line(a.known.flat, b.known.flat).coords
                    score = (a.score + b.score) / 2 * (1.1 if said or not (one.said or other.said) else 0.7)
                    found.append(
                        _Guess(
                            (near[0] + far[0]) / 2,
                            (near[1] + far[1]) / 2,
                            score,
                            (one_at, other_at),
                            f"{a.known.name}{b.known.name}路口",
                            a.known.code,
                            None,
                            [min((a, b), key=lambda hit: hit.score).how, CROSSING],
                        )
                    )
        return found

    def _support(self, guess: _Guess, heard: Heard) -> None:
        """What else was said, and lies near, speaks for a guess; what lies far speaks against it."""
        spot = shapely.Point(guess.x, guess.y)
        for at, mention in enumerate(heard.mentions):
            if at in guess.used:
                continue
            worth = 0.0
            for hit in mention.hits:
                reach = NEAR_M * (2.0 if hit.known.kind == AREA else 1.0)
                worth = max(worth, hit.score * math.exp(-hit.known.flat.distance(spot) / reach))
            guess.score += 0.5 * worth - 0.15
            if worth > 0.3:
                guess.reasons.append(BESIDE)


def _middle(shape: BaseGeometry) -> tuple[float, float]:
    middle = shape if isinstance(shape, shapely.Point) else shape.representative_point()
    return float(middle.x), float(middle.y)


def _near(heard: str, name: str) -> bool:
    """One sound wrong, lost or too many."""
    if len(heard) == len(name):
        return sum(a != b for a, b in zip(heard, name, strict=True)) == 1
    longer, shorter = (heard, name) if len(heard) > len(name) else (name, heard)
    if len(longer) - len(shorter) != 1:
        return False
    return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))


def _mentions(text: str, hits: Sequence[Hit]) -> list[Mention]:
    """The hits by where they stand, the fullest first; what was taken back (不是柳泉路) is left out."""
    left = sorted(hits, key=lambda hit: (-(hit.end - hit.start) * hit.score, hit.start, hit.known.code))
    found: list[Mention] = []
    for hit in left:
        home = next((m for m in found if hit.start < m.end and m.start < hit.end), None)
        if home is None:
            if len(found) < MOST_MENTIONS:
                found.append(Mention(hit.start, hit.end, [hit]))
        elif (
            # Who says 柳泉路 does not mean the estate 柳泉, short for 柳泉小区.
            not (home.hits[0].how == WRITTEN and hit.end - hit.start < home.hits[0].end - home.hits[0].start)
            and len(home.hits) < MOST_ALTERNATIVES
            and all(hit.known is not other.known for other in home.hits)
            and min(hit.end, home.end) - max(hit.start, home.start) >= (home.end - home.start) * 0.6
        ):
            home.hits.append(hit)
    for mention in found:
        if any(hit.how == WRITTEN for hit in mention.hits):
            # Its very characters were heard: that a name of the same sound was meant is possible, and less likely.
            mention.hits = [
                hit if hit.how == WRITTEN else replace(hit, score=hit.score * UNWRITTEN) for hit in mention.hits
            ]
    found.sort(key=lambda mention: mention.start)
    denied = [m for m in found if text[max(0, m.start - 2) : m.start] in ("不是", "不在", "没在", "别去")]
    return [mention for mention in found if mention not in denied] if len(denied) < len(found) else found


# -- from the store ----------------------------------------------------------------------------------------------------
async def load(session: AsyncSession, import_id: int | None) -> list[Any]:
    """The rows of ``places``; the gazetteer itself is built off the loop (``build``)."""
    if import_id is None:
        return []
    query = select(Place.code, Place.name, Place.kind, Place.aliases, Place.shape).where(Place.import_id == import_id)
    # In one order on every store: of names as likely the first is looked at.
    return list((await session.execute(query.order_by(Place.code))).all())


def build(rows: Sequence[Any], areas: AreaIndex) -> Gazetteer:
    """The gazetteer of a version of ``places``. CPU: a second for ten thousand."""
    shapes = shapely.from_wkb([row[4] for row in rows])
    return Gazetteer(((*row[:4], shape) for row, shape in zip(rows, shapes, strict=True)), areas)


_COLUMNS: Final = (
    *(Address.code, Address.place, Address.number, Address.building, Address.door),
    *(Address.lon, Address.lat),
)


async def doors_of(session: AsyncSession, gazetteer: Gazetteer, heard: Heard, import_id: int | None) -> list[Door]:
    """The doors that may have been meant, one statement; none where no number was said."""
    places, numbers, buildings = heard.doors
    if import_id is None or not places:
        return []
    here = select(*_COLUMNS).where(Address.import_id == import_id, Address.place.in_(places))
    found: list[Any] = []
    if numbers:
        found += (await session.execute(here.where(Address.number.in_(numbers)))).all()
    if buildings:
        found += (await session.execute(here.where(Address.number.is_(None), Address.building.in_(buildings)))).all()
    doors = []
    for code, place, number, building, door, lon, lat in found:
        x, y = gazetteer.metres(Point(lon, lat))
        doors.append(Door(code, place, number, building, door, x, y))
    return doors
