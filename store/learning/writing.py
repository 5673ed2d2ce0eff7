"""Writing signals inside a transaction; the caller audits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from selene.learning.v1.signal_pb2 import CapturedSignal, LearningSignal
from sqlalchemy import JSON, Text, any_, bindparam, delete, func, select, tuple_, union, update
from sqlalchemy.dialects.postgresql import ARRAY

from store.access import Writes, for_dialects
from store.learning.reading import SignalOutboxReader, SignalsReader, SignalStreamsReader, of_keys, same
from store.learning.row import (
    OF_LEARNING,
    PURPOSE,
    Absent,
    Captured,
    Erased,
    IdTaken,
    KeyReused,
    NewSignal,
    Outcome,
    Outgoing,
    canonical,
    subject_of,
)
from store.learning.tables import counters, frequencies, outbox, signals, streams
from store.vault import NONCE_BYTES, Vault, sealed_under

AT_MOST = 1000
"""Signals of one `capture`: what one statement binds of them stays below every database's limit."""

Weigh = Callable[[LearningSignal, int], int]
"""The priority of a signal that was seen so often before, in basis points."""

Kind = tuple[int, int, str, str]


@dataclass(frozen=True, slots=True)
class ErasedSignals:
    """The keys that were destroyed, how many signals lie under them, and how many of these users' never had one."""

    key_ids: tuple[bytes, ...]
    signals: int
    unsealed: int


def _known(dialect: str) -> Any:
    """By key, then by id: each is looked up by its own index."""
    table = signals.c
    found = select(table.canonical, table.key_id).where(table.tenant_id == bindparam("tenant"))
    wanted = ((table.idempotency_key, "keys"), (table.signal_id, "ids"))
    if dialect == "postgresql":
        # Not by a sub-query: of that PostgreSQL does not know how many rows it has, and reads all signals instead.
        return union(*(found.where(each == any_(bindparam(name, type_=ARRAY(Text)))) for each, name in wanted))
    listed = {name: func.json_each(bindparam(name, type_=JSON)).table_valued("value").c.value for _, name in wanted}
    return union(*(found.where(each.in_(select(listed[name]))) for each, name in wanted))


# What is wanted in two values: no statement to be made for its number.
KNOWN = {dialect: _known(dialect) for dialect in ("sqlite", "postgresql")}

_LOCK = for_dialects(
    lambda insert: (
        insert(counters)
        .values(tenant_id=bindparam("tenant"), sequence=0)
        .on_conflict_do_update(index_elements=[counters.c.tenant_id], set_={"sequence": counters.c.sequence})
        .returning(counters.c.sequence)
    )
)
_COUNT = update(counters).where(counters.c.tenant_id == bindparam("tenant")).values(sequence=bindparam("new_sequence"))


def _seeing(insert: Any) -> Any:
    made = insert(frequencies)
    return made.on_conflict_do_update(
        index_elements=list(frequencies.primary_key),
        set_={"seen": frequencies.c.seen + made.excluded.seen},
    ).returning(*frequencies.c)


_SEE = for_dialects(_seeing)


def _advancing(insert: Any) -> Any:
    made = insert(streams)
    return made.on_conflict_do_update(
        index_elements=[streams.c.tenant_id, streams.c.stream_id],
        set_={"acknowledged_through": made.excluded.acknowledged_through, "updated_at": made.excluded.updated_at},
        where=streams.c.acknowledged_through < made.excluded.acknowledged_through,
    )


_ADVANCE = for_dialects(_advancing)
_PUT = for_dialects(lambda insert: insert(outbox).on_conflict_do_nothing())
_OLDEST = (
    select(outbox)
    .order_by(outbox.c.written_at)
    .limit(bindparam("at_most"))
    # SQLite, with its single writer, has no such clause.
    .with_for_update(skip_locked=True)
)
_TAKE = delete(outbox).where(
    tuple_(outbox.c.tenant_id, outbox.c.idempotency_key).in_(bindparam("keys", expanding=True))
)


class Signals(SignalsReader):
    """The writing side, within one transaction."""

    def __init__(self, writes: Writes, vault: Vault) -> None:
        super().__init__(writes, vault)
        self._writes = writes
        self._vault = vault

    async def capture(
        self, tenant_id: str, new: Sequence[NewSignal], weigh: Weigh, *, unseen: bool = False
    ) -> list[Outcome]:
        """Keep a tenant's signals; what became of each, in their order. At most `AT_MOST`.

        New ones get sequences without gaps and the priority that `weigh` gives them. A repetition writes nothing. Of
        several transactions for one tenant each waits for the one before it, so that sequences become visible in their
        order. The caller audits what is new with `signals_root`.

        `unseen`: the caller takes them all for new ones. Nothing is looked for, which would take a fifth of the time;
        Conflict where one was there before, and then the transaction is over.
        """
        if len(new) > AT_MOST:
            raise ValueError(f"a capture of {len(new)} signals is not one of at most {AT_MOST}")
        if not new:
            return []
        # Asked as a read: a counter that did not move is no change that anybody audits.
        sequence = (await self._writes.rows(_LOCK[self._writes.dialect], {"tenant": tenant_id}))[0].sequence
        trusted = unseen and all(one.admissible for one in new)
        known = _Known() if trusted else await self._known(tenant_id, [one.signal for one in new])
        outcomes: list[Outcome | None] = []
        fresh: list[NewSignal] = []
        rows: list[CapturedSignal] = []
        for one in new:
            outcome = None if trusted else known.outcome_of(one.signal)
            if outcome is None and not one.admissible:
                outcome = Absent()
            if outcome is None:
                # Its numbers are filled in below, once it is known how many there are.
                row = CapturedSignal(signal=one.signal, intake_path=one.intake_path)
                if not trusted:
                    known.add(row)
                fresh.append(one)
                rows.append(row)
            outcomes.append(outcome)
        if fresh:
            await self._number(tenant_id, fresh, rows, sequence, weigh)
        made = iter(await self._keep(tenant_id, fresh, rows) if fresh else ())
        return [next(made) if one is None else one for one in outcomes]

    async def erase(self, tenant_id: str, user_id: str) -> ErasedSignals:
        """Destroy the key of everything that was learned from a user, or from everyone for the empty user (§21).

        Signals, and what lies sealed beside them in gold, can be read by nobody any more; rows and hashes stay.
        """
        subjects = [subject_of(user_id)] if user_id else await self._vault.subjects(tenant_id, OF_LEARNING)
        key_ids = await self._vault.destroy_all(tenant_id, subjects)
        many = [await self._writes.rows(statement, values) for statement, values in of_keys(tenant_id, key_ids)]
        return ErasedSignals(
            tuple(key_ids), sum(int(rows[0].many) for rows in many), await self.unsealed(tenant_id, user_id)
        )

    async def _sealed(self, tenant_id: str, new: Sequence[LearningSignal]) -> list[bytes]:
        if not new:
            return []
        subjects = {user_id: subject_of(user_id) for user_id in {one.user_id for one in new}}
        keys = await self._vault.keys_for(tenant_id, subjects.values())
        sealings = {user_id: keys[subject].sealing(PURPOSE) for user_id, subject in subjects.items()}
        entropy = self._vault.entropy(NONCE_BYTES * len(new))
        nonces = (entropy[start : start + NONCE_BYTES] for start in range(0, len(entropy), NONCE_BYTES))
        return [
            sealings[one.user_id].seal(one.SerializeToString(deterministic=True), nonce)
            for one, nonce in zip(new, nonces, strict=True)
        ]

    async def _known(self, tenant_id: str, wanted: Sequence[LearningSignal]) -> _Known:
        known = _Known()
        asked = {
            "tenant": tenant_id,
            "keys": [one.idempotency_key for one in wanted],
            "ids": [one.signal_id for one in wanted],
        }
        rows = await self._writes.rows(KNOWN[self._writes.dialect], asked)
        for one in await self._opened(tenant_id, rows):
            known.add(one)
        return known

    async def _number(
        self,
        tenant_id: str,
        fresh: Sequence[NewSignal],
        rows: Sequence[CapturedSignal],
        sequence: int,
        weigh: Weigh,
    ) -> None:
        kinds = [_kind(one.signal) for one in fresh]
        seen = await self._seen(tenant_id, Counter(kinds))
        captured_at = Timestamp()
        captured_at.FromDatetime(self._writes.clock.now())
        for number, (one, row, kind) in enumerate(zip(fresh, rows, kinds, strict=True), start=sequence + 1):
            times = seen[kind]
            row.sequence, row.frequency = number, times
            row.priority_bp = weigh(one.signal, times)
            row.captured_at.CopyFrom(captured_at)
            seen[kind] = times + 1

    async def _seen(self, tenant_id: str, more: Counter[Kind]) -> dict[Kind, int]:
        """How often each was seen before; from now on, so many more times."""
        names = ("domain", "signal_class", "source_engine_id", "reason_code")
        values = [{"tenant_id": tenant_id, **dict(zip(names, kind, strict=True)), "seen": more[kind]} for kind in more]
        written = await self._writes.write(_SEE[self._writes.dialect], values)
        after = {
            (row.domain, row.signal_class, row.source_engine_id, row.reason_code): row.seen for row in written.rows
        }
        return {kind: after[kind] - more[kind] for kind in more}

    async def _keep(self, tenant_id: str, fresh: Sequence[NewSignal], rows: Sequence[CapturedSignal]) -> list[Captured]:
        sealed = await self._sealed(tenant_id, [one.signal for one in fresh])
        captured_at = rows[0].captured_at.ToMicroseconds()
        made, values = [], []
        for one, row, under_key in zip(fresh, rows, sealed, strict=True):
            signal, kept = one.signal, canonical(one.signal, row, under_key)
            made.append(Captured(row, False, kept))
            values.append(
                (
                    tenant_id,
                    row.sequence,
                    signal.signal_id,
                    signal.idempotency_key,
                    signal.domain,
                    one.intake_path,
                    int(one.safety_critical),
                    "",
                    row.priority_bp,
                    captured_at,
                    kept,
                    sealed_under(under_key),
                )
            )
        await self._writes.append(signals, values)
        await self._writes.write(_COUNT, {"tenant": tenant_id, "new_sequence": rows[-1].sequence})
        return made


class _Known:
    """Signals by their keys and by their ids."""

    def __init__(self) -> None:
        self._by_key: dict[str, CapturedSignal] = {}
        self._ids: set[str] = set()

    def add(self, row: CapturedSignal) -> None:
        self._by_key[row.signal.idempotency_key] = row
        self._ids.add(row.signal.signal_id)

    def outcome_of(self, signal: LearningSignal) -> Outcome | None:
        """What becomes of a signal for which one is known; None where none is."""
        row = self._by_key.get(signal.idempotency_key)
        if row is None:
            return IdTaken(signal.signal_id) if signal.signal_id in self._ids else None
        if row.erased:
            return Erased(row.signal.signal_id)
        if not same(row, signal.SerializeToString(deterministic=True)):
            return KeyReused(signal.idempotency_key)
        return Captured(row, True)


class SignalStreams(SignalStreamsReader):
    """The writing side, within one transaction."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def advance(self, tenant_id: str, stream_id: str, through: int) -> None:
        """Everything up to this sequence is durable, or refused by name; never less than before."""
        values = {
            "tenant_id": tenant_id,
            "stream_id": stream_id,
            "acknowledged_through": through,
            "updated_at": self._writes.clock.now(),
        }
        await self._writes.write(_ADVANCE[self._writes.dialect], [values])


class SignalOutbox(SignalOutboxReader):
    """What engines leave for learning, in the transaction of what they saw."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def put(self, found: Sequence[LearningSignal]) -> None:
        """Leave signals; of one idempotency key the first stays."""
        now = self._writes.clock.now()
        values = [
            {
                "tenant_id": one.tenant_id,
                "idempotency_key": one.idempotency_key,
                "written_at": now,
                "canonical": one.SerializeToString(deterministic=True),
            }
            for one in found
        ]
        if values:
            await self._writes.write(_PUT[self._writes.dialect], values)

    async def take(self, limit: int) -> list[Outgoing]:
        """Take up to `limit` signals out, the oldest first; they are gone once this transaction is kept.

        Of several transactions at once each takes others.
        """
        rows = await self._writes.rows(_OLDEST, {"at_most": limit})
        if rows:
            await self._writes.write(_TAKE, {"keys": [(row.tenant_id, row.idempotency_key) for row in rows]})
        return [Outgoing(LearningSignal.FromString(bytes(row.canonical)), row.written_at) for row in rows]


def _kind(signal: LearningSignal) -> Kind:
    return signal.domain, signal.signal_class, signal.source_engine_id, signal.reason_code
