"""The job as the store keeps it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base

_WAITS = "done_at IS NULL AND failed_at IS NULL"


class Job(Base):
    """One thing to do. ``key`` makes it happen once however often it is asked for. ``refs`` as in the outbox."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("key"),
        Index("ix_jobs_waiting", "run_at", "id", postgresql_where=text(_WAITS), sqlite_where=text(_WAITS)),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(48))
    key: Mapped[str] = mapped_column(String(160))
    refs: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    run_at: Mapped[datetime]
    """Not before this; moved on after each failure."""
    attempts: Mapped[int]
    leased_until: Mapped[datetime | None]
    """A runner has it until then; afterwards another may take it."""
    done_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    """Given up after the last attempt: somebody has to look."""
    fault: Mapped[str | None] = mapped_column(String(200))
