"""A person with grpcurl alone finds and reads every service, method and message of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor, descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2 as reflection
from grpc_reflection.v1alpha import reflection_pb2_grpc as reflection_grpc

from tests.conformance.clients import STUBS, grpcurl, method_named
from tests.conformance.contract import promised
from tests.conformance.serving import ROUTING_OWNERS, Live, owner_of


async def _asked(live: Live, owner: str, *arguments: str) -> str:
    authorization = f"authorization: {_authorization(live)}"
    return await grpcurl("-plaintext", "-H", authorization, live.targets[owner], *arguments)


def _authorization(live: Live) -> str:
    """Whoever has a token may read the contract."""
    return f"Bearer {live.token('reader', {'roles': []})}"


@pytest.mark.parametrize("owner", ["voiceid", "audit", "kms", *ROUTING_OWNERS])
async def test_an_owner_lists_its_services(owner: str, server: Callable[[str], Live]) -> None:
    listed = (await _asked(server("selene"), owner, "list")).split()
    routing = {name for name in STUBS if owner in ROUTING_OWNERS and name.startswith("selene.routing.")}
    own = {name for name in STUBS if name.split(".")[1] == owner}
    assert {name for name in listed if name.startswith("selene.")} == own | routing
    assert {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.channelz.v1.Channelz"} <= set(listed)


@pytest.mark.parametrize("service", STUBS)
async def test_a_service_lists_its_methods(service: str, server: Callable[[str], Live]) -> None:
    listed = (await _asked(server("selene"), owner_of(service), "list", service)).split()
    assert sorted(listed) == sorted(rpc.replace("/", ".") for rpc in promised() if rpc.startswith(f"{service}/"))


@pytest.mark.parametrize("rpc", sorted(promised()))
async def test_a_method_and_its_messages_are_described(rpc: str, server: Callable[[str], Live]) -> None:
    method = method_named(rpc)
    owner = owner_of(method.containing_service.full_name)
    assert f"rpc {method.name} ( " in await _asked(server("selene"), owner, "describe", method.full_name)
    for message in _reachable(method):
        expected = {one.name: one.number for one in message.fields}
        assert await _told(server("selene"), owner, message.full_name) == expected


async def _told(live: Live, owner: str, message: str) -> dict[str, int]:
    """The fields of a message with their numbers, as the server answers what `grpcurl describe` asks it."""
    async with grpc.aio.insecure_channel(live.targets[owner]) as channel:
        metadata = (("authorization", _authorization(live)),)
        asking: Any = reflection_grpc.ServerReflectionStub(channel).ServerReflectionInfo(metadata=metadata)
        await asking.write(reflection.ServerReflectionRequest(file_containing_symbol=message))
        answer = (await asking.read()).file_descriptor_response
        asking.cancel()
    files = [descriptor_pb2.FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_proto]
    (found,) = (one for file in files for one in file.message_type if f"{file.package}.{one.name}" == message)
    return {field.name: field.number for field in found.field}


def _reachable(method: descriptor.MethodDescriptor) -> list[descriptor.Descriptor]:
    """The request, the reply, and the contract's messages directly within them."""
    outer = [method.input_type, method.output_type]
    inner = [
        one.message_type
        for message in outer
        for one in message.fields
        if one.message_type is not None and one.message_type.full_name.startswith("selene.")
    ]
    return list({message.full_name: message for message in (*outer, *inner)}.values())
