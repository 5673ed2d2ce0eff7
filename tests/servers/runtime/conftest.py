"""A server of real contracts whose handlers a test supplies, on port 0, and clients for it."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.common.v1 import audio_pb2
from selene.voiceid.v1 import service_pb2, service_pb2_grpc

from servers.runtime.audit import RefusedCall
from servers.runtime.auth import Principal, SigningKey, generate_signing_key, issue_token
from servers.runtime.clock import Clock, SystemClock
from servers.runtime.config import Settings, load_settings
from servers.runtime.server import Owner, Parts, RunningServer, Runtime, Service, serve
from servers.runtime.telemetry import Telemetry

Handler = Callable[..., Any]


def _servicer(base: type, handlers: dict[str, Handler]) -> Any:
    return type("Servicer", (base,), {name: staticmethod(handler) for name, handler in handlers.items()})()


class House:
    """Starts servers and calls them. ``refused`` collects what the audit sink was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = generate_signing_key()
        self.keys_file = folder / "keys.json"
        self.write_keys(self.key)
        self.refused: list[RefusedCall] = []
        self.running: list[RunningServer] = []
        self.channels: list[grpc.aio.Channel] = []

    def write_keys(self, *keys: SigningKey) -> None:
        self.keys_file.write_text(json.dumps({"keys": [key.jwk() for key in keys]}))

    def settings(self, flags: dict[str, Any] | None = None) -> Settings:
        defaults = {"data_dir": str(self.folder / "data"), "auth.keys_file": str(self.keys_file)}
        return load_settings(flags=defaults | (flags or {}))

    async def keep(self, refused: RefusedCall) -> None:
        self.refused.append(refused)

    def owner(
        self, name: str = "voiceid", on_build: Callable[[Runtime], None] | None = None, **handlers: Handler
    ) -> Owner:
        async def build(runtime: Runtime) -> list[Service]:
            if on_build is not None:
                on_build(runtime)
            return [
                Service(
                    service_pb2_grpc.add_VoiceIdServiceServicer_to_server,
                    _servicer(service_pb2_grpc.VoiceIdServiceServicer, handlers),
                    "selene.voiceid.v1.VoiceIdService",
                ),
                Service(
                    service_pb2_grpc.add_EnrollmentServiceServicer_to_server,
                    _servicer(service_pb2_grpc.EnrollmentServiceServicer, handlers),
                    "selene.voiceid.v1.EnrollmentService",
                ),
                Service(
                    audit_grpc.add_AuditServiceServicer_to_server,
                    _servicer(audit_grpc.AuditServiceServicer, handlers),
                    "selene.audit.v1.AuditService",
                    watches=("WatchEvents",),
                ),
            ]

        return Owner(name, "TEST", build)

    async def start(
        self,
        *,
        flags: dict[str, Any] | None = None,
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
        **handlers: Handler,
    ) -> RunningServer:
        parts = Parts(clock=clock or SystemClock(), audit=self.keep, telemetry=telemetry)
        running = await serve([self.owner(**handlers)], self.settings(flags), parts)
        self.running.append(running)
        return running

    def channel(self, running: RunningServer, owner: str = "voiceid") -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(running.target(owner))
        self.channels.append(channel)
        return channel

    def token(
        self, *, tenant: str = "t-1", subject: str = "u-1", device: str = "d-1", roles: tuple[str, ...] = ("user",)
    ) -> str:
        principal = Principal(tenant, subject, device, frozenset(roles))
        return issue_token(self.key, principal, now=datetime.now(UTC), lifetime=timedelta(minutes=5))

    def bearer(self, **claims: Any) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token(**claims)}"),)

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()
        for running in self.running:
            await running.stop(0)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    opened = House(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
def reason_of() -> Callable[[grpc.aio.AioRpcError], error_details_pb2.ErrorInfo]:
    """The ErrorInfo that an error carries."""

    def read(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
        return _detail(error, error_details_pb2.ErrorInfo())

    return read


@pytest.fixture
def fields_of() -> Callable[[grpc.aio.AioRpcError], list[str]]:
    """The field paths that an error's BadRequest names."""

    def read(error: grpc.aio.AioRpcError) -> list[str]:
        return [violation.field for violation in _detail(error, error_details_pb2.BadRequest()).field_violations]

    return read


def _detail(error: grpc.aio.AioRpcError, into: Any) -> Any:
    trailers = error.trailing_metadata()
    assert trailers is not None
    status = rpc_status.from_call(_Ended(error))
    assert status is not None, "the error carries no google.rpc.Status"
    for packed in status.details:
        if packed.Unpack(into):
            return into
    raise AssertionError(f"no {into.DESCRIPTOR.name} among the details")


class _Ended:
    """An AioRpcError as grpc_status reads a finished call."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code
        self.details = error.details
        self._error = error

    def trailing_metadata(self) -> list[tuple[str, Any]]:
        return [(key, value) for key, value in self._error.trailing_metadata() or ()]


@pytest.fixture
def frame() -> Callable[[int], service_pb2.IdentifyRequest]:
    """A valid frame message of an Identify stream."""

    def make(sequence: int) -> service_pb2.IdentifyRequest:
        return service_pb2.IdentifyRequest(frame=audio_pb2.AudioFrame(sequence=sequence, audio=b"\x00" * 640))

    return make
