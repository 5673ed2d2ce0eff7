"""Secrets: versions that another backend keeps, and how often a lease was redeemed (KMS-1)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add to the tables of the secrets owner."""
    op.add_column("kms_versions", sa.Column("backend_version", sa.BigInteger(), nullable=True))
    op.add_column("kms_leases", sa.Column("redeemed_at", sa.BigInteger(), nullable=True))
    op.add_column("kms_leases", sa.Column("redemptions", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_kms_leases_expires_at", "kms_leases", ["expires_at"], unique=False)
