"""How far what a model heard can be believed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import takewhile

from servers.stt.adapter import Word

NO_SPEECH_ABOVE = 0.5
"""Above this probability of no speech, what was transcribed is not believed.

Whisper writes "you" for silence and sentences for noise, and says so at the same time: at least 0.64 for fifteen
kinds of noise and tones, at most 0.23 for speech, read or synthesised, single words between long pauses included.
Speech 60 dB below full scale, or in noise as loud as itself, can reach 0.7 and is lost.
"""

SURE_FROM = -0.5
"""The mean logarithm of the tokens' probabilities from which more beams change little."""

REPETITIVE_ABOVE = 2.4
"""The ratio, as in Whisper's own decoding, by which a text that goes round in circles shrinks when compressed."""

SHORTEST_LOOP = 3
"""Tokens. Shorter ones are said by people: "no, no"."""

MOST_WORDS_A_SECOND = 6.0
"""Of voiced audio. A transcript with more has words that nobody said; the fastest speakers reach five."""

REPEATED_WORDS_A_SECOND = 10.0
"""Where the model says a sentence again that was said once, its attention has nowhere left to go: the words of 27 such
rounds came at 19 a second or more. Those of a sentence that was said twice come as fast as they were said.
"""


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


def again(tokens: Sequence[int]) -> range:
    """Where rounds begin, if the tokens end with three or more that were at once before them; empty: they do not.

    The last round may be a part of one. People do that too: whether a round was said is for its times to tell.
    """
    starts = {period: len(tokens) - _matching(tokens, period) for period in range(SHORTEST_LOOP, len(tokens))}
    looped = ((start, period) for period, start in starts.items() if len(tokens) - start >= SHORTEST_LOOP)
    start, period = min(looped, default=(len(tokens), 1))
    return range(start, len(tokens), period)


def _matching(tokens: Sequence[int], period: int) -> int:
    """How many tokens at the end are those one period before them."""
    pairs = zip(reversed(tokens), reversed(tokens[:-period]), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def sayable(words: int, seconds: float, *, a_second: float) -> bool:
    """Whether so many words fit into the time; one always does."""
    return words <= 1 + a_second * seconds


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
