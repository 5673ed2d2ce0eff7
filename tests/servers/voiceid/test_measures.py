"""What a decision and its confirmation count as (§38.1), by table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from selene.governance.v1 import rollout_pb2 as v1

from servers.kpi_windows import Span, Tallies
from servers.voiceid.measures import measure
from store.voiceid import Observation

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = Span(v1.ROLLOUT_STAGE_CANARY_1, NOW, NOW + timedelta(hours=1))
DECIDED = Observation(
    tenant_id="t1",
    rollout_id="r1",
    stream_id="s1",
    arm=v1.ARM_CANDIDATE,
    at=NOW,
    session_id="one",
    cohort={"language": "en", "accent_band": "", "device_class": "", "noise_class": ""},
    named_user_id="ann",
    accepted=True,
    conflict_state=0,
    prompt_key=b"key",
    prompted=False,
    asked=False,
    latency_us=20_000,
)
UNKNOWN: dict[str, Any] = {"named_user_id": "", "accepted": False}
PROBABLE: dict[str, Any] = {"accepted": False}

Counts = dict[str, tuple[int, int]]


def counts(
    *observed: Observation,
    sessions: frozenset[tuple[v1.Arm, str]] = frozenset(),
    prompts: frozenset[tuple[v1.Arm, str, bytes]] = frozenset(),
    cohort: str = "",
) -> Counts:
    tallies = Tallies([SPAN])
    measure(observed, tallies, sessions, prompts)
    [window] = [each for _, each in tallies.windows() if (each.arm, each.cohort) == (v1.ARM_CANDIDATE, cohort)]
    return {
        v1.KpiMetric.Name(count.metric).removeprefix("KPI_METRIC_"): (count.numerator, count.denominator)
        for count in window.counts
    }


@pytest.mark.parametrize(
    ("decision", "speaker", "false_rejects", "false_accepts"),
    [
        ({}, "ann", (0, 1), None),
        (PROBABLE, "ann", (1, 1), None),
        (UNKNOWN, "ann", (1, 1), None),
        ({}, "bob", (1, 1), (1, 1)),
        (PROBABLE, "bob", (1, 1), None),
        ({}, "", None, (1, 1)),
        (PROBABLE, "", None, (0, 1)),
        (UNKNOWN, "", None, (0, 1)),
    ],
)
def test_a_confirmation_says_whether_the_decision_was_right(
    decision: dict[str, Any],
    speaker: str,
    false_rejects: tuple[int, int] | None,
    false_accepts: tuple[int, int] | None,
) -> None:
    found = counts(replace(DECIDED, is_confirmed=True, speaker_user_id=speaker, **decision))
    assert (found.get("FALSE_REJECTS"), found.get("FALSE_ACCEPTS")) == (false_rejects, false_accepts)


def test_a_decision_that_nobody_confirmed_is_in_no_rate_of_errors() -> None:
    assert counts(DECIDED) == {"REJECTS": (0, 1), "IDENTITY_PROMPTS": (0, 1), "IDENTITY_CONFLICTS": (0, 1)}


def test_who_is_not_named_is_rejected_and_who_is_probable_is_not() -> None:
    assert counts(replace(DECIDED, **UNKNOWN), replace(DECIDED, **PROBABLE))["REJECTS"] == (1, 2)


@pytest.mark.parametrize(
    ("earlier_sessions", "earlier_prompts", "prompts", "repeated"),
    [
        (frozenset(), frozenset(), (2, 1), (1, 2)),
        (frozenset({(v1.ARM_CANDIDATE, "one")}), frozenset(), (2, 0), (1, 2)),
        (frozenset({(v1.ARM_BASELINE, "one")}), frozenset(), (2, 1), (1, 2)),
        (
            frozenset({(v1.ARM_CANDIDATE, "one")}),
            frozenset({(v1.ARM_CANDIDATE, "one", b"key")}),
            (2, 0),
            (2, 2),
        ),
    ],
)
def test_a_prompt_that_comes_again_in_a_session_is_a_violation(
    earlier_sessions: frozenset[tuple[v1.Arm, str]],
    earlier_prompts: frozenset[tuple[v1.Arm, str, bytes]],
    prompts: tuple[int, int],
    repeated: tuple[int, int],
) -> None:
    asking = replace(DECIDED, prompted=True, asked=True)
    found = counts(asking, replace(asking, stream_id="s2"), sessions=earlier_sessions, prompts=earlier_prompts)
    assert (found["IDENTITY_PROMPTS"], found["REPEAT_PROMPT_VIOLATIONS"]) == (prompts, repeated)


def test_another_session_and_another_person_may_be_asked_once_each() -> None:
    asking = replace(DECIDED, prompted=True, asked=True)
    found = counts(asking, replace(asking, session_id="two"), replace(asking, prompt_key=b"other"))
    assert found["REPEAT_PROMPT_VIOLATIONS"] == (0, 3)


def test_only_who_was_asked_can_have_answered() -> None:
    would_ask = replace(DECIDED, prompted=True, asked=False)
    answered: dict[str, Any] = {"is_confirmed": True, "speaker_user_id": "ann"}
    assert "PROMPT_CONFIRMATIONS" not in counts(would_ask, replace(would_ask, **answered))
    asked = replace(would_ask, asked=True)
    assert counts(asked, replace(asked, **answered))["PROMPT_CONFIRMATIONS"] == (1, 1)


def test_conflicts_are_counted() -> None:
    assert counts(DECIDED, replace(DECIDED, conflict_state=2))["IDENTITY_CONFLICTS"] == (1, 2)


def test_a_cohort_is_counted_where_it_is_known() -> None:
    assert counts(DECIDED, cohort="language:en") == counts(DECIDED)


@pytest.mark.parametrize(
    ("decision", "conflicts"),
    [
        ({}, 0),
        ({"conflict_state": 1}, 1),
        ({"conflict_state": 1, **UNKNOWN}, 0),
        ({"conflict_state": 2, **PROBABLE}, 1),
    ],
)
def test_whoever_is_named_in_a_conflict_is_a_conflict_with_safety(decision: dict[str, Any], conflicts: int) -> None:
    tallies = Tallies([SPAN])
    measure([replace(DECIDED, **decision)], tallies, frozenset(), frozenset())
    found = {(each.arm, each.cohort): each.safety.safety_conflicts for _, each in tallies.windows()}
    assert found[v1.ARM_CANDIDATE, ""] == conflicts
    assert found[v1.ARM_BASELINE, ""] == 0
