"""Puts the owner together: its services, and the loop that takes on what engines leave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from selene.learning.v1 import service_pb2_grpc as learning_grpc

from servers.learning import NAME
from servers.learning.capturing import AT_ONCE, Rules, drain
from servers.learning.drift_service import DriftV1
from servers.learning.drifting import Watch
from servers.learning.gold_service import GoldV1
from servers.learning.golding import GOLD_WRITER
from servers.learning.service import SignalsV1
from servers.learning.settings import LearningSettings
from servers.runtime.loops import repeat
from servers.runtime.server import Runtime, Service
from servers.runtime.signals import producer
from store import Store


async def assemble(runtime: Runtime) -> Sequence[Service]:
    """The services of this owner. ConfigError."""
    settings = runtime.settings.owner_settings(NAME, LearningSettings)
    rules = Rules(settings.intake.limits())
    drainer = Drainer(runtime.store, rules, settings.intake.outbox_every_s)
    runtime.on_stop(drainer.stop)
    watch = Watch(
        runtime.store, runtime.clock, producer(runtime.settings, GOLD_WRITER), every_s=settings.drift.look_every_s
    )
    runtime.on_stop(watch.stop)
    if settings.drift.loop:
        watch.start()
    signals = SignalsV1(runtime.store, runtime.clock, rules, runtime.stopping, batch=settings.intake.batch)
    gold = GoldV1(runtime.store, runtime.clock, runtime.ids)
    return (
        Service(learning_grpc.add_SignalServiceServicer_to_server, signals, "selene.learning.v1.SignalService"),
        Service(learning_grpc.add_GoldServiceServicer_to_server, gold, "selene.learning.v1.GoldService"),
        Service(
            learning_grpc.add_DriftServiceServicer_to_server,
            DriftV1(runtime.store, runtime.clock),
            "selene.learning.v1.DriftService",
        ),
    )


class Drainer:
    """Takes on what engines left, while the process runs. Of several processes each takes others."""

    def __init__(self, store: Store, rules: Rules, every_s: float) -> None:
        self._store = store
        self._rules = rules
        self._task = asyncio.ensure_future(repeat(self._drain, every_s, "what engines left was not taken on"))

    async def stop(self) -> None:
        """Never again; what is left waits for the next process."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self) -> None:
        while await drain(self._store, self._rules) == AT_ONCE:
            pass
