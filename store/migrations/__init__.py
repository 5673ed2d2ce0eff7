"""The schema's history, run by the program itself: no ini file, no alembic command."""

from __future__ import annotations

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from store.errors import StoreTooNew


def upgrade(connection: Connection) -> None:
    """Upgrade to the newest revision, in the caller's transaction. StoreTooNew."""
    known, newest = _history()
    current = MigrationContext.configure(connection).get_current_revision()
    if current == newest:
        return
    if current is not None and current not in known:
        raise StoreTooNew(f"the database is at revision {current!r}, which this version does not know")
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@functools.cache
def _history() -> tuple[frozenset[str], str | None]:
    """Every revision of this version, and the newest."""
    scripts = ScriptDirectory.from_config(_config())
    return frozenset(script.revision for script in scripts.walk_revisions()), scripts.get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
