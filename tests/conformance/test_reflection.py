"""A person with grpcurl alone finds and reads every service, method and message of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from google.protobuf import descriptor

from tests.conformance.clients import STUBS, grpcurl, method_named
from tests.conformance.contract import promised
from tests.conformance.serving import ROUTING_OWNERS, Live, owner_of


async def _asked(live: Live, owner: str, *arguments: str) -> str:
    authorization = f"authorization: Bearer {live.token('reader', {'roles': []})}"
    return await grpcurl("-plaintext", "-H", authorization, live.targets[owner], *arguments)


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
    described, *messages = await asyncio.gather(
        *(
            _asked(server("selene"), owner, "describe", name)
            for name in (method.full_name, *(message.full_name for message in _reachable(method)))
        )
    )
    assert f"rpc {method.name} ( " in described
    for message, text in zip(_reachable(method), messages, strict=True):
        assert f"{message.full_name} is a message:" in text
        assert all(f" {one.name} = {one.number}" in text for one in message.fields)


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
