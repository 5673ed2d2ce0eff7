"""Signals are sealed under their users' keys, and found by them; a row from before keeps its user's name.

Who revoked is asked for with every batch of signals.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

SIGNALS = "learning_signals"
NAMED = sa.text("user_id <> ''")


def upgrade() -> None:
    """Add the key's id beside what it replaces."""
    op.add_column(SIGNALS, sa.Column("key_id", sa.LargeBinary(), nullable=True))
    op.drop_index("ix_learning_signals_user", table_name=SIGNALS)
    op.create_index(
        "ix_learning_signals_user",
        SIGNALS,
        ["tenant_id", "user_id", "sequence"],
        unique=False,
        sqlite_where=NAMED,
        postgresql_where=NAMED,
    )
    op.create_index("ix_learning_signals_key_id", SIGNALS, ["tenant_id", "key_id", "sequence"], unique=False)
    op.create_index(
        "ix_governance_revocations_user",
        "governance_revocations",
        ["tenant_id", "user_id", "captured_at"],
        unique=False,
    )
    op.create_index("ix_subject_keys_key_id", "subject_keys", ["tenant_id", "key_id"], unique=False)
