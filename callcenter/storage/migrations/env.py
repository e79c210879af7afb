"""Alembic's environment: works on the connection that ``callcenter.storage.migrate`` hands over, inside its transaction."""

from alembic import context

from callcenter.storage.schema import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("run migrations through `python -m callcenter.storage.migrate`, not the alembic command")

context.configure(
    connection=connection,
    target_metadata=metadata(),
    compare_type=True,
    compare_server_default=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
