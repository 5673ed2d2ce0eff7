"""What is evidence and what is not: each cause, the case just inside it, and contradictions."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from selene.gold.v1.evidence_pb2 import GoldItem, GoldLabel, OutputLabel, RouteLabel, TrialLabel
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_CONTEXT_RANK,
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_NLP_INTENT_SLOT,
    GOLD_DOMAIN_PAE_ROUTE,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_VOCABULARY,
    GOLD_DOMAIN_VOICE_IDENTITY,
    GOLD_DOMAIN_WAKE_ENDPOINT,
    GoldDomain,
)

from servers.learning.evidence import (
    CONTENT,
    Cause,
    Problem,
    item_contradicts,
    label_contradicts,
    problem_of_item,
    problem_of_label,
)
from tests.servers.learning.items import (
    accepted,
    boundary,
    context,
    edit,
    edits,
    item,
    label,
    meant,
    outcome,
    output,
    pronunciation,
    ranking,
    relevant,
    routed,
    trial,
    turn,
    utterance,
)

SOUND = {
    GOLD_DOMAIN_WAKE_ENDPOINT: (boundary(), boundary()),
    GOLD_DOMAIN_STT_TRANSCRIPT: (utterance(), edits()),
    GOLD_DOMAIN_VOCABULARY: (utterance(), edits(edit(0, 1, "Selene", entity=True))),
    GOLD_DOMAIN_TTS_PRONUNCIATION: (pronunciation(), accepted()),
    GOLD_DOMAIN_NLP_INTENT_SLOT: (turn("time"), meant(time="7")),
    GOLD_DOMAIN_LLM_BOUNDARY: (output(), OutputLabel()),
    GOLD_DOMAIN_CONTEXT_RANK: (ranking(), relevant("a")),
    GOLD_DOMAIN_PAE_ROUTE: (routed(outcome(), outcome()), RouteLabel()),
    GOLD_DOMAIN_VOICE_IDENTITY: (trial(1.0), TrialLabel()),
}
SIGNALS = frozenset({"s1"})


def cause(problem: Problem | None) -> str | None:
    return None if problem is None else problem.cause


@pytest.mark.parametrize("domain", SOUND)
@pytest.mark.parametrize("other", SOUND)
def test_an_item_holds_what_its_domain_asks_for(domain: GoldDomain, other: GoldDomain) -> None:
    content, _ = SOUND[other]
    fits = CONTENT[domain] == CONTENT[other]
    found = cause(problem_of_item(domain, item(content), SIGNALS))
    assert found == (None if fits else Cause.CONTENT_OF_ANOTHER_DOMAIN)


@pytest.mark.parametrize("domain", SOUND)
@pytest.mark.parametrize("other", SOUND)
def test_a_label_says_what_its_item_asks_for(domain: GoldDomain, other: GoldDomain) -> None:
    (content, _), (_, verdict) = SOUND[domain], SOUND[other]
    fits = CONTENT[domain] == CONTENT[other]
    found = cause(problem_of_label(item(content), label(verdict)))
    assert found == (None if fits else Cause.VERDICT_OF_ANOTHER_DOMAIN)


def test_an_item_or_a_label_without_content_is_none() -> None:
    sound = item(utterance())
    assert cause(problem_of_item(GOLD_DOMAIN_STT_TRANSCRIPT, GoldItem(item_id="i1", signal_id="s1"), SIGNALS)) == (
        Cause.CONTENT_OF_ANOTHER_DOMAIN
    )
    assert cause(problem_of_label(sound, GoldLabel(item_id="i1"))) == Cause.VERDICT_OF_ANOTHER_DOMAIN
    assert cause(problem_of_label(GoldItem(item_id="i1"), label(edits()))) == Cause.VERDICT_OF_ANOTHER_DOMAIN


@pytest.mark.parametrize("domain", sorted(set(GoldDomain.values()) - set(SOUND)))
def test_a_domain_without_content_takes_no_item(domain: GoldDomain) -> None:
    assert cause(problem_of_item(domain, item(utterance()), SIGNALS)) == Cause.DOMAIN_WITHOUT_EVIDENCE


def test_an_item_comes_from_a_signal_of_its_set() -> None:
    strange = item(utterance(), signal_id="s2")
    assert cause(problem_of_item(GOLD_DOMAIN_STT_TRANSCRIPT, strange, SIGNALS)) == Cause.SIGNAL_NOT_OF_SET


def test_a_label_is_of_its_item() -> None:
    assert cause(problem_of_label(item(utterance()), label(edits(), item_id="i2"))) == Cause.LABEL_OF_ANOTHER_ITEM


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 1, None),
        (0, 0, Cause.BOUNDARY_REVERSED),
        (5, 4, Cause.BOUNDARY_REVERSED),
        (-1, 4, Cause.BOUNDARY_NEGATIVE),
    ],
)
def test_a_boundary_ends_after_it_starts(start: int, end: int, expected: str | None) -> None:
    odd = boundary(start, end)
    assert cause(problem_of_item(GOLD_DOMAIN_WAKE_ENDPOINT, item(odd), SIGNALS)) == expected
    assert cause(problem_of_label(item(boundary()), label(odd))) == expected


@pytest.mark.parametrize(
    ("domain", "content", "expected"),
    [
        (GOLD_DOMAIN_NLP_INTENT_SLOT, turn("time", ""), Cause.SLOT_NAME_EMPTY),
        (GOLD_DOMAIN_CONTEXT_RANK, ranking(context("a"), context("b"), context("a")), Cause.CONTEXT_REPEATED),
        (GOLD_DOMAIN_PAE_ROUTE, routed(outcome(), outcome(latency_ms=0)), None),
        (GOLD_DOMAIN_PAE_ROUTE, routed(outcome(latency_ms=-1), outcome()), Cause.LATENCY_NEGATIVE),
        (GOLD_DOMAIN_PAE_ROUTE, routed(outcome(), outcome(latency_ms=-1)), Cause.LATENCY_NEGATIVE),
        (GOLD_DOMAIN_VOICE_IDENTITY, trial(1.0, frozen=True), Cause.FROZEN_EVALUATION_ROW),
        (GOLD_DOMAIN_VOICE_IDENTITY, trial(1.0, cohort="en/gb/phone"), Cause.COHORT_MALFORMED),
        (GOLD_DOMAIN_VOICE_IDENTITY, trial(1.0, cohort="en/gb//quiet"), Cause.COHORT_MALFORMED),
        (GOLD_DOMAIN_VOICE_IDENTITY, trial(1.0, cohort="en/gb/phone/quiet/x"), Cause.COHORT_MALFORMED),
    ],
)
def test_content_makes_sense_in_itself(domain: GoldDomain, content: object, expected: str | None) -> None:
    assert cause(problem_of_item(domain, item(content), SIGNALS)) == expected


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (edits(), None),
        (edits(edit(0, 3, "all")), None),
        (edits(edit(3, 3, "more")), None),
        (edits(edit(0, 1)), None),
        (edits(edit(0, 1, "a"), edit(1, 1, "b"), edit(1, 2, "c")), None),
        (edits(edit(2, 1, "x")), Cause.SPAN_REVERSED),
        (edits(edit(0, 4, "x")), Cause.SPAN_OUT_OF_RANGE),
        (edits(edit(4, 4, "x")), Cause.SPAN_OUT_OF_RANGE),
        (edits(edit(-1, 1, "x")), Cause.SPAN_OUT_OF_RANGE),
        (edits(edit(0, 2, "x"), edit(1, 3, "y")), Cause.SPANS_OVERLAP),
        (edits(edit(1, 2, "x"), edit(0, 1, "y")), Cause.SPANS_OVERLAP),
        (edits(edit(1, 1, "x"), edit(1, 1, "y")), Cause.SPANS_OVERLAP),
        (edits(edit(1, 2, "w1")), Cause.EDIT_CHANGES_NOTHING),
        (edits(edit(1, 1)), Cause.EDIT_CHANGES_NOTHING),
        (edits(unresolved=3), None),
        (edits(unresolved=4), Cause.UNRESOLVED_TOKENS_TOO_MANY),
    ],
)
def test_edits_lie_in_the_utterance_in_order_and_change_it(verdict: object, expected: str | None) -> None:
    assert cause(problem_of_label(item(utterance(3)), label(verdict))) == expected


@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 5)), max_size=4))
def test_edits_without_a_problem_can_be_applied(spans: list[tuple[int, int]]) -> None:
    verdict = edits(*(edit(start, end, "new") for start, end in spans))
    if problem_of_label(item(utterance(4)), label(verdict)) is not None:
        return
    tokens, corrected = [f"w{each}" for each in range(4)], 4
    for start, end in reversed(spans):
        tokens[start:end] = ["new"]
        corrected += 1 - (end - start)
    assert len(tokens) == corrected
    assert tokens.count("new") == len(spans)


def test_a_slot_of_a_label_has_a_name() -> None:
    assert cause(problem_of_label(item(turn()), label(meant(**{"": "7"})))) == Cause.SLOT_NAME_EMPTY


def test_only_what_was_ranked_is_relevant() -> None:
    assert cause(problem_of_label(item(ranking()), label(relevant("a", "z")))) == Cause.CONTEXT_NOT_RANKED
    assert problem_of_label(item(ranking()), label(relevant())) is None


def test_the_same_item_again_contradicts_where_it_says_something_else() -> None:
    assert not item_contradicts(item(utterance(3)), item(utterance(3)))
    assert item_contradicts(item(utterance(3)), item(utterance(4)))
    assert item_contradicts(item(utterance(3)), item(utterance(3), signal_id="s2"))
    assert not item_contradicts(item(utterance(3), "i1"), item(utterance(4), "i2"))


def test_the_same_person_contradicts_themself_but_nobody_else() -> None:
    said = label(meant(time="7"))
    later = label(meant(time="7"))
    later.labelled_at.CopyFrom(Timestamp(seconds=9))
    assert not label_contradicts(said, later)
    assert label_contradicts(said, label(meant(time="8")))
    assert not label_contradicts(said, label(meant(time="8"), "ben"))
    assert not label_contradicts(said, label(meant(time="8"), item_id="i2"))
