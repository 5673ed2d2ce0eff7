"""Tables of gold: candidates, their evidence, what became of them, and lineage (§6, §17, §18).

`gold_transitions` and `gold_sets` are append-only: triggers refuse every change of them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text

from store.schema import Instant, metadata

gold_candidates = Table(
    "gold_candidates",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("gold_set_id", Text, primary_key=True, nullable=False),
    Column("domain", Integer, nullable=False),
    Column("tier", Integer, nullable=False),
    Column("scope_type", Integer, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("state", Integer, nullable=False),
    Column("frozen", Boolean, nullable=False),
    # Counts every change: what was computed of the evidence holds only while it is the same.
    Column("revision", BigInteger, nullable=False),
    Column("signal_count", BigInteger, nullable=False),
    Column("item_count", BigInteger, nullable=False),
    Column("label_count", BigInteger, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("proposed_at", Instant, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("rebuilt_from", Text, nullable=False),
    Index("ix_gold_candidates_proposed_at", "tenant_id", "proposed_at", "gold_set_id"),
    Index("ix_gold_candidates_state", "tenant_id", "state"),
)

gold_items = Table(
    "gold_items",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("gold_set_id", Text, primary_key=True, nullable=False),
    Column("item_id", Text, primary_key=True, nullable=False),
    Column("signal_id", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

gold_labels = Table(
    "gold_labels",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("gold_set_id", Text, primary_key=True, nullable=False),
    Column("item_id", Text, primary_key=True, nullable=False),
    Column("labeller", Text, primary_key=True, nullable=False),
    Column("labelled_at", Instant, nullable=False),
    # Without who and when, so that the same label again is the same bytes.
    Column("content", LargeBinary, nullable=False),
)

gold_transitions = Table(
    "gold_transitions",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("gold_set_id", Text, primary_key=True, nullable=False),
    Column("number", BigInteger, primary_key=True, nullable=False, autoincrement=False),
    Column("from_state", Integer, nullable=False),
    Column("to_state", Integer, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
)

gold_sets = Table(
    "gold_sets",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("gold_set_id", Text, primary_key=True, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
)

gold_lineage = Table(
    "gold_lineage",
    metadata,
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("ancestor_ref", Text, primary_key=True, nullable=False),
    Column("descendant_ref", Text, primary_key=True, nullable=False),
    Index("ix_gold_lineage_descendant", "tenant_id", "descendant_ref", "ancestor_ref"),
    # The key is all that there is of an edge: kept once, not once more beside it.
    sqlite_with_rowid=False,
)
