"""The values that the signal rooms take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from selene.learning.v1.signal_pb2 import CapturedSignal, IntakePath, LearningSignal

from store.merkle import EMPTY_ROOT, leaf_hash, node_hash


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
    """The signal is kept. `repeated`: it had been before, and nothing was written. `canonical` are its bytes."""

    row: CapturedSignal
    repeated: bool
    canonical: bytes = field(repr=False)


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


def signals_root(captured: Sequence[Captured]) -> bytes:
    """The Merkle root (RFC 9162) over signals that were captured together, in the order of their sequences: what the
    audit row of their capture says. 32 bytes.
    """
    return root([leaf_hash(one.canonical) for one in captured])


def root(leaves: Sequence[bytes]) -> bytes:
    """`store.merkle.tree_root` of leaves that are all there: level by level, in a third of its time."""
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:
        pairs = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]
