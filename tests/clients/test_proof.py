"""What a holder of a proof checks without the store: against the store's own trees, and against tampering."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.audit.v1 import audit_pb2 as wire
from selene_messages.selene.audit import v1

from clients.proof import (
    Evidence,
    Fault,
    extends,
    findings,
    includes,
    leaf_hash,
    node_hash,
    row_hash,
    signature_holds,
)
from clients.wire import to_message
from store import merkle
from store.checkpoint import signed_bytes
from store.keys import SigningKey
from store.ledger import Head

ROWS = 11
SIGNING = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(range(1, 33)))
SIZES = st.integers(1, 70)


def trail(rows: int = ROWS, *, changed: int = 0) -> list[wire.ChainedEvent]:
    """A chain as the store makes it; ``changed`` is a row that says something else."""
    head, chain = Head(), []
    for sequence in range(1, rows + 1):
        event = wire.AuditEvent(sequence=sequence, tenant_id="dev", owner="PH1.TEST", transition="test.changed")
        event.occurred_at.FromDatetime(datetime(2026, 1, 1, 0, 0, sequence, 123_456, tzinfo=UTC))
        event.reason_code = "CHANGED" if sequence == changed else "OK"
        before, head = head, head.append(event.SerializeToString(deterministic=True))
        chain.append(wire.ChainedEvent(event=event, prev_hash=before.head_hash, row_hash=head.head_hash))
    return chain


def leaves(chain: list[wire.ChainedEvent]) -> list[bytes]:
    return [merkle.leaf_hash(one.row_hash) for one in chain]


def signed(chain: list[wire.ChainedEvent], key: SigningKey = SIGNING, tenant_id: str = "dev") -> v1.Checkpoint:
    checkpoint = wire.Checkpoint(ledger="audit_events", tenant_id=tenant_id, tree_size=len(chain), key_id=key.key_id)
    checkpoint.root_hash = merkle.tree_root(leaves(chain))
    checkpoint.signed_at.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    checkpoint.signature = key.sign(signed_bytes(checkpoint))
    return to_message(checkpoint, v1.Checkpoint)


def proved(chain: list[wire.ChainedEvent], sequence: int, since: int = 0) -> Evidence:
    path = merkle.inclusion_proof(leaves(chain), sequence - 1)
    connecting = merkle.consistency_proof(leaves(chain), since) if since else []
    return Evidence(
        signed(chain),
        SIGNING.public,
        v1.GetInclusionProofResponse(
            event=to_message(chain[sequence - 1], v1.ChainedEvent),
            proof=v1.InclusionProof(leaf_index=sequence - 1, tree_size=len(chain), path=path),
        ),
        v1.GetConsistencyProofResponse(
            proof=v1.ConsistencyProof(first_size=since, second_size=len(chain), path=connecting)
        )
        if since
        else None,
    )


def faults(evidence: Evidence, *, key: bytes = SIGNING.public, since: v1.Checkpoint | None = None) -> set[Fault]:
    return {one.fault for one in findings(evidence, key=key, since=since)}


@given(SIZES, st.data())
def test_paths_are_believed_where_the_store_believes_them(size: int, data: st.DataObject) -> None:
    tree = [merkle.leaf_hash(bytes([number])) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(1, size))
    root, path = merkle.tree_root(tree), merkle.inclusion_proof(tree, index)
    assert includes(tree[index], index, size, path, root)
    old, connecting = merkle.tree_root(tree[:first]), merkle.consistency_proof(tree, first)
    assert extends(first, old, size, root, connecting)
    at = data.draw(st.integers(-1, size + 1))
    assert includes(tree[index], at, size, path, root) is merkle.verify_inclusion(tree[index], at, size, path, root)
    assert includes(tree[index], at, size, path, root) is (at == index)
    other = data.draw(st.integers(-1, size + 1))
    assert extends(other, old, size, root, connecting) is merkle.verify_consistency(other, old, size, root, connecting)
    if path:
        turned = [*path[:-1], node_hash(path[-1], path[-1])]
        assert not includes(tree[index], index, size, turned, root)
        assert not includes(tree[index], index, size, path[:-1], root)
    assert not includes(tree[index], index, size, [*path, root], root)


def test_hashes_are_those_of_the_reference_vectors_of_certificate_transparency() -> None:
    empty, zero = leaf_hash(b""), leaf_hash(b"\x00")
    assert empty.hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert node_hash(empty, zero).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"


@pytest.mark.parametrize("sequence", range(1, ROWS + 1))
@pytest.mark.parametrize("since", [0, 1, 4, ROWS])
def test_every_event_of_a_trail_that_only_grew_is_proved(sequence: int, since: int) -> None:
    chain = trail()
    before = signed(chain[:since]) if since else None
    assert not faults(proved(chain, sequence, since), since=before)


def test_a_row_hash_covers_the_event_and_the_row_before() -> None:
    chained = to_message(trail()[3], v1.ChainedEvent)
    assert row_hash(chained) == chained.row_hash
    assert row_hash(replace(chained, prev_hash=bytes(32))) != chained.row_hash


def test_an_event_that_says_something_else_is_found() -> None:
    whole = proved(trail(), 5)
    assert whole.inclusion is not None
    forged = to_message(trail(changed=5)[4], v1.ChainedEvent)
    event_of_the_forger = replace(whole, inclusion=replace(whole.inclusion, event=forged))
    assert faults(event_of_the_forger) == {Fault.NOT_INCLUDED}
    chained = replace(forged, row_hash=to_message(trail()[4], v1.ChainedEvent).row_hash)
    with_the_old_hash = replace(whole, inclusion=replace(whole.inclusion, event=chained))
    assert faults(with_the_old_hash) == {Fault.EVENT_CHANGED, Fault.NOT_INCLUDED}


def test_an_event_of_another_place_or_trail_is_found() -> None:
    whole = proved(trail(), 5)
    other = proved(trail(), 6).inclusion
    assert whole.inclusion is not None and other is not None
    elsewhere = replace(whole, inclusion=replace(whole.inclusion, event=other.event))
    assert faults(elsewhere) == {Fault.EVENT_CHANGED, Fault.NOT_INCLUDED}
    assert faults(replace(whole, checkpoint=signed(trail(), tenant_id="acme"))) == {Fault.OTHER_TRAIL}


@pytest.mark.parametrize("key", [OTHER.public, b"", bytes(31), bytes(32)])
def test_a_checkpoint_is_believed_by_no_other_key(key: bytes) -> None:
    assert faults(proved(trail(), 1), key=key) == {Fault.SIGNATURE_BROKEN}


@pytest.mark.parametrize("field", ["ledger", "tenant_id", "tree_size", "root_hash", "signed_at", "key_id"])
def test_a_signature_covers_every_field(field: str) -> None:
    checkpoint = signed(trail())
    other = signed(trail(3), OTHER, "acme")
    changed: dict[str, Any] = {"ledger": "artifacts_ledger", "signed_at": datetime(2026, 1, 3, tzinfo=UTC)}
    assert signature_holds(checkpoint, SIGNING.public)
    turned: dict[str, Any] = {field: changed.get(field, getattr(other, field))}
    assert not signature_holds(replace(checkpoint, **turned), SIGNING.public)


def test_a_trail_cut_short_or_rewritten_since_a_kept_checkpoint_is_found() -> None:
    kept = signed(trail())
    assert faults(proved(trail(6), 1), since=kept) == {Fault.CUT_SHORT}
    rewritten = trail(changed=2)
    assert faults(proved(rewritten, 5), since=kept) == {Fault.HISTORY_CHANGED}
    longer = trail(20, changed=2)
    assert faults(proved(longer, 5, ROWS), since=kept) == {Fault.HISTORY_CHANGED}


def test_what_nothing_connects_with_a_kept_checkpoint_is_not_believed() -> None:
    kept = signed(trail(4))
    assert faults(proved(trail(), 5), since=kept) == {Fault.NOT_CONNECTED}
    assert faults(proved(trail(), 5, since=3), since=kept) == {Fault.NOT_CONNECTED}
    assert faults(proved(trail(), 5, since=4), since=signed(trail(4), OTHER)) == {Fault.SIGNATURE_BROKEN}
    assert faults(proved(trail(), 5, since=4), since=signed(trail(4), tenant_id="acme")) == {Fault.OTHER_TRAIL}
