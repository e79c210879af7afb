"""Random tokens and keys, and the form in which they are stored.

SHA-256 and not argon2: what is hashed here has 256 random bits and cannot be guessed, see ``access.model``.
"""

import re
import secrets
from hashlib import sha256
from typing import Final

KEY_PREFIX: Final = "hl_"

_KEY = re.compile(r"hl_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def new_token() -> str:
    """256 random bits in 43 characters that are safe in a URL and a cookie."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """The SHA-256 of ``token``, hexadecimal: what is stored."""
    return sha256(token.encode()).hexdigest()


def is_token(text: str) -> bool:
    """Whether ``text`` has the shape of a token: what has not is refused without asking the database."""
    return _TOKEN.fullmatch(text) is not None


def new_key() -> tuple[str, str, str]:
    """A new API key: its public id, its secret, and the whole text that is shown once."""
    public_id, secret = secrets.token_hex(6), new_token()
    return public_id, secret, f"{KEY_PREFIX}{public_id}_{secret}"


def split_key(text: str) -> tuple[str, str] | None:
    """The public id and the secret of an API key, or None when ``text`` is not one."""
    found = _KEY.fullmatch(text)
    return (found[1], found[2]) if found else None
