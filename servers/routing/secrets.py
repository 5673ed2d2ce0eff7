"""Texts that look like a secret (§26, §27): no profile may hold one, no adapter may hand one back."""

from __future__ import annotations

import math
import re
from collections import Counter

_SHAPES = re.compile(
    r"\bsk-[\w-]{12,}"
    r"|\bAIza[\w-]{20,}"
    r"|\bya29\.[\w-]{12,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[opsur]_\w{20,}"
    r"|\bgithub_pat_\w{20,}"
    r"|\bxox[abeoprs]-[\w-]{10,}"
    r"|\bhv[bsr]\.[\w-]{20,}"
    r"|\bSG\.[\w-]{16,}"
    r"|\bSK[0-9a-f]{32}\b"
    r"|\beyJ[\w-]{8,}\.[\w-]+"
    r"|-----BEGIN [A-Z ]+-----"
    r"|(?i:\b(?:bearer|basic)\s+[\w.~+/=-]{12,})"
    r"|(?i:\b(?:api[_-]?key|token|password|passwd|secret)\s*[=:]\s*\S{4,})"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+@"
)
_TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
# A random token of 32 characters of base 64 has 4.4 bits a character or more almost always, words with digits less.
_MIN_BITS_PER_CHARACTER = 4.1


def has_secret_shape(text: str) -> bool:
    """Whether it holds something shaped like a known kind of secret: API keys, JWTs, PEM, credentials of a URL."""
    return _SHAPES.search(text) is not None


def looks_like_secret(text: str) -> bool:
    """Whether it has the shape of a secret, or a long random token: 32 characters of hexadecimal digits, or of base 64
    with both cases, digits and high entropy. A UUID is an id, not a secret.
    """
    return has_secret_shape(text) or any(_is_random(token) for token in _TOKEN.findall(_UUID.sub("", text)))


def _is_random(token: str) -> bool:
    if _HEX.search(token) and not token.isdigit():
        return True
    mixed = any(c.isdigit() for c in token) and any(c.isupper() for c in token) and any(c.islower() for c in token)
    return mixed and _bits_per_character(token) >= _MIN_BITS_PER_CHARACTER


def _bits_per_character(token: str) -> float:
    return -sum(n / len(token) * math.log2(n / len(token)) for n in Counter(token).values())
