"""Planted secrets, and the search for them in all that a server leaves behind."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import structlog

from servers.runtime.logging import configure_logging


def forms(secret: bytes) -> tuple[bytes, ...]:
    """As it is, in hexadecimal, and in base64 wherever it begins within a longer text."""
    encoded = [base64.b64encode(bytes(shift) + secret)[4 * bool(shift) : -4].rstrip(b"=") for shift in range(3)]
    return (secret, secret.hex().encode(), *encoded, *(one.translate(bytes.maketrans(b"+/", b"-_")) for one in encoded))


def found(haystack: bytes, canaries: Iterable[bytes]) -> list[bytes]:
    """Every form of a canary that is in there."""
    return [form for canary in canaries for form in forms(canary) if form in haystack]


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Everything that is logged, at the level that logs most; gRPC's, HTTP's and SQLAlchemy's own words too."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    stream = io.StringIO()
    configure_logging("debug", stream)
    try:
        yield stream
    finally:
        root.handlers[:], root.level = before[0], before[1]
        structlog.configure(**before[2])
