"""``python -m bench.routing [a b c d]``: tables on the terminal, JSON in a folder."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from bench.parts import RESULTS, JsonDir, Quick, Room, run

ROOM: Final = Room("routing", {"a": "latency", "b": "dark", "c": "simulation", "d": "speech"})


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help="a latency, b dark provider, c simulation, d speech")
    ] = None,
    json_dir: JsonDir = RESULTS,
    quick: Quick = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Replay the one day of the simulation with it")] = None,
) -> None:
    """Measure provider routing on this machine."""
    ROOM.measure(parts, json_dir, quick=quick, seed=seed)


if __name__ == "__main__":
    run(main)
