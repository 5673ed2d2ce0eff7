"""The decrypted gallery: what is in it, what is left out, and that it is never older than the call."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.voiceid.roster import Rosters, from_blob, to_blob
from store import Store
from tests.support.stores import audit
from tests.support.time import FakeClock

DIMENSIONS = (4, 3)
MODELS = "aa" * 32
Floats = npt.NDArray[np.float32]


def vectors(seed: int) -> tuple[Floats, ...]:
    """One unit vector a model."""
    rng = np.random.default_rng(seed)
    raw = [rng.normal(size=size) for size in DIMENSIONS]
    return tuple((one / np.linalg.norm(one)).astype(np.float32) for one in raw)


async def lock(
    store: Store,
    user_id: str,
    seed: int = 0,
    *,
    tenant: str = "t1",
    models: str = MODELS,
    days: int | None = None,
    blob: bytes = b"",
) -> None:
    async with store.transaction() as tx:
        expires_at = None if days is None else tx.clock.now() + timedelta(days=days)
        await tx.voiceid.profiles.lock(
            tenant,
            user_id,
            embedding=blob or to_blob(vectors(seed)),
            model_set_hash=models,
            clip_count=3,
            voiced_ms=7000,
            consent_ref="c",
            expires_at=expires_at,
        )
        audit(tx, tenant)


async def revoke(store: Store, user_id: str) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.profiles.revoke("t1", user_id)
        audit(tx)


@pytest.fixture
def rosters(store: Store) -> Rosters:
    return Rosters(store, DIMENSIONS, MODELS)


@given(st.integers(0, 2**32 - 1))
def test_a_blob_gives_its_vectors_back(seed: int) -> None:
    given_back = from_blob(to_blob(vectors(seed)), DIMENSIONS)
    assert given_back is not None
    assert all(np.array_equal(one, other) for one, other in zip(given_back, vectors(seed), strict=True))


@given(st.binary(max_size=40))
def test_bytes_that_are_no_unit_vectors_are_none(data: bytes) -> None:
    opened = from_blob(data, DIMENSIONS)
    assert opened is None or all(abs(float(np.linalg.norm(one)) - 1.0) < 1e-3 for one in opened)


@pytest.mark.parametrize(
    "blob", [b"", b"\0" * 28, np.full(7, np.nan, "<f4").tobytes(), np.full(7, 2.0, "<f4").tobytes()]
)
def test_no_direction_is_no_embedding(blob: bytes) -> None:
    assert from_blob(blob, DIMENSIONS) is None


async def test_it_holds_everyone_enrolled_and_compares_with_them(
    store: Store, rosters: Rosters, clock: FakeClock
) -> None:
    for seed, user in enumerate(("mira", "otto", "zoe")):
        await lock(store, user, seed)
    roster = await rosters.of("t1", clock.now())
    assert list(roster.index) == ["mira", "otto", "zoe"]
    compared = roster.compare([roster.index["otto"]], vectors(1))
    assert [(one.user_id, one.profile_version) for one in compared] == [("otto", 1)]
    assert compared[0].cosines == pytest.approx((1.0, 1.0), abs=1e-5)


async def test_a_change_is_seen_by_the_next_call(store: Store, rosters: Rosters, clock: FakeClock) -> None:
    await lock(store, "mira", 0)
    assert len(await rosters.of("t1", clock.now())) == 1
    await lock(store, "otto", 1)
    assert len(await rosters.of("t1", clock.now())) == 2
    await lock(store, "mira", 5)
    again = await rosters.of("t1", clock.now())
    assert again.profile_versions[again.index["mira"]] == 2
    assert np.allclose(again.first.embeddings[again.index["mira"]], vectors(5)[0])
    await revoke(store, "mira")
    assert list((await rosters.of("t1", clock.now())).index) == ["otto"]


async def test_without_a_change_it_is_not_built_again(store: Store, rosters: Rosters, clock: FakeClock) -> None:
    await lock(store, "mira")
    first = await rosters.of("t1", clock.now())
    assert await rosters.of("t1", clock.now()) is first


async def test_what_was_made_by_other_models_is_counted_and_left_out(
    store: Store, rosters: Rosters, clock: FakeClock
) -> None:
    await lock(store, "mira", models="bb" * 32)
    await lock(store, "otto", blob=b"\1" * 12)
    await lock(store, "zoe", 2)
    roster = await rosters.of("t1", clock.now())
    assert list(roster.index) == ["zoe"]
    assert roster.stale == 2


async def test_an_expired_profile_leaves_at_its_time(store: Store, rosters: Rosters, clock: FakeClock) -> None:
    await lock(store, "mira", 0, days=1)
    await lock(store, "otto", 1, days=3)
    now = clock.now()
    assert len(await rosters.of("t1", now + timedelta(hours=23))) == 2
    assert list((await rosters.of("t1", now + timedelta(days=1))).index) == ["otto"]
    assert len(await rosters.of("t1", now + timedelta(days=3))) == 0


async def test_tenants_do_not_mix(store: Store, rosters: Rosters, clock: FakeClock) -> None:
    await lock(store, "mira", 0, tenant="t1")
    await lock(store, "otto", 1, tenant="t2")
    assert list((await rosters.of("t1", clock.now())).index) == ["mira"]
    assert list((await rosters.of("t2", clock.now())).index) == ["otto"]
    assert len(await rosters.of("t3", clock.now())) == 0


async def test_only_some_of_it_is_the_same_people(store: Store, rosters: Rosters, clock: FakeClock) -> None:
    for seed, user in enumerate(("mira", "otto", "zoe")):
        await lock(store, user, seed)
    roster = (await rosters.of("t1", clock.now())).only({"zoe", "mira", "nobody", ""})
    assert list(roster.index) == ["mira", "zoe"]
    assert roster.compare([roster.index["zoe"]], vectors(2))[0].cosines == pytest.approx((1.0, 1.0), abs=1e-5)


async def test_many_callers_at_once_see_the_latest(store: Store, rosters: Rosters, clock: FakeClock) -> None:
    for number in range(5):
        await lock(store, f"user-{number}", number)
        seen = await asyncio.gather(*(rosters.of("t1", clock.now()) for _ in range(10)))
        assert {len(roster) for roster in seen} == {number + 1}
