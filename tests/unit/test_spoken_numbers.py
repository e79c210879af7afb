"""Numbers of an address as callers say them and as a recogniser writes them."""

import time
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callcenter.city.spoken import BUILDING, DOOR, MOST_READINGS, NUMBER, numbers, way
from classifier.noise import Noise

pytestmark = pytest.mark.unit

DIGITS = "零一二三四五六七八九"


def counted(number: int) -> str:
    """一千二百零五."""
    out, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, unit)
        if digit:
            out += ("零" if gap and out else "") + DIGITS[digit] + name
        gap = not digit
    return out.removeprefix("一") if out.startswith("一十") else out


def spelled(number: int, *, telephone: bool = False) -> str:
    """一二零五, 幺二零五."""
    said = "".join(DIGITS[int(digit)] for digit in str(number))
    return said.replace("一", "幺") if telephone else said


def first(text: str) -> list[tuple[str, int]]:
    """Each number said, as it most likely is."""
    return [(said.kind, said.readings[0]) for said in numbers(text)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("五号", [(NUMBER, 5)]),
        ("十号", [(NUMBER, 10)]),
        ("十五号", [(NUMBER, 15)]),
        ("二十号", [(NUMBER, 20)]),
        ("五十八号", [(NUMBER, 58)]),
        ("一百号", [(NUMBER, 100)]),
        ("一百零二号", [(NUMBER, 102)]),
        ("一百二号", [(NUMBER, 120)]),
        ("一百二十号", [(NUMBER, 120)]),
        ("一百一十号", [(NUMBER, 110)]),
        ("一百十五号", [(NUMBER, 115)]),
        ("一百一十五号", [(NUMBER, 115)]),
        ("二百五号", [(NUMBER, 250)]),
        ("两百零八号", [(NUMBER, 208)]),
        ("三百六十五号", [(NUMBER, 365)]),
        ("一千号", [(NUMBER, 1000)]),
        ("一千零五号", [(NUMBER, 1005)]),
        ("一千零二十号", [(NUMBER, 1020)]),
        ("一千二号", [(NUMBER, 1200)]),
        ("一千八百五号", [(NUMBER, 1850)]),
        ("一千二百三十八号", [(NUMBER, 1238)]),
        ("幺三八号", [(NUMBER, 138)]),
        ("幺幺零号", [(NUMBER, 110)]),
        ("幺零二号", [(NUMBER, 102)]),
        ("二零六号", [(NUMBER, 206)]),
        ("五八号", [(NUMBER, 58)]),
        ("58号", [(NUMBER, 58)]),
        ("1238号", [(NUMBER, 1238)]),
        ("５８号", [(NUMBER, 58)]),
        ("1百2十号", [(NUMBER, 120)]),
        ("解放路五十八号", [(NUMBER, 58)]),
        ("解放路58号的门口", [(NUMBER, 58)]),
        ("解放路的58号那里", [(NUMBER, 58)]),
        ("我家在五十八号院", [(NUMBER, 58)]),
        ("三号楼", [(BUILDING, 3)]),
        ("三号楼二单元", [(BUILDING, 3), (DOOR, 2)]),
        ("三栋二单元", [(BUILDING, 3), (DOOR, 2)]),
        ("十二幢一单元", [(BUILDING, 12), (DOOR, 1)]),
        ("5座", [(BUILDING, 5)]),
        ("12栋3单元502", [(BUILDING, 12), (DOOR, 3)]),
        ("柳泉小区十一栋", [(BUILDING, 11)]),
        ("解放路12号3栋2单元", [(NUMBER, 12), (BUILDING, 3), (DOOR, 2)]),
        # What stands before a number and sounds like one belongs to the sentence.
        ("就是58号", [(NUMBER, 58)]),
        ("地址是五十八号", [(NUMBER, 58)]),
        ("门牌是五八号", [(NUMBER, 58)]),
        ("超市58号", [(NUMBER, 58)]),
        ("我要说的是十号", [(NUMBER, 10)]),
        ("武夷山市十五号", [(NUMBER, 15)]),
        ("前58号", [(NUMBER, 58)]),
        ("事发地起一百二十号", [(NUMBER, 120)]),
        ("那里有三号楼", [(BUILDING, 3)]),
        ("而且是三栋", [(BUILDING, 3)]),
        # no number at all
        ("", []),
        ("号", []),
        ("电话号码", []),
        ("您好", []),
        ("你好是的", []),
        ("挂号", []),
        ("师傅叫门", []),
        ("上楼", []),
        ("石楼", []),
        ("是门", []),
        ("我说的是号", []),
        ("三轮车和五个人", []),
    ],
)
def test_what_is_said(text: str, said: list[tuple[str, int]]) -> None:
    assert first(text) == said


@pytest.mark.parametrize(
    ("heard", "kind", "meant"),
    [
        ("武十八号", NUMBER, 58),
        ("五是八号", NUMBER, 58),
        ("五四八号", NUMBER, 58),
        ("五十吧号", NUMBER, 58),
        ("五十八好", NUMBER, 58),
        ("五十八浩", NUMBER, 58),
        ("伍十八号", NUMBER, 58),
        ("一白二十号", NUMBER, 120),
        ("一百儿十号", NUMBER, 120),
        ("医百二十号", NUMBER, 120),
        ("一百零耳号", NUMBER, 102),
        ("九石号", NUMBER, 90),
        ("久十号", NUMBER, 90),
        ("三栋儿单元", DOOR, 2),
        ("三洞二单元", BUILDING, 3),
        ("山栋", BUILDING, 3),
        ("三号楼二单员", DOOR, 2),
        ("十四号", NUMBER, 14),
        ("四十号", NUMBER, 40),
        ("四十四号", NUMBER, 44),
        ("幺散八号", NUMBER, 138),
        ("一千二百三是八号", NUMBER, 1238),
        ("起号楼", BUILDING, 7),
        ("5巴号", NUMBER, 58),
    ],
)
def test_what_was_misheard_is_among_the_readings(heard: str, kind: str, meant: int) -> None:
    assert meant in {reading for said in numbers(heard) if said.kind == kind for reading in said.readings}


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("一百一千号", 1100),
        ("三十五十号", 80),
        ("十百号", 1000),
        ("百号", 100),
        ("五十八十号", 130),
        ("一千一千号", 2000),
    ],
)
def test_what_nobody_says_is_no_sum(text: str, never: int) -> None:
    assert all(never not in said.readings for said in numbers(text))


@given(st.integers(1, 1999), st.sampled_from(["", "解放路", "在", "我在中兴大道的", "门牌号码"]))
@example(1010, "")
@example(1111, "")
@example(10, "")
@example(110, "")
def test_every_number_is_read_back(number: int, before: str) -> None:
    forms = {counted(number), spelled(number), spelled(number, telephone=True), str(number)}
    if number > 100 and number % 10 == 0 and number // 10 % 10 and number // 100 % 10:
        forms.add(counted(number).removesuffix("十"))
    if number % 100 and number > 100 and 10 <= number % 100 < 20:
        forms.add(counted(number).replace("百一十", "百十"))
    if "二" in counted(number):
        forms.add(counted(number).replace("二百", "两百").replace("二千", "两千"))
    for form in forms:
        for mark, kind in (("号", NUMBER), ("栋", BUILDING), ("号楼", BUILDING), ("单元", DOOR)):
            [said] = numbers(f"{before}{form}{mark}里面")
            assert said.kind == kind
            assert said.readings[0] == number, form
            assert (said.start, said.end) == (len(before), len(before) + len(form) + len(mark))


def test_of_misheard_numbers_most_are_among_the_readings() -> None:
    random = Random(7)
    noise = Noise(["零一二两三四五六七八九十百千号是事无物武就旧起其而耳把吧要以已山好留刘白年钱前"])
    found = 0
    for _ in range(2_000):
        number = random.randint(1, 999)
        heard = noise.replace(counted(number), 0.2, random) + "号"
        found += any(number in said.readings for said in numbers(heard))
    assert found >= 1_800


@given(st.text(alphabet="零一二两三四五六七八九幺十百千号栋楼单元门座院是武就58 浩东往米", max_size=40))
def test_whatever_is_said_stays_within_bounds(text: str) -> None:
    before = 0
    for said in numbers(text):
        assert 0 <= said.start < said.end <= len(text)
        assert said.start >= before, "numbers do not overlap"
        before = said.end
        assert 1 <= len(said.readings) <= MOST_READINGS
        assert len(set(said.readings)) == len(said.readings)
        assert all(0 <= reading < 10**7 for reading in said.readings)
    step = way(text)
    assert step is None or max(map(abs, step)) <= 3000


def test_a_long_text_of_numerals_stays_fast() -> None:
    began = time.process_time()
    for text in ("四" * 10_000, "是号" * 5_000, "五十八号" * 2_500, "四是十事号" * 2_000, "9" * 10_000 + "号"):
        numbers(text)
        way("往东" + text + "米")
    assert time.process_time() - began < 4


@pytest.mark.parametrize(
    ("text", "east", "north"),
    [
        ("解放路口往东两百米", 200, 0),
        ("往西走五十米", -50, 0),
        ("向南100米", 0, -100),
        ("朝北边走大概三百来米", 0, 300),
        ("往东方向一百二十米", 120, 0),
        ("往东北一百米", 70.7, 70.7),
        ("往西南方向约1百米", -70.7, -70.7),
        ("往东走过去差不多一千米", 1000, 0),
        ("往东两百多米", 200, 0),
        ("往南边走二百五十米左右", 0, -250),
    ],
)
def test_the_way_on(text: str, east: float, north: float) -> None:
    assert way(text) == pytest.approx((east, north), abs=0.1)


@pytest.mark.parametrize("text", ["", "东边", "往东", "往东五公里", "往东九千米", "往上两百米", "往东十百米", "两百米"])
def test_no_way_on(text: str) -> None:
    assert way(text) is None
