"""Reasons that a command gives for the trail: checked before anything is asked."""

import re
from typing import Final

import typer

_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")


def reason_code(value: str) -> str:
    """The reason as it was given; typer.BadParameter where it is not UPPER_SNAKE_CASE, with what would be."""
    if _REASON.fullmatch(value):
        return value
    made = re.sub(r"[^A-Z0-9]+", "_", value.upper()).strip("_")
    example = made if _REASON.fullmatch(made) else "VENDOR_INCIDENT"
    raise typer.BadParameter(f"{value!r} is not UPPER_SNAKE_CASE of 2 to 64 characters, such as {example}")
