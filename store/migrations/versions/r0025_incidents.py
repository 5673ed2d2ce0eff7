"""Incidents are found among the rows of the audit trail without reading the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

INCIDENTS = sa.text(
    "reason_code IN ('ADAPTER_FOREIGN_PAYLOAD', 'ADAPTER_SECRET_EXPOSED', 'CONSENT_REQUIRED', 'DEVICE_MISMATCH', "
    "'GATE_BLOCKED', 'OWN_WORK_REFUSED', 'ROLE_REQUIRED', 'SECOND_ACCEPTANCE', 'SUBJECT_MISMATCH', 'TENANT_MISMATCH')"
)


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "ix_audit_events_incidents",
        "audit_events",
        ["tenant_id", "occurred_at"],
        sqlite_where=INCIDENTS,
        postgresql_where=INCIDENTS,
    )
