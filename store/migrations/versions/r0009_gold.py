"""Gold sets on their way, their evidence, and lineage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.migrations.append_only import refuse_changes

revision = "0009"
down_revision = "0008"

APPEND_ONLY = {
    "gold_transitions": "tenant_id = NEW.tenant_id AND gold_set_id = NEW.gold_set_id AND number = NEW.number",
    "gold_sets": "tenant_id = NEW.tenant_id AND gold_set_id = NEW.gold_set_id",
}


def upgrade() -> None:
    """Create the tables, then make those of what was decided append-only."""
    _create_tables()
    for table, identity in APPEND_ONLY.items():
        refuse_changes(table, [identity])


def _create_tables() -> None:
    op.create_table(
        "gold_candidates",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("gold_set_id", sa.Text(), nullable=False),
        sa.Column("domain", sa.Integer(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("scope_type", sa.Integer(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("signal_count", sa.BigInteger(), nullable=False),
        sa.Column("item_count", sa.BigInteger(), nullable=False),
        sa.Column("label_count", sa.BigInteger(), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_at", sa.BigInteger(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("rebuilt_from", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "gold_set_id", name="pk_gold_candidates"),
    )
    op.create_index(
        "ix_gold_candidates_proposed_at", "gold_candidates", ["tenant_id", "proposed_at", "gold_set_id"], unique=False
    )
    op.create_index("ix_gold_candidates_state", "gold_candidates", ["tenant_id", "state"], unique=False)
    op.create_table(
        "gold_items",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("gold_set_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("signal_id", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "gold_set_id", "item_id", name="pk_gold_items"),
    )
    op.create_table(
        "gold_labels",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("gold_set_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("labeller", sa.Text(), nullable=False),
        sa.Column("labelled_at", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "gold_set_id", "item_id", "labeller", name="pk_gold_labels"),
    )
    op.create_table(
        "gold_transitions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("gold_set_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("from_state", sa.Integer(), nullable=False),
        sa.Column("to_state", sa.Integer(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "gold_set_id", "number", name="pk_gold_transitions"),
    )
    op.create_table(
        "gold_sets",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("gold_set_id", sa.Text(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "gold_set_id", name="pk_gold_sets"),
    )
    op.create_table(
        "gold_lineage",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("ancestor_ref", sa.Text(), nullable=False),
        sa.Column("descendant_ref", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "ancestor_ref", "descendant_ref", name="pk_gold_lineage"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_gold_lineage_descendant", "gold_lineage", ["tenant_id", "descendant_ref", "ancestor_ref"], unique=False
    )
