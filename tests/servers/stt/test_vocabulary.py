"""Tokens as words."""

from __future__ import annotations

import pytest

from servers.stt.models import WhisperFiles
from servers.stt.vocabulary import END, NO_TIMESTAMPS, START, Piece, Vocabulary, VocabularyError

PIECES = ["ĠT", "urn", "Ġon", ",", "Ġ", "Ċ", "Ã", "©", "Ġcaf", END, START, NO_TIMESTAMPS, "<|0.00|>"]


def tokens(*pieces: str) -> list[int]:
    return [PIECES.index(piece) for piece in pieces]


def test_a_space_begins_a_word_and_punctuation_ends_one() -> None:
    vocabulary = Vocabulary(PIECES)
    spelt = tokens("ĠT", "urn", "Ġon", ",")
    assert vocabulary.words(spelt) == [Piece("Turn", 0, 2), Piece("on,", 2, 4)]
    assert vocabulary.text(spelt) == "Turn on,"


def test_a_letter_may_be_spread_over_tokens() -> None:
    assert Vocabulary(PIECES).text(tokens("Ġcaf", "Ã", "©")) == "café"
    assert Vocabulary(PIECES).text(tokens("Ġcaf", "Ã")) == "caf\ufffd"


def test_white_space_and_what_is_no_text_are_no_words() -> None:
    vocabulary = Vocabulary(PIECES)
    assert vocabulary.words(tokens("Ġ", "Ċ", "Ġ", END, "<|0.00|>")) == []
    assert vocabulary.text(tokens("Ġ", "Ġon")) == "on"


@pytest.mark.parametrize("pieces", [[], PIECES[:-2], ["\n", *PIECES]])
def test_another_list_of_pieces_is_refused(pieces: list[str]) -> None:
    with pytest.raises(VocabularyError):
        Vocabulary(pieces)


def test_the_model_s_own_vocabulary_is_read(whisper_files: WhisperFiles) -> None:
    """The ids are those of the multilingual model's English sibling (GPT-2's 50,257 pieces, then what is no text)."""
    vocabulary = Vocabulary(whisper_files.vocabulary.read_text(encoding="utf-8").splitlines())
    assert (vocabulary.end, vocabulary.start, vocabulary.no_timestamps) == (50_256, 50_257, 50_362)
    assert vocabulary.text([15_496, 995]) == "Hello world"
