"""Several processes that serve the same ports: the kernel spreads connections, one channel stays with one worker.

Workers are spawned, not forked, and the parent never makes a gRPC object: gRPC does not survive a fork.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess

import structlog

from servers.runtime.auth import KeyFileError
from servers.runtime.config import ConfigError
from servers.runtime.tls import ListenError

_log = structlog.get_logger("selene.workers")


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """Which worker this process is and the ports, by owner, that it shares with the others; without workers: none."""

    index: int = 0
    shared_ports: Mapping[str, int] = field(default_factory=dict)


CANNOT_START = os.EX_CONFIG
"""What a worker exits with when trying again cannot help: a wrong setting, a taken port, a missing package."""


class WorkerCannotStart(RuntimeError):
    """A worker ended with CANNOT_START before it ever served; its log says why."""


Entry = Callable[[WorkerSlot], None]
"""What a worker does until SIGTERM. It is pickled: a module's function, or a ``functools.partial`` of one."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a worker that died waits for its successor: doubling, forgotten after ``healthy_s`` of life; seconds."""

    first_s: float = 0.5
    most_s: float = 30.0
    healthy_s: float = 60.0

    def after(self, previous_s: float, lived_s: float) -> float:
        """The wait after a life of ``lived_s``, where the wait before was ``previous_s`` (0: none)."""
        if previous_s == 0 or lived_s >= self.healthy_s:
            return self.first_s
        return min(previous_s * 2, self.most_s)


def run_workers(
    entry: Entry, count: int, addresses: Mapping[str, tuple[str, int]], backoff: Backoff | None = None
) -> None:
    """Keeps ``count`` workers alive until SIGTERM or SIGINT; ``addresses`` are host and port by owner, port 0 is any.

    Raises ListenError if an address is taken, WorkerCannotStart where restarting would go on for ever.
    """
    with ExitStack() as stack:
        ports = {owner: stack.enter_context(reserved(*address)) for owner, address in addresses.items()}
        _log.info("workers share", ports=ports, count=count)
        asyncio.run(Supervisor(entry, count, ports, backoff or Backoff()).run())


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Holds a port, never listening on it, so that workers may share it and nobody else takes it meanwhile."""
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    try:
        with socket.socket(family, kind, protocol) as probe:  # exclusive: finds out a port that others share
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        holder = socket.socket(family, kind, protocol)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as defect:
        raise ListenError(f"cannot listen on {host}:{port}: {defect.strerror}. Is another server running?") from None
    with holder:
        yield holder.getsockname()[1]


class Supervisor:
    """The parent: starts workers, replaces those that die, passes the signal to stop on."""

    def __init__(self, entry: Entry, count: int, ports: Mapping[str, int], backoff: Backoff) -> None:
        self._entry = entry
        self._count = count
        self._ports = ports
        self._backoff = backoff
        self._processes: dict[int, BaseProcess] = {}
        self._stopping = asyncio.Event()
        self._cannot_start = False

    async def run(self) -> None:
        """Returns when all workers have ended after a signal. WorkerCannotStart, once all have ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await asyncio.gather(*(self._keep(index) for index in range(self._count)))
        if self._cannot_start:
            raise WorkerCannotStart("a worker cannot start: the line `worker cannot start` of its log says why")

    def stop(self) -> None:
        """The first time workers stop gracefully, the second time at once."""
        for process in self._processes.values():
            if self._stopping.is_set():
                process.kill()
            else:
                process.terminate()
        self._stopping.set()

    async def _keep(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        wait_s = 0.0
        while not self._stopping.is_set():
            began = loop.time()
            exit_code = await self._live(index)
            if self._stopping.is_set():
                return
            if exit_code == CANNOT_START and wait_s == 0:
                self._cannot_start = True
                self.stop()
                return
            wait_s = self._backoff.after(wait_s, loop.time() - began)
            _log.error("worker died", index=index, exit_code=exit_code, restart_in_s=wait_s)
            try:
                await asyncio.wait_for(self._stopping.wait(), wait_s)
            except TimeoutError:
                continue

    async def _live(self, index: int) -> int | None:
        slot = WorkerSlot(index, dict(self._ports))
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(self._entry, slot), daemon=False)
        process.start()
        self._processes[index] = process
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(process.sentinel)
            del self._processes[index]
        process.join()
        return process.exitcode


def _work(entry: Entry, slot: WorkerSlot) -> None:
    # Ctrl-C reaches the whole process group; the parent turns it into the one SIGTERM that a worker obeys.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        entry(slot)
    except (ConfigError, KeyFileError, ListenError, ModuleNotFoundError) as error:
        _log.error("worker cannot start", index=slot.index, cause=str(error))
        raise SystemExit(CANNOT_START) from None


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
