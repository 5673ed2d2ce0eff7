"""``python -m bench.delivery [a b c]``: tables on the terminal, JSON in a folder."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from bench.parts import RESULTS, JsonDir, Quick, Room, run

ROOM: Final = Room("delivery", {"a": "accepting", "b": "draining", "c": "backlog"})


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help="a accepting, b draining a backlog, c one of 100,000")
    ] = None,
    json_dir: JsonDir = RESULTS,
    quick: Quick = False,
) -> None:
    """Measure delivery on this machine."""
    ROOM.measure(parts, json_dir, quick=quick)


if __name__ == "__main__":
    run(main)
