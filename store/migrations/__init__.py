"""The schema's history, run by the program itself: no ini file, no alembic command."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.errors import StoreTooNew

# Any constant does: it is the key under which PostgreSQL lets one process at a time migrate.
MIGRATION_LOCK = 0x53454C454E45


async def migrate(connection: AsyncConnection) -> None:
    """Upgrade to the newest revision in one transaction, one process at a time. StoreTooNew."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
    else:
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        await connection.run_sync(_upgrade)
    except BaseException:
        await _end(connection, "ROLLBACK")
        raise
    await _end(connection, "COMMIT")


async def _end(connection: AsyncConnection, verb: str) -> None:
    """The SQLite driver was told to leave transactions to us, so they end in SQL there."""
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql(verb)
    await (connection.commit() if verb == "COMMIT" else connection.rollback())


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise StoreTooNew(f"the database is at revision {current!r}, which this version does not know")
    command.upgrade(config, "head")
