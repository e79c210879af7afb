"""Reads the place out of a text: a tagger over characters, learned from the addresses marked in the corpus.

An averaged structured perceptron (begin, inside, outside) over the characters and words around each character. What
patterns cannot tell in speech without punctuation - where a name begins in 满地纸临河小学 - it learns. A city's
gazetteer, a later matter, adds features here; callers see only ``PlaceReader.find``."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from classifier.text import Traced, cut

BUCKETS = 1 << 16
"""Features are hashed into so many rows; with some hundred thousand features, collisions cost less than the file
would."""
OUTSIDE, BEGIN, INSIDE = 0, 1, 2
EPOCHS = 5
SCALE = 64
"""Averaged weights are stored as whole numbers, this many to one."""

_NUMERALS = frozenset("0123456789零〇一二三四五六七八九十百千两幺")
_IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class PlaceReader:
    """``weights``: 16-bit, (BUCKETS, 3); ``transitions``: (3, 3), from row to column."""

    weights: NDArray[np.int16]
    transitions: NDArray[np.int32]

    def find(self, cleaned: Traced) -> tuple[int, int] | None:
        """Start and end, in the cleaned text, of the place that is said most fully (the longest); None when none is."""
        text = cleaned.text
        if not text:
            return None
        emissions = self.weights[_features(text)].sum(axis=1, dtype=np.int64).astype(np.float64)
        spans = _spans(_best(emissions, self.transitions.astype(np.float64)))
        trimmed = [(a, b) for a, b in (_trim(text, *span) for span in spans) if b - a >= 2]
        return max(trimmed, key=lambda span: (span[1] - span[0], -span[0])) if trimmed else None


def learn(texts: Sequence[Traced], marked: Sequence[tuple[int, int] | None], *, seed: int) -> PlaceReader:
    """Fit a reader on cleaned texts and the span of the place in each (None: none is said)."""
    features = [_features(t.text) for t in texts]
    truths = []
    for text, span in zip(texts, marked, strict=True):
        tags = np.zeros(len(text.text), np.int64)
        if span is not None:
            tags[span[0]] = BEGIN
            tags[span[0] + 1 : span[1]] = INSIDE
        truths.append(tags)
    weights, total = np.zeros((BUCKETS, 3)), np.zeros((BUCKETS, 3))
    moves, moves_total = np.zeros((3, 3)), np.zeros((3, 3))
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    order = [i for i, truth in enumerate(truths) if len(truth)]
    steps, all_steps = 0, EPOCHS * len(order)
    for _ in range(EPOCHS):
        random.shuffle(order)
        for i in order:
            guess = _best(weights[features[i]].sum(axis=1), moves)
            truth = truths[i]
            left = all_steps - steps  # an update now is in every later average
            steps += 1
            wrong = np.flatnonzero(guess != truth)
            if not len(wrong):
                continue
            for tags, sign in ((truth, 1.0), (guess, -1.0)):
                for position in wrong:
                    rows = features[i][position]
                    np.add.at(weights, (rows, tags[position]), sign)
                    np.add.at(total, (rows, tags[position]), sign * left)
                np.add.at(moves, (tags[:-1], tags[1:]), sign)
                np.add.at(moves_total, (tags[:-1], tags[1:]), sign * left)
    scale = SCALE / max(all_steps, 1)
    limit = np.iinfo(np.int16).max
    return PlaceReader(
        np.clip(np.round(total * scale), -limit, limit).astype(np.int16), np.round(moves_total * scale).astype(np.int32)
    )


def _features(text: str) -> NDArray[np.int64]:
    """The rows of the weights that speak at each character: shape (characters, features).

    A feature is a number mixed from its kind and the characters or words it sees; 64 bits, overflowing on purpose.
    """
    length = len(text)
    plain = ["9" if c in _NUMERALS else c for c in text]
    codes = np.zeros(length + 6, np.uint64)  # three characters of nothing on either side
    codes[3 : length + 3] = [ord(c) for c in plain]
    around = [codes[shift : shift + length] for shift in range(7)]
    words = [word for word, _ in cut(text)]
    hashes = [zlib.crc32(word.encode("utf-8", "replace")) for word in words]
    sizes = [len(word) for word in words]
    own = np.repeat(np.array(hashes, np.uint64), sizes)
    after = np.repeat(np.array([*hashes[1:], 1], np.uint64), sizes)
    before = np.repeat(np.array([2, *hashes[:-1]], np.uint64), sizes)
    where = np.fromiter((_part(i, size) for size in sizes for i in range(size)), np.uint64, length)
    columns = []
    for kind, seen in enumerate(_SEEN):
        mixed = np.full(length, (kind + 1) * 0x9E3779B97F4A7C15 % (1 << 64), np.uint64)
        for position in seen:
            mixed = (mixed ^ around[position]) * _MIX
        columns.append(mixed)
    for kind, word in enumerate((own, after, before), len(_SEEN)):
        mixed = np.full(length, (kind + 1) * 0x9E3779B97F4A7C15 % (1 << 64), np.uint64)
        columns.append(((mixed ^ word) * _MIX ^ where) * _MIX)
    table = np.stack(columns, axis=1)
    return np.asarray((table ^ (table >> np.uint64(29))) >> np.uint64(17) & np.uint64(BUCKETS - 1), np.int64)


_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SEEN = (
    (3,),
    (2,),
    (4,),
    (1,),
    (5,),
    (2, 3),
    (3, 4),
    (2, 3, 4),
    (4, 5),
    (1, 2),
    (0, 1, 2),
    (4, 5, 6),
    (3, 4, 5),
    (2, 4),
)
"""The characters a feature sees, counted so that 3 is the one it speaks about."""


def _part(index: int, size: int) -> int:
    """Where in its word a character stands: alone, first, inside, last."""
    return 3 if size == 1 else 0 if index == 0 else 2 if index == size - 1 else 1


def _best(emissions: NDArray[np.float64], transitions: NDArray[np.float64]) -> NDArray[np.int64]:
    """The best tags (Viterbi). A place cannot go on where none began."""
    moves = transitions.copy()
    moves[OUTSIDE, INSIDE] = _IMPOSSIBLE
    (oo, ob, oi), (bo, bb, bi), (io, ib, ii) = moves.tolist()
    rows = emissions.tolist()
    back: list[tuple[int, int, int]] = []
    o, b, i = rows[0][0], rows[0][1], _IMPOSSIBLE
    for eo, eb, ei in rows[1:]:
        choices_o, choices_b, choices_i = (o + oo, b + bo, i + io), (o + ob, b + bb, i + ib), (o + oi, b + bi, i + ii)
        best_o, best_b, best_i = max(choices_o), max(choices_b), max(choices_i)
        back.append((choices_o.index(best_o), choices_b.index(best_b), choices_i.index(best_i)))
        o, b, i = best_o + eo, best_b + eb, best_i + ei
    last = (o, b, i)
    tag = last.index(max(last))
    tags = [tag]
    for step in reversed(back):
        tag = step[tag]
        tags.append(tag)
    return np.array(tags[::-1], np.int64)


def _spans(tags: NDArray[np.int64]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    start: int | None = None
    for position, tag in enumerate([*tags.tolist(), OUTSIDE]):
        if tag != INSIDE and start is not None:
            spans.append((start, position))
            start = None
        if tag == BEGIN:
            start = position
    return spans


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Without blanks and punctuation at either end."""
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return start, end
