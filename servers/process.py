"""A server process: which owners there are, how they share one store, how the process runs until it is stopped."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from servers.retention import Retention
from servers.runtime.auth import make_data_dir
from servers.runtime.clock import SystemClock
from servers.runtime.config import Settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.logging import configure_logging
from servers.runtime.server import (
    Owner,
    Parts,
    RunningServer,
    Runtime,
    Service,
    prefer_latency,
    run_loop,
    serve,
    stop_on_signals,
    unbindable,
)
from servers.runtime.storage import SQLITE, LedgerSink, open_store, store_url
from servers.runtime.tls import ListenError
from servers.runtime.workers import WorkerSlot, run_workers
from servers.shipped import register_shipped_pack
from store import Store, StoreError
from store.retention import Kept

CHECKPOINT_EVERY_S: Final = 600.0
LOCK_SUFFIX: Final = ".serving"
SHARED: Final = (
    "another server serves this store too: they share its state, and what one decided, asked or sent, the other knows. "
    "If that is not meant, stop one or give this one a --data-dir of its own"
)

_log = structlog.get_logger("selene.process")

Started = Callable[[RunningServer], None]


@dataclass(frozen=True, slots=True)
class _Known:
    engine_id: str
    port: int
    receive_bytes: int = 0
    knows_consumers: bool = False
    """It is given how every owner consumes packs: owners import no owner."""


OWNERS: Final = {
    "voiceid": _Known("PH1.VOICE.ID", 7401),
    "audit": _Known("PH1.J", 7402),
    "stt": _Known("PH1.C", 7403),
    "tts": _Known("PH1.TTS", 7404),
    "llm": _Known("PH1.D", 7405),
    "kms": _Known("PH1.KMS", 7406),
    "delivery": _Known("PH1.DELIVERY", 7407, receive_bytes=16 * 1024 * 1024),
    "learning": _Known("PH1.FEEDBACK", 7408, receive_bytes=4 * 1024 * 1024),
    "governance": _Known("PH1.GOV", 7409, knows_consumers=True),
}
"""Every owner that can be served, with its default port. `servers.<name>.build` makes its services."""


def owner(name: str) -> Owner:
    """The owner as the runtime wants it. KeyError for a name that is none."""
    known = OWNERS[name]

    async def build(runtime: Runtime) -> Sequence[Service]:
        given = (importlib.import_module("servers.consumers").CONSUMERS,) if known.knows_consumers else ()
        services: Sequence[Service] = await importlib.import_module(f"servers.{name}").build(runtime, *given)
        return services

    return Owner(name, known.engine_id, build, known.port, known.receive_bytes)


async def serve_owners(names: Sequence[str], settings: Settings, slot: WorkerSlot, started: Started) -> None:
    """Serve until SIGTERM or SIGINT. ConfigError, ListenError, KeyFileError and StoreError say why it cannot start."""
    _log.info("settings", **settings.effective())
    clock = SystemClock()
    ids = UuidV7Ids(clock)
    store = await open_store(settings, clock, ids)
    try:
        await register_shipped_pack(store)
        checkpoints = Checkpoints(store)
        kept = Kept(
            idempotency=timedelta(days=settings.store.idempotency_days),
            deliveries=timedelta(days=settings.store.delivery_days),
            signal_streams=timedelta(days=settings.store.signal_stream_days),
        )
        retention = Retention(store, clock, kept)
        parts = Parts(
            clock=clock,
            ids=ids,
            store=store,
            audit=LedgerSink(store),
            on_stop=(store.close, checkpoints.stop, retention.stop),
            shared_ports=slot.shared_ports,
            worker_index=slot.index,
        )
        async with await serve([owner(name) for name in names], settings, parts) as running:
            started(running)
            prefer_latency()
            await stop_on_signals(running)
    finally:
        await store.close()


class Checkpoints:
    """Signs checkpoints of every ledger while the process runs and when it stops, so that truncation shows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task = asyncio.ensure_future(self._repeat())

    async def stop(self) -> None:
        """Once more, then never again."""
        self._task.cancel()
        await self._sign()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_EVERY_S)
            await self._sign()

    async def _sign(self) -> None:
        try:
            await self._store.checkpoint_all()
        except StoreError as error:
            _log.error("no checkpoint", cause=str(error))


def check_ports(names: Sequence[str], settings: Settings) -> None:
    """Before anything is begun: the ports that these owners are to listen on are free. ListenError names one taken."""
    taken: list[tuple[str, str]] = []
    for name in names:
        host, port = _address(name, settings)
        defect = unbindable(host, port) if port else None
        if defect is not None:
            taken.append((f"{host}:{port} ({name})", defect))
    if taken:
        first, defect = taken[0]
        others = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise ListenError(
            f"cannot listen on {first}{others}: {defect}. Is another server running? Stop it, or take other ports: "
            f"`--port 0` for any, `--port {names[0]}=PORT` for this one"
        )


def run_process(names: Sequence[str], settings: Settings, started: Started) -> None:
    """`serve_owners` in this process, or in `settings.workers` of them that share the ports."""
    configure_logging(settings.log.level)
    with beside_others(settings):
        if settings.workers == 1:
            run_loop(serve_owners(names, settings, WorkerSlot(), started))
            return
        addresses = {name: _address(name, settings) for name in names}
        run_workers(functools.partial(_worker, tuple(names), settings), settings.workers, addresses)


@contextmanager
def beside_others(settings: Settings) -> Iterator[None]:
    """Serve an embedded store, and say so where another server does already: both work on one state, as they may.

    A lock beside the database tells, which ends with its process however that ends. On PostgreSQL nothing is said:
    there several servers are the rule.
    """
    with ExitStack() as held:
        with suppress(OSError):  # the store itself says what is wrong with its folder
            place = _lock_place(settings)
            if place is not None:
                lock = held.enter_context(place.open("ab"))
                if not _alone(lock.fileno()):
                    _log.info(SHARED, database=str(place.with_suffix("")))
        yield


def _lock_place(settings: Settings) -> Path | None:
    url = store_url(settings)
    if not url.startswith(SQLITE):
        return None
    if not settings.store.url:
        make_data_dir(settings.data_dir)
    return Path(f"{url.removeprefix(SQLITE)}{LOCK_SUFFIX}")


def _alone(lock: int) -> bool:
    """Whether nobody else holds it; held from now on, beside the others."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        fcntl.flock(lock, fcntl.LOCK_SH)
    return True


def _address(name: str, settings: Settings) -> tuple[str, int]:
    listen = settings.listen
    return listen.hosts.get(name, listen.host), listen.ports.get(name, OWNERS[name].port)


def _worker(names: Sequence[str], settings: Settings, slot: WorkerSlot) -> None:
    configure_logging(settings.log.level)
    run_loop(serve_owners(names, settings, slot, _silent))


def _silent(running: RunningServer) -> None:
    """Workers leave the banner to nobody: their log says where they listen."""


def models_dir(settings: Settings) -> Path:
    """Where voice identity keeps its models."""
    from servers.voiceid.models.registry import default_cache_dir  # imports onnx, which few commands need
    from servers.voiceid.settings import VoiceIdSettings

    return settings.owner_settings("voiceid", VoiceIdSettings).models_dir or default_cache_dir()
