"""The routing profile through a real channel (§27, RTE-2): what is registered, activated, rolled back and explained."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from selene.common.v1.paging_pb2 import PageRequest
from selene.routing.v1 import service_pb2 as v1
from selene.routing.v1.routing_pb2 import (
    DOMAIN_LLM,
    DOMAIN_STT,
    PROFILE_LAYER_CHANNEL_OVERRIDE,
    PROFILE_LAYER_GLOBAL_DEFAULT,
    PROFILE_LAYER_TENANT_OVERRIDE,
    LayerSection,
    ProviderRoutingProfileV1,
    RoutingSubject,
    ScopedOverride,
    TenantOverride,
)
from selene.routing.v1.routing_pb2 import ProviderOverride as Override

from servers.routing.directory import canonical
from servers.routing.profile import ARTIFACT_TYPE
from servers.routing.shipped import shipped_profile
from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, ROLE_OPERATOR, ROLE_SERVICE, ROLE_USER
from tests.support.governed import SUBJECT, TENANT, Desk, governed
from tests.support.routed import facts

LOCAL = "selene-local/llm"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A running owner."""
    async with governed(tmp_path) as made:
        yield made


def version(number: int = 2, *, timeout_s: int = 3) -> ProviderRoutingProfileV1:
    """A following version of the shipped profile; the local provider of language has another timeout."""
    profile = shipped_profile()
    profile.profile_version, profile.artifact_id = number, f"{ARTIFACT_TYPE}@{number}"
    profile.rollback_pointer_ref = f"{ARTIFACT_TYPE}@{number - 1}"
    profile.llm.providers[2].timeout.FromSeconds(timeout_s)
    return profile


async def put(desk: Desk, profile: ProviderRoutingProfileV1) -> v1.ProfileVersion:
    made: v1.ProfileVersion = (await desk.call("PutProfile", profile=profile)).version
    return made


async def activate(desk: Desk, number: int) -> v1.ProfileVersion:
    reply = await desk.call("ActivateProfile", profile_version=number, reason_code="PLANNED_CHANGE")
    made: v1.ProfileVersion = reply.version
    return made


async def test_a_version_is_put_activated_and_rolled_back(desk: Desk) -> None:
    profile = version()
    registered = await put(desk, profile)
    assert (registered.profile_version, registered.active) == (2, False)
    assert registered.content_hash == sha256(canonical(profile)).digest()
    assert (await desk.call("ResolveProfile", subject=SUBJECT)).profile_version == 1
    assert (await activate(desk, 2)).active
    resolved = await desk.call("ResolveProfile", subject=SUBJECT)
    assert resolved.profile_version == 2
    assert {each.timeout.seconds for each in resolved.providers if each.provider_ref == LOCAL} == {3}
    assert [(each.profile_version, each.active, each.rollback_target) for each in await versions(desk)] == [
        (1, False, True),
        (2, True, False),
    ]
    back = (await desk.call("RollbackProfile", reason_code="TOO_SLOW")).version
    assert (back.profile_version, back.active) == (3, True)
    resolved = await desk.call("ResolveProfile", subject=SUBJECT)
    assert resolved.profile_version == 3
    assert {each.timeout.seconds for each in resolved.providers if each.provider_ref == LOCAL} == {2}
    rows = await desk.trail("routing_profile.")
    assert [(row.transition, row.reason_code, facts(row)["version"]) for row in rows] == [
        ("routing_profile.activated", "SHIPPED_DEFAULT", "1"),
        ("routing_profile.registered", "VALIDATED", "2"),
        ("routing_profile.activated", "PLANNED_CHANGE", "2"),
        ("routing_profile.rolled_back", "TOO_SLOW", "3"),
    ]
    assert {row.owner for row in rows} == {"PH1.GOV"} and all(len(row.actor) == 64 for row in rows[1:])


async def test_warnings_do_not_keep_a_profile_from_being_put(desk: Desk) -> None:
    profile = version()
    profile.llm.providers[0].provider_ref = "opnai/llm"
    profile.tts.providers[1].priority = 1
    reply = await desk.call("ValidateProfile", profile=profile)
    assert not reply.problems
    assert [(each.code, each.where) for each in reply.warnings] == [
        ("UNKNOWN_ADAPTER", "llm.providers[0]"),
        ("DUPLICATE_PRIORITY", "tts.providers[1]"),
    ]
    assert all(each.description for each in reply.warnings)
    assert (await put(desk, profile)).profile_version == 2


async def versions(desk: Desk) -> list[v1.ProfileVersion]:
    return list((await desk.call("ListProfiles")).versions)


async def test_what_is_put_is_what_is_read(desk: Desk) -> None:
    await put(desk, version())
    assert (await desk.call("GetProfile", profile_version=2)).profile == version()
    active = await desk.call("GetProfile", ROLE_SERVICE)
    assert active.profile == shipped_profile() and active.version.active
    missing = await desk.refused("GetProfile", profile_version=9)
    assert (missing.reason, missing.metadata["id"]) == ("RESOURCE_NOT_FOUND", "9")


async def test_versions_are_listed_a_page_at_a_time(desk: Desk) -> None:
    for number in (2, 3):
        await put(desk, version(number))
    seen, token = [], ""
    while True:
        page = await desk.call("ListProfiles", page=PageRequest(page_size=1, page_token=token))
        seen += [each.profile_version for each in page.versions]
        token = page.page.next_page_token
        if not token:
            break
    assert seen == [1, 2, 3]
    for place in ("cG9saWN5LXJ1bGVzOjE=", "cm91dGluZy1wcm9maWxlczpvbmU="):
        foreign = PageRequest(page_token=place)
        assert (await desk.refused("ListProfiles", page=foreign)).reason == "PAGE_TOKEN_INVALID"


async def test_a_version_that_is_not_the_next_says_which_would_be(desk: Desk) -> None:
    conflict = await desk.refused("PutProfile", profile=version(5))
    assert (conflict.reason, conflict.metadata["expected"]) == ("PROFILE_VERSION_CONFLICT", "2")
    assert len(await versions(desk)) == 1
    assert (await put(desk, version())).profile_version == 2


async def test_an_older_version_is_rolled_back_to_and_not_activated(desk: Desk) -> None:
    await put(desk, version())
    await activate(desk, 2)
    again = await desk.refused("ActivateProfile", profile_version=1, reason_code="PLANNED_CHANGE")
    assert (again.reason, again.metadata["expected"]) == ("PROFILE_VERSION_CONFLICT", "2")


async def test_a_version_that_nobody_put_is_not_activated(desk: Desk) -> None:
    missing = await desk.refused("ActivateProfile", profile_version=2, reason_code="PLANNED_CHANGE")
    assert missing.reason == "RESOURCE_NOT_FOUND"
    assert (await desk.call("ResolveProfile", subject=SUBJECT)).profile_version == 1


async def test_a_profile_is_not_active_before_its_time(desk: Desk) -> None:
    profile = version()
    profile.effective_from.FromDatetime(desk.owners.clock.now() + timedelta(minutes=10))
    await put(desk, profile)
    early = await desk.refused("ActivateProfile", profile_version=2, reason_code="PLANNED_CHANGE")
    assert early.reason == "PROFILE_NOT_ACTIVE"
    desk.owners.clock.skip(601)
    assert (await activate(desk, 2)).active


async def test_a_rollback_that_would_change_nothing_is_refused(desk: Desk) -> None:
    await put(desk, version())
    await activate(desk, 2)
    await desk.call("RollbackProfile", reason_code="TOO_SLOW")
    again = await desk.refused("RollbackProfile", reason_code="STILL_TOO_SLOW")
    assert (again.reason, again.metadata["expected"]) == ("PROFILE_VERSION_CONFLICT", "4")
    assert "version to return to, 1, has the content that is active already" in again.message
    assert [each.active for each in await versions(desk)] == [False, False, True]
    await put(desk, version(4))
    await activate(desk, 4)
    assert (await desk.call("RollbackProfile", reason_code="TOO_SLOW")).version.profile_version == 5


async def test_there_is_nothing_before_the_first_version(desk: Desk) -> None:
    assert (await desk.refused("RollbackProfile", reason_code="DRILL")).reason == "PROFILE_NOT_ACTIVE"


async def test_the_same_key_changes_the_profile_once(desk: Desk) -> None:
    request = v1.PutProfileRequest(profile=version(), idempotency_key="same")
    assert await desk.call("PutProfile", request=request) == await desk.call("PutProfile", request=request)
    request.profile.judge_threshold_set_id = "other"
    assert (await desk.refused("PutProfile", request=request)).reason == "IDEMPOTENCY_KEY_REUSED"
    await activate(desk, 2)
    back = v1.RollbackProfileRequest(reason_code="DRILL", idempotency_key="back")
    assert await desk.call("RollbackProfile", request=back) == await desk.call("RollbackProfile", request=back)
    assert [each.profile_version for each in await versions(desk)] == [1, 2, 3]


async def test_a_key_of_one_operator_is_not_anothers(desk: Desk) -> None:
    await put_by(desk, "dev", version())
    await put_by(desk, "t-2", version(3))
    assert [each.profile_version for each in await versions(desk)] == [1, 2, 3]


async def put_by(desk: Desk, tenant: str, profile: ProviderRoutingProfileV1) -> None:
    request = v1.PutProfileRequest(profile=profile, idempotency_key="everybodys")
    await desk.call("PutProfile", request=request, tenant=tenant)


def _cleared(name: str) -> Callable[[ProviderRoutingProfileV1], None]:
    return lambda profile: profile.ClearField(name)


def _provider_cleared(name: str) -> Callable[[ProviderRoutingProfileV1], None]:
    return lambda profile: profile.llm.providers[0].ClearField(name)


def _twice(profile: ProviderRoutingProfileV1) -> None:
    profile.llm.providers.append(profile.llm.providers[0])


def _of_nobody(profile: ProviderRoutingProfileV1) -> None:
    section = LayerSection(providers=[Override(domain=DOMAIN_LLM, provider_ref="nobody/llm", enabled=False)])
    profile.tenant_overrides.append(TenantOverride(tenant_id="t-1", section=section))


def _overridden_twice(profile: ProviderRoutingProfileV1) -> None:
    section = LayerSection(allow_cross_region=True)
    for _ in range(2):
        profile.channel_overrides.append(ScopedOverride(tenant_id="t-1", scope_id="ios", section=section))


def _secret(profile: ProviderRoutingProfileV1) -> None:
    profile.judge_threshold_set_id = "sk-proj-4f9aB2c7D1e8F3a6B9c2D5e8F1a4B7c0"


def _secret_handle(profile: ProviderRoutingProfileV1) -> None:
    profile.llm.providers[0].kms_handle_ref = "kms://providers/AKIAIOSFODNN7EXAMPLE"


def _foreign_owner(profile: ProviderRoutingProfileV1) -> None:
    profile.selection_owner_engine[0].engine = "PH1.TTS"


def _unordered(profile: ProviderRoutingProfileV1) -> None:
    profile.precedence_order.reverse()


def _unknown_field(profile: ProviderRoutingProfileV1) -> None:
    profile.MergeFromString(b"\xfa\x3f\x03abc")


REQUIRED = (
    "schema_version",
    "profile_id",
    "profile_version",
    "effective_from",
    "precedence_order",
    "selection_owner_engine",
    "stt",
    "tts",
    "llm",
    "delivery",
    "global_default",
    "artifact_id",
    "rollback_pointer_ref",
    "judge_threshold_set_id",
)
MALFORMED: dict[str, tuple[Callable[[ProviderRoutingProfileV1], None], str]] = {
    **{f"without {name}": (_cleared(name), name) for name in REQUIRED},
    **{
        f"a provider without {name}": (_provider_cleared(name), f"llm.providers[0].{name}")
        for name in ("provider_ref", "priority", "timeout", "circuit", "region")
    },
    "a provider twice": (_twice, "llm.providers[3]"),
    "an unknown provider": (_of_nobody, "tenant_overrides[0].section.providers[0]"),
    "two rows for one channel": (_overridden_twice, "channel_overrides[1]"),
    "a secret": (_secret, "judge_threshold_set_id"),
    "a secret in a handle": (_secret_handle, "llm.providers[0].kms_handle_ref"),
    "a foreign owner": (_foreign_owner, "selection_owner_engine[0]"),
    "another precedence": (_unordered, "routing_profile.precedence"),
    "a field of nobody's": (_unknown_field, "profile"),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_profile_is_named_and_not_registered(desk: Desk, what: str) -> None:
    spoil, where = MALFORMED[what]
    profile = version()
    spoil(profile)
    validated = await desk.call("ValidateProfile", profile=profile)
    assert any(problem.where.startswith(where) for problem in validated.problems), validated.problems
    assert all(problem.description for problem in validated.problems)
    invalid = await desk.refused("PutProfile", profile=profile)
    assert invalid.reason == "PROFILE_INVALID"
    assert invalid.metadata["problems"] == str(len(validated.problems))
    assert (invalid.metadata["cause"], invalid.metadata["where"]) == (
        validated.problems[0].code,
        validated.problems[0].where,
    )
    assert "4f9aB2c7D1e8" not in str(invalid) + str(validated) and "AKIA" not in str(invalid) + str(validated)
    assert len(await versions(desk)) == 1


async def test_a_sound_profile_has_no_problems_and_is_not_kept(desk: Desk) -> None:
    validated = await desk.call("ValidateProfile", ROLE_SERVICE, profile=version())
    assert list(validated.problems) == []
    assert validated.content_hash == sha256(canonical(version())).digest()
    assert len(await versions(desk)) == 1


async def test_layers_are_resolved_and_explained(desk: Desk) -> None:
    profile = version()
    off = LayerSection(providers=[Override(domain=DOMAIN_LLM, provider_ref="llama/llm", enabled=False)])
    profile.tenant_overrides.append(TenantOverride(tenant_id=TENANT, section=off))
    patient = LayerSection(providers=[Override(domain=DOMAIN_LLM, provider_ref="llama/llm", max_retries=3)])
    profile.channel_overrides.append(ScopedOverride(tenant_id=TENANT, scope_id="ios", section=patient))
    await put(desk, profile)
    await activate(desk, 2)
    subject = RoutingSubject(tenant_id=TENANT, locale="en-US", channel="ios")
    resolved = await desk.call("ResolveProfile", ROLE_OPERATOR, subject=subject)
    assert [each.provider_ref for each in resolved.providers if each.domain == DOMAIN_LLM] == [
        "openai/llm",
        "llama/llm",
        LOCAL,
    ]
    (llama,) = [each for each in resolved.providers if each.provider_ref == "llama/llm"]
    assert (llama.enabled, llama.max_retries) == (False, 3)
    assert {each.domain for each in resolved.providers} >= {DOMAIN_STT, DOMAIN_LLM}
    explained = await desk.call("ExplainProfile", ROLE_OPERATOR, subject=subject, prefix="providers[llama/llm].")
    layers = {
        each.field.removeprefix("providers[llama/llm]."): (each.layer, each.scope_id) for each in explained.fields
    }
    assert layers["enabled"] == (PROFILE_LAYER_TENANT_OVERRIDE, TENANT)
    assert layers["max_retries"] == (PROFILE_LAYER_CHANNEL_OVERRIDE, "ios")
    assert layers["timeout"] == (PROFILE_LAYER_GLOBAL_DEFAULT, "")
    assert explained.profile_hash == resolved.profile_hash
    everywhere = await desk.call("ResolveProfile", subject=SUBJECT)
    assert everywhere.profile_hash != resolved.profile_hash


DEPLOYMENTS: list[tuple[str, dict[str, Any]]] = [
    ("PutProfile", {"profile": version()}),
    ("ActivateProfile", {"profile_version": 1, "reason_code": "DRILL"}),
    ("RollbackProfile", {"reason_code": "DRILL"}),
]
SEEN: list[tuple[str, dict[str, Any]]] = [
    ("ValidateProfile", {"profile": version()}),
    ("GetProfile", {}),
    ("ListProfiles", {}),
]
OF_A_TENANT = [("ResolveProfile", {"subject": SUBJECT}), ("ExplainProfile", {"subject": SUBJECT})]


async def test_the_profile_is_a_matter_of_the_deployments_operators(desk: Desk) -> None:
    for method, fields in DEPLOYMENTS:
        for role in (ROLE_SERVICE, ROLE_OPERATOR, ROLE_USER):
            assert (await desk.refused(method, role, **fields)).reason == "ROLE_REQUIRED"
    for method, fields in SEEN:
        for role in (ROLE_OPERATOR, ROLE_USER):
            assert (await desk.refused(method, role, **fields)).reason == "ROLE_REQUIRED"
    assert len(await versions(desk)) == 1


async def test_how_somebody_is_routed_is_a_matter_of_its_tenant(desk: Desk) -> None:
    for method, fields in OF_A_TENANT:
        for role in (ROLE_SERVICE, ROLE_OPERATOR, ROLE_DEPLOYMENT_OPERATOR):
            assert (await desk.refused(method, role, tenant="t-2", **fields)).reason == "TENANT_MISMATCH"
            assert (await desk.call(method, role, **fields)).profile_hash
        assert (await desk.refused(method, ROLE_USER, **fields)).reason == "ROLE_REQUIRED"


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("PutProfile", {"profile": version(), "idempotency_key": ""}),
        ("ActivateProfile", {"profile_version": 0, "reason_code": "DRILL"}),
        ("ActivateProfile", {"profile_version": 1, "reason_code": "because"}),
        ("RollbackProfile", {"reason_code": ""}),
        ("GetProfile", {"profile_version": -1}),
        ("ResolveProfile", {}),
        ("ExplainProfile", {"subject": SUBJECT, "prefix": "p" * 257}),
    ],
)
async def test_what_the_contract_forbids_is_refused(desk: Desk, method: str, fields: dict[str, Any]) -> None:
    assert (await desk.refused(method, **fields)).reason == "FIELD_INVALID"


async def test_without_its_store_the_profile_cannot_be_changed_and_is_still_resolved(desk: Desk) -> None:
    await desk.owners.store.close()
    for method, fields in [*DEPLOYMENTS, SEEN[1], SEEN[2]]:
        assert (await desk.refused(method, **fields)).reason == "STORE_UNAVAILABLE"
    assert (await desk.call("ResolveProfile", subject=SUBJECT)).profile_version == 1
