"""Fit the weights of every head at once, on all rows or on some.

Ridge regression in its dual form: one factorisation of the rows' likeness serves every column of every head. The
categories' scores are mixed with those of a second learner, logistic regression by SGD, whose errors are others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from sklearn.linear_model import SGDClassifier

from classifier import corpus, taxonomy
from classifier.corpus import Row
from classifier.emergency import SERVICES
from classifier.features import Space, learn_space
from classifier.noise import Noise
from classifier.taxonomy import Category

MISHEARD_SHARES: Final = (0.0, 0.15, 0.3)
"""Shares of misheard characters in the copies a row is blended with."""
COPY_SHARE: Final = 0.4
"""How much of a row is its changed copy. Blending costs nothing clean; as rows of their own the copies took eight times
as long and gained nothing.
"""
WORDS_WEIGHT: Final = 0.5
"""Weight of a taxonomy word against a corpus row; heavier ones cost held-out categories once each had twelve rows."""
ADDED_WEIGHT: Final = 8.0
"""Weight of a row that a city adds against one of ours: it says how that city sorts, and there are few of them."""
PENALTY: Final = 0.8
"""Ridge penalty of a whole row. Between 0.6 and 1.2 held-out figures are alike; below, top-3 falls."""
SECOND_SHARE, ALPHA, EPOCHS = 0.06, 2e-5, 6
"""How much of a category's score is logistic regression (SGD) beside the ridge's, its penalty and passes. Held out, the
two together were right 0.7 points more often than ridge alone, 2 points in the first three, 0.6 in the domain.
"""
_BLOCK: Final = 2000
"""Rows whose likeness to all others is taken at a time: the sparse product needs three times the room of the result."""


@dataclass(frozen=True)
class Labels:
    """What can be answered: fixed by the taxonomies and the rows before any fold is cut."""

    urban: tuple[Category, ...]
    social: tuple[Category, ...]
    intents: tuple[str, ...]
    units: tuple[str, ...] = ()
    """Of each category, the department that acts first."""

    @property
    def categories(self) -> tuple[Category, ...]:
        """Urban ones, then social ones."""
        return self.urban + self.social


@dataclass(frozen=True)
class Heads:
    """The fitted weights of all heads, shape (terms, outputs), one column an output, on one space."""

    space: Space
    weights: NDArray[np.float32]
    bias: NDArray[np.float64]


class _Design:
    """Rows made ready: what is counted in them, what is to be answered, what each weighs.

    The space (terms and how rare they are) is learned from the texts of all rows, their labels unseen.
    """

    def __init__(self, rows: Sequence[Row], labels: Labels, standard: str, seed: int, added: int = 0) -> None:
        self._labels, self._seed = labels, seed
        random = Random(seed)  # noqa: S311 - reproducible, not secret
        noise = Noise(row.text for row in rows)
        places = [row.address for row in rows if row.address]
        spoken = [
            (word, entry.category)
            for name in (standard, taxonomy.SOCIAL)
            for entry in taxonomy.load(name).entries
            for word in (entry.category.minor, *entry.words)
        ]
        self.space = learn_space([row.text for row in rows], extra=[word for word, _ in spoken])
        plain = matrix(self.space, [row.text for row in rows])
        changed = matrix(self.space, [_changed(row, places, noise, random) for row in rows])
        blended = (1 - COPY_SHARE) * plain + COPY_SHARE * changed
        self.x = sparse.vstack([blended, matrix(self.space, [word for word, _ in spoken])]).tocsr().astype(np.float32)
        own = [np.ones(len(rows) - added), np.full(added, ADDED_WEIGHT)]
        self.weight = np.concatenate([*own, np.full(len(spoken), WORDS_WEIGHT)])
        self._categories = [row.category for row in rows] + [category for _, category in spoken]
        domains = [row.domain for row in rows] + [category.domain for _, category in spoken]
        # a word of the taxonomy says nothing about whether a sentence is a case, or what its caller wants
        aside = [""] * len(spoken)
        urgent = [row.emergency for row in rows]
        services = [[name in called for called in urgent] + [False] * len(spoken) for name in SERVICES]
        anybody = [bool(called) for called in urgent] + [False] * len(spoken)
        self.y = np.hstack(
            [
                _one_hot([row.disposition for row in rows] + aside, corpus.DISPOSITIONS),
                np.array([[{"urban": 1.0, "social": -1.0}.get(domain, 0.0)] for domain in domains]),
                _one_hot(self._categories, labels.categories),
                _one_hot([row.intent for row in rows] + aside, labels.intents),
                np.array([*services, anybody], float).T,
            ]
        ).astype(np.float32)

    def heads(self, weights: NDArray[np.float32], kept: Iterable[int]) -> Heads:
        """``weights`` (terms x outputs, changed in place) with the second learner's, fitted on the rows ``kept``."""
        bias = np.zeros(self.y.shape[1])
        index = {category: i for i, category in enumerate(self._labels.categories)}
        told = [(i, index[category]) for i in kept if (category := self._categories[i]) is not None]
        own = [i for i, _ in told]
        second = SGDClassifier(
            loss="log_loss", alpha=ALPHA, max_iter=EPOCHS, tol=None, average=True, random_state=self._seed, n_jobs=2
        ).fit(self.x[own], [answer for _, answer in told], sample_weight=self.weight[own])
        columns = second.classes_ + len(corpus.DISPOSITIONS) + 1
        weights[:, columns] += (SECOND_SHARE * second.coef_.T).astype(np.float32)
        bias[columns] += SECOND_SHARE * second.intercept_
        return Heads(self.space, weights, bias)


class Fitting:
    """All rows, counted, compared and factorised once; ``heads`` solves for all of them or without those ``held``. The
    last ``added`` rows are a city's own and weigh ADDED_WEIGHT each.

    The rows held back stand last: the factor of all rows holds that of the others as its leading block, so a second fit
    costs a solution and no factorisation. For n rows the factor is a square of n floats of 4 bytes, and solving without
    the rows held back copies its block: some 8 GB for 31,000 rows. The space (terms and how rare they are) is that of
    all rows, their labels unseen. Raises LinAlgError where the rows' likeness cannot be factorised.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        labels: Labels,
        standard: str,
        *,
        seed: int,
        held: NDArray[np.int64] | None = None,
        added: int = 0,
    ) -> None:
        self._design = _Design(rows, labels, standard, seed, added)
        everything = np.arange(self._design.x.shape[0])
        last = np.zeros(0, np.int64) if held is None else held
        first = np.setdiff1d(everything, last)
        self._order, self._first = np.concatenate([first, last]), len(first)
        likeness = _likeness(self._design.x[self._order], PENALTY / self._design.weight[self._order])
        self._factor, fault = linalg.lapack.spotrf(likeness, lower=1, clean=0, overwrite_a=1)
        if fault:
            raise linalg.LinAlgError(f"the likeness of the rows cannot be factorised (row {fault}): are texts empty?")

    def heads(self, *, held_back: bool = False) -> Heads:
        """The heads fitted on all rows, or, ``held_back``, without those held back; the taxonomy's words are always
        there.
        """
        design, count = self._design, self._first if held_back else len(self._order)
        own = self._order[:count]
        dual = linalg.cho_solve((self._factor[:count, :count], True), design.y[own], check_finite=False)
        return design.heads(np.asarray(design.x[own].T @ dual, np.float32), sorted(own.tolist()))


def matrix(space: Space, texts: Sequence[str]) -> sparse.csr_matrix:
    """The counted texts as rows."""
    vectors = [space.vector(text) for text in texts]
    indptr = np.cumsum([0] + [len(vector.indices) for vector in vectors])
    return sparse.csr_matrix(
        (np.concatenate([v.values for v in vectors]), np.concatenate([v.indices for v in vectors]), indptr),
        shape=(len(vectors), len(space)),
    )


def _likeness(x: sparse.csr_matrix, penalty: NDArray[np.float64]) -> NDArray[np.float32]:
    """How alike each two rows are, shape (rows, rows), with ``penalty`` (one a row) added on the diagonal. Only the
    lower triangle is filled: nothing reads the other.
    """
    n = x.shape[0]
    likeness = np.zeros((n, n), np.float32, order="F")
    for start in range(0, n, _BLOCK):
        across = x[start : start + _BLOCK].T.tocsr()
        likeness[start:, start : start + _BLOCK] = (x[start:] @ across).toarray()
    likeness[np.diag_indices(n)] += penalty.astype(np.float32)
    return likeness


def _changed(row: Row, places: Sequence[str], noise: Noise, random: Random) -> str:
    """A copy of the row's text as it might have come: its place gone, moved or another, cut short, misheard.

    Two of three urban callers of the corpus say a place, two of five social ones: without this, a place would mean
    urban.
    """
    text = row.text
    if row.address:
        rest = text.replace(row.address, "", 1)
        chance = random.random()
        text = rest if chance < 0.6 or len(rest) < 4 else row.address + rest if chance < 0.8 else rest + row.address
    elif places and row.domain and random.random() < 0.4:
        place = random.choice(places)
        text = place + text if random.random() < 0.5 else text + place
    if random.random() < 0.25:
        text = noise.truncate(text, random)
    return noise.replace(text, random.choice(MISHEARD_SHARES), random)


def _one_hot(values: Sequence[Any], classes: Sequence[Any]) -> NDArray[np.float64]:
    index = {value: i for i, value in enumerate(classes)}
    y = np.zeros((len(values), len(classes)))
    for i, value in enumerate(values):
        if value in index:
            y[i, index[value]] = 1.0
    return y
