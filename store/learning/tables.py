"""The tables of signals, on the metadata of `store.schema`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from store.schema import Instant, metadata

SAFETY_CRITICAL = text("safety_critical = 1")

NAMED = text("user_id <> ''")

# Append-only: what was captured is never rewritten. `canonical` is the SealedSignal, the other columns repeat it; whose
# it is, only the key tells. Rows from before signals were sealed have no `key_id`, a CapturedSignal, and its user.
signals = Table(
    "learning_signals",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("sequence", BigInteger, primary_key=True, nullable=False, autoincrement=False),
    Column("signal_id", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("domain", Integer, nullable=False),
    Column("intake_path", Integer, nullable=False),
    Column("safety_critical", Integer, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("priority_bp", BigInteger, nullable=False),
    Column("captured_at", Instant, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=True),
    UniqueConstraint("tenant_id", "signal_id"),
    UniqueConstraint("tenant_id", "idempotency_key"),
    Index("ix_learning_signals_priority", "tenant_id", "priority_bp", "sequence"),
    Index(
        "ix_learning_signals_user",
        "tenant_id",
        "user_id",
        "sequence",
        sqlite_where=NAMED,
        postgresql_where=NAMED,
    ),
    Index("ix_learning_signals_key_id", "key_id", "sequence"),
    Index(
        "ix_learning_signals_safety",
        "tenant_id",
        "domain",
        "captured_at",
        sqlite_where=SAFETY_CRITICAL,
        postgresql_where=SAFETY_CRITICAL,
    ),
    Index(
        "ix_learning_signals_defects",
        "tenant_id",
        "sequence",
        sqlite_where=SAFETY_CRITICAL,
        postgresql_where=SAFETY_CRITICAL,
    ),
)

# Whoever captures for a tenant holds its one row until the commit: sequences become visible in their order.
counters = Table(
    "learning_counters",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("sequence", BigInteger, nullable=False, autoincrement=False),
)

frequencies = Table(
    "learning_frequencies",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("domain", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("signal_class", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("source_engine_id", Text, primary_key=True, nullable=False),
    Column("reason_code", Text, primary_key=True, nullable=False),
    Column("seen", BigInteger, nullable=False, autoincrement=False),
)

streams = Table(
    "learning_streams",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("stream_id", Text, primary_key=True, nullable=False),
    Column("acknowledged_through", BigInteger, nullable=False, autoincrement=False),
    Column("updated_at", Instant, nullable=False),
    Index("ix_learning_streams_updated_at", "updated_at"),
)

# What engines saw and learning has not taken on yet.
outbox = Table(
    "learning_outbox",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("idempotency_key", Text, primary_key=True, nullable=False),
    Column("written_at", Instant, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
    Index("ix_learning_outbox_written_at", "written_at"),
)
