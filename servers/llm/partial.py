"""The reply of a decision packet, read from JSON that is still arriving (RTE-7).

What comes out early is only as good as the packet that follows: of JSON that turns out to be broken it says whatever
stood before the break.
"""

from __future__ import annotations

import re
from enum import Enum, auto

_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = re.compile(r"[0-9a-fA-F]{1,4}")


class _Where(Enum):
    OUTSIDE = auto()
    KEY = auto()
    """In a string that names a member of the outermost object."""
    REPLY = auto()
    """In the string that is wanted."""
    OTHER = auto()
    """In any other string."""


class ReplyText:
    """Give it the JSON piece by piece, cut anywhere; it gives back the text of the outermost ``reply`` as it grows.

    All that it gave back is the whole reply once the JSON was whole and valid. A character of two UTF-16 escapes is
    given in one piece. It never raises; after something that cannot be JSON it gives nothing more.
    """

    def __init__(self) -> None:
        self._where = _Where.OUTSIDE
        self._depth = 0
        self._in_object = False
        self._key = ""
        self._expects_value = False
        self._escape = ""
        self._high = ""
        self._broken = False

    def feed(self, piece: str) -> str:
        """The reply's text that this piece adds."""
        said: list[str] = []
        at = 0
        while at < len(piece) and not self._broken:
            if self._where is _Where.OUTSIDE:
                self._step(piece[at])
                at += 1
            elif self._escape:
                self._unescape(piece[at], said)
                at += 1
            else:
                at = self._read(piece, at, said)
        return "".join(said)

    def _step(self, character: str) -> None:
        match character:
            case '"':
                self._open_string()
            case "{" | "[":
                self._depth += 1
                if self._depth == 1:
                    self._in_object = character == "{"
            case "}" | "]":
                self._depth -= 1
                self._broken = self._depth <= 0
            case ":" if self._depth == 1:
                self._expects_value = True
            case "," if self._depth == 1:
                self._expects_value = False
                self._key = ""

    def _open_string(self) -> None:
        if self._depth != 1 or not self._in_object:
            self._where = _Where.OTHER
        elif not self._expects_value:
            self._where = _Where.KEY
            self._key = ""
        else:
            self._where = _Where.REPLY if self._key == "reply" else _Where.OTHER

    def _read(self, piece: str, at: int, said: list[str]) -> int:
        """On from ``at`` in a string: to its end, an escape, or the end of the piece."""
        plain = _PLAIN.match(piece, at)
        if plain is not None:
            self._add(plain.group(), said)
            return plain.end()
        match piece[at]:
            case '"':
                self._broken = bool(self._high)
                self._where = _Where.OUTSIDE
            case "\\":
                self._escape = "\\"
            case _:
                self._broken = True
        return at + 1

    def _unescape(self, character: str, said: list[str]) -> None:
        self._escape += character
        if self._escape[1] != "u":
            self._broken = self._escape[1] not in _ESCAPES
            self._add(_ESCAPES.get(self._escape[1], ""), said)
            self._escape = ""
        elif len(self._escape) > 2 and not _HEX.fullmatch(self._escape, 2):
            self._broken = True
        elif len(self._escape) == 6:
            self._add_unit(int(self._escape[2:], 16), said)
            self._escape = ""

    def _add_unit(self, unit: int, said: list[str]) -> None:
        if 0xD800 <= unit < 0xDC00 and not self._high:
            self._high = chr(unit)
        elif 0xDC00 <= unit < 0xE000 and self._high:
            pair, self._high = self._high + chr(unit), ""
            self._add(pair.encode("utf-16", "surrogatepass").decode("utf-16"), said)
        elif 0xD800 <= unit < 0xE000:
            self._broken = True
        else:
            self._add(chr(unit), said)

    def _add(self, text: str, said: list[str]) -> None:
        if self._high:
            self._broken = True
        elif self._where is _Where.KEY:
            self._key += text
        elif self._where is _Where.REPLY:
            said.append(text)
