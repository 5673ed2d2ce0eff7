"""What a decision adds to the KPI windows of the rollouts that its stream takes part in (§20, §29).

It is written with the decision, so that a decision that is kept is counted and one that is not leaves nothing. A
candidate in the shadow decides on the same evidence, after the decision that serves, and spends nothing: it would ask
where the ask-once rule lets it and it has not asked in the session before.
"""

from __future__ import annotations

from dataclasses import replace

from selene.governance.v1.rollout_pb2 import ARM_CANDIDATE
from selene.voiceid.v1.voiceid_pb2 import VOICE_ID_REASON_MATCH_HIGH, VOICE_ID_REASON_PACK_PROVISIONAL

from servers.voiceid import ask_once
from servers.voiceid.active_packs import Served
from servers.voiceid.decision import VoiceDecision, decide
from store import Transaction
from store.voiceid import DecidedStream, Observation

ACCEPTING = frozenset({VOICE_ID_REASON_MATCH_HIGH, VOICE_ID_REASON_PACK_PROVISIONAL})
"""At or above the upper limit: a pack that is not proven confirms nobody, and is judged all the same."""


async def observe(
    tx: Transaction,
    stream: DecidedStream,
    decided: VoiceDecision,
    served: Served,
    *,
    may_prompt: bool,
    step_up_pending: bool,
) -> None:
    """Add a kept decision to both sides; the caller audits. StoreUnavailable."""
    if served.held is None or not served.held.sides:
        return
    made = Observation(
        tenant_id=stream.tenant_id,
        rollout_id="",
        stream_id=stream.stream_id,
        arm=ARM_CANDIDATE,
        at=stream.decided_at,
        session_id=stream.session_id,
        cohort=stream.cohort,
        named_user_id=stream.named_user_id,
        accepted=decided.reason in ACCEPTING,
        conflict_state=decided.conflict_state,
        prompt_key=stream.cooldown_key,
        prompted=may_prompt,
        asked=may_prompt,
        latency_us=stream.latency_us,
    )
    found = [replace(made, rollout_id=side.rollout_id, arm=side.arm) for side in served.held.sides]
    for rollout_id, thresholds in served.mirrored:
        decision = decide(replace(decided.situation, thresholds=thresholds))
        would_ask = ask_once.eligible(decision.tier, decision.next_action, step_up_pending=step_up_pending)
        if would_ask:
            asked_before = tx.voiceid.observations.prompted
            would_ask = not await asked_before(stream.tenant_id, rollout_id, ARM_CANDIDATE, stream.session_id)
        mirrored = replace(
            made,
            rollout_id=rollout_id,
            named_user_id=decision.named_user_id,
            accepted=decision.reason in ACCEPTING,
            conflict_state=decision.conflict_state,
            prompted=would_ask,
            asked=would_ask and may_prompt,
            latency_us=None,
        )
        found.append(mirrored)
    await tx.voiceid.observations.add(found)
