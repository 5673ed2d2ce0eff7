"""Artifacts whose gate bundle wants a consumption proof are found without reading every case.

All that have a bundle want one anew: of proofs from before nobody worked out by himself what they said.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

CASES = "governance_cases"
DUE = sa.text("proof_due = 1")


def upgrade() -> None:
    """Add the column and its index."""
    op.add_column(CASES, sa.Column("proof_due", sa.Integer(), nullable=False, server_default="0"))
    op.execute(f"UPDATE {CASES} SET proof_due = 1 WHERE length(bundle) > 0")
    op.create_index(
        "ix_governance_cases_proof_due",
        CASES,
        ["proposed_at", "artifact_id"],
        unique=False,
        sqlite_where=DUE,
        postgresql_where=DUE,
    )
