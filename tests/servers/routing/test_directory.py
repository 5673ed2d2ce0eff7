"""The active profile as a process follows it (§24, §27)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.routing.v1.routing_pb2 import (
    DOMAIN_LLM,
    LayerSection,
    ProviderRoutingProfileV1,
    ScopedOverride,
    TenantOverride,
)
from selene.routing.v1.routing_pb2 import ProviderOverride as Override

from servers.routing.directory import DEPLOYMENT, Directory, canonical, register, seed
from servers.routing.profile import ARTIFACT_TYPE, NO_ROLLBACK, Resolved
from servers.routing.selection import LOCAL_REGION
from store import Store
from tests.support.routed import ALLOW, FIRST, SECOND, llm_profile
from tests.support.stores import audit


def version(number: int, profile: ProviderRoutingProfileV1 | None = None) -> ProviderRoutingProfileV1:
    """A profile as its version of the ledger."""
    made = ProviderRoutingProfileV1()
    made.CopyFrom(profile or llm_profile())
    made.profile_version, made.artifact_id = number, f"{ARTIFACT_TYPE}@{number}"
    made.rollback_pointer_ref = NO_ROLLBACK if number == 1 else f"{ARTIFACT_TYPE}@{number - 1}"
    return made


async def activate(store: Store, profile: ProviderRoutingProfileV1) -> None:
    async with store.transaction() as tx:
        await register(tx, profile, idempotency_key=str(profile.profile_version), created_by="PH1.GOV")
        await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, profile.profile_version)
        audit(tx, "system")


class Followed:
    """A directory, and what it resolved."""

    def __init__(self, store: Store) -> None:
        self.resolved: list[Resolved] = []
        self.directory = Directory(store, self.resolved.append)

    def of(self, tenant: str = "t1", locale: str = "", channel: str = "", user: str = "") -> Resolved:
        found = self.directory.resolve(tenant, locale, channel, user)
        assert isinstance(found, Resolved)
        return found

    def first(self, *subject: str) -> str:
        return self.of(*subject).providers(DOMAIN_LLM)[0].provider_ref


@pytest.fixture
async def followed(store: Store) -> Followed:
    await seed(store, llm_profile(), ALLOW)
    made = Followed(store)
    await made.directory.refresh()
    return made


def preferring(provider_ref: str) -> LayerSection:
    other = FIRST if provider_ref == SECOND else SECOND
    return LayerSection(
        providers=[
            Override(domain=DOMAIN_LLM, provider_ref=provider_ref, priority=1),
            Override(domain=DOMAIN_LLM, provider_ref=other, priority=9),
        ]
    )


async def test_before_the_first_activation_there_is_no_profile(store: Store) -> None:
    made = Followed(store)
    await made.directory.refresh()
    assert made.directory.active is None and made.directory.resolve("t1", "", "", "") is None


async def test_an_activation_is_followed_at_the_next_refresh(store: Store, followed: Followed) -> None:
    before = followed.of()
    await activate(store, version(2, llm_profile(timeout_s=4.0)))
    assert followed.of() is before
    await followed.directory.refresh()
    after = followed.of()
    assert (after.profile_version, after.providers(DOMAIN_LLM)[0].timeout_s) == (2, 4.0)
    assert after.profile_hash != before.profile_hash
    assert before.profile_version == 1


async def test_a_rollback_brings_the_earlier_content_and_its_circuits_back(store: Store, followed: Followed) -> None:
    before = followed.of()
    await activate(store, version(2, llm_profile(timeout_s=4.0)))
    await followed.directory.refresh()
    async with store.transaction() as tx:
        await tx.artifacts.rollback(ARTIFACT_TYPE, "", DEPLOYMENT, created_by="PH1.GOV", idempotency_key="back")
        audit(tx, "system")
    await followed.directory.refresh()
    after = followed.of()
    assert (after.profile_version, after.profile_hash) == (3, before.profile_hash)


@pytest.mark.parametrize("content", [b"\xff\xff", b"", canonical(ProviderRoutingProfileV1(profile_id="x"))])
async def test_what_is_no_profile_is_not_taken_on_even_behind_the_pointer(
    store: Store, followed: Followed, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store.transaction() as tx:
        row = ArtifactRow(
            artifact_type=ARTIFACT_TYPE,
            scope=DEPLOYMENT,
            created_by="PH1.GOV",
            idempotency_key="bad",
            status=ARTIFACT_STATUS_CANDIDATE,
        )
        bad = await tx.artifacts.register(row, content)
        await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, bad.artifact_version)
        audit(tx, "system")
    read, reads = store.artifacts.payload, 0

    async def counted(package_hash: bytes) -> bytes:
        nonlocal reads
        reads += 1
        return await read(package_hash)

    monkeypatch.setattr(store.artifacts, "payload", counted)
    for _ in range(3):
        await followed.directory.refresh()
    assert (followed.of().profile_version, reads) == (1, 1)
    await activate(store, version(3))
    await followed.directory.refresh()
    assert followed.of().profile_version == 3


async def test_following_never_waits_for_a_store_that_hangs(
    store: Store, followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.routing.beside.STORE_WAIT_S", 0.01)
    answer, read = asyncio.Event(), store.artifacts.pointer

    async def hanging(*which: Any) -> Any:
        await answer.wait()
        return await read(*which)

    await activate(store, version(2))
    monkeypatch.setattr(store.artifacts, "pointer", hanging)
    async with asyncio.timeout(5):
        await followed.directory.follow()
        await followed.directory.follow()
    assert followed.of().profile_version == 1
    answer.set()
    monkeypatch.setattr("servers.routing.beside.STORE_WAIT_S", 5.0)
    await followed.directory.follow()
    assert followed.of().profile_version == 2


async def test_two_processes_that_begin_at_once_seed_one_profile(store: Store) -> None:
    await asyncio.gather(*(seed(store, llm_profile(), ALLOW) for _ in range(4)))
    assert len(await store.artifacts.versions(ARTIFACT_TYPE, "", DEPLOYMENT)) == 1
    rows = [each.event for each in await store.audit.page("system")]
    assert [row.reason_code for row in rows if row.transition == "routing_profile.activated"] == ["SHIPPED_DEFAULT"]
    assert len(await store.routing.rules.holding("t1")) == 1


async def test_layers_decide_for_those_whom_they_name_and_for_nobody_else(store: Store, followed: Followed) -> None:
    profile = version(2)
    profile.tenant_overrides.append(TenantOverride(tenant_id="t2", section=preferring(SECOND)))
    profile.locale_overrides.append(ScopedOverride(tenant_id="t1", scope_id="de-DE", section=preferring(SECOND)))
    profile.channel_overrides.append(ScopedOverride(tenant_id="t1", scope_id="ios", section=preferring(FIRST)))
    profile.user_exceptions.append(ScopedOverride(tenant_id="t1", scope_id="mira", section=preferring(SECOND)))
    await activate(store, profile)
    await followed.directory.refresh()
    assert followed.directory.active is not None and followed.directory.active.version == 2
    assert followed.first("t1") == FIRST
    assert followed.first("t2") == SECOND
    assert followed.first("t1", "de-DE") == followed.first("t1", "DE-de") == SECOND
    assert followed.first("t1", "de-DE", "ios") == FIRST
    assert followed.first("t1", "de-DE", "ios", "mira") == SECOND
    assert followed.first("t3", "de-DE", "ios", "mira") == FIRST


async def test_tenants_whom_nothing_names_share_one_resolution(store: Store, followed: Followed) -> None:
    profile = version(2)
    profile.llm.providers[0].allowed_tenants.append("t2")
    await activate(store, profile)
    await followed.directory.refresh()
    followed.resolved.clear()
    strangers = [followed.of(f"tenant-{number}", "en-US", "ios", f"user-{number}") for number in range(50)]
    assert len({id(each) for each in strangers}) == 1 and len(followed.resolved) == 1
    assert not strangers[0].providers(DOMAIN_LLM)[0].tenant_allowed
    assert followed.of("t2").providers(DOMAIN_LLM)[0].tenant_allowed
    assert strangers[0].providers(DOMAIN_LLM)[0].region == LOCAL_REGION


async def test_a_profile_with_two_rows_of_equal_precedence_is_not_taken_on(store: Store, followed: Followed) -> None:
    profile = version(2)
    for provider_ref in (FIRST, SECOND):
        profile.locale_overrides.append(
            ScopedOverride(tenant_id="t1", scope_id="en-US", section=preferring(provider_ref))
        )
    await activate(store, profile)
    await followed.directory.refresh()
    assert followed.of().profile_version == 1
