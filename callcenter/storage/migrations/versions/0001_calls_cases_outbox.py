"""Calls, cases, the outbox: the first tables."""

import sqlalchemy as sa
from alembic import op

from callcenter.storage.base import BigId, JsonType, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All tables of the first call."""
    op.create_table(
        "calls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rung_at", UtcDateTime(), nullable=False),
        sa.Column("answered_at", UtcDateTime(), nullable=True),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("cause", sa.Integer(), nullable=True),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("recovered", sa.Boolean(), nullable=False),
        sa.Column("recording", sa.String(length=255), nullable=False),
        sa.Column("recording_sha256", sa.String(length=64), nullable=True),
        sa.Column("recording_bytes", sa.BigInteger(), nullable=True),
        sa.Column("recording_seconds", sa.Double(), nullable=True),
        sa.Column("timeline", JsonType, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_rung_at_id"), "calls", ["rung_at", "id"])
    op.create_index(op.f("ix_calls_state_rung_at_id"), "calls", ["state", "rung_at", "id"])

    op.create_table(
        "case_counters",
        sa.Column("day", sa.String(length=8), nullable=False),
        sa.Column("next", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_case_counters")),
    )
    op.create_table(
        "feed_consumers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("acked_position", sa.BigInteger(), nullable=False),
        sa.Column("acked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_consumers")),
    )
    op.create_table(
        "call_particulars",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=32), nullable=True),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name=op.f("fk_call_particulars_call_id_calls")),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_call_particulars")),
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=20), nullable=True),
        sa.Column("call_id", sa.Uuid(), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("disposition", sa.String(length=16), nullable=False),
        sa.Column("domain", sa.String(length=16), nullable=True),
        sa.Column("category_standard", sa.String(length=40), nullable=True),
        sa.Column("category_code", sa.String(length=16), nullable=True),
        sa.Column("category_kind", sa.String(length=16), nullable=True),
        sa.Column("category_major", sa.String(length=80), nullable=True),
        sa.Column("category_minor", sa.String(length=80), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("intent", sa.String(length=24), nullable=True),
        sa.Column("emergency", JsonType, nullable=False),
        sa.Column("secrecy", sa.Boolean(), nullable=False),
        sa.Column("routing_id", sa.Uuid(), nullable=True),
        sa.Column("routing_sequence", sa.Integer(), nullable=True),
        sa.Column("model", sa.String(length=80), nullable=True),
        sa.Column("confirmed_by", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("filed_at", UtcDateTime(), nullable=True),
        sa.Column("pulled_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name=op.f("fk_cases_call_id_calls")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("number", name=op.f("uq_cases_number")),
    )
    op.create_index(op.f("ix_cases_call_id"), "cases", ["call_id"])
    op.create_index(op.f("ix_cases_category_code_created_at_id"), "cases", ["category_code", "created_at", "id"])
    op.create_index(op.f("ix_cases_created_at_id"), "cases", ["created_at", "id"])
    op.create_index(op.f("ix_cases_decision_created_at_id"), "cases", ["decision", "created_at", "id"])
    op.create_index(op.f("ix_cases_domain_created_at_id"), "cases", ["domain", "created_at", "id"])
    op.create_index(op.f("ix_cases_state_created_at_id"), "cases", ["state", "created_at", "id"])

    op.create_table(
        "legs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("extension", sa.String(length=32), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("gaps", JsonType, nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name=op.f("fk_legs_call_id_calls")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legs")),
    )
    op.create_index(op.f("ix_legs_call_id"), "legs", ["call_id"])

    op.create_table(
        "case_log",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("from_state", sa.String(length=24), nullable=True),
        sa.Column("to_state", sa.String(length=24), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("detail", JsonType, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_log_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_log")),
        sa.UniqueConstraint("case_id", "seq", name=op.f("uq_case_log_case_id_seq")),
    )
    op.create_table(
        "case_particulars",
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("reporter_number", sa.String(length=32), nullable=True),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_particulars_case_id_cases")),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_case_particulars")),
    )
    op.create_table(
        "confirmations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("routing_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("domain_before", sa.String(length=16), nullable=True),
        sa.Column("standard_before", sa.String(length=40), nullable=True),
        sa.Column("code_before", sa.String(length=16), nullable=True),
        sa.Column("domain_after", sa.String(length=16), nullable=True),
        sa.Column("standard_after", sa.String(length=40), nullable=True),
        sa.Column("code_after", sa.String(length=16), nullable=True),
        sa.Column("model", sa.String(length=80), nullable=True),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_confirmations_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_confirmations")),
    )
    op.create_index(op.f("ix_confirmations_at_id"), "confirmations", ["at", "id"])
    op.create_index(op.f("ix_confirmations_case_id"), "confirmations", ["case_id"])

    op.create_table(
        "outbox_events",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=48), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=True),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("refs", JsonType, nullable=False),
        sa.Column("feed", sa.Boolean(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name=op.f("fk_outbox_events_call_id_calls")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_outbox_events_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_events")),
        sa.UniqueConstraint("event_id", name=op.f("uq_outbox_events_event_id")),
        sa.UniqueConstraint("position", name=op.f("uq_outbox_events_position")),
    )
    op.create_index(op.f("ix_outbox_events_call_id"), "outbox_events", ["call_id"])
    op.create_index(op.f("ix_outbox_events_case_id"), "outbox_events", ["case_id"])
    op.create_index(
        "ix_outbox_events_feed",
        "outbox_events",
        ["position"],
        postgresql_where=sa.text("feed"),
        sqlite_where=sa.text("feed"),
    )
    op.create_index(
        "ix_outbox_events_unplaced",
        "outbox_events",
        ["id"],
        postgresql_where=sa.text("position IS NULL"),
        sqlite_where=sa.text("position IS NULL"),
    )

    op.create_table(
        "routings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("disposition", sa.String(length=16), nullable=False),
        sa.Column("domain", sa.String(length=16), nullable=True),
        sa.Column("category_standard", sa.String(length=40), nullable=True),
        sa.Column("category_code", sa.String(length=16), nullable=True),
        sa.Column("category_kind", sa.String(length=16), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=80), nullable=False),
        sa.Column("answer", JsonType, nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name=op.f("fk_routings_call_id_calls")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_routings_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routings")),
        sa.UniqueConstraint("call_id", "sequence", name=op.f("uq_routings_call_id_sequence")),
    )
    op.create_index(op.f("ix_routings_case_id"), "routings", ["case_id"])

    op.create_table(
        "utterances",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("leg_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("end", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("heard_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name=op.f("fk_utterances_call_id_calls")),
        sa.ForeignKeyConstraint(["leg_id"], ["legs.id"], name=op.f("fk_utterances_leg_id_legs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_utterances")),
        sa.UniqueConstraint("leg_id", "sequence", name=op.f("uq_utterances_leg_id_sequence")),
    )
    op.create_index(op.f("ix_utterances_call_id"), "utterances", ["call_id"])

    op.create_table(
        "routing_texts",
        sa.Column("routing_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("answer", JsonType, nullable=True),
        sa.ForeignKeyConstraint(["routing_id"], ["routings.id"], name=op.f("fk_routing_texts_routing_id_routings")),
        sa.PrimaryKeyConstraint("routing_id", name=op.f("pk_routing_texts")),
    )
    op.create_table(
        "utterance_texts",
        sa.Column("utterance_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("words", JsonType, nullable=True),
        sa.ForeignKeyConstraint(
            ["utterance_id"], ["utterances.id"], name=op.f("fk_utterance_texts_utterance_id_utterances")
        ),
        sa.PrimaryKeyConstraint("utterance_id", name=op.f("pk_utterance_texts")),
    )

    # The log is append only, also for whoever gets at the database with a program of their own. A later retention
    # rule lifts the guard for the rows it removes, by a migration that says so.
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER case_log_no_{change.lower()} BEFORE {change} ON case_log"
                " BEGIN SELECT RAISE(ABORT, 'case_log is append only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION case_log_append_only() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'case_log is append only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER case_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON case_log"
            " FOR EACH STATEMENT EXECUTE FUNCTION case_log_append_only()"
        )


def downgrade() -> None:
    """Back to nothing; the indexes and SQLite's triggers go with their tables."""
    for table in (
        "utterance_texts",
        "routing_texts",
        "utterances",
        "routings",
        "outbox_events",
        "confirmations",
        "case_particulars",
        "case_log",
        "legs",
        "cases",
        "call_particulars",
        "feed_consumers",
        "case_counters",
        "calls",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION case_log_append_only()")
