"""What people see: the sign-in, the first start, the agent's desk, and the supervisor's insight."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from nicegui import core, ui
from starlette.staticfiles import StaticFiles

from api.pages import desk as desk_page
from api.pages import forms
from api.pages import insight as insight_page
from api.pages.guard import Guard
from api.pages.parts import FOLDER, MOUNT, Pages
from api.services import Services
from callcenter.calls.desk import Desk

__all__ = ["install"]

log = structlog.get_logger()

RECONNECT_S = 5.0
"""A browser that lost its connection this long ago has a new page when it returns."""


def install(app: FastAPI, services: Services) -> None:
    """Adds ``/``, ``/login``, ``/logout``, ``/setup``, ``/insight`` and, with NiceGUI, ``/desk/…`` to ``app``.

    The desk is ``services.desk`` where the runtime gives one (it also tells the line who is there), else one of our own
    that lives as long as the application.
    """
    given = services.desk
    desk = given or Desk(services.db, services.bus, blind_every=services.settings.blind_sample_every)
    pages = Pages(services, desk, app.state.versions)
    forms.install(app, services)
    app.mount(MOUNT + "/static", StaticFiles(directory=FOLDER / "static"), name="desk-static")
    _reset_nicegui()
    # No storage_secret: NiceGUI would set a session cookie of its own and keep files a visitor, and we use neither.
    ui.run_with(
        app,
        mount_path=MOUNT,
        title="12319 热线坐席台",
        language="zh-CN",
        dark=False,
        tailwind=False,
        reconnect_timeout=RECONNECT_S,
        binding_refresh_interval=None,
        show_welcome_message=False,
        favicon="☎",
    )
    desk_page.register()
    insight_page.register()
    app.add_middleware(Guard, pages=pages)
    _with_lifespan(app, pages.desk if given is None else None)


def _reset_nicegui() -> None:
    """Let NiceGUI be mounted once more in this process, as tests do: its application is a module-level object that
    refuses middleware once it has served (Starlette), and would gather another set with each application of ours."""
    core.app.user_middleware.clear()
    core.app.middleware_stack = None
    complaints = logging.getLogger("nicegui")
    complaints.propagate = False
    complaints.handlers[:] = [Complaints()]


class Complaints(logging.Handler):
    """NiceGUI's log without its texts, which repeat what browsers send and what exceptions quote."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log where it was and what kind of fault, never the message."""
        fault = record.exc_info[0] if record.exc_info else None
        # log.exception(error) outside of an except block has no exc_info: the error is then the message itself.
        fault = fault or (type(record.msg) if isinstance(record.msg, BaseException) else None)
        report = log.error if record.levelno >= logging.ERROR else log.warning
        report(
            "page framework complains", at=f"{record.module}:{record.lineno}", fault=fault.__name__ if fault else None
        )


def _with_lifespan(app: FastAPI, desk: Desk | None) -> None:
    """Start and stop with ``app``: the desk, if it is ours, and last NiceGUI's sockets, which run_with forgets."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[Any]:
        if desk is not None:
            await desk.start()
        try:
            async with inner(application) as state:
                yield state
        finally:
            if core.sio.eio.service_task_event is not None:
                await core.sio.shutdown()
            core.sio.eio.service_task_event = None
            core.sio.eio.start_service_task = True
            if desk is not None:
                await desk.stop()

    app.router.lifespan_context = lifespan
