"""What learning keeps of signals (§4, §7). `store.learning` reads; `tx.learning` reads and writes within a transaction.

Rooms: `signals` (append-only), `streams` (how far each is), `outbox` (what engines saw and learning has not taken on).

A signal is a row with the canonical bytes of its CapturedSignal beside what is searched for. Signals that are captured
together share one audit row, which holds their Merkle root and their sequences: an audit row is as dear as a signal, so
this halves what a batch costs, and still no signal can be changed, dropped or slipped in unseen: `first_unproved` finds
it, and `inclusion_proof` of `store.merkle` shows a single one to belong to its row.
"""

from __future__ import annotations

from store.access import Reads, Writes
from store.learning.reading import CAPTURED, ROOT, SignalOutboxReader, SignalsReader, SignalStreamsReader
from store.learning.row import (
    Absent,
    Captured,
    IdTaken,
    KeyReused,
    NewSignal,
    Outcome,
    Outgoing,
    canonical,
    signals_root,
)
from store.learning.writing import AT_MOST, SignalOutbox, Signals, SignalStreams, Weigh

__all__ = [
    "AT_MOST",
    "CAPTURED",
    "ROOT",
    "Absent",
    "Captured",
    "IdTaken",
    "KeyReused",
    "Learning",
    "LearningReader",
    "NewSignal",
    "Outcome",
    "Outgoing",
    "Weigh",
    "canonical",
    "signals_root",
]


class LearningReader:
    """The reading side."""

    def __init__(self, reads: Reads) -> None:
        self.signals = SignalsReader(reads)
        self.streams = SignalStreamsReader(reads)
        self.outbox = SignalOutboxReader(reads)


class Learning:
    """The writing side, within one transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        self.signals = Signals(writes)
        self.streams = SignalStreams(writes)
        self.outbox = SignalOutbox(writes)
