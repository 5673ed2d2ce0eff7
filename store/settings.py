"""Layered settings (ALL-5): every candidate value of a key, for a pure rule elsewhere to resolve or to refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from selene.common.v1.scope_pb2 import ScopeType
from sqlalchemy import Row, bindparam, delete, or_, select

from store.access import Reads, Writes
from store.schema import settings

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One layer's value of a key. Two sources may set one key at one layer: the rule must call that ambiguous."""

    key: str
    layer: ScopeType
    tenant_id: str
    layer_id: str
    source: str
    value: Json
    version: int
    updated_at: datetime


_ALL = (
    select(settings)
    .where(or_(settings.c.tenant_id == "", settings.c.tenant_id == bindparam("tenant")))
    .order_by(settings.c.key, settings.c.layer, settings.c.layer_id, settings.c.source)
)
_CANDIDATES = _ALL.where(settings.c.key == bindparam("of"))


class SettingsReader:
    """Reading candidates."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def candidates(self, key: str, tenant_id: str) -> list[Setting]:
        """Every value of `key` that may apply to the tenant, the deployment's included, widest layer first."""
        return [_setting(row) for row in await self._reads.rows(_CANDIDATES, {"of": key, "tenant": tenant_id})]

    async def all(self, tenant_id: str) -> list[Setting]:
        """Every value of every key that may apply to the tenant."""
        return [_setting(row) for row in await self._reads.rows(_ALL, {"tenant": tenant_id})]


class Settings(SettingsReader):
    """Changing settings inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def set(
        self, key: str, layer: ScopeType, *, tenant_id: str, layer_id: str, value: Json, source: str = "operator"
    ) -> int:
        """Set one source's value and return its version, from 1. The global layer has an empty `tenant_id`."""
        if layer == ScopeType.SCOPE_TYPE_UNSPECIFIED:
            raise ValueError("a setting needs a layer")
        if (layer == ScopeType.SCOPE_TYPE_GLOBAL) != (tenant_id == ""):
            raise ValueError("the global layer, and only it, belongs to no tenant")
        changed = {"value": json.dumps(value, sort_keys=True, allow_nan=False), "updated_at": self._writes.clock.now()}
        statement = self._writes.insert(settings).values(
            key=key, layer=layer, tenant_id=tenant_id, layer_id=layer_id, source=source, version=1, **changed
        )
        statement = statement.on_conflict_do_update(
            index_elements=list(settings.primary_key), set_={**changed, "version": settings.c.version + 1}
        )
        written = await self._writes.write(statement.returning(settings.c.version))
        return int(written.rows[0].version)

    async def unset(
        self, key: str, layer: ScopeType, *, tenant_id: str, layer_id: str, source: str = "operator"
    ) -> bool:
        """Let the key fall through to the next layer. False if it was not set."""
        chosen = (
            settings.c.key == key,
            settings.c.layer == layer,
            settings.c.tenant_id == tenant_id,
            settings.c.layer_id == layer_id,
            settings.c.source == source,
        )
        return (await self._writes.write(delete(settings).where(*chosen))).count > 0


def _setting(row: Row[Any]) -> Setting:
    return Setting(
        key=row.key,
        layer=row.layer,
        tenant_id=row.tenant_id,
        layer_id=row.layer_id,
        source=row.source,
        value=json.loads(row.value),
        version=row.version,
        updated_at=row.updated_at,
    )
