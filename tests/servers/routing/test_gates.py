"""The gates before routing."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.provider.v1.provider_pb2 import CAPABILITY_LLM, CAPABILITY_STT
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT

from servers.routing.gates import (
    Absent,
    Bucket,
    Budget,
    Effect,
    Gate,
    PolicyRule,
    Reason,
    Request,
    decide_cost,
    decide_policy,
    pass_gates,
    settle_cost,
    take,
)

ALLOW_ALL = PolicyRule(rule_id="allow-all", effect=Effect.ALLOW, reason="ALLOWED_FOR_ALL")
NO_LLM = PolicyRule(rule_id="no-llm", effect=Effect.DENY, reason="LLM_NOT_LICENSED", domains=frozenset({DOMAIN_LLM}))
STT = Request(tenant_id="acme", domain=DOMAIN_STT, capability=CAPABILITY_STT, cost_micros=600)
LLM = Request(tenant_id="acme", domain=DOMAIN_LLM, capability=CAPABILITY_LLM)
BUDGET = Budget(limit_micros=1000, spent_micros=400)
BUCKET = Bucket(capacity=10.0, refill_per_s=2.0, tokens=1.0, at=100.0)


def asked(passage) -> list[tuple[Gate, bool, str]]:
    return [(verdict.gate, verdict.allowed, verdict.reason) for verdict in passage.verdicts]


def test_the_gates_are_asked_in_their_order_and_charge_what_they_let_through():
    passage = pass_gates(STT, (ALLOW_ALL,), BUDGET, BUCKET, 100.0)
    assert asked(passage) == [
        (Gate.POLICY, True, "ALLOWED_FOR_ALL"),
        (Gate.COST, True, "COST_WITHIN_BUDGET"),
        (Gate.QUOTA, True, "QUOTA_GRANTED"),
    ]
    assert passage.allowed
    assert passage.budget.left_micros == 0
    assert passage.bucket.tokens == 0


def test_what_comes_after_a_refusal_is_neither_asked_nor_charged():
    by_policy = pass_gates(LLM, (ALLOW_ALL, NO_LLM), BUDGET, BUCKET, 100.0)
    assert asked(by_policy) == [(Gate.POLICY, False, "LLM_NOT_LICENSED")]
    assert (by_policy.allowed, by_policy.budget, by_policy.bucket) == (False, BUDGET, BUCKET)
    poor = Budget(limit_micros=1000, spent_micros=401)
    by_cost = pass_gates(STT, (ALLOW_ALL,), poor, BUCKET, 100.0)
    assert asked(by_cost)[1:] == [(Gate.COST, False, "COST_BUDGET_EXCEEDED")]
    assert (by_cost.allowed, by_cost.budget, by_cost.bucket) == (False, poor, BUCKET)


def test_a_call_that_quota_refuses_costs_nothing_and_is_told_when_to_come_back():
    empty = Bucket(capacity=10.0, refill_per_s=2.0, tokens=0.0, at=100.0)
    passage = pass_gates(STT, (ALLOW_ALL,), BUDGET, empty, 100.25)
    assert asked(passage)[2] == (Gate.QUOTA, False, "QUOTA_EXHAUSTED")
    assert passage.verdicts[2].retry_after_s == 0.25
    assert passage.budget == BUDGET


def test_a_gate_that_is_off_passes_and_says_so():
    passage = pass_gates(STT, (ALLOW_ALL,), Absent.DISABLED, Absent.DISABLED, 100.0)
    assert [reason for _, _, reason in asked(passage)[1:]] == ["COST_DISABLED", "QUOTA_DISABLED"]
    assert passage.allowed


@pytest.mark.parametrize(
    ("rules", "budget", "bucket", "reason"),
    [
        (None, BUDGET, BUCKET, Reason.POLICY_UNKNOWN),
        ((), BUDGET, BUCKET, Reason.POLICY_NO_RULE),
        ((ALLOW_ALL,), Absent.UNKNOWN, BUCKET, Reason.COST_UNKNOWN),
        ((ALLOW_ALL,), BUDGET, Absent.UNKNOWN, Reason.QUOTA_UNKNOWN),
    ],
)
def test_a_gate_without_its_facts_fails_closed(rules, budget, bucket, reason):
    passage = pass_gates(STT, rules, budget, bucket, 100.0)
    assert not passage.allowed
    assert passage.verdicts[-1].reason == reason


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_denial_wins_in_any_order(order):
    for_acme = PolicyRule(
        rule_id="acme", effect=Effect.ALLOW, reason="ACME_LLM", tenants=frozenset({"acme"}), domains=NO_LLM.domains
    )
    rules = [ALLOW_ALL, NO_LLM, for_acme]
    verdict = decide_policy(tuple(rules[index] for index in order), LLM)
    assert (verdict.allowed, verdict.rule_id) == (False, "no-llm")


@pytest.mark.parametrize(
    ("narrowed", "matches"),
    [
        ({"tenants": frozenset({"acme"})}, True),
        ({"tenants": frozenset({"other"})}, False),
        ({"domains": frozenset({DOMAIN_LLM})}, False),
        ({"capabilities": frozenset({CAPABILITY_STT})}, True),
        ({"channels": frozenset({"ios"})}, False),
        ({"users": frozenset({"ann"})}, False),
    ],
)
def test_a_rule_is_about_what_it_names(narrowed, matches):
    rule = PolicyRule(rule_id="r", effect=Effect.ALLOW, reason="NAMED", **narrowed)
    assert decide_policy((rule,), STT).allowed is matches


def test_a_reservation_becomes_what_the_call_really_cost():
    reserved, _ = decide_cost(BUDGET, 600)
    assert settle_cost(reserved, 600, 250) == Budget(limit_micros=1000, spent_micros=650)
    assert settle_cost(reserved, 600, 0) == BUDGET
    assert settle_cost(BUDGET, 600, 0) == BUDGET


def test_a_negative_estimate_does_not_earn_money():
    budget, verdict = decide_cost(BUDGET, -1)
    assert (budget, verdict.allowed, verdict.reason) == (BUDGET, False, "COST_ESTIMATE_INVALID")


@pytest.mark.parametrize("tokens", [10.5, -1.0, math.nan])
def test_a_bucket_that_never_holds_so_much_says_never(tokens):
    assert take(BUCKET, 100.0, tokens)[1] is None


def test_a_bucket_that_does_not_refill_says_never():
    dry = Bucket(capacity=10.0, refill_per_s=0.0, tokens=1.0, at=0.0)
    assert take(dry, 100.0, 2.0)[1] is None


def test_a_bucket_fills_to_its_capacity_and_no_further():
    assert take(BUCKET, 1e9, 0.0)[0].tokens == 10.0


def test_a_clock_that_differs_a_little_does_not_fill_a_bucket_twice():
    bucket, _ = take(BUCKET, 101.0, 0.0)
    bucket, _ = take(bucket, 100.5, 0.0)
    assert take(bucket, 101.0, 0.0)[0].tokens == 3.0


def test_a_bucket_fills_again_after_a_clock_was_set_back():
    bucket, _ = take(BUCKET, 10.0, 1.0)
    assert bucket.tokens == 0.0
    assert take(bucket, 11.0, 2.0) == (Bucket(capacity=10.0, refill_per_s=2.0, tokens=0.0, at=11.0), 0.0)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 10)), max_size=60))
def test_a_bucket_never_grants_more_than_it_held_and_refilled(steps):
    bucket, now, granted = BUCKET, 100.0, 0
    for quarter_seconds, tokens in steps:
        now += quarter_seconds / 4
        bucket, retry_after_s = take(bucket, now, tokens)
        granted += tokens if retry_after_s == 0 else 0
        if retry_after_s:
            assert take(bucket, now + retry_after_s + 1e-6, tokens)[1] == 0
    assert granted <= 1.0 + 2.0 * (now - 100.0)
