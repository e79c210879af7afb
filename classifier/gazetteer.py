"""A city's own names of places and the areas they lie in, for finding in a text what was said of them.

A name is found as it stands in the text, or as it sounds: a misheard 柳全路 is 柳泉路 where the city has no 柳全路. The
longest name counts. Nothing here knows where names come from; ``callcenter`` loads them from the city's base data.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from classifier.sounds import symbol
from classifier.text import Traced

SHORTEST = 2
"""Characters of the shortest name; one alone stands everywhere."""
SHORTEST_HEARD = 3
"""Characters of the shortest name that is found by its sound: two syllables stand for too many words."""


@dataclass(frozen=True)
class Gazetteer:
    """``areas``: each name with the code of the area it lies in, or None where it crosses several."""

    areas: Mapping[str, str | None]

    @classmethod
    def read(cls, path: Path) -> "Gazetteer | None":
        """The names in a JSON file; None where there is no file. Raises ValueError for one that holds something
        else.
        """
        try:
            names = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if not isinstance(names, dict):
            raise ValueError(f"{path}: must be an object of names, each with an area's code or null")
        return cls({str(name): None if area is None else str(area) for name, area in names.items()})

    @cached_property
    def _by_start(self) -> dict[str, list[tuple[str, str]]]:
        """(the name as it sounds, the name) by its first two sounds, longest first."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name in self.areas:
            if len(name) >= SHORTEST:
                heard = "".join(map(symbol, name))
                found.setdefault(heard[:2], []).append((heard, name))
        for names in found.values():
            names.sort(key=lambda pair: (-len(pair[1]), pair[1]))
        return found

    def find(self, cleaned: Traced) -> tuple[str, int, int] | None:
        """(name, start, end) in the cleaned text of the longest name in it, as written before as heard; None without
        one.
        """
        text = cleaned.text
        heard = "".join(map(symbol, text))
        best: tuple[int, bool, str, int] | None = None
        for start in range(len(text) - 1):
            for sounds, name in self._by_start.get(heard[start : start + 2], ()):
                if not heard.startswith(sounds, start):
                    continue
                written = text.startswith(name, start)
                found = (len(name), written, name, start)
                if (written or len(name) >= SHORTEST_HEARD) and (best is None or found[:2] > best[:2]):
                    best = found
        return (best[2], best[3], best[3] + best[0]) if best else None
