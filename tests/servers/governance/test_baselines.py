"""What the first threshold pack of a line returns to is a copy of what serves more widely: a revocation reaches it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.gold.v1.evidence_pb2 import Assessment, GoldItem, GoldLabel, TrialLabel, VoiceTrial
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_VOICE_IDENTITY,
    GOLD_STATE_ACTIVATED,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
    GOLD_TIER_2_HUMAN_VERIFIED,
)

from servers import packs
from servers.governance import moving
from servers.learning import golding
from servers.learning.gold_service import GoldV1
from servers.packs import PackReason, PackRefused
from servers.runtime.clock import ManualClock
from servers.runtime.ids import SeededIds
from servers.shipped import ARTIFACT_TYPE, DEPLOYMENT, register_pack
from store.gold import artifact_ref
from tests.servers.governance.chain import START, TENANT, Chain, open_store, place
from tests.support.packs import variant
from tests.support.signals import signal
from tests.support.stores import audit

WIDE = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)
NARROW = place("de")
SHIPPED, BY_HAND = variant(), variant(proven=True, policy={"conf_high_bp": 9_700})
IMPOSTORS = 4_000
"""Enough to prove a limit; the set itself would have to have more."""


@pytest.fixture
async def chain(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chain]:
    """Sets are approved whatever they show: what becomes of their packs does not depend on it."""
    monkeypatch.setattr(golding, "assessment_of", lambda known: Assessment(verdict=GOLD_STATE_GOLD_APPROVED))
    clock, ids = ManualClock(START), SeededIds(1)
    store = await open_store(sqlite_url, clock, ids)
    await register_pack(store, SHIPPED, scope=DEPLOYMENT, tenant_id="", provenance_ref="test")
    yield Chain(store, clock, ids)
    await store.close()


async def learned(chain: Chain, scope: Scope, user: str, highest: float, *others: str) -> ArtifactRow:
    """A threshold pack of trials of these users'; no impostor of theirs scores more than `highest`.

    Of each other user as many again as are enough, so that the set still is without one of them.
    """
    signal_ids = []
    for name in (user, *others):
        heard = signal(name, TENANT, chain.clock.now(), user_id=name)
        signal_ids.append((await chain.call("build", "Capture", signal=heard)).captured.signal.signal_id)
    about = {"domain": GOLD_DOMAIN_VOICE_IDENTITY, "tier": GOLD_TIER_2_HUMAN_VERIFIED, "scope": scope}
    proposed = await chain.call("ann", "ProposeGoldSet", signal_ids=signal_ids, **about)
    gold_set_id = proposed.candidate.gold_set_id
    scores = [30.0, *(highest - number for number in range(IMPOSTORS * (1 + len(others))))]
    items = [
        GoldItem(
            item_id=f"{number:05}",
            signal_id=signal_ids[number % len(signal_ids)],
            trial=VoiceTrial(score=score, cohort="en/gb/phone/quiet", enrolled_ref="s-1", test_ref="s-2"),
        )
        for number, score in enumerate(scores)
    ]
    await chain.call("ann", "AddItems", gold_set_id=gold_set_id, items=items)
    labels = [GoldLabel(item_id=one.item_id, trial=TrialLabel(genuine=one is items[0])) for one in items]
    for reviewer in ("rhea", "ravi"):
        await chain.call(reviewer, "LabelItems", gold_set_id=gold_set_id, labels=labels)
    return await chain.packed(gold_set_id)


async def serve(chain: Chain, row: ArtifactRow) -> None:
    """As a rollout ends that everyone has: the version before serves until then, and is what to return to."""
    async with chain.store.transaction() as tx:
        for version in range(1, row.artifact_version + 1):
            await tx.artifacts.activate(ARTIFACT_TYPE, TENANT, row.scope, version)
        audit(tx, TENANT)


async def taken_back(chain: Chain, row: ArtifactRow) -> bytes:
    """What serves in the line once its pack was taken back; nothing where what serves more widely does."""
    async with chain.store.transaction() as tx:
        await moving.take_back(tx, row, "regressed")
        audit(tx, TENANT)
    return await served(chain, row.scope)


async def served(chain: Chain, scope: Scope) -> bytes:
    pointer = await chain.store.artifacts.pointer(ARTIFACT_TYPE, TENANT, scope)
    return await chain.store.artifacts.payload(pointer.active_package_hash) if pointer else b""


async def version(chain: Chain, scope: Scope, number: int) -> ArtifactRow:
    return await chain.store.artifacts.version(ARTIFACT_TYPE, TENANT, scope, number)


async def payload(chain: Chain, row: ArtifactRow) -> bytes:
    return await chain.store.artifacts.payload(row.package_hash)


async def is_frozen(chain: Chain, row: ArtifactRow) -> bool:
    return bool((await chain.store.governance.cases.get(TENANT, row.artifact_id)).frozen_by)


async def came_from(chain: Chain, row: ArtifactRow) -> set[str]:
    return await chain.store.gold.lineage.closure(TENANT, [artifact_ref(row.artifact_id)], descendants=False)


async def test_a_revocation_freezes_the_copy_and_no_rollback_serves_it(chain: Chain) -> None:
    wide = await learned(chain, WIDE, "ula", 8.0)
    await serve(chain, wide)
    narrow = await learned(chain, NARROW, "vic", 7.0)
    await serve(chain, narrow)
    baseline = await version(chain, NARROW, 1)
    assert await payload(chain, baseline) == await payload(chain, wide)
    assert artifact_ref(wide.artifact_id) in await came_from(chain, baseline)

    await chain.revoke("ula")
    assert await is_frozen(chain, wide) and await is_frozen(chain, baseline)
    await chain.settle()
    assert await served(chain, WIDE) == SHIPPED
    assert await taken_back(chain, narrow) == b""


async def test_a_copy_that_serves_is_taken_out_of_force(chain: Chain) -> None:
    wide = await learned(chain, WIDE, "ula", 8.0)
    await serve(chain, wide)
    narrow = await learned(chain, NARROW, "vic", 7.0)
    await serve(chain, narrow)
    assert await taken_back(chain, narrow) == await payload(chain, wide)
    await chain.revoke("ula")
    await chain.settle()
    assert await served(chain, NARROW) == b""


async def test_what_was_learned_on_a_copy_is_its_own_sets_and_nobody_elses(chain: Chain) -> None:
    wide = await learned(chain, WIDE, "ula", 8.0)
    await serve(chain, wide)
    narrow = await learned(chain, NARROW, "vic", 7.0)
    await serve(chain, narrow)
    assert {ref for ref in await came_from(chain, narrow) if ref.startswith("signal:")} == {"signal:signal-vic"}
    await chain.revoke("ula")
    await chain.settle()
    assert not await is_frozen(chain, narrow)
    assert await served(chain, NARROW) == await payload(chain, narrow)
    [own] = [each for each in await chain.store.gold.page(TENANT, limit=9) if each.scope == NARROW]
    assert not own.frozen and own.state in (GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED)


async def test_the_copy_of_what_a_rollback_returned_to_comes_from_where_that_was_learned(chain: Chain) -> None:
    wide = await learned(chain, WIDE, "ula", 8.0)
    await serve(chain, wide)
    await packs.add(chain.store, BY_HAND, "pack.json", TENANT)
    await packs.activate(chain.store, 3, TENANT, accept_provisional=False)
    assert (await packs.rollback(chain.store, TENANT))["sha256"] == wide.package_hash.hex()
    await learned(chain, NARROW, "vic", 7.0)
    await chain.revoke("ula")
    assert await is_frozen(chain, await version(chain, NARROW, 1))
    with pytest.raises(PackRefused) as refused:
        await packs.rollback(chain.store, TENANT)
    assert refused.value.reason == PackReason.PACK_REVOKED


async def test_a_copy_of_what_nobody_taught_comes_from_nowhere(chain: Chain) -> None:
    await packs.add(chain.store, BY_HAND, "pack.json", TENANT)
    await packs.activate(chain.store, 1, TENANT, accept_provisional=False)
    await learned(chain, NARROW, "vic", 7.0)
    baseline = await version(chain, NARROW, 1)
    assert await payload(chain, baseline) == BY_HAND
    assert await came_from(chain, baseline) == set()


async def test_nothing_is_built_on_what_was_revoked_and_still_serves(chain: Chain) -> None:
    wide = await learned(chain, WIDE, "ula", 8.0)
    await serve(chain, wide)
    await chain.revoke("ula")
    assert await served(chain, WIDE) == await payload(chain, wide)
    await learned(chain, NARROW, "vic", 7.0)
    assert await payload(chain, await version(chain, NARROW, 1)) == SHIPPED


async def test_a_revocation_while_a_pack_is_built_is_seen(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = await learned(chain, WIDE, "ula", 8.0)
    await serve(chain, wide)
    found = []
    real = GoldV1._base

    async def base(service: GoldV1, gold_set: Any) -> bytes:
        found.append(await real(service, gold_set))
        if len(found) == 1:
            await chain.revoke("ula")
        return found[-1]

    monkeypatch.setattr(GoldV1, "_base", base)
    await learned(chain, NARROW, "vic", 7.0)
    assert found == [await payload(chain, wide), SHIPPED]
    assert await payload(chain, await version(chain, NARROW, 1)) == SHIPPED


async def test_what_is_rebuilt_without_a_user_names_its_own_gold_set_and_none_of_its_base(chain: Chain) -> None:
    """The base that serves then was taught by another set, of which the rebuilt pack has nothing."""
    await serve(chain, await learned(chain, WIDE, "vic", 9.0))
    second = await learned(chain, WIDE, "xan", 8.0, "ula")
    async with chain.store.transaction() as tx:
        await tx.artifacts.activate(ARTIFACT_TYPE, TENANT, WIDE, second.artifact_version)
        audit(tx, TENANT)
    [taken_away] = (await chain.revoke("ula")).affected_gold_set_ids
    await chain.settle()
    [rebuilt] = [one for one in await chain.store.gold.page(TENANT, limit=10) if one.rebuilt_from == taken_away]
    pack = json.loads(await payload(chain, await chain.packed(rebuilt.gold_set_id)))
    gold_set = await chain.store.gold.gold_set(TENANT, rebuilt.gold_set_id)
    assert gold_set is not None
    own = f"{gold_set.artifact_type}@{gold_set.version}"
    inputs = {one["name"]: one["sha256"] for one in pack["data"]["inputs"] if one["name"].startswith("GOLD_SET")}
    assert inputs == {own: gold_set.package_hash.hex()}
    assert [one["where"] for one in pack["reasons"] if one["where"].startswith("GOLD_SET")] == [own]
