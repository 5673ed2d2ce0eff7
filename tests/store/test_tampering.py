"""Whoever has the database file and leaves no row as it was: `verify` names the first row that is bad."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from store.keys import SigningKey
from store.verify import VerifyReport, verify_store
from tests.store.ledgers import EVENTS, filled
from tests.support.stores import SIGNING_KEY, migrated_sqlite, open_store

TRUSTED = {SigningKey(SIGNING_KEY).key_id: SigningKey(SIGNING_KEY).public}
LEDGERS = {"audit_events": EVENTS, "artifacts_ledger": 2}
"""And how many rows each has."""

ROWS = [(ledger, row) for ledger, rows in LEDGERS.items() for row in range(1, rows + 1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store with both ledgers, signed and closed."""
    path = tmp_path_factory.mktemp("whole") / "selene.db"
    path.write_bytes(migrated_sqlite())

    async def fill() -> None:
        store = await open_store(f"sqlite:///{path}")
        await filled(store)
        await store.close()

    asyncio.run(fill())
    return path.read_bytes()


@pytest.fixture
def file(whole: bytes, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    path = tmp_path / "selene.db"
    path.write_bytes(whole)
    return path


@contextmanager
def past_the_triggers(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that may change what is append-only."""
    with closing(sqlite3.connect(file, isolation_level=None)) as raw:
        for (trigger,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            raw.execute(f"DROP TRIGGER {trigger}")
        yield raw


async def first_bad(file: Path, ledger: str) -> int:
    """The first row of a ledger that is named; nothing is said of the other one."""
    report: VerifyReport = await verify_store(f"sqlite:///{file}", TRUSTED)
    named = [finding.sequence for finding in report.findings if finding.sequence]
    assert not report.ok
    assert {finding.ledger for finding in report.findings if finding.sequence} == {ledger}
    return min(named)


def flip(file: Path, whole: bytes, at: int) -> None:
    file.write_bytes(flipped(whole, at))


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(("ledger", "row"), ROWS)
async def test_a_byte_that_flips_in_the_file_names_its_row(file: Path, whole: bytes, ledger: str, row: int) -> None:
    with closing(sqlite3.connect(file)) as raw:
        statement = f"SELECT canonical FROM {ledger} WHERE sequence = ?"
        (canonical,) = raw.execute(statement, (row,)).fetchone()
    place = whole.index(canonical)
    for at in (0, len(canonical) // 2, len(canonical) - 1):
        flip(file, whole, place + at)
        assert await first_bad(file, ledger) == row, at


@pytest.mark.parametrize("column", ["prev_hash", "row_hash"])
@pytest.mark.parametrize(("ledger", "row"), ROWS)
async def test_a_byte_that_flips_in_a_hash_names_its_row(file: Path, ledger: str, row: int, column: str) -> None:
    with past_the_triggers(file) as raw:
        (before,) = raw.execute(f"SELECT {column} FROM {ledger} WHERE sequence = ?", (row,)).fetchone()
        raw.execute(f"UPDATE {ledger} SET {column} = ? WHERE sequence = ?", (flipped(before, 7), row))
    assert await first_bad(file, ledger) == row


def drop(raw: sqlite3.Connection, ledger: str, row: int) -> None:
    raw.execute(f"DELETE FROM {ledger} WHERE sequence = {row}")


def truncate(raw: sqlite3.Connection, ledger: str, row: int) -> None:
    raw.execute(f"DELETE FROM {ledger} WHERE sequence >= {row}")


def truncate_unsigned(raw: sqlite3.Connection, ledger: str, row: int) -> None:
    raw.execute("DELETE FROM checkpoints")
    truncate(raw, ledger, row)


@pytest.mark.parametrize("tamper", [drop, truncate, truncate_unsigned])
@pytest.mark.parametrize(("ledger", "row"), ROWS)
async def test_a_row_that_is_gone_is_named(
    file: Path, ledger: str, row: int, tamper: Callable[[sqlite3.Connection, str, int], None]
) -> None:
    with past_the_triggers(file) as raw:
        raw.execute("DELETE FROM artifact_pointers")
        tamper(raw, ledger, row)
    assert await first_bad(file, ledger) == row


@pytest.mark.parametrize(
    ("ledger", "first", "second"),
    [("artifacts_ledger", 1, 2), *(("audit_events", one, two) for one in (1, 3) for two in (4, EVENTS))],
)
async def test_rows_that_changed_places_are_named_from_the_first(
    file: Path, ledger: str, first: int, second: int
) -> None:
    with past_the_triggers(file) as raw:
        for before, after in ((first, 1_000), (second, first), (1_000, second)):
            raw.execute(f"UPDATE {ledger} SET sequence = {after} WHERE sequence = {before}")
    assert await first_bad(file, ledger) == first
