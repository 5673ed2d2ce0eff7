"""KPI windows that owners cut from rows of their own, and the rows that they come from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

UNCOUNTED = sa.text("window_ends_at IS NULL")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "governance_measured",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("arm", sa.Integer(), nullable=False),
        sa.Column("cohort", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "rollout_id", "source", "stage", "arm", "cohort", "starts_at", name="pk_governance_measured"
        ),
    )
    op.create_table(
        "governance_meters",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("measured_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "rollout_id", "source", name="pk_governance_meters"),
    )
    op.create_table(
        "voiceid_observations",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("arm", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("cohort", sa.JSON(), nullable=False),
        sa.Column("named_user_id", sa.Text(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("speaker_user_id", sa.Text(), nullable=True),
        sa.Column("conflict_state", sa.Integer(), nullable=False),
        sa.Column("prompt_key", sa.LargeBinary(), nullable=False),
        sa.Column("prompted", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("latency_us", sa.BigInteger(), nullable=True),
        sa.Column("window_ends_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "rollout_id", "stream_id", "arm", "kind", name="pk_voiceid_observations"),
    )
    op.create_index(
        "ix_voiceid_observations_uncounted",
        "voiceid_observations",
        ["tenant_id", "rollout_id", "at"],
        unique=False,
        sqlite_where=UNCOUNTED,
        postgresql_where=UNCOUNTED,
    )
    _create_calls()
    for name, columns in (
        ("session", ["tenant_id", "rollout_id", "session_id", "window_ends_at"]),
        ("stream", ["tenant_id", "stream_id"]),
        ("window", ["tenant_id", "rollout_id", "window_ends_at"]),
        ("at", ["at"]),
    ):
        op.create_index(f"ix_voiceid_observations_{name}", "voiceid_observations", columns, unique=False)


def _create_calls() -> None:
    op.create_table(
        "routing_call_observations",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("arm", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("latency_us", sa.BigInteger(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("outputs", sa.BigInteger(), nullable=False),
        sa.Column("schema_valid", sa.BigInteger(), nullable=False),
        sa.Column("policy_conflicts", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("timed_out", sa.Integer(), nullable=False),
        sa.Column("fell_back", sa.Integer(), nullable=False),
        sa.Column("window_ends_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "rollout_id", "owner", "call_id", name="pk_routing_call_observations"),
    )
    op.create_index(
        "ix_routing_call_observations_uncounted",
        "routing_call_observations",
        ["rollout_id", "owner", "at"],
        unique=False,
        sqlite_where=UNCOUNTED,
        postgresql_where=UNCOUNTED,
    )
    op.create_index("ix_routing_call_observations_at", "routing_call_observations", ["at"], unique=False)
