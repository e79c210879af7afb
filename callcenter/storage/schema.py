"""All tables in one place: what migrations are compared with. A room that gains tables adds its module here."""

from importlib import import_module
from typing import Final

from sqlalchemy import MetaData

from callcenter.storage.base import Base

MODULES: Final = (
    "callcenter.calls.model",
    "callcenter.city.model",
    "callcenter.city.ground",
    "callcenter.city.field_model",
    "callcenter.cases.model",
    "callcenter.cases.life",
    "callcenter.cases.lists",
    "callcenter.cases.search_index",
    "callcenter.jobs.model",
    "callcenter.messages.model",
    "callcenter.dispatch.model",
    "callcenter.storage.outbox",
    "callcenter.access.model",
    "callcenter.insight.model",
    "callcenter.insight.evaluation_model",
)


def metadata() -> MetaData:
    """The metadata with every table known to it."""
    for name in MODULES:
        import_module(name)
    return Base.metadata
