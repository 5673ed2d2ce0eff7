"""What the engine remembers between streams, restarts and servers: prompts, replays, withdrawals, failures."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.shipped import DEPLOYMENT, register_pack
from servers.voiceid.breaker import Phase
from servers.voiceid.fingerprint import fingerprint
from tests.support.packs import variant
from tests.support.servers import TENANT, House, SteppedClock, ask, enrol, serving, stream_config, swap_lane
from tests.support.speech import Person
from tests.support.stores import audit

NO_REPLAY = {"owners.voiceid.replay_min_s": 600.0}
COOLDOWN_S = 600.0


@asynccontextmanager
async def two_servers(home: Path, clock: SteppedClock, flags: dict[str, Any]) -> AsyncIterator[tuple[House, House]]:
    """Two servers of one store."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving(home, flags, clock=clock))
        other = await stack.enter_async_context(serving(home, flags, clock=clock))
        yield one, other


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, models_dir: Path) -> tuple[Path, dict[str, Any]]:
    """A data folder and settings of a store that two servers can share, once per dialect; nobody is enrolled."""
    home = tmp_path / "shared"
    home.mkdir()
    url = {} if request.param == "sqlite" else {"store.url": request.getfixturevalue("postgres_url")}
    return home, {**NO_REPLAY, **url}


async def prompted(house: House, person: Person, session: str, **fields: Any) -> bool:
    decision = (await ask(house, person.ask, session_id=session, **fields)).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_PROBABLE
    return bool(decision.may_prompt_identity)


async def test_a_probable_speaker_is_asked_once_a_session_across_restart(home: Path, mira: Person) -> None:
    clock = SteppedClock()
    async with serving(home, NO_REPLAY, clock=clock) as house:
        assert await prompted(house, mira, "s-1")
        assert not await prompted(house, mira, "s-1")
    async with serving(home, NO_REPLAY, clock=clock) as house:
        assert not await prompted(house, mira, "s-1")
        assert not await prompted(house, mira, "s-2"), "another session, but still cooling down"
        clock.skip(COOLDOWN_S - 30)
        assert not await prompted(house, mira, "s-3")
        clock.skip(60)
        assert not await prompted(house, mira, "s-1"), "the session's one prompt stays spent"
        assert await prompted(house, mira, "s-3")


async def test_only_one_of_two_servers_asks(shared: tuple[Path, dict[str, Any]], mira: Person) -> None:
    home, flags = shared
    async with two_servers(home, SteppedClock(), flags) as (one, other):
        await enrol(one.client(), mira)
        asked = await asyncio.gather(*(prompted(house, mira, "s-1") for house in (one, other, one, other)))
        assert asked.count(True) == 1
        later = await asyncio.gather(*(prompted(house, mira, f"s-{index}") for index, house in enumerate((one, other))))
        assert not any(later)


async def test_a_confirmation_ends_the_cooldown(home: Path, mira: Person) -> None:
    async with serving(home, NO_REPLAY) as house:
        client = house.client()
        async with client.identify() as stream:
            for frame in mira.ask.frames():
                await stream.send(frame)
            outcome = await stream.finish()
        assert outcome.v2 is not None and outcome.v2.may_prompt_identity
        assert not await prompted(house, mira, "s-2")
        confirmed = await client.confirm(outcome.stream_id, "mira")
        assert confirmed.decision_was_right and confirmed.cooldown_cleared
        assert await prompted(house, mira, "s-3")


async def test_a_pending_step_up_asks_nothing(home: Path, mira: Person) -> None:
    async with serving(home, NO_REPLAY) as house:
        assert not await prompted(house, mira, "s-1", step_up_pending=True)
        assert await prompted(house, mira, "s-1"), "and spends nothing"


async def test_whoever_is_confirmed_is_not_asked(home: Path, mira: Person) -> None:
    async with serving(home, NO_REPLAY) as house:
        await register_pack(house.store, variant(proven=True), scope=DEPLOYMENT, tenant_id="", provenance_ref="test")
        decision = (await ask(house, mira.ask)).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_CONFIRMED
    assert decision.reason_code == v1.VOICE_ID_REASON_MATCH_HIGH
    assert decision.next_action == v1.NEXT_ACTION_PROCEED
    assert not decision.may_prompt_identity


async def test_enrolment_audio_played_back_is_a_spoof_and_then_locks(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        first, again = [(await ask(house, mira.clips[1], session_id="replay")).v2 for _ in "12"]
        honest = (await ask(house, mira.ask, session_id="honest")).v2
    assert first.identity_tier == again.identity_tier == v2.IDENTITY_TIER_UNKNOWN
    assert (first.reason_code, first.next_action) == (v1.VOICE_ID_REASON_SPOOF_RISK, v1.NEXT_ACTION_STEP_UP)
    assert first.spoof_liveness_status == v1.SPOOF_LIVENESS_STATUS_HIGH
    assert first.telemetry.replay_similarity > 0.9
    assert again.next_action == v1.NEXT_ACTION_LOCK_AND_REVIEW
    assert again.reason_code == v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED
    assert not first.candidate_set and not again.candidate_set
    assert honest.candidate_set[0].user_id == "mira"
    assert honest.spoof_liveness_status == v1.SPOOF_LIVENESS_STATUS_LOW


async def test_enrolment_audio_is_a_spoof_however_much_was_said_since(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        async with house.store.transaction() as tx:
            for number in range(house.engine.settings.kept_fingerprints):
                noise = np.random.default_rng(number).standard_normal(32_000).astype(np.float32)
                said = fingerprint(noise).to_bytes()
                await tx.voiceid.fingerprints.add(TENANT, "mira", said, keep=house.engine.settings.kept_fingerprints)
            audit(tx, TENANT)
        played = [(await ask(house, clip, session_id=clip.name)).v2 for clip in mira.clips]
    assert [one.reason_code for one in played] == [v1.VOICE_ID_REASON_SPOOF_RISK] * len(mira.clips)


async def test_no_clip_of_an_enrolment_is_forgotten(tmp_path: Path, models_dir: Path, mira: Person) -> None:
    async with serving(tmp_path, {"owners.voiceid.kept_fingerprints": 1}) as house:
        await enrol(house.client(), mira)
        played = [(await ask(house, clip, session_id=clip.name)).v2 for clip in mira.clips]
    assert [one.reason_code for one in played] == [v1.VOICE_ID_REASON_SPOOF_RISK] * len(mira.clips)


async def test_what_was_asked_before_is_a_spoof_when_it_comes_again(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        assert (await ask(house, mira.ask, session_id="live")).v2.candidate_set[0].user_id == "mira"
        again = (await ask(house, mira.ask, session_id="recorded")).v2
        claimed = (await ask(house, mira.ask, session_id="claimed", claim="mira")).v2
    assert again.reason_code == claimed.reason_code == v1.VOICE_ID_REASON_SPOOF_RISK


async def test_a_withdrawal_counts_at_once_on_every_server(
    shared: tuple[Path, dict[str, Any]], mira: Person, otto: Person
) -> None:
    home, flags = shared
    async with two_servers(home, SteppedClock(), flags) as (one, other):
        for person in (mira, otto):
            await enrol(one.client(), person)
        for house in (one, other):
            assert (await ask(house, mira.ask, session_id="before")).v2.candidate_set[0].user_id == "mira"
        await one.client().revoke_profile("mira")
        for house in (one, other):
            after = (await ask(house, mira.ask, session_id="after")).v2
            assert after.identity_tier == v2.IDENTITY_TIER_UNKNOWN
            assert (await ask(house, otto.ask, session_id="otto")).v2.candidate_set[0].user_id == "otto"
        await enrol(other.client(), mira)
        assert (await ask(one, mira.ask, session_id="again")).v2.candidate_set[0].user_id == "mira"


async def test_enrolling_again_makes_the_next_version(home: Path, mira: Person) -> None:
    async with serving(home, NO_REPLAY) as house:
        client = house.client()
        assert (await client.get_profile("mira")).profile_version == 1
        await enrol(client, mira)
        assert (await client.get_profile("mira")).profile_version == 2
        decision = (await ask(house, mira.ask)).v2
        assert decision.candidate_set[0].profile_version == 2
        assert (await client.gallery()).profile_count == 2


async def test_a_profile_that_expired_is_not_used(home: Path, mira: Person) -> None:
    clock = SteppedClock()
    async with serving(home, NO_REPLAY, clock=clock) as house:
        assert (await ask(house, mira.ask, session_id="young")).v2.candidate_set[0].user_id == "mira"
        clock.skip(366 * 86_400)
        decision = (await ask(house, mira.ask, session_id="old")).v2
        assert decision.reason_code == v1.VOICE_ID_REASON_NOT_ENROLLED
        assert (await house.client().gallery()).profile_count == 0


async def test_profiles_of_other_models_are_stale_and_their_pack_does_not_fit(home: Path, mira: Person) -> None:
    one_model = {"owners.voiceid.models": ("ge2e",)}
    async with serving(home, one_model) as house:
        gallery = await house.client().gallery()
        assert (gallery.profile_count, gallery.stale_profile_count) == (0, 2)
        assert gallery.models == ["ge2e@1"]
        decision = (await ask(house, mira.ask)).v2
    assert decision.reason_code == v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH


async def test_a_profile_sealed_for_somebody_else_is_not_theirs(home: Path, mira: Person, otto: Person) -> None:
    """Swapping two rows in the database swaps nobody: sealed bytes open for their own subject only."""
    with sqlite3.connect(home / "selene.db") as database:
        (sealed,) = database.execute("SELECT sealed FROM voiceid_profiles WHERE user_id = 'mira'").fetchone()
        database.execute("UPDATE voiceid_profiles SET sealed = ? WHERE user_id = 'otto'", (sealed,))
    async with serving(home) as house:
        assert (await house.client().gallery()).profile_count == 1
        decision = (await ask(house, otto.ask, claim="otto")).v2
    assert decision.reason_code == v1.VOICE_ID_REASON_NOT_ENROLLED


def broken(windows: Any) -> Any:
    return np.full((len(windows), 256), np.nan, np.float32)


async def test_failures_open_the_circuit_and_health_closes_it_again(home: Path, mira: Person) -> None:
    clock = SteppedClock()
    flags = {**NO_REPLAY, "owners.voiceid.breaker_min_samples": 4, "owners.voiceid.breaker_window": 10}
    async with serving(home, flags, clock=clock) as house:
        circuit = house.engine._circuit
        put_back = swap_lane(house, 0, broken)

        async def reason(name: str) -> str:
            decision = (await ask(house, mira.ask.cut(0.0, 2.0), session_id=name)).v2
            assert decision.candidate_set or decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
            return v1.VoiceIdReason.Name(decision.reason_code).removeprefix("VOICE_ID_REASON_")

        assert [await reason(f"fail-{index}") for index in range(4)] == ["MODEL_FAILED"] * 4
        assert circuit.phase is Phase.OPEN
        assert "selene_voiceid_circuit_open 1.0" in house.metrics
        put_back()
        assert await reason("open") == "BREAKER_OPEN", "healthy again, but nobody is named yet"
        clock.skip(121.0)
        assert [await reason(f"probe-{index}") for index in range(5)] == ["PACK_PROVISIONAL"] * 5
        assert circuit.phase is Phase.CLOSED
        assert "selene_voiceid_circuit_open 0.0" in house.metrics
        assert await reason("closed") == "PACK_PROVISIONAL"


async def test_a_failing_probe_opens_the_circuit_for_twice_as_long(home: Path, mira: Person) -> None:
    clock = SteppedClock()
    flags = {**NO_REPLAY, "owners.voiceid.breaker_min_samples": 4, "owners.voiceid.breaker_window": 10}
    async with serving(home, flags, clock=clock) as house:
        put_back = swap_lane(house, 0, broken)

        async def reason() -> int:
            return int((await ask(house, mira.ask.cut(0.0, 2.0))).v2.reason_code)

        for _ in range(4):
            await reason()
        clock.skip(121.0)
        assert await reason() == v1.VOICE_ID_REASON_MODEL_FAILED
        put_back()
        clock.skip(121.0)
        assert await reason() == v1.VOICE_ID_REASON_BREAKER_OPEN
        clock.skip(121.0)
        assert await reason() == v1.VOICE_ID_REASON_PACK_PROVISIONAL


async def test_a_vanished_caller_neither_opens_the_circuit_nor_keeps_a_probe(home: Path, mira: Person) -> None:
    flags = {**NO_REPLAY, "owners.voiceid.breaker_min_samples": 2, "owners.voiceid.breaker_window": 4}
    async with serving(home, flags) as house:
        for _ in range(6):
            line = house.line()
            await line.config(stream_config())
            await line.frames(mira.ask.cut(0.0, 1.5).frames())
            await line.half_close()
            line.cancel()
        await house.idle()
        assert house.engine._circuit.phase is Phase.CLOSED
        assert (await ask(house, mira.ask)).v2.candidate_set[0].user_id == "mira"


async def test_one_decision_is_one_row_and_one_audit_event(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        final = await ask(house, mira.ask, session_id="counted")
        events = [event for event in await house.trail() if event.transition == "voiceid.decided"]
        assert len(events) == 1
        facts = {fact.name: fact.value for fact in events[0].facts}
        assert (events[0].session_id, events[0].device_id, events[0].owner) == ("counted", "kitchen", "PH1.VOICE.ID")
        assert events[0].reason_code == "PACK_PROVISIONAL"
        assert facts["tier"] == "PROBABLE" and facts["decision_v1"] == "OK"
        assert facts["score_bp"] == str(final.v2.score_bp)
        kept = await house.store.voiceid.streams.get("dev", facts["stream_id"])
        assert kept.decision == final.SerializeToString(deterministic=True)
        assert kept.named_user_id == "mira"
