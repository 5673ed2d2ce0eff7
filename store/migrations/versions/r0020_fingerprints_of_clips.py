"""Fingerprints of clips that users were enrolled from are told apart; those from before count as said later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the column."""
    op.add_column("voiceid_fingerprints", sa.Column("of_clip", sa.Integer(), nullable=False, server_default="0"))
