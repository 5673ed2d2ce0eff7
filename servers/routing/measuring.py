"""The rows that a routing owner's KPI windows are cut from: the trails of its calls, as `measures` reads them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from selene.governance.v1.rollout_pb2 import Rollout

from servers.kpi_windows import Tallies
from servers.routing.measures import measure
from store import Transaction


class Calls:
    """Calls of one owner that went by packs of these types."""

    def __init__(self, owner: str, artifact_types: Collection[str]) -> None:
        self._owner = owner
        self._artifact_types = frozenset(artifact_types)

    def concerns(self, rollout: Rollout) -> bool:
        """Whether the owner goes by what is rolled out."""
        return rollout.subject.artifact_type in self._artifact_types

    async def beyond(self, rooms: Transaction, rollout: Rollout, until: datetime, at_most: int) -> datetime | None:
        """When the call after the first `at_most` uncounted ones ended. StoreUnavailable."""
        return await rooms.routing.calls.uncounted(rollout.rollout_id, self._owner, until, at_most)

    async def count(self, tx: Transaction, rollout: Rollout, until: datetime, at_most: int, into: Tallies) -> None:
        """Count calls that ended before then. StoreUnavailable."""
        measure(await tx.routing.calls.take(rollout.rollout_id, self._owner, until, at_most), into)
