"""Drift of voice identity, and pairs of speakers who are taken for each other; the streams of a session by time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

BREACHES = "learning_drift_breaches"


def upgrade() -> None:
    """Create the tables and the index."""
    op.create_table(
        "learning_drift_looks",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("looked_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_learning_drift_looks"),
    )
    op.create_table(
        BREACHES,
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("window_ends_at", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detector", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("recent", sa.Double(), nullable=False),
        sa.Column("reference", sa.Double(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("recovery", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Integer(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "window_ends_at", "subject", "detector", name=f"pk_{BREACHES}"),
    )
    op.create_index(f"ix_{BREACHES}_subject", BREACHES, ["tenant_id", "subject", "window_ends_at"], unique=False)
    op.create_index(
        f"ix_{BREACHES}_undecided",
        BREACHES,
        ["window_ends_at"],
        unique=False,
        sqlite_where=sa.text("outcome = 0"),
        postgresql_where=sa.text("outcome = 0"),
    )
    op.create_table(
        "learning_drift_standings",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.Column("reviewed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "subject", name="pk_learning_drift_standings"),
    )
    op.create_table(
        "learning_confusion_pairs",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("first_user_id", sa.Text(), nullable=False),
        sa.Column("second_user_id", sa.Text(), nullable=False),
        sa.Column("collisions", sa.BigInteger(), nullable=False),
        sa.Column("close_calls", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "first_user_id", "second_user_id", name="pk_learning_confusion_pairs"),
    )
    op.create_index(
        "ix_voiceid_streams_session", "voiceid_streams", ["tenant_id", "session_id", "decided_at"], unique=False
    )
