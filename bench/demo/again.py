"""(a) How long does `make demo` take once it was made before?"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.demo.timed import Line, Stage, Timed, stages, timed
from bench.parts import Say
from bench.report import Cell, Report, Table, Target
from bench.stats import Spread

AGAIN_S: Final = 10.0
RUNS, QUICK_RUNS = 5, 1
LIMIT_S: Final = 300.0
ROOT: Final = Path(__file__).resolve().parents[2]
COMMAND: Final = (sys.executable, "-m", "servers.demonstration")
STAGES: Final = (
    Stage("Python, its imports, the recogniser's model checked", "Building the models"),
    Stage("models checked, every owner started, one voice enrolled", "enrolled "),
    Stage("two people speak, at their own pace", " known voices named"),
    Stage("a turn by voice, spoken at its own pace", "The same turn, "),
    Stage("its language model broken, the turn again", "Two messages: "),
    Stage("two messages, the servers stopped", "The audit trail of "),
    Stage("the trail checked, everything cleared away", ""),
)
LEFT_OUT: Final = (" is skipped", " are skipped", " goes without", "Going on without")
"""What the demonstration says of what it cannot do here."""


def measure(say: Say, *, quick: bool) -> Report:
    """The demonstration as `make demo` runs it, several times, each in a folder of its own; the first is no number."""
    report = Report("a", "The demonstration, once everything is there")
    count = QUICK_RUNS if quick else RUNS
    say("once, so that models are built and files are in memory")
    _run()
    runs = []
    for number in range(count):
        say(f"the demonstration, {number + 1} of {count}")
        runs.append(_run())
    report.notes += [
        "From the process being made to its end. Models are built and every file is in the page cache; the store, its "
        "keys and the enrolments are new each time.",
        "Speech is sent at the pace at which it is spoken, and each owner is a real server: nothing is left out or "
        "hurried for the measurement.",
        *(f"Left out here: {line}" for line in dict.fromkeys(left_out(runs[-1].lines))),
    ]
    whole = [run.seconds for run in runs]
    report.tables.append(_table(runs))
    report.targets.append(Target("the demonstration, again, slowest", AGAIN_S, max(whole), "s"))
    report.data = {"seconds_each": whole, "stages": [stages(run, STAGES) for run in runs]}
    return report


def left_out(lines: Sequence[Line]) -> list[str]:
    """Lines that say what could not be shown."""
    return [line.text for line in lines if any(words in line.text for words in LEFT_OUT)]


def _run() -> Timed:
    return timed(COMMAND, ROOT, os.environ, limit_s=LIMIT_S)


def _table(runs: Sequence[Timed]) -> Table:
    each = [stages(run, STAGES) for run in runs]
    rows: list[list[Cell]] = []
    for stage in STAGES:
        took = [seconds for found in each if (seconds := found[stage.name]) is not None]
        spread = Spread.of(took)
        rows.append([stage.name, spread.count, spread.p50, spread.largest])
    whole = Spread.of([run.seconds for run in runs])
    return Table(
        "Seconds", ("what", "runs", "p50 s", "max s"), [*rows, ["all of it", whole.count, whole.p50, whole.largest]]
    )
