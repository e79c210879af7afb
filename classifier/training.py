"""From labelled rows to a model with its figures.

The weights are fitted on all rows. How sure the answers may be, from what probability a decision is ``auto`` and from
what score an emergency is raised is learned on the ordinary calls that stand apart (``corpus.apart``), which no weight
has seen: the rows to train on were written to be broad and hard, and a model calibrated on them would be too modest
about what is really said. One tenth of the rows, held back from a second fit, tells how the rules about emergencies
weigh and how the model does on hard rows; rows more alike than ``corpus.ALIKE`` never straddle that cut.

Each row is blended with a copy whose place is gone or moved, cut short and misheard, and each category is also trained
on the plain words the taxonomy has for it, so that a category nobody has spoken of yet can be answered too. Everything
is drawn from one seed: the same rows give the same model.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from classifier import card, corpus, emergency, taxonomy
from classifier.calibration import alarm_limit, alarm_weights, alarms, auto_threshold, calibrate, urgency
from classifier.corpus import CorpusError, Row
from classifier.evaluation import Judged, figures
from classifier.fitting import Fitting, Heads, Labels
from classifier.model import Calibration, Model, Scores, softmax
from classifier.noise import Noise
from classifier.places import PlaceReader, learn
from classifier.text import Traced, clean

SEED = 20261120
PARTS = 10
"""One of so many parts of the rows is held back."""
FOLDS = 5
"""Parts of the ordinary calls: each is judged by what was calibrated on the others."""
SMALLEST = 1
"""Weights of at most so many 127ths of their column's largest are left out: no figure moved by more than half a point,
and the file is half as large.
"""
MISHEARD = 0.2
"""Share of characters replaced where noise is measured; telephone recognition errs on about that many."""
MIN_ROWS, MIN_CATEGORIES = 800, 40

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A model and what is known about it."""

    model: Model
    counts: dict[str, int]
    figures: dict[str, Any]


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
    rows: Sequence[Row],
    *,
    apart: Sequence[Row] | None = None,
    standard: str = taxonomy.DEFAULT_STANDARD,
    added: int = 0,
    progress: Progress | None = None,
) -> Trained:
    """Fit, calibrate and measure. ``apart``: the ordinary calls to calibrate on; None: those of the corpus. ``added``:
    how many of the rows, the last ones, a city has added; each weighs as much as ``fitting.ADDED_WEIGHT`` of ours.
    ``progress`` is told each of the STEPS as it ends.

    Raises CorpusError where a part would lack a whole domain or disposition.
    """
    tell = progress or (lambda step: None)
    ordinary = list(corpus.apart() if apart is None else apart)
    labels = _labels(rows, standard)
    for part in (rows, ordinary):
        _balanced(part)
    held = _parted(rows)
    noise, random = Noise(row.text for row in rows), Random(SEED)  # noqa: S311 - reproducible, not secret
    fitting = Fitting(rows, labels, standard, seed=SEED, held=held, added=added)
    tell("rows compared")
    trial = _frame(fitting.heads(held_back=True), labels)
    tell("nine tenths fitted")
    frame = _frame(fitting.heads(), labels)
    del fitting
    tell("all rows fitted")
    reader, place_figures = _places(rows, held)
    tell("places learned")
    held_rows = [rows[i] for i in held]
    hard = _Unseen.scored(held_rows, trial, noise, random)
    plain = _Unseen.scored(ordinary, frame, noise, random)
    urgency_of = urgency(rows, frame)
    calibration = calibrate(ordinary, plain.clean, frame)
    signs = replace(trial, calibration=calibration, urgency=urgency_of)
    weights = alarm_weights(held_rows, hard.shown(signs))
    frame = replace(frame, calibration=calibration, urgency=urgency_of, places=reader)
    limit = alarm_limit(ordinary, plain.shown(frame), weights)

    judged: list[Judged] = []
    judged_noisy: list[Judged] = []
    parts = np.array([number % FOLDS for number in range(len(ordinary))])
    for number in range(FOLDS):
        others, own = np.flatnonzero(parts != number), np.flatnonzero(parts == number)
        other_calibration = calibrate([ordinary[i] for i in others], [plain.clean[i] for i in others], frame)
        own_rows = [ordinary[i] for i in own]
        judged += _judge(own_rows, [plain.clean[i] for i in own], frame, other_calibration)
        judged_noisy += _judge(own_rows, [plain.misheard[i] for i in own], frame, other_calibration)
    judged_hard = _judge(held_rows, hard.clean, trial, calibration)
    measured: dict[str, Any] = {
        "clean": figures(judged) | card.pictured(judged),
        f"misheard_{MISHEARD:.0%}": figures(judged_noisy),
        "hard": figures(judged_hard) | card.pictured(judged_hard),
        f"hard_misheard_{MISHEARD:.0%}": figures(_judge(held_rows, hard.misheard, trial, calibration)),
    }
    measured["clean"]["raw"] = _raw(ordinary, plain.clean, labels)
    measured["hard"]["raw"] = _raw(held_rows, hard.clean, labels)
    measured["hard"]["place"] = place_figures
    rule = (*weights, limit) if weights is not None and limit is not None else None
    measured["clean"]["emergency"] = alarms(ordinary, plain.shown(frame), rule)
    measured["hard"]["emergency"] = alarms(held_rows, hard.shown(signs), rule)
    model = replace(frame, auto_threshold=auto_threshold(judged), emergency=rule)
    tell("calibrated and measured")
    return Trained(model, _counts(rows, labels, len(model.space)), measured)


STEPS = 5
"""How often ``train`` tells its progress."""


@dataclass(frozen=True)
class _Unseen:
    """Rows with the scores of a model that did not learn from them: as they are, and misheard."""

    rows: Sequence[Row]
    clean: list[Scores]
    misheard: list[Scores]
    signs: list[tuple[float, ...]]

    @classmethod
    def scored(cls, rows: Sequence[Row], frame: Model, noise: Noise, random: Random) -> "_Unseen":
        """Score ``rows`` by ``frame``."""
        return cls(
            rows,
            [frame.scores(frame.space.vector(row.text)) for row in rows],
            [frame.scores(frame.space.vector(noise.replace(row.text, MISHEARD, random))) for row in rows],
            [emergency.signs(clean(row.text)) for row in rows],
        )

    def shown(self, model: Model) -> list[tuple[float, ...]]:
        """What speaks for an emergency in each row, by a calibrated ``model``."""
        nothing = model.space.vector("")
        return [
            model.shown(model.calibrated(scores, nothing), signs)
            for scores, signs in zip(self.clean, self.signs, strict=True)
        ]


def unseen_shares(model: Model) -> dict[str, float]:
    """What a trained model's weights, as they are stored, are right on of the ordinary calls that no weight has seen:
    what its card holds under ``clean``, ``raw``.
    """
    rows = corpus.apart()
    labels = Labels(model.urban, model.social, model.intents)
    return _raw(rows, [model.scores(model.space.vector(row.text)) for row in rows], labels)


def held_back_shares(rows: Sequence[Row], *, standard: str = taxonomy.DEFAULT_STANDARD) -> dict[str, float]:
    """The second fit of ``train`` alone, for whoever doubts a card: what it holds under ``hard``, ``raw``."""
    labels = _labels(rows, standard)
    held = _parted(rows)
    frame = _frame(Fitting(rows, labels, standard, seed=SEED, held=held).heads(held_back=True), labels)
    own = [rows[i] for i in held]
    return _raw(own, [frame.scores(frame.space.vector(row.text)) for row in own], labels)


def _labels(rows: Sequence[Row], standard: str) -> Labels:
    return Labels(
        tuple(entry.category for entry in taxonomy.load(standard).entries),
        tuple(entry.category for entry in taxonomy.load(taxonomy.SOCIAL).entries),
        tuple(sorted({row.intent for row in rows if row.intent})) or ("投诉",),
        tuple(entry.lead for name in (standard, taxonomy.SOCIAL) for entry in taxonomy.load(name).entries),
    )


def _parted(rows: Sequence[Row]) -> NDArray[np.int64]:
    """Indices of the part held back; alike rows are all in it or all outside."""
    alike = corpus.groups([row.text for row in rows])
    _, held = next(iter(GroupKFold(PARTS, shuffle=True, random_state=SEED).split(rows, groups=alike)))
    return np.asarray(held, np.int64)


def _raw(rows: Sequence[Row], scores: Sequence[Scores | None], labels: Labels) -> dict[str, float]:
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
            if count < 2 * PARTS:
                raise CorpusError(
                    f"{count} rows with {what} {value}, at least {2 * PARTS} are needed to hold some back"
                )


_NEUTRAL = Calibration(1.0, 1.0, 1.0, 1.0, (1.0, 0.0, 0.0, 0.0))


def _frame(heads: Heads, labels: Labels) -> Model:
    """The model of fitted heads in its stored precision, before calibration: 8 bits a weight, a scale a column.

    Scores of unseen rows are taken in this precision too, so that what is calibrated is what will run.
    """
    scales = np.maximum(np.abs(heads.weights).max(axis=0), 1e-9) / 127.0
    stored = np.round(heads.weights / scales).astype(np.int8)
    stored[np.abs(stored) <= SMALLEST] = 0
    return Model(
        heads.space,
        stored,
        scales.astype(np.float32),
        heads.bias.astype(np.float32),
        corpus.DISPOSITIONS,
        labels.urban,
        labels.social,
        labels.intents,
        _NEUTRAL,
        None,
        units=labels.units,
    )


def _judge(rows: Sequence[Row], scores: Sequence[Scores], frame: Model, calibration: Calibration) -> list[Judged]:
    """What a model so calibrated answers for rows it did not see."""
    model = replace(frame, calibration=calibration)
    place = {category: i for i, category in enumerate(model.categories)}
    judged: list[Judged] = []
    for row, score in zip(rows, scores, strict=True):
        disposition = softmax(model.weighed(score, calibration))
        prediction = model.calibrated(score, frame.space.vector(""))
        best = np.argsort(-prediction.categories, kind="stable")[:5]
        own = model.best(prediction)
        truth = place.get(row.category) if row.category else None
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
                unit_probability=model.unit_probability(prediction, own),
                unit_right=truth is not None
                and (model.units[truth] == model.units[own] if model.units else truth == own),
            )
        )
    return judged


def _places(rows: Sequence[Row], held_back: NDArray[np.int64]) -> tuple[PlaceReader, dict[str, Any]]:
    """A reader learned from all rows, and how one that did not see the part held back reads that part.

    Every other row is learned without its punctuation, as recognition gives it.
    """
    marked: list[tuple[Traced, tuple[int, int] | None, bool]] = []
    apart = set(held_back.tolist())
    for number, row in enumerate(rows):
        text, address = (row.text, row.address) if number % 2 else (_bare(row.text), _bare(row.address))
        cleaned, sought = clean(text), clean(address).text
        at = cleaned.text.find(sought) if sought else -1
        if cleaned.text and (at >= 0 or not sought):
            marked.append((cleaned, (at, at + len(sought)) if sought else None, number in apart))
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


def _counts(rows: Sequence[Row], labels: Labels, terms: int) -> dict[str, int]:
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
