"""What is append-only refuses on SQLite without keeping pages to undo; signals are found by their key alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

SIGNALS = "learning_signals"
BY_KEY = "ix_learning_signals_key_id"
ABORTING = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%RAISE(ABORT,%'")


def upgrade() -> None:
    """Make the triggers of databases from before what `append_only` makes by now, and the index shorter."""
    op.drop_index(BY_KEY, table_name=SIGNALS)
    op.create_index(BY_KEY, SIGNALS, ["key_id", "sequence"], unique=False)
    if op.get_bind().dialect.name != "sqlite":
        return
    for name, made_by in op.get_bind().execute(ABORTING).all():
        op.execute(f"DROP TRIGGER {name}")
        op.execute(made_by.replace("RAISE(ABORT,", "RAISE(FAIL,"))
