"""The secrets owner with a real OpenBao as its backend, and a front before it that fails by script."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from selene.kms.v1 import kms_pb2 as kms
from selene.kms.v1 import service_pb2 as messages
from selene_messages.selene.kms import v1

from clients.secrets import seal
from clients.wire import to_wire
from servers.kms.assembly import backend_of
from servers.kms.backend import LocalKeystore
from servers.kms.openbao import OpenBaoKeystore
from servers.kms.sweep import sweep
from servers.runtime.secrets import OpenBaoSettings, Redeemer, SecretsSettings
from store.kms import LeaseFault, LeaseRefused
from tests.servers.kms.conftest import HANDLE, NEXT, OWNER, SECRET, Desk, facts
from tests.servers.kms.test_service import refusal
from tests.support.openbao import Folder
from tests.support.simulators.faults import FaultKind
from tests.support.simulators.openbao import Front

MINUTE_S = 60.0


async def sealed_put(desk: Desk, key: str = "k-1") -> messages.PutSecretRequest:
    """A request that can be sent twice."""
    to = await desk.operator.sealing_key()
    message = seal(SECRET, HANDLE, sealing_key_id=to.sealing_key_id, public_key=to.public_key)
    return messages.PutSecretRequest(
        handle=HANDLE,
        environment=kms.ENVIRONMENT_PROD,
        secret=to_wire(message, kms.SealedSecret),
        granted_owners=[OWNER],
        idempotency_key=key,
    )


async def test_a_secret_is_put_in_openbao_and_redeemed_from_there(
    bao_desk: Desk, bao_folder: Folder, redeeming: Redeemer
) -> None:
    assert (await bao_desk.operator.sealing_key()).backend == "vault"
    assert (await bao_desk.put()).version == 1
    lease = await bao_desk.service.lease(HANDLE, OWNER)
    assert lease.lease is not None
    kept = await bao_desk.store.kms.leases.leased(lease.lease.lease_id)
    assert kept is not None and (kept.sealed, kept.backend_version) == (b"", 1)
    assert bao_folder.versions(HANDLE) == {1: False}
    assert await redeeming.redeem(lease.lease_ref) == SECRET


async def test_a_replaced_version_is_destroyed_there_when_its_overlap_is_over(
    bao_desk: Desk, bao_folder: Folder, redeeming: Redeemer
) -> None:
    await bao_desk.put()
    old = await bao_desk.service.lease(HANDLE, OWNER, ttl=timedelta(hours=1))
    await bao_desk.operator.rotate(HANDLE, NEXT, overlap=timedelta(minutes=10))
    new = await bao_desk.service.lease(HANDLE, OWNER, ttl=timedelta(hours=1))
    assert (await redeeming.redeem(old.lease_ref), await redeeming.redeem(new.lease_ref)) == (SECRET, NEXT)
    bao_desk.clock.skip(10 * MINUTE_S)
    with pytest.raises(LeaseRefused) as gone:
        await redeeming.redeem(old.lease_ref)
    assert gone.value.fault is LeaseFault.VERSION_GONE
    backend = OpenBaoKeystore(OpenBaoSettings(**bao_folder.settings()))
    await sweep(bao_desk.store, backend, bao_desk.clock.now())
    await backend.close()
    assert bao_folder.versions(HANDLE) == {1: True, 2: False}
    assert await redeeming.redeem(new.lease_ref) == NEXT
    ended = [(event.transition, facts(event)["version"]) for event in await bao_desk.done()][-2:]
    assert ended == [("secret.retired", "1"), ("secret.destroyed", "1")]


async def test_revoking_destroys_every_version_there(bao_desk: Desk, bao_folder: Folder, redeeming: Redeemer) -> None:
    await bao_desk.put()
    old = await bao_desk.service.lease(HANDLE, OWNER)
    await bao_desk.operator.rotate(HANDLE, NEXT)
    new = await bao_desk.service.lease(HANDLE, OWNER)
    assert (await bao_desk.operator.revoke(HANDLE, "leaked")).leases_ended == 2
    assert bao_folder.versions(HANDLE) == {1: True, 2: True}
    for lease in (old, new):
        with pytest.raises(LeaseRefused, match=r"^REVOKED$"):
            await redeeming.redeem(lease.lease_ref)
    destroyed = await bao_desk.trail("secret.destroyed")
    assert [facts(event) for event in destroyed] == [
        {"handle": HANDLE, "version": "1"},
        {"handle": HANDLE, "version": "2"},
    ]
    assert (await bao_desk.put(NEXT)).version == 3
    again = await bao_desk.service.lease(HANDLE, OWNER)
    assert await redeeming.redeem(again.lease_ref) == NEXT


async def test_a_revocation_holds_while_openbao_is_silent_and_destroys_once_it_answers(
    bao_desk: Desk, bao_folder: Folder, bao_front: Front, redeeming: Redeemer
) -> None:
    await bao_desk.put()
    lease = await bao_desk.service.lease(HANDLE, OWNER)
    bao_front.script.plan(FaultKind.RESET)
    revoked = await bao_desk.operator.revoke(HANDLE, "leaked")
    assert revoked.secret is not None and revoked.secret.state is v1.SecretState.REVOKED
    assert bao_folder.versions(HANDLE) == {1: False}
    with pytest.raises(LeaseRefused, match=r"^REVOKED$"):
        await redeeming.redeem(lease.lease_ref)
    backend = OpenBaoKeystore(OpenBaoSettings(**bao_folder.settings()))
    for _ in range(2):
        await sweep(bao_desk.store, backend, bao_desk.clock.now())
    await backend.close()
    assert bao_folder.versions(HANDLE) == {1: True}
    assert len(await bao_desk.trail("secret.destroyed")) == 1
    assert await bao_desk.store.kms.secrets.undestroyed() == []


@pytest.mark.parametrize("fault", [FaultKind.UNAVAILABLE, FaultKind.RESET, FaultKind.MALFORMED, FaultKind.INTERNAL])
async def test_while_openbao_gives_no_answer_nothing_is_put_and_nothing_leased(
    bao_desk: Desk, bao_front: Front, bao_folder: Folder, fault: FaultKind
) -> None:
    await bao_desk.put()
    for call in (bao_desk.put(NEXT), bao_desk.service.lease(HANDLE, OWNER)):
        bao_front.script.plan(fault)
        refused = await refusal(call)
        assert (refused.reason, refused.code) == ("SECRET_BACKEND_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
        assert refused.metadata == {"backend": "vault"}
    bao_front.script.plan(fault)
    evaluated = await bao_desk.service.evaluate(HANDLE, OWNER)
    assert evaluated.reason is v1.AccessReason.BACKEND_UNAVAILABLE
    assert (await bao_desk.operator.get(HANDLE)).version == 1
    assert bao_folder.versions(HANDLE) == {1: False}
    noted = [(event.transition, event.reason_code) for event in await bao_desk.done()][1:]
    assert noted == [
        ("secret.put_refused", "SECRET_BACKEND_UNAVAILABLE"),
        ("lease.denied", "SECRET_BACKEND_UNAVAILABLE"),
        ("access.evaluated", "BACKEND_UNAVAILABLE"),
    ]
    assert (await bao_desk.service.lease(HANDLE, OWNER)).lease_ref.startswith("lease://")


async def test_a_repeated_put_writes_once_and_is_answered_while_openbao_is_silent(
    bao_desk: Desk, bao_front: Front, bao_folder: Folder
) -> None:
    request = await sealed_put(bao_desk)
    first = await bao_desk.raw("PutSecret", request)
    bao_front.script.plan(*[FaultKind.RESET] * 4)
    assert await bao_desk.raw("PutSecret", request) == first
    assert bao_folder.versions(HANDLE) == {1: False}
    assert len(bao_front.asked("POST", "/data/")) + len(bao_front.asked("PUT", "/data/")) == 1


async def test_of_puts_that_repeat_each_other_at_once_one_version_lives(
    bao_desk: Desk, bao_folder: Folder, redeeming: Redeemer
) -> None:
    request = await sealed_put(bao_desk)
    replies = await asyncio.gather(*(bao_desk.raw("PutSecret", request) for _ in range(4)))
    assert {reply.secret.version for reply in replies} == {1}
    living = [number for number, is_destroyed in bao_folder.versions(HANDLE).items() if not is_destroyed]
    assert len(living) == 1
    lease = await bao_desk.service.lease(HANDLE, OWNER)
    assert await redeeming.redeem(lease.lease_ref) == SECRET


async def test_what_the_store_does_not_take_is_destroyed_again(
    bao_desk: Desk, bao_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> object:
        raise RuntimeError("a defect after the secret was kept")

    with monkeypatch.context() as patched:
        patched.setattr("servers.kms.service.secret_info", gone)
        assert (await refusal(bao_desk.put())).reason == "INTERNAL_ERROR"
    assert bao_folder.versions(HANDLE) == {1: True}
    assert (await bao_desk.put()).version == 1
    assert bao_folder.versions(HANDLE) == {1: True, 2: False}


async def test_versions_kept_there_outlive_a_change_of_the_backend(
    bao_desk: Desk, bao_folder: Folder, redeeming: Redeemer
) -> None:
    async with bao_desk.store.transaction() as tx:
        await tx.kms.secrets.put(
            HANDLE,
            SECRET,
            environment=kms.ENVIRONMENT_PROD,
            granted_owners=[OWNER],
            now=bao_desk.clock.now(),
            rotate_by=bao_desk.clock.now() + timedelta(days=30),
            overlap_until=bao_desk.clock.now(),
        )
        tx.audit(tenant_id="system", owner="PH1.TEST", actor="system", transition="t", reason_code="OK")
    local = await bao_desk.service.lease(HANDLE, OWNER)
    await bao_desk.operator.rotate(HANDLE, NEXT)
    there = await bao_desk.service.lease(HANDLE, OWNER)
    assert (await redeeming.redeem(local.lease_ref), await redeeming.redeem(there.lease_ref)) == (SECRET, NEXT)
    await bao_desk.operator.rotate(HANDLE, SECRET, overlap=timedelta(0))
    assert bao_folder.versions(HANDLE) == {1: True, 2: False}


async def test_after_a_change_to_the_local_keystore_versions_are_destroyed_there_as_long_as_it_is_named(
    bao_desk: Desk, bao_front: Front, bao_folder: Folder
) -> None:
    await bao_desk.put()
    bao_front.script.plan(FaultKind.RESET)
    await bao_desk.operator.revoke(HANDLE, "leaked")
    await sweep(bao_desk.store, LocalKeystore(), bao_desk.clock.now())
    (due,) = await bao_desk.store.kms.secrets.undestroyed()
    assert (due.handle, due.version, due.backend_version) == (HANDLE, 1, 1)
    assert bao_folder.versions(HANDLE) == {1: False}
    still_named = backend_of(SecretsSettings(backend="local", openbao=OpenBaoSettings(**bao_folder.settings())))
    assert (still_named.name, await still_named.keep(HANDLE, NEXT)) == ("local", None)
    await sweep(bao_desk.store, still_named, bao_desk.clock.now())
    await still_named.close()
    assert bao_folder.versions(HANDLE) == {1: True}
