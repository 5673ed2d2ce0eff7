"""A command whose output is read with a clock: which line came when, and what lay between two of them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TAIL: int = 15
"""Lines that tell why a command failed."""


class CommandFailed(RuntimeError):
    """The command did not end well; the text ends with what it last said."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, and how many seconds after the start it came."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Timed:
    """A command that ended with 0: its lines, and its wall time until it was gone."""

    lines: Sequence[Line]
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """What goes on until a line that holds `until` was said; an empty one is the end."""

    name: str
    until: str


def timed(command: Sequence[str], folder: Path, environment: Mapping[str, str], *, limit_s: float) -> Timed:
    """Run it in a folder. CommandFailed where it ends with another code, or with none after `limit_s`."""
    began = time.perf_counter()
    lines: list[Line] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        # What Python says goes out when it is said: its time is what is read.
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        patience = threading.Timer(limit_s, _kill, (process.pid,))
        patience.start()
        try:
            assert process.stdout is not None
            for text in process.stdout:
                lines.append(Line(time.perf_counter() - began, text.rstrip()))
            code = process.wait()
        finally:
            is_late = not patience.is_alive()
            patience.cancel()
    seconds = time.perf_counter() - began
    if code:
        why = f"not done after {limit_s:.0f} s" if is_late else f"ended with {code}"
        raise CommandFailed("\n".join([f"{' '.join(command)}: {why}", *(line.text for line in lines[-TAIL:])]))
    return Timed(lines, seconds)


def stages(run: Timed, wanted: Iterable[Stage]) -> dict[str, float | None]:
    """Seconds of each stage, in order; None where its line was never said: its time is then the next one's."""
    found: dict[str, float | None] = {}
    since, place = 0.0, 0
    for stage in wanted:
        until = len(run.lines) if not stage.until else _place(run.lines, stage.until, place)
        if until is None:
            found[stage.name] = None
            continue
        at_s = run.seconds if until == len(run.lines) else run.lines[until].at_s
        found[stage.name] = at_s - since
        since, place = at_s, until
    return found


def _place(lines: Sequence[Line], words: str, first: int) -> int | None:
    return next((place for place in range(first, len(lines)) if words in lines[place].text), None)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
