from __future__ import annotations

import sqlite3
from contextlib import closing

import asyncpg
import pytest

from store import Store
from tests.store.ledgers import filled
from tests.support.stores import open_store

TABLES = ("audit_events", "artifacts_ledger", "artifact_payloads", "checkpoints")
COLUMNS = {
    "audit_events": "owner",
    "artifacts_ledger": "created_by",
    "artifact_payloads": "payload",
    "checkpoints": "key_id",
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET {column} = {column}",
        "DELETE FROM {table}",
        "INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
    ],
)
async def test_sqlite_refuses_to_change_or_delete_a_row(sqlite_url: str, table: str, statement: str) -> None:
    await _filled(sqlite_url)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        before = raw.execute(f"SELECT * FROM {table}").fetchall()
        assert before
        content_addressed = "REPLACE" in statement and table in ("artifact_payloads", "checkpoints")
        if content_addressed:
            # The same content may be inserted twice; the row that is there stays.
            raw.execute(statement.format(table=table, column=COLUMNS[table]))
        else:
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(statement.format(table=table, column=COLUMNS[table]))
        assert raw.execute(f"SELECT * FROM {table}").fetchall() == before


async def test_sqlite_does_not_replace_a_payload_by_another(sqlite_url: str) -> None:
    await _filled(sqlite_url)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        before = raw.execute("SELECT * FROM artifact_payloads").fetchall()
        raw.execute("INSERT OR REPLACE INTO artifact_payloads SELECT sha256, x'00', created_at FROM artifact_payloads")
        assert raw.execute("SELECT * FROM artifact_payloads").fetchall() == before


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "statement", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}", "TRUNCATE {table}"]
)
@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_postgresql_refuses_to_change_or_delete_a_row(
    postgres_url: str, table: str, statement: str, role: str
) -> None:
    await _filled(postgres_url)
    raw = await asyncpg.connect(postgres_url)
    await raw.execute(f"SET session_replication_role = {role}")
    before = await raw.fetch(f"SELECT * FROM {table}")
    assert before
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await raw.execute(statement.format(table=table, column=COLUMNS[table]))
    assert await raw.fetch(f"SELECT * FROM {table}") == before
    await raw.close()


async def _filled(url: str) -> None:
    store: Store = await open_store(url)
    await filled(store)
    await store.close()
