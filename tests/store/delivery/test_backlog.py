"""A long queue costs what is taken from it and not what it holds: every statement of a dispatcher goes by an index."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from selene.delivery.v1 import delivery_pb2 as contract
from sqlalchemy import Connection, Executable, event

from store import Store
from store.delivery import Change, reading, writing
from store.engine import open_database
from store.schema import EPOCH
from tests.store.delivery.deliveries import DAY, intent, lease
from tests.support.stores import audit
from tests.support.time import FakeClock

ROWS = 20_000
NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) ",
    "postgresql": "WITH n(i) AS (SELECT * FROM generate_series(1, {rows})) ",
}
# A tenth is UNKNOWN, half is done, a fifth waits for a later day; the rest is due.
FILL = (
    "INSERT INTO deliveries SELECT 't' || (i % 3), 'd' || i, 'm' || i, 'r' || i, 1 + i % 5, '', {hash}, "
    "CASE WHEN i % 10 = 0 THEN 6 WHEN i % 2 = 0 THEN 4 ELSE 1 END, 1 + i % 3, NULL, {now} + i, 'l' || i, '', 1, 0, '', "
    "NULL, CASE WHEN i % 10 <> 0 AND i % 2 = 0 THEN NULL WHEN i % 10 < 2 THEN {now} + 86400000000 + i "
    "ELSE {now} - i END, '{{}}', {now} + i, {now} FROM n"
)
OTHERS = (
    "INSERT INTO delivery_events SELECT tenant_id, CAST(substr(delivery_id, 2) AS BIGINT), delivery_id, 1, 1, NULL, "
    "'', '{}', 0 FROM deliveries",
    "INSERT INTO subject_keys SELECT tenant_id, 'delivery:' || recipient_id, payload_hash, 'k', payload_hash, 0 "
    "FROM deliveries",
    "INSERT INTO delivery_intents SELECT tenant_id, delivery_id, payload_hash FROM deliveries",
    "INSERT INTO delivery_ids SELECT 'p', 'message', 'x' || delivery_id, tenant_id, delivery_id FROM deliveries",
    "INSERT INTO delivery_locks SELECT tenant_id, 'held' || delivery_id, delivery_id FROM deliveries "
    "WHERE message_id < 'm11'",
    "ANALYZE",
)


async def run(url: str, *statements: str) -> list[str]:
    """The statements, and the text that the last one gave."""
    database = open_database(url, lock_timeout_s=5.0, connections=1)
    answers: list[str] = []

    def execute(connection: Connection) -> None:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        if result.returns_rows:
            answers.extend(str(row[-1]) for row in result)

    await database.writer.exclusively(execute)
    await database.close()
    return answers


def micros(moment: datetime) -> int:
    return int((moment - EPOCH).total_seconds() * 1_000_000)


@pytest.fixture
async def backlog(store_url: str, clock: FakeClock) -> str:
    """A database with a long queue, whose planner knows that it is long."""
    dialect = "sqlite" if store_url.startswith("sqlite") else "postgresql"
    payload_hash = "x'00'" if dialect == "sqlite" else "'\\x00'::bytea"
    fill = FILL.format(hash=payload_hash, now=micros(clock.now()))
    await run(store_url, _with(dialect, fill), *OTHERS)
    return store_url


def _with(dialect: str, fill: str) -> str:
    numbers = NUMBERS[dialect].format(rows=ROWS)
    return f"INSERT INTO deliveries {numbers}{fill.removeprefix('INSERT INTO deliveries ')}"


WHEN = EPOCH + 365 * 60 * DAY
IDENTITY = {"tenant_id": "t1", "message_id": "m1", "recipient_id": "r1", "channel": 2, "simulation_id": ""}
SWAP = {
    "tenant_id": "t1",
    "delivery_id": "d1",
    "fence": 0,
    "revision": 1,
    "state": 4,
    "due_at": None,
    "account": None,
    "body": "{}",
    "releases": True,
}
STATEMENTS: list[tuple[str, Executable, Mapping[str, Any], str]] = [
    ("waiting", writing.WAITING, {"now": WHEN}, "ix_deliveries_dispatched"),
    (
        "due",
        writing.DUE,
        {"now": WHEN, "at_most": 100, "over": 1, "at_priority": 2},
        "ix_deliveries_dispatched",
    ),
    (
        "due of states",
        writing.DUE_OF_STATES,
        {"now": WHEN, "at_most": 100, "over": 1, "at_priority": 2, "in_states": [1, 5]},
        "ix_deliveries_dispatched",
    ),
    ("due unknown", writing.DUE_UNKNOWN, {"now": WHEN, "at_most": 100, "over": [1, 2]}, "ix_deliveries_reconciled"),
    (
        "lease",
        writing.LEASE,
        {"tenant": "t1", "delivery": "d1", "new_holder": "d1", "until": WHEN},
        "pk_deliveries",
    ),
    ("intents", reading.INTENTS, {"tenant": "t1", "chosen": ["d1", "d4", "d7"]}, "pk_deliveries"),
    ("intent sizes", reading.INTENT_SIZES, {"tenant": "t1", "chosen": ["d1", "d4", "d7"]}, "pk_delivery_intents"),
    ("events", reading.EVENTS, {"tenant": "t1", "after": 19_000, "at_most": 10}, "pk_delivery_events"),
    (
        "events of one",
        reading.EVENTS_OF_ONE,
        {"tenant": "t1", "after": 0, "at_most": 10, "delivery": "d1"},
        "ix_delivery_events_delivery",
    ),
    ("by id", reading.BY_PROVIDER_ID, {"provider": "p", "of_kind": "message", "id": "xd7"}, "pk_delivery_ids"),
    ("page", reading.PAGES[False, False, False], {"tenant": "t1", "at_most": 50}, "ix_deliveries_accepted_at"),
    (
        "page after",
        reading.PAGES[False, False, True],
        {"tenant": "t1", "at_most": 50, "before_at": WHEN, "before_id": "d"},
        "ix_deliveries_accepted_at",
    ),
    (
        "page of state",
        reading.PAGES[True, False, False],
        {"tenant": "t1", "at_most": 50, "in_state": 6},
        "ix_deliveries_state",
    ),
]
SQLITE_NAMES = {
    "pk_deliveries": "sqlite_autoindex_deliveries_1",
    "uq_deliveries_identity": "sqlite_autoindex_deliveries_2",
    "pk_delivery_events": "sqlite_autoindex_delivery_events_1",
    "pk_delivery_ids": "sqlite_autoindex_delivery_ids_1",
    "pk_delivery_intents": "sqlite_autoindex_delivery_intents_1",
}


async def plan_of(url: str, statement: Executable, values: Mapping[str, Any]) -> list[str]:
    """How the database runs the statement with these values bound, as the store binds them."""
    database = open_database(url, lock_timeout_s=5.0, connections=1)
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    plan: list[str] = []

    def execute(connection: Connection) -> None:
        sent: list[tuple[str, Any]] = []

        def note(_c: object, _cursor: object, sql: str, bound: Any, _context: object, _many: object) -> None:
            sent.append((sql, bound))

        event.listen(connection, "before_cursor_execute", note)
        connection.execute(statement, values)
        event.remove(connection, "before_cursor_execute", note)
        ((sql, bound),) = sent
        plan.extend(str(row[-1]) for row in connection.exec_driver_sql(explain + sql, bound))

    await database.writer.exclusively(execute)
    await database.close()
    return plan


async def test_no_statement_looks_at_every_row_or_sorts_the_queue(backlog: str) -> None:
    wrong: list[str] = []
    dialect = "sqlite" if backlog.startswith("sqlite") else "postgresql"
    of_dialect = (
        ("same", writing.SAME[dialect], {"identities": [IDENTITY]}, "uq_deliveries_identity"),
        ("swap", writing.SWAP[dialect], {"swaps": [SWAP, SWAP], "now": WHEN}, "pk_deliveries"),
    )
    for name, statement, values, index in (*STATEMENTS, *of_dialect):
        plan = await plan_of(backlog, statement, values)
        wanted = SQLITE_NAMES.get(index, index) if backlog.startswith("sqlite") else index
        read = [step for step in plan if "VIRTUAL TABLE" not in step and "CONSTANT ROW" not in step]
        bad = [step for step in read if "Seq Scan" in step or step.startswith("SCAN") or "TEMP B-TREE" in step]
        bad += [step for step in plan if "Sort" in step]
        if bad or not any(wanted in step for step in plan):
            wrong.append(f"{name}: {plan}")
    assert wrong == []


async def test_a_backlog_drains_batch_by_batch_and_nothing_is_left(store: Store, clock: FakeClock) -> None:
    async with store.transaction() as tx:
        await tx.delivery.accept([intent(f"m{number}", clock.now()) for number in range(1000)])
        audit(tx)
    done: list[str] = []
    while leased := await lease(store, clock.now(), limit=300):
        assert len(leased) <= 300
        async with store.transaction() as tx:
            for row in leased:
                ended = Change(
                    tenant_id="t1",
                    delivery_id=row.delivery_id,
                    state=contract.DELIVERY_STATE_SENT_ACKED,
                    due_at=None,
                    body=row.body,
                    releases=True,
                )
                assert await tx.delivery.swap(ended, revision=row.revision, fence=row.fence)
            audit(tx)
        done += [row.message_id for row in leased]
    assert sorted(done) == sorted(f"m{number}" for number in range(1000))
    assert await store.delivery.queue_depth(clock.now() + DAY) == []
    assert await store.delivery.cursor("t1") == 2000
