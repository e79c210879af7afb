"""Who is asking: a person signed in or a program with a key, and what they may do."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from callcenter.access.audit import Actor
from callcenter.access.permissions import Permission


@dataclass(frozen=True, slots=True)
class Principal:
    """One who was let in."""

    kind: Literal["user", "key"]
    id: UUID
    name: str
    """The username, or the key's public id."""
    display_name: str
    roles: tuple[str, ...]
    permissions: frozenset[Permission]
    extension: str = ""
    """The agent's telephone, when there is one."""
    unit: str = ""
    """The unit a key belongs to, when it does."""
    expires_at: datetime | None = None

    def may(self, permission: Permission) -> bool:
        """Whether the table lets this one do it."""
        return permission in self.permissions

    def actor(self, address: str = "") -> Actor:
        """As the audit names this one."""
        return Actor(self.kind, str(self.id), address)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The answer to a good sign-in. ``token`` goes into the cookie and nowhere else."""

    token: str
    principal: Principal
    expires_at: datetime
