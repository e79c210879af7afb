"""The people of a hotline over HTTP, each with a browser, and cases that they bring to where a test begins."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx

from tests.api import Api
from tests.pictures import jpeg

COVER = {"standard": "GB/T 30428.2-2013", "kind": "part", "code": "0102"}
"""污水井盖"""
QUARREL = {"standard": "social", "kind": "social", "code": "S0102"}
"""邻里纠纷"""


@dataclass
class House:
    """Everybody is made when they are first asked for."""

    api: Api
    people: dict[tuple[str, UUID | None], httpx.AsyncClient] = field(default_factory=dict)

    async def one(self, role: str, unit: UUID | None = None) -> httpx.AsyncClient:
        """The browser of the one person with ``role``, of ``unit``."""
        if (role, unit) not in self.people:
            self.people[role, unit] = await self.api.signed_in(role, unit=unit)
        return self.people[role, unit]

    @staticmethod
    def order(**changes: Any) -> dict[str, Any]:
        """A work order as an agent fills it in: of the police, so that nobody has to look first."""
        body = {
            "source": "110",
            "text": "井盖不见了，打13812345678",
            "category": COVER,
            "reporter_number": "13812345678",
            "reporter_name": "王丽",
            "address": "解放大道",
        }
        return {name: value for name, value in {**body, **changes}.items() if value is not ...}

    async def reported(self, by: str = "agent", **changes: Any) -> dict[str, Any]:
        """A case that somebody has registered."""
        client = await self.one(by)
        answer = await client.post(
            "/api/v1/cases", json=self.order(**changes), headers={"Idempotency-Key": uuid4().hex}
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def filed(self, **changes: Any) -> dict[str, Any]:
        """A case that waits for its unit."""
        return await self.stepped(await self.one("agent"), await self.reported(**changes), "file")

    async def ordered(self, unit: UUID, **changes: Any) -> dict[str, Any]:
        """A case that ``unit`` has the order for, and has not signed for."""
        case = await self.filed(**changes)
        return await self.stepped(await self.one("command"), case, "dispatch", unit=str(unit))

    async def done(self, unit: UUID, **changes: Any) -> dict[str, Any]:
        """A case that ``unit`` says it has dealt with, with a new picture."""
        worker = await self.one("unit", unit)
        case = await self.stepped(worker, await self.ordered(unit, **changes), "sign")
        answer = await worker.post(f"/api/v1/cases/{case['id']}/evidence", params={"kind": "after"}, content=jpeg())
        assert answer.status_code == 201, answer.text
        return await self.stepped(worker, case, "report_done", text="装好了")

    @staticmethod
    async def take(client: httpx.AsyncClient, case: dict[str, Any], action: str, **given: Any) -> httpx.Response:
        """The answer to a step."""
        body = {"action": action, "expected_version": case["version"], **given}
        return await client.post(f"/api/v1/cases/{case['id']}/acts", json=body)

    async def stepped(self, client: httpx.AsyncClient, case: dict[str, Any], action: str, **given: Any) -> Any:
        """The case after a step that must succeed."""
        answer = await self.take(client, case, action, **given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def imported(self, *rows: str) -> None:
        """A responsibility list in force, of ``rows``: code, condition, limit in working hours, line, unit's code."""
        head = "code,standard,kind,category_code,area,unit,filing_condition,closing_condition,limit_value,limit_unit"
        lines = [f"{head},line,level"]
        for row in rows:
            code, condition, hours, line, unit = row.split(",")
            lines.append(f"{code},GB/T 30428.2-2013,part,0102,,{unit},{condition},补齐,{hours},work_hour,{line},3")
        answer = await (await self.one("maintainer")).post(
            "/api/v1/lists/import",
            content="\n".join(lines).encode(),
            headers={"Content-Type": "text/csv"},
        )
        assert answer.status_code == 200, answer.text
