"""Who is asking, from the first start to the last sign-out: the one door of ``access`` for the API and the pages.

Deny by default: what returns None or raises here is not let in.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.access.audit import Actor, Result, add_entry
from callcenter.access.keys import Keys
from callcenter.access.model import SetupLink, SignIn, User
from callcenter.access.passwords import Passwords
from callcenter.access.permissions import Role, permissions_of
from callcenter.access.principal import Principal, SignedIn
from callcenter.access.refusals import SetupRefused, SignInRefused
from callcenter.access.tokens import digest, is_token, new_token
from callcenter.access.users import Users, checked_password, checked_username, new_user, normal_username
from callcenter.settings import Settings

if TYPE_CHECKING:
    from callcenter.storage.engine import Database

log = structlog.get_logger()

MAX_FAILURES: Final = 5
LOCKED_FOR: Final = timedelta(minutes=15)
"""Locked after five failures: GB/T 22239 asks for the lock, the quarter of an hour is ours."""

SETUP_LINK_FOR: Final = timedelta(hours=24)

FIRST_ROLES: Final = (Role.ADMIN, Role.SUPERVISOR)
"""The first administrator also runs the service, or a fresh hotline would show its only user nothing. A city gives
the two to different people afterwards."""


class AccessService:
    """Sign-ins, the first administrator, and through ``users`` and ``keys`` the rest."""

    def __init__(self, db: "Database", settings: Settings) -> None:
        self._db = db
        self._session_for = timedelta(hours=settings.session_hours)
        self._passwords = Passwords()
        self.users = Users(db, self._passwords)
        self.keys = Keys(db)

    def close(self) -> None:
        """Ends the hashing thread."""
        self._passwords.close()

    # -- the first start -------------------------------------------------------------------------------------------
    async def first_start(self) -> str | None:
        """``/setup?token=…`` while there is no user yet, else None.

        Each call makes a new link and ends the one before. The caller shows it on the terminal only: whoever reads it
        becomes the administrator, so it must not reach a log.
        """
        token, moment = new_token(), clock.now()
        async with self._db.begin() as session:
            if await _any_user(session):
                return None
            await session.execute(delete(SetupLink).where(SetupLink.used_at.is_(None)))
            session.add(SetupLink(token_sha256=digest(token), created_at=moment, expires_at=moment + SETUP_LINK_FOR))
        return f"/setup?token={token}"

    async def set_up(
        self, token: str, *, username: str, password: str, display_name: str = "", address: str = ""
    ) -> SignedIn:
        """Makes the first administrator and signs them in. Raises SetupRefused, BadValue, PasswordsBusy."""
        if not is_token(token):
            raise SetupRefused
        name = checked_username(username)
        checked_password(name, password)
        async with self._db.read() as session:
            # Before the hash: whoever has no link must not keep the hashing thread busy.
            known = await session.scalar(
                select(SetupLink.id).where(SetupLink.token_sha256 == digest(token), SetupLink.used_at.is_(None))
            )
        if known is None:
            raise SetupRefused
        password_hash = await self._passwords.hash(password)
        moment = clock.now()
        async with self._db.begin() as session:
            # One statement both asks and takes: of two who come with one link, one finds no row.
            link = await session.scalar(
                update(SetupLink)
                .where(
                    SetupLink.token_sha256 == digest(token),
                    SetupLink.used_at.is_(None),
                    SetupLink.expires_at > moment,
                )
                .values(used_at=moment)
                .returning(SetupLink.id)
            )
            if link is None or await _any_user(session):
                raise SetupRefused
            user = new_user(name, display_name=display_name, password_hash=password_hash, roles=FIRST_ROLES)
            session.add(user)
            await session.flush()
            actor = Actor("user", str(user.id), address)
            add_entry(session, actor, "first administrator created", at=moment, subject=f"user:{user.id}")
            return self._open(session, user)

    # -- signing in and out ----------------------------------------------------------------------------------------
    async def sign_in(self, username: str, password: str, *, address: str = "") -> SignedIn:
        """Lets a person in. Raises SignInRefused, PasswordsBusy.

        Five failures lock the account for 15 minutes. The time and the text of a refusal are the same whether the
        user exists, is locked, is disabled, or mistyped.
        """
        async with self._db.read() as session:
            seen = await session.scalar(select(User).where(User.username == normal_username(username)[:64]))
        good = await self._passwords.verify(seen.password_hash if seen else None, password)
        rehashed = (
            await self._passwords.hash(password)
            if good and seen is not None and self._passwords.outdated(seen.password_hash)
            else None
        )
        moment = clock.now()
        async with self._db.begin() as session:
            # Read again: guesses that were hashed at the same time may have locked the account meanwhile.
            user = await session.get(User, seen.id, with_for_update=True) if seen else None
            if user is None or seen is None:
                _note(session, Actor("nobody", address=address), "refused", None)
                signed_in = None
            elif user.locked_until is not None and user.locked_until > moment:
                _note(session, Actor("nobody", address=address), "refused", user)
                signed_in = None
            elif not good or user.disabled or user.password_hash != seen.password_hash:
                user.failures = 1 if user.locked_until is not None else user.failures + 1
                user.locked_until = moment + LOCKED_FOR if user.failures >= MAX_FAILURES else None
                _note(session, Actor("nobody", address=address), "refused", user)
                if user.locked_until is not None:
                    log.warning("account locked after failed sign-ins", user=str(user.id), minutes=15)
                signed_in = None
            else:
                user.failures, user.locked_until = 0, None
                if rehashed is not None:
                    user.password_hash = rehashed
                await session.execute(delete(SignIn).where(SignIn.user_id == user.id, SignIn.expires_at <= moment))
                _note(session, Actor("user", str(user.id), address), "done", user)
                signed_in = self._open(session, user)
        if signed_in is None:
            raise SignInRefused
        return signed_in

    async def sign_out(self, token: str, *, address: str = "") -> None:
        """Ends the session of ``token``; nothing happens when there is none."""
        if not is_token(token):
            return
        async with self._db.begin() as session:
            user = await session.scalar(
                delete(SignIn).where(SignIn.token_sha256 == digest(token)).returning(SignIn.user_id)
            )
            if user is not None:
                actor = Actor("user", str(user), address)
                add_entry(session, actor, "sign out", at=clock.now(), subject=f"user:{user}")

    async def change_password(self, user_id: UUID, *, old: str, new: str, address: str = "") -> SignedIn:
        """A person's own new password. Ends every session of theirs and opens a new one.

        Raises SignInRefused when ``old`` is wrong, BadValue when ``new`` is too weak. A wrong ``old`` counts as a
        failed sign-in: a borrowed screen must not be a place to guess from.
        """
        async with self._db.read() as session:
            name = await session.scalar(select(User.username).where(User.id == user_id))
        if name is None:
            raise SignInRefused
        checked_password(name, new)
        proven = await self.sign_in(name, old, address=address)
        password_hash = await self._passwords.hash(new)
        moment = clock.now()
        async with self._db.begin() as session:
            user = await session.get(User, proven.principal.id, with_for_update=True)
            if user is None or user.disabled:
                raise SignInRefused
            user.password_hash, user.password_changed_at = password_hash, moment
            await session.execute(delete(SignIn).where(SignIn.user_id == user.id))
            actor = Actor("user", str(user.id), address)
            add_entry(session, actor, "password changed", at=moment, subject=f"user:{user.id}")
            return self._open(session, user)

    async def principal_of_session(self, token: str) -> Principal | None:
        """Whose session ``token`` is; None when it is none, or over, or its user is disabled."""
        if not is_token(token):
            return None
        async with self._db.read() as session:
            row = (
                await session.execute(
                    select(User, SignIn.expires_at)
                    .join(SignIn, SignIn.user_id == User.id)
                    .where(SignIn.token_sha256 == digest(token))
                )
            ).one_or_none()
        if row is None or row[0].disabled or row[1] <= clock.now():
            return None
        return _principal(row[0], row[1])

    async def principal_of_key(self, text: str) -> Principal | None:
        """Whose API key ``text`` is; None when it is none, or revoked, or expired."""
        return await self.keys.principal(text)

    async def record(
        self,
        actor: Actor,
        action: str,
        *,
        subject: str = "",
        result: Result = "done",
        detail: dict[str, str | int | bool | list[str]] | None = None,
    ) -> None:
        """Audits a deed that has no transaction of its own, such as reading a citizen's number. Raises what the store
        raises: who cannot be recorded must not read."""
        async with self._db.begin() as session:
            add_entry(session, actor, action, at=clock.now(), subject=subject, result=result, detail=detail)

    def _open(self, session: AsyncSession, user: User) -> SignedIn:
        token, moment = new_token(), clock.now()
        expires_at = moment + self._session_for
        session.add(SignIn(user_id=user.id, token_sha256=digest(token), created_at=moment, expires_at=expires_at))
        return SignedIn(token, _principal(user, expires_at), expires_at)


async def _any_user(session: AsyncSession) -> bool:
    return bool(await session.scalar(select(func.count()).select_from(User)))


def _principal(user: User, expires_at: datetime) -> Principal:
    return Principal(
        kind="user",
        id=user.id,
        name=user.username,
        display_name=user.display_name,
        roles=tuple(user.roles),
        permissions=permissions_of(user.roles),
        extension=user.extension,
        expires_at=expires_at,
    )


def _note(session: AsyncSession, actor: Actor, result: Result, user: User | None) -> None:
    """Audits a sign-in. The name typed is not kept when nobody has it: people type passwords into the wrong field."""
    subject = f"user:{user.id}" if user else ""
    add_entry(session, actor, "sign in", at=clock.now(), subject=subject, result=result)
