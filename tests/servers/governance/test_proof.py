"""The five criteria of §19, each with its block reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from selene.artifacts.v1 import artifacts_pb2 as artifacts
from selene.governance.v1.decision_pb2 import ArtifactRef, ConsumptionReplay, ParserResult, ShadowResult

from servers.governance.proof import CRITERIA, Claim, blocked

CONTENT, REPLAY = b"c" * 32, b"r" * 32
SUBJECT = ArtifactRef(artifact_id="a-2", artifact_type="STT_VOCAB_PACK", artifact_version=2, package_hash=CONTENT)
FIELDS: dict[str, Any] = {
    "artifact_id": "a-2",
    "artifact_type": "STT_VOCAB_PACK",
    "artifact_version": 2,
    "consumer_engine_id": "PH1.C",
    "consumer_capability_id": "stt.vocabulary",
    "apply_plan_hash": b"p" * 32,
    "replay_validation_hash": REPLAY,
    "shadow_eval_result_ref": "shadow://1",
    "rollback_pointer_ref": "STT_VOCAB_PACK@1",
    "gate_bundle_ref": "bundle://1",
}
ACCEPTED = ParserResult(accepted=True, package_hash=CONTENT)
SAFE = ShadowResult(turns=100, safety_events_active=2, safety_events_candidate=2)
GOOD = Claim(
    subject=SUBJECT,
    proof=artifacts.ConsumptionProof(**FIELDS),
    parser=ACCEPTED,
    shadow=SAFE,
    found=ConsumptionReplay(parser=ACCEPTED, replay_hash=REPLAY, shadow=SAFE),
    consumer_known=True,
    expected_replay_hash=REPLAY,
    rollback_pointer_ref="STT_VOCAB_PACK@1",
    rollback_resolves=True,
    gate_bundle_ref="bundle://1",
)


def proving(**fields: Any) -> dict[str, Any]:
    return {"proof": artifacts.ConsumptionProof(**{**FIELDS, **fields})}


def finding(**fields: Any) -> dict[str, Any]:
    """What governance finds itself, whatever the consumer says."""
    return {"found": ConsumptionReplay(**{"parser": ACCEPTED, "replay_hash": REPLAY, "shadow": SAFE, **fields})}


def reason(name: str) -> artifacts.ConsumptionBlockReason:
    return artifacts.ConsumptionBlockReason.Value(f"CONSUMPTION_BLOCK_REASON_{name}")


def test_a_proof_that_holds_is_not_blocked() -> None:
    assert blocked(GOOD) == ()


def test_without_a_proof_every_criterion_fails() -> None:
    assert blocked(Claim(subject=SUBJECT)) == tuple(each for _, each in CRITERIA)


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({"parser": None}, "PROOF_MISSING"),
        ({"parser": ParserResult(accepted=False, package_hash=CONTENT)}, "PROOF_MISSING"),
        ({"parser": ParserResult(accepted=True, package_hash=b"x" * 32)}, "PROOF_MISSING"),
        ({"consumer_known": False}, "PROOF_MISSING"),
        (finding(parser=ParserResult(package_hash=CONTENT, defect="FIELD_INVALID")), "PROOF_MISSING"),
        (finding(parser=ParserResult(accepted=True, package_hash=b"x" * 32)), "PROOF_MISSING"),
        (finding(replay_hash=b"x" * 32), "REPLAY_MISMATCH"),
        (finding(replay_hash=b""), "REPLAY_MISMATCH"),
        ({"expected_replay_hash": b"x" * 32}, "REPLAY_MISMATCH"),
        (finding(shadow=ShadowResult()), "SHADOW_REGRESSION"),
        (finding(shadow=ShadowResult(turns=100, safety_events_candidate=1)), "SHADOW_REGRESSION"),
        (finding(shadow=ShadowResult(turns=100, privacy_leaks=1)), "SHADOW_REGRESSION"),
        (proving(artifact_version=3), "PROOF_MISSING"),
        (proving(artifact_type="STT_ADAPTATION_PROFILE"), "PROOF_MISSING"),
        (proving(artifact_id="a-1"), "PROOF_MISSING"),
        (proving(replay_validation_hash=b"x" * 32), "REPLAY_MISMATCH"),
        ({"expected_replay_hash": b""}, "REPLAY_MISMATCH"),
        ({"shadow": None}, "SHADOW_REGRESSION"),
        ({"shadow": ShadowResult(turns=0)}, "SHADOW_REGRESSION"),
        (
            {"shadow": ShadowResult(turns=100, safety_events_active=2, safety_events_candidate=3)},
            "SHADOW_REGRESSION",
        ),
        ({"shadow": ShadowResult(turns=100, privacy_leaks=1)}, "SHADOW_REGRESSION"),
        (proving(shadow_eval_result_ref=""), "SHADOW_REGRESSION"),
        (proving(rollback_pointer_ref=""), "ROLLBACK_POINTER_MISSING"),
        (proving(rollback_pointer_ref="STT_VOCAB_PACK@9"), "ROLLBACK_POINTER_MISSING"),
        ({"rollback_resolves": False}, "ROLLBACK_POINTER_MISSING"),
        (proving(gate_bundle_ref="bundle://2"), "GATE_BUNDLE_INCOMPLETE"),
        ({"gate_bundle_ref": ""}, "GATE_BUNDLE_INCOMPLETE"),
    ],
)
def test_each_criterion_blocks_by_itself(known: dict[str, Any], name: str) -> None:
    assert blocked(replace(GOOD, **known)) == (reason(name),)


def test_what_governance_did_not_look_at_itself_is_not_proved_and_not_replayed_and_not_run_beside() -> None:
    assert blocked(replace(GOOD, found=None)) == tuple(
        map(reason, ("PROOF_MISSING", "REPLAY_MISMATCH", "SHADOW_REGRESSION"))
    )


@pytest.mark.parametrize("safer", [0, 1, 2])
def test_a_candidate_as_safe_as_the_active_version_or_safer_passes(safer: int) -> None:
    shadow = ShadowResult(turns=100, safety_events_active=2, safety_events_candidate=safer)
    assert blocked(replace(GOOD, shadow=shadow)) == ()
