"""People who work in the field, without HTTP, and the devices of a small city."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from callcenter import clock
from callcenter.access.audit import SYSTEM, Actor
from callcenter.access.model import User
from callcenter.access.permissions import Role
from callcenter.city import importing
from callcenter.city.field_model import Shift
from callcenter.city.ground import IN_FORCE
from callcenter.storage.engine import Database
from callcenter.tables.sources import Source

KEEPER = Actor("user", "11111111-1111-4111-8111-111111111111")
"""Who makes shifts and tasks."""
DEVICES = """\
code,name,owner,lon,lat,kind,threshold
GAS-1,燃气探测器,,112.0243,31.0502,燃气,20 %LEL
GAS-2,燃气探测器,,112.0300,31.0502,燃气,20 %LEL
CAR-1,执法车,,,,车辆,
"""


async def person(db: Database, at: datetime, *roles: str, unit: UUID | None = None, **more: Any) -> UUID:
    """A new user; by default a collector."""
    user = User(
        id=uuid4(),
        username=f"u{uuid4().hex[:10]}",
        display_name="王丽",
        password_hash="-",
        roles=list(roles or (Role.COLLECTOR.value,)),
        unit_id=unit,
        created_at=at,
        password_changed_at=at,
        **more,
    )
    async with db.begin() as session:
        session.add(user)
    return user.id


async def on_shift(db: Database, user: UUID, area: UUID, starts_at: datetime, ends_at: datetime) -> UUID:
    """A shift as it stands in the store."""
    shift = Shift(
        id=uuid4(),
        user_id=user,
        area_id=area,
        starts_at=starts_at,
        ends_at=ends_at,
        made_by="system",
        made_at=starts_at,
    )
    async with db.begin() as session:
        session.add(shift)
    return shift.id


async def import_table(db: Database, kind: str, table: str, datum: str = "wgs84") -> int:
    """Put a table in force; gives the key of its rows."""
    source = Source(data=table.encode())
    told = await importing.import_file(db, kind, source, actor=SYSTEM, at=clock.now(), datum=datum)
    assert told.state == IN_FORCE, told.faults
    return told.id
