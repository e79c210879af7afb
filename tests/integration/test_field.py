"""Shifts, tracks, who is nearest, tasks: what people in the field do, on both databases."""

import asyncio
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from callcenter.access.audit import Actor
from callcenter.access.model import AuditEntry, User
from callcenter.cases.repository import erase_particulars
from callcenter.city import cells, field, tasks, tracks
from callcenter.city.coordinates import Point, metres, moved, to_gcj02
from callcenter.city.field import FieldConflict, FieldNotFound, FieldRefused
from callcenter.city.field_model import ACCEPTED, DECLINED, DONE, OPEN, FieldTask, Position, Shift, TrackPoint
from callcenter.city.model import Area
from callcenter.city.tasks import NewTask, TaskConflict
from callcenter.city.tracks import Fix, Tracker
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent
from tests.acting import NINE, House, house
from tests.ground import door, grid, ground, street
from tests.walking import KEEPER, on_shift, person

__all__ = ["house"]

pytestmark = pytest.mark.integration

EIGHT = NINE.replace(hour=8).astimezone(UTC)
HOUR = timedelta(hours=1)
HERE = Point(112.2, 31.03)


async def put_on(db: Database, user: UUID, area: UUID, starts: datetime, ends: datetime, at: datetime = EIGHT) -> bool:
    async with db.begin() as session:
        _, fresh = await field.add_shift(
            session, user_id=user, area_id=area, starts_at=starts, ends_at=ends, actor=KEEPER, at=at
        )
    return fresh


async def count(db: Database, model: Any, *where: Any) -> int:
    async with db.read() as session:
        return await session.scalar(select(func.count()).select_from(model).where(*where)) or 0


# -- shifts ------------------------------------------------------------------------------------------------------------
async def test_a_person_is_never_on_two_shifts_at_once(db: Database, house: House) -> None:
    user, other = await person(db, EIGHT), await person(db, EIGHT)
    assert await put_on(db, user, house.area, EIGHT, EIGHT + 8 * HOUR)
    assert not await put_on(db, user, house.area, EIGHT, EIGHT + 8 * HOUR), "the same again is the same"
    for starts, ends in ((-1, 1), (7, 9), (1, 2), (-1, 9), (0, 7)):
        with pytest.raises(FieldConflict, match="on duty from"):
            await put_on(db, user, house.area, EIGHT + starts * HOUR, EIGHT + ends * HOUR)
    assert await put_on(db, user, house.area, EIGHT + 8 * HOUR, EIGHT + 16 * HOUR), "one after the other"
    assert await put_on(db, other, house.area, EIGHT, EIGHT + 8 * HOUR), "somebody else"
    made = AuditEntry.action == "shift made"
    assert (await count(db, Shift), await count(db, AuditEntry, made)) == (3, 3)
    assert await count(db, OutboxEvent, OutboxEvent.kind == field.SHIFT_MADE, OutboxEvent.feed.is_(False)) == 3


async def test_of_two_who_make_overlapping_shifts_at_once_one_wins(db: Database, house: House) -> None:
    user = await person(db, EIGHT)
    done = await asyncio.gather(
        *(put_on(db, user, house.area, EIGHT + n * HOUR, EIGHT + (n + 6) * HOUR) for n in range(5)),
        return_exceptions=True,
    )
    assert done.count(True) == 1
    assert sum(isinstance(one, FieldConflict) for one in done) == 4
    assert await count(db, Shift) == 1


async def test_what_is_no_shift_is_refused(db: Database, house: House) -> None:
    user, agent = await person(db, EIGHT), await person(db, EIGHT, "agent")
    gone = await person(db, EIGHT, disabled=True)
    ends = EIGHT + 8 * HOUR
    for who, area, starts, until, why in (
        (user, house.area, EIGHT, EIGHT, "not after"),
        (user, house.area, ends, EIGHT, "not after"),
        (user, house.area, EIGHT, EIGHT + 25 * HOUR, r"25\.0 h"),
        (user, house.area, EIGHT - 9 * HOUR, EIGHT - HOUR, "over already"),
        (user, house.area, EIGHT + timedelta(days=400), EIGHT + timedelta(days=400, hours=1), "ahead"),
        (agent, house.area, EIGHT, ends, "no collector"),
        (gone, house.area, EIGHT, ends, "no collector"),
        (uuid4(), house.area, EIGHT, ends, "no collector"),
        (user, uuid4(), EIGHT, ends, "list of areas"),
    ):
        with pytest.raises(FieldRefused, match=why):
            await put_on(db, who, area, starts, until)
    assert await count(db, Shift) == 0


async def test_a_shift_ends_early_or_is_taken_away_but_what_was_stays(db: Database, house: House) -> None:
    user = await person(db, EIGHT)
    past = await on_shift(db, user, house.area, EIGHT - 9 * HOUR, EIGHT - HOUR)
    running = await on_shift(db, user, house.area, EIGHT, EIGHT + 8 * HOUR)
    coming = await on_shift(db, user, house.area, EIGHT + 10 * HOUR, EIGHT + 12 * HOUR)
    at = EIGHT + HOUR
    for shift in (running, coming):
        async with db.begin() as session:
            await field.end_shift(session, shift, actor=KEEPER, at=at)
    with pytest.raises(FieldConflict, match="was over at"):
        async with db.begin() as session:
            await field.end_shift(session, past, actor=KEEPER, at=at)
    with pytest.raises(FieldNotFound):
        async with db.begin() as session:
            await field.end_shift(session, coming, actor=KEEPER, at=at)
    async with db.read() as session:
        assert (await session.get_one(Shift, running)).ends_at == at
        assert await field.on_duty(session, at) == []
        assert [one.shift.id for one in await field.on_duty(session, at - timedelta(seconds=1))] == [running]


async def test_the_roster_is_of_a_day_in_shanghai(db: Database, house: House) -> None:
    night, day = await person(db, EIGHT), await person(db, EIGHT)
    midnight = datetime(2026, 11, 22, 16, tzinfo=UTC)  # the beginning of Monday the 23rd there
    late = await on_shift(db, night, house.area, midnight - 4 * HOUR, midnight + 4 * HOUR)
    early = await on_shift(db, day, house.area, midnight + 8 * HOUR, midnight + 16 * HOUR)
    await on_shift(db, day, house.area, midnight + 24 * HOUR, midnight + 26 * HOUR)
    async with db.read() as session:
        found = await field.roster(session, date(2026, 11, 23))
        assert [one.shift.id for one in found] == [late, early]
        assert [one.shift.id for one in await field.roster(session, date(2026, 11, 22))] == [late]
        assert await field.roster(session, date(2026, 11, 23), areas={uuid4()}) == []
        assert (found[0].name, found[0].area.name, found[0].position) == ("王丽", "龙泉街道", None)


# -- tracks ------------------------------------------------------------------------------------------------------------
async def send(db: Database, tracker: Tracker, *fixes: Fix, at: datetime = EIGHT, datum: str = "wgs84") -> tracks.Taken:
    async with db.begin() as session:
        return await tracks.add_points(session, tracker, fixes, datum=datum, at=at)


def fix(ago: float = 0, place: Point = HERE, **changes: Any) -> Fix:
    values = {"lon": place.lon, "lat": place.lat, "accuracy_m": 8.0, "source": "beidou"}
    return Fix(**{**values, "taken_at": EIGHT - timedelta(seconds=ago), **changes})


async def test_a_batch_is_kept_once_however_often_it_is_sent(db: Database) -> None:
    me = Tracker.person(await person(db, EIGHT))
    batch = [fix(n, moved(HERE, n, 0.0)) for n in range(tracks.MOST_POINTS)]
    assert await send(db, me, *batch) == tracks.Taken(500, 0, ())
    assert await send(db, me, *batch) == tracks.Taken(0, 500, ())
    assert await send(db, me, fix(1000), fix(1000), fix(3)) == tracks.Taken(1, 2, ())
    done = await asyncio.gather(*(send(db, me, *(fix(2000 + n) for n in range(50))) for _ in range(4)))
    assert sum(one.stored for one in done) == 50
    async with db.read() as session:
        points = await tracks.track(session, me, EIGHT - HOUR, EIGHT + HOUR)
        assert [one.taken_at for one in points] == sorted(one.taken_at for one in points)
        assert len(points) == 551
        now = await tracks.position(session, me)
    assert now is not None
    assert (now.taken_at, now.user_id, now.device, now.source) == (EIGHT, me.user_id, None, "beidou")
    assert now.cell == cells.cell_of(HERE)


@pytest.mark.parametrize("size", [0, tracks.MOST_POINTS + 1])
async def test_a_batch_has_its_size(db: Database, size: int) -> None:
    with pytest.raises(ValueError, match="a batch has 1 to 500"):
        await send(db, Tracker.person(uuid4()), *(fix(n) for n in range(size)))


async def test_degrees_are_in_the_datum_that_the_sender_named(db: Database) -> None:
    drawn = to_gcj02(*HERE)
    assert metres(drawn, HERE) > 300
    for datum, shown in (("gcj02", drawn), ("wgs84", HERE), ("cgcs2000", HERE)):
        me = Tracker.person(await person(db, EIGHT))
        assert (await send(db, me, fix(place=shown), datum=datum)).stored == 1
        async with db.read() as session:
            now = await tracks.position(session, me)
        assert now is not None
        assert metres(Point(now.lon, now.lat), HERE) < 0.01
        assert now.cell == cells.cell_of(Point(now.lon, now.lat))
    with pytest.raises(ValueError, match="datum 'bd09' is none of"):
        await send(db, me, fix(), datum="bd09")


async def test_what_cannot_be_true_is_refused_point_by_point(db: Database) -> None:
    me = Tracker.person(await person(db, EIGHT))
    bad = [
        (fix(-120), "lies ahead"),
        (fix(8 * 86_400), "7 days ago"),
        (fix(11, Point(31.03, 112.2)), "swapped"),
        (fix(12, Point(math.nan, 31.0)), "degrees"),
        (fix(13, Point(math.inf, 31.0)), "degrees"),
        (fix(14, Point(0.0, 0.0)), "no fix"),
        (fix(15, accuracy_m=-1.0), "accuracy"),
        (fix(16, accuracy_m=math.nan), "accuracy"),
        (fix(17, accuracy_m=1e9), "accuracy"),
        (fix(18, source="guess"), "none of gps"),
    ]
    taken = await send(db, me, fix(20), *(one for one, _ in bad), fix(19), fix(-30))
    assert (taken.stored, taken.known) == (3, 0), "the rest is kept"
    assert [one.index for one in taken.refused] == list(range(1, 11))
    for refused, (_, why) in zip(taken.refused, bad, strict=True):
        assert why in refused.why, refused
    assert await send(db, me, bad[0][0]) == tracks.Taken(0, 0, (tracks.RefusedFix(0, taken.refused[0].why),))
    assert await count(db, TrackPoint) == 3


async def test_what_comes_late_moves_nobody_back(db: Database) -> None:
    me, far = Tracker.person(await person(db, EIGHT)), moved(HERE, 900.0, 0.0)
    await send(db, me, fix(10))
    await send(db, me, fix(500, far))
    async with db.read() as session:
        now = await tracks.position(session, me)
    assert now is not None
    assert now.taken_at == EIGHT - timedelta(seconds=10)
    await asyncio.gather(*(send(db, me, fix(-n, moved(HERE, float(n), 0.0))) for n in range(1, 9)))
    async with db.read() as session:
        now = await tracks.position(session, me)
    assert now is not None
    assert now.taken_at == EIGHT + timedelta(seconds=8), "the newest, in whatever order they came"


async def test_a_device_has_a_track_of_its_own(db: Database) -> None:
    car = Tracker.of_device("CAR-1")
    assert car == Tracker.of_device("CAR-1") != Tracker.of_device("CAR-2")
    await send(db, car, fix())
    async with db.read() as session:
        now = await tracks.position(session, car)
    assert now is not None
    assert (now.user_id, now.device) == (None, "CAR-1")


async def test_old_points_are_swept_and_young_ones_stay(db: Database) -> None:
    me, other = Tracker.person(await person(db, EIGHT)), Tracker.person(await person(db, EIGHT))
    await send(db, me, *(fix(n) for n in range(100)))
    await send(db, other, *(fix(n, at_) for n, at_ in ((0, HERE), (86_400 * 3, HERE))))
    later = EIGHT + timedelta(days=tracks.KEPT_DAYS)
    assert await tracks.sweep_tracks(db, later) == 1 + 99, "what is older than the days, to the second"
    assert await count(db, Position) == 2
    assert await tracks.sweep_tracks(db, later + timedelta(seconds=1)) == 2
    assert (await count(db, TrackPoint), await count(db, Position)) == (0, 0)
    await send(db, me, fix())
    assert await tracks.sweep_tracks(db, EIGHT + timedelta(days=2), days=1) == 1
    with pytest.raises(ValueError, match="at least 1"):
        await tracks.sweep_tracks(db, later, days=0)


async def test_sweeping_goes_on_over_many_transactions(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "_SWEPT", 30)
    me = Tracker.person(await person(db, EIGHT))
    await send(db, me, *(fix(n) for n in range(100)))
    assert await tracks.sweep_tracks(db, EIGHT + timedelta(days=200)) == 100


# -- who is nearest ----------------------------------------------------------------------------------------------------
async def test_the_nearest_on_duty_for_the_place(db: Database) -> None:
    city = await ground(db)
    place = door(10)  # in grid 0, of street 0, across which lies the police grid P0
    lies = await city.at(place)
    assert lies.narrowest is not None
    assert lies.narrowest.code == grid(0)
    async with db.read() as session:
        codes = {area.code: area.id for area in await session.scalars(select(Area))}
    people = {}
    for name, area, metres_off, ago in (
        ("far", grid(0), 800.0, 60),
        ("near, of the whole city", "990800", 30.0, 60),
        ("stale, of the street", street(0), 1.0, 31 * 60),
        ("no fix, of the grid", grid(0), None, 0),
        ("no fix, of the police", "P0", None, 0),
        ("of another grid", grid(5), 5.0, 1),
        ("off duty", grid(0), 2.0, 1),
        ("disabled", grid(0), 2.0, 1),
    ):
        user = people[name] = await person(db, EIGHT, disabled=name == "disabled")
        starts = EIGHT - (9 * HOUR if name == "off duty" else HOUR)
        await on_shift(db, user, codes[area], starts, starts + 8 * HOUR)
        if metres_off is not None:
            await send(db, Tracker.person(user), fix(ago, moved(place, metres_off, 0.0)))
    names = {user: name for name, user in people.items()}
    async with db.read() as session:
        found = await field.nearest(session, place, lies, EIGHT)
        first = await field.nearest(session, place, lies, EIGHT, most=1)
        nobody = await field.nearest(session, place, await city.at(Point(113.0, 31.0)), EIGHT)
    assert [names[one.duty.shift.user_id] for one in found[:3]] == [
        *("near, of the whole city", "far", "no fix, of the grid")
    ]
    assert {names[one.duty.shift.user_id] for one in found[3:]} == {"stale, of the street", "no fix, of the police"}
    assert [one.metres is None for one in found] == [False, False, True, True, True]
    assert found[0].metres == pytest.approx(30.0, abs=0.2)
    assert (found[0].age_s, found[2].age_s) == (60.0, None)
    stale = next(one for one in found if names[one.duty.shift.user_id].startswith("stale"))
    assert (stale.metres, stale.age_s) == (None, 31 * 60.0)
    assert [one.duty.shift.id for one in first] == [found[0].duty.shift.id]
    assert nobody == []


# -- tasks -------------------------------------------------------------------------------------------------------------
async def made(db: Database, key: UUID | None = None, **values: Any) -> tuple[FieldTask, bool]:
    given = {"kind": "verify", "words": "看看井盖", **values}
    async with db.begin() as session:
        return await tasks.make(session, key or uuid4(), NewTask(**given), actor=KEEPER, at=EIGHT)


async def stepped(db: Database, task: FieldTask | UUID, step: Any, who: UUID, seen: int, words: str = "") -> FieldTask:
    key = task if isinstance(task, UUID) else task.id
    async with db.begin() as session:
        return await tasks.take_step(
            session,
            key,
            step,
            who=who,
            words=words,
            expected_version=seen,
            actor=Actor("user", str(who)),
            at=EIGHT + timedelta(minutes=seen),
        )


async def test_a_task_is_taken_and_done_and_each_step_may_be_sent_twice(db: Database) -> None:
    me = await person(db, EIGHT)
    task, fresh = await made(db, collector_id=me, due_at=EIGHT + HOUR)
    assert (fresh, task.state, task.version) == (True, OPEN, 1)
    for _ in range(2):
        task = await stepped(db, task, "accept", me, 1)
        assert (task.state, task.version) == (ACCEPTED, 2)
    for _ in range(2):
        task = await stepped(db, task, "done", me, 2, " 井盖已补 ")
        assert (task.state, task.version, task.result) == (DONE, 3, "井盖已补")
    with pytest.raises(TaskConflict, match="version 3, you saw 2") as conflict:
        await stepped(db, task, "done", me, 2, "别的结果")
    assert conflict.value.version == 3
    with pytest.raises(TaskConflict, match="task is done"):
        await stepped(db, task, "accept", me, 3)
    steps = ("task made", "task accepted", "task done")
    assert await count(db, AuditEntry, AuditEntry.subject == f"task:{task.id}", AuditEntry.action.in_(steps)) == 3
    async with db.read() as session:
        told = list(await session.scalars(select(OutboxEvent.refs).where(OutboxEvent.kind.like("field.task%"))))
    assert [one["state"] for one in told] == [OPEN, ACCEPTED, DONE]
    assert "井盖" not in str(told)


async def test_every_step_is_from_its_state(db: Database) -> None:
    me = await person(db, EIGHT)
    for state in (OPEN, ACCEPTED, DONE, DECLINED):
        for step in ("accept", "done", "decline"):
            task, _ = await made(db, collector_id=me)
            async with db.begin() as session:
                (await session.get_one(FieldTask, task.id)).state = state
            if (state, step) in tasks.STEPS:
                after = await stepped(db, task, step, me, 1, "说明")  # type: ignore[arg-type]
                assert after.state == tasks.STEPS[state, step]  # type: ignore[index]
            else:
                with pytest.raises(TaskConflict, match=f"task is {state}"):
                    await stepped(db, task, step, me, 1, "说明")


async def test_a_task_is_its_collectors_alone(db: Database) -> None:
    me, other = await person(db, EIGHT), await person(db, EIGHT)
    task, _ = await made(db, collector_id=me)
    for who, key in ((other, task.id), (me, uuid4())):
        with pytest.raises(FieldNotFound, match="for you"):
            await stepped(db, key, "accept", who, 1)
    for words in ("", "   ", "x" * 2001):
        with pytest.raises(FieldRefused, match="must have 1 to 2000"):
            await stepped(db, task, "decline", me, 1, words)
    async with db.read() as session:
        assert (await tasks.own_tasks(session, other, EIGHT)) == ([], None)
        page, following = await tasks.own_tasks(session, me, EIGHT)
    assert ([one.id for one in page], following) == ([task.id], None)


async def test_an_areas_task_is_for_whoever_is_on_duty_there(db: Database, house: House) -> None:
    inner, elsewhere = Area(id=uuid4(), code="420802001001", name="社区", level=4), uuid4()
    async with db.begin() as session:
        inner.parent_id = house.area
        session.add_all([inner, Area(id=elsewhere, code="420802002", name="别处", level=3)])
    there, narrower, away, off = [await person(db, EIGHT) for _ in range(4)]
    for who, area in ((there, house.area), (narrower, inner.id), (away, elsewhere)):
        await on_shift(db, who, area, EIGHT - HOUR, EIGHT + 7 * HOUR)
    task, _ = await made(db, area_id=house.area)
    for who, sees in ((there, 1), (narrower, 1), (away, 0), (off, 0)):
        async with db.read() as session:
            assert len((await tasks.own_tasks(session, who, EIGHT))[0]) == sees
    for who in (away, off):
        with pytest.raises(FieldNotFound):
            await stepped(db, task, "accept", who, 1)
    with pytest.raises(TaskConflict, match="leave it to the others"):
        await stepped(db, task, "decline", there, 1, "不去")
    done = await asyncio.gather(
        *(stepped(db, task, "accept", who, 1) for who in (there, narrower)), return_exceptions=True
    )
    [winner] = [one.collector_id for one in done if isinstance(one, FieldTask)]
    assert sum(isinstance(one, FieldNotFound) for one in done) == 1, "it is somebody's now"
    assert winner is not None
    loser = narrower if winner == there else there
    for _ in range(2):
        task = await stepped(db, task, "decline", winner, 2, "车坏了")
        assert (task.state, task.collector_id, task.version) == (OPEN, None, 3)
    task = await stepped(db, task, "accept", loser, 3)
    assert (task.collector_id, task.state) == (loser, ACCEPTED)


async def test_a_key_stands_for_one_task(db: Database, house: House) -> None:
    me, other, key = await person(db, EIGHT), await person(db, EIGHT), uuid4()
    first, fresh = await made(db, key, collector_id=me)
    again, twice = await made(db, key, collector_id=me)
    assert (first.id, fresh, twice) == (again.id, True, False)
    for change in ({"words": "别的"}, {"kind": "collect"}, {"collector_id": other}, {"due_at": EIGHT + HOUR}):
        with pytest.raises(FieldConflict, match="idempotency key"):
            await made(db, key, **{"collector_id": me, **change})
    at_once = uuid4()
    done = await asyncio.gather(*(made(db, at_once, area_id=house.area) for _ in range(4)))
    assert sum(fresh for _, fresh in done) == 1


async def test_what_is_no_task_is_refused(db: Database, house: House) -> None:
    me = await person(db, EIGHT)
    for values, why in (
        ({}, "name one of the two"),
        ({"collector_id": me, "area_id": house.area}, "name one of the two"),
        ({"collector_id": uuid4()}, "no collector"),
        ({"area_id": uuid4()}, "list of areas"),
        ({"collector_id": me, "kind": "dance"}, "'dance' is none of collect"),
        ({"collector_id": me, "words": " \n"}, "must have 1 to"),
        ({"collector_id": me, "words": "x" * 2001}, "2001 characters"),
        ({"collector_id": me, "due_at": EIGHT}, "not ahead"),
    ):
        with pytest.raises(FieldRefused, match=why):
            await made(db, **values)
    assert await count(db, FieldTask) == 0
    assert len(tasks.KINDS) == 7
    assert {"采集", "反映需求", "发现报告", "排查化解", "协助解决", "核实核查反馈", "动员群众"} == set(
        tasks.KINDS.values()
    )


async def test_pages_of_tasks(db: Database, house: House) -> None:
    me = await person(db, EIGHT)
    keys = [(await made(db, collector_id=me, due_at=EIGHT + HOUR))[0].id for _ in range(5)]
    await made(db, area_id=house.area)
    seen: list[UUID] = []
    cursor: str | None = None
    while True:
        async with db.read() as session:
            page, cursor = await tasks.all_tasks(session, collector_id=me, limit=2, after=cursor)
        seen += [one.id for one in page]
        if cursor is None:
            break
    assert sorted(seen) == sorted(keys)
    async with db.read() as session:
        assert (await tasks.all_tasks(session, overdue_at=EIGHT))[0] == []
        late, _ = await tasks.all_tasks(session, overdue_at=EIGHT + 2 * HOUR)
        assert len(late) == 5
        with pytest.raises(ValueError, match="cursor"):
            await tasks.all_tasks(session, after="x")


async def test_words_of_tasks_go_with_their_case(db: Database, house: House) -> None:
    me = await person(db, EIGHT)
    case = await house.report()
    of_case, _ = await made(db, collector_id=me, case_id=case, words="去看13812345678家")
    other, _ = await made(db, collector_id=me)
    await stepped(db, await stepped(db, of_case, "accept", me, 1), "done", me, 2, "王丽家已修好")
    async with db.begin() as session:
        await erase_particulars(session, case, actor="system", at=EIGHT)
    async with db.read() as session:
        blank = await session.get_one(FieldTask, of_case.id)
        kept = await session.get_one(FieldTask, other.id)
    assert (blank.words, blank.result, blank.state, blank.erased_at) == (None, None, DONE, EIGHT)
    assert kept.words == "看看井盖"
    for _ in range(2):
        async with db.begin() as session:
            await tasks.erase(session, other.id, actor=KEEPER, at=EIGHT)
    assert await count(db, AuditEntry, AuditEntry.action == "task erased") == 1
    with pytest.raises(FieldNotFound):
        async with db.begin() as session:
            await tasks.erase(session, uuid4(), actor=KEEPER, at=EIGHT)
    assert await count(db, User, User.id == me) == 1
