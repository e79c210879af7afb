"""What is counted in a text: words 1-2, characters 1-4 and sounds 2-3, weighed by TF-IDF, as plain arrays.

Of the shapes tried on real messages, words 1-2 with characters 1-4 (sublinear counts) carried the most for a linear
model. Sounds are the characters' toneless pinyin with what telephone speech blurs made one (``noise``): a misheard word
keeps its sounds where it loses its characters. Each is a space of a fixed length, so that none drowns the others. The
same code counts for training and for prediction; nothing of scikit-learn is needed to predict.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from classifier.sounds import symbol
from classifier.text import Traced, clean, cut, fold

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

LONGEST = 4
"""Characters of the longest character n-gram."""
SOUND_LENGTHS = (2, 3)
"""Syllables of the sound n-grams; one alone stands for too many words."""
SHARES = (0.6, 1.0, 0.6)
"""Lengths of the spaces of words, characters and sounds: with few rows, whole words are too rare to be leaned on as
much, and sounds say again what characters have said.
"""
WORD_PAIR = "\x1f"
"""Stands between the two words of a pair; ``clean`` never lets it through from a text."""


LENGTHS = (3, 6, 12, 25, 50)
"""How long a text is matters to whether it is a matter at all, and unit length hides it; so it is a term of its own."""


def _length(folded: str) -> str:
    return f"{WORD_PAIR}{sum(len(folded) > limit for limit in LENGTHS)}"


def _terms(folded: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """The terms of the spaces of words, characters and sounds, and the bare words in their order."""
    plain = [word for word, _ in cut(folded)]
    cuts = list(plain)
    cuts += [a + WORD_PAIR + b for a, b in itertools.pairwise(cuts)]
    cuts.append(_length(folded))
    length = len(folded)
    grams = [folded[i : i + n] for n in range(1, LONGEST + 1) for i in range(length - n + 1)]
    heard = "".join(map(symbol, folded))
    sounds = [heard[i : i + n] for n in SOUND_LENGTHS for i in range(length - n + 1)]
    return cuts, grams, sounds, plain


@dataclass(frozen=True)
class Vector:
    """One text as a sparse row: indices, their weights, the folded text they were counted in, and its words."""

    indices: Ints
    values: Floats
    folded: Traced
    cuts: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """The terms a model knows. Word terms have the indices 0 to len(words)-1, characters follow, then sounds."""

    words: tuple[str, ...]
    characters: tuple[str, ...]
    sounds: tuple[str, ...]
    idf: Floats

    def __len__(self) -> int:
        return len(self.words) + len(self.characters) + len(self.sounds)

    @cached_property
    def word_index(self) -> dict[str, int]:
        """Index of each word term."""
        return {term: index for index, term in enumerate(self.words)}

    @cached_property
    def character_index(self) -> dict[str, int]:
        """Index of each character term."""
        return {term: index for index, term in enumerate(self.characters, len(self.words))}

    @cached_property
    def sound_index(self) -> dict[str, int]:
        """Index of each sound term."""
        return {term: index for index, term in enumerate(self.sounds, len(self.words) + len(self.characters))}

    def vector(self, text: str) -> Vector:
        """Count ``text`` as it was said. Never fails; a text of which nothing is known gives an empty row."""
        return self.counted(fold(clean(text)))

    def counted(self, folded: Traced) -> Vector:
        """Count a text that is folded already."""
        indices: list[int] = []
        values: list[float] = []
        idf = self._idf
        *spaces, cuts = _terms(folded.text)
        for terms, index, share in zip(
            spaces, (self.word_index, self.character_index, self.sound_index), SHARES, strict=True
        ):
            counts: dict[int, int] = {}
            find = index.get
            for term in terms:
                found = find(term)
                if found is not None:
                    counts[found] = counts.get(found, 0) + 1
            weights = [idf[i] * _SUBLINEAR[n] if n < 16 else idf[i] * (1.0 + math.log(n)) for i, n in counts.items()]
            norm = math.sqrt(sum(w * w for w in weights)) or 1.0
            scale = share / norm
            indices += counts
            values += [scale * w for w in weights]
        return Vector(np.array(indices, np.int32), np.array(values, np.float32), folded, tuple(cuts))

    @cached_property
    def _idf(self) -> list[float]:
        return [float(x) for x in self.idf]

    def occurrences(self, vector: Vector) -> Iterator[tuple[int, int, int]]:
        """Every known term of a counted text in its place: (index, start, end) in the folded text."""
        text, find_word, find_gram = vector.folded.text, self.word_index.get, self.character_index.get
        start, before = 0, ""
        for word in vector.cuts:
            end = start + len(word)
            if (found := find_word(word)) is not None:
                yield found, start, end
            if before and (found := find_word(before + WORD_PAIR + word)) is not None:
                yield found, start - len(before), end
            start, before = end, word
        for start in range(len(text)):
            for end in range(start + 1, min(start + LONGEST, len(text)) + 1):
                if (found := find_gram(text[start:end])) is not None:
                    yield found, start, end
        heard, find_sound = "".join(map(symbol, text)), self.sound_index.get
        for length in SOUND_LENGTHS:
            for start in range(len(text) - length + 1):
                if (found := find_sound(heard[start : start + length])) is not None:
                    yield found, start, start + length


_SUBLINEAR = [0.0, *(1.0 + math.log(n) for n in range(1, 16))]


def learn_space(
    texts: Sequence[str], *, min_words: int = 2, min_characters: int = 2, min_sounds: int = 3, extra: Iterable[str] = ()
) -> Space:
    """The space of the terms that stand in enough of ``texts``, or in any of ``extra``; idf smoothed as if one more
    text held every term.
    """
    seen: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
    kept: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    for text in texts:
        *spaces, _ = _terms(fold(clean(text)).text)
        for counter, terms in zip(seen, spaces, strict=True):
            counter.update(set(terms))
    for text in extra:
        *spaces, _ = _terms(fold(clean(text)).text)
        kept[0].update(word for word in spaces[0] if WORD_PAIR not in word)
        kept[1].update(gram for gram in spaces[1] if len(gram) > 1)
        kept[2].update(spaces[2])
    chosen = [
        sorted({term for term, n in counter.items() if n >= least} | extras)
        for counter, extras, least in zip(seen, kept, (min_words, min_characters, min_sounds), strict=True)
    ]
    total = len(texts)
    frequencies = [counter[term] for counter, terms in zip(seen, chosen, strict=True) for term in terms]
    idf = np.array([math.log((1 + total) / (1 + n)) + 1.0 for n in frequencies], np.float32)
    return Space(tuple(chosen[0]), tuple(chosen[1]), tuple(chosen[2]), idf)
