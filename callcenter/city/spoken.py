"""Numbers as they are said in an address: 五十八号, 幺三八弄, 三号楼二单元, 往东两百米, and misheard ones.

A misheard numeral is another character of the same sound (四 for 十, 武 for 五, 浩 for 号), so beside what stands there
each number has readings by its sound; the caller's meaning is whichever door exists.
"""

import re
from dataclasses import dataclass
from functools import cache
from itertools import islice, product, zip_longest
from typing import Final

from classifier.sounds import sound

_DIGITS: Final = dict(zip("零〇一二两三四五六七八九幺", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 1), strict=True)) | {
    digit: int(digit) for digit in "0123456789"
}
_TENS: Final = {"十": 10, "百": 100, "千": 1000}
_SAID: Final = "零一二两三四五六七八九幺十百千"
_LONGEST: Final = 7
"""Characters of the longest number looked at: 一千二百三十八."""
MOST_READINGS: Final = 6
_PLAIN: Final = {ord(full): str(digit) for digit, full in enumerate("０１２３４５６７８９")}
_SENTENCE: Final = "是就要市时事而以已把吧起其前有"
"""Sound like numerals and stand before a number more often than as one: 就是五十八号, 超市五十八号."""

NUMBER, BUILDING, DOOR = "number", "building", "door"
_MARKS: Final = {
    "号": NUMBER,
    "栋": BUILDING,
    "幢": BUILDING,
    "座": BUILDING,
    "号楼": BUILDING,
    "号院": NUMBER,
    "楼": BUILDING,
    "单元": DOOR,
    "门": DOOR,
}


@dataclass(frozen=True, slots=True)
class Said:
    """One number in a text. ``readings``: what it may be, the likeliest first; ``start`` to ``end``: with its mark."""

    kind: str
    readings: tuple[int, ...]
    start: int
    end: int


@cache
def _by_sound() -> dict[str, str]:
    """The numeral characters of each sound: what a character that is none may stand for."""
    found: dict[str, str] = {}
    for character in _SAID:
        found[sound(character)] = found.get(sound(character), "") + character
    return found


@cache
def _mark_sounds() -> tuple[tuple[tuple[str, ...], str, str], ...]:
    marks = sorted(_MARKS.items(), key=lambda pair: -len(pair[0]))
    return tuple((tuple(sound(character) for character in mark), mark, kind) for mark, kind in marks)


def is_numeral(character: str) -> bool:
    """Whether ``character`` is one of the numerals of an address: 一, 两, 幺, 十, 5 …"""
    return character in _DIGITS or character in _TENS


def _value(text: str) -> int | None:
    """The number that numerals say: 五十八, 一百二十, 一百二 (120), 幺三八, 58. None for none."""
    if not text:
        return None
    if all(character in _DIGITS for character in text):
        return int("".join(str(_DIGITS[character]) for character in text)) if len(text) <= _LONGEST else None
    total, pending, unit, least = 0, None, 10, 10_000
    for character in text:
        if character in _DIGITS:
            if pending is not None:
                return None
            pending = _DIGITS[character]
            if pending == 0:
                pending, unit = None, 10
        elif character in _TENS:
            unit = _TENS[character]
            # Nobody says 三十五十 or 一百一千.
            if unit >= least or (pending is None and unit != 10):
                return None
            least = unit
            total += (1 if pending is None else pending) * unit
            pending = None
        else:
            return None
    if pending is not None:
        # 一百二 is 120, 一百零二 is 102: after a hundred a digit alone counts tens.
        total += pending * (unit // 10 if unit > 10 and text[-2:-1] in _TENS else 1)
    return total or None


def _readings(text: str) -> tuple[int, ...]:
    """What ``text`` may say, as it stands before as it sounds."""
    choices: list[str] = []
    for character in text:
        if character.isdigit() and character in "0123456789":
            choices.append(character)
            continue
        alike = _by_sound().get(sound(character), "")
        if not alike:
            return ()
        choices.append(character + alike.replace(character, "") if character in alike else alike)
    found: dict[int, None] = {}
    for said in islice(product(*choices), 64):
        value = _value("".join(said))
        if value is not None:
            found.setdefault(value)
    return tuple(islice(found, MOST_READINGS))


def _sounds_numeral(character: str) -> bool:
    return character in "0123456789" or sound(character) in _by_sound()


def _begun(given: str) -> tuple[str, ...]:
    """Where a number may begin, the likeliest first: what sounds like a numeral before it may be one or none."""
    written = next((at for at, one in enumerate(given) if one in _DIGITS or one in _TENS), 0)
    if not written:
        return (given,)
    whole = tuple(given[at:] for at in range(written))
    return (given[written:], *whole) if given[written - 1] in _SENTENCE else (*whole, given[written:])


def numbers(text: str) -> list[Said]:
    """The door numbers, buildings and staircases said in ``text``, in order."""
    text = text.translate(_PLAIN)
    found: list[Said] = []
    at = 0
    while at < len(text):
        for sounds, mark, kind in _mark_sounds():
            heard = text[at : at + len(mark)]
            if len(heard) < len(mark) or tuple(sound(character) for character in heard) != sounds:
                continue
            exact = heard == mark
            start = at
            while start > 0 and at - start < _LONGEST and _sounds_numeral(text[start - 1]):
                start -= 1
            given = text[start:at]
            while given and not _readings(given):
                given = given[1:]
            if not given:
                continue
            begun = [(one, _readings(one)) for one in _begun(given)]
            given = next(one for one, read in begun if read)
            # Each beginning has its likeliest reading heard before any has its second.
            turns = zip_longest(*(read for _, read in begun))
            readings = tuple(dict.fromkeys(value for turn in turns for value in turn if value is not None))
            readings = readings[:MOST_READINGS]
            # A mark that is only heard (好, 东) makes a number only of what is written as one.
            written = sum(character in _DIGITS or character in _TENS for character in given)
            if not exact and written < max(1, len(given) - 1):
                continue
            if exact and not written and (len(mark) == 1 and mark in "楼门座号"):
                continue
            found.append(Said(kind, readings, at - len(given), at + len(mark)))
            at += len(mark) - 1
            break
        at += 1
    return found


def bare(text: str, start: int) -> Said | None:
    """A number of two characters or more that stands at ``start`` without a mark: 榆泉路三百三."""
    end = start
    while end < len(text) and end - start < _LONGEST and (text[end] in _DIGITS or text[end] in _TENS):
        end += 1
    value = _value(text[start:end]) if end - start > 1 else None
    return Said(NUMBER, (value,), start, end) if value else None


_WAY: Final = re.compile(
    r"[往向朝](东南|东北|西南|西北|东|南|西|北)(?:边|面|方向)?[走去过]{0,3}(?:大概|大约|差不多|约)?"
    r"([零一二两三四五六七八九十百千\d]+)[来多几]?米"
)
_EAST: Final = {"东": (1, 0), "西": (-1, 0), "南": (0, -1), "北": (0, 1)}


def way(text: str) -> tuple[float, float] | None:
    """Metres east and north that ``text`` goes on from the place (往东两百米); None where it says none."""
    match = _WAY.search(text.translate(_PLAIN))
    metres = _value(match[2]) if match else None
    if match is None or metres is None or metres > 3000:
        return None
    east = sum(_EAST[sign][0] for sign in match[1])
    north = sum(_EAST[sign][1] for sign in match[1])
    length = (east * east + north * north) ** 0.5
    return metres * east / length, metres * north / length
