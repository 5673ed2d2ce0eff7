"""What the rooms of the store (ledger, artifacts, vault, …) may ask of the database, and of the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Executable, Row, Table
from sqlalchemy.dialects import postgresql, sqlite

Values = Mapping[str, Any]
"""Values of a statement's bound parameters, by name."""

WholeRow = tuple[str | int | bytes | None, ...]
"""A value for each column of a table, in their order, as the drivers take them: instants as `store.schema.micros`."""


def for_dialects(build: Callable[[Callable[[Table], Any]], Executable]) -> Mapping[str, Executable]:
    """A statement over each dialect's own INSERT, made once.

    Where it counts, statements are made once and given values: made anew for every call they take seven times as long.
    """
    return {"sqlite": build(sqlite.insert), "postgresql": build(postgresql.insert)}


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """The current instant, aware, UTC."""


class Ids(Protocol):
    """Where ids come from."""

    def new(self) -> str:
        """A fresh id, sortable by creation."""


class Reads(Protocol):
    """Anything that can answer a SELECT: the pool of readers, or a running transaction."""

    async def rows(self, statement: Executable, parameters: Values | None = None) -> Sequence[Row[Any]]:
        """Every row. StoreUnavailable."""

    def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows of one snapshot, a few at a time. StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write returned (RETURNING) and how many rows it touched."""

    rows: Sequence[Row[Any]]
    count: int


class Writes(Reads, Protocol):
    """A running transaction, as the rooms see it."""

    clock: Clock
    ids: Ids
    erased: bool
    """Set by a room that destroyed a key: after the commit, the store overwrites where it lingers."""

    dialect: str
    """`sqlite` or `postgresql`."""

    async def write(self, statement: Executable, parameters: Values | Sequence[Values] | None = None) -> Written:
        """Run a change. Conflict where a row of this identity exists; StoreUnavailable."""

    async def append(self, table: Table, rows: Sequence[WholeRow]) -> None:
        """Insert whole rows: what `write` does, in a third of its time.

        Conflict where a row of one's identity exists; StoreUnavailable.
        """

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """The dialect's INSERT, which knows ON CONFLICT."""
