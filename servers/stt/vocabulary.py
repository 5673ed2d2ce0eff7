"""Whisper's tokens as text: byte-level byte-pair encoding, read from the list of pieces, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
"""Bytes that stand for themselves in a piece. The others, in order, are written as U+0100 and what follows."""

_LONGEST = 32
"""Letters of a piece that is worth looking for."""

START = "<|startoftranscript|>"
END = "<|endoftext|>"
NO_TIMESTAMPS = "<|notimestamps|>"
BEFORE = "<|startofprev|>"


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
            self._before = pieces.index(BEFORE) if BEFORE in pieces else None
            self._ids = {piece: token for token, piece in enumerate(pieces[: self.end])}
            self._bytes = tuple(bytes(byte_of[letter] for letter in piece) for piece in pieces[: self.end])
        except (ValueError, KeyError):
            raise VocabularyError("no vocabulary of a Whisper model") from None

    def said_before(self, terms: Sequence[str], most: int) -> list[int]:
        """At most ``most`` tokens that make the model believe that these terms were just said; as many terms as fit.

        Empty where the model knows no such thing.
        """
        if self._before is None:
            return []
        tokens: list[int] = []
        for term in terms:
            spelt = self._spell(f", {term}" if tokens else f" {term}")
            if 1 + len(tokens) + len(spelt) > most:
                break
            tokens += spelt
        return [self._before, *tokens] if tokens else []

    def _spell(self, text: str) -> list[int]:
        """The longest pieces from the left; every single byte is one."""
        letter_of = {byte: letter for letter, byte in _byte_of().items()}
        spelt = "".join(letter_of[byte] for byte in text.encode(errors="replace"))
        tokens, at = [], 0
        while at < len(spelt):
            end = next(end for end in range(min(len(spelt), at + _LONGEST), at, -1) if spelt[at:end] in self._ids)
            tokens.append(self._ids[spelt[at:end]])
            at = end
        return tokens

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
