"""The edge of the decision services: which generation a tenant is served, and what is said about decided streams."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2
from selene_messages.selene.voiceid import v1 as messages

from clients.errors import SeleneError
from clients.voiceid import VoiceId
from servers.shipped import DEPLOYMENT, register_pack
from tests.support.packs import variant
from tests.support.servers import TENANT, House, ask, serving, stream_config
from tests.support.speech import Person

Stage = messages.MigrationStage
NO_REPLAY = {"owners.voiceid.replay_min_s": 600.0}


@pytest.fixture
async def house(home: Path) -> AsyncIterator[House]:
    async with serving(home, NO_REPLAY) as served:
        yield served


async def asked(house: House, person: Person, generation: Any) -> Any:
    line = house.line(generation=generation)
    await line.config(stream_config())
    stage = (await line.started()).stage
    await line.frames(person.ask.frames())
    return stage, await line.finish()


async def refusal(house: House, generation: Any, claim: str = "") -> SeleneError:
    line = house.line(generation=generation, claim=claim)
    await line.config(stream_config())
    return await line.refusal()


async def move(client: VoiceId, *stages: messages.MigrationStage) -> None:
    for stage in stages:
        assert await client.set_migration_stage(stage) == stage


async def test_m2_serves_both_generations_of_one_decision(house: House, mira: Person) -> None:
    assert await house.client().migration_stage() == Stage.M2
    stage, final = await asked(house, mira, "v2")
    assert stage == v1.MIGRATION_STAGE_M2
    assert final.v2.identity_tier == v2.IDENTITY_TIER_PROBABLE and final.v1.decision == v1.DECISION_OK
    assert final.v1.score_bp == final.v2.score_bp
    _, first = await asked(house, mira, "v1")
    assert first.decision == v1.DECISION_OK and first.candidate_set[0].user_id == "mira"


async def test_m1_serves_both_with_v1_beside_v2(house: House, mira: Person) -> None:
    await move(house.client(), Stage.M1)
    stage, final = await asked(house, mira, "v2")
    assert stage == v1.MIGRATION_STAGE_M1
    assert final.HasField("v1") and final.HasField("v2")


@pytest.mark.parametrize("claim", ["", "mira"])
async def test_m0_serves_v1_only(house: House, mira: Person, claim: str) -> None:
    await move(house.client(), Stage.M1, Stage.M0)
    refused = await refusal(house, "v2", claim)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONTRACT_STAGE_REFUSED")
    assert refused.metadata == {"stage": "M0", "serves": "selene.voiceid.v1"}
    _, final = await asked(house, mira, "v1")
    assert final.decision == v1.DECISION_OK


@pytest.mark.parametrize("claim", ["", "mira"])
async def test_m3_serves_v2_only_and_alone(house: House, mira: Person, claim: str) -> None:
    await move(house.client(), Stage.M3)
    refused = await refusal(house, "v1", claim)
    assert refused.reason == "CONTRACT_STAGE_REFUSED"
    assert refused.metadata == {"stage": "M3", "serves": "selene.voiceid.v2"}
    _, final = await asked(house, mira, "v2")
    assert final.HasField("v2") and not final.HasField("v1")


async def test_a_tenant_moves_one_stage_at_a_time_and_the_trail_says_so(house: House) -> None:
    client = house.client()
    await move(client, Stage.M3)
    with pytest.raises(SeleneError) as caught:
        await client.set_migration_stage(Stage.M1)
    assert (caught.value.reason, caught.value.metadata) == ("STAGE_TRANSITION_INVALID", {"from": "M3", "to": "M1"})
    moves = [event for event in await house.trail() if event.transition == "migration.moved"]
    assert [{fact.name: fact.value for fact in event.facts} for event in moves] == [{"from": "M2", "to": "M3"}]
    assert await client.migration_stage() == Stage.M3


async def test_stages_survive_a_restart(home: Path) -> None:
    async with serving(home) as house:
        await move(house.client(), Stage.M1)
    async with serving(home) as house:
        assert await house.client().migration_stage() == Stage.M1


async def test_a_stage_that_is_none_serves_nothing(house: House) -> None:
    async with house.store.transaction() as tx:
        await tx.settings.set(
            "voiceid.migration_stage", SCOPE_TYPE_TENANT, tenant_id=TENANT, layer_id=TENANT, value="M9"
        )
        tx.audit(tenant_id=TENANT, owner="test", actor="system", transition="test.changed", reason_code="OK")
    for generation in ("v1", "v2"):
        assert (await refusal(house, generation)).reason == "CONTRACT_STAGE_REFUSED"


async def decided(client: VoiceId, person: Person | None, cohort: str = "") -> Any:
    """A stream's outcome; of nobody's speech without a person."""
    config = client.config()
    config.cohort = messages.CohortLabels(language=cohort)
    async with client.identify(config) as stream:
        for frame in person.ask.frames() if person else ():
            await stream.send(frame)
        return await stream.finish()


async def test_the_first_answer_stands(house: House, mira: Person) -> None:
    client = house.client()
    outcome = await decided(client, mira)
    first = await client.confirm(outcome.stream_id, "mira", idempotency_key="k-1")
    assert first.decision_was_right and first.cooldown_cleared
    assert await client.confirm(outcome.stream_id, "mira", idempotency_key="k-1") == first
    again = await client.confirm(outcome.stream_id, "mira", idempotency_key="k-2")
    assert again.decision_was_right and not again.cooldown_cleared
    with pytest.raises(SeleneError) as caught:
        await client.confirm(outcome.stream_id, "otto", idempotency_key="k-3")
    assert (caught.value.code, caught.value.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "SESSION_NOT_CONFIRMABLE",
    )


async def test_what_was_never_decided_cannot_be_confirmed(house: House) -> None:
    with pytest.raises(SeleneError) as caught:
        await house.client().confirm("no-such-stream", "mira")
    assert caught.value.reason == "RESOURCE_NOT_FOUND"


async def test_two_answers_at_once_leave_one(house: House, mira: Person) -> None:
    client = house.client()
    outcome = await decided(client, mira)
    answers = await asyncio.gather(
        *(client.confirm(outcome.stream_id, name) for name in ("mira", "otto")), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, SeleneError)]
    assert [one.reason for one in refused] == ["SESSION_NOT_CONFIRMABLE"]


async def test_kpis_count_what_was_confirmed_by_cohort(house: House, mira: Person, otto: Person) -> None:
    client = house.client()
    right = await decided(client, mira, "de")
    wrong = await decided(client, otto, "de")
    missed = await decided(client, None, "de")
    stranger = await decided(client, None, "de")
    await decided(client, otto, "en")
    await client.confirm(right.stream_id, "mira")
    await client.confirm(wrong.stream_id, "mira")
    await client.confirm(missed.stream_id, "mira")
    await client.confirm(stranger.stream_id, "")
    rows = {row.cohort.language: row for row in await client.kpis() if row.cohort}
    assert rows.keys() == {"de", "en"}
    german = rows["de"]
    assert (german.decisions, german.named, german.genuine) == (4, 2, 3)
    assert german.tar_bp + german.frr_bp == 10_000 and german.tar_bp == 3333
    assert german.latency_p50 is not None and german.latency_p95 is not None
    assert german.latency_p50 <= german.latency_p95
    assert (rows["en"].decisions, rows["en"].genuine, rows["en"].impostor) == (1, 0, 0)
    (only,) = await client.kpis(cohort=messages.CohortLabels(language="en"))
    assert only.decisions == 1


async def test_the_pack_in_force_can_be_read_and_checked(house: House) -> None:
    read = await house.client().threshold_pack()
    assert read.pack is not None and read.layer == "global_default"
    assert read.pack.package_hash == hashlib.sha256(read.pack.canonical_json.encode()).digest()
    assert read.pack.provisional and read.pack.cohort == "librispeech-read-english"
    await register_pack(
        house.store, variant(policy={"conf_high_bp": 9700}), scope=DEPLOYMENT, tenant_id="", provenance_ref="test"
    )
    later = await house.client().threshold_pack()
    assert later.pack is not None and later.pack.conf_high_bp == 9700
    assert later.pack.pack_ref == "VOICEID_THRESHOLD_PACK_V1@2"


async def test_a_new_pack_counts_for_the_next_stream(house: House, mira: Person) -> None:
    assert (await ask(house, mira.ask)).v2.provenance.threshold_pack == "VOICEID_THRESHOLD_PACK_V1@1"
    await register_pack(house.store, variant(proven=True), scope=DEPLOYMENT, tenant_id="", provenance_ref="test")
    decision = (await ask(house, mira.ask, session_id="s-2")).v2
    assert decision.provenance.threshold_pack == "VOICEID_THRESHOLD_PACK_V1@2"
    assert decision.identity_tier == v2.IDENTITY_TIER_CONFIRMED
