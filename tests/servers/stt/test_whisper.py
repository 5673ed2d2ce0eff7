"""The decoder process answers what it is asked, and keeps nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np

from servers.stt.adapter import RATE_HZ
from servers.stt.features import Samples
from servers.stt.hints import with_hints
from servers.stt.transcriber import Heard
from servers.stt.whisper import HEADER, serve


class Counting:
    """Hears one word in whatever it is given: how many samples that was. A glance at less than a second is nothing."""

    def glance(self, samples: Samples) -> str | None:
        return f"glance-{len(samples)}" if len(samples) >= RATE_HZ else None

    def words(self, samples: Samples, terms: Sequence[str] = ()) -> list[Heard]:
        return [Heard("-".join(("words", str(len(samples)), f"{samples[0]:.2f}", *terms)), 0.5, 1.0, 0.9)]


def sound(seconds: float) -> bytes:
    return np.full(round(seconds * RATE_HZ), 16_384, "<i2").tobytes()


def test_every_request_is_answered_in_order_of_its_own_audio_alone() -> None:
    asked = [(b"G", sound(1.0)), (b"W", sound(0.5)), (b"G", sound(0.5)), (b"W", b""), (b"W", sound(0.25))]
    replies = io.BytesIO()
    serve(Counting(), io.BytesIO(b"".join(HEADER.pack(kind, len(data)) + data for kind, data in asked)), replies)
    hello, *answers = map(json.loads, replies.getvalue().splitlines())
    assert hello.keys() == {"pid"}
    assert answers == [
        {"text": "glance-16000"},
        {"words": [["words-8000-0.50", 0.5, 1.0, 0.9]]},
        {"text": ""},
        {"words": []},
        {"words": [["words-4000-0.50", 0.5, 1.0, 0.9]]},
    ]


def test_terms_that_may_be_said_hold_for_one_request() -> None:
    hinted, plain = with_hints(["Siobhán", "Qualtrix"], sound(0.5)), sound(0.5)
    replies = io.BytesIO()
    asked = ((b"H", hinted), (b"W", plain), (b"H", with_hints([], plain)))
    serve(Counting(), io.BytesIO(b"".join(HEADER.pack(kind, len(data)) + data for kind, data in asked)), replies)
    _, *answers = map(json.loads, replies.getvalue().splitlines())
    words = [answer["words"][0][0] for answer in answers]
    assert words == ["words-8000-0.50-Siobhán-Qualtrix", "words-8000-0.50", "words-8000-0.50"]


def test_half_a_request_at_the_end_is_no_request() -> None:
    replies = io.BytesIO()
    serve(Counting(), io.BytesIO(HEADER.pack(b"G", 2)[:-1]), replies)
    assert len(replies.getvalue().splitlines()) == 1
