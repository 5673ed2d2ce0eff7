"""Tokens that must not work, through a real channel: each is refused with its reason, and each refusal is audited."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import jwt
import pytest
from google.rpc import error_details_pb2
from selene.audit.v1 import service_pb2 as audit
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.error_reason_pb2 import ErrorReason
from selene.voiceid.v1 import service_pb2 as voiceid
from selene.voiceid.v1 import service_pb2_grpc as voiceid_grpc
from selene.voiceid.v1 import voiceid_pb2

from servers.runtime.auth import (
    Principal,
    SigningKey,
    generate_signing_key,
    issue_token,
    require_device,
    require_role,
    require_subject,
    require_tenant,
)
from servers.runtime.clock import ManualClock
from servers.runtime.errors import Refusal

Reason = Callable[[grpc.aio.AioRpcError], error_details_pb2.ErrorInfo]
ALICE = Principal("t-1", "alice", "phone-1", frozenset({"user"}))


def minted(key: SigningKey, *, principal: Principal = ALICE, age_s: float = 0, **options: Any) -> str:
    now = datetime.now(UTC) - timedelta(seconds=age_s)
    return issue_token(key, principal, now=now, lifetime=timedelta(seconds=60), **options)


def unsigned(key: SigningKey) -> str:
    return minted(key).rpartition(".")[0] + "."


def without_algorithm(key: SigningKey) -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": key.kid}).encode()).rstrip(b"=").decode()
    return f"{header}.{minted(key).split('.')[1]}."


def signed_with_the_public_key(key: SigningKey) -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": key.kid}).encode()).rstrip(b"=").decode()
    body = f"{header}.{minted(key).split('.')[1]}"
    digest = hmac.digest(key.jwk()["x"].encode(), body.encode(), hashlib.sha256)
    return f"{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def of_another_key(key: SigningKey) -> str:
    claims = jwt.decode(minted(key), options={"verify_signature": False})
    return jwt.encode(claims, generate_signing_key().private_key, algorithm="EdDSA", headers={"kid": key.kid})


BAD_TOKENS: list[tuple[str, Callable[[SigningKey], str], ErrorReason]] = [
    ("unsigned", unsigned, reasons.ERROR_REASON_TOKEN_INVALID),
    ("alg=none", without_algorithm, reasons.ERROR_REASON_TOKEN_INVALID),
    ("HS256 over the public key", signed_with_the_public_key, reasons.ERROR_REASON_TOKEN_INVALID),
    ("another key", of_another_key, reasons.ERROR_REASON_TOKEN_INVALID),
    ("an unknown kid", lambda _: minted(generate_signing_key()), reasons.ERROR_REASON_TOKEN_INVALID),
    ("expired", lambda key: minted(key, age_s=3600), reasons.ERROR_REASON_TOKEN_EXPIRED),
    ("not valid yet", lambda key: minted(key, age_s=-3600), reasons.ERROR_REASON_TOKEN_EXPIRED),
    ("wrong audience", lambda key: minted(key, audience="other"), reasons.ERROR_REASON_TOKEN_WRONG_AUDIENCE),
    ("wrong issuer", lambda key: minted(key, issuer="other"), reasons.ERROR_REASON_TOKEN_WRONG_AUDIENCE),
]


async def guarded(request: Any, context: Any) -> Any:
    require_tenant(request.tenant_id)
    return audit.ListEventsResponse()


@pytest.mark.parametrize(("token", "reason"), [row[1:] for row in BAD_TOKENS], ids=[row[0] for row in BAD_TOKENS])
async def test_a_bad_token_is_refused_and_audited(
    house: Any, reason_of: Reason, token: Callable[[SigningKey], str], reason: ErrorReason
) -> None:
    running = await house.start(ListEvents=guarded)
    metadata = (("authorization", f"Bearer {token(house.key)}"), ("x-correlation-id", "c-1"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await audit_grpc.AuditServiceStub(house.channel(running)).ListEvents(
            audit.ListEventsRequest(tenant_id="t-1"), metadata=metadata
        )
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(caught.value).reason == ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    [row] = house.refused
    assert (row.reason, row.owner, row.correlation_id) == (reason, "voiceid", "c-1")
    assert row.method == "/selene.audit.v1.AuditService/ListEvents"
    assert (row.tenant_id, row.actor_commitment) == ("", ""), "an unproven caller is not named"


@pytest.mark.parametrize("header", ["", "Basic dTpw", "Bearer", "Bearer ", "token"])
async def test_another_scheme_is_refused(house: Any, reason_of: Reason, header: str) -> None:
    running = await house.start(ListEvents=guarded)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await audit_grpc.AuditServiceStub(house.channel(running)).ListEvents(
            audit.ListEventsRequest(tenant_id="t-1"), metadata=(("authorization", header),)
        )
    assert reason_of(caught.value).reason == "TOKEN_INVALID"
    assert len(house.refused) == 1


def idempotency_replayed() -> None:
    raise Refusal(reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED, "the key was used", idempotency_key="k-1")


@pytest.mark.parametrize(
    ("check", "reason", "code"),
    [
        (lambda: require_tenant("t-2"), reasons.ERROR_REASON_TENANT_MISMATCH, grpc.StatusCode.PERMISSION_DENIED),
        (lambda: require_device("phone-2"), reasons.ERROR_REASON_DEVICE_MISMATCH, grpc.StatusCode.PERMISSION_DENIED),
        (lambda: require_subject("bob"), reasons.ERROR_REASON_SUBJECT_MISMATCH, grpc.StatusCode.PERMISSION_DENIED),
        (lambda: require_role("operator"), reasons.ERROR_REASON_ROLE_REQUIRED, grpc.StatusCode.PERMISSION_DENIED),
        (idempotency_replayed, reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED, grpc.StatusCode.ALREADY_EXISTS),
    ],
    ids=["tenant", "device", "subject", "role", "idempotency key"],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
async def test_a_good_token_used_for_something_else_is_refused_and_audited(
    house: Any,
    reason_of: Reason,
    frame: Any,
    check: Callable[[], object],
    reason: ErrorReason,
    code: grpc.StatusCode,
    streaming: bool,
) -> None:
    async def unary(request: Any, context: Any) -> Any:
        check()
        return audit.ListEventsResponse()

    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            check()
            yield voiceid.IdentifyResponse()

    running = await house.start(ListEvents=unary, Identify=stream)
    channel = house.channel(running)
    metadata = (("authorization", f"Bearer {minted(house.key)}"),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if streaming:
            await voiceid_grpc.VoiceIdServiceStub(channel).Identify(iter([frame(0)]), metadata=metadata).read()
        else:
            request = audit.ListEventsRequest(tenant_id="t-1")
            await audit_grpc.AuditServiceStub(channel).ListEvents(request, metadata=metadata)
    assert caught.value.code() == code
    assert reason_of(caught.value).reason == ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    [row] = house.refused
    assert (row.reason, row.tenant_id) == (reason, "t-1")
    assert len(row.actor_commitment) == 64
    assert "alice" not in repr(row)


async def test_keys_rotate_while_the_server_runs(house: Any, reason_of: Reason) -> None:
    clock = ManualClock(datetime.now(UTC))
    running = await house.start(clock=clock, ListEvents=guarded)
    stub = audit_grpc.AuditServiceStub(house.channel(running))
    request = audit.ListEventsRequest(tenant_id="t-1")
    successor = generate_signing_key()
    metadata = (("authorization", f"Bearer {minted(successor)}"),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListEvents(request, metadata=metadata)
    assert reason_of(caught.value).metadata["cause"] == "kid"
    house.write_keys(house.key, successor)
    clock.advance(2)
    assert await stub.ListEvents(request, metadata=metadata) == audit.ListEventsResponse()


async def test_concurrent_callers_never_see_each_other(house: Any) -> None:
    async def echo(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            principal = require_role("user")
            yield voiceid.IdentifyResponse(
                started=voiceid_pb2.StreamStarted(stream_id=f"{principal.tenant_id}/{principal.subject}")
            )

    running = await house.start(Identify=echo)
    stub = voiceid_grpc.VoiceIdServiceStub(house.channel(running))

    async def ask(number: int) -> set[str]:
        principal = Principal(f"t-{number}", f"u-{number}", "", frozenset({"user"}))
        metadata = (("authorization", f"Bearer {minted(house.key, principal=principal)}"),)
        stream = stub.Identify(metadata=metadata)
        seen = set()
        for sequence in range(10):
            await stream.write(voiceid.IdentifyRequest(frame={"sequence": sequence, "audio": b"\x00"}))
            seen.add((await stream.read()).started.stream_id)
        await stream.done_writing()
        return seen

    answers = await asyncio.gather(*(ask(number) for number in range(20)))
    assert answers == [{f"t-{number}/u-{number}"} for number in range(20)]
