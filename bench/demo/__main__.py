"""``python -m bench.demo [a b]``: tables on the terminal, JSON in a folder."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from bench.parts import RESULTS, JsonDir, Quick, Room, run

ROOM: Final = Room("demo", {"a": "again", "b": "fresh"})


def main(
    parts: Annotated[list[str] | None, typer.Argument(help="a once everything is there, b in a fresh clone")] = None,
    json_dir: JsonDir = RESULTS,
    quick: Quick = False,
) -> None:
    """Measure the demonstration on this machine."""
    ROOM.measure(parts, json_dir, quick=quick)


if __name__ == "__main__":
    run(main)
