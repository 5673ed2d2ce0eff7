"""The local recogniser on real decoder processes, with people's voices, the local synthesiser's, and no voice."""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import protovalidate
import pytest
import pytest_asyncio
import soxr
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_STT,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
)

from clients import audio
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import ManualClock
from servers.stt.adapter import RATE_HZ, Interim, SttAdapter, SttEvent, SttReason, Transcript, Transcription
from servers.stt.local import LocalStt
from servers.stt.models import WhisperFiles
from servers.stt.workers import Pool, WorkerDied, open_pool
from servers.tts import espeak
from tests.support.speech import LIBRISPEECH, pieces

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEVER = math.inf
GIVEN_BACK_S = 20.0
ASKED = Transcription("t-1", "req-1", "idem-1", "en-US")
FRAME = 640  # 20 ms
SILENCE_S = 0.25

POEM = (
    "there's iron they say in all our blood and a grain or two perhaps is good "
    "but his he makes me harshly feel has got a little too much of steel"
)
COMMANDS = ["what time is it", "turn on the light", "good morning", "open the door"]
SENTENCES = [
    *COMMANDS,
    "where did I leave my keys this morning",
    "remind me to call my sister on Friday evening",
    "play some quiet music in the kitchen",
    "I would like to know more about the history of this house",
    "the meeting has been moved to Thursday afternoon",
    "can you tell me who is speaking",
    "close the window before it starts to rain",
    "thank you very much for your help",
]
KEYS = SENTENCES[4]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(whisper_files: WhisperFiles) -> AsyncIterator[Pool]:
    """One decoder for the whole module: each takes half a second of CPU to start."""
    pool = await open_pool(1, whisper_files)
    yield pool
    await pool.close()


@pytest_asyncio.fixture(loop_scope="module")
async def pool(opened: Pool) -> AsyncIterator[Pool]:
    """Its decoder is idle before a test, and after it once what was given up is tidied up."""
    assert opened.idle == 1
    yield opened
    async with asyncio.timeout(GIVEN_BACK_S), opened.lent():
        pass
    assert opened.idle == 1


@cache
def said(text: str) -> bytes:
    """The words as the local synthesiser says them, PCM16 at 16 kHz, with a little silence around."""
    engine, spoken = espeak.load(), bytearray()

    def take(pcm: bytes, _: object) -> bool:
        spoken.extend(pcm)
        return True

    engine.render(text, "gmw/en-US", 80, take)
    samples = np.frombuffer(bytes(spoken), "<i2").astype(np.float32)
    resampled = soxr.resample(samples, engine.rate_hz, RATE_HZ).clip(-32768, 32767).astype("<i2")
    around = bytes(2 * round(SILENCE_S * RATE_HZ))
    return around + resampled.tobytes() + around


async def frames(data: bytes, size: int = FRAME) -> AsyncGenerator[bytes, None]:
    for piece in pieces(data, size):
        yield piece


async def endless(on_second: Callable[[], None] = lambda: None) -> AsyncGenerator[bytes, None]:
    while True:
        yield said(COMMANDS[0])[: 2 * RATE_HZ]
        on_second()


async def heard(
    stt: SttAdapter, sound: AsyncIterator[bytes], deadline: float = NEVER, asked: Transcription = ASKED
) -> tuple[list[Interim], Transcript | None, ProviderResultV1]:
    *events, result = [event async for event in stt.transcribe(asked, sound, deadline=deadline)]
    assert isinstance(result, ProviderResultV1)
    protovalidate.validate(result)
    transcripts = [event for event in events if isinstance(event, Transcript)]
    assert len(transcripts) == (result.status == PROVIDER_STATUS_OK)
    return [event for event in events if isinstance(event, Interim)], next(iter(transcripts), None), result


def word_errors(expected: str, got: str) -> int:
    """Substitutions, insertions and deletions between the two."""
    reference, hypothesis = (re.sub(r"[^a-z' ]", "", text.lower()).split() for text in (expected, got))
    row = list(range(len(hypothesis) + 1))
    for number, wanted in enumerate(reference, 1):
        above, row[0] = row[0], number
        for column, word in enumerate(hypothesis, 1):
            above, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, above + (word != wanted))
    return row[-1]


async def test_a_person_reading_a_poem_is_understood(pool: Pool) -> None:
    """The poem is Gaskell's motto to chapter 10 of North and South; the recording brings no text of its own."""
    file = LIBRISPEECH / "test-other" / "1688" / "1688-142285-0000.flac"
    if not file.exists():
        pytest.skip("no LibriSpeech beside the repository (shared/data/librispeech-dev/test-other)")
    recording = audio.read(file)
    assert recording.rate == RATE_HZ
    _, transcript, result = await heard(LocalStt(pool), frames(recording.samples.astype("<i2").tobytes()))
    assert transcript is not None
    assert word_errors(POEM, transcript.text) / len(POEM.split()) < 0.2
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_OK, SttReason.TRANSCRIBED)
    assert 5_000 < result.quality_score_bp <= 10_000


async def test_people_reading_are_heard_to_the_end(pool: Pool) -> None:
    """These recordings bring no text; that the transcripts are of their length is what can be asked of them."""
    files = sorted((LIBRISPEECH / "test-other").glob("*/*-0001.flac"))
    if not files:
        pytest.skip("no LibriSpeech beside the repository (shared/data/librispeech-dev/test-other)")
    stt = LocalStt(pool)
    for file in files:
        _, transcript, result = await heard(stt, frames(audio.read(file).samples.astype("<i2").tobytes()))
        assert transcript is not None
        assert 1.2 < len(transcript.words) / transcript.audio_s < 4.5
        assert transcript.words[-1].end_s > 0.8 * transcript.audio_s
        assert result.quality_score_bp > 5_000


async def test_what_the_local_synthesiser_says_is_understood(pool: Pool) -> None:
    stt = LocalStt(pool)
    wrong = 0
    for sentence in SENTENCES:
        _, transcript, result = await heard(stt, frames(said(sentence)))
        assert transcript is not None
        assert result.reason_code == SttReason.TRANSCRIBED
        wrong += word_errors(sentence, transcript.text)
    assert wrong / sum(len(sentence.split()) for sentence in SENTENCES) < 0.1


async def test_words_carry_times_and_interims_come_while_audio_flows(pool: Pool) -> None:
    sound = said(KEYS)
    interims, transcript, result = await heard(LocalStt(pool), frames(sound))
    assert transcript is not None
    assert transcript.text == " ".join(word.text for word in transcript.words)
    assert transcript.audio_s == pytest.approx(len(sound) / 2 / RATE_HZ)
    assert interims
    assert interims[0].end_s < 0.5 * transcript.audio_s
    edges = [edge for word in transcript.words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert 0.0 <= edges[0] < edges[-1] <= transcript.audio_s
    assert len(transcript.words) == len(KEYS.split())
    assert (result.provider_ref, result.capability) == ("selene-local/stt", CAPABILITY_STT)
    assert (result.request_id, result.idempotency_key) == ("req-1", "idem-1")


async def test_the_size_of_frames_changes_nothing(pool: Pool) -> None:
    stt, sound = LocalStt(pool), said("turn on the light")
    _, small, _ = await heard(stt, frames(sound, 320))
    _, large, _ = await heard(stt, frames(sound, len(sound)))
    assert small == large
    assert small is not None


async def test_nothing_of_an_utterance_reaches_the_next(pool: Pool) -> None:
    stt = LocalStt(pool)
    _, alone, _ = await heard(stt, frames(said("open the door")))
    loud = np.random.default_rng(3).integers(-30_000, 30_000, 3 * RATE_HZ).astype("<i2").tobytes()
    await heard(stt, frames(loud))
    await heard(stt, frames(said(KEYS)))
    _, after, _ = await heard(stt, frames(said("open the door")))
    assert alone == after


@pytest.mark.parametrize(
    "sound",
    [
        b"",
        bytes(2),
        bytes(2 * RATE_HZ),
        np.full(RATE_HZ, 32_767, "<i2").tobytes(),
        (np.sin(np.arange(2 * RATE_HZ) * 0.2) * 16_000).astype("<i2").tobytes(),
        np.random.default_rng(1).normal(0, 9_000, 3 * RATE_HZ).clip(-32768, 32767).astype("<i2").tobytes(),
        np.random.default_rng(2).normal(0, 1_000, 3 * RATE_HZ).astype("<i2").tobytes(),
    ],
    ids=["nothing", "one sample", "silence", "stuck at full scale", "a tone", "loud noise", "noise"],
)
async def test_what_is_no_speech_is_said_to_be_none(pool: Pool, sound: bytes) -> None:
    _, transcript, result = await heard(LocalStt(pool), frames(sound))
    assert transcript is None
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.NO_SPEECH)
    assert (result.quality_score_bp, result.normalized_payload_ref) == (0, "")


async def test_clipped_speech_is_still_transcribed(pool: Pool) -> None:
    samples = np.frombuffer(said(KEYS), "<i2").astype(np.int32) * 4
    clipped = samples.clip(-32768, 32767).astype("<i2")
    assert np.count_nonzero(np.abs(clipped.astype(np.int32)) >= 32_767) > 100
    _, transcript, _ = await heard(LocalStt(pool), frames(clipped.tobytes()))
    assert transcript is not None
    assert word_errors(KEYS, transcript.text) <= 2


async def test_more_than_the_model_s_window_is_transcribed_to_the_end(pool: Pool) -> None:
    """More than 30 seconds: the same sentence at both ends, with sentences between."""
    between = [sentence for sentence in SENTENCES if sentence != KEYS]
    sound = b"".join(said(sentence) for sentence in (KEYS, *between, KEYS))
    _, transcript, result = await heard(LocalStt(pool), frames(sound, len(sound)))
    assert transcript is not None
    assert transcript.audio_s > 30
    first, last = transcript.text[: len(KEYS)], transcript.text[-len(KEYS) - 2 :]
    assert word_errors(KEYS, first) <= 2
    assert word_errors(KEYS, last) <= 2
    edges = [edge for word in transcript.words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert edges[-1] > transcript.audio_s - 2
    assert result.reason_code == SttReason.TRANSCRIBED


@pytest.mark.parametrize("locale", ["en", "en-US", "en-GB", "EN-in"])
async def test_english_of_every_region_is_taken(pool: Pool, locale: str) -> None:
    asked = Transcription("t-1", "req-1", "idem-1", locale)
    _, transcript, _ = await heard(LocalStt(pool), frames(said("good morning")), asked=asked)
    assert transcript is not None
    assert word_errors("good morning", transcript.text) == 0


@pytest.mark.parametrize("odd", [b"\0", bytes(641)])
async def test_half_a_sample_is_malformed(pool: Pool, odd: bytes) -> None:
    _, _, result = await heard(LocalStt(pool), one_by_one([bytes(640), odd, bytes(640)]))
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.AUDIO_MALFORMED)


async def test_endless_audio_is_cut_off_at_the_bound(pool: Pool) -> None:
    _, transcript, result = await heard(LocalStt(pool, max_audio_s=2.0), endless())
    assert transcript is None
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.AUDIO_TOO_LONG)


@pytest.mark.parametrize("locale", ["", "de-DE", "enm", "xx"])
async def test_another_language_is_refused(pool: Pool, locale: str) -> None:
    asked = Transcription("t-1", "req-1", "idem-1", locale)
    _, _, result = await heard(LocalStt(pool), frames(said("good morning")), asked=asked)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, SttReason.LOCALE_UNSUPPORTED)
    assert pool.idle == 1


async def test_the_deadline_ends_a_stream_that_goes_on(pool: Pool) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    stt = LocalStt(pool, monotonic=clock.monotonic)
    _, _, result = await heard(stt, endless(lambda: clock.advance(1.0)), deadline=3.0)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)


async def test_the_deadline_ends_a_stream_that_sends_nothing(pool: Pool) -> None:
    async def mute() -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield b""

    _, _, result = await heard(LocalStt(pool), mute(), deadline=time.monotonic() + 0.3)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)


async def test_when_no_decoder_comes_free_in_time_the_caller_is_told(pool: Pool) -> None:
    async with pool.lent():
        _, _, result = await heard(LocalStt(pool), frames(said("good morning")), deadline=time.monotonic() + 0.1)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_BUSY)
    _, transcript, _ = await heard(LocalStt(pool), frames(said("good morning")))
    assert transcript is not None


async def test_twenty_open_streams_share_one_decoder_and_all_are_transcribed(pool: Pool) -> None:
    """They are open and silent while another is served; then they end, one after the other, and are served so."""
    stt, go = LocalStt(pool), [asyncio.Event() for _ in range(20)]
    done: list[int] = []
    sounds = [said(COMMANDS[number % len(COMMANDS)]) for number in range(20)]
    under_way = asyncio.Barrier(21)

    async def held(number: int) -> AsyncGenerator[bytes, None]:
        yield sounds[number][:FRAME]
        await under_way.wait()
        await go[number].wait()
        yield sounds[number][FRAME:]

    async def one(number: int) -> Transcript | None:
        _, transcript, _ = await heard(stt, held(number))
        done.append(number)
        return transcript

    tasks = [asyncio.create_task(one(number)) for number in range(20)]
    await under_way.wait()
    _, beside, _ = await heard(stt, frames(said("good morning")), deadline=time.monotonic() + 10.0)
    assert beside is not None
    order = [*range(1, 20, 2), *range(0, 20, 2)]
    for number in order:
        go[number].set()
        await asyncio.sleep(0)
    transcripts = await asyncio.gather(*tasks)
    for number, transcript in enumerate(transcripts):
        assert transcript is not None
        assert word_errors(COMMANDS[number % len(COMMANDS)], transcript.text) == 0
    assert sorted(done) == sorted(order)
    assert [number for number in done if number != order[0]] == order[1:]  # the first is looked at before it ends


async def test_decoders_are_lent_in_the_order_in_which_they_were_asked_for(pool: Pool) -> None:
    served: list[int] = []

    async def ask(number: int) -> None:
        async with pool.lent():
            served.append(number)
            assert pool.spare() is None

    async with pool.lent():
        asking = [asyncio.create_task(ask(number)) for number in range(5)]
        await asyncio.sleep(0)
        asking[1].cancel()
        assert pool.spare() is None
    await asyncio.gather(*asking, return_exceptions=True)
    assert served == [0, 2, 3, 4]
    assert pool.idle == 1


async def test_a_stream_that_is_closed_gives_its_decoder_back_clean(pool: Pool) -> None:
    stt, before = LocalStt(pool), pool.pids
    _, alone, _ = await heard(stt, frames(said("open the door")))
    given_up: AsyncGenerator[SttEvent, None] = stt.transcribe(ASKED, endless(), deadline=NEVER)
    await anext(given_up)
    await given_up.aclose()
    _, after, _ = await heard(stt, frames(said("open the door")))
    assert alone == after
    assert pool.pids == before


async def test_a_cancelled_task_gives_its_decoder_back(pool: Pool) -> None:
    stt = LocalStt(pool)
    begun = asyncio.Event()
    task = asyncio.create_task(heard(stt, endless(begun.set)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    _, transcript, _ = await heard(stt, frames(said("good morning")))
    assert transcript is not None


async def test_what_the_audio_raises_passes_through_and_frees_the_decoder(pool: Pool) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield bytes(3_200)
        raise ConnectionResetError("the caller is gone")

    stt = LocalStt(pool)
    with pytest.raises(ConnectionResetError):
        await heard(stt, broken())
    _, transcript, _ = await heard(stt, frames(said("good morning")))
    assert transcript is not None


async def test_a_decoder_that_dies_is_a_retryable_failure_and_is_replaced(pool: Pool) -> None:
    (victim,) = pool.pids

    async def fatal() -> AsyncGenerator[bytes, None]:
        yield bytes(3_200)
        os.kill(victim, signal.SIGKILL)
        yield bytes(3_200)

    stt = LocalStt(pool)
    _, _, result = await heard(stt, fatal())
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_CRASHED)
    _, transcript, _ = await heard(stt, frames(said("good morning")))
    assert transcript is not None
    assert victim not in pool.pids


async def test_closing_the_pool_ends_every_process_and_fails_what_is_under_way(whisper_files: WhisperFiles) -> None:
    pool = await open_pool(1, whisper_files)
    (pid,) = pool.pids
    stream = LocalStt(pool).transcribe(ASKED, endless(), deadline=NEVER)
    await anext(stream)
    await pool.close()
    *_, result = [event async for event in stream]
    assert isinstance(result, ProviderResultV1)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_CRASHED)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_pool_whose_model_cannot_be_read_does_not_open(whisper_files: WhisperFiles, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(WorkerDied):
        await open_pool(2, replace(whisper_files, weights=tmp_path / "model.bin"))


async def test_streams_beside_each_other_do_not_mix(whisper_files: WhisperFiles) -> None:
    pool = await open_pool(2, whisper_files)
    stt = LocalStt(pool)
    alone = [(await heard(stt, frames(said(command))))[1] for command in COMMANDS[:3]]
    together = await asyncio.gather(*(heard(stt, frames(said(command))) for command in COMMANDS[:3] * 2))
    assert [transcript for _, transcript, _ in together] == alone * 2
    await pool.close()


async def one_by_one(sounds: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for sound in sounds:
        yield sound
