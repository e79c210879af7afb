"""What the API promises, who may use which route; and a client that holds every answer against the document."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from jsonschema import Draft202012Validator, FormatChecker

from api.security import permissions_required
from callcenter.access.permissions import Permission
from tests.api import Api

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

ROOMS: dict[str, dict[str, Permission | None]] = {
    "access": {
        "DELETE /api/v1/session": None,
        "GET /api/v1/me": None,
        "PUT /api/v1/me/password": None,
    },
    "people": {
        "GET /api/v1/users": Permission.USERS_MANAGE,
        "POST /api/v1/users": Permission.USERS_MANAGE,
        "PATCH /api/v1/users/{user_id}": Permission.USERS_MANAGE,
        "PUT /api/v1/users/{user_id}/unit": Permission.USERS_MANAGE,
        "GET /api/v1/keys": Permission.KEYS_MANAGE,
        "POST /api/v1/keys": Permission.KEYS_MANAGE,
        "DELETE /api/v1/keys/{key_id}": Permission.KEYS_MANAGE,
        "GET /api/v1/audit": Permission.AUDIT_READ,
    },
    "calls": {
        "GET /api/v1/calls": Permission.CALLS_READ,
        "GET /api/v1/calls/{call_id}": Permission.CALLS_READ,
        "GET /api/v1/cases": Permission.CASES_READ,
        "POST /api/v1/cases/search": Permission.CASES_READ,
        "GET /api/v1/cases/{case}": Permission.CASES_READ,
        "POST /api/v1/cases/{case}/confirm": Permission.CASES_CONFIRM,
    },
    "feed": {
        "GET /api/v1/dispatch/feed": Permission.FEED_PULL,
        "POST /api/v1/dispatch/ack": Permission.FEED_ACK,
    },
    "insight": {
        "GET /api/v1/insight/quality": Permission.INSIGHT_READ,
        "GET /api/v1/insight/confusion": Permission.INSIGHT_READ,
        "GET /api/v1/insight/cases": Permission.INSIGHT_READ,
        "GET /api/v1/insight/models": Permission.INSIGHT_READ,
        "GET /api/v1/insight/drift": Permission.INSIGHT_READ,
        "POST /api/v1/insight/models/rollback": Permission.MODELS_MANAGE,
        "POST /api/v1/insight/models/{version}/promote": Permission.MODELS_MANAGE,
    },
    "life": {
        "POST /api/v1/cases": Permission.CASES_REGISTER,
        "PATCH /api/v1/cases/{case}": Permission.CASES_CONFIRM,
        "GET /api/v1/cases/{case}/legal": Permission.CASES_READ,
        "POST /api/v1/cases/{case}/acts": Permission.CASES_ACT,
        "GET /api/v1/cases/{case}/responsibility": Permission.CASES_READ,
        "PUT /api/v1/cases/{case}/item": Permission.CASES_ACT,
        "POST /api/v1/cases/{case}/evidence": Permission.CASES_ADD_EVIDENCE,
        "GET /api/v1/cases/{case}/evidence": Permission.CASES_READ_EVIDENCE,
        "GET /api/v1/cases/{case}/evidence/{evidence_id}": Permission.CASES_READ_EVIDENCE,
    },
    "links": {
        "POST /api/v1/cases/{case}/split": Permission.CASES_CONFIRM,
        "POST /api/v1/cases/{case}/adjudicate": Permission.CASES_CONFIRM,
        "POST /api/v1/cases/{case}/merge": Permission.CASES_DECIDE,
        "GET /api/v1/cases/{case}/links": Permission.CASES_READ,
    },
    "joint": {
        "POST /api/v1/joint-orders": Permission.CASES_ACT,
        "GET /api/v1/joint-orders/{joint_id}": Permission.CASES_READ,
        "GET /api/v1/cases/{case}/joint-orders": Permission.CASES_READ,
        "POST /api/v1/joint-orders/{joint_id}/receipt": Permission.CASES_HANDLE,
        "POST /api/v1/joint-orders/{joint_id}/end": Permission.CASES_ACT,
    },
    "police": {
        "POST /api/v1/police/handovers": Permission.CASES_CONFIRM,
        "POST /api/v1/police/handovers/out/{police_number}/result": Permission.CASES_CONFIRM,
        "GET /api/v1/police/handovers/{direction}/{police_number}": Permission.CASES_READ,
    },
    "supervision": {
        "GET /api/v1/supervision/boxes": Permission.CASES_READ,
        "GET /api/v1/supervision/boxes/{box}": Permission.CASES_READ,
        "GET /api/v1/supervision/sheets": Permission.CASES_READ,
        "GET /api/v1/supervision/cases/{case_id}": Permission.CASES_READ,
        "GET /api/v1/supervision/cases/{case_id}/sheets": Permission.CASES_READ,
        "POST /api/v1/supervision/cases/{case_id}/sheets": Permission.CASES_SUPERVISE,
        "POST /api/v1/supervision/sheets/{sheet_id}/receipt": Permission.CASES_HANDLE,
        "POST /api/v1/supervision/sheets/{sheet_id}/reply": Permission.CASES_HANDLE,
        "POST /api/v1/supervision/cases/{case_id}/notes": Permission.CASES_INSTRUCT,
    },
    "city": {
        "GET /api/v1/lists": None,
        "POST /api/v1/lists/import": Permission.LISTS_MANAGE,
        "GET /api/v1/lists/patrol": None,
        "POST /api/v1/lists/patrol/import": Permission.LISTS_MANAGE,
        "GET /api/v1/lists/verification": None,
        "PUT /api/v1/lists/verification": Permission.LISTS_MANAGE,
        "GET /api/v1/calendar": None,
        "PUT /api/v1/calendar/{day}": Permission.LISTS_MANAGE,
        "DELETE /api/v1/calendar/{day}": Permission.LISTS_MANAGE,
        "GET /api/v1/areas": None,
        "POST /api/v1/areas": Permission.LISTS_MANAGE,
        "GET /api/v1/units": None,
        "POST /api/v1/units": Permission.LISTS_MANAGE,
        "PATCH /api/v1/units/{code}": Permission.LISTS_MANAGE,
    },
    "residents": {
        "POST /api/v1/residents/looks": Permission.CITY_READ_PEOPLE,
        "POST /api/v1/residents/dossiers": Permission.CITY_READ_PEOPLE,
        "GET /api/v1/forms": Permission.CITY_READ,
        "GET /api/v1/forms/{form}": Permission.CITY_READ,
    },
    "registries": {
        "GET /api/v1/registries": Permission.CITY_READ,
        "GET /api/v1/registries/{registry}/entries": Permission.CITY_READ,
        "GET /api/v1/registries/{registry}/entries/{code}": Permission.CITY_READ,
        "GET /api/v1/registries/{registry}/near": Permission.CITY_READ,
        "POST /api/v1/registries/{registry}/entries/{code}/particulars": Permission.CITY_READ_PEOPLE_FULL,
    },
    "ground": {
        "GET /api/v1/city/areas-at": Permission.CITY_READ,
        "POST /api/v1/city/places": Permission.CITY_READ,
        "GET /api/v1/city/assets/near": Permission.CITY_READ,
        "GET /api/v1/city/assets/{code}": Permission.CITY_READ,
        "GET /api/v1/city/tags/{tag}": Permission.CITY_READ,
        "GET /api/v1/city/context": Permission.CITY_READ,
        "GET /api/v1/cases/{case}/places": Permission.CASES_READ_DRAFTS,
        "GET /api/v1/cases/{case}/suggestions": Permission.CASES_READ,
        "POST /api/v1/cases/{case}/suggestions/{other}": Permission.CASES_DECIDE,
        "GET /api/v1/hot-spots": Permission.CASES_READ,
        "GET /api/v1/city/imports": Permission.LISTS_MANAGE,
        "POST /api/v1/city/imports/{kind}": Permission.LISTS_MANAGE,
        "POST /api/v1/city/imports/{kind}/go-back": Permission.LISTS_MANAGE,
    },
    "field": {
        "GET /api/v1/field/shifts": Permission.FIELD_READ,
        "POST /api/v1/field/shifts": Permission.FIELD_MANAGE,
        "GET /api/v1/field/shifts/mine": Permission.FIELD_REPORT,
        "DELETE /api/v1/field/shifts/{shift_id}": Permission.FIELD_MANAGE,
        "GET /api/v1/field/duty": Permission.FIELD_READ,
        "GET /api/v1/field/nearest": Permission.FIELD_READ,
        "POST /api/v1/field/tracks": Permission.FIELD_REPORT,
        "GET /api/v1/field/tracks/{user_id}": Permission.FIELD_READ,
        "POST /api/v1/field/reports": Permission.FIELD_REPORT,
        "GET /api/v1/field/tasks": Permission.FIELD_READ,
        "POST /api/v1/field/tasks": Permission.FIELD_MANAGE,
        "GET /api/v1/field/tasks/mine": Permission.FIELD_REPORT,
        "POST /api/v1/field/tasks/{task_id}/steps": Permission.FIELD_REPORT,
    },
    "inboxes": {
        "GET /api/v1/inboxes": Permission.CASES_READ,
        "GET /api/v1/inboxes/{code}": Permission.CASES_READ,
        "PUT /api/v1/inboxes/{code}/read": Permission.CASES_HANDLE,
        "GET /api/v1/inboxes/{code}/people": Permission.CASES_HANDLE,
    },
    "risks": {
        "GET /api/v1/risk-sources/overdue": Permission.CASES_READ,
        "GET /api/v1/risk-sources/{code}/inspections": Permission.CASES_READ,
        "POST /api/v1/risk-sources/{code}/inspections": Permission.FIELD_INSPECT,
    },
    "devices": {
        "POST /api/v1/alarms": Permission.DEVICES_SEND,
        "GET /api/v1/cases/{case}/alarms": Permission.CASES_READ,
        "POST /api/v1/devices/{code}/tracks": Permission.DEVICES_SEND,
    },
    "knowledge": {
        "GET /api/v1/knowledge": None,
        "GET /api/v1/knowledge/search": None,
        "GET /api/v1/knowledge/{code}": None,
        "PUT /api/v1/knowledge/{code}": Permission.LISTS_MANAGE,
        "POST /api/v1/knowledge/{code}/withdraw": Permission.LISTS_MANAGE,
    },
    "evaluation": {
        "GET /api/v1/evaluation": Permission.EVALUATION_READ,
        "GET /api/v1/evaluation/indicators": Permission.EVALUATION_READ,
        "GET /api/v1/evaluation/hot-spots": Permission.EVALUATION_READ,
        "POST /api/v1/evaluation/recompute": Permission.EVALUATION_RECOMPUTE,
    },
    "health": {
        "GET /metrics": Permission.METRICS_READ,
    },
}
"""What each other route asks for, by room; None: to be signed in. Each room has a test in test_api_answers."""

OPEN_OF = {
    "access": {"POST /api/v1/session", "POST /api/v1/setup"},
    "health": {"GET /healthz", "GET /readyz"},
}
"""The public operations of a room."""

NEEDS = {name: needed for room in ROOMS.values() for name, needed in room.items()}


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
        name = next(self._templates(method, answer.request.url.path))
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
        if media.startswith("image/"):
            return answer.content
        errors = list(validator(self.document, documented["content"][media]["schema"]).iter_errors(answer.json()))
        assert not errors, f"{method} {name} {answer.status_code}: {errors[0].json_path} {errors[0].message}"
        return answer.json()

    def whole(self, room: str) -> None:
        """Asserts that every operation of ``room`` has been answered well."""
        good = {name.rsplit(" ", 1)[0] for name in self.asked if name.rsplit(" ", 1)[1].startswith("2")}
        wanted = set(ROOMS[room]) | OPEN_OF.get(room, set())
        assert wanted <= good, f"never answered well: {sorted(wanted - good)}"

    def _templates(self, method: str, path: str) -> Iterator[str]:
        # What is named in full comes before what has parameters, as the router itself does.
        for template in sorted(self.document["paths"], key=lambda one: one.count("{")):
            pattern = re.sub(r"\{[^}]+\}", "[^/]+", template)
            if re.fullmatch(pattern, path) and method.lower() in self.document["paths"][template]:
                yield template
