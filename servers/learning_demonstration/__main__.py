"""`python -m servers.learning_demonstration`: the whole chain in about two minutes, on a store that is thrown away."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from servers.learning_demonstration.house import housed
from servers.learning_demonstration.story import Stopped, Story
from servers.runtime.logging import configure_logging


async def tell(out: Console) -> int:
    """The exit code: 1 where the demonstration had to stop, with what is missing."""
    out.print(
        "[bold]Time is simulated[/bold]: the owners' clock is moved, so that weeks of a rollout take a minute. "
        "Scores are drawn by seed,\nas no recording that is at hand holds 16,500 trials. All else is what `selene up` "
        "runs, over real channels on SQLite.",
        highlight=False,
    )
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
