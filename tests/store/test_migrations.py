from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_LOCALE, Scope
from sqlalchemy import Connection

from store import Store, StoreTooNew, migrations
from store.engine import open_database
from store.gold import artifact_ref, gold_ref
from store.schema import metadata
from tests.support.stores import DIALECTS, Database, Postgres, audit, open_store

NEWER = "UPDATE alembic_version SET version_num = 'from the future'"


async def run(url: str, statement: str) -> None:
    database = open_database(url, lock_timeout_s=5.0, connections=1)

    def execute(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    await database.writer.exclusively(execute)
    await database.close()


async def upgrade_by(url: str, name: str) -> None:
    """Run one migration, of what the database holds now."""
    [file] = (Path(migrations.__file__).parent / "versions").glob(f"r*_{name}.py")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    migration = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(migration)
    database = open_database(url, lock_timeout_s=5.0, connections=1)

    def upgrade(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()

    await database.writer.exclusively(upgrade)
    await database.close()


@pytest.fixture(params=DIALECTS)
def empty_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{request.getfixturevalue('tmp_path')}/empty.db"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    database = Database("empty", postgres.create("empty", template="template0"))
    yield database.url
    postgres.drop(database)


async def test_migrations_make_exactly_the_schema(store_url: str) -> None:
    database = open_database(store_url, lock_timeout_s=5.0, connections=1)
    differences: list[object] = []

    def compare(connection: Connection) -> None:
        differences.extend(compare_metadata(MigrationContext.configure(connection), metadata))

    await database.writer.exclusively(compare)
    await database.close()
    assert differences == []


def test_files_are_named_by_their_revisions_in_their_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert migrations.revisions() == tuple(script.revision for script in scripts.walk_revisions())[::-1]
    assert scripts.get_current_head() == migrations.revisions()[-1]


async def test_servers_that_start_at_once_migrate_once(empty_url: str) -> None:
    stores = [await open_store(empty_url, prefix=f"server{number}") for number in range(3)]
    await asyncio.gather(*(store.migrate() for store in stores))
    async with stores[0].transaction() as tx:
        audit(tx)
    assert await stores[1].audit.size("t1") == 1
    for store in stores:
        await store.close()


async def test_an_upgrade_is_told_once_by_its_revisions(empty_url: str, caplog: pytest.LogCaptureFixture) -> None:
    store = await open_store(empty_url, prefix="told")
    with caplog.at_level("INFO", "selene.store"):
        await store.migrate()
        await store.migrate()
    await store.close()
    told = [record.getMessage() for record in caplog.records if record.name == "selene.store"]
    assert told == [f"schema upgraded from revision none to {migrations.revisions()[-1]}"]


async def test_migrating_again_changes_nothing(store: Store) -> None:
    async with store.transaction() as tx:
        audit(tx)
    await store.migrate()
    assert await store.audit.size("t1") == 1


async def test_baselines_from_before_are_linked_to_what_they_are_copies_of(store: Store, store_url: str) -> None:
    rows: dict[str, ArtifactRow] = {}
    async with store.transaction() as tx:
        for line, content, key in (
            ("wide", b"learned", "pack-of-g1"),
            ("narrow", b"learned", "baseline"),
            ("revoked", b"revoked", "pack-of-g2"),
            ("of-revoked", b"revoked", "baseline"),
            ("by-hand", b"by hand", "k"),
            ("of-by-hand", b"by hand", "baseline"),
        ):
            rows[line] = await tx.artifacts.register(
                ArtifactRow(
                    artifact_type="VOICEID_THRESHOLD_PACK_V1",
                    tenant_id="t1",
                    scope=Scope(scope_type=SCOPE_TYPE_LOCALE, scope_id=line),
                    provenance_ref="test",
                    created_by="PH1.LEARN",
                    idempotency_key=key,
                    status=ARTIFACT_STATUS_CANDIDATE,
                ),
                content,
            )
        for line, gold_set_id in (("wide", "g1"), ("revoked", "g2")):
            await tx.gold.lineage.link("t1", [gold_ref(gold_set_id)], artifact_ref(rows[line].artifact_id))
        await tx.governance.cases.freeze("t1", [rows["revoked"].artifact_id], "r-1")
        audit(tx)
    for _ in range(2):
        await upgrade_by(store_url, "baselines_come_from_their_origin")

    async def came_from(line: str) -> set[str]:
        return await store.gold.lineage.closure("t1", [artifact_ref(rows[line].artifact_id)], descendants=False)

    async def frozen_by(line: str) -> str:
        return (await store.governance.cases.get("t1", rows[line].artifact_id)).frozen_by

    assert await came_from("narrow") == {artifact_ref(rows["wide"].artifact_id), gold_ref("g1")}
    assert await came_from("of-revoked") == {artifact_ref(rows["revoked"].artifact_id), gold_ref("g2")}
    assert await came_from("of-by-hand") == set()
    assert [await frozen_by(line) for line in ("narrow", "of-revoked", "of-by-hand")] == ["", "r-1", ""]


async def test_a_database_newer_than_the_code_is_refused(store: Store, store_url: str) -> None:
    await run(store_url, NEWER)
    with pytest.raises(StoreTooNew):
        await store.migrate()
