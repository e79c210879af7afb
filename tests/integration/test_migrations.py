"""The migrations give exactly the tables of the models, on both databases, forward and back."""

import asyncio
import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError

from callcenter.cases.life import CaseAssist, CaseOrder
from callcenter.cases.model import Case
from callcenter.city.model import Unit
from callcenter.clock import now
from callcenter.storage import migrate as migration
from callcenter.storage.engine import Database, StoreError
from callcenter.storage.schema import metadata

pytestmark = pytest.mark.integration


async def _tables(url: str) -> set[str]:
    database = Database(url)
    await database.connect()
    async with database.engine.connect() as connection:
        found = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    await database.close()
    return found


async def test_the_migrated_database_is_the_models(empty_url: str) -> None:
    assert await migration.differences(empty_url), "an empty database must differ, or the comparison sees nothing"
    await migration.migrate(empty_url)
    assert await migration.differences(empty_url) == []
    await migration.check_current(empty_url)


async def test_migrating_again_changes_nothing(empty_url: str) -> None:
    await migration.migrate(empty_url)
    await migration.migrate(empty_url)
    assert await migration.current(empty_url) == migration.head()


async def test_down_to_nothing_and_up_again(empty_url: str) -> None:
    await migration.migrate(empty_url)
    await migration.downgrade(empty_url, "base")
    assert await _tables(empty_url) <= {"alembic_version"}
    await migration.migrate(empty_url)
    assert await migration.differences(empty_url) == []


async def test_the_lists_of_assisting_units_are_made_of_the_orders_there_were(empty_url: str) -> None:
    await migration.migrate(empty_url)
    database = Database(empty_url)
    await database.connect()
    at, case, lead, helper = now(), uuid4(), uuid4(), uuid4()
    names = {"kind": "department", "level": 1, "leader": "", "duty_phone": "", "round_the_clock": False}
    order = {"case_id": case, "issued_at": at + timedelta(hours=1), "issued_by": "system"}
    async with database.begin() as session:
        session.add_all(
            Unit(id=id, code=id.hex[:8], name="", active=True, created_at=at, **names) for id in (lead, helper)
        )
        made = {"disposition": "case", "decision": "auto", "emergency": [], "secrecy": False, "version": 1}
        session.add(Case(id=case, source="phone", state="handling", created_at=at, filed_at=at, **made))
        await session.flush()
        for unit, part, round_ in ((lead, "lead", 1), (helper, "assist", 1), (helper, "assist", 2)):
            session.add(CaseOrder(id=uuid4(), unit_id=unit, part=part, round=round_, **order))
    await database.close()
    before = ScriptDirectory.from_config(migration.configuration()).get_revision("0010").down_revision
    await migration.downgrade(empty_url, str(before))
    await migration.migrate(empty_url)
    await database.connect()
    async with database.read() as session:
        found = [(row.unit_id, row.created_at, row.case_id) for row in await session.scalars(select(CaseAssist))]
    await database.close()
    assert found == [(helper, at, case)]


async def test_two_processes_migrating_at_once_both_succeed(empty_url: str) -> None:
    command = [sys.executable, "-m", "callcenter.storage.migrate", empty_url, "upgrade"]
    both = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    outputs = [await process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert await migration.differences(empty_url) == []


async def test_a_database_that_is_behind_is_refused_with_the_mend(empty_url: str) -> None:
    with pytest.raises(StoreError, match=r"revision none, this program needs .*: run .*upgrade"):
        await migration.check_current(empty_url)


async def test_a_database_from_a_newer_program_is_left_alone(empty_url: str) -> None:
    await migration.migrate(empty_url)
    database = Database(empty_url)
    await database.connect()
    async with database.begin() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with pytest.raises(StoreError, match="9999"):
        await migration.migrate(empty_url)


async def test_constraints_are_named(empty_url: str) -> None:
    await migration.migrate(empty_url)
    database = Database(empty_url)
    await database.connect()

    def names(connection: object) -> list[str | None]:
        inspector = inspect(connection)
        found: list[str | None] = []
        for table in metadata().tables:
            found.append(inspector.get_pk_constraint(table)["name"])
            found.extend(key["name"] for key in inspector.get_foreign_keys(table))
            found.extend(key["name"] for key in inspector.get_unique_constraints(table))
        return found

    async with database.engine.connect() as connection:
        found = await connection.run_sync(names)
    await database.close()
    assert len(found) > 20
    assert all(name and name[:3] in ("pk_", "fk_", "uq_") for name in found)


async def test_the_case_log_cannot_be_rewritten(db: Database) -> None:
    moment = now()
    values = {"at": int(moment.timestamp() * 1e6) if db.is_sqlite else moment}
    async with db.begin() as session:
        await session.execute(
            text(
                "INSERT INTO cases (id, source, state, disposition, decision, emergency, secrecy, version, created_at)"
                " VALUES ('00000000000000000000000000000001', 'phone', 'draft', 'case', 'auto', '[]', false, 1, :at)"
            ),
            values,
        )
        await session.execute(
            text(
                "INSERT INTO case_log (case_id, seq, actor, action, to_state, version, detail, at)"
                " VALUES ('00000000000000000000000000000001', 1, 'system', 'opened', 'draft', 1, '{}', :at)"
            ),
            values,
        )
    for statement in ("UPDATE case_log SET actor = 'nobody'", "DELETE FROM case_log"):
        with pytest.raises(DBAPIError, match="append only"):
            async with db.begin() as session:
                await session.execute(text(statement))
