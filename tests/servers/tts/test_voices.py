"""Which voice speaks which locale."""

from __future__ import annotations

import pytest

from servers.tts.espeak import Voice
from servers.tts.voices import by_locale, voice_for

VOICES = by_locale([Voice(locale, f"x/{locale}", locale) for locale in ("de", "en-gb", "en-us", "pt", "pt-br", "de")])


@pytest.mark.parametrize(
    ("locale", "spoken_by"),
    [("en-US", "en-us"), ("en_GB", "en-gb"), ("de", "de"), ("de-DE", "de"), ("pt-BR", "pt-br"), ("pt-PT", "pt")],
)
def test_a_locale_has_its_own_voice_or_its_languages(locale: str, spoken_by: str) -> None:
    voice = voice_for(locale, VOICES)
    assert voice is not None
    assert voice.locale == spoken_by


@pytest.mark.parametrize("locale", ["", "en", "en-AU", "xx", "xx-US", "-", "e", "deu"])
def test_no_locale_is_spoken_by_anothers_voice(locale: str) -> None:
    assert voice_for(locale, VOICES) is None
