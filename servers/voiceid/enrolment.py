"""Basic enrolment (§33.3, §33.4): which clips count, when a profile can be locked, and what it is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from selene.voiceid.v1.voiceid_pb2 import (
    CLIP_REJECTION_CLIPPED,
    CLIP_REJECTION_DUPLICATE,
    CLIP_REJECTION_OTHER_VOICE,
    CLIP_REJECTION_OVERLAP,
    CLIP_REJECTION_TOO_LITTLE_SPEECH,
    CLIP_REJECTION_TOO_NOISY,
    CLIP_REJECTION_UNSPECIFIED,
    ClipRejection,
)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentPolicy:
    """What a clip and a profile need. Defaults are those of §33.3; how alike the clips of one person are comes from the
    threshold pack (None without one), how many there must be from the configuration.
    """

    min_clips: int
    min_total_voiced_seconds: float
    # Calibrated score of a clip against the mean of the earlier ones.
    min_same_voice_bp: int | None
    min_clip_voiced_seconds: float = 2.0
    max_clipped_ratio: float = 0.01
    max_overlap_ratio: float = 0.02
    min_snr_db: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEvidence:
    """What was measured in a clip. `overlap_ratio` is None where overlap is not measured.

    `score_bp_to_earlier` compares it with the mean of the accepted clips; None for the first clip, and without a pack.
    """

    voiced_seconds: float
    clipped_ratio: float
    snr_db: float
    overlap_ratio: float | None
    duplicate: bool
    score_bp_to_earlier: int | None


@dataclass(frozen=True, slots=True)
class Grade:
    """CLIP_REJECTION_UNSPECIFIED accepts. `hint` says it to the person who speaks."""

    rejection: ClipRejection
    hint: str

    @property
    def accepted(self) -> bool:
        return self.rejection == CLIP_REJECTION_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Missing:
    """What an enrolment lacks before it can be locked."""

    clips: int
    voiced_seconds: float

    @property
    def nothing(self) -> bool:
        return self.clips == 0 and self.voiced_seconds == 0.0


# In the order in which they are told: the first that applies is what the person can act on.
HINTS = {
    CLIP_REJECTION_DUPLICATE: "This recording was given before. Please say something new.",
    CLIP_REJECTION_TOO_LITTLE_SPEECH: "That was too short. Please speak for a few seconds longer.",
    CLIP_REJECTION_CLIPPED: "That was too loud for the microphone. Please hold it further away.",
    CLIP_REJECTION_TOO_NOISY: "There is too much noise. Please go somewhere quieter.",
    CLIP_REJECTION_OVERLAP: "More than one person was speaking. Please speak alone.",
    CLIP_REJECTION_OTHER_VOICE: "This does not sound like the earlier recordings. Please let the same person speak.",
    CLIP_REJECTION_UNSPECIFIED: "Thank you, that counts.",
}


def grade(clip: ClipEvidence, policy: EnrolmentPolicy) -> Grade:
    """Whether a clip counts. A measurement that is not a number rejects: every comparison is written to fail on NaN."""
    overlap = 0.0 if clip.overlap_ratio is None else clip.overlap_ratio
    passes = {
        CLIP_REJECTION_DUPLICATE: not clip.duplicate,
        CLIP_REJECTION_TOO_LITTLE_SPEECH: clip.voiced_seconds >= policy.min_clip_voiced_seconds,
        CLIP_REJECTION_CLIPPED: clip.clipped_ratio <= policy.max_clipped_ratio,
        CLIP_REJECTION_TOO_NOISY: clip.snr_db >= policy.min_snr_db,
        CLIP_REJECTION_OVERLAP: overlap <= policy.max_overlap_ratio,
        CLIP_REJECTION_OTHER_VOICE: _same_voice(clip.score_bp_to_earlier, policy),
        CLIP_REJECTION_UNSPECIFIED: False,
    }
    rejection = next(reason for reason in HINTS if not passes[reason])
    return Grade(rejection, _hint(rejection, clip.voiced_seconds, policy))


def _hint(rejection: ClipRejection, voiced_seconds: float, policy: EnrolmentPolicy) -> str:
    if rejection != CLIP_REJECTION_TOO_LITTLE_SPEECH or not math.isfinite(voiced_seconds):
        return HINTS[rejection]
    has = math.floor(voiced_seconds * 100) / 100  # rounded up it could read as enough
    return f"{policy.min_clip_voiced_seconds:.1f} s of speech are needed, this one has {has:.2f}. Please speak longer."


def missing(accepted_clips: int, accepted_voiced_seconds: float, policy: EnrolmentPolicy) -> Missing:
    """What is still missing; locking is refused until nothing is."""
    voiced = accepted_voiced_seconds if math.isfinite(accepted_voiced_seconds) else 0.0
    return Missing(max(0, policy.min_clips - accepted_clips), max(0.0, policy.min_total_voiced_seconds - voiced))


def centroid(clips: Sequence[Floats]) -> Floats | None:
    """One model's profile: the mean of its unit clip embeddings f32[D], renormalised. None when the clips make no
    direction: no clip, a value that is not finite, or clips that cancel out.
    """
    if not clips:
        return None
    mean = np.mean(np.asarray(clips, np.float64), axis=0)
    norm = float(np.linalg.norm(mean))
    if not math.isfinite(norm) or norm < 1e-6:
        return None
    return np.asarray(mean / norm, np.float32)


def _same_voice(score_bp: int | None, policy: EnrolmentPolicy) -> bool:
    return score_bp is None or policy.min_same_voice_bp is None or score_bp >= policy.min_same_voice_bp
