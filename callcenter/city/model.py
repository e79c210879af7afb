"""Areas and units as the store keeps them: two trees that cases point into."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base

DEPARTMENT: Final = "department"
"""A unit that owns or keeps things: 属主."""
STREET: Final = "street"
"""The government of an area: 属地."""
UTILITY: Final = "utility"
"""Water, power, gas, heating: signs for an urgent order round the clock."""
UNIT_KINDS: Final = (DEPARTMENT, STREET, UTILITY)
TREE: Final = "unit"
"""The layer of the area tree itself (单元网格)."""


class Area(Base):
    """A node of the area tree: city, district, street, community, grid (``level`` 1 to 5)."""

    __tablename__ = "areas"
    __table_args__ = (UniqueConstraint("code"), Index(None, "parent_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(24))
    name: Mapped[str] = mapped_column(String(80))
    level: Mapped[int]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"))
    layer: Mapped[str] = mapped_column(String(16), server_default=TREE)
    """``unit``: the tree that cases point into. Another: a professional grid (police, sanitation …) that lies across
    it."""
    active: Mapped[bool] = mapped_column(server_default=true())
    """False: no newer map has it. Its row stays, cases point at it."""


class Unit(Base):
    """An organisation that orders are given to."""

    __tablename__ = "units"
    __table_args__ = (UniqueConstraint("code"), Index(None, "parent_id"), Index(None, "area_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(24))
    name: Mapped[str] = mapped_column(String(80))
    kind: Mapped[str] = mapped_column(String(16))
    """One of UNIT_KINDS."""
    level: Mapped[int]
    """1: the city's, 2: a district's."""
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    """The level above: who gets a complaint about this unit."""
    area_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"))
    """The ground it answers for; None: the whole city."""
    leader: Mapped[str] = mapped_column(String(40))
    """Who a supervision sheet is addressed to: a post, not a person's particulars."""
    duty_phone: Mapped[str] = mapped_column(String(32))
    """Rung for an urgent order that nobody signs for; empty: none."""
    round_the_clock: Mapped[bool]
    active: Mapped[bool]
    created_at: Mapped[datetime]
