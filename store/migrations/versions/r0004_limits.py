"""What the gates before routing go by: rules of policy, budgets and what was spent of them, quotas (RTE-3)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables of limits."""
    op.create_table(
        "routing_counter",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_routing_counter"),
    )
    op.create_table(
        "routing_revisions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_routing_revisions"),
    )
    op.create_index("ix_routing_revisions_revision", "routing_revisions", ["revision"], unique=False)
    op.create_table(
        "routing_rules",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("effect", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("domains", sa.JSON(), nullable=False),
        sa.Column("capabilities", sa.JSON(), nullable=False),
        sa.Column("channels", sa.JSON(), nullable=False),
        sa.Column("users", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", name="pk_routing_rules"),
    )
    op.create_table(
        "routing_budgets",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("domain", sa.Integer(), nullable=False),
        sa.Column("period", sa.Integer(), nullable=False),
        sa.Column("limit_micros", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "domain", "period", name="pk_routing_budgets"),
    )
    op.create_table(
        "routing_spending",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("domain", sa.Integer(), nullable=False),
        sa.Column("period", sa.Integer(), nullable=False),
        sa.Column("period_start", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.Column("reserved_micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "domain", "period", "period_start", name="pk_routing_spending"),
    )
    op.create_table(
        "routing_grants",
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("domain", sa.Integer(), nullable=False),
        sa.Column("period", sa.Integer(), nullable=False),
        sa.Column("period_start", sa.BigInteger(), nullable=False),
        sa.Column("micros", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("grant_id", name="pk_routing_grants"),
    )
    op.create_index("ix_routing_grants_open", "routing_grants", ["settled_at", "expires_at"], unique=False)
    op.create_table(
        "routing_quotas",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("domain", sa.Integer(), nullable=False),
        sa.Column("capacity", sa.Double(), nullable=False),
        sa.Column("refill_per_s", sa.Double(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "domain", name="pk_routing_quotas"),
    )
