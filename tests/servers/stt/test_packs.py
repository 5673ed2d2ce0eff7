"""Packs reach the running owner of transcription, by cohort, and change nothing in the middle of a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soxr
from selene.stt.v1 import service_pb2 as messages

from servers.stt.adapter import RATE_HZ
from servers.stt.features import Samples
from servers.stt.models import WhisperFiles
from servers.stt.transcriber import Transcriber
from servers.tts import espeak
from tests.servers.stt.test_service import FRAME, GOOGLE, OPENAI, SPEECH, Desk, desk, final
from tests.support.live_packs import (
    adaptation,
    begin,
    preference,
    put,
    somebody,
    stt_ranking,
    taken_on,
    told,
    vocabulary,
)
from tests.support.simulators.faults import FaultKind
from tests.support.simulators.google import Portion
from tests.support.speech import pieces

PROFILE, VOCAB, RANKING = "STT_ADAPTATION_PROFILE", "STT_VOCAB_PACK", "STT_ROUTING_POLICY_PACK"
HEARD = (Portion((("ask", 0.1, 0.4, 0.9), ("shivon", 0.4, 0.8, 0.8))),)


@pytest.fixture
async def stt(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, OPENAI, GOOGLE) as served:
        served.google.hears = HEARD
        served.openai.answers.text = "ask Shivon"
        yield served


def request_id(events: Sequence[messages.TranscribeResponse]) -> str:
    return events[0].started.request_id


async def test_a_profile_holds_for_whoever_wrote_the_words_and_the_trail_names_it(stt: Desk) -> None:
    before = await stt.ask(user="mira")
    assert final(before).transcript.text == "ask Shivon"
    await put(stt.owners.store, PROFILE, adaptation(("shivon", "Siobhan")))
    await taken_on(stt.service._router, f"{PROFILE}@1")
    after = await stt.ask(user="mira")
    assert final(after).transcript.text == "ask Siobhan"
    interims = [event.interim.text for event in after if event.WhichOneof("event") == "interim"]
    assert interims and "Shivon" not in " ".join(interims)
    assert final(after).result.provider_ref == OPENAI
    await put(stt.owners.store, RANKING, stt_ranking(preference(GOOGLE, OPENAI)))
    await taken_on(stt.service._router, f"{RANKING}@1")
    by_google = final(await stt.ask(user="mira"))
    assert [word.text for word in by_google.transcript.words] == ["ask", "Siobhan"]
    assert await told(stt.owners, request_id(before)) == {}
    assert await told(stt.owners, request_id(after)) == {"stt_adaptation_profile": f"{PROFILE}@1"}


async def test_a_routing_pack_puts_a_provider_first_and_the_other_still_takes_over(stt: Desk) -> None:
    assert final(await stt.ask(user="mira")).route.attempts[0].provider_ref == OPENAI
    await put(stt.owners.store, RANKING, stt_ranking(preference(GOOGLE, OPENAI)))
    await taken_on(stt.service._router, f"{RANKING}@1")
    preferred = final(await stt.ask(user="mira"))
    assert [each.provider_ref for each in preferred.route.attempts] == [GOOGLE] and not preferred.route.failover
    stt.google.faults.plan(FaultKind.INTERNAL)
    taken_over = final(await stt.ask(user="mira"))
    assert [each.provider_ref for each in taken_over.route.attempts] == [GOOGLE, OPENAI] and taken_over.route.failover


async def test_terms_go_to_the_vendors_with_the_call(stt: Desk) -> None:
    await stt.ask(user="mira")
    await put(stt.owners.store, VOCAB, vocabulary("Qualtrix", "Siobhan"))
    await put(stt.owners.store, RANKING, stt_ranking(preference(GOOGLE, OPENAI)))
    await taken_on(stt.service._router, f"{RANKING}@1")
    await taken_on(stt.service._router, f"{VOCAB}@1")
    await stt.ask(user="mira")
    (call,) = stt.google.ledger
    [phrases] = call.request.streaming_config.config.adaptation.phrase_sets
    assert [each.value for each in phrases.inline_phrase_set.phrases] == ["Qualtrix", "Siobhan"]
    assert {each.boost for each in phrases.inline_phrase_set.phrases} == {10.0}
    assert "prompt" not in stt.openai.ledger[0].body
    await put(stt.owners.store, RANKING, stt_ranking(preference(OPENAI, GOOGLE)))
    await taken_on(stt.service._router, f"{RANKING}@2")
    await stt.ask(user="mira")
    assert stt.openai.ledger[-1].body["prompt"] == "Qualtrix, Siobhan"


async def test_the_cohort_hears_by_the_candidate_and_the_trail_tells_the_arms(stt: Desk) -> None:
    early, late = somebody(0, 500, prefix="user"), somebody(500, 10_000, prefix="user")
    await put(stt.owners.store, PROFILE, adaptation(("shivon", "Siobhan")))
    await begin(stt.owners.store, await put(stt.owners.store, PROFILE, adaptation(("shivon", "Siobhán")), active=False))
    await taken_on(stt.service._router, f"{PROFILE}@2", key=early)
    said = {name: await stt.ask(user=name, idempotency_key=name) for name in (early, late)}
    anonymous = await stt.ask()
    assert final(said[early]).transcript.text == "ask Siobhán"
    assert final(said[late]).transcript.text == final(anonymous).transcript.text == "ask Siobhan"
    name, rollout = "stt_adaptation_profile", {"stt_adaptation_profile_rollout": "rollout-1"}
    for who, version, arm in ((early, 2, "candidate"), (late, 1, "baseline")):
        facts = await told(stt.owners, request_id(said[who]))
        assert facts == {name: f"{PROFILE}@{version}", f"{name}_arm": arm, **rollout}
    # A service that speaks for nobody is in neither arm.
    assert await told(stt.owners, request_id(anonymous)) == {name: f"{PROFILE}@1"}


async def test_a_stream_under_way_stays_with_what_it_began_with(stt: Desk) -> None:
    await put(stt.owners.store, PROFILE, adaptation(("shivon", "Siobhan")))
    await taken_on(stt.service._router, f"{PROFILE}@1")
    line = stt.line()
    await line.config(user="mira")
    assert (await line.event()).WhichOneof("event") == "started"
    await put(stt.owners.store, PROFILE, adaptation(("shivon", "Siobhán")))
    await taken_on(stt.service._router, f"{PROFILE}@2")
    await line.frames(pieces(SPEECH, FRAME))
    await line.half_close()
    assert [event.final.transcript.text for event in await line.rest()][-1] == "ask Siobhan"
    assert final(await stt.ask(user="mira")).transcript.text == "ask Siobhán"


async def test_what_does_not_parse_leaves_the_version_before(stt: Desk) -> None:
    await put(stt.owners.store, PROFILE, adaptation(("shivon", "Siobhan")))
    await put(stt.owners.store, VOCAB, vocabulary("Siobhan"))
    await taken_on(stt.service._router, f"{VOCAB}@1")
    await put(stt.owners.store, PROFILE, vocabulary())
    await put(stt.owners.store, VOCAB, vocabulary("Siobhan", "Qualtrix"))
    await taken_on(stt.service._router, f"{VOCAB}@2")
    events = await stt.ask(user="mira")
    assert final(events).transcript.text == "ask Siobhan"
    facts = await told(stt.owners, request_id(events))
    assert (facts["stt_adaptation_profile"], facts["stt_adaptation_profile_fault"]) == (f"{PROFILE}@1", "UNREADABLE")
    refused = [event for event in await stt.owners.trail() if event.transition == "pack.refused"]
    assert [(event.owner, event.reason_code) for event in refused] == [("PH1.C", "OF_ANOTHER_TYPE")]


@pytest.fixture(scope="module")
def transcriber(whisper_files: WhisperFiles) -> Transcriber:
    return Transcriber(whisper_files)


def sound(text: str) -> Samples:
    """As the local voice says it."""
    engine, spoken = espeak.load(), bytearray()

    def take(pcm: bytes, _: object) -> bool:
        spoken.extend(pcm)
        return True

    engine.render(text, "gmw/en-US", 100, take)
    samples = np.frombuffer(bytes(spoken), "<i2").astype(np.float32) / 32_768
    return np.asarray(soxr.resample(samples, engine.rate_hz, RATE_HZ), np.float32)


def test_the_recogniser_on_this_machine_hears_names_that_it_was_told_of(transcriber: Transcriber) -> None:
    said = sound("Send it to Siobhan at Qualtrix.")

    def heard(*terms: str) -> str:
        return " ".join(word.text for word in transcriber.words(said, terms))

    assert "Siobhan" not in heard() and "Qualtrix" not in heard()
    assert "Siobhan" in heard("Siobhan", "Qualtrix") and "Qualtrix" in heard("Siobhan", "Qualtrix")


def test_terms_are_not_heard_where_nobody_speaks(transcriber: Transcriber) -> None:
    words = transcriber.words(np.zeros(RATE_HZ, np.float32), ["Siobhan", "Qualtrix"])
    assert not [word for word in words if word.probability]
