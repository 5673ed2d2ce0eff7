"""What was learned of hearing: terms and substitutions by locale, and what they do to transcripts."""

from __future__ import annotations

import pytest

from servers.pack_formats import PackUnusable
from servers.stt.adapter import Transcript, Word
from servers.stt.learned import LONGEST_TERM, MOST_TERMS, Adaptation, Terms, read_adaptation, read_terms
from servers.stt.vocabulary import BEFORE, END, NO_TIMESTAMPS, START, Vocabulary
from tests.support.live_packs import adaptation, pronunciations, vocabulary


def words(*texts: str) -> Transcript:
    made = tuple(Word(text, float(place), place + 1.0, 9_000 - place) for place, text in enumerate(texts))
    return Transcript(" ".join(texts), made, float(len(texts)))


def test_terms_serve_their_locale_and_those_within_it_the_most_frequent_first() -> None:
    terms = Terms([("en", "Qualtrix", 2), ("en-GB", "Siobhan", 1), ("EN-gb", "Qualtrix", 3), ("de", "Zwölf", 9)])
    assert terms.serving("en-GB") == ("Qualtrix", "Siobhan")
    assert terms.serving("en-US") == terms.serving("en") == ("Qualtrix",)
    assert terms.serving("eng") == terms.serving("fr") == ()


def test_no_more_terms_than_a_provider_takes_and_none_longer() -> None:
    many = Terms([("en", f"term-{number:03}", 1_000 - number) for number in range(MOST_TERMS + 1)])
    assert many.serving("en") == tuple(f"term-{number:03}" for number in range(MOST_TERMS))
    assert Terms([("en", "x" * (LONGEST_TERM + 1), 1), ("en", "y" * LONGEST_TERM, 1)]).serving("en") == (
        "y" * LONGEST_TERM,
    )


SUBSTITUTIONS = Adaptation(
    [
        ("en", "shivon", "Siobhan", 5),
        ("en", "cloud tricks", "Qualtrix", 3),
        ("en", "cloud", "clout", 1),
        ("en", "no one", "Noone and Partners", 1),
        ("en", "either", "one", 2),
        ("en", "either", "other", 2),
        ("en-GB", "lift", "elevator", 1),
        ("en", "...", "nothing", 1),
    ]
).serving("en-US")


@pytest.mark.parametrize(
    ("heard", "meant"),
    [
        ("send it to shivon", "send it to Siobhan"),
        ("Shivon, at Cloud Tricks.", "Siobhan, at Qualtrix."),
        ("cloud nine", "clout nine"),
        ("(cloud tricks)", "(Qualtrix)"),
        ("ask no one", "ask Noone and Partners"),
        ("either way, take the lift", "either way, take the lift"),
        ("shivonne and tricks", "shivonne and tricks"),
        ("...", "..."),
        ("", ""),
    ],
)
def test_what_is_heard_wrongly_is_written_as_it_was_meant(heard: str, meant: str) -> None:
    assert SUBSTITUTIONS.text(heard) == meant
    assert SUBSTITUTIONS.applied(Transcript(heard, (), 1.0)) == Transcript(meant, (), 1.0)
    if heard:
        assert SUBSTITUTIONS.applied(words(*heard.split())).text == meant


def test_words_that_take_the_place_of_others_share_their_time_and_least_confidence() -> None:
    fewer = SUBSTITUTIONS.applied(words("at", "cloud", "tricks", "now"))
    assert fewer.words == (
        Word("at", 0.0, 1.0, 9_000),
        Word("Qualtrix", 1.0, 3.0, 8_998),
        Word("now", 3.0, 4.0, 8_997),
    )
    more = SUBSTITUTIONS.applied(words("no", "one."))
    assert [word.text for word in more.words] == ["Noone", "and", "Partners."]
    assert [word.start_s for word in more.words] == pytest.approx([0.0, 2 / 3, 4 / 3])
    assert more.words[-1].end_s == 2.0 and {word.confidence_bp for word in more.words} == {8_999}


def test_a_transcript_in_which_nothing_is_wrong_is_left_alone() -> None:
    said = words("turn", "on", "the", "light")
    assert SUBSTITUTIONS.applied(said) is said
    assert Adaptation([]).serving("en").applied(said) is said


def test_packs_are_read_as_they_were_built() -> None:
    assert read_terms(vocabulary("Siobhan")).serving("en-GB") == ("Siobhan",)
    assert read_adaptation(adaptation(("shivon", "Siobhan"))).serving("en-GB").text("shivon") == "Siobhan"


@pytest.mark.parametrize(
    "payload", [b"garbage", b"", pronunciations(("a", "b")), adaptation(("", "x")), vocabulary("")]
)
def test_what_is_no_pack_of_this_owner_is_refused(payload: bytes) -> None:
    for read in (read_terms, read_adaptation):
        with pytest.raises(PackUnusable):
            read(payload)


LETTERS = [chr(code) for code in (*range(0x21, 0x7F), 0x120)]


@pytest.fixture
def spelling() -> Vocabulary:
    return Vocabulary([*LETTERS, "Ġse", "Ġselene", "lene", END, START, NO_TIMESTAMPS, BEFORE])


def test_terms_are_spelt_in_the_longest_pieces_as_far_as_they_fit(spelling: Vocabulary) -> None:
    first, before = len(LETTERS), len(LETTERS) + 6
    comma, space, x = (LETTERS.index(letter) for letter in (",", "Ġ", "x"))
    assert spelling.said_before(["selene"], 10) == [before, first + 1]
    assert spelling.said_before(["selene", "xx"], 10) == [before, first + 1, comma, space, x, x]
    assert spelling.said_before(["selene", "xx"], 5) == [before, first + 1]
    assert spelling.said_before(["selene"], 1) == spelling.said_before([], 10) == []
    assert spelling.text(spelling.said_before(["selene", "xx"], 10)) == "selene, xx"


def test_a_model_that_remembers_nothing_is_told_nothing() -> None:
    assert Vocabulary([*LETTERS, END, START, NO_TIMESTAMPS]).said_before(["selene"], 10) == []
