"""受理: how a case comes in and goes on by rule: its limits begin, it is sent to be verified or filed, and dispatched.

Cases of calls come through ``drafts``, all others (web, mail, 110, collectors …) through ``register``.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import clocks, events, locating
from callcenter.cases.acts import MACHINE, take
from callcenter.cases.alike import look
from callcenter.cases.calendar import load_calendar
from callcenter.cases.city_settings import CitySettings, in_force
from callcenter.cases.filing import DISPATCH_BY_LIST, VERIFY_BEFORE, may_file
from callcenter.cases.life import CITIZEN, FILE, PoliceHandover
from callcenter.cases.lifecycle import VERIFY_FIRST, Action, Given
from callcenter.cases.milestones import tell_accepted
from callcenter.cases.model import PENDING_DISPATCH, REPORTED, Case, CaseParticulars, lot
from callcenter.cases.record import CaseError, append_log, locked, next_number
from callcenter.cases.responsibility import find, name_accused, verification
from callcenter.cases.search_index import index_words
from callcenter.city import assets, kinds
from callcenter.city.model import Area, Unit
from callcenter.storage.outbox import add_event
from callcenter.storage.rows import insert_new

SOURCES: Final = (
    "web",
    "mail",
    "app",
    "wechat",
    "weibo",
    "tv",
    "walk_in",
    "media",
    "collector",
    "volunteer",
    "110",
    "iot",
    "video",
    "vehicle",
    "census",
    "other",
)
"""Where a case that is registered may come from; ``phone`` is a call's."""
INTENTS: Final = ("consult", "help", "complaint", "report", "suggestion", "praise")
"""诉求类型: 咨询 求助 投诉 举报 建议 表扬."""
URGENCIES: Final = ("ordinary", "urgent", "critical")
"""一般 紧急 特急."""


class Unknown(CaseError):
    """A new case names something that is not there. ``field``: which."""

    def __init__(self, field: str, mend: str) -> None:
        super().__init__(f"{field}: {mend}")
        self.field = field


class AlreadyRegistered(CaseError):
    """Another case was registered under the same key, or for the same police number."""


@dataclass(frozen=True, slots=True)
class NewCase:
    """A work order as a person fills it in (GB/T 33358 工单). Times aware; lat and lon WGS84."""

    source: str
    text: str
    disposition: str = "case"
    intent: str | None = None
    domain: str | None = None
    standard: str | None = None
    code: str | None = None
    kind: str | None = None
    major: str | None = None
    minor: str | None = None
    address: str | None = None
    area_id: UUID | None = None
    lat: float | None = None
    lon: float | None = None
    happened_at: datetime | None = None
    reporter_name: str | None = None
    reporter_number: str | None = None
    callback_number: str | None = None
    wish: str | None = None
    wants_reply: bool = True
    secrecy: bool = False
    anonymous: bool = False
    urgency: str = "ordinary"
    emergency: tuple[str, ...] = ()
    accused: str | None = None
    accused_unit_id: UUID | None = None
    asset_owner_id: UUID | None = None
    asset_code: str | None = None
    """The part it is about, as its tag or its 标识码 says: the case lies where it stands."""
    police_number: str | None = None
    """Of a matter that 110 hands over."""


async def accept(session: AsyncSession, case: Case, at: datetime, city: CitySettings | None = None) -> None:
    """A case has just got its number, and the citizen hears it; the limits of filing and of their wait begin."""
    city = city or in_force()
    calendar = await load_calendar(session, city)
    for phase in (CITIZEN, FILE):
        await clocks.start(session, case, phase, city.limit_of(phase), at, calendar=calendar)
    await tell_accepted(session, case, at)


async def file_if_allowed(session: AsyncSession, case: Case, at: datetime, city: CitySettings | None = None) -> None:
    """Bring a reported case on as far as rules allow: have it verified, or filed and then ordered to be handled."""
    if case.state != REPORTED:
        return
    rule = may_file(
        disposition=case.disposition,
        decision=case.decision,
        confirmed=case.confirmed_by is not None,
        category_code=case.category_code,
    )
    if rule is None:
        return
    case.verification = await verification(session, case)
    if case.verification == VERIFY_FIRST:
        await take(session, case, Action.ASK_VERIFY, actor=MACHINE, at=at, city=city, rule=VERIFY_BEFORE)
        return
    await take(session, case, Action.FILE, actor=MACHINE, at=at, city=city, rule=rule, logged_as="filed")
    await dispatch_by_rule(session, case, at, city)


async def dispatch_by_rule(session: AsyncSession, case: Case, at: datetime, city: CitySettings | None = None) -> bool:
    """Order the unit that the lists name to handle a case just filed; tells whether there was one. A case that a unit
    gave back is for a person."""
    city = city or in_force()
    if case.state != PENDING_DISPATCH or not city.dispatch_by_rule or case.returns:
        return False
    await name_accused(session, case)
    found = await find(session, case, at=at, calendar=await load_calendar(session, city))
    if found.unit_id is None:
        return False
    given = Given(unit=found.unit_id)
    await take(session, case, Action.DISPATCH, actor=MACHINE, given=given, at=at, city=city, rule=DISPATCH_BY_LIST)
    return True


async def register(
    session: AsyncSession,
    case_id: UUID,
    new: NewCase,
    *,
    by: str,
    at: datetime,
    city: CitySettings | None = None,
) -> tuple[Case, bool]:
    """Take in a case that a person or a system reports: numbered and REPORTED, to be filed by a step of its own.

    Idempotent by ``case_id``: registered again, the first one is given back, and False. Raises Unknown for an area or a
    unit that is not there, AlreadyRegistered when ``case_id`` stands for another matter or the police number for
    another case, ValueError for a source, intent or urgency that is none.
    """
    _check(new)
    await _check_references(session, new)
    if new.asset_code is not None:
        new = await _at_its_part(session, new, new.asset_code)
    opened = await insert_new(session, Case, _values(case_id, new, at))
    case = await locked(session, case_id)
    if case is None:
        raise LookupError(f"case {case_id} vanished within its own transaction")
    if not opened:
        words = await session.get_one(CaseParticulars, case_id)
        if (case.source, case.disposition) != (new.source, new.disposition) or words.text not in (new.text, None):
            raise AlreadyRegistered(
                "that idempotency key was used for another matter: take a new key for each, the same one to repeat one"
            )
        return case, False
    session.add(
        CaseParticulars(
            case_id=case_id,
            text=new.text,
            address=new.address,
            reporter_number=new.reporter_number,
            reporter_name=new.reporter_name,
            callback_number=new.callback_number,
            wish=new.wish,
            accused=new.accused,
        )
    )
    detail: dict[str, Any] = {"source": new.source, "code": new.code}
    if new.police_number:
        detail["handover"] = str(await _from_police(session, case, new.police_number.strip(), by, at))
    case.number = await next_number(session, at)
    await append_log(session, case, actor=by, action="registered", from_state=None, at=at, detail=detail)
    add_event(session, events.REGISTERED, at=at, case=case.id, refs={"version": case.version})
    await session.flush()
    await index_words(session, case_id)
    await locating.locate(session, case, at)
    await accept(session, case, at, city)
    await session.flush()
    await look(session, case, at)
    return case, True


def _check(new: NewCase) -> None:
    for name, value, known in (
        ("source", new.source, SOURCES),
        ("urgency", new.urgency, URGENCIES),
        ("intent", new.intent or INTENTS[0], INTENTS),
        ("disposition", new.disposition, ("case", "question")),
    ):
        if value not in known:
            raise ValueError(f"{name} {value!r:.24} is none of {', '.join(known)}")


async def _check_references(session: AsyncSession, new: NewCase) -> None:
    if new.area_id is not None and await session.get(Area, new.area_id) is None:
        raise Unknown("area", "there is no area with that id: see the list of areas")
    for field, unit in (("accused_unit", new.accused_unit_id), ("asset_owner", new.asset_owner_id)):
        if unit is not None and await session.get(Unit, unit) is None:
            raise Unknown(field, "there is no unit with that id: see the list of units")


async def _at_its_part(session: AsyncSession, new: NewCase, code: str) -> NewCase:
    """``new`` where the part stands, its owner named. Raises Unknown."""
    city = locating.in_force()
    part = await assets.by_code(session, (await city.versions(wait=False)).get(kinds.ASSETS), code) if city else None
    if part is None:
        raise Unknown("asset", "there is no part of that code or tag: leave it out and say where it is")
    owner = await session.scalar(select(Unit.id).where(Unit.code == part.owner)) if part.owner else None
    return replace(new, asset_code=part.code, lat=part.lat, lon=part.lon, asset_owner_id=new.asset_owner_id or owner)


async def _from_police(session: AsyncSession, case: Case, number: str, by: str, at: datetime) -> UUID:
    taken = select(PoliceHandover.case_id).where(
        PoliceHandover.direction == "in", PoliceHandover.police_number == number
    )
    if await session.scalar(taken) is not None:
        raise AlreadyRegistered("a case was registered for that police number before: look it up by the number")
    handover = uuid4()
    values = {
        "id": handover,
        "case_id": case.id,
        "direction": "in",
        "police_number": number,
        "handed_at": at,
        "by": by,
        "result_at": None,
        "result": None,
    }
    if not await insert_new(session, PoliceHandover, values):  # at the same time, under another key
        raise AlreadyRegistered("a case was registered for that police number just now: look it up by the number")
    return handover


def _values(case_id: UUID, new: NewCase, at: datetime) -> dict[str, Any]:
    return {
        "id": case_id,
        "source": new.source,
        "state": REPORTED,
        "disposition": new.disposition,
        "domain": new.domain,
        "category_standard": new.standard,
        "category_code": new.code,
        "category_kind": new.kind,
        "category_major": new.major,
        "category_minor": new.minor,
        "decision": "confirm",
        "intent": new.intent,
        "emergency": list(new.emergency),
        "secrecy": new.secrecy,
        "anonymous": new.anonymous,
        # Nobody can be called back who left no number.
        "wants_reply": new.wants_reply and bool(new.callback_number or new.reporter_number),
        "happened_at": new.happened_at,
        "urgency": new.urgency,
        "area_id": new.area_id,
        "lat": new.lat,
        "lon": new.lon,
        "asset_owner_id": new.asset_owner_id,
        "asset_code": new.asset_code,
        "located_by": locating.ASSET if new.asset_code else None,
        "accused_unit_id": new.accused_unit_id,
        "version": 1,
        "created_at": at,
        "completed_at": at,
        "draw": lot(case_id),
    }
