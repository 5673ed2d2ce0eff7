"""What is kept of final deliveries for a time only is found: their last events by time, their ids by delivery."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

ENDED = sa.text("state IN (4, 7, 8, 9)")


def upgrade() -> None:
    """Add the indexes that a sweep looks by."""
    op.create_index(
        "ix_delivery_events_ended",
        "delivery_events",
        ["at"],
        unique=False,
        sqlite_where=ENDED,
        postgresql_where=ENDED,
    )
    op.create_index("ix_delivery_ids_delivery", "delivery_ids", ["tenant_id", "delivery_id"], unique=False)
