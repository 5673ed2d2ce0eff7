"""(c) A backlog of 100,000 drained: whether memory stays flat all the way, and nothing goes out twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.delivery.draining import QUICK_BACKLOG, Sample, drained, grown
from bench.parts import Say
from bench.report import Cell, Report, Table, Target

BACKLOG: Final = 100_000
STEPS: Final = 20
GROWTH_TARGET_MIB: Final = 32.0


def measure(say: Say, *, quick: bool) -> Report:
    """As part b does it, with memory looked at on the way."""
    report = Report("c", "A backlog of 100,000, and memory meanwhile")
    done = drained(report, say, QUICK_BACKLOG if quick else BACKLOG)
    columns = ("drained", "seconds", "mails/s since", "largest RSS MiB")
    report.tables.append(Table("Memory of the worker with most", columns, course(done.samples, done.backlog)))
    growth = grown(done.samples)
    report.targets += [
        *done.targets,
        Target("memory grows from the second quarter to the last", GROWTH_TARGET_MIB, growth, "MiB"),
    ]
    report.data |= done.data
    return report


def course(samples: Sequence[Sample], backlog: int) -> list[list[Cell]]:
    """The first sample of each step of the backlog that was reached."""
    rows: list[list[Cell]] = []
    before: Sample | None = None
    for step in range(1, STEPS + 1):
        reached = next((one for one in samples if one.accepted >= backlog * step / STEPS), None)
        if reached is None:
            break
        if before is not None and reached.at_s == before.at_s:
            continue
        rows.append([reached.accepted, reached.at_s, _rate(before, reached), reached.resident_mib])
        before = reached
    return rows


def _rate(before: Sample | None, reached: Sample) -> float | None:
    return None if before is None else (reached.accepted - before.accepted) / (reached.at_s - before.at_s)
