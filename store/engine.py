"""Connections: one writer and many readers over SQLite or PostgreSQL, and what their failures mean.

SQLite has a single writer. Transactions that queue up while one is being written share its commit (group commit): each
runs in its own savepoint, and none is acknowledged before the shared fsync. PostgreSQL does the same by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import URL, Executable, Row, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from store.errors import StoreUnavailable, Unavailability

T = TypeVar("T")

STREAM_ROWS = 512
SQLITE_LOCKED = frozenset({5, 6})  # SQLITE_BUSY, SQLITE_LOCKED
SQLITE_FULL = 13
SQLITE_MEANS_UNAVAILABLE = frozenset(
    {7, 8, 10, 11, 14, 15, 26}
)  # NOMEM READONLY IOERR CORRUPT CANTOPEN PROTOCOL NOTADB
POSTGRES_FULL = frozenset({"53100"})
POSTGRES_LOCKED = frozenset({"55P03", "40P01", "40001", "57014"})
POSTGRES_MEANS_UNAVAILABLE = ("08", "53", "57P", "58", "3D", "28")


class Writer(Protocol):
    """Hands out transactions that are durable when the block ends without an exception."""

    def begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction. StoreUnavailable from the block's end where it could not be made durable."""

    async def close(self) -> None:
        """Finish what runs."""


@dataclass(frozen=True, slots=True)
class Database:
    """The open database: its dialect, its readers and its writer."""

    dialect: str
    engines: tuple[AsyncEngine, ...]
    reader: Reader
    writer: Writer

    async def close(self) -> None:
        """Finish the running transaction, then close every connection."""
        await self.writer.close()
        for engine in self.engines:
            await engine.dispose()


def open_database(url: str, *, lock_timeout_s: float, connections: int) -> Database:
    """`sqlite:///file` or `postgresql://…`; nothing is opened yet. ValueError for anything else."""
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed, lock_timeout_s, connections)
        case "postgresql":
            return _open_postgres(parsed, lock_timeout_s, connections)
    raise ValueError(f"the store runs on sqlite and postgresql, not on {parsed.get_backend_name()}")


def _open_sqlite(url: URL, lock_timeout_s: float, connections: int) -> Database:
    if url.database in (None, "", ":memory:"):
        raise ValueError("the store keeps what it acknowledges: an in-memory database cannot")
    url = url.set(drivername="sqlite+aiosqlite")
    # isolation_level=None hands BEGIN to us: the driver would begin a transaction that cannot take the write lock.
    options: dict[str, Any] = {"connect_args": {"isolation_level": None, "timeout": lock_timeout_s}}
    writing = create_async_engine(url, pool_size=1, max_overflow=0, pool_reset_on_return=None, **options)
    reading = create_async_engine(url, pool_size=connections, max_overflow=0, pool_reset_on_return=None, **options)
    event.listen(writing.sync_engine, "connect", _sqlite_writer_pragmas)
    event.listen(reading.sync_engine, "connect", _sqlite_reader_pragmas)
    return Database("sqlite", (writing, reading), Reader(reading), SqliteWriter(writing, lock_timeout_s))


def _open_postgres(url: URL, lock_timeout_s: float, connections: int) -> Database:
    timeout_ms = str(int(lock_timeout_s * 1000))
    settings = {"lock_timeout": timeout_ms, "application_name": "selene", "timezone": "UTC"}
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=lock_timeout_s,
        connect_args={"server_settings": settings, "timeout": lock_timeout_s},
    )
    return Database("postgresql", (engine,), Reader(engine), PostgresWriter(engine))


def _sqlite_pragmas(connection: Any, pragmas: Sequence[str]) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_writer_pragmas(connection: Any, _record: object) -> None:
    # secure_delete: a destroyed key must not linger in free pages.
    _sqlite_pragmas(connection, ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"))


def _sqlite_reader_pragmas(connection: Any, _record: object) -> None:
    _sqlite_pragmas(connection, ("query_only=ON",))


def unavailable(error: BaseException) -> StoreUnavailable | None:
    """What a driver's error means to a caller; None where it is no matter of availability."""
    if isinstance(error, StoreUnavailable):
        return error
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(Unavailability.LOCKED, "every connection is busy")
    cause = error.orig if isinstance(error, DBAPIError) else error
    reason = _reason(cause)
    return None if reason is None else StoreUnavailable(reason, str(cause))


def _reason(cause: BaseException | None) -> Unavailability | None:
    code = getattr(cause, "sqlite_errorcode", None)
    if isinstance(code, int):
        primary = code & 0xFF
        if primary in SQLITE_LOCKED:
            return Unavailability.LOCKED
        if primary == SQLITE_FULL:
            return Unavailability.FULL
        return Unavailability.UNAVAILABLE if primary in SQLITE_MEANS_UNAVAILABLE else None
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        if state in POSTGRES_LOCKED:
            return Unavailability.LOCKED
        if state in POSTGRES_FULL:
            return Unavailability.FULL
        return Unavailability.UNAVAILABLE if state.startswith(POSTGRES_MEANS_UNAVAILABLE) else None
    text = str(cause).lower()
    if isinstance(cause, OSError) or "closed" in text or "no active connection" in text:
        return Unavailability.UNAVAILABLE
    return None


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the driver's availability errors into `StoreUnavailable`; everything else passes."""
    try:
        yield
    except (SQLAlchemyError, OSError, ValueError) as error:
        meaning = unavailable(error)
        if meaning is None:
            raise
        raise meaning from error


async def uncancelled(operation: Coroutine[Any, Any, T]) -> T:
    """Await `operation` to its end even when the caller is cancelled meanwhile, then let the cancellation through.

    A statement abandoned half-way would cost the connection, and with it every transaction that shares the commit.
    """
    task = asyncio.ensure_future(operation)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


class Reader:
    """Readers outside any transaction; on SQLite they never wait for the writer."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        """Every row. StoreUnavailable."""
        async with translated():
            return await uncancelled(self._rows(statement))

    async def _rows(self, statement: Executable) -> Sequence[Row[Any]]:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement)).all()

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows in one snapshot, a few at a time. StoreUnavailable."""
        options = {"yield_per": STREAM_ROWS}
        async with (
            translated(),
            self._engine.connect() as connection,
            connection.stream(statement, execution_options=options) as result,
        ):
            async for row in result:
                yield row


class PostgresWriter:
    """A pooled connection per transaction, READ COMMITTED; rows are locked where the rooms say so."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction. StoreUnavailable."""
        async with translated(), self._engine.connect() as connection:
            yield connection
            await uncancelled(connection.commit())

    async def close(self) -> None:
        """Nothing is shared between transactions, so nothing is left to finish."""


class SqliteWriter:
    """The one writing connection, taken in turns; consecutive transactions share a commit.

    `begin` waits for its turn, runs inside a savepoint and leaves the physical transaction open. The first to leave
    queues a flush behind those already waiting: it commits for everybody before it, and only then do they return.
    """

    def __init__(self, engine: AsyncEngine, lock_timeout_s: float) -> None:
        self._engine = engine
        self._lock_timeout_s = lock_timeout_s
        self._turn = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        self._batch: asyncio.Future[None] | None = None
        self._flush: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction. StoreUnavailable."""
        async with translated():
            await self._take_turn()
            try:
                batch = await uncancelled(self._join())
                try:
                    yield self._open_connection()
                except BaseException:
                    await uncancelled(self._undo())
                    raise
                await uncancelled(self._keep())
            finally:
                self._queue_flush()
                self._turn.release()
            await asyncio.shield(batch)

    async def close(self) -> None:
        """Wait for the last commit, then let the connection go."""
        if self._flush is not None:
            await asyncio.wait([self._flush])
        async with self._turn:
            await self._drop()

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(self._lock_timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            raise StoreUnavailable(Unavailability.LOCKED, "the writer is held by another transaction") from None

    def _open_connection(self) -> AsyncConnection:
        if self._connection is None:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "the writing connection was lost")
        return self._connection

    async def _join(self) -> asyncio.Future[None]:
        """Enter the running physical transaction, or begin one with the write lock taken at once."""
        if self._connection is None:
            self._connection = await self._engine.connect()
        try:
            if self._batch is None:
                await self._connection.exec_driver_sql("BEGIN IMMEDIATE")
                self._batch = asyncio.get_running_loop().create_future()
            await self._connection.exec_driver_sql("SAVEPOINT one")
        except BaseException as error:
            await self._fail(error)
            raise
        return self._batch

    async def _keep(self) -> None:
        try:
            await self._open_connection().exec_driver_sql("RELEASE one")
        except BaseException as error:
            await self._fail(error)
            raise

    async def _undo(self) -> None:
        """Take back this transaction only; where SQLite took back the whole batch, nobody in it is answered."""
        if self._connection is None:
            return
        try:
            await self._connection.exec_driver_sql("ROLLBACK TO one")
            await self._connection.exec_driver_sql("RELEASE one")
        except SQLAlchemyError as error:
            await self._fail(error)

    async def _fail(self, error: BaseException) -> None:
        batch, self._batch = self._batch, None
        await self._drop()
        if batch is not None:
            _refuse(batch, error)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.invalidate()
            await connection.close()
        except SQLAlchemyError:
            # A connection that cannot even be closed is gone already.
            return

    def _queue_flush(self) -> None:
        if self._batch is not None and (self._flush is None or self._flush.done()):
            self._flush = asyncio.get_running_loop().create_task(self._commit())

    async def _commit(self) -> None:
        async with self._turn:
            batch, self._batch = self._batch, None
            if batch is None or self._connection is None:
                return
            try:
                await self._connection.exec_driver_sql("COMMIT")
                await self._connection.commit()
            except BaseException as error:
                await self._drop()
                _refuse(batch, error)
            else:
                batch.set_result(None)


def _refuse(batch: asyncio.Future[None], error: BaseException) -> None:
    batch.set_exception(
        unavailable(error) or StoreUnavailable(Unavailability.UNAVAILABLE, f"the shared commit failed: {error}")
    )
    # Marked as seen: a batch whose members were all cancelled has nobody left to tell.
    batch.exception()
