"""From what was heard or typed to what is counted: cleaning, folding and cutting a text, without losing where it was.

``clean`` makes width, case and blanks uniform and is what ``extract`` reads; ``fold`` goes on to drop punctuation and
fillers and to make numbers alike, so that speech without punctuation and writing with it look the same to ``features``.
Both keep, for every character left, the code points of the original it came from.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MAX_CHARACTERS = 4000
"""A quarter of an hour of talk. What lies beyond is not read: one call may not hold up the others (and see
LONG_TEXT).
"""

_WORDS = Path(__file__).resolve().parent / "words.txt"
_TRADITIONAL = Path(__file__).resolve().parent / "traditional.txt"
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me"}
_NUMERALS = "零〇一二三四五六七八九十百千万亿两幺"
_NOT_NUMBERS = {"万一", "千万", "一一", "十十", "一两"}
_FOLDS = re.compile(
    rf"(?P<number>\d+(?:\.\d+)?|[{_NUMERALS}]{{2,}})"
    r"|(?P<filler>[嗯呃啊哦哎唉诶呀噢]+|^喂+|喂{2,}|[你您]好|就是说|怎么说呢|那个啥|那个那个|这个这个|那什么)"
    r"|(?P<mark>[^\w]+|_+)"
)


@dataclass(frozen=True, slots=True)
class Traced:
    """A text made from another: character ``i`` came from the original's code points ``starts[i]`` to ``ends[i]``."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's code points behind ``text[start:end]``, which must not be empty."""
        return self.starts[start], self.ends[end - 1]


@cache
def _uniform(character: str) -> str:
    """The compatibility form of one character in lower case; empty when nothing of it is to be read."""
    if unicodedata.category(character) in _DROPPED and not character.isspace():
        return ""
    plain = unicodedata.normalize("NFKC", character).lower()
    return "".join(
        " " if c.isspace() or unicodedata.category(c) == "So" else c
        for c in plain
        if unicodedata.category(c) not in _DROPPED or c.isspace()
    )


@cache
def _simplified() -> dict[str, str]:
    """What traditional characters are written as here; one for one, so that no position moves."""
    lines = [line for line in _TRADITIONAL.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {
        a: b for above, below in zip(lines[::2], lines[1::2], strict=True) for a, b in zip(above, below, strict=True)
    }


def clean(text: str) -> Traced:
    """Half width, lower case, simplified, single blanks, no control characters; at most MAX_CHARACTERS of ``text`` are
    read.
    """
    out: list[str] = []
    starts: list[int] = []
    simple = _simplified()
    for position, character in enumerate(text[:MAX_CHARACTERS]):
        for c in simple.get(character, character) if "\u4e00" <= character <= "\u9fff" else _uniform(character):
            if c == " " and (not out or out[-1] == " "):
                continue
            out.append(c)
            starts.append(position)
    return Traced("".join(out), tuple(starts), tuple(position + 1 for position in starts))


def fold(cleaned: Traced) -> Traced:
    """What is counted: no punctuation, blanks or fillers; every number of two or more characters is ``0``."""
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    source = cleaned.text

    def keep(start: int, end: int) -> None:
        out.append(source[start:end])
        starts.extend(cleaned.starts[start:end])
        ends.extend(cleaned.ends[start:end])

    done = 0
    for match in _FOLDS.finditer(source):
        keep(done, match.start())
        done = match.end()
        if match.lastgroup == "number":
            if match.group() in _NOT_NUMBERS:
                keep(match.start(), match.end())
            else:
                out.append("0")
                starts.append(cleaned.starts[match.start()])
                ends.append(cleaned.ends[match.end() - 1])
    keep(done, len(source))
    return Traced("".join(out), tuple(starts), tuple(ends))


@cache
def tokenizer() -> Any:
    """jieba's tokenizer with the words of the trade added; read-only once built, so safe from many threads.

    jieba keeps its prefix dictionary marshalled in the shared temporary folder (jieba/__init__.py, initialize); loading
    such a file would run on whatever another user put there, so the dictionary is built here, from jieba's own text.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba 0.42.1: pkg_resources and unescaped backslashes
        import jieba

    made = jieba.Tokenizer()
    made.FREQ, made.total = made.gen_pfdict(made.get_dict_file())
    made.initialized = True
    for line in _WORDS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            made.add_word(line)
    return made


def cut(text: str) -> Iterator[tuple[str, int]]:
    """The words of ``text`` with their positions. No HMM: invented words differ between a sentence and its noisy
    twin.
    """
    position = 0
    for word in tokenizer().cut(text, HMM=False):
        yield word, position
        position += len(word)
