"""Whisper's tokens as text: byte-level byte-pair encoding, read from the list of pieces, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
"""Bytes that stand for themselves in a piece. The others, in order, are written as U+0100 and what follows."""

START = "<|startoftranscript|>"
END = "<|endoftext|>"
NO_TIMESTAMPS = "<|notimestamps|>"


class VocabularyError(ValueError):
    """The pieces are not those of a Whisper model."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A word of a token sequence: its text, and the tokens from ``first`` up to and without ``end`` that spell it."""

    text: str
    first: int
    end: int


class Vocabulary:
    """The pieces by token id; the tokens from ``end`` on are no text."""

    def __init__(self, pieces: Sequence[str]) -> None:
        try:
            self.start, self.end, self.no_timestamps = (pieces.index(name) for name in (START, END, NO_TIMESTAMPS))
            byte_of = _byte_of()
            self._bytes = tuple(bytes(byte_of[letter] for letter in piece) for piece in pieces[: self.end])
        except (ValueError, KeyError):
            raise VocabularyError("no vocabulary of a Whisper model") from None

    def text(self, tokens: Sequence[int]) -> str:
        """What the tokens spell, one space between words."""
        return " ".join(piece.text for piece in self.words(tokens))

    def words(self, tokens: Sequence[int]) -> list[Piece]:
        """The words with their tokens: a space begins one, and punctuation belongs to the word that it follows."""
        begins = [at for at, token in enumerate(tokens) if at == 0 or self._spelt(token)[:1].isspace()]
        ends = [*begins[1:], len(tokens)]
        pieces = (Piece(self._plain(tokens[first:end]), first, end) for first, end in zip(begins, ends, strict=False))
        return [piece for piece in pieces if piece.text]

    def _spelt(self, token: int) -> bytes:
        return self._bytes[token] if token < self.end else b""

    def _plain(self, tokens: Sequence[int]) -> str:
        return " ".join(b"".join(map(self._spelt, tokens)).decode(errors="replace").split())


def _byte_of() -> dict[str, int]:
    hidden = [byte for byte in range(256) if byte not in _SHOWN]
    return {chr(byte): byte for byte in _SHOWN} | {chr(0x100 + at): byte for at, byte in enumerate(hidden)}
