"""The router: one text in, one Routing out, the same every time, in milliseconds and from any thread.

Here the model's probabilities, what ``extract`` and ``emergency`` read, and how well the words were heard are weighed
into a decision. ``auto`` needs a probability that was right 98 times of 100 on rows the model never saw, and not one
reason against it; the identifiers of the reasons are part of the contract (docs/router.md).
"""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifier import emergency, extract, taxonomy
from classifier.gazetteer import Gazetteer
from classifier.model import Model, ModelError, Prediction
from classifier.registry import CARD_FILE, Registry
from classifier.routing import Alternative, Category, Decision, Disposition, Domain, Routing, Secondary
from classifier.text import MAX_CHARACTERS, Traced, clean, tokenizer

ALTERNATIVES = 5
LOW_MEAN, LOW_WORD = 0.75, 0.5
"""Recognition confidence: an average below the first, or a word of the evidence below the second, is low. Chosen from
how Vosk's confidences spread, not yet from outcomes.
"""
SECOND_SAID, SECOND_SURE = 0.2, 0.45
"""A second matter stands on its own when the words on either side give categories of at least this probability: the
first where the caller says that something else follows, the second where only a clause ends.
"""
SETTLED = 0.6
"""A text whose own best category is this probable is not parted at mere ends of clauses."""
TURNED_CHARACTERS = 240
"""Characters that may be read again to part a text; at least one parting is tried. One of more than half as many is
parted only where the caller says that they turn.
"""
ASKED_SURE = 0.7
"""P(咨询) from which words that announce a question (请问) make one of a social matter. Of a thing in the street they
make none: who asks whom to tell of a broken cover has told of it.
"""
SHORT = 4
"""Fewer Chinese characters than this say too little to act on unasked."""

Words = Sequence[Mapping[str, Any]]

_HAN = re.compile(r"[\u4e00-\u9fff]")
_ASKED = re.compile(r"^[^,。!?;]{0,10}(请问|想问|问一下|问一声|问问|咨询|打听)")
_MINOR = re.compile(
    r"未成年|(孩子|小孩|学生|娃|女儿|儿子|小朋友|幼儿|孙子|孙女|女同学).{0,14}(打|欺负|霸凌|摸|骚扰|虐待|不见|失踪|自杀|伤|跳|割)"
)
_VIOLENCE = re.compile(
    r"打人|打我|打她|打老婆|家暴|砍|捅|持刀|拿刀|菜刀|威胁|恐吓|报复|杀|黑社会|强奸|猥亵|欺负|往死里"
)
_SELF_HARM = re.compile(r"自杀|不想活|活不下去|轻生|割腕|跳楼|跳河|跳桥|上吊|寻死|死给|从.{0,6}跳下")
_OFFICIAL_MINORS = frozenset({"干部作风问题", "失职渎职线索", "办事效率与服务态度", "行政执法争议"})


class Router:
    """A loaded model with the taxonomies it answers in. Holds nothing that changes: share one among threads."""

    def __init__(
        self, version: str, model: Model, *, urban_prior: float | None = None, gazetteer: Gazetteer | None = None
    ) -> None:
        if urban_prior is not None and not 0 < urban_prior < 1:
            raise ValueError(f"urban_prior {urban_prior} must lie between 0 and 1")
        self.version = version
        self.model = model
        self._urban_prior = urban_prior
        self._gazetteer = gazetteer
        self._standard = model.urban[0].standard if model.urban else taxonomy.DEFAULT_STANDARD

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        urban_prior: float | None = None,
        gazetteer: Gazetteer | None = None,
    ) -> "Router":
        """The promoted version, a version by name, or the version in a folder.

        ``urban_prior`` is the share of urban matters among a city's calls; None: as trained, neither favoured.
        ``gazetteer``: the city's names of places; None: the learned reader and the patterns alone. Raises
        ModelError where the version is missing, or its files are not those of its card.
        """
        if isinstance(path, Path) or (isinstance(path, str) and ("/" in path or "\\" in path)):
            folder = Path(path)
            if (folder / CARD_FILE).is_file():
                version, model = Registry(folder.parent).load(folder.name)
            elif folder.is_dir():
                version, model = Registry(folder).load()
            else:
                raise ModelError(f"no router model at {folder}: name a version's folder or the folder of all")
        else:
            version, model = Registry().load(path or None)
        router = cls(version, model, urban_prior=urban_prior, gazetteer=gazetteer)
        router._warm()
        return router

    def _warm(self) -> None:
        """Do now what the first text would wait for: jieba's dictionary, the index of terms, the taxonomies."""
        tokenizer()
        self.route("路灯不亮")

    def route(
        self, text: str, *, words: Words | None = None, knows_voice: bool = True, standard: str | None = None
    ) -> Routing:
        """Route one text.

        ``words`` are the recognised words with their confidences in [0, 1] (keys text or word, confidence or conf);
        ``knows_voice`` is False where the speech model was never made for real callers. ``standard`` names the urban
        standard to answer in; raises TaxonomyError when it is unknown. No text makes it fail.
        """
        begun = time.perf_counter()
        text = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate could be neither shown nor stored
        walk = self._crosswalk(standard)
        cleaned = clean(text)
        prediction, secondary = self._matters(text, cleaned)
        called = self.model.alarmed(prediction, cleaned)
        if called and emergency.despair(cleaned):
            called += (emergency.CARE_LINE,)
        disposition = self._disposition(cleaned, prediction, bool(called))
        reasons: list[str] = []
        ranked = self._ranked(prediction) if disposition != "none" else []
        category, probability = ranked[0] if ranked else (None, 0.0)
        place, accused, secret = (
            extract.place(cleaned, self.model.places),
            extract.accused(cleaned),
            extract.secrecy(cleaned),
        )
        area = None
        if self._gazetteer is not None and (known := self._gazetteer.find(cleaned)) is not None:
            name, start, end = known
            area = self._gazetteer.areas[name]
            if place is None or place.vague:
                first, last = cleaned.span(start, end)
                place = extract.Place(name, first, last, vague=False)
        if disposition != "case":
            secondary = None
        evidence = self.model.evidence(prediction.vector, category) if category else ()
        if disposition == "question":
            reasons.append("question")
        if disposition == "none":
            reasons.append("no_case")
        if called:
            reasons.append("emergency")
        if secret:
            reasons.append("secrecy")
        if accused or (category and category.minor in _OFFICIAL_MINORS):
            reasons.append("official_accused")
        for name, pattern in (("minor_involved", _MINOR), ("violence", _VIOLENCE), ("self_harm", _SELF_HARM)):
            if pattern.search(cleaned.text):
                reasons.append(name)
        if disposition == "case" and place is None:
            reasons.append("no_place")
        elif disposition == "case" and place is not None and place.vague:
            reasons.append("vague_place")
        if secondary is not None:
            reasons.append("two_matters")
        if words is not None and _low(words, text, evidence):
            reasons.append("low_confidence_words")
        if not knows_voice:
            reasons.append("unknown_voice")
        if len(text) > MAX_CHARACTERS:
            reasons.append("long_text")
        if disposition != "none" and len(_HAN.findall(cleaned.text)) < SHORT:
            reasons.append("short_text")
        if cleaned.text and not _HAN.search(cleaned.text):
            reasons.append("not_chinese")
        department, sure = self._unit(prediction) if category is not None else (None, 0.0)
        threshold = self.model.auto_threshold
        if category is not None and (threshold is None or sure < threshold):
            reasons.append("low_probability")
        if category is not None and category.kind != "social" and category not in walk:
            reasons.append("no_crosswalk")
        decision: Decision = "confirm" if reasons or category is None else "auto"
        domain: Domain | None = category.domain if category else None
        return Routing(
            text=text,
            disposition=disposition,
            domain=domain,
            domain_probability=_domain_probability(domain, prediction.urban),
            category=walk.get(category, category) if category else None,
            probability=probability,
            decision=decision,
            model=self.version,
            alternatives=tuple(Alternative(walk.get(c, c), p) for c, p in ranked[1:]),
            reasons=tuple(reasons),
            emergency=called,
            utilities=emergency.utilities(cleaned) if called else (),
            intent=self._intent(cleaned, prediction, disposition),
            address=place.text if place else None,
            area=area,
            accused=accused.text if accused else None,
            secrecy=secret,
            secondary=secondary,
            evidence=evidence,
            department=department,
            department_probability=sure,
            elapsed_ms=(time.perf_counter() - begun) * 1000,
        )

    def route_many(self, texts: Sequence[str], *, standard: str | None = None) -> list[Routing]:
        """Route texts one after the other, in order."""
        return [self.route(text, standard=standard) for text in texts]

    def _crosswalk(self, standard: str | None) -> Mapping[Category, Category]:
        return taxonomy.crosswalk(self._standard, standard or self._standard)

    def _disposition(self, cleaned: Traced, prediction: Prediction, urgent: bool) -> Disposition:
        if not _HAN.search(cleaned.text) or not len(prediction.vector.indices):
            return "none"
        if urgent:
            return "case"
        best = max(prediction.disposition, key=lambda name: prediction.disposition[name])
        asked = prediction.intent.get("咨询", 0.0) >= ASKED_SURE and _ASKED.search(cleaned.text)
        if best == "case" and prediction.urban < 0.5 and asked:
            return "question"
        return "none" if best == "none" else "question" if best == "question" else "case"

    def _ranked(self, prediction: Prediction) -> list[tuple[Category, float]]:
        """The best category and ALTERNATIVES more, the domain's best first.

        The best answer is the best of the likelier domain, so that domain and category never disagree.
        """
        p, first = prediction.categories, self.model.best(prediction)
        order = np.argsort(-p, kind="stable")[: ALTERNATIVES + 1]
        ranked = [first, *(int(i) for i in order if i != first)][: ALTERNATIVES + 1]
        categories = self.model.categories
        return [(categories[i], float(p[i])) for i in ranked]

    def _unit(self, prediction: Prediction) -> tuple[str | None, float]:
        """The department that acts first on the best category, and how sure it is the right one."""
        best = self.model.best(prediction)
        return (self.model.units[best] if self.model.units else None), self.model.unit_probability(prediction, best)

    def _matters(self, text: str, cleaned: Traced) -> tuple[Prediction, Secondary | None]:
        """What the text is about; where a second matter stands on its own, the first without it.

        The text is parted at every place where a caller may turn to something else. A parting counts when either side
        gives a category of its own by itself, and the surest such parting wins; where the caller says that they turn
        (还有一个事), less is needed than where only a clause ends.
        """
        whole = self.model.predict(text, urban_prior=self._urban_prior)
        best: tuple[float, Prediction, Secondary] | None = None
        settled = self._ranked(whole)[0][1] >= SETTLED or len(cleaned.text) > TURNED_CHARACTERS // 2
        tries = max(1, TURNED_CHARACTERS // max(1, len(cleaned.text)))
        for turn in [turn for turn in extract.turns(cleaned) if turn.said or not settled][:tries]:
            before = self.model.predict(text[: turn.before], urban_prior=self._urban_prior)
            after = self.model.predict(turn.rest.text, urban_prior=self._urban_prior)
            (first, sure), (category, probability) = self._ranked(before)[0], self._ranked(after)[0]
            least = SECOND_SAID if turn.said else SECOND_SURE
            if (
                (category == first)
                or (not turn.said and category.major == first.major)
                or min(sure, probability) < least
                or max(after.disposition["none"], before.disposition["none"]) > 0.5
            ):
                continue
            if best is None or sure * probability > best[0]:
                span = (turn.rest.start, turn.rest.end)
                best = (sure * probability, before, Secondary(category.domain, category, probability, span))
        return (best[1], best[2]) if best else (whole, None)

    def _intent(self, cleaned: Traced, prediction: Prediction, disposition: Disposition) -> str | None:
        for intent, pattern in _SAID_INTENTS:
            if pattern.search(cleaned.text):
                return intent
        if disposition == "none" or not prediction.intent:
            return None
        if disposition == "question":
            return "咨询"
        return max(prediction.intent, key=lambda name: prediction.intent[name])


_SAID_INTENTS = (
    ("表扬", re.compile(r"(我要|想|来|特地|专门).{0,4}(表扬|感谢)|送.{0,4}锦旗|点个?赞")),
    ("建议", re.compile(r"(提|有)(个|点|一个|条)?(小)?建议|我建议|建议(你们|市里|政府|在|把|给)")),
    ("举报", re.compile(r"(我要|我|想|来|要|实名|匿名)举报")),
    ("投诉", re.compile(r"(我要|想|来)投诉")),
)


def _domain_probability(domain: Domain | None, urban: float) -> float:
    if domain is None:
        return 0.0
    return urban if domain == "urban" else 1.0 - urban


def _low(words: Words, text: str, evidence: Sequence[tuple[int, int]]) -> bool:
    """Were the words heard badly: on the whole, or one that the answer rests on? Words without confidence do not
    count.
    """
    heard: list[tuple[str, float]] = []
    for word in words:
        spoken = word.get("text", word.get("word"))
        confidence = word.get("confidence", word.get("conf"))
        if isinstance(spoken, str) and spoken and isinstance(confidence, int | float) and confidence == confidence:
            heard.append((spoken, float(confidence)))
    if not heard:
        return False
    characters = sum(len(spoken) for spoken, _ in heard)
    if sum(len(spoken) * confidence for spoken, confidence in heard) / characters < LOW_MEAN:
        return True
    position = 0
    for spoken, confidence in heard:
        at = text.find(spoken, position)
        if at < 0:
            continue
        position = at + len(spoken)
        if confidence < LOW_WORD and any(start < position and at < end for start, end in evidence):
            return True
    return False
