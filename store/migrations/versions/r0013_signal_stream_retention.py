"""Where streams of signals stand is kept for a time only, and found by when they last went on."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the index that a sweep looks by."""
    op.create_index("ix_learning_streams_updated_at", "learning_streams", ["updated_at"], unique=False)
