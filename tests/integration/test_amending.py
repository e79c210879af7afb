"""Filling in a work order: what may be set when, by whom, and that a place makes a waiting case find its unit."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from callcenter.cases import intake, repository
from callcenter.cases.amending import AmendRefused, amend
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.lifecycle import Action
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cases.record import Conflict
from callcenter.cases.repository import erase_particulars
from callcenter.cases.search import find_cases
from callcenter.cases.search_filters import Find
from callcenter.storage.engine import Database
from tests.acting import House, house, somebody
from tests.sample_calls import SampleCall, apply

__all__ = ["house"]

pytestmark = pytest.mark.integration


async def filled(house: House, case: UUID, who: Any = None, version: int | None = None, **changes: Any) -> Case:
    async with house.db.begin() as session:
        row = await session.get_one(Case, case)
        return await amend(
            session,
            case,
            changes,
            actor=who or house.agent,
            expected_version=version or row.version,
            at=house.at,
            city=CitySettings(),
        )


async def words(house: House, case: UUID) -> CaseParticulars:
    async with house.db.read() as session:
        return await session.get_one(CaseParticulars, case)


async def test_what_was_not_said_is_filled_in_by_one_step_that_names_the_fields_only(house: House) -> None:
    case = await house.report(address=None)
    found = await filled(
        house, case, address="青年路三号", wish="今天修好", urgency="urgent", callback_number="13700000001"
    )
    assert (found.urgency, found.version) == ("urgent", 2)
    known = await words(house, case)
    assert (known.address, known.wish, known.callback_number) == ("青年路三号", "今天修好", "13700000001")
    last = (await house.log(case))[-1]
    assert (last.action, last.actor) == ("amended", house.agent.id)
    assert last.detail == {"fields": ["address", "callback_number", "urgency", "wish"], "urgency": "urgent"}
    async with house.db.read() as session:
        assert [row.case.id for row in (await find_cases(session, Find(words="青年路"))).rows] == [case]
    again = await filled(house, case, urgency="urgent")
    assert again.version == 2, "nothing changed, nothing is logged"


async def test_a_place_lets_a_waiting_case_find_its_unit(house: House) -> None:
    call = SampleCall(rung_at=house.at)
    await apply(house.db, *call.whole("解放大道路口的井盖不见了", address="解放大道", accused=None))
    async with house.db.read() as session:
        row = (await repository.list_cases(session, limit=1)).rows[0].case
    assert (row.state, row.lead_unit_id) == ("pending_dispatch", None), "nobody knows where it is"
    found = await filled(house, row.id, area_id=house.area)
    assert (found.state, found.lead_unit_id) == ("pending_handle", house.street)
    assert [one.action for one in await house.log(row.id)][-2:] == ["amended", "dispatch"]


async def test_more_words_of_the_call_do_not_move_what_a_person_filled_in(house: House) -> None:
    call = SampleCall(rung_at=house.at)
    await apply(house.db, call.started(), call.leg_opened(), call.said("井盖不见了"), call.routed("井盖不见了"))
    async with house.db.read() as session:
        [row] = (await repository.list_cases(session, limit=2, states=["draft"])).rows
    await filled(house, row.case.id, address="青年路三号", accused=None, callback_number="13700000001")
    more = "井盖不见了在青年路快来人"
    await apply(house.db, call.said("在青年路快来人"), call.routed(more, address="青年路"))
    known = await words(house, row.case.id)
    assert (known.text, known.address, known.accused) == (more, "青年路三号", None)
    assert known.callback_number == "13700000001"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"urgency": "at once"}, "urgency: is none of"),
        ({"lat": 31.0}, "comes together"),
        ({"secrecy": False}, "never taken back"),
    ],
)
async def test_what_is_refused_changes_nothing(house: House, changes: dict[str, Any], why: str) -> None:
    case = await house.report(secrecy=True)
    with pytest.raises(AmendRefused, match=why):
        await filled(house, case, **changes)
    assert (await house.case(case)).version == 1
    assert len(await house.log(case)) == 1


async def test_unknown_things_are_named(house: House) -> None:
    case = await house.report()
    with pytest.raises(intake.Unknown, match="area: there is no area"):
        await filled(house, case, area_id=uuid4())
    with pytest.raises(intake.Unknown, match="accused_unit: there is no unit"):
        await filled(house, case, accused_unit_id=uuid4())
    with pytest.raises(ValueError, match="no colour to amend"):
        await filled(house, case, colour="red")
    with pytest.raises(Conflict):
        await filled(house, case, version=9, wish="快")


async def test_once_a_unit_has_it_only_how_to_reach_the_citizen_is_mended(house: House) -> None:
    case = await house.handled()
    with pytest.raises(AmendRefused, match="settled once a unit has the case"):
        await filled(house, case, area_id=house.area)
    found = await filled(house, case, callback_number="13700000001", secrecy=True)
    assert found.secrecy
    with pytest.raises(AmendRefused, match="filled in by agents"):
        await filled(house, case, who=house.of(house.roads), wish="不急")
    with pytest.raises(AmendRefused, match="filled in by agents"):
        await filled(house, case, who=house.dispatcher, wish="不急")
    done = await house.closed()
    with pytest.raises(AmendRefused, match="is closed: reopen it"):
        await filled(house, done, wish="不急")


async def test_what_was_erased_stays_so(house: House) -> None:
    case = await house.report()
    async with house.db.begin() as session:
        await erase_particulars(session, case, actor=house.agent.id, at=house.at)
    with pytest.raises(AmendRefused, match="was erased, and stays so"):
        await filled(house, case, reporter_name="王丽")
    assert (await words(house, case)).reporter_name is None


async def test_who_commands_a_case_does_not_fill_it_in(db: Database) -> None:
    house = await House(db).open()
    both = somebody(*house.dispatcher.posts, *house.agent.posts)
    case = await house.report()
    await house.do(case, Action.FILE, house.agent)
    await house.do(case, Action.DISPATCH, both, unit=house.roads)
    with pytest.raises(AmendRefused, match="for command"):
        await filled(house, case, who=both, wish="不急")
