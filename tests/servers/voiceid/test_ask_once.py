"""Ask once: keys and rule."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.voiceid.ask_once import (
    AskOncePolicy,
    Prompt,
    PromptScope,
    after_retry,
    budget_key,
    cooldown_key,
    eligible,
    user_scope_id,
)

SCOPE = PromptScope("acme", "user:ann", "phone", "s1", "BR-01")
TEXT = st.text(max_size=6)
SCOPES = st.builds(PromptScope, TEXT, TEXT, TEXT, TEXT, TEXT)


def test_the_defaults_are_those_of_the_source():
    policy = AskOncePolicy()
    assert policy.max_prompts_per_session == 1
    assert policy.cooldown == timedelta(minutes=10)
    assert policy.max_retries_after_prompt == 1


@pytest.mark.parametrize("step_up_pending", [False, True])
@pytest.mark.parametrize("tier", [*v2.IdentityTier.values(), 9])
def test_only_who_is_not_confirmed_is_asked_and_not_beside_a_step_up(tier, step_up_pending):
    asks = tier in (v2.IDENTITY_TIER_PROBABLE, v2.IDENTITY_TIER_UNKNOWN) and not step_up_pending
    assert eligible(tier, v1.NEXT_ACTION_PROCEED_GENERIC, step_up_pending=step_up_pending) == asks


@pytest.mark.parametrize("action", v1.NextAction.values())
def test_nobody_is_asked_where_the_decision_requires_a_step_up_or_ends_a_conflict(action):
    never = {
        v1.NEXT_ACTION_STEP_UP,
        v1.NEXT_ACTION_LOCK_AND_REVIEW,
        v1.NEXT_ACTION_OWNERSHIP_DISPUTE,
        v1.NEXT_ACTION_RE_ENROLL,
        v1.NEXT_ACTION_NON_PERSONALIZED,
    }
    assert eligible(v2.IDENTITY_TIER_UNKNOWN, action, step_up_pending=False) == (action not in never)


@pytest.mark.parametrize(
    ("retries", "is_named", "stands"),
    [(1, True, Prompt.ANSWERED), (1, False, Prompt.UNANSWERED), (2, True, Prompt.UNANSWERED)],
)
def test_a_prompt_is_answered_by_its_one_retry_alone(retries, is_named, stands):
    assert after_retry(retries, AskOncePolicy(), is_named=is_named) is stands


@pytest.mark.parametrize(
    ("candidate", "owner", "scope"),
    [
        ("ann", "bob", "user:ann"),
        ("", "bob", "user:bob"),
        ("", "", "anon_device_scope"),
        ("anon_device_scope", "", "user:anon_device_scope"),
    ],
)
def test_the_user_scope_resolves_candidate_then_owner_then_device(candidate, owner, scope):
    assert user_scope_id(candidate, owner) == scope


@pytest.mark.parametrize("field", ["tenant_id", "user_scope_id", "device_id", "session_id", "voice_branch_id"])
def test_every_field_is_part_of_the_keys_but_the_session_of_the_cooldown(field):
    other = replace(SCOPE, **{field: "other"})
    assert budget_key(other) != budget_key(SCOPE)
    assert (cooldown_key(other) == cooldown_key(SCOPE)) == (field == "session_id")


@given(SCOPES, SCOPES)
def test_two_scopes_share_a_budget_only_when_they_are_the_same(a, b):
    assert (budget_key(a) == budget_key(b)) == (a == b)
    assert budget_key(a) != cooldown_key(a)


def test_moving_a_letter_between_fields_changes_the_key():
    assert budget_key(replace(SCOPE, device_id="ab", session_id="c")) != budget_key(
        replace(SCOPE, device_id="a", session_id="bc")
    )
