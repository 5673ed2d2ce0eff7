"""`python -m servers.learning_demonstration`: the whole chain in about a minute, on a store that is thrown away."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from servers.learning_demonstration.house import housed
from servers.learning_demonstration.story import Stopped, Story
from servers.runtime.logging import configure_logging

_FOREWORD: Final = """[bold]Time is simulated[/bold]: the owners' clock is moved, so that weeks take a minute.
Scores are drawn by seed: no recording that is at hand holds the 16,500 trials of §38.1. Traffic is a replay: each
day's turns are decided by both packs, each for its share of the subjects. The Builder's suite is reported, not run.
All else is what `selene up` runs: owners, channels, store, signatures, control loops."""


async def tell(out: Console) -> int:
    """The exit code: 1 where the demonstration had to stop, with what is missing."""
    out.print(_FOREWORD, highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="selene-learning-") as folder:
        async with housed(Path(folder)) as house:
            try:
                await Story(house, out).tell()
            except Stopped as stopped:
                out.print(f"\nThe demonstration stops here: {stopped}", highlight=False, markup=False)
                return 1
    return 0


if __name__ == "__main__":
    configure_logging("critical")
    sys.exit(asyncio.run(tell(Console())))
