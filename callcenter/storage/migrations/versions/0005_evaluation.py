"""Evaluation: sums by day and month, what each case put into them, how far the log is folded in."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from callcenter.storage.base import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNTERS = (
    *("reported", "reported_public", "reported_collector", "reported_valid", "reported_refused"),
    *("completed", "immediate", "self_handled", "answered", "handed_over", "filed", "filed_unlimited"),
    *("filed_on_time", "filed_cancelled", "filed_public_verified", "filed_public_patrol"),
    *("filed_proactive", "filed_yellow", "filed_red", "due", "due_closed", "due_on_time", "due_suspended"),
    *("due_exempt", "due_solved", "due_cancelled", "urgent_due", "urgent_closed", "urgent_on_time"),
    *("urgent_exempt", "handling_due", "handling_returned", "handling_exempt", "handled"),
    *("handled_on_time", "handled_ever", "handled_late", "reworked", "reworked_thrice", "proof_needed"),
    *("proof_given", "overtime_s", "dispatch_due", "dispatch_withdrawn", "dispatched_on_time"),
    *("dispatched_accurate", "first_dispatched", "first_accurate", "ordered", "ordered_returned"),
    *("ordered_evaded", "ordered_extended", "ordered_suspended", "verify_due", "verify_withdrawn"),
    *("verified_on_time", "check_due", "check_withdrawn", "checked_on_time", "sign_due", "sign_withdrawn"),
    *("signed_on_time", "closed", "forced", "recurred", "closed_wanting", "called_back", "reached", "said"),
    *("satisfied", "appeals_decided", "appeals_granted", "cancelled", "refused", "evasions", "extensions"),
    *("suspensions", "reworks", "returns", "sheets", "handling_s", "handling_n", "closing_s", "closing_n"),
)


def upgrade() -> None:
    """The tables; they are filled by the first fold."""
    op.create_table(
        "evaluation_cells",
        sa.Column("book", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("axis", sa.String(length=8), nullable=False),
        sa.Column("span", sa.String(length=1), nullable=False),
        sa.Column("start", sa.Date(), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("domain", sa.String(length=16), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        *(
            sa.Column(
                name, sa.BigInteger() if name.endswith("_s") else sa.Integer(), nullable=False, server_default="0"
            )
            for name in COUNTERS
        ),
        sa.PrimaryKeyConstraint("book", "axis", "span", "start", "key", "domain", name=op.f("pk_evaluation_cells")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evaluation_cases",
        sa.Column("book", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("area_id", sa.Uuid(), nullable=True),
        sa.Column("category", sa.String(length=80), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.Column("grid", sa.Boolean(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("recurred", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("provisional", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column(
            "contribution",
            sa.JSON(none_as_null=True).with_variant(
                postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), "postgresql"
            ),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("book", "case_id", name=op.f("pk_evaluation_cases")),
    )
    op.create_index(
        op.f("ix_evaluation_cases_book_area_id_category_opened_at"),
        "evaluation_cases",
        ["book", "area_id", "category", "opened_at"],
    )
    op.create_index(
        "ix_evaluation_cases_provisional",
        "evaluation_cases",
        ["case_id"],
        postgresql_where=sa.text("provisional"),
        sqlite_where=sa.text("provisional"),
    )
    op.create_table(
        "evaluation_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("book", sa.Integer(), nullable=False),
        sa.Column("settled_id", sa.BigInteger(), nullable=False),
        sa.Column("seen_id", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("folded_at", UtcDateTime(), nullable=False),
        sa.Column("building_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_state")),
    )


def downgrade() -> None:
    """Nothing is lost: it can all be counted again from the log."""
    op.drop_table("evaluation_state")
    op.drop_table("evaluation_cases")
    op.drop_table("evaluation_cells")
