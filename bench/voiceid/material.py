"""The speech of the benchmarks: who is enrolled from what, and utterances of 3 to 6 s of them and of strangers.

Nothing that was enrolled from is asked with, and no sample is in two utterances: the same sound twice is a replay,
which the server finds (VID-14).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clients.turns import alone, parse_rttm
from servers.runtime.audio.resample import MODEL_RATE_HZ
from servers.voiceid.calibration.folder import find_clips
from servers.voiceid.extract import Recording
from servers.voiceid.models import registry
from servers.voiceid.models.wheels import fetch_sample

Pcm = npt.NDArray[np.int16]

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "librispeech-dev"
ENROL_CLIPS = 3
SHORTEST_S, LONGEST_S = 3.0, 6.0
ONE_CLIP_ENROL_S = 10.2
"""What a speaker with a single recording is enrolled from, in three pieces; enrolment wants 6 s of net speech."""


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """Something said by `speaker`, PCM16 at 16 kHz."""

    speaker: str
    pcm: Pcm

    @property
    def seconds(self) -> float:
        return len(self.pcm) / MODEL_RATE_HZ


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Someone to enrol, from three clips or more."""

    name: str
    clips: tuple[Pcm, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """`known` are utterances of `people`, `strangers` of everyone else; `statement` says what speech this is."""

    statement: str
    people: tuple[Person, ...]
    known: tuple[Utterance, ...]
    strangers: tuple[Utterance, ...]


def shared_speech() -> Path | None:
    """The development speech beside the repository, where it is."""
    return SHARED.resolve() if SHARED.is_dir() else None


def read_pcm(path: Path) -> Pcm:
    """A file as PCM16 at 16 kHz."""
    samples = Recording.read(path).at_model_rate().samples
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)


def gather(folder: Path | None, *, most_people: int, seed: int = 0) -> Material:
    """From `folder` (see `find_clips`), else from the shared speech, else from the one recording that pip can fetch."""
    folder = folder or shared_speech()
    if folder is None:
        return _from_sample(seed)
    clips: dict[str, list[Path]] = {}
    for clip in find_clips(folder):
        clips.setdefault(clip.speaker, []).append(clip.path)
    # Speakers with several recordings first: enrolled in one and asked with another is what is deployed.
    order = sorted(clips, key=lambda name: (-len(clips[name]), name))
    chance = random.Random(seed)
    people: list[Person] = []
    known: list[Utterance] = []
    strangers: list[Utterance] = []
    for name in order:
        recordings = [read_pcm(path) for path in clips[name]]
        person, rest = _split(name, recordings) if len(people) < most_people else (None, recordings)
        if person is not None:
            people.append(person)
        said = [Utterance(name, piece) for recording in rest for piece in _pieces(recording, chance)]
        (strangers if person is None else known).extend(said)
    chance.shuffle(known)
    chance.shuffle(strangers)
    total = sum(map(len, clips.values()))
    statement = f"{folder.name}: {total} recordings of {len(clips)} speakers, {len(people)} of them enrolled"
    return Material(statement, tuple(people), tuple(known), tuple(strangers))


def _split(name: str, recordings: Sequence[Pcm]) -> tuple[Person | None, Sequence[Pcm]]:
    """Three recordings to enrol from and the rest to ask with, or pieces of the only one; None when it is too short."""
    if len(recordings) > ENROL_CLIPS:
        return Person(name, tuple(recordings[:ENROL_CLIPS])), recordings[ENROL_CLIPS:]
    longest = max(recordings, key=len)
    size = round(ONE_CLIP_ENROL_S * MODEL_RATE_HZ)
    if len(longest) < size + SHORTEST_S * MODEL_RATE_HZ:
        return None, recordings
    return Person(name, tuple(np.array_split(longest[:size], ENROL_CLIPS))), [longest[size:]]


def _pieces(recording: Pcm, chance: random.Random) -> list[Pcm]:
    pieces, start = [], 0
    while len(recording) - start >= SHORTEST_S * MODEL_RATE_HZ:
        size = round(chance.uniform(SHORTEST_S, LONGEST_S) * MODEL_RATE_HZ)
        pieces.append(recording[start : start + size])
        start += size
    return [piece for piece in pieces if len(piece) >= SHORTEST_S * MODEL_RATE_HZ]


def _from_sample(seed: int) -> Material:
    """The 30 s of two people: the one who says more is enrolled; utterances come again, so most of them are replays."""
    audio, rttm = fetch_sample(registry.default_cache_dir(), lambda what, share: None)
    recording, turns = read_pcm(audio), parse_rttm(rttm.read_text(encoding="utf-8"))
    speech = {
        name: np.concatenate(
            [recording[round(a * MODEL_RATE_HZ) : round(b * MODEL_RATE_HZ)] for a, b in alone(turns, name)]
        )
        for name in turns
    }
    first, second = sorted(speech, key=lambda name: -len(speech[name]))[:2]
    person, rest = _split(first, [speech[first]])
    chance = random.Random(seed)
    known = [Utterance(first, piece) for part in rest for piece in _pieces(part, chance)] if person else []
    strangers = [Utterance(second, piece) for piece in _pieces(speech[second], chance)]
    statement = (
        "the 30 s recording of two people: one enrolled, one stranger, the same few utterances over and over, most "
        "of which the server rightly takes for replays; give --audio FOLDER for more"
    )
    return Material(statement, (person,) if person else (), tuple(known), tuple(strangers))
