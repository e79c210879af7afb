"""Who may do what: the one permission table. What is not written here is refused.

Three administrators that cannot replace one another (GB/T 22239, level 3): ``admin`` runs the system and reads no
citizen's particulars, ``supervisor`` answers for the service, ``auditor`` reads what everyone did and changes nothing.

The people of a case have posts (``cases.lifecycle.Post``): a role gives its post and the permission for that post's
steps. What a permission opens the table of steps may still refuse: two sides of one case are two people's.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from callcenter.cases.steps import Post


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
    CASES_REGISTER = "cases:register"
    """Take in a case that did not come by a call."""
    CASES_READ_EVIDENCE = "cases:read_evidence"
    """Pictures: they may show people and homes."""
    CASES_ADD_EVIDENCE = "cases:add_evidence"
    CASES_ACT = "cases:act"
    """Take steps at all; which ones the next five say."""
    CASES_ACCEPT = "cases:accept"
    """Steps of the 受理员: answer, have verified, file, have checked, call back, reopen."""
    CASES_DECIDE = "cases:decide"
    """Steps of the 值班长: refuse, cancel, designate, close."""
    CASES_VERIFY = "cases:verify"
    """Steps of the 监督员: verify, check, deal with a small matter."""
    CASES_COMMAND = "cases:command"
    """Steps of the 派遣员: dispatch, grant returns, extensions, suspensions."""
    CASES_HANDLE = "cases:handle"
    """Steps of the 专业部门, on the orders of their own unit."""
    CASES_SUPERVISE = "cases:supervise"
    """Supervision sheets (督办). Not handling: the case itself stays as it is."""
    CASES_INSTRUCT = "cases:instruct"
    """A leader's note (批示)."""
    EVALUATION_READ = "evaluation:read"
    """Indicators of areas, units, posts and people."""
    EVALUATION_RECOMPUTE = "evaluation:recompute"
    """Have all figures counted again from the log: changes no case, but takes the store half an hour."""
    LISTS_MANAGE = "lists:manage"
    """Units, areas, responsibility lists, calendar, knowledge base."""
    CITY_READ = "city:read"
    """Maps, places, parts, registries, forms of departments: what lies where. Nobody's particulars."""
    CITY_VIEW_CAMERAS = "city:view_cameras"
    """Streams of cameras whose owner wants to be asked; each showing is audited. Those of open ones need no more than
    ``city:read``, of closed ones nobody's get out."""
    CITY_READ_PEOPLE = "city:read_people"
    """People, houses and organisations, for a purpose that is named; masked, each look audited and counted."""
    CITY_READ_PEOPLE_FULL = "city:read_people_full"
    """The same whole. For who answers for the service: the rest reads masked ones, and asks."""
    FIELD_READ = "field:read"
    """Who is on duty, where they are, their tasks: people at work, never for a program."""
    FIELD_MANAGE = "field:manage"
    """Shifts of collectors, and tasks for them."""
    FIELD_REPORT = "field:report"
    """What a collector does: send their own positions, read and finish their own tasks."""
    FIELD_INSPECT = "field:inspect"
    """Record that a risk source was looked at."""
    DEVICES_SEND = "devices:send"
    """What devices send by their platform: alarms, which become cases, and the positions of vehicles."""
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
    """A dispatch system, or a unit's: pulls what is filed, sees no draft, no full number. The person who dispatches is
    ``command``."""
    AUDITOR = "auditor"
    COMMAND = "command"
    """派遣员 of the command centre."""
    COLLECTOR = "collector"
    """监督员, 网格员: looks, and deals with small matters."""
    UNIT = "unit"
    """A person of a 专业部门; sees the cases that their unit has or had an order for."""
    INSPECTOR = "inspector"
    """监察: reads everything, supervises, edits no handling data."""
    LEADER = "leader"
    ANALYST = "analyst"
    MAINTAINER = "maintainer"
    """系统维护员: the city's lists and calendar."""
    VOLUNTEER = "volunteer"
    """Reports, and no more."""
    SENSOR = "sensor"
    """A platform of devices (物联网平台), by an API key: sends what they measure, reads nothing."""


P = Permission

TABLE: Final = MappingProxyType(
    {
        Role.ADMIN: frozenset({P.USERS_MANAGE, P.KEYS_MANAGE, P.METRICS_READ, P.INSIGHT_READ}),
        Role.SUPERVISOR: frozenset(
            {
                P.CITY_READ,
                P.CITY_READ_PEOPLE,
                P.CITY_READ_PEOPLE_FULL,
                P.CITY_VIEW_CAMERAS,
                P.CALLS_READ,
                P.CALLS_LISTEN,
                P.CASES_READ,
                P.CASES_READ_DRAFTS,
                P.CASES_CONFIRM,
                P.CASES_READ_PARTICULARS,
                P.METRICS_READ,
                P.INSIGHT_READ,
                P.MODELS_MANAGE,
                P.CASES_REGISTER,
                P.CASES_READ_EVIDENCE,
                P.CASES_ADD_EVIDENCE,
                P.CASES_ACT,
                P.CASES_DECIDE,
                P.CASES_SUPERVISE,
                P.EVALUATION_READ,
                P.EVALUATION_RECOMPUTE,
                P.FIELD_READ,
            }
        ),
        Role.AGENT: frozenset(
            {
                P.CITY_READ,
                P.CITY_READ_PEOPLE,
                P.CALLS_READ,
                P.CASES_READ,
                P.CASES_READ_DRAFTS,
                P.CASES_CONFIRM,
                P.CASES_READ_PARTICULARS,
                P.CASES_REGISTER,
                P.CASES_READ_EVIDENCE,
                P.CASES_ADD_EVIDENCE,
                P.CASES_ACT,
                P.CASES_ACCEPT,
                P.FIELD_READ,
            }
        ),
        Role.DISPATCHER: frozenset({P.CITY_READ, P.CASES_READ, P.FEED_PULL, P.FEED_ACK}),
        Role.AUDITOR: frozenset(
            {P.CALLS_READ, P.CASES_READ, P.CASES_READ_DRAFTS, P.AUDIT_READ, P.METRICS_READ, P.INSIGHT_READ}
        ),
        Role.COMMAND: frozenset(
            {
                P.CITY_READ,
                P.CITY_READ_PEOPLE,
                P.CITY_VIEW_CAMERAS,
                P.CASES_READ,
                P.CASES_READ_EVIDENCE,
                P.CASES_ACT,
                P.CASES_COMMAND,
                P.FIELD_READ,
                P.FIELD_MANAGE,
            }
        ),
        Role.COLLECTOR: frozenset(
            {
                P.CITY_READ,
                P.CITY_READ_PEOPLE,
                P.CASES_READ,
                P.CASES_READ_DRAFTS,
                P.CASES_REGISTER,
                P.CASES_READ_EVIDENCE,
                P.CASES_ADD_EVIDENCE,
                P.CASES_ACT,
                P.CASES_VERIFY,
                P.FIELD_REPORT,
                P.FIELD_INSPECT,
            }
        ),
        Role.UNIT: frozenset(
            {
                P.CITY_READ,
                P.CASES_READ,
                P.CASES_READ_EVIDENCE,
                P.CASES_ADD_EVIDENCE,
                P.CASES_ACT,
                P.CASES_HANDLE,
                P.FIELD_INSPECT,
            }
        ),
        Role.INSPECTOR: frozenset(
            {
                P.CITY_READ,
                P.CITY_READ_PEOPLE,
                P.CALLS_READ,
                P.CALLS_LISTEN,
                P.CASES_READ,
                P.CASES_READ_DRAFTS,
                P.CASES_READ_PARTICULARS,
                P.CASES_READ_EVIDENCE,
                P.CASES_SUPERVISE,
                P.INSIGHT_READ,
                P.EVALUATION_READ,
                P.FIELD_READ,
            }
        ),
        Role.LEADER: frozenset(
            {
                P.CITY_READ,
                P.CASES_READ,
                P.CASES_READ_EVIDENCE,
                P.CASES_SUPERVISE,
                P.CASES_INSTRUCT,
                P.INSIGHT_READ,
                P.EVALUATION_READ,
            }
        ),
        Role.ANALYST: frozenset({P.CITY_READ, P.CASES_READ, P.INSIGHT_READ, P.EVALUATION_READ, P.EVALUATION_RECOMPUTE}),
        Role.MAINTAINER: frozenset({P.CITY_READ, P.LISTS_MANAGE, P.METRICS_READ, P.FIELD_READ, P.FIELD_MANAGE}),
        Role.VOLUNTEER: frozenset({P.CASES_REGISTER, P.CASES_ADD_EVIDENCE}),
        Role.SENSOR: frozenset({P.DEVICES_SEND}),
    }
)

ROLE_NAMES: Final = MappingProxyType(
    {
        Role.ADMIN: "系统管理员",
        Role.SUPERVISOR: "值班长",
        Role.AGENT: "坐席",
        Role.DISPATCHER: "派遣系统",
        Role.AUDITOR: "审计员",
        Role.COMMAND: "派遣员",
        Role.COLLECTOR: "监督员",
        Role.UNIT: "专业部门",
        Role.INSPECTOR: "监察",
        Role.LEADER: "领导",
        Role.ANALYST: "分析员",
        Role.MAINTAINER: "系统维护员",
        Role.VOLUNTEER: "志愿者",
        Role.SENSOR: "物联网平台",
    }
)
"""The roles as people read them on the screen."""

POSTS: Final[Mapping[str, Post]] = MappingProxyType(
    {
        Role.AGENT: Post.AGENT,
        Role.SUPERVISOR: Post.DUTY_CHIEF,
        Role.COMMAND: Post.DISPATCHER,
        Role.COLLECTOR: Post.COLLECTOR,
        Role.UNIT: Post.UNIT,
        Role.INSPECTOR: Post.INSPECTOR,
        Role.LEADER: Post.LEADER,
        Role.ANALYST: Post.ANALYST,
        Role.MAINTAINER: Post.MAINTAINER,
        Role.VOLUNTEER: Post.VOLUNTEER,
    }
)
"""The post that a role gives in the life of a case. Administrators, auditors, dispatch systems and platforms of devices
have none; no role gives Post.SYSTEM, which is the machine's."""

STEPS_OF: Final[Mapping[Post, Permission]] = MappingProxyType(
    {
        Post.AGENT: P.CASES_ACCEPT,
        Post.DUTY_CHIEF: P.CASES_DECIDE,
        Post.COLLECTOR: P.CASES_VERIFY,
        Post.DISPATCHER: P.CASES_COMMAND,
        Post.UNIT: P.CASES_HANDLE,
    }
)
"""The permission for the steps of a post; a post that is not here takes none."""

EDITS: Final = frozenset(
    {
        P.CASES_CONFIRM,
        P.CASES_REGISTER,
        P.CASES_ADD_EVIDENCE,
        P.CASES_ACT,
        P.EVALUATION_RECOMPUTE,
        P.LISTS_MANAGE,
        P.MODELS_MANAGE,
        P.FIELD_MANAGE,
        P.FIELD_REPORT,
        P.FIELD_INSPECT,
        P.DEVICES_SEND,
    }
)
"""What changes how cases are handled or counted. No inspector holds any of it, by no other role either."""

FOR_KEYS: Final = frozenset(
    {
        P.CALLS_READ,
        P.CALLS_LISTEN,
        P.CASES_READ,
        P.CASES_READ_DRAFTS,
        P.CASES_READ_PARTICULARS,
        P.FEED_PULL,
        P.FEED_ACK,
        P.AUDIT_READ,
        P.METRICS_READ,
        P.INSIGHT_READ,
        P.CITY_READ,
        P.DEVICES_SEND,
    }
)
"""What an API key can hold: reading, pulling and what devices measure, named one by one, so that nothing new is a key's
by oversight. A program that could make users or keys would outlive its own revocation. A confirmation, and every step
of a case, is a person's: routers are trained on the one, and the log answers for the other with a name. An alarm opens
a case that a person confirms. Figures (``insight:read``) name no citizen and are for other systems' boards; those of
people at work (``evaluation:read``, ``field:read``) and pictures are not."""


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


def why_apart(roles: Iterable[str]) -> str | None:
    """Why nobody holds all of ``roles`` at once; None: somebody may.

    监察 edits no handling data (SEED_FEATURES 000-08), so an inspector has no role that does; a unit's person sees the
    unit's own cases, so they have no role that sees all. Supervision and command are kept apart case by case, by
    ``cases.lifecycle``: at night one person may sit at both desks.
    """
    held = frozenset(roles)
    if Role.INSPECTOR in held and permissions_of(held - {Role.INSPECTOR}) & EDITS:
        return "an inspector edits nothing: take another role's steps by another account"
    if Role.UNIT in held and P.CASES_READ in permissions_of(held - {Role.UNIT}):
        return "a unit's person sees that unit's cases only: no other role that reads cases"
    return None


def posts_of(roles: Iterable[str]) -> frozenset[Post]:
    """The posts that the ``roles`` together give."""
    return frozenset(POSTS[name] for name in roles if name in POSTS)
