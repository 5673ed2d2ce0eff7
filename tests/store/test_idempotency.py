from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import IdempotencyConflict, Store, UnansweredClaim, request_hash
from tests.support.stores import audit, open_store

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
HASH = request_hash("content")


async def enroll(store: Store, key: str, content: bytes, response: bytes) -> bytes:
    async with store.transaction() as tx:
        earlier = await tx.idempotent("t1", "Enroll", key, content)
        if earlier is not None:
            return earlier
        audit(tx)
        await tx.remember("t1", "Enroll", key, response)
    return response


@given(st.lists(values, max_size=4), st.lists(values, max_size=4))
def test_requests_hash_alike_only_when_they_are_alike(one: list[object], other: list[object]) -> None:
    alike = repr(one) == repr(other) or (one == other and str(one) == str(other))
    assert (request_hash(*one) == request_hash(*other)) >= alike
    if request_hash(*one) == request_hash(*other):
        assert one == other


def test_a_field_boundary_cannot_be_shifted() -> None:
    assert request_hash("ab", "c") != request_hash("a", "bc")
    assert request_hash("a", ["b", "c"]) != request_hash("a", "b", "c")
    assert request_hash(1) != request_hash("1") != request_hash(b"1")
    assert request_hash(True) != request_hash(1)


def test_sets_and_mappings_hash_alike_in_any_order() -> None:
    assert request_hash({"x", "y", "z"}) == request_hash({"z", "y", "x"})
    assert request_hash({"a": 1, "b": 2}) == request_hash({"b": 2, "a": 1})


def test_a_float_has_no_canonical_encoding() -> None:
    with pytest.raises(TypeError, match="float"):
        request_hash(0.1)  # type: ignore[arg-type]  # what is tested


async def test_the_same_key_and_content_returns_the_first_result(store: Store) -> None:
    assert await enroll(store, "k1", HASH, b"first") == b"first"
    assert await enroll(store, "k1", HASH, b"second") == b"first"
    assert await store.audit.size("t1") == 1


async def test_the_same_key_with_other_content_is_refused(store: Store) -> None:
    await enroll(store, "k1", HASH, b"first")
    with pytest.raises(IdempotencyConflict):
        await enroll(store, "k1", request_hash("other"), b"second")


async def test_keys_of_tenants_and_methods_do_not_meet(store: Store) -> None:
    await enroll(store, "k1", HASH, b"first")
    async with store.transaction() as tx:
        assert await tx.idempotent("t2", "Enroll", "k1", HASH) is None
        assert await tx.idempotent("t1", "Revoke", "k1", HASH) is None
        audit(tx)
        await tx.remember("t2", "Enroll", "k1", b"")
        await tx.remember("t1", "Revoke", "k1", b"")


async def test_a_failed_attempt_leaves_the_key_free(store: Store) -> None:
    with pytest.raises(LookupError):
        async with store.transaction() as tx:
            await tx.idempotent("t1", "Enroll", "k1", HASH)
            raise LookupError
    assert await enroll(store, "k1", HASH, b"second attempt") == b"second attempt"


async def test_a_claim_that_is_not_answered_is_refused(store: Store) -> None:
    with pytest.raises(UnansweredClaim):
        async with store.transaction() as tx:
            await tx.idempotent("t1", "Enroll", "k1", HASH)
            audit(tx)


async def test_an_answer_without_a_claim_is_refused(sqlite_store: Store) -> None:
    async with sqlite_store.transaction() as tx:
        with pytest.raises(ValueError, match="not claimed"):
            await tx.remember("t1", "Enroll", "k1", b"")


async def test_concurrent_duplicates_on_two_servers_do_the_work_once(store_url: str) -> None:
    stores = [await open_store(store_url, prefix=f"server{number}") for number in range(2)]
    results = await asyncio.gather(
        *(enroll(stores[number % 2], "k1", HASH, f"by {number}".encode()) for number in range(12))
    )
    assert len(set(results)) == 1
    assert await stores[0].audit.size("t1") == 1
    for store in stores:
        await store.close()
