"""A provider's secret from the operator's hand to the vendor, and its end: the owners are given nothing but leases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_LINEAR16, AudioFormat
from selene.llm.v1 import service_pb2 as llm
from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.routing.v1.route_pb2 import RouteScope
from selene.tts.v1 import service_pb2 as tts
from selene.tts.v1 import service_pb2_grpc as tts_grpc
from selene_messages.selene.kms import v1

from clients.retry import NO_RETRY
from clients.routed import new_key
from clients.secrets import Secrets
from servers.routing.leases import Issued
from servers.runtime.storage import SYSTEM_TENANT
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT, until
from tests.support.simulators.openai import OpenAiSimulator

FIRST, SECOND = "sk-canary-Vr8eTz-first", "sk-canary-Vr8eTz-second"
LANGUAGE, SPEECH = "kms://providers/openai/llm", "kms://providers/openai/tts"
ENGINES = {LANGUAGE: "PH1.D", SPEECH: "PH1.TTS"}
NAMES = {LANGUAGE: "llm", SPEECH: "tts"}
WITHIN_S = 10.0
"""The owners look every two seconds, on a machine that may be busy."""


@dataclass(slots=True)
class House:
    """The secrets owner and two owners that call a vendor, under the profile that is shipped."""

    owners: Owners
    openai: OpenAiSimulator

    @property
    def operator(self) -> Secrets:
        return Secrets(self.owners.connection("kms"), policy=NO_RETRY)

    async def put(self, handle: str, secret: str, *, overlap: timedelta | None = None) -> None:
        await self.operator.put(
            handle,
            secret.encode(),
            environment=v1.Environment.PROD,
            granted_owners=[ENGINES[handle]],
            overlap=overlap,
        )

    async def leased(self, handle: str, version: int = 1) -> None:
        """Returns once the owner that was granted a secret holds a lease of this version."""
        router = self.owners.services[NAMES[handle]][0].servicer._router
        held: dict[str, Issued] = router._unconfigured.__self__._held
        await until(lambda: handle in held and held[handle].version == version, WITHIN_S)

    async def told(self, transition: str, handle: str) -> int:
        """How often the trail of the deployment tells of this."""
        trail = await self.owners.trail(SYSTEM_TENANT)
        facts = [{fact.name: fact.value for fact in each.facts} for each in trail if each.transition == transition]
        return sum(each["handle"] == handle for each in facts)

    async def respond(self) -> llm.RespondFinal:
        connection = self.owners.connection("llm")
        scope = RouteScope(tenant_id=TENANT)
        request = llm.RespondRequest(text="what time is it", locale="en-US", scope=scope, idempotency_key=new_key())
        stub = llm_grpc.LanguageServiceStub(connection.channel)
        events = [event async for event in stub.Respond(request, timeout=20, metadata=connection.metadata())]
        return events[-1].final

    async def say(self) -> tts.SynthesizeFinal:
        connection = self.owners.connection("tts")
        sound = AudioFormat(encoding=AUDIO_ENCODING_LINEAR16, sample_rate_hz=16_000, channel_count=1)
        config = tts.SynthesizeConfig(
            text="It is noon.",
            markup=tts.TEXT_MARKUP_PLAIN,
            locale="en-US",
            audio_format=sound,
            scope=RouteScope(tenant_id=TENANT),
            idempotency_key=new_key(),
        )
        stub = tts_grpc.TextToSpeechServiceStub(connection.channel)
        requests = iter([tts.SynthesizeRequest(config=config)])
        events = [event async for event in stub.Synthesize(requests, timeout=20, metadata=connection.metadata())]
        return events[-1].final


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """The owners that call come first, as `selene up` starts them."""
    async with OpenAiSimulator({FIRST, SECOND}).serve() as openai:
        flags = {"owners.llm.openai.base_url": openai.base_url, "owners.tts.openai.base_url": openai.base_url}
        async with serving(["llm", "tts", "kms"], tmp_path, flags) as owners:
            yield House(owners, openai)


async def test_without_a_secret_the_local_providers_answer_and_no_vendor_hears_of_it(house: House) -> None:
    answered, spoken = await house.respond(), await house.say()
    assert (answered.result.provider_ref, spoken.result.provider_ref) == ("selene-local/llm", "selene-local/tts")
    for route in (answered.route, spoken.route):
        assert {each.reason_code for each in route.passed_over} == {"NOT_CONFIGURED"}
        (attempt,) = route.attempts
        assert attempt.provider_ref.startswith("selene-local/")
    assert house.openai.ledger == []
    assert not [each for each in await house.owners.trail(SYSTEM_TENANT) if each.transition.startswith("lease.")]


async def test_a_secret_is_put_used_rotated_and_revoked_while_the_owners_run(house: House) -> None:
    await house.put(LANGUAGE, FIRST)
    await house.leased(LANGUAGE)
    answered = await house.respond()
    assert answered.result.provider_ref == "openai/llm"
    assert [call.secret for call in house.openai.calls] == [FIRST]
    assert (await house.say()).result.provider_ref == "selene-local/tts"  # it was granted to language alone

    await house.put(LANGUAGE, SECOND)
    await house.leased(LANGUAGE, 2)
    assert (await house.respond()).result.provider_ref == "openai/llm"
    assert [call.secret for call in house.openai.calls] == [FIRST, SECOND]

    await house.operator.revoke(LANGUAGE, "drill")
    answered = await house.respond()
    assert answered.result.provider_ref == "selene-local/llm"
    *refused, local = [(attempt.provider_ref, attempt.reason_code) for attempt in answered.route.attempts]
    assert local == ("selene-local/llm", "ANSWERED")
    # None, where the owner looked between the revocation and the call.
    assert refused in ([("openai/llm", "CREDENTIAL_UNAVAILABLE")], [])
    for _ in range(10):
        assert (await house.respond()).result.provider_ref == "selene-local/llm"
    assert len(house.openai.calls) == 2
    assert await house.told("lease.refused", LANGUAGE) <= 1
    assert await house.told("lease.redeemed", LANGUAGE) == 2


async def test_each_owner_has_the_secret_that_it_was_granted(house: House) -> None:
    await house.put(LANGUAGE, FIRST)
    await house.put(SPEECH, SECOND)
    await house.leased(LANGUAGE)
    await house.leased(SPEECH)
    assert (await house.respond()).result.provider_ref == "openai/llm"
    assert (await house.say()).result.provider_ref == "openai/tts"
    assert [(call.path, call.secret) for call in house.openai.calls] == [
        ("/v1/chat/completions", FIRST),
        ("/v1/audio/speech", SECOND),
    ]


async def test_owners_that_start_before_the_secrets_owner_have_their_secrets_at_once(tmp_path: Path) -> None:
    async with OpenAiSimulator({FIRST}).serve() as openai:
        flags = {"owners.llm.openai.base_url": openai.base_url}
        async with serving(["kms"], tmp_path, flags) as owners:
            await House(owners, openai).put(LANGUAGE, FIRST)
        async with serving(["llm", "kms"], tmp_path, flags) as owners:
            house = House(owners, openai)
            await house.leased(LANGUAGE)
            assert (await house.respond()).result.provider_ref == "openai/llm"
