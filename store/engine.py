"""Connections: one writer and many readers over SQLite or PostgreSQL, and what their failures mean.

SQLite has a single writer. Transactions that queue up while one is being written share its commit (group commit): each
runs in its own savepoint, and none is acknowledged before the shared fsync. PostgreSQL does the same by itself.

SQLite runs in threads of our own, one statement a hop: an async driver hops four times for the same statement.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Engine,
    Executable,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InternalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from store.access import Reads, Values, WholeRow, Written
from store.errors import StoreUnavailable, Unavailability
from store.schema import Instant

T = TypeVar("T")
Parameters = Values | Sequence[Values] | None

# Small enough that working through one chunk does not hold up the event loop for more than a few milliseconds.
STREAM_ROWS = 128
# Any constant does: the key under which PostgreSQL lets one process at a time migrate.
EXCLUSIVE_LOCK = 0x53454C454E45
ROWS_AT_ONCE = 50
"""Rows of one INSERT on SQLite, where there are so many."""
SQLITE_LOCKED = frozenset({5, 6})  # SQLITE_BUSY, SQLITE_LOCKED
SQLITE_FULL = 13
SQLITE_MEANS_UNAVAILABLE = frozenset(
    {7, 8, 10, 11, 14, 15, 26}
)  # NOMEM READONLY IOERR CORRUPT CANTOPEN PROTOCOL NOTADB
POSTGRES_FULL = frozenset({"53100"})
POSTGRES_LOCKED = frozenset({"55P03", "40P01", "40001", "57014"})
POSTGRES_MEANS_UNAVAILABLE = ("08", "53", "57P", "58", "3D", "28", "55000")


class Session(Protocol):
    """One running transaction's connection. A statement runs to its end even when its caller is cancelled."""

    async def execute(self, statement: Executable, parameters: Parameters = None) -> Written:
        """Run a statement to its end. Errors are the driver's."""

    async def append(self, table: Table, rows: Sequence[WholeRow]) -> None:
        """Insert whole rows, at least one. Errors are the driver's."""

    def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows, a few at a time."""


class Writer(Protocol):
    """Hands out transactions that are durable when the block ends without an exception."""

    def begin(self) -> AbstractAsyncContextManager[Session]:
        """A transaction. StoreUnavailable, also from the block's end where it could not be made durable."""

    async def perform(self, work: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """A transaction that is all of `work`, durable when this returns. StoreUnavailable, and what `work` raises.

        `work` awaits nothing but its session: on SQLite it runs in the writer's thread, one hop for all it does.
        """

    async def exclusively(self, work: Callable[[Connection], None]) -> None:
        """Run synchronous work, such as a migration, in one transaction that no other process runs beside."""

    async def scrub(self) -> None:
        """Overwrite deleted rows where they linger, now or soon, as far as the database lets us. Never raises."""

    async def close(self) -> None:
        """Finish what runs and close every connection."""


class Reader(Reads, Protocol):
    """Readers outside any transaction: they see what is committed."""

    def snapshot(self) -> AbstractAsyncContextManager[Reads]:
        """Reads that all see the same committed state. StoreUnavailable."""

    async def together(self, work: Callable[[Reads], Coroutine[Any, Any, T]]) -> T:
        """All that `work` reads, over one connection; each read sees what is committed by then. StoreUnavailable.

        `work` awaits nothing but its reads: on SQLite it runs in a reader's thread, one hop for all it does.
        """

    async def close(self) -> None:
        """Close every connection."""


@dataclass(frozen=True, slots=True)
class Database:
    """The open database: its dialect, its readers and its writer."""

    dialect: str
    reader: Reader
    writer: Writer

    async def close(self) -> None:
        """Finish the running transaction, then close every connection."""
        await self.writer.close()
        await self.reader.close()


def open_database(url: str, *, lock_timeout_s: float, connections: int) -> Database:
    """`sqlite:///file` or `postgresql://…`; nothing is opened yet. ValueError for anything else."""
    parsed = _parsed(url)
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed, lock_timeout_s, connections)
        case "postgresql":
            return _open_postgres(parsed, lock_timeout_s, connections)
    raise ValueError(f"the store runs on sqlite and postgresql, not on {parsed.get_backend_name()}")


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite url; None for another database."""
    parsed = _parsed(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def shown(url: str) -> str:
    """The url for people: without its password, and without its query, which may hold one too."""
    parsed = _parsed(url)
    return URL.create(
        parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database
    ).render_as_string()


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        # The text may hold a password: it is not repeated.
        raise ValueError(
            "the store's url cannot be read; it is sqlite:///file or postgresql://user@host/name"
        ) from None


def _open_sqlite(url: URL, lock_timeout_s: float, connections: int) -> Database:
    if url.database in (None, "", ":memory:"):
        raise ValueError("the store keeps what it acknowledges: an in-memory database cannot")
    url = url.set(drivername="sqlite+pysqlite")
    # isolation_level=None hands BEGIN to us: the driver would begin a transaction that cannot take the write lock.
    # hide_parameters, here and below: an error that reaches a log must not carry who it was about.
    options: dict[str, Any] = {
        "connect_args": {"isolation_level": None, "timeout": lock_timeout_s, "check_same_thread": False},
        "max_overflow": 0,
        "hide_parameters": True,
        "pool_reset_on_return": None,
    }
    writing = create_engine(url, pool_size=1, **options)
    reading = create_engine(url, pool_size=connections, **options)
    event.listen(writing, "connect", _sqlite_writer_pragmas)
    event.listen(reading, "connect", _sqlite_reader_pragmas)
    return Database("sqlite", SqliteReader(reading, connections), SqliteWriter(writing, lock_timeout_s))


def _open_postgres(url: URL, lock_timeout_s: float, connections: int) -> Database:
    timeout_ms = str(int(lock_timeout_s * 1000))
    settings = {"lock_timeout": timeout_ms, "application_name": "selene", "timezone": "UTC"}
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=lock_timeout_s,
        # After a failover every pooled connection is dead: found out before a transaction, not by it.
        pool_pre_ping=True,
        connect_args={"server_settings": settings, "timeout": lock_timeout_s},
    )
    return Database("postgresql", PostgresReader(engine), PostgresWriter(engine))


def insert_into(table: Table, dialect: str) -> postgresql.Insert | sqlite.Insert:
    """The dialect's INSERT, which knows ON CONFLICT."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@functools.cache
def _inserting(table: Table, dialect: str, rows: int = 1) -> str:
    """The INSERT of a table's whole rows as a driver takes it: nothing of SQLAlchemy's between, which took longer than
    the database. TypeError for a table with values that are more than a driver's own.
    """
    names = list(table.columns.keys())
    unknown = [each.name for each in table.columns if not isinstance(each.type, Text | Integer | LargeBinary | Instant)]
    if unknown:
        raise TypeError(f"{table.name}: {', '.join(unknown)} cannot be appended as it is")
    # OR FAIL: a row that is refused is not there, and those before it are undone with the transaction. To undo the
    # statement by itself, SQLite would keep every page that it changes.
    verb = "INSERT OR FAIL" if dialect == "sqlite" else "INSERT"
    places = ", ".join("?" if dialect == "sqlite" else f"${place}" for place in range(1, len(names) + 1))
    return f"{verb} INTO {table.name} ({', '.join(names)}) VALUES {', '.join([f'({places})'] * rows)}"


def _sqlite_pragmas(connection: Any, pragmas: Sequence[str]) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_writer_pragmas(connection: Any, _record: object) -> None:
    # secure_delete: a destroyed key must not linger in free pages, nor in a temporary file.
    # temp_store: beside triggers and unique keys each statement keeps the pages it changes until it ends, as a file by
    # default: that took longer than the rest of it.
    _sqlite_pragmas(
        connection,
        ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "temp_store=MEMORY"),
    )


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
    if reason is None and _lost_connection(error):
        reason = Unavailability.UNAVAILABLE
    return None if reason is None else StoreUnavailable(reason, str(cause))


def _lost_connection(error: BaseException) -> bool:
    """Whether the driver, not the database, gave up: its internal errors on a cut connection carry no code."""
    if not isinstance(error, DBAPIError):
        return False
    coded = hasattr(error.orig, "sqlite_errorcode") or getattr(error.orig, "sqlstate", None) is not None
    return error.connection_invalidated or (isinstance(error, InternalError) and not coded)


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
    if isinstance(cause, ValueError):
        # A ValueError is ours, but for aiosqlite's own two.
        return Unavailability.UNAVAILABLE if text in ("connection closed", "no active connection") else None
    return Unavailability.UNAVAILABLE if isinstance(cause, OSError) or "closed" in text else None


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


async def uncancelled(operation: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    """Await `operation` to its end even when the caller is cancelled meanwhile, then let the cancellation through.

    A statement abandoned half-way would cost the connection, and with it every transaction that shares the commit.
    """
    task = asyncio.ensure_future(operation)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _settled(task)
        raise


async def _settled(task: asyncio.Future[Any]) -> None:
    """Wait for `task` through any number of further cancellations; its outcome is nobody's any more."""
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def _written(result: CursorResult[Any]) -> Written:
    return Written(result.all(), 0) if result.returns_rows else Written((), result.rowcount)


class Snapshot:
    """Reads over a connection that does nothing else."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def rows(self, statement: Executable, parameters: Values | None = None) -> Sequence[Row[Any]]:
        """Every row. StoreUnavailable."""
        async with translated():
            return (await self._session.execute(statement, parameters)).rows

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows, a few at a time. StoreUnavailable."""
        async with translated():
            async for row in self._session.stream(statement):
                yield row


class PostgresReader:
    """A pooled connection per read."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._closed = False

    async def rows(self, statement: Executable, parameters: Values | None = None) -> Sequence[Row[Any]]:
        """Every row. StoreUnavailable."""
        async with translated():
            return await uncancelled(self._rows(statement, parameters))

    async def _rows(self, statement: Executable, parameters: Values | None) -> Sequence[Row[Any]]:
        async with self._connect() as connection:
            return (await connection.execute(statement, parameters)).all()

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows of one snapshot, a few at a time. StoreUnavailable."""
        async with translated(), self._connect() as connection:
            async for row in PostgresSession(connection).stream(statement):
                yield row

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reads]:
        """Reads that all see the same committed state. StoreUnavailable."""
        async with translated(), self._connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            yield Snapshot(PostgresSession(connection))

    async def together(self, work: Callable[[Reads], Coroutine[Any, Any, T]]) -> T:
        """All that `work` reads, over one connection. StoreUnavailable."""
        async with translated(), self._connect() as connection:
            return await work(Snapshot(PostgresSession(connection)))

    def _connect(self) -> AsyncConnection:
        """A disposed engine would just open new connections, so that nothing used after `close` fails."""
        if self._closed:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "the store is closed")
        return self._engine.connect()

    async def close(self) -> None:
        """No more reads; the writer closes the engine that both use."""
        self._closed = True


class PostgresSession:
    """A transaction's connection on PostgreSQL."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Parameters = None) -> Written:
        """Run a statement to its end."""
        return await uncancelled(self._execute(statement, parameters))

    async def _execute(self, statement: Executable, parameters: Parameters) -> Written:
        return _written(await self._connection.execute(statement, parameters))

    async def append(self, table: Table, rows: Sequence[WholeRow]) -> None:
        """Insert whole rows, at least one."""
        await uncancelled(self._connection.exec_driver_sql(_inserting(table, "postgresql"), list(rows)))

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows, a few at a time."""
        options = {"yield_per": STREAM_ROWS}
        async with self._connection.stream(statement, execution_options=options) as result:
            async for row in result:
                yield row


class PostgresWriter:
    """A pooled connection per transaction, READ COMMITTED; rows are locked where the rooms say so."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[PostgresSession]:
        """A transaction. StoreUnavailable."""
        async with translated(), self._engine.connect() as connection:
            yield PostgresSession(connection)
            await uncancelled(connection.commit())

    async def perform(self, work: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """A transaction that is all of `work`. StoreUnavailable."""
        async with self.begin() as session:
            return await work(session)

    async def exclusively(self, work: Callable[[Connection], None]) -> None:
        """Run synchronous work under an advisory lock. StoreUnavailable."""
        async with translated(), self._engine.connect() as connection:
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({EXCLUSIVE_LOCK})")
            await connection.run_sync(work)
            await connection.commit()

    async def scrub(self) -> None:
        """Left to autovacuum: dead rows, the server's log and its backups are out of a client's reach."""

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


class SqliteReader:
    """A few threads, each with a connection that cannot write; they never wait for the writer."""

    def __init__(self, engine: Engine, connections: int) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="store-read")

    async def rows(self, statement: Executable, parameters: Values | None = None) -> Sequence[Row[Any]]:
        """Every row. StoreUnavailable."""
        async with translated():
            return await _in(self._threads, self._rows, statement, parameters)

    def _rows(self, statement: Executable, parameters: Values | None) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(statement, parameters).all()

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows of one snapshot, a few at a time. StoreUnavailable."""
        async with translated():
            connection = await _in(self._threads, self._engine.connect)
            try:
                async for row in _stream(self._threads, connection, statement):
                    yield row
            finally:
                await _in(self._threads, connection.close)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reads]:
        """Reads that all see the same committed state. StoreUnavailable."""
        async with translated():
            connection = await _in(self._threads, self._engine.connect)
            try:
                await _in(self._threads, connection.exec_driver_sql, "BEGIN")
                yield Snapshot(SqliteSession(self._threads, connection))
            finally:
                await _in(self._threads, _discard, connection)

    async def together(self, work: Callable[[Reads], Coroutine[Any, Any, T]]) -> T:
        """All that `work` reads, in one hop. StoreUnavailable."""
        async with translated():
            return await _in(self._threads, self._together, work)

    def _together(self, work: Callable[[Reads], Coroutine[Any, Any, T]]) -> T:
        with self._engine.connect() as connection:
            return _to_end(work(Snapshot(InThread(connection))))

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()


class SqliteSession:
    """A transaction's turn on the writing connection."""

    def __init__(self, thread: ThreadPoolExecutor, connection: Connection) -> None:
        self._thread = thread
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Parameters = None) -> Written:
        """Run a statement to its end."""
        return await _in(self._thread, self._execute, statement, parameters)

    def _execute(self, statement: Executable, parameters: Parameters) -> Written:
        return _written(self._connection.execute(statement, parameters))

    async def append(self, table: Table, rows: Sequence[WholeRow]) -> None:
        """Insert whole rows, at least one."""
        await _in(self._thread, _append, self._connection, table, rows)

    def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows, a few at a time."""
        return _stream(self._thread, self._connection, statement)


class InThread:
    """A connection for work that runs in its thread itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Parameters = None) -> Written:
        """Run a statement to its end."""
        return _written(self._connection.execute(statement, parameters))

    async def append(self, table: Table, rows: Sequence[WholeRow]) -> None:
        """Insert whole rows, at least one."""
        _append(self._connection, table, rows)

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Rows."""
        with self._connection.execute(statement) as result:
            for row in result:
                yield row


def _append(connection: Connection, table: Table, rows: Sequence[WholeRow]) -> None:
    left = len(rows) % ROWS_AT_ONCE
    # Not one by one: between two statements the interpreter goes to whoever waits for it.
    for start in range(0, len(rows) - left, ROWS_AT_ONCE):
        several = tuple(chain.from_iterable(rows[start : start + ROWS_AT_ONCE]))
        connection.exec_driver_sql(_inserting(table, "sqlite", ROWS_AT_ONCE), several)
    if left:
        connection.exec_driver_sql(_inserting(table, "sqlite"), list(rows[-left:]))


def _to_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits. RuntimeError for one that does."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    work.close()
    raise RuntimeError("work inside the store awaited something that is not the store's")


async def _in(threads: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
    """Run `work` in a thread; a cancelled caller waits for it to end. StoreUnavailable after `close`."""
    try:
        future = asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
    except RuntimeError as error:
        raise StoreUnavailable(Unavailability.UNAVAILABLE, "the store is closed") from error
    return await uncancelled(future)


async def _stream(
    threads: ThreadPoolExecutor, connection: Connection, statement: Executable
) -> AsyncIterator[Row[Any]]:
    result = await _in(threads, connection.execute, statement)
    try:
        while chunk := await _in(threads, result.fetchmany, STREAM_ROWS):
            for row in chunk:
                yield row
    finally:
        await _in(threads, result.close)


class SqliteWriter:
    """The one writing connection, taken in turns; consecutive transactions share a commit.

    `begin` waits for its turn, runs inside a savepoint and leaves the physical transaction open. The first to leave
    queues a flush behind those already waiting: it commits for everybody before it, and only then do they return.
    """

    def __init__(self, engine: Engine, lock_timeout_s: float) -> None:
        self._engine = engine
        self._lock_timeout_s = lock_timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._turn = asyncio.Lock()
        self._queued = 0
        self._connection: Connection | None = None
        self._batch: asyncio.Future[None] | None = None
        self._flush: asyncio.Task[None] | None = None
        self._scrub_due = False

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SqliteSession]:
        """A transaction. StoreUnavailable."""
        async with translated():
            await self._take_turn()
            try:
                batch = await uncancelled(self._join())
                try:
                    yield SqliteSession(self._thread, self._connected())
                except BaseException:
                    await uncancelled(self._undo())
                    raise
                await uncancelled(self._keep())
            finally:
                self._queue_flush()
                self._turn.release()
            await asyncio.shield(batch)

    async def perform(self, work: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """A transaction that is all of `work`, in the writer's thread. StoreUnavailable."""
        async with translated():
            await self._take_turn()
            batch: asyncio.Future[None] | None = None
            try:
                if self._batch is None and not self._queued:
                    result, error = await uncancelled(self._perform_alone(work))
                else:
                    batch, result, error = await uncancelled(self._perform(work))
            finally:
                self._queue_flush()
                self._turn.release()
            if error is not None:
                raise error
            if batch is not None:
                await asyncio.shield(batch)
            return cast(T, result)

    async def _perform_alone(
        self, work: Callable[[Session], Coroutine[Any, Any, T]]
    ) -> tuple[T | None, BaseException | None]:
        """Nobody waits to share the commit: it is made in the same hop."""
        context = contextvars.copy_context()

        def run(connection: Connection) -> tuple[T | None, BaseException | None]:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                result = context.run(_to_end, work(InThread(connection)))
            except BaseException as failed:  # handed to the caller, once what was done is undone
                try:
                    connection.exec_driver_sql("ROLLBACK")
                except SQLAlchemyError:
                    raise failed from None  # SQLite undid it by itself: the connection is not to be trusted
                return None, failed
            connection.exec_driver_sql("COMMIT")
            return result, None

        outcome = await self._run(run)
        await self._scrub_if_due()
        return outcome

    async def _perform(
        self, work: Callable[[Session], Coroutine[Any, Any, T]]
    ) -> tuple[asyncio.Future[None], T | None, BaseException | None]:
        starting = self._starting()
        context = contextvars.copy_context()

        def run(connection: Connection) -> tuple[T | None, BaseException | None]:
            _say(connection, starting)
            result, failed = None, None
            try:
                result = context.run(_to_end, work(InThread(connection)))
            except BaseException as error:  # handed to the caller, once what was done is undone
                failed = error
                connection.exec_driver_sql("ROLLBACK TO one")
            connection.exec_driver_sql("RELEASE one")
            return result, failed

        result, failed = await self._run(run)
        return self._open_batch(), result, failed

    async def _run(self, work: Callable[[Connection], T]) -> T:
        """In the writer's thread. Whatever it raises ends the connection, and the batch with it."""
        try:
            if self._connection is None:
                self._connection = await _in(self._thread, self._engine.connect)
            return await _in(self._thread, work, self._connection)
        except BaseException as error:
            await self._fail(error)
            raise

    async def exclusively(self, work: Callable[[Connection], None]) -> None:
        """Run synchronous work under the write lock. StoreUnavailable."""
        async with translated(), self._turn:
            await self._commit_batch()
            await self._drop()
            await _in(self._thread, self._run_alone, work)

    async def scrub(self) -> None:
        """Empty the write-ahead log, which still holds pages from before a delete; behind readers, with a later commit.

        Never raises: what was committed stays committed, and the next commit tries again.
        """
        self._scrub_due = True
        async with self._turn:
            await self._commit_batch()
            await self._scrub_if_due()

    async def close(self) -> None:
        """Wait for the last commit, then close the connection."""
        async with self._turn:
            await self._commit_batch()
            await self._drop()
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def _take_turn(self) -> None:
        self._queued += 1
        try:
            async with asyncio.timeout(self._lock_timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            raise StoreUnavailable(Unavailability.LOCKED, "the writer is held by another transaction") from None
        finally:
            self._queued -= 1

    def _connected(self) -> Connection:
        if self._connection is None:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "the writing connection was lost")
        return self._connection

    def _run_alone(self, work: Callable[[Connection], None]) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                work(connection)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    async def _join(self) -> asyncio.Future[None]:
        """Enter the running physical transaction, or begin one with the write lock taken at once."""
        starting = self._starting()
        await self._run(lambda connection: _say(connection, starting))
        return self._open_batch()

    def _starting(self) -> Sequence[str]:
        return ("SAVEPOINT one",) if self._batch is not None else ("BEGIN IMMEDIATE", "SAVEPOINT one")

    def _open_batch(self) -> asyncio.Future[None]:
        if self._batch is None:
            self._batch = asyncio.get_running_loop().create_future()
        return self._batch

    async def _keep(self) -> None:
        try:
            await self._sql("RELEASE one")
        except BaseException as error:
            await self._fail(error)
            raise

    async def _undo(self) -> None:
        """Take back this transaction only; where SQLite took back the whole batch, nobody in it is answered."""
        if self._connection is None:
            return
        try:
            await self._sql("ROLLBACK TO one", "RELEASE one")
        except SQLAlchemyError as error:
            await self._fail(error)

    async def _sql(self, *statements: str) -> None:
        await _in(self._thread, _say, self._connected(), statements)

    async def _fail(self, error: BaseException) -> None:
        batch, self._batch = self._batch, None
        await self._drop()
        if batch is not None:
            _refuse(batch, error)

    async def _scrub_if_due(self) -> None:
        connection = self._connection
        if not self._scrub_due or connection is None:
            return

        def truncate() -> bool:
            # Without waiting: a gallery being read must not hold up every writer.
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
            blocked = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(self._lock_timeout_s * 1000)}")
            return bool(blocked)

        with suppress(SQLAlchemyError):
            self._scrub_due = await _in(self._thread, truncate)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _in(self._thread, _discard, connection)

    def _queue_flush(self) -> None:
        if self._batch is not None and (self._flush is None or self._flush.done()):
            self._flush = asyncio.get_running_loop().create_task(self._commit())

    async def _commit(self) -> None:
        async with self._turn:
            await self._commit_batch()

    async def _commit_batch(self) -> None:
        batch = self._batch
        if batch is None:
            return
        try:
            await self._sql("COMMIT")
        except BaseException as error:
            await self._fail(error)
        else:
            self._batch = None
            batch.set_result(None)
            await self._scrub_if_due()


def _say(connection: Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def _discard(connection: Connection) -> None:
    """Close for good: SQLite rolls back whatever was open."""
    connection.invalidate()
    connection.close()


def _refuse(batch: asyncio.Future[None], error: BaseException) -> None:
    batch.set_exception(
        unavailable(error) or StoreUnavailable(Unavailability.UNAVAILABLE, f"the shared commit failed: {error}")
    )
    # Marked as seen: a batch whose members were all cancelled has nobody left to tell.
    batch.exception()
