"""``python -m bench``: every benchmark there is."""

from bench.voiceid.__main__ import command

if __name__ == "__main__":
    command()
