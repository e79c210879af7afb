"""What callers say of places, in a city of two districts drawn by hand: six roads, two estates, a market, a school."""

import asyncio
import math
import time
from uuid import UUID, uuid5

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter.city.areas import AreaIndex, AreaRef
from callcenter.city.coordinates import Point, metres, moved
from callcenter.city.gazetteer import (
    BESIDE,
    BLURRED,
    BUILDING,
    CROSSING,
    DOOR,
    DOOR_BESIDE,
    HEARD,
    MOVED,
    NO_SUCH_BUILDING,
    NO_SUCH_DOOR,
    REASONS,
    STAIRCASE,
    WHOLE_AREA,
    WHOLE_ROAD,
    WRITTEN,
    Candidate,
    Door,
    Gazetteer,
    Heard,
)
from classifier.noise import Noise

pytestmark = pytest.mark.unit

HOME = Point(112.2, 31.03)
"""The middle; the western district is west of it."""


def at(east: float, north: float) -> Point:
    return moved(HOME, east, north)


def box(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    return shapely.Polygon([at(west, south), at(east, south), at(east, north), at(west, north)])


def line(*points: tuple[float, float]) -> shapely.LineString:
    return shapely.LineString([at(*one) for one in points])


def _areas() -> AreaIndex:
    def key(code: str) -> UUID:
        return uuid5(UUID(int=7), code)

    given = [
        ("990800", "汀澜市", 1, "", box(-4000, -4000, 4000, 4000)),
        ("990801", "砚川区", 2, "990800", box(-4000, -4000, 0, 4000)),
        ("990802", "望禾区", 2, "990800", box(0, -4000, 4000, 4000)),
        ("990801001", "柳堰街道", 3, "990801", box(-4000, -4000, 0, 4000)),
        ("990802001", "澄潭街道", 3, "990802", box(0, -4000, 4000, 4000)),
        *(
            (f"{street}001{row}{column}", f"网格{row}{column}", 5, street, box(x, y, x + 1000, y + 1000))
            for street, west in (("990801001", -4000), ("990802001", 0))
            for row, y in enumerate(range(-4000, 4000, 1000))
            for column, x in enumerate(range(west, west + 4000, 1000))
        ),
    ]
    return AreaIndex(
        (AreaRef(key(code), code, name, level, "unit", key(parent) if parent else None), shape)
        for code, name, level, parent, shape in given
    )


PLACES: tuple[tuple[str, str, str, list[str], shapely.Geometry], ...] = (
    ("R1", "柳泉路", "road", [], line((-3500, 500), (3500, 500))),
    ("R2", "建设大道", "road", ["老国道"], line((500, -3500), (500, 3500))),
    ("R3", "刘全路", "road", [], line((-3500, -2500), (-1500, -2500))),
    ("R4", "梧桐巷", "road", [], line((-2500, 1500), (-2500, 2500))),
    ("R5", "五一路", "road", [], line((2500, -3000), (2500, -1000))),
    ("R6", "建社路", "road", [], line((-3000, 3000), (-1000, 3000))),
    ("E1", "柳泉小区", "estate", ["柳泉新村"], box(1000, 1000, 1300, 1300)),
    ("E2", "桂花城", "estate", [], box(-2000, 700, -1700, 1000)),
    ("P1", "城南菜市场", "poi", ["南菜场"], shapely.Point(at(-2000, -2450))),
    ("P2", "实验小学", "poi", [], shapely.Point(at(520, -900))),
    ("S1", "柳泉路口站", "stop", [], shapely.Point(at(450, 480))),
    ("B1", "长河大桥", "bridge", [], line((3000, 3000), (3200, 3000))),
)
NAMES = Gazetteer(PLACES, _areas())


def _doors() -> list[Door]:
    found = []

    def door(
        place: str, east: float, north: float, number: int | None, building: int | None, stairs: int | None
    ) -> None:
        code = f"{place}-{number or 0}-{building or 0}-{stairs or 0}"
        found.append(Door(code, place, number, building, stairs, *NAMES.metres(at(east, north))))

    for number in range(1, 141):
        door("R1", -3500 + number * 50, 500 + (15 if number % 2 else -15), number, None, None)
    for number in range(2, 60, 2):
        door("R2", 515, -3500 + number * 100, number, None, None)
    for number in range(1, 30):
        door("R3", -3500 + number * 60, -2490, number, None, None)
    for building in (1, 2, 3):
        for stairs in (1, 2):
            door("E1", 1000 + building * 60, 1000 + stairs * 100, None, building, stairs)
    door("E2", -1900, 800, None, 5, None)
    return found


DOORS = _doors()


def looked_up(heard: Heard) -> list[Door]:
    """What the store gives for ``Heard.doors``."""
    places, numbers, buildings = heard.doors
    return [
        door
        for door in DOORS
        if door.place in places and (door.number in numbers if door.number else door.building in buildings)
    ]


def find(text: str, most: int = 5) -> list[Candidate]:
    heard = NAMES.read(text)
    return NAMES.rank(heard, looked_up(heard), most=most)


def best(text: str) -> Candidate:
    found = find(text)
    assert found, text
    return found[0]


# -- names -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "place", "how"),
    [
        ("柳泉路", "R1", WRITTEN),
        ("我要反映柳泉路上的井盖坏了", "R1", WRITTEN),
        ("在老国道边上", "R2", WRITTEN),
        ("建设大道", "R2", WRITTEN),
        ("刘全路", "R3", WRITTEN),
        ("南菜场门口", "P1", WRITTEN),
        ("城南菜市场门口", "P1", WRITTEN),
        ("桂花城", "E2", WRITTEN),
        ("建设", "R2", WRITTEN),
        ("梧桐", "R4", WRITTEN),
        ("吴同巷", "R4", HEARD),
        ("无童巷里", "R4", HEARD),
        ("件舍大道", "R2", HEARD),
        ("贵花城", "E2", HEARD),
        ("石燕小学", "P2", HEARD),
        ("诚兰菜是场", "P1", HEARD),
        ("长合大乔", "B1", HEARD),
        ("城南市场", "P1", BLURRED),
        ("城南的菜市场", "P1", BLURRED),
        ("城蓝菜场", "P1", HEARD),
        ("长江大桥", "B1", BLURRED),
    ],
)
def test_a_name_is_found_as_it_stands_and_as_it_sounds(text: str, place: str, how: str) -> None:
    found = best(text)
    assert (found.place, found.reasons[0]) == (place, how)


def test_of_two_that_sound_alike_the_one_that_was_written_comes_first() -> None:
    for text, first, second in (("柳泉路五号", "R1", "R3"), ("刘全路五号", "R3", "R1")):
        found = find(text)
        assert [one.place for one in found[:2]] == [first, second]
        assert found[0].score > found[1].score
    assert [one.place for one in find("刘泉路五号")[:2]] in (["R1", "R3"], ["R3", "R1"])


def test_the_number_that_is_there_tells_them_apart() -> None:
    # 刘全路 has 29 doors.
    found = best("流全路一百三十号")
    assert (found.place, found.address) == ("R1", "R1-130-0-0")


def test_the_market_beside_it_tells_them_apart() -> None:
    assert best("刘泉路城南菜市场旁边").point.lat < HOME.lat
    assert best("柳全路二十五号靠近南菜场").place == "R3"


def test_the_district_tells_where_on_a_road() -> None:
    west, east = best("砚川区柳泉路"), best("望禾区柳泉路")
    assert west.point.lon < HOME.lon < east.point.lon
    assert (west.place, east.place) == ("R1", "R1")
    assert BESIDE in west.reasons
    assert best("澄潭街道的柳泉路").point.lon > HOME.lon


def test_a_name_that_is_too_short_to_be_heard_is_found_only_as_written() -> None:
    assert best("柳泉").reasons[0] == WRITTEN
    assert not find("流泉")
    assert not find("我在这里件设得好")


# -- doors -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "address", "reasons"),
    [
        ("柳泉路58号", "R1-58-0-0", {DOOR}),
        ("柳泉路五十八号", "R1-58-0-0", {DOOR}),
        ("柳泉路的门牌是五十八号", "R1-58-0-0", {DOOR}),
        ("柳泉路武十八好", "R1-58-0-0", {DOOR}),
        ("柳泉路一百二号", "R1-120-0-0", {DOOR}),
        ("柳泉五十八号", "R1-58-0-0", {DOOR}),
        ("建设大道二十号", "R2-20-0-0", {DOOR}),
        ("刘全路三号", "R3-3-0-0", {DOOR}),
        ("柳泉小区三号楼二单元", "E1-0-3-2", {BUILDING, STAIRCASE}),
        ("柳泉小区3栋1单元502", "E1-0-3-1", {BUILDING, STAIRCASE}),
        ("柳泉新村两栋二单元", "E1-0-2-2", {BUILDING, STAIRCASE}),
        ("桂花城五栋", "E2-0-5-0", {BUILDING}),
        ("贵花城五洞", "E2-0-5-0", {BUILDING}),
    ],
)
def test_a_door_is_found(text: str, address: str, reasons: set[str]) -> None:
    found = best(text)
    assert found.address == address
    assert reasons <= set(found.reasons)
    [door] = [door for door in DOORS if door.code == address]
    assert metres(found.point, NAMES.point(door.x, door.y)) < 0.01


def test_a_building_without_its_staircase_is_no_address() -> None:
    found = best("柳泉小区三号楼")
    assert (found.place, found.address) == ("E1", None)
    assert BUILDING in found.reasons
    assert STAIRCASE not in found.reasons


def test_the_order_of_the_doors_changes_nothing() -> None:
    for text in ("柳泉小区三号楼", "桂花城五栋", "建设大道二十一号", "刘泉路五号", "柳泉小区三号楼五单元"):
        heard = NAMES.read(text)
        doors = looked_up(heard)
        assert NAMES.rank(heard, doors) == NAMES.rank(heard, doors[::-1])


def test_a_number_between_two_doors_is_beside_one() -> None:
    found = best("建设大道二十一号")
    assert (found.address, DOOR_BESIDE in found.reasons) == (None, True)
    assert metres(found.point, at(515, -1500)) < 201


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("柳泉路九百号", "R1", NO_SUCH_DOOR),
        ("梧桐巷五号", "R4", NO_SUCH_DOOR),
        ("柳泉小区九栋", "E1", NO_SUCH_BUILDING),
        ("桂花城二单元", "E2", NO_SUCH_BUILDING),
    ],
)
def test_a_number_that_is_not_there_leaves_the_place(text: str, place: str, reason: str) -> None:
    found = best(text)
    assert (found.place, found.address, reason in found.reasons) == (place, None, True)


def test_a_road_without_a_number_is_one_point_in_each_grid() -> None:
    found = [one for one in find("柳泉路", most=20) if one.place == "R1"]
    assert len(found) == 8
    assert all(WHOLE_ROAD in one.reasons for one in found)
    assert len({one.area.code for one in found if one.area}) == 8
    assert all(metres(one.point, Point(one.point.lon, at(0, 500).lat)) < 1 for one in found)
    assert sum(one.share for one in find("柳泉路", most=20)) == pytest.approx(1, abs=0.01)


def test_an_area_is_its_middle() -> None:
    found = best("望禾区")
    assert (found.place, found.reasons) == ("990802", (WRITTEN, WHOLE_AREA))
    assert found.area is not None
    assert (found.area.code, found.point.lon > HOME.lon) == ("990802", True)


# -- crossings and ways ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "柳泉路和建设大道交叉口",
        "建设大道柳泉路口",
        "柳泉路跟建设大道的十字路口",
        "在建设大道与柳泉路红绿灯那里",
        "柳泉路建设大道",
    ],
)
def test_a_crossing(text: str) -> None:
    found = best(text)
    assert CROSSING in found.reasons
    assert metres(found.point, at(500, 500)) < 1
    assert found.address is None


def test_roads_that_do_not_meet_have_no_crossing() -> None:
    assert all(CROSSING not in one.reasons for one in find("柳泉路和五一路交叉口", most=20))
    assert all(CROSSING not in one.reasons for one in find("柳泉路柳泉路路口", most=20))


@pytest.mark.parametrize(
    ("text", "east", "north"),
    [
        ("柳泉路建设大道路口往东两百米", 700, 500),
        ("柳泉路建设大道交叉口往北走大概一百五十米", 500, 650),
        ("柳泉路和建设大道路口向西南一百米", 429.3, 429.3),
        ("实验小学往西50米", 470, -900),
    ],
)
def test_metres_and_a_direction(text: str, east: float, north: float) -> None:
    found = best(text)
    assert MOVED in found.reasons
    assert metres(found.point, at(east, north)) < 2


def test_nobody_goes_on_from_a_whole_district() -> None:
    found = best("望禾区往东两百米")
    assert MOVED not in found.reasons


# -- what is taken back ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("不是柳泉路是建设大道", "R2"),
        ("不是柳泉路，是刘全路", "R3"),
        ("不是刘全路三号，是柳泉路三号", "R1"),
        ("柳泉路三号，不是刘全路", "R1"),
        ("没在柳泉小区在桂花城", "E2"),
        ("我说的不是建设大道是建社路", "R6"),
    ],
)
def test_what_is_taken_back_does_not_count(text: str, place: str) -> None:
    assert best(text).place == place


def test_when_all_is_taken_back_something_is_offered_still() -> None:
    assert find("不是柳泉路")


# -- what is none ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "\n",
            "号",
            "你好",
            "路",
            "58号",
            "我家的水管坏了没有人来修",
            "abc",
            "🙂" * 50,
            "\0",
            "\ud800",
            "\u202e",
        ),
        *(
            "往东两百米",
            "不是",
            "路口",
            "ＡＢＣ路",
            "\ue000\ue001\ue002",
            "%s%n{}[]()'\";--",
            "火星奥林匹斯山",
            "0" * 300,
        ),
    ],
)
def test_what_names_no_place_finds_none(text: str) -> None:
    assert find(text) == []


def test_nothing_is_known_yet() -> None:
    empty = Gazetteer((), AreaIndex(()))
    assert len(empty) == 0
    heard = empty.read("柳泉路五十八号往东两百米")
    assert (heard.mentions, empty.rank(heard, [])) == ([], [])
    assert empty.names == {}


def test_a_place_outside_of_every_area_is_found() -> None:
    lonely = Gazetteer(PLACES, AreaIndex(()))
    heard = lonely.read("城南菜市场")
    [found] = lonely.rank(heard, [])
    assert (found.place, found.area) == ("P1", None)


PIECES = [
    *(
        "柳泉路",
        "刘全路",
        "建设大道",
        "柳泉小区",
        "桂花城",
        "城南菜市场",
        "实验小学",
        "望禾区",
        "砚川区",
        "柳堰街道",
        "五一路",
    ),
    *(
        "五十八号",
        "三号楼",
        "二单元",
        "一百号",
        "路口",
        "往东两百米",
        "不是",
        "是",
        "旁边",
        "，",
        "的",
        "和",
        "老国道",
        "梧桐",
    ),
]
NOISE = Noise(PIECES)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.randoms(use_true_random=False), st.sampled_from([0.0, 0.3]))
def test_whatever_is_said_the_answer_is_sound(pieces: list[str], dice: object, share: float) -> None:
    text = NOISE.replace("".join(pieces), share, dice)  # type: ignore[arg-type]
    found = find(text)
    assert found == find(text)
    assert len(found) <= 5
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert math.isfinite(one.score)
        assert 0 <= one.share <= 1
        assert set(one.reasons) <= set(REASONS)
        assert metres(one.point, HOME) < 12_000
    assert sum(one.share for one in found) <= 1.001
    codes = [one.area.code for one in found if one.area]
    assert len(codes) == len(set(codes)), "one an area"


@pytest.mark.parametrize(
    "text",
    [
        "柳泉路五十八号" * 1_430,
        "刘泉" * 5_000,
        "柳" * 10_000,
        "建设大道和柳泉路路口不是" * 833,
        "城南市场" * 2_500,
        "一" * 9_999 + "号",
    ],
)
def test_ten_thousand_characters_stay_fast(text: str) -> None:
    began = time.process_time()
    heard = NAMES.read(text)
    NAMES.rank(heard, looked_up(heard))
    assert time.process_time() - began < 20


def test_a_look_does_not_hold_the_loop_up() -> None:
    # What a caller says at once is bounded before it is read (city.LONGEST_PHRASE).
    began = time.process_time()
    for _ in range(20):
        find(("柳泉路五十八号靠近城南菜市场和建设大道路口" * 20)[:200])
    assert (time.process_time() - began) / 20 < 1
    assert asyncio.iscoroutinefunction(find) is False
