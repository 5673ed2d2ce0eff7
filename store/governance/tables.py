"""Tables of governance: cases, decisions, permissions, rollouts, what they are judged by, consents, revocations, and
what mended defects.

`governance_decisions`, `governance_approvals` and those of defects are append-only: triggers refuse every change of
them.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, LargeBinary, Table, Text, text

from store.schema import Instant, metadata

DUE = text("proof_due = 1")

# What there is of an artifact's evidence beside decisions and permissions. A row without `proposed_at` is only frozen.
cases = Table(
    "governance_cases",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("artifact_id", Text, primary_key=True, nullable=False),
    Column("proposed_at", Instant, nullable=True),
    Column("proposers", JSON, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Column("bundle", LargeBinary, nullable=False),
    Column("verdict", LargeBinary, nullable=False),
    Column("frozen_by", Text, nullable=False),
    # 1 while the signed bundle is one that no consumption proof names.
    Column("proof_due", Integer, nullable=False, server_default="0"),
    Index("ix_governance_cases_proposed_at", "tenant_id", "proposed_at", "artifact_id"),
    Index("ix_governance_cases_proof_due", "proposed_at", "artifact_id", sqlite_where=DUE, postgresql_where=DUE),
)

decisions = Table(
    "governance_decisions",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("artifact_id", Text, primary_key=True, nullable=False),
    Column("number", BigInteger, primary_key=True, nullable=False, autoincrement=False),
    Column("canonical", LargeBinary, nullable=False),
)

approvals = Table(
    "governance_approvals",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("artifact_id", Text, primary_key=True, nullable=False),
    Column("kind", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("approver", Text, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
)

RUNNING = text("state = 1")

rollouts = Table(
    "governance_rollouts",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("rollout_id", Text, primary_key=True, nullable=False),
    Column("artifact_id", Text, nullable=False),
    Column("artifact_type", Text, nullable=False),
    Column("scope_type", Integer, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("state", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # When a control loop looks at it next.
    Column("due_at", Instant, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_governance_rollouts_due", "due_at", sqlite_where=RUNNING, postgresql_where=RUNNING),
    Index("ix_governance_rollouts_line", "tenant_id", "artifact_type", "state"),
    Index("ix_governance_rollouts_started_at", "tenant_id", "started_at", "rollout_id"),
    Index("ix_governance_rollouts_artifact", "tenant_id", "artifact_id"),
)

kpis = Table(
    "governance_kpis",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("rollout_id", Text, primary_key=True, nullable=False),
    Column("stage", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("arm", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("cohort", Text, primary_key=True, nullable=False),
    Column("starts_at", Instant, primary_key=True, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
)

# Windows that the owners cut from rows of their own: beside those that were handed in, which the judge reads as well.
measured = Table(
    "governance_measured",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("rollout_id", Text, primary_key=True, nullable=False),
    Column("source", Text, primary_key=True, nullable=False),
    Column("stage", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("arm", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("cohort", Text, primary_key=True, nullable=False),
    Column("starts_at", Instant, primary_key=True, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
)

# Up to when a source has measured a rollout.
meters = Table(
    "governance_meters",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("rollout_id", Text, primary_key=True, nullable=False),
    Column("source", Text, primary_key=True, nullable=False),
    Column("measured_until", Instant, nullable=False),
)

consents = Table(
    "governance_consents",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("user_id", Text, primary_key=True, nullable=False),
    Column("granted_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=True),
    Column("ended_at", Instant, nullable=True),
    Index("ix_governance_consents_expires_at", "expires_at"),
)

OPEN = text("next_step <> 0")

revocations = Table(
    "governance_revocations",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("revocation_id", Text, primary_key=True, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("captured_at", Instant, nullable=False),
    Column("next_step", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("signal_count", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_governance_revocations_open", "captured_at", sqlite_where=OPEN, postgresql_where=OPEN),
    Index("ix_governance_revocations_user", "tenant_id", "user_id", "captured_at"),
    Index("ix_governance_revocations_captured_at", "tenant_id", "captured_at", "revocation_id"),
)

# What was named to mend defects. `artifact_id` is empty where it is no pack.
defect_fixes = Table(
    "governance_defect_fixes",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("fix_id", Text, primary_key=True, nullable=False),
    Column("artifact_id", Text, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
    Index("ix_governance_defect_fixes_artifact", "tenant_id", "artifact_id"),
)

defect_fix_signals = Table(
    "governance_defect_fix_signals",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("signal_id", Text, primary_key=True, nullable=False),
    Column("fix_id", Text, primary_key=True, nullable=False),
)

# A defect is a signal of `learning_signals` at which safety is at stake; it is open while it has no row here.
defect_closures = Table(
    "governance_defect_closures",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("signal_id", Text, primary_key=True, nullable=False),
    Column("fix_id", Text, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
)
