"""What evaluation keeps: sums by day and month, what each case put into them, and how far the log has been folded in.

Nothing here is a source: all of it can be dropped and counted again from the log (``evaluations.recompute``). There are
two books, one that is read and one in which a recomputation is written; which is which is in ``evaluation_state``.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Column, Date, Index, Integer, String, Table, false, text
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.insight.indicators import COUNTERS
from callcenter.storage.base import Base

CELLS: Final = Table(
    "evaluation_cells",
    Base.metadata,
    Column("book", Integer, primary_key=True, autoincrement=False),
    Column("axis", String(8), primary_key=True),
    Column("span", String(1), primary_key=True),
    Column("start", Date, primary_key=True),
    Column("key", String(120), primary_key=True),
    Column("domain", String(16), primary_key=True),
    Column("entries", BigInteger, nullable=False),
    *(
        Column(name, BigInteger if name.endswith("_s") else Integer, nullable=False, server_default="0")
        for name in COUNTERS
    ),
    sqlite_with_rowid=False,
)
"""One row a cell (``evaluation_cells.Cell``), a column a counter. ``entries``: the sum of all counters; at 0 the row
goes. Without a rowid: on SQLite a period lies in one piece."""

CELL_KEY: Final = ("book", "axis", "span", "start", "key", "domain")


class EvaluationCase(Base):
    """What a case has put into a book's cells, and where it stands for telling a recurrence."""

    __tablename__ = "evaluation_cases"
    __table_args__ = (
        Index(None, "book", "area_id", "category", "opened_at"),
        Index(
            "ix_evaluation_cases_provisional",
            "case_id",
            postgresql_where=text("provisional"),
            sqlite_where=text("provisional"),
        ),
    )

    book: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    case_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int]
    """The last row of the case's log that is counted."""
    area_id: Mapped[UUID | None]
    category: Mapped[str | None] = mapped_column(String(80))
    lat: Mapped[float | None]
    lon: Mapped[float | None]
    grid: Mapped[bool]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    recurred: Mapped[bool] = mapped_column(server_default=false())
    """The recurrence is counted in the cells."""
    provisional: Mapped[bool] = mapped_column(server_default=false())
    """A limit of it was counted over days nobody knew yet: it is counted again once they are known."""
    contribution: Mapped[dict[str, Any]]
    """``evaluation_cells.Contribution.kept``: ids, codes and numbers."""


class EvaluationState(Base):
    """One row: which book is read, and how far the log is in it."""

    __tablename__ = "evaluation_state"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    book: Mapped[int]
    settled_id: Mapped[int] = mapped_column(BigInteger)
    """Log rows up to here are folded in and no earlier one can still appear."""
    seen_id: Mapped[int] = mapped_column(BigInteger)
    """The last log row at ``seen_at``; settled once SETTLES has passed."""
    seen_at: Mapped[datetime]
    folded_at: Mapped[datetime]
    building_at: Mapped[datetime | None]
    """When a recomputation last gave a sign of life; None: there is none."""
