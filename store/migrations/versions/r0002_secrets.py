"""Secrets: what is known of them, their sealed versions and the leases made of them (KMS-1)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables of the secrets owner."""
    op.create_table(
        "kms_leases",
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("lease_id", name="pk_kms_leases"),
    )
    op.create_index("ix_kms_leases_version", "kms_leases", ["handle", "version"], unique=False)
    op.create_table(
        "kms_secrets",
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("environment", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("granted_owners", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("handle", name="pk_kms_secrets"),
    )
    op.create_table(
        "kms_versions",
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("put_at", sa.BigInteger(), nullable=False),
        sa.Column("rotate_by", sa.BigInteger(), nullable=False),
        sa.Column("overlap_until", sa.BigInteger(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("handle", "version", name="pk_kms_versions"),
    )
    op.create_index("ix_kms_versions_overlap", "kms_versions", ["state", "overlap_until"], unique=False)
