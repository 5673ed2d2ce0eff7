"""Starting and stopping whole servers, in this process and as processes of their own."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from selene.audit.v1 import service_pb2 as audit
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.common.v1 import error_reason_pb2 as reasons
from selene.voiceid.v1 import service_pb2 as voiceid
from selene.voiceid.v1 import service_pb2_grpc as voiceid_grpc
from selene.voiceid.v1 import voiceid_pb2

from servers.runtime.auth import KeyFileError, Principal, current_principal, issue_token
from servers.runtime.server import DEVELOPMENT_KEY, Owner, Parts, Runtime, banner, serve
from servers.runtime.tls import ListenError
from tests.support.refused import as_given

Reason = Callable[[grpc.aio.AioRpcError], error_details_pb2.ErrorInfo]
Frame = Callable[[int], voiceid.IdentifyRequest]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
DEVELOPMENT = {"development.enabled": True, "auth.keys_file": None}
LIST = audit.ListEventsRequest(tenant_id="t-1")


async def list_events(request: Any, context: Any) -> Any:
    return audit.ListEventsResponse()


async def identify(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    async for _ in requests:
        yield voiceid.IdentifyResponse(started=voiceid_pb2.StreamStarted())


async def health_of(channel: grpc.aio.Channel, service: str) -> Any:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return answer.status


class TestServices:
    @pytest.mark.parametrize("name", ["", "voiceid", "selene.audit.v1.AuditService"])
    async def test_health_is_told_per_owner_and_service_without_a_token(self, house: Any, name: str) -> None:
        running = await house.start()
        assert await health_of(house.channel(running), name) == SERVING

    async def test_health_of_something_else_is_not_found(self, house: Any) -> None:
        running = await house.start()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_of(house.channel(running), "other")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    async def test_an_owner_may_say_that_one_service_does_not_serve(self, house: Any) -> None:
        built: list[Runtime] = []
        running = await serve([house.owner(on_build=built.append)], house.settings())
        house.running.append(running)
        await built[0].health.set_serving("selene.audit.v1.AuditService", serving=False)
        channel = house.channel(running)
        assert await health_of(channel, "selene.audit.v1.AuditService") == NOT_SERVING
        assert await health_of(channel, "voiceid") == SERVING

    @pytest.mark.parametrize("version", ["v1", "v1alpha"])
    async def test_reflection_tells_the_contracts_and_all_that_they_import(self, house: Any, version: str) -> None:
        running = await house.start()
        ask = house.channel(running).stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        symbol = "selene.voiceid.v1.VoiceIdService"
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol),
            reflection_pb2.ServerReflectionRequest(
                file_containing_symbol=f"grpc.reflection.{version}.ServerReflection"
            ),
        ]
        listed, described, itself = [answer async for answer in ask(iter(requests), metadata=house.bearer())]
        names = {service.name for service in listed.list_services_response.service}
        assert {symbol, "grpc.reflection.v1.ServerReflection", "grpc.channelz.v1.Channelz"} <= names
        assert file_names(described) >= {"selene/voiceid/v1/service.proto", "buf/validate/validate.proto"}
        assert f"grpc/reflection/{version}/reflection.proto" in {
            name.replace("grpc_reflection", "grpc/reflection") for name in file_names(itself)
        }

    async def test_reflection_asks_for_a_token(self, house: Any, reason_of: Reason) -> None:
        running = await house.start()
        stub = reflection_pb2_grpc.ServerReflectionStub(house.channel(running))
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with as_given(call):
                await call.read()
        assert reason_of(caught.value).reason == "TOKEN_MISSING"

    async def test_channelz_is_for_operators(self, house: Any, reason_of: Reason) -> None:
        running = await house.start()
        stub = channelz_pb2_grpc.ChannelzStub(house.channel(running))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetServers(channelz_pb2.GetServersRequest(), metadata=house.bearer())
        assert reason_of(caught.value).reason == "ROLE_REQUIRED"
        answer = await stub.GetServers(channelz_pb2.GetServersRequest(), metadata=house.bearer(roles=("operator",)))
        assert len(answer.server) >= 1

    @pytest.mark.skipif(
        shutil.which("grpcurl", path=Path(sys.executable).parent) is None, reason="no grpcurl installed"
    )
    async def test_grpcurl_alone_can_find_and_call_everything_in_development(self, house: Any) -> None:
        running = await house.start(flags=DEVELOPMENT, ListEvents=list_events)
        target = running.target("voiceid")
        listed = await grpcurl("-plaintext", target, "list")
        described = await grpcurl("-plaintext", target, "describe", "selene.voiceid.v1.VoiceIdService.Identify")
        data = ("-plaintext", "-d", '{"tenantId": "dev"}')
        called = await grpcurl(*data, target, "selene.audit.v1.AuditService/ListEvents")
        assert "selene.voiceid.v1.VoiceIdService" in listed
        assert "stream .selene.voiceid.v1.IdentifyRequest" in described
        assert called.strip() == "{\n  \n}" or called.strip() == "{}"


def file_names(answer: Any) -> set[str]:
    files = answer.file_descriptor_response.file_descriptor_proto
    return {descriptor_pb2.FileDescriptorProto.FromString(file).name for file in files}


async def grpcurl(*arguments: str) -> str:
    binary = shutil.which("grpcurl", path=Path(sys.executable).parent)
    assert binary is not None
    process = await asyncio.create_subprocess_exec(
        binary, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output.decode()
    return output.decode()


class TestDevelopmentMode:
    async def test_calls_without_a_token_act_as_the_development_tenant(self, house: Any) -> None:
        seen: list[str] = []

        async def look(request: Any, context: Any) -> Any:
            seen.append(current_principal().tenant_id)
            return audit.ListEventsResponse()

        running = await house.start(flags=DEVELOPMENT, ListEvents=look)
        call = audit_grpc.AuditServiceStub(house.channel(running)).ListEvents(LIST)
        await call
        assert seen == ["dev"]
        assert dict(await call.trailing_metadata())["selene-mode"] == "development"

    async def test_a_token_that_is_sent_is_verified(self, house: Any, reason_of: Reason) -> None:
        running = await house.start(flags=DEVELOPMENT, ListEvents=list_events)
        stub = audit_grpc.AuditServiceStub(house.channel(running))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListEvents(LIST, metadata=house.bearer())
        assert reason_of(caught.value).metadata["cause"] == "kid"

    async def test_tokens_of_the_development_key_are_accepted(self, house: Any) -> None:
        running = await house.start(flags=DEVELOPMENT, ListEvents=list_events)
        principal = Principal("t-7", "someone", "", frozenset())
        token = issue_token(running.development_key, principal, now=datetime.now(UTC), lifetime=timedelta(minutes=1))
        call = audit_grpc.AuditServiceStub(house.channel(running)).ListEvents(
            LIST, metadata=(("authorization", f"Bearer {token}"),)
        )
        assert await call == audit.ListEventsResponse()

    async def test_anonymous_calls_may_be_switched_off(self, house: Any, reason_of: Reason) -> None:
        running = await house.start(flags=DEVELOPMENT | {"development.anonymous": False}, ListEvents=list_events)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await audit_grpc.AuditServiceStub(house.channel(running)).ListEvents(LIST)
        assert reason_of(caught.value).reason == "TOKEN_MISSING"

    async def test_the_development_key_is_kept_for_its_owner_only(self, house: Any) -> None:
        first = await house.start(flags=DEVELOPMENT)
        again = await house.start(flags=DEVELOPMENT)
        assert first.development_key.kid == again.development_key.kid
        mode = (house.folder / "data" / DEVELOPMENT_KEY).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600

    async def test_the_banner_says_loudly_what_it_is(self, house: Any) -> None:
        development = await house.start(flags=DEVELOPMENT)
        assert "DEVELOPMENT MODE" in banner(development)
        assert development.target("voiceid") in banner(development)
        assert "DEVELOPMENT" not in banner(await house.start())

    async def test_outside_development_nothing_is_said_about_a_mode(self, house: Any) -> None:
        running = await house.start(ListEvents=list_events)
        call = audit_grpc.AuditServiceStub(house.channel(running)).ListEvents(LIST, metadata=house.bearer())
        await call
        assert "selene-mode" not in {**dict(await call.initial_metadata()), **dict(await call.trailing_metadata())}
        assert running.development_key is None


class TestRefusingToStart:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
    async def test_beyond_loopback_without_tls(self, house: Any, host: str) -> None:
        with pytest.raises(ListenError, match=r"refusing to listen on .* lacks TLS"):
            await house.start(flags={"listen.host": host})

    async def test_beyond_loopback_without_authentication(self, house: Any, tmp_path: Path) -> None:
        flags = {"listen.host": "0.0.0.0", "tls.certificate": tmp_path / "c", "tls.private_key": tmp_path / "k"}
        with pytest.raises(ListenError, match=r"lacks authentication"):
            await house.start(flags=flags | {"auth.keys_file": None})

    async def test_beyond_loopback_in_development_mode(self, house: Any) -> None:
        with pytest.raises(ListenError, match=r"development\.enabled = false"):
            await house.start(flags={"listen.host": "0.0.0.0", "development.enabled": True})

    async def test_one_owner_beyond_loopback_is_enough_to_refuse(self, house: Any) -> None:
        with pytest.raises(ListenError, match=r"0\.0\.0\.0"):
            await house.start(flags={"listen.hosts": {"voiceid": "0.0.0.0"}})

    async def test_without_keys_and_not_in_development(self, house: Any) -> None:
        with pytest.raises(ListenError, match=r"auth\.keys_file"):
            await house.start(flags={"auth.keys_file": None})

    async def test_a_key_file_that_cannot_be_used(self, house: Any) -> None:
        house.keys_file.write_text("{}")
        with pytest.raises(KeyFileError):
            await house.start()

    async def test_a_port_that_is_taken(self, house: Any) -> None:
        first = await house.start()
        port = first.ports["voiceid"]
        with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            await house.start(flags={"listen.ports": {"voiceid": port}})
        assert await health_of(house.channel(first), "") == SERVING

    async def test_an_owner_that_cannot_be_built_leaves_nothing_open(self, house: Any) -> None:
        order: list[str] = []
        runtimes: list[Runtime] = []

        def remember(runtime: Runtime) -> None:
            runtimes.append(runtime)

            async def stopped() -> None:
                order.append("first owner stopped")

            runtime.on_stop(stopped)

        async def broken(runtime: Runtime) -> Any:
            raise RuntimeError("no model")

        async def flushed() -> None:
            order.append("store flushed")

        settings = house.settings({"listen.ports": {"voiceid": 0}})
        with pytest.raises(RuntimeError, match="no model"):
            await serve(
                [house.owner(on_build=remember), Owner("broken", "TEST", broken)], settings, Parts(on_stop=(flushed,))
            )
        assert order == ["first owner stopped", "store flushed"]


class TestStopping:
    async def test_a_running_stream_finishes_while_health_says_not_serving(self, house: Any, frame: Frame) -> None:
        running = await house.start(flags={"limits.grace_s": 20}, Identify=identify)
        channel = house.channel(running)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="voiceid"))
        assert (await watch.read()).status == SERVING
        stream = voiceid_grpc.VoiceIdServiceStub(channel).Identify(metadata=house.bearer())
        await stream.write(frame(0))
        await stream.read()
        stopping = asyncio.ensure_future(running.stop())
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        for sequence in range(1, 4):
            await stream.write(frame(sequence))
            assert await stream.read() is not grpc.aio.EOF
        assert not stopping.done()
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() == grpc.StatusCode.OK
        await asyncio.wait_for(stopping, 10)

    async def test_new_calls_are_turned_away_while_stopping(self, house: Any, frame: Frame) -> None:
        running = await house.start(flags={"limits.grace_s": 20}, Identify=identify, ListEvents=list_events)
        channel = house.channel(running)
        stream = voiceid_grpc.VoiceIdServiceStub(channel).Identify(metadata=house.bearer())
        await stream.write(frame(0))
        await stream.read()
        stopping = asyncio.ensure_future(running.stop())
        late = grpc.aio.insecure_channel(running.target("voiceid"), options=[("grpc.use_local_subchannel_pool", 1)])
        house.channels.append(late)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            for _ in range(1000):  # the first few may still arrive before the server has closed its door
                await audit_grpc.AuditServiceStub(late).ListEvents(LIST, metadata=house.bearer(), timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        await stream.done_writing()
        await asyncio.wait_for(stopping, 10)

    async def test_calls_that_outlast_the_grace_are_cancelled(self, house: Any) -> None:
        entered, cleaned_up = asyncio.Event(), asyncio.Event()

        async def hang(request: Any, context: Any) -> Any:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned_up.set()

        running = await house.start(ListEvents=hang)
        call = audit_grpc.AuditServiceStub(house.channel(running)).ListEvents(LIST, metadata=house.bearer())
        await asyncio.wait_for(entered.wait(), 5)
        await asyncio.wait_for(running.stop(0.05), 5)
        assert cleaned_up.is_set()
        with pytest.raises(grpc.aio.AioRpcError):
            await call

    async def test_cleaning_up_comes_after_the_last_call_in_reverse_order(self, house: Any, frame: Frame) -> None:
        order: list[str] = []

        def register(runtime: Runtime) -> None:
            for name in ("opened first", "opened second"):

                async def close(name: str = name) -> None:
                    order.append(name)

                runtime.on_stop(close)

        async def flush() -> None:
            order.append("store")

        async def finish(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            async for _ in requests:
                yield voiceid.IdentifyResponse(started=voiceid_pb2.StreamStarted())
            order.append("call")

        running = await serve(
            [house.owner(on_build=register, Identify=finish)], house.settings(), Parts(on_stop=(flush,))
        )
        house.running.append(running)
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(metadata=house.bearer())
        await stream.write(frame(0))
        await stream.read()
        stopping = asyncio.ensure_future(running.stop(10))
        await stream.done_writing()
        await asyncio.wait_for(stopping, 10)
        assert order == ["call", "opened second", "opened first", "store"]

    async def test_stopping_twice_is_stopping_once(self, house: Any) -> None:
        running = await house.start()
        await asyncio.gather(running.stop(0), running.stop(0))
        await running.wait()
        assert await asyncio.wait_for(running.stop(), 1) is None

    async def test_refusals_that_were_only_counted_are_written_when_the_server_stops(self, house: Any) -> None:
        running = await house.start(ListEvents=list_events)
        stub = audit_grpc.AuditServiceStub(house.channel(running))
        await asyncio.gather(*(stub.ListEvents(LIST) for _ in range(100)), return_exceptions=True)
        await running.stop(0)
        assert sum(row.count for row in house.refused) == 100
        assert len(house.refused) == 61
        assert {row.reason for row in house.refused} == {reasons.ERROR_REASON_TOKEN_MISSING}


class TestLimits:
    async def test_a_reader_that_pauses_holds_back_its_caller(self, house: Any, frame: Frame) -> None:
        release = asyncio.Event()

        async def pausing(requests: AsyncIterator[Any], context: Any) -> None:
            await release.wait()
            async for _ in requests:
                pass

        running = await house.start(Identify=pausing)
        stream = voiceid_grpc.VoiceIdServiceStub(house.channel(running)).Identify(metadata=house.bearer())
        message, accepted = frame(0), 0
        try:
            while accepted < 1000:
                await asyncio.wait_for(stream.write(message), 0.5)
                accepted += 1
        except TimeoutError:
            pass
        release.set()
        assert accepted * message.ByteSize() < 256 * 1024

    async def test_metrics_are_exposed_over_http(self, house: Any) -> None:
        running = await house.start(flags={"telemetry.metrics_port": 0}, ListEvents=list_events)
        await audit_grpc.AuditServiceStub(house.channel(running)).ListEvents(LIST, metadata=house.bearer())
        url = f"http://127.0.0.1:{running.metrics_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
        assert 'selene_rpc_handled_total{code="OK",method="/selene.audit.v1.AuditService/ListEvents"' in text


PROGRAM = """
import asyncio, sys
from servers.runtime.config import load_settings
from servers.runtime.logging import configure_logging
from servers.runtime.server import Owner, Service, serve, stop_on_signals
from selene.voiceid.v1 import service_pb2_grpc

class Servicer(service_pb2_grpc.VoiceIdServiceServicer):
    async def Identify(self, requests, context):
        print("entered", flush=True)
        async for _ in requests:
            pass
        return
        yield

async def build(runtime):
    async def stopped():
        print("cleaned up", flush=True)
    runtime.on_stop(stopped)
    add = service_pb2_grpc.add_VoiceIdServiceServicer_to_server
    return [Service(add, Servicer(), "selene.voiceid.v1.VoiceIdService")]

configure_logging("info")
settings = load_settings(flags={"data_dir": sys.argv[1], "development.enabled": True, "limits.grace_s": 30,
    "listen.ports": {"voiceid": 0}})

async def run():
    async with await serve([Owner("voiceid", "TEST", build)], settings) as running:
        print(running.target("voiceid"), flush=True)
        await stop_on_signals(running)

asyncio.run(run())
print("ended", flush=True)
"""


class Program:
    """The server as a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", PROGRAM, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 20)).strip()

    async def exit_code(self) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), 20)


@pytest.fixture
async def program(tmp_path: Path, house: Any) -> AsyncIterator[tuple[Program, grpc.aio.StreamStreamCall[Any, Any]]]:
    """A running program with one open stream."""
    started = Program(tmp_path)
    try:
        channel = grpc.aio.insecure_channel(await started.line())
        house.channels.append(channel)
        stream = voiceid_grpc.VoiceIdServiceStub(channel).Identify()
        assert await started.line() == "entered"
        yield started, stream
        stream.cancel()
    finally:
        started.process.kill()
        started.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_streams_finish_and_cleans_up(program: Any, number: signal.Signals) -> None:
    started, stream = program
    os.kill(started.process.pid, number)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(started.exit_code())), 0.3)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert [await started.line(), await started.line()] == ["cleaned up", "ended"]
    assert await started.exit_code() == 0


async def test_a_second_ctrl_c_ends_the_process_at_once(program: Any) -> None:
    started, _ = program
    began = time.monotonic()
    os.kill(started.process.pid, signal.SIGINT)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(started.exit_code())), 0.3)
    os.kill(started.process.pid, signal.SIGINT)
    assert await started.exit_code() == -signal.SIGINT
    assert time.monotonic() - began < 10
