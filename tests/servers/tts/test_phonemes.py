"""IPA in the engine's own letters: the engine itself says which sounds it makes of them."""

# ruff: noqa: RUF001  letters of IPA that look like others are what this is about
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.tts.lexicon import Span
from servers.tts.phonemes import CONSONANTS, VOWELS, mnemonics, respell

HEARD = """
import ctypes, json, sys
import espeakng_loader
from servers.tts import espeak

library = ctypes.CDLL(espeakng_loader.get_library_path())
# Options 1 and 2: events of phonemes, in IPA.
library.espeak_Initialize(2, 60, espeakng_loader.get_data_path().encode(), 0x8000 | 1 | 2)
library.espeak_SetVoiceByName(b"gmw/en-US")
library.espeak_SetSynthCallback.argtypes = (espeak._Callback,)
said = []
for text in json.load(sys.stdin):
    heard = []

    def take(samples, count, events):
        at = 0
        while events[at].type:
            if events[at].type == 7:
                heard.append((events[at].id or 0).to_bytes(8, "little").split(b"\\0")[0].decode())
            at += 1
        return 0

    callback = espeak._Callback(take)
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, 0x101, None, None)
    said.append("".join(heard))
json.dump(said, sys.stdout)
"""


def heard(*texts: str) -> list[str]:
    """What the engine says it speaks, in IPA; a process of its own, as the engine is set up otherwise for that."""
    asked = json.dumps(texts)
    done = subprocess.run([sys.executable, "-c", HEARD], input=asked, capture_output=True, text=True, check=True)
    spoken: list[str] = json.loads(done.stdout)
    return spoken


SAME = {
    "əʊ": "oʊ", "ʧ": "tʃ", "ʤ": "dʒ", "g": "ɡ", "r": "ɹ", "ɒ": "ɑː", "ɑ": "ɑː", "ɝ": "ɜː", "ɜ": "ɜː", "a": "æ",
}  # fmt: skip
"""Sounds that an American voice makes in its own way, or that IPA writes in two."""


def test_the_engine_says_every_sound_of_the_table() -> None:
    sounds = [*(f"m{vowel}m" for vowel in VOWELS), *(f"m{consonant}iːm" for consonant in CONSONANTS)]
    written = [mnemonics(sound) for sound in sounds]
    said = heard(*(f"[[{each}]]" for each in written))
    meant = [
        *(f"m{SAME.get(vowel, vowel)}m" for vowel in VOWELS),
        *(f"m{SAME.get(consonant, consonant)}iːm" for consonant in CONSONANTS),
    ]
    plain = [each.replace("ˈ", "").replace("r", "ɹ") for each in said]
    assert dict(zip(sounds, plain, strict=True)) == dict(zip(sounds, meant, strict=True))


@pytest.mark.parametrize(
    ("ipa", "written", "spoken"),
    [
        ("ˈnwɪn", "nw'In", "nwˈɪn"),
        ("səˈliːni", "s@l'i:ni", "səlˈiːni"),
        ("t͡ʃɔɪˈsiː", "tSOIs'i:", "tʃɔɪsˈiː"),
        ("/ˌɡlɔː.sɛs.ˈtɛɹ/", "gl,O:|sEs|t'Er", None),
    ],
)
def test_names_are_spoken_as_they_are_written_in_ipa(ipa: str, written: str, spoken: str | None) -> None:
    assert mnemonics(ipa) == written
    if spoken:
        assert heard(f"[[{written}]]") == [spoken]


@pytest.mark.parametrize("ipa", ["ʃɔpɛ̃", "ʏ", "", "ˈ", "mp", "iːˈ", "a1", "ˈx"])
def test_what_the_engine_has_no_sound_for_is_not_half_said(ipa: str) -> None:
    assert mnemonics(ipa) is None


@given(st.text("tʃ aɪˈˌ.ˑ[]ː\u0361", max_size=12))
def test_nothing_leaves_the_brackets(ipa: str) -> None:
    written = mnemonics(ipa)
    assert written is None or not set(written) & set("[]")


TEXT = "My Nguyen, [[a]] and Nguyen."


def test_what_is_respelt_points_back_at_the_text() -> None:
    respelt = respell(TEXT, [Span(3, 9, "ˈwɪn"), Span(21, 27, "ˈwɪn")])
    assert respelt is not None
    assert respelt.text == "My [[w'In]], [ a]] and [[w'In]]."
    places = {respelt.text.index(part): at for part, at in (("My", 0), ("w'In", 3), (",", 9), ("and", 17), (".", 27))}
    assert {place: respelt.original(place) for place in places} == places
    assert respelt.original(respelt.text.rindex("w'In")) == 21
    assert respelt.original(-1) == -1


def test_a_text_whose_terms_cannot_be_said_is_read_as_it_is() -> None:
    assert respell(TEXT, [Span(3, 9, "ʏ")]) is None
    assert respell(TEXT, []) is None
    both = respell(TEXT, [Span(3, 9, "ʏ"), Span(21, 27, "ˈwɪn")])
    assert both is not None and both.text == "My Nguyen, [ a]] and [[w'In]]."
