"""One leg's ear: PCM in, events out. Vosk gives the words; our own measure of silence says where an utterance ends.

In the compute child, on one of its threads: a ``LegRecognizer`` is used by one thread at a time and keeps no clock but
the count of its samples. Only what may be speech is decoded: from 400 ms before the line rises above its noise until
the utterance is over, so that the other party's long silences cost next to nothing.
"""

import json
import time
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from callcenter.speech.events import LegEvent, Partial, SpeechStarted, StatementEnded, Utterance, Word
from callcenter.speech.models import SpeechModel, examine
from callcenter.speech.silence import FRAME_MS, SilenceMeter, SilenceRules

LEG_RATE = 8_000
"""Hz: what Asterisk's AudioSocket delivers, signed 16-bit little-endian, mono."""
_PREROLL_MS = 400
"""The start of a word is softer than its vowel, and the network wants some frames of context before it."""
_QUIET_MS = 600
"""Sound that never rose to a voice is decoded until it has been gone this long."""
_PARTIAL_MS = 400
"""PartialResult walks back through the whole utterance: at this rate it costs 1 % of decoding."""
_STARTED_AFTER_MS = 240
"""SpeechStarted is told this late, when a tone would have been recognised as one."""
_SPOKEN_MS = 500
"""This much voice is a statement begun, even if no word of it was understood."""
_FAINT_CONFIDENCE, _FAINT_CHARACTERS = 0.6, 2
"""What is read out of sound that never rose to a voice must be at least this much to be believed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An event, and the sample up to which the leg's audio is settled by it: what lies before is never needed again."""

    event: LegEvent
    settled: int


@dataclass(frozen=True, slots=True)
class Ear:
    """A loaded model: one in memory serves every leg."""

    card: SpeechModel
    model: Any


def load(path: Path, *, stamps: Path | None = None) -> Ear:
    """Examine and load the model in ``path``. Raises ModelError; Vosk itself raises Exception on a bad file."""
    card = examine(path, stamps=stamps)
    card.rate_for(LEG_RATE)
    import vosk  # here, not above: the main process imports this module's names and must not load native code

    vosk.SetLogLevel(-1)
    return Ear(card, vosk.Model(str(path)))


def join_words(words: list[str]) -> str:
    """Vosk's words as people write them: no spaces in Chinese, one between Latin words; markers such as <unk> go."""
    text = ""
    for word in words:
        if word[0] in "<[":
            continue
        if text and text[-1].isascii() and text[-1].isalnum() and word[0].isascii() and word[0].isalnum():
            text += " "
        text += word
    return text


def mean_confidence(words: tuple[Word, ...]) -> float:
    """Mean of the words' confidences, weighted by their lengths in time; 0 for no words."""
    if not words:
        return 0.0
    weights = [max(word.end - word.start, 0.01) for word in words]
    return sum(w.confidence * weight for w, weight in zip(words, weights, strict=True)) / sum(weights)


class LegRecognizer:
    """Hears one leg. Positions inside are samples at ``rate`` from the leg's first one."""

    def __init__(
        self,
        ear: Ear,
        *,
        rate: int = LEG_RATE,
        rules: SilenceRules | None = None,
        position: int = 0,
        spoken: bool = False,
    ) -> None:
        """``position``: where the audio to come begins; ``spoken``: a statement is under way (both after a restart)."""
        import vosk

        self._rules = rules or SilenceRules()
        self._rate = rate
        self._vosk = vosk.KaldiRecognizer(ear.model, rate)
        self._vosk.SetWords(True)
        self._meter = SilenceMeter(rate)
        self._frame = self._meter.frame
        self.position = position
        self.settled = position
        """All audio before this sample is done with: no utterance under way reaches back before it."""
        self._base = position
        """Sample of the leg at which the meter's frame 0 lies."""
        self._rest = b""
        self._sequence = 0
        self._heard: list[Heard] = []
        self._arrived = 0.0

        self._decoding = False
        self._preroll = bytearray()
        self._fed = 0
        self._fed_marks: list[int] = []
        self._leg_marks: list[int] = []
        self._cut = 0
        """Frame at which the last utterance was cut; a voice after it belongs to the next."""
        self._quiet = 0
        self._onset: int | None = None
        self._told_started = False
        self._partial = ""
        self._partial_fed = 0
        self._spoken = spoken
        self._voiced = 0
        self._voiced_here = 0

    # -- the way in ------------------------------------------------------------------------------------------------
    def feed(self, pcm: bytes, *, position: int | None = None, arrived: float | None = None) -> list[Heard]:
        """Hear more of the leg. ``position`` is the sample ``pcm`` begins at (default: it follows); what was missed in
        between ends the utterance under way. ``arrived`` is the monotonic time at which ``pcm`` came in.
        """
        self._arrived = time.monotonic() if arrived is None else arrived
        if position is not None:
            expected = self.position + len(self._rest) // 2
            if position > expected:
                self._skip_to(position)
            elif position < expected:
                pcm = pcm[2 * (expected - position) :]
        data = self._rest + pcm if self._rest else pcm
        whole = len(data) // (2 * self._frame)
        used = whole * 2 * self._frame
        self._rest = data[used:]
        if whole:
            self._hear(data[:used], whole)
        return self._take()

    def finish(self) -> list[Heard]:
        """The leg is over: what was said last becomes an utterance. More audio may follow harmlessly."""
        self._arrived = time.monotonic()
        if self._decoding and len(self._rest) > 1:
            self._accept(self._rest[: len(self._rest) // 2 * 2])
        self.position += len(self._rest) // 2
        self._rest = b""
        if self._decoding:
            self._finalise(self._frames_until_now(), self._last_voiced_or_cut())
        self.settled = self.position
        return self._take()

    def _take(self) -> list[Heard]:
        heard, self._heard = self._heard, []
        return heard

    # -- frames ----------------------------------------------------------------------------------------------------
    def _hear(self, data: bytes, count: int) -> None:
        samples: npt.NDArray[np.int16] = np.frombuffer(data, dtype="<i2")
        frames = self._meter.judge(samples)
        first = self._frames_until_now()
        self.position += count * self._frame
        width = 2 * self._frame
        begin = 0
        for at in range(count):
            now, last = first + at + 1, frames.last_voiced[at]
            if last <= self._cut:
                self._voiced_here = 0  # nothing yet, or what there was turned out to be a tone
            elif frames.voiced[at]:
                self._voiced_here += 1
            self._quiet = 0 if frames.active[at] or frames.voiced[at] else self._quiet + 1
            if not self._decoding and self._quiet == 0:
                self._begin(data[begin * width : at * width], first + at)
                begin = at
            if self._decoding:
                self._watch_onset(now, last)
                if self._is_over(now, last):
                    self._accept(data[begin * width : (at + 1) * width])
                    self._finalise(now, last)
                    begin = at + 1
            self._watch_statement(now, last)
        rest = data[begin * width :]
        if self._decoding:
            self._accept(rest)
            self._tell_partial()
        else:
            self._preroll += rest
            del self._preroll[: -_samples(_PREROLL_MS, self._rate) * 2]
            self.settled = self.position - len(self._preroll) // 2

    def _is_over(self, now: int, last: int) -> bool:
        rules, since = self._rules, max(last, self._cut)
        silence, length = (now - since) * FRAME_MS, (now - self._utterance_began()) * FRAME_MS
        if last <= self._cut:
            return self._quiet * FRAME_MS >= _QUIET_MS or length >= rules.longest_ms
        return (
            silence >= rules.utterance_ms
            or length >= rules.longest_ms
            or (length >= rules.soft_longest_ms and silence >= rules.dip_ms)
        )

    def _watch_onset(self, now: int, last: int) -> None:
        if last <= self._cut:
            self._onset = None
        elif self._onset is None:
            self._onset = max(last - 3, self._cut)
        elif not self._told_started and (now - self._onset) * FRAME_MS >= _STARTED_AFTER_MS:
            self._tell_started()

    def _watch_statement(self, now: int, last: int) -> None:
        patience = max(self._rules.statement_ms, self._rules.utterance_ms)
        if (now - last) * FRAME_MS < patience or (self._decoding and last > self._cut):
            return
        if self._spoken or self._voiced * FRAME_MS >= _SPOKEN_MS:
            self._spoken, self._voiced = False, 0
            self._tell(StatementEnded(self._seconds(last), self._seconds(now)))

    # -- Vosk ------------------------------------------------------------------------------------------------------
    def _begin(self, before: bytes, frame: int) -> None:
        """Start decoding at ``frame``; ``before`` is this block's audio ahead of it."""
        self._preroll += before
        del self._preroll[: -_samples(_PREROLL_MS, self._rate) * 2]
        self._decoding = True
        start = self._base + frame * self._frame - len(self._preroll) // 2
        self.settled = start
        self._fed_marks.append(self._fed)
        self._leg_marks.append(start)
        del self._fed_marks[:-50], self._leg_marks[:-50]
        self._partial, self._partial_fed = "", self._fed
        if self._preroll:
            lead, self._preroll = bytes(self._preroll), bytearray()
            self._accept(lead)

    def _accept(self, pcm: bytes) -> None:
        if not pcm:
            return
        ended = self._vosk.AcceptWaveform(pcm)
        self._fed += len(pcm) // 2
        if ended:
            # Vosk's own end-pointing, where it works, cuts in noise that our measure takes for a voice
            now = self._leg_frame(self._fed)
            if self._utter(self._vosk.Result(), now, self._last_voiced_or_cut()):
                self._begin_anew(now)

    def _finalise(self, now: int, last: int) -> None:
        self._decoding = False
        self._quiet = 0
        self._utter(self._vosk.FinalResult(), now, last)
        self._voiced += self._voiced_here
        self._begin_anew(now)

    def _begin_anew(self, now: int) -> None:
        self._cut, self._onset, self._told_started, self._voiced_here = now, None, False, 0
        self.settled = self._base + now * self._frame

    def _utter(self, result: str, now: int, last: int) -> bool:
        """Make an utterance of Vosk's result, if it holds one."""
        found = json.loads(result)
        words = tuple(self._word(word) for word in found.get("result", ()) if word["word"][0] not in "<[")
        text = join_words(found.get("text", "").split())
        self._partial = ""
        voiced = last > self._cut
        confidence = mean_confidence(words)
        if voiced and not self._told_started and self._onset is not None:
            self._tell_started()
        settled = self._base + now * self._frame
        if not text or (not voiced and (confidence < _FAINT_CONFIDENCE or len(text) < _FAINT_CHARACTERS)):
            return False
        began = self._leg_marks[-1] / self._rate
        utterance = Utterance(
            sequence=self._sequence,
            text=text,
            start=words[0].start if words else began,
            end=words[-1].end if words else self._seconds(max(last, self._cut)),
            confidence=round(confidence, 4),
            words=words,
            last_voiced=self._seconds(last) if voiced else (words[-1].end if words else self._seconds(now)),
            end_decided=self._seconds(now),
            decode_ms=round((time.monotonic() - self._arrived) * 1_000, 3),
        )
        self._sequence += 1
        self._spoken = True
        self.settled = settled
        self._tell(utterance)
        return True

    def _word(self, word: dict[str, Any]) -> Word:
        start, end = self._leg_seconds(float(word["start"])), self._leg_seconds(float(word["end"]))
        return Word(str(word["word"]), start, max(start, end), round(float(word.get("conf", 0.0)), 4))

    # -- telling ---------------------------------------------------------------------------------------------------
    def _tell(self, event: LegEvent) -> None:
        self._heard.append(Heard(event, self.settled))

    def _tell_started(self) -> None:
        self._told_started = True
        self._tell(SpeechStarted(self._seconds(self._onset or 0)))

    def _tell_partial(self) -> None:
        if self._onset is None or self._fed - self._partial_fed < _samples(_PARTIAL_MS, self._rate):
            return
        self._partial_fed = self._fed
        text = join_words(json.loads(self._vosk.PartialResult()).get("partial", "").split())
        if text and text != self._partial:
            self._partial = text
            self._tell(Partial(text, self._seconds(self._onset)))

    # -- positions -------------------------------------------------------------------------------------------------
    def _frames_until_now(self) -> int:
        return (self.position - self._base) // self._frame

    def _seconds(self, frame: int) -> float:
        return round((self._base + frame * self._frame) / self._rate, 3)

    def _leg_seconds(self, fed: float) -> float:
        """A time on Vosk's clock, which counts what it was fed, as a time on the leg's."""
        mark = max(bisect_right(self._fed_marks, fed * self._rate + 1) - 1, 0)
        return round(fed + (self._leg_marks[mark] - self._fed_marks[mark]) / self._rate, 3)

    def _leg_frame(self, fed: int) -> int:
        return (self._leg_marks[-1] + fed - self._fed_marks[-1] - self._base) // self._frame

    def _utterance_began(self) -> int:
        """Frame at which the utterance under way began: where decoding did, or where Vosk cut the last one."""
        return max((self._leg_marks[-1] - self._base) // self._frame, (self.settled - self._base) // self._frame)

    def _last_voiced_or_cut(self) -> int:
        return max(self._meter.last_voiced, self._cut)

    def _skip_to(self, position: int) -> None:
        """Audio up to ``position`` was lost: it is not silence, nothing may be concluded from it."""
        now = self._frames_until_now()
        if self._decoding:
            self._finalise(now, self._last_voiced_or_cut())
        self._rest = b""
        self._preroll.clear()
        skipped = -(-(position - self.position) // self._frame)
        self._meter.skip(skipped)
        self._cut = now + skipped
        self._base += position - self.position - skipped * self._frame
        self.position = self.settled = position


def _samples(milliseconds: int, rate: int) -> int:
    return milliseconds * rate // 1_000
