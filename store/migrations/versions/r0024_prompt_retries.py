"""Which sessions wait for the retry after their identity prompt, or had it and still have no name (VID.CONF.9)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "voiceid_prompt_retries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("retries", sa.BigInteger(), nullable=False),
        sa.Column("spent_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "session_id", "device_id", name="pk_voiceid_prompt_retries"),
    )
    op.create_index("ix_voiceid_prompt_retries_spent_at", "voiceid_prompt_retries", ["spent_at"], unique=False)
