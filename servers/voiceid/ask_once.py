"""Ask once who is speaking, and hear the answer once (VID.CONF.9, VID-8): the keys, the scope and the rule. The state
itself is the store's."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from selene.voiceid.v1.voiceid_pb2 import (
    NEXT_ACTION_LOCK_AND_REVIEW,
    NEXT_ACTION_NON_PERSONALIZED,
    NEXT_ACTION_OWNERSHIP_DISPUTE,
    NEXT_ACTION_RE_ENROLL,
    NEXT_ACTION_STEP_UP,
    NextAction,
)
from selene.voiceid.v2.voiceid_pb2 import IDENTITY_TIER_PROBABLE, IDENTITY_TIER_UNKNOWN, IdentityTier

from servers.framing import framed_digest

PROMPTING_TIERS = (IDENTITY_TIER_PROBABLE, IDENTITY_TIER_UNKNOWN)
NOT_ASKED_BESIDE = frozenset(
    {
        NEXT_ACTION_STEP_UP,
        NEXT_ACTION_LOCK_AND_REVIEW,
        NEXT_ACTION_OWNERSHIP_DISPUTE,
        NEXT_ACTION_RE_ENROLL,
        NEXT_ACTION_NON_PERSONALIZED,
    }
)
"""A step-up that the decision itself requires, and what a conflict ends with: a prompt would be one more retry."""


class Prompt(StrEnum):
    """Where a decision stands to its session's identity prompt."""

    NONE = "NONE"
    """Nobody is asked, and no answer is waited for."""
    GRANTED = "GRANTED"
    """Somebody may be asked now, and is then heard once more."""
    ANSWERED = "ANSWERED"
    """This was the retry, and it names somebody."""
    UNANSWERED = "UNANSWERED"
    """The retry named nobody: in this session nobody is asked again."""


@dataclass(frozen=True, slots=True)
class AskOncePolicy:
    """Defaults of VID.CONF.9."""

    max_prompts_per_session: int = 1
    cooldown: timedelta = timedelta(seconds=600)
    max_retries_after_prompt: int = 1


@dataclass(frozen=True, slots=True)
class PromptScope:
    """What the two keys are made of."""

    tenant_id: str
    user_scope_id: str
    device_id: str
    session_id: str
    voice_branch_id: str


def user_scope_id(candidate_user_id: str, device_owner_user_id: str) -> str:
    """`candidate_user_id`, else `device_owner_user_id`, else the device's anonymous scope; an empty string is absent.

    Users carry a prefix, so that nobody can be called what the anonymous scope is called.
    """
    user_id = candidate_user_id or device_owner_user_id
    return f"user:{user_id}" if user_id else "anon_device_scope"


def budget_key(scope: PromptScope) -> bytes:
    """SHA-256 of `identity_prompt_budget_key`: a new session has a new budget."""
    return framed_digest(
        "identity_prompt_budget_key",
        scope.tenant_id,
        scope.user_scope_id,
        scope.device_id,
        scope.session_id,
        scope.voice_branch_id,
    )


def cooldown_key(scope: PromptScope) -> bytes:
    """SHA-256 of `identity_prompt_cooldown_key`: the session is no part of it, so a restart does not end a cooldown."""
    return framed_digest(
        "identity_prompt_cooldown_key", scope.tenant_id, scope.user_scope_id, scope.device_id, scope.voice_branch_id
    )


def eligible(tier: IdentityTier, action: NextAction, *, step_up_pending: bool) -> bool:
    """The part of `may_prompt_identity` that needs no state; budget and cooldown are the store's to claim."""
    return tier in PROMPTING_TIERS and action not in NOT_ASKED_BESIDE and not step_up_pending


def after_retry(retries: int, policy: AskOncePolicy, *, is_named: bool) -> Prompt:
    """Where the decision stands that is the session's `retries`-th since its prompt."""
    return Prompt.ANSWERED if is_named and retries <= policy.max_retries_after_prompt else Prompt.UNANSWERED
