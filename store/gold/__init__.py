"""What gold keeps (§5, §7, §16, §17, §18). `store.gold` reads; `tx.gold` reads and writes within a transaction.

A candidate is made of signals, holds items of evidence, and each item has labels, one a person. It goes through the
states of §17; each state that it reached is a row that is never changed. Once it was approved it has an immutable set,
whose payload lies in the artifacts ledger. `lineage` ties signals, gold and artifacts together.

The rules are the caller's: which transition is allowed, who may label, what a pack is. What the store refuses by itself
is what would make its rows lie: a step from a state that is not the present one, any step of what a revocation froze
but back, evidence that changes after it was approved.
"""

from __future__ import annotations

from store.gold.lineage import Edge, Lineage, LineageReader, artifact_ref, gold_ref, ids_among, signal_ref
from store.gold.reading import Candidate, GoldReader
from store.gold.writing import Added, Gold

__all__ = [
    "Added",
    "Candidate",
    "Edge",
    "Gold",
    "GoldReader",
    "Lineage",
    "LineageReader",
    "artifact_ref",
    "gold_ref",
    "ids_among",
    "signal_ref",
]
