"""The values that the signal rooms take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from selene.learning.v1.signal_pb2 import CapturedSignal, IntakePath, LearningSignal, SealedSignal

from store.merkle import EMPTY_ROOT, leaf_hash, node_hash

PURPOSE = "learning.signal"
OF_LEARNING = "learning:"


def subject_of(user_id: str) -> str:
    """The subject under whose key everything is sealed that is learned from a user: what ends their consent destroys
    it, and nothing else that is theirs.
    """
    return OF_LEARNING + user_id


class NewSignal(NamedTuple):
    """A signal to keep, with the way that it takes. Without `admissible` it is only looked for: what was taken on once
    stays so, whatever would be said of it by now.
    """

    signal: LearningSignal
    intake_path: IntakePath
    safety_critical: bool = False
    admissible: bool = True


@dataclass(slots=True)  # not frozen: one is made for each signal, in a third of the time
class Captured:
    """The signal is kept. `repeated`: it had been before, and nothing was written. `canonical` are the bytes that are
    kept of a new one, sealed.
    """

    row: CapturedSignal
    repeated: bool
    canonical: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class KeyReused:
    """Its idempotency key stands for another signal: nothing was written."""

    idempotency_key: str


@dataclass(frozen=True, slots=True)
class IdTaken:
    """Another signal has its id: nothing was written."""

    signal_id: str


@dataclass(frozen=True, slots=True)
class Erased:
    """It was kept once, and its key was destroyed since: nothing was written."""

    signal_id: str


@dataclass(frozen=True, slots=True)
class Absent:
    """It was not admissible, and had not been taken on before."""


Outcome = Captured | KeyReused | IdTaken | Erased | Absent


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signal that an engine left for learning, and when."""

    signal: LearningSignal
    written_at: datetime


def canonical(signal: LearningSignal, row: CapturedSignal, sealed: bytes) -> bytes:
    """The bytes that are kept of a captured signal, and that the audit trail vouches for."""
    kept = SealedSignal(
        signal_id=signal.signal_id,
        idempotency_key=signal.idempotency_key,
        domain=signal.domain,
        intake_path=row.intake_path,
        priority_bp=row.priority_bp,
        frequency=row.frequency,
        sequence=row.sequence,
        captured_at=row.captured_at,
        sealed=sealed,
    )
    return kept.SerializeToString(deterministic=True)


def restored(kept: SealedSignal, tenant_id: str, signal: bytes | None) -> CapturedSignal:
    """The signal as it was captured; without its bytes, what is left of it."""
    row = CapturedSignal(
        intake_path=kept.intake_path,
        priority_bp=kept.priority_bp,
        frequency=kept.frequency,
        sequence=kept.sequence,
        captured_at=kept.captured_at,
        erased=signal is None,
    )
    if signal is not None:
        row.signal.MergeFromString(signal)
        return row
    row.signal.signal_id, row.signal.tenant_id = kept.signal_id, tenant_id
    row.signal.idempotency_key, row.signal.domain = kept.idempotency_key, kept.domain
    return row


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
