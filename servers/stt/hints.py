"""Terms on their way to a decoder process, before the audio: a length (4 bytes, big-endian), a JSON list, the rest."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Final

_LENGTH: Final = struct.Struct(">I")


def with_hints(terms: Sequence[str], pcm: bytes) -> bytes:
    """Both in one."""
    hints = json.dumps(list(terms)).encode()
    return _LENGTH.pack(len(hints)) + hints + pcm


def hinted(data: bytes) -> tuple[list[str], bytes]:
    """The terms and the audio that were put together."""
    (length,) = _LENGTH.unpack_from(data)
    ends = _LENGTH.size + length
    return json.loads(data[_LENGTH.size : ends]), data[ends:]
