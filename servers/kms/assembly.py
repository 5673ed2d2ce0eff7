"""Puts the owner together: the keystore, the service, and the sweeper of what has run out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from selene.kms.v1 import service_pb2_grpc as kms_grpc

from servers.kms.backend import Backend, LocalKeystore
from servers.kms.service import SecretsV1
from servers.kms.sweep import sweep, wrap_anew
from servers.runtime.clock import Clock
from servers.runtime.secrets import SETTINGS_OF, SecretsSettings
from servers.runtime.server import Runtime, Service
from store import Store, StoreError

SWEEP_EVERY_S: Final = 30.0

_log = structlog.get_logger("selene.kms")


def assemble(runtime: Runtime) -> Sequence[Service]:
    """The one service of this owner. ConfigError."""
    backend = backend_of(runtime.settings.owner_settings(SETTINGS_OF, SecretsSettings))
    runtime.on_stop(backend.close)
    wraps = bool(runtime.settings.master_key.retired_files)
    sweeper = Sweeper(runtime.store, runtime.clock, backend, wraps_anew=wraps)
    runtime.on_stop(sweeper.stop)
    servicer = SecretsV1(runtime.store, runtime.clock, runtime.ids, backend)
    return (Service(kms_grpc.add_SecretsServiceServicer_to_server, servicer, "selene.kms.v1.SecretsService"),)


def backend_of(settings: SecretsSettings) -> Backend:
    """The configured backend. ModuleNotFoundError for OpenBao without hvac."""
    if settings.openbao is None:
        return LocalKeystore()
    from servers.kms.openbao import OpenBaoKeystore  # hvac is an extra, which the local backend does without

    openbao = OpenBaoKeystore(settings.openbao)
    return openbao if settings.backend == "openbao" else LocalKeystore(openbao)


class Sweeper:
    """Sweeps while the process runs: what is over is destroyed although nobody touches it again."""

    def __init__(self, store: Store, clock: Clock, backend: Backend, *, wraps_anew: bool = False) -> None:
        self._store = store
        self._clock = clock
        self._backend = backend
        self._wraps_anew = wraps_anew
        self._task = asyncio.ensure_future(self._repeat())

    async def stop(self) -> None:
        """Never again."""
        self._task.cancel()

    async def _repeat(self) -> None:
        while True:
            try:
                await sweep(self._store, self._backend, self._clock.now())
                if self._wraps_anew:
                    await wrap_anew(self._store)
            except StoreError as error:
                _log.error("what is over was not swept", cause=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)
