"""Finding cases: the tokens of their words and numbers, and indexes for lists that were sorted before."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

from callcenter.storage.base import BigId, UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LIT = "lamp <> 'none'"

# detail none: which row has a token is all that is asked, not where. columnsize 0: nothing is ranked. content: the
# tokens themselves lie in case_search once, and what is deleted is looked up there.
FTS = (
    "CREATE VIRTUAL TABLE case_search_fts USING fts5(words, content='case_search', content_rowid='key', detail='none',"
    " columnsize=0, tokenize=\"unicode61 remove_diacritics 0 tokenchars '#'\")"
)
STRIKE = "INSERT INTO case_search_fts(case_search_fts, rowid, words) VALUES ('delete', old.key, old.words);"
ENTER = "INSERT INTO case_search_fts(rowid, words) VALUES (new.key, new.words);"
TRIGGERS = {
    "case_search_entered": f"AFTER INSERT ON case_search BEGIN {ENTER} END",
    "case_search_struck": f"AFTER DELETE ON case_search BEGIN {STRIKE} END",
    "case_search_changed": f"AFTER UPDATE ON case_search BEGIN {STRIKE} {ENTER} END",
}


def upgrade() -> None:
    """The table, its index, and the index of lists by unit."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table(
        "case_search",
        sa.Column("key", BigId, autoincrement=True, nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("words", sa.Text().with_variant(TSVECTOR(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_search_case_id_cases")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_case_search")),
        sa.UniqueConstraint("case_id", name=op.f("uq_case_search_case_id")),
    )
    op.create_index(
        "ix_case_search_words",
        "case_search",
        ["words"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        sqlite_where=sa.text("0"),
    )
    op.create_index(
        op.f("ix_case_search_created_at_case_id"), "case_search", ["created_at", "case_id"], sqlite_where=sa.text("0")
    )
    op.create_index(op.f("ix_cases_lead_unit_id_created_at_id"), "cases", ["lead_unit_id", "created_at", "id"])
    lit = sa.text(LIT)
    late = ["lead_unit_id", "lamp", "created_at", "id"]
    op.create_index("ix_cases_unit_lit", "cases", late, postgresql_where=lit, sqlite_where=lit)
    if sqlite:
        op.execute(FTS)
        for name, does in TRIGGERS.items():
            op.execute(f"CREATE TRIGGER {name} {does}")


def downgrade() -> None:
    """Back to lists only."""
    if op.get_bind().dialect.name == "sqlite":
        for name in TRIGGERS:
            op.execute(f"DROP TRIGGER {name}")
        op.execute("DROP TABLE case_search_fts")
    op.drop_index("ix_cases_unit_lit", table_name="cases", postgresql_where=sa.text(LIT), sqlite_where=sa.text(LIT))
    op.drop_index(op.f("ix_cases_lead_unit_id_created_at_id"), table_name="cases")
    op.drop_index(op.f("ix_case_search_created_at_case_id"), table_name="case_search")
    op.drop_index("ix_case_search_words", table_name="case_search")
    op.drop_table("case_search")
