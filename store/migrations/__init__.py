"""The schema's history, run by the program itself: no ini file, no alembic command."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from store.errors import StoreTooNew


def upgrade(connection: Connection) -> None:
    """Upgrade to the newest revision, in the caller's transaction. StoreTooNew."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise StoreTooNew(f"the database is at revision {current!r}, which this version does not know")
    command.upgrade(config, "head")
