"""What everybody says of an item, and that where they differ nobody says it."""

from __future__ import annotations

import pytest
from selene.gold.v1.evidence_pb2 import LabelledItem, OutputLabel, RouteLabel, TrialLabel

from servers.learning.consensus import agreed
from tests.servers.learning.items import (
    accepted,
    boundary,
    edit,
    edits,
    item,
    label,
    labelled,
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

ROUTE = routed(outcome(), outcome())
BETTER, GENUINE, UNSAFE = RouteLabel(candidate_better=True), TrialLabel(genuine=True), OutputLabel(policy_conflict=True)


@pytest.mark.parametrize(
    ("content", "verdicts", "expected"),
    [
        (boundary(), [boundary(0, 90), boundary(20, 100), boundary(10, 80)], boundary(10, 90)),
        (boundary(), [boundary(0, 1500), boundary(20, 1600)], boundary(0, 1500)),
        (utterance(), [edits(edit(0, 1, "a")), edits(edit(0, 1, "a"))], edits(edit(0, 1, "a"))),
        (
            utterance(),
            [edits(edit(0, 1, "A", entity=True), unresolved=1), edits(edit(0, 1, "A"), unresolved=2)],
            edits(edit(0, 1, "A"), unresolved=2),
        ),
        (utterance(), [edits(), edits()], edits()),
        (pronunciation(), [accepted(True, 9000), accepted(True, 8000)], accepted(True, 8000)),
        (turn("time"), [meant(time="7", tone="a"), meant(time="7", tone="b")], meant(time="7")),
        (turn("time"), [meant(), meant()], meant()),
        (output(), [OutputLabel(), OutputLabel()], OutputLabel()),
        (ranking(), [relevant("c", "a", "b"), relevant("a", "c")], relevant("a", "c")),
        (ranking(), [relevant("a"), relevant("b")], relevant()),
        (ROUTE, [BETTER, BETTER], BETTER),
        (trial(1.0), [GENUINE, GENUINE, GENUINE], GENUINE),
    ],
)
def test_what_everybody_says_is_said_of_the_item(content: object, verdicts: list[object], expected: object) -> None:
    for order in (verdicts, verdicts[::-1]):
        assert agreed(labelled(content, order)) == label(expected, "")


@pytest.mark.parametrize(
    ("content", "verdicts"),
    [
        (boundary(), [boundary(), boundary(triggered=False)]),
        (utterance(), [edits(edit(0, 1, "a")), edits(edit(0, 1, "b"))]),
        (utterance(), [edits(edit(0, 1, "a")), edits()]),
        (pronunciation(), [accepted(), accepted(False)]),
        (turn("time"), [meant("a", time="7"), meant("b", time="7")]),
        (turn("time"), [meant(time="7"), meant(time="8")]),
        (turn("time"), [meant(time="7"), meant()]),
        (turn("time"), [meant(), meant(time="7")]),
        (output(), [OutputLabel(), UNSAFE]),
        (ROUTE, [BETTER, RouteLabel()]),
        (trial(1.0), [GENUINE, GENUINE, TrialLabel()]),
    ],
)
def test_where_they_differ_nothing_is_agreed(content: object, verdicts: list[object]) -> None:
    assert agreed(labelled(content, verdicts)) is None


def test_of_what_nobody_labelled_nothing_is_agreed() -> None:
    assert agreed(LabelledItem(item=item(ROUTE))) is None
    assert agreed(LabelledItem()) is None
