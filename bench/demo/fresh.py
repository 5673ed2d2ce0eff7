"""(b) How long does `make demo` take on a machine that has nothing yet, downloads included?"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.demo.again import ROOT, left_out
from bench.demo.timed import CommandFailed, Stage, Timed, stages, timed
from bench.parts import Say
from bench.report import Cell, Report, Table, Target

FRESH_S: Final = 240.0
LIMIT_S: Final = 900.0
PATIENCE_S: Final = 60.0
STAGES: Final = (
    Stage("Python packages downloaded and installed", "Building the models"),
    Stage("models downloaded and built, every owner started, one voice enrolled", "enrolled "),
    Stage("the rest of the demonstration", ""),
)
NEEDED: Final = ("git", "make")


def measure(say: Say, *, quick: bool) -> Report:
    """`make demo` in a clone of what is committed here, with empty caches. Where that cannot be, it says why."""
    report = Report("b", "The demonstration in a fresh clone")
    run: Timed | None = None
    why_not = "it takes minutes, and this is --quick" if quick else _absent()
    if not why_not:
        with tempfile.TemporaryDirectory(prefix="selene-fresh-", ignore_cleanup_errors=True) as name:
            say("make demo in a fresh clone, with empty caches")
            try:
                run = _made(Path(name))
            except CommandFailed as error:
                why_not = f"it failed. {error}"
    report.notes.append(
        "From `make demo` to its end in a clone of the commit that is checked out here. The caches of pip and of "
        "Selene are empty, so that every package and every model is downloaded."
    )
    if why_not:
        report.notes.append(f"NOT MEASURED: {why_not}")
    if run is not None:
        report.notes += [f"Left out here: {line}" for line in dict.fromkeys(left_out(run.lines))]
        rows: list[list[Cell]] = [[name, seconds] for name, seconds in stages(run, STAGES).items()]
        report.tables.append(Table("Seconds", ("what", "s"), [*rows, ["all of it", run.seconds]]))
        report.data = {"stages": stages(run, STAGES)}
    report.targets.append(Target("make demo in a fresh clone", FRESH_S, run.seconds if run else None, "s"))
    return report


def _absent() -> str:
    """Why there can be no clone here; empty where there can."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} cannot be found"
    return "" if (ROOT / ".git").exists() else f"{ROOT} is no clone itself"


def _made(folder: Path) -> Timed:
    """CommandFailed."""
    clone = folder / "selene"
    environment = bare(os.environ, folder)
    cloned = subprocess.run(
        ["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(clone)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if cloned.returncode:
        raise CommandFailed(cloned.stderr.strip())
    return timed(("make", "demo"), clone, environment, limit_s=LIMIT_S)


def bare(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment without what this project or an active virtual environment put there, its caches in `folder`."""
    active = environment.get("VIRTUAL_ENV", "")
    path = os.pathsep.join(
        part
        for part in environment.get("PATH", "").split(os.pathsep)
        if not (active and part == str(Path(active) / "bin")) and part != str(ROOT / ".venv" / "bin")
    )
    dropped = ("PYTHON", "VIRTUAL_ENV", "SELENE_", "MAKE", "MFLAGS")
    kept = {name: value for name, value in environment.items() if not name.startswith(dropped)}
    return {**kept, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "PIP_NO_CACHE_DIR": "1"}
