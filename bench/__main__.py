"""``python -m bench``: every benchmark there is, each room in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

ROOMS: Final = ("bench.voiceid", "bench.routing", "bench.delivery", "bench.learning", "bench.demo")


def main(
    json_dir: Annotated[Path | None, typer.Option("--json", help="Folder for the JSON")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="At most 20 s a part: that it runs, not what it reaches")
    ] = False,
) -> None:
    """Measure everything on this machine. `python -m bench.voiceid` and the like measure parts of it."""
    options = [*(("--json", str(json_dir)) if json_dir is not None else ()), *(("--quick",) if quick else ())]
    codes = [subprocess.run((sys.executable, "-m", room, *options), check=False).returncode for room in ROOMS]
    raise typer.Exit(max(codes, key=abs))


if __name__ == "__main__":
    typer.run(main)
