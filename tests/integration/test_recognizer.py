"""One leg through the real Vosk with the synthetic model."""

import numpy as np
import pytest

from callcenter.speech.accuracy import character_error_rate
from callcenter.speech.events import LegEvent, Partial, SpeechStarted, StatementEnded, Utterance
from callcenter.speech.recognizer import LEG_RATE, Ear, Heard, LegRecognizer, load
from callcenter.speech.silence import SilenceRules
from tests.speaking import SENTENCES, SYNTHETIC, line, say, text_of, tone, utterances

pytestmark = pytest.mark.integration

PIECE = LEG_RATE * 2 // 5


@pytest.fixture(scope="module")
def ear() -> Ear:
    return load(SYNTHETIC)


def hear(leg: LegRecognizer, pcm: bytes, piece: int = PIECE) -> list[Heard]:
    heard: list[Heard] = []
    for at in range(0, len(pcm), piece):
        heard += leg.feed(pcm[at : at + piece])
    return heard


def events(heard: list[Heard]) -> list[LegEvent]:
    return [item.event for item in heard]


def test_sentences_become_utterances_with_true_times(ear: Ear) -> None:
    parts: list[np.ndarray | float] = [0.6]
    spans: list[tuple[float, float]] = []
    at = 0.6
    for sentence in SENTENCES:
        voice = say(sentence)
        spans.append((at, at + len(voice) / LEG_RATE))
        parts += [voice, 1.5]
        at += len(voice) / LEG_RATE + 1.5
    heard = events(hear(LegRecognizer(ear), line(*parts)))
    found = utterances(heard)
    assert [utterance.sequence for utterance in found] == [0, 1, 2, 3]
    error = character_error_rate([(said, got.text) for said, got in zip(SENTENCES, found, strict=True)])
    assert error <= 0.15
    for (start, end), got in zip(spans, found, strict=True):
        assert got.start == pytest.approx(start, abs=0.25)
        assert got.end == pytest.approx(end, abs=0.25)
        assert got.last_voiced == pytest.approx(end, abs=0.12)
        assert got.end_decided == pytest.approx(got.last_voiced + 0.7, abs=0.03)
        assert 0.3 < got.confidence <= 1.0
        assert 0.0 < got.decode_ms < 2_000.0
        times = [t for word in got.words for t in (word.start, word.end)]
        assert times == sorted(times)
        assert "".join(word.text for word in got.words) == got.text


def test_events_come_in_their_order(ear: Ear) -> None:
    heard = events(hear(LegRecognizer(ear), line(0.5, say(SENTENCES[0]), 3.0, say(SENTENCES[1]), 3.0)))
    order = [type(event) for event in heard if not isinstance(event, Partial)]
    assert order == [SpeechStarted, Utterance, StatementEnded] * 2
    partials = [event for event in heard if isinstance(event, Partial)]
    assert len(partials) >= 4
    assert all(partial.text for partial in partials)
    ended = next(event for event in heard if isinstance(event, StatementEnded))
    assert ended.decided == pytest.approx(ended.last_voiced + 2.0, abs=0.03)


def test_the_last_word_at_hang_up_is_not_lost(ear: Ear) -> None:
    leg = LegRecognizer(ear)
    heard = hear(leg, line(0.3, say(SENTENCES[2])))
    assert not utterances(events(heard))
    heard += leg.finish()
    assert character_error_rate([(SENTENCES[2], text_of(events(heard)))]) <= 0.15
    assert leg.finish() == []


@pytest.mark.parametrize("piece", [160, 321, 1_600, 8_000])
def test_the_text_does_not_depend_on_the_pieces(ear: Ear, piece: int) -> None:
    pcm = line(0.5, say(SENTENCES[3]), 1.0)
    assert text_of(events(hear(LegRecognizer(ear), pcm, piece))) == text_of(events(hear(LegRecognizer(ear), pcm)))


@pytest.mark.parametrize(
    "pcm",
    [
        line(60.0),
        line(30.0, noise=5),
        line(30.0, noise=100),
        line(30.0, noise=800),
        line(tone(450, 1), 4.0, tone(450, 1), 4.0),
        line(tone(1_000, 10)),
    ],
    ids=["silence", "faint noise", "noise", "loud noise", "ringback", "tone"],
)
def test_what_is_no_speech_becomes_no_utterance(ear: Ear, pcm: bytes) -> None:
    leg = LegRecognizer(ear)
    heard = events(hear(leg, pcm) + leg.finish())
    assert text_of(heard) == ""
    assert not any(isinstance(event, StatementEnded) for event in heard)


def test_noise_at_full_scale_does_no_harm(ear: Ear) -> None:
    noise = np.random.default_rng(1).integers(-32_768, 32_767, 8_000 * 10, np.int16).tobytes()
    leg = LegRecognizer(ear)
    heard = events(hear(leg, noise + line(4.0, say(SENTENCES[1]), 1.0)))
    assert character_error_rate([(SENTENCES[1], utterances(heard)[-1].text)]) <= 0.15
    assert len(text_of(heard)) <= len(SENTENCES[1]) + 2


def test_silence_is_not_decoded(ear: Ear) -> None:
    import time

    leg = LegRecognizer(ear)
    hear(leg, line(0.3, say(SENTENCES[1]), 2.0))
    began = time.thread_time()
    hear(leg, bytes(LEG_RATE * 2 * 600))
    assert time.thread_time() - began < 0.6  # ten minutes; decoding them takes about six seconds
    assert leg.position == pytest.approx(leg.settled, abs=LEG_RATE)
    assert utterances(events(hear(leg, line(say(SENTENCES[1]), 1.0))))[0].start > 600


def test_who_never_stops_is_cut_and_nothing_is_lost(ear: Ear) -> None:
    rules = SilenceRules(longest_ms=6_000, soft_longest_ms=4_000)
    said = SENTENCES * 2
    pcm = line(0.5, *[say(sentence) for sentence in said], 1.0)
    found = utterances(events(hear(LegRecognizer(ear, rules=rules), pcm)))
    assert len(found) >= len(pcm) / 2 / LEG_RATE / 7
    assert all(got.end - got.start <= 6.5 for got in found)
    assert character_error_rate([("".join(said), "".join(got.text for got in found))]) <= 0.25


def test_a_lost_stretch_ends_the_utterance_and_keeps_the_clock(ear: Ear) -> None:
    leg = LegRecognizer(ear)
    first, second = line(0.5, say(SENTENCES[0])), line(0.3, say(SENTENCES[1]), 1.0)
    heard = hear(leg, first)
    resume = len(first) // 2 + 5 * LEG_RATE
    heard += leg.feed(second[:PIECE], position=resume)
    heard += hear(leg, second[PIECE:])
    found = utterances(events(heard))
    assert character_error_rate([(SENTENCES[0], found[0].text), (SENTENCES[1], found[1].text)]) <= 0.15
    assert found[1].start == pytest.approx(resume / LEG_RATE + 0.3, abs=0.3)


def test_settled_never_passes_what_is_still_needed(ear: Ear) -> None:
    """A second recogniser that hears only from the settled sample on tells the same next utterance."""
    pcm = line(0.5, say(SENTENCES[0]), 1.2, say(SENTENCES[2]), 1.0)
    leg, told = LegRecognizer(ear), []
    stop = len(pcm) // 3200 * 2400  # three quarters in: within the second sentence
    told = hear(leg, pcm[:stop])
    assert len(utterances(events(told))) == 1
    resumed = LegRecognizer(ear, position=leg.settled)
    rest = utterances(events(hear(resumed, pcm[2 * leg.settled :]) + resumed.finish()))
    assert len(rest) == 1
    assert character_error_rate([(SENTENCES[2], rest[0].text)]) <= 0.15
    assert rest[0].start > told[-1].settled / LEG_RATE


def test_a_noisy_line_is_still_heard(ear: Ear) -> None:
    voice = say(SENTENCES[0])
    level = float(np.sqrt(np.mean(voice.astype(float) ** 2)))
    pcm = line(1.5, voice, 2.0, noise=level * 10 ** (-15 / 20))
    assert character_error_rate([(SENTENCES[0], text_of(events(hear(LegRecognizer(ear), pcm))))]) <= 0.3
