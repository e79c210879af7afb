"""What departments know of enterprises: the fields of their forms, and the forms filled in."""

import sqlalchemy as sa
from alembic import op

from callcenter.storage.base import BigId, JsonType

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The two tables."""
    op.create_table(
        "form_fields",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("form", sa.String(length=24), nullable=False),
        sa.Column("title", sa.String(length=80), nullable=False),
        sa.Column("unit", sa.String(length=24), nullable=False),
        sa.Column("field", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=60), nullable=False),
        sa.Column("form_of", sa.String(length=8), nullable=False),
        sa.Column("personal", sa.Boolean(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["city_imports.id"], name=op.f("fk_form_fields_import_id_city_imports")),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_form_fields")),
    )
    op.create_table(
        "form_records",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("form", sa.String(length=24), nullable=False),
        sa.Column("organisation", sa.String(length=32), nullable=False),
        sa.Column("recorded_on", sa.Date(), nullable=True),
        sa.Column("given", JsonType, nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["city_imports.id"], name=op.f("fk_form_records_import_id_city_imports")
        ),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_form_records")),
    )
    with op.batch_alter_table("form_records", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_form_records_import_id_organisation"), ["import_id", "organisation"], unique=False
        )


def downgrade() -> None:
    """Back to a city without forms."""
    with op.batch_alter_table("form_records", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_form_records_import_id_organisation"))

    op.drop_table("form_records")
    op.drop_table("form_fields")
