"""What the store does when the database cannot: locked, full, gone, cancelled. Each ends typed and whole."""

from __future__ import annotations

import asyncio
import random
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from store import Store, StoreUnavailable, Unavailability
from store.keys import SigningKey
from store.verify import verify_store
from tests.support.stores import MASTER_KEY, SIGNING_KEY, Database, Postgres, audit, open_store
from tests.support.time import FakeClock, SeqIds

TRUSTED = {SigningKey(SIGNING_KEY).key_id: SigningKey(SIGNING_KEY).public}


async def impatient(url: str, prefix: str = "id") -> Store:
    return await Store.open(
        url,
        clock=FakeClock(),
        ids=SeqIds(prefix),
        signing_key=SIGNING_KEY,
        master_key=MASTER_KEY,
        lock_timeout_s=0.2,
    )


async def own(store: Store, device_id: str) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.devices.set_owner("t1", device_id, "u1")
        audit(tx)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db"])
async def test_a_database_that_cannot_keep_a_promise_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="store"):
        await open_store(url)


async def test_a_server_that_is_not_there_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.mktemp("nowhere")
    for url in (f"postgresql://u@/db?host={nowhere}", f"sqlite:///{nowhere}/absent/folder/selene.db"):
        with pytest.raises(StoreUnavailable) as refusal:
            await impatient(url)
        assert refusal.value.reason is Unavailability.UNAVAILABLE


async def test_where_nothing_answers_the_store_is_named_without_its_secrets() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: it refuses
        at = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match="Check that the database runs") as refusal:
            await impatient(f"postgresql://selene:canary@{at}/ledger")
    assert f"postgresql://selene@{at}/ledger: " in str(refusal.value)
    assert "canary" not in str(refusal.value)


async def test_a_file_that_is_no_database_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("garbage") / "selene.db"
    path.write_bytes(b"not a database " * 1000)
    store = await impatient(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable) as refusal:
        await store.migrate()
    assert refusal.value.reason is Unavailability.UNAVAILABLE
    await store.close()


def test_a_new_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    async def use() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/selene.db")
        assert not await store.healthy()
        await store.migrate()
        assert await store.healthy()
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}  # noqa: ASYNC240 - a test
        assert modes == {"selene.db": 0o600, "selene.db-wal": 0o600, "selene.db-shm": 0o600}
        await store.close()

    asyncio.run(use())


async def test_a_closed_store_is_unavailable(store_url: str) -> None:
    store = await open_store(store_url)
    assert await store.healthy()
    await store.close()
    with pytest.raises(StoreUnavailable) as refusal:
        await own(store, "d1")
    assert refusal.value.reason is Unavailability.UNAVAILABLE
    assert not await store.healthy()


async def test_an_error_of_our_own_that_speaks_of_what_is_closed_stays_what_it_is(store_url: str) -> None:
    store = await open_store(store_url)
    with pytest.raises(ValueError, match="this defect is closed"):
        async with store.transaction():
            raise ValueError("this defect is closed")
    await store.close()


async def test_a_database_locked_by_another_process_is_locked_and_then_recovers(sqlite_url: str) -> None:
    store = await impatient(sqlite_url)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable) as refusal:
            await own(store, "d1")
        assert refusal.value.reason is Unavailability.LOCKED
        assert not await store.healthy()
        assert await store.voiceid.devices.owner("t1", "d1") is None
        other.execute("ROLLBACK")
    await own(store, "d1")
    assert await store.healthy()
    await store.close()


async def test_rows_locked_by_another_server_are_locked_and_then_recover(postgres_url: str) -> None:
    store = await impatient(postgres_url)
    await own(store, "d1")
    other = await asyncpg.connect(postgres_url)
    async with other.transaction():
        await other.execute("SELECT * FROM chain_heads FOR UPDATE")
        with pytest.raises(StoreUnavailable) as refusal:
            await own(store, "d2")
        assert refusal.value.reason is Unavailability.LOCKED
    await other.close()
    await own(store, "d2")
    await store.close()


async def test_a_transaction_that_never_ends_does_not_hang_the_others(sqlite_url: str) -> None:
    store = await impatient(sqlite_url)
    async with store.transaction():
        with pytest.raises(StoreUnavailable) as refusal:
            await own(store, "d1")
    assert refusal.value.reason is Unavailability.LOCKED
    await own(store, "d1")
    await store.close()


async def test_a_full_disk_keeps_nothing_of_the_transaction_and_recovers(sqlite_url: str) -> None:
    store = await open_store(sqlite_url)
    await own(store, "before")
    connection = store._database.writer._connection  # type: ignore[attr-defined]  # only a full disk does this otherwise
    (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable) as refusal:
        async with store.transaction() as tx:
            await tx.voiceid.devices.set_owner("t1", "first", "u1")
            await tx.voiceid.devices.set_owner("t1", "full" * 20000, "u1")
            audit(tx)
    assert refusal.value.reason is Unavailability.FULL
    assert await store.voiceid.devices.owner("t1", "first") is None
    # The connection that saw the full disk was dropped, and with it the limit.
    await own(store, "after")
    assert await store.voiceid.devices.owner("t1", "before") == "u1"
    assert (await verify_store(sqlite_url, TRUSTED)).ok
    await store.close()


async def test_a_full_disk_fails_everybody_who_shares_the_commit(sqlite_url: str) -> None:
    store = await open_store(sqlite_url)
    await own(store, "before")
    connection = store._database.writer._connection  # type: ignore[attr-defined]  # only a full disk does this otherwise
    (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    names = ["small", "large" * 20000, "later"]
    outcomes = await asyncio.gather(*(own(store, name) for name in names), return_exceptions=True)
    for name, outcome in zip(names, outcomes, strict=True):
        acknowledged = outcome is None
        assert acknowledged == (await store.voiceid.devices.owner("t1", name) == "u1")
        assert acknowledged or isinstance(outcome, StoreUnavailable)
    assert isinstance(outcomes[1], StoreUnavailable)
    assert (await verify_store(sqlite_url, TRUSTED)).ok
    await store.close()


@pytest.mark.parametrize(
    ("sqlstate", "reason"),
    [
        ("53100", Unavailability.FULL),
        ("40P01", Unavailability.LOCKED),
        ("40001", Unavailability.LOCKED),
        ("53300", Unavailability.UNAVAILABLE),
        ("57P01", Unavailability.UNAVAILABLE),
    ],
)
async def test_what_postgresql_reports_is_told_apart(postgres_url: str, sqlstate: str, reason: Unavailability) -> None:
    raw = await asyncpg.connect(postgres_url)
    await raw.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{sqlstate}'; END $$"
    )
    await raw.execute("CREATE TRIGGER fail BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION fail()")
    await raw.close()
    store = await open_store(postgres_url)
    with pytest.raises(StoreUnavailable) as refusal:
        await own(store, "d1")
    assert refusal.value.reason is reason
    assert await store.voiceid.devices.owner("t1", "d1") is None
    await store.close()


async def test_a_connection_cut_by_the_server_is_unavailable_and_then_recovers(
    postgres: Postgres, postgres_database: Database
) -> None:
    store = await open_store(postgres_database.url)
    await own(store, "d1")
    raw = await asyncpg.connect(postgres.url("postgres"))
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
    with pytest.raises(StoreUnavailable) as refusal:
        async with store.transaction() as tx:
            await tx.voiceid.devices.set_owner("t1", "d2", "u1")
            audit(tx)
            await raw.execute(cut, postgres_database.name)
    assert refusal.value.reason is Unavailability.UNAVAILABLE
    await raw.close()
    assert await store.voiceid.devices.owner("t1", "d2") is None
    await own(store, "d3")
    await store.close()


async def test_a_failed_transaction_does_not_take_those_with_it_that_share_its_commit(store: Store) -> None:
    async def write(number: int) -> None:
        async with store.transaction() as tx:
            await tx.voiceid.devices.set_owner("t1", f"d{number}", "u1")
            audit(tx)
            if number % 2:
                raise LookupError

    outcomes = await asyncio.gather(*(write(number) for number in range(20)), return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, LookupError) == bool(number % 2)
        owner = await store.voiceid.devices.owner("t1", f"d{number}")
        assert owner == (None if number % 2 else "u1")
    assert await store.audit.size("t1") == 10


@pytest.mark.parametrize("seed", range(3))
async def test_cancelled_callers_take_nothing_from_those_who_are_not(store_url: str, seed: int) -> None:
    store = await open_store(store_url)
    dice = random.Random(seed)
    tasks = [asyncio.create_task(own(store, f"d{number}")) for number in range(120)]
    pending = set(tasks)
    while pending:
        # At any point of a transaction: waiting for its turn, in a statement, in the shared commit.
        _, pending = await asyncio.wait(pending, timeout=dice.uniform(0, 0.002))
        # Every third one is left alone, however slow the disk is.
        due = [task for number, task in enumerate(tasks) if number % 3 and task in pending][:6]
        if due and dice.random() < 0.5:
            dice.choice(due).cancel()
    cancelled = 0
    for number, task in enumerate(tasks):
        if task.cancelled():
            cancelled += 1
            continue
        task.result()
        assert await store.voiceid.devices.owner("t1", f"d{number}") == "u1"
    assert 0 < cancelled < len(tasks)
    await own(store, "after")
    await store.close()
    report = await verify_store(store_url, TRUSTED)
    assert report.ok, report.findings


async def test_transactions_that_wait_together_share_a_commit(sqlite_url: str) -> None:
    store = await open_store(sqlite_url)
    commits = 0
    await own(store, "first")
    connection = store._database.writer._connection  # type: ignore[attr-defined]  # to count what reaches the database

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    connection.connection.driver_connection.set_trace_callback(count)
    await asyncio.gather(*(own(store, f"d{number}") for number in range(20)))
    assert 1 <= commits <= 2
    assert await store.audit.size("t1") == 21
    await store.close()


async def test_readers_are_not_held_up_by_a_writer(store: Store) -> None:
    await own(store, "d1")
    async with store.transaction() as tx:
        await tx.voiceid.devices.set_owner("t1", "d1", "u2")
        audit(tx)
        async with asyncio.timeout(2.0):
            assert await store.voiceid.devices.owner("t1", "d1") == "u1"


@pytest.mark.parametrize("url", ["selene.db", "", "postgresql//selene:hunter2@db/selene"])
async def test_a_url_that_is_none_is_told_how_one_reads_and_what_it_holds_is_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///file") as opened:
        await impatient(url)
    with pytest.raises(ValueError, match="sqlite:///file") as verified:
        await verify_store(url, TRUSTED)
    assert "hunter2" not in f"{opened.value}{verified.value}"
