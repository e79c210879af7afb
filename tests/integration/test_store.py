"""Commands of calls become rows, cases and events, once, in any order they may come; on both databases."""

import asyncio
import contextlib
import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from callcenter.calls import repository as calls
from callcenter.calls.commands import CallStarted, Command
from callcenter.calls.model import Call, Utterance, case_id
from callcenter.cases import repository as cases
from callcenter.cases.model import Case, CaseCounter, Confirmation
from callcenter.storage.engine import Database, StoreError, parse_url
from callcenter.storage.outbox import OutboxEvent, add_event
from callcenter.storage.schema import metadata
from tests.databases import Cluster
from tests.sample_calls import MANHOLE, QUARREL, RUNG, SampleCall, apply

pytestmark = pytest.mark.integration

CHOICE = cases.CategoryChoice("social", *QUARREL)
AGENT = uuid4()


async def roll_back(db: Database, command: Command) -> None:
    """Apply a command in a transaction that then fails."""

    class HalfwayError(Exception):
        pass

    with contextlib.suppress(HalfwayError):
        async with db.begin() as session:
            await calls.apply(session, command)
            raise HalfwayError


async def the_case(db: Database, call: SampleCall) -> cases.CaseDetail:
    async with db.read() as session:
        return await cases.get_case(session, case_id(call.call))


async def confirm(
    db: Database, call: SampleCall, version: int, choice: cases.CategoryChoice | None = None, user: UUID = AGENT
) -> Case:
    async with db.begin() as session:
        return await cases.confirm_routing(
            session, case_id(call.call), user_id=user, choice=choice, expected_version=version, at=call.at(60)
        )


async def kinds(db: Database) -> list[str]:
    async with db.read() as session:
        return list(await session.scalars(select(OutboxEvent.kind).order_by(OutboxEvent.id)))


async def snapshot(db: Database) -> dict[str, list[tuple[object, ...]]]:
    """Everything in the store but ids that are counted or random."""
    found: dict[str, list[tuple[object, ...]]] = {}
    async with db.read() as session:
        for table in metadata().sorted_tables:
            shown = [column for column in table.columns if column.name not in ("event_id",)]
            rows = await session.execute(select(*shown))
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found


# -- the door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://root:geheim@host/db", "mysql.*not supported"),
        ("nonsense", "cannot be read"),
        ("sqlite+aiosqlite:///:memory:", "name a file"),
        ("sqlite://", "name a file"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as refusal:
        parse_url(url)
    assert "geheim" not in str(refusal.value)


async def test_a_store_that_is_not_there_is_named(tmp_path: Path, postgres: Cluster) -> None:
    with pytest.raises(StoreError, match="does_not_exist"):
        await Database(postgres.url("does_not_exist")).connect()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/callcenter\.db cannot be opened"):
        await Database(f"sqlite:///{tmp_path / 'file' / 'callcenter.db'}").connect()
    with pytest.raises(StoreError, match="not connected"):
        async with Database(f"sqlite:///{tmp_path / 'x.db'}").begin():
            pass


async def test_sqlite_is_private_durable_and_checks_keys(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'new' / 'callcenter.db'}")
    await db.connect()
    await db.migrate()
    await db.check_current()
    async with db.begin() as session:
        pragmas = [
            await session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        ]
        add_event(session, "call.started", at=RUNG)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    await db.close()
    assert pragmas == ["wal", 2, 1, 1]
    assert modes == dict.fromkeys(("callcenter.db", "callcenter.db-wal", "callcenter.db-shm"), 0o600)


async def test_reading_cannot_write(db: Database) -> None:
    with pytest.raises(DBAPIError, match=r"read.?only"):
        async with db.read() as session:
            await session.execute(text("DELETE FROM calls"))


async def test_a_reader_does_not_wait_for_a_writer_and_sees_a_steady_store(db: Database) -> None:
    call = SampleCall()
    async with db.begin() as writer:
        await calls.apply(writer, call.started())
        async with db.read() as reader:
            assert await reader.scalar(select(func.count()).select_from(Call)) == 0
    async with db.read() as reader:
        assert await reader.scalar(select(func.count()).select_from(Call)) == 1


async def test_a_naive_time_is_refused_and_any_zone_comes_back_as_utc(db: Database) -> None:
    call = SampleCall(rung_at=datetime(2026, 11, 20, 17, 30, 0, 123457, tzinfo=UTC) + timedelta(0))
    with pytest.raises(Exception, match="naive time"):
        await apply(db, replace(call.started(), answered_at=datetime(2026, 11, 20, 17, 30)))  # noqa: DTZ001
    from callcenter.clock import SHANGHAI

    await apply(db, replace(call.started(), rung_at=call.rung_at.astimezone(SHANGHAI)))
    async with db.read() as session:
        row = await session.get_one(Call, call.call)
    assert row.rung_at == call.rung_at
    assert row.rung_at.utcoffset() == timedelta(0)
    assert row.rung_at.microsecond == 123457


async def test_a_transaction_that_raises_leaves_nothing(db: Database) -> None:
    await roll_back(db, SampleCall().started())
    assert await kinds(db) == []


async def test_a_writer_that_is_cancelled_lets_the_next_one_in(db: Database) -> None:
    for _ in range(12):  # more often than any pool has connections

        async def slow() -> None:
            async with db.begin() as session:
                await calls.apply(session, SampleCall().started())
                await asyncio.sleep(30)

        task = asyncio.create_task(slow())
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(apply(db, SampleCall().started()), 5)
    assert await kinds(db) == ["call.started"]


# -- the call -------------------------------------------------------------------------------------------------------


async def test_a_whole_call_is_there_as_it_was(db: Database) -> None:
    call = SampleCall()
    await apply(db, *call.whole())
    async with db.read() as session:
        found = await calls.get_call(session, call.call)
    assert found.call.state == "ended"
    assert found.call.cause == 16
    assert found.particulars.number == "13812345678"
    assert found.call.recording_sha256 == "ab" * 32
    assert [leg.leg.kind for leg in found.legs] == ["citizen"]
    ((utterance, said),) = found.legs[0].utterances
    assert (utterance.start, utterance.confidence, said.text) == (0.0, 0.93, "解放大道路口的井盖不见了")
    ((routing, words),) = found.routings
    assert routing.model == "router-test-1"
    assert words.text == "解放大道路口的井盖不见了"
    assert words.answer is not None
    assert words.answer["accused"] == "某某餐馆老板张三"
    assert found.marks["rung"] == call.rung_at
    assert found.marks["end_decided"] == call.at(6)
    (row,) = found.cases
    assert row.case.number == "2026112000001"
    assert row.case.state == "pending_dispatch"
    assert row.particulars.address == "解放大道与青年路交叉口"


async def test_every_change_writes_its_event_and_no_event_holds_words(db: Database) -> None:
    call = SampleCall()
    await apply(db, *call.whole())
    assert await kinds(db) == [
        "call.started",
        "call.leg_opened",
        "call.marked",
        "call.heard",
        "case.opened",
        "call.routed",
        "call.marked",
        "case.completed",
        "case.filed",
        "call.completed",
        "call.leg_closed",
        "call.ended",
        "call.recorded",
    ]
    async with db.read() as session:
        for refs in await session.scalars(select(OutboxEvent.refs)):
            assert "井盖" not in str(refs)
            assert call.number not in str(refs)
    for bad in ("井盖不见了", "13812345678", 13812345678, ["x"]):
        with pytest.raises(ValueError, match="no id, small count or state name") as refusal:
            async with db.begin() as session:
                add_event(session, "call.heard", at=RUNG, refs={"text": bad})  # type: ignore[dict-item]
        assert str(bad) not in str(refusal.value)


async def test_every_command_twice_is_as_once(db: Database) -> None:
    call = SampleCall()
    commands = call.whole()
    await apply(db, *commands)
    once = await snapshot(db)
    await apply(db, *commands)
    await apply(db, *reversed(commands))
    assert await snapshot(db) == once


async def test_commands_in_any_order_end_in_the_same_case(db: Database) -> None:
    """What the ledger may do at worst: what is refused as unknown is tried again until it is taken."""
    text_of_call = "解放大道路口的井盖不见了"
    orders = random.Random(12319)
    for _ in range(8):
        call = SampleCall()
        waiting = call.whole(text_of_call)
        orders.shuffle(waiting)
        for _ in range(3):
            refused: list[Command] = []
            for command in waiting:
                try:
                    await apply(db, command)
                except calls.UnknownCall:
                    refused.append(command)
            waiting = refused
        assert waiting == []
        async with db.read() as session:
            found = await calls.get_call(session, call.call)
        (row,) = found.cases
        assert (row.case.state, row.particulars.text, row.particulars.reporter_number) == (
            "pending_dispatch",
            text_of_call,
            call.number,
        )
        assert found.call.state == "ended"
        assert found.marks["last_voiced"] == call.at(4)
        assert row.case.number is not None


async def test_what_belongs_to_an_unknown_call_or_leg_is_refused(db: Database) -> None:
    call = SampleCall()
    everything = [command for command in call.whole() if not isinstance(command, CallStarted)]
    for command in everything:
        with pytest.raises(calls.UnknownCall, match=str(call.call)):
            await apply(db, command)
    await apply(db, call.started())
    with pytest.raises(calls.UnknownCall, match=str(call.leg)):
        await apply(db, call.said("喂"))
    other = SampleCall()
    await apply(db, other.started(), other.leg_opened())
    with pytest.raises(calls.UnknownCall):
        await apply(db, replace(call.said("喂"), leg=other.leg))
    with pytest.raises(calls.CallNotFound):
        async with db.read() as session:
            await calls.get_call(session, uuid4())


async def test_a_ringing_call_is_answered_by_a_second_start_and_never_goes_back(db: Database) -> None:
    call = SampleCall()
    await apply(db, call.started(answered_at=None))
    async with db.read() as session:
        assert (await session.get_one(Call, call.call)).state == "ringing"
    await apply(db, call.started(), call.ended(), call.started())
    async with db.read() as session:
        row = await session.get_one(Call, call.call)
    assert (row.state, row.answered_at) == ("ended", call.at(1))


async def test_a_gap_that_was_filled_is_not_opened_again_by_an_old_command(db: Database) -> None:
    call = SampleCall()
    early = call.leg_closed(gaps=[(3.0, None, "late")])
    await apply(db, call.started(), call.leg_opened(), early)
    async with db.read() as session:
        assert (await calls.get_call(session, call.call)).legs[0].leg.gaps == [[3.0, None, "late"]]
    await apply(db, call.leg_closed(), early)
    async with db.read() as session:
        assert (await calls.get_call(session, call.call)).legs[0].leg.gaps == []


async def test_calls_page_by_page_newest_first(db: Database) -> None:
    many = [SampleCall(rung_at=RUNG + timedelta(seconds=n // 3)) for n in range(25)]
    for n, call in enumerate(many):
        await apply(db, call.started(answered_at=None if n % 5 == 0 else call.at(1)))
        if n % 2:
            await apply(db, call.ended())

    async def walk(live: bool | None) -> list[UUID]:
        seen: list[UUID] = []
        cursor = None
        while True:
            async with db.read() as session:
                page = await calls.list_calls(session, live=live, limit=4, after=cursor)
            assert len(page.rows) <= 4
            seen += [row.call.id for row in page.rows]
            cursor = page.next
            if cursor is None:
                return seen

    newest_first = sorted(many, key=lambda call: (call.rung_at, call.call.hex), reverse=True)
    assert await walk(None) == [call.call for call in newest_first]
    ended = {call.call for call in many[1::2]}
    assert await walk(False) == [call.call for call in newest_first if call.call in ended]
    assert await walk(True) == [call.call for call in newest_first if call.call not in ended]
    with pytest.raises(ValueError, match="cursor"):
        async with db.read() as session:
            await calls.list_calls(session, after="page-2")


# -- the case -------------------------------------------------------------------------------------------------------


async def test_a_draft_follows_the_words_and_gets_its_number_when_complete(db: Database) -> None:
    call = SampleCall()
    result = await apply(db, call.started(), call.leg_opened(), call.routed("你好", disposition="none", category=None))
    assert result["number"] is None
    draft = await the_case(db, call)
    assert (draft.case.state, draft.case.number, draft.particulars.text) == ("draft", None, "你好")
    await apply(db, call.routed("你好，井盖不见了"))
    draft = await the_case(db, call)
    assert (draft.case.category_code, draft.case.version, draft.particulars.text) == ("0102", 2, "你好，井盖不见了")
    result = await apply(db, call.completed())
    assert result == {
        "case": str(case_id(call.call)),
        "number": "2026112000001",
        "state": "pending_dispatch",
        "decision": "auto",
        "fresh": True,
        "marked": False,
    }
    assert (await apply(db, call.completed()))["fresh"] is False
    done = await the_case(db, call)
    assert [(row.action, row.actor, row.from_state, row.to_state, row.rule) for row in done.log] == [
        ("opened", "system", None, "draft", "classification.words"),
        ("classified", "system", "draft", "draft", "classification.words"),
        ("completed", "system", "draft", "reported", "completion.statement"),
        ("filed", "system", "reported", "pending_dispatch", "filing.auto"),
    ]
    assert [row.seq for row in done.log] == [1, 2, 3, 4]


async def test_an_older_routing_that_comes_late_does_not_undo_a_newer_one(db: Database) -> None:
    call = SampleCall()
    old, new = call.routed("喂", disposition="none", category=None), call.routed("喂，井盖不见了")
    await apply(db, call.started(), new, old)
    case = await the_case(db, call)
    assert (case.particulars.text, case.case.category_code) == ("喂，井盖不见了", "0102")
    async with db.read() as session:
        assert len((await calls.get_call(session, call.call)).routings) == 2


@pytest.mark.parametrize(
    ("answer", "state", "numbered"),
    [
        ({"decision": "auto"}, "pending_dispatch", True),
        ({"decision": "confirm"}, "reported", True),
        ({"disposition": "question", "category": None, "domain": None}, "reported", True),
        ({"disposition": "none", "category": None, "domain": None}, "cancelled", False),
        ({"decision": "auto", "category": None}, "reported", True),
    ],
)
async def test_what_becomes_of_a_complete_case(
    db: Database, answer: dict[str, object], state: str, numbered: bool
) -> None:
    call = SampleCall()
    await apply(db, *call.whole(**answer))
    case = (await the_case(db, call)).case
    assert (case.state, case.number is not None, case.filed_at is not None) == (
        state,
        numbered,
        state == "pending_dispatch",
    )


async def test_silence_makes_no_case(db: Database) -> None:
    call = SampleCall()
    result = await apply(db, call.started(), call.leg_opened(), call.completed())
    assert result == {"case": None, "number": None, "state": None, "decision": None, "fresh": False, "marked": False}
    assert (await apply(db, call.routed("  "))) == {"case": None, "number": None, "state": None, "decision": None}


async def test_words_after_completion_complete_their_case_at_once(db: Database) -> None:
    """The recording gave up words that were not heard live, after the citizen had hung up."""
    call = SampleCall()
    await apply(db, call.started(), call.leg_opened(), call.completed(), call.ended())
    result = await apply(db, call.routed("井盖不见了"))
    assert (result["state"], result["number"]) == ("pending_dispatch", "2026112000001")


async def test_a_cancelled_case_with_a_matter_after_all_is_taken_up(db: Database) -> None:
    call = SampleCall()
    await apply(db, call.started(), call.routed("喂喂", disposition="none", category=None), call.completed(10))
    assert (await the_case(db, call)).case.state == "cancelled"
    await apply(db, call.routed("喂喂，井盖不见了", decision="confirm"))
    case = await the_case(db, call)
    assert (case.case.state, case.log[-1].rule) == ("reported", "completion.matter_found_later")


async def test_more_words_move_a_reported_case_but_only_add_to_a_filed_one(db: Database) -> None:
    call = SampleCall()
    await apply(db, call.started(), call.routed("井盖", decision="confirm"), call.completed(10))
    assert (await the_case(db, call)).case.state == "reported"
    await apply(db, call.routed("井盖，不对，是邻居吵架", domain="social", category=QUARREL))
    filed = await the_case(db, call)
    assert (filed.case.state, filed.case.category_code) == ("pending_dispatch", "0301")
    result = await apply(db, call.routed("井盖，不对，是邻居吵架，还有井盖", category=MANHOLE))
    after = await the_case(db, call)
    assert result["number"] == filed.case.number
    assert after.case.category_code == "0301"
    assert after.particulars.text == "井盖，不对，是邻居吵架，还有井盖"
    assert (await kinds(db))[-2:] == ["case.updated", "call.routed"]


async def test_secrecy_once_asked_for_stays(db: Database) -> None:
    call = SampleCall()
    await apply(db, call.started(), call.routed("请保密", secrecy=True), call.routed("请保密，井盖不见了"))
    assert (await the_case(db, call)).case.secrecy is True


async def test_numbers_count_the_citys_day_without_gaps_under_many_writers(db: Database) -> None:
    """30 calls complete at once around midnight in the city (16:00 UTC), every third transaction rolls back first."""
    midnight = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
    many = [SampleCall(rung_at=midnight - timedelta(seconds=15 if n % 2 else 60)) for n in range(30)]
    for call in many:
        await apply(db, call.started(), call.routed("井盖不见了"))

    async def finish(n: int, call: SampleCall) -> None:
        if n % 3 == 0:
            await roll_back(db, call.completed(30))
        await apply(db, call.completed(30))

    await asyncio.gather(*(finish(n, call) for n, call in enumerate(many)))
    numbers = sorted([(await the_case(db, call)).case.number or "" for call in many])
    assert numbers == [f"{day}{n:05d}" for day in ("20261120", "20261121") for n in range(1, 16)]
    async with db.read() as session:
        counters = await session.execute(select(CaseCounter.day, CaseCounter.next).order_by(CaseCounter.day))
        assert [tuple(row) for row in counters] == [("20261120", 16), ("20261121", 16)]


# -- an agent's word ------------------------------------------------------------------------------------------------


async def test_confirming_a_reported_case_files_it_and_keeps_the_label(db: Database) -> None:
    call = SampleCall()
    await apply(db, *call.whole(decision="confirm"))
    before = (await the_case(db, call)).case
    after = await confirm(db, call, before.version)
    assert (after.state, after.confirmed_by) == ("pending_dispatch", AGENT)
    found = await the_case(db, call)
    (label,) = found.confirmations
    assert (label.verdict, label.user_id, label.model, label.blind) == ("confirmed", AGENT, "router-test-1", False)
    assert (label.code_before, label.code_after) == ("0102", "0102")
    assert [(row.actor, row.action, row.rule) for row in found.log[-2:]] == [
        (str(AGENT), "confirmed", None),
        ("system", "filed", "filing.confirmed"),
    ]
    assert (await kinds(db))[-2:] == ["case.confirmed", "case.filed"]


async def test_correcting_a_draft_holds_against_later_words_and_files_on_completion(db: Database) -> None:
    call = SampleCall()
    await apply(db, call.started(), call.routed("邻居把井盖搬走了", decision="confirm"))
    await confirm(db, call, 1, CHOICE)
    await apply(db, call.routed("邻居把井盖搬走了，天天吵架", category=MANHOLE))
    draft = await the_case(db, call)
    assert (draft.case.state, draft.case.category_code, draft.case.domain) == ("draft", "0301", "social")
    assert draft.particulars.text == "邻居把井盖搬走了，天天吵架"
    await apply(db, call.completed())
    done = await the_case(db, call)
    assert (done.case.state, done.log[-1].rule) == ("pending_dispatch", "filing.confirmed")
    assert (done.confirmations[0].verdict, done.confirmations[0].code_before) == ("corrected", "0102")


async def test_choosing_what_the_router_said_is_a_confirmation(db: Database) -> None:
    call = SampleCall()
    await apply(db, *call.whole(decision="confirm"))
    case = (await the_case(db, call)).case
    await confirm(db, call, case.version, cases.CategoryChoice("urban", *MANHOLE))
    assert (await the_case(db, call)).confirmations[0].verdict == "confirmed"


async def test_correcting_a_filed_case_tells_the_units(db: Database) -> None:
    call = SampleCall()
    await apply(db, *call.whole())
    case = (await the_case(db, call)).case
    await confirm(db, call, case.version, CHOICE)
    async with db.read() as session:
        told = await session.scalars(select(OutboxEvent.kind).where(OutboxEvent.feed).order_by(OutboxEvent.id))
        assert list(told) == ["case.filed", "case.updated"]


async def test_a_cancelled_case_is_taken_up_when_an_agent_chooses(db: Database) -> None:
    call = SampleCall()
    await apply(db, *call.whole(disposition="none", category=None, domain=None))
    await confirm(db, call, (await the_case(db, call)).case.version, CHOICE)
    case = (await the_case(db, call)).case
    assert (case.state, case.number, case.category_code) == ("pending_dispatch", "2026112000001", "0301")


async def test_there_must_be_something_to_confirm(db: Database) -> None:
    call = SampleCall()
    await apply(db, *call.whole(decision="confirm", category=None, domain=None))
    case = (await the_case(db, call)).case
    with pytest.raises(cases.NotConfirmable, match="no category to confirm"):
        await confirm(db, call, case.version)
    with pytest.raises(cases.CaseNotFound):
        await confirm(db, SampleCall(), 1)


async def test_two_agents_at_once_one_wins_and_the_other_is_told_what_changed(db: Database) -> None:
    call = SampleCall()
    await apply(db, *call.whole(decision="confirm"))
    version = (await the_case(db, call)).case.version
    first, second = uuid4(), uuid4()
    outcomes = await asyncio.gather(
        confirm(db, call, version, user=first),
        confirm(db, call, version, CHOICE, user=second),
        return_exceptions=True,
    )
    (conflict,) = [outcome for outcome in outcomes if isinstance(outcome, cases.Conflict)]
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Case)]
    assert won.confirmed_by in (first, second)
    verdict = "confirmed" if won.confirmed_by == first else "corrected"
    assert conflict.changes[0] == f"{verdict} by {won.confirmed_by}"
    assert (conflict.seen, conflict.actual) == (version, version + 2)
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(Confirmation)) == 1


async def test_words_that_change_nothing_for_the_agent_are_no_conflict(db: Database) -> None:
    call = SampleCall()
    await apply(db, call.started(), call.routed("井盖不见了", decision="confirm"))
    version = (await the_case(db, call)).case.version
    await apply(db, call.routed("井盖不见了，谢谢", decision="confirm"))
    await confirm(db, call, version)
    await apply(db, call.routed("井盖不见了，谢谢，再见", decision="auto"))
    with pytest.raises(cases.Conflict):
        await confirm(db, call, version)


async def test_cases_page_by_page_with_filters(db: Database) -> None:
    answers: list[dict[str, object]] = [
        {"decision": "confirm"},
        {},
        {"domain": "social", "category": QUARREL},
        {"disposition": "none", "category": None, "domain": None},
    ]
    many: list[tuple[SampleCall, dict[str, object]]] = []
    for n, answer in zip(range(26), itertools.cycle(answers)):
        call = SampleCall(rung_at=RUNG + timedelta(seconds=n // 2))
        many.append((call, answer))
        await apply(db, *call.whole(**answer))

    async def walk(**filters: object) -> list[UUID]:
        seen: list[UUID] = []
        cursor = None
        while True:
            async with db.read() as session:
                page = await cases.list_cases(session, limit=3, after=cursor, **filters)  # type: ignore[arg-type]
            seen += [row.case.id for row in page.rows]
            cursor = page.next
            if cursor is None:
                return seen

    everything = await walk()
    assert len(everything) == len(set(everything)) == 26
    assert set(everything) == {case_id(call.call) for call, _ in many}

    def of(*which: int) -> list[UUID]:
        wanted = {case_id(call.call) for call, answer in many if answers.index(answer) in which}
        return [found for found in everything if found in wanted]

    assert await walk(states=["reported"]) == of(0)
    assert await walk(states=["reported", "cancelled"]) == of(0, 3)
    assert await walk(states=["pending_dispatch"], domain="urban") == of(1)
    assert await walk(category="0301") == of(2)
    assert await walk(decision="confirm") == of(0)
    assert await walk(states=["reported"], domain="social") == []


# -- erasure --------------------------------------------------------------------------------------------------------


async def _dump(db: Database, cluster: Cluster | None) -> str:
    if db.path is not None:
        import sqlite3

        with sqlite3.connect(db.path) as connection:
            return "\n".join(connection.iterdump())
    import subprocess

    assert cluster is not None
    name = str(db.url.database)
    command = [str(cluster.bin / "pg_dump"), "-h", str(cluster.folder), "-U", "postgres", "--inserts", name]
    return (await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True)).stdout


async def test_after_erasure_nothing_anywhere_tells_who_called_or_what_they_said(
    db: Database, request: pytest.FixtureRequest
) -> None:
    cluster = None if db.is_sqlite else request.getfixturevalue("postgres")
    call, other = SampleCall(number="13987654321"), SampleCall(number="13700000000")
    said = "我叫李四，青山路八号门口井盖不见了"
    commands = call.whole(said, decision="confirm", address="青山路八号", secondary={"text": said})
    await apply(db, *commands)
    await apply(db, *other.whole("湖边路灯不亮"))
    await confirm(db, call, (await the_case(db, call)).case.version, CHOICE)
    secrets = [call.number, "李四", "青山路八号", "井盖不见了", "某某餐馆老板张三"]
    full = await _dump(db, cluster)

    def readable(dump: str) -> str:
        # SQLite keeps JSON as text with \\u escapes; PostgreSQL's jsonb shows the characters.
        return dump.encode().decode("unicode_escape", "ignore") + dump

    for secret in secrets:
        assert secret in full or secret.encode("unicode_escape").decode() in full, "the test looks in the wrong place"
    async with db.begin() as session:
        await calls.erase_call(session, call.call, actor=str(AGENT), at=call.at(3600))
    # What still comes of the call, and the whole of it replayed, must not bring it back.
    await apply(db, *commands, call.said("我叫李四"), call.routed(said + "，我叫李四"))
    left = await _dump(db, cluster)
    own = [line for line in left.splitlines() if "张三" not in line and "\\u5f20\\u4e09" not in line]
    for secret in secrets[:-1]:
        assert secret not in left
        assert secret.encode("unicode_escape").decode() not in left
    assert len(left.splitlines()) - len(own) == 2, "only the other call (its routing, its case) still names the accused"
    assert "湖边路灯不亮" in left
    assert other.number in left
    after = await the_case(db, call)
    assert after.case.number == "2026112000001"
    assert after.particulars.erased_at == call.at(3600)
    assert after.case.category_code == "0301"
    assert "erased" in [row.action for row in after.log]
    async with db.read() as session:
        found = await calls.get_call(session, call.call)
        assert found.call.state == "ended"
        assert await session.scalar(select(func.count()).select_from(Utterance)) == 3
    if db.path is not None:
        # Not only unlinked: overwritten in the file itself, once the log is folded in.
        async with db.engine.connect() as connection:
            await connection.exec_driver_sql("COMMIT")
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            await connection.exec_driver_sql("BEGIN")
        raw = await asyncio.to_thread(db.path.read_bytes)
        assert other.number.encode() in raw
        assert call.number.encode() not in raw
        assert "青山路八号".encode() not in raw
