"""What the declared grammar understands, and what it admits not to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.llm import grammar
from servers.llm.adapter import DecisionPacket
from servers.llm.grammar import GrammarInvalid, load, normalise, read
from servers.llm.local import shipped_grammar

SHIPPED = shipped_grammar()
SAID_AT = datetime(2026, 3, 1, 9, 5, tzinfo=UTC)  # a Sunday


def reading(text: str) -> DecisionPacket:
    return read(SHIPPED, text, SAID_AT)


@pytest.mark.parametrize(
    ("text", "intent", "reply"),
    [
        ("Hello!", "greeting", "Hello. What can I do for you?"),
        ("what time is it", "time", "It is 09:05."),
        ("What day is it today?", "date", "It is Sunday 1 March 2026."),
        ("What is two plus three?", "arithmetic", "two plus three is 5."),
        ("5 - 8", "arithmetic", "5 minus 8 is -3."),
        ("six times seven", "arithmetic", "six times seven is 42."),
        ("7 / 2", "arithmetic", "7 divided by 2 is 3.5."),
        ("10 divided by 3", "arithmetic", "10 divided by 3 is about 3.3333."),
        ("Repeat after me: the quick brown fox.", "echo", "the quick brown fox"),
        ("Thank you", "thanks", "You are welcome."),
    ],
)
def test_what_is_declared_is_understood(text: str, intent: str, reply: str) -> None:
    assert reading(text).intent == intent
    assert reading(text).reply == reply
    assert not reading(text).needs_clarification


@pytest.mark.parametrize(
    ("text", "seconds", "reply"),
    [
        ("set a timer for ten minutes", "600", "A timer for ten minutes."),
        ("Could you set a timer for half an hour, please?", "1800", "A timer for half an hour."),
        ("Set a 10-minute timer.", "600", "One 10-minute timer."),
        ("timer for 1 hour 30 minutes", "5400", "A timer for 1 hour 30 minutes."),
    ],
)
def test_a_timer_is_proposed_with_its_seconds_and_never_said_to_be_set(text: str, seconds: str, reply: str) -> None:
    packet = reading(text)
    assert (packet.intent, dict(packet.slots)["seconds"], packet.reply) == ("timer.set", seconds, reply)


def test_a_timer_is_cancelled_only_as_a_proposal() -> None:
    packet = reading("Cancel the timer.")
    assert (packet.intent, packet.slots, packet.needs_clarification) == ("timer.cancel", (), False)
    assert "cancelled" not in packet.reply.replace("to be cancelled", "")


@pytest.mark.parametrize("text", ["set a timer for ages", "set a timer", "set a timer for zero minutes", "egg timer"])
def test_a_timer_without_a_duration_is_not_understood(text: str) -> None:
    assert reading(text).intent == "out_of_grammar"


def test_fillers_cost_confidence() -> None:
    assert reading("what time is it").confidence_bp > reading("hey Selene, what time is it, please?").confidence_bp > 0


@pytest.mark.parametrize("text", ["sing me a song", "what time", "two plus", "two plus banana", "please", "?!", "時間"])
def test_what_is_not_declared_is_said_to_be_out_of_grammar(text: str) -> None:
    packet = reading(text)
    assert (packet.intent, packet.confidence_bp, packet.needs_clarification) == ("out_of_grammar", 0, True)
    assert packet.slots == ()
    assert packet.reply


def test_division_by_zero_asks_instead_of_answering() -> None:
    packet = reading("seven divided by zero")
    assert packet.intent == "arithmetic"
    assert packet.needs_clarification
    assert "result" not in dict(packet.slots)


def test_slots_carry_what_was_said_and_computed() -> None:
    assert dict(reading("forty two minus two").slots) == {
        "left": "forty two",
        "operator": "minus",
        "right": "two",
        "result": "40",
    }


def test_a_reply_is_no_template_for_the_speaker() -> None:
    assert reading("say {time} and {0.__class__}").reply == "time and 0 class"


@given(st.integers(0, 10**9 - 1), st.sampled_from(["plus", "minus", "times"]), st.integers(0, 10**9 - 1))
def test_whole_sums_are_exact(left: int, operator: str, right: int) -> None:
    expected = {"plus": left + right, "minus": left - right, "times": left * right}[operator]
    assert dict(reading(f"{left} {operator} {right}").slots)["result"] == str(expected)


@given(st.text(max_size=1_000))
def test_anything_at_all_gets_exactly_one_packet(text: str) -> None:
    packet = reading(text)
    assert packet.reply.strip()
    assert packet.needs_clarification == (packet.confidence_bp == 0) or packet.intent == "arithmetic"


def test_normalising_twice_changes_nothing() -> None:
    once = normalise("  What\u2019s 3*4, THEN?  ")
    assert once == "what's 3 times 4 then"
    assert normalise(once) == once


MINIMAL = """
locales = ["en"]
fillers = []
[out_of_grammar]
reply = "what?"
[ambiguous]
reply = "which?"
[[intents]]
name = "one"
patterns = ["go .*"]
reply = "one"
examples = ["go on"]
[[intents]]
name = "two"
patterns = ["go home"]
reply = "two"
examples = [{example}]
"""


def test_two_meanings_are_asked_about() -> None:
    overlapping = MINIMAL.replace('["go home"]', '["go home", "leave"]').replace("{example}", '"leave"')
    made = load(overlapping)
    packet = read(made, "go home", SAID_AT)
    assert (packet.intent, packet.needs_clarification, packet.reply) == (grammar.AMBIGUOUS, True, "which?")


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "locales = [",
        MINIMAL.replace("{example}", ""),
        MINIMAL.replace("{example}", "1"),
        MINIMAL.replace("{example}", '"go home"'),  # means both
        MINIMAL.replace("{example}", '"stay"'),  # means neither
        MINIMAL.replace("{example}", '"go home"').replace("go .*", "go ("),
    ],
)
def test_a_grammar_that_contradicts_itself_is_refused(broken: str) -> None:
    with pytest.raises(GrammarInvalid):
        load(broken)
