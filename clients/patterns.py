"""The regular expressions of the contracts in words: what is allowed where a field is refused for its form."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_REFUSED: Final = re.compile(r"does not match regex pattern `(?P<pattern>.*)`", re.S)
_HANDLE: Final = "kms://providers/<vendor>/<use> or kms://delivery/<channel>/<account>, in small letters, digits and -"
_DIGEST: Final = "64 hexadecimal digits in small letters, as the commands print it"
_COHORT: Final = "<dimension>:<value>, such as language:en, the dimension in small letters"
_ENGINE: Final = "the engine of an owner, such as PH1.C (stt), PH1.TTS (tts), PH1.D (llm) or PH1.DELIVERY (delivery)"

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        r"^[0-9a-f]{64}$": _DIGEST,
        r"^([0-9a-f]{64})?$": f"{_DIGEST}, or nothing",
        r"^[A-Z][A-Z0-9_]{0,63}$": "UPPER_SNAKE_CASE of at most 64 characters, such as VENDOR_INCIDENT",
        r"^[A-Z][A-Z0-9_]{1,63}$": "UPPER_SNAKE_CASE of 2 to 64 characters, such as VENDOR_INCIDENT",
        r"^[A-Z][A-Z0-9_]{2,63}$": "UPPER_SNAKE_CASE of 3 to 64 characters, such as VENDOR_INCIDENT",
        r"^[a-z][a-z0-9_]{0,63}$": "small letters, digits and _, 64 at most, with a letter first",
        r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$": "names in small letters, digits and _, with dots between them",
        r"^[A-Za-z0-9._:-]{1,128}$": "letters, digits and . _ : -, 1 to 128 of them",
        r"^[A-Z]{3}$": "three capital letters, such as EUR",
        r"^PH1\.[A-Z0-9_.]{1,32}$": _ENGINE,
        r"^PH1(\.[A-Z]+)+$": _ENGINE,
        r"^kms://(providers|delivery)/[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31}$": _HANDLE,
        r"^(kms://(providers|delivery)/[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31})?$": f"{_HANDLE}, or nothing",
        r"^[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31}$": "<vendor>/<use> such as openai/stt, in small letters",
        r"^[a-z0-9][a-z0-9-]{0,31}$": "small letters, digits and -, 32 at most",
        r"^([a-z0-9][a-z0-9-]*)?$": "small letters, digits and -, or nothing",
        r"^[a-z_]{1,32}:[A-Za-z0-9._-]{1,64}$": _COHORT,
        r"^([a-z_]{1,32}:[A-Za-z0-9._-]{1,64})?$": f"{_COHORT}, or nothing",
        r"^(user|cohort):.{1,200}$": "user:<id> or cohort:<dimension>:<value>",
        r"^(signal|gold|artifact):.{1,128}$": "signal:<id>, gold:<id> or artifact:<id>",
        r"^GOLD_SET_[A-Z0-9_]+_V[0-9]+$": "GOLD_SET_<NAME>_V<number>, in capital letters",
        r"^([A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*)?$": "the name of a time zone, such as Europe/London, or nothing",
        r"^[^/\\\x00-\x1f]+$": "a file's name, without a folder",
        r"^[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+$": "a media type in small letters, such as application/pdf",
        r"^[^\r\n\x00]+$": "one line of text",
    }
)
"""By the regular expression of a `buf.validate` rule."""


def in_words(description: str) -> str:
    """What a field rule says, without its regular expression where there are words for it."""
    found = _REFUSED.search(description)
    told = WORDS.get(found["pattern"]) if found else None
    return description if found is None or told is None else description.replace(found[0], f"must be {told}")
