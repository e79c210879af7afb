"""Passwords: what is accepted, and argon2id that never holds up a call.

Hashing is meant to be slow, so it runs on one thread of its own: argon2 releases the GIL, and a storm of sign-ins can
then take at most one core and wait in its own queue, while the event loop goes on answering telephones.
"""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

P = ParamSpec("P")
T = TypeVar("T")

MIN_LENGTH: Final = 10
MAX_LENGTH: Final = 256
"""Longer is refused before it is hashed: a megabyte of password is not a password."""

MAX_WAITING: Final = 64
"""Hashes that may wait. At about 30 ms each the last waits some 2 s; who comes after is told to come back."""

# OWASP's first choice for argon2id on a server that does other work: 19 MiB, two passes, one lane. The library's own
# default (64 MiB, four lanes) would take every core of a small machine that is hearing calls at that moment.
_hasher: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class PasswordRefused(ValueError):
    """The password is too weak. The text says why and never contains it."""


class PasswordsBusy(RuntimeError):
    """More sign-ins wait than can be served in time."""


def normalised(password: str) -> str:
    """``password`` in NFKC, so that the same characters typed on two keyboards are the same password."""
    return unicodedata.normalize("NFKC", password)


def check(password: str, *, username: str) -> None:
    """Raises PasswordRefused unless ``password`` may be used by ``username``."""
    text = normalised(password)
    if len(text) < MIN_LENGTH:
        raise PasswordRefused(f"the password has fewer than {MIN_LENGTH} characters: choose a longer one")
    if len(text) > MAX_LENGTH:
        raise PasswordRefused(f"the password has more than {MAX_LENGTH} characters: choose a shorter one")
    if len(set(text)) < 4:
        raise PasswordRefused("the password repeats fewer than 4 different characters: choose a more varied one")
    if username.casefold() in text.casefold() and len(text) < len(username) + MIN_LENGTH:
        raise PasswordRefused("the password is little more than the username: choose another one")


class Passwords:
    """Hashes and verifies, one at a time, off the event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")
        self._waiting = 0
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """The argon2id hash to store. Raises PasswordsBusy when too many wait."""
        return await self._run(_hasher.hash, normalised(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether ``password`` is the one that ``stored`` was made of. Raises PasswordsBusy when too many wait.

        ``stored`` None (no such user) takes as long as a real one, so that the time of the answer tells nothing.
        """
        if not self._nobody:
            self._nobody = await self._run(_hasher.hash, "nobody has this password")
        matches = await self._run(_verify, stored or self._nobody, normalised(password)[: MAX_LENGTH + 1])
        return matches and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether ``stored`` was made with other parameters than today's."""
        return _hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Ends the thread once it is idle."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        if self._waiting >= MAX_WAITING:
            raise PasswordsBusy(f"{self._waiting} sign-ins are waiting: try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *arguments, **named))
        finally:
            self._waiting -= 1


def _verify(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except VerifyMismatchError:
        return False
    except (VerificationError, InvalidHashError) as fault:
        raise RuntimeError("a stored password hash is not argon2id: reset that user's password") from fault
