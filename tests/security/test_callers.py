"""Who may not: every RPC refuses, with the reason, what its caller may not do, and the trail says so (ALL-3)."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.voiceid.v1 import service_pb2 as v1_service

from clients.errors import SeleneError
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, generate_signing_key
from servers.runtime.storage import SYSTEM_TENANT
from tests.support.calls import DEVICE, TENANT, USER, Rpc, invoke, rpcs
from tests.support.identity import Issuer, certificates
from tests.support.servers import House, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
RPCS = rpcs()
MINUTE_S = 61.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(models_dir: Path, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """As in production: TLS, tokens, a master key."""
    flags, trusted = certificates(tmp_path_factory.mktemp("tls"))
    master_key = base64.b64encode(bytes(range(32))).decode()
    secured: dict[str, Any] = {
        "development.enabled": False,
        "auth.keys_file": issuer.keys_file,
        "master_key.value": master_key,
        **flags,
    }
    async with serving(tmp_path_factory.mktemp("secured"), secured) as served:
        served.tls = trusted
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def known(house: House, issuer: Issuer) -> dict[str, Rpc]:
    """The RPCs about an enrolment and a decided stream that are there."""
    service = issuer.token("robot", tenant=TENANT, roles=(ROLE_SERVICE,))
    connection = house.connection()
    created = await invoke(connection, RPCS["v1.EnrollmentService/CreateEnrollment"], service, "set-up")
    assert isinstance(created, bytes)
    enrollment = v1_service.CreateEnrollmentResponse.FromString(created).enrollment
    client = house.client(service, device=DEVICE, tenant=TENANT)
    async with client.identify() as stream:
        outcome = await stream.finish()
    return rpcs(enrollment_id=enrollment.enrollment_id, stream_id=outcome.stream_id)


async def audited(house: House, tenant: str, correlation_id: str) -> list[AuditEvent]:
    return [event for event in await house.trail(tenant) if event.turn.correlation_id == correlation_id]


async def refused(house: House, rpc: Rpc, token: str, name: str, tenant: str) -> SeleneError:
    """The refusal, asserted to be in the trail of `tenant` once, under the same reason and method."""
    correlation_id = f"{name.replace(' ', '-')}:{rpc.path}"
    answer = await invoke(house.connection(owner=rpc.owner), rpc, token, correlation_id)
    assert isinstance(answer, SeleneError), f"{rpc.path} served a caller with {name}"
    (event,) = await audited(house, tenant, correlation_id)
    facts = {fact.name: fact.value for fact in event.facts}
    assert (event.transition, event.reason_code) == ("request.refused", answer.reason)
    assert facts == {"method": rpc.path, "count": "1"}
    return answer


def unsigned(issuer: Issuer) -> str:
    return issuer.token(tenant=TENANT).rpartition(".")[0] + "."


def without_algorithm(issuer: Issuer) -> str:
    claims = jwt.decode(issuer.token(tenant=TENANT), options={"verify_signature": False})
    return jwt.encode(claims, None, algorithm="none", headers={"kid": issuer.key.kid})


def signed_with_the_public_key(issuer: Issuer) -> str:
    """HS256 with what everybody knows as the secret."""
    claims = jwt.decode(issuer.token(tenant=TENANT), options={"verify_signature": False})
    public = issuer.key.private_key.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    return jwt.encode(claims, public, algorithm="HS256", headers={"kid": issuer.key.kid})


def signed_by_another(issuer: Issuer) -> str:
    claims = jwt.decode(issuer.token(tenant=TENANT), options={"verify_signature": False})
    other = generate_signing_key()
    return jwt.encode(claims, other.private_key, algorithm=other.algorithm, headers={"kid": issuer.key.kid})


def altered(issuer: Issuer) -> str:
    """The signature of a user's token under an operator's claims."""
    head, payload, signature = issuer.token(tenant=TENANT).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    raised = base64.urlsafe_b64encode(json.dumps(claims | {"roles": ["operator"]}).encode()).decode().rstrip("=")
    return f"{head}.{raised}.{signature}"


def yesterday() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


BAD_TOKENS: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "no token": (lambda issuer: "", "TOKEN_MISSING"),
    "no signature": (unsigned, "TOKEN_INVALID"),
    "alg=none": (without_algorithm, "TOKEN_INVALID"),
    "HS256 of the public key": (signed_with_the_public_key, "TOKEN_INVALID"),
    "another key": (signed_by_another, "TOKEN_INVALID"),
    "altered claims": (altered, "TOKEN_INVALID"),
    "garbage": (lambda issuer: "garbage", "TOKEN_INVALID"),
    "expired": (lambda issuer: issuer.token(tenant=TENANT, now=yesterday()), "TOKEN_EXPIRED"),
    "another audience": (lambda issuer: issuer.token(tenant=TENANT, audience="elsewhere"), "TOKEN_WRONG_AUDIENCE"),
    "another issuer": (lambda issuer: issuer.token(tenant=TENANT, issuer="elsewhere"), "TOKEN_WRONG_AUDIENCE"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_token_that_proves_nothing_opens_nothing(house: House, issuer: Issuer, name: str) -> None:
    make, reason = BAD_TOKENS[name]
    house.clock.skip(MINUTE_S)  # beyond 60 refusals a minute, the trail counts instead of listing
    token = make(issuer)
    for rpc in RPCS.values():
        refusal = await refused(house, rpc, token, name, SYSTEM_TENANT)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason), rpc.path
        assert not token or token not in str(refusal)


async def test_a_token_of_another_tenant_opens_nothing_here(house: House, issuer: Issuer) -> None:
    token = issuer.token(USER, tenant="t-2", device=DEVICE, roles=(ROLE_OPERATOR, ROLE_SERVICE, "auditor"))
    for rpc in RPCS.values():
        refusal = await refused(house, rpc, token, "another tenant", "t-2")
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TENANT_MISMATCH"), rpc.path


@pytest.mark.parametrize("device", ["d-2", ""])
async def test_a_token_of_another_device_does_not_speak_for_this_one(
    house: House, issuer: Issuer, known: dict[str, Rpc], device: str
) -> None:
    token = issuer.token(USER, tenant=TENANT, device=device)
    named = [rpc for rpc in known.values() if rpc.names_device]
    assert len(named) == 9
    for rpc in named:
        refusal = await refused(house, rpc, token, f"device:{device}", TENANT)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "DEVICE_MISMATCH"), rpc.path


async def test_a_token_of_another_person_does_not_speak_for_this_one(
    house: House, issuer: Issuer, known: dict[str, Rpc]
) -> None:
    token = issuer.token("otto", tenant=TENANT, device=DEVICE)
    named = [rpc for rpc in known.values() if rpc.names_subject]
    assert len(named) == 10
    for rpc in named:
        refusal = await refused(house, rpc, token, "another subject", TENANT)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SUBJECT_MISMATCH"), rpc.path


async def test_what_needs_a_role_is_refused_without_it(house: House, issuer: Issuer) -> None:
    token = issuer.token(USER, tenant=TENANT, device=DEVICE)
    guarded = [rpc for rpc in RPCS.values() if rpc.needs_role]
    assert len(guarded) == 11
    for rpc in guarded:
        refusal = await refused(house, rpc, token, "no role", TENANT)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"), rpc.path


async def test_the_person_on_the_own_device_is_served_what_is_theirs(
    house: House, issuer: Issuer, known: dict[str, Rpc]
) -> None:
    """The counterpart: the same requests, by whoever may."""
    token = issuer.token(USER, tenant=TENANT, device=DEVICE)
    for name in ("v1.VoiceIdService/Identify", "v2.VoiceIdService/Verify", "v1.EnrollmentService/GetEnrollment"):
        answer = await invoke(house.connection(), known[name], token, f"own:{name}")
        assert isinstance(answer, bytes), answer
        assert not await audited_refusals(house, f"own:{name}")


async def audited_refusals(house: House, correlation_id: str) -> list[AuditEvent]:
    events = await audited(house, TENANT, correlation_id)
    return [event for event in events if event.transition == "request.refused"]


async def test_an_auditor_reads_refusals_through_the_audit_service(house: House, issuer: Issuer) -> None:
    token = issuer.token(USER, tenant=TENANT, device="d-9")
    rpc = RPCS["v2.VoiceIdService/Identify"]
    await invoke(house.connection(), rpc, token, "to-be-read")
    auditor = house.auditor(issuer.token("ada", tenant=TENANT, roles=("auditor",)), tenant=TENANT)
    (chained,) = [one async for one in auditor.list_events(correlation_id="to-be-read")]
    assert chained.event is not None
    assert (chained.event.transition, chained.event.reason_code) == ("request.refused", "DEVICE_MISMATCH")
    assert USER not in str(chained.event)


async def test_a_flood_of_refusals_is_counted_not_written_row_by_row(house: House, issuer: Issuer) -> None:
    house.clock.skip(MINUTE_S)
    rpc = RPCS["v1.PolicyService/GetMigrationStage"]
    token = issuer.token(USER, tenant="t-3")
    connection = house.connection()
    for _ in range(80):
        assert isinstance(await invoke(connection, rpc, token, "flood"), SeleneError)
    rows = await audited(house, "t-3", "flood")
    assert len(rows) == 60
    house.clock.skip(MINUTE_S)
    await invoke(connection, rpc, token, "after-the-flood")
    counts = [fact.value for event in await house.trail("t-3") for fact in event.facts if fact.name == "count"]
    assert counts.count("20") == 1
    assert sum(map(int, counts)) == 81


async def test_a_clear_text_caller_is_not_served(house: House) -> None:
    channel = grpc.aio.insecure_channel(house.running.target("voiceid"))
    try:
        call = channel.unary_unary("/selene.voiceid.v1.PolicyService/GetMigrationStage")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=2)
    finally:
        await channel.close()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
