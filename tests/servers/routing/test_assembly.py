"""A routing owner as its settings put it together."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from selene.routing.v1 import service_pb2 as v1
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import DOMAIN_LLM

from servers.routing.profile import ARTIFACT_TYPE
from servers.routing.shipped import shipped_profile
from servers.routing.valkey import KEY
from servers.runtime.config import ConfigError
from tests.support.governed import SUBJECT, TENANT, Desk
from tests.support.owners import serving
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


async def is_known(desk: Desk, key: v1.CircuitKey) -> bool:
    try:
        await desk.call("GetCircuit", key=key)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND, error
        return False
    return True


async def test_an_owner_forgets_circuits_of_superseded_profiles_when_its_settings_say(tmp_path: Path) -> None:
    following = shipped_profile()
    following.profile_version, following.artifact_id = 2, f"{ARTIFACT_TYPE}@2"
    following.rollback_pointer_ref = f"{ARTIFACT_TYPE}@1"
    following.llm.providers[2].timeout.FromSeconds(3)
    async with serving(["llm"], tmp_path, {"owners.routing.forget_circuits_after_s": 3600.0}) as owners:
        desk, circuits = Desk(owners), owners.store.routing.circuits
        profile_hash = (await desk.call("ListProviders", subject=SUBJECT)).profile_hash
        key = v1.CircuitKey(provider_ref="selene-local/llm", profile_hash=profile_hash)
        for force in (v1.CIRCUIT_FORCE_OPEN, v1.CIRCUIT_FORCE_RELEASED):
            await desk.call("ForceCircuit", key=key, force=force, reason_code="DRILL")
        await desk.call("PutProfile", profile=following)
        await desk.call("ActivateProfile", profile_version=2, reason_code="ROLLOUT")
        assert len(await circuits.all("PH1.D")) == 1
        owners.clock.skip(3700)
        async with asyncio.timeout(10):
            while await is_known(desk, key):  # noqa: ASYNC110  # what is waited for lies behind a socket
                await asyncio.sleep(0.02)
        assert await circuits.all("PH1.D") == []
        (row,) = await desk.trail("circuit.forgotten")
        assert [each.sha256 for each in row.hashes] == [profile_hash]


async def test_an_owner_does_not_forget_sooner_than_a_call_may_last(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="forget_circuits_after_s"):
        async with serving(["llm"], tmp_path, {"owners.routing.forget_circuits_after_s": 60.0}):
            pass
