"""What the benchmarks' commands share: which parts there are, what each prints, and where its JSON goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from bench.machine import facts
from bench.report import Report

RESULTS: Final = Path(__file__).resolve().parent / "results"
WIDE: Final = 150
"""Columns where there is no terminal to ask: tables go into files and logs whole."""

JsonDir = Annotated[Path, typer.Option("--json", help="Folder for the JSON")]
Quick = Annotated[bool, typer.Option("--quick", help="Shortly: that it runs, not what it reaches")]

Say = Callable[[str], None]
"""Tells of progress."""

console = Console(width=None if sys.stdout.isatty() else WIDE)


@dataclass(frozen=True, slots=True)
class Room:
    """The benchmarks of one package, `bench.<name>`: by letter, the module with the `measure` of each part. A module is
    imported when it is asked for, so that one part's imports weigh on no other's numbers.
    """

    name: str
    parts: Mapping[str, str]

    def measure(self, wanted: Sequence[str] | None, json_dir: Path, *, quick: bool, **options: Any) -> None:
        """Measure these parts, or all. Targets are shown beside the numbers, met or missed; nothing fails.

        Raises typer.BadParameter for a part that there is not.
        """
        chosen = wanted or list(self.parts)
        unknown = [part for part in chosen if part not in self.parts]
        if unknown:
            raise typer.BadParameter(f"there is no part {', '.join(unknown)}; there are {', '.join(self.parts)}")
        for part in chosen:
            machine = facts()
            began = time.perf_counter()
            module = import_module(f"bench.{self.name}.{self.parts[part]}")
            report: Report = module.measure(say, quick=quick, **options)
            report.data["seconds"] = time.perf_counter() - began
            report.data["quick"] = quick
            if quick:
                report.notes.insert(
                    0, "QUICK: this shows that the benchmark runs. The numbers rest on too little to be quoted."
                )
            report.show(console)
            path = report.write(json_dir, f"{self.name}-{part}", machine)
            console.print(
                f"{machine['cores']} cores of {machine['cpu']}, load {machine['load_before']:.1f} before; "
                f"{report.data['seconds']:.0f} s; {path}\n",
                style="dim",
                highlight=False,
            )


def say(what: str) -> None:
    """Progress, for whoever watches."""
    console.print(f"… {what}", style="dim", highlight=False)


def run(command: Any) -> None:
    """The command line; a failure shows its plain traceback."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app()
