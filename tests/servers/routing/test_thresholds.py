"""Thresholds as values."""

import pytest
from selene.routing.v1 import routing_pb2 as v1

from servers.routing.defaults import DEFAULTS
from servers.routing.thresholds import Reading, Threshold, held, policy_message, policy_of


@pytest.mark.parametrize("domain", DEFAULTS)
def test_a_policy_survives_its_message(domain):
    policy = DEFAULTS[domain].policy
    assert policy_of(policy_message(policy)) == policy


@pytest.mark.parametrize(
    ("comparison", "answers"),
    [
        (v1.COMPARISON_AT_LEAST, [False, True, True]),
        (v1.COMPARISON_MORE_THAN, [False, False, True]),
        (v1.COMPARISON_LESS_THAN, [True, False, False]),
        (v1.COMPARISON_EQUAL, [False, True, False]),
        (v1.COMPARISON_UNSPECIFIED, [None, None, None]),
        (99, [None, None, None]),
    ],
)
def test_a_comparison_is_as_its_name_says(comparison, answers):
    threshold = Threshold(v1.MEASURE_ERROR_RATE_60S, comparison, 500, 1, 1)
    assert [held(threshold, Reading(value, 1)) for value in (499, 500, 501)] == answers


def test_fewer_calls_than_wanted_say_nothing():
    threshold = Threshold(v1.MEASURE_ERROR_RATE_60S, v1.COMPARISON_AT_LEAST, 500, 1, 10)
    assert held(threshold, Reading(9999, 9)) is None
    assert held(threshold, None) is None
