"""``dialplans/`` → Asterisk's configuration. Pure but for reading the templates: values in, files' texts out.

Nothing here starts anything; ``asterisk.py`` writes what comes out and runs it, and ``callcenter asterisk render``
writes the part that an existing Asterisk needs. The templates' syntax is told in ``dialplans/README.md``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from callcenter.settings import Settings

CALL_MAX_SECONDS: Final = 4 * 3600
BRIDGE_PATIENCE_SECONDS: Final = 4
"""A bridge that does not say what to do with a call for this long is taken for frozen; its own limit is 2 s."""
STATEMENT_OVERHEAD_SECONDS: Final = 150
"""Prompts, the number read twice and the silences around a statement, generously."""
STATEMENTS_AT_MOST: Final = 5
"""Two tries and three additions (``calls.conversation``)."""
"""A call is over then, whatever happens: only one that nobody ended gets there."""

_PLACEHOLDER: Final = re.compile(r"@([A-Z][A-Z0-9_]*)@")
_EACH: Final = re.compile(r"^;@each ([A-Z][A-Z0-9_]*)\s*$")
_END: Final = re.compile(r"^;@end\s*$")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f;\"$\\]")
"""What Asterisk's reader takes for more than a value: line breaks, comments, quotes, variables, escapes."""

_LINE: Final = re.compile(r"[0-9+]{1,20}")
_EXTENSION: Final = re.compile(r"[0-9]{1,10}")


class DialplanError(Exception):
    """A template or a value is not usable; the text names it and the mend."""


@dataclass(frozen=True, slots=True)
class AsteriskEndpoint:
    """Where an Asterisk is and what opens it. ``agents``: extension → SIP password of user ``agent<extension>``."""

    sip_host: str
    sip_port: int
    ami_host: str
    ami_port: int
    ami_user: str
    ami_secret: str
    agents: dict[str, str]
    trunk_ip: str
    """An address that the trunk accepts calls from: what the demo's and the tests' callers bind to."""


@dataclass(frozen=True, slots=True)
class Place:
    """Folders of one Asterisk. ``control`` holds the socket of its command line."""

    root: Path
    installation: Path
    sounds: Path
    control: Path


@dataclass(frozen=True, slots=True)
class Values:
    """What the placeholders stand for. ``lists`` has, for each ``;@each`` name, one set of values a repetition."""

    scalars: Mapping[str, str]
    lists: Mapping[str, Sequence[Mapping[str, str]]]


def values(
    settings: Settings, endpoint: AsteriskEndpoint, place: Place, *, agi_port: int, audiosocket_port: int
) -> Values:
    """Every placeholder's value. Raises DialplanError naming a setting whose value Asterisk could misread."""
    for line in settings.lines:
        if not _LINE.fullmatch(line):
            raise DialplanError(f"CALLCENTER_LINES has {line!r}: a number dialled is 1–20 digits, or +")
    for extension in settings.agent_extensions:
        if not _EXTENSION.fullmatch(extension):
            raise DialplanError(f"CALLCENTER_AGENT_EXTENSIONS has {extension!r}: an extension is 1–10 digits")
    if settings.rtp_last_port - settings.rtp_first_port < 3:
        raise DialplanError(
            f"CALLCENTER_RTP_LAST_PORT is {settings.rtp_last_port}: at least 3 above CALLCENTER_RTP_FIRST_PORT "
            f"{settings.rtp_first_port}"
        )
    scalars = {
        "ROOT": str(place.root),
        "INSTALLATION": str(place.installation),
        "SOUNDS": str(place.sounds),
        "CONTROL": str(place.control),
        "SIP_HOST": _bracketed(endpoint.sip_host),
        "SIP_PORT": str(endpoint.sip_port),
        "AMI_HOST": endpoint.ami_host,
        "AMI_PORT": str(endpoint.ami_port),
        "AMI_USER": endpoint.ami_user,
        "AMI_SECRET": endpoint.ami_secret,
        "AMI_PERMIT": _only(settings.bridge_host),
        "AGI": f"{_bracketed(settings.bridge_host)}:{agi_port}",
        "AUDIOSOCKET": f"{_bracketed(settings.bridge_host)}:{audiosocket_port}",
        "RTP_FIRST": str(settings.rtp_first_port),
        "RTP_LAST": str(settings.rtp_last_port),
        "QUEUE_TIMEOUT": str(settings.queue_timeout_s),
        "STATEMENT_MAX": str(settings.statement_max_s),
        "CALL_MAX": str(CALL_MAX_SECONDS),
        "BRIDGE_PATIENCE": str(BRIDGE_PATIENCE_SECONDS),
        "STATEMENT_PATIENCE": str(STATEMENTS_AT_MOST * settings.statement_max_s + STATEMENT_OVERHEAD_SECONDS),
    }
    lists = {
        "LINE": [{"LINE": line} for line in settings.lines],
        "AGENT": [
            {"AGENT": extension, "AGENT_PASSWORD": endpoint.agents[extension]}
            for extension in settings.agent_extensions
        ],
        "TRUNK_NETWORK": [{"TRUNK_NETWORK": network} for network in settings.trunk_match],
    }
    for known in (scalars, *(entry for entries in lists.values() for entry in entries)):
        for name, value in known.items():
            if _UNSAFE.search(value):
                shown = "(a secret)" if name in ("AMI_SECRET", "AGENT_PASSWORD") else repr(value)
                raise DialplanError(f"the value of @{name}@ has a character that Asterisk's files cannot hold: {shown}")
    return Values(scalars, lists)


def trunk_ip(settings: Settings) -> str:
    """The first address the trunk accepts calls from; empty when no network is given."""
    for network in settings.trunk_match:
        return str(ip_network(network).network_address)
    return ""


def render_text(template: str, known: Values, *, name: str) -> str:
    """``template`` with its placeholders filled. Raises DialplanError with ``name``, line and placeholder."""
    lines = template.splitlines()
    out: list[str] = []
    at = 0
    while at < len(lines):
        each = _EACH.match(lines[at])
        if _END.match(lines[at]):
            raise DialplanError(f"{name}:{at + 1}: ;@end without ;@each")
        if each is None:
            out.append(_fill(lines[at], known.scalars, f"{name}:{at + 1}"))
            at += 1
            continue
        end = next((i for i in range(at + 1, len(lines)) if _END.match(lines[i])), None)
        if end is None:
            raise DialplanError(f"{name}:{at + 1}: ;@each {each[1]} without ;@end")
        if each[1] not in known.lists:
            raise DialplanError(f"{name}:{at + 1}: no list {each[1]}: one of {', '.join(sorted(known.lists))}")
        for entry in known.lists[each[1]]:
            merged = {**known.scalars, **entry}
            out += [_fill(lines[i], merged, f"{name}:{i + 1}") for i in range(at + 1, end)]
        at = end + 1
    return "\n".join(out) + "\n"


def render(dialplans_dir: Path, known: Values, *, whole: bool = True) -> dict[str, str]:
    """File name → text. ``whole``: everything our own Asterisk reads; else only ``hotline/``, for an existing one.

    Raises DialplanError when the templates are missing or faulty.
    """
    files: dict[str, str] = {}
    for path, name in _templates(dialplans_dir, whole=whole):
        files[name] = render_text(path.read_text("utf-8"), known, name=str(path))
    return files


def modules(dialplans_dir: Path) -> list[str]:
    """The modules our own Asterisk loads, in order. Raises DialplanError when the list is missing."""
    path = dialplans_dir / "own" / "modules.conf"
    if not path.is_file():
        raise DialplanError(f"no module list at {path}: set CALLCENTER_DIALPLANS_DIR to the project's dialplans")
    return re.findall(r"^load = (\S+\.so)$", path.read_text("utf-8"), re.MULTILINE)


def _templates(dialplans_dir: Path, *, whole: bool) -> Iterator[tuple[Path, str]]:
    found = False
    for folder, prefix in (("own", ""), ("hotline", "hotline/")) if whole else (("hotline", "hotline/"),):
        for path in sorted((dialplans_dir / folder).glob("*.conf")):
            found = True
            yield path, prefix + path.name
    if not found:
        raise DialplanError(f"no templates in {dialplans_dir}: set CALLCENTER_DIALPLANS_DIR to the project's dialplans")


def _fill(line: str, known: Mapping[str, str], where: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise DialplanError(f"{where}: no value for @{match[1]}@: one of {', '.join(sorted(known))}")
        return known[match[1]]

    return _PLACEHOLDER.sub(value, line)


def _only(host: str) -> str:
    try:
        return str(ip_network(host))
    except ValueError:
        raise DialplanError(
            f"CALLCENTER_BRIDGE_HOST is {host!r}: it must be an address, AMI lets no other in"
        ) from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
