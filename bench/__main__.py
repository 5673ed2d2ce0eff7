"""``python -m bench``: every benchmark there is."""

import typer

from bench.voiceid.__main__ import main

if __name__ == "__main__":
    typer.run(main)
