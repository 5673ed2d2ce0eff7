"""``python -m bench.voiceid [a b c d e]``: tables on the terminal, JSON in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from bench.parts import RESULTS, JsonDir, Quick, Room, run

ROOM: Final = Room("voiceid", {"a": "streams", "b": "cpu", "c": "gallery", "d": "accuracy", "e": "startup"})


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help="a streams, b CPU, c gallery, d accuracy, e start-up")
    ] = None,
    json_dir: JsonDir = RESULTS,
    quick: Quick = False,
    audio: Annotated[Path | None, typer.Option("--audio", help="folder/<speaker>/*.wav|flac", exists=True)] = None,
) -> None:
    """Measure voice identity on this machine."""
    ROOM.measure(parts, json_dir, quick=quick, audio=audio)


if __name__ == "__main__":
    run(main)
