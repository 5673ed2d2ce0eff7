"""How far a decoder's words can be believed."""

from __future__ import annotations

from collections.abc import Sequence

from servers.stt.adapter import Word

LONGEST_WORD_S = 1.0
LONGEST_LETTER_S = 0.25


def plausible(word: Word) -> bool:
    """Whether anyone could have said the word for so long.

    Steady noise is decoded, with a posterior of 1, to one short word that fills it: "thigh", for three seconds.
    """
    lasted = word.end_s - word.start_s
    return lasted <= max(LONGEST_WORD_S, LONGEST_LETTER_S * len(word.text))


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
