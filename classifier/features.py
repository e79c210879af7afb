"""What is counted in a text: words 1-2 and characters 1-4, weighed by TF-IDF, as plain arrays.

Of the shapes tried on real messages, words 1-2 with characters 1-4 (sublinear counts) carried the most for a linear
model. Words and characters are two spaces, each of a fixed length, so that neither drowns the other. The same code
counts for training and for prediction; nothing of scikit-learn is needed to predict.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from classifier.text import Traced, clean, cut, fold

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

LONGEST = 4
"""Characters of the longest character n-gram."""
WORD_SHARE = 0.6
"""Length of the word space beside the characters' 1: with few rows, whole words are too rare to be leaned on as
much.
"""
WORD_PAIR = "\x1f"
"""Stands between the two words of a pair; ``clean`` never lets it through from a text."""


LENGTHS = (3, 6, 12, 25, 50)
"""How long a text is matters to whether it is a matter at all, and unit length hides it; so it is a term of its own."""


def _length(folded: str) -> str:
    return f"{WORD_PAIR}{sum(len(folded) > limit for limit in LENGTHS)}"


def _terms(folded: str) -> tuple[list[str], list[str], list[str]]:
    """The terms of the word space, those of the character space, and the bare words in their order."""
    plain = [word for word, _ in cut(folded)]
    cuts = list(plain)
    cuts += [a + WORD_PAIR + b for a, b in itertools.pairwise(cuts)]
    cuts.append(_length(folded))
    length = len(folded)
    grams = [folded[i : i + n] for n in range(1, LONGEST + 1) for i in range(length - n + 1)]
    return cuts, grams, plain


@dataclass(frozen=True)
class Vector:
    """One text as a sparse row: sorted indices, their weights, the folded text they were counted in, and its words."""

    indices: Ints
    values: Floats
    folded: Traced
    cuts: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """The terms a model knows. Word terms have the indices 0 to len(words)-1, character terms follow."""

    words: tuple[str, ...]
    characters: tuple[str, ...]
    idf: Floats

    def __len__(self) -> int:
        return len(self.words) + len(self.characters)

    @cached_property
    def word_index(self) -> dict[str, int]:
        """Index of each word term."""
        return {term: index for index, term in enumerate(self.words)}

    @cached_property
    def character_index(self) -> dict[str, int]:
        """Index of each character term."""
        return {term: index for index, term in enumerate(self.characters, len(self.words))}

    def vector(self, text: str) -> Vector:
        """Count ``text`` as it was said. Never fails; a text of which nothing is known gives an empty row."""
        folded = fold(clean(text))
        indices: list[int] = []
        values: list[float] = []
        word_terms, character_terms, cuts = _terms(folded.text)
        for terms, index, share in (
            (word_terms, self.word_index, WORD_SHARE),
            (character_terms, self.character_index, 1.0),
        ):
            counts = Counter(index[term] for term in terms if term in index)
            found = sorted(counts)
            weights = [(1.0 + math.log(counts[i])) * float(self._idf[i]) for i in found]
            norm = math.sqrt(sum(w * w for w in weights)) or 1.0
            indices += found
            values += [share * w / norm for w in weights]
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


def learn_space(
    texts: Sequence[str], *, min_words: int = 2, min_characters: int = 2, extra: Iterable[str] = ()
) -> Space:
    """The space of the terms that stand in enough of ``texts``, or in any of ``extra``; idf smoothed as if one more
    text held every term.
    """
    word_df: Counter[str] = Counter()
    char_df: Counter[str] = Counter()
    kept_words: set[str] = set()
    kept_chars: set[str] = set()
    for text in texts:
        cuts, grams, _ = _terms(fold(clean(text)).text)
        word_df.update(set(cuts))
        char_df.update(set(grams))
    for text in extra:
        cuts, grams, _ = _terms(fold(clean(text)).text)
        kept_words.update(word for word in cuts if WORD_PAIR not in word)
        kept_chars.update(gram for gram in grams if len(gram) > 1)
    word_terms = sorted({t for t, n in word_df.items() if n >= min_words} | kept_words)
    char_terms = sorted({t for t, n in char_df.items() if n >= min_characters} | kept_chars)
    total = len(texts)
    frequencies = [word_df[t] for t in word_terms] + [char_df[t] for t in char_terms]
    idf = np.array([math.log((1 + total) / (1 + n)) + 1.0 for n in frequencies], np.float32)
    return Space(tuple(word_terms), tuple(char_terms), idf)
