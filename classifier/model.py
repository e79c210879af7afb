"""The linear model: one sparse row times one matrix, six answers. Plain arrays only; nothing here can run code at load.

The emergency head holds one column a service and, last, one for "somebody must be called at all".

The columns of the matrix are heads side by side: disposition, domain, the urban categories, the social ones, intent,
the services to be called. Scores become probabilities by a temperature each, fitted on rows the weights never saw.
Domain and category agree by construction: P(category) = P(domain) x P(category within the domain), so a domain's
categories sum to the domain.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier import emergency
from classifier.emergency import SERVICES
from classifier.features import Floats, Space, Vector
from classifier.places import BUCKETS, PlaceReader
from classifier.routing import Span
from classifier.taxonomy import Category
from classifier.text import Traced

FORMAT = 3
OLDER_FORMAT = 2
"""Read as well, so that one can roll back: its rule about emergencies did not ask what the matter may be."""
HEADS = ("disposition", "domain", "urban", "social", "intent", "emergency")
SURE = 2 + emergency.SIGNS.index("sure")
"""Where ``Model.shown`` tells whether the patterns are sure."""
WEIGHTS_FILE, PLAN_FILE = "weights.npz", "model.json"


class ModelError(ValueError):
    """A stored model is not what its card says, or not of this format."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns scores into probabilities: a temperature a head, and

    ``domain``: the factors of ``domain_evidence``; ``urban_top`` and ``social_top``: slope and
    shift of the best category's log-odds, because a temperature alone leaves the surest answers too sure.
    """

    disposition: float
    urban: float
    social: float
    intent: float
    domain: tuple[float, float, float, float]
    urban_top: tuple[float, float] = (1.0, 0.0)
    social_top: tuple[float, float] = (1.0, 0.0)
    disposition_bias: tuple[float, ...] = (0.0, 0.0, 0.0)
    unit: tuple[float, float] = (1.0, 0.0)
    """Slope and shift of the log-odds that the department is right."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The raw scores of one text, head by head; the domain's is positive for urban."""

    disposition: Floats
    domain: float
    urban: Floats
    social: Floats
    intent: Floats
    emergency: Floats


@dataclass(frozen=True, slots=True)
class Prediction:
    """Calibrated probabilities of one text. ``categories`` runs over ``Model.categories`` and sums to 1."""

    disposition: dict[str, float]
    urban: float
    categories: NDArray[np.float64]
    intent: dict[str, float]
    scores: Scores
    vector: Vector


@dataclass(frozen=True)
class Model:
    """``weights`` are 8-bit, shape (terms, outputs); times ``scales`` (one an output) they are the real ones."""

    space: Space
    weights: NDArray[np.int8]
    scales: Floats
    bias: Floats
    dispositions: tuple[str, ...]
    urban: tuple[Category, ...]
    social: tuple[Category, ...]
    intents: tuple[str, ...]
    calibration: Calibration
    auto_threshold: float | None
    """P(unit), see ``unit_probability``, from which a decision may be ``auto``; None: this model was never sure enough
    on unseen rows.
    """
    emergency: tuple[float, ...] | None = None
    """What each number of ``shown`` weighs, and last the sum from which somebody must be called; None: the patterns
    alone decide.
    """
    urgency: tuple[float, ...] = ()
    """Of each of ``categories``, how often somebody must be called where it is the matter; empty: not known."""
    places: PlaceReader | None = None
    """Reads the place out of a text; None: the patterns of ``extract`` alone."""
    urban_prior: float = 0.5
    """Share of urban matters that training stood for; see ``Router.load``."""
    units: tuple[str, ...] = ()
    """Of each of ``categories``, the department that acts first (``taxonomy.Entry.lead``); empty, in older models: each
    category stands for a unit of its own.
    """

    @property
    def categories(self) -> tuple[Category, ...]:
        """All categories in the order of ``Prediction.categories``: urban, then social."""
        return self.urban + self.social

    def columns(self, head: str) -> slice:
        """The outputs of one head."""
        sizes = (len(self.dispositions), 1, len(self.urban), len(self.social), len(self.intents), len(SERVICES) + 1)
        start = sum(sizes[: HEADS.index(head)])
        return slice(start, start + sizes[HEADS.index(head)])

    def scores(self, vector: Vector) -> Scores:
        """The raw scores of a counted text."""
        rows = self.weights[vector.indices].astype(np.float32)
        return self.split((vector.values @ rows) * self.scales + self.bias)

    def split(self, outputs: Floats) -> Scores:
        """Cut one row of outputs into its heads."""
        return Scores(
            outputs[self.columns("disposition")],
            float(outputs[self.columns("domain")][0]),
            outputs[self.columns("urban")],
            outputs[self.columns("social")],
            outputs[self.columns("intent")],
            outputs[self.columns("emergency")],
        )

    def predict(self, text: str, *, urban_prior: float | None = None) -> Prediction:
        """Calibrated probabilities of ``text``; ``urban_prior`` shifts the domain to a city's own mix of calls."""
        vector = self.space.vector(text)
        return self.calibrated(self.scores(vector), vector, urban_prior=urban_prior)

    def calibrated(self, scores: Scores, vector: Vector, *, urban_prior: float | None = None) -> Prediction:
        """Probabilities from raw scores."""
        calibration = self.calibration
        disposition = softmax(self.weighed(scores, calibration))
        intent = softmax(scores.intent * calibration.intent)
        logit = float(np.dot(calibration.domain, domain_evidence(scores)))
        if urban_prior is not None:
            logit += math.log(urban_prior / (1 - urban_prior)) - math.log(self.urban_prior / (1 - self.urban_prior))
        urban = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))
        categories = np.concatenate(
            [
                urban * sobered(softmax(scores.urban * calibration.urban), calibration.urban_top),
                (1.0 - urban) * sobered(softmax(scores.social * calibration.social), calibration.social_top),
            ]
        )
        return Prediction(
            dict(zip(self.dispositions, map(float, disposition), strict=True)),
            urban,
            categories,
            dict(zip(self.intents, map(float, intent), strict=True)),
            scores,
            vector,
        )

    def best(self, prediction: Prediction) -> int:
        """The index of the answered category: the best of the likelier domain."""
        split = len(self.urban)
        start, stop = (0, split) if prediction.urban >= 0.5 else (split, len(prediction.categories))
        return start + int(np.argmax(prediction.categories[start:stop]))

    def unit_sum(self, prediction: Prediction, category: int) -> float:
        """The probability of all categories that go to the department of ``category`` (an index), as they stand."""
        own = [i for i, unit in enumerate(self.units) if unit == self.units[category]] if self.units else [category]
        return float(prediction.categories[own].sum())

    def unit_probability(self, prediction: Prediction, category: int) -> float:
        """Calibrated probability that the department of ``category`` (an index) is the right one."""
        if not self.units:
            return float(prediction.categories[category])
        slope, shift = self.calibration.unit
        odds = slope * log_odds(self.unit_sum(prediction, category)) + shift
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, odds))))

    @staticmethod
    def weighed(scores: Scores, calibration: Calibration) -> Floats:
        """The scores of the dispositions, ready for softmax."""
        return np.asarray(
            scores.disposition * calibration.disposition + np.array(calibration.disposition_bias), np.float32
        )

    def shown(self, prediction: Prediction, signs: tuple[float, ...]) -> tuple[float, ...]:
        """What speaks for an emergency: the score of "somebody must be called", the log-odds that one must by what the
        matter may be, and the text's ``emergency.signs``.
        """
        likely = log_odds(float(np.dot(prediction.categories, self.urgency))) if self.urgency else 0.0
        return (float(prediction.scores.emergency[-1]), likely, *signs)

    def alarmed(self, prediction: Prediction, cleaned: Traced) -> tuple[str, ...]:
        """Who must be called, in ascending order: scores and the signs in the text weighed together.

        The services are those the patterns name, else the one that scores best.
        """
        if self.emergency is None:
            return emergency.services(cleaned)
        *weights, limit = self.emergency
        if float(np.dot(self.shown(prediction, emergency.signs(cleaned)), weights)) < limit:
            return ()
        return emergency.named(cleaned) or (SERVICES[int(np.argmax(prediction.scores.emergency[:-1]))],)

    def evidence(self, vector: Vector, category: Category, *, most: int = 4) -> tuple[Span, ...]:
        """The pieces of the text that spoke for ``category`` against the others of its domain, as code points.

        Each term's share of the score is spread over the characters it covers; the characters that carry at least a
        third of the strongest one's share are shown, at most ``most`` pieces, in the order of the text.
        """
        folded = vector.folded
        if not len(vector.indices):
            return ()
        head = "urban" if category in self.urban else "social"
        columns = self.columns(head)
        own = columns.start + (self.urban if head == "urban" else self.social).index(category)
        rows = self.weights[vector.indices]
        weight = rows[:, own].astype(np.float32) * self.scales[own]
        weight -= (rows[:, columns].astype(np.float32) @ self.scales[columns]) / (columns.stop - columns.start)
        shares = dict(zip(vector.indices.tolist(), (vector.values * weight).tolist(), strict=True))
        found = list(self.space.occurrences(vector))
        times: dict[int, int] = {}
        for index, _, _ in found:
            times[index] = times.get(index, 0) + 1
        slope = [0.0] * (len(folded.text) + 1)  # each term adds its share at its start and takes it back at its end
        for index, start, end in found:
            share = shares.get(index, 0.0) / times[index] / (end - start)
            slope[start] += share
            slope[end] -= share
        strength = np.cumsum(slope[:-1])
        if not strength.size or strength.max() <= 0:
            return ()
        strong = strength >= strength.max() / 3
        pieces: list[tuple[float, int, int]] = []
        begun: int | None = None
        for position in range(len(strong) + 1):
            inside = position < len(strong) and bool(strong[position])
            if inside and begun is None:
                begun = position
            elif not inside and begun is not None:
                pieces.append((float(strength[begun:position].sum()), begun, position))
                begun = None
        chosen = sorted(sorted(pieces, key=lambda p: (-p[0], p[1]))[:most], key=lambda p: p[1])
        return tuple(folded.span(begin, end) for _, begin, end in chosen)


def softmax(values: Floats) -> NDArray[np.float64]:
    """Probabilities from scores, without overflow."""
    shifted = np.exp(values.astype(np.float64) - (values.max() if len(values) else 0.0))
    return np.asarray(shifted / shifted.sum(), np.float64)


def sobered(p: NDArray[np.float64], line: tuple[float, float]) -> NDArray[np.float64]:
    """``p`` with its best value's log-odds moved by slope and shift, the rest scaled to sum to 1; the best stays
    best.
    """
    if len(p) < 2:
        return p
    best = int(np.argmax(p))
    top = float(p[best])
    moved = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, line[0] * log_odds(top) + line[1]))))
    rest = 1.0 - top
    if rest <= 0.0:
        return p
    second = float(np.partition(p, -2)[-2]) / rest
    moved = max(moved, second / (1.0 + second) * (1.0 + 1e-9))
    out = p * ((1.0 - moved) / rest)
    out[best] = moved
    return np.asarray(out, np.float64)


def log_odds(p: float) -> float:
    """The log-odds of a probability, kept finite."""
    p = min(max(p, 1e-9), 1 - 1e-9)
    return math.log(p / (1 - p))


EVIDENCE_FACTOR = 10.0
"""How sharply the sum over a domain's categories prefers the better ones."""


def domain_evidence(scores: Scores) -> NDArray[np.float64]:
    """What the domain is decided by: its own score, how much better the urban categories fit than the social ones on
    the whole, how much better the best of them, and 1.
    """
    whole = _log_sum(scores.urban * EVIDENCE_FACTOR) - _log_sum(scores.social * EVIDENCE_FACTOR)
    return np.array([scores.domain, whole, float(scores.urban.max()) - float(scores.social.max()), 1.0])


def _log_sum(values: Floats) -> float:
    top = float(values.max())
    return top + math.log(float(np.exp(values.astype(np.float64) - top).sum()))


def save(model: Model, folder: Path) -> None:
    """Write the two files of a model into an existing folder, the same bytes for the same model."""
    arrays: dict[str, NDArray[Any]] = {
        "weights": model.weights,
        "scales": model.scales,
        "bias": model.bias,
        "idf": model.space.idf,
        "words": np.frombuffer("\n".join(model.space.words).encode(), np.uint8),
        "characters": np.frombuffer("\n".join(model.space.characters).encode(), np.uint8),
        "sounds": np.frombuffer("\n".join(model.space.sounds).encode(), np.uint8),
    }
    if model.places is not None:
        arrays |= {"places": model.places.weights, "place_moves": model.places.transitions}
    np.savez_compressed(folder / WEIGHTS_FILE, allow_pickle=False, **arrays)
    plan: dict[str, Any] = {
        "format": FORMAT,
        "dispositions": model.dispositions,
        "urban": [category.to_json() for category in model.urban],
        "social": [category.to_json() for category in model.social],
        "intents": model.intents,
        "calibration": asdict(model.calibration),
        "auto_threshold": model.auto_threshold,
        "emergency": model.emergency,
        "urgency": model.urgency,
        "urban_prior": model.urban_prior,
        "units": model.units,
    }
    (folder / PLAN_FILE).write_text(json.dumps(plan, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> Model:
    """Read what ``save`` wrote. Raises ModelError where files are missing, broken or of another format."""
    try:
        plan: Mapping[str, Any] = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        if plan.get("format") not in (OLDER_FORMAT, FORMAT):
            raise ModelError(
                f"{folder / PLAN_FILE}: format {plan.get('format')!r}, this program reads {OLDER_FORMAT} and {FORMAT}:"
                " train again"
            )
        with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as arrays:
            space = Space(
                _terms(arrays["words"]), _terms(arrays["characters"]), _terms(arrays["sounds"]), arrays["idf"]
            )
            weights, scales, bias = arrays["weights"], arrays["scales"], arrays["bias"]
            places = PlaceReader(arrays["places"], arrays["place_moves"]) if "places" in arrays else None
        calibration = dict(plan["calibration"])
        calibration.update({key: tuple(v) for key, v in calibration.items() if isinstance(v, list)})
        model = Model(
            space,
            weights,
            scales,
            bias,
            tuple(plan["dispositions"]),
            tuple(Category(**category) for category in plan["urban"]),
            tuple(Category(**category) for category in plan["social"]),
            tuple(plan["intents"]),
            Calibration(**calibration),
            plan["auto_threshold"],
            _alarm_rule(plan),
            tuple(plan.get("urgency", ())),
            places,
            plan["urban_prior"],
            tuple(plan.get("units", ())),
        )
    except ModelError:
        raise
    except FileNotFoundError as fault:
        raise ModelError(f"no router model at {folder}: {Path(fault.filename).name} is missing") from fault
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as fault:
        raise ModelError(f"{folder}: not a router model: {fault}") from fault
    outputs = model.columns("emergency").stop
    if weights.dtype != np.int8 or weights.shape != (len(space), outputs) or {len(scales), len(bias)} != {outputs}:
        raise ModelError(f"{folder}: weights of shape {weights.shape} for {len(space)} terms and {outputs} outputs")
    if model.units and len(model.units) != len(model.categories):
        raise ModelError(f"{folder}: {len(model.units)} units for {len(model.categories)} categories")
    if places is not None and (places.weights.shape != (BUCKETS, 3) or places.transitions.shape != (3, 3)):
        raise ModelError(f"{folder}: place weights of shape {places.weights.shape}, must be {(BUCKETS, 3)}")
    return model


def _alarm_rule(plan: Mapping[str, Any]) -> tuple[float, ...] | None:
    rule = plan["emergency"]
    if rule and plan["format"] == OLDER_FORMAT:
        rule = [rule[0], 0.0, *rule[1:]]
    return tuple(rule) if rule else None


def _terms(data: NDArray[np.uint8]) -> tuple[str, ...]:
    text = data.tobytes().decode()
    return tuple(text.split("\n")) if text else ()
