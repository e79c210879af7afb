"""``/docs``: the API's description as a page that needs no script and no network.

FastAPI's own pages load Swagger UI from a content delivery network; a city's network has no way there. This one is
made from the same ``/openapi.json`` on the server.
"""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from api.headers import style_source
from api.security import public

CSS: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--get:#1b7f4d;--post:#1d5fbf;--put:#8a5a00;--delete:#b3261e}
*{box-sizing:border-box}
body{font:15px/1.55 system-ui,"Noto Sans CJK SC",sans-serif;max-width:70rem;margin:0 auto;padding:1.5rem}
h1{margin:0 0 .25rem}h2{margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:6px;margin:.45rem 0;padding:.45rem .8rem}
summary{cursor:pointer;display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap}
code,pre{font:13px/1.5 ui-monospace,"Noto Sans Mono CJK SC",monospace}
pre{background:var(--soft);padding:.6rem;border-radius:6px;overflow:auto;max-height:28rem}
b.m{min-width:4.2rem;font:700 12px/1.6 ui-monospace,monospace;color:#fff;border-radius:4px;text-align:center;
padding:0 .5rem;background:#666}
b.get{background:var(--get)}b.post{background:var(--post)}b.put,b.patch{background:var(--put)}
b.delete{background:var(--delete)}
table{border-collapse:collapse;width:100%;margin:.4rem 0 .8rem}
th,td{text-align:left;vertical-align:top;border-bottom:1px solid var(--line);padding:.25rem .6rem .25rem 0}
th{font-weight:600}small,.s{opacity:.75}nav a{margin-right:1rem}
"""

STYLE: Final = style_source(CSS)

router = APIRouter(include_in_schema=False)

Schema = Mapping[str, Any]


@router.get("/openapi.json")
@public("what the API is; holds no data")
async def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
@public("what the API is; holds no data")
async def docs(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page."""
    return HTMLResponse(render(request.app.openapi()))


def render(document: Schema) -> str:
    """The page of an OpenAPI 3.1 document."""
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append("".join(_operation(path, method, operation)))
    schemas = document.get("components", {}).get("schemas", {})
    nav = "".join(f'<a href="#{escape(_slug(tag))}">{escape(tag)}</a>' for tag in groups)
    body = "".join(
        f'<h2 id="{escape(_slug(tag))}">{escape(tag)}</h2>{"".join(operations)}' for tag, operations in groups.items()
    )
    models = "".join(_model(name, schema) for name, schema in sorted(schemas.items()))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{CSS}</style></head><body>"
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"{_paragraphs(info.get('description', ''))}"
        f'<nav>{nav}<a href="#schemas">schemas</a><a href="/openapi.json">openapi.json</a></nav>'
        f'{body}<h2 id="schemas">schemas</h2>{models}</body></html>'
    )


def _operation(path: str, method: str, operation: Schema) -> Iterator[str]:
    yield (
        f'<details><summary><b class="m {escape(method)}">{escape(method.upper())}</b>'
        f'<code>{escape(path)}</code><span class="s">{escape(operation.get("summary", ""))}</span></summary>'
    )
    yield _paragraphs(operation.get("description", ""))
    who = " or ".join(f"<code>{escape(name)}</code>" for way in operation.get("security", []) for name in way)
    permission = operation.get("x-permission")
    needs = f", with <code>{escape(permission)}</code>" if permission else ""
    yield f"<p>Let in by: {who or 'open to everyone'}{needs}</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>"
        for one in parameters:
            star = " *" if one.get("required") else ""
            yield (
                f"<tr><td><code>{escape(one['name'])}</code>{star}</td><td>{escape(one['in'])}</td>"
                f"<td>{_type(one.get('schema', {}))}</td><td>{escape(one.get('description', ''))}</td></tr>"
            )
        yield "</table>"
    if content := operation.get("requestBody", {}).get("content"):
        yield "<p>Body: " + ", ".join(
            f"{escape(kind)} {_type(media.get('schema', {}))}" for kind, media in content.items()
        )
        yield "</p>"
    yield "<table><tr><th>answer</th><th></th><th></th></tr>"
    for status, answer in operation.get("responses", {}).items():
        types = " ".join(_type(media.get("schema", {})) for media in answer.get("content", {}).values())
        yield f"<tr><td>{escape(status)}</td><td>{escape(answer.get('description', ''))}</td><td>{types}</td></tr>"
    yield "</table></details>"


def _model(name: str, schema: Schema) -> str:
    rows = []
    required = set(schema.get("required", ()))
    for field, one in schema.get("properties", {}).items():
        examples = one.get("examples")
        example = f" <small>e.g. {escape(json.dumps(examples[0], ensure_ascii=False))}</small>" if examples else ""
        star = " *" if field in required else ""
        rows.append(
            f"<tr><td><code>{escape(field)}</code>{star}</td><td>{_type(one)}</td>"
            f"<td>{escape(one.get('description', ''))}{example}</td></tr>"
        )
    table = f"<table>{''.join(rows)}</table>" if rows else f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"
    return (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code>'
        f'<span class="s">{escape(schema.get("description", "").split(chr(10))[0])}</span></summary>{table}</details>'
    )


def _type(schema: Schema) -> str:
    """A schema in few words, its references as links."""
    if reference := schema.get("$ref"):
        name = str(reference).rsplit("/", 1)[-1]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    for way in ("anyOf", "oneOf", "allOf"):
        if way in schema:
            return " | ".join(_type(one) for one in schema[way])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"[{_type(schema.get('items', {}))}]"
    if shape := schema.get("format"):
        kind += f" ({shape})"
    return escape(kind)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())


def _slug(tag: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in tag)
