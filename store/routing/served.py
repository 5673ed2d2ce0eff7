"""Calls that were served, by the key that their caller gave them (ALL-4): a key is charged once, whoever serves it.

They are idempotency keys as any other, kept as long; the answer of each is the id of the request that was served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, select, tuple_

from store.access import Reads, Writes, for_dialects
from store.schema import idempotency


@dataclass(frozen=True, slots=True)
class ServedCall:
    """A call of the RPC `rpc`. `key` is of its caller and the key that the caller gave it, `content` the SHA-256 of
    what was asked.
    """

    tenant_id: str
    rpc: str
    key: str
    content: bytes
    request_id: str


Name = tuple[str, str, str]
"""Tenant, RPC and key."""

_CLAIM = for_dialects(
    lambda insert: (
        insert(idempotency)
        .values({column.name: bindparam(column.name) for column in idempotency.c})
        .on_conflict_do_nothing()
    )
)
_NAME = tuple_(idempotency.c.tenant_id, idempotency.c.method, idempotency.c.key)


class ServedCallsReader:
    """Reading served calls. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def since(self, rpc: str, since: datetime, limit: int) -> list[tuple[datetime, ServedCall]]:
        """Those that were noted then or later, the earliest first, with when they were."""
        table = idempotency.c
        found = select(idempotency).where(table.method == rpc, table.created_at >= since)
        rows = await self._reads.rows(found.order_by(table.created_at).limit(limit))
        return [(row.created_at, _served(row)) for row in rows]


class ServedCalls(ServedCallsReader):
    """Noting served calls inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def claim(self, calls: Sequence[ServedCall]) -> Mapping[Name, ServedCall]:
        """Note those whose key nobody has used; what each key stands for now, which may be an earlier call."""
        if not calls:
            return {}
        now = self._writes.clock.now()
        # In the order of their names: two processes that note the same ones then wait for each other in one direction.
        rows = [
            {
                "tenant_id": each.tenant_id,
                "method": each.rpc,
                "key": each.key,
                "request_hash": each.content,
                "response": each.request_id.encode(),
                "created_at": now,
            }
            for each in sorted(calls, key=name_of)
        ]
        written = await self._writes.write(_CLAIM[self._writes.dialect], rows)
        if written.count == len(rows):
            return {name_of(each): each for each in calls}
        names = {name_of(each) for each in calls}
        found = await self._writes.rows(select(idempotency).where(_NAME.in_(sorted(names))))
        return {name_of(served): served for served in map(_served, found)}


def name_of(call: ServedCall) -> Name:
    """What a key is unique by."""
    return call.tenant_id, call.rpc, call.key


def _served(row: Row[Any]) -> ServedCall:
    return ServedCall(row.tenant_id, row.method, row.key, bytes(row.request_hash), bytes(row.response or b"").decode())
