"""Which voice speaks a locale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from servers.tts.espeak import Voice


def by_locale(voices: Sequence[Voice]) -> Mapping[str, Voice]:
    """The voices by the locale they are made for; the first listed of a locale is its default."""
    found: dict[str, Voice] = {}
    for voice in voices:
        found.setdefault(voice.locale, voice)
    return found


def voice_for(locale: str, voices: Mapping[str, Voice]) -> Voice | None:
    """The voice made for the locale, or for its language in no region in particular (``de-DE``: ``de``).

    Another region's voice is never taken: ``en-AU`` has none here although ``en-gb`` is there, because falling back
    across locales is a routing profile's choice (§24). Plain ``en`` is ambiguous and has none either.
    """
    wanted = locale.lower().replace("_", "-")
    return voices.get(wanted) or voices.get(wanted.partition("-")[0])
