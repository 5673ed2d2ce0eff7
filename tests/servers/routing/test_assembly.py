"""A routing owner whose settings name a Valkey."""

from __future__ import annotations

from pathlib import Path

import pytest
from selene.routing.v1 import service_pb2 as v1
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import DOMAIN_LLM

from servers.routing.valkey import KEY
from servers.runtime.config import ConfigError
from tests.support.owners import TENANT, serving
from tests.support.valkey import ValkeyServer


async def test_an_owner_keeps_the_tokens_of_quotas_where_its_settings_say(tmp_path: Path, valkey: ValkeyServer) -> None:
    flags = {"owners.routing.valkey.url": valkey.url, "owners.routing.valkey.timeout_s": 5.0}
    async with serving(["llm"], tmp_path, flags) as owners:
        connection = owners.connection("llm")
        stub = routing_grpc.LimitsServiceStub(connection.channel)
        request = v1.SetQuotaRequest(
            tenant_id=TENANT, quota=v1.Quota(domain=DOMAIN_LLM, capacity=8.0), idempotency_key="k-1"
        )
        made = await stub.SetQuota(request, timeout=10, metadata=connection.metadata())
        assert made.quota.tokens == 8.0
    assert valkey.command("HEXISTS", KEY.format(tenant=TENANT, domain=int(DOMAIN_LLM)), "tokens") == b":1"


async def test_an_owner_does_not_start_with_a_valkey_that_it_may_not_ask(tmp_path: Path) -> None:
    flags = {"owners.routing.valkey.url": "valkey://cache.example:6379"}
    with pytest.raises(ConfigError, match="beyond loopback"):
        async with serving(["llm"], tmp_path, flags):
            pass
