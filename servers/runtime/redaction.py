"""What must not be shown: names of values that are secret or are somebody's voice, and texts that look like secrets."""

import re
from collections.abc import Mapping
from typing import Any, Final

REDACTED: Final = "(redacted)"

_SECRET_NAME = re.compile(
    r"authorization|token|secret|password|passphrase|credential|cookie|jwt|(private|signing|master|api|data|wrapping)_?key"
    r"|^key$|^salt$|embedding|audio$|^samples$|^pcm$|^frame$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?i:bearer)\s+[\w.~+/=-]+"
    r"|\beyJ[\w-]+\.[\w-]*\.?[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",
    re.DOTALL,
)
_MAX_DEPTH = 6


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is withheld, whatever it is."""
    return _SECRET_NAME.search(name) is not None


def clean_text(text: str) -> str:
    """The text without bearer tokens, JWTs, private keys and the credentials of URLs."""
    return _SECRET_TEXT.sub(REDACTED, text)


def cleaned_field(name: str, value: Any, depth: int = _MAX_DEPTH) -> Any:
    """The value as may be shown under this name. A bare number is no secret: ``tokens=512`` is a count."""
    is_number = value is None or isinstance(value, bool | int | float)
    return REDACTED if is_secret_name(name) and not is_number else cleaned(value, depth)


def cleaned(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """The value as plain data that may be shown: bytes are counted, other objects named by their type."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value)} bytes)"
    if depth == 0:
        return REDACTED
    if isinstance(value, Mapping):
        return {str(name): cleaned_field(str(name), item, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [cleaned(item, depth - 1) for item in value]
    return f"({type(value).__name__})"
