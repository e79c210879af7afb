"""The keys of programs: dispatch systems, units, monitoring. Shown once, stored as a hash, revoked at once."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from callcenter import clock
from callcenter.access.audit import SYSTEM, Actor, add_entry
from callcenter.access.model import ApiKey
from callcenter.access.permissions import FOR_KEYS, Permission, parse_permissions, parse_roles, permissions_of
from callcenter.access.principal import Principal
from callcenter.access.refusals import BadValue, NotThere
from callcenter.access.tokens import digest, new_key, split_key

if TYPE_CHECKING:
    from callcenter.storage.engine import Database

log = structlog.get_logger()

USE_NOTED_EVERY: Final = timedelta(minutes=5)
"""A dispatch system may pull every second; a write each time would wait in line with the calls' own."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. ``text`` is the only time its secret is seen."""

    text: str
    key: ApiKey


class Keys:
    """The API keys. Every method is one transaction; ``by`` is who does it."""

    def __init__(self, db: "Database") -> None:
        self._db = db
        self._noted: dict[UUID, datetime] = {}

    async def create(
        self,
        label: str,
        *,
        roles: Iterable[str] = (),
        permissions: Iterable[str] = (),
        unit: str = "",
        expires_at: datetime | None = None,
        by: Actor = SYSTEM,
    ) -> NewKey:
        """Makes a key with the permissions of ``roles`` and ``permissions``. Raises BadValue."""
        try:
            role_names = [role.value for role in parse_roles(roles)]
            extra = parse_permissions(permissions)
        except ValueError as fault:
            raise BadValue(str(fault)) from None
        granted = permissions_of(role_names) | extra
        if forbidden := sorted(granted - FOR_KEYS):
            raise BadValue(f"an API key cannot hold {forbidden[0]}: that is for people")
        if not granted:
            raise BadValue("an API key needs a role or a permission")
        moment = clock.now()
        if expires_at is not None and expires_at <= moment:
            raise BadValue(f"the key would have expired at {expires_at.isoformat()}: give a time to come")
        public_id, secret, text = new_key()
        key = ApiKey(
            public_id=public_id,
            secret_sha256=digest(secret),
            label=label.strip()[:64],
            unit=unit.strip()[:64],
            roles=role_names,
            permissions=sorted(extra),
            created_by=UUID(by.id) if by.kind == "user" else None,
            created_at=moment,
            expires_at=expires_at,
        )
        async with self._db.begin() as session:
            session.add(key)
            await session.flush()
            add_entry(
                session,
                by,
                "key created",
                at=moment,
                subject=f"key:{key.id}",
                detail={"permissions": sorted(granted)},
            )
        return NewKey(text, key)

    async def all(self) -> list[ApiKey]:
        """Every key, the newest first."""
        async with self._db.read() as session:
            return list((await session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id))).all())

    async def revoke(self, key_id: UUID, *, by: Actor = SYSTEM) -> ApiKey:
        """Ends a key; a second time changes nothing. Raises NotThere."""
        async with self._db.begin() as session:
            key = await session.get(ApiKey, key_id, with_for_update=True)
            if key is None:
                raise NotThere(f"no API key {key_id}")
            if key.revoked_at is None:
                key.revoked_at = clock.now()
                add_entry(session, by, "key revoked", at=key.revoked_at, subject=f"key:{key_id}")
        return key

    async def principal(self, text: str) -> Principal | None:
        """Whose key ``text`` is; None when it is not a key, or is revoked or expired."""
        parts = split_key(text)
        if parts is None:
            return None
        public_id, secret = parts
        async with self._db.read() as session:
            key = await session.scalar(select(ApiKey).where(ApiKey.public_id == public_id))
        if key is None or not hmac.compare_digest(key.secret_sha256, digest(secret)):
            return None
        moment = clock.now()
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= moment):
            return None
        await self._note_use(key, moment)
        return Principal(
            kind="key",
            id=key.id,
            name=key.public_id,
            display_name=key.label,
            roles=tuple(key.roles),
            # Only what the table knows today: a permission that was taken out of it is gone from old keys too.
            permissions=(permissions_of(key.roles) | (set(key.permissions) & set(Permission))) & FOR_KEYS,
            unit=key.unit,
            expires_at=key.expires_at,
        )

    async def _note_use(self, key: ApiKey, moment: datetime) -> None:
        noted = self._noted.get(key.id) or key.last_used_at
        if noted is not None and moment - noted < USE_NOTED_EVERY:
            return
        self._noted[key.id] = moment
        try:
            async with self._db.begin() as session:
                await session.execute(update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=moment))
        except SQLAlchemyError as fault:
            # The time of last use is for the administrator's list; a full disk must not stop a unit from reading.
            log.warning("key use not noted", key=str(key.id), fault=type(fault).__name__)
