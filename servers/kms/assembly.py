"""Puts the owner together: the keystore, the service, and the sweeper of what has run out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from selene.kms.v1 import service_pb2_grpc as kms_grpc

from servers.kms.backend import LocalKeystore
from servers.kms.service import SecretsV1
from servers.kms.sweep import sweep
from servers.runtime.clock import Clock
from servers.runtime.server import Runtime, Service
from store import Store, StoreError

SWEEP_EVERY_S: Final = 30.0

_log = structlog.get_logger("selene.kms")


def assemble(runtime: Runtime) -> Sequence[Service]:
    """The one service of this owner."""
    sweeper = Sweeper(runtime.store, runtime.clock)
    runtime.on_stop(sweeper.stop)
    servicer = SecretsV1(runtime.store, runtime.clock, runtime.ids, LocalKeystore())
    return (Service(kms_grpc.add_SecretsServiceServicer_to_server, servicer, "selene.kms.v1.SecretsService"),)


class Sweeper:
    """Sweeps while the process runs: what is over is destroyed although nobody touches it again."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._task = asyncio.ensure_future(self._repeat())

    async def stop(self) -> None:
        """Never again."""
        self._task.cancel()

    async def _repeat(self) -> None:
        while True:
            try:
                await sweep(self._store, self._clock.now())
            except StoreError as error:
                _log.error("versions that are over were not destroyed", cause=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)
