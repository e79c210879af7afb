"""Who may do what: the one permission table. What is not written here is refused.

Three administrators that cannot replace one another (GB/T 22239, level 3): ``admin`` runs the system and reads no
citizen's particulars, ``supervisor`` answers for the service, ``auditor`` reads what everyone did and changes nothing.
"""

from collections.abc import Iterable
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Permission(StrEnum):
    """One thing that may be done. The value is its name in the API and in API keys."""

    CALLS_READ = "calls:read"
    """Calls with their words; numbers masked."""
    CALLS_LISTEN = "calls:listen"
    """The recording of a call."""
    CASES_READ = "cases:read"
    """Cases that are filed; numbers masked."""
    CASES_READ_DRAFTS = "cases:read_drafts"
    """Cases not filed yet: being spoken, or waiting for a decision. Never a unit's: they may name the wrong one."""
    CASES_CONFIRM = "cases:confirm"
    """Confirm or correct the routing of a case."""
    CASES_READ_PARTICULARS = "cases:read_particulars"
    """The citizen's number in full; each such reading is audited."""
    FEED_PULL = "feed:pull"
    FEED_ACK = "feed:ack"
    USERS_MANAGE = "users:manage"
    KEYS_MANAGE = "keys:manage"
    AUDIT_READ = "audit:read"
    METRICS_READ = "metrics:read"
    INSIGHT_READ = "insight:read"
    """How good the router is, counted: by day, version, category, agent. The cases behind a figure need more."""
    MODELS_MANAGE = "models:manage"
    """Make a version of the router live, with a reason."""


class Role(StrEnum):
    """A set of permissions with a name that people know."""

    ADMIN = "admin"
    SUPERVISOR = "supervisor"
    AGENT = "agent"
    DISPATCHER = "dispatcher"
    """A dispatch system, or a unit's: pulls what is filed, sees no draft, no full number."""
    AUDITOR = "auditor"


P = Permission

TABLE: Final = MappingProxyType(
    {
        Role.ADMIN: frozenset({P.USERS_MANAGE, P.KEYS_MANAGE, P.METRICS_READ, P.INSIGHT_READ}),
        Role.SUPERVISOR: frozenset(
            {
                P.CALLS_READ,
                P.CALLS_LISTEN,
                P.CASES_READ,
                P.CASES_READ_DRAFTS,
                P.CASES_CONFIRM,
                P.CASES_READ_PARTICULARS,
                P.METRICS_READ,
                P.INSIGHT_READ,
                P.MODELS_MANAGE,
            }
        ),
        Role.AGENT: frozenset(
            {
                P.CALLS_READ,
                P.CASES_READ,
                P.CASES_READ_DRAFTS,
                P.CASES_CONFIRM,
                P.CASES_READ_PARTICULARS,
            }
        ),
        Role.DISPATCHER: frozenset({P.CASES_READ, P.FEED_PULL, P.FEED_ACK}),
        Role.AUDITOR: frozenset(
            {P.CALLS_READ, P.CASES_READ, P.CASES_READ_DRAFTS, P.AUDIT_READ, P.METRICS_READ, P.INSIGHT_READ}
        ),
    }
)

ROLE_NAMES: Final = MappingProxyType(
    {
        Role.ADMIN: "系统管理员",
        Role.SUPERVISOR: "值班长",
        Role.AGENT: "坐席",
        Role.DISPATCHER: "派遣系统",
        Role.AUDITOR: "审计员",
    }
)
"""The roles as people read them on the screen."""

FOR_KEYS: Final = frozenset(Permission) - {P.USERS_MANAGE, P.KEYS_MANAGE, P.CASES_CONFIRM, P.MODELS_MANAGE}
"""What an API key can hold. A program that could make users or keys would outlive its own revocation, and a
confirmation is a person's word: routers are trained on it, and a person answers for the one that is live."""


def permissions_of(roles: Iterable[str]) -> frozenset[Permission]:
    """Everything the ``roles`` together may do. A role that is not in the table gives nothing."""
    granted: frozenset[Permission] = frozenset()
    for name in roles:
        granted |= TABLE.get(name, frozenset())  # type: ignore[call-overload]  # a Role is a str
    return granted


def parse_roles(names: Iterable[str]) -> tuple[Role, ...]:
    """The roles named, in the table's order, each once. Raises ValueError for one that does not exist."""
    wanted = set(names)
    unknown = sorted(wanted - {role.value for role in Role})
    if unknown:
        raise ValueError(f"unknown role {unknown[0]!r}: one of {', '.join(role.value for role in Role)}")
    return tuple(role for role in Role if role.value in wanted)


def parse_permissions(names: Iterable[str]) -> frozenset[Permission]:
    """The permissions named. Raises ValueError for one that does not exist."""
    wanted = set(names)
    unknown = sorted(wanted - {permission.value for permission in Permission})
    if unknown:
        raise ValueError(f"unknown permission {unknown[0]!r}: one of {', '.join(p.value for p in Permission)}")
    return frozenset(Permission(name) for name in wanted)
