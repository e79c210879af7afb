"""How much of what was said was heard: the character error rate, for tests, the demo and benchmarks."""

import unicodedata
from collections.abc import Sequence


def edit_distance(said: Sequence[object], heard: Sequence[object]) -> int:
    """Fewest insertions, deletions and replacements that turn ``heard`` into ``said`` (Levenshtein)."""
    if len(said) < len(heard):
        said, heard = heard, said
    row = list(range(len(heard) + 1))
    for i, left in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def characters(text: str) -> str:
    """``text`` as it is compared: NFKC, lower case, letters and digits only; punctuation is not heard."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def character_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """CER over ``(said, heard)`` pairs as one text: errors / characters said.

    Raises ValueError when nothing was said.
    """
    errors = total = 0
    for said, heard in pairs:
        reference = characters(said)
        errors += edit_distance(reference, characters(heard))
        total += len(reference)
    if not total:
        raise ValueError("no character was said: a character error rate needs a reference text")
    return errors / total
