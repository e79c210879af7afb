"""What recognition does to a sentence, done on purpose: characters become others that sound like them, or vanish.

Used to train on and to measure with, never while routing. Two characters sound alike when ``sounds`` says so.
"""

from collections.abc import Iterable
from random import Random

from classifier.sounds import sound


class Noise:
    """Corrupts texts with the characters seen in ``texts``: rare ones nobody says would teach nothing."""

    def __init__(self, texts: Iterable[str]) -> None:
        seen = sorted({c for text in texts for c in text if "\u4e00" <= c <= "\u9fff"})
        by_sound: dict[str, list[str]] = {}
        self._sounds = {c: sound(c) for c in seen}
        for c in seen:
            by_sound.setdefault(self._sounds[c], []).append(c)
        self._alike = {c: [other for other in by_sound[s] if other != c] for c, s in self._sounds.items()}

    def replace(self, text: str, share: float, random: Random) -> str:
        """``text`` with about ``share`` of its Chinese characters misheard; one in ten of those is lost."""
        out: list[str] = []
        for c in text:
            if c in self._alike and random.random() < share:
                if random.random() < 0.1:
                    continue
                if self._alike[c]:
                    c = random.choice(self._alike[c])
            out.append(c)
        return "".join(out) or text

    @staticmethod
    def truncate(text: str, random: Random) -> str:
        """The first 40-90 % of ``text``: what is known while a caller still speaks; at least 8 characters."""
        return text[: max(8, round(len(text) * random.uniform(0.4, 0.9)))]
