"""Which threshold pack a decision rests on: by precedence, verified, for these models, or none at all."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.common.v1 import scope_pb2
from selene.common.v1.scope_pb2 import Scope
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.shipped import DEPLOYMENT, register_pack, register_shipped_pack
from servers.voiceid.active_packs import SETTING_KEY, ActivePack, Packs
from servers.voiceid.calibration.pack import ARTIFACT_TYPE
from servers.voiceid.policy import Thresholds
from servers.voiceid.precedence import Layer, Subject
from store import Store
from store.keys import SigningKey
from tests.support.packs import shipped, variant
from tests.support.stores import audit

TENANT = "t-1"
NOBODY = Subject()
SCOPES = {
    Layer.GLOBAL_DEFAULT: DEPLOYMENT,
    Layer.TENANT_OVERRIDE: Scope(scope_type=scope_pb2.SCOPE_TYPE_TENANT, scope_id=TENANT),
    Layer.LOCALE_OVERRIDE: Scope(scope_type=scope_pb2.SCOPE_TYPE_LOCALE, scope_id="de-DE"),
    Layer.CHANNEL_OVERRIDE: Scope(scope_type=scope_pb2.SCOPE_TYPE_CHANNEL, scope_id="phone"),
    Layer.USER_EXCEPTION: Scope(scope_type=scope_pb2.SCOPE_TYPE_USER, scope_id="mira"),
}
EVERYTHING = Subject("de-DE", "phone", "mira")


def packs(store: Store) -> Packs:
    return Packs(store, store.trusted_keys(), shipped().model_set_hash)


async def activate(store: Store, layer: Layer, conf_high_bp: int, tenant: str = TENANT) -> None:
    """A pack of this layer, told apart by its upper threshold."""
    tenant_id = "" if layer is Layer.GLOBAL_DEFAULT else tenant
    payload = variant(policy={"conf_high_bp": conf_high_bp})
    await register_pack(store, payload, scope=SCOPES[layer], tenant_id=tenant_id, provenance_ref="test")


async def set_thresholds(
    store: Store, layer: scope_pb2.ScopeType, layer_id: str, value: Any, source: str = "operator"
) -> None:
    async with store.transaction() as tx:
        tenant = "" if layer == scope_pb2.SCOPE_TYPE_GLOBAL else TENANT
        await tx.settings.set(SETTING_KEY, layer, tenant_id=tenant, layer_id=layer_id, value=value, source=source)
        audit(tx, TENANT)


async def policy(store: Store, subject: Subject = NOBODY, tenant: str = TENANT) -> tuple[int, int, int]:
    opened = packs(store)
    found = await opened.thresholds(await opened.read(tenant), subject)
    assert isinstance(found, Thresholds), found
    return found.policy.conf_high_bp, found.policy.conf_mid_bp, found.policy.min_margin_bp


async def reason(store: Store, subject: Subject = NOBODY) -> v1.VoiceIdReason:
    opened = packs(store)
    found = await opened.thresholds(await opened.read(TENANT), subject)
    assert not isinstance(found, Thresholds)
    return found


async def test_without_a_pack_there_is_no_threshold(store: Store) -> None:
    assert await reason(store) == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK


async def test_the_pack_that_ships_is_used_until_there_is_another_and_registered_once(store: Store) -> None:
    for _ in range(2):
        await register_shipped_pack(store)
    found = await packs(store).active(TENANT, NOBODY)
    assert isinstance(found, ActivePack)
    assert found.layer is Layer.GLOBAL_DEFAULT
    assert found.thresholds.pack_ref == f"{ARTIFACT_TYPE}@1"
    assert found.thresholds.provisional
    assert found.thresholds.policy == shipped().thresholds().policy
    await activate(store, Layer.GLOBAL_DEFAULT, 9100)
    await register_shipped_pack(store)
    assert (await policy(store))[0] == 9100


async def test_the_most_specific_layer_that_applies_supplies_the_pack(store: Store) -> None:
    for place, layer in enumerate(SCOPES):
        await activate(store, layer, 9100 + place)
    assert (await policy(store, EVERYTHING))[0] == 9104
    assert (await policy(store, Subject("de-DE", "phone", "otto")))[0] == 9103
    assert (await policy(store, Subject("de-DE", "", "")))[0] == 9102
    assert (await policy(store, Subject("en-GB", "tablet", "otto")))[0] == 9101
    assert (await policy(store, EVERYTHING, tenant="t-2"))[0] == 9100


async def test_a_setting_moves_one_threshold_and_leaves_the_others(store: Store) -> None:
    await register_shipped_pack(store)
    high, mid, margin = await policy(store)
    await set_thresholds(store, scope_pb2.SCOPE_TYPE_TENANT, TENANT, {"conf_high_bp": 9900})
    await set_thresholds(store, scope_pb2.SCOPE_TYPE_CHANNEL, "phone", {"min_margin_bp": margin + 7})
    await set_thresholds(store, scope_pb2.SCOPE_TYPE_USER, "mira", {"conf_high_bp": 9950})
    assert await policy(store) == (9900, mid, margin)
    assert await policy(store, Subject(channel="phone")) == (9900, mid, margin + 7)
    assert await policy(store, EVERYTHING) == (9950, mid, margin + 7)
    assert await policy(store, EVERYTHING, tenant="t-2") == (high, mid, margin)


async def test_two_settings_of_one_layer_leave_neither(store: Store) -> None:
    await register_shipped_pack(store)
    await set_thresholds(store, scope_pb2.SCOPE_TYPE_TENANT, TENANT, {"conf_high_bp": 9900})
    await set_thresholds(store, scope_pb2.SCOPE_TYPE_TENANT, TENANT, {"conf_high_bp": 9800}, source="import")
    assert await reason(store) == v1.VOICE_ID_REASON_SETTING_AMBIGUOUS


@pytest.mark.parametrize(
    "value", [{"conf_high_bp": "9900"}, {"conf_high_bp": True}, {"owner_reject_bp": 0}, [9900], 9900, "9900", None]
)
async def test_a_setting_that_is_not_clear_loosens_nothing(store: Store, value: Any) -> None:
    await register_shipped_pack(store)
    await set_thresholds(store, scope_pb2.SCOPE_TYPE_TENANT, TENANT, value)
    assert await reason(store) == v1.VOICE_ID_REASON_SETTING_AMBIGUOUS


@pytest.mark.parametrize("value", [{"conf_high_bp": 1}, {"conf_mid_bp": 0}, {"conf_mid_bp": 10_001}])
async def test_thresholds_that_make_no_ladder_are_none(store: Store, value: dict[str, int]) -> None:
    await register_shipped_pack(store)
    await set_thresholds(store, scope_pb2.SCOPE_TYPE_TENANT, TENANT, value)
    assert await reason(store) == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK


async def test_a_pack_of_other_models_does_not_fit(store: Store) -> None:
    payload = variant(model_set_hash="ab" * 32)
    await register_pack(store, payload, scope=DEPLOYMENT, tenant_id="", provenance_ref="test")
    assert await reason(store) == v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH


async def put(store: Store, payload: bytes, **fields: Any) -> None:
    """Into the ledger and active, whatever it is."""
    row = ArtifactRow(
        artifact_type=ARTIFACT_TYPE,
        scope=DEPLOYMENT,
        created_by="test",
        idempotency_key="k-1",
        status=ARTIFACT_STATUS_CANDIDATE,
        **fields,
    )
    async with store.transaction() as tx:
        kept = await tx.artifacts.register(row, payload)
        await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, kept.artifact_version)
        audit(tx, "system")


@pytest.mark.parametrize("payload", [b"", b"garbage", b"{}", variant() + b" ", variant()[:-1]])
async def test_a_payload_that_is_no_pack_gives_no_thresholds(store: Store, payload: bytes) -> None:
    await put(store, payload)
    assert await reason(store) == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK


async def test_a_forged_signature_gives_no_thresholds(store: Store) -> None:
    (key_id,) = store.trusted_keys()
    await put(store, variant(), signature=bytes(64), signing_key_id=key_id)
    assert await reason(store) == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK


async def test_a_signature_by_a_key_that_is_not_trusted_gives_no_thresholds(store: Store) -> None:
    stranger = SigningKey(bytes([7]) * 32)
    payload = variant()
    signature = stranger.sign(hashlib.sha256(payload).digest())
    await put(store, payload, signature=signature, signing_key_id=stranger.key_id)
    assert await reason(store) == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK


async def test_a_broken_pack_of_a_closer_layer_does_not_fall_back_to_a_wider_one(store: Store) -> None:
    """Whoever tightened a limit for a tenant must not get the looser one back because the pack was damaged."""
    await register_shipped_pack(store)
    scope = SCOPES[Layer.TENANT_OVERRIDE]
    async with store.transaction() as tx:
        row = ArtifactRow(
            artifact_type=ARTIFACT_TYPE,
            tenant_id=TENANT,
            scope=scope,
            created_by="test",
            idempotency_key="k",
            status=ARTIFACT_STATUS_CANDIDATE,
        )
        kept = await tx.artifacts.register(row, b"garbage")
        await tx.artifacts.activate(ARTIFACT_TYPE, TENANT, scope, kept.artifact_version)
        audit(tx, TENANT)
    assert await reason(store) == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK
