"""Google's recogniser through Google's own client, against a simulator on a real socket."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator

import grpc
import protovalidate
import pytest
from google.cloud import speech_v2
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_STT,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
)

from servers.routing.reasons import ProviderReason
from servers.stt.adapter import RATE_HZ, Interim, SttAdapter, SttEvent, SttReason, Transcript, Transcription, Word
from servers.stt.google import MAX_MESSAGE_BYTES, GoogleStt
from tests.support.keys import RotatingKey, keeps
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.google import GoogleSimulator, Portion, google_simulator, sha256
from tests.support.speech import pieces

RECOGNIZER = "projects/p-1/locations/global/recognizers/_"
ASKED = Transcription("t-1", "req-1", "idem-1", "en-US", "sim-7")
NEVER = math.inf
FRAME = 640  # 20 ms
SOUND = bytes(2 * RATE_HZ * 2)  # 2 s
BROKEN_OFF = PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_TRUNCATED
LIGHT = Portion(
    (("turn", 0.2, 0.4, 0.9), ("on", 0.4, 0.6, 0.8), ("the", 0.6, 0.7, 0.0), ("light", 0.7, 1.2, 1.0)),
    ("turn", "turn on"),
    confidence=0.7,
)
PLEASE = Portion((("please", 1.4, 1.8, 0.5),), ("please",))


class Fixed:
    """A secret that is always this one."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def reveal(self) -> str:
        return self._key


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def google(key: RotatingKey) -> AsyncIterator[GoogleSimulator]:
    async with google_simulator(key.secret) as simulator:
        simulator.hears = (LIGHT, PLEASE)
        yield simulator


@pytest.fixture
async def stt(google: GoogleSimulator, key: RotatingKey) -> AsyncIterator[GoogleStt]:
    adapter = GoogleStt(key, recognizer=RECOGNIZER, endpoint=google.endpoint, plaintext=True)
    yield adapter
    await adapter.close()


async def frames(data: bytes, size: int = FRAME) -> AsyncGenerator[bytes, None]:
    for piece in pieces(data, size):
        yield piece


async def unending() -> AsyncGenerator[bytes, None]:
    """Half a second, then silence on the line."""
    yield bytes(RATE_HZ)
    await asyncio.Event().wait()


async def heard(
    stt: SttAdapter,
    sound: AsyncIterator[bytes] | None = None,
    deadline: float | None = None,
    asked: Transcription = ASKED,
) -> tuple[list[Interim], Transcript | None, ProviderResultV1]:
    sound = frames(SOUND) if sound is None else sound
    deadline = time.monotonic() + 20 if deadline is None else deadline
    *events, result = [event async for event in stt.transcribe(asked, sound, deadline=deadline)]
    assert isinstance(result, ProviderResultV1)
    protovalidate.validate(result)
    transcripts = [event for event in events if isinstance(event, Transcript)]
    assert len(transcripts) == (result.status == PROVIDER_STATUS_OK)
    return [event for event in events if isinstance(event, Interim)], next(iter(transcripts), None), result


async def test_portions_become_one_transcript_of_words(google: GoogleSimulator, stt: GoogleStt) -> None:
    _, transcript, result = await heard(stt)
    assert transcript == Transcript(
        "turn on the light please",
        (
            Word("turn", 0.2, 0.4, 9_000),
            Word("on", 0.4, 0.6, 8_000),
            Word("the", 0.6, 0.7, 7_000),
            Word("light", 0.7, 1.2, 10_000),
            Word("please", 1.4, 1.8, 5_000),
        ),
        2.0,
    )
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_OK, SttReason.TRANSCRIBED)
    assert (result.provider_ref, result.capability) == ("google/stt", CAPABILITY_STT)
    assert (result.request_id, result.idempotency_key) == ("req-1", "idem-1")
    assert result.simulation_context_ref == "sim-7"
    # (0.2 x 9,000 + 0.2 x 8,000 + 0.1 x 7,000 + 0.5 x 10,000 + 0.4 x 5,000) / 1.4
    assert result.quality_score_bp == 7_929
    assert 0 <= result.latency.ToNanoseconds() < 5e9


async def test_interims_cover_all_of_the_audio_so_far(stt: GoogleStt) -> None:
    interims, _, _ = await heard(stt)
    assert [interim.text for interim in interims] == [
        "turn",
        "turn on",
        "turn on the light",
        "turn on the light please",
    ]
    ends = [interim.end_s for interim in interims]
    assert ends == pytest.approx([0.2 + 1 / 3, 0.2 + 2 / 3, 1.2, 1.6])


async def test_interims_come_while_audio_flows(stt: GoogleStt) -> None:
    """The rest of the audio is only given when an interim has come."""
    seen = asyncio.Event()

    async def sound() -> AsyncGenerator[bytes, None]:
        yield SOUND[:RATE_HZ]
        yield SOUND[RATE_HZ : 2 * RATE_HZ]
        await seen.wait()
        yield SOUND[2 * RATE_HZ :]

    stream = stt.transcribe(ASKED, sound(), deadline=time.monotonic() + 20)
    first = await anext(stream)
    assert isinstance(first, Interim)
    assert first.end_s < 1.0
    seen.set()
    *_, transcript, result = [event async for event in stream]
    assert isinstance(transcript, Transcript)
    assert transcript.audio_s == 2.0
    assert isinstance(result, ProviderResultV1)


async def test_google_is_asked_for_what_is_needed(google: GoogleSimulator, stt: GoogleStt) -> None:
    await heard(stt)
    (call,) = google.ledger
    config = call.request.streaming_config
    assert call.request.recognizer == RECOGNIZER
    assert list(config.config.language_codes) == ["en-US"]
    assert config.config.model == "long"
    assert config.config.features.enable_word_time_offsets
    assert config.config.features.enable_word_confidence
    assert config.streaming_features.interim_results
    assert (sum(call.audio), call.half_closed, call.answered) == (len(SOUND), True, "OK")


@pytest.mark.parametrize("size", [2, FRAME, 3_202, 100_000])
async def test_audio_is_sent_in_pieces_that_google_takes(google: GoogleSimulator, stt: GoogleStt, size: int) -> None:
    _, transcript, _ = await heard(stt, frames(SOUND, size))
    assert transcript is not None
    sent = google.ledger[0].audio
    assert sum(sent) == len(SOUND)
    assert max(sent) <= MAX_MESSAGE_BYTES
    assert len(sent) <= 21  # 20 blocks of 100 ms, and a rest


async def test_a_stream_of_no_speech_is_said_to_be_none(google: GoogleSimulator, stt: GoogleStt) -> None:
    google.hears = ()
    _, transcript, result = await heard(stt)
    assert transcript is None
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.NO_SPEECH)
    assert (result.quality_score_bp, result.normalized_payload_ref) == (0, "")


async def test_no_audio_at_all_is_no_speech(google: GoogleSimulator, stt: GoogleStt) -> None:
    google.hears = ()
    _, _, result = await heard(stt, frames(b""))
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.NO_SPEECH)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (FaultKind.BUSY, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_BUSY),
        (FaultKind.INTERNAL, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
        (FaultKind.UNAVAILABLE, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
        (FaultKind.UNAUTHENTICATED, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_REFUSED),
        (FaultKind.FORBIDDEN, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_REFUSED),
        (FaultKind.BAD_REQUEST, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.REQUEST_REFUSED),
        (FaultKind.MALFORMED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
        (FaultKind.WRONG_SCHEMA, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
        (FaultKind.EMPTY, PROVIDER_STATUS_TERMINAL_FAIL, SttReason.NO_SPEECH),
        (Fault(FaultKind.HALF_STREAM, after=1), *BROKEN_OFF),
        (Fault(FaultKind.HALF_STREAM, after=4), *BROKEN_OFF),
    ],
    ids=str,
)
async def test_what_goes_wrong_is_a_result_with_a_reason_and_the_next_call_goes_well(
    google: GoogleSimulator, stt: GoogleStt, fault: Fault | FaultKind, status: int, reason: str
) -> None:
    google.faults.plan(fault)
    _, _, result = await heard(stt)
    assert (result.status, result.reason_code) == (status, reason)
    assert (result.quality_score_bp, result.normalized_payload_ref) == (0, "")
    assert len(google.ledger) == 1
    _, transcript, _ = await heard(stt)
    assert transcript is not None


@pytest.mark.parametrize("after", [0, 2])
async def test_a_connection_that_breaks_ends_the_stream_and_is_made_again(
    google: GoogleSimulator, stt: GoogleStt, after: int
) -> None:
    google.faults.plan(Fault(FaultKind.RESET, after=after))
    _, _, result = await heard(stt)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE)
    assert len(google.ledger) == 1
    async with asyncio.timeout(10):
        while result.status != PROVIDER_STATUS_OK:
            _, _, result = await heard(stt)


async def test_a_stream_that_ends_before_the_audio_does_is_truncated(google: GoogleSimulator, stt: GoogleStt) -> None:
    async def sound() -> AsyncGenerator[bytes, None]:
        yield SOUND[: 2 * RATE_HZ]
        await asyncio.Event().wait()

    google.faults.plan(FaultKind.HALF_STREAM)
    _, _, result = await heard(stt, sound())
    assert (result.status, result.reason_code) == BROKEN_OFF
    assert google.ledger[0].answered == "OK"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (grpc.StatusCode.UNKNOWN, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
        (grpc.StatusCode.ABORTED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
        (grpc.StatusCode.CANCELLED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED),
        (grpc.StatusCode.NOT_FOUND, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.REQUEST_REFUSED),
        (grpc.StatusCode.FAILED_PRECONDITION, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.REQUEST_REFUSED),
        (grpc.StatusCode.OUT_OF_RANGE, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.REQUEST_REFUSED),
        (grpc.StatusCode.DATA_LOSS, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
    ],
    ids=str,
)
async def test_every_status_of_google_has_a_reason(
    google: GoogleSimulator, stt: GoogleStt, code: grpc.StatusCode, status: int, reason: str
) -> None:
    google.refusal = (code, b"")
    _, _, result = await heard(stt)
    assert (result.status, result.reason_code) == (status, reason)


async def test_a_refusal_is_never_lost_behind_audio_that_it_cut_short(google: GoogleSimulator, stt: GoogleStt) -> None:
    google.faults.plan(*[FaultKind.BUSY] * 60)
    reasons = {(await heard(stt))[2].reason_code for _ in range(60)}
    assert reasons == {ProviderReason.PROVIDER_BUSY}


@pytest.mark.parametrize("details", [b"\xff\xff\xff", b"\x08\x05\x12\x02no"], ids=["no status", "another status"])
async def test_details_that_contradict_the_status_are_malformed(
    google: GoogleSimulator, stt: GoogleStt, details: bytes
) -> None:
    google.refusal = (grpc.StatusCode.INTERNAL, details)
    _, _, result = await heard(stt)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED)


def settled(**best: object) -> list[speech_v2.StreamingRecognizeResponse]:
    result = {"is_final": True, "alternatives": [{"transcript": "on", **best}]}
    return [speech_v2.StreamingRecognizeResponse({"results": [result]})]


@pytest.mark.parametrize(
    "words",
    [
        [],
        [{"word": "", "start_offset": "0.1s", "end_offset": "0.2s"}],
        [{"word": "on", "start_offset": "0.3s", "end_offset": "0.2s"}],
        [{"word": "on", "start_offset": "-0.1s", "end_offset": "0.2s"}],
        [{"word": "on", "start_offset": "0.1s", "end_offset": "3.1s"}],
    ],
    ids=["no words", "an empty word", "ends before it starts", "before the audio", "after the audio"],
)
async def test_words_that_cannot_be_are_malformed(
    google: GoogleSimulator, stt: GoogleStt, words: list[dict[str, str]]
) -> None:
    google.results = settled(words=words)
    _, _, result = await heard(stt)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED)


@pytest.mark.parametrize(("given", "basis_points"), [(1.5, 10_000), (-1.0, 0), (math.nan, 0)])
async def test_confidence_out_of_range_is_forced_into_it(
    google: GoogleSimulator, stt: GoogleStt, given: float, basis_points: int
) -> None:
    words = [{"word": "on", "start_offset": "1.9s", "end_offset": "2.2s", "confidence": given}]
    google.results = settled(words=words)
    _, transcript, result = await heard(stt)
    assert transcript is not None
    assert transcript.words == (Word("on", 1.9, 2.0, basis_points),)
    assert result.quality_score_bp == basis_points


@pytest.mark.parametrize("odd", [b"\0", bytes(641)])
async def test_half_a_sample_is_malformed(google: GoogleSimulator, stt: GoogleStt, odd: bytes) -> None:
    async def sound() -> AsyncGenerator[bytes, None]:
        yield bytes(640)
        await google.begun(1)
        yield odd
        yield bytes(640)

    _, _, result = await heard(stt, sound())
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.AUDIO_MALFORMED)
    await asyncio.wait_for(google.ledger[0].ended.wait(), 5)
    assert google.ledger[0].answered == "CANCELLED"


async def test_endless_audio_is_cut_off_at_the_bound(google: GoogleSimulator) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield bytes(2 * RATE_HZ)

    stt = GoogleStt(RotatingKey(), recognizer=RECOGNIZER, endpoint=google.endpoint, plaintext=True, max_audio_s=3.0)
    _, _, result = await heard(stt, endless())
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.AUDIO_TOO_LONG)
    await stt.close()


@pytest.mark.parametrize("locale", ["", "english", "en US", "en-US\n"])
async def test_what_is_no_locale_is_not_sent(google: GoogleSimulator, stt: GoogleStt, locale: str) -> None:
    _, _, result = await heard(stt, asked=Transcription("t-1", "req-1", "idem-1", locale))
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.LOCALE_UNSUPPORTED)
    assert google.ledger == []


async def test_a_locale_that_google_names_as_wrong_is_the_callers_fault(stt: GoogleStt) -> None:
    _, _, result = await heard(stt, asked=Transcription("t-1", "req-1", "idem-1", "xx-XX"))
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.LOCALE_UNSUPPORTED)


async def test_the_deadline_goes_with_the_call(google: GoogleSimulator, stt: GoogleStt) -> None:
    await heard(stt, deadline=time.monotonic() + 7)
    await heard(stt, deadline=NEVER)
    bounded, unbounded = google.ledger
    assert bounded.deadline_s is not None
    assert 5 < bounded.deadline_s <= 7.1
    assert unbounded.deadline_s is None


@pytest.mark.parametrize("fault", [Fault(FaultKind.HANG), Fault(FaultKind.HANG, after=3)], ids=str)
async def test_the_deadline_ends_a_call_that_hangs(google: GoogleSimulator, stt: GoogleStt, fault: Fault) -> None:
    google.faults.plan(fault)
    _, _, result = await heard(stt, deadline=time.monotonic() + 0.8)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)
    await asyncio.wait_for(google.ledger[0].ended.wait(), 5)
    assert google.ledger[0].answered == "CANCELLED"


async def test_the_deadline_ends_a_trickle(google: GoogleSimulator, stt: GoogleStt) -> None:
    google.faults.plan(Fault(FaultKind.TRICKLE, seconds=0.3))
    interims, _, result = await heard(stt, deadline=time.monotonic() + 1.0)
    assert interims
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)


async def test_the_deadline_ends_a_stream_whose_audio_does_not_come(google: GoogleSimulator, stt: GoogleStt) -> None:
    _, _, result = await heard(stt, unending(), deadline=time.monotonic() + 0.8)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)


async def test_a_deadline_that_has_passed_is_not_sent(google: GoogleSimulator, stt: GoogleStt) -> None:
    _, _, result = await heard(stt, deadline=time.monotonic() - 1)
    assert result.reason_code == ProviderReason.DEADLINE_EXCEEDED
    assert google.ledger == []


async def test_latency_counts_from_the_end_of_the_audio(google: GoogleSimulator, stt: GoogleStt) -> None:
    google.hears = (Portion((("on", 0.1, 0.3, 0.9),)),)
    google.faults.plan(Fault(FaultKind.TRICKLE, seconds=0.2))
    _, _, result = await heard(stt)
    assert 0.2 <= result.latency.ToNanoseconds() / 1e9 < 5


async def test_closing_the_generator_closes_the_call(google: GoogleSimulator, stt: GoogleStt) -> None:
    google.faults.plan(Fault(FaultKind.HANG, after=1))
    stream: AsyncGenerator[SttEvent, None] = stt.transcribe(ASKED, frames(SOUND), deadline=NEVER)
    assert isinstance(await anext(stream), Interim)
    await stream.aclose()
    await asyncio.wait_for(google.ledger[0].ended.wait(), 5)
    assert google.ledger[0].answered == "CANCELLED"


async def test_a_cancelled_task_closes_the_call(google: GoogleSimulator, stt: GoogleStt) -> None:
    task = asyncio.create_task(heard(stt, unending(), deadline=NEVER))
    call = await google.begun(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(call.ended.wait(), 5)
    assert call.answered == "CANCELLED"
    _, transcript, _ = await heard(stt)
    assert transcript is not None


async def test_what_the_audio_raises_passes_through_and_closes_the_call(
    google: GoogleSimulator, stt: GoogleStt
) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield bytes(3_200)
        await google.begun(1)
        raise ConnectionResetError("the caller is gone")

    with pytest.raises(ConnectionResetError, match="the caller is gone"):
        await heard(stt, broken())
    await asyncio.wait_for(google.ledger[0].ended.wait(), 5)
    assert google.ledger[0].answered == "CANCELLED"


async def test_closing_the_adapter_ends_what_is_under_way(google: GoogleSimulator, stt: GoogleStt) -> None:
    task = asyncio.create_task(heard(stt, unending(), deadline=NEVER))
    await google.begun(1)
    await stt.close()
    _, _, result = await task
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE)


async def test_nobody_there_is_unavailable(stt: GoogleStt) -> None:
    nobody = GoogleStt(RotatingKey(), recognizer=RECOGNIZER, endpoint="127.0.0.1:1", plaintext=True)
    _, _, result = await heard(nobody)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE)
    assert not await nobody.prewarm(within_s=0.1)
    await nobody.close()


async def test_a_warm_adapter_has_its_connection(google: GoogleSimulator, stt: GoogleStt) -> None:
    assert await stt.prewarm()
    assert google.ledger == []


async def test_the_key_of_each_call_is_the_one_that_is_current(
    google: GoogleSimulator, stt: GoogleStt, key: RotatingKey
) -> None:
    await heard(stt)
    first = key.secret
    key.rotate()
    google.keys = {key.secret}
    _, transcript, _ = await heard(stt)
    assert transcript is not None
    assert [call.key_sha256 for call in google.ledger] == [sha256(first), sha256(key.secret)]
    assert key.revealed == 2


async def test_a_revoked_key_is_refused(google: GoogleSimulator, stt: GoogleStt) -> None:
    google.keys = {"another"}
    _, _, result = await heard(stt)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_REFUSED)


async def test_without_a_lease_google_is_not_called(google: GoogleSimulator, stt: GoogleStt, key: RotatingKey) -> None:
    key.available = False
    _, _, result = await heard(stt)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert google.ledger == []


@pytest.mark.parametrize("secret", ["", "two words", "line\nfeed", "schlüssel"])
async def test_a_key_that_no_header_can_carry_is_not_sent(google: GoogleSimulator, secret: str) -> None:
    stt = GoogleStt(Fixed(secret), recognizer=RECOGNIZER, endpoint=google.endpoint, plaintext=True)
    _, _, result = await heard(stt)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert google.ledger == []
    await stt.close()


async def test_the_key_is_in_nothing_that_can_be_read_later(
    google: GoogleSimulator,
    stt: GoogleStt,
    key: RotatingKey,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The simulator quotes the key in its errors, as no vendor should."""
    monkeypatch.setattr(logging.getLogger("google"), "propagate", True)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "google"):
        google.faults.plan(None, FaultKind.UNAUTHENTICATED, FaultKind.MALFORMED, FaultKind.RESET)
        results = [(await heard(stt))[2] for _ in range(4)]
    texts = [str(result) for result in results]
    texts += [str(vars(record)) for record in caplog.records]
    texts += [repr(stt), repr(vars(stt))]
    assert len({result.reason_code for result in results}) == 4
    assert all(key.secret not in text for text in texts)
    assert not keeps(stt, key.secret)


async def test_streams_beside_each_other_share_a_connection_and_do_not_mix(
    google: GoogleSimulator, stt: GoogleStt
) -> None:
    results = await asyncio.gather(*(heard(stt, frames(SOUND[: 32_000 + 3_200 * n])) for n in range(8)))
    assert [transcript.audio_s for _, transcript, _ in results if transcript] == pytest.approx(
        [1 + 0.1 * n for n in range(8)]
    )
    assert len(google.ledger) == 8
