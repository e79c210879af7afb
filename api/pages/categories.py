"""Finding a category by typing a few characters of its name, its everyday words, its code, or its pinyin initials.

Every category of the urban standard in force and of the social one, read once. Initials (路灯 → ld) spare the agent the
input method while a citizen is speaking.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pypinyin import Style, lazy_pinyin

from classifier.taxonomy import SOCIAL, Category, load

MOST_SHOWN: Final = 9


@dataclass(frozen=True, slots=True)
class Findable:
    """A category with everything it can be found by, lower case."""

    category: Category
    key: str
    """``standard|kind|code``: its identity in a page."""
    minor: str
    initials: str
    pinyin: str
    rest: str
    """Major, code and everyday words."""


class Categories:
    """The categories an agent can choose from."""

    def __init__(self, standard: str) -> None:
        entries = [*load(standard).entries, *load(SOCIAL).entries]
        self._all = [
            Findable(
                category=one.category,
                key=f"{one.category.standard}|{one.category.kind}|{one.category.code}",
                minor=one.category.minor.casefold(),
                initials="".join(lazy_pinyin(one.category.minor, style=Style.FIRST_LETTER)).casefold(),
                pinyin="".join(lazy_pinyin(one.category.minor)).casefold(),
                rest=" ".join([one.category.major, one.category.code, *one.words]).casefold(),
            )
            for one in entries
        ]
        self._by_key = {one.key: one for one in self._all}

    def __len__(self) -> int:
        return len(self._all)

    def search(self, text: str, limit: int = MOST_SHOWN) -> list[Findable]:
        """The categories that ``text`` may mean, best first: name before initials before pinyin before other words.

        Several words (separated by blanks) must all be found. Nothing for an empty text.
        """
        wanted = text.casefold().split()
        if not wanted:
            return []
        scored = []
        for order, one in enumerate(self._all):
            scores = [_score(one, word) for word in wanted]
            if all(scores):
                scored.append((-sum(scores), order, one))
        return [one for _, _, one in sorted(scored, key=lambda found: found[:2])[:limit]]

    def get(self, key: str) -> Findable | None:
        """The category with this ``key``, or None."""
        return self._by_key.get(key)

    def of(self, category: dict[str, object]) -> Findable | None:
        """The category of a routing's ``{"standard", "kind", "code", …}``, or None when it is not one of these."""
        return self.get(f"{category.get('standard')}|{category.get('kind')}|{category.get('code')}")


def _score(one: Findable, word: str) -> int:
    if one.minor == word:
        return 100
    if one.minor.startswith(word):
        return 80
    if word in one.minor:
        return 70
    if word in (one.initials, one.pinyin):
        return 65
    if one.initials.startswith(word):
        return 60
    if one.pinyin.startswith(word):
        return 50
    if word in one.rest:
        return 40
    if word in one.initials or (len(word) >= 3 and word in one.pinyin):
        return 30
    return 0


@lru_cache(maxsize=4)
def categories_of(standard: str) -> Categories:
    """The categories for the urban ``standard``. Takes a good part of a second the first time: call it in a thread."""
    return Categories(standard)
