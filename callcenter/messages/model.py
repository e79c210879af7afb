"""Messages as the store keeps them. The number and the words are in a row of their own that can be erased."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base


class Message(Base):
    """One message. ``key`` makes it unique: the same milestone of a case is told once."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("key"), Index(None, "case_id"), Index(None, "recipient_hash", "created_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(160))
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    """None: to the citizen."""
    template: Mapped[str] = mapped_column(String(40))
    channel: Mapped[str] = mapped_column(String(16))
    recipient_hash: Mapped[str] = mapped_column(String(64))
    """Keyed hash of the number: what the rate limit counts by."""
    state: Mapped[str] = mapped_column(String(16))
    """waiting, sent, refused, failed, withheld."""
    reason: Mapped[str | None] = mapped_column(String(80))
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    gateway_ref: Mapped[str | None] = mapped_column(String(80))


class MessageParticulars(Base):
    """To whom and what. Blank after erasure."""

    __tablename__ = "message_particulars"

    message_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id"), primary_key=True)
    number: Mapped[str | None] = mapped_column(String(32))
    words: Mapped[str | None]
    erased_at: Mapped[datetime | None]
