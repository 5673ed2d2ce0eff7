"""Terms are found in texts as whole words, by locale; a pack that is none is refused."""

# ruff: noqa: RUF001  letters of IPA that look like others are meant
from __future__ import annotations

import pytest

from servers.pack_formats import PackUnusable
from servers.tts.lexicon import MOST_IN_A_TEXT, Lexicon, Pronunciation, Span, Terms, read
from tests.support.live_packs import pronunciations, vocabulary

TERMS = Terms(
    [
        Pronunciation("Nguyen", "ˈwɪn"),
        Pronunciation("Siobhan", "ʃɪˈvɔːn"),
        Pronunciation("Siobhan Nguyen", "ʃɪˈvɔːnˈwɪn"),
        Pronunciation("C++", "siːplʌsplʌs"),
        Pronunciation("@home", "ætˈhoʊm"),
        Pronunciation("!", "never"),
    ]
)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Call Nguyen now", [(5, 11)]),
        ("NGUYEN, nguyen", [(0, 6), (8, 14)]),
        ("Nguyens and Nguyen's", [(12, 18)]),
        ("preNguyen", []),
        ("Siobhan Nguyen and Siobhan", [(0, 14), (19, 26)]),
        ("Siobhan  Nguyen", [(0, 7), (9, 15)]),
        ("C++ or C", [(0, 3)]),
        ("see @home or home", [(4, 9)]),
        ("", []),
        ("!", []),
    ],
)
def test_terms_are_found_as_whole_words_the_longest_first(text: str, spans: list[tuple[int, int]]) -> None:
    assert [(each.start, each.end) for each in TERMS.spans(text)] == spans


def test_a_span_is_spoken_as_its_term() -> None:
    assert TERMS.spans("Nguyen") == [Span(0, 6, "ˈwɪn")]


LEXICON = Lexicon(
    [
        ("en", Pronunciation("tomato", "təˈmeɪtoʊ")),
        ("en-GB", Pronunciation("Tomato", "təˈmɑːtəʊ")),
        ("EN", Pronunciation("data", "ˈdeɪtə")),
        ("de", Pronunciation("data", "ˈdaːta")),
    ]
)


@pytest.mark.parametrize(
    ("locale", "found"),
    [
        ("en-GB", (Pronunciation("Tomato", "təˈmɑːtəʊ"), Pronunciation("data", "ˈdeɪtə"))),
        ("en-gb-x-rp", (Pronunciation("Tomato", "təˈmɑːtəʊ"), Pronunciation("data", "ˈdeɪtə"))),
        ("en_US", (Pronunciation("Tomato", "təˈmeɪtoʊ"), Pronunciation("data", "ˈdeɪtə"))),
        ("de", (Pronunciation("data", "ˈdaːta"),)),
        ("eng", ()),
        ("", ()),
    ],
)
def test_the_closest_locale_tells_how_what_stands_in_the_text_is_spoken(
    locale: str, found: tuple[Pronunciation, ...]
) -> None:
    assert LEXICON.serving("Tomato data, data", locale) == found


def test_a_text_has_no_more_pronunciations_than_a_provider_takes() -> None:
    many = [f"term{number}" for number in range(MOST_IN_A_TEXT + 1)]
    lexicon = Lexicon([("en", Pronunciation(term, "a")) for term in many])
    assert [each.term for each in lexicon.serving(" ".join(many), "en")] == many[:MOST_IN_A_TEXT]


def test_a_pack_is_read_as_it_was_built() -> None:
    lexicon = read(pronunciations(("Nguyen", "ˈwɪn")))
    assert lexicon.serving("Nguyen", "en-US") == (Pronunciation("Nguyen", "ˈwɪn"),)


@pytest.mark.parametrize(
    "payload", [b"garbage", b"", vocabulary(), pronunciations(("", "a")), pronunciations(("a", ""))]
)
def test_what_is_no_pronunciation_pack_is_refused(payload: bytes) -> None:
    with pytest.raises(PackUnusable):
        read(payload)
