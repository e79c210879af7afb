"""A step while it is being carried out: what its effects read and what they leave for the log. See ``act_effects``."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.calendar import Calendar
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.life import CaseOrder
from callcenter.cases.lifecycle import Action, Actor, Given, Move
from callcenter.cases.model import Case
from callcenter.cases.responsibility import Finding
from callcenter.cases.snapshots import new_pictures, open_check

NOTIFY: Final = "order.notify"
"""Job: tell a unit of an order. Refs: case, order, unit."""
RESUME: Final = "case.resume"
"""Job: end a suspension at its time. Refs: case, request."""


@dataclass(frozen=True, slots=True)
class Words:
    """What comes with a step and is no code: texts (kept in CaseText rows), pictures, numbers of others."""

    reason: str = ""
    text: str = ""
    """An answer, a result, an opinion."""
    knowledge: UUID | None = None
    """The article of the knowledge base that answers."""
    police_number: str = ""
    collector: UUID | None = None
    """Who is asked to look; None: whoever is nearest."""
    call: UUID | None = None
    """The call by which the citizen was called back."""
    lat: float | None = None
    """WGS84, where the collector stood."""
    lon: float | None = None


@dataclass(slots=True)
class Doing:
    """One step while it is being carried out."""

    session: AsyncSession
    case: Case
    action: Action
    actor: Actor
    given: Given
    words: Words
    move: Move
    at: datetime
    city: CitySettings
    calendar: Calendar
    rule: str | None
    finding: Finding | None = None
    reason: UUID | None = None
    text: UUID | None = None
    """CaseTexts that were written."""
    own: CaseOrder | None = None
    """The open order of the actor's unit."""
    issued: list[CaseOrder] = field(default_factory=list)
    """Orders given by this step."""
    detail: dict[str, Any] = field(default_factory=dict)


def take_rule(case: Case, finding: Finding | None, detail: dict[str, Any]) -> None:
    """Keep by which item of the lists the case is filed and handled."""
    if finding is None:
        return
    case.item_id, case.line, case.level = finding.item_id, finding.line, finding.level
    detail["found"] = finding.reason
    if finding.item_id is not None:
        detail["item"] = str(finding.item_id)


async def looked(doing: Doing, kind: str) -> None:
    """Somebody who was asked to look, for ``kind``, has answered."""
    check = await open_check(doing.session, doing.case.id, kind)
    if check is None:
        raise LookupError(f"case {doing.case.id} has no open check of kind {kind}, though its state says so")
    if _is_uuid(doing.actor.id):
        check.collector = UUID(doing.actor.id)
    check.answered_at, check.result, check.opinion = doing.at, doing.given.result, doing.text or doing.reason
    check.lat, check.lon = doing.words.lat, doing.words.lon
    doing.detail |= {"check": str(check.id), "result": doing.given.result}


def own_order(doing: Doing) -> CaseOrder:
    """The open order of the actor's unit: there is one, or the step would have been refused."""
    if doing.own is None:
        raise LookupError(f"case {doing.case.id}: unit {doing.actor.unit} has no open order, though it acts on one")
    return doing.own


async def note_pictures(doing: Doing, since: datetime) -> None:
    """Name in the log the new pictures that prove the step."""
    if pictures := await new_pictures(doing.session, doing.case, since):
        doing.detail["pictures"] = [str(one) for one in pictures]


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
