"""What holds for all messages of a process: whether they go anywhere, how many a day, the secret of the hashes."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path
from typing import Final

from callcenter.messages.templates import template
from callcenter.settings import Settings

KEY_FILE: Final = "message-key"
KEY_BYTES: Final = 32
DAILY_LIMIT: Final = 5
UNIT_DAILY_LIMIT: Final = 200


class PolicyError(ValueError):
    """The settings of messages cannot be used; the message names the setting and the mend."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How this process writes messages. Made by ``from_settings`` and put in force by ``use``.

    A process that never called ``use`` (a test, a command) hashes with a secret of its own and counts limits by that.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    """Of the keyed hash of recipients: without it nobody can try all telephone numbers against the hashes."""
    hotline: str = "12319"
    open: bool = True
    """There is a gateway. Without one messages are withheld and kept as such."""
    daily_limit: int = DAILY_LIMIT
    """Messages a day (Asia/Shanghai) to one citizen."""
    unit_daily_limit: int = UNIT_DAILY_LIMIT
    neutral: str | None = None
    """Template that a confidential or emergency case's citizen gets instead; None: nothing at all."""

    def __post_init__(self) -> None:
        if self.neutral is not None and not template(self.neutral).neutral:
            raise PolicyError(f"CALLCENTER_MESSAGE_NEUTRAL_TEMPLATE={self.neutral}: that template is not neutral")

    @classmethod
    def from_settings(cls, settings: Settings) -> "Policy":
        """The policy of the settings; makes the secret on first use. Raises PolicyError, TemplateError, OSError."""
        return cls(
            key=recipient_key(settings.data_dir),
            hotline=_first(settings.lines),
            open=bool(settings.message_gateway),
            daily_limit=settings.message_daily_limit,
            unit_daily_limit=settings.message_unit_daily_limit,
            neutral=settings.message_neutral_template or None,
        )

    def hash(self, number: str) -> str:
        """The keyed hash (HMAC-SHA-256, hexadecimal) of a number in its plain form."""
        return hmac(self.key, number.encode(), sha256).hexdigest()


def _first(lines: Sequence[str]) -> str:
    return lines[0] if lines else "12319"


def recipient_key(data_dir: Path) -> bytes:
    """The secret of the hashes, kept in ``data_dir`` with mode 0600 and made there at first use.

    Two processes that start at once get the same one. Raises PolicyError for a file that is not ours, OSError.
    """
    path = data_dir / KEY_FILE
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        mine = data_dir / f".{KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
        file = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, secrets.token_hex(KEY_BYTES).encode())
            os.fsync(file)
        finally:
            os.close(file)
        try:
            # A link, not a rename: the file appears whole, and who comes second does not replace it.
            os.link(mine, path)
        except FileExistsError:
            pass
        finally:
            mine.unlink()
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) != KEY_BYTES:
        raise PolicyError(f"{path} is not {2 * KEY_BYTES} hexadecimal digits: put it back from a backup, or remove it")
    return key


_in_force: list[Policy] = []


def use(policy: Policy) -> None:
    """Put ``policy`` in force for this process."""
    _in_force[:] = [policy]


def in_force() -> Policy:
    """The policy of this process."""
    if not _in_force:
        _in_force.append(Policy())
    return _in_force[0]
