"""From word posteriors to one quality score."""

from __future__ import annotations

from collections.abc import Sequence

from servers.stt.adapter import Word


def to_bp(posterior: float) -> int:
    """A probability as basis points, forced into 0 to 10,000; what is no number counts as 0."""
    if posterior != posterior:
        return 0
    return round(min(max(posterior, 0.0), 1.0) * 10_000)


def quality_bp(words: Sequence[Word]) -> int:
    """The mean confidence of the words, each weighted by how long it lasts, basis points; no words: 0.

    The posterior of the whole utterance is a product that vanishes with length (1e-15 for ten seconds), so it is not
    used. Word posteriors of a lattice are not calibrated: 7,000 does not mean that 70 % of the words are right. The
    score ranks transcripts of one provider, and may be compared with another's only after calibration.
    """
    heard = sum(word.end_s - word.start_s for word in words)
    if heard <= 0:
        return 0
    return round(sum(word.confidence_bp * (word.end_s - word.start_s) for word in words) / heard)
