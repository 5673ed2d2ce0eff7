"""The secrets service through a real channel (KMS-1): what it answers, what it refuses, what it writes down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from selene.kms.v1 import kms_pb2 as kms
from selene.kms.v1 import service_pb2 as messages
from selene_messages.selene.kms import v1

from clients.errors import SeleneError, from_rpc
from clients.secrets import seal
from clients.wire import to_wire
from servers.kms.backend import LocalKeystore
from servers.kms.service import SecretsV1
from servers.kms.sweep import sweep
from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, ROLE_OPERATOR, ROLE_SERVICE, ROLE_USER
from servers.runtime.secrets import BackendUnavailable, Silence
from servers.runtime.storage import SYSTEM_TENANT
from store.kms import LeaseFault, LeaseRefused
from tests.servers.kms.conftest import HANDLE, NEXT, OWNER, SECRET, Desk, facts

DAY_S = 24 * 3600.0
MINUTE_S = 60.0
NO_LEASE = "0198c1a2-0000-7000-8000-000000000000"


async def refusal(call: Awaitable[Any]) -> SeleneError:
    with pytest.raises((SeleneError, grpc.aio.AioRpcError)) as caught:
        await call
    return caught.value if isinstance(caught.value, SeleneError) else from_rpc(caught.value)


async def sealed_put(
    desk: Desk, secret: bytes = SECRET, *, key: str = "k-1", **fields: Any
) -> messages.PutSecretRequest:
    """A request that can be sent twice."""
    to = await desk.operator.sealing_key()
    message = seal(secret, HANDLE, sealing_key_id=to.sealing_key_id, public_key=to.public_key)
    usual: dict[str, Any] = {
        "handle": HANDLE,
        "environment": kms.ENVIRONMENT_PROD,
        "secret": to_wire(message, kms.SealedSecret),
        "granted_owners": [OWNER],
        "idempotency_key": key,
    }
    return messages.PutSecretRequest(**{**usual, **fields})


async def test_a_secret_is_put_leased_and_redeemed(desk: Desk) -> None:
    put = await desk.put()
    assert (put.handle, put.version, put.state) == (HANDLE, 1, v1.SecretState.ACTIVE)
    assert put.put_at is not None and put.rotate_by == put.put_at + timedelta(days=30)
    reply = await desk.service.lease(HANDLE, OWNER)
    lease = reply.lease
    assert lease is not None and lease.issued_at is not None
    assert (lease.handle, lease.version, lease.owner) == (HANDLE, 1, OWNER)
    assert lease.expires_at == lease.issued_at + timedelta(minutes=5)
    assert await desk.store.kms.redeem(reply.lease_ref, desk.clock.now()) == SECRET


async def test_the_sealing_key_comes_with_the_policy(sqlite_desk: Desk) -> None:
    key = await sqlite_desk.service.sealing_key()
    assert (len(key.public_key), key.backend) == (32, "local")
    assert key.policy == v1.LeasePolicy(default_ttl=timedelta(minutes=5), max_ttl=timedelta(minutes=60))


async def test_a_rotation_lets_old_leases_live_and_leases_the_new_version(desk: Desk) -> None:
    await desk.put()
    old = await desk.service.lease(HANDLE, OWNER, ttl=timedelta(hours=1))
    rotated = await desk.operator.rotate(HANDLE, NEXT, overlap=timedelta(minutes=10))
    new = await desk.service.lease(HANDLE, OWNER, ttl=timedelta(hours=1))
    assert (rotated.version, rotated.environment, rotated.granted_owners) == (2, v1.Environment.PROD, [OWNER])
    assert rotated.put_at is not None and rotated.overlap_until == rotated.put_at + timedelta(minutes=10)
    assert await desk.store.kms.redeem(old.lease_ref, desk.clock.now()) == SECRET
    desk.clock.skip(10 * MINUTE_S)
    with pytest.raises(LeaseRefused) as gone:
        await desk.store.kms.redeem(old.lease_ref, desk.clock.now())
    assert gone.value.fault is LeaseFault.VERSION_GONE
    assert await desk.store.kms.redeem(new.lease_ref, desk.clock.now()) == NEXT


async def test_what_is_over_is_destroyed_when_it_is_touched_and_when_it_is_swept(desk: Desk) -> None:
    await desk.put()
    old = await desk.service.lease(HANDLE, OWNER)
    assert old.lease is not None
    await desk.operator.rotate(HANDLE, NEXT, overlap=timedelta(0))
    touched = await desk.store.kms.leases.leased(old.lease.lease_id)
    assert touched is not None and (touched.state, touched.sealed) == (kms.SECRET_STATE_RETIRED, b"")
    await desk.operator.rotate(HANDLE, SECRET, overlap=timedelta(minutes=1))
    await sweep(desk.store, LocalKeystore(), desk.clock.now())
    assert len(await desk.trail("secret.retired")) == 1
    desk.clock.skip(MINUTE_S)
    await sweep(desk.store, LocalKeystore(), desk.clock.now())
    retired = await desk.trail("secret.retired")
    assert [(facts(event)["version"], event.reason_code) for event in retired] == [
        ("1", "OVERLAP_OVER"),
        ("2", "OVERLAP_OVER"),
    ]


async def test_revoking_ends_every_lease_at_once(desk: Desk) -> None:
    await desk.put()
    leases = [await desk.service.lease(HANDLE, OWNER) for _ in range(2)]
    revoked = await desk.operator.revoke(HANDLE, "found in a log")
    assert revoked.leases_ended == 2
    assert revoked.secret is not None and revoked.secret.state == v1.SecretState.REVOKED
    for lease in leases:
        with pytest.raises(LeaseRefused) as ended:
            await desk.store.kms.redeem(lease.lease_ref, desk.clock.now())
        assert ended.value.fault is LeaseFault.REVOKED
    denied = await refusal(desk.service.lease(HANDLE, OWNER))
    assert (denied.reason, denied.metadata["cause"]) == ("SECRET_ACCESS_DENIED", "SECRET_REVOKED")
    replaced = await desk.put(NEXT)
    assert (replaced.version, replaced.state) == (2, v1.SecretState.ACTIVE)
    again = await desk.service.lease(HANDLE, OWNER)
    assert await desk.store.kms.redeem(again.lease_ref, desk.clock.now()) == NEXT


async def test_a_lease_can_be_ended_before_its_time(desk: Desk) -> None:
    await desk.put()
    reply = await desk.service.lease(HANDLE, OWNER)
    assert reply.lease is not None and reply.lease.expires_at is not None
    ended = await desk.service.end_lease(reply.lease.lease_id)
    assert ended.expires_at is not None and ended.expires_at < reply.lease.expires_at
    with pytest.raises(LeaseRefused):
        await desk.store.kms.redeem(reply.lease_ref, desk.clock.now())
    assert (await refusal(desk.service.end_lease(NO_LEASE))).reason == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(("owner", "cause"), [("PH1.D", "NO_GRANT"), (OWNER, "HANDLE_UNKNOWN")])
async def test_a_lease_that_is_denied_says_why_and_is_in_the_trail(desk: Desk, owner: str, cause: str) -> None:
    if cause == "NO_GRANT":
        await desk.put()
    service = desk.own(owner)
    evaluated = await service.evaluate(HANDLE, owner)
    assert (evaluated.outcome, evaluated.reason) == (v1.AccessOutcome.DENY, v1.AccessReason[cause])
    denied = await refusal(service.lease(HANDLE, owner))
    assert denied.code is grpc.StatusCode.PERMISSION_DENIED
    assert denied.metadata == {"handle": HANDLE, "owner": owner, "cause": cause}
    (event,) = await desk.trail("lease.denied")
    assert event.reason_code == cause
    assert facts(event) == {
        "handle": HANDLE,
        "owner": owner,
        "outcome": "DENY",
        "version": "1" if cause == "NO_GRANT" else "0",
        "overdue": "no",
    }
    assert [event.reason_code for event in await desk.trail("access.evaluated")] == [cause]


@pytest.mark.parametrize(
    ("environment", "days", "allowed"),
    [(v1.Environment.PROD, 30, False), (v1.Environment.DEV, 7, True), (v1.Environment.STAGE, 7, True)],
)
async def test_an_overdue_secret_is_denied_in_production_only(
    sqlite_desk: Desk, environment: v1.Environment, days: int, allowed: bool
) -> None:
    await sqlite_desk.put(environment=environment)
    fresh = await sqlite_desk.service.evaluate(HANDLE, OWNER)
    assert fresh.reason is v1.AccessReason.GRANTED
    sqlite_desk.clock.skip(days * DAY_S)
    late = await sqlite_desk.own().evaluate(HANDLE, OWNER)
    assert (late.outcome is v1.AccessOutcome.ALLOW) is allowed
    assert late.reason is (v1.AccessReason.GRANTED if allowed else v1.AccessReason.ROTATION_OVERDUE)
    assert [facts(event)["overdue"] for event in await sqlite_desk.trail("access.evaluated")] == ["no", "yes"]


async def test_a_denied_lease_leaves_its_key_unused(desk: Desk) -> None:
    assert (
        await refusal(desk.service.lease(HANDLE, OWNER, idempotency_key="k-lease"))
    ).reason == "SECRET_ACCESS_DENIED"
    await desk.put()
    reply = await desk.service.lease(HANDLE, OWNER, idempotency_key="k-lease")
    assert reply.lease_ref.startswith("lease://")


async def test_a_repeated_lease_is_the_same_lease(desk: Desk) -> None:
    await desk.put()
    first = await desk.service.lease(HANDLE, OWNER, idempotency_key="k-lease")
    assert await desk.service.lease(HANDLE, OWNER, idempotency_key="k-lease") == first
    assert len(await desk.trail("lease.issued")) == 1
    for changed in (
        desk.own("PH1.D").lease(HANDLE, "PH1.D", idempotency_key="k-lease"),
        desk.service.lease(HANDLE, OWNER, ttl=timedelta(minutes=5), idempotency_key="k-lease"),
    ):
        assert (await refusal(changed)).reason == "IDEMPOTENCY_KEY_REUSED"


async def test_another_tenants_key_is_another_key(desk: Desk) -> None:
    await desk.put()
    first = await desk.service.lease(HANDLE, OWNER, idempotency_key="k-lease")
    other = await desk.operator.lease(HANDLE, OWNER, idempotency_key="k-lease")
    assert first.lease_ref != other.lease_ref


async def test_a_service_of_a_tenant_has_no_part_in_secrets(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    await desk.put()
    lease = (await desk.service.lease(HANDLE, OWNER)).lease
    assert lease is not None
    calls = {
        "GetSealingKey": messages.GetSealingKeyRequest(),
        "GetSecret": messages.GetSecretRequest(handle=HANDLE),
        "ListSecrets": messages.ListSecretsRequest(),
        "EvaluateAccess": messages.EvaluateAccessRequest(handle=HANDLE, owner=OWNER),
        "IssueLease": messages.IssueLeaseRequest(handle=HANDLE, owner=OWNER, idempotency_key="k"),
        "EndLease": messages.EndLeaseRequest(lease_id=lease.lease_id, idempotency_key="k"),
    }
    for method, request in calls.items():
        refused = await refusal(desk.raw(method, request, ROLE_SERVICE, subject=OWNER))
        assert (refused.reason, refused.code) == ("TENANT_MISMATCH", grpc.StatusCode.PERMISSION_DENIED), method
    trail = [chained.event async for chained in desk.store.audit.stream("t-1")]
    assert [event.reason_code for event in trail] == ["TENANT_MISMATCH"] * len(calls)
    assert len(await desk.trail("lease.issued")) == 1


async def test_a_service_asks_for_itself_only(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    await desk.put()
    reply = await desk.service.lease(HANDLE, OWNER)
    assert reply.lease is not None
    for subject in ("PH1.D", "stt", "ph1.c"):
        other = desk.own(subject)
        calls = (other.evaluate(HANDLE, OWNER), other.lease(HANDLE, OWNER), other.end_lease(reply.lease.lease_id))
        for call in calls:
            assert (await refusal(call)).reason == "SUBJECT_MISMATCH"
    refused = await desk.trail("request.refused")
    assert [event.reason_code for event in refused] == ["SUBJECT_MISMATCH"] * 9
    assert await desk.store.kms.redeem(reply.lease_ref, desk.clock.now()) == SECRET


async def test_an_operator_of_the_deployment_asks_for_every_owner(sqlite_desk: Desk) -> None:
    await sqlite_desk.put()
    evaluated = [(await sqlite_desk.operator.evaluate(HANDLE, owner)).reason for owner in (OWNER, "PH1.D")]
    assert evaluated == [v1.AccessReason.GRANTED, v1.AccessReason.NO_GRANT]


async def test_a_repeated_put_makes_one_version(desk: Desk) -> None:
    request = await sealed_put(desk)
    first = await desk.raw("PutSecret", request)
    assert await desk.raw("PutSecret", request) == first
    known = await desk.operator.get(HANDLE)
    assert known.version == 1
    again = await sealed_put(desk)
    assert (await refusal(desk.raw("PutSecret", again))).reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_repeated_revocation_ends_nothing_twice(desk: Desk) -> None:
    await desk.put()
    await desk.service.lease(HANDLE, OWNER)
    first = await desk.operator.revoke(HANDLE, "leaked", idempotency_key="k-revoke")
    await desk.put(NEXT)
    lease = await desk.service.lease(HANDLE, OWNER)
    assert await desk.operator.revoke(HANDLE, "leaked", idempotency_key="k-revoke") == first
    assert await desk.store.kms.redeem(lease.lease_ref, desk.clock.now()) == NEXT


async def test_what_was_sealed_elsewhere_is_refused_and_in_the_trail(desk: Desk) -> None:
    request = await sealed_put(desk)
    request.secret.sealing_key_id = "0123456789abcdef"
    refused = await refusal(desk.raw("PutSecret", request))
    here = (await desk.operator.sealing_key()).sealing_key_id
    assert (refused.reason, refused.code) == ("SECRET_NOT_SEALED_HERE", grpc.StatusCode.INVALID_ARGUMENT)
    assert refused.metadata == {"sealing_key_id": here}
    (event,) = await desk.trail("secret.put_refused")
    assert (event.reason_code, facts(event)) == ("SECRET_NOT_SEALED_HERE", {"handle": HANDLE})
    assert (await refusal(desk.operator.get(HANDLE))).reason == "RESOURCE_NOT_FOUND"


async def test_a_secret_sealed_for_one_handle_cannot_be_put_under_another(sqlite_desk: Desk) -> None:
    request = await sealed_put(sqlite_desk, handle="kms://providers/openai/tts")
    assert (await refusal(sqlite_desk.raw("PutSecret", request))).reason == "SECRET_NOT_SEALED_HERE"


async def test_revoking_what_was_never_put_is_not_found_and_in_the_trail(desk: Desk) -> None:
    assert (await refusal(desk.operator.revoke(HANDLE, "leaked"))).reason == "RESOURCE_NOT_FOUND"
    (event,) = await desk.trail("secret.revoke_refused")
    assert (event.reason_code, facts(event)) == ("RESOURCE_NOT_FOUND", {"handle": HANDLE})


async def test_every_access_is_in_the_deployments_trail(desk: Desk) -> None:
    await desk.put()
    await desk.service.evaluate(HANDLE, OWNER)
    lease = (await desk.service.lease(HANDLE, OWNER)).lease
    assert lease is not None
    await desk.service.end_lease(lease.lease_id)
    await desk.operator.rotate(HANDLE, NEXT)
    await desk.operator.revoke(HANDLE, "drill")
    events = await desk.trail()
    assert [(event.transition, event.reason_code) for event in events] == [
        ("sealing_key.read", "SEALING_KEY_GIVEN"),
        ("secret.put", "FIRST_VERSION"),
        ("access.evaluated", "GRANTED"),
        ("lease.issued", "GRANTED"),
        ("lease.ended", "ENDED_EARLY"),
        ("secret.read", "INFO_GIVEN"),
        ("sealing_key.read", "SEALING_KEY_GIVEN"),
        ("secret.put", "ROTATION"),
        ("secret.revoked", "OPERATOR_REQUEST"),
    ]
    assert {event.owner for event in events} == {"PH1.KMS"}
    assert all(len(event.actor) == 64 for event in events)
    assert facts(events[3])["lease_id"] == lease.lease_id
    assert facts(events[8])["why"] == "drill"
    report = await desk.store.verify("system")
    assert report.ok


async def test_secrets_are_listed_by_handle_a_page_at_a_time(desk: Desk) -> None:
    handles = [f"kms://delivery/sms/account-{number}" for number in range(5)]
    for handle in reversed(handles):
        await desk.put(handle=handle)
    assert [secret.handle async for secret in desk.service.list(page_size=2)] == handles
    bad = messages.ListSecretsRequest()
    bad.page.page_token = "garbage"
    assert (await refusal(desk.raw("ListSecrets", bad))).reason == "PAGE_TOKEN_INVALID"


async def test_whoever_looks_at_secrets_is_in_the_trail_too(desk: Desk) -> None:
    handles = [f"kms://delivery/sms/account-{number}" for number in range(3)]
    for handle in handles:
        await desk.put(handle=handle)
    key = await desk.service.sealing_key()
    await desk.service.get(handles[0])
    assert (await refusal(desk.operator.get(HANDLE))).reason == "RESOURCE_NOT_FOUND"
    assert [secret.handle async for secret in desk.service.list(page_size=2)] == handles
    looked = [event for event in await desk.trail() if event.transition != "secret.put"][3:]
    assert [(event.transition, event.reason_code, facts(event)) for event in looked] == [
        ("sealing_key.read", "SEALING_KEY_GIVEN", {"sealing_key_id": key.sealing_key_id}),
        ("secret.read", "INFO_GIVEN", {"handle": handles[0], "version": "1"}),
        ("secret.read_refused", "RESOURCE_NOT_FOUND", {"handle": HANDLE}),
        ("secrets.listed", "PAGE_GIVEN", {"secrets": "2", "first": handles[0], "last": handles[1]}),
        ("secrets.listed", "PAGE_GIVEN", {"secrets": "1", "first": handles[2], "last": handles[2]}),
    ]
    actors = [event.actor for event in looked]
    assert actors[0] == actors[1] == actors[3] == actors[4] != actors[2]


async def test_roles_decide_who_may_what(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    await desk.put()
    deployments_only = {
        "PutSecret": await sealed_put(desk),
        "RevokeSecret": messages.RevokeSecretRequest(handle=HANDLE, reason="r", idempotency_key="k"),
    }
    both = {
        "GetSealingKey": messages.GetSealingKeyRequest(),
        "GetSecret": messages.GetSecretRequest(handle=HANDLE),
        "ListSecrets": messages.ListSecretsRequest(),
        "EvaluateAccess": messages.EvaluateAccessRequest(handle=HANDLE, owner=OWNER),
        "IssueLease": messages.IssueLeaseRequest(handle=HANDLE, owner=OWNER, idempotency_key="k"),
        "EndLease": messages.EndLeaseRequest(lease_id=NO_LEASE, idempotency_key="k"),
    }
    for method, request in {**deployments_only, **both}.items():
        for role in (ROLE_USER, ROLE_OPERATOR):
            assert (await refusal(desk.raw(method, request, role))).reason == "ROLE_REQUIRED", method
    for method, request in deployments_only.items():
        assert (await refusal(desk.raw(method, request, ROLE_SERVICE))).reason == "ROLE_REQUIRED", method
    for role in (ROLE_SERVICE, ROLE_DEPLOYMENT_OPERATOR):
        for method, request in both.items():
            call = desk.raw(method, request, role, subject=OWNER, tenant=SYSTEM_TENANT)
            if method == "EndLease":
                assert (await refusal(call)).reason == "RESOURCE_NOT_FOUND"
            else:
                assert await call is not None


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetSecret", messages.GetSecretRequest(handle="not-a-handle")),
        ("RevokeSecret", messages.RevokeSecretRequest(handle="kms://x", reason="r", idempotency_key="k")),
        ("EvaluateAccess", messages.EvaluateAccessRequest(handle="kms://providers/a/b/c", owner=OWNER)),
        ("EvaluateAccess", messages.EvaluateAccessRequest(handle=HANDLE, owner="nobody")),
        ("IssueLease", messages.IssueLeaseRequest(handle=HANDLE + "\n", owner=OWNER, idempotency_key="k")),
        ("IssueLease", messages.IssueLeaseRequest(handle=HANDLE, owner=OWNER)),
        ("EndLease", messages.EndLeaseRequest(lease_id="lease://x/y", idempotency_key="k")),
        (
            "PutSecret",
            messages.PutSecretRequest(handle=HANDLE, environment=1, granted_owners=[OWNER], idempotency_key="k"),
        ),
    ],
)
async def test_malformed_requests_are_refused_by_field(sqlite_desk: Desk, method: str, request_: Any) -> None:
    assert (await refusal(sqlite_desk.raw(method, request_))).reason == "FIELD_INVALID"
    assert await sqlite_desk.trail() == []


async def test_a_lease_lasts_an_hour_at_most(sqlite_desk: Desk) -> None:
    await sqlite_desk.put()
    reply = await sqlite_desk.service.lease(HANDLE, OWNER, ttl=timedelta(minutes=60))
    assert reply.lease is not None and reply.lease.issued_at is not None
    assert reply.lease.expires_at == reply.lease.issued_at + timedelta(minutes=60)
    too_long = sqlite_desk.service.lease(HANDLE, OWNER, ttl=timedelta(minutes=60, microseconds=1))
    assert (await refusal(too_long)).reason == "FIELD_INVALID"


async def test_a_lease_lasts_a_second_at_least(sqlite_desk: Desk) -> None:
    await sqlite_desk.put()
    reply = await sqlite_desk.service.lease(HANDLE, OWNER, ttl=timedelta(seconds=1))
    assert reply.lease is not None and reply.lease.issued_at is not None
    assert reply.lease.expires_at == reply.lease.issued_at + timedelta(seconds=1)
    too_short = sqlite_desk.service.lease(HANDLE, OWNER, ttl=timedelta(microseconds=999_999))
    assert (await refusal(too_short)).reason == "FIELD_INVALID"


async def test_leases_and_a_revocation_at_once_leave_no_lease_alive(desk: Desk) -> None:
    await desk.put()
    calls = [desk.service.lease(HANDLE, OWNER) for _ in range(8)]
    *leased, _ = await asyncio.gather(*calls, desk.operator.revoke(HANDLE, "race"), return_exceptions=True)
    made = [reply for reply in leased if isinstance(reply, v1.IssueLeaseResponse)]
    denied = [reply for reply in leased if isinstance(reply, SeleneError)]
    assert len(made) + len(denied) == 8
    assert {error.reason for error in denied} <= {"SECRET_ACCESS_DENIED"}
    for reply in made:
        with pytest.raises(LeaseRefused):
            await desk.store.kms.redeem(reply.lease_ref, desk.clock.now())


async def nobody_answers(keystore: LocalKeystore) -> bool:
    return False


async def nobody_keeps(keystore: LocalKeystore, handle: str, secret: bytes) -> int | None:
    raise BackendUnavailable(Silence.NO_ANSWER)


async def test_a_backend_that_does_not_answer_gives_no_lease_and_takes_no_secret(
    sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sqlite_desk.put()
    monkeypatch.setattr(LocalKeystore, "available", nobody_answers)
    monkeypatch.setattr(LocalKeystore, "keep", nobody_keeps)
    evaluated = await sqlite_desk.service.evaluate(HANDLE, OWNER)
    assert evaluated.reason is v1.AccessReason.BACKEND_UNAVAILABLE
    for call in (sqlite_desk.service.lease(HANDLE, OWNER), sqlite_desk.put(NEXT)):
        refused = await refusal(call)
        assert (refused.reason, refused.code) == ("SECRET_BACKEND_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
        assert refused.metadata == {"backend": "local"}
    assert (await sqlite_desk.operator.get(HANDLE)).version == 1
    denied = [(event.transition, event.reason_code) for event in await sqlite_desk.done()][2:]
    assert denied == [
        ("lease.denied", "SECRET_BACKEND_UNAVAILABLE"),
        ("secret.put_refused", "SECRET_BACKEND_UNAVAILABLE"),
    ]


async def test_a_store_that_is_gone_refuses_everything(sqlite_desk: Desk) -> None:
    await sqlite_desk.put()
    await sqlite_desk.store.close()
    calls: list[Awaitable[Any]] = [
        sqlite_desk.put(NEXT),
        sqlite_desk.operator.get(HANDLE),
        sqlite_desk.operator.sealing_key(),
        anext(aiter(sqlite_desk.operator.list())),
        sqlite_desk.operator.revoke(HANDLE, "r"),
        sqlite_desk.service.evaluate(HANDLE, OWNER),
        sqlite_desk.service.lease(HANDLE, OWNER),
        sqlite_desk.service.end_lease(NO_LEASE),
    ]
    for call in calls:
        assert (await refusal(call)).reason == "STORE_UNAVAILABLE"


def test_the_service_serves_every_method_of_the_contract() -> None:
    contract = messages.DESCRIPTOR.services_by_name["SecretsService"].methods_by_name
    assert set(contract) <= set(vars(SecretsV1))
