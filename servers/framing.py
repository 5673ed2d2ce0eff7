"""Digests over several fields, each behind its length, so that no two lists of fields read the same (ALL-4). Pure."""

from __future__ import annotations

import hashlib
from typing import Final

_LENGTH_BYTES: Final = 8


def framed_digest(*fields: str | bytes) -> bytes:
    """SHA-256 over the fields in their order, each behind its length, 8 bytes big-endian; text in UTF-8."""
    digest = hashlib.sha256()
    for field in fields:
        encoded = field.encode() if isinstance(field, str) else field
        digest.update(len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded)
    return digest.digest()
