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
from classifier.emergency import signs
from classifier.evaluation import Judged, wilson
from classifier.model import Calibration, Model, Scores, domain_evidence, log_odds, softmax
from classifier.text import clean

AUTO_TARGET = 0.98
"""P(right) that a decision needs to be ``auto``."""
AUTO_SUPPORT = 100
"""Unseen rows that must stand behind an auto threshold; fewer prove nothing about 98 %."""

FALSE_ALARMS = 0.03
"""Share of the corpus's ordinary rows that may raise an alarm. One in twelve of them was written to provoke one, so of
ordinary calls it is far fewer; a miss costs more than an agent's glance.
"""


def calibrate(rows: Sequence[Row], scores: Sequence[Scores], model: Model) -> Calibration:
    """Temperatures by maximum likelihood; the domain by logistic regression on its two pieces of evidence."""

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

    return replace(
        made,
        disposition_bias=biases,
        domain=domain,
        urban_top=top("urban", made.urban),
        social_top=top("social", made.social),
    )


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
    """The lowest P(category) such that unseen cases at or above it were right AUTO_TARGET of the time, and so were
    those at or above every higher one with AUTO_SUPPORT cases.

    None where no such probability has AUTO_SUPPORT cases above it.
    """
    cases = sorted((j for j in judged if j.category and j.ranked), key=lambda j: -j.ranked[0][1])
    right, threshold = 0, None
    for taken, case in enumerate(cases, 1):
        right += case.ranked[0][0] == case.category
        if taken >= AUTO_SUPPORT:
            if right < AUTO_TARGET * taken:
                break
            threshold = case.ranked[0][1]
    return round(threshold, 6) if threshold is not None else None


def alarm_rule(rows: Sequence[Row], scores: Sequence[Scores]) -> tuple[float, ...] | None:
    """Weights of the score and of each sign, by logistic regression on unseen rows, and the limit that at most
    FALSE_ALARMS of the ordinary ones reach; see ``Model.emergency``.
    """
    urgent = np.array([bool(row.emergency) for row in rows])
    if not urgent.any() or urgent.all():
        return None
    shown = _shown(rows, scores)
    weights = LogisticRegression(C=10.0, max_iter=1000).fit(shown, urgent).coef_[0]
    total = shown @ weights
    allowed = int(FALSE_ALARMS * (~urgent).sum())
    limit = float(np.sort(total[~urgent])[::-1][allowed]) + 1e-4
    return (*(round(float(w), 5) for w in weights), round(limit, 5))


def _shown(rows: Sequence[Row], scores: Sequence[Scores]) -> Any:
    return np.array([[float(s.emergency[-1]), *signs(clean(r.text))] for r, s in zip(rows, scores, strict=True)])


def alarms(rows: Sequence[Row], scores: Sequence[Scores], rules: Sequence[tuple[float, ...] | None]) -> dict[str, Any]:
    """Emergencies found and false alarms raised among unseen rows: by the sure patterns alone, and by scores and signs
    together, as the router does; ``rules`` holds for each row a rule fitted without its fold.

    The patterns were written with much of the corpus in sight, so their share of this figure flatters them.
    """
    found = dict.fromkeys(("patterns", "together"), 0)
    false = dict(found)
    urgent = sum(bool(row.emergency) for row in rows)
    for row, shown, rule in zip(rows, _shown(rows, scores), rules, strict=True):
        by_pattern = bool(shown[1])
        together = by_pattern if rule is None else float(shown @ np.array(rule[:-1])) >= rule[-1]
        for name, alarm in (("patterns", by_pattern), ("together", together)):
            if alarm:
                (found if row.emergency else false)[name] += 1
    ordinary = len(rows) - urgent
    return {
        "emergencies": urgent,
        "ordinary": ordinary,
        "found": found,
        "false_alarms": false,
        "recall": round(found["together"] / urgent, 4) if urgent else None,
        "interval": [round(v, 4) for v in wilson(found["together"], urgent)],
        "false_alarms_per_1000": round(1000 * false["together"] / ordinary, 1) if ordinary else None,
    }
