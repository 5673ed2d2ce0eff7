"""``python -m bench.routing [a b c d]``: tables on the terminal, JSON in a folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from bench.machine import facts
from bench.report import Report

PARTS: Final = {"a": "latency", "b": "dark", "c": "simulation", "d": "speech"}
"""The module of each part; imported when asked for."""

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"

WIDE = 150
"""Columns where there is no terminal to ask: tables go into files and logs whole."""

_console = Console(width=None if sys.stdout.isatty() else WIDE)


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help="a latency, b dark provider, c simulation, d speech")
    ] = None,
    json_dir: Annotated[Path, typer.Option("--json", help="Folder for the JSON")] = RESULTS,
    quick: Annotated[
        bool, typer.Option("--quick", help="At most 20 s a part: that it runs, not what it reaches")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Replay the one day of the simulation with it")] = None,
) -> None:
    """Measure provider routing on this machine. Targets are shown beside the numbers, met or missed; nothing fails."""
    chosen = parts or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        raise typer.BadParameter(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for part in chosen:
        machine = facts()
        began = time.perf_counter()
        report = _measure(part)(_say, quick=quick, seed=seed)
        report.data["seconds"] = time.perf_counter() - began
        report.data["quick"] = quick
        if quick:
            report.notes.insert(
                0, "QUICK: this shows that the benchmark runs. The numbers rest on too little to be quoted."
            )
        report.show(_console)
        path = report.write(json_dir, f"routing-{part}", machine)
        _console.print(
            f"{machine['cores']} cores of {machine['cpu']}, load {machine['load_before']:.1f} before; "
            f"{report.data['seconds']:.0f} s; {path}\n",
            style="dim",
            highlight=False,
        )


def _measure(part: str) -> Callable[..., Report]:
    measure: Callable[..., Report] = import_module(f"bench.routing.{PARTS[part]}").measure
    return measure


def _say(what: str) -> None:
    _console.print(f"… {what}", style="dim", highlight=False)


def command() -> None:
    """The command line; a failure shows its plain traceback."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()


if __name__ == "__main__":
    command()
