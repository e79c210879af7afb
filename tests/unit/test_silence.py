"""Our own measure of speech and silence, on sounds made by numbers."""

import time

import numpy as np
import pytest

from callcenter.speech.silence import FRAME_MS, SilenceMeter, SilenceRules
from callcenter.telephony.prompts import from_alaw, to_alaw

pytestmark = pytest.mark.unit

RATE = 8_000
FRAME = RATE * FRAME_MS // 1_000


def noise(seconds: float, level: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * level


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))


def voice(seconds: float, level: float = 6_000, seed: int = 3) -> np.ndarray:
    """A buzz whose pitch and loudness move as a voice's do."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * RATE)) / RATE
    pitch = 140 + 40 * np.sin(2 * np.pi * 2.3 * at) + 5 * rng.standard_normal(len(at)).cumsum() / 100
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    buzz = sum(np.sin(n * phase) / n for n in range(1, 15))
    return np.asarray(buzz) * level * (0.55 + 0.45 * np.sin(2 * np.pi * 4.1 * at))


def as_line(*parts: np.ndarray) -> np.ndarray:
    samples = np.clip(np.round(np.concatenate(parts)), -32_768, 32_767).astype(np.int16)
    samples = np.where(samples == 0, 0, from_alaw(to_alaw(samples))).astype(np.int16)
    return samples[: len(samples) // FRAME * FRAME]


def judge(samples: np.ndarray, block: int = 10) -> tuple[list[bool], list[int], SilenceMeter]:
    meter = SilenceMeter(RATE)
    voiced: list[bool] = []
    last: list[int] = []
    for at in range(0, len(samples), block * FRAME):
        frames = meter.judge(samples[at : at + block * FRAME])
        voiced += frames.voiced.tolist()
        last += frames.last_voiced
    return voiced, last, meter


def ends(last: list[int], silence_ms: int = 700) -> int:
    """How many utterances a listener who waits ``silence_ms`` would end."""
    count, open_since = 0, 0
    for now, voiced in enumerate(last, 1):
        if voiced > open_since and (now - voiced) * FRAME_MS >= silence_ms:
            count, open_since = count + 1, now
    return count


def test_a_voice_is_found_within_100_ms_of_both_its_ends() -> None:
    voiced, last, _ = judge(as_line(quiet(1), voice(2), quiet(2)))
    first = voiced.index(True) * FRAME_MS / 1_000
    assert 1.0 <= first <= 1.1
    assert last[-1] * FRAME_MS / 1_000 == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("level", [20, 60, 120])
def test_a_voice_is_found_in_line_noise(level: float) -> None:
    sound = np.concatenate([quiet(3), voice(2), quiet(2), voice(2, seed=4), quiet(3)])
    voiced, last, _ = judge(as_line(sound + noise(len(sound) / RATE, level)))
    assert ends(last) == 2
    assert not any(voiced[: int(2.9 / 0.02)])


@pytest.mark.parametrize("level", [0, 1, 6, 30, 100, 200])
def test_a_minute_of_steady_noise_is_no_voice(level: float) -> None:
    voiced, last, _ = judge(as_line(noise(60, level)))
    assert last[-1] == 0
    assert not any(voiced)


def test_a_noise_that_sets_in_is_learned_within_four_seconds() -> None:
    voiced, _, meter = judge(as_line(noise(5, 10), noise(20, 400)))
    assert not any(voiced[int(9 / 0.02) :])
    assert meter.floor_db == pytest.approx(20 * np.log10(400 / 32_768), abs=3)


@pytest.mark.parametrize(
    ("hertz", "on", "off"),
    [((450,), 0.35, 0.35), ((450,), 1.0, 4.0), ((1_000,), 20, 0), ((697, 1_209), 0.1, 0.1), ((770, 1_336), 0.2, 0.1)],
    ids=["busy", "ringback", "steady", "short keys", "keys"],
)
def test_tones_end_no_utterance(hertz: tuple[float, ...], on: float, off: float) -> None:
    at = np.arange(20 * RATE) / RATE
    sound = sum(5_000 * np.sin(2 * np.pi * h * at) for h in hertz) * (at % (on + off) < on)
    _, last, _ = judge(as_line(np.asarray(sound)))
    assert ends(last) == 0


def test_a_voice_after_a_loud_tone_is_heard() -> None:
    at = np.arange(3 * RATE) / RATE
    sound = as_line(
        noise(2, 10), 10_000 * np.sin(2 * np.pi * 1_000 * at), noise(0.5, 10), voice(1, level=900), quiet(1)
    )
    _, last, _ = judge(sound)
    assert last[-1] * FRAME_MS / 1_000 == pytest.approx(6.5, abs=0.12)


def test_clicks_are_no_voice() -> None:
    sound = noise(10, 8)
    sound[:: RATE // 2] = 20_000
    voiced, last, _ = judge(as_line(sound))
    assert last[-1] == 0
    assert not any(voiced)


def test_a_voice_from_the_first_sample_is_heard() -> None:
    voiced, _, _ = judge(as_line(voice(4)))
    assert sum(voiced[:50]) > 25


def test_silence_fed_on_a_clock_teaches_nothing() -> None:
    _, _, meter = judge(as_line(noise(4, 60)))
    before = meter.floor_db
    meter.judge(np.zeros(500 * FRAME, np.int16))
    assert meter.floor_db == before
    frames = meter.judge(as_line(noise(2, 60, seed=9)))
    assert not frames.voiced.any()


@pytest.mark.parametrize("block", [1, 3, 7, 50])
def test_the_judgement_does_not_depend_on_the_pieces(block: int) -> None:
    sound = as_line(noise(1, 20), voice(1.5), noise(1, 20), voice(0.5, seed=8), noise(1, 20))
    assert judge(sound, block)[0] == judge(sound, 10)[0]


def test_lost_frames_are_no_silence() -> None:
    meter = SilenceMeter(RATE)
    meter.judge(as_line(quiet(0.5), voice(1)))
    meter.skip(200)
    frames = meter.judge(np.zeros(10 * FRAME, np.int16))
    assert frames.last_voiced[-1] == 75 + 200  # the pause counts from where hearing goes on


def test_half_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="whole frames"):
        SilenceMeter(RATE).judge(np.zeros(FRAME + 1, np.int16))


def test_any_samples_are_borne() -> None:
    meter = SilenceMeter(RATE)
    for extreme in (-32_768, 32_767, 1, -1):
        meter.judge(np.full(20 * FRAME, extreme, np.int16))
    square = np.tile(np.array([32_767, -32_768], np.int16), 10 * FRAME)
    meter.judge(square)
    assert np.isfinite(meter.floor_db)


def test_judging_costs_little() -> None:
    """A second of a leg takes well below 1 % of a core; a real-voice model takes 3 %."""
    sound = as_line(*(np.concatenate([voice(2, seed=n), noise(1, 30, seed=n)]) for n in range(20)))
    began = time.thread_time()
    judge(sound)
    assert (time.thread_time() - began) / (len(sound) / RATE) < 0.003


def test_the_longest_utterance_fits_into_what_is_kept_for_a_new_child() -> None:
    from callcenter.compute.stream import KEPT_S

    assert SilenceRules().longest_ms / 1_000 + 5 <= KEPT_S
