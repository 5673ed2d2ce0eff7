"""Circuits that the processes of a routing owner share (RTE-5)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables of circuits and of what happened to them."""
    op.create_table(
        "routing_circuits",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("profile_hash", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "provider_ref", "profile_hash", name="pk_routing_circuits"),
    )
    op.create_table(
        "routing_transitions",
        sa.Column("transition_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("profile_hash", sa.LargeBinary(), nullable=False),
        sa.Column("before", sa.Integer(), nullable=False),
        sa.Column("after", sa.Integer(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("transition_id", name="pk_routing_transitions"),
    )
    op.create_index("ix_routing_transitions_owner", "routing_transitions", ["owner", "transition_id"], unique=False)
