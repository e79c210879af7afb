"""All that departments know of one enterprise, in one place (003-15): 13 departments, 105 forms, 1,600 fields.

Reading one is a look (``residents``): for a purpose, audited, counted, and with the fields that tell of people masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city import importing, kinds, residents
from callcenter.city.ground import FormField, FormRecord, Organisation
from callcenter.city.residents import Asking, LookRefused, Masks, OrganisationSeen, UnitSeen, Why

MOST_RECORDS: Final = 1_000
"""Of one enterprise: a hundred forms, ten times each."""


@dataclass(frozen=True, slots=True)
class Value:
    """One filled-in field. ``value``: text, number, ISO day, true or false; a text of stars where it is masked."""

    field: str
    label: str
    personal: bool
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Record:
    """One form as it was filled in."""

    code: str
    recorded_on: date | None
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a department. ``records``: the newest first; in the registry of forms none."""

    code: str
    title: str
    fields: int
    records: Sequence[Record] = ()


@dataclass(frozen=True, slots=True)
class Department:
    """The forms of one department, by code."""

    unit: UnitSeen
    forms: Sequence[Form]


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything on one organisation, by department and form. ``more``: there are more records than one look shows."""

    organisation: OrganisationSeen
    departments: Sequence[Department]
    records: int
    more: bool
    left: int


async def read(session: AsyncSession, code: str, why: Why, asking: Asking) -> Dossier | None:
    """The dossier of the organisation with ``code``; None where there is none, which is recorded too.

    Raises LookRefused, NotPermitted, TooManyLooks; then nothing was read.
    """
    if why.purpose == residents.STATISTICS:
        raise LookRefused("purpose", "no statistics are made of one organisation: name another purpose")
    left = await residents.admit(session, asking, why)
    versions = await importing.in_force(session)
    key = versions.get(kinds.ORGANISATIONS)
    row = None if key is None else await session.get(Organisation, (key, code))
    if row is None:
        residents.record(session, asking, why, residents.DOSSIER, f"{residents.ORGANISATION}:?", records=0)
        await session.flush()
        return None
    masks = Masks(why.full)
    query = (
        select(FormRecord)
        .where(FormRecord.import_id == versions.get(kinds.FORM_RECORDS, -1), FormRecord.organisation == code)
        .order_by(FormRecord.recorded_on.desc().nulls_last(), FormRecord.code)
    )
    records = list(await session.scalars(query.limit(MOST_RECORDS + 1)))
    more, records = len(records) > MOST_RECORDS, records[:MOST_RECORDS]
    fields = await _fields(session, versions, {record.form for record in records})
    units = await residents.unit_names(session, {one.unit for one in fields})
    residents.record(
        session, asking, why, residents.DOSSIER, f"{residents.ORGANISATION}:{code}", records=len(records), more=more
    )
    await session.flush()  # before anything is shown: who cannot be recorded must not read
    return Dossier(
        residents.organisation_seen(row, masks), _grouped(records, fields, units, masks), len(records), more, left
    )


async def forms(session: AsyncSession) -> list[Department]:
    """The registry of forms: every department's, with how many fields each has."""
    versions = await importing.in_force(session)
    query = (
        select(FormField.unit, FormField.form, func.min(FormField.title).label("title"), func.count().label("fields"))
        .where(FormField.import_id == versions.get(kinds.FORMS, -1))
        .group_by(FormField.unit, FormField.form)
        .order_by(FormField.unit, FormField.form)
    )
    rows = (await session.execute(query)).all()
    units = await residents.unit_names(session, {row.unit for row in rows})
    found: dict[str, list[Form]] = {}
    for row in rows:
        found.setdefault(row.unit, []).append(Form(row.form, row.title, row.fields))
    return [Department(units.get(code, UnitSeen(code, "")), ours) for code, ours in found.items()]


async def form(session: AsyncSession, code: str) -> list[FormField]:
    """The fields of one form in their order; empty where there is no such form."""
    return await _fields(session, await importing.in_force(session), {code})


async def _fields(session: AsyncSession, versions: dict[str, int], codes: set[str]) -> list[FormField]:
    key = versions.get(kinds.FORMS)
    if key is None or not codes:
        return []
    # A form has no index of its own: all fields of a city are some thousand rows, by their key.
    query = select(FormField).where(FormField.import_id == key, FormField.form.in_(sorted(codes)))
    return list(await session.scalars(query.order_by(FormField.place)))


def _grouped(
    records: Sequence[FormRecord], fields: Sequence[FormField], units: dict[str, UnitSeen], masks: Masks
) -> list[Department]:
    by_form: dict[str, list[FormField]] = {}
    for one in fields:
        by_form.setdefault(one.form, []).append(one)
    filled: dict[tuple[str, str], list[Record]] = {}
    for row in records:
        ours = by_form.get(row.form, [])
        # A form that a newer list of forms does not have: nobody says whose it is, or what in it is personal.
        unit = ours[0].unit if ours else ""
        filled.setdefault((unit, row.form), []).append(Record(row.code, row.recorded_on, _values(row, ours, masks)))
    departments: dict[str, list[Form]] = {}
    for (unit, code), found in sorted(filled.items()):
        ours = by_form.get(code, [])
        departments.setdefault(unit, []).append(Form(code, ours[0].title if ours else "", len(ours), found))
    return [Department(units.get(unit, UnitSeen(unit, "")), ours) for unit, ours in departments.items()]


def _values(row: FormRecord, fields: Sequence[FormField], masks: Masks) -> list[Value]:
    """The values in the order of the form; those of fields that it no longer has come last, as personal ones."""
    known = {one.field: one for one in fields}
    order = {one.field: place for place, one in enumerate(fields)}
    found = []
    for name in sorted(row.given, key=lambda one: (order.get(one, len(order)), one)):
        field = known.get(name)
        personal = field is None or field.personal
        found.append(Value(name, field.label if field else "", personal, _shown(row.given[name], personal, masks)))
    return found


def _shown(value: Any, personal: bool, masks: Masks) -> str | int | float | bool:
    shown: str | int | float | bool
    if isinstance(value, str):
        shown = masks.personal(value) if personal else masks.text(value)
    elif personal and not masks.full:
        shown = "***"
    else:
        # A mobile number is a number too, where somebody made a field of numbers of it.
        shown = value
        if not isinstance(value, bool) and masks.text(text := _plain(value)) != text:
            shown = masks.text(text)
    return shown


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
