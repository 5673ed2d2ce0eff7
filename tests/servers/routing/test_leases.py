"""Leases of providers' secrets: the real secrets owner over a real channel, a real store, no background loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.kms.v1.kms_pb2 import ENVIRONMENT_DEV
from selene_messages.selene.kms import v1

from clients.retry import NO_RETRY
from clients.secrets import Secrets
from servers.routing import leases as module
from servers.routing.credentials import CredentialUnavailable, Overlapping
from servers.routing.leases import ASK_AGAIN_AFTER, LOOK_EVERY_S, RENEW_BEFORE, Issued, Leases, SecretsOwner
from servers.routing.selection import Unconfigured
from servers.runtime.auth import ROLE_SERVICE, Principal, issue_token
from servers.runtime.ids import UuidV7Ids
from servers.runtime.peers import Peer
from servers.runtime.secrets import Redeemer
from servers.runtime.storage import SYSTEM_TENANT
from store.kms import KeptElsewhere, Lease
from tests.support.owners import Owners, serving

PROVIDER, ENGINE = "openai/llm", "PH1.D"
HANDLE = "kms://providers/openai/llm"
FIRST, SECOND = b"canary-Lz7wQe-first", b"canary-Lz7wQe-second"
LEASE = timedelta(minutes=5)
"""What the secrets owner gives where nothing is asked for."""


class Desk:
    """The leases of one owner, beside a secrets owner that is really there."""

    def __init__(self, owners: Owners) -> None:
        self.owners = owners
        self.clock = owners.clock
        self.operator = Secrets(owners.connection("kms"), policy=NO_RETRY)
        self.target = owners.running.target("kms")
        self.roles = frozenset({ROLE_SERVICE})
        self.handles = {PROVIDER: HANDLE}
        ids = UuidV7Ids(owners.clock)
        redeeming = Redeemer(owners.store, owners.clock, None)
        self.issuer = Counting(SecretsOwner(self.peer, ids))
        self.leases = Leases(owners.store, owners.clock, redeeming, self.issuer, ENGINE)
        self.leases._handles = lambda: self.handles
        self.is_peer_known = True

    def peer(self) -> Peer | None:
        def token() -> str:
            key = self.owners.running.development_key
            assert key is not None
            asking = Principal("system", ENGINE, "", self.roles)
            return issue_token(key, asking, now=self.clock.now(), lifetime=timedelta(minutes=5))

        return Peer(self.target, token) if self.is_peer_known else None

    async def put(self, secret: bytes = FIRST, *owners: str, overlap: timedelta | None = None) -> None:
        granted = list(owners) or [ENGINE]
        await self.operator.put(HANDLE, secret, environment=v1.Environment.DEV, granted_owners=granted, overlap=overlap)

    async def reveal(self) -> str:
        return await self.leases.credential(PROVIDER).reveal()

    async def refusal(self) -> str:
        with pytest.raises(CredentialUnavailable) as caught:
            await self.reveal()
        return str(caught.value)

    async def trail(self) -> list[AuditEvent]:
        """What the secrets owner and the redeemer noted of leases."""
        trail = [each for tenant in (SYSTEM_TENANT, "dev") for each in await self.owners.trail(tenant)]
        return [each for each in trail if each.transition.startswith("lease.")]

    async def told(self) -> list[str]:
        return [each.transition for each in await self.trail()]


class Counting:
    """Passes everything on to the real issuer, and counts."""

    def __init__(self, issuer: SecretsOwner) -> None:
        self._issuer = issuer
        self.asked = 0

    async def issue(self, handle: str, owner: str, ttl: timedelta | None = None) -> Issued:
        self.asked += 1
        return await self._issuer.issue(handle, owner, ttl)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with serving(["kms"], tmp_path) as owners, closing(Desk(owners)) as opened:
        yield opened


@asynccontextmanager
async def closing(desk: Desk) -> AsyncIterator[Desk]:
    yield desk
    await desk.leases.stop()


async def test_a_provider_without_a_secret_is_missing_and_nobody_is_asked_for_it(desk: Desk) -> None:
    for _ in range(5):
        await desk.leases.renew()
    assert desk.leases.missing() == {PROVIDER: Unconfigured.NO_SECRET}
    assert await desk.refusal() == "there is no lease of it"
    assert desk.issuer.asked == 0
    assert await desk.trail() == []


async def test_a_secret_is_used_from_the_look_after_it_was_put(desk: Desk) -> None:
    await desk.leases.renew()
    await desk.put()
    assert list(desk.leases.missing()) == [PROVIDER]
    await desk.leases.renew()
    assert list(desk.leases.missing()) == []
    assert await desk.reveal() == FIRST.decode()
    issued = [each for each in await desk.trail() if each.transition == "lease.issued"]
    assert [{fact.name: fact.value for fact in each.facts}["owner"] for each in issued] == [ENGINE]


async def test_a_provider_is_told_ready_when_it_has_a_secret_and_had_none(desk: Desk) -> None:
    ready: list[str] = []
    desk.leases._ready = ready.append
    await desk.leases.renew()
    assert ready == []
    await desk.put()
    await desk.leases.renew()
    await desk.put(SECOND)
    await desk.leases.renew()
    assert ready == [PROVIDER]
    await desk.operator.revoke(HANDLE, reason="drill")
    await desk.leases.renew()
    await desk.put()
    await desk.leases.renew()
    assert ready == [PROVIDER, PROVIDER]


async def test_looking_again_asks_for_no_further_lease_while_the_one_there_lasts(desk: Desk) -> None:
    await desk.put()
    for _ in range(5):
        await desk.leases.renew()
        await desk.reveal()
    assert desk.issuer.asked == 1
    assert await desk.told() == ["lease.issued", "lease.redeemed"]


async def test_after_a_rotation_the_next_look_brings_the_new_version(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    await desk.put(SECOND)
    assert await desk.reveal() == FIRST.decode()
    await desk.leases.renew()
    assert await desk.reveal() == SECOND.decode()
    assert desk.issuer.asked == 2


async def test_a_rotation_without_overlap_ends_the_old_version_at_once(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    await desk.put(SECOND, overlap=timedelta(0))
    await desk.refusal()
    await desk.leases.renew()
    assert await desk.reveal() == SECOND.decode()


async def test_a_revoked_secret_is_refused_by_the_very_next_call_and_then_missing(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    assert await desk.reveal() == FIRST.decode()
    await desk.operator.revoke(HANDLE, "drill")
    assert await desk.refusal() == "REVOKED"
    assert list(desk.leases.missing()) == [PROVIDER]
    for _ in range(20):
        await desk.refusal()
        await desk.leases.renew()
    assert (await desk.told()).count("lease.refused") == 1
    assert desk.issuer.asked == 1


async def test_what_was_revoked_is_let_go_before_the_next_look_and_nothing_is_asked_for(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    await desk.leases.let_go()
    assert not desk.leases.missing()
    await desk.operator.revoke(HANDLE, "drill")
    await desk.leases.let_go()
    assert desk.leases.missing() == {PROVIDER: Unconfigured.NO_SECRET}
    assert desk.issuer.asked == 1 and "lease.refused" not in await desk.told()


async def test_what_is_put_after_a_revocation_is_used_again(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    await desk.operator.revoke(HANDLE, "drill")
    await desk.refusal()
    await desk.leases.renew()
    await desk.put(SECOND)
    await desk.leases.renew()
    assert await desk.reveal() == SECOND.decode()


async def test_a_lease_that_somebody_ended_is_replaced_at_the_next_look(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    (issued,) = [each for each in await desk.trail() if each.transition == "lease.issued"]
    await desk.operator.end_lease({fact.name: fact.value for fact in issued.facts}["lease_id"])
    assert await desk.refusal() == "ENDED"
    await desk.refusal()
    assert (await desk.told()).count("lease.refused") == 1
    await desk.leases.renew()
    assert await desk.reveal() == FIRST.decode()


async def test_a_lease_is_renewed_a_minute_before_it_ends_and_not_sooner(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    desk.clock.skip((LEASE - RENEW_BEFORE).total_seconds() - 20)
    await desk.leases.renew()
    assert desk.issuer.asked == 1
    desk.clock.skip(20)
    await desk.leases.renew()
    assert desk.issuer.asked == 2
    desk.clock.skip(RENEW_BEFORE.total_seconds() + 1)
    assert await desk.reveal() == FIRST.decode()


async def test_a_lease_that_cannot_be_renewed_serves_to_its_end_and_no_longer(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    desk.is_peer_known = False
    desk.clock.skip((LEASE - RENEW_BEFORE).total_seconds() + 10)
    await desk.leases.renew()
    assert await desk.reveal() == FIRST.decode()
    desk.clock.skip(RENEW_BEFORE.total_seconds())
    await desk.leases.renew()
    assert list(desk.leases.missing()) == [PROVIDER]
    assert await desk.refusal() == "there is no lease of it"
    assert "lease.refused" not in await desk.told()


async def test_a_lease_past_its_end_is_refused_once_though_nobody_looked(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    desk.clock.skip(LEASE.total_seconds() + 1)
    assert await desk.refusal() == "EXPIRED"
    await desk.refusal()
    assert (await desk.told()).count("lease.refused") == 1


async def test_who_was_denied_asks_again_after_a_minute_and_not_sooner(desk: Desk) -> None:
    await desk.put(FIRST, "PH1.C")
    for _ in range(5):
        await desk.leases.renew()
    assert desk.issuer.asked == 1
    desk.clock.skip(ASK_AGAIN_AFTER.total_seconds() - 10)
    await desk.leases.renew()
    assert desk.issuer.asked == 1
    desk.clock.skip(10)
    await desk.leases.renew()
    assert desk.issuer.asked == 2
    assert (await desk.told()) == ["lease.denied"] * 2
    assert desk.leases.missing() == {PROVIDER: Unconfigured.LEASE_DENIED}


async def test_who_was_denied_asks_at_once_for_a_new_version(desk: Desk) -> None:
    await desk.put(FIRST, "PH1.C")
    await desk.leases.renew()
    await desk.put(SECOND)
    await desk.leases.renew()
    assert await desk.reveal() == SECOND.decode()


async def test_a_caller_that_is_no_service_is_denied(desk: Desk) -> None:
    desk.roles = frozenset()
    await desk.put()
    for _ in range(3):
        await desk.leases.renew()
    assert (desk.issuer.asked, list(desk.leases.missing())) == (1, [PROVIDER])


async def test_an_owner_that_started_first_has_its_secret_at_its_second_look(desk: Desk) -> None:
    await desk.put()
    desk.is_peer_known = False
    await desk.leases.renew()
    assert desk.leases.missing() == {PROVIDER: Unconfigured.NO_SECRETS_OWNER}
    desk.is_peer_known = True
    desk.clock.skip(LOOK_EVERY_S)
    await desk.leases.renew()
    assert desk.leases.missing() == {}
    assert await desk.reveal() == FIRST.decode()


async def test_a_silent_secrets_owner_is_asked_ever_less_often_but_every_minute(
    desk: Desk, unused_tcp_port: int
) -> None:
    await desk.put()
    there, desk.target = desk.target, f"127.0.0.1:{unused_tcp_port}"
    asked = []
    for look in range(100):
        before = desk.issuer.asked
        await desk.leases.renew()
        if desk.issuer.asked > before:
            asked.append(look * LOOK_EVERY_S)
        desk.clock.skip(LOOK_EVERY_S)
    gaps = [later - sooner for sooner, later in pairwise(asked)]
    assert gaps[0] <= 2 * LOOK_EVERY_S
    # The machine's own time passes too, so a look may come early by one or two.
    assert 0.9 * ASK_AGAIN_AFTER.total_seconds() <= gaps[-1] <= ASK_AGAIN_AFTER.total_seconds()
    assert len(asked) <= 10
    desk.target = there
    desk.clock.skip(ASK_AGAIN_AFTER.total_seconds())
    await desk.leases.renew()
    assert await desk.reveal() == FIRST.decode()


async def test_a_secrets_owner_that_never_answers_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_S", 0.2)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()[:2]
    async with silent:
        await desk.put()
        desk.target = f"{host}:{port}"
        await asyncio.wait_for(desk.leases.renew(), 5)
        assert list(desk.leases.missing()) == [PROVIDER]


async def test_a_store_that_is_gone_takes_the_secret_and_not_the_owner(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    await desk.owners.store.close()
    assert await desk.refusal() == "StoreUnavailable"
    assert list(desk.leases.missing()) == [PROVIDER]
    await desk.leases.renew()
    assert await desk.refusal() == "StoreUnavailable"


async def test_a_backend_that_is_silent_is_waited_for_once_a_look(desk: Desk) -> None:
    async with desk.owners.store.transaction() as tx:
        await tx.kms.secrets.put(
            HANDLE,
            KeptElsewhere(1),
            environment=ENVIRONMENT_DEV,
            granted_owners=[ENGINE],
            now=desk.clock.now(),
            rotate_by=desk.clock.now() + timedelta(days=7),
            overlap_until=desk.clock.now(),
        )
        tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.put", reason_code="TEST")
    held = Issued(1, await lease_of(desk), desk.clock.now() + LEASE)
    desk.leases._held[HANDLE] = held
    assert list(desk.leases.missing()) == []
    assert await desk.refusal() == "BackendUnavailable"
    assert desk.leases.missing() == {PROVIDER: Unconfigured.SECRET_UNREADABLE}
    await desk.leases.renew()
    assert list(desk.leases.missing()) == []


async def lease_of(desk: Desk) -> str:
    """A lease that the store itself was told of: no secrets owner gives one whose backend it does not know."""
    async with desk.owners.store.transaction() as tx:
        await tx.kms.leases.issue(Lease("lease-1", HANDLE, 1, ENGINE, desk.clock.now(), desk.clock.now() + LEASE))
        tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.leased", reason_code="TEST")
    return desk.owners.store.kms.lease_ref("lease-1")


async def test_a_secret_that_is_no_text_is_refused_without_a_word_of_it(desk: Desk) -> None:
    await desk.put(b"\xff\xfe canary")
    await desk.leases.renew()
    assert await desk.refusal() == "it is not text"


async def test_a_handle_that_the_profile_no_longer_names_is_forgotten(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    desk.handles = {PROVIDER: "kms://providers/openai/other"}
    await desk.leases.renew()
    assert list(desk.leases.missing()) == [PROVIDER]
    assert await desk.refusal() == "there is no lease of it"
    desk.handles = {PROVIDER: HANDLE}
    await desk.leases.renew()
    assert await desk.reveal() == FIRST.decode()
    assert desk.issuer.asked == 2


async def test_two_providers_of_one_handle_share_its_lease(desk: Desk) -> None:
    await desk.put()
    desk.handles = {PROVIDER: HANDLE, "openai-eu/llm": HANDLE}
    await desk.leases.renew()
    assert await desk.leases.credential("openai-eu/llm").reveal() == await desk.reveal()
    assert desk.issuer.asked == 1


async def test_no_repr_shows_a_reference(desk: Desk) -> None:
    await desk.put()
    await desk.leases.renew()
    held = desk.leases._held[HANDLE]
    assert held.reference.startswith("lease://")
    assert held.reference not in repr(held)


async def test_a_secret_that_others_use_is_had_beside_the_next_one_for_as_long_as_it_overlaps(desk: Desk) -> None:
    desk.leases.overlap([PROVIDER])
    credential = desk.leases.credential(PROVIDER)
    assert isinstance(credential, Overlapping)
    await desk.put(FIRST)
    await desk.leases.renew()
    assert await credential.reveal_before() is None
    desk.clock.skip(25 * 60)
    await desk.put(SECOND, overlap=timedelta(minutes=20))
    await desk.leases.renew()
    assert (await desk.reveal(), await credential.reveal_before()) == (SECOND.decode(), FIRST.decode())
    desk.clock.skip(19 * 60)
    await desk.leases.renew()
    assert await credential.reveal_before() == FIRST.decode()
    desk.clock.skip(2 * 60)
    await desk.leases.renew()
    assert await credential.reveal_before() is None
    assert await desk.reveal() == SECOND.decode()


async def test_a_secret_that_is_revoked_leaves_nothing_before_it(desk: Desk) -> None:
    desk.leases.overlap([PROVIDER])
    for secret in (FIRST, SECOND):
        await desk.put(secret)
        await desk.leases.renew()
    await desk.operator.revoke(HANDLE, "LEAKED")
    assert await desk.leases.reveal_before(PROVIDER) is None
    await desk.leases.renew()
    assert await desk.leases.reveal_before(PROVIDER) is None


async def test_a_secret_that_nobody_else_uses_does_not_outlive_its_replacement(desk: Desk) -> None:
    for secret in (FIRST, SECOND):
        await desk.put(secret)
        await desk.leases.renew()
    assert await desk.leases.reveal_before(PROVIDER) is None
