"""Decision streams: they resume without losing or doubling audio, wait for a slow server, and end in one decision."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from selene.voiceid.v2 import voiceid_pb2
from selene_messages.selene.common.v1 import AudioEncoding
from selene_messages.selene.voiceid import v1

import clients
from clients.errors import SeleneError
from clients.retry import RetryPolicy

IMPATIENT = RetryPolicy(first_wait=0.01, longest_wait=0.05)


def frames(count: int) -> list[bytes]:
    """Frames of 20 ms that all differ."""
    return [index.to_bytes(2, "little") * 320 for index in range(count)]


@asynccontextmanager
async def identifying(server, **bounds):
    """A stream of an impatient client."""
    async with (
        clients.connect(server.target) as connection,
        clients.VoiceId(connection, policy=IMPATIENT).identify(**bounds) as stream,
    ):
        yield stream


async def speak(stream: clients.DecisionStream, audio: list[bytes]) -> clients.Outcome:
    async with asyncio.timeout(30):
        for frame in audio:
            await stream.send(frame)
        return await stream.finish()


@pytest.mark.parametrize("generation", ["v1", "v2"])
@pytest.mark.parametrize("claimed", ["", "mira"])
async def test_a_stream_ends_in_the_decision_of_its_generation(double, generation, claimed):
    async with clients.connect(double.target) as connection:
        voice = clients.VoiceId(connection, generation=generation)
        async with voice.verify(claimed) if claimed else voice.identify() as stream:
            outcome = await speak(stream, frames(12))
    assert outcome.tier == ("OK" if generation == "v1" else "CONFIRMED")
    assert outcome.user_id == "mira"
    assert outcome.decision.reason_code == v1.VoiceIdReason.MATCH_HIGH
    assert outcome.server_latency == timedelta(milliseconds=21)
    assert outcome.latency is not None and outcome.latency > timedelta(0)
    heard = double.streams[outcome.stream_id]
    assert heard.frames == frames(12)
    assert heard.claimed == claimed


async def test_a_tier_that_this_client_does_not_know_claims_nothing(double):
    double.script.tier = voiceid_pb2.IDENTITY_TIER_UNSPECIFIED
    async with clients.connect(double.target) as connection, clients.VoiceId(connection).identify() as stream:
        assert (await speak(stream, frames(3))).tier == "UNKNOWN"


async def test_events_arrive_while_audio_flows_and_end_with_the_outcome(double):
    async with clients.connect(double.target) as connection, clients.VoiceId(connection).identify() as stream:
        outcome = await speak(stream, frames(11))
        seen = [event async for event in stream.events()]
    assert [type(event).__name__ for event in seen] == [
        "StreamStarted",
        "InterimConfidence",
        "InterimConfidence",
        "Outcome",
    ]
    assert seen[1].audio == timedelta(seconds=0.1)
    assert seen[-1] is outcome


@pytest.mark.parametrize("generation", ["v1", "v2"])
@pytest.mark.parametrize("claimed", ["", "mira"])
async def test_a_cut_connection_resumes_the_same_stream_without_losing_or_doubling_a_frame(
    double, link, generation, claimed
):
    async def cut(heard):
        if len(heard.frames) in (7, 20):
            link.cut()

    double.script.on_frame = cut
    async with clients.connect(link.target) as connection:
        voice = clients.VoiceId(connection, generation=generation, policy=IMPATIENT)
        async with voice.verify(claimed) if claimed else voice.identify() as stream:
            outcome = await speak(stream, frames(60))
    assert link.cuts == 2
    assert outcome.resumed == 2
    assert list(double.streams) == [outcome.stream_id]
    assert double.streams[outcome.stream_id].frames == frames(60)


async def test_a_connection_cut_after_half_close_still_gets_its_decision(double, link):
    async def cut(heard):
        if len(heard.frames) == 10 and heard.calls == 1:
            link.cut()

    double.script.on_frame = cut
    async with identifying(link) as stream:
        outcome = await speak(stream, frames(10))
    assert outcome.resumed == 1
    assert double.streams[outcome.stream_id].frames == frames(10)


async def test_a_server_that_cancels_the_call_is_a_drop_and_not_the_callers_cancellation(double):
    async def cancelled(heard):
        if len(heard.frames) == 4 and heard.calls == 1:
            await heard.context.abort(grpc.StatusCode.CANCELLED, "scripted")

    double.script.on_frame = cancelled
    async with identifying(double) as stream:
        outcome = await speak(stream, frames(10))
    assert double.streams[outcome.stream_id].frames == frames(10)


async def test_a_stream_whose_window_is_over_ends_with_the_servers_reason(double, link):
    async def cut(heard):
        if len(heard.frames) == 5:
            double.streams.clear()
            link.cut()

    double.script.on_frame = cut
    async with identifying(link) as stream:
        with pytest.raises(SeleneError) as refused:
            await speak(stream, frames(40))
    assert refused.value.reason == "SESSION_NOT_RESUMABLE"
    assert double.streams == {}


async def test_a_resume_that_needs_frames_let_go_fails_instead_of_leaving_a_gap(double, link):
    async def cut_and_forget(heard):
        if len(heard.frames) == 30 and heard.calls == 1:
            heard.frames.clear()
            link.cut()

    double.script.on_frame = cut_and_forget
    async with identifying(link, replay_bytes=4 * 640) as stream:
        with pytest.raises(SeleneError, match="expects frame 0"):
            await speak(stream, frames(60))
    assert next(iter(double.streams.values())).frames == []


async def test_a_refused_config_ends_the_stream_at_once(double, refusal):
    double.script.on_config = [refusal(grpc.StatusCode.PERMISSION_DENIED, "TENANT_MISMATCH")]
    async with clients.connect(double.target) as connection, clients.VoiceId(connection).identify() as stream:
        with pytest.raises(SeleneError) as refused:
            await speak(stream, frames(3))
    assert refused.value.reason == "TENANT_MISMATCH"
    assert len(double.metadata) == 1


async def test_an_overloaded_server_is_asked_again_before_any_audio_was_sent(double, refusal):
    double.script.on_config = [refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after_ms="10")]
    async with identifying(double) as stream:
        outcome = await speak(stream, frames(3))
    assert outcome.resumed == 0
    assert double.streams[outcome.stream_id].frames == frames(3)


async def test_a_refusal_in_mid_stream_is_not_retried(double):
    async def idle(heard):
        if len(heard.frames) == 3:
            heard.frames.append(b"xx")  # the double now expects another sequence than the client sends

    double.script.on_frame = idle
    async with clients.connect(double.target) as connection, clients.VoiceId(connection).identify() as stream:
        with pytest.raises(SeleneError) as refused:
            await speak(stream, frames(10))
    assert refused.value.reason == "STREAM_SEQUENCE_BROKEN"
    assert refused.value.metadata == {"expected": "4", "received": "3"}
    assert len(double.metadata) == 1


async def test_a_server_that_never_reads_blocks_send_within_a_bound(double):
    double.script.deaf = True
    sent = 0
    async with identifying(double, pending_bytes=32_000) as stream:

        async def flood() -> None:
            nonlocal sent
            for frame in frames(20_000):
                await stream.send(frame)
                sent += len(frame)

        task = asyncio.create_task(flood())
        before = -1
        while sent != before:  # until a quarter of a second passes without progress
            before = sent
            await asyncio.wait((task,), timeout=0.25)
        assert not task.done()
        assert sent < 400_000
        assert stream.kept_bytes <= sent
        task.cancel()


async def test_acknowledged_audio_is_let_go(double):
    async with clients.connect(double.target) as connection, clients.VoiceId(connection).identify() as stream:
        for frame in frames(50):
            await stream.send(frame)
        async for event in stream.events():
            if isinstance(event, v1.InterimConfidence) and event.audio == timedelta(seconds=1):
                break
        assert stream.kept_bytes == 0
        await stream.finish()


async def test_leaving_before_the_decision_cancels_the_call(double):
    heard_one, ended = asyncio.Event(), asyncio.Event()

    async def wait_for_more(heard):
        heard_one.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    double.script.on_frame = wait_for_more
    async with clients.connect(double.target) as connection:
        async with clients.VoiceId(connection).identify() as stream:
            await stream.send(frames(1)[0])
            await asyncio.wait_for(heard_one.wait(), 5)
        await asyncio.wait_for(ended.wait(), 5)
    assert ended.is_set()


async def test_a_stream_that_ends_without_a_decision_is_an_error(double):
    double.script.silent_final = True
    async with clients.connect(double.target) as connection, clients.VoiceId(connection).identify() as stream:
        with pytest.raises(SeleneError, match="without a decision"):
            await speak(stream, frames(2))


async def test_long_audio_is_cut_into_frames_with_running_offsets(double):
    audio = bytes(range(256)) * 200
    async with clients.connect(double.target) as connection, clients.VoiceId(connection).identify() as stream:
        await stream.send(audio)
        outcome = await stream.finish()
    pieces = double.streams[outcome.stream_id].frames
    assert [len(piece) for piece in pieces] == [15_360, 15_360, 15_360, 5_120]
    assert b"".join(pieces) == audio


async def test_an_opus_packet_is_never_cut(double):
    async with clients.connect(double.target) as connection:
        voice = clients.VoiceId(connection)
        async with voice.identify(voice.config(encoding=AudioEncoding.OPUS)) as stream:
            with pytest.raises(ValueError, match="Opus packet"):
                await stream.send(bytes(20_000))


async def test_all_calls_of_a_stream_share_one_correlation_id(double, link):
    async def cut(heard):
        if len(heard.frames) == 3 and heard.calls == 1:
            link.cut()

    double.script.on_frame = cut
    async with identifying(link) as stream:
        await speak(stream, frames(10))
    ids = {metadata["x-correlation-id"] for metadata in double.metadata}
    assert len(double.metadata) == 2
    assert len(ids) == 1
