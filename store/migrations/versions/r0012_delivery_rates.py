"""Rates of provider accounts that processes share (§25)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "delivery_rates",
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("provider_ref", name="pk_delivery_rates"),
    )
