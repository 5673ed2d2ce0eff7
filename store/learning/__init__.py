"""What learning keeps of signals (§4, §7). `store.learning` reads; `tx.learning` reads and writes within a transaction.

Rooms: `signals` (append-only), `streams` (how far each is), `outbox` (what engines saw and learning has not taken on),
`drift` (of voice identity, with what came of it), `confusion` (pairs of speakers who are taken for each other).

A signal is a row: what is searched for, and what its producer said, sealed under the key of its user. Nothing but the
key tells whose it is, so that destroying it erases the signal (§21); the bytes stay, and so does what vouches for them.
Signals that are captured together share one audit row, which holds their Merkle root and their sequences: an audit row
is as dear as a signal, so this halves what a batch costs, and still no signal can be changed, dropped or slipped in
unseen: `first_unproved` finds it, and `inclusion_proof` of `store.merkle` shows a single one to belong to its row.
"""

from __future__ import annotations

from store.access import Reads, Writes
from store.learning.drift import Breach, Confusion, ConfusionReader, Drift, DriftReader, Pair, Standing
from store.learning.reading import CAPTURED, ROOT, SignalOutboxReader, SignalsReader, SignalStreamsReader
from store.learning.row import (
    Absent,
    Captured,
    Erased,
    IdTaken,
    KeyReused,
    NewSignal,
    Outcome,
    Outgoing,
    signals_root,
)
from store.learning.writing import AT_MOST, ErasedSignals, SignalOutbox, Signals, SignalStreams, Weigh
from store.vault import Vault, VaultReader

__all__ = [
    "AT_MOST",
    "CAPTURED",
    "ROOT",
    "Absent",
    "Breach",
    "Captured",
    "Erased",
    "ErasedSignals",
    "IdTaken",
    "KeyReused",
    "Learning",
    "LearningReader",
    "NewSignal",
    "Outcome",
    "Outgoing",
    "Pair",
    "Standing",
    "Weigh",
    "signals_root",
]


class LearningReader:
    """The reading side."""

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self.signals = SignalsReader(reads, vault)
        self.streams = SignalStreamsReader(reads)
        self.outbox = SignalOutboxReader(reads)
        self.drift = DriftReader(reads)
        self.confusion = ConfusionReader(reads)


class Learning:
    """The writing side, within one transaction; the caller audits."""

    def __init__(self, writes: Writes, vault: Vault) -> None:
        self.signals = Signals(writes, vault)
        self.streams = SignalStreams(writes)
        self.outbox = SignalOutbox(writes)
        self.drift = Drift(writes)
        self.confusion = Confusion(writes)
