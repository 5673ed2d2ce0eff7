"""Ask once who is speaking (VID.CONF.9, VID-8): the keys, the scope and the rule. The state itself is the store's."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from selene.voiceid.v2.voiceid_pb2 import IDENTITY_TIER_PROBABLE, IDENTITY_TIER_UNKNOWN, IdentityTier

PROMPTING_TIERS = (IDENTITY_TIER_PROBABLE, IDENTITY_TIER_UNKNOWN)


@dataclass(frozen=True, slots=True)
class AskOncePolicy:
    """Defaults of VID.CONF.9."""

    max_prompts_per_session: int = 1
    cooldown: timedelta = timedelta(seconds=600)


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
    return _hash(
        "identity_prompt_budget_key",
        scope.tenant_id,
        scope.user_scope_id,
        scope.device_id,
        scope.session_id,
        scope.voice_branch_id,
    )


def cooldown_key(scope: PromptScope) -> bytes:
    """SHA-256 of `identity_prompt_cooldown_key`: the session is no part of it, so a restart does not end a cooldown."""
    return _hash(
        "identity_prompt_cooldown_key", scope.tenant_id, scope.user_scope_id, scope.device_id, scope.voice_branch_id
    )


def eligible(tier: IdentityTier, *, step_up_pending: bool) -> bool:
    """The part of `may_prompt_identity` that needs no state; budget and cooldown are the store's to claim."""
    return tier in PROMPTING_TIERS and not step_up_pending


def _hash(*parts: str) -> bytes:
    """ALL-4: every part behind its length, so that no two lists of parts read the same."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()
