"""Insight: what a confirmation was about, the blind sample, a candidate's answers in shadow, changes of version."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from callcenter.storage.base import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COMPLETE_WHERE = "completed_at IS NOT NULL"
QUALITY = (
    *("at", "repeated", "verdict", "blind", "seconds_to_decide", "decision_before"),
    *("domain_before", "domain_after", "model", "user_id", "code_before", "kind_before", "standard_before"),
    *("probability_before", "domain_probability_before", "code_after", "kind_after", "standard_after"),
)
BLIND_WHERE = "draw < 3277 AND confirmed_by IS NULL"

CONFIRMATION_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("disposition_before", sa.String(length=16)),
    ("kind_before", sa.String(length=16)),
    ("decision_before", sa.String(length=16)),
    ("probability_before", sa.Double()),
    ("domain_probability_before", sa.Double()),
    ("disposition_after", sa.String(length=16)),
    ("kind_after", sa.String(length=16)),
    ("seconds_to_decide", sa.Double()),
)


def upgrade() -> None:
    """What labels and candidates are judged by."""
    for name, kind in CONFIRMATION_COLUMNS:
        op.add_column("confirmations", sa.Column(name, kind, nullable=True))
    op.add_column("confirmations", sa.Column("repeated", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("cases", sa.Column("domain_probability", sa.Double(), nullable=True))
    op.add_column("cases", sa.Column("draw", sa.Integer(), nullable=True))
    where = sa.text(BLIND_WHERE)
    op.create_index("ix_cases_blind", "cases", ["created_at", "id"], postgresql_where=where, sqlite_where=where)
    where = sa.text(COMPLETE_WHERE)
    columns = ["created_at", "disposition", "decision", "completed_at"]
    op.create_index("ix_cases_complete", "cases", columns, postgresql_where=where, sqlite_where=where)
    op.create_index("ix_confirmations_quality", "confirmations", list(QUALITY))
    op.create_table(
        "shadow_routings",
        sa.Column("routing_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.String(length=80), nullable=False),
        sa.Column("disposition", sa.String(length=16), nullable=False),
        sa.Column("domain", sa.String(length=16), nullable=True),
        sa.Column("category_standard", sa.String(length=40), nullable=True),
        sa.Column("category_kind", sa.String(length=16), nullable=True),
        sa.Column("category_code", sa.String(length=16), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("domain_probability", sa.Double(), nullable=True),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["routing_id"], ["routings.id"], name=op.f("fk_shadow_routings_routing_id_routings")),
        sa.PrimaryKeyConstraint("routing_id", "model", name=op.f("pk_shadow_routings")),
    )
    op.create_index(op.f("ix_shadow_routings_model_made_at"), "shadow_routings", ["model", "made_at"])
    op.create_table(
        "router_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("previous", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.Column("fault", sa.String(length=400), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_router_changes")),
    )
    op.create_index(op.f("ix_router_changes_asked_at_id"), "router_changes", ["asked_at", "id"])


def downgrade() -> None:
    """Without them again."""
    op.drop_table("router_changes")
    op.drop_table("shadow_routings")
    op.drop_index("ix_confirmations_quality", table_name="confirmations")
    op.drop_index("ix_cases_complete", table_name="cases")
    op.drop_index("ix_cases_blind", table_name="cases")
    op.drop_column("cases", "draw")
    op.drop_column("cases", "domain_probability")
    op.drop_column("confirmations", "repeated")
    for name, _ in CONFIRMATION_COLUMNS:
        op.drop_column("confirmations", name)
