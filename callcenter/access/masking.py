"""What is left of a citizen's particulars for eyes that need not see them whole.

Mobile numbers keep 3 + 4 digits (138****1234), landlines their area code and the last four; identity numbers the first
six and the last four. In free text everything that looks like a number to be reached or identified by is masked, also
when it was spoken: a recogniser writes 幺三八零零幺三八零零零.

Names keep the surname (张*, 欧阳**); what is personal and neither a name nor a number keeps its first character.
"""

import re
from typing import Final

_DIGITS: Final = "0-9\uff10-\uff19零〇一二三四五六七八九幺两"
_SPOKEN: Final = re.compile(rf"[{_DIGITS}](?:[\s\-—]?[{_DIGITS}Xx]){{6,}}")
"""Seven digits or more in a row: shorter ones are house numbers and times."""

_BETWEEN: Final = re.compile(r"[\s\-—]")

_AREA: Final = re.compile(r"0(?:10|2\d|[3-9]\d\d)")

_COMPOUND: Final = re.compile(
    "欧阳|上官|司马|诸葛|夏侯|东方|皇甫|尉迟|公孙|慕容|令狐|长孙|宇文|司徒|司空|轩辕|端木|南宫|独孤|呼延|"
    "百里|东郭|西门|南门|太史|太叔|申屠|公羊|公冶|公西|赫连|澹台|闻人|钟离|濮阳|淳于|宗政|鲜于|闾丘|万俟|"
    "仲孙|叔孙|乐正|左丘|谷梁|拓跋|完颜|第五|梁丘|宰父|巫马|漆雕|壤驷|颛孙|子车|亓官|段干|羊舌|微生|贺兰|"
    "纳兰"
)
"""Surnames of two characters (复姓) that are in use."""
_MOBILE: Final = re.compile(r"(?<![0-9])1[3-9][0-9](?:[ -]?[0-9]{4}){2}(?![0-9])")
_NUMBERS: Final = re.compile(r"(?=(?:\D*\d){7})[\d\s+\-—/、,;()（）Xx*]+")
"""A cell with numbers of seven digits or more and nothing else."""
_IDENTITY: Final = re.compile(
    "(?<![0-9A-Za-z])[1-8][0-9]{5}"
    "(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    "[0-9]{3}[0-9Xx](?![0-9A-Za-z])"
)
"""Region, day of birth, order, check. An enterprise's code has no day of birth in it."""
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
"""Of the first seventeen digits of an identity number (GB 11643-1999, ISO 7064 MOD 11-2)."""


def is_identity_number(text: str) -> bool:
    """Whether ``text`` is a citizen's identity number: eighteen signs, the last one the check of the others."""
    if not _IDENTITY.fullmatch(text):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, text[:17], strict=True))
    return "10X98765432"[total % 11] == text[17].upper()


def names_a_person(text: str) -> bool:
    """Whether ``text`` is by itself a number that a person is identified or reached by: of identity, or a mobile."""
    return is_identity_number(text) or bool(_MOBILE.fullmatch(text))


def mask_name(name: str) -> str:
    """``name`` with its surname alone: 张*, 欧阳**. A name of one character is starred whole; empty stays empty."""
    known = name.strip()
    kept = 2 if len(known) > 2 and _COMPOUND.match(known) else min(1, len(known) - 1)
    return known[:kept] + "*" * (len(known) - kept) if known else ""


def mask_personal(value: str) -> str:
    """``value``, which is known to be personal, whatever it is: a number as a number, all else as a name.

    A telephone's cell may hold a name behind the number: then it is no number.
    """
    return mask_number(value) if _NUMBERS.fullmatch(value) else mask_name(value)


def mask_identifiers(text: str) -> str:
    """``text`` with every mobile and identity number in it masked, and nothing else: beside them stand numbers of
    licences and enterprises, which are for all to read."""
    masked = _IDENTITY.sub(lambda found: mask_number(found[0]) if is_identity_number(found[0]) else found[0], text)
    return _MOBILE.sub(lambda found: mask_number(found[0]), masked)


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
