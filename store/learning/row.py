"""The values that the signal rooms take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from selene.learning.v1.signal_pb2 import CapturedSignal, IntakePath, LearningSignal

from store.merkle import leaf_hash, tree_root


@dataclass(frozen=True, slots=True)
class NewSignal:
    """A signal to keep, with the way that it takes. Without `admissible` it is only looked for: what was taken on once
    stays so, whatever would be said of it by now.
    """

    signal: LearningSignal
    intake_path: IntakePath
    safety_critical: bool = False
    admissible: bool = True


@dataclass(frozen=True, slots=True)
class Captured:
    """The signal is kept. `repeated`: it had been before, and nothing was written."""

    row: CapturedSignal
    repeated: bool


@dataclass(frozen=True, slots=True)
class KeyReused:
    """Its idempotency key stands for another signal: nothing was written."""

    idempotency_key: str


@dataclass(frozen=True, slots=True)
class IdTaken:
    """Another signal has its id: nothing was written."""

    signal_id: str


@dataclass(frozen=True, slots=True)
class Absent:
    """It was not admissible, and had not been taken on before."""


Outcome = Captured | KeyReused | IdTaken | Absent


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signal that an engine left for learning, and when."""

    signal: LearningSignal
    written_at: datetime


def canonical(row: CapturedSignal) -> bytes:
    """The bytes that are kept of a captured signal, and that the audit trail vouches for."""
    return row.SerializeToString(deterministic=True)


def signals_root(rows: Sequence[CapturedSignal]) -> bytes:
    """The Merkle root (RFC 9162) over signals that were captured together, in the order of their sequences: what the
    audit row of their capture says. 32 bytes.
    """
    return tree_root(leaf_hash(canonical(row)) for row in rows)
