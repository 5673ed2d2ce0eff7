"""Signals as they were captured, and how far each stream of them is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.migrations.append_only import refuse_changes

revision = "0008"
down_revision = "0007"

SIGNALS = "learning_signals"
# What no two rows share.
IDENTITIES = (
    "tenant_id = NEW.tenant_id AND sequence = NEW.sequence",
    "tenant_id = NEW.tenant_id AND signal_id = NEW.signal_id",
    "tenant_id = NEW.tenant_id AND idempotency_key = NEW.idempotency_key",
)


def upgrade() -> None:
    """Create the tables, then make the signals append-only."""
    _create_signals()
    _create_positions()
    refuse_changes(SIGNALS, IDENTITIES)


def _create_signals() -> None:
    op.create_table(
        SIGNALS,
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("signal_id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("domain", sa.Integer(), nullable=False),
        sa.Column("intake_path", sa.Integer(), nullable=False),
        sa.Column("safety_critical", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("priority_bp", sa.BigInteger(), nullable=False),
        sa.Column("captured_at", sa.BigInteger(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "sequence", name="pk_learning_signals"),
        sa.UniqueConstraint("tenant_id", "signal_id", name="uq_learning_signals_tenant_id_signal_id"),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name="uq_learning_signals_tenant_id_idempotency_key"),
    )
    op.create_index("ix_learning_signals_priority", SIGNALS, ["tenant_id", "priority_bp", "sequence"], unique=False)
    op.create_index("ix_learning_signals_user", SIGNALS, ["tenant_id", "user_id", "sequence"], unique=False)
    op.create_index(
        "ix_learning_signals_safety",
        SIGNALS,
        ["tenant_id", "domain", "captured_at"],
        unique=False,
        sqlite_where=sa.text("safety_critical = 1"),
        postgresql_where=sa.text("safety_critical = 1"),
    )


def _create_positions() -> None:
    op.create_table(
        "learning_counters",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_learning_counters"),
    )
    op.create_table(
        "learning_frequencies",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("domain", sa.Integer(), nullable=False),
        sa.Column("signal_class", sa.Integer(), nullable=False),
        sa.Column("source_engine_id", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "domain", "signal_class", "source_engine_id", "reason_code", name="pk_learning_frequencies"
        ),
    )
    op.create_table(
        "learning_streams",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("acknowledged_through", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "stream_id", name="pk_learning_streams"),
    )
    op.create_table(
        "learning_outbox",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("written_at", sa.BigInteger(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "idempotency_key", name="pk_learning_outbox"),
    )
    op.create_index("ix_learning_outbox_written_at", "learning_outbox", ["written_at"], unique=False)
