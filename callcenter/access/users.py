"""The people who sign in: made, changed, disabled by an administrator; each change audited in its own transaction."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.access import passwords
from callcenter.access.audit import SYSTEM, Actor, add_entry
from callcenter.access.model import SignIn, User
from callcenter.access.permissions import Permission, parse_roles, permissions_of, why_apart
from callcenter.access.refusals import BadValue, LastAdministrator, NameTaken, NotThere

if TYPE_CHECKING:
    from callcenter.storage.engine import Database

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,31}")
_EXTENSION = re.compile(r"[0-9]{0,16}")


def normal_username(text: str) -> str:
    """``text`` as usernames are kept: without surrounding blanks, lower case."""
    return text.strip().casefold()


def checked_username(text: str) -> str:
    """The normal form of a new username. Raises BadValue."""
    name = normal_username(text)
    if not _USERNAME.fullmatch(name):
        raise BadValue(
            "a username is 2 to 32 of a-z, 0-9, dot, underscore and hyphen, beginning with a letter or digit"
        )
    return name


def new_user(
    username: str, *, display_name: str, password_hash: str, roles: Iterable[str], extension: str = ""
) -> User:
    """A user that is not stored yet. Raises BadValue."""
    name = checked_username(username)
    if not _EXTENSION.fullmatch(extension):
        raise BadValue("an extension is up to 16 digits")
    moment = clock.now()
    return User(
        username=name,
        display_name=(display_name.strip() or name)[:64],
        password_hash=password_hash,
        roles=_roles(roles),
        extension=extension,
        disabled=False,
        failures=0,
        created_at=moment,
        password_changed_at=moment,
    )


def checked_password(username: str, password: str) -> None:
    """Raises BadValue unless the password may be used by ``username``."""
    try:
        passwords.check(password, username=username)
    except passwords.PasswordRefused as refusal:
        raise BadValue(str(refusal)) from None


class Users:
    """The accounts. Every method is one transaction; ``by`` is who does it."""

    def __init__(self, db: "Database", hashing: passwords.Passwords) -> None:
        self._db = db
        self._hashing = hashing

    async def create(
        self,
        username: str,
        *,
        password: str,
        roles: Iterable[str],
        display_name: str = "",
        extension: str = "",
        by: Actor = SYSTEM,
    ) -> User:
        """Makes a user. Raises BadValue, NameTaken; ``access.passwords.PasswordsBusy`` in a storm of sign-ins."""
        name = checked_username(username)
        checked_password(name, password)
        user = new_user(
            name,
            display_name=display_name,
            password_hash=await self._hashing.hash(password),
            roles=roles,
            extension=extension,
        )
        await self._insert(user, by)
        return user

    async def _insert(self, user: User, by: Actor) -> None:
        try:
            async with self._db.begin() as session:
                session.add(user)
                await session.flush()
                add_entry(
                    session,
                    by,
                    "user created",
                    at=user.created_at,
                    subject=f"user:{user.id}",
                    detail={"roles": list(user.roles)},
                )
        except IntegrityError as fault:
            raise NameTaken(
                f"a user with that username exists: choose another, or change user {user.username!r}"
            ) from (fault)

    async def all(self) -> list[User]:
        """Every user by username."""
        async with self._db.read() as session:
            return list((await session.scalars(select(User).order_by(User.username))).all())

    async def change(
        self,
        user_id: UUID,
        *,
        disabled: bool | None = None,
        roles: Iterable[str] | None = None,
        display_name: str | None = None,
        extension: str | None = None,
        password: str | None = None,
        by: Actor = SYSTEM,
    ) -> User:
        """Changes what is given. A disabled user, or one with a new password, is signed out everywhere at once.

        Raises NotThere, BadValue, LastAdministrator.
        """
        password_hash = None
        if password is not None:
            async with self._db.read() as session:
                name = await session.scalar(select(User.username).where(User.id == user_id))
            checked_password(name or "", password)
            password_hash = await self._hashing.hash(password)
        async with self._db.begin() as session:
            if disabled or roles is not None:
                # Everybody is locked, in one order, before anybody is changed: two administrators who leave at once
                # wait for one another, where each holding their own row would be a deadlock.
                await session.execute(select(User.id).order_by(User.id).with_for_update())
            user = await session.get(User, user_id, with_for_update=True)
            if user is None:
                raise NotThere(f"no user {user_id}")
            changed = []
            if roles is not None:
                user.roles = _roles(roles)
                changed.append("roles")
            if display_name is not None:
                user.display_name = display_name.strip()[:64] or user.username
                changed.append("display_name")
            if extension is not None:
                if not _EXTENSION.fullmatch(extension):
                    raise BadValue("an extension is up to 16 digits")
                user.extension = extension
                changed.append("extension")
            if disabled is not None:
                user.disabled = disabled
                user.failures, user.locked_until = 0, None
                changed.append("disabled" if disabled else "enabled")
            if password_hash is not None:
                user.password_hash, user.password_changed_at = password_hash, clock.now()
                user.failures, user.locked_until = 0, None
                changed.append("password")
            if disabled or password_hash is not None:
                await session.execute(delete(SignIn).where(SignIn.user_id == user_id))
            await session.flush()
            await _require_administrator(session)
            add_entry(
                session,
                by,
                "user changed",
                at=clock.now(),
                subject=f"user:{user_id}",
                detail={"changed": changed, "roles": list(user.roles)},
            )
        return user


def _roles(names: Iterable[str]) -> list[str]:
    try:
        roles = parse_roles(names)
    except ValueError as fault:
        raise BadValue(str(fault)) from None
    if not roles:
        raise BadValue("a user has at least one role")
    if (reason := why_apart(roles)) is not None:
        raise BadValue(f"roles {', '.join(roles)}: {reason}")
    return [role.value for role in roles]


async def _require_administrator(session: AsyncSession) -> None:
    """Raises LastAdministrator when nobody who is enabled may manage users; the caller has locked them all."""
    enabled = await session.scalars(select(User).where(User.disabled.is_(False)))
    if not any(Permission.USERS_MANAGE in permissions_of(user.roles) for user in enabled):
        raise LastAdministrator("this would leave no enabled administrator: make another one first")
