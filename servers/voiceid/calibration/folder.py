"""Labelled audio to trials of the kind that is deployed: a profile of several clips against a short utterance.

A speaker with enough clips is enrolled from whole clips and asked with others. One with fewer is enrolled from the
first half of the longest clip's speech and asked with the second: such genuine trials share room, microphone and
minute, which flatters them, so they are marked `same_session`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from servers.voiceid.calibration.metrics import Flags
from servers.voiceid.calibration.trials import (
    NO_COHORT,
    WHOLE_CLIP,
    Codes,
    Cohort,
    Trials,
    condition_order,
    duration_name,
)

Embedding = NDArray[np.float32]
Progress = Callable[[str, int, int], None]
"""Told the stage, what is done and of how many."""

AUDIO_SUFFIXES = (".wav", ".flac")
LIBRISPEECH_NAME = re.compile(r"(\d+)-\d+-\d+")


class FolderError(ValueError):
    """A folder that no trials can be made of; the message says why."""


class ClipUnusable(ValueError):
    """An extractor's refusal of one clip (damaged, silent). The clip is left out and named in the result."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one speaker."""

    speaker: str
    path: Path


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of a clip in seconds of net speech: silence does not count. `seconds` None means to the end."""

    start: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Heard:
    """What the pipeline made of a cut: net speech in seconds, and one embedding a model, any norm."""

    seconds: float
    embeddings: tuple[Embedding, ...]


class Extractor(Protocol):
    """The streaming pipeline as calibration sees it, so that what is measured is what runs."""

    @property
    def models(self) -> tuple[str, ...]:
        """`model_id@version` of every embedding, in order."""

    def voiced_seconds(self, path: Path) -> float:
        """Net speech of a clip. ClipUnusable when it cannot be heard."""

    def extract(self, path: Path, cuts: Sequence[Cut]) -> Sequence[Heard]:
        """One answer a cut, each as if the cut had been streamed alone. ClipUnusable when the clip cannot be heard."""

    def profile(self, pieces: Sequence[Heard]) -> tuple[Embedding, ...]:
        """The profile that enrolment makes of these clips, one embedding a model."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which trials to make. A cut that does not fit into its clip is not made; `whole` adds everything there is.

    `cuts_per_clip` short cuts of each duration, one after the other, are taken from each clip that is asked with.
    """

    durations: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0)
    whole: bool = True
    clips_per_profile: tuple[int, ...] = (1, 3)
    cuts_per_clip: int = 2


def find_clips(folder: Path) -> tuple[Clip, ...]:
    """Every WAV and FLAC file under `folder`, sorted, with its speaker.

    A file named as LibriSpeech does (speaker-chapter-utterance) names its own; any other belongs to the first folder
    below `folder` that it lies in. FolderError when there is no audio, one speaker only, or a file that names none.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    clips = tuple(Clip(_speaker(folder, path), path) for path in paths)
    speakers = {clip.speaker for clip in clips}
    if len(speakers) < 2:
        raise FolderError(f"{folder} holds {len(clips)} clips of {len(speakers)} speakers; at least two are needed")
    return clips


def _speaker(folder: Path, path: Path) -> str:
    named = LIBRISPEECH_NAME.fullmatch(path.stem)
    if named:
        return named[1]
    below = path.relative_to(folder).parts
    if len(below) < 2:
        raise FolderError(f"{path.name} names no speaker: put it into a folder with the speaker's name")
    return below[0]


def manifest_hash(folder: Path, clips: Iterable[Clip]) -> str:
    """SHA-256 over one line a file, `<sha256>  <path below folder>`, in the order of the paths: what `sha256sum`
    prints.
    """
    lines = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.path.relative_to(folder).as_posix()):
        digest = hashlib.sha256(clip.path.read_bytes()).hexdigest()
        lines.update(f"{digest}  {clip.path.relative_to(folder).as_posix()}\n".encode())
    return lines.hexdigest()


@dataclass(frozen=True, slots=True)
class _Asked:
    """An utterance to ask with."""

    clip: Clip
    condition: str
    name: str
    heard: Heard


@dataclass(frozen=True, slots=True)
class _Enrolled:
    """A profile to compare with; utterances of `clips` are not asked, unless the clip was split for it."""

    speaker: str
    clips: frozenset[Path]
    pieces: int
    same_session: bool
    embeddings: tuple[Embedding, ...]


@dataclass(frozen=True, slots=True)
class FolderTrials:
    """The trials of a folder, and the clips that could not be used with the reason."""

    trials: Trials
    unusable: tuple[tuple[Clip, str], ...]


@dataclass(frozen=True, slots=True)
class _Role:
    """What one clip is cut into: pieces for profiles, and utterances."""

    clip: Clip
    pieces: tuple[Cut, ...]
    asked: tuple[tuple[str, Cut], ...]
    split: bool


def make_trials(
    clips: Sequence[Clip], extractor: Extractor, plan: Plan, *, cohort: Cohort, progress: Progress
) -> FolderTrials:
    """Every profile against every utterance that it was not made of. FolderError when no genuine trial comes of it."""
    voiced, unusable = _measure(clips, extractor, progress)
    roles = [role for speaker in _by_speaker(voiced) for role in _roles(speaker, voiced, plan)]
    asked: list[_Asked] = []
    pieces: dict[Clip, list[Heard]] = {}
    for done, role in enumerate(roles, start=1):
        try:
            heard = extractor.extract(role.clip.path, [*role.pieces, *(cut for _, cut in role.asked)])
        except ClipUnusable as problem:
            unusable.append((role.clip, str(problem)))
            continue
        pieces[role.clip] = list(heard[: len(role.pieces)])
        for (condition, cut), answer in zip(role.asked, heard[len(role.pieces) :], strict=True):
            asked.append(_Asked(role.clip, condition, f"{role.clip.path.name}@{cut.start:g}+{condition}", answer))
        progress("embed", done, len(roles))
    enrolled = [one for group in _by_role(roles, pieces) for one in _profiles(group, pieces, extractor, plan)]
    if enrolled and asked:
        trials = _compare(enrolled, asked, extractor.models, cohort)
        if trials.genuine.any() and not trials.genuine.all():
            return FolderTrials(trials, tuple(unusable))
    raise FolderError("the clips hold too little speech for both genuine and impostor trials")


def _measure(
    clips: Sequence[Clip], extractor: Extractor, progress: Progress
) -> tuple[dict[Clip, float], list[tuple[Clip, str]]]:
    voiced: dict[Clip, float] = {}
    unusable: list[tuple[Clip, str]] = []
    for done, clip in enumerate(clips, start=1):
        try:
            voiced[clip] = extractor.voiced_seconds(clip.path)
        except ClipUnusable as problem:
            unusable.append((clip, str(problem)))
        progress("listen", done, len(clips))
    return voiced, unusable


def _by_speaker(clips: Iterable[Clip]) -> list[list[Clip]]:
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.speaker, []).append(clip)
    return list(groups.values())


def _roles(clips: Sequence[Clip], voiced: dict[Clip, float], plan: Plan) -> list[_Role]:
    most = max(plan.clips_per_profile)
    if len(clips) > most:
        whole = (Cut(0.0, None),)
        return [_Role(clip, whole, _cuts(0.0, voiced[clip], plan), split=False) for clip in clips]
    clip = max(clips, key=lambda one: voiced[one])
    half = voiced[clip] / 2.0
    # Pieces shorter than any utterance would make a profile that is never deployed: only ask with it, as an impostor.
    if half / most < min(plan.durations):
        return [_Role(clip, (), _cuts(0.0, voiced[clip], plan), split=True)]
    pieces = tuple(Cut(half * index / most, half / most) for index in range(most))
    return [_Role(clip, pieces, _cuts(half, voiced[clip], plan), split=True)]


def _cuts(start: float, end: float, plan: Plan) -> tuple[tuple[str, Cut], ...]:
    cuts = [
        (duration_name(seconds), Cut(start + index * seconds, seconds))
        for seconds in plan.durations
        for index in range(plan.cuts_per_clip)
        if start + (index + 1) * seconds <= end
    ]
    # A remainder shorter than the shortest duration that is reported says nothing about any of them.
    if plan.whole and end - start >= min(plan.durations):
        cuts.append((WHOLE_CLIP, Cut(start, None)))
    return tuple(cuts)


def _by_role(roles: Sequence[_Role], pieces: dict[Clip, list[Heard]]) -> list[list[_Role]]:
    groups: dict[str, list[_Role]] = {}
    for role in roles:
        if role.clip in pieces:
            groups.setdefault(role.clip.speaker, []).append(role)
    return list(groups.values())


def _profiles(
    roles: Sequence[_Role], pieces: dict[Clip, list[Heard]], extractor: Extractor, plan: Plan
) -> Iterable[_Enrolled]:
    split = roles[0].split
    heard = [(role.clip.path, piece) for role in roles for piece in pieces[role.clip]]
    if not heard:
        return
    for size in plan.clips_per_profile:
        # Disjoint groups, so that no clip weighs more than another; a split clip makes one profile.
        for first in range(0, 1 if split else len(heard) - size + 1, size):
            group = heard[first : first + size]
            paths = frozenset() if split else frozenset(path for path, _ in group)
            embeddings = extractor.profile([piece for _, piece in group])
            yield _Enrolled(roles[0].clip.speaker, paths, size, split, embeddings)


def _compare(enrolled: Sequence[_Enrolled], asked: Sequence[_Asked], models: tuple[str, ...], cohort: Cohort) -> Trials:
    """Every profile with every utterance, in columns: profiles change slowest."""
    speakers = tuple(sorted({one.speaker for one in enrolled} | {one.clip.speaker for one in asked}))
    conditions = tuple(sorted({one.condition for one in asked}, key=condition_order))
    profile_speaker = np.array([speakers.index(one.speaker) for one in enrolled], np.intp)
    asked_speaker = np.array([speakers.index(one.clip.speaker) for one in asked], np.intp)
    shape = (len(enrolled), len(asked))
    cosines = np.stack(
        [
            _unit([one.embeddings[model] for one in enrolled]) @ _unit([one.heard.embeddings[model] for one in asked]).T
            for model in range(len(models))
        ],
        axis=-1,
    )
    genuine = profile_speaker[:, None] == asked_speaker[None, :]
    kept: Flags = np.array([[two.clip.path not in one.clips for two in asked] for one in enrolled], np.bool_)

    def profile_column(values: Codes | Flags) -> NDArray[np.generic]:
        return np.broadcast_to(values[:, None], shape)[kept]

    def asked_column(values: Codes) -> Codes:
        return np.broadcast_to(values[None, :], shape)[kept]

    return Trials(
        models=models,
        speakers=speakers,
        cohorts=(cohort,),
        conditions=conditions,
        cosines=cosines[kept],
        seconds=np.broadcast_to(np.array([one.heard.seconds for one in asked], np.float64)[None, :], shape)[kept],
        genuine=genuine[kept],
        enrolled=profile_column(profile_speaker).astype(np.intp),
        tested=asked_column(asked_speaker),
        cohort=np.zeros(int(kept.sum()), np.intp),
        condition=asked_column(np.array([conditions.index(one.condition) for one in asked], np.intp)),
        utterance=asked_column(np.arange(len(asked), dtype=np.intp)),
        clips=profile_column(np.array([one.pieces for one in enrolled], np.intp)).astype(np.intp),
        same_session=(genuine & np.array([one.same_session for one in enrolled], np.bool_)[:, None])[kept],
    )


def all_pairs(
    clips: Sequence[Clip], extractor: Extractor, seconds: float | None, *, cohort: Cohort = NO_COHORT
) -> Trials:
    """Every clip's first `seconds` of speech (None: all of it) against every other clip's, each pair once.

    The protocol of published equal error rates: no profile, one utterance on either side. FolderError as in
    `make_trials`; ClipUnusable passes through.
    """
    condition = WHOLE_CLIP if seconds is None else duration_name(seconds)
    long_enough = [clip for clip in clips if seconds is None or extractor.voiced_seconds(clip.path) >= seconds]
    asked = [
        _Asked(clip, condition, clip.path.name, extractor.extract(clip.path, [Cut(0.0, seconds)])[0])
        for clip in long_enough
    ]
    # A pair is kept once: the profile of a clip excludes that clip and all before it.
    enrolled = [
        _Enrolled(
            one.clip.speaker, frozenset(two.clip.path for two in asked[: index + 1]), 1, False, one.heard.embeddings
        )
        for index, one in enumerate(asked)
    ]
    if len(asked) < 2:
        raise FolderError(f"{len(asked)} clips hold {condition} of speech; a pair needs two")
    trials = _compare(enrolled, asked, extractor.models, cohort)
    if not trials.genuine.any() or trials.genuine.all():
        raise FolderError(f"the pairs with {condition} of speech are not both genuine and impostor")
    return trials


def _unit(embeddings: Sequence[Embedding]) -> NDArray[np.float64]:
    rows = np.asarray(embeddings, np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)
