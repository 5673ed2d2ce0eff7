"""A call that is refused while it still writes ends with the server's reason, however the two cross on the wire."""

from typing import Any

import grpc
import numpy as np
import pytest
from selene.common.v1.audio_pb2 import AudioFrame
from selene.voiceid.v2 import service_pb2 as v2
from selene.voiceid.v2 import service_pb2_grpc as v2_rpc

import clients
from clients.audio import Recording
from clients.duplex import Duplex
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from tests.clients.conftest import refuse

OFTEN = 400
"""Times enough that some refusals cross a write: a client that takes grpc.aio's word for it loses about one in five."""


@pytest.fixture
async def unwilling():
    """The address of a server that refuses every decision stream and every clip before it reads anything."""

    async def refuse_unread(_: Any, context: Any) -> None:
        await refuse(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "scripted")

    def handlers(service: str, **kinds: str) -> grpc.GenericRpcHandler:
        made = {name: getattr(grpc, f"{kind}_rpc_method_handler")(refuse_unread) for name, kind in kinds.items()}
        return grpc.method_handlers_generic_handler(service, made)

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers(
        (
            handlers("selene.voiceid.v2.VoiceIdService", Identify="stream_stream"),
            handlers("selene.voiceid.v1.EnrollmentService", AddClip="stream_unary"),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_refusal_is_never_lost_behind_a_write_that_it_cut_short(unwilling):
    reasons = []
    async with clients.connect(unwilling) as connection:
        stub = v2_rpc.VoiceIdServiceStub(connection.channel)
        for _ in range(OFTEN):
            call = Duplex(stub.Identify(timeout=10))
            while await call.write(v2.IdentifyRequest(frame=AudioFrame(audio=b"\0\0"))):
                pass
            with pytest.raises(SeleneError) as refused:
                await call.read()
            reasons.append(refused.value.reason)
    assert reasons == ["TOKEN_MISSING"] * OFTEN


async def test_a_refused_clip_tells_its_user_why(unwilling):
    clip = Recording("clip", 16_000, np.zeros(8_000, np.int16))
    reasons = []
    async with clients.connect(unwilling) as connection:
        voice = clients.VoiceId(connection, policy=NO_RETRY)
        for _ in range(OFTEN):
            with pytest.raises(SeleneError) as refused:
                await voice.add_clip("e-1", clip)
            reasons.append(refused.value.reason)
    assert reasons == ["TOKEN_MISSING"] * OFTEN
