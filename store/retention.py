"""Rows that are kept for a time only are removed when it is over, a few at a time: a batch holds the writer briefly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Delete, Table, bindparam, delete, func, select, tuple_

from store.access import Writes
from store.learning.tables import streams
from store.schema import (
    ENDED,
    call_observations,
    conflict_retries,
    delivery_events,
    delivery_ids,
    delivery_intents,
    delivery_webhooks,
    idempotency,
    observations,
    prompt_budgets,
    prompt_cooldowns,
    prompt_retries,
)

BATCH = 500
"""Rows that one transaction removes at most: some 10 ms of SQLite's only writer."""


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long: an idempotency key since its first use, a budget and a retry since they were last spent, a
    cooldown since it ended, the id of a provider's webhook since it was first seen, the position of a stream of
    signals since it last went on, what a decision or a call adds to KPI windows since it was made, what was sent in a
    delivery and what happened to it since it became final. The delivery itself stays: it is never sent again. So do
    signals: a stream that begins anew takes none twice.
    """

    idempotency: timedelta = timedelta(days=7)
    prompt_budgets: timedelta = timedelta(days=7)
    prompt_cooldowns: timedelta = timedelta(days=1)
    conflict_retries: timedelta = timedelta(days=1)
    prompt_retries: timedelta = timedelta(days=7)
    delivery_webhooks: timedelta = timedelta(days=30)
    deliveries: timedelta = timedelta(days=90)
    signal_streams: timedelta = timedelta(days=30)
    observations: timedelta = timedelta(days=7)


# As in the index: only then is it used. A final state never changes, and each later event of its delivery has it too.
_ENDED = (
    select(delivery_events.c.tenant_id, delivery_events.c.delivery_id)
    .where(ENDED, delivery_events.c.at < bindparam("before"))
    .group_by(delivery_events.c.tenant_id, delivery_events.c.delivery_id)
    .order_by(func.min(delivery_events.c.at))
    .limit(bindparam("at_most"))
)


def _of_delivery(table: Table) -> Delete:
    return delete(table).where(table.c.tenant_id == bindparam("tenant"), table.c.delivery_id == bindparam("delivery"))


_EMPTY = (
    _of_delivery(delivery_intents),
    _of_delivery(delivery_ids),
    _of_delivery(delivery_events).where(delivery_events.c.at < bindparam("before")),
)


class Retention:
    """Removing inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        self._writes = writes

    async def remove(self, kept: Kept, now: datetime, at_most: int = BATCH) -> Mapping[str, int]:
        """How many rows of which kind were removed, `at_most` in all: fewer means that nothing more is over."""
        removed: dict[str, int] = {}
        for kind, table, since, age in (
            ("idempotency", idempotency, idempotency.c.created_at, kept.idempotency),
            ("prompt_budgets", prompt_budgets, prompt_budgets.c.spent_at, kept.prompt_budgets),
            ("prompt_cooldowns", prompt_cooldowns, prompt_cooldowns.c.until, kept.prompt_cooldowns),
            ("conflict_retries", conflict_retries, conflict_retries.c.spent_at, kept.conflict_retries),
            ("prompt_retries", prompt_retries, prompt_retries.c.spent_at, kept.prompt_retries),
            ("delivery_webhooks", delivery_webhooks, delivery_webhooks.c.seen_at, kept.delivery_webhooks),
            ("signal_streams", streams, streams.c.updated_at, kept.signal_streams),
            ("observations", observations, observations.c.at, kept.observations),
            ("call_observations", call_observations, call_observations.c.at, kept.observations),
        ):
            count = await self._oldest(table, since, now - age, at_most - sum(removed.values()))
            if count:
                removed[kind] = count
        emptied = await self._emptied(now - kept.deliveries, at_most - sum(removed.values()))
        return {**removed, "deliveries": emptied} if emptied else removed

    async def _emptied(self, before: datetime, at_most: int) -> int:
        """Deliveries that have been final since before then, without what was sent and what happened by now."""
        if at_most <= 0:
            return 0
        rows = await self._writes.rows(_ENDED, {"before": before, "at_most": at_most})
        over = [{"tenant": row.tenant_id, "delivery": row.delivery_id, "before": before} for row in rows]
        for statement in _EMPTY if over else ():
            await self._writes.write(statement, over)
        return len(over)

    async def _oldest(self, table: Table, since: Column[Any], before: datetime, at_most: int) -> int:
        if at_most <= 0:
            return 0
        key = list(table.primary_key)
        over = select(*key).where(since < before).order_by(since).limit(at_most)
        return (await self._writes.write(delete(table).where(tuple_(*key).in_(over), since < before))).count
