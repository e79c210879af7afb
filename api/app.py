"""The HTTP face put together: routes, errors, headers, limits, and the pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from api import docs, errors, health, metrics, pages, security
from api.headers import SecurityHeaders
from api.limits import NoNul
from api.services import Services
from api.v1 import (
    acts,
    amend,
    calendar,
    calls,
    cases,
    city,
    city_people,
    devices,
    dispatch,
    evaluation,
    evidence,
    field,
    inboxes,
    insight,
    joint,
    knowledge,
    links,
    lists,
    people,
    police,
    register,
    registries,
    responsibility,
    risks,
    search,
    session,
    supervision,
    tasks,
    units,
)
from callcenter.insight.versions import RouterVersions

DESCRIPTION: Final = """\
Calls to the hotline, the cases they become, and the feed by which dispatch systems pull them.

People sign in (`POST /api/v1/session`) and carry a cookie; programs send an API key as \
`Authorization: Bearer hl_…` or `X-API-Key`. What is not permitted is refused. Every refusal is \
`application/problem+json` with a stable `code`.

Times are UTC (ISO 8601 with offset). Lists give `next`: send it as `cursor` for the page after.\
"""


def create_app(services: Services) -> FastAPI:
    """The application over ``services``. Raises RuntimeError when a route says nothing of who may use it."""
    app = FastAPI(
        title="12319 hotline",
        version=version("callcenter"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    app.state.probe = health.Probe()
    app.state.metrics = metrics.Metrics()
    app.state.arrivals = dispatch.Arrivals()
    if services.sequencer is not None:
        services.sequencer.on_placed(app.state.arrivals.tell)
    app.state.versions = RouterVersions(services.db, services.bus, services.settings)
    app.state.guessing = security.RateLimit()
    errors.install(app)
    for module in (
        session,
        calls,
        cases,
        acts,
        amend,
        responsibility,
        register,
        evidence,
        search,
        dispatch,
        insight,
        evaluation,
        people,
        supervision,
        lists,
        calendar,
        units,
        city,
        city_people,
        registries,
        inboxes,
        field,
        tasks,
        risks,
        devices,
        knowledge,
        links,
        joint,
        police,
        health,
        metrics,
        docs,
    ):
        app.include_router(module.router)
    _describe(app)
    pages.install(app, services)
    security.check_routes(app)
    # The first added is the innermost: the wall stands within the headers, so that a 500 has them too.
    app.add_middleware(evidence.PictureBodyLimit)
    app.add_middleware(NoNul)
    app.add_middleware(errors.FaultBoundary)
    app.add_middleware(SecurityHeaders, styles=(docs.STYLE,))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    await app.state.metrics.begin(services)
    yield


def _operation_id(route: APIRoute) -> str:
    return route.name


def _describe(app: FastAPI) -> None:
    """Adds to the OpenAPI document what FastAPI does not know: the form of problems and each route's permission."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for body in (errors.ProblemBody, acts.StepProblem):
                problem = body.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
                schemas.update(problem.pop("$defs", {}))
                schemas[body.__name__] = problem
            for context in iter_route_contexts(app.routes):
                if not isinstance(context.original_route, APIRoute) or not context.include_in_schema:
                    continue
                needed = [one for one in security.permissions_required(context.dependant) if one is not None]
                for method in context.methods or ():
                    if needed:
                        document["paths"][context.path_format][method.lower()]["x-permission"] = needed[0].value
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
