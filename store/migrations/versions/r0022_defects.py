"""Fixes of defects at which safety is at stake, and their closures; the gold candidate that adaptation to drift began
with.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.migrations.append_only import refuse_changes

revision = "0022"
down_revision = "0021"

APPEND_ONLY = {
    "governance_defect_fixes": "tenant_id = NEW.tenant_id AND fix_id = NEW.fix_id",
    "governance_defect_fix_signals": (
        "tenant_id = NEW.tenant_id AND signal_id = NEW.signal_id AND fix_id = NEW.fix_id"
    ),
    "governance_defect_closures": "tenant_id = NEW.tenant_id AND signal_id = NEW.signal_id",
}


def upgrade() -> None:
    """Create the tables, append-only; add the column of the candidate and the index of what waits for one."""
    _create_tables()
    for table, identity in APPEND_ONLY.items():
        refuse_changes(table, [identity])
    op.add_column(
        "learning_drift_breaches", sa.Column("gold_set_id", sa.Text(), nullable=False, server_default=sa.text("''"))
    )
    # Adaptations that were told of as started before anything was: they began nothing.
    op.execute("UPDATE learning_drift_breaches SET outcome = 6 WHERE recovery = 1 AND outcome = 1")
    op.create_index(
        "ix_learning_drift_breaches_allowed",
        "learning_drift_breaches",
        ["window_ends_at"],
        unique=False,
        sqlite_where=sa.text("outcome = 5"),
        postgresql_where=sa.text("outcome = 5"),
    )


def _create_tables() -> None:
    op.create_table(
        "governance_defect_fixes",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("fix_id", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "fix_id", name="pk_governance_defect_fixes"),
    )
    op.create_index(
        "ix_governance_defect_fixes_artifact", "governance_defect_fixes", ["tenant_id", "artifact_id"], unique=False
    )
    op.create_table(
        "governance_defect_fix_signals",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("signal_id", sa.Text(), nullable=False),
        sa.Column("fix_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "signal_id", "fix_id", name="pk_governance_defect_fix_signals"),
    )
    op.create_table(
        "governance_defect_closures",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("signal_id", sa.Text(), nullable=False),
        sa.Column("fix_id", sa.Text(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "signal_id", name="pk_governance_defect_closures"),
    )
    op.create_index(
        "ix_learning_signals_defects",
        "learning_signals",
        ["tenant_id", "sequence"],
        unique=False,
        sqlite_where=sa.text("safety_critical = 1"),
        postgresql_where=sa.text("safety_critical = 1"),
    )
