"""Messages to people: deliveries, what is sealed of them, their leases, events and providers' ids (§25)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

QUEUES = {
    "ix_deliveries_dispatched": (["channel", "priority", "ready_at"], "ready_at IS NOT NULL AND state <> 6"),
    "ix_deliveries_reconciled": (["ready_at"], "ready_at IS NOT NULL AND state = 6"),
}


def upgrade() -> None:
    """Create the tables of deliveries."""
    op.create_table(
        "deliveries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("recipient_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Integer(), nullable=False),
        sa.Column("simulation_id", sa.Text(), nullable=False),
        sa.Column("payload_hash", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("recipient_lock", sa.Text(), nullable=False),
        sa.Column("provider_account", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "delivery_id", name="pk_deliveries"),
        sa.UniqueConstraint(
            "tenant_id", "message_id", "recipient_id", "channel", "simulation_id", name="uq_deliveries_identity"
        ),
    )
    for name, (columns, where) in QUEUES.items():
        op.create_index(
            name,
            "deliveries",
            columns,
            unique=False,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.create_index(
        "ix_deliveries_accepted_at", "deliveries", ["tenant_id", "accepted_at", "delivery_id"], unique=False
    )
    op.create_index(
        "ix_deliveries_state",
        "deliveries",
        ["tenant_id", "state", "accepted_at", "delivery_id", "channel"],
        unique=False,
    )
    op.create_table(
        "delivery_intents",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "delivery_id", name="pk_delivery_intents"),
    )
    op.create_table(
        "delivery_locks",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("recipient_lock", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "recipient_lock", name="pk_delivery_locks"),
    )
    op.create_table(
        "delivery_cursors",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_delivery_cursors"),
    )
    op.create_table(
        "delivery_events",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("provider_account", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "cursor", name="pk_delivery_events"),
    )
    op.create_index(
        "ix_delivery_events_delivery", "delivery_events", ["tenant_id", "delivery_id", "cursor"], unique=False
    )
    op.create_table(
        "delivery_ids",
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("provider_ref", "kind", "value", "tenant_id", "delivery_id", name="pk_delivery_ids"),
    )
    op.create_table(
        "delivery_webhooks",
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider_ref", "event_id", name="pk_delivery_webhooks"),
    )
    op.create_index("ix_delivery_webhooks_seen_at", "delivery_webhooks", ["seen_at"], unique=False)
