"""Whisper tiny.en on CTranslate2: samples in, words with times and probabilities out. One thread, 8-bit weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import ctranslate2
import numpy as np

from servers.stt.adapter import RATE_HZ
from servers.stt.confidence import (
    MOST_WORDS_A_SECOND,
    REPEATED_WORDS_A_SECOND,
    again,
    repetitive,
    sayable,
    speech,
    sure,
)
from servers.stt.features import FRAMES_A_SECOND, WINDOW_FRAMES, LogMel, Samples, voiced_s
from servers.stt.models import WhisperFiles
from servers.stt.vocabulary import Vocabulary

_ENCODED_A_SECOND = 50
_GLANCE_PADDING_S = 1.0
_BEAMS = 5
# Nobody says more; a model that goes round in circles would go on for as long as it may.
_MOST_TOKENS_A_SECOND = 10
_FEWEST_TOKENS = 16
# What the model remembers is bounded, and every token of it takes time.
_MOST_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Heard:
    """A word, where it lies in the samples in seconds, and the model's probability of it."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class _Look:
    encoded: ctranslate2.StorageView
    tokens: list[int]
    sure: bool


class Transcriber:
    """The model, open. Nothing of one call is left for the next.

    It sees ``padding_s`` of silence after the samples, and a window no shorter than ``shortest_window_s``: the less,
    the quicker, and the more often it begins again instead of ending.
    """

    def __init__(self, files: WhisperFiles, *, shortest_window_s: float = 10.0, padding_s: float = 5.0) -> None:
        self._vocabulary = Vocabulary(files.vocabulary.read_text(encoding="utf-8").splitlines())
        contents = {
            "model.bin": files.weights.read_bytes(),
            "config.json": files.configuration.read_bytes(),
            "vocabulary.txt": files.vocabulary.read_bytes(),
        }
        self._model = ctranslate2.models.Whisper(
            "tiny.en", device="cpu", compute_type="int8", inter_threads=1, intra_threads=1, files=contents
        )
        self._front_end = LogMel()
        self._shortest_frames = round(shortest_window_s * FRAMES_A_SECOND)
        self._padding_s = padding_s

    def glance(self, samples: Samples) -> str | None:
        """What the samples sound like, quickly and less surely; None: no speech."""
        tokens = self._look(samples, _padded(samples, _GLANCE_PADDING_S)).tokens
        return self._vocabulary.text(_once(tokens)) or None

    def words(self, samples: Samples, terms: Sequence[str] = ()) -> list[Heard]:
        """The words of up to 30 s, if it was speech. ``terms`` may be said, and are believed to have been said before.

        It looks at a window of ten seconds, or five more than there are, which takes 0.2 to 0.4 s of one core; where it
        is unsure it reads what it saw once more, with five beams. Only where it finds nothing, or more than anybody
        says, it looks again as it was trained, with silence up to 30 s, for 0.6 s more. Against five beams always and
        30 s, 4.8 % of the words of 50 readings of LibriSpeech test-other differ; with one beam and 30 s, 6.2 %. The
        first word begins where the audio does.

        A model that begins again instead of ending is believed for one round. If there are too many words then, none
        is believed: their probability is 0.
        """
        before = self._vocabulary.said_before(terms, _MOST_REMEMBERED)
        seen = self._look(samples, max(_padded(samples, self._padding_s), self._shortest_frames), before)
        if seen.tokens and not seen.sure:
            seen = self._read(seen.encoded, samples, before, beams=_BEAMS)
        words = self._believed(seen, samples)
        if not words or not _sayable(words, samples):
            words = self._believed(self._look(samples, WINDOW_FRAMES), samples)
        return words if _sayable(words, samples) else [replace(word, probability=0.0) for word in words]

    def _believed(self, seen: _Look, samples: Samples) -> list[Heard]:
        """The words, up to where a round begins that was not said."""
        words = self._placed(seen.encoded, seen.tokens, len(samples)) if seen.tokens else []
        starts = [self._words_in(seen.tokens[:start]) for start in again(seen.tokens)]
        rounds = pairwise((*starts, len(words)))
        believed = words[: next((start for start, end in rounds if _squeezed(words[start:end])), None)]
        return believed[: starts[0]] if starts and repetitive(" ".join(word.text for word in believed)) else believed

    def _words_in(self, tokens: Sequence[int]) -> int:
        return len(self._vocabulary.words(tokens))

    def _look(self, samples: Samples, frames: int, before: Sequence[int] = ()) -> _Look:
        encoded = self._model.encode(ctranslate2.StorageView.from_array(self._front_end.of(samples, frames)[None]))
        return self._read(encoded, samples, before, beams=1)

    def _read(self, encoded: ctranslate2.StorageView, samples: Samples, before: Sequence[int], *, beams: int) -> _Look:
        prompt = [*before, self._vocabulary.start, self._vocabulary.no_timestamps]
        most = _FEWEST_TOKENS + _MOST_TOKENS_A_SECOND * len(samples) // RATE_HZ
        (found,) = self._model.generate(
            encoded,
            [prompt],
            beam_size=beams,
            max_length=len(prompt) + most,
            return_scores=True,
            return_no_speech_prob=True,
        )
        if not speech(found.no_speech_prob):
            return _Look(encoded, [], sure=False)
        tokens = [token for token in found.sequences_ids[0] if token < self._vocabulary.end]
        ended = len(tokens) < most - len(prompt)
        return _Look(encoded, tokens, sure=ended and sure(found.scores[0]))

    def _placed(self, encoded: ctranslate2.StorageView, tokens: Sequence[int], samples: int) -> list[Heard]:
        """Times from where the decoder's attention moves on to the next token (dynamic time warping)."""
        frames = min(samples * FRAMES_A_SECOND // RATE_HZ, WINDOW_FRAMES)
        (alignment,) = self._model.align(encoded, [self._vocabulary.start], [list(tokens)], frames)
        path = np.array(alignment.alignments)
        moved = np.concatenate(([True], np.diff(path[:, 0]) > 0))
        begins = path[moved, 1] / _ENCODED_A_SECOND
        assert len(begins) > len(tokens)
        return [
            Heard(
                word.text,
                float(begins[word.first]),
                float(begins[word.end]),
                float(np.mean(alignment.text_token_probs[word.first : word.end])),
            )
            for word in self._vocabulary.words(tokens)
        ]


def _padded(samples: Samples, seconds: float) -> int:
    frames = len(samples) * FRAMES_A_SECOND // RATE_HZ + round(seconds * FRAMES_A_SECOND)
    return min(frames, WINDOW_FRAMES)


def _once(tokens: list[int]) -> list[int]:
    """Without the rounds at the end."""
    return tokens[: next(iter(again(tokens)), None)]


def _squeezed(words: Sequence[Heard]) -> bool:
    """Whether they came faster than anybody speaks."""
    return bool(words) and len(words) > REPEATED_WORDS_A_SECOND * (words[-1].end_s - words[0].start_s)


def _sayable(words: Sequence[Heard], samples: Samples) -> bool:
    return sayable(len(words), voiced_s(samples), a_second=MOST_WORDS_A_SECOND)
