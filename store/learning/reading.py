"""Reading signals, how far streams of them are, and what waits to be taken on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from datetime import UTC
from itertools import product
from typing import Any

from selene.learning.v1.signal_pb2 import CapturedSignal
from sqlalchemy import BigInteger, Select, bindparam, func, select, tuple_

from store.access import Reads
from store.learning.row import root
from store.learning.tables import SAFETY_CRITICAL, outbox, signals, streams
from store.ledger import AuditFilter, AuditTrail
from store.merkle import leaf_hash

CAPTURED = "signals.captured"
"""The transition of audit rows that vouch for signals: `first` and `last` are their sequences, `signals` their root."""

ROOT = "signals"

_OF_TENANT = select(signals.c.canonical).where(signals.c.tenant_id == bindparam("tenant"))
BY_IDS = _OF_TENANT.where(signals.c.signal_id.in_(bindparam("ids", expanding=True)))
_PLACED = signals.c.sequence.between(bindparam("first"), bindparam("last"))
_WHOLE = select(signals).where(signals.c.tenant_id == bindparam("tenant"), _PLACED).order_by(signals.c.sequence)
_BETWEEN = _OF_TENANT.where(_PLACED).order_by(signals.c.sequence)
_IDS_OF_USER = (
    select(signals.c.signal_id)
    .where(signals.c.tenant_id == bindparam("tenant"), signals.c.user_id == bindparam("user"))
    .order_by(signals.c.sequence)
)
_SAFETY = (
    select(func.count().label("many"))
    .select_from(signals)
    .where(
        SAFETY_CRITICAL,
        signals.c.tenant_id == bindparam("tenant"),
        signals.c.domain == bindparam("of_domain"),
        signals.c.captured_at >= bindparam("since"),
    )
)
_SIZE = select(func.count().label("many")).select_from(signals).where(signals.c.tenant_id == bindparam("tenant"))
_POSITION = select(streams.c.acknowledged_through).where(
    streams.c.tenant_id == bindparam("tenant"), streams.c.stream_id == bindparam("stream")
)
_WAITING = select(func.count().label("many")).select_from(outbox)


def _pages() -> dict[tuple[bool, ...], Select[Any]]:
    """A statement for each choice of filters: of a domain, of a path, of a user, from a place on."""
    table = signals.c
    filters = (
        table.domain == bindparam("of_domain"),
        table.intake_path == bindparam("of_path"),
        table.user_id == bindparam("of_user"),
        tuple_(table.priority_bp, table.sequence)
        < tuple_(bindparam("before_bp", type_=BigInteger), bindparam("before", type_=BigInteger)),
    )
    pages: dict[tuple[bool, ...], Select[Any]] = {}
    for chosen in product((False, True), repeat=len(filters)):
        where = [one for one, wanted in zip(filters, chosen, strict=True) if wanted]
        ordered = _OF_TENANT.where(*where).order_by(table.priority_bp.desc(), table.sequence.desc())
        pages[chosen] = ordered.limit(bindparam("at_most"))
    return pages


PAGES = _pages()


class SignalsReader:
    """Reading what was captured. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def page(
        self,
        tenant_id: str,
        *,
        limit: int = 100,
        domain: int = 0,
        intake_path: int = 0,
        user_id: str = "",
        before: tuple[int, int] | None = None,
    ) -> list[CapturedSignal]:
        """Up to `limit` signals, the most urgent first and of equal ones the latest; a filter that is empty means all.

        `before`: `priority_bp` and `sequence` of the last of the page before.
        """
        values: dict[str, Any] = {"tenant": tenant_id, "at_most": limit}
        if domain:
            values["of_domain"] = domain
        if intake_path:
            values["of_path"] = intake_path
        if user_id:
            values["of_user"] = user_id
        if before is not None:
            values["before_bp"], values["before"] = before
        statement = PAGES[bool(domain), bool(intake_path), bool(user_id), before is not None]
        return [captured(row) for row in await self._reads.rows(statement, values)]

    async def by_ids(self, tenant_id: str, signal_ids: Collection[str]) -> dict[str, CapturedSignal]:
        """The tenant's signals of these ids; what is not there is left out."""
        if not signal_ids:
            return {}
        rows = await self._reads.rows(BY_IDS, {"tenant": tenant_id, "ids": sorted(set(signal_ids))})
        return {one.signal.signal_id: one for one in map(captured, rows)}

    async def between(self, tenant_id: str, first: int, last: int) -> list[CapturedSignal]:
        """The signals with sequences from `first` to `last`, in their order."""
        rows = await self._reads.rows(_BETWEEN, {"tenant": tenant_id, "first": first, "last": last})
        return [captured(row) for row in rows]

    async def ids_of_user(self, tenant_id: str, user_id: str) -> list[str]:
        """Every signal that is of a user, in the order of their capture: where a revocation begins (§21)."""
        rows = await self._reads.rows(_IDS_OF_USER, {"tenant": tenant_id, "user": user_id})
        return [row.signal_id for row in rows]

    async def safety_critical(self, tenant_id: str, domain: int, since: Any) -> int:
        """How many defects of a domain at which safety is at stake were captured since then (§8, path A)."""
        rows = await self._reads.rows(_SAFETY, {"tenant": tenant_id, "of_domain": domain, "since": since})
        return int(rows[0].many)

    async def size(self, tenant_id: str) -> int:
        """How many signals the tenant has."""
        return int((await self._reads.rows(_SIZE, {"tenant": tenant_id}))[0].many)

    async def first_unproved(self, tenant_id: str) -> int | None:
        """The first sequence at which the signals are not those that the audit trail vouches for; None where all are.

        Where the bytes of one of a batch were changed, that is the first of the batch: the trail has one root for all
        of it. Whether the trail itself is whole is for `Store.verify`.
        """
        expected = 1
        async for first, last, digests in _captures(AuditTrail(self._reads), tenant_id):
            if first != expected:
                return expected
            which = {"tenant": tenant_id, "first": first, "last": last}
            rows = await self._reads.rows(_WHOLE, which)
            if [root([leaf_hash(bytes(row.canonical)) for row in rows])] != digests:
                return first
            differing = next((row.sequence for row in rows if not _repeats(row)), None)
            if differing is not None:
                return int(differing)
            expected = last + 1
        return None if await self.size(tenant_id) == expected - 1 else expected


async def _captures(trail: AuditTrail, tenant_id: str) -> AsyncIterator[tuple[int, int, list[bytes]]]:
    """First and last sequence of signals that were captured together, and their root, as the trail says.

    A page at a time: nothing is open while the signals are read.
    """
    after = 0
    while events := await trail.page(tenant_id, after=after, only=AuditFilter(transition=CAPTURED)):
        for event in (chained.event for chained in events):
            after = event.sequence
            facts = {fact.name: fact.value for fact in event.facts}
            digests = [one.sha256 for one in event.hashes if one.name == ROOT]
            yield int(facts.get("first", 0)), int(facts.get("last", 0)), digests


def _repeats(row: Any) -> bool:
    """Whether the columns say what the bytes say; whether safety is at stake is a rule's, not the bytes'."""
    one = captured(row)
    signal = one.signal
    return bool(
        (row.sequence, row.signal_id, row.idempotency_key, row.domain, row.intake_path, row.user_id, row.priority_bp)
        == (
            one.sequence,
            signal.signal_id,
            signal.idempotency_key,
            signal.domain,
            one.intake_path,
            signal.user_id,
            one.priority_bp,
        )
        and row.captured_at == one.captured_at.ToDatetime(tzinfo=UTC)
    )


class SignalStreamsReader:
    """Reading how far streams are."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def position(self, tenant_id: str, stream_id: str) -> int:
        """Up to which sequence of the stream everything is durable; 0 before the first. StoreUnavailable."""
        rows = await self._reads.rows(_POSITION, {"tenant": tenant_id, "stream": stream_id})
        return int(rows[0].acknowledged_through) if rows else 0


class SignalOutboxReader:
    """Reading what engines left for learning."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def waiting(self) -> int:
        """How many signals of all tenants wait to be taken on. StoreUnavailable."""
        return int((await self._reads.rows(_WAITING))[0].many)


def captured(row: Any) -> CapturedSignal:
    """The signal of a row."""
    return CapturedSignal.FromString(bytes(row.canonical))


def same(row: CapturedSignal, other: bytes) -> bool:
    """Whether a captured signal is the one of these canonical bytes."""
    return row.signal.SerializeToString(deterministic=True) == other
