"""Keys and payloads of gold sets: canonical, and different for whatever differs."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, SCOPE_TYPE_USER, Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate, LabelledItem
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_NLP_INTENT_SLOT,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_TIER_1_HARD_TRUTH,
    GOLD_TIER_2_HUMAN_VERIFIED,
)

from servers.learning.identity import (
    PayloadMalformed,
    canonical_payload,
    idempotency_key,
    payload_hash,
    read_payload,
)
from tests.servers.learning.items import edit, edits, item, label, labelled, meant, turn, utterance

SCOPE = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id="t1")
CANDIDATE = GoldCandidate(
    gold_set_id="g1",
    domain=GOLD_DOMAIN_NLP_INTENT_SLOT,
    tier=GOLD_TIER_2_HUMAN_VERIFIED,
    tenant_id="t1",
    scope=SCOPE,
    policy_version="P1",
)
ITEMS = [
    labelled(turn("time"), [meant(time="7", place="here", mood="early"), meant(time="7")], "i1"),
    labelled(turn(), [meant("timer.set")], "i2"),
]
texts = st.text(max_size=5)
keys = st.tuples(texts, texts, st.frozensets(texts, max_size=3), st.integers(0, 12))


def key(scope_id: str, policy: str, signals: frozenset[str], version: int) -> str:
    scope = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=scope_id)
    return idempotency_key(scope, GOLD_DOMAIN_STT_TRANSCRIPT, policy, signals, version)


def test_the_key_is_sha256_over_length_prefixed_fields() -> None:
    fields = ("2", "t1", "2", "P1", "s1", "s2", "3")
    encoded = b"".join(len(field).to_bytes(8, "big") + field.encode() for field in fields)
    made = idempotency_key(SCOPE, GOLD_DOMAIN_STT_TRANSCRIPT, "P1", ["s2", "s1", "s2"], 3)
    assert made == sha256(encoded).hexdigest()


@given(keys, keys)
def test_no_shifted_boundary_makes_two_keys_alike(
    one: tuple[str, str, frozenset[str], int], other: tuple[str, str, frozenset[str], int]
) -> None:
    assert (key(*one) == key(*other)) is (one == other)


def test_the_kind_of_scope_and_the_domain_are_of_the_key() -> None:
    user = Scope(scope_type=SCOPE_TYPE_USER, scope_id="t1")
    made = {
        idempotency_key(SCOPE, GOLD_DOMAIN_STT_TRANSCRIPT, "P1", ["s1"], 1),
        idempotency_key(user, GOLD_DOMAIN_STT_TRANSCRIPT, "P1", ["s1"], 1),
        idempotency_key(SCOPE, GOLD_DOMAIN_NLP_INTENT_SLOT, "P1", ["s1"], 1),
    }
    assert len(made) == 3


@settings(deadline=None)
@given(st.permutations(ITEMS))
def test_a_payload_does_not_depend_on_what_arrived_first(items: Sequence[LabelledItem]) -> None:
    shuffled = [LabelledItem(item=each.item, labels=reversed(each.labels)) for each in items]
    assert canonical_payload(CANDIDATE, shuffled) == canonical_payload(CANDIDATE, ITEMS)


def test_a_payload_does_not_depend_on_who_assembled_it_and_when() -> None:
    later = [LabelledItem.FromString(each.SerializeToString()) for each in ITEMS]
    later[0].labels[0].labelled_at.CopyFrom(Timestamp(seconds=5))
    again = GoldCandidate.FromString(CANDIDATE.SerializeToString())
    again.gold_set_id, again.proposed_by, again.state, again.frozen = "g2", "zoe", GOLD_STATE_GOLD_APPROVED, True
    again.signal_count, again.item_count, again.label_count, again.rebuilt_from = 1, 2, 3, "g1"
    again.proposed_at.CopyFrom(Timestamp(seconds=9))
    assert canonical_payload(again, later) == canonical_payload(CANDIDATE, ITEMS)


def test_fields_that_nobody_knows_are_no_content() -> None:
    unknown = LabelledItem.FromString(ITEMS[0].SerializeToString() + b"\xfa\x3f\x01x")
    assert unknown != ITEMS[0]
    assert canonical_payload(CANDIDATE, [unknown, ITEMS[1]]) == canonical_payload(CANDIDATE, ITEMS)


def test_whatever_was_said_is_content() -> None:
    other_tier = GoldCandidate.FromString(CANDIDATE.SerializeToString())
    other_tier.tier = GOLD_TIER_1_HARD_TRUTH
    other_scope = GoldCandidate.FromString(CANDIDATE.SerializeToString())
    other_scope.scope.scope_id = "t2"
    first, second = ITEMS
    payloads = {
        canonical_payload(CANDIDATE, ITEMS),
        canonical_payload(other_tier, ITEMS),
        canonical_payload(other_scope, ITEMS),
        canonical_payload(CANDIDATE, [first]),
        canonical_payload(CANDIDATE, []),
        canonical_payload(CANDIDATE, [first, LabelledItem(item=second.item)]),
        canonical_payload(CANDIDATE, [first, LabelledItem(item=second.item, labels=[label(meant(), "ben", "i2")])]),
        canonical_payload(CANDIDATE, [first, LabelledItem(item=item(turn("x"), "i2"), labels=second.labels)]),
    }
    assert len({payload_hash(each) for each in payloads}) == 8


def test_a_payload_is_read_back_whole() -> None:
    header, items = read_payload(canonical_payload(CANDIDATE, reversed(ITEMS)))
    assert (header.domain, header.tier, header.tenant_id, header.policy_version, header.scope) == (
        CANDIDATE.domain,
        CANDIDATE.tier,
        "t1",
        "P1",
        SCOPE,
    )
    assert list(items) == ITEMS


def test_bytes_that_were_not_written_so_are_no_payload() -> None:
    payload = canonical_payload(CANDIDATE, ITEMS)
    frames = [canonical_payload(CANDIDATE, [each])[len(canonical_payload(CANDIDATE, [])) :] for each in ITEMS]
    empty = canonical_payload(CANDIDATE, [])
    broken = [b"", payload[:-1], payload + b"\0", payload[1:], b"\0" * 7, empty + frames[1] + frames[0]]
    for each in broken:
        with pytest.raises(PayloadMalformed):
            read_payload(each)
    assert empty + frames[0] + frames[1] == payload


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_are_read_as_more_than_they_are(wrote: bytes) -> None:
    try:
        header, items = read_payload(wrote)
    except PayloadMalformed:
        return
    assert canonical_payload(header, items) == wrote


def test_many_items_have_one_hash() -> None:
    items = [labelled(utterance(2), [edits(edit(0, 1, "x"))], f"i{each}") for each in range(2000)]
    hashes = {payload_hash(canonical_payload(CANDIDATE, each)) for each in (items, items[::-1])}
    assert len(hashes) == 1
