"""The hash-chained ledgers: one gapless chain per tenant and ledger, and the audit trail that runs on it (ALL-2)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from selene.audit.v1.audit_pb2 import AuditEvent, ChainedEvent, NamedFact, NamedHash
from selene.common.v1.scope_pb2 import Scope, TurnRef
from sqlalchemy import Row, Select, bindparam, exists, insert, select, update

from store.access import Reads, Writes
from store.merkle import HASH_BYTES, Frontier, leaf_hash
from store.schema import INCIDENTS, audit_events, chain_heads, ledger_subtrees, micros

AUDIT = "audit_events"
ARTIFACTS = "artifacts_ledger"
GENESIS = bytes(HASH_BYTES)

SERVED = ("call.finished", "voiceid.decided")
"""Rows that tell what served a turn."""

TWICE = "SECOND_ACCEPTANCE"

SUBTREE_LEVEL = 8
"""Roots of perfect subtrees of 2^8 rows and more are kept as they become complete: a proof then reads few rows."""


def row_hash(prev_hash: bytes, canonical: bytes) -> bytes:
    """SHA-256(0x00 || prev_hash || canonical bytes)."""
    return hashlib.sha256(b"\x00" + prev_hash + canonical).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The end of one chain: how many rows, the hash of the last, and the Merkle frontier over all row hashes.

    `subtrees` are what the rows appended since it was read made complete: size then, roots from `SUBTREE_LEVEL` up.
    """

    size: int = 0
    head_hash: bytes = GENESIS
    frontier: Frontier = field(default_factory=Frontier)
    subtrees: tuple[tuple[int, bytes], ...] = field(default=(), compare=False)

    def append(self, canonical: bytes) -> Head:
        """The head after a row with these canonical bytes; its `head_hash` is that row's hash."""
        digest = row_hash(self.head_hash, canonical)
        frontier, completed = self.frontier.grown(leaf_hash(digest))
        subtrees = self.subtrees
        if len(completed) > SUBTREE_LEVEL:
            subtrees = (*subtrees, (frontier.size, b"".join(completed[SUBTREE_LEVEL:])))
        return Head(frontier.size, digest, frontier, subtrees)


_HEAD = (chain_heads.c.tenant_id == bindparam("tenant"), chain_heads.c.ledger == bindparam("of"))
_LOCK_HEAD = select(chain_heads).where(*_HEAD).with_for_update()
_SAVE_HEAD = (
    update(chain_heads)
    .where(*_HEAD)
    .values(size=bindparam("new_size"), head_hash=bindparam("new_hash"), frontier=bindparam("new_frontier"))
)
_KEEP_SUBTREES = insert(ledger_subtrees)


async def lock_head(writes: Writes, ledger: str, tenant_id: str) -> Head:
    """The chain's head, locked until the transaction ends: whoever appends next waits."""
    which = {"tenant": tenant_id, "of": ledger}
    rows = await writes.rows(_LOCK_HEAD, which)
    if not rows:
        empty = writes.insert(chain_heads).values(
            tenant_id=tenant_id, ledger=ledger, size=0, head_hash=GENESIS, frontier=b""
        )
        # Not `write`: a chain without a row is no change that an audit row would have to tell of.
        await writes.rows(empty.on_conflict_do_nothing())
        rows = await writes.rows(_LOCK_HEAD, which)
    return head_of(rows[0])


def head_of(row: Row[Any]) -> Head:
    """A `chain_heads` row as a value. ValueError where the stored frontier cannot be one."""
    return Head(row.size, bytes(row.head_hash), Frontier.decode(row.size, bytes(row.frontier)))


async def save_head(writes: Writes, ledger: str, tenant_id: str, head: Head) -> None:
    """Store the head that `lock_head` locked, and the subtrees that are complete since."""
    changed = {"new_size": head.size, "new_hash": head.head_hash, "new_frontier": head.frontier.encode()}
    await writes.write(_SAVE_HEAD, {"tenant": tenant_id, "of": ledger, **changed})
    if head.subtrees:
        of = {"tenant_id": tenant_id, "ledger": ledger}
        await writes.write(_KEEP_SUBTREES, [{**of, "tree_size": size, "roots": roots} for size, roots in head.subtrees])


def _is(ledger: str, tenant_id: str) -> tuple[Any, ...]:
    return (chain_heads.c.tenant_id == tenant_id, chain_heads.c.ledger == ledger)


def audit_event(
    *,
    event_id: str,
    occurred_at: datetime,
    tenant_id: str,
    owner: str,
    actor: str,
    transition: str,
    reason_code: str,
    scope: Scope | None,
    turn: TurnRef | None,
    session_id: str,
    device_id: str,
    idempotency_key: str,
    hashes: Mapping[str, bytes],
    facts: Mapping[str, str],
) -> AuditEvent:
    """An event without its sequence; names sorted. ValueError for a digest that is not 32 bytes."""
    for name, digest in hashes.items():
        if len(digest) != HASH_BYTES:
            raise ValueError(f"hash {name!r} has {len(digest)} bytes, not {HASH_BYTES}")
    # Not as a datetime: protobuf would take several times as long to read it.
    at = Timestamp()
    at.FromMicroseconds(micros(occurred_at))
    return AuditEvent(
        event_id=event_id,
        occurred_at=at,
        tenant_id=tenant_id,
        owner=owner,
        actor=actor,
        transition=transition,
        reason_code=reason_code,
        scope=scope,
        turn=turn,
        session_id=session_id,
        device_id=device_id,
        idempotency_key=idempotency_key,
        hashes=[NamedHash(name=name, sha256=hashes[name]) for name in sorted(hashes)],
        facts=[NamedFact(name=name, value=facts[name]) for name in sorted(facts)],
    )


def audit_columns(event: AuditEvent) -> dict[str, Any]:
    """The columns that repeat what the canonical bytes say, for queries; `verify` holds one against the other."""
    return {
        "tenant_id": event.tenant_id,
        "sequence": event.sequence,
        "event_id": event.event_id,
        "occurred_at": event.occurred_at.ToDatetime(tzinfo=UTC),
        "owner": event.owner,
        "actor": event.actor,
        "transition": event.transition,
        "reason_code": event.reason_code,
        "scope_type": event.scope.scope_type,
        "scope_id": event.scope.scope_id,
        "correlation_id": event.turn.correlation_id,
        "turn_id": event.turn.turn_id,
        "session_id": event.session_id,
        "device_id": event.device_id,
        "idempotency_key": event.idempotency_key,
    }


async def append_audit(writes: Writes, events: Sequence[AuditEvent]) -> None:
    """Give the events their place in their tenants' chains, in order, and write them.

    Heads are locked in the order of tenant ids, so two transactions over the same tenants cannot wait for each other.
    """
    for tenant_id in sorted({event.tenant_id for event in events}):
        head = await lock_head(writes, AUDIT, tenant_id)
        rows = []
        for event in (event for event in events if event.tenant_id == tenant_id):
            event.sequence = head.size + 1
            canonical, prev_hash = event.SerializeToString(deterministic=True), head.head_hash
            head = head.append(canonical)
            said = {**audit_columns(event), "occurred_at": event.occurred_at.ToMicroseconds()}
            rows.append((*said.values(), canonical, prev_hash, head.head_hash))
        await writes.append(audit_events, rows)
        await save_head(writes, AUDIT, tenant_id, head)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events to read; every field that is set must match."""

    owner: str | None = None
    transition: str | None = None
    correlation_id: str | None = None
    session_id: str | None = None
    scope: Scope | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditTrail:
    """Reading the audit trail (AUD-1)."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def size(self, tenant_id: str) -> int:
        """How many events the tenant's chain has."""
        rows = await self._reads.rows(select(chain_heads.c.size).where(*_is(AUDIT, tenant_id)))
        return int(rows[0].size) if rows else 0

    async def page(
        self, tenant_id: str, *, after: int = 0, limit: int = 100, only: AuditFilter = AuditFilter()
    ) -> list[ChainedEvent]:
        """Up to `limit` events with a sequence above `after`, oldest first."""
        return [_chained(row) for row in await self._reads.rows(_events(tenant_id, after, only).limit(limit))]

    async def event(self, tenant_id: str, event_id: str) -> AuditEvent | None:
        """A row of the tenant's by its id; None where it has none."""
        table = audit_events.c
        found = select(table.canonical).where(table.event_id == event_id, table.tenant_id == tenant_id)
        rows = await self._reads.rows(found)
        return AuditEvent.FromString(rows[0].canonical) if rows else None

    async def incidents(self, tenant_id: str, since: datetime, *, limit: int) -> list[AuditEvent]:
        """Up to `limit` rows since then that may be incidents (`store.schema.INCIDENTS`), oldest first: such of whose
        turn another row tells what served it, and what happened twice, which names none.
        """
        table, served = audit_events.c, audit_events.alias("served").c
        told = exists(
            select(served.sequence).where(
                served.tenant_id == table.tenant_id,
                served.correlation_id == table.correlation_id,
                served.transition.in_(SERVED),
            )
        )
        found = (
            select(table.canonical)
            .where(table.tenant_id == tenant_id, table.occurred_at >= since, INCIDENTS)
            .where((table.reason_code == TWICE) | told)
            .order_by(table.occurred_at, table.sequence)
        )
        return [AuditEvent.FromString(row.canonical) for row in await self._reads.rows(found.limit(limit))]

    async def stream(
        self, tenant_id: str, *, after: int = 0, only: AuditFilter = AuditFilter()
    ) -> AsyncIterator[ChainedEvent]:
        """All events with a sequence above `after`, oldest first, in one snapshot."""
        async for row in self._reads.stream(_events(tenant_id, after, only)):
            yield _chained(row)


def _events(tenant_id: str, after: int, only: AuditFilter) -> Select[Any]:
    table = audit_events.c
    found = select(table.canonical, table.prev_hash, table.row_hash).where(
        table.tenant_id == tenant_id, table.sequence > after
    )
    equal = {
        table.owner: only.owner,
        table.transition: only.transition,
        table.correlation_id: only.correlation_id,
        table.session_id: only.session_id,
        table.scope_type: only.scope.scope_type if only.scope else None,
        table.scope_id: only.scope.scope_id if only.scope else None,
    }
    found = found.where(*(column == value for column, value in equal.items() if value is not None))
    if only.since is not None:
        found = found.where(table.occurred_at >= only.since)
    if only.until is not None:
        found = found.where(table.occurred_at < only.until)
    return found.order_by(table.sequence)


def _chained(row: Row[Any]) -> ChainedEvent:
    event = AuditEvent.FromString(row.canonical)
    return ChainedEvent(event=event, prev_hash=row.prev_hash, row_hash=row.row_hash)
