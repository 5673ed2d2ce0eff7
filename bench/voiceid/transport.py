"""What grpc costs by itself: a server that reads the very messages of a stream, does nothing with them, and answers.

    python -m bench.voiceid.transport bare|runtime

`bare` is grpc.aio with bytes; `runtime` is a servicer behind this project's interceptors, messages parsed and checked.
Prints the line that `selene up --json` prints.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import uvloop
from selene.voiceid.v2 import service_pb2, service_pb2_grpc

from bench.voiceid.caller import METHOD
from servers.runtime.config import load_settings
from servers.runtime.logging import configure_logging
from servers.runtime.server import Owner, Runtime, Service, serve, stop_on_signals

_ANSWER = service_pb2.IdentifyResponse(final=service_pb2.FinalDecision())


async def _swallow(_: object, context: Any) -> AsyncIterator[bytes]:
    while await context.read() is not grpc.aio.EOF:
        pass
    yield _ANSWER.SerializeToString()


class _Anything(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(_swallow) if handler_call_details.method == METHOD else None


class _Deaf(service_pb2_grpc.VoiceIdServiceServicer):
    async def Identify(self, request_iterator: Any, context: Any) -> AsyncIterator[service_pb2.IdentifyResponse]:
        while await context.read() is not grpc.aio.EOF:
            pass
        yield _ANSWER

    async def Verify(self, request_iterator: Any, context: Any) -> AsyncIterator[service_pb2.VerifyResponse]:
        while await context.read() is not grpc.aio.EOF:
            pass
        yield service_pb2.VerifyResponse()


async def _bare() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Anything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _announce(f"127.0.0.1:{port}")
    await server.wait_for_termination()


async def _runtime() -> None:
    async def build(runtime: Runtime) -> Sequence[Service]:
        add = service_pb2_grpc.add_VoiceIdServiceServicer_to_server
        return (Service(add, _Deaf(), "selene.voiceid.v2.VoiceIdService"),)

    with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
        settings = load_settings(
            None, {"development.enabled": True, "data_dir": Path(folder), "listen.ports.voiceid": 0}
        )
        async with await serve([Owner("voiceid", "BENCH", build)], settings) as running:
            _announce(running.target("voiceid"))
            await stop_on_signals(running)


def _announce(target: str) -> None:
    print(json.dumps({"targets": {"voiceid": target}}), flush=True)


def main() -> None:
    """Entry point."""
    configure_logging("warning")
    uvloop.run(_runtime() if sys.argv[1] == "runtime" else _bare())


if __name__ == "__main__":
    main()
