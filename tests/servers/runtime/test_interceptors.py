"""The layers around every kind of RPC, through real channels."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from selene.audit.v1 import service_pb2 as audit
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.common.v1 import audio_pb2
from selene.common.v1 import error_reason_pb2 as reasons
from selene.voiceid.v1 import service_pb2 as voiceid
from selene.voiceid.v1 import service_pb2_grpc as voiceid_grpc
from selene.voiceid.v1 import voiceid_pb2

from servers.runtime.auth import current_principal
from servers.runtime.context import current_correlation, remaining
from servers.runtime.errors import Refusal
from servers.runtime.interceptors.telemetry import MAX_PROBES
from servers.runtime.logging import configure_logging
from servers.runtime.telemetry import tracing
from tests.support.refused import as_given

Reason = Callable[[grpc.aio.AioRpcError], error_details_pb2.ErrorInfo]
Frame = Callable[[int], voiceid.IdentifyRequest]
KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]

LIST = audit.ListEventsRequest(tenant_id="t-1")
WATCH = audit.WatchEventsRequest(tenant_id="t-1")
STARTED = voiceid.IdentifyResponse(started=voiceid_pb2.StreamStarted())


def clip(sequence: int) -> voiceid.AddClipRequest:
    return voiceid.AddClipRequest(frame=audio_pb2.AudioFrame(sequence=sequence, audio=b"\x00\x00"))


def handlers(act: Callable[[], Any], *, style: str = "generator") -> dict[str, Any]:
    """The same act in a handler of each kind; streaming ones in either of grpc's styles. An act may be async."""

    async def run() -> None:
        outcome = act()
        if asyncio.iscoroutine(outcome):
            await outcome

    async def list_events(request: Any, context: Any) -> Any:
        await run()
        return audit.ListEventsResponse()

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        yield audit.WatchEventsResponse()
        await run()

    async def watch_writing(request: Any, context: Any) -> None:
        await context.write(audit.WatchEventsResponse())
        await run()

    async def add_clip(requests: AsyncIterator[Any], context: Any) -> Any:
        async for _ in requests:
            await run()
        return voiceid.AddClipResponse(accepted=True)

    async def add_clip_reading(_: Any, context: Any) -> Any:
        while await context.read() is not grpc.aio.EOF:
            await run()
        return voiceid.AddClipResponse(accepted=True)

    async def identify(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            await run()
            yield STARTED

    async def identify_writing(_: Any, context: Any) -> None:
        while await context.read() is not grpc.aio.EOF:
            await run()
            await context.write(STARTED)

    writes = style == "reader"
    return {
        "ListEvents": list_events,
        "WatchEvents": watch_writing if writes else watch,
        "AddClip": add_clip_reading if writes else add_clip,
        "Identify": identify_writing if writes else identify,
    }


async def call(kind: str, channel: grpc.aio.Channel, metadata: Any, **options: Any) -> Any:
    """Completes a call of the kind and returns it; raises AioRpcError."""
    if kind == "unary_unary":
        done: Any = audit_grpc.AuditServiceStub(channel).ListEvents(LIST, metadata=metadata, **options)
        await done
    elif kind == "unary_stream":
        done = audit_grpc.AuditServiceStub(channel).WatchEvents(WATCH, metadata=metadata, **options)
        assert [message async for message in done]
    elif kind == "stream_unary":
        done = voiceid_grpc.EnrollmentServiceStub(channel).AddClip(
            iter([clip(0), clip(1)]), metadata=metadata, **options
        )
        async with as_given(done):
            assert (await done).accepted
    else:
        frames = [voiceid.IdentifyRequest(frame=clip(n).frame) for n in range(2)]
        done = voiceid_grpc.VoiceIdServiceStub(channel).Identify(iter(frames), metadata=metadata, **options)
        async with as_given(done):
            assert len([message async for message in done]) == 2
    return done


def nothing() -> None:
    return None


@pytest.fixture
def lines() -> Callable[[], list[dict[str, Any]]]:
    stream = io.StringIO()
    configure_logging("info", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", ["generator", "reader"])
class TestEveryKind:
    async def test_a_good_call_is_served(self, house: Any, kind: str, style: str) -> None:
        running = await house.start(**handlers(nothing, style=style))
        done = await call(kind, house.channel(running), house.bearer())
        assert await done.code() == grpc.StatusCode.OK

    async def test_the_handler_knows_its_caller_its_ids_and_its_time(self, house: Any, kind: str, style: str) -> None:
        seen: list[Any] = []

        def look() -> None:
            seen.append((current_principal().subject, current_correlation(), remaining()))

        running = await house.start(**handlers(look, style=style))
        ids = (("x-correlation-id", "c-42"), ("x-turn-id", "turn-7"))
        done = await call(kind, house.channel(running), (*house.bearer(), *ids), timeout=20)
        subject, correlation, seconds = seen[0]
        assert (subject, correlation.correlation_id, correlation.turn_id) == ("u-1", "c-42", "turn-7")
        # On the wire a timeout of this size is rounded up to tenths of a second.
        assert 15 < seconds < 20.2
        assert dict(await done.trailing_metadata())["x-correlation-id"] == "c-42"

    async def test_a_refusal_carries_its_reason(self, house: Any, reason_of: Reason, kind: str, style: str) -> None:
        def refuse() -> None:
            raise Refusal(reasons.ERROR_REASON_CONSENT_REQUIRED, "consent is needed")

        running = await house.start(**handlers(refuse, style=style))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(kind, house.channel(running), house.bearer())
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "consent is needed"
        assert reason_of(caught.value).reason == "CONSENT_REQUIRED"

    async def test_a_defect_tells_the_caller_nothing_but_an_incident(
        self, house: Any, reason_of: Reason, lines: Any, kind: str, style: str
    ) -> None:
        def fail() -> None:
            raise ZeroDivisionError("canary of the inside")

        running = await house.start(**handlers(fail, style=style))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(kind, house.channel(running), (*house.bearer(), ("x-correlation-id", "c-9")))
        error, info = caught.value, reason_of(caught.value)
        assert (error.code(), info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")
        assert "canary" not in repr(error)
        [logged] = [line for line in lines() if line["event"] == "internal error"]
        assert logged["incident_id"] == info.metadata["incident_id"]
        assert logged["correlation_id"] == "c-9"
        assert "ZeroDivisionError: canary of the inside" in logged["exception"]

    async def test_without_a_token_the_handler_never_runs(
        self, house: Any, reason_of: Reason, kind: str, style: str
    ) -> None:
        ran: list[int] = []
        running = await house.start(**handlers(lambda: ran.append(1), style=style))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(kind, house.channel(running), ())
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert reason_of(caught.value).reason == "TOKEN_MISSING"
        assert ran == []
        assert [row.reason for row in house.refused] == [reasons.ERROR_REASON_TOKEN_MISSING]

    async def test_a_cancelled_call_cancels_the_handler(self, house: Any, kind: str, style: str) -> None:
        entered, cleaned_up = asyncio.Event(), asyncio.Event()

        async def hang() -> None:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned_up.set()

        running = await house.start(**handlers(hang, style=style))
        pending = asyncio.ensure_future(call(kind, house.channel(running), house.bearer()))
        await asyncio.wait_for(entered.wait(), 5)
        pending.cancel()
        await asyncio.wait_for(cleaned_up.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await pending
        assert await handled(running, "CANCELLED", "CALL_CANCELLED") == 1

    async def test_the_callers_deadline_ends_the_handler(self, house: Any, kind: str, style: str) -> None:
        cleaned_up = asyncio.Event()

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned_up.set()

        running = await house.start(**handlers(hang, style=style))
        channel = house.channel(running)
        await channel.channel_ready()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(kind, channel, house.bearer(), timeout=0.3)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(cleaned_up.wait(), 5)
        assert await handled(running, "DEADLINE_EXCEEDED", "DEADLINE_PASSED") == 1

    async def test_the_servers_limit_ends_a_call_without_a_deadline(
        self, house: Any, reason_of: Reason, kind: str, style: str
    ) -> None:
        flags = {"limits.unary_s": 0.1, "limits.stream_s": 0.1}
        running = await house.start(flags=flags, **handlers(lambda: asyncio.Event().wait(), style=style))
        pending = call(kind, house.channel(running), house.bearer())
        if kind == "unary_stream":  # WatchEvents is declared as a watch: it may last
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pending, 0.5)
            return
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pending
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason_of(caught.value).reason == "DEADLINE_PASSED"


async def handled(running: Any, code: str, reason: str) -> float:
    """How many calls the metrics say ended so; waits for the first, as the caller may hear before we count."""
    for _ in range(500):
        total = sum(
            sample.value
            for metric in running.telemetry.registry.collect()
            for sample in metric.samples
            if sample.name == "selene_rpc_handled_total"
            and (sample.labels["code"], sample.labels["reason"]) == (code, reason)
        )
        if total:
            return float(total)
        await asyncio.sleep(0.01)
    return 0.0


def series(running: Any) -> int:
    """How many time series the metrics hold."""
    return sum(len(metric.samples) for metric in running.telemetry.registry.collect())


class TestValidation:
    async def test_a_broken_rule_names_the_field(self, house: Any, reason_of: Reason, fields_of: Any) -> None:
        running = await house.start(**handlers(nothing))
        stub = audit_grpc.AuditServiceStub(house.channel(running))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.WatchEvents(audit.WatchEventsRequest(from_sequence=-1), metadata=house.bearer()).read()
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(caught.value).metadata["violations"] == "2"
        assert fields_of(caught.value) == ["tenant_id", "from_sequence"]

    @pytest.mark.parametrize("style", ["generator", "reader"])
    async def test_each_message_of_a_stream_is_checked(
        self, house: Any, frame: Frame, fields_of: Any, style: str
    ) -> None:
        seen: list[int] = []
        running = await house.start(**handlers(lambda: seen.append(1), style=style))
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(metadata=house.bearer())
        await stream.write(frame(0))
        await stream.write(voiceid.IdentifyRequest(frame=audio_pb2.AudioFrame(audio=b"")))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            assert [message async for message in stream]
        assert fields_of(caught.value) == ["frame.audio"]
        assert seen == [1]

    async def test_text_with_a_nul_is_refused_and_named(self, house: Any, reason_of: Reason, fields_of: Any) -> None:
        ran: list[int] = []
        running = await house.start(**handlers(lambda: ran.append(1)))
        stub = audit_grpc.AuditServiceStub(house.channel(running))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListEvents(audit.ListEventsRequest(tenant_id="t-1", session_id="s\0"), metadata=house.bearer())
        assert reason_of(caught.value).reason == "FIELD_INVALID"
        assert fields_of(caught.value) == ["session_id"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            request = audit.WatchEventsRequest(tenant_id="t-1\0")
            await stub.WatchEvents(request, metadata=house.bearer()).read()
        assert "tenant_id" in fields_of(caught.value)
        assert ran == []

    @pytest.mark.parametrize("style", ["generator", "reader"])
    async def test_a_nul_in_the_text_of_a_stream_is_refused_and_in_its_audio_is_not(
        self, house: Any, frame: Frame, fields_of: Any, style: str
    ) -> None:
        seen: list[int] = []
        running = await house.start(**handlers(lambda: seen.append(1), style=style))
        stub = voiceid_grpc.VoiceIdServiceStub(house.channel(running))
        silent = stub.Identify(metadata=house.bearer())
        await silent.write(frame(0))  # its audio is NUL bytes
        assert await silent.read() == STARTED
        named = stub.Identify(metadata=house.bearer())
        config = voiceid_pb2.StreamConfig(
            tenant_id="t-1",
            device_id="d-1",
            session_id="s\0",
            audio_format=audio_pb2.AudioFormat(
                encoding=audio_pb2.AUDIO_ENCODING_LINEAR16, sample_rate_hz=16_000, channel_count=1
            ),
        )
        await named.write(voiceid.IdentifyRequest(config=config))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await named.read()
        assert "config.session_id" in fields_of(caught.value)
        assert seen == [1]

    async def test_an_empty_message_breaks_a_required_oneof(self, house: Any, fields_of: Any) -> None:
        running = await house.start(**handlers(nothing))
        stub = voiceid_grpc.EnrollmentServiceStub(house.channel(running))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.AddClip(iter([voiceid.AddClipRequest()]), metadata=house.bearer())
        assert fields_of(caught.value) == ["message"]

    @pytest.mark.parametrize(
        "path", ["selene.audit.v1.AuditService/ListEvents", "selene.voiceid.v1.EnrollmentService/AddClip"]
    )
    async def test_bytes_that_are_no_message_are_refused(self, house: Any, reason_of: Reason, path: str) -> None:
        running = await house.start(**handlers(nothing))
        channel, junk = house.channel(running), b"\xff\xff\xff"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            if path.endswith("AddClip"):
                await channel.stream_unary(f"/{path}")(iter([junk]), metadata=house.bearer())
            else:
                await channel.unary_unary(f"/{path}")(junk, metadata=house.bearer())
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(caught.value).reason == "FIELD_INVALID"

    async def test_bytes_of_an_unknown_caller_are_not_parsed(self, house: Any, reason_of: Reason) -> None:
        running = await house.start(**handlers(nothing))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.channel(running).unary_unary("/selene.audit.v1.AuditService/ListEvents")(b"\xff\xff\xff")
        assert reason_of(caught.value).reason == "TOKEN_MISSING"

    @pytest.mark.parametrize("kind", ["unary_unary", "stream_unary"])
    async def test_a_message_over_the_size_limit_is_refused_with_a_reason(
        self, house: Any, fields_of: Any, reason_of: Reason, kind: str
    ) -> None:
        running = await house.start(flags={"limits.receive_bytes": 4096}, **handlers(nothing))
        channel, metadata = house.channel(running), house.bearer()
        unknown = b"\x9a\x7d"  # field 2003 of no contract, as long as it takes: only the size is wrong
        whole = LIST if kind == "unary_unary" else clip(0)
        for length, accepted in ((4096, True), (4097, False), (8192, False)):
            message = whole.SerializeToString()
            rest = length - len(message) - 4
            message += unknown + bytes([rest & 0x7F | 0x80, rest >> 7]) + b"x" * rest
            assert len(message) == length
            if kind == "unary_unary":
                call = channel.unary_unary("/selene.audit.v1.AuditService/ListEvents")(message, metadata=metadata)
            else:
                add = channel.stream_unary("/selene.voiceid.v1.EnrollmentService/AddClip")
                call = add(iter([message]), metadata=metadata)
            if accepted:
                await call
                continue
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with as_given(call):
                    await call
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert reason_of(caught.value).reason == "FIELD_INVALID"
            assert fields_of(caught.value) == [""]

    async def test_a_message_far_over_the_size_limit_is_not_even_read(self, house: Any) -> None:
        running = await house.start(flags={"limits.receive_bytes": 4096}, **handlers(nothing))
        request = voiceid.IdentifyRequest(frame=audio_pb2.AudioFrame(audio=b"\x00" * 9000))
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(
            iter([request]), metadata=house.bearer()
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with as_given(stream):
                assert [message async for message in stream]
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_one_owner_may_take_more_than_the_others(self, house: Any, reason_of: Reason) -> None:
        flags = {"limits.receive_bytes": 1024, "limits.receive_bytes_of": {"voiceid": 4096}}
        running = await house.start(flags=flags, **handlers(nothing))
        call = house.channel(running).unary_unary("/selene.audit.v1.AuditService/ListEvents")
        message = LIST.SerializeToString()
        padded = (
            message + b"\x9a\x7d" + bytes([(4096 - len(message) - 4) & 0x7F | 0x80, (4096 - len(message) - 4) >> 7])
        )
        padded += b"x" * (4096 - len(padded))
        await call(padded, metadata=house.bearer())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(padded + b"x", metadata=house.bearer())
        assert reason_of(caught.value).reason == "FIELD_INVALID"

    async def test_requests_of_too_many_bytes_at_once_are_refused_until_there_is_room(
        self, house: Any, reason_of: Reason
    ) -> None:
        begun, end = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            begun.set()
            await end.wait()

        flags = {"limits.answering_bytes": 1024}
        running = await house.start(flags=flags, **handlers(wait))
        stub, metadata = audit_grpc.AuditServiceStub(house.channel(running)), house.bearer()
        large = audit.ListEventsRequest(tenant_id="t-1", correlation_id="x" * 128, session_id="y" * 128)
        large.page.page_token = "z" * 500
        assert 512 < large.ByteSize() <= 1024
        first = stub.ListEvents(large, metadata=metadata)
        await begun.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListEvents(large, metadata=metadata)
        assert reason_of(caught.value).reason == "OVERLOADED"
        assert dict(reason_of(caught.value).metadata) == {"limit": "1024", "retry_after_ms": "1000"}
        end.set()
        await first
        await stub.ListEvents(large, metadata=metadata)


class TestStreams:
    @pytest.mark.parametrize("how", ["cancel", "deadline", "connection lost", "message too large", "server stops"])
    @pytest.mark.parametrize("style", ["generator", "reader"])
    async def test_a_caller_that_vanishes_is_never_taken_for_a_half_close(
        self, house: Any, frame: Frame, how: str, style: str
    ) -> None:
        ended: list[str] = []
        done = asyncio.Event()

        async def identify(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            try:
                async for _ in requests:
                    yield STARTED
                ended.append("half-close")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            finally:
                done.set()

        async def identify_reading(_: Any, context: Any) -> None:
            try:
                while await context.read() is not grpc.aio.EOF:
                    await context.write(STARTED)
                ended.append("half-close")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            finally:
                done.set()

        running = await house.start(Identify=identify_reading if style == "reader" else identify)
        channel = house.channel(running)
        timeout = 0.2 if how == "deadline" else None
        stream = voiceid_grpc.VoiceIdServiceStub(channel).Identify(metadata=house.bearer(), timeout=timeout)
        await stream.write(frame(0))
        await stream.read()
        if how == "cancel":
            stream.cancel()
        if how == "connection lost":
            await channel.close()
        if how == "message too large":
            await stream.write(voiceid.IdentifyRequest(frame=audio_pb2.AudioFrame(audio=b"\x00" * 200_000)))
        if how == "server stops":
            await running.stop(0)
        await asyncio.wait_for(done.wait(), 5)
        assert ended == ["cancelled"]

    async def test_a_handler_may_work_while_the_half_close_is_confirmed(self, house: Any, frame: Frame) -> None:
        order: list[str] = []

        async def identify(_: Any, context: Any) -> None:
            context.defer_half_close = True
            while await context.read() is not grpc.aio.EOF:
                pass
            order.append("worked")
            await context.confirm_half_close()
            order.append("confirmed")
            await context.write(STARTED)

        running = await house.start(flags={"limits.half_close_settle_ms": 50}, Identify=identify)
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(
            iter([frame(0)]), metadata=house.bearer()
        )
        assert [message async for message in stream] == [STARTED]
        assert order == ["worked", "confirmed"]

    async def test_a_caller_that_never_sends_is_ended(self, house: Any, reason_of: Reason) -> None:
        running = await house.start(flags={"limits.idle_s": 0.1}, **handlers(nothing))
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(metadata=house.bearer())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        info = reason_of(caught.value)
        assert (info.reason, info.metadata["max_idle_s"]) == ("STREAM_IDLE", "0.1")

    async def test_an_idle_end_reaches_a_handler_that_reads_in_a_task_of_its_own(
        self, house: Any, reason_of: Reason
    ) -> None:
        async def identify(requests: AsyncIterator[Any], context: Any) -> None:
            async def drain() -> None:
                async for _ in requests:
                    pass

            await asyncio.create_task(drain())

        running = await house.start(flags={"limits.idle_s": 0.1}, Identify=identify)
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(metadata=house.bearer())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert reason_of(caught.value).reason == "STREAM_IDLE"

    async def test_a_handler_that_is_slow_is_not_the_callers_idleness(self, house: Any, frame: Frame) -> None:
        running = await house.start(flags={"limits.idle_s": 0.1}, **handlers(lambda: asyncio.sleep(0.3)))
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(
            iter([frame(0)]), metadata=house.bearer()
        )
        assert len([message async for message in stream]) == 1

    async def test_a_caller_that_never_reads_is_held_back_and_then_ended(self, house: Any) -> None:
        written = 0
        ended = asyncio.Event()

        async def watch(request: Any, context: Any) -> None:
            nonlocal written
            reply = voiceid.IdentifyResponse(speech=voiceid_pb2.SpeechEvent())
            try:
                while True:
                    await context.write(reply)
                    written += 1
            finally:
                ended.set()

        running = await house.start(flags={"limits.stream_s": 0.5}, Identify=watch)
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(metadata=house.bearer())
        await stream.wait_for_connection()
        await asyncio.wait_for(ended.wait(), 5)
        assert written < 100_000
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            assert [message async for message in stream]
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    async def test_a_handler_abandoned_mid_yield_is_closed(self, house: Any, frame: Frame) -> None:
        closed = asyncio.Event()

        async def identify(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            try:
                async for _ in requests:
                    yield STARTED
            finally:
                closed.set()

        running = await house.start(Identify=identify)
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(metadata=house.bearer())
        await stream.write(frame(0))
        await stream.read()
        stream.cancel()
        await asyncio.wait_for(closed.wait(), 5)
        assert closed.is_set()


class TestDeadline:
    async def test_a_server_may_insist_on_a_deadline(self, house: Any, reason_of: Reason) -> None:
        flags = {"limits.require_deadline": True, "limits.unary_s": 10}
        running = await house.start(flags=flags, **handlers(nothing))
        channel = house.channel(running)
        for timeout in (None, 60):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call("unary_unary", channel, house.bearer(), timeout=timeout)
            assert reason_of(caught.value).reason == "DEADLINE_REQUIRED"
            assert reason_of(caught.value).metadata["max_s"] == "10"
        done = await call("unary_unary", channel, house.bearer(), timeout=10)
        assert await done.code() == grpc.StatusCode.OK

    async def test_a_timeout_of_the_handlers_own_is_a_defect_and_not_the_callers_deadline(
        self, house: Any, reason_of: Reason
    ) -> None:
        def time_out() -> None:
            raise TimeoutError

        running = await house.start(**handlers(time_out))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("unary_unary", house.channel(running), house.bearer())
        assert reason_of(caught.value).reason == "INTERNAL_ERROR"

    async def test_a_cancellation_of_something_else_is_a_defect(self, house: Any, reason_of: Reason) -> None:
        async def await_the_cancelled() -> None:
            other = asyncio.ensure_future(asyncio.sleep(10))
            other.cancel()
            await other

        running = await house.start(**handlers(await_the_cancelled))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("unary_unary", house.channel(running), house.bearer())
        assert reason_of(caught.value).reason == "INTERNAL_ERROR"


class TestOverload:
    async def test_calls_beyond_the_limit_are_refused_while_health_still_answers(
        self, house: Any, reason_of: Reason
    ) -> None:
        release, entered = asyncio.Event(), asyncio.Semaphore(0)

        async def hang() -> None:
            entered.release()
            await release.wait()

        running = await house.start(flags={"limits.concurrent_calls": 2}, **handlers(hang))
        channel = house.channel(running)
        busy = [asyncio.ensure_future(call("unary_unary", channel, house.bearer())) for _ in range(2)]
        for _ in busy:
            await asyncio.wait_for(entered.acquire(), 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("unary_unary", channel, house.bearer())
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        info = reason_of(caught.value)
        assert (info.reason, dict(info.metadata)) == ("OVERLOADED", {"limit": "2", "retry_after_ms": "1000"})
        check = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="voiceid"))
        assert check.status == health_pb2.HealthCheckResponse.SERVING
        release.set()
        await asyncio.gather(*busy)
        done = await call("unary_unary", channel, house.bearer())
        assert await done.code() == grpc.StatusCode.OK

    async def test_a_flood_of_probes_displaces_no_real_call(self, house: Any, reason_of: Reason) -> None:
        running = await house.start(flags={"limits.concurrent_calls": 1}, **handlers(nothing))
        channel = house.channel(running)
        request = health_pb2.HealthCheckRequest(service="voiceid")
        watches = [health_pb2_grpc.HealthStub(channel).Watch(request) for _ in range(MAX_PROBES)]
        for watch in watches:
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Watch(request).read()
        assert reason_of(caught.value).reason == "OVERLOADED"
        done = await call("unary_unary", channel, house.bearer())
        assert await done.code() == grpc.StatusCode.OK
        for watch in watches:
            watch.cancel()


class TestTelemetry:
    @pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "{}"])
    async def test_an_unacceptable_correlation_id_is_replaced(self, house: Any, sent: str) -> None:
        running = await house.start(**handlers(nothing))
        done = await call("unary_unary", house.channel(running), (*house.bearer(), ("x-correlation-id", sent)))
        answered = dict(await done.trailing_metadata())["x-correlation-id"]
        assert answered != sent
        assert len(answered) == 36

    async def test_calls_and_messages_are_counted_by_code_and_reason(self, house: Any) -> None:
        running = await house.start(**handlers(nothing))
        channel = house.channel(running)
        for _ in range(3):
            await call("stream_stream", channel, house.bearer())
        with pytest.raises(grpc.aio.AioRpcError):
            await call("unary_unary", channel, ())
        assert await handled(running, "OK", "") == 3
        assert await handled(running, "UNAUTHENTICATED", "TOKEN_MISSING") == 1
        registry = running.telemetry.registry
        labels = {"owner": "voiceid", "method": "/selene.voiceid.v1.VoiceIdService/Identify"}
        for direction in ("received", "sent"):
            counted = registry.get_sample_value("selene_rpc_messages_total", labels | {"direction": direction})
            assert counted == 6
        assert registry.get_sample_value("selene_rpc_seconds_count", labels) == 3
        assert registry.get_sample_value("selene_rpc_in_flight", {"owner": "voiceid"}) == 0

    async def test_methods_that_do_not_exist_add_no_series(self, house: Any) -> None:
        running = await house.start(**handlers(nothing))
        channel = house.channel(running)
        before = series(running)
        for number in range(20):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/no.Service/M{number}")(b"", metadata=house.bearer())
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert series(running) == before

    async def test_a_span_continues_the_callers_trace(self, house: Any) -> None:
        spans = InMemorySpanExporter()
        running = await house.start(telemetry=tracing(spans, batch=False), **handlers(nothing))
        parent = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        await call("stream_stream", house.channel(running), (*house.bearer(), parent, ("x-correlation-id", "c-1")))
        await handled(running, "OK", "")
        [span] = spans.get_finished_spans()
        assert span.context is not None
        assert span.parent is not None
        assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
        assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
        assert span.name == "selene.voiceid.v1.VoiceIdService/Identify"
        assert dict(span.attributes or {})["rpc.grpc.status"] == "OK"
        assert dict(span.attributes or {})["selene.correlation_id"] == "c-1"

    async def test_a_failed_calls_span_says_why_without_the_message(self, house: Any) -> None:
        spans = InMemorySpanExporter()

        def fail() -> None:
            raise ValueError("canary of the inside")

        running = await house.start(telemetry=tracing(spans, batch=False), **handlers(fail))
        with pytest.raises(grpc.aio.AioRpcError):
            await call("unary_unary", house.channel(running), house.bearer())
        await handled(running, "INTERNAL", "INTERNAL_ERROR")
        [span] = spans.get_finished_spans()
        assert dict(span.attributes or {})["selene.reason"] == "INTERNAL_ERROR"
        assert "canary" not in span.to_json()


class TestRecovery:
    async def test_a_method_left_out_is_unimplemented(self, house: Any) -> None:
        running = await house.start()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("unary_unary", house.channel(running), house.bearer())
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    async def test_a_reply_of_the_wrong_type_is_a_defect(self, house: Any, reason_of: Reason) -> None:
        async def wrong(request: Any, context: Any) -> Any:
            return "not a message"

        running = await house.start(ListEvents=wrong)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("unary_unary", house.channel(running), house.bearer())
        assert reason_of(caught.value).reason == "INTERNAL_ERROR"

    async def test_a_handlers_own_abort_and_trailers_reach_the_caller(self, house: Any) -> None:
        async def abort(request: Any, context: Any) -> Any:
            context.set_trailing_metadata((("k", "v"),))
            await context.abort(grpc.StatusCode.ABORTED, "as it wishes")

        running = await house.start(ListEvents=abort)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("unary_unary", house.channel(running), house.bearer())
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "as it wishes")
        assert dict(caught.value.trailing_metadata() or ())["k"] == "v"

    async def test_a_handlers_headers_are_sent_with_ours(self, house: Any) -> None:
        async def identify(requests: AsyncIterator[Any], context: Any) -> None:
            await context.send_initial_metadata((("k", "v"),))
            async for _ in requests:
                await context.write(STARTED)

        running = await house.start(Identify=identify)
        done = await call("stream_stream", house.channel(running), (*house.bearer(), ("x-correlation-id", "c-1")))
        headers = dict(await done.initial_metadata())
        assert (headers["k"], headers["x-correlation-id"]) == ("v", "c-1")
