"""The tables of drift and of confused pairs, on the metadata of `store.schema`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, Table, Text, text

from store.schema import Instant, metadata

# Through which window each tenant's decisions were looked at for drift.
drift_looks = Table(
    "learning_drift_looks",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("looked_until", Instant, nullable=False),
)

UNDECIDED = text("outcome = 0")
ALLOWED = text("outcome = 5")

drift_breaches = Table(
    "learning_drift_breaches",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("window_ends_at", Instant, primary_key=True, nullable=False),
    Column("subject", Text, primary_key=True, nullable=False),
    Column("detector", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("user_id", Text, nullable=False),
    Column("recent", Double, nullable=False),
    Column("reference", Double, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("recovery", Integer, nullable=False),
    Column("outcome", Integer, nullable=False),
    Column("decided_at", Instant, nullable=True),
    Column("gold_set_id", Text, nullable=False, server_default=text("''")),
    Index("ix_learning_drift_breaches_subject", "tenant_id", "subject", "window_ends_at"),
    Index(
        "ix_learning_drift_breaches_undecided",
        "window_ends_at",
        sqlite_where=UNDECIDED,
        postgresql_where=UNDECIDED,
    ),
    Index("ix_learning_drift_breaches_allowed", "window_ends_at", sqlite_where=ALLOWED, postgresql_where=ALLOWED),
)

# Whether adaptation of a user or a cohort waits for a review.
drift_standings = Table(
    "learning_drift_standings",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("subject", Text, primary_key=True, nullable=False),
    Column("frozen", Boolean, nullable=False),
    Column("reviewed_at", Instant, nullable=True),
)

# Counted anew of the last 14 days whenever decisions are looked at.
confusion_pairs = Table(
    "learning_confusion_pairs",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("first_user_id", Text, primary_key=True, nullable=False),
    Column("second_user_id", Text, primary_key=True, nullable=False),
    Column("collisions", BigInteger, nullable=False),
    Column("close_calls", BigInteger, nullable=False),
    Column("last_at", Instant, nullable=False),
)
