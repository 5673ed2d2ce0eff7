"""``python -m bench.voiceid [a b c d e]``: tables on the terminal, JSON in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from bench.machine import facts
from bench.report import Report

PARTS: Final = {"a": "streams", "b": "cpu", "c": "gallery", "d": "accuracy", "e": "startup"}
"""The module of each part; imported when asked for, so that one part's imports weigh on no other's numbers."""

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"

_console = Console()


def main(
    parts: Annotated[list[str] | None, typer.Argument(help="a streams, b CPU, c gallery, d accuracy, e start-up")] = None,
    json_dir: Annotated[Path, typer.Option("--json", help="Folder for the JSON")] = RESULTS,
    quick: Annotated[bool, typer.Option("--quick", help="At most 20 s a part: that it runs, not what it reaches")] = False,
    audio: Annotated[Path | None, typer.Option("--audio", help="folder/<speaker>/*.wav|flac", exists=True)] = None,
) -> None:
    """Measure voice identity on this machine. Nothing fails for a number: targets are shown beside it, met or missed."""
    chosen = parts or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        raise typer.BadParameter(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for part in chosen:
        machine = facts()
        began = time.perf_counter()
        report = _measure(part)(audio, _say, quick=quick)
        report.data["seconds"] = time.perf_counter() - began
        report.data["quick"] = quick
        report.show(_console)
        path = report.write(json_dir, f"voiceid-{part}", machine)
        _console.print(
            f"{machine['cores']} cores of {machine['cpu']}, load {machine['load_before']:.1f} before; "
            f"{report.data['seconds']:.0f} s; {path}\n",
            style="dim",
            highlight=False,
        )


def _measure(part: str) -> Callable[..., Report]:
    measure: Callable[..., Report] = import_module(f"bench.voiceid.{PARTS[part]}").measure
    return measure


def _say(what: str) -> None:
    _console.print(f"… {what}", style="dim", highlight=False)


if __name__ == "__main__":
    typer.run(main)
