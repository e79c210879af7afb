"""From labelled rows to a model with its figures: fit on folds, calibrate on what the folds did not see, fit on all.

Rows more alike than ``corpus.ALIKE`` never straddle a fold. Each row is blended with a copy whose place is gone or
moved, cut short and misheard, and each category is also trained on the plain words the taxonomy has for it, so that a
category nobody has spoken of yet can be answered too. Everything is drawn from one seed: the same rows give the same
model, byte by byte.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GroupKFold

from classifier import card, corpus, taxonomy
from classifier.calibration import alarm_rule, alarms, auto_threshold, calibrate
from classifier.corpus import CorpusError, Row
from classifier.emergency import SERVICES
from classifier.evaluation import Judged, figures
from classifier.features import Space, learn_space
from classifier.model import Calibration, Model, Scores, softmax
from classifier.noise import Noise
from classifier.places import PlaceReader, learn
from classifier.taxonomy import Category
from classifier.text import Traced, clean

SEED = 20261120
FOLDS = 5
MISHEARD = 0.2
"""Share of characters replaced where noise is measured; telephone recognition errs on about that many."""
MISHEARD_SHARES = (0.0, 0.15, 0.3)
"""Shares of misheard characters in the copies a row is blended with."""
COPY_SHARE = 0.4
"""How much of a row is its changed copy. Blending costs nothing clean; as rows of their own the copies took eight times
as long and gained nothing.
"""
WORDS_WEIGHT = 0.5
"""Weight of a taxonomy word against a corpus row; heavier ones cost held-out categories once each had twelve rows."""
PENALTY = 0.8
"""Ridge penalty of a whole row. Between 0.6 and 1.2 held-out figures are alike; below, top-3 falls."""
SECOND_SHARE, ALPHA, EPOCHS = 0.06, 2e-5, 6
"""How much of a category's score is logistic regression (SGD) beside the ridge's, its penalty and passes. Held out, the
two together were right 0.7 points more often than ridge alone, 2 points in the first three, 0.6 in the domain.
"""
MIN_ROWS, MIN_CATEGORIES = 800, 40

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A model and what is known about it."""

    model: Model
    counts: dict[str, int]
    figures: dict[str, Any]


@dataclass(frozen=True)
class _Labels:
    """What can be answered: fixed by the taxonomies and the rows before any fold is cut."""

    urban: tuple[Category, ...]
    social: tuple[Category, ...]
    intents: tuple[str, ...]

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.urban + self.social


@dataclass(frozen=True)
class _Heads:
    """The fitted weights of all heads, one column an output, on one space."""

    space: Space
    weights: NDArray[np.float32]
    bias: NDArray[np.float64]


def check(rows: Sequence[Row]) -> None:
    """Refuse a corpus that is too small, too narrow, or says the same thing twice. Raises CorpusError."""
    categories = {row.category for row in rows if row.category}
    faults = []
    if len(rows) < MIN_ROWS:
        faults.append(f"{len(rows)} rows, at least {MIN_ROWS} are needed")
    if len(categories) < MIN_CATEGORIES:
        faults.append(f"{len(categories)} categories, at least {MIN_CATEGORIES} are needed")
    faults += [
        f"{row.id}: column address: {row.address!r} is not in the text" for row in rows if row.address not in row.text
    ]
    faults += corpus.near_duplicates(rows)
    faults += corpus.templates(rows)
    if faults:
        raise CorpusError("\n".join(faults[:20]))


def train(
    rows: Sequence[Row], *, standard: str = taxonomy.DEFAULT_STANDARD, progress: Progress | None = None
) -> Trained:
    """Fit, calibrate and measure. ``progress`` is told each of the FOLDS + 2 steps as it ends.

    Raises CorpusError where a fold would lack a whole domain or disposition.
    """
    tell = progress or (lambda step: None)
    labels = _labels(rows, standard)
    _balanced(rows)
    folds = _parted(rows)
    unseen: list[Scores | None] = [None] * len(rows)
    misheard: list[Scores | None] = [None] * len(rows)
    noise, random = Noise(row.text for row in rows), Random(SEED)  # noqa: S311 - reproducible, not secret
    fold_of = np.zeros(len(rows), int)
    shares: list[dict[str, float]] = []
    for number, (train_index, test_index) in enumerate(folds):
        frame = _frame(_fit([rows[i] for i in train_index], labels, standard), labels)
        for i in test_index:
            fold_of[i] = number
            unseen[i] = frame.scores(frame.space.vector(rows[i].text))
            misheard[i] = frame.scores(frame.space.vector(noise.replace(rows[i].text, MISHEARD, random)))
        shares.append(_raw([rows[i] for i in test_index], [unseen[i] for i in test_index], labels))
        tell(f"fold {number + 1} of {FOLDS}")
    heard = [scores for scores in unseen if scores is not None]
    noisy = [scores for scores in misheard if scores is not None]
    frame = _frame(_fit(rows, labels, standard), labels)
    reader, place_figures = _places(rows, fold_of)
    tell("all rows")
    rules: list[tuple[float, ...] | None] = [None] * len(rows)
    judged: list[Judged] = []
    judged_noisy: list[Judged] = []
    for number in range(FOLDS):
        others = [i for i in range(len(rows)) if fold_of[i] != number]
        own = [i for i in range(len(rows)) if fold_of[i] == number]
        calibration = calibrate([rows[i] for i in others], [heard[i] for i in others], frame)
        rule = alarm_rule([rows[i] for i in others], [heard[i] for i in others])
        for i in own:
            rules[i] = rule
        judged += _judge([rows[i] for i in own], [heard[i] for i in own], frame, calibration)
        judged_noisy += _judge([rows[i] for i in own], [noisy[i] for i in own], frame, calibration)
    alarm = alarm_rule(rows, heard)
    measured: dict[str, Any] = {"clean": figures(judged), f"misheard_{MISHEARD:.0%}": figures(judged_noisy)}
    measured["clean"] |= card.pictured(judged)
    measured["clean"]["folds"] = shares
    measured["clean"]["place"] = place_figures
    measured["clean"]["emergency"] = alarms(rows, heard, rules)
    calibration = calibrate(rows, heard, frame)
    model = replace(
        frame, calibration=calibration, auto_threshold=auto_threshold(judged), emergency=alarm, places=reader
    )
    tell("calibration")
    return Trained(model, _counts(rows, labels, len(model.space)), measured)


def fold_shares(rows: Sequence[Row], number: int, *, standard: str = taxonomy.DEFAULT_STANDARD) -> dict[str, float]:
    """One fold of ``train`` alone, for whoever doubts a card: what its ``folds`` hold at ``number`` (from 0)."""
    labels = _labels(rows, standard)
    train_index, test_index = _parted(rows)[number]
    frame = _frame(_fit([rows[i] for i in train_index], labels, standard), labels)
    own = [rows[i] for i in test_index]
    return _raw(own, [frame.scores(frame.space.vector(row.text)) for row in own], labels)


def _labels(rows: Sequence[Row], standard: str) -> _Labels:
    return _Labels(
        tuple(entry.category for entry in taxonomy.load(standard).entries),
        tuple(entry.category for entry in taxonomy.load(taxonomy.SOCIAL).entries),
        tuple(sorted({row.intent for row in rows if row.intent})) or ("投诉",),
    )


def _parted(rows: Sequence[Row]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The folds: (indices to train on, indices held back), alike rows on one side."""
    alike = corpus.groups([row.text for row in rows])
    return list(GroupKFold(FOLDS, shuffle=True, random_state=SEED).split(rows, groups=alike))


def _raw(rows: Sequence[Row], scores: Sequence[Scores | None], labels: _Labels) -> dict[str, float]:
    """Shares of rows right by raw scores, before any calibration: the domain by its own score, the category among those
    of its domain.
    """
    domain, category = [], []
    for row, score in zip(rows, scores, strict=True):
        if score is None or not row.domain:
            continue
        domain.append((score.domain > 0) == (row.domain == "urban"))
        if row.category:
            values, known = (score.urban, labels.urban) if row.domain == "urban" else (score.social, labels.social)
            category.append(known[int(np.argmax(values))] == row.category)
    return {
        "domain": round(sum(domain) / max(1, len(domain)), 4),
        "category_in_domain": round(sum(category) / max(1, len(category)), 4),
    }


def _balanced(rows: Sequence[Row]) -> None:
    for what, values in (
        ("domain", {d: sum(r.domain == d for r in rows) for d in ("urban", "social")}),
        ("disposition", {d: sum(r.disposition == d for r in rows) for d in corpus.DISPOSITIONS}),
    ):
        for value, count in values.items():
            if count < 2 * FOLDS:
                raise CorpusError(
                    f"{count} rows with {what} {value}, at least {2 * FOLDS} are needed to hold some back"
                )


def _fit(rows: Sequence[Row], labels: _Labels, standard: str, seed: int = SEED) -> _Heads:
    """Fit all heads at once on ``rows``, each blended with a changed copy of itself, and the taxonomy's words.

    Ridge regression in its dual form: one factorisation of the rows' likeness serves every column of every head. The
    categories' scores are mixed with those of a second learner, whose errors are others.
    """
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    noise = Noise(row.text for row in rows)
    places = [row.address for row in rows if row.address]
    spoken = [
        (word, entry.category)
        for name in (standard, taxonomy.SOCIAL)
        for entry in taxonomy.load(name).entries
        for word in (entry.category.minor, *entry.words)
    ]
    space = learn_space([row.text for row in rows], extra=[word for word, _ in spoken])
    plain = _matrix(space, [row.text for row in rows])
    changed = _matrix(space, [_changed(row, places, noise, random) for row in rows])
    x = sparse.vstack(
        [(1 - COPY_SHARE) * plain + COPY_SHARE * changed, _matrix(space, [word for word, _ in spoken])]
    ).tocsr()
    weight = np.concatenate([np.ones(len(rows)), np.full(len(spoken), WORDS_WEIGHT)])
    categories = [row.category for row in rows] + [category for _, category in spoken]
    domains = [row.domain for row in rows] + [category.domain for _, category in spoken]
    # a word of the taxonomy says nothing about whether a sentence is a case, or what its caller wants
    aside = [""] * len(spoken)
    urgent = [row.emergency for row in rows]
    services = [[name in called for called in urgent] + [False] * len(spoken) for name in SERVICES]
    anybody = [bool(called) for called in urgent] + [False] * len(spoken)
    y = np.hstack(
        [
            _one_hot([row.disposition for row in rows] + aside, corpus.DISPOSITIONS),
            np.array([[{"urban": 1.0, "social": -1.0}.get(domain, 0.0)] for domain in domains]),
            _one_hot(categories, labels.categories),
            _one_hot([row.intent for row in rows] + aside, labels.intents),
            np.array([*services, anybody], float).T,
        ]
    ).astype(np.float32)
    weights = _ridge(x, y, weight)
    bias = np.zeros(y.shape[1])
    own = np.array([i for i, category in enumerate(categories) if category is not None])
    index = {category: i for i, category in enumerate(labels.categories)}
    second = SGDClassifier(
        loss="log_loss", alpha=ALPHA, max_iter=EPOCHS, tol=None, average=True, random_state=seed, n_jobs=2
    ).fit(x[own], [index[categories[i]] for i in own], sample_weight=weight[own])
    columns = second.classes_ + len(corpus.DISPOSITIONS) + 1
    weights[:, columns] += (SECOND_SHARE * second.coef_.T).astype(np.float32)
    bias[columns] += SECOND_SHARE * second.intercept_
    return _Heads(space, weights, bias)


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


def _ridge(x: sparse.csr_matrix, y: NDArray[np.float32], weight: NDArray[np.float64]) -> NDArray[np.float32]:
    """The weights (terms x outputs) that bring ``x`` nearest to ``y``, in single precision: a row's weight divides its
    share of the penalty.
    """
    x = x.astype(np.float32)
    likeness = (x @ x.T).toarray()
    likeness[np.diag_indices_from(likeness)] += (PENALTY / weight).astype(np.float32)
    factor = linalg.cho_factor(likeness, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(x.T @ linalg.cho_solve(factor, y, check_finite=False), np.float32)


def _matrix(space: Space, texts: Sequence[str]) -> sparse.csr_matrix:
    vectors = [space.vector(text) for text in texts]
    indptr = np.cumsum([0] + [len(vector.indices) for vector in vectors])
    return sparse.csr_matrix(
        (np.concatenate([v.values for v in vectors]), np.concatenate([v.indices for v in vectors]), indptr),
        shape=(len(vectors), len(space)),
    )


_NEUTRAL = Calibration(1.0, 1.0, 1.0, 1.0, (1.0, 0.0, 0.0, 0.0))


def _frame(heads: _Heads, labels: _Labels) -> Model:
    """The model of fitted heads in its stored precision, before calibration: 8 bits a weight, a scale a column.

    Scores of unseen rows are taken in this precision too, so that what is calibrated is what will run.
    """
    scales = np.maximum(np.abs(heads.weights).max(axis=0), 1e-9) / 127.0
    return Model(
        heads.space,
        np.round(heads.weights / scales).astype(np.int8),
        scales.astype(np.float32),
        heads.bias.astype(np.float32),
        corpus.DISPOSITIONS,
        labels.urban,
        labels.social,
        labels.intents,
        _NEUTRAL,
        None,
    )


def _judge(rows: Sequence[Row], scores: Sequence[Scores], frame: Model, calibration: Calibration) -> list[Judged]:
    """What a model so calibrated answers for rows it did not see."""
    model = replace(frame, calibration=calibration)
    judged: list[Judged] = []
    for row, score in zip(rows, scores, strict=True):
        disposition = softmax(model.weighed(score, calibration))
        prediction = model.calibrated(score, frame.space.vector(""))
        best = np.argsort(-prediction.categories, kind="stable")[:5]
        intent = max(prediction.intent, key=lambda name: prediction.intent[name])
        judged.append(
            Judged(
                row.id,
                row.domain,
                row.category,
                (),
                "urban" if prediction.urban >= 0.5 else "social",
                max(prediction.urban, 1 - prediction.urban),
                tuple((model.categories[i], float(prediction.categories[i])) for i in best),
                row.disposition,
                corpus.DISPOSITIONS[int(np.argmax(disposition))],
                row.intent,
                intent,
            )
        )
    return judged


def _places(rows: Sequence[Row], fold_of: NDArray[np.int64]) -> tuple[PlaceReader, dict[str, Any]]:
    """A reader learned from all rows, and how one that did not see the first fold reads that fold.

    Every other row is learned without its punctuation, as recognition gives it.
    """
    marked: list[tuple[Traced, tuple[int, int] | None, bool]] = []
    for number, (row, fold) in enumerate(zip(rows, fold_of, strict=True)):
        text, address = (row.text, row.address) if number % 2 else (_bare(row.text), _bare(row.address))
        cleaned, sought = clean(text), clean(address).text
        at = cleaned.text.find(sought) if sought else -1
        if cleaned.text and (at >= 0 or not sought):
            marked.append((cleaned, (at, at + len(sought)) if sought else None, bool(fold == 0)))
    seen = [(text, span) for text, span, held in marked if not held]
    trial = learn([text for text, _ in seen], [span for _, span in seen], seed=SEED)
    exact, half, none, said, unsaid, made_up = 0, 0, 0, 0, 0, 0
    for cleaned, span, held in marked:
        if not held:
            continue
        found = trial.find(cleaned)
        if span is None:
            unsaid += 1
            made_up += found is not None
            continue
        said += 1
        none += found is None
        exact += found == span
        if found:
            shared = max(0, min(found[1], span[1]) - max(found[0], span[0]))
            half += shared * 2 >= max(found[1], span[1]) - min(found[0], span[0])
    figure = {
        "texts_with_place": said,
        "exact": round(exact / said, 4) if said else None,
        "half_shared": round(half / said, 4) if said else None,
        "missed": none,
        "texts_without_place": unsaid,
        "made_up": made_up,
    }
    return learn([text for text, _, _ in marked], [span for _, span, _ in marked], seed=SEED), figure


def _bare(text: str) -> str:
    return re.sub(r"[^\w]+", "", text)


def _counts(rows: Sequence[Row], labels: _Labels, terms: int) -> dict[str, int]:
    return {
        "rows": len(rows),
        "urban": sum(row.domain == "urban" for row in rows),
        "social": sum(row.domain == "social" for row in rows),
        "questions": sum(row.disposition == "question" for row in rows),
        "none": sum(row.disposition == "none" for row in rows),
        "emergencies": sum(bool(row.emergency) for row in rows),
        "categories_with_rows": len({row.category for row in rows if row.category}),
        "categories_answered": len(labels.categories),
        "groups": len(set(corpus.groups([row.text for row in rows]))),
        "terms": terms,
    }
