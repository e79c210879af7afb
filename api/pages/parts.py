"""What every page is given, and the small things they share: templates, the session behind a request, headers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.security import COOKIE
from api.services import Services
from callcenter.access.principal import Principal
from callcenter.calls.desk import Desk
from callcenter.insight.versions import RouterVersions

FOLDER: Final = Path(__file__).resolve().parent
MOUNT: Final = "/desk"
SCOPE_KEY: Final = "hotline.pages"

# NiceGUI compiles templates in the browser (eval) and writes inline scripts; everything else comes from this site or
# not at all, so that a page that was broken into has nowhere to send what it shows.
POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; "
    "form-action 'self'; object-src 'none'"
)
FORM_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

_templates: Final = Environment(
    loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


@dataclass(frozen=True)
class Pages:
    """What the pages of one application are given."""

    services: Services
    desk: Desk
    versions: RouterVersions


def pages_of(request: Request) -> Pages:
    """The pages' parts behind this request, put into the scope by ``Guard``: NiceGUI's application is one for all."""
    found: Pages = request.scope[SCOPE_KEY]
    return found


def token_of(request: Request) -> str:
    """The session token that came with the request, or nothing."""
    return request.cookies.get(COOKIE, "")


async def principal_of(request: Request, services: Services) -> Principal | None:
    """Who is signed in with this request's cookie."""
    token = token_of(request)
    return await services.access.principal_of_session(token) if token else None


def page(template: str, *, title: str, status: int = 200, wrong: str = "", **values: Any) -> HTMLResponse:
    """A page of our own, without scripts. ``values`` are escaped by the template."""
    text = _templates.get_template(template).render(title=title, wrong=wrong, **values)
    return HTMLResponse(
        text,
        status_code=status,
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": FORM_POLICY,
            # Not "no-referrer": with it browsers send "Origin: null" with the form, which is nobody's own page.
            "Referrer-Policy": "same-origin",
        },
    )


def message(title: str, text: str, *, status: int = 200, signed_in: bool = False) -> HTMLResponse:
    """A page that only says something."""
    return page("message.html", title=title, status=status, text=text, signed_in=signed_in)
