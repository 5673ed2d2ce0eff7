"""What the numbers were measured on, and what that machine can do at most."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

MEBIBYTE = 1 << 20
_LIBRARIES = ("grpcio", "protobuf", "onnxruntime", "numpy", "sqlalchemy", "uvloop")


def facts() -> dict[str, Any]:
    """Cores, CPU, memory, versions, load of the machine before the measurement, and when."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEBIBYTE,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "load_before": os.getloadavg()[0],
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def read_bandwidth(size: int, repeats: int = 5) -> float:
    """Bytes a second at which one core reads `size` bytes of float32 and adds them up: the best of `repeats`."""
    block = np.ones(size // 4, np.float32)
    best = min(_timed(block) for _ in range(repeats))
    return block.nbytes / best


def _timed(block: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    began = time.perf_counter()
    np.add.reduce(block)
    return time.perf_counter() - began
