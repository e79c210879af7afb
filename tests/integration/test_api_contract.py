"""What the API promises of itself is true: every route says who may use it, and every answer is as documented."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import APIRouter, Depends, FastAPI
from jsonschema import Draft202012Validator

from api import docs
from api.errors import MESSAGES
from api.security import check_routes, public, require, undeclared_routes
from callcenter.access.permissions import TABLE, Permission, Role
from tests.api import Api, api
from tests.contract import NEEDS, OPEN_OF, PUBLIC, ROOMS, declared, operations, references, validator
from tests.integration import test_api_answers

__all__ = ["api"]

pytestmark = pytest.mark.integration


# -- every route says who may use it -----------------------------------------------------------------------------------
async def test_every_route_is_declared(api: Api) -> None:
    assert undeclared_routes(api.app) == []
    open_to_all, needs = declared(api.app)
    assert open_to_all == PUBLIC
    assert needs == NEEDS


def test_every_room_of_the_api_has_its_own_test_of_its_answers() -> None:
    """Each of them asserts that it asked every operation of its room: together they ask them all."""
    assert sum(len(room) for room in ROOMS.values()) == len(NEEDS), "no operation is in two rooms"
    assert set().union(*OPEN_OF.values()) == {
        name for name in PUBLIC if name.split(" ")[1].startswith(("/api/", "/healthz", "/readyz"))
    }
    for room in ROOMS:
        assert callable(getattr(test_api_answers, f"test_{room}", None)), f"test_{room} is missing"


def test_a_route_that_says_nothing_is_found_wherever_it_hides() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer")

    @inner.get("/forgotten")
    async def forgotten() -> None: ...

    @inner.get("/open")
    @public("a test")
    async def opened() -> None: ...

    @inner.get("/guarded", dependencies=[require(Permission.CALLS_READ)])
    async def guarded() -> None: ...

    async def within(_: None = require(Permission.CALLS_READ)) -> None: ...

    @inner.get("/guarded-deeply", dependencies=[Depends(within)])
    async def guarded_deeply() -> None: ...

    outer.include_router(inner)
    app.include_router(outer, prefix="/v9")
    app.add_route("/plain", lambda request: None)
    found = [re.sub(r" \(.*", "", one) for one in undeclared_routes(app)]
    assert found == ["/v9/outer/inner/forgotten", "/plain"]
    with pytest.raises(RuntimeError, match=r"without a declared permission: .*forgotten"):
        check_routes(app)

    guarded_as_a_whole = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    guarded_as_a_whole.include_router(inner, dependencies=[require(Permission.CALLS_READ)])
    assert undeclared_routes(guarded_as_a_whole) == []


def concrete(path: str) -> str:
    """``path`` with something in place of its parameters."""
    return re.sub(r"\{[^}]+\}", str(uuid4()), path)


async def test_nobody_gets_in_without_showing_anything(api: Api) -> None:
    stranger = api.client(Origin=api.url, Via="1.1 proxy")
    for name in NEEDS:
        method, path = name.split(" ")
        answer = await stranger.request(method, concrete(path), json={})
        assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in"), name
        assert answer.headers["www-authenticate"].startswith("Bearer"), name


async def test_nobody_gets_in_with_another_permission(api: Api) -> None:
    unit = await api.unit("roads")
    browsers = {role: await api.signed_in(role.value, unit=unit if role is Role.UNIT else None) for role in Role}
    for name, permission in NEEDS.items():
        method, path = name.split(" ")
        if permission is None:
            continue
        lacking = [role for role in Role if permission not in TABLE[role]]
        assert lacking, f"everyone may {permission}"
        for role in lacking:
            answer = await browsers[role].request(method, concrete(path), json={}, headers={"Via": "1.1 proxy"})
            assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing"), (name, role)


# -- the document ------------------------------------------------------------------------------------------------------
async def test_the_document_is_whole(api: Api) -> None:
    document = (await api.client().get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    for reference in references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema.get("description"), f"schema {name} has no description"

    described = dict(operations(document))
    pages = {name for name in PUBLIC if not name.split(" ")[1].startswith(("/api/", "/healthz", "/readyz"))}
    assert set(described) == (PUBLIC - pages) | set(NEEDS)
    names = [operation["operationId"] for operation in described.values()]
    assert len(set(names)) == len(names)
    for name, operation in described.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        if name in NEEDS:
            schemes = {scheme for way in operation["security"] for scheme in way}
            assert schemes == {"key", "key-header", "session"}, name
            assert operation.get("x-permission") == NEEDS[name], name
        else:
            assert "security" not in operation, name
        if name.split(" ")[1].startswith("/api/"):
            for status in ("401", "403", "422", "503"):
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], name


async def test_the_examples_are_as_their_schemas_say(api: Api) -> None:
    document = api.app.openapi()
    checked = 0
    for name, schema in document["components"]["schemas"].items():
        for field, one in schema.get("properties", {}).items():
            for example in one.get("examples", ()):
                errors = list(validator(document, one).iter_errors(example))
                assert not errors, f"{name}.{field}: {errors[0].message}"
                checked += 1
    assert checked > 60


def test_the_text_about_the_api_leaves_nothing_out() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    named = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    assert {role.value for role in Role} <= named
    assert {permission.value for permission in Permission} <= named
    assert set(MESSAGES) <= named
    resources = {name.split(" ")[1].removeprefix("/api/v1").split("/")[1] for name in NEEDS}
    for resource in resources:
        assert f"/{resource}" in text, resource


async def test_the_page_needs_nothing_from_elsewhere(api: Api) -> None:
    answer = await api.client().get("/docs")
    assert answer.status_code == 200
    links: list[str] = []
    tags: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.add(tag)
            links.extend(value or "" for name, value in attrs if name in ("href", "src", "action"))

    Reader().feed(answer.text)
    assert not tags & {"script", "link", "img", "iframe", "form", "object"}
    assert all(link.startswith("#") or link == "/openapi.json" for link in links)
    ids = set(re.findall(r'id="([^"]+)"', answer.text))
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    assert docs.STYLE in answer.headers["content-security-policy"]
    for path in api.app.openapi()["paths"]:
        assert f"<code>{path}</code>" in answer.text


def test_the_page_shows_text_as_text() -> None:
    evil = "<script>alert(1)</script>"
    page = docs.render(
        {
            "info": {"title": evil, "version": evil, "description": evil},
            "paths": {
                f"/{evil}": {
                    "get": {
                        "tags": [evil],
                        "summary": evil,
                        "description": evil,
                        "parameters": [{"name": evil, "in": evil, "description": evil, "schema": {"type": evil}}],
                        "responses": {evil: {"description": evil}},
                        "security": [{evil: []}],
                        "x-permission": evil,
                    }
                }
            },
            "components": {
                "schemas": {evil: {"description": evil, "properties": {evil: {"enum": [evil], "examples": [evil]}}}}
            },
        }
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10
