"""`selene demo-voices`: recordings to try the other commands with, for who has none."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from clients import audio
from clients.cli.output import Output
from clients.cli.registry import GET_SERVER, Commands
from clients.cli.session import EXIT_CODES, OK, USAGE, local
from clients.cli.settings import Settings
from clients.turns import voices_of

SAMPLE: Final = "demo.sample"
"""Offered by the server's package: `() -> (wav: Path, rttm: Path)`, the pinned public recording of two speakers."""

CLIPS: Final = 3
ASK_SECONDS: Final = 2.6

_Folder = Annotated[Path, typer.Argument(help="Where to write them; made if it is not there", file_okay=False)]


def register(commands: Commands) -> None:
    """Adds `demo-voices`, which hands over to the server's package for the recording."""

    def demo_voices(settings: Settings, output: Output, folder: _Folder) -> int:
        """Write recordings of two people as WAV files, cut from the public recording of the demonstration.

        \b
        mira/1.wav to mira/3.wav and hello.wav are of one person, stranger.wav is of another.
          selene demo-voices voices
        """
        del settings  # no server is asked
        sample = commands.provided(SAMPLE)
        if sample is None:
            output.misuse(f"the public recording needs the server's package: {GET_SERVER}")
            return USAGE
        wav, rttm = sample()
        files = cut(folder, Path(wav), Path(rttm))
        output.line({"files": [str(file) for file in files]}, Text(_next_steps(folder)))
        return OK

    commands.app.command("demo-voices", epilog=EXIT_CODES)(local(demo_voices))


def cut(folder: Path, wav: Path, rttm: Path) -> list[Path]:
    """Writes the clips of the two speakers of a recording who say most; the files. AudioUnusable, OSError."""
    voices = voices_of(audio.read(wav), rttm.read_text(), clips=CLIPS, ask_seconds=ASK_SECONDS)
    known, stranger = sorted(voices, key=lambda voice: -sum(clip.seconds for clip in voice.clips))[:2]
    written = {folder / "mira" / f"{number}.wav": clip for number, clip in enumerate(known.clips, start=1)}
    written |= {folder / "hello.wav": known.asks[0], folder / "stranger.wav": stranger.asks[0]}
    (folder / "mira").mkdir(parents=True, exist_ok=True)
    for path, recording in written.items():
        audio.write(path, recording)
    return list(written)


def _next_steps(folder: Path) -> str:
    return (
        f"Recordings of two people are in {folder}. With `selene up` in another terminal:\n"
        f"  selene enroll mira {folder}/mira/*.wav --consent demonstration\n"
        f"  selene identify {folder}/hello.wav\n"
        f"  selene identify {folder}/stranger.wav\n"
        "Ask with each once: the same recording again is a replay."
    )
