"""Whisper tiny.en on CTranslate2: samples in, words with times and probabilities out. One thread, 8-bit weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ctranslate2
import numpy as np

from servers.stt.adapter import RATE_HZ
from servers.stt.confidence import repetitive, speech, sure, unlooped
from servers.stt.features import FRAMES_A_SECOND, WINDOW_FRAMES, LogMel, Samples
from servers.stt.models import WhisperFiles
from servers.stt.vocabulary import Vocabulary

WINDOW_S = WINDOW_FRAMES / FRAMES_A_SECOND

_ENCODED_A_SECOND = 50
_SHORT_PADDING_FRAMES = FRAMES_A_SECOND
# Nobody says more; a model that goes round in circles would go on for as long as it may.
_MOST_TOKENS_A_SECOND = 10
_FEWEST_TOKENS = 16


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
    """The model, open. Nothing of one call is left for the next."""

    def __init__(self, files: WhisperFiles) -> None:
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

    def glance(self, samples: Samples) -> str | None:
        """What the samples sound like, quickly and less surely; None: no speech."""
        return self._vocabulary.text(unlooped(self._look(samples, _short(samples)).tokens)) or None

    def words(self, samples: Samples) -> list[Heard]:
        """The words of up to 30 s, if it was speech.

        With one second of silence after it the model is quick, but may begin again instead of ending. Where that
        happens, where nothing is found and where it is unsure, it looks once more as it was trained, with silence up
        to 30 s. On 50 readings of LibriSpeech test-other about 14.5 % of the words are wrong; always looking as it was
        trained 13.7 %, with five beams 13.0 %, at 0.5 to 0.8 s each instead of mostly 0.1 to 0.4. A text that still
        goes in circles is believed for one round. The first word begins where the audio does.
        """
        seen = self._look(samples, _short(samples))
        if not (seen.tokens and seen.sure):
            seen = self._look(samples, WINDOW_FRAMES)
        text = self._vocabulary.text(seen.tokens)
        tokens = unlooped(seen.tokens) if repetitive(text) else seen.tokens
        return self._placed(seen.encoded, tokens, len(samples)) if tokens else []

    def _look(self, samples: Samples, frames: int) -> _Look:
        encoded = self._model.encode(ctranslate2.StorageView.from_array(self._front_end.of(samples, frames)[None]))
        prompt = [self._vocabulary.start, self._vocabulary.no_timestamps]
        most = _FEWEST_TOKENS + _MOST_TOKENS_A_SECOND * len(samples) // RATE_HZ
        (found,) = self._model.generate(
            encoded,
            [prompt],
            beam_size=1,
            max_length=len(prompt) + most,
            return_scores=True,
            return_no_speech_prob=True,
        )
        if not speech(found.no_speech_prob):
            return _Look(encoded, [], sure=False)
        tokens = [token for token in found.sequences_ids[0] if token < self._vocabulary.end]
        ended = len(tokens) < most - len(prompt) and unlooped(tokens) == tokens
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


def _short(samples: Samples) -> int:
    return min(len(samples) * FRAMES_A_SECOND // RATE_HZ + _SHORT_PADDING_FRAMES, WINDOW_FRAMES)
