"""What is kept for a time only says since when: idempotency keys, prompt budgets, cooldowns, conflict retries."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the times, and indexes over what a sweep looks for; what is there counts from now."""
    for table in ("voiceid_prompt_budgets", "voiceid_conflict_retries"):
        op.add_column(table, sa.Column("spent_at", sa.BigInteger(), nullable=False, server_default="0"))
        op.execute(sa.table(table, sa.column("spent_at")).update().values(spent_at=time.time_ns() // 1000))
        op.create_index(f"ix_{table}_spent_at", table, ["spent_at"], unique=False)
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"], unique=False)
    op.create_index("ix_voiceid_prompt_cooldowns_until", "voiceid_prompt_cooldowns", ["until"], unique=False)
