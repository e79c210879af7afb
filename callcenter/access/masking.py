"""What is left of a citizen's particulars for eyes that need not see them whole.

Mobile numbers keep 3 + 4 digits (138****1234), landlines their area code and the last four; identity numbers the first
six and the last four. In free text everything that looks like a number to be reached or identified by is masked, also
when it was spoken: a recogniser writes 幺三八零零幺三八零零零.
"""

import re
from typing import Final

_DIGITS: Final = "0-9\uff10-\uff19零〇一二三四五六七八九幺两"
_SPOKEN: Final = re.compile(rf"[{_DIGITS}](?:[\s\-—]?[{_DIGITS}Xx]){{6,}}")
"""Seven digits or more in a row: shorter ones are house numbers and times."""

_BETWEEN: Final = re.compile(r"[\s\-—]")

_AREA: Final = re.compile(r"0(?:10|2\d|[3-9]\d\d)")


def mask_number(number: str) -> str:
    """``number`` with its middle starred; empty stays empty (withheld). No more than seven digits remain readable."""
    prefix, digits = "", number.strip()
    for country in ("+86", "0086"):
        if digits.startswith(country) and len(digits) > len(country) + 6:
            prefix, digits = country, digits[len(country) :]
            break
    length = len(digits)
    if length < 7:
        return prefix + "*" * length
    if length == 18:
        head, tail = 6, 4
    elif area := _AREA.match(digits):
        head, tail = area.end(), 4 if length - area.end() >= 7 else 2
    elif length >= 10:
        head, tail = 3, 4
    else:
        head, tail = 2, 2
    return prefix + digits[:head] + "*" * (length - head - tail) + digits[length - tail :]


def mask_text(text: str) -> str:
    """``text`` with every number of seven digits or more masked, whether in figures or in Chinese numerals."""
    return _SPOKEN.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    # As long as it was: a routing's evidence points into the text by code points.
    stars = iter(mask_number(_BETWEEN.sub("", found[0])))
    return "".join(letter if _BETWEEN.match(letter) else next(stars) for letter in found[0])
