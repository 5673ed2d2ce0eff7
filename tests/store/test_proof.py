"""Proofs over a stored ledger of some hundred rows: the same as those over all its leaves, and from few of its rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Executable, Row

from store import NotFound, Store
from store.access import Reads, Values
from store.engine import open_database
from store.ledger import AUDIT, SUBTREE_LEVEL
from store.merkle import consistency_proof, inclusion_proof, leaf_hash, perfect_subtrees, tree_root
from store.migrations.versions import r0014_ledger_subtrees
from store.proof import Proofs
from store.verify import Fault
from tests.support.stores import audit

ROWS = 1_300
"""More than two subtrees of 512 rows, and a rest."""
INTERESTING = (1, 2, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1279, 1280, 1281, ROWS - 1, ROWS)
KEPT = "SELECT tree_size, roots FROM ledger_subtrees WHERE tenant_id = 't1' ORDER BY tree_size"


class Counted:
    """Reads that count rows."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.read = 0

    async def rows(self, statement: Executable, parameters: Values | None = None) -> Sequence[Row[Any]]:
        found = await self._reads.rows(statement, parameters)
        self.read += len(found)
        return found

    def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        raise AssertionError("a proof needs no pass over the ledger")


async def fill(store: Store, *, rows: int = ROWS, at_once: int = 433) -> None:
    """Rows in transactions that end at no multiple of anything, between those of another tenant."""
    for start in range(0, rows, at_once):
        async with store.transaction() as tx:
            for number in range(start, min(start + at_once, rows)):
                audit(tx, number=str(number))
            audit(tx, tenant_id="t2")


async def leaves_of(store: Store) -> list[bytes]:
    return [leaf_hash(event.row_hash) async for event in store.audit.stream("t1")]


async def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Statements in the database itself; what the last one found."""
    database = open_database(url, lock_timeout_s=5.0, connections=1)
    found: list[tuple[Any, ...]] = []

    def execute(connection: Connection) -> None:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            found[:] = [tuple(row) for row in result] if result.returns_rows else []

    await database.writer.exclusively(execute)
    await database.close()
    return found


async def test_proofs_and_roots_are_those_over_all_leaves(store: Store) -> None:
    await fill(store)
    leaves = await leaves_of(store)
    for size in INTERESTING:
        assert await store.proofs.root(AUDIT, "t1", size) == tree_root(leaves[:size])
        for other in INTERESTING:
            if other <= size:
                inclusion = await store.proofs.inclusion(AUDIT, "t1", other, size)
                assert list(inclusion.path) == inclusion_proof(leaves[:size], other - 1)
                consistency = await store.proofs.consistency(AUDIT, "t1", other, size)
                assert list(consistency.path) == consistency_proof(leaves[:size], other)
    with pytest.raises(NotFound, match=f"has {ROWS} rows, not {ROWS + 1}"):
        await store.proofs.inclusion(AUDIT, "t1", 1, ROWS + 1)


async def test_a_proof_reads_few_rows_of_a_long_ledger(sqlite_store: Store) -> None:
    await fill(sqlite_store)
    counted = Counted(sqlite_store._database.reader)
    await Proofs(counted).inclusion(AUDIT, "t1", 700, ROWS)
    assert counted.read < 2 * 256 + 10


@pytest.mark.parametrize("at_once", [1, 256, 300])
async def test_what_is_kept_does_not_depend_on_how_rows_came(sqlite_store: Store, at_once: int) -> None:
    await fill(sqlite_store, rows=600, at_once=at_once)
    leaves = await leaves_of(sqlite_store)
    assert await sqlite_store.proofs.root(AUDIT, "t1", 600) == tree_root(leaves)


async def test_a_ledger_from_before_is_filled_in_by_the_migration(store: Store, store_url: str) -> None:
    await fill(store)
    kept = await run(store_url, KEPT)
    assert [size for size, _ in kept] == [256, 512, 768, 1024, 1280]
    await run(store_url, "DELETE FROM ledger_subtrees")
    database = open_database(store_url, lock_timeout_s=5.0, connections=1)

    def migrate(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            r0014_ledger_subtrees.fill()

    await database.writer.exclusively(migrate)
    await database.close()
    assert [(size, bytes(roots)) for size, roots in await run(store_url, KEPT)] == [
        (size, bytes(roots)) for size, roots in kept
    ]
    assert (await store.verify("t1")).ok


def test_the_migration_keeps_the_levels_that_are_read() -> None:
    assert r0014_ledger_subtrees.SUBTREE_LEVEL == SUBTREE_LEVEL


@pytest.mark.parametrize(
    ("tamper", "where"),
    [
        ("UPDATE ledger_subtrees SET roots = zeroblob(32) WHERE tree_size = 768", 768),
        ("DELETE FROM ledger_subtrees WHERE tree_size = 512", 512),
        ("UPDATE ledger_subtrees SET tree_size = 700 WHERE tree_size = 768", 700),
        ("UPDATE ledger_subtrees SET tree_size = 5000 WHERE tree_size = 1280", 1280),
        ("INSERT INTO ledger_subtrees VALUES ('t1', 'audit_events', 5120, zeroblob(32))", 5120),
    ],
)
async def test_verification_names_a_kept_root_that_is_not_of_the_rows(
    sqlite_store: Store, sqlite_url: str, tamper: str, where: int
) -> None:
    await fill(sqlite_store)
    await run(sqlite_url, tamper)
    report = await sqlite_store.verify("t1")
    assert {finding.fault for finding in report.findings} == {Fault.SUBTREE_ALTERED}
    assert report.findings[0].sequence == where


async def test_a_proof_without_its_kept_root_is_refused(sqlite_store: Store, sqlite_url: str) -> None:
    await fill(sqlite_store)
    await run(sqlite_url, "DELETE FROM ledger_subtrees WHERE tree_size = 512")
    with pytest.raises(NotFound, match="rows 1 to 512 of audit_events have no kept root"):
        await sqlite_store.proofs.inclusion(AUDIT, "t1", 700, ROWS)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (0, 7), (8, 13), (256, 300), (512, 1300)])
def test_subtrees_cover_a_range_without_a_gap(start: int, end: int) -> None:
    covered = start
    for level, last in perfect_subtrees(start, end):
        assert last - covered == 1 << level
        assert covered % (1 << level) == 0
        covered = last
    assert covered == end
