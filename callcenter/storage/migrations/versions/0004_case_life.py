"""The life of a case: units and areas, orders, deadlines, requests, checks, sheets, lists, jobs, messages."""

import sqlalchemy as sa
from alembic import op

from callcenter.storage.base import JsonType, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What a case needs to live until it is closed."""

    op.create_table(
        "areas",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["areas.id"], name=op.f("fk_areas_parent_id_areas")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_areas")),
        sa.UniqueConstraint("code", name=op.f("uq_areas_code")),
    )
    with op.batch_alter_table("areas", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_areas_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "calendar_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("works", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(length=80), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        sa.Column("set_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_calendar_days")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=48), nullable=False),
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("refs", JsonType, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("run_at", UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("leased_until", UtcDateTime(), nullable=True),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.Column("failed_at", UtcDateTime(), nullable=True),
        sa.Column("fault", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("key", name=op.f("uq_jobs_key")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_waiting",
            ["run_at", "id"],
            unique=False,
            postgresql_where=sa.text("done_at IS NULL AND failed_at IS NULL"),
            sqlite_where=sa.text("done_at IS NULL AND failed_at IS NULL"),
        )

    op.create_table(
        "joint_orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=24), nullable=False),
        sa.Column("place", sa.String(length=200), nullable=False),
        sa.Column("meet_at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("duties", JsonType, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_joint_orders")),
        sa.UniqueConstraint("number", name=op.f("uq_joint_orders_number")),
    )
    op.create_table(
        "patrol_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("list_name", sa.String(length=80), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("standard", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("category_code", sa.String(length=16), nullable=False),
        sa.Column("every_days", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patrol_items")),
        sa.UniqueConstraint("list_name", "version", "code", name=op.f("uq_patrol_items_list_name_version_code")),
    )
    op.create_table(
        "responsibility_lists",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("in_force_from", UtcDateTime(), nullable=False),
        sa.Column("imported_at", UtcDateTime(), nullable=False),
        sa.Column("imported_by", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_responsibility_lists")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_responsibility_lists_name_version")),
    )
    op.create_table(
        "verification_rules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("domain", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("category_code", sa.String(length=16), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification_rules")),
        sa.UniqueConstraint(
            "source",
            "domain",
            "kind",
            "category_code",
            name=op.f("uq_verification_rules_source_domain_kind_category_code"),
        ),
    )
    op.create_table(
        "units",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("area_id", sa.Uuid(), nullable=True),
        sa.Column("leader", sa.String(length=40), nullable=False),
        sa.Column("duty_phone", sa.String(length=32), nullable=False),
        sa.Column("round_the_clock", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_units_area_id_areas")),
        sa.ForeignKeyConstraint(["parent_id"], ["units.id"], name=op.f("fk_units_parent_id_units")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_units")),
        sa.UniqueConstraint("code", name=op.f("uq_units_code")),
    )
    with op.batch_alter_table("units", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_units_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_units_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "knowledge_articles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("source_date", sa.Date(), nullable=True),
        sa.Column("owner_unit_id", sa.Uuid(), nullable=True),
        sa.Column("standard", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("category_code", sa.String(length=16), nullable=False),
        sa.Column("review_by", sa.Date(), nullable=False),
        sa.Column("written_by", sa.String(length=64), nullable=False),
        sa.Column("written_at", UtcDateTime(), nullable=False),
        sa.Column("withdrawn_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["owner_unit_id"], ["units.id"], name=op.f("fk_knowledge_articles_owner_unit_id_units")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_articles")),
        sa.UniqueConstraint("code", "version", name=op.f("uq_knowledge_articles_code_version")),
    )
    with op.batch_alter_table("knowledge_articles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_knowledge_articles_review_by"), ["review_by"], unique=False)

    op.create_table(
        "responsibility_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("list_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("standard", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("category_code", sa.String(length=16), nullable=False),
        sa.Column("area_id", sa.Uuid(), nullable=True),
        sa.Column("unit_id", sa.Uuid(), nullable=True),
        sa.Column("filing_condition", sa.String(length=400), nullable=False),
        sa.Column("closing_condition", sa.String(length=400), nullable=False),
        sa.Column("limit_value", sa.Double(), nullable=False),
        sa.Column("limit_unit", sa.String(length=16), nullable=False),
        sa.Column("line", sa.String(length=16), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_responsibility_items_area_id_areas")),
        sa.ForeignKeyConstraint(
            ["list_id"], ["responsibility_lists.id"], name=op.f("fk_responsibility_items_list_id_responsibility_lists")
        ),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_responsibility_items_unit_id_units")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_responsibility_items")),
        sa.UniqueConstraint("list_id", "code", name=op.f("uq_responsibility_items_list_id_code")),
    )
    with op.batch_alter_table("responsibility_items", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_responsibility_items_standard_kind_category_code"),
            ["standard", "kind", "category_code"],
            unique=False,
        )

    op.create_table(
        "case_appeals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Uuid(), nullable=True),
        sa.Column("first_by", sa.String(length=64), nullable=True),
        sa.Column("first_at", UtcDateTime(), nullable=True),
        sa.Column("first_granted", sa.Boolean(), nullable=True),
        sa.Column("second_by", sa.String(length=64), nullable=True),
        sa.Column("second_at", UtcDateTime(), nullable=True),
        sa.Column("granted", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_appeals_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_appeals")),
        sa.UniqueConstraint("case_id", name=op.f("uq_case_appeals_case_id")),
    )
    op.create_table(
        "case_callbacks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("reached", sa.Boolean(), nullable=False),
        sa.Column("satisfaction", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.Uuid(), nullable=True),
        sa.Column("call_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name=op.f("fk_case_callbacks_call_id_calls")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_callbacks_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_callbacks")),
    )
    with op.batch_alter_table("case_callbacks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_callbacks_case_id"), ["case_id"], unique=False)

    op.create_table(
        "case_checks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("collector", sa.Uuid(), nullable=True),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("answered_at", UtcDateTime(), nullable=True),
        sa.Column("result", sa.String(length=16), nullable=True),
        sa.Column("opinion", sa.Uuid(), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_checks_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_checks")),
    )
    with op.batch_alter_table("case_checks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_checks_case_id"), ["case_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_case_checks_collector_asked_at"), ["collector", "asked_at"], unique=False)

    op.create_table(
        "case_evidence",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("media", sa.String(length=40), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("taken_at", UtcDateTime(), nullable=True),
        sa.Column("added_at", UtcDateTime(), nullable=False),
        sa.Column("added_by", sa.String(length=64), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_evidence_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_evidence")),
        sa.UniqueConstraint("case_id", "sha256", name=op.f("uq_case_evidence_case_id_sha256")),
    )
    with op.batch_alter_table("case_evidence", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_evidence_sha256"), ["sha256"], unique=False)

    op.create_table(
        "case_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("other_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_links_case_id_cases")),
        sa.ForeignKeyConstraint(["other_id"], ["cases.id"], name=op.f("fk_case_links_other_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_links")),
        sa.UniqueConstraint("case_id", "other_id", "kind", name=op.f("uq_case_links_case_id_other_id_kind")),
    )
    with op.batch_alter_table("case_links", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_links_other_id"), ["other_id"], unique=False)

    op.create_table(
        "case_orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column("part", sa.String(length=8), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("issued_by", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=True),
        sa.Column("signed_at", UtcDateTime(), nullable=True),
        sa.Column("signed_by", sa.String(length=64), nullable=True),
        sa.Column("handler", sa.Uuid(), nullable=True),
        sa.Column("opinion", sa.Uuid(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_orders_case_id_cases")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_case_orders_unit_id_units")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_orders")),
    )
    with op.batch_alter_table("case_orders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_orders_case_id"), ["case_id"], unique=False)
        batch_op.create_index(
            "ix_case_orders_open",
            ["unit_id", "issued_at", "id"],
            unique=False,
            postgresql_where=sa.text("ended_at IS NULL"),
            sqlite_where=sa.text("ended_at IS NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_case_orders_unit_id_issued_at_id"), ["unit_id", "issued_at", "id"], unique=False
        )

    op.create_table(
        "case_texts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_texts_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_texts")),
    )
    with op.batch_alter_table("case_texts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_texts_case_id"), ["case_id"], unique=False)

    op.create_table(
        "joint_order_cases",
        sa.Column("joint_order_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_joint_order_cases_case_id_cases")),
        sa.ForeignKeyConstraint(
            ["joint_order_id"], ["joint_orders.id"], name=op.f("fk_joint_order_cases_joint_order_id_joint_orders")
        ),
        sa.PrimaryKeyConstraint("joint_order_id", "case_id", name=op.f("pk_joint_order_cases")),
    )
    op.create_table(
        "leader_notes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("content", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_leader_notes_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leader_notes")),
    )
    with op.batch_alter_table("leader_notes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leader_notes_case_id"), ["case_id"], unique=False)

    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("unit_id", sa.Uuid(), nullable=True),
        sa.Column("template", sa.String(length=40), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("recipient_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=80), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("gateway_ref", sa.String(length=80), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_messages_case_id_cases")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_messages_unit_id_units")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("key", name=op.f("uq_messages_key")),
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_messages_case_id"), ["case_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_messages_recipient_hash_created_at"), ["recipient_hash", "created_at"], unique=False
        )

    op.create_table(
        "police_handovers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("direction", sa.String(length=4), nullable=False),
        sa.Column("police_number", sa.String(length=40), nullable=False),
        sa.Column("handed_at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("result_at", UtcDateTime(), nullable=True),
        sa.Column("result", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_police_handovers_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_police_handovers")),
        sa.UniqueConstraint("police_number", "direction", name=op.f("uq_police_handovers_police_number_direction")),
    )
    with op.batch_alter_table("police_handovers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_police_handovers_case_id"), ["case_id"], unique=False)

    op.create_table(
        "supervision_sheets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=24), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column("addressee", sa.String(length=40), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=True),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("reply_by", UtcDateTime(), nullable=False),
        sa.Column("receipted_at", UtcDateTime(), nullable=True),
        sa.Column("receipted_by", sa.String(length=64), nullable=True),
        sa.Column("replied_at", UtcDateTime(), nullable=True),
        sa.Column("replied_by", sa.String(length=64), nullable=True),
        sa.Column("content", sa.Uuid(), nullable=True),
        sa.Column("reply", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_supervision_sheets_case_id_cases")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_supervision_sheets_unit_id_units")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supervision_sheets")),
        sa.UniqueConstraint("number", name=op.f("uq_supervision_sheets_number")),
    )
    with op.batch_alter_table("supervision_sheets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_supervision_sheets_case_id"), ["case_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_supervision_sheets_unit_id_issued_at"), ["unit_id", "issued_at"], unique=False
        )

    op.create_table(
        "case_deadlines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("limit_value", sa.Double(), nullable=False),
        sa.Column("limit_unit", sa.String(length=16), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("original_due_at", UtcDateTime(), nullable=False),
        sa.Column("extended", sa.Integer(), nullable=False),
        sa.Column("paused_at", UtcDateTime(), nullable=True),
        sa.Column("used_s", sa.Integer(), nullable=False),
        sa.Column("warn_at", UtcDateTime(), nullable=False),
        sa.Column("yellow_at", UtcDateTime(), nullable=False),
        sa.Column("red_at", UtcDateTime(), nullable=False),
        sa.Column("lamp", sa.String(length=8), nullable=False),
        sa.Column("next_lamp_at", UtcDateTime(), nullable=True),
        sa.Column("provisional", sa.Boolean(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("met", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_deadlines_case_id_cases")),
        sa.ForeignKeyConstraint(["order_id"], ["case_orders.id"], name=op.f("fk_case_deadlines_order_id_case_orders")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_deadlines")),
    )
    with op.batch_alter_table("case_deadlines", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_deadlines_case_id"), ["case_id"], unique=False)
        batch_op.create_index(
            "ix_case_deadlines_lamp",
            ["next_lamp_at"],
            unique=False,
            postgresql_where=sa.text("ended_at IS NULL AND paused_at IS NULL AND next_lamp_at IS NOT NULL"),
            sqlite_where=sa.text("ended_at IS NULL AND paused_at IS NULL AND next_lamp_at IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_case_deadlines_provisional_id"), ["provisional", "id"], unique=False)

    op.create_table(
        "case_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.Column("reason", sa.Uuid(), nullable=True),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("granted", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_requests_case_id_cases")),
        sa.ForeignKeyConstraint(["order_id"], ["case_orders.id"], name=op.f("fk_case_requests_order_id_case_orders")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_requests")),
    )
    with op.batch_alter_table("case_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_requests_case_id"), ["case_id"], unique=False)

    op.create_table(
        "message_particulars",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=32), nullable=True),
        sa.Column("words", sa.String(), nullable=True),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_message_particulars_message_id_messages")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_particulars")),
    )
    with op.batch_alter_table("case_particulars", schema=None) as batch_op:
        batch_op.add_column(sa.Column("reporter_name", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("callback_number", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("wish", sa.String(length=400), nullable=True))
        batch_op.add_column(sa.Column("accused", sa.String(length=120), nullable=True))

    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("anonymous", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("wants_reply", sa.Boolean(), server_default=sa.true(), nullable=False))
        batch_op.add_column(sa.Column("happened_at", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("urgency", sa.String(length=16), server_default="ordinary", nullable=False))
        batch_op.add_column(sa.Column("line", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("level", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("area_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("lat", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("lon", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("asset_owner_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("accused_unit_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("verification", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("item_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("lead_unit_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("due_at", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("lamp", sa.String(length=8), server_default="none", nullable=False))
        batch_op.add_column(sa.Column("monitored", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("reworks", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("returns", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("extensions", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("suspensions", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("self_handled", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("closed_at", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("outcome", sa.String(length=16), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_cases_area_id_created_at_id"), ["area_id", "created_at", "id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_cases_lamp_created_at_id"), ["lamp", "created_at", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_cases_lead_unit_id_state_created_at_id"),
            ["lead_unit_id", "state", "created_at", "id"],
            unique=False,
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_cases_item_id_responsibility_items"), "responsibility_items", ["item_id"], ["id"]
        )
        batch_op.create_foreign_key(batch_op.f("fk_cases_area_id_areas"), "areas", ["area_id"], ["id"])
        batch_op.create_foreign_key(batch_op.f("fk_cases_accused_unit_id_units"), "units", ["accused_unit_id"], ["id"])
        batch_op.create_foreign_key(batch_op.f("fk_cases_lead_unit_id_units"), "units", ["lead_unit_id"], ["id"])
        batch_op.create_foreign_key(batch_op.f("fk_cases_asset_owner_id_units"), "units", ["asset_owner_id"], ["id"])

    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("unit_id", sa.Uuid(), nullable=True))
        batch_op.create_foreign_key(batch_op.f("fk_users_unit_id_units"), "units", ["unit_id"], ["id"])


def downgrade() -> None:
    """Back to cases that end at dispatch."""

    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_users_unit_id_units"), type_="foreignkey")
        batch_op.drop_column("unit_id")

    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_cases_asset_owner_id_units"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("fk_cases_lead_unit_id_units"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("fk_cases_accused_unit_id_units"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("fk_cases_area_id_areas"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("fk_cases_item_id_responsibility_items"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_cases_lead_unit_id_state_created_at_id"))
        batch_op.drop_index(batch_op.f("ix_cases_lamp_created_at_id"))
        batch_op.drop_index(batch_op.f("ix_cases_area_id_created_at_id"))
        batch_op.drop_column("outcome")
        batch_op.drop_column("closed_at")
        batch_op.drop_column("self_handled")
        batch_op.drop_column("suspensions")
        batch_op.drop_column("extensions")
        batch_op.drop_column("returns")
        batch_op.drop_column("reworks")
        batch_op.drop_column("monitored")
        batch_op.drop_column("lamp")
        batch_op.drop_column("due_at")
        batch_op.drop_column("lead_unit_id")
        batch_op.drop_column("item_id")
        batch_op.drop_column("verification")
        batch_op.drop_column("accused_unit_id")
        batch_op.drop_column("asset_owner_id")
        batch_op.drop_column("lon")
        batch_op.drop_column("lat")
        batch_op.drop_column("area_id")
        batch_op.drop_column("level")
        batch_op.drop_column("line")
        batch_op.drop_column("urgency")
        batch_op.drop_column("happened_at")
        batch_op.drop_column("wants_reply")
        batch_op.drop_column("anonymous")

    with op.batch_alter_table("case_particulars", schema=None) as batch_op:
        batch_op.drop_column("accused")
        batch_op.drop_column("wish")
        batch_op.drop_column("callback_number")
        batch_op.drop_column("reporter_name")

    op.drop_table("message_particulars")
    with op.batch_alter_table("case_requests", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_requests_case_id"))

    op.drop_table("case_requests")
    with op.batch_alter_table("case_deadlines", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_deadlines_provisional_id"))
        batch_op.drop_index(
            "ix_case_deadlines_lamp",
            postgresql_where=sa.text("ended_at IS NULL AND paused_at IS NULL AND next_lamp_at IS NOT NULL"),
            sqlite_where=sa.text("ended_at IS NULL AND paused_at IS NULL AND next_lamp_at IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_case_deadlines_case_id"))

    op.drop_table("case_deadlines")
    with op.batch_alter_table("supervision_sheets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_supervision_sheets_unit_id_issued_at"))
        batch_op.drop_index(batch_op.f("ix_supervision_sheets_case_id"))

    op.drop_table("supervision_sheets")
    with op.batch_alter_table("police_handovers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_police_handovers_case_id"))

    op.drop_table("police_handovers")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_messages_recipient_hash_created_at"))
        batch_op.drop_index(batch_op.f("ix_messages_case_id"))

    op.drop_table("messages")
    with op.batch_alter_table("leader_notes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leader_notes_case_id"))

    op.drop_table("leader_notes")
    op.drop_table("joint_order_cases")
    with op.batch_alter_table("case_texts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_texts_case_id"))

    op.drop_table("case_texts")
    with op.batch_alter_table("case_orders", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_orders_unit_id_issued_at_id"))
        batch_op.drop_index(
            "ix_case_orders_open",
            postgresql_where=sa.text("ended_at IS NULL"),
            sqlite_where=sa.text("ended_at IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_case_orders_case_id"))

    op.drop_table("case_orders")
    with op.batch_alter_table("case_links", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_links_other_id"))

    op.drop_table("case_links")
    with op.batch_alter_table("case_evidence", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_evidence_sha256"))

    op.drop_table("case_evidence")
    with op.batch_alter_table("case_checks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_checks_collector_asked_at"))
        batch_op.drop_index(batch_op.f("ix_case_checks_case_id"))

    op.drop_table("case_checks")
    with op.batch_alter_table("case_callbacks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_callbacks_case_id"))

    op.drop_table("case_callbacks")
    op.drop_table("case_appeals")
    with op.batch_alter_table("responsibility_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_responsibility_items_standard_kind_category_code"))

    op.drop_table("responsibility_items")
    with op.batch_alter_table("knowledge_articles", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_knowledge_articles_review_by"))

    op.drop_table("knowledge_articles")
    with op.batch_alter_table("units", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_units_parent_id"))
        batch_op.drop_index(batch_op.f("ix_units_area_id"))

    op.drop_table("units")
    op.drop_table("verification_rules")
    op.drop_table("responsibility_lists")
    op.drop_table("patrol_items")
    op.drop_table("joint_orders")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_jobs_waiting",
            postgresql_where=sa.text("done_at IS NULL AND failed_at IS NULL"),
            sqlite_where=sa.text("done_at IS NULL AND failed_at IS NULL"),
        )

    op.drop_table("jobs")
    op.drop_table("calendar_days")
    with op.batch_alter_table("areas", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_areas_parent_id"))

    op.drop_table("areas")
