"""The tables of who: people, their sign-ins, programs' keys, the first administrator's link, and what everyone did.

No secret is stored: a password as argon2id, a random token or key as its SHA-256. A password is guessable, so its hash
must be slow; 256 random bits are not, so a slow hash would protect nothing and let anyone with made-up keys keep the
processor busy.
"""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base, BigId

SHA256_HEX = 64


class User(Base):
    """A person who signs in."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    username: Mapped[str] = mapped_column(String(32), unique=True)
    """Lower case."""
    display_name: Mapped[str] = mapped_column(String(64))
    password_hash: Mapped[str] = mapped_column(String(255))
    roles: Mapped[list[Any]]
    extension: Mapped[str] = mapped_column(String(16), default="")
    """The agent's telephone; empty for people without one."""
    unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    """The unit that this person acts for; None: the hotline's own people."""
    disabled: Mapped[bool] = mapped_column(default=False)
    failures: Mapped[int] = mapped_column(default=0)
    """Failed sign-ins since the last good one."""
    locked_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    password_changed_at: Mapped[datetime]


class SignIn(Base):
    """One signed-in browser. The row is the session: without it the cookie is worth nothing."""

    __tablename__ = "sign_ins"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_sha256: Mapped[str] = mapped_column(String(SHA256_HEX), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ApiKey(Base):
    """A program's key: ``hl_<public id>_<secret>``."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    public_id: Mapped[str] = mapped_column(String(16), unique=True)
    secret_sha256: Mapped[str] = mapped_column(String(SHA256_HEX))
    label: Mapped[str] = mapped_column(String(64))
    """Whose program."""
    unit: Mapped[str] = mapped_column(String(64), default="")
    """The responsible organisation whose program this is, as a label."""
    roles: Mapped[list[Any]]
    permissions: Mapped[list[Any]]
    """Permissions beside those of the roles."""
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To within a few minutes: written seldom, a key is used often."""


class SetupLink(Base):
    """The one-time link by which the first administrator is made."""

    __tablename__ = "setup_links"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    token_sha256: Mapped[str] = mapped_column(String(SHA256_HEX), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class AuditEntry(Base):
    """Who did what, when, from where, with what result. References only; the database refuses UPDATE and DELETE."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index(None, "subject", "id"), Index(None, "actor", "id"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor_kind: Mapped[str] = mapped_column(String(8))
    """``user``, ``key``, ``system``, or ``nobody`` for one who was not let in."""
    actor: Mapped[str] = mapped_column(String(36), default="")
    """The id of the user or key. No foreign key: what was done outlives who did it."""
    action: Mapped[str] = mapped_column(String(48))
    result: Mapped[str] = mapped_column(String(16))
    """``done`` or ``refused``."""
    subject: Mapped[str] = mapped_column(String(64), default="")
    """What it was done to: ``case:<id>``, ``user:<id>``…"""
    address: Mapped[str] = mapped_column(String(45), default="")
    """The network address it came from."""
    detail: Mapped[dict[str, Any]]
