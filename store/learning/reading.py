"""Reading signals, how far streams of them are, and what waits to be taken on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import product
from typing import Any

from google.protobuf.message import DecodeError
from selene.learning.v1.signal_pb2 import CapturedSignal, LearningSignal, SealedSignal
from sqlalchemy import BigInteger, LargeBinary, Select, and_, bindparam, func, or_, select, tuple_

from store.access import Reads, Values
from store.errors import KeyDestroyed
from store.learning.row import PURPOSE, restored, root, subject_of
from store.learning.tables import NAMED, outbox, signals, streams
from store.ledger import AuditFilter, AuditTrail
from store.merkle import leaf_hash
from store.vault import VaultReader, sealed_under

CAPTURED = "signals.captured"
"""The transition of audit rows that vouch for signals: `first` and `last` are their sequences, `signals` their root."""

ROOT = "signals"

KEYS_AT_ONCE = 500
"""Keys of one look-up: what a statement binds stays below every database's limit."""

# Who a signal is of, its key tells; a row from before signals were sealed names them itself.
OF_USER = or_(
    signals.c.key_id == bindparam("of_key", type_=LargeBinary),
    and_(signals.c.user_id == bindparam("of_user"), NAMED),
)
_OF_TENANT = select(signals.c.canonical, signals.c.key_id).where(signals.c.tenant_id == bindparam("tenant"))
_KEY_IDS = select(signals.c.signal_id, signals.c.key_id, signals.c.user_id).where(
    signals.c.tenant_id == bindparam("tenant"), signals.c.signal_id.in_(bindparam("ids", expanding=True))
)
BY_IDS = _OF_TENANT.where(signals.c.signal_id.in_(bindparam("ids", expanding=True)))
_PLACED = signals.c.sequence.between(bindparam("first"), bindparam("last"))
_WHOLE = select(signals).where(signals.c.tenant_id == bindparam("tenant"), _PLACED).order_by(signals.c.sequence)
_BETWEEN = _OF_TENANT.where(_PLACED).order_by(signals.c.sequence)
_IDS_OF_USER = (
    select(signals.c.signal_id).where(signals.c.tenant_id == bindparam("tenant"), OF_USER).order_by(signals.c.sequence)
)
_OF_KEYS = (
    select(func.count().label("many"))
    .select_from(signals)
    .where(
        signals.c.tenant_id == bindparam("tenant"),
        signals.c.key_id.in_(bindparam("keys", expanding=True)),
    )
)
_UNSEALED = (
    select(func.count().label("many")).select_from(signals).where(signals.c.tenant_id == bindparam("tenant"), NAMED)
)
_UNSEALED_OF = _UNSEALED.where(signals.c.user_id == bindparam("of_user"))
_SIZE = select(func.count().label("many")).select_from(signals).where(signals.c.tenant_id == bindparam("tenant"))
_POSITION = select(streams.c.acknowledged_through).where(
    streams.c.tenant_id == bindparam("tenant"), streams.c.stream_id == bindparam("stream")
)
_HOLDS = select(outbox.c.idempotency_key).where(
    outbox.c.tenant_id == bindparam("tenant"), outbox.c.idempotency_key == bindparam("key")
)
_WAITING = select(func.count().label("many")).select_from(outbox)


def _pages() -> dict[tuple[bool, ...], Select[Any]]:
    """A statement for each choice of filters: of a domain, of a path, of a user, from a place on."""
    table = signals.c
    filters = (
        table.domain == bindparam("of_domain"),
        table.intake_path == bindparam("of_path"),
        OF_USER,
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

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self._reads = reads
        self._opener = vault

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

        `before`: `priority_bp` and `sequence` of the last of the page before. What was erased is found as such, but
        not as its user's.
        """
        values: dict[str, Any] = {"tenant": tenant_id, "at_most": limit}
        if domain:
            values["of_domain"] = domain
        if intake_path:
            values["of_path"] = intake_path
        if user_id:
            values |= await self._whose(tenant_id, user_id)
        if before is not None:
            values["before_bp"], values["before"] = before
        statement = PAGES[bool(domain), bool(intake_path), bool(user_id), before is not None]
        return await self._opened(tenant_id, await self._reads.rows(statement, values))

    async def by_ids(self, tenant_id: str, signal_ids: Collection[str]) -> dict[str, CapturedSignal]:
        """The tenant's signals of these ids; what is not there is left out. Of what was erased, what is left of it."""
        if not signal_ids:
            return {}
        rows = await self._reads.rows(BY_IDS, {"tenant": tenant_id, "ids": sorted(set(signal_ids))})
        return {one.signal.signal_id: one for one in await self._opened(tenant_id, rows)}

    async def between(self, tenant_id: str, first: int, last: int) -> list[CapturedSignal]:
        """The signals with sequences from `first` to `last`, in their order."""
        rows = await self._reads.rows(_BETWEEN, {"tenant": tenant_id, "first": first, "last": last})
        return await self._opened(tenant_id, rows)

    async def ids_of_user(self, tenant_id: str, user_id: str) -> list[str]:
        """Every signal that is of a user, in the order of their capture: where a revocation begins (§21).

        Not what was erased: nothing tells any more whose it was.
        """
        whose = await self._whose(tenant_id, user_id)
        return [row.signal_id for row in await self._reads.rows(_IDS_OF_USER, {"tenant": tenant_id, **whose})]

    async def unsealed(self, tenant_id: str, user_id: str) -> int:
        """How many signals of a user, or of everyone for the empty one, are from before signals were sealed."""
        which = {"tenant": tenant_id, **({"of_user": user_id} if user_id else {})}
        return int((await self._reads.rows(_UNSEALED_OF if user_id else _UNSEALED, which))[0].many)

    async def _whose(self, tenant_id: str, user_id: str) -> dict[str, Any]:
        """What a user's signals are found by. A user without a key has none that were sealed."""
        try:
            key_id = (await self._opener.key(tenant_id, subject_of(user_id))).key_id
        except KeyDestroyed:
            key_id = b""
        return {"of_key": key_id, "of_user": user_id}

    async def _opened(self, tenant_id: str, rows: Sequence[Any]) -> list[CapturedSignal]:
        """The signals of rows; of one whose key was destroyed, what is left of it. WrongMasterKey, SealBroken."""
        kept = [None if row.key_id is None else SealedSignal.FromString(bytes(row.canonical)) for row in rows]
        sealed = [one.sealed for one in kept if one is not None]
        opened = iter(await self._opener.open_all(tenant_id, PURPOSE, sealed) if sealed else ())
        return [
            CapturedSignal.FromString(bytes(row.canonical)) if one is None else restored(one, tenant_id, next(opened))
            for row, one in zip(rows, kept, strict=True)
        ]

    async def size(self, tenant_id: str) -> int:
        """How many signals the tenant has."""
        return int((await self._reads.rows(_SIZE, {"tenant": tenant_id}))[0].many)

    async def first_unproved(self, tenant_id: str) -> int | None:
        """The first sequence at which the signals are not those that the audit trail vouches for; None where all are.

        Where the bytes of one of a batch were changed, that is the first of the batch: the trail has one root for all
        of it. Whether the trail itself is whole is for `Store.verify`.
        """
        return await first_unproved(self._reads, tenant_id)


async def first_unproved(reads: Reads, tenant_id: str) -> int | None:
    """`SignalsReader.first_unproved`, which takes no key: what was erased is held against the trail like the rest."""
    expected = 1
    async for first, last, digests in _captures(AuditTrail(reads), tenant_id):
        if first != expected:
            return expected
        rows = await reads.rows(_WHOLE, {"tenant": tenant_id, "first": first, "last": last})
        if [root([leaf_hash(bytes(row.canonical)) for row in rows])] != digests:
            return first
        differing = next((row.sequence for row in rows if not _repeats(row)), None)
        if differing is not None:
            return int(differing)
        expected = last + 1
    size = int((await reads.rows(_SIZE, {"tenant": tenant_id}))[0].many)
    return None if size == expected - 1 else expected


@dataclass(frozen=True, slots=True)
class SignalKey:
    """Under which key a signal lies; one from before signals were sealed has none, and names its user."""

    key_id: bytes
    user_id: str


async def signal_keys(reads: Reads, tenant_id: str, signal_ids: Collection[str]) -> dict[str, SignalKey]:
    """Where these signals lie; what is not there is left out."""
    found: dict[str, SignalKey] = {}
    ids = sorted(set(signal_ids))
    for start in range(0, len(ids), KEYS_AT_ONCE):
        which = {"tenant": tenant_id, "ids": ids[start : start + KEYS_AT_ONCE]}
        for row in await reads.rows(_KEY_IDS, which):
            found[row.signal_id] = SignalKey(bytes(row.key_id or b""), row.user_id)
    return found


def of_keys(tenant_id: str, key_ids: Sequence[bytes]) -> Iterator[tuple[Select[Any], Values]]:
    """What counts the signals under these keys."""
    for start in range(0, len(key_ids), KEYS_AT_ONCE):
        yield _OF_KEYS, {"tenant": tenant_id, "keys": key_ids[start : start + KEYS_AT_ONCE]}


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
    one: CapturedSignal | SealedSignal
    try:
        if row.key_id is None:
            one = CapturedSignal.FromString(bytes(row.canonical))
            signal: LearningSignal | SealedSignal = one.signal
            whose: tuple[bytes | None, str] = (None, one.signal.user_id)
        else:
            one = signal = SealedSignal.FromString(bytes(row.canonical))
            whose = (sealed_under(one.sealed), "")
    except DecodeError:
        return False
    return bool(
        (row.sequence, row.signal_id, row.idempotency_key, row.domain, row.intake_path, row.priority_bp)
        == (one.sequence, signal.signal_id, signal.idempotency_key, signal.domain, one.intake_path, one.priority_bp)
        and (None if row.key_id is None else bytes(row.key_id), row.user_id) == whose
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

    async def holds(self, tenant_id: str, idempotency_key: str) -> bool:
        """Whether the tenant's signal of this key waits to be taken on. StoreUnavailable."""
        return bool(await self._reads.rows(_HOLDS, {"tenant": tenant_id, "key": idempotency_key}))

    async def waiting(self) -> int:
        """How many signals of all tenants wait to be taken on. StoreUnavailable."""
        return int((await self._reads.rows(_WAITING))[0].many)


def same(row: CapturedSignal, other: bytes) -> bool:
    """Whether a captured signal is the one of these canonical bytes."""
    return row.signal.SerializeToString(deterministic=True) == other
