"""What must outlive a bridge about its Asterisk: ``data_dir/run/asterisk.json``, mode 0600."""

import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from callcenter.settings import Settings
from callcenter.telephony import process


class AsteriskError(Exception):
    """Asterisk cannot be used; the text says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class AsteriskState:
    """Process, ports and secrets. ``started`` is in clock ticks since boot: a process id alone is used again."""

    pid: int = 0
    started: int = 0
    sip_port: int = 0
    ami_port: int = 0
    ami_secret: str = ""
    agents: dict[str, str] = field(default_factory=dict)
    """Extension → SIP password; one that was ever given stays, so that a telephone set up once goes on working."""


def load(settings: Settings) -> AsteriskState:
    """What the last start remembered, completed with fresh passwords for new agents.

    Raises AsteriskError when the file is not what we wrote.
    """
    path = _path(settings)
    try:
        data: dict[str, Any] = json.loads(path.read_text("utf-8"))
        state = AsteriskState(**data)
    except FileNotFoundError:
        state = AsteriskState()
    except (json.JSONDecodeError, TypeError) as error:
        raise AsteriskError(f"{path} is damaged ({error}): stop Asterisk, delete the file, start again") from None
    agents = dict(state.agents)
    for extension in settings.agent_extensions:
        agents.setdefault(extension, secrets.token_urlsafe(18))
    return replace(state, agents=agents)


def save(settings: Settings, state: AsteriskState) -> None:
    """Replace what is remembered."""
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    process.write_private(path, json.dumps(asdict(state), indent=1))


def _path(settings: Settings) -> Path:
    return settings.data_dir / "run" / "asterisk.json"
