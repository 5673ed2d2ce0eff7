"""How far what a model heard can be believed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from servers.stt.adapter import Word

NO_SPEECH_ABOVE = 0.5
"""Above this probability of no speech, what was transcribed is not believed.

Whisper writes "you" for silence and sentences for noise, and says so at the same time: at least 0.64 for fifteen
kinds of noise and tones, at most 0.23 for speech, read or synthesised, single words between long pauses included.
Speech 60 dB below full scale, or in noise as loud as itself, can reach 0.7 and is lost.
"""

SURE_FROM = -0.5
"""The mean logarithm of the tokens' probabilities from which another look at the same audio changes little."""

REPETITIVE_ABOVE = 2.4
"""The ratio, as in Whisper's own decoding, by which a text that goes round in circles shrinks when compressed."""

SHORTEST_LOOP = 3
"""Tokens. Shorter ones are said by people: "no, no"."""


def speech(no_speech_probability: float) -> bool:
    """Whether somebody spoke; not a number means that nobody knows, and so nobody did."""
    return no_speech_probability <= NO_SPEECH_ABOVE


def sure(mean_log_probability: float) -> bool:
    """Whether the model is sure enough of what it wrote to leave it at that."""
    return mean_log_probability >= SURE_FROM


def repetitive(text: str) -> bool:
    """Whether the model has begun to repeat itself instead of listening."""
    data = text.encode()
    return len(data) > REPETITIVE_ABOVE * len(zlib.compress(data))


def unlooped(tokens: Sequence[int]) -> list[int]:
    """The tokens up to where three or more of them are at once said again."""
    for length in range(SHORTEST_LOOP, len(tokens) // 2 + 1):
        for at in range(len(tokens) - 2 * length + 1):
            if tokens[at : at + length] == tokens[at + length : at + 2 * length]:
                return unlooped(tokens[: at + length])
    return list(tokens)


def to_bp(posterior: float) -> int:
    """A probability as basis points, forced into 0 to 10,000; what is no number counts as 0."""
    if posterior != posterior:
        return 0
    return round(min(max(posterior, 0.0), 1.0) * 10_000)


def quality_bp(words: Sequence[Word]) -> int:
    """The mean confidence of the words, each weighted by how long it lasts, basis points; no words: 0.

    A word's confidence is the model's own probability of it, which is not calibrated: 7,000 does not mean that 70 % of
    such words are right. The score ranks transcripts of one provider, and may be compared with another's only after
    calibration.
    """
    heard = sum(word.end_s - word.start_s for word in words)
    if heard <= 0:
        return 0
    return round(sum(word.confidence_bp * (word.end_s - word.start_s) for word in words) / heard)
