"""Every tamper goes past the triggers, with a connection of its own, as an attacker with the file would."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from selene.audit.v1.audit_pb2 import AuditEvent, Checkpoint

from store import NotFound, Store
from store.checkpoint import signed_bytes
from store.keys import SigningKey
from store.ledger import Head
from store.verify import Fault, VerifyReport, verify_store
from tests.store.ledgers import EVENTS, filled
from tests.support.stores import SIGNING_KEY, audit, open_store

TRUSTED = {SigningKey(SIGNING_KEY).key_id: SigningKey(SIGNING_KEY).public}


@pytest.fixture
async def signed(sqlite_url: str) -> dict[str, Checkpoint]:
    store = await open_store(sqlite_url)
    checkpoints = await filled(store)
    await store.close()
    return checkpoints


def tamper(url: str, *statements: str, parameters: Sequence[object] = ()) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as raw:
        for (trigger,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            raw.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            assert raw.execute(statement, parameters).rowcount != 0


def faults(report: VerifyReport) -> set[Fault]:
    assert report.faults == len(report.findings)
    return {finding.fault for finding in report.findings}


async def test_an_untouched_store_verifies(store_url: str) -> None:
    store = await open_store(store_url)
    checkpoints = await filled(store)
    report = await verify_store(store_url, TRUSTED, expected_checkpoints=checkpoints.values())
    assert report.ok, report.findings
    assert (report.rows, report.chains, report.payloads, report.checkpoints) == (EVENTS + 2, 2, 2, 4)
    assert report.rows_per_s > 0
    await store.close()


async def test_an_empty_store_verifies(store_url: str) -> None:
    report = await verify_store(store_url, TRUSTED)
    assert report.ok
    assert report.rows == 0


async def test_a_store_in_use_verifies(store_url: str) -> None:
    store = await open_store(store_url)
    await filled(store)

    async def write() -> None:
        for _ in range(20):
            async with store.transaction() as tx:
                audit(tx)

    writing = asyncio.create_task(write())
    reports = [await verify_store(store_url, TRUSTED) for _ in range(3)]
    await writing
    assert [report.findings for report in reports] == [[], [], []]
    await store.close()


def test_a_file_that_is_not_there_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        asyncio.run(verify_store(f"sqlite:///{tmp_path / 'typo.db'}", TRUSTED))
    assert list(tmp_path.iterdir()) == []


async def test_a_database_without_a_store_is_not_called_whole(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("other") / "other.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE other (id INTEGER)")
    with pytest.raises(NotFound):
        await verify_store(f"sqlite:///{path}", TRUSTED)


async def test_a_running_store_verifies_one_tenant(store: Store) -> None:
    await filled(store)
    assert ((await store.verify("t1")).rows, (await store.verify("t1")).ok) == (EVENTS + 2, True)
    assert (await store.verify("t2")).rows == 0


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit_events SET owner = 'forged' WHERE sequence = 3", {Fault.COLUMN_ALTERED}),
        ("UPDATE audit_events SET occurred_at = 1 WHERE sequence = 3", {Fault.COLUMN_ALTERED}),
        (
            "UPDATE audit_events SET canonical = CAST(canonical || x'00' AS BLOB) WHERE sequence = 3",
            {Fault.ROW_ALTERED, Fault.COLUMN_ALTERED, Fault.CHECKPOINT_DIFFERS, Fault.HEAD_ALTERED},
        ),
        (
            "UPDATE audit_events SET row_hash = zeroblob(32) WHERE sequence = 3",
            {Fault.ROW_ALTERED, Fault.CHAIN_BROKEN, Fault.CHECKPOINT_DIFFERS, Fault.HEAD_ALTERED},
        ),
        (
            "DELETE FROM audit_events WHERE sequence = 3",
            {Fault.ROW_MISSING, Fault.CHECKPOINT_DIFFERS, Fault.HEAD_ALTERED},
        ),
        (
            "DELETE FROM audit_events WHERE sequence = 7",
            {Fault.LEDGER_TRUNCATED, Fault.HEAD_ALTERED},
        ),
        ("DELETE FROM audit_events", {Fault.LEDGER_TRUNCATED, Fault.HEAD_ALTERED}),
        ("DELETE FROM chain_heads WHERE ledger = 'audit_events'", {Fault.HEAD_ALTERED}),
        ("UPDATE chain_heads SET frontier = x''", {Fault.HEAD_ALTERED}),
        ("UPDATE checkpoints SET root_hash = zeroblob(32)", {Fault.CHECKPOINT_ALTERED}),
        ("UPDATE checkpoints SET canonical = x'ff'", {Fault.CHECKPOINT_ALTERED}),
        ("UPDATE artifact_payloads SET payload = x'00'", {Fault.PAYLOAD_ALTERED}),
        ("DELETE FROM artifact_payloads", {Fault.PAYLOAD_MISSING}),
        ("UPDATE audit_events SET canonical = 'text' WHERE sequence = 3", {Fault.UNREADABLE}),
        ("UPDATE audit_events SET canonical = CAST(x'ff' AS TEXT) WHERE sequence = 3", {Fault.UNREADABLE}),
        ("UPDATE audit_events SET occurred_at = 'yesterday' WHERE sequence = 3", {Fault.UNREADABLE}),
        ("UPDATE artifact_payloads SET payload = 7", {Fault.UNREADABLE}),
        ("UPDATE artifacts_ledger SET artifact_type = 'FORGED' WHERE sequence = 1", {Fault.COLUMN_ALTERED}),
        (
            "UPDATE artifact_pointers SET active_version = 9",
            {Fault.POINTER_ALTERED},
        ),
        (
            "UPDATE artifact_pointers SET active_package_hash = zeroblob(32)",
            {Fault.POINTER_ALTERED},
        ),
    ],
)
async def test_a_tamper_shows(
    sqlite_url: str, signed: dict[str, Checkpoint], statement: str, expected: set[Fault]
) -> None:
    tamper(sqlite_url, statement)
    assert faults(await verify_store(sqlite_url, TRUSTED)) == expected


async def test_a_row_swapped_with_another_shows(sqlite_url: str, signed: dict[str, Checkpoint]) -> None:
    tamper(
        sqlite_url,
        "UPDATE audit_events SET sequence = 100 WHERE sequence = 2",
        "UPDATE audit_events SET sequence = 2 WHERE sequence = 3",
        "UPDATE audit_events SET sequence = 3 WHERE sequence = 100",
    )
    assert {Fault.CHAIN_BROKEN, Fault.COLUMN_ALTERED} <= faults(await verify_store(sqlite_url, TRUSTED))


def rewrite_history(url: str, change: Callable[[AuditEvent], None]) -> None:
    """Alter an event and everything after it consistently, heads included: what only a signature can reveal."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
        stored = raw.execute("SELECT canonical FROM audit_events ORDER BY sequence").fetchall()
    head, statements = Head(), []
    for number, (canonical,) in enumerate(stored, start=1):
        event = AuditEvent.FromString(canonical)
        if number == 3:
            change(event)
        canonical, previous = event.SerializeToString(deterministic=True), head.head_hash
        head = head.append(canonical)
        statements.append(
            f"UPDATE audit_events SET owner = '{event.owner}', canonical = x'{canonical.hex()}', "
            f"prev_hash = x'{previous.hex()}', row_hash = x'{head.head_hash.hex()}' WHERE sequence = {number}"
        )
    statements.append(
        f"UPDATE chain_heads SET head_hash = x'{head.head_hash.hex()}', frontier = x'{head.frontier.encode().hex()}' "
        "WHERE ledger = 'audit_events'"
    )
    tamper(url, *statements)


def forge(event: AuditEvent) -> None:
    event.owner = "forged"


async def test_a_consistently_rewritten_history_shows_against_its_checkpoint(
    sqlite_url: str, signed: dict[str, Checkpoint]
) -> None:
    rewrite_history(sqlite_url, forge)
    assert faults(await verify_store(sqlite_url, TRUSTED)) == {Fault.CHECKPOINT_DIFFERS}


async def test_a_rewritten_history_without_its_checkpoints_shows_against_those_kept_elsewhere(
    sqlite_url: str, signed: dict[str, Checkpoint]
) -> None:
    rewrite_history(sqlite_url, forge)
    tamper(sqlite_url, "DELETE FROM checkpoints")
    assert (await verify_store(sqlite_url, TRUSTED)).ok
    report = await verify_store(sqlite_url, TRUSTED, expected_checkpoints=signed.values())
    assert faults(report) == {Fault.CHECKPOINT_DIFFERS}


async def test_a_consistently_truncated_ledger_shows_against_its_checkpoint(
    sqlite_url: str, signed: dict[str, Checkpoint]
) -> None:
    tamper(sqlite_url, "DELETE FROM audit_events", "DELETE FROM chain_heads WHERE ledger = 'audit_events'")
    assert faults(await verify_store(sqlite_url, TRUSTED)) == {Fault.LEDGER_TRUNCATED}


async def test_a_forged_checkpoint_shows(sqlite_url: str, signed: dict[str, Checkpoint]) -> None:
    attacker = SigningKey(bytes(32))
    forged = signed["audit_events"]
    forged.root_hash = bytes(32)
    forged.signature = attacker.sign(signed_bytes(forged))
    tamper(
        sqlite_url,
        "UPDATE checkpoints SET root_hash = zeroblob(32), canonical = ? WHERE ledger = 'audit_events'",
        parameters=[forged.SerializeToString(deterministic=True)],
    )
    assert faults(await verify_store(sqlite_url, TRUSTED)) == {Fault.CHECKPOINT_UNTRUSTED}


async def test_a_store_signed_by_an_unknown_key_is_not_trusted(sqlite_url: str, signed: dict[str, Checkpoint]) -> None:
    report = await verify_store(sqlite_url, {})
    assert faults(report) == {Fault.CHECKPOINT_UNTRUSTED, Fault.SIGNATURE_UNTRUSTED}


async def test_a_tamper_shows_on_postgresql(postgres_url: str) -> None:
    store = await open_store(postgres_url)
    await filled(store)
    await store.close()
    raw = await asyncpg.connect(postgres_url)
    await raw.execute("ALTER TABLE audit_events DISABLE TRIGGER ALL")
    await raw.execute("DELETE FROM audit_events WHERE sequence = 3")
    await raw.close()
    report = await verify_store(postgres_url, TRUSTED)
    assert faults(report) == {Fault.ROW_MISSING, Fault.CHECKPOINT_DIFFERS, Fault.HEAD_ALTERED}
