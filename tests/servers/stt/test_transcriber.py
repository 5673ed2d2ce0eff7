"""The model says a sentence once that was said once, and never more than can be said."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from clients import audio
from servers.stt.adapter import RATE_HZ
from servers.stt.features import Samples, voiced_s
from servers.stt.models import WhisperFiles
from servers.stt.transcriber import Transcriber
from tests.servers.stt.test_local import COMMANDS, SENTENCES, said, word_errors

BREAD = "There is bread on the table, and the soup is still warm."
LONGEST_S = 5


@pytest.fixture(scope="module")
def transcriber(whisper_files: WhisperFiles) -> Transcriber:
    return Transcriber(whisper_files)


@pytest.fixture(scope="module")
def hasty(whisper_files: WhisperFiles) -> Transcriber:
    """One that has a second of silence to see and begins most of the synthesiser's sentences again."""
    return Transcriber(whisper_files, shortest_window_s=0.0, padding_s=1.0)


@pytest.fixture(scope="module")
def bread() -> Samples:
    """The synthesiser's rendering, as its owner served it, that came back as one and two thirds of itself."""
    return of(audio.read(Path(__file__).with_name("bread.flac")).samples.astype("<i2").tobytes())


def of(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)


def text(transcriber: Transcriber, samples: Samples) -> str:
    return " ".join(word.text for word in transcriber.words(samples))


@pytest.mark.parametrize("which", ["transcriber", "hasty"])
def test_the_sentence_that_was_begun_again_is_said_once(
    bread: Samples, which: str, request: pytest.FixtureRequest
) -> None:
    words = request.getfixturevalue(which).words(bread)
    assert word_errors(BREAD, " ".join(word.text for word in words)) == 0
    assert all(word.probability > 0.3 for word in words)


def test_a_glance_says_it_once_as_well(transcriber: Transcriber, bread: Samples) -> None:
    assert word_errors(BREAD, transcriber.glance(bread) or "") == 0


def test_a_model_that_begins_sentences_again_is_believed_for_one_round(hasty: Transcriber) -> None:
    wrong = sum(word_errors(sentence, text(hasty, of(said(sentence)))) for sentence in SENTENCES[:7])
    assert wrong / sum(len(sentence.split()) for sentence in SENTENCES[:7]) < 0.1


@pytest.mark.parametrize("sentence", ["turn on the light", SENTENCES[4], SENTENCES[11]])
def test_what_was_said_twice_is_transcribed_twice(transcriber: Transcriber, sentence: str) -> None:
    twice = text(transcriber, of(said(sentence) * 2))
    assert word_errors(f"{sentence} {sentence}", twice) <= 1


def test_no_transcript_has_more_words_than_can_be_said(transcriber: Transcriber, hasty: Transcriber) -> None:
    """Speech, its beginnings and ends, speech made quick, and noise that is as loud: more is believed of none."""
    noise = np.random.default_rng(7).normal(0.0, 0.03, LONGEST_S * RATE_HZ).astype(np.float32)
    whole = [of(said(sentence)) for sentence in (COMMANDS[1], SENTENCES[4])]
    parts = [piece for one in whole for piece in (one[: len(one) // 2], one[len(one) // 2 :])]
    quick = [one[::2] for one in whole]
    for samples in (*whole, *parts, *quick, *(one + noise[: len(one)] for one in whole)):
        for listener in (transcriber, hasty):
            words = listener.words(samples)
            believed = [word for word in words if word.probability > 0]
            assert len(believed) <= 1 + 6.0 * voiced_s(samples)
            assert all(before.end_s <= after.start_s for before, after in pairwise(words))
