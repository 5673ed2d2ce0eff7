"""The subset of SSML: what it means, and that the rest is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.tts.adapter import TtsReason
from servers.tts.ssml import Pause, Place, Spoken, SsmlRefused, parse


@pytest.mark.parametrize(
    ("inside", "pieces"),
    [
        ("Hello  big\n world", (Spoken("Hello big world"),)),
        ("a &amp; b", (Spoken("a & b"),)),
        ("<s>One</s><s>Two!</s>", (Spoken("One. Two! "),)),
        ('go<break time="250ms"/>on', (Spoken("go"), Pause(250), Spoken("on"))),
        ('<break time="1.5s"/>x', (Pause(1_500), Spoken("x"))),
        ('<break strength="strong"/>x<break/>', (Pause(750), Spoken("x"), Pause(500))),
        ('a <mark name="m1"/>b', (Spoken("a "), Place("m1"), Spoken("b"))),
        ('<sub alias="World Wide Web">WWW</sub>', (Spoken("World Wide Web"),)),
        ('<prosody rate="fast">quick</prosody> slow', (Spoken("quick", 140), Spoken(" slow"))),
        ('<prosody rate="50%"><prosody rate="50%">x</prosody></prosody>', (Spoken("x", 25),)),
        ("<!-- unsaid -->x", (Spoken("x"),)),
    ],
)
def test_the_subset_is_read(inside: str, pieces: tuple[object, ...]) -> None:
    assert parse(f"<speak>{inside}</speak>") == pieces


@pytest.mark.parametrize(
    "ssml",
    [
        "",
        "no markup",
        "<speak>open",
        "<speak>a</speak>b",
        "<p>not in speak</p>",
        "<speak><speak>x</speak></speak>",
        '<speak><break time="soon"/></speak>',
        '<speak><break time="11s"/></speak>',
        '<speak><break time="-1s"/></speak>',
        '<speak><break strength="mighty"/></speak>',
        "<speak><break>x</break></speak>",
        "<speak><mark/></speak>",
        "<speak><sub>x</sub></speak>",
        '<speak><prosody rate="0%">x</prosody></speak>',
        '<speak><prosody rate="warp">x</prosody></speak>',
        "<speak>" + "<p>" * 100 + "x" + "</p>" * 100 + "</speak>",
        "<speak>" + '<break time="10s"/>' * 7 + "x</speak>",
        "<speak>&undeclared;</speak>",
        "<speak>\ud800</speak>",
    ],
)
def test_what_is_broken_is_malformed(ssml: str) -> None:
    with pytest.raises(SsmlRefused) as refused:
        parse(ssml)
    assert refused.value.reason is TtsReason.SSML_MALFORMED


@pytest.mark.parametrize(
    "ssml",
    [
        '<speak><audio src="http://example.com/a.wav"/></speak>',
        '<speak><voice name="other">x</voice></speak>',
        '<speak><prosody pitch="high">x</prosody></speak>',
        '<speak onlangfailure="ignorelang">x</speak>',
        "<speak><?php x ?></speak>",
        '<!DOCTYPE speak [<!ENTITY a "aaaa">]><speak>&a;</speak>',
        '<!DOCTYPE speak SYSTEM "file:///etc/passwd"><speak>x</speak>',
    ],
)
def test_what_is_more_than_the_subset_is_unsupported(ssml: str) -> None:
    with pytest.raises(SsmlRefused) as refused:
        parse(ssml)
    assert refused.value.reason is TtsReason.SSML_UNSUPPORTED


@given(st.text())
def test_any_text_is_pieces_or_refused(text: str) -> None:
    try:
        pieces = parse(text)
    except SsmlRefused as refused:
        assert refused.reason in (TtsReason.SSML_MALFORMED, TtsReason.SSML_UNSUPPORTED)
    else:
        assert text.lstrip().startswith("<")
        assert all(isinstance(piece, Spoken | Pause | Place) for piece in pieces)
