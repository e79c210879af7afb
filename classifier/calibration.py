"""From scores to probabilities that can be believed: fitted on rows the weights never saw, stored with the model.

Also here, for the same reason of needing unseen rows: the probability from which a decision may be ``auto``, and the
score from which an emergency is raised."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import optimize
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from classifier import corpus
from classifier.corpus import Row
from classifier.emergency import services
from classifier.evaluation import Judged, wilson
from classifier.model import Calibration, Model, Scores, domain_evidence, log_odds, softmax
from classifier.text import clean

AUTO_TARGET = 0.98
"""P(right) that a decision needs to be ``auto``."""
AUTO_SUPPORT = 40
"""Unseen rows that must stand behind an auto threshold; fewer prove nothing about 98 %."""

FALSE_ALARMS = 0.02
"""Share of ordinary rows that may raise the learned alarm: a miss costs more than an agent's glance."""


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

    made = Calibration(
        temperature(
            [(s.disposition, corpus.DISPOSITIONS.index(r.disposition)) for r, s in zip(rows, scores, strict=True)]
        ),
        of_category("urban"),
        of_category("social"),
        temperature([(s.intent, model.intents.index(r.intent)) for r, s in zip(rows, scores, strict=True) if r.intent]),
        (1.0, 0.0, 0.0),
    )
    own = [i for i, row in enumerate(rows) if row.domain]
    evidence = np.array([domain_evidence(scores[i], made)[:2] for i in own])
    truth = np.array([rows[i].domain == "urban" for i in own])
    fitted = LogisticRegression(C=10.0, class_weight="balanced").fit(evidence, truth)
    domain = (float(fitted.coef_[0][0]), float(fitted.coef_[0][1]), float(fitted.intercept_[0]))

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

    return replace(made, domain=domain, urban_top=top("urban", made.urban), social_top=top("social", made.social))


def auto_threshold(judged: Sequence[Judged]) -> float | None:
    """The lowest P(category) from which unseen rows were right with AUTO_TARGET, by isotonic regression.

    None where fewer than AUTO_SUPPORT unseen rows reach it.
    """
    cases = [j for j in judged if j.category and j.ranked]
    if len(cases) < AUTO_SUPPORT:
        return None
    sure = np.array([j.ranked[0][1] for j in cases])
    right = np.array([j.ranked[0][0] == j.category for j in cases], float)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(sure, right)
    enough = sure[fitted.predict(sure) >= AUTO_TARGET]
    return round(float(enough.min()), 6) if len(enough) >= AUTO_SUPPORT else None


def alarm_threshold(rows: Sequence[Row], scores: Sequence[Scores]) -> float | None:
    """The lowest score of any service that unseen ordinary rows reach at most FALSE_ALARMS of the time."""
    ordinary = sorted(
        (float(s.emergency.max()) for r, s in zip(rows, scores, strict=True) if not r.emergency), reverse=True
    )
    if not ordinary or not any(row.emergency for row in rows):
        return None
    allowed = int(FALSE_ALARMS * len(ordinary))
    return round(ordinary[allowed] + 1e-4, 6) if allowed < len(ordinary) else None


def alarms(rows: Sequence[Row], scores: Sequence[Scores], threshold: float | None) -> dict[str, Any]:
    """Emergencies found and false alarms raised among unseen rows: by the patterns, by the scores, by either.

    The patterns were written with part of the corpus in sight, so their share of this figure flatters them.
    """
    found = dict.fromkeys(("patterns", "scores", "either"), 0)
    false = dict(found)
    urgent = sum(bool(row.emergency) for row in rows)
    for row, score in zip(rows, scores, strict=True):
        by_pattern = bool(services(clean(row.text)))
        by_score = threshold is not None and float(score.emergency.max()) >= threshold
        for name, alarm in (("patterns", by_pattern), ("scores", by_score), ("either", by_pattern or by_score)):
            if alarm:
                (found if row.emergency else false)[name] += 1
    low, high = wilson(found["either"], urgent)
    return {
        "emergencies": urgent,
        "ordinary": len(rows) - urgent,
        "found": found,
        "false_alarms": false,
        "recall": round(found["either"] / urgent, 4) if urgent else None,
        "interval": [round(low, 4), round(high, 4)],
    }
