"""The cases in which a unit assists, in the order of their time: its lists hold them beside those that it leads."""

import sqlalchemy as sa
from alembic import op

from callcenter.storage.base import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The table, and what the orders say of it so far."""
    op.create_table(
        "case_assists",
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_assists_case_id_cases")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_case_assists_unit_id_units")),
        sa.PrimaryKeyConstraint("unit_id", "created_at", "case_id", name=op.f("pk_case_assists")),
    )
    op.execute(
        "INSERT INTO case_assists (unit_id, created_at, case_id) SELECT DISTINCT o.unit_id, c.created_at, c.id"
        " FROM case_orders AS o JOIN cases AS c ON c.id = o.case_id WHERE o.part = 'assist'"
    )


def downgrade() -> None:
    """The orders still say it."""
    op.drop_table("case_assists")
