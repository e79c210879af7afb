"""Signing in and out and the first start: plain HTML forms, so that they work without scripts and with any reader."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from api import security
from api.errors import Problem
from api.pages.parts import MOUNT, message, page, principal_of, token_of
from api.services import Services
from callcenter.access.passwords import MIN_LENGTH, PasswordsBusy
from callcenter.access.refusals import BadValue, SetupRefused, SignInRefused
from callcenter.storage.engine import store_is_at_fault

LONGEST_FIELD: Final = 512
"""Characters of a field that are read: the longest that is accepted anywhere has 256."""

MOST_FIELDS: Final = 8

WRONG: Final = "用户名或密码不正确，或账号已停用；连续 5 次失败后锁定 15 分钟。"
BUSY: Final = "登录请求过多，请几秒后再试。"
NO_STORE: Final = "数据库暂时无法访问。电话仍照常接听并记录，请稍后再试。"
BAD_ACCOUNT: Final = (
    f"用户名须为 2–32 位小写字母、数字、点、下划线或连字符；密码至少 {MIN_LENGTH} 个字符、"
    "含 4 种以上不同字符，且不能与用户名相近。"
)
REFUSED: Final = {
    "cross_site": "请求不是来自本站页面，已拒绝。",
    "too_many": "尝试次数过多，请稍后再试。",
}

Answer = Callable[[Request], Awaitable[Response]]


def install(app: FastAPI, services: Services) -> None:
    """Adds ``/``, ``/login``, ``/logout`` and ``/setup`` to ``app``."""

    def route(path: str, *methods: str, why: str) -> Callable[[Answer], Answer]:
        def add(answer: Answer) -> Answer:
            told = security.public(why)(_in_words(answer))
            app.add_api_route(path, told, methods=list(methods), include_in_schema=False, response_model=None)
            return told

        return add

    @route("/", "GET", why="sends people to the desk or to the sign-in")
    async def root(request: Request) -> Response:
        there = MOUNT + "/" if await principal_of(request, services) else "/login"
        return RedirectResponse(there, status_code=303)

    @route(MOUNT, "GET", why="the desk's address without its slash; the desk guards itself")
    async def desk(request: Request) -> Response:
        return RedirectResponse(MOUNT + "/", status_code=303)

    @route("/insight", "GET", why="the insight page's short address; the page guards itself")
    async def insight(request: Request) -> Response:
        return RedirectResponse(MOUNT + "/insight", status_code=303)

    @route("/login", "GET", why="the sign-in form")
    async def login(request: Request) -> Response:
        if await principal_of(request, services):
            return RedirectResponse(MOUNT + "/", status_code=303)
        return page("login.html", title="登录", username="")

    @route("/login", "POST", why="signing in: checks the password itself")
    async def sign_in(request: Request) -> Response:
        security.require_same_origin(request)
        request.app.state.guessing.check(request)
        fields = await _fields(request)
        username, password = fields.get("username", ""), fields.get("password", "")
        try:
            signed_in = await services.access.sign_in(username, password, address=security.address_of(request))
        except SignInRefused:
            return page("login.html", title="登录", status=401, wrong=WRONG, username=username[:64])
        except PasswordsBusy:
            return page("login.html", title="登录", status=503, wrong=BUSY, username=username[:64])
        response = RedirectResponse(MOUNT + "/", status_code=303)
        security.set_session(response, request, signed_in)
        return response

    @route("/logout", "POST", why="ends the session of whoever asks; without one nothing happens")
    async def sign_out(request: Request) -> Response:
        security.require_same_origin(request)
        await services.access.sign_out(token_of(request), address=security.address_of(request))
        response = RedirectResponse("/login", status_code=303)
        security.clear_session(response, request)
        return response

    @route("/setup", "GET", why="the form of the first start; worth nothing without the one-time link")
    async def first_start(request: Request) -> Response:
        token = request.query_params.get("token", "")[:LONGEST_FIELD]
        if not token:
            return message("首次启动", "请打开启动终端上打印的一次性管理员链接。", status=403)
        return page("setup.html", title="首次启动", token=token, username="", display_name="", shortest=MIN_LENGTH)

    @route("/setup", "POST", why="makes the first administrator for whoever holds the one-time link")
    async def set_up(request: Request) -> Response:
        security.require_same_origin(request)
        request.app.state.guessing.check(request)
        fields = await _fields(request)

        def again(status: int, wrong: str) -> Response:
            return page(
                "setup.html",
                title="首次启动",
                status=status,
                wrong=wrong,
                token=fields.get("token", ""),
                username=fields.get("username", ""),
                display_name=fields.get("display_name", ""),
                shortest=MIN_LENGTH,
            )

        if fields.get("password", "") != fields.get("again", ""):
            return again(422, "两次输入的密码不一致。")
        try:
            signed_in = await services.access.set_up(
                fields.get("token", ""),
                username=fields.get("username", ""),
                password=fields.get("password", ""),
                display_name=fields.get("display_name", ""),
                address=security.address_of(request),
            )
        except SetupRefused:
            return message("首次启动", "此链接无效、已使用或已过期。请重新启动热线以获取新的链接。", status=403)
        except BadValue:
            return again(422, BAD_ACCOUNT)
        except PasswordsBusy:
            return again(503, BUSY)
        response = RedirectResponse(MOUNT + "/", status_code=303)
        security.set_session(response, request, signed_in)
        return response


async def _fields(request: Request) -> dict[str, str]:
    """The form's text fields, cut to what is ever accepted; files are not read."""
    async with request.form(max_files=0, max_fields=MOST_FIELDS) as form:
        return {name: value[:LONGEST_FIELD] for name, value in form.items() if isinstance(value, str)}


def _in_words(answer: Answer) -> Answer:
    """``answer`` whose refusals and whose store's absence are pages for people, not JSON for programs."""

    @wraps(answer)
    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except Problem as problem:
            text = REFUSED.get(problem.body.code, "请求被拒绝。")
            response: Response = message("无法处理", text, status=problem.body.status)
            response.headers.update(problem.headers)
            return response
        except Exception as fault:
            if store_is_at_fault(fault):
                return message("暂时无法访问", NO_STORE, status=503)
            raise

    return told
