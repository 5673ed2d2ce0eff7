"""Every row that an activation has to leave: without any one of them its trail has a gap."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.governance.v1 import rollout_pb2 as rollouts

from servers.activation import (
    ADVANCED,
    APPROVED,
    COMPLETED,
    DECIDED,
    EXAMINED,
    PROVED,
    REPORTED,
    STARTED,
    correlation_of,
)
from servers.governance import trail
from servers.governance.judge import Trail
from store.ledger import AuditTrail
from tests.servers.governance import test_evaluating as voices
from tests.servers.governance.house import Governed, governing
from tests.support.frozen import frozen_set

CANARY = rollouts.ROLLOUT_STAGE_CANARY_1


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path) as governed:
        yield governed


async def without(house: Governed, rollout: rollouts.Rollout, lost: Callable[[AuditEvent], bool]) -> Trail:
    """What the trail of a rollout counts where some rows were never written."""
    whole = AuditTrail.page

    async def page(self: AuditTrail, *asked: Any, **which: Any) -> Any:
        return [chained for chained in await whole(self, *asked, **which) if not lost(chained.event)]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AuditTrail, "page", page)
        return await trail.completeness(house.store, rollout)


async def each_row(house: Governed, rollout: rollouts.Rollout, lacking: set[str]) -> None:
    """Whatever row of the activation is lost, it is missed; and these are the rows."""
    assert (await trail.completeness(house.store, rollout)).complete
    correlation = correlation_of(rollout.subject.artifact_id)
    rows = [row for row in await house.owners.trail(rollout.tenant_id) if row.turn.correlation_id == correlation]
    assert {row.transition for row in rows} == lacking
    for row in rows:
        counted = await without(house, rollout, lambda event, lost=row.sequence: event.sequence == lost)
        assert not counted.complete, row.transition


async def shown_again(house: Governed, row: ArtifactRow) -> rollouts.Rollout:
    """What was taken back begins once more."""
    await house.allow(row)
    bundle = (await house.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).gate_bundle_ref
    await house.call("build", "SubmitConsumptionProof", **await house.proof(row, bundle))
    return (await house.call("ann", "StartRollout", artifact_id=row.artifact_id)).rollout


async def test_every_row_of_an_activation_is_missed_where_it_is_lost(house: Governed) -> None:
    rollout = await house.advance(await house.start(await house.candidate()), until=CANARY)
    written = {DECIDED, REPORTED, APPROVED, COMPLETED, PROVED}
    await each_row(house, rollout, written | {STARTED, ADVANCED})


async def test_what_the_frozen_set_showed_of_a_voice_pack_is_a_row_of_its_trail(house: Governed) -> None:
    await house.register(voices.ACTIVE, artifact_type=voices.PACK, active=True)
    await voices.freeze(house, frozen_set())
    rollout = await voices.start(house, await voices.candidate(house))
    written = {
        DECIDED,
        EXAMINED,
        REPORTED,
        APPROVED,
        COMPLETED,
        PROVED,
    }
    await each_row(house, rollout, written | {STARTED})


async def test_rows_of_an_earlier_rollout_stand_in_for_none_of_a_later_one(house: Governed) -> None:
    row = await house.candidate()
    first = await house.advance(await house.start(row), until=CANARY)
    await house.call("ann", "Rollback", rollout_id=first.rollout_id, reason_code="REGRETTED")
    second = await house.advance(await shown_again(house, row), until=CANARY)
    assert (await trail.completeness(house.store, first)).complete
    assert (await trail.completeness(house.store, second)).complete
    told = await house.owners.trail(second.tenant_id)
    for transition in (STARTED, ADVANCED, COMPLETED, PROVED):
        _, later = (event.sequence for event in told if event.transition == transition)
        assert not (await without(house, second, lambda event, lost=later: event.sequence == lost)).complete, transition


async def test_a_proof_that_failed_proves_nothing(house: Governed) -> None:
    row = await house.candidate()
    bundle = await house.permit(row)
    for fields in ({"replay_validation_hash": b"x" * 32}, {}):
        await house.call("build", "SubmitConsumptionProof", **await house.proof(row, bundle, **fields))
    rollout = (await house.call("ann", "StartRollout", artifact_id=row.artifact_id)).rollout
    [_, passed] = [event.sequence for event in await house.trail(PROVED)]
    assert (await trail.completeness(house.store, rollout)).complete
    assert not (await without(house, rollout, lambda event: event.sequence == passed)).complete


async def test_a_proof_that_fails_after_the_start_is_no_gap(house: Governed) -> None:
    row = await house.candidate()
    rollout = await house.start(row)
    bundle = (await house.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).gate_bundle_ref
    shown = await house.proof(row, bundle, replay_validation_hash=b"x" * 32)
    await house.call("build", "SubmitConsumptionProof", **shown)
    assert (await trail.completeness(house.store, rollout)).complete
