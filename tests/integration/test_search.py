"""Finding cases: what is found is what is there, page by page, on both databases; and who may look for what."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, select, text

from callcenter import clock
from callcenter.access.model import AuditEntry
from callcenter.calls.repository import erase_call
from callcenter.cases import search, search_index
from callcenter.cases.life import CaseAssist
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cases.repository import erase_particulars
from callcenter.cases.search import find_cases
from callcenter.cases.search_filters import BadSearch, Find
from callcenter.cases.search_index import CaseSearch, forget_words, index_words, scrub, text_tokens, word_tokens
from callcenter.city.model import Area, Unit
from callcenter.storage.engine import Database
from tests.api import NUMBER, Api, api, told

__all__ = ["api"]

pytestmark = pytest.mark.integration

NOON = datetime(2026, 11, 20, 4, tzinfo=clock.local(clock.now()).tzinfo).astimezone(clock.now().tzinfo)
TEXTS = ("井盖不见了", "路灯坏了", "街上的路灯又坏了", "大街垃圾桶满了", "白蚁", "井盖和路灯", "")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "_in_force", [b"t" * 32])


@dataclass(frozen=True)
class Row:
    """One case as the tests know it."""

    id: UUID
    number: str | None
    text: str
    phone: str
    callback: str | None
    state: str
    unit: UUID | None
    area: UUID | None
    lamp: str
    domain: str
    category: str
    source: str
    filed: bool
    created_at: datetime
    assist: UUID | None = None


@dataclass(frozen=True)
class Town:
    """A town: a tree of areas by code, units, cases."""

    areas: dict[str, UUID]
    units: list[UUID]
    rows: list[Row]

    def below(self, code: str) -> set[UUID]:
        return {area for name, area in self.areas.items() if name.startswith(code)}


async def town(db: Database, count: int = 300, seed: int = 1) -> Town:
    """Cases of every kind, some in the same moment."""
    dice, others = random.Random(seed), random.Random(seed)
    codes = ["1", "11", "12", "111", "112", "121", "1111", "1112"]
    areas = {code: uuid4() for code in codes}
    units = [uuid4() for _ in range(3)]
    rows = []
    at = NOON - timedelta(days=3)
    for n in range(count):
        at += timedelta(seconds=dice.choice((0, 0, 1, 0.001, 60, 700)))
        filed = dice.random() < 0.7
        rows.append(
            Row(
                id=UUID(int=dice.getrandbits(128)),
                number=f"{clock.local(at):%Y%m%d}{n:05d}" if dice.random() < 0.9 else None,
                text=dice.choice(TEXTS),
                phone=f"138{dice.choice('01')}0{dice.choice('01')}3{dice.choice(('1234', '8000'))}",
                callback=f"0{dice.choice('12')}-8765{dice.choice(('1234', '4321'))}" if dice.random() < 0.3 else None,
                state=dice.choice(("handling", "closed", "closed", "pending_dispatch")) if filed else "reported",
                unit=dice.choice(units) if filed else None,
                area=dice.choice([*areas.values(), None]),
                lamp=dice.choice(("none", "none", "none", "red")),
                domain=dice.choice(("urban", "social")),
                category=dice.choice(("0101", "0209")),
                source=dice.choice(("phone", "web")),
                filed=filed,
                created_at=at,
                assist=others.choice((*units, None, None, None)) if filed else None,
            )
        )
    async with db.begin() as session:
        for code, area in areas.items():
            parent = areas.get(code[:-1])
            await session.execute(insert(Area).values(id=area, code=code, name=code, level=len(code), parent_id=parent))
        for n, unit in enumerate(units):
            await session.execute(
                insert(Unit).values(
                    **{"id": unit, "code": str(n), "name": str(n), "kind": "department", "level": 1, "leader": ""},
                    **{"duty_phone": "", "round_the_clock": False, "active": True, "created_at": NOON},
                )
            )
        for row in rows:
            await add(session, row)
    return Town(areas, units, rows)


async def add(session: object, row: Row) -> None:
    """One case, its words, and what it is found by."""
    session.add(  # type: ignore[attr-defined]
        Case(
            **{"id": row.id, "number": row.number, "source": row.source, "state": row.state, "disposition": "case"},
            **{"domain": row.domain, "category_code": row.category, "decision": "auto", "emergency": []},
            **{"secrecy": False, "version": 1, "created_at": row.created_at, "lead_unit_id": row.unit},
            **{"filed_at": row.created_at if row.filed else None, "area_id": row.area, "lamp": row.lamp},
        )
    )
    await session.flush()  # type: ignore[attr-defined]
    session.add(  # type: ignore[attr-defined]
        CaseParticulars(case_id=row.id, text=row.text, reporter_number=row.phone, callback_number=row.callback)
    )
    if row.assist is not None:
        session.add(CaseAssist(unit_id=row.assist, created_at=row.created_at, case_id=row.id))  # type: ignore[attr-defined]
    await index_words(session, row.id)  # type: ignore[arg-type]


def expected(town: Town, find: Find) -> list[UUID]:
    """The same by looking at each."""
    tokens = word_tokens(find.words)
    digits = "".join(one for one in find.phone if one.isdigit())

    def fits(row: Row) -> bool:
        numbers = [row.phone, (row.callback or "").replace("-", "")]
        return (
            tokens <= text_tokens(row.text)
            and (not find.number or (row.number or "").startswith(find.number))
            and (not digits or any(number.endswith(digits) for number in numbers))
            and (not find.area or row.area in town.below(find.area))
            and (not find.states or row.state in find.states)
            and (find.unit is None or find.unit in ((row.unit, row.assist) if find.assisting else (row.unit,)))
            and (not find.lamp or row.lamp == find.lamp)
            and (not find.domain or row.domain == find.domain)
            and (not find.category or row.category == find.category)
            and (not find.source or row.source == find.source)
            and (find.created_from is None or row.created_at >= find.created_from)
            and (find.created_before is None or row.created_at < find.created_before)
            and (not find.filed_only or row.filed)
        )

    rows = sorted(town.rows, key=lambda row: (row.created_at, row.id.hex), reverse=True)
    return [row.id for row in rows if fits(row)]


async def pages(db: Database, find: Find, limit: int) -> tuple[list[UUID], int]:
    """What all pages together give, and how many were short though not the last."""
    found: list[UUID] = []
    after, short = None, 0
    for _ in range(1000):
        async with db.read() as session:
            page = await find_cases(session, find, limit=limit, after=after)
        assert len(page.rows) <= limit
        found += [row.case.id for row in page.rows]
        if page.next is None:
            return found, short
        after = page.next
        short += len(page.rows) < limit
    raise AssertionError("the pages have no end")


def finds(town: Town, dice: random.Random) -> Iterator[Find]:
    """One filter at a time, then any together."""
    some: dict[str, Callable[[], object]] = {
        "words": lambda: dice.choice(("井盖", "街", "路灯坏了", "路灯 井盖", "白蚁", "消火栓")),
        "number": lambda: dice.choice(
            (
                "2026",
                "202611",
                "20261118",
                "202611180001",
                "00001234",
                "99991231",
                "9999999999",
                (town.rows[7].number or "2026"),
            )
        ),
        "phone": lambda: dice.choice(("1234", "3-1234", "80 00", "13800031234", "87654321", "9999", "031234")),
        "area": lambda: dice.choice(("1", "11", "111", "1111", "12")),
        "states": lambda: dice.choice((["handling"], ["closed", "reported"], ["draft", "closed", "handling"])),
        "unit": lambda: dice.choice(town.units),
        "lamp": lambda: "red",
        "domain": lambda: "social",
        "category": lambda: "0209",
        "source": lambda: "web",
        "created_from": lambda: dice.choice(town.rows).created_at,
        "created_before": lambda: dice.choice(town.rows).created_at,
        "filed_only": lambda: True,
    }
    yield Find()
    for name, value in some.items():
        yield replace(Find(), **{name: value()})
    for _ in range(40):
        names = dice.sample(list(some), dice.choice((2, 2, 3, 4)))
        yield replace(Find(), **{name: some[name]() for name in names})
    own = Find(unit=dice.choice(town.units), assisting=True, filed_only=True)
    yield own
    for name, value in some.items():
        yield replace(own, **{name: value()})
    for _ in range(20):
        yield replace(own, **{name: some[name]() for name in dice.sample(list(some), 2)})


@pytest.mark.parametrize("bounds", ["as they are", "small"])
async def test_what_is_found_is_what_is_there(db: Database, monkeypatch: pytest.MonkeyPatch, bounds: str) -> None:
    """Also when a page ends where so much has been read, when rare is not rare, and when many cases share a second."""
    if bounds == "small":
        monkeypatch.setattr(search, "STEPS", (3, 7, 15))
        monkeypatch.setattr(search, "ENOUGH_AT_ONCE", 5)
        monkeypatch.setattr(search, "MOST_BRANCHES", 2)
    there = await town(db, 160 if bounds == "small" else 300)
    dice = random.Random(2)
    short = 0
    for find in finds(there, dice):
        found, ended_short = await pages(db, find, limit=dice.choice((4, 15, 50)) if bounds == "small" else 40)
        assert found == expected(there, find), find
        short += ended_short
    assert bounds != "small" or short, "no page ended short: the bounds were not reached"


async def test_words_are_found_as_soon_as_they_are_said_and_never_after_erasure(db: Database) -> None:
    call = await told(db)

    async def found(**what: str) -> bool:
        async with db.read() as session:
            page = await find_cases(session, Find(**what))
        return [row.case.id for row in page.rows] == [call.case]

    assert await found(words="路灯")
    assert await found(words="解放路 坏")
    assert await found(phone=NUMBER[-4:])
    async with db.begin() as session:
        particulars = await session.get_one(CaseParticulars, call.case)
        particulars.text, particulars.callback_number = "井盖也不见了", "010-87651234"
        await index_words(session, call.case)
    assert await found(words="井盖")
    assert not await found(words="坏")
    assert await found(phone="87651234")
    async with db.begin() as session:
        await erase_particulars(session, call.case, actor="system", at=clock.now())
    assert not await found(words="井盖")
    assert not await found(phone="8000")
    async with db.begin() as session:
        await index_words(session, call.case)
    async with db.read() as session:
        assert (await session.scalars(select(CaseSearch))).all() == []


async def test_nothing_erased_stays_in_the_file(db: Database) -> None:
    """SQLite: after some steps of scrubbing no page has the token, not even one that nobody reads."""
    if not db.is_sqlite:
        pytest.skip("PostgreSQL's vacuum does this")
    there = await town(db, 120)
    word, other = "蟋蟀", "蚂蚱"
    first = replace(there.rows[0], id=uuid4(), number=None, text=word)
    async with db.begin() as session:
        await add(session, first)
        await add(session, replace(first, id=uuid4(), text=other))
    async with db.begin() as session:
        await forget_words(session, first.id)
        await session.execute(text("UPDATE case_particulars SET text = NULL WHERE case_id = :id"), {"id": first.id.hex})
    for _ in range(1000):
        async with db.engine.begin() as connection:
            if not await scrub(connection):
                break
    else:
        raise AssertionError("scrubbing has no end")
    async with db.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    path = db.path
    assert path is not None
    await db.close()
    held = path.read_bytes() + b"".join(one.read_bytes() for one in path.parent.glob("callcenter.db-wal"))
    assert other.encode() in held, "the test looks in the wrong place"
    assert word.encode() not in held


async def test_a_full_second_takes_keys_of_the_next(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "SLOTS", 2)
    monkeypatch.setattr(search, "SLOTS", 2)
    there = await town(db, 1)
    same = [replace(there.rows[0], id=uuid4(), number=None) for _ in range(5)]
    async with db.begin() as session:
        for row in same:
            await add(session, row)
    async with db.read() as session:
        page = await find_cases(session, Find(words="白蚁" if there.rows[0].text == "白蚁" else there.rows[0].text))
    assert len(page.rows) == 6


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (Find(words="，。"), "words: nothing in them"),
        (Find(words="13800138000"), "looked for as phone"),
        (Find(words="井" * 101), "words: 101 characters, at most 100"),
        (Find(phone="123"), "phone: 3 digits, at least the last 4"),
        (Find(number="20x6"), "number: a case's number"),
        (Find(number="202"), "number: a case's number"),
        (Find(area="no such"), "area: there is no area"),
        (Find(unit=UUID(int=7)), "unit: there is no unit"),
    ],
)
async def test_what_cannot_be_looked_for_is_refused(db: Database, find: Find, message: str) -> None:
    async with db.read() as session:
        with pytest.raises(BadSearch, match=message):
            await find_cases(session, find)


async def test_a_cursor_that_is_none_of_ours_is_refused(db: Database) -> None:
    async with db.read() as session:
        with pytest.raises(ValueError, match="cursor"):
            await find_cases(session, Find(), after="1; DROP TABLE cases")


# -- over HTTP ---------------------------------------------------------------------------------------------------------
async def test_search_over_http(api: Api) -> None:
    filed = await told(api.services.db)
    waiting = await told(api.services.db, decision="confirm")
    agent, unit = await api.signed_in("agent"), await api.with_key("dispatcher")

    async def found(client: object, **what: object) -> list[str]:
        answer = await client.post("/api/v1/cases/search", json=what)  # type: ignore[attr-defined]
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert set(await found(agent, words="路灯")) == {str(filed.case), str(waiting.case)}
    assert await found(unit, words="路灯") == [str(filed.case)]
    assert await found(agent, words="路灯", states=["reported"]) == [str(waiting.case)]
    assert await found(agent, words="井盖") == []
    assert "138****8000" in (await agent.post("/api/v1/cases/search", json={"words": "路灯"})).text
    listed = await unit.get("/api/v1/cases", params={"source": "phone", "created_before": "2020-01-01T00:00:00Z"})
    assert listed.json() == {"items": [], "next": None}
    number = (await agent.get(f"/api/v1/cases/{filed.case}")).json()["number"]
    assert [one["id"] for one in (await agent.get("/api/v1/cases", params={"number": number})).json()["items"]] == [
        str(filed.case)
    ]
    for client, what, status in (
        (unit, {"states": ["draft"]}, 403),
        (agent, {"area": "999"}, 422),
        (agent, {"words": "\x00"}, 422),
        (agent, {"cursor": "x"}, 422),
        (agent, {"nonsense": "x"}, 422),
        (agent, {"created_from": "2026-11-20T00:00:00"}, 422),
    ):
        answer = await client.post("/api/v1/cases/search", json=what)
        assert answer.status_code == status, (what, answer.text)


async def test_a_search_by_number_needs_the_right_and_a_reason_and_is_audited(api: Api) -> None:
    call = await told(api.services.db)
    agent, auditor = await api.signed_in("agent"), await api.signed_in("auditor")
    asked = {"phone": "8000", "reason": "callback"}
    answer = await agent.post("/api/v1/cases/search", json=asked)
    assert [item["id"] for item in answer.json()["items"]] == [str(call.case)]
    assert (await auditor.post("/api/v1/cases/search", json=asked)).status_code == 403
    assert (await agent.post("/api/v1/cases/search", json={"phone": "8000"})).status_code == 422
    async with api.services.db.read() as session:
        rows = (await session.scalars(select(AuditEntry).where(AuditEntry.action == "cases searched by phone"))).all()
    assert [(row.result, row.detail) for row in rows] == [
        ("done", {"reason": "callback", "digits": 4}),
        ("refused", {"reason": "callback", "digits": 4}),
    ]


async def test_erasing_a_call_takes_its_case_out_of_the_index(api: Api, tmp_path: Path) -> None:
    call = await told(api.services.db)
    async with api.services.db.begin() as session:
        await erase_call(session, call.call, actor="system", at=clock.now())
    async with api.services.db.read() as session:
        assert (await session.scalars(select(CaseSearch.case_id))).all() == []
