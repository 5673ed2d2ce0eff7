"""Enrolled from real clips, asked with other real speech: who is named, who is not, and by what right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from clients.audio import join
from tests.support.servers import DEVICE, House, ask, copy_home, enrol, serving, stream_config
from tests.support.speech import Person, mixed

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMED = (v2.IDENTITY_TIER_CONFIRMED, v2.IDENTITY_TIER_PROBABLE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(enrolled: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Mira and otto live here. Replays are not looked for: tests ask with the same speech again and again."""
    home = copy_home(enrolled, tmp_path_factory.mktemp("identity") / "home")
    async with serving(home, {"owners.voiceid.replay_min_s": 600.0}) as served:
        yield served


@pytest.fixture(params=["mira", "otto"])
def person(request: pytest.FixtureRequest) -> Person:
    found: Person = request.getfixturevalue(request.param)
    return found


async def test_an_enrolled_voice_is_named(house: House, person: Person) -> None:
    final = await ask(house, person.ask)
    assert final.v2.identity_tier in NAMED
    assert final.v2.candidate_set[0].user_id == person.name
    assert final.v1.decision == v1.DECISION_OK
    assert final.v1.candidate_set[0].user_id == person.name


async def test_a_decision_says_what_it_rests_on(house: House, mira: Person) -> None:
    decision = (await ask(house, mira.ask)).v2
    used = house.models.names[:1] if decision.telemetry.stage2_skipped else house.models.names
    assert tuple(decision.provenance.models) == used
    assert decision.provenance.model_set_hash == house.models.model_set_hash
    assert decision.provenance.threshold_pack == "VOICEID_THRESHOLD_PACK_V1@1"
    assert decision.provenance.provisional
    assert decision.identity_tier == v2.IDENTITY_TIER_PROBABLE
    assert decision.reason_code == v1.VOICE_ID_REASON_PACK_PROVISIONAL
    assert decision.score_bp == decision.candidate_set[0].score_bp >= decision.provenance.conf_high_bp
    assert decision.telemetry.voiced.ToTimedelta() <= decision.telemetry.audio.ToTimedelta()


async def test_a_claim_that_is_true_is_accepted(house: House, person: Person) -> None:
    final = await ask(house, person.ask, claim=person.name)
    assert final.v2.identity_tier in NAMED
    assert [one.user_id for one in final.v2.candidate_set] == [person.name]


@pytest.mark.parametrize(("claim", "speaker"), [("mira", "otto"), ("otto", "mira")])
async def test_a_claim_that_is_false_is_not(
    house: House, claim: str, speaker: str, request: pytest.FixtureRequest
) -> None:
    impostor: Person = request.getfixturevalue(speaker)
    decision = (await ask(house, impostor.ask, claim=claim)).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
    assert not decision.candidate_set
    assert decision.margin_to_next_bp < 0, "somebody else is nearer"


async def test_a_claim_to_be_nobody_who_is_enrolled_names_nobody(house: House, mira: Person) -> None:
    decision = (await ask(house, mira.ask, claim="nobody")).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
    assert decision.reason_code == v1.VOICE_ID_REASON_NOT_ENROLLED


async def test_the_owner_is_named_on_the_own_device(house: House, mira: Person) -> None:
    decision = (await ask(house, mira.ask, device_owner_user_id="mira", session_id="own")).v2
    assert decision.identity_tier in NAMED


async def test_another_voice_than_the_owners_asks_for_ownership_once(house: House, otto: Person) -> None:
    first, again = [(await ask(house, otto.ask, device_owner_user_id="mira", session_id="owned")).v2 for _ in "12"]
    assert first.identity_tier == again.identity_tier == v2.IDENTITY_TIER_UNKNOWN
    assert first.reason_code == v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH
    assert (first.next_action, first.retries_left) == (v1.NEXT_ACTION_CONFIRM_OWNERSHIP, 1)
    assert again.reason_code == v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED
    assert (again.next_action, again.retries_left) == (v1.NEXT_ACTION_OWNERSHIP_DISPUTE, 0)
    assert not first.candidate_set and not again.candidate_set


async def test_members_of_the_device_are_all_that_count_where_it_says_so(house: House, mira: Person) -> None:
    elsewhere = await ask(house, mira.ask, device_id="hall", device_members_only=True)
    assert elsewhere.v2.reason_code == v1.VOICE_ID_REASON_NOT_ENROLLED
    here = await ask(house, mira.ask, device_id=DEVICE, device_members_only=True)
    assert here.v2.candidate_set[0].user_id == "mira"
    anywhere = await ask(house, mira.ask, device_id="hall")
    assert anywhere.v2.candidate_set[0].user_id == "mira"


async def test_two_voices_at_once_are_asked_to_speak_alone_and_then_left_unnamed(
    house: House, mira: Person, otto: Person
) -> None:
    both = mixed(mira.ask, join("otto", [otto.clips[0], otto.ask]))
    first, again = [(await ask(house, both, session_id="both")).v2 for _ in "12"]
    assert first.reason_code == v1.VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP
    assert (first.next_action, first.retries_left) == (v1.NEXT_ACTION_RETRY_SINGLE_SPEAKER, 1)
    assert again.reason_code == v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED
    assert again.next_action == v1.NEXT_ACTION_NON_PERSONALIZED
    assert first.conflict_state == again.conflict_state == v1.CONFLICT_STATE_MULTI_SPEAKER_OVERLAP
    assert not first.candidate_set and not again.candidate_set


async def test_speech_too_short_to_tell_decides_nothing(house: House, mira: Person) -> None:
    decision = (await ask(house, mira.ask.cut(0.0, 0.4))).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
    assert decision.reason_code in (v1.VOICE_ID_REASON_INSUFFICIENT_SPEECH, v1.VOICE_ID_REASON_NO_SPEECH)


async def test_a_stranger_is_unknown(
    enrolled: Path, tmp_path_factory: pytest.TempPathFactory, mira: Person, otto: Person
) -> None:
    async with serving(tmp_path_factory.mktemp("stranger")) as house:
        assert (await ask(house, mira.ask)).v2.reason_code == v1.VOICE_ID_REASON_NOT_ENROLLED
        await enrol(house.client(), mira)
        decision = (await ask(house, otto.ask)).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
    assert decision.reason_code == v1.VOICE_ID_REASON_SCORE_LOW
    assert not decision.candidate_set


async def test_confidence_is_told_while_the_person_speaks(house: House, mira: Person) -> None:
    line = house.line()
    await line.config(stream_config())
    started = await line.started()
    assert started.next_sequence == 0
    await line.speak(mira.ask)
    await line.half_close()
    events = await line.rest()
    kinds = [event.WhichOneof("event") for event in events]
    begin = next(event.speech for event in events if event.WhichOneof("event") == "speech")
    interims = [event.interim for event in events if event.WhichOneof("event") == "interim"]
    assert begin.kind == v1.SpeechEvent.KIND_SPEECH_BEGIN
    assert kinds.index("speech") < kinds.index("interim")
    assert 0 < interims[0].score_bp < events[-1].final.v2.score_bp
    assert [one.voiced.ToTimedelta() for one in interims] == sorted(one.voiced.ToTimedelta() for one in interims)


async def test_the_confidence_of_a_claim_is_that_of_the_claimed_person(house: House, mira: Person) -> None:
    line = house.line(claim="nobody-enrolled")
    await line.config(stream_config())
    await line.started()
    await line.speak(mira.ask)
    await line.half_close()
    events = await line.rest()
    assert not any(event.WhichOneof("event") == "interim" for event in events)
    assert events[-1].final.v2.reason_code == v1.VOICE_ID_REASON_NOT_ENROLLED
