"""When is somebody speaking? Our own measure of level, because a model's end-pointing depends on the model.

Between the audio of a leg and the recogniser: each 20 ms frame of a leg is judged here before Vosk sees it. Pure: no
clock, no I/O; positions are frames since the first one given.

A telephone line is judged by its own noise. The noise floor is the lowest level of the last seconds: speech dips to it
between words, a steady noise stays on it. A frame is *voiced* when it stands clearly above the floor; it is *active*
when it stands above it at all, which is enough to keep decoding (somebody may be speaking softly) but never to say
that somebody spoke. Tones (ringback, busy, fax, a hum) are steady in pitch and level as no voice is, and do not count.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAME_MS = 20
"""One AudioSocket or RTP packet; short enough that a stop consonant's closure is not taken for a pause."""

DIGITAL_PEAK = 16
"""A frame whose every sample is within this of zero is digital silence: A-law's two smallest steps are 8 and 24."""

_FLOOR_WINDOW_MS = 2_500
"""Longer than people go without a dip between syllables, shorter than the pause in which a noise may set in."""
_FLOOR_START_DB = -52.0
_FLOOR_LOWEST_DB = -66.0
"""Below this lies the quantisation of A-law (about -70 dB for its smallest step): no floor is measured in that."""
_FLOOR_HIGHEST_DB = -26.0
"""A line noisier than this is not made out to be silent: voices at -16 dB must still stand out."""
_ONSET_ABOVE_DB = 9.0
_VOICED_ABOVE_DB = 6.5
_ACTIVE_ABOVE_DB = 2.5
"""Of the smoothed level, which in a steady noise strays by 0.5 dB."""
_VOICED_LOWEST_DB = -57.0
"""Telephone speech lies between -40 and -12 dB; what is softer than this is breath and the next room."""
_ONSET_FRAMES, _ONSET_OF = 3, 5
"""60 ms out of 100 ms must be voiced before somebody 'has started to speak': a click or a key press is shorter."""
_TONE_FRAMES = 5
"""Pitch and level unchanged for 100 ms, as long as a key press.
Of 95 s of read Mandarin and of espeak-ng's flat voice no frame is so."""
_TONE_SHARE = 0.96
_TONE_LEVEL_DB = 1.0


@dataclass(frozen=True, slots=True)
class SilenceRules:
    """What counts as the end: milliseconds of silence, and the longest utterance there is."""

    utterance_ms: int = 700
    statement_ms: int = 2_000
    longest_ms: int = 20_000
    """An utterance that goes on is cut here at the latest: text must reach the agent, and memory is bounded."""
    soft_longest_ms: int = 14_000
    """From here on the first dip of ``dip_ms`` cuts it."""
    dip_ms: int = 240


@dataclass(frozen=True, slots=True)
class Frames:
    """The judgement of consecutive frames, one entry a frame."""

    voiced: npt.NDArray[np.bool_]
    active: npt.NDArray[np.bool_]
    digital: npt.NDArray[np.bool_]
    last_voiced: list[int]
    """Frames from the leg's first to the end of its last voiced one, as known at each frame; 0 before any. It goes
    back when what was taken for a voice turns out to be a tone, or a noise that set in."""


class SilenceMeter:
    """Judges the frames of one leg, in order. ``rate`` is the sampling rate in Hz."""

    def __init__(self, rate: int = 8_000) -> None:
        self.rate = rate
        self.frame = rate * FRAME_MS // 1_000
        """Samples a frame."""
        self._window = np.hanning(self.frame).astype(np.float32)
        self._levels: deque[float] = deque(maxlen=_FLOOR_WINDOW_MS // FRAME_MS)
        self._smooth = _FLOOR_START_DB
        self._floor = _FLOOR_START_DB
        self._settled = 0
        self._speaking = False
        self._recent: deque[bool] = deque([False] * _ONSET_OF, maxlen=_ONSET_OF)
        self._tone_at = (-1, -1)
        self._tone_level = 0.0
        self._tone_run = 0
        self._judged = 0
        self._last_voiced = 0
        self._voiced_before_tone = 0
        self._voiced_before_stretch = 0
        self._stretch_level = 0.0

    @property
    def floor_db(self) -> float:
        """The noise floor in force, dB below full scale."""
        return self._floor

    @property
    def last_voiced(self) -> int:
        """Frames from the leg's first to the end of its last voiced one; 0 before any."""
        return self._last_voiced

    @property
    def tone(self) -> bool:
        """Whether the last frame belonged to a steady tone."""
        return self._tone_run >= _TONE_FRAMES

    def judge(self, samples: npt.NDArray[np.int16]) -> Frames:
        """Judge whole frames: ``samples`` has a multiple of ``frame`` samples. Raises ValueError when it has not."""
        count, rest = divmod(len(samples), self.frame)
        if rest:
            raise ValueError(f"{len(samples)} samples are not whole frames of {self.frame}")
        voiced, active = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        if not samples.any():  # silence fed on a clock: the floor learns nothing from it
            self._still(count)
            return Frames(voiced, active, np.ones(count, np.bool_), [self._last_voiced] * count)
        block = samples.reshape(count, self.frame).astype(np.float32)
        digital = np.abs(block).max(axis=1) <= DIGITAL_PEAK
        block -= block.mean(axis=1, keepdims=True)  # some gateways add a constant
        levels = 10.0 * np.log10(np.square(block).mean(axis=1) / 32_768.0**2 + 1e-10)
        peaks: list[tuple[int, int]] | None = None
        last: list[int] = []
        for at in range(count):
            if digital[at]:
                self._still(1)
                last.append(self._last_voiced)
                continue
            level = float(levels[at])
            # 60 ms: one quiet frame inside a vowel must not become the floor
            self._smooth += (level - self._smooth) / 3.0
            above = level - self._floor
            active[at] = max(self._smooth, level - 1.5) - self._floor > _ACTIVE_ABOVE_DB
            loud = level > _VOICED_LOWEST_DB and above > (_VOICED_ABOVE_DB if self._speaking else _ONSET_ABOVE_DB)
            if loud:
                if peaks is None:
                    peaks = self._peaks(block)
                self._follow_tone(peaks[at], level)
            else:
                self._tone_run = 0
            if loud and self.tone:
                loud = active[at] = False
                if self._tone_run == _TONE_FRAMES:
                    self._last_voiced = self._voiced_before_tone
                    self._speaking = False
                    self._recent.extend([False] * _ONSET_OF)
            if self._tone_run < _ONSET_FRAMES:
                self._learn()  # not from tones: after the beep the line is as quiet as before it
            self._recent.append(loud)
            if self._speaking:
                # two frames in a row: a lone crackle in a pause is not speech going on
                voiced[at] = loud and self._recent[-2]
                self._speaking = any(self._recent)
                if not self._speaking and self._stretch_level - self._floor < _VOICED_ABOVE_DB:
                    # it did not fall silent, the floor rose to it: what set in was a noise
                    self._last_voiced = min(self._last_voiced, self._voiced_before_stretch)
            elif sum(self._recent) >= _ONSET_FRAMES:
                self._speaking = voiced[at] = True
                self._voiced_before_stretch, self._stretch_level = self._last_voiced, level
            if voiced[at]:
                self._stretch_level += (level - self._stretch_level) / 8.0
            self._judged += 1
            if voiced[at]:
                self._last_voiced = self._judged
            last.append(self._last_voiced)
        return Frames(voiced, active, digital, last)

    def skip(self, frames: int) -> None:
        """``frames`` frames were lost. They are no silence: a pause is counted from their end on."""
        self._still(frames)
        if self._last_voiced:
            self._last_voiced = self._judged

    def _still(self, frames: int) -> None:
        self._judged += frames
        self._recent.extend([False] * min(frames, _ONSET_OF))
        self._speaking = any(self._recent)
        self._tone_run = 0

    def _learn(self) -> None:
        """Take the smoothed level into the floor."""
        if len(self._levels) < (self._levels.maxlen or 0):
            # nothing is known of the line yet: a caller who speaks at once must not be taken for noise
            lowest = min(self._floor, self._smooth + 1.5)
            self._levels.append(self._smooth)
        else:
            self._levels.append(self._smooth)
            self._settled += 1
            if self._settled % 5 and self._smooth >= self._floor:
                return  # the window's minimum is searched ten times a second, not fifty
            lowest = min(self._levels) + 1.5
        self._floor = min(max(lowest, _FLOOR_LOWEST_DB), _FLOOR_HIGHEST_DB)

    def _peaks(self, block: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
        """For each frame the bins of its two strongest partials, or (-1, -1) where its power is spread wider."""
        power = np.square(np.abs(np.fft.rfft(block * self._window, axis=1))).astype(np.float32)
        total = power.sum(axis=1) + 1e-9
        found: list[tuple[int, int]] = []
        bins = power.shape[1]
        for row, whole in zip(power, total, strict=True):
            first = int(row.argmax())
            low, high = max(0, first - 2), min(bins, first + 3)
            share = float(row[low:high].sum())
            second = first
            if share < _TONE_SHARE * whole:  # a dual tone: DTMF, or a ringback of other countries
                row[low:high] = 0.0
                second = int(row.argmax())
                share += float(row[max(0, second - 2) : second + 3].sum())
            found.append((first, second) if share >= _TONE_SHARE * whole else (-1, -1))
        return found

    def _follow_tone(self, peaks: tuple[int, int], level: float) -> None:
        same = (
            peaks[0] >= 0
            and set(peaks) == set(self._tone_at)  # the two partials of a dual tone take turns as the stronger
            and abs(level - self._tone_level) < _TONE_LEVEL_DB
        )
        if same:
            self._tone_run += 1
        else:
            self._tone_run = 1 if peaks[0] >= 0 else 0
            self._voiced_before_tone = self._last_voiced
            self._tone_at, self._tone_level = peaks, level
