"""Owners as a user starts them, in a process of their own and in development mode, with settings of the bench's own.

    python -m bench.routing.owner '["llm"]' '{"data_dir": "…", "owners.llm.llama.base_url": "…"}'

Prints the line that `selene up --json` prints.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.process import Server
from servers.process import OWNERS, run_process
from servers.runtime.config import load_settings
from servers.runtime.server import RunningServer


def served(names: Sequence[str], data_dir: Path, flags: Mapping[str, Any] | None = None) -> Server:
    """These owners, to be entered; the log lies beside `data_dir`."""
    usual = {f"listen.ports.{name}": 0 for name in OWNERS}
    settings = {**usual, "data_dir": str(data_dir), "log.level": "error", **(flags or {})}
    command = (sys.executable, "-m", "bench.routing.owner", json.dumps(list(names)), json.dumps(settings))
    return Server(command, data_dir.with_suffix(".log"))


def main() -> None:
    """Entry point."""
    names, settings = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    run_process(names, load_settings(None, {**settings, "development.enabled": True}), _announce)


def _announce(running: RunningServer) -> None:
    print(json.dumps({"targets": {name: running.target(name) for name in running.ports}}), flush=True)


if __name__ == "__main__":
    main()
