"""The gates before routing."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selene.provider.v1.provider_pb2 import CAPABILITY_LLM, CAPABILITY_STT
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT

from servers.routing.gates import (
    Absent,
    Bucket,
    Budget,
    Effect,
    Gate,
    Policy,
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
ALL = Policy.of((ALLOW_ALL,))
STT = Request(tenant_id="acme", domain=DOMAIN_STT, capability=CAPABILITY_STT, cost_micros=600)
LLM = Request(tenant_id="acme", domain=DOMAIN_LLM, capability=CAPABILITY_LLM)
BUDGET = Budget(limit_micros=1000, spent_micros=400)
BUCKET = Bucket(capacity=10.0, refill_per_s=2.0, tokens=1.0, at=100.0)


def asked(passage) -> list[tuple[Gate, bool, str]]:
    return [(verdict.gate, verdict.allowed, verdict.reason) for verdict in passage.verdicts]


def test_the_gates_are_asked_in_their_order_and_charge_what_they_let_through():
    passage = pass_gates(STT, ALL, BUDGET, BUCKET, 100.0)
    assert asked(passage) == [
        (Gate.POLICY, True, "ALLOWED_FOR_ALL"),
        (Gate.COST, True, "COST_WITHIN_BUDGET"),
        (Gate.QUOTA, True, "QUOTA_GRANTED"),
    ]
    assert passage.allowed
    assert passage.budget.left_micros == 0
    assert passage.bucket.tokens == 0


def test_what_comes_after_a_refusal_is_neither_asked_nor_charged():
    by_policy = pass_gates(LLM, Policy.of((ALLOW_ALL, NO_LLM)), BUDGET, BUCKET, 100.0)
    assert asked(by_policy) == [(Gate.POLICY, False, "LLM_NOT_LICENSED")]
    assert (by_policy.allowed, by_policy.budget, by_policy.bucket) == (False, BUDGET, BUCKET)
    poor = Budget(limit_micros=1000, spent_micros=401)
    by_cost = pass_gates(STT, ALL, poor, BUCKET, 100.0)
    assert asked(by_cost)[1:] == [(Gate.COST, False, "COST_BUDGET_EXCEEDED")]
    assert (by_cost.allowed, by_cost.budget, by_cost.bucket) == (False, poor, BUCKET)


def test_a_call_that_quota_refuses_costs_nothing_and_is_told_when_to_come_back():
    empty = Bucket(capacity=10.0, refill_per_s=2.0, tokens=0.0, at=100.0)
    passage = pass_gates(STT, ALL, BUDGET, empty, 100.25)
    assert asked(passage)[2] == (Gate.QUOTA, False, "QUOTA_EXHAUSTED")
    assert passage.verdicts[2].retry_after_s == 0.25
    assert passage.budget == BUDGET


def test_a_gate_that_is_off_passes_and_says_so():
    passage = pass_gates(STT, ALL, Absent.DISABLED, Absent.DISABLED, 100.0)
    assert [reason for _, _, reason in asked(passage)[1:]] == ["COST_DISABLED", "QUOTA_DISABLED"]
    assert passage.allowed


@pytest.mark.parametrize(
    ("policy", "budget", "bucket", "reason"),
    [
        (None, BUDGET, BUCKET, Reason.POLICY_UNKNOWN),
        (Policy.of(()), BUDGET, BUCKET, Reason.POLICY_NO_RULE),
        (ALL, Absent.UNKNOWN, BUCKET, Reason.COST_UNKNOWN),
        (ALL, BUDGET, Absent.UNKNOWN, Reason.QUOTA_UNKNOWN),
    ],
)
def test_a_gate_without_its_facts_fails_closed(policy, budget, bucket, reason):
    passage = pass_gates(STT, policy, budget, bucket, 100.0)
    assert not passage.allowed
    assert passage.verdicts[-1].reason == reason


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_denial_wins_in_any_order(order):
    for_acme = PolicyRule(
        rule_id="acme", effect=Effect.ALLOW, reason="ACME_LLM", tenants=frozenset({"acme"}), domains=NO_LLM.domains
    )
    rules = [ALLOW_ALL, NO_LLM, for_acme]
    verdict = decide_policy(Policy.of(rules[index] for index in order), LLM)
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
    assert decide_policy(Policy.of((rule,)), STT).allowed is matches


NAMES = st.frozensets(st.sampled_from(["a", "b", "c"]), max_size=2)
RULES = st.lists(
    st.builds(
        PolicyRule,
        rule_id=st.text("xyz", min_size=1, max_size=3),
        effect=st.sampled_from(Effect),
        reason=st.just("NAMED"),
        tenants=NAMES,
        domains=st.frozensets(st.sampled_from([DOMAIN_STT, DOMAIN_LLM]), max_size=1),
        capabilities=st.frozensets(st.sampled_from([CAPABILITY_STT, CAPABILITY_LLM]), max_size=1),
        channels=NAMES,
        users=NAMES,
    ),
    max_size=12,
    unique_by=lambda rule: rule.rule_id,
)
REQUESTS = st.builds(
    Request,
    tenant_id=st.sampled_from("abc"),
    domain=st.sampled_from([DOMAIN_STT, DOMAIN_LLM]),
    capability=st.sampled_from([CAPABILITY_STT, CAPABILITY_LLM]),
    channel=st.sampled_from(["", "a", "b"]),
    user_id=st.sampled_from(["", "a", "b"]),
)


def about(rule, request):
    wanted = (rule.tenants, rule.domains, rule.capabilities, rule.channels, rule.users)
    given_ = (request.tenant_id, request.domain, request.capability, request.channel, request.user_id)
    return all(not names or value in names for names, value in zip(wanted, given_, strict=True))


@settings(max_examples=500)
@given(RULES, REQUESTS)
def test_the_rule_that_decides_is_the_one_that_reading_all_of_them_finds(rules, request_):
    applying = sorted((rule for rule in rules if about(rule, request_)), key=lambda rule: rule.rule_id)
    denying = [rule for rule in applying if rule.effect is Effect.DENY]
    verdict = decide_policy(Policy.of(rules), request_)
    if not applying:
        assert (verdict.allowed, verdict.reason) == (False, Reason.POLICY_NO_RULE)
    else:
        assert (verdict.allowed, verdict.rule_id) == (not denying, (denying or applying)[0].rule_id)


def test_a_request_looks_at_rules_about_itself_only():
    looked = []

    class Watched(frozenset):
        def __contains__(self, name):
            looked.append(name)
            return super().__contains__(name)

    of_others = [
        PolicyRule(rule_id=f"u{number}", effect=Effect.DENY, reason="SUSPENDED", users=Watched({f"user-{number}"}))
        for number in range(500)
    ]
    of_channels = [
        PolicyRule(rule_id=f"c{number}", effect=Effect.DENY, reason="CLOSED", channels=Watched({f"way-{number}"}))
        for number in range(500)
    ]
    verdict = decide_policy(Policy.of([ALLOW_ALL, *of_others, *of_channels]), STT)
    assert verdict.rule_id == "allow-all" and looked == []
    mine = Request(tenant_id="acme", domain=DOMAIN_STT, capability=CAPABILITY_STT, user_id="user-7", channel="way-8")
    assert decide_policy(Policy.of([ALLOW_ALL, *of_others, *of_channels]), mine).rule_id == "c8"
    assert len(looked) == 2


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
