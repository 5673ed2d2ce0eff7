"""Proofs of the audit trail, checked by whoever holds them (RFC 9162, AUD-1): no server and no store is believed.

Pure. What is believed is one Ed25519 key, and whatever checkpoint was kept from before.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from selene.audit.v1 import audit_pb2 as wire
from selene_messages.selene.audit import v1

from clients.wire import to_wire


class Fault(StrEnum):
    """Why evidence does not hold."""

    SIGNATURE_BROKEN = "SIGNATURE_BROKEN"
    """The key that is believed did not sign this checkpoint."""
    OTHER_TRAIL = "OTHER_TRAIL"
    """Of another tenant or ledger than the checkpoint."""
    EVENT_CHANGED = "EVENT_CHANGED"
    """The row's hash is not that of the event, or the event is not at that place."""
    NOT_INCLUDED = "NOT_INCLUDED"
    """The path does not lead from the row to the signed root."""
    CUT_SHORT = "CUT_SHORT"
    """The trail is shorter than it was."""
    HISTORY_CHANGED = "HISTORY_CHANGED"
    """What was there before is not what is there now."""
    NOT_CONNECTED = "NOT_CONNECTED"
    """Nothing connects the earlier checkpoint with this one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    fault: Fault
    detail: str

    def __str__(self) -> str:
        return f"{self.fault.value}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A signed checkpoint of the trail and what is claimed about it: that it holds an event, that it only grew.

    ``public_key`` (32 bytes) is the one that its server named; `findings` believes no key but the one that it is given.
    """

    checkpoint: v1.Checkpoint
    public_key: bytes
    inclusion: v1.GetInclusionProofResponse | None = None
    consistency: v1.GetConsistencyProofResponse | None = None

    @property
    def event(self) -> v1.AuditEvent:
        """The event that is claimed to be in the trail; an empty one where none is."""
        chained = self.inclusion.event if self.inclusion else None
        return (chained.event if chained else None) or v1.AuditEvent()


class ProofBroken(Exception):
    """Evidence that does not hold, and the ``findings`` that say why."""

    def __init__(self, evidence: Evidence, findings: Sequence[Finding]) -> None:
        self.evidence = evidence
        self.findings = tuple(findings)
        super().__init__("; ".join(map(str, findings)))


def findings(evidence: Evidence, *, key: bytes, since: v1.Checkpoint | None = None) -> list[Finding]:
    """What is wrong with the evidence; empty when it holds.

    ``key`` is the Ed25519 public key that is believed, 32 bytes. ``since`` is a checkpoint that was kept: the trail
    must only have grown since, and the same key must have signed it.
    """
    return [
        *_unsigned(evidence.checkpoint, key, "the checkpoint"),
        *(_of_event(evidence.checkpoint, evidence.inclusion) if evidence.inclusion else ()),
        *(_since(evidence, since, key) if since else ()),
    ]


def row_hash(chained: v1.ChainedEvent) -> bytes:
    """SHA-256(0x00 || prev_hash || deterministic bytes of the event)."""
    canonical = to_wire(chained.event or v1.AuditEvent(), wire.AuditEvent).SerializeToString(deterministic=True)
    return hashlib.sha256(b"\x00" + chained.prev_hash + canonical).digest()


def signature_holds(checkpoint: v1.Checkpoint, key: bytes) -> bool:
    """Whether the key signed exactly this checkpoint; what is no key of 32 bytes signed nothing."""
    unsigned = to_wire(checkpoint, wire.Checkpoint)
    unsigned.ClearField("signature")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            checkpoint.signature, unsigned.SerializeToString(deterministic=True)
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data), RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves the leaf hash to be at ``index`` of the tree (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            at, last = _up_to_a_right_child(at, last)
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def extends(first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that the tree of ``second`` leaves begins with that of ``first`` (section 2.1.4.2)."""
    if 0 < first == second:
        return not path and first_root == second_root
    if not 0 < first < second or not path:
        return False
    nodes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(node, old), node_hash(node, new)
            at, last = _up_to_a_right_child(at, last)
        else:
            new = node_hash(new, node)
        at, last = at >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _up_to_a_right_child(at: int, last: int) -> tuple[int, int]:
    """Past the levels at which the node at the right edge has no sibling."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _unsigned(checkpoint: v1.Checkpoint, key: bytes, name: str) -> Iterator[Finding]:
    if not signature_holds(checkpoint, key):
        signer = checkpoint.key_id or "nobody"
        yield Finding(Fault.SIGNATURE_BROKEN, f"{name} (by {signer}) is not signed by the key that you believe")


def _of_event(checkpoint: v1.Checkpoint, inclusion: v1.GetInclusionProofResponse) -> Iterator[Finding]:
    chained = inclusion.event or v1.ChainedEvent()
    event = chained.event or v1.AuditEvent()
    proof = inclusion.proof or v1.InclusionProof()
    if event.tenant_id != checkpoint.tenant_id:
        yield Finding(Fault.OTHER_TRAIL, f"an event of {event.tenant_id!r}, a checkpoint of {checkpoint.tenant_id!r}")
    if row_hash(chained) != chained.row_hash or event.sequence != proof.leaf_index + 1:
        yield Finding(Fault.EVENT_CHANGED, f"event {event.sequence} is not what row {proof.leaf_index + 1} says")
    leaf = leaf_hash(row_hash(chained))
    if not includes(leaf, event.sequence - 1, checkpoint.tree_size, proof.path, checkpoint.root_hash):
        yield Finding(
            Fault.NOT_INCLUDED, f"the path does not lead from event {event.sequence} to the root that was signed"
        )


def _since(evidence: Evidence, since: v1.Checkpoint, key: bytes) -> Iterator[Finding]:
    now = evidence.checkpoint
    yield from _unsigned(since, key, "the earlier checkpoint")
    if (since.tenant_id, since.ledger) != (now.tenant_id, now.ledger):
        before = f"{since.ledger} of {since.tenant_id!r}"
        yield Finding(Fault.OTHER_TRAIL, f"it is {now.ledger} of {now.tenant_id!r} now, and was {before}")
        return
    if now.tree_size < since.tree_size:
        yield Finding(Fault.CUT_SHORT, f"the trail has {now.tree_size} rows now, and had {since.tree_size}")
        return
    proof = evidence.consistency.proof if evidence.consistency else None
    path = proof.path if proof and proof.first_size == since.tree_size else []
    if now.tree_size > since.tree_size and not path:
        yield Finding(
            Fault.NOT_CONNECTED, f"no proof connects the {since.tree_size} rows of then with the {now.tree_size} of now"
        )
    elif not extends(since.tree_size, since.root_hash, now.tree_size, now.root_hash, path):
        yield Finding(Fault.HISTORY_CHANGED, f"the first {since.tree_size} rows are not what they were")
