"""Administration of who: users, API keys, and the audit of what they did."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.errors import responses
from api.security import address_of, require, services_of
from api.v1.session import Name, Secret
from api.v1.values import Body, Moment
from callcenter.access import audit
from callcenter.access.model import ApiKey, User
from callcenter.access.permissions import Permission, Role, permissions_of
from callcenter.access.principal import Principal

router = APIRouter(prefix="/api/v1", tags=["people and keys"])

UserManager = Annotated[Principal, require(Permission.USERS_MANAGE)]
KeyManager = Annotated[Principal, require(Permission.KEYS_MANAGE)]
Auditor = Annotated[Principal, require(Permission.AUDIT_READ)]

Roles = Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=8)]


class NewUser(Body):
    """An account to make."""

    username: Name = Field(description="2–32 of a–z, 0–9, `.`, `_`, `-`", examples=["wang.li"])
    password: Secret = Field(description="10 characters or more")
    roles: Roles = Field(description=f"any of {', '.join(Role)}; some exclude others", examples=[["agent"]])
    display_name: Annotated[str, Field(max_length=64)] = Field("", examples=["王丽"])
    extension: Annotated[str, Field(max_length=16)] = Field("", description="the agent's telephone", examples=["101"])


class UserChange(Body):
    """What to change; what is left out stays."""

    disabled: bool | None = Field(None, description="true signs the user out everywhere at once")
    roles: Roles | None = None
    display_name: Annotated[str, Field(max_length=64)] | None = None
    extension: Annotated[str, Field(max_length=16)] | None = None
    password: Secret | None = Field(None, description="a new one; signs the user out everywhere")


class UserOut(BaseModel):
    """An account."""

    id: UUID
    username: str = Field(examples=["wang.li"])
    display_name: str = Field(examples=["王丽"])
    roles: list[str] = Field(examples=[["agent"]])
    extension: str = Field(examples=["101"])
    unit: UUID | None = Field(description="the unit they act for; set by `PUT /users/{user_id}/unit`")
    disabled: bool
    locked_until: datetime | None = Field(description="no sign-in before this, after five failures")
    created_at: datetime


class UserList(BaseModel):
    """Every account by username."""

    items: list[UserOut]


class NewKeyIn(Body):
    """An API key to make."""

    label: Name = Field(description="whose program", examples=["派遣平台"])
    unit: Annotated[str, Field(max_length=64)] = Field("", description="the unit it acts for", examples=["市政管理处"])
    role: Annotated[str, Field(max_length=32)] | None = Field(None, examples=["dispatcher"])
    permissions: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=32)] = Field(
        default_factory=list, description="permissions beside the role's", examples=[["metrics:read"]]
    )
    expires_at: Moment | None = Field(None, description="with its offset; null: until revoked")


class KeyOut(BaseModel):
    """An API key, without its secret."""

    id: UUID
    public_id: str = Field(description="the part between the underscores", examples=["3f9a1c0b77de"])
    label: str = Field(description="whose program", examples=["派遣平台"])
    unit: str
    role: str | None
    permissions: list[str] = Field(description="everything it may do")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to within five minutes")


class KeyMade(KeyOut):
    """A key just made: the only time its secret is shown."""

    key: str = Field(description="send as `Authorization: Bearer …` or `X-API-Key: …`; keep it, it is not stored")


class KeyList(BaseModel):
    """Every key, the newest first."""

    items: list[KeyOut]


class AuditOut(BaseModel):
    """One deed: who, when, what, to what, with what result."""

    id: int
    at: datetime
    actor_kind: str = Field(examples=["user"])
    actor: str = Field(description="the id of the user or key")
    action: str = Field(examples=["particulars read"])
    result: str = Field(examples=["done"])
    subject: str = Field(examples=["case:0b6f…"])
    address: str
    detail: dict[str, Any] = Field(description="codes, counts and references")


class AuditPage(BaseModel):
    """Entries, the newest first."""

    items: list[AuditOut]
    next: int | None = Field(description="`before` of the next page; null at the end")


def _user(user: User) -> UserOut:
    values = {name: getattr(user, name) for name in UserOut.model_fields if name != "unit"}
    return UserOut(**values, unit=user.unit_id)


def _key_fields(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "public_id": key.public_id,
        "label": key.label,
        "unit": key.unit,
        "role": key.roles[0] if key.roles else None,
        "permissions": sorted(permissions_of(key.roles) | set(key.permissions)),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


@router.get("/users", summary="List users", responses=responses())
async def list_users(_: UserManager, request: Request) -> UserList:
    """Every account, also the disabled."""
    return UserList(items=[_user(user) for user in await services_of(request).access.users.all()])


@router.post("/users", status_code=201, summary="Make a user", responses=responses(409))
async def create_user(new: NewUser, principal: UserManager, request: Request) -> UserOut:
    """Makes an account that can sign in at once."""
    user = await services_of(request).access.users.create(
        new.username,
        password=new.password.get_secret_value(),
        roles=new.roles,
        display_name=new.display_name,
        extension=new.extension,
        by=principal.actor(address_of(request)),
    )
    return _user(user)


@router.patch("/users/{user_id}", summary="Change or disable a user", responses=responses(404, 409))
async def change_user(user_id: UUID, change: UserChange, principal: UserManager, request: Request) -> UserOut:
    """Disabling and a new password end the user's sessions, enabling lifts a lock. The last administrator stays."""
    user = await services_of(request).access.users.change(
        user_id,
        disabled=change.disabled,
        roles=change.roles,
        display_name=change.display_name,
        extension=change.extension,
        password=change.password.get_secret_value() if change.password else None,
        by=principal.actor(address_of(request)),
    )
    return _user(user)


@router.get("/keys", summary="List API keys", responses=responses())
async def list_keys(_: KeyManager, request: Request) -> KeyList:
    """Every key, also the revoked and expired."""
    keys = await services_of(request).access.keys.all()
    return KeyList(items=[KeyOut.model_validate(_key_fields(key)) for key in keys])


@router.post("/keys", status_code=201, summary="Make an API key", responses=responses())
async def create_key(new: NewKeyIn, principal: KeyManager, request: Request) -> KeyMade:
    """Makes a key and shows it once. A key cannot manage users or keys."""
    made = await services_of(request).access.keys.create(
        new.label,
        roles=[new.role] if new.role else [],
        permissions=new.permissions,
        unit=new.unit,
        expires_at=new.expires_at,
        by=principal.actor(address_of(request)),
    )
    return KeyMade.model_validate({**_key_fields(made.key), "key": made.text})


@router.delete("/keys/{key_id}", summary="Revoke an API key", responses=responses(404))
async def revoke_key(key_id: UUID, principal: KeyManager, request: Request) -> KeyOut:
    """Ends the key at once; it stays in the list. A second time changes nothing."""
    key = await services_of(request).access.keys.revoke(key_id, by=principal.actor(address_of(request)))
    return KeyOut.model_validate(_key_fields(key))


@router.get("/audit", summary="What everyone did", responses=responses())
async def list_audit(
    _: Auditor,
    request: Request,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="entries older than this id")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    subject: Annotated[str, Query(max_length=64, description="such as `case:<id>`")] = "",
    actor: Annotated[UUID | None, Query(description="the id of a user or key")] = None,
) -> AuditPage:
    """The newest first. Nobody can change or delete an entry, the database refuses it."""
    async with services_of(request).db.read() as session:
        found = await audit.entries(session, before=before, limit=limit, subject=subject, actor=actor)
    return AuditPage(
        items=[AuditOut.model_validate(entry, from_attributes=True) for entry in found],
        next=found[-1].id if len(found) == limit else None,
    )
