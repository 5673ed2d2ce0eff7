"""The schema's history, run by the program itself: no ini file, no alembic command.

A database that is at the newest revision, as at nearly every start, needs no more of it than the names of its files.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from store.errors import StoreTooNew

_log = logging.getLogger("selene.store")
_HERE: Final = Path(__file__).parent
_REVISION: Final = re.compile(r"r(\d{4})_\w+")


def upgrade(connection: Connection) -> None:
    """Upgrade to the newest revision, in the caller's transaction. StoreTooNew."""
    known = revisions()
    current = _current(connection)
    if current == known[-1]:
        return
    if current is not None and current not in known:
        raise StoreTooNew(f"the database is at revision {current!r}, which this version does not know")
    # A sixth of a server's start, where there is something to do.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    _log.info("schema upgraded from revision %s to %s", current or "none", known[-1])


def revisions() -> tuple[str, ...]:
    """Every revision of this version, the newest last: each is a file `r<revision>_<name>.py`."""
    names = [_REVISION.fullmatch(file.stem) for file in (_HERE / "versions").glob("r*.py")]
    return tuple(sorted(name[1] for name in names if name is not None))


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
