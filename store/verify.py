"""Offline verification: recompute every chain, root and payload hash, and hold them against what is stored and signed.

Trusts nothing in the database but the signatures of `trusted_keys`. Rows are streamed from one snapshot, so memory
stays flat and a store in use can be verified too. A ledger that was rewritten together with its checkpoints shows only
against `expected_checkpoints` kept elsewhere.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from google.protobuf.message import DecodeError
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.audit.v1.audit_pb2 import AuditEvent, Checkpoint
from sqlalchemy import ColumnElement, Row, Table, and_, select, union
from sqlalchemy.exc import SQLAlchemyError

from store.access import Reads
from store.artifacts import artifact_columns
from store.checkpoint import checkpoint_columns, checkpoint_holds
from store.engine import open_database, sqlite_file
from store.errors import NotFound
from store.keys import signature_holds
from store.learning.reading import CAPTURED, first_unproved
from store.learning.tables import signals
from store.ledger import GENESIS, SUBTREE_LEVEL, Head, audit_columns, head_of, row_hash
from store.merkle import Frontier, leaf_hash
from store.schema import (
    artifact_payloads,
    artifact_pointers,
    artifacts_ledger,
    audit_events,
    chain_heads,
    checkpoints,
    ledger_subtrees,
)

MOST_FINDINGS = 1000
SUBTREES_AT_ONCE = 1000
LOCK_TIMEOUT_S = 5.0


class Fault(StrEnum):
    """What can be wrong with a store."""

    UNREADABLE = "UNREADABLE"
    ROW_MISSING = "ROW_MISSING"
    ROW_ALTERED = "ROW_ALTERED"
    CHAIN_BROKEN = "CHAIN_BROKEN"
    COLUMN_ALTERED = "COLUMN_ALTERED"
    HEAD_ALTERED = "HEAD_ALTERED"
    SUBTREE_ALTERED = "SUBTREE_ALTERED"
    LEDGER_TRUNCATED = "LEDGER_TRUNCATED"
    CHECKPOINT_DIFFERS = "CHECKPOINT_DIFFERS"
    CHECKPOINT_UNTRUSTED = "CHECKPOINT_UNTRUSTED"
    CHECKPOINT_ALTERED = "CHECKPOINT_ALTERED"
    SIGNATURE_UNTRUSTED = "SIGNATURE_UNTRUSTED"
    PAYLOAD_ALTERED = "PAYLOAD_ALTERED"
    PAYLOAD_MISSING = "PAYLOAD_MISSING"
    POINTER_ALTERED = "POINTER_ALTERED"
    SIGNALS_DIFFER = "SIGNALS_DIFFER"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault and where it is; `sequence` is 0 where it is not about one row."""

    fault: Fault
    ledger: str
    tenant_id: str
    sequence: int
    detail: str


@dataclass(slots=True)
class VerifyReport:
    """What was checked and what is wrong; at most 1000 findings are listed, `faults` counts all of them."""

    rows: int = 0
    chains: int = 0
    checkpoints: int = 0
    payloads: int = 0
    faults: int = 0
    elapsed_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.faults == 0

    @property
    def rows_per_s(self) -> float:
        """Ledger rows verified a second."""
        return self.rows / self.elapsed_s if self.elapsed_s else 0.0

    def add(self, fault: Fault, ledger: str, tenant_id: str, sequence: int, detail: str) -> None:
        """Count a fault, and list it while there is room."""
        self.faults += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(fault, ledger, tenant_id, sequence, detail))


@dataclass(frozen=True, slots=True)
class _Ledger:
    """How one ledger's rows are read and compared."""

    name: str
    table: Table
    columns_of: Callable[[bytes], dict[str, Any]]


LEDGERS = (
    _Ledger(audit_events.name, audit_events, lambda canonical: audit_columns(AuditEvent.FromString(canonical))),
    _Ledger(
        artifacts_ledger.name, artifacts_ledger, lambda canonical: artifact_columns(ArtifactRow.FromString(canonical))
    ),
)


async def verify_store(
    url: str,
    trusted_keys: Mapping[str, bytes],
    *,
    expected_checkpoints: Iterable[Checkpoint] = (),
    timer: Callable[[], float] = time.perf_counter,
) -> VerifyReport:
    """Verify the database at `url` against `trusted_keys` (key id → 32 public bytes). NotFound, StoreUnavailable."""
    if (file := sqlite_file(url)) is not None and not file.exists():
        raise NotFound(f"no database at {file}")
    started, report = timer(), VerifyReport()
    database = open_database(url, lock_timeout_s=LOCK_TIMEOUT_S, connections=1)
    expected = list(expected_checkpoints)
    try:
        async with database.reader.snapshot() as reads:
            for ledger in LEDGERS:
                for tenant_id in await _tenants(reads, ledger, expected):
                    chain = _Chain(reads, report, ledger, tenant_id, trusted_keys, expected)
                    await _readable(report, ledger.name, tenant_id, chain.verify())
            signatures = _verify_signatures(reads, report, trusted_keys)
            await _readable(report, artifacts_ledger.name, "", signatures)
            await _readable(report, artifact_payloads.name, "", _verify_payloads(reads, report))
            await _readable(report, artifact_pointers.name, "", _verify_pointers(reads, report))
            for tenant_id in await _captured_of(reads):
                await _readable(report, signals.name, tenant_id, _verify_signals(reads, report, tenant_id))
    finally:
        await database.close()
    report.elapsed_s = timer() - started
    return report


async def verify_tenant(reads: Reads, tenant_id: str, trusted_keys: Mapping[str, bytes]) -> VerifyReport:
    """One tenant's chains against `trusted_keys`, in a database that is open. StoreUnavailable."""
    report = VerifyReport()
    for ledger in LEDGERS:
        chain = _Chain(reads, report, ledger, tenant_id, trusted_keys, ())
        await _readable(report, ledger.name, tenant_id, chain.verify())
    await _readable(report, signals.name, tenant_id, _verify_signals(reads, report, tenant_id))
    return report


async def _readable(report: VerifyReport, ledger: str, tenant_id: str, check: Coroutine[Any, Any, None]) -> None:
    """Values of another type than their column's (SQLite keeps them) are a fault, not a crash; the check ends there."""
    try:
        await check
    except (SQLAlchemyError, TypeError, ValueError, OverflowError) as error:
        report.add(Fault.UNREADABLE, ledger, tenant_id, 0, str(error))


async def _tenants(reads: Reads, ledger: _Ledger, expected: Iterable[Checkpoint]) -> list[str]:
    """Every tenant that has, or by any record should have, rows in the ledger."""
    known = union(
        select(ledger.table.c.tenant_id),
        select(chain_heads.c.tenant_id).where(chain_heads.c.ledger == ledger.name),
        select(checkpoints.c.tenant_id).where(checkpoints.c.ledger == ledger.name),
    )
    try:
        stored = {row.tenant_id for row in await reads.rows(known)}
    except SQLAlchemyError as error:
        raise NotFound(f"no store in this database: {error}") from error
    return sorted(stored | {checkpoint.tenant_id for checkpoint in expected if checkpoint.ledger == ledger.name})


class _Chain:
    """One tenant's chain, recomputed."""

    def __init__(
        self,
        reads: Reads,
        report: VerifyReport,
        ledger: _Ledger,
        tenant_id: str,
        trusted_keys: Mapping[str, bytes],
        expected: Iterable[Checkpoint],
    ) -> None:
        self._reads = reads
        self._report = report
        self._ledger = ledger
        self._tenant_id = tenant_id
        self._trusted_keys = trusted_keys
        self._expected = [kept for kept in expected if (kept.ledger, kept.tenant_id) == (ledger.name, tenant_id)]
        self._size, self._hash, self._frontier = 0, GENESIS, Frontier()
        self._subtrees: dict[int, bytes] = {}
        self._subtrees_until = 0

    async def verify(self) -> None:
        """Add every fault of this chain to the report."""
        self._report.chains += 1
        due = await self._trusted_checkpoints()
        table = self._ledger.table
        rows = select(table).where(table.c.tenant_id == self._tenant_id).order_by(table.c.sequence)
        async for row in self._reads.stream(rows):
            self._verify_row(row)
            if len(self._subtrees) == SUBTREES_AT_ONCE:
                await self._verify_subtrees()
            for checkpoint in due.pop(self._size, ()):
                self._verify_root(checkpoint)
        for size in sorted(due):
            is_truncated = size > self._size
            fault = Fault.LEDGER_TRUNCATED if is_truncated else Fault.CHECKPOINT_DIFFERS
            first = self._size + 1 if is_truncated else size
            self._add(fault, first, f"signed at {size} rows; the last one there is {self._size}")
        await self._verify_head()
        await self._verify_subtrees()
        await self._verify_no_subtree_beyond()

    def _add(self, fault: Fault, sequence: int, detail: str) -> None:
        self._report.add(fault, self._ledger.name, self._tenant_id, sequence, detail)

    async def _trusted_checkpoints(self) -> dict[int, list[Checkpoint]]:
        """By tree size: stored ones that a trusted key signed, and the expected ones, which must be signed too."""
        stored = select(checkpoints).where(
            checkpoints.c.tenant_id == self._tenant_id, checkpoints.c.ledger == self._ledger.name
        )
        due: dict[int, list[Checkpoint]] = {}
        candidates = [self._stored(row) for row in await self._reads.rows(stored)] + self._expected
        for checkpoint in candidates:
            self._report.checkpoints += 1
            if checkpoint is None:
                continue
            if not checkpoint_holds(checkpoint, self._trusted_keys):
                self._add(Fault.CHECKPOINT_UNTRUSTED, checkpoint.tree_size, f"no trusted {checkpoint.key_id} signed it")
                continue
            due.setdefault(checkpoint.tree_size, []).append(checkpoint)
        return due

    def _stored(self, row: Row[Any]) -> Checkpoint | None:
        try:
            checkpoint = Checkpoint.FromString(row.canonical)
        except DecodeError:
            self._add(Fault.CHECKPOINT_ALTERED, row.tree_size, "its bytes are no checkpoint")
            return None
        if differing := _differing(row, checkpoint_columns(checkpoint)):
            self._add(Fault.CHECKPOINT_ALTERED, row.tree_size, f"columns differ: {differing}")
        return checkpoint

    def _verify_row(self, row: Row[Any]) -> None:
        self._report.rows += 1
        if row.sequence != self._size + 1:
            self._add(Fault.ROW_MISSING, self._size + 1, f"followed by row {row.sequence}")
        elif row.prev_hash != self._hash:
            self._add(Fault.CHAIN_BROKEN, row.sequence, "does not follow the row before")
        canonical = bytes(row.canonical)
        if row_hash(bytes(row.prev_hash), canonical) != row.row_hash:
            self._add(Fault.ROW_ALTERED, row.sequence, "its hash is not of its bytes")
        try:
            differing = _differing(row, self._ledger.columns_of(canonical))
        except DecodeError:
            differing = "all: the bytes are no message"
        if differing:
            self._add(Fault.COLUMN_ALTERED, row.sequence, f"columns differ: {differing}")
        # From the bytes, not from the stored hash: a row rewritten with its hash must still change the root.
        actual = row_hash(self._hash if row.sequence == self._size + 1 else bytes(row.prev_hash), canonical)
        self._size, self._hash = row.sequence, bytes(row.row_hash)
        self._frontier, completed = self._frontier.grown(leaf_hash(actual))
        if len(completed) > SUBTREE_LEVEL:
            self._subtrees[self._frontier.size] = b"".join(completed[SUBTREE_LEVEL:])

    def _verify_root(self, checkpoint: Checkpoint) -> None:
        if (self._frontier.size, self._frontier.root()) != (checkpoint.tree_size, checkpoint.root_hash):
            self._add(Fault.CHECKPOINT_DIFFERS, checkpoint.tree_size, "the rows are not those that were signed")

    async def _verify_head(self) -> None:
        head = select(chain_heads).where(
            chain_heads.c.tenant_id == self._tenant_id, chain_heads.c.ledger == self._ledger.name
        )
        rows = await self._reads.rows(head)
        try:
            stored = head_of(rows[0]) if rows else Head()
        except ValueError as error:
            self._add(Fault.HEAD_ALTERED, 0, str(error))
            return
        if stored != Head(self._size, self._hash, self._frontier):
            first = self._size + 1 if stored.size > self._size else 0
            self._add(Fault.HEAD_ALTERED, first, f"the head says {stored.size} rows, {self._size} are there or differ")

    async def _verify_subtrees(self) -> None:
        """What was completed since the last time is what is kept."""
        kept = ledger_subtrees.c
        found = select(kept.tree_size, kept.roots).where(
            self._kept_here(), kept.tree_size > self._subtrees_until, kept.tree_size <= self._frontier.size
        )
        self._subtrees_until = self._frontier.size
        stored = {row.tree_size: bytes(row.roots) for row in await self._reads.rows(found)}
        for size in sorted(stored.keys() | self._subtrees.keys()):
            if stored.get(size) != self._subtrees.get(size):
                self._add(Fault.SUBTREE_ALTERED, size, "the kept roots are not those of the rows")
        self._subtrees.clear()

    async def _verify_no_subtree_beyond(self) -> None:
        beyond = select(ledger_subtrees.c.tree_size).where(
            self._kept_here(), ledger_subtrees.c.tree_size > self._frontier.size
        )
        for row in await self._reads.rows(beyond.order_by(ledger_subtrees.c.tree_size).limit(1)):
            self._add(Fault.SUBTREE_ALTERED, row.tree_size, f"kept for more rows than the {self._frontier.size} there")

    def _kept_here(self) -> ColumnElement[bool]:
        kept = ledger_subtrees.c
        return and_(kept.tenant_id == self._tenant_id, kept.ledger == self._ledger.name)


def _differing(row: Row[Any], columns: Mapping[str, Any]) -> str:
    stored = row._mapping
    return ", ".join(name for name, value in columns.items() if stored[name] != value)


async def _verify_signatures(reads: Reads, report: VerifyReport, trusted_keys: Mapping[str, bytes]) -> None:
    name = artifacts_ledger.name
    rows = select(artifacts_ledger.c.tenant_id, artifacts_ledger.c.sequence, artifacts_ledger.c.canonical)
    async for row in reads.stream(rows):
        try:
            artifact = ArtifactRow.FromString(row.canonical)
        except DecodeError:
            continue
        signed = (artifact.signing_key_id, artifact.package_hash, artifact.signature)
        if not signature_holds(trusted_keys, *signed):
            detail = f"no trusted {artifact.signing_key_id} signed {artifact.artifact_type}@{artifact.artifact_version}"
            report.add(Fault.SIGNATURE_UNTRUSTED, name, row.tenant_id, row.sequence, detail)


async def _verify_payloads(reads: Reads, report: VerifyReport) -> None:
    name = artifact_payloads.name
    hashes = select(artifact_payloads.c.sha256).order_by(artifact_payloads.c.sha256)
    async for key in reads.stream(hashes):
        # One at a time: payloads may be large.
        (row,) = await reads.rows(select(artifact_payloads.c.payload).where(artifact_payloads.c.sha256 == key.sha256))
        report.payloads += 1
        if hashlib.sha256(row.payload).digest() != key.sha256:
            report.add(Fault.PAYLOAD_ALTERED, name, "", 0, bytes(key.sha256).hex())
    lost = (
        select(artifacts_ledger.c.tenant_id, artifacts_ledger.c.sequence, artifacts_ledger.c.package_hash)
        .outerjoin(artifact_payloads, artifact_payloads.c.sha256 == artifacts_ledger.c.package_hash)
        .where(artifact_payloads.c.sha256.is_(None))
    )
    async for row in reads.stream(lost):
        report.add(Fault.PAYLOAD_MISSING, name, row.tenant_id, row.sequence, bytes(row.package_hash).hex())


async def _verify_pointers(reads: Reads, report: VerifyReport) -> None:
    """A pointer must name a registered version with the content it says."""
    pointer, row = artifact_pointers.c, artifacts_ledger.c
    same_version = (
        (row.tenant_id == pointer.tenant_id)
        & (row.artifact_type == pointer.artifact_type)
        & (row.scope_type == pointer.scope_type)
        & (row.scope_id == pointer.scope_id)
        & (row.artifact_version == pointer.active_version)
        & (row.package_hash == pointer.active_package_hash)
    )
    astray = select(artifact_pointers).outerjoin(artifacts_ledger, same_version).where(row.sequence.is_(None))
    async for found in reads.stream(astray):
        detail = f"{found.artifact_type}@{found.active_version} is not in the ledger with this content"
        report.add(Fault.POINTER_ALTERED, artifact_pointers.name, found.tenant_id, 0, detail)


async def _captured_of(reads: Reads) -> list[str]:
    """Every tenant of whom the trail says that signals were captured, or who has some."""
    told = select(audit_events.c.tenant_id).where(audit_events.c.transition == CAPTURED).distinct()
    tenants = {row.tenant_id for row in await reads.rows(told)}
    try:
        tenants |= {row.tenant_id for row in await reads.rows(select(signals.c.tenant_id).distinct())}
    except SQLAlchemyError:
        # A store from before there were signals. Where the trail tells of some, they are found missing.
        return sorted(tenants)
    return sorted(tenants)


async def _verify_signals(reads: Reads, report: VerifyReport, tenant_id: str) -> None:
    """Signals are no chain of their own: rows of the trail vouch for them."""
    first = await first_unproved(reads, tenant_id)
    if first is not None:
        report.add(Fault.SIGNALS_DIFFER, signals.name, tenant_id, first, "not what the trail says was captured")
