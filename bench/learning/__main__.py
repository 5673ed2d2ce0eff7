"""``python -m bench.learning [a b c d e]``: tables on the terminal, JSON in a folder."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from bench.parts import RESULTS, JsonDir, Quick, Room, run

ROOM: Final = Room("learning", {"a": "capturing", "b": "validation", "c": "lineage", "d": "activation", "e": "proofs"})


def main(
    parts: Annotated[
        list[str] | None,
        typer.Argument(help="a capturing, b validating gold, c lineage, d activation, e audit proofs"),
    ] = None,
    json_dir: JsonDir = RESULTS,
    quick: Quick = False,
) -> None:
    """Measure learning on this machine."""
    ROOM.measure(parts, json_dir, quick=quick)


if __name__ == "__main__":
    run(main)
