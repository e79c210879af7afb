"""What every table shares: the declarative base, names of constraints, and the three column types that differ by
database.

Every room's ``model.py`` hangs its tables on :class:`Base`; ``storage.schema`` gathers them. Constraints are named by a
convention so that a migration can drop or change one by name on SQLite and PostgreSQL alike.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Dialect, Integer, MetaData, Uuid
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment; comes back in UTC, to the microsecond. A naive one is refused with ValueError.

    PostgreSQL: ``timestamptz``. SQLite has no time type and SQLAlchemy's text form drops the zone silently, so there it
    is the integer of microseconds since the epoch: it sorts, compares and indexes as time does.
    """

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """``timestamptz`` on PostgreSQL, ``BIGINT`` on SQLite."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database's form. Raises ValueError for a naive time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive time {value.isoformat()}: times carry their zone, use clock.now()")
        if dialect.name == "sqlite":
            return (value - EPOCH) // timedelta(microseconds=1)
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database's form to an aware UTC time."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return EPOCH + timedelta(microseconds=int(value))
        moment: datetime = value
        return moment.astimezone(UTC)


JsonType = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON document: text on SQLite, ``jsonb`` on PostgreSQL. Python's None is SQL's NULL, so "not known" has one
form."""

BigId = BigInteger().with_variant(Integer, "sqlite")
"""A key the database counts up by itself. SQLite counts only a column declared INTEGER (its rowid, 64 bits all the
same)."""


class Base(DeclarativeBase):
    """The base of every table."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        UUID: Uuid(),
        dict[str, Any]: JsonType,
        list[Any]: JsonType,
    }
