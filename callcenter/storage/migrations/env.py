"""Alembic's environment: works on the connection that ``callcenter.storage.migrate`` hands over, in its transaction."""

from typing import Any, Literal

from alembic import context

from callcenter.storage.base import BigId, JsonType, UtcDateTime
from callcenter.storage.migrate import in_models
from callcenter.storage.schema import metadata


def written(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """How a type of ours is written in a drafted migration; False: as Alembic would."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "UtcDateTime()"
    if kind == "type" and item is JsonType:
        return "JsonType"
    if kind == "type" and item is BigId:
        return "BigId"
    return False


connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("run migrations through `python -m callcenter.storage.migrate`, not the alembic command")

context.configure(
    connection=connection,
    target_metadata=metadata(),
    compare_type=True,
    compare_server_default=True,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=written,
    include_name=in_models,
)
context.run_migrations()
