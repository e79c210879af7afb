"""From scores to probabilities that can be believed: fitted on rows the weights never saw, stored with the model.

Also here, for the same reason of needing unseen rows: the probability from which a decision may be ``auto``, and the
score from which an emergency is raised."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from classifier import corpus
from classifier.corpus import Row
from classifier.evaluation import Judged, wilson
from classifier.model import SURE, Calibration, Model, Scores, domain_evidence, log_odds, softmax

AUTO_TARGET = 0.98
"""P(right) that a decision needs to be ``auto``."""
AUTO_SUPPORT = 100
"""Unseen rows that must stand behind an auto threshold; fewer prove nothing about 98 %."""

FALSE_ALARMS = 0.01
"""Share of ordinary calls that may raise an alarm for nothing: an agent who is alarmed more than ten times in a
thousand calls stops looking.
"""


def calibrate(rows: Sequence[Row], scores: Sequence[Scores], model: Model) -> Calibration:
    """Temperatures by maximum likelihood; the domain by logistic regression on its pieces of evidence."""

    def temperature(values: list[tuple[Any, int]]) -> float:
        if not values:
            return 1.0
        stacked = np.array([v for v, _ in values], np.float64)
        truth = np.array([t for _, t in values])

        def loss(log_factor: float) -> float:
            scaled = stacked * np.exp(log_factor)
            top = scaled.max(axis=1)
            return float(
                np.mean(top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - scaled[np.arange(len(truth)), truth])
            )

        return float(np.exp(optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))

    index = {
        name: {c: i for i, c in enumerate(classes)}
        for name, classes in (("urban", model.urban), ("social", model.social))
    }

    def of_category(domain: str) -> float:
        return temperature(
            [
                (getattr(s, domain), index[domain][r.category])
                for r, s in zip(rows, scores, strict=True)
                if r.domain == domain and r.category
            ]
        )

    factor, biases = _disposition(rows, scores)
    made = Calibration(
        factor,
        of_category("urban"),
        of_category("social"),
        temperature([(s.intent, model.intents.index(r.intent)) for r, s in zip(rows, scores, strict=True) if r.intent]),
        (1.0, 0.0, 0.0, 0.0),
    )
    own = [i for i, row in enumerate(rows) if row.domain]
    evidence = np.array([domain_evidence(scores[i])[:3] for i in own])
    truth = np.array([rows[i].domain == "urban" for i in own])
    fitted = LogisticRegression(C=100.0, class_weight="balanced", max_iter=1000).fit(evidence, truth)
    own_score, whole, best_of = (float(v) for v in fitted.coef_[0])
    domain = (own_score, whole, best_of, float(fitted.intercept_[0]))

    def top(name: str, factor: float) -> tuple[float, float]:
        """Slope and shift of the best category's log-odds within its true domain, by logistic regression."""
        sure, right = [], []
        for row, score in zip(rows, scores, strict=True):
            if row.domain == name and row.category:
                p = softmax(getattr(score, name) * factor)
                best = int(np.argmax(p))
                sure.append([log_odds(float(p[best]))])
                right.append(best == index[name][row.category])
        if len(set(right)) < 2:
            return (1.0, 0.0)
        line = LogisticRegression(C=10.0).fit(np.array(sure), np.array(right))
        return float(line.coef_[0][0]), float(line.intercept_[0])

    made = replace(
        made,
        disposition_bias=biases,
        domain=domain,
        urban_top=top("urban", made.urban),
        social_top=top("social", made.social),
    )
    return replace(made, unit=_unit(rows, scores, replace(model, calibration=made)))


def _unit(rows: Sequence[Row], scores: Sequence[Scores], model: Model) -> tuple[float, float]:
    """Slope and shift of the log-odds that the department of the answered category is right."""
    if not model.units:
        return (1.0, 0.0)
    place = {category: i for i, category in enumerate(model.categories)}
    nothing = model.space.vector("")
    sure, right = [], []
    for row, score in zip(rows, scores, strict=True):
        if row.category in place:
            prediction = model.calibrated(score, nothing)
            best = model.best(prediction)
            sure.append([log_odds(model.unit_sum(prediction, best))])
            right.append(model.units[best] == model.units[place[row.category]])
    if len(set(right)) < 2:
        return (1.0, 0.0)
    line = LogisticRegression(C=10.0).fit(np.array(sure), np.array(right))
    return float(line.coef_[0][0]), float(line.intercept_[0])


def _disposition(rows: Sequence[Row], scores: Sequence[Scores]) -> tuple[float, tuple[float, ...]]:
    """Temperature and a bias a class for the disposition, by maximum likelihood."""
    stacked = np.array([s.disposition for s in scores], np.float64)
    truth = np.array([corpus.DISPOSITIONS.index(r.disposition) for r in rows])

    def loss(x: Any) -> float:
        scaled = stacked * np.exp(x[0]) + x[1:]
        top = scaled.max(axis=1)
        log_sum = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(np.mean(log_sum - scaled[np.arange(len(truth)), truth]) + 1e-4 * (x[1:] ** 2).sum())

    found = optimize.minimize(loss, np.zeros(1 + stacked.shape[1]), method="L-BFGS-B", bounds=[(-4, 4)] + [(-9, 9)] * 3)
    return float(np.exp(found.x[0])), tuple(float(v) for v in found.x[1:])


def auto_threshold(judged: Sequence[Judged]) -> float | None:
    """The lowest P(unit) such that unseen cases at or above it went to the right department AUTO_TARGET of the time,
    and so did those at or above every higher one with AUTO_SUPPORT cases.

    None where no such probability has AUTO_SUPPORT cases above it.
    """
    cases = sorted((j for j in judged if j.category and j.ranked), key=lambda j: -j.unit_probability)
    right, threshold = 0, None
    for taken, case in enumerate(cases, 1):
        right += case.unit_right
        if taken >= AUTO_SUPPORT:
            if right < AUTO_TARGET * taken:
                break
            threshold = case.unit_probability
    return round(threshold, 6) if threshold is not None else None


def urgency(rows: Sequence[Row], model: Model) -> tuple[float, ...]:
    """Of each of ``model.categories``, the share of its rows in which somebody must be called, drawn towards that of
    all rows as if five more of those stood in each.
    """
    index = {category: i for i, category in enumerate(model.categories)}
    counts, urgent = np.zeros(len(index)), np.zeros(len(index))
    for row in rows:
        if row.category in index:
            counts[index[row.category]] += 1
            urgent[index[row.category]] += bool(row.emergency)
    overall = urgent.sum() / max(1.0, counts.sum())
    return tuple(round(float(v), 4) for v in (urgent + 5 * overall) / (counts + 5))


def alarm_weights(rows: Sequence[Row], shown: Any) -> tuple[float, ...] | None:
    """Weights of what ``Model.shown`` gave for each row, by logistic regression on unseen rows; see
    ``Model.emergency``. None where the rows do not tell emergencies from others.
    """
    urgent = np.array([bool(row.emergency) for row in rows])
    if not urgent.any() or urgent.all():
        return None
    weights = LogisticRegression(C=10.0, max_iter=1000).fit(np.asarray(shown), urgent).coef_[0]
    return tuple(round(float(w), 5) for w in weights)


def alarm_limit(rows: Sequence[Row], shown: Any, weights: Sequence[float] | None) -> float | None:
    """The sum that at most FALSE_ALARMS of ``rows`` that are no emergency reach."""
    calm = [i for i, row in enumerate(rows) if not row.emergency]
    if weights is None or not calm:
        return None
    total = np.sort((np.asarray(shown) @ np.array(weights))[calm])[::-1]
    return round(float(total[int(FALSE_ALARMS * len(calm))]) + 1e-4, 5)


def alarms(rows: Sequence[Row], shown: Sequence[Sequence[float]], rule: Sequence[float] | None) -> dict[str, Any]:
    """Emergencies found and false alarms raised among unseen rows: by the sure patterns alone, and by scores and signs
    together, as the router does; ``shown`` is what ``Model.shown`` gave for each.

    The patterns were written with much of the corpus in sight, so their share of this figure flatters them.
    """
    found = dict.fromkeys(("patterns", "together"), 0)
    false = dict(found)
    urgent = sum(bool(row.emergency) for row in rows)
    for row, own in zip(rows, shown, strict=True):
        by_pattern = bool(own[SURE])
        together = by_pattern if rule is None else float(np.dot(own, rule[:-1])) >= rule[-1]
        for name, alarm in (("patterns", by_pattern), ("together", together)):
            if alarm:
                (found if row.emergency else false)[name] += 1
    calm = len(rows) - urgent
    return {
        "emergencies": urgent,
        "ordinary": calm,
        "found": found,
        "false_alarms": false,
        "recall": round(found["together"] / urgent, 4) if urgent else None,
        "interval": [round(v, 4) for v in wilson(found["together"], urgent)],
        "false_alarms_per_1000": round(1000 * false["together"] / calm, 1) if calm else None,
    }
