from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate, GoldItem, GoldLabel, Pronunciation, PronunciationLabel
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_STATE_ACTIVATED,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_REVERTED,
    GOLD_STATE_VALIDATING,
    GOLD_TIER_2_HUMAN_VERIFIED,
    GoldSet,
    GoldState,
    GoldTransition,
)
from selene.learning.v1.signal_pb2 import INTAKE_PATH_IMPROVEMENT
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from store import Conflict, NotFound, Store, StoreError
from store.engine import open_database
from store.learning import NewSignal
from tests.support.signals import signal
from tests.support.stores import audit
from tests.support.time import FakeClock

TENANT = "t1"
USERS = {"s2": "otto"}
"""Whose a signal is, where it is not mira's."""
ON_THE_WAY = (
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_VALIDATING,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
)


def item(item_id: str, signal_id: str = "s1", term: str = "Selene") -> GoldItem:
    spoken = Pronunciation(term=term, phonemes="si li ni", locale="en-GB")
    return GoldItem(item_id=item_id, signal_id=signal_id, pronunciation=spoken)


def label(item_id: str, *, accepted: bool = True) -> GoldLabel:
    return GoldLabel(item_id=item_id, pronunciation=PronunciationLabel(accepted=accepted, confidence_bp=9000))


def step(before: GoldState, after: GoldState, gold_set_id: str = "g1") -> GoldTransition:
    return GoldTransition(gold_set_id=gold_set_id, from_state=before, to_state=after, applied=True)


async def proposed(store: Store, gold_set_id: str = "g1", signals: Iterable[str] = ("s1", "s2")) -> None:
    signals = list(signals)
    async with store.transaction() as tx:
        new = [
            NewSignal(signal(one, TENANT, signal_id=one, user_id=USERS.get(one, "mira")), INTAKE_PATH_IMPROVEMENT)
            for one in sorted(set(signals))
        ]
        await tx.learning.signals.capture(TENANT, new, lambda *_: 1)
        candidate = GoldCandidate(
            gold_set_id=gold_set_id,
            tenant_id=TENANT,
            domain=GOLD_DOMAIN_TTS_PRONUNCIATION,
            tier=GOLD_TIER_2_HUMAN_VERIFIED,
            scope=Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT),
            proposed_by="t1/maker",
            policy_version="P1",
        )
        await tx.gold.propose(candidate, signals)
        audit(tx)


async def moved(store: Store, *states: GoldState, gold_set_id: str = "g1") -> None:
    async with store.transaction() as tx:
        for before, after in itertools.pairwise(states):
            await tx.gold.move(TENANT, step(before, after, gold_set_id))
        audit(tx)


async def decided(store: Store, before: GoldState, after: GoldState) -> None:
    async with store.transaction() as tx:
        await tx.gold.decide(TENANT, step(before, after))
        audit(tx)


async def labelled(store: Store, clock: FakeClock, *said: GoldLabel, by: str = "t1/ann") -> Any:
    async with store.transaction() as tx:
        added = await tx.gold.label(TENANT, "g1", by, said, clock.now())
        audit(tx)
    return added


async def kept(store: Store, *items: GoldItem) -> Any:
    async with store.transaction() as tx:
        added = await tx.gold.add_items(TENANT, "g1", items)
        audit(tx)
    return added


async def test_a_proposal_is_a_candidate_that_comes_from_its_signals(store: Store, clock: FakeClock) -> None:
    await proposed(store, signals=("s2", "s1", "s1"))
    standing = await store.gold.get(TENANT, "g1")
    assert standing is not None
    candidate = standing.message
    assert (candidate.state, candidate.signal_count, candidate.item_count) == (GOLD_STATE_CANDIDATE, 2, 0)
    assert candidate.proposed_at.ToDatetime(tzinfo=clock.now().tzinfo) == clock.now()
    assert await store.gold.signal_ids(TENANT, "g1") == ["s1", "s2"]
    assert await store.gold.lineage.closure(TENANT, ["signal:s1"], descendants=True) == {"gold:g1"}
    assert await store.gold.get("t2", "g1") is None


async def test_items_come_back_by_id_with_their_labels_by_labeller(store: Store, clock: FakeClock) -> None:
    await proposed(store)
    assert (await kept(store, item("b"), item("a"), item("c"))).new == 3
    await labelled(store, clock, label("b"), by="t1/ben")
    await labelled(store, clock, label("b"), label("a"), by="t1/ann")
    whole = await store.gold.items(TENANT, "g1")
    assert [one.item.item_id for one in whole] == ["a", "b", "c"]
    assert [[said.labeller for said in one.labels] for one in whole] == [["t1/ann"], ["t1/ann", "t1/ben"], []]
    pages = await store.gold.items(TENANT, "g1", limit=2), await store.gold.items(TENANT, "g1", after="b", limit=2)
    assert [*pages[0], *pages[1]] == whole
    standing = await store.gold.get(TENANT, "g1")
    assert standing is not None and (standing.message.item_count, standing.message.label_count) == (3, 3)


async def test_the_same_evidence_again_changes_nothing_and_other_evidence_contradicts(
    store: Store, clock: FakeClock
) -> None:
    await proposed(store)
    await kept(store, item("a"))
    await labelled(store, clock, label("a"))
    before = await store.gold.get(TENANT, "g1"), await store.gold.items(TENANT, "g1")
    clock.advance(timedelta(seconds=60))
    again = await kept(store, item("a"))
    assert (again.new, again.contradicted) == (0, ())
    assert (await labelled(store, clock, label("a"))).new == 0
    assert (await kept(store, item("new"), item("a", term="Luna"))).contradicted == ("a",)
    assert (await labelled(store, clock, label("a", accepted=False))).contradicted == ("a",)
    assert (await store.gold.get(TENANT, "g1"), await store.gold.items(TENANT, "g1")) == before


async def test_steps_are_noted_in_their_order(store: Store) -> None:
    await proposed(store)
    await moved(store, *ON_THE_WAY)
    history = await store.gold.history(TENANT, "g1")
    assert [one.to_state for one in history] == list(ON_THE_WAY[1:])
    assert await store.gold.counts(TENANT) == {GOLD_STATE_PACKAGED: 1}


@pytest.mark.parametrize("before", [one for one in GoldState.values() if one not in (0, GOLD_STATE_CANDIDATE)])
async def test_no_step_is_taken_from_a_state_that_is_not_the_present_one(sqlite_store: Store, before: Any) -> None:
    await proposed(sqlite_store)
    with pytest.raises(Conflict):
        await moved(sqlite_store, before, GOLD_STATE_VALIDATING)
    assert await sqlite_store.gold.history(TENANT, "g1") == []


async def test_only_governance_activates_and_reverts(store: Store) -> None:
    await proposed(store)
    with pytest.raises(Conflict):
        await decided(store, GOLD_STATE_CANDIDATE, GOLD_STATE_VALIDATING)
    await moved(store, *ON_THE_WAY)
    with pytest.raises(Conflict):
        await moved(store, GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED)
    await decided(store, GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED)
    with pytest.raises(Conflict):
        await decided(store, GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED)
    await decided(store, GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED)
    standing = await store.gold.get(TENANT, "g1")
    assert standing is not None and standing.message.state == GOLD_STATE_REVERTED


async def test_what_a_revocation_froze_moves_nowhere_but_back(store: Store) -> None:
    for gold_set_id in ("g1", "g2"):
        await proposed(store, gold_set_id)
        await moved(store, *ON_THE_WAY, gold_set_id=gold_set_id)
    await decided(store, GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED)
    async with store.transaction() as tx:
        assert await tx.gold.freeze(TENANT, ["g2", "g1", "g1", "nothing"]) == ["g1", "g2"]
        assert await tx.gold.freeze(TENANT, ["g1"]) == []
        audit(tx)
    with pytest.raises(Conflict):
        async with store.transaction() as tx:
            await tx.gold.decide(TENANT, step(GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED, "g2"))
    await decided(store, GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED)
    standing = await store.gold.get(TENANT, "g1")
    assert standing is not None and (standing.message.frozen, standing.message.state) == (True, GOLD_STATE_REVERTED)


async def test_a_rebuilt_set_has_everything_but_what_was_revoked_and_begins_anew(
    store: Store, clock: FakeClock
) -> None:
    await proposed(store, signals=("s1", "s2", "s3"))
    await kept(store, item("a", "s1"), item("b", "s2"), item("c", "s3"))
    await labelled(store, clock, label("a"), label("b"))
    await moved(store, *ON_THE_WAY)
    async with store.transaction() as tx:
        rebuilt = await tx.gold.rebuild(TENANT, "g1", new_id="g2", without=["s1", "elsewhere"])
        audit(tx)
    assert rebuilt is not None
    candidate = rebuilt.message
    assert (candidate.state, candidate.rebuilt_from, candidate.frozen) == (GOLD_STATE_CANDIDATE, "g1", False)
    assert (candidate.signal_count, candidate.item_count, candidate.label_count) == (2, 2, 1)
    assert candidate.proposed_by == "t1/maker"
    whole = [one for one in await store.gold.items(TENANT, "g1") if one.item.signal_id != "s1"]
    assert await store.gold.items(TENANT, "g2") == whole
    descendants = await store.gold.lineage.closure(TENANT, ["signal:s1", "gold:g1"], descendants=True)
    assert "gold:g2" not in descendants


async def test_nothing_is_rebuilt_of_revoked_signals_alone(store: Store) -> None:
    await proposed(store)
    async with store.transaction() as tx:
        assert await tx.gold.rebuild(TENANT, "g1", new_id="g2", without=["s1", "s2"]) is None
        audit(tx)
    assert await store.gold.get(TENANT, "g2") is None
    with pytest.raises(NotFound):
        async with store.transaction() as tx:
            await tx.gold.rebuild("t2", "g1", new_id="g2", without=[])


async def test_an_approved_set_is_kept_once_and_says_where_it_stands(store: Store) -> None:
    await proposed(store)
    gold_set = GoldSet(gold_set_id="g1", tenant_id=TENANT, version=1)
    async with store.transaction() as tx:
        await tx.gold.keep_set(gold_set)
        audit(tx)
    await moved(store, *ON_THE_WAY[:2])
    found = await store.gold.gold_set(TENANT, "g1")
    assert found is not None and (found.version, found.state) == (1, GOLD_STATE_VALIDATING)
    with pytest.raises(StoreError):
        async with store.transaction() as tx:
            await tx.gold.keep_set(gold_set)
            audit(tx)
    assert await store.gold.gold_set("t2", "g1") is None


@pytest.mark.parametrize("table", ["gold_transitions", "gold_sets"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET canonical = gold_set_id"])
async def test_what_was_decided_is_never_changed(store: Store, store_url: str, table: str, change: str) -> None:
    await proposed(store)
    await moved(store, *ON_THE_WAY[:2])
    async with store.transaction() as tx:
        await tx.gold.keep_set(GoldSet(gold_set_id="g1", tenant_id=TENANT))
        audit(tx)
    database = open_database(store_url, lock_timeout_s=5.0, connections=1)
    cast = "::bytea" if database.dialect == "postgresql" and "UPDATE" in change else ""

    def attempt(connection: Connection) -> None:
        connection.exec_driver_sql(change.format(table) + cast)

    with pytest.raises(SQLAlchemyError, match=f"append-only: {table}"):
        await database.writer.exclusively(attempt)
    await database.close()
    assert len(await store.gold.history(TENANT, "g1")) == 1
