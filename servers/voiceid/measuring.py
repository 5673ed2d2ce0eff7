"""The rows that voice identity's KPI windows are cut from: what decisions and confirmations left."""

from __future__ import annotations

from datetime import datetime

from selene.governance.v1.rollout_pb2 import Rollout

from servers.kpi_windows import Tallies
from servers.runtime.clock import Clock
from servers.runtime.meter import Meter
from servers.voiceid.calibration.pack import ARTIFACT_TYPE
from servers.voiceid.engine import ENGINE_ID
from servers.voiceid.measures import measure
from servers.voiceid.settings import VoiceIdSettings
from store import Store, Transaction


class Decisions:
    """Observations of one rollout of a threshold pack."""

    def concerns(self, rollout: Rollout) -> bool:
        """Decisions rest on threshold packs."""
        return rollout.subject.artifact_type == ARTIFACT_TYPE

    async def beyond(self, rooms: Transaction, rollout: Rollout, until: datetime, at_most: int) -> datetime | None:
        """When the observation after the first `at_most` uncounted ones was made. StoreUnavailable."""
        found = rooms.voiceid.observations.uncounted
        return await found(rollout.tenant_id, rollout.rollout_id, until, at_most)

    async def count(self, tx: Transaction, rollout: Rollout, until: datetime, at_most: int, into: Tallies) -> None:
        """Count observations before then. StoreUnavailable."""
        taken = await tx.voiceid.observations.take(rollout.tenant_id, rollout.rollout_id, until, at_most)
        measure(taken.observations, into, taken.sessions, taken.prompts)


def meter(store: Store, clock: Clock, settings: VoiceIdSettings) -> Meter:
    """The meter of a process, not started."""
    return Meter(store, clock, ENGINE_ID, Decisions(), window_s=settings.kpi_window_s, look_s=settings.kpi_look_s)
