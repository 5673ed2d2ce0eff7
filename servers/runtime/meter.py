"""Cuts KPI windows for the judge from rows that an owner writes, while the owner runs (§20, §29).

Owners never call governance: windows wait in the store for its control loops. Each span of a rollout is one
transaction that locks the rollout, moves the mark up to which this owner has measured it, counts the rows that no
window has, and keeps the windows: however many processes of the owner there are, and wherever one dies, a row is
counted once and a window kept once. A row that is committed late is counted in the next window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from selene.common.v1.scope_pb2 import TurnRef
from selene.governance.v1.rollout_pb2 import ROLLOUT_STATE_RUNNING, KpiWindow, Rollout, RolloutStage

from servers.framing import framed_digest
from servers.kpi_windows import Tallies, last_end, spans
from servers.runtime.clock import Clock
from servers.runtime.loops import repeat
from store import Rooms, Store, Transaction

AT_ONCE: Final = 5_000
"""Rows that one window takes, 0.2 s of the only writer of SQLite; where there are more, it ends earlier."""
_TICK: Final = timedelta(microseconds=1)


class Rows(Protocol):
    """The rows of an owner that windows are cut from."""

    def concerns(self, rollout: Rollout) -> bool:
        """Whether the owner decides by what is rolled out."""
        ...

    async def beyond(self, rooms: Transaction, rollout: Rollout, until: datetime, at_most: int) -> datetime | None:
        """When the row after the first `at_most` uncounted ones was written; None where there are no more."""
        ...

    async def count(self, tx: Transaction, rollout: Rollout, until: datetime, at_most: int, into: Tallies) -> None:
        """Count the uncounted rows before then, the earliest first, and mark them as counted."""
        ...


class Meter:
    """One of a process. Times are the clock's; only how often it looks is real time."""

    def __init__(self, store: Store, clock: Clock, source: str, rows: Rows, *, window_s: float, look_s: float) -> None:
        self._store = store
        self._clock = clock
        self._source = source
        self._rows = rows
        self._every = timedelta(seconds=window_s)
        self._look_s = look_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look again and again from now on."""
        self._task = asyncio.ensure_future(repeat(self.tick, self._look_s, "KPI windows were not cut"))

    async def stop(self) -> None:
        """Never again; what is being counted is undone or done."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def tick(self) -> int:
        """Cut every window that has ended; how many spans that were. StoreUnavailable."""
        end, cut = last_end(self._clock.now(), self._every), 0
        for rollout in await self._store.governance.rollouts.all_running():
            while await self._is_due(self._store, rollout, end):
                if not await self._cut(rollout, end):
                    break
                cut += 1
        return cut

    async def _is_due(self, rooms: Rooms, rollout: Rollout, end: datetime) -> bool:
        if not self._rows.concerns(rollout):
            return False
        return await rooms.governance.measured.until(rollout, self._source) < end

    async def _cut(self, found: Rollout, end: datetime) -> bool:
        """One span in a transaction of its own; False where another process has it, or the rollout is over."""
        async with self._store.transaction() as tx:
            rollout = await tx.governance.rollouts.locked(found.tenant_id, found.rollout_id)
            if rollout is None or rollout.state != ROLLOUT_STATE_RUNNING:
                return False
            since = await tx.governance.measured.until(rollout, self._source)
            if since >= end:
                return False
            beyond = await self._rows.beyond(tx, rollout, end, AT_ONCE)
            until = end if beyond is None else min(end, max(beyond, since + _TICK))
            if not await tx.governance.measured.claim(rollout, self._source, since, until):
                return False
            tallies = Tallies(spans(rollout, since, until))
            await self._rows.count(tx, rollout, until, AT_ONCE, tallies)
            windows = tallies.windows()
            await tx.governance.measured.keep(rollout, self._source, windows)
            self._note(tx, rollout, windows, until)
        return True

    def _note(
        self, tx: Transaction, rollout: Rollout, windows: Sequence[tuple[RolloutStage, KpiWindow]], until: datetime
    ) -> None:
        kept = framed_digest(*(window.SerializeToString(deterministic=True) for _, window in windows))
        turns = sum(window.turns for _, window in windows if not window.cohort)
        tx.audit(
            tenant_id=rollout.tenant_id,
            owner=self._source,
            actor="system",
            transition="rollout.measured",
            reason_code="WINDOW_ENDED",
            scope=rollout.subject.scope,
            turn=TurnRef(correlation_id=f"rollout:{rollout.rollout_id}"),
            hashes={"windows": kept},
            facts={
                "rollout_id": rollout.rollout_id,
                "until": until.isoformat(),
                "windows": str(len(windows)),
                "turns": str(turns),
            },
        )
