"""Pronunciation packs reach the running owner of speech: what is heard changes, by cohort, and never within a text."""

# ruff: noqa: RUF001  letters of IPA that look like others are meant
from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.cloud import texttospeech_v1
from selene.artifacts.v1.packs_pb2 import TtsRoutingPolicyPack
from selene.tts.v1 import service_pb2 as messages

from servers.tts import espeak
from servers.tts.adapter import MarkKind, Markup, Synthesis
from servers.tts.lexicon import Pronunciation
from servers.tts.local import LocalTts
from tests.servers.tts.test_local import spoken
from tests.servers.tts.test_service import GOOGLE, LOCAL, OPENAI, Desk, audio, chunks, desk, final, marks
from tests.support.live_packs import begin, canonical, header, preference, pronunciations, put, somebody, taken_on, told

PACK, RANKING = "TTS_PRONUNCIATION_PACK", "TTS_ROUTING_POLICY_PACK"
TEXT = "Worcestershire."
IPA = "ˈwʊ"
"""Much shorter than what is written, so that it shows in how long the text is spoken."""
LONG_IPA = "ˈwʊstəʃəˈwʊstəʃəˈwʊstəʃəˈwʊstəʃə"


def ranking(first: str, over: str) -> bytes:
    return canonical(TtsRoutingPolicyPack(header=header(RANKING), preferences=[preference(first, over)]))


def seconds(events: list[messages.SynthesizeResponse]) -> float:
    return final(events).audio.ToNanoseconds() / 1e9


@pytest.fixture
def tts() -> LocalTts:
    return LocalTts(espeak.load())


def to_say(text: str, *told_of: tuple[str, str], locale: str = "en-US", markup: Markup = Markup.PLAIN) -> Synthesis:
    known = tuple(Pronunciation(term, ipa) for term, ipa in told_of)
    return Synthesis("t-1", "r-1", "k-1", text, locale, markup, pronunciations=known)


async def length(tts: LocalTts, request: Synthesis) -> int:
    found, _, result = await spoken(tts, request, float("inf"))
    assert result.reason_code == "SPOKEN"
    return sum(len(chunk.pcm) // 2 for chunk in found)


@pytest.mark.parametrize("markup", [Markup.PLAIN, Markup.SSML])
async def test_the_local_voice_says_a_term_as_it_is_told(tts: LocalTts, markup: Markup) -> None:
    def said(text: str) -> str:
        return text if markup is Markup.PLAIN else f"<speak>{text}</speak>"

    written = await length(tts, to_say(said(TEXT), markup=markup))
    as_told = await length(tts, to_say(said(TEXT), (TEXT[:-1], "ˈwɪn"), markup=markup))
    assert as_told == pytest.approx(await length(tts, to_say(said("Win."), markup=markup)), rel=0.02)
    assert as_told < 0.9 * written


@pytest.mark.parametrize("locale", ["de", "en-US"])
async def test_what_a_voice_cannot_say_is_read_as_it_is_written(tts: LocalTts, locale: str) -> None:
    sounds = "ˈwɪn" if locale == "de" else "ʏ"
    written = await length(tts, to_say("Nguyen.", locale=locale))
    assert await length(tts, to_say("Nguyen.", ("Nguyen", sounds), locale=locale)) == pytest.approx(written, rel=0.02)


async def test_marks_point_at_the_text_as_it_was_written(tts: LocalTts) -> None:
    text = "Ask Siobhan Nguyen today. Then call [[her]]."
    _, found, _ = await spoken(tts, to_say(text, ("Siobhan Nguyen", "ʃɪˈvɔːn.ˈwɪn")), float("inf"))
    sentences = [mark.text_offset for mark in found if mark.kind is MarkKind.SENTENCE]
    words = [text[mark.text_offset :][: mark.text_length] for mark in found if mark.kind is MarkKind.WORD]
    assert sentences == [0, text.index("Then")]
    assert words == ["Ask", "Siobhan", "today", "Then", "call", "her"]


async def test_a_pack_that_is_activated_is_spoken_by_the_next_call_and_named_in_the_trail(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        before = await tts.say(TEXT, user="mira")
        await put(tts.owners.store, PACK, pronunciations((TEXT[:-1], LONG_IPA)))
        await taken_on(tts.service._router, f"{PACK}@1")
        after = await tts.say(TEXT, user="mira")
        assert seconds(after) > 1.5 * seconds(before)
        assert await told(tts.owners, before[0].started.request_id) == {}
        assert await told(tts.owners, after[0].started.request_id) == {"tts_pronunciation_pack": f"{PACK}@1"}


async def test_the_cohort_hears_the_candidate(tmp_path: Path) -> None:
    early, late = somebody(0, 500, prefix="user"), somebody(500, 10_000, prefix="user")
    async with desk(tmp_path, LOCAL) as tts:
        await put(tts.owners.store, PACK, pronunciations((TEXT[:-1], IPA)))
        candidate = pronunciations((TEXT[:-1], LONG_IPA))
        await begin(tts.owners.store, await put(tts.owners.store, PACK, candidate, active=False))
        await taken_on(tts.service._router, f"{PACK}@2", key=early)
        by_candidate, by_active = [await tts.say(TEXT, user=who, idempotency_key=who) for who in (early, late)]
        assert seconds(by_candidate) > 1.5 * seconds(by_active)
        arms = [await told(tts.owners, said[0].started.request_id) for said in (by_candidate, by_active)]
        assert [each["tts_pronunciation_pack_arm"] for each in arms] == ["candidate", "baseline"]
        assert {each["tts_pronunciation_pack_rollout"] for each in arms} == {"rollout-1"}


async def test_a_text_under_way_is_spoken_to_its_end_as_it_was_begun(tmp_path: Path) -> None:
    text = f"{TEXT} " * 40
    async with desk(tmp_path, LOCAL) as tts:
        await put(tts.owners.store, PACK, pronunciations((TEXT[:-1], IPA)))
        await taken_on(tts.service._router, f"{PACK}@1")
        whole = seconds(await tts.say(text, user="mira"))
        line = tts.line()
        await line.config(text=text, user="mira")
        first = await line.until("chunk")
        await put(tts.owners.store, PACK, pronunciations((TEXT[:-1], LONG_IPA)))
        await taken_on(tts.service._router, f"{PACK}@2")
        await line.half_close()
        said = (await line.rest())[-1].final.audio.ToNanoseconds() / 1e9
        assert first.WhichOneof("event") == "chunk"
        assert said == pytest.approx(whole, rel=0.02)
        assert seconds(await tts.say(text, user="mira")) > 1.5 * whole


@pytest.fixture
async def vendors(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, OPENAI, GOOGLE) as served:
        yield served


@pytest.mark.parametrize("ssml", [False, True])
async def test_google_is_told_of_the_terms_in_the_text_and_a_routing_pack_has_it_asked_first(
    vendors: Desk, ssml: bool
) -> None:
    before = final(await vendors.say("Hello Nguyen.", user="mira"))
    assert [each.provider_ref for each in before.route.attempts] == [OPENAI]
    await put(vendors.owners.store, RANKING, ranking(GOOGLE, OPENAI))
    await put(vendors.owners.store, PACK, pronunciations(("nguyen", "ˈwɪn"), ("Siobhan", "ʃɪˈvɔːn")))
    await taken_on(vendors.service._router, f"{RANKING}@1")
    await taken_on(vendors.service._router, f"{PACK}@1")
    text = "<speak>Hello Nguyen.</speak>" if ssml else "Hello Nguyen."
    events = await vendors.say(text, user="mira", ssml=ssml)
    assert [each.provider_ref for each in final(events).route.attempts] == [GOOGLE] and chunks(events) and audio(events)
    (call,) = vendors.google.ledger
    asked = call.request.input if ssml else call.request.streaming_config
    [custom] = asked.custom_pronunciations.pronunciations
    ipa = texttospeech_v1.CustomPronunciationParams.PhoneticEncoding.PHONETIC_ENCODING_IPA
    assert (custom.phrase, custom.pronunciation, custom.phonetic_encoding) == ("Nguyen", "ˈwɪn", ipa)


async def test_whoever_a_pack_puts_first_the_call_stays_in_the_region_of_the_profiles_first(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as tts:
        await put(tts.owners.store, RANKING, ranking(LOCAL, OPENAI))
        await taken_on(tts.service._router, f"{RANKING}@1")
        preferred = final(await tts.say("Hello.", user="mira")).route
        elsewhere = final(await tts.say("Hello.", user="mira", locale="gl")).route
        assert [each.provider_ref for each in preferred.attempts] == [LOCAL]
        assert [each.provider_ref for each in elsewhere.attempts] == [LOCAL, OPENAI]


async def test_google_is_told_of_none_where_it_takes_none(vendors: Desk) -> None:
    await put(vendors.owners.store, RANKING, ranking(GOOGLE, OPENAI))
    await put(vendors.owners.store, PACK, pronunciations(("nguyen", "ˈwɪn"), locale="de"))
    await taken_on(vendors.service._router, f"{RANKING}@1")
    await taken_on(vendors.service._router, f"{PACK}@1")
    events = await vendors.say("Hello Nguyen.", user="mira", locale="de-DE")
    assert final(events).result.provider_ref == GOOGLE and not marks(events)[1:]
    assert not vendors.google.ledger[0].request.streaming_config.HasField("custom_pronunciations")


async def test_what_is_no_lexicon_leaves_the_one_before(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        await put(tts.owners.store, PACK, pronunciations((TEXT[:-1], LONG_IPA)))
        await taken_on(tts.service._router, f"{PACK}@1")
        learned = seconds(await tts.say(TEXT, user="mira"))
        await put(tts.owners.store, PACK, b"garbage")
        await put(tts.owners.store, RANKING, ranking(GOOGLE, OPENAI))
        await taken_on(tts.service._router, f"{RANKING}@1")
        events = await tts.say(TEXT, user="mira")
        assert seconds(events) == pytest.approx(learned, rel=0.02)
        facts = await told(tts.owners, events[0].started.request_id)
        assert facts["tts_pronunciation_pack"] == f"{PACK}@1"
        assert facts["tts_pronunciation_pack_fault"] == "UNREADABLE"
