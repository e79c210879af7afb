"""The texts of messages: read from a data file, filled in from a fixed list of placeholders, people's data masked.

What a placeholder may show is decided here and nowhere else: a template that names another is refused when the file is
read, so that no text written in a hurry can send a telephone number or an address.
"""

import re
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final, Literal

from callcenter.access.masking import mask_number, mask_text
from callcenter.clock import local

FILE: Final = Path(__file__).with_name("templates.ini")
LONGEST: Final = 400
"""Characters of one message once filled in; six parts of a Chinese SMS (67 characters each when joined)."""

PLACEHOLDERS: Final[Mapping[str, str]] = {
    "number": "the case's number",
    "hotline": "the number that people call",
    "minor": "the small category, such as 路灯",
    "unit": "the unit's name",
    "addressee": "the post a sheet is addressed to",
    "phase": "which limit it is about, such as 处置",
    "due": "until when, in the city's time",
    "sheet": "the number of a supervision sheet",
    "reply_by": "until when a sheet is to be answered",
    "name": "the citizen's name, masked: 张*",
    "phone": "the citizen's number, masked: 138****8000",
}
"""All there are, and what each shows."""
OF_PEOPLE: Final = frozenset({"name", "phone"})
"""Those that hold people's data; masked, and never in a message to a unit."""
NEUTRAL: Final = frozenset({"hotline"})
"""All that a neutral template may hold."""

Audience = Literal["citizen", "unit"]

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
DOUBLE_SURNAMES: Final = frozenset(
    (
        *("欧阳", "司马", "上官", "诸葛", "东方", "皇甫", "尉迟", "公孙", "慕容", "令狐"),
        *("宇文", "长孙", "司徒", "夏侯", "端木", "轩辕", "南宫", "独孤", "闻人", "申屠"),
    )
)
"""The two-character surnames that are met; a name with another shows one character, which gives away less."""


class TemplateError(ValueError):
    """A template is not there or cannot be used; the message names it and the mend."""


@dataclass(frozen=True, slots=True)
class Template:
    """One text."""

    name: str
    audience: Audience
    text: str
    neutral: bool = False
    """Gives away neither that there is a case nor what it is about."""

    @property
    def placeholders(self) -> frozenset[str]:
        """Those in the text."""
        return frozenset(_PLACEHOLDER.findall(self.text))

    def fill(self, values: Mapping[str, str | datetime | None]) -> str:
        """The words to send. Raises TemplateError, which shows no value, when one is missing or all is too long."""
        words = _PLACEHOLDER.sub(lambda found: self._value(found[1], values), self.text)
        if len(words) > LONGEST:
            raise TemplateError(f"template {self.name} fills to {len(words)} characters: {LONGEST} is the most")
        return words

    def _value(self, name: str, values: Mapping[str, str | datetime | None]) -> str:
        value = values.get(name)
        if value is None or value == "":
            raise TemplateError(f"template {self.name} needs {name} ({PLACEHOLDERS[name]}), which is not there")
        if isinstance(value, datetime):
            return local(value).strftime("%m月%d日%H:%M")
        if name == "name":
            return mask_name(value)
        if name == "phone":
            return mask_number(value)
        # What a maintainer typed into a unit's name or a category may hold anything: numbers in it are masked too. The
        # numbers that are ours would be taken for telephones.
        return value if name in ("number", "sheet", "hotline") else " ".join(mask_text(value).split())


def mask_name(name: str) -> str:
    """A person's name with everything but the surname starred: ``张*``, ``欧阳**`` (DOMAIN.md §6)."""
    bare = name.strip()
    shown = 2 if bare[:2] in DOUBLE_SURNAMES and len(bare) > 2 else 1
    return bare[:shown] + "*" * max(1, len(bare) - shown)


def parse(text: str, source: str) -> Mapping[str, Template]:
    """The templates in ``text``. Raises TemplateError naming ``source``, the template and the mend."""
    parser = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=(";",), strict=True)
    try:
        parser.read_string(text, source)
    except ConfigError as error:
        raise TemplateError(f"{source} cannot be read as sections of name = value: {type(error).__name__}") from None
    found = {}
    for name in parser.sections():
        section = parser[name]
        audience, words = section.get("audience", ""), section.get("text", "").strip()
        try:
            neutral = section.getboolean("neutral", fallback=False)
        except ValueError:
            raise TemplateError(f"{source}: template {name}: neutral is yes or no") from None
        if not _NAME.fullmatch(name):
            raise TemplateError(f"{source}: template {name!r:.50}: a name is up to 40 lower-case letters, digits, _")
        if audience not in ("citizen", "unit"):
            raise TemplateError(f"{source}: template {name}: audience {audience!r:.20} is neither citizen nor unit")
        template = Template(name, "citizen" if audience == "citizen" else "unit", words, neutral)
        _check(template, source)
        found[name] = template
    return found


def _check(template: Template, source: str) -> None:
    where = f"{source}: template {template.name}"
    if not template.text:
        raise TemplateError(f"{where} has no text")
    if unknown := sorted(template.placeholders - PLACEHOLDERS.keys()):
        raise TemplateError(f"{where}: {{{unknown[0]}}} is no placeholder: {', '.join(PLACEHOLDERS)}")
    if "{" in (rest := _PLACEHOLDER.sub("", template.text)) or "}" in rest:
        raise TemplateError(f"{where}: a brace stands alone")
    if template.audience == "unit" and template.placeholders & OF_PEOPLE:
        raise TemplateError(f"{where}: a unit is not sent people's data: open the case instead")
    if template.neutral and template.placeholders - NEUTRAL:
        raise TemplateError(f"{where} is neutral and can hold {{hotline}} only")


@cache
def templates(file: Path = FILE) -> Mapping[str, Template]:
    """The templates of ``file``, read once. Raises TemplateError."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"{file} cannot be read: {type(error).__name__}") from None
    return parse(text, file.name)


def template(name: str) -> Template:
    """The template of this name. Raises TemplateError."""
    try:
        return templates()[name]
    except KeyError:
        raise TemplateError(f"no template {name!r:.50} in {FILE.name}: {', '.join(templates())}") from None
