from __future__ import annotations

import pytest
from selene.common.v1.scope_pb2 import ScopeType

from store import Store
from store.settings import Json, Setting
from tests.support.stores import audit

GLOBAL = ScopeType.SCOPE_TYPE_GLOBAL
TENANT = ScopeType.SCOPE_TYPE_TENANT
LOCALE = ScopeType.SCOPE_TYPE_LOCALE


async def put(
    store: Store, layer: ScopeType, tenant_id: str, layer_id: str, value: Json, source: str = "operator"
) -> int:
    async with store.transaction() as tx:
        version = await tx.settings.set(
            "key", layer, tenant_id=tenant_id, layer_id=layer_id, value=value, source=source
        )
        audit(tx, tenant_id, transition="setting.changed")
    return version


def described(settings: list[Setting]) -> list[tuple[ScopeType, str, Json]]:
    return [(setting.layer, setting.layer_id, setting.value) for setting in settings]


async def test_candidates_are_the_deployments_and_the_tenants_own_widest_first(store: Store) -> None:
    await put(store, LOCALE, "t1", "en-GB", [1, 2.5])
    await put(store, TENANT, "t1", "t1", {"a": True})
    await put(store, TENANT, "t2", "t2", "another tenant's")
    await put(store, GLOBAL, "", "", None)
    candidates = await store.settings.candidates("key", "t1")
    assert described(candidates) == [
        (GLOBAL, "", None),
        (TENANT, "t1", {"a": True}),
        (LOCALE, "en-GB", [1, 2.5]),
    ]
    assert await store.settings.all("t1") == candidates
    assert await store.settings.candidates("absent", "t1") == []


async def test_setting_again_replaces_the_value_and_raises_the_version(store: Store) -> None:
    assert [await put(store, TENANT, "t1", "t1", value) for value in ("a", "b")] == [1, 2]
    assert described(await store.settings.candidates("key", "t1")) == [(TENANT, "t1", "b")]


async def test_two_sources_at_one_layer_are_both_candidates(store: Store) -> None:
    await put(store, TENANT, "t1", "t1", "a", source="operator")
    await put(store, TENANT, "t1", "t1", "b", source="pack")
    assert described(await store.settings.candidates("key", "t1")) == [(TENANT, "t1", "a"), (TENANT, "t1", "b")]


async def test_an_unset_key_falls_through(store: Store) -> None:
    await put(store, TENANT, "t1", "t1", "a")
    async with store.transaction() as tx:
        assert await tx.settings.unset("key", TENANT, tenant_id="t1", layer_id="t1")
        assert not await tx.settings.unset("key", TENANT, tenant_id="t1", layer_id="t1")
        audit(tx)
    assert await store.settings.candidates("key", "t1") == []


@pytest.mark.parametrize(
    ("layer", "tenant_id"), [(GLOBAL, "t1"), (TENANT, ""), (ScopeType.SCOPE_TYPE_UNSPECIFIED, "t1")]
)
async def test_a_setting_of_no_certain_layer_is_refused(sqlite_store: Store, layer: ScopeType, tenant_id: str) -> None:
    with pytest.raises(ValueError, match="layer"):
        await put(sqlite_store, layer, tenant_id, "", 1)


async def test_nan_is_no_setting(sqlite_store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        await put(sqlite_store, TENANT, "t1", "t1", float("nan"))
