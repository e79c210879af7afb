"""What a city imports about itself: maps, places, things, people. Rows of versions, one of each kind in force.

An import is loaded beside the version in force, unseen, in small transactions that hold no telephone call up, and
comes into force as a whole by one row (``CityImport.state``), or not at all. So a million rows are all or nothing, the
version before is still there to go back to, and whoever reads sees one version throughout. What points here from
outside (cases, tags) does so by the code that the city gave, never by a row.
"""

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base, BigId

LOADING: Final = "loading"
IN_FORCE: Final = "in_force"
SUPERSEDED: Final = "superseded"
REFUSED: Final = "refused"
WITHDRAWN: Final = "withdrawn"
"""Was in force, and somebody went back to the version before."""
GONE: Final = "gone"
"""Was in force long ago; its rows are swept away."""
STATES: Final = (LOADING, IN_FORCE, SUPERSEDED, REFUSED, WITHDRAWN, GONE)


class CityImport(Base):
    """One file that was read: what came of it, and the key of its rows."""

    __tablename__ = "city_imports"
    __table_args__ = (UniqueConstraint("kind", "version"), Index(None, "kind", "state"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(24))
    """What the rows are: one of ``importing.KINDS``."""
    version: Mapped[int]
    """1, 2, 3 … of its kind, refused ones too."""
    state: Mapped[str] = mapped_column(String(12))
    """One of STATES; of each kind at most one is in force."""
    source: Mapped[str] = mapped_column(String(120))
    """The file's own name, without its folders."""
    sha256: Mapped[str] = mapped_column(String(64))
    datum: Mapped[str] = mapped_column(String(8))
    """Of the coordinates in the file; empty: it has none. In the store all are WGS84."""
    rows: Mapped[int]
    """Rows stored; while it loads, so far."""
    refused: Mapped[int]
    """Rows refused; any keeps the whole from coming into force."""
    faults: Mapped[list[Any]]
    """The first faults: row, column, value, mend."""
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class AreaShape(Base):
    """The ground of an area."""

    __tablename__ = "area_shapes"

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(24), primary_key=True)
    shape: Mapped[bytes] = mapped_column(LargeBinary)
    """A polygon or several: WKB, degrees, WGS84."""


class Place(Base):
    """Something with a name that people say: a road, an estate, a school, a stop."""

    __tablename__ = "places"

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(24), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    kind: Mapped[str] = mapped_column(String(12))
    """road, estate, poi, stop, bridge, park, river."""
    aliases: Mapped[list[Any]]
    """What else it is called."""
    shape: Mapped[bytes] = mapped_column(LargeBinary)
    """A point, a line, a polygon: WKB, degrees, WGS84."""


class Address(Base):
    """A door: the number on a road, or the building and staircase of an estate."""

    __tablename__ = "addresses"
    __table_args__ = (Index(None, "import_id", "place", "number"), Index(None, "import_id", "cell"))

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    place: Mapped[str] = mapped_column(String(24))
    """The code of a place; places and addresses are imported apart, so no foreign key."""
    number: Mapped[int | None]
    """Of the door on its road; None within an estate."""
    building: Mapped[int | None]
    door: Mapped[int | None]
    """The staircase (单元)."""
    lon: Mapped[float]
    lat: Mapped[float]
    cell: Mapped[int] = mapped_column(BigInteger)


class Asset(Base):
    """A registered city part (部件), with the attributes of GB/T 47678.5 that something here uses."""

    __tablename__ = "assets"
    __table_args__ = (
        Index(None, "import_id", "category", "cell"),
        Index(None, "import_id", "cell"),
        Index(None, "import_id", "tag"),
    )

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(17), primary_key=True)
    """标识码: 16 digits by GB/T 30428.2 (district 6, category 4, serial 6), 17 by GB/T 47678.5 (6, 5, 6)."""
    category: Mapped[str] = mapped_column(String(5))
    """The code of its category, which is also digits 7 to 10 (11) of ``code``."""
    name: Mapped[str] = mapped_column(String(60))
    owner: Mapped[str] = mapped_column(String(24))
    """权属单位: the code of a unit; empty: nobody is known."""
    keeper: Mapped[str] = mapped_column(String(24))
    """养护单位: the code of a unit; empty: the owner."""
    state: Mapped[str] = mapped_column(String(8))
    """完好, 破损, 丢失, 废弃, 移除."""
    tag: Mapped[str | None] = mapped_column(String(40))
    """What its QR code or RFID tag says; None: it has none."""
    installed: Mapped[date | None]
    lon: Mapped[float]
    lat: Mapped[float]
    cell: Mapped[int] = mapped_column(BigInteger)


class House(Base):
    """A dwelling, shop or workshop behind an address (以房管人)."""

    __tablename__ = "houses"
    __table_args__ = (Index(None, "import_id", "address"),)

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    address: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(12))
    owner_name: Mapped[str] = mapped_column(String(60))


class Person(Base):
    """Who lives where: the one master record of a person (数出一门). Read only through ``residents``, which audits."""

    __tablename__ = "people"
    __table_args__ = (Index(None, "import_id", "house"),)

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    house: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(60))
    gender: Mapped[str] = mapped_column(String(4))
    birth_year: Mapped[int | None]
    phone: Mapped[str] = mapped_column(String(32))
    id_number: Mapped[str] = mapped_column(String(18))
    kind: Mapped[str] = mapped_column(String(12))
    """户籍 registered here, 流动 from elsewhere."""


class Organisation(Base):
    """An enterprise, shop, school, association."""

    __tablename__ = "organisations"
    __table_args__ = (Index(None, "import_id", "house"),)

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    """统一社会信用代码, 18 characters, or the city's own."""
    house: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(24))
    legal_person: Mapped[str] = mapped_column(String(60))
    phone: Mapped[str] = mapped_column(String(32))


class Registered(Base):
    """An entry of a registry that a case can point to: a camera, a risk source, a device, a duty holder …

    What all have is columns; what only its kind has is ``particulars``, checked at import (``registries``).
    """

    __tablename__ = "registered"
    __table_args__ = (Index(None, "import_id", "cell"),)

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    owner: Mapped[str] = mapped_column(String(24))
    """The code of a unit; empty: none."""
    lon: Mapped[float | None]
    lat: Mapped[float | None]
    cell: Mapped[int | None] = mapped_column(BigInteger)
    particulars: Mapped[dict[str, Any]]


class FormField(Base):
    """One field of a form that a department keeps on enterprises (表单项): 13 departments, 105 forms, 1,600 of them."""

    __tablename__ = "form_fields"

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(64), primary_key=True)
    """``<form>:<field>``."""
    form: Mapped[str] = mapped_column(String(24))
    title: Mapped[str] = mapped_column(String(80))
    """Of the form: the same in each of its fields."""
    unit: Mapped[str] = mapped_column(String(24))
    """The code of the department whose form it is: the same in each of its fields."""
    field: Mapped[str] = mapped_column(String(32))
    label: Mapped[str] = mapped_column(String(60))
    form_of: Mapped[str] = mapped_column(String(8))
    """What a value is: text, number, day, flag."""
    personal: Mapped[bool]
    """Tells of a person: masked for everyone who may not see people whole."""
    place: Mapped[int]
    """The row of the file: the order in which fields are shown."""


class FormRecord(Base):
    """A form as a department filled it in for one organisation. Read only through ``dossier``, which audits."""

    __tablename__ = "form_records"
    __table_args__ = (Index(None, "import_id", "organisation"),)

    import_id: Mapped[int] = mapped_column(ForeignKey("city_imports.id"), primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    form: Mapped[str] = mapped_column(String(24))
    organisation: Mapped[str] = mapped_column(String(32))
    recorded_on: Mapped[date | None]
    given: Mapped[dict[str, Any]]
    """Values by field, as ``FormField.form_of`` says: text, number, ISO day, true or false."""
