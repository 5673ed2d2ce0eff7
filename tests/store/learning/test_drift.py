"""Drift and confused pairs as the store keeps them, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from store import Store
from store.learning import Breach, Pair, Standing
from tests.support.stores import audit

DAY = timedelta(days=1)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
BREACH = Breach(
    tenant_id="t1",
    window_ends_at=FIRST,
    subject="user:mia",
    detector=2,
    user_id="mia",
    recent=0.25,
    reference=0.01,
    samples=12,
    recovery=1,
)


async def note(store: Store, *breaches: Breach) -> None:
    async with store.transaction() as tx:
        for one in breaches:
            await tx.learning.drift.note(one)
        audit(tx)


async def test_breaches_come_latest_first_and_a_page_goes_on_where_the_last_ended(store: Store) -> None:
    kept = [
        replace(BREACH, window_ends_at=FIRST + day * DAY, subject=subject, detector=detector)
        for day in (0, 1)
        for subject in ("cohort:noise:street", "user:mia")
        for detector in (1, 2)
    ]
    await note(store, *kept, replace(BREACH, tenant_id="t2"))
    found: list[Breach] = []
    while page := await store.learning.drift.page(
        "t1",
        limit=3,
        before=(found[-1].window_ends_at, found[-1].subject, found[-1].detector) if found else None,
    ):
        found += page
    assert found == kept[::-1]
    assert await store.learning.drift.page("t1", limit=9, subject="user:mia") == [kept[7], kept[6], kept[3], kept[2]]
    assert await store.learning.drift.of_subject("t1", "user:mia") == [kept[2], kept[3], kept[6], kept[7]]


async def test_a_breach_that_is_noted_again_stays_as_it_was_decided(store: Store) -> None:
    await note(store, BREACH)
    async with store.transaction() as tx:
        assert await tx.learning.drift.decide(BREACH, 1, FIRST + DAY)
        assert not await tx.learning.drift.decide(BREACH, 4, FIRST + DAY)
        audit(tx)
    await note(store, replace(BREACH, recent=0.9))
    decided = replace(BREACH, outcome=1, decided_at=FIRST + DAY)
    assert await store.learning.drift.of_subject("t1", "user:mia") == [decided]


async def test_what_is_undecided_comes_once_a_subject_the_longest_waiting_first(store: Store) -> None:
    await note(
        store,
        replace(BREACH, window_ends_at=FIRST + DAY),
        replace(BREACH, window_ends_at=FIRST + DAY, detector=3),
        replace(BREACH, tenant_id="t2"),
        replace(BREACH, subject="user:noa", outcome=1),
    )
    assert await store.learning.drift.undecided(9) == [("t2", "user:mia"), ("t1", "user:mia")]
    assert await store.learning.drift.undecided(1) == [("t2", "user:mia")]


@pytest.mark.parametrize(("until", "taken"), [(FIRST - DAY, False), (FIRST, False), (FIRST + DAY, True)])
async def test_a_window_is_taken_on_once_and_none_before_it(store: Store, until: datetime, taken: bool) -> None:
    async with store.transaction() as tx:
        assert await tx.learning.drift.look("t1", FIRST)
        audit(tx)
    async with store.transaction() as tx:
        assert await tx.learning.drift.look("t1", until) is taken
        assert await tx.learning.drift.look("t2", until)
        audit(tx)


async def test_a_subject_is_not_frozen_until_it_is_said_and_what_is_forgotten_unfreezes_nothing(store: Store) -> None:
    await note(store, BREACH, replace(BREACH, window_ends_at=FIRST + DAY))
    assert await store.learning.drift.standing("t1", "user:mia") == Standing()
    async with store.transaction() as tx:
        assert await tx.learning.drift.locked("t1", "user:mia") == Standing()
        await tx.learning.drift.stands("t1", "user:mia", Standing(frozen=True, reviewed_at=FIRST))
        await tx.learning.drift.forget("t1", FIRST + DAY)
        audit(tx)
    assert await store.learning.drift.standing("t1", "user:mia") == Standing(frozen=True, reviewed_at=FIRST)
    assert [one.window_ends_at for one in await store.learning.drift.of_subject("t1", "user:mia")] == [FIRST + DAY]


async def test_pairs_replace_those_before_the_most_frequent_first(store: Store) -> None:
    old, rare, often, closer = (
        Pair("a", "b", 9, 9, FIRST),
        Pair("a", "c", 1, 0, FIRST),
        Pair("b", "c", 2, 0, FIRST),
        Pair("c", "d", 1, 5, FIRST),
    )
    for pairs in ([old], [rare, often, closer]):
        async with store.transaction() as tx:
            await tx.learning.confusion.replace("t1", pairs)
            audit(tx)
    assert await store.learning.confusion.top("t1", limit=9) == [often, closer, rare]
    assert await store.learning.confusion.top("t1", limit=1) == [often]
    assert await store.learning.confusion.top("t2", limit=9) == []
