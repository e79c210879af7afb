"""The ground under cases: imports by version, maps, places, doors, parts, houses, people; suggestions, hot spots."""

import sqlalchemy as sa
from alembic import op

from callcenter.storage.base import BigId, JsonType, UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The tables, and what a case says of its place."""
    op.create_table(
        "city_imports",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("source", sa.String(length=120), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("datum", sa.String(length=8), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("faults", JsonType, nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_city_imports")),
        sa.UniqueConstraint("kind", "version", name=op.f("uq_city_imports_kind_version")),
    )
    with op.batch_alter_table("city_imports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_city_imports_kind_state"), ["kind", "state"], unique=False)

    op.create_table(
        "addresses",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("place", sa.String(length=24), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("building", sa.Integer(), nullable=True),
        sa.Column("door", sa.Integer(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=False),
        sa.Column("lat", sa.Double(), nullable=False),
        sa.Column("cell", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["city_imports.id"], name=op.f("fk_addresses_import_id_city_imports")),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_addresses")),
    )
    with op.batch_alter_table("addresses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_addresses_import_id_cell"), ["import_id", "cell"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_addresses_import_id_place_number"), ["import_id", "place", "number"], unique=False
        )

    op.create_table(
        "area_shapes",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=24), nullable=False),
        sa.Column("shape", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["city_imports.id"], name=op.f("fk_area_shapes_import_id_city_imports")),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_area_shapes")),
    )
    op.create_table(
        "assets",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=17), nullable=False),
        sa.Column("category", sa.String(length=5), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("owner", sa.String(length=24), nullable=False),
        sa.Column("keeper", sa.String(length=24), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("tag", sa.String(length=40), nullable=True),
        sa.Column("installed", sa.Date(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=False),
        sa.Column("lat", sa.Double(), nullable=False),
        sa.Column("cell", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["city_imports.id"], name=op.f("fk_assets_import_id_city_imports")),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_assets")),
    )
    with op.batch_alter_table("assets", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_assets_import_id_category_cell"), ["import_id", "category", "cell"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_assets_import_id_cell"), ["import_id", "cell"], unique=False)
        batch_op.create_index(batch_op.f("ix_assets_import_id_tag"), ["import_id", "tag"], unique=False)

    op.create_table(
        "hot_spots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("domain", sa.String(length=16), nullable=True),
        sa.Column("category_kind", sa.String(length=16), nullable=True),
        sa.Column("category_code", sa.String(length=16), nullable=True),
        sa.Column("area_id", sa.Uuid(), nullable=True),
        sa.Column("lat", sa.Double(), nullable=False),
        sa.Column("lon", sa.Double(), nullable=False),
        sa.Column("cell", sa.BigInteger(), nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("callers", sa.Integer(), nullable=False),
        sa.Column("raised_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_hot_spots_area_id_areas")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hot_spots")),
    )
    with op.batch_alter_table("hot_spots", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_hot_spots_cell_last_at"), ["cell", "last_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_hot_spots_last_at"), ["last_at"], unique=False)

    op.create_table(
        "houses",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("owner_name", sa.String(length=60), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["city_imports.id"], name=op.f("fk_houses_import_id_city_imports")),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_houses")),
    )
    with op.batch_alter_table("houses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_houses_import_id_address"), ["import_id", "address"], unique=False)

    op.create_table(
        "organisations",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("house", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("legal_person", sa.String(length=60), nullable=False),
        sa.Column("phone", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["city_imports.id"], name=op.f("fk_organisations_import_id_city_imports")
        ),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_organisations")),
    )
    with op.batch_alter_table("organisations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_organisations_import_id_house"), ["import_id", "house"], unique=False)

    op.create_table(
        "people",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("house", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("gender", sa.String(length=4), nullable=False),
        sa.Column("birth_year", sa.Integer(), nullable=True),
        sa.Column("phone", sa.String(length=32), nullable=False),
        sa.Column("id_number", sa.String(length=18), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["city_imports.id"], name=op.f("fk_people_import_id_city_imports")),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_people")),
    )
    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_people_import_id_house"), ["import_id", "house"], unique=False)

    op.create_table(
        "places",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("aliases", JsonType, nullable=False),
        sa.Column("shape", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["city_imports.id"], name=op.f("fk_places_import_id_city_imports")),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_places")),
    )
    op.create_table(
        "registered",
        sa.Column("import_id", BigId, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("owner", sa.String(length=24), nullable=False),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("cell", sa.BigInteger(), nullable=True),
        sa.Column("particulars", JsonType, nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["city_imports.id"], name=op.f("fk_registered_import_id_city_imports")),
        sa.PrimaryKeyConstraint("import_id", "code", name=op.f("pk_registered")),
    )
    with op.batch_alter_table("registered", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_registered_import_id_cell"), ["import_id", "cell"], unique=False)

    op.create_table(
        "case_suggestions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("other_id", sa.Uuid(), nullable=False),
        sa.Column("distance_m", sa.Double(), nullable=True),
        sa.Column("likeness", sa.Double(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("decided", sa.String(length=8), nullable=True),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_suggestions_case_id_cases")),
        sa.ForeignKeyConstraint(["other_id"], ["cases.id"], name=op.f("fk_case_suggestions_other_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_suggestions")),
        sa.UniqueConstraint("case_id", "other_id", name=op.f("uq_case_suggestions_case_id_other_id")),
    )
    with op.batch_alter_table("case_suggestions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_suggestions_other_id"), ["other_id"], unique=False)

    with op.batch_alter_table("areas", schema=None) as batch_op:
        batch_op.add_column(sa.Column("layer", sa.String(length=16), server_default="unit", nullable=False))
        batch_op.add_column(sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False))

    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cell", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("located_by", sa.String(length=8), nullable=True))
        batch_op.add_column(sa.Column("asset_code", sa.String(length=17), nullable=True))
        batch_op.create_index(
            "ix_cases_cell",
            ["cell", "created_at"],
            unique=False,
            postgresql_where=sa.text("cell IS NOT NULL"),
            sqlite_where=sa.text("cell IS NOT NULL"),
        )


def downgrade() -> None:
    """Back to cases without ground."""
    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_cases_cell", postgresql_where=sa.text("cell IS NOT NULL"), sqlite_where=sa.text("cell IS NOT NULL")
        )
        batch_op.drop_column("asset_code")
        batch_op.drop_column("located_by")
        batch_op.drop_column("cell")

    with op.batch_alter_table("areas", schema=None) as batch_op:
        batch_op.drop_column("active")
        batch_op.drop_column("layer")

    with op.batch_alter_table("case_suggestions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_suggestions_other_id"))

    op.drop_table("case_suggestions")
    with op.batch_alter_table("registered", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_registered_import_id_cell"))

    op.drop_table("registered")
    op.drop_table("places")
    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_people_import_id_house"))

    op.drop_table("people")
    with op.batch_alter_table("organisations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_organisations_import_id_house"))

    op.drop_table("organisations")
    with op.batch_alter_table("houses", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_houses_import_id_address"))

    op.drop_table("houses")
    with op.batch_alter_table("hot_spots", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_hot_spots_last_at"))
        batch_op.drop_index(batch_op.f("ix_hot_spots_cell_last_at"))

    op.drop_table("hot_spots")
    with op.batch_alter_table("assets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_assets_import_id_tag"))
        batch_op.drop_index(batch_op.f("ix_assets_import_id_cell"))
        batch_op.drop_index(batch_op.f("ix_assets_import_id_category_cell"))

    op.drop_table("assets")
    op.drop_table("area_shapes")
    with op.batch_alter_table("addresses", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_addresses_import_id_place_number"))
        batch_op.drop_index(batch_op.f("ix_addresses_import_id_cell"))

    op.drop_table("addresses")
    with op.batch_alter_table("city_imports", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_city_imports_kind_state"))

    op.drop_table("city_imports")
