"""Frames between the main process and its compute child."""

import json
import random

import pytest

from callcenter.compute.admission import capacity, speech_like
from callcenter.compute.protocol import (
    HEADER,
    LARGEST,
    FrameReader,
    Kind,
    ProtocolError,
    event_from_json,
    event_to_json,
    frame,
    message,
)
from callcenter.speech.accuracy import character_error_rate, edit_distance
from callcenter.speech.events import Gap, LegEvent, Partial, SpeechStarted, StatementEnded, Utterance, Word
from callcenter.speech.recognizer import join_words, mean_confidence

pytestmark = pytest.mark.unit


def test_frames_come_out_as_they_went_in_however_the_stream_is_cut() -> None:
    sent = [
        (Kind.AUDIO, 7, 123_456_789_012, bytes(range(256)) * 5),
        (Kind.PING, 0, 0, b""),
        (Kind.OPEN, 2**32 - 1, 1, b"x"),
    ]
    stream = b"".join(frame(*one) for one in sent)
    for seed in range(50):
        rng, reader, got, at = random.Random(seed), FrameReader(), [], 0
        while at < len(stream):
            step = rng.randint(1, 60)
            got += reader.feed(stream[at : at + step])
            at += step
        assert [tuple(one) for one in got] == sent


@pytest.mark.parametrize("broken", [b"\xff" * 40, HEADER.pack(99, 0, 0, 0), HEADER.pack(Kind.AUDIO, 0, 0, LARGEST + 1)])
def test_what_is_no_frame_is_refused(broken: bytes) -> None:
    with pytest.raises(ProtocolError):
        FrameReader().feed(broken)


def test_a_json_frame_that_is_none_is_refused_without_quoting_it() -> None:
    [got] = FrameReader().feed(frame(Kind.ROUTE, 1, 0, "{井盖".encode()))
    with pytest.raises(ProtocolError) as caught:
        got.json()
    assert "井盖" not in str(caught.value)


def test_too_large_a_frame_is_not_made() -> None:
    with pytest.raises(ProtocolError):
        frame(Kind.PCM, 1, 0, bytes(LARGEST + 1))


@pytest.mark.parametrize(
    "event",
    [
        SpeechStarted(1.25),
        Partial("路灯", 0.5),
        Utterance(
            3, "路灯坏了", 0.5, 2.5, 0.9, (Word("路灯", 0.5, 1.5, 0.8), Word("坏了", 1.5, 2.5, 1.0)), 2.4, 3.1, 12.0
        ),
        StatementEnded(2.4, 4.4),
        Gap(1.0, None, "lost"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_survive_the_way(event: LegEvent) -> None:
    [got] = FrameReader().feed(message(Kind.EVENT, event_to_json(event), 4))
    assert event_from_json(json.loads(json.dumps(got.json()))) == event


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(ProtocolError):
        event_from_json({"event": "sneeze", "at": 1})


def test_words_are_joined_as_people_write() -> None:
    assert join_words(["路灯", "坏", "了"]) == "路灯坏了"
    assert join_words(["我", "的", "WIFI", "6", "<unk>", "[FIL]", "没", "信号"]) == "我的WIFI 6没信号"
    assert join_words([]) == ""


def test_confidence_weighs_words_by_their_length() -> None:
    assert mean_confidence((Word("长", 0.0, 3.0, 1.0), Word("短", 3.0, 4.0, 0.2))) == pytest.approx(0.8)
    assert mean_confidence(()) == 0.0


def test_character_error_rate() -> None:
    assert edit_distance("abcd", "abd") == 1
    assert edit_distance("", "abc") == 3
    assert edit_distance("井盖不见了", "井盖部件了") == 2
    assert character_error_rate([("井盖，不见了。", "井盖部件了")]) == pytest.approx(0.4)
    assert character_error_rate([("一二", "一二"), ("三四", "")]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no character"):
        character_error_rate([("。", "一")])


def test_capacity_follows_what_was_measured() -> None:
    assert capacity(0.04, 2) == 20
    assert capacity(0.4, 2) == 2
    assert capacity(5.0, 1) == 1


def test_the_measuring_sound_is_loud_and_always_the_same() -> None:
    first, again = speech_like(3.0), speech_like(3.0)
    assert len(first) == 24_000
    assert (first == again).all()
    assert 2_000 < abs(first.astype(float)).max() <= 32_000
