"""People out in the city: shifts, tracks, tasks, looks at risk sources; what a unit has read; what devices report."""

import sqlalchemy as sa
from alembic import op

from callcenter.storage.base import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UNDER_WAY = "state IN ('open', 'accepted')"


def upgrade() -> None:
    """The tables of field work."""
    op.create_table(
        "track_points",
        sa.Column("tracker", sa.Uuid(), nullable=False),
        sa.Column("taken_at", UtcDateTime(), nullable=False),
        sa.Column("lon", sa.Double(), nullable=False),
        sa.Column("lat", sa.Double(), nullable=False),
        sa.Column("accuracy_m", sa.Double(), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tracker", "taken_at", name=op.f("pk_track_points")),
    )
    with op.batch_alter_table("track_points", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_track_points_taken_at"), ["taken_at"], unique=False)

    op.create_table(
        "unit_inboxes",
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column("read_until", UtcDateTime(), nullable=False),
        sa.Column("read_by", sa.String(length=64), nullable=False),
        sa.Column("read_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_unit_inboxes_unit_id_units")),
        sa.PrimaryKeyConstraint("unit_id", name=op.f("pk_unit_inboxes")),
    )
    op.create_table(
        "inspections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("result", sa.String(length=12), nullable=False),
        sa.Column("finding", sa.String(), nullable=True),
        sa.Column("inspected_at", UtcDateTime(), nullable=False),
        sa.Column("next_due", sa.Date(), nullable=True),
        sa.Column("by", sa.Uuid(), nullable=False),
        sa.Column("unit_id", sa.Uuid(), nullable=True),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["by"], ["users.id"], name=op.f("fk_inspections_by_users")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_inspections_unit_id_units")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inspections")),
    )
    with op.batch_alter_table("inspections", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_inspections_source_inspected_at_id"), ["source", "inspected_at", "id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_inspections_unit_id_inspected_at_id"), ["unit_id", "inspected_at", "id"], unique=False
        )

    op.create_table(
        "positions",
        sa.Column("tracker", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("device", sa.String(length=32), nullable=True),
        sa.Column("lon", sa.Double(), nullable=False),
        sa.Column("lat", sa.Double(), nullable=False),
        sa.Column("cell", sa.BigInteger(), nullable=False),
        sa.Column("accuracy_m", sa.Double(), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("taken_at", UtcDateTime(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_positions_user_id_users")),
        sa.PrimaryKeyConstraint("tracker", name=op.f("pk_positions")),
    )
    with op.batch_alter_table("positions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_positions_cell"), ["cell"], unique=False)
        batch_op.create_index(batch_op.f("ix_positions_taken_at"), ["taken_at"], unique=False)

    op.create_table(
        "shifts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("area_id", sa.Uuid(), nullable=False),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_shifts_area_id_areas")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_shifts_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shifts")),
    )
    with op.batch_alter_table("shifts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_shifts_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_shifts_ends_at_starts_at"), ["ends_at", "starts_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_shifts_user_id_starts_at"), ["user_id", "starts_at"], unique=False)

    op.create_table(
        "alarm_devices",
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("logged_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_alarm_devices_case_id_cases")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_alarm_devices")),
    )
    op.create_table(
        "case_fixes",
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("accuracy_m", sa.Double(), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("taken_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_fixes_case_id_cases")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_case_fixes_user_id_users")),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_case_fixes")),
    )
    op.create_table(
        "field_tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("collector_id", sa.Uuid(), nullable=True),
        sa.Column("area_id", sa.Uuid(), nullable=True),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("due_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("last_step", sa.String(length=8), nullable=True),
        sa.Column("last_by", sa.Uuid(), nullable=True),
        sa.Column("last_at", UtcDateTime(), nullable=True),
        sa.Column("words", sa.String(), nullable=True),
        sa.Column("result", sa.String(), nullable=True),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_field_tasks_area_id_areas")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_field_tasks_case_id_cases")),
        sa.ForeignKeyConstraint(["collector_id"], ["users.id"], name=op.f("fk_field_tasks_collector_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_field_tasks")),
    )
    with op.batch_alter_table("field_tasks", schema=None) as batch_op:
        batch_op.create_index(
            "ix_field_tasks_area_open",
            ["area_id", "made_at", "id"],
            unique=False,
            postgresql_where=sa.text(UNDER_WAY),
            sqlite_where=sa.text(UNDER_WAY),
        )
        batch_op.create_index(batch_op.f("ix_field_tasks_case_id"), ["case_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_field_tasks_collector_id_made_at_id"), ["collector_id", "made_at", "id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_field_tasks_made_at_id"), ["made_at", "id"], unique=False)

    op.create_table(
        "device_alarms",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("joined", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("measure", sa.String(length=16), nullable=False),
        sa.Column("taken_at", UtcDateTime(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_device_alarms_case_id_cases")),
        sa.ForeignKeyConstraint(["device"], ["alarm_devices.code"], name=op.f("fk_device_alarms_device_alarm_devices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_alarms")),
    )
    with op.batch_alter_table("device_alarms", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_device_alarms_case_id_taken_at_id"), ["case_id", "taken_at", "id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_device_alarms_device_taken_at_id"), ["device", "taken_at", "id"], unique=False
        )


def downgrade() -> None:
    """Back to a city that nobody walks."""
    with op.batch_alter_table("device_alarms", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_device_alarms_device_taken_at_id"))
        batch_op.drop_index(batch_op.f("ix_device_alarms_case_id_taken_at_id"))

    op.drop_table("device_alarms")
    with op.batch_alter_table("field_tasks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_field_tasks_made_at_id"))
        batch_op.drop_index(batch_op.f("ix_field_tasks_collector_id_made_at_id"))
        batch_op.drop_index(batch_op.f("ix_field_tasks_case_id"))
        batch_op.drop_index(
            "ix_field_tasks_area_open", postgresql_where=sa.text(UNDER_WAY), sqlite_where=sa.text(UNDER_WAY)
        )

    op.drop_table("field_tasks")
    op.drop_table("case_fixes")
    op.drop_table("alarm_devices")
    with op.batch_alter_table("shifts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_shifts_user_id_starts_at"))
        batch_op.drop_index(batch_op.f("ix_shifts_ends_at_starts_at"))
        batch_op.drop_index(batch_op.f("ix_shifts_area_id"))

    op.drop_table("shifts")
    with op.batch_alter_table("positions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_positions_taken_at"))
        batch_op.drop_index(batch_op.f("ix_positions_cell"))

    op.drop_table("positions")
    with op.batch_alter_table("inspections", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_inspections_unit_id_inspected_at_id"))
        batch_op.drop_index(batch_op.f("ix_inspections_source_inspected_at_id"))

    op.drop_table("inspections")
    op.drop_table("unit_inboxes")
    with op.batch_alter_table("track_points", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_track_points_taken_at"))

    op.drop_table("track_points")
