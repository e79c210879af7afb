"""What the store keeps for judging routers: the answers of a candidate in shadow, and who made which version live."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base

PROMOTE: Final = "promote"
ROLLBACK: Final = "rollback"


class ShadowRouting(Base):
    """What a candidate version would have answered for the very text of a routing. Codes only: nothing to erase."""

    __tablename__ = "shadow_routings"
    __table_args__ = (Index(None, "model", "made_at"),)

    routing_id: Mapped[UUID] = mapped_column(ForeignKey("routings.id"), primary_key=True)
    model: Mapped[str] = mapped_column(String(80), primary_key=True)
    disposition: Mapped[str] = mapped_column(String(16))
    domain: Mapped[str | None] = mapped_column(String(16))
    category_standard: Mapped[str | None] = mapped_column(String(40))
    category_kind: Mapped[str | None] = mapped_column(String(16))
    category_code: Mapped[str | None] = mapped_column(String(16))
    probability: Mapped[float | None]
    domain_probability: Mapped[float | None]
    decision: Mapped[str] = mapped_column(String(16))
    made_at: Mapped[datetime]


class RouterChange(Base):
    """A version was made live, or was to be: who, when and why. ``done_at`` and ``fault`` both None: under way, or the
    process died over it."""

    __tablename__ = "router_changes"
    __table_args__ = (Index(None, "asked_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(String(16))
    version: Mapped[str] = mapped_column(String(80))
    """The version to be live; empty for a rollback until it is known."""
    previous: Mapped[str] = mapped_column(String(80))
    reason: Mapped[str] = mapped_column(String(400))
    user_id: Mapped[UUID]
    asked_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    fault: Mapped[str | None] = mapped_column(String(400))
