"""What adaptation to drift begins with: a gold candidate that goes through the chain, or nothing, and it says so."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, SCOPE_TYPE_USER, Scope
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_VOICE_IDENTITY, GOLD_STATE_CANDIDATE
from selene.learning.v1 import drift_pb2 as v1

from servers.governance.controller import Controller
from servers.learning.capturing import Rules, drain
from servers.learning.drifting import Watch
from servers.learning.settings import IntakeSettings
from servers.runtime.signals import Producer
from store import Store
from store.learning import Breach, Standing
from tests.support.dying import Dying, Killed
from tests.support.time import FakeClock
from tests.support.voices import TENANT, Turn, heard

DAY = timedelta(days=1)
USER = "user:mia"
ALLOWED, STARTED = v1.DRIFT_OUTCOME_ADAPTATION_ALLOWED, v1.DRIFT_OUTCOME_STARTED
NOTHING = v1.DRIFT_OUTCOME_NOTHING_TO_LEARN
MISHEARD = [Turn(speaker="mia") for _ in range(3)]
"""A user whom nobody recognised: a breach of theirs, and of their cohorts."""


def watch(store: Store, clock: FakeClock, *tenants: str) -> Watch:
    return Watch(store, clock, Producer("PH1.LEARN", frozenset(tenants)), every_s=3600)


async def enrolled(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.profiles.lock(
            TENANT, "mia", model_set_hash="h", embedding=b"e", clip_count=29, voiced_ms=90_000, consent_ref="c-1"
        )
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.locked", reason_code="TEST")


async def drifted(store: Store, clock: FakeClock, looking: Watch) -> None:
    """Three decisions that were wrong, found a day later; governance has looked at them."""
    await heard(store, MISHEARD, clock.now())
    clock.advance(DAY)
    await looking.tick()
    await Controller(store, clock, every_s=3600).tick()


async def taken_on(store: Store) -> None:
    assert await drain(store, Rules(IntakeSettings().limits()))


async def breach(store: Store, subject: str = USER) -> Breach:
    [found] = await store.learning.drift.of_subject(TENANT, subject)
    return found


async def trail(store: Store, *transitions: str) -> list[AuditEvent]:
    return [one.event async for one in store.audit.stream(TENANT) if one.event.transition in transitions]


async def test_what_governance_allows_begins_with_a_gold_candidate_of_the_breachs_signal(
    store: Store, clock: FakeClock
) -> None:
    await enrolled(store)
    looking = watch(store, clock, TENANT)
    await drifted(store, clock, looking)
    assert (await breach(store)).outcome == ALLOWED
    assert await looking.tick() == 0  # learning has not taken the signal on yet
    assert (await breach(store)).outcome == ALLOWED

    await taken_on(store)
    assert await looking.tick() == 4  # the user's, and that of each cohort
    began = await breach(store)
    assert (began.outcome, bool(began.gold_set_id)) == (STARTED, True)
    standing = await store.gold.get(TENANT, began.gold_set_id)
    assert standing is not None
    candidate = standing.message
    assert (candidate.domain, candidate.state) == (GOLD_DOMAIN_VOICE_IDENTITY, GOLD_STATE_CANDIDATE)
    assert candidate.scope == Scope(scope_type=SCOPE_TYPE_USER, scope_id="mia")
    [signal_id] = await store.gold.signal_ids(TENANT, began.gold_set_id)
    signals = await store.learning.signals.by_ids(TENANT, [signal_id])
    assert signals[signal_id].signal.reason_code == "DRIFT_FALSE_REJECTS"
    assert await store.gold.lineage.closure(TENANT, [f"signal:{signal_id}"], descendants=True) == {
        f"gold:{began.gold_set_id}"
    }
    of_cohort = await breach(store, "cohort:noise:home")
    other = await store.gold.get(TENANT, of_cohort.gold_set_id)
    assert other is not None
    assert other.message.scope == Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)
    rows = await trail(store, "gold.proposed")
    assert [(row.owner, row.actor, row.reason_code) for row in rows] == [
        ("PH1.LEARN", "system", "DRIFT_ADAPTATION")
    ] * 4
    assert not any("mia" in str(row) for row in rows)
    assert await looking.tick() == 0
    assert (await store.verify(TENANT)).ok


@pytest.mark.parametrize("wants", [False, True])
async def test_where_nobody_consents_adaptation_does_not_begin_and_the_breach_says_so(
    store: Store, clock: FakeClock, wants: bool
) -> None:
    looking = watch(store, clock, *([TENANT] if wants else []))
    await drifted(store, clock, looking)
    await looking.tick()
    told = await breach(store)
    assert (told.outcome, told.gold_set_id) == (NOTHING, "")
    assert await store.gold.page(TENANT, limit=9) == []
    refused = await trail(store, "drift.adaptation_refused")
    assert {row.reason_code for row in refused} == {"DRIFT_NOTHING_TO_LEARN"}
    assert len(refused) == (1 if wants else 4)


async def test_a_signal_whose_user_revoked_meanwhile_begins_nothing(store: Store, clock: FakeClock) -> None:
    await enrolled(store)
    looking = watch(store, clock, TENANT)
    await drifted(store, clock, looking)
    await taken_on(store)
    async with store.transaction() as tx:
        await tx.learning.signals.erase(TENANT, "mia")
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.erased", reason_code="TEST")
    await looking.tick()
    assert (await breach(store)).outcome == NOTHING
    assert (await breach(store, "cohort:noise:home")).outcome == STARTED


async def test_what_froze_meanwhile_begins_nothing(sqlite_store: Store, clock: FakeClock) -> None:
    looking = watch(sqlite_store, clock, TENANT)
    await drifted(sqlite_store, clock, looking)
    await taken_on(sqlite_store)
    async with sqlite_store.transaction() as tx:
        await tx.learning.drift.locked(TENANT, "cohort:noise:home")
        await tx.learning.drift.stands(TENANT, "cohort:noise:home", Standing(frozen=True))
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.frozen", reason_code="TEST")
    await looking.tick()
    assert (await breach(sqlite_store, "cohort:noise:home")).outcome == v1.DRIFT_OUTCOME_FROZEN
    assert (await breach(sqlite_store, "cohort:device:kitchen")).outcome == STARTED


async def test_four_processes_begin_an_adaptation_once(store: Store, clock: FakeClock) -> None:
    await drifted(store, clock, watch(store, clock, TENANT))
    await taken_on(store)
    await asyncio.gather(*(watch(store, clock, TENANT).tick() for _ in range(4)))
    assert len(await store.gold.page(TENANT, limit=9)) == 3
    assert len(await trail(store, "gold.proposed")) == 3


@pytest.mark.parametrize("committed", [False, True])
async def test_a_process_that_dies_has_begun_all_of_it_or_nothing(
    sqlite_store: Store, clock: FakeClock, committed: bool
) -> None:
    await drifted(sqlite_store, clock, watch(sqlite_store, clock, TENANT))
    await taken_on(sqlite_store)
    with pytest.raises(Killed):
        await watch(Dying(sqlite_store, 1, committed=committed), clock, TENANT).tick()
    begun = [one for one in await sqlite_store.learning.drift.page(TENANT, limit=9) if one.outcome == STARTED]
    assert len(begun) == len(await sqlite_store.gold.page(TENANT, limit=9)) == committed
    await watch(sqlite_store, clock, TENANT).tick()
    begun = [one for one in await sqlite_store.learning.drift.page(TENANT, limit=9) if one.outcome == STARTED]
    assert len(begun) == len(await sqlite_store.gold.page(TENANT, limit=9)) == 3


async def test_the_next_breach_within_a_day_begins_no_second_adaptation(sqlite_store: Store, clock: FakeClock) -> None:
    looking = watch(sqlite_store, clock, TENANT)
    await drifted(sqlite_store, clock, looking)
    await taken_on(sqlite_store)
    await looking.tick()
    again = (await breach(sqlite_store, "cohort:noise:home")).window_ends_at + timedelta(hours=1)
    async with sqlite_store.transaction() as tx:
        first = await breach(sqlite_store, "cohort:noise:home")
        await tx.learning.drift.note(
            Breach(
                tenant_id=TENANT,
                window_ends_at=again,
                subject=first.subject,
                detector=first.detector,
                user_id="",
                recent=1.0,
                reference=0.01,
                samples=3,
                recovery=first.recovery,
            )
        )
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.breached", reason_code="TEST")
    await Controller(sqlite_store, clock, every_s=3600).tick()
    outcomes = [one.outcome for one in await sqlite_store.learning.drift.of_subject(TENANT, "cohort:noise:home")]
    assert outcomes == [STARTED, v1.DRIFT_OUTCOME_ADAPTATION_RATE_LIMITED]
