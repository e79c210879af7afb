"""What the API promises of itself is true: every route says who may use it, and every answer is as documented."""

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from jsonschema import Draft202012Validator, FormatChecker

from api import docs
from api.security import check_routes, permissions_required, public, require, undeclared_routes
from callcenter.access.permissions import TABLE, Permission, Role
from callcenter.insight.versions import RouterVersions
from tests.api import PASSWORD, Api, Told, api, told, write

__all__ = ["api"]

pytestmark = pytest.mark.integration

PUBLIC = {
    "GET /",
    "GET /desk",
    "GET /docs",
    "GET /healthz",
    "GET /insight",
    "GET /login",
    "GET /openapi.json",
    "GET /readyz",
    "GET /setup",
    "POST /api/v1/session",
    "POST /api/v1/setup",
    "POST /login",
    "POST /logout",
    "POST /setup",
}
"""Open to everyone, on purpose. Whoever adds one adds it here, and says in the route why."""

NEEDS = {
    "DELETE /api/v1/session": None,
    "GET /api/v1/me": None,
    "PUT /api/v1/me/password": None,
    "GET /api/v1/calls": Permission.CALLS_READ,
    "GET /api/v1/calls/{call_id}": Permission.CALLS_READ,
    "GET /api/v1/cases": Permission.CASES_READ,
    "GET /api/v1/cases/{case}": Permission.CASES_READ,
    "POST /api/v1/cases/{case}/confirm": Permission.CASES_CONFIRM,
    "GET /api/v1/dispatch/feed": Permission.FEED_PULL,
    "POST /api/v1/dispatch/ack": Permission.FEED_ACK,
    "GET /api/v1/users": Permission.USERS_MANAGE,
    "POST /api/v1/users": Permission.USERS_MANAGE,
    "PATCH /api/v1/users/{user_id}": Permission.USERS_MANAGE,
    "GET /api/v1/keys": Permission.KEYS_MANAGE,
    "POST /api/v1/keys": Permission.KEYS_MANAGE,
    "DELETE /api/v1/keys/{key_id}": Permission.KEYS_MANAGE,
    "GET /api/v1/audit": Permission.AUDIT_READ,
    "GET /api/v1/insight/quality": Permission.INSIGHT_READ,
    "GET /api/v1/insight/confusion": Permission.INSIGHT_READ,
    "GET /api/v1/insight/cases": Permission.INSIGHT_READ,
    "GET /api/v1/insight/models": Permission.INSIGHT_READ,
    "GET /api/v1/insight/drift": Permission.INSIGHT_READ,
    "POST /api/v1/insight/models/rollback": Permission.MODELS_MANAGE,
    "POST /api/v1/insight/models/{version}/promote": Permission.MODELS_MANAGE,
    "GET /metrics": Permission.METRICS_READ,
}
"""What each other route asks for; None: to be signed in."""


def declared(app: FastAPI) -> tuple[set[str], dict[str, Permission | None]]:
    """The public routes of ``app``, and what the others need."""
    open_to_all, needs = set(), {}
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, APIRoute):
            continue
        asked = list(permissions_required(context.dependant))
        for method in context.methods or ():
            name = f"{method} {context.path_format}"
            if asked:
                [needs[name]] = asked
            else:
                open_to_all.add(name)
    return open_to_all, needs


# -- every route says who may use it -----------------------------------------------------------------------------------
async def test_every_route_is_declared(api: Api) -> None:
    assert undeclared_routes(api.app) == []
    open_to_all, needs = declared(api.app)
    assert open_to_all == PUBLIC
    assert needs == NEEDS


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
    browsers = {role: await api.signed_in(role.value) for role in Role}
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
def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


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


# -- every answer is as documented -------------------------------------------------------------------------------------
def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]}, format_checker=FormatChecker())


def closed(schema: Any) -> Any:
    """``schema`` in which an object has the named fields and no others: what is not documented must not be sent."""
    if isinstance(schema, dict):
        made = {name: closed(value) for name, value in schema.items()}
        if schema.get("type") == "object" and "properties" in schema and "additionalProperties" not in schema:
            made["additionalProperties"] = False
        return made
    return [closed(one) for one in schema] if isinstance(schema, list) else schema


class Checked:
    """A client that holds every answer against the document, and remembers which operations were asked."""

    def __init__(self, api: Api) -> None:
        document = api.app.openapi()
        self.document = {**document, "components": {"schemas": closed(document["components"]["schemas"])}}
        self.asked: set[str] = set()

    async def ask(self, client: httpx.AsyncClient, method: str, path: str, **more: Any) -> Any:
        answer = await client.request(method, path, **more)
        [name] = [one for one in self._templates(method, answer.request.url.path)]
        operation = self.document["paths"][name][method.lower()]
        documented = operation["responses"].get(str(answer.status_code))
        assert documented is not None, f"{method} {name} answered {answer.status_code}, which is not documented"
        self.asked.add(f"{method} {name} {answer.status_code}")
        if answer.status_code == 204:
            assert answer.content == b""
            return None
        media = answer.headers["content-type"].split(";")[0]
        assert media in documented["content"], f"{method} {name} {answer.status_code} sent {media}"
        if media == "text/plain":
            return answer.text
        errors = list(validator(self.document, documented["content"][media]["schema"]).iter_errors(answer.json()))
        assert not errors, f"{method} {name} {answer.status_code}: {errors[0].json_path} {errors[0].message}"
        return answer.json()

    def _templates(self, method: str, path: str) -> Iterator[str]:
        # What is named in full comes before what has parameters, as the router itself does.
        for template in self.document["paths"]:
            pattern = re.sub(r"\{[^}]+\}", "[^/]+", template)
            if re.fullmatch(pattern, path) and method.lower() in self.document["paths"][template]:
                yield template


async def test_every_answer_is_as_documented(api: Api, tmp_path: Path) -> None:
    # Versions of the router to change, other than the repository's own.
    settings = api.services.settings
    shutil.copytree(settings.models_dir / "router", tmp_path / "models" / "router")
    copied = settings.model_copy(update={"models_dir": tmp_path / "models"})
    api.app.state.versions = RouterVersions(api.services.db, api.services.bus, copied)
    link = await api.services.access.first_start()
    assert link is not None
    checked = Checked(api)
    ask = checked.ask
    stranger = api.browser()
    first = {"token": link.split("=", 1)[1], "username": "first.admin", "password": PASSWORD}
    await ask(stranger, "POST", "/api/v1/setup", json=first)
    await ask(api.browser(), "POST", "/api/v1/setup", json={**first, "username": "second"})
    agent, admin = await api.signed_in("agent", "supervisor"), await api.signed_in("admin")
    auditor, unit = await api.signed_in("auditor"), await api.with_key()
    draft = Told()
    await write(api.services.db, draft.speaking())
    filed = await told(api.services.db)
    empty = await told(api.services.db, disposition="none", category=None, domain=None, probability=None, intent=None)
    urgent = await told(api.services.db, emergency={"services": ["119"]}, secrecy=True, decision="confirm")

    await ask(agent, "POST", "/api/v1/session", json={"username": "nobody", "password": "x"})
    await ask(agent, "GET", "/api/v1/me")
    await ask(unit, "GET", "/api/v1/me")
    await ask(stranger, "GET", "/api/v1/cases", headers={"Cookie": "hotline_session=x"})
    changed = {"old": PASSWORD, "new": "another long one 8"}
    await ask(await api.signed_in("agent"), "PUT", "/api/v1/me/password", json=changed)

    await ask(agent, "GET", "/api/v1/calls", params={"limit": 1})
    await ask(agent, "GET", "/api/v1/calls", params={"cursor": "x"})
    for call in (draft, filed, empty, urgent):
        await ask(agent, "GET", f"/api/v1/calls/{call.call}")
        await ask(agent, "GET", f"/api/v1/cases/{call.case}", params={"particulars": "callback"})
    await ask(agent, "GET", f"/api/v1/calls/{uuid4()}")
    await ask(agent, "GET", "/api/v1/cases")
    await ask(unit, "GET", "/api/v1/cases")
    await ask(unit, "GET", f"/api/v1/cases/{draft.case}")
    case = await ask(agent, "GET", f"/api/v1/cases/{urgent.case}")
    word = {"expected_version": case["version"]}
    await ask(agent, "POST", f"/api/v1/cases/{urgent.case}/confirm", json=word)
    await ask(agent, "POST", f"/api/v1/cases/{urgent.case}/confirm", json=word)
    await ask(agent, "POST", f"/api/v1/cases/{uuid4()}/confirm", json=word)
    await ask(unit, "POST", f"/api/v1/cases/{urgent.case}/confirm", json=word)

    page = await ask(unit, "GET", "/api/v1/dispatch/feed", params={"wait": 10})
    assert page["items"]
    await ask(unit, "GET", "/api/v1/dispatch/feed", params={"after": "x"})
    await ask(unit, "POST", "/api/v1/dispatch/ack", json={"position": page["after"]})

    user = await ask(
        admin, "POST", "/api/v1/users", json={"username": "li.na", "password": PASSWORD, "roles": ["agent"]}
    )
    await ask(admin, "POST", "/api/v1/users", json={"username": "li.na", "password": PASSWORD, "roles": ["agent"]})
    await ask(admin, "POST", "/api/v1/users", json={"username": "x", "password": PASSWORD, "roles": ["agent"]})
    await ask(
        admin, "PATCH", f"/api/v1/users/{user['id']}", json={"roles": ["agent", "supervisor"], "extension": "102"}
    )
    await ask(admin, "PATCH", f"/api/v1/users/{uuid4()}", json={})
    await ask(admin, "GET", "/api/v1/users")
    key = await ask(admin, "POST", "/api/v1/keys", json={"label": "x", "permissions": ["metrics:read"]})
    await ask(admin, "GET", "/api/v1/keys")
    await ask(admin, "DELETE", f"/api/v1/keys/{key['id']}")
    await ask(admin, "DELETE", f"/api/v1/keys/{uuid4()}")
    await ask(auditor, "GET", "/api/v1/audit", params={"limit": 2})
    for path in ("quality", "confusion", "cases", "models", "drift"):
        await ask(agent, "GET", f"/api/v1/insight/{path}")
        await ask(unit, "GET", f"/api/v1/insight/{path}")
    await ask(agent, "GET", "/api/v1/insight/quality", params={"since": "2026-02-01", "until": "2026-01-01"})
    await ask(admin, "GET", "/api/v1/insight/cases")
    versions = await ask(agent, "GET", "/api/v1/insight/models")
    live, why = versions["versions"][0]["name"], {"reason": "比现用版本更准"}
    shutil.copytree(tmp_path / "models" / "router" / live, tmp_path / "models" / "router" / "other")
    await ask(agent, "POST", "/api/v1/insight/models/other/promote", json=why)
    await ask(agent, "POST", "/api/v1/insight/models/rollback", json=why)
    await ask(agent, "POST", "/api/v1/insight/models/rollback", json={"reason": "    "})
    await ask(agent, "POST", "/api/v1/insight/models/none/promote", json=why)
    await ask(admin, "POST", "/api/v1/insight/models/other/promote", json=why)
    await ask(stranger, "GET", "/healthz")
    await ask(stranger, "GET", "/readyz")
    await ask(stranger, "GET", "/metrics")
    again = {"username": "first.admin", "password": PASSWORD}
    await ask(stranger, "POST", "/api/v1/session", json=again)
    await ask(stranger, "DELETE", "/api/v1/session")
    for _ in range(12):
        await ask(api.browser(), "POST", "/api/v1/session", json=again)

    good = {name.rsplit(" ", 1)[0] for name in checked.asked if name.rsplit(" ", 1)[1].startswith("2")}
    assert good == {name for name, _ in operations(checked.document)}
    assert "POST /api/v1/session 429" in checked.asked
