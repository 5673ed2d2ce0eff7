"""Decisions, approvals, rollouts, judged windows, consent and its revocation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.migrations.append_only import refuse_changes

revision = "0010"
down_revision = "0009"

APPEND_ONLY = {
    "governance_decisions": "tenant_id = NEW.tenant_id AND artifact_id = NEW.artifact_id AND number = NEW.number",
    "governance_approvals": "tenant_id = NEW.tenant_id AND artifact_id = NEW.artifact_id AND kind = NEW.kind",
}


def upgrade() -> None:
    """Create the tables, then make those of what was decided append-only."""
    _create_tables()
    for table, identity in APPEND_ONLY.items():
        refuse_changes(table, [identity])


def _create_tables() -> None:
    op.create_table(
        "governance_cases",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("proposed_at", sa.BigInteger(), nullable=True),
        sa.Column("proposers", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.Column("bundle", sa.LargeBinary(), nullable=False),
        sa.Column("verdict", sa.LargeBinary(), nullable=False),
        sa.Column("frozen_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "artifact_id", name="pk_governance_cases"),
    )
    op.create_index(
        "ix_governance_cases_proposed_at", "governance_cases", ["tenant_id", "proposed_at", "artifact_id"], unique=False
    )
    op.create_table(
        "governance_decisions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "artifact_id", "number", name="pk_governance_decisions"),
    )
    op.create_table(
        "governance_approvals",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "artifact_id", "kind", name="pk_governance_approvals"),
    )
    op.create_table(
        "governance_rollouts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=False),
        sa.Column("scope_type", sa.Integer(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "rollout_id", name="pk_governance_rollouts"),
    )
    op.create_index(
        "ix_governance_rollouts_due",
        "governance_rollouts",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 1"),
        postgresql_where=sa.text("state = 1"),
    )
    op.create_index(
        "ix_governance_rollouts_line", "governance_rollouts", ["tenant_id", "artifact_type", "state"], unique=False
    )
    op.create_index(
        "ix_governance_rollouts_started_at",
        "governance_rollouts",
        ["tenant_id", "started_at", "rollout_id"],
        unique=False,
    )
    op.create_index(
        "ix_governance_rollouts_artifact", "governance_rollouts", ["tenant_id", "artifact_id"], unique=False
    )
    op.create_table(
        "governance_kpis",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("arm", sa.Integer(), nullable=False),
        sa.Column("cohort", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "rollout_id", "stage", "arm", "cohort", "starts_at", name="pk_governance_kpis"
        ),
    )
    op.create_table(
        "governance_consents",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name="pk_governance_consents"),
    )
    op.create_index("ix_governance_consents_expires_at", "governance_consents", ["expires_at"], unique=False)
    op.create_table(
        "governance_revocations",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("revocation_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("captured_at", sa.BigInteger(), nullable=False),
        sa.Column("next_step", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("signal_count", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "revocation_id", name="pk_governance_revocations"),
    )
    op.create_index(
        "ix_governance_revocations_open",
        "governance_revocations",
        ["captured_at"],
        unique=False,
        sqlite_where=sa.text("next_step <> 0"),
        postgresql_where=sa.text("next_step <> 0"),
    )
    op.create_index(
        "ix_governance_revocations_captured_at",
        "governance_revocations",
        ["tenant_id", "captured_at", "revocation_id"],
        unique=False,
    )
