"""What a city fills in: responsibility and patrol lists, verification rules, its calendar, its knowledge base."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Date, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base


class ResponsibilityList(Base):
    """事项清单: one version of a list. The newest that is in force is used; cases keep the one they were filed by."""

    __tablename__ = "responsibility_lists"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    version: Mapped[int]
    in_force_from: Mapped[datetime]
    imported_at: Mapped[datetime]
    imported_by: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    items: Mapped[int]


class ResponsibilityItem(Base):
    """One rule: in this area, a matter of this category under this condition is this unit's, within this limit."""

    __tablename__ = "responsibility_items"
    __table_args__ = (UniqueConstraint("list_id", "code"), Index(None, "standard", "kind", "category_code"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    list_id: Mapped[UUID] = mapped_column(ForeignKey("responsibility_lists.id"))
    code: Mapped[str] = mapped_column(String(40))
    standard: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(16))
    category_code: Mapped[str] = mapped_column(String(16))
    area_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"))
    """None: everywhere."""
    unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    """None: whoever owns the asset, else the area's street."""
    filing_condition: Mapped[str] = mapped_column(String(400))
    closing_condition: Mapped[str] = mapped_column(String(400))
    limit_value: Mapped[float]
    limit_unit: Mapped[str] = mapped_column(String(16))
    line: Mapped[str] = mapped_column(String(16))
    """One of the four management lines: 城市管理 社会管理 治安管理 交通管理, as city, society, security, traffic."""
    level: Mapped[int]
    """1: stays in the grid, 2: in the district part, 3: in the street, 4: of the city."""


class VerificationRule(Base):
    """Whether a matter is looked at before it is filed. The most specific rule wins; empty columns mean any."""

    __tablename__ = "verification_rules"
    __table_args__ = (UniqueConstraint("source", "domain", "kind", "category_code"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(16))
    domain: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(16))
    category_code: Mapped[str] = mapped_column(String(16))
    mode: Mapped[str] = mapped_column(String(16))
    """verify_first 先核后立, exempt 免核实, dispatch_first 先派后核."""


class PatrolItem(Base):
    """One of the things that a grid worker looks after on a round (334 in one city), with its category."""

    __tablename__ = "patrol_items"
    __table_args__ = (UniqueConstraint("list_name", "version", "code"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    list_name: Mapped[str] = mapped_column(String(80))
    version: Mapped[int]
    code: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(120))
    standard: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(16))
    category_code: Mapped[str] = mapped_column(String(16))
    every_days: Mapped[int | None]


class CalendarDay(Base):
    """A day on which a city differs from the country: works, or does not."""

    __tablename__ = "calendar_days"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    works: Mapped[bool]
    note: Mapped[str] = mapped_column(String(80))
    set_by: Mapped[str] = mapped_column(String(64))
    set_at: Mapped[datetime]


class KnowledgeArticle(Base):
    """知识库: what is answered to a question, from what source, who owns it, until when it may be believed."""

    __tablename__ = "knowledge_articles"
    __table_args__ = (UniqueConstraint("code", "version"), Index(None, "review_by"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(40))
    version: Mapped[int]
    title: Mapped[str] = mapped_column(String(200))
    answer: Mapped[str]
    source: Mapped[str] = mapped_column(String(200))
    source_date: Mapped[date | None] = mapped_column(Date)
    owner_unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    standard: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(16))
    category_code: Mapped[str] = mapped_column(String(16))
    review_by: Mapped[date] = mapped_column(Date)
    written_by: Mapped[str] = mapped_column(String(64))
    written_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
