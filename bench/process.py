"""Processes that are measured: the server as a user starts it, and any helper, with their CPU time and memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_CPUCLOCK_SCHED = 2
_START_PATIENCE_S = 60.0


class ServerFailed(RuntimeError):
    """The server did not come up; the text ends with what it last said."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MiB: resident now, its peak, and what of it is private and dirty or shared with files."""

    resident: float
    peak: float
    anonymous: float
    file: float


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads, to the nanosecond: /proc counts ticks of 10 ms, which
    flatters a process that works in short bursts.
    """
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def memory(pid: int) -> Memory:
    """Memory of a process."""
    values: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "VmHWM", "RssAnon", "RssFile"):
            values[name] = int(rest.split()[0]) / 1024
    return Memory(values["VmRSS"], values["VmHWM"], values["RssAnon"], values["RssFile"])


def selene_up(data_dir: Path) -> tuple[str, ...]:
    """The command of a server in development mode, on ports that the system chooses, with a data folder of its own."""
    run = ("-c", "from clients.cli import main; main()", "up", "--json", "--data-dir", str(data_dir))
    return (sys.executable, *run, "--port", "0")


class Server:
    """A server process that prints its targets as one line of JSON when it is ready; what it logs goes to a file."""

    def __init__(self, command: Sequence[str], log_path: Path) -> None:
        self._command = tuple(command)
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self.targets: dict[str, str] = {}
        self.start_seconds = 0.0

    @classmethod
    def up(cls, data_dir: Path) -> Server:
        """`selene up`, as a user starts it."""
        return cls(selene_up(data_dir), data_dir.with_suffix(".log"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the server said that it serves. ServerFailed."""
        with self._log_path.open("ab") as log:
            began = time.perf_counter()
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log)
        line = self._first_line(self._process)
        self.start_seconds = time.perf_counter() - began
        self.targets = json.loads(line)["targets"]

    def _first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None  # it was opened as a pipe
        line = process.stdout.readline()
        if not line:
            process.wait(_START_PATIENCE_S)
            said = self._log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise ServerFailed(f"the server ended with {process.returncode}: {said}")
        return line

    def stop(self) -> None:
        """Ask it to stop and wait; kill it when it does not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed("the server is not running")
        return self._process.pid

    @property
    def target(self) -> str:
        """Where voice identity listens."""
        return self.targets["voiceid"]

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def memory(self) -> Memory:
        return memory(self.pid)


def python(module: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start a module of this project in a process of its own, its stdout as text lines."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, env=_one_thread()
    )


def _one_thread() -> dict[str, str]:
    """Numeric libraries of helpers stay on the thread that calls them."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
