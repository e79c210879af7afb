"""How a character sounds down a telephone line: its toneless pinyin, with what speakers and lines blur made one.

``sounds.txt`` holds it for every character of the basic block, so that routing needs no pinyin library; it is made by
``python -m classifier.sounds`` from pypinyin's dictionary. Two characters sound alike when their lines are one: zh/z,
ch/c, sh/s, n/l and -ng/-n are not told apart by telephone speech and many regions.
"""

import sys
from functools import cache
from pathlib import Path

TABLE = Path(__file__).resolve().parent / "sounds.txt"
_FIRST = 0xE000
"""Sounds are written as private-use characters, one each; ``text.clean`` lets none through from a text."""
_INITIALS = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("l", "n"))


@cache
def table() -> dict[str, str]:
    """The blurred syllable of every character that has one."""
    found: dict[str, str] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            syllable, _, characters = line.partition(" ")
            found.update(dict.fromkeys(characters, syllable))
    return found


@cache
def _symbols() -> dict[str, str]:
    syllables = {syllable: chr(_FIRST + i) for i, syllable in enumerate(sorted(set(table().values())))}
    return {character: syllables[syllable] for character, syllable in table().items()}


def sound(character: str) -> str:
    """The blurred toneless pinyin of one Chinese character; other characters are their own sound."""
    return table().get(character, character)


def symbol(character: str) -> str:
    """The sound of a character as one private-use character; other characters stand for themselves."""
    return _symbols().get(character, character)


def _blurred(syllable: str) -> str:
    for exact, blurred in _INITIALS:
        if syllable.startswith(exact):
            syllable = blurred + syllable[len(exact) :]
            break
    return syllable[:-1] if syllable.endswith("ng") else syllable


def _make() -> None:
    from pypinyin import Style, pinyin

    by_sound: dict[str, list[str]] = {}
    for code in range(0x4E00, 0x9FA6):
        syllable = str(pinyin(chr(code), style=Style.NORMAL)[0][0])
        if syllable != chr(code):
            by_sound.setdefault(_blurred(syllable), []).append(chr(code))
    lines = ["# blurred toneless pinyin, then the characters that sound so; made by python -m classifier.sounds"]
    lines += [f"{syllable} {''.join(characters)}" for syllable, characters in sorted(by_sound.items())]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(by_sound)} sounds\n")


if __name__ == "__main__":
    _make()
