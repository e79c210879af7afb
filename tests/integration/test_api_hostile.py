"""The API and people who mean it ill: whatever is sent, the answer is one the document has, and none is a fault."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest

from callcenter.access.permissions import TABLE, Permission, Role
from callcenter.insight.versions import RouterVersions
from tests.api import Api, api
from tests.contract import NEEDS, Checked, operations
from tests.house import House

__all__ = ["api"]

pytestmark = pytest.mark.integration

TEXTS = (
    "",
    "   ",
    "\u200b\u2060",
    "\0",
    "a\0b",
    "\ud800",
    "\u202e倒过来\u202c",
    "👨‍👩‍👧",
    "e\u0301" * 40,
    "\uff11\uff12\uff13",
    "' OR 1=1 --",
    "%_\\",
    "../../etc/passwd",
    "x" * 5000,
    "\r\nSet-Cookie: a=b",
    str(uuid4()),
)
TIMES = (
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "1969-12-31T23:59:59Z",
    "2026-02-30T00:00:00Z",
    "2026-11-20T10:00:00",
    1e400,
    10**30,
    -(10**30),
)
NUMBERS = (-1, 0, 2**31, 2**63, 10**40, 1.5, "1", True, float("nan"), float("inf"), -1e308)
SHAPES: tuple[Any, ...] = (None, [], {}, "", 7, True, [None], {"x": 1}, "\0", "\ud800")
NEVER = {"DELETE /api/v1/session", "PUT /api/v1/me/password", "POST /api/v1/session", "POST /api/v1/setup"}
"""Would sign the test out, or are guarded against guessing; test_api and test_access have them."""


def sample(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """A value that ``schema`` allows, or nearly."""
    if "$ref" in schema:
        return sample(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    for either in ("anyOf", "oneOf", "allOf"):
        if either in schema:
            return sample(document, schema[either][0])
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("examples"):
        return schema["examples"][0]
    match schema.get("type"):
        case "object":
            return {name: sample(document, one) for name, one in schema.get("properties", {}).items()}
        case "array":
            return [sample(document, schema["items"])] * max(1, schema.get("minItems", 1))
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "string":
            made = {"uuid": str(uuid4()), "date-time": "2026-11-20T10:00:00Z", "date": "2026-11-20"}
            return made.get(schema.get("format", ""), "x" * max(10, schema.get("minLength", 1)))
    return None


def hostile(schema: dict[str, Any]) -> tuple[Any, ...]:
    """What somebody might send where ``schema`` is asked for."""
    kinds = {one.get("type") for one in (schema, *schema.get("anyOf", ()))}
    formats = {one.get("format") for one in (schema, *schema.get("anyOf", ()))}
    found: tuple[Any, ...] = SHAPES
    if "string" in kinds:
        found += TIMES if formats & {"date-time", "date"} else TEXTS
    return found + NUMBERS if kinds & {"integer", "number"} else found


def bodies(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
    """Bodies of which all but one value are right."""
    good = sample(document, schema)
    named = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    yield from SHAPES
    for name, field in named.get("properties", {}).items():
        for value in hostile(field):
            yield {**good, name: value}
        yield {one: value for one, value in good.items() if one != name}
    yield {**good, "\ud800": 1}
    yield {**good, "unknown": "x"}


class Everyone:
    """A browser for whoever an operation is for."""

    def __init__(self, house: House, unit: Any) -> None:
        self.house, self.unit = house, unit

    async def who_may(self, permission: Permission | None) -> httpx.AsyncClient:
        role = next(role for role in Role if permission is None or permission in TABLE[role])
        if permission in (Permission.CASES_HANDLE,):
            return await self.house.one("unit", self.unit)
        return await self.house.one(role.value)


@pytest.fixture
async def everyone(api: Api, tmp_path: Path) -> Everyone:
    # Versions of the router to change, other than the repository's own.
    settings = api.services.settings
    shutil.copytree(settings.models_dir / "router", tmp_path / "models" / "router")
    copied = settings.model_copy(update={"models_dir": tmp_path / "models"})
    api.app.state.versions = RouterVersions(api.services.db, api.services.bus, copied)
    return Everyone(House(api), await api.unit("roads"))


@pytest.mark.timeout(400)  # some two thousand requests: two minutes on a machine that others use as well
async def test_no_body_is_a_fault_of_the_server(api: Api, everyone: Everyone) -> None:
    checked, case = Checked(api), await everyone.house.reported()
    asked = 0
    for name, operation in operations(api.app.openapi()):
        wanted = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if wanted is None or name in NEVER:
            continue
        method, path = name.split(" ")
        client = await everyone.who_may(NEEDS[name])
        path = path.replace("{case}", case["id"]).replace("{case_id}", case["id"]).replace("{day}", "2099-01-02")
        for part in ("user_id", "sheet_id", "joint_id", "task_id", "shift_id"):
            path = path.replace(f"{{{part}}}", str(uuid4()))
        path = path.replace("{code}", "x-1").replace("{police_number}", "JM-1").replace("{version}", "none")
        path = path.replace("{registry}", "duty_holders")
        headers = {"Content-Type": "application/json", "Idempotency-Key": "hostile-1"}
        for body in bodies(checked.document, wanted["schema"]):
            headers["Idempotency-Key"] = uuid4().hex
            await checked.ask(client, method, path, content=json.dumps(body), headers=headers)
            asked += 1
        for raw in (b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 5_000, b'{"a": 1' + b"0" * 6_000 + b"}"):
            answer = await checked.ask(client, method, path, content=raw, headers=headers)
            assert answer["code"] in ("value_refused", "permission_missing"), (name, raw[:20], answer)
    assert asked > 1500


async def test_no_query_is_a_fault_of_the_server(api: Api, everyone: Everyone) -> None:
    checked, case = Checked(api), await everyone.house.reported()
    for name, operation in operations(api.app.openapi()):
        method, path = name.split(" ")
        found = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
        if not found or method != "GET" or name in NEVER:
            continue
        client = await everyone.who_may(NEEDS.get(name))
        path = path.replace("{case}", case["id"]).replace("{code}", "x").replace("{box}", "red")
        path = path.replace("{registry}", "cameras")
        good = {one["name"]: sample(checked.document, one["schema"]) for one in found if one.get("required")}
        for one in found:
            if one["name"] == "wait":
                continue
            for value in hostile(one["schema"]):
                if isinstance(value, list | dict):
                    continue
                query = {**good, one["name"]: "" if value is None else value}
                # As bytes: half of a pair is what a browser never sends.
                pairs = {key: str(each).encode("utf-8", "surrogatepass") for key, each in query.items()}
                await checked.ask(client, method, f"{path}?{urlencode(pairs)}")
        await checked.ask(client, method, path, params={**good, "unheard": "of"})


PATHS = (
    "%00",
    "a%00b",
    "%ED%A0%80",
    "%FF",
    "١٢٣٤",
    "２０２６１１２０００００１",
    "0" * 20,
    "9" * 40,
    "-1",
    "x" * 300,
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "{" + str(uuid4()) + "}",
    "urn:uuid:" + str(uuid4()),
    str(uuid4()).upper(),
    "null",
    "👨‍👩‍👧",
)


async def test_no_address_is_a_fault_of_the_server(api: Api, everyone: Everyone) -> None:
    for name, permission in NEEDS.items():
        method, path = name.split(" ")
        if "{" not in path:
            continue
        client = await everyone.who_may(permission)
        for part in PATHS:
            tried = path
            while "{" in tried:
                start, end = tried.index("{"), tried.index("}")
                tried = tried[:start] + part.replace("{", "%7B").replace("}", "%7D") + tried[end + 1 :]
            answer = await client.request(method, tried, json={})
            assert answer.status_code in (403, 404, 405, 422), (name, part, answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json", (name, part)
            assert "passwd" not in answer.text


async def test_a_page_is_never_longer_than_its_limit_and_no_cursor_is_believed(api: Api, everyone: Everyone) -> None:
    house = everyone.house
    agent = await house.one("agent")
    made = [(await house.reported())["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await agent.get("/api/v1/cases", params=query)).json()
        assert len(page["items"]) <= 2
        seen += [one["id"] for one in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == made[::-1]
    for limit in ("0", "-1", "201", "1e9", "99999999999999999999"):
        assert (await agent.get("/api/v1/cases", params={"limit": limit})).status_code == 422
        assert (await agent.get("/api/v1/supervision/boxes/red", params={"limit": limit})).status_code == 422
    for cursor in (
        "x",
        "0-",
        f"{10**30}-{uuid4().hex}",
        f"-{10**18}-{uuid4().hex}",
        f"1-{uuid4().hex}x",
    ):
        for answer in (
            await agent.get("/api/v1/cases", params={"cursor": cursor}),
            await agent.get("/api/v1/supervision/boxes/red", params={"cursor": cursor}),
            await agent.post("/api/v1/cases/search", json={"cursor": cursor}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid"), cursor
