import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.artifacts.v1 import artifacts_pb2 as _artifacts_pb2
from selene.common.v1 import scope_pb2 as _scope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecisionAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_ACTION_UNSPECIFIED: _ClassVar[DecisionAction]
    DECISION_ACTION_ACTIVATE: _ClassVar[DecisionAction]
    DECISION_ACTION_PROMOTE: _ClassVar[DecisionAction]
    DECISION_ACTION_ROLLBACK: _ClassVar[DecisionAction]

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_ALLOW: _ClassVar[Decision]
    DECISION_HOLD: _ClassVar[Decision]
    DECISION_BLOCK: _ClassVar[Decision]
    DECISION_ROLLBACK: _ClassVar[Decision]

class DecisionReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_REASON_UNSPECIFIED: _ClassVar[DecisionReason]
    DECISION_REASON_GATES_PASSED: _ClassVar[DecisionReason]
    DECISION_REASON_POLICY_VIOLATION: _ClassVar[DecisionReason]
    DECISION_REASON_PRIVACY_VIOLATION: _ClassVar[DecisionReason]
    DECISION_REASON_CONSENT_INACTIVE: _ClassVar[DecisionReason]
    DECISION_REASON_TENANT_SCOPE_UNVERIFIED: _ClassVar[DecisionReason]
    DECISION_REASON_COHORT_GATE_FAILED: _ClassVar[DecisionReason]
    DECISION_REASON_STABILITY_WINDOW_NOT_MET: _ClassVar[DecisionReason]
    DECISION_REASON_CONSENT_REVOKED: _ClassVar[DecisionReason]
    DECISION_REASON_REVOCATION_SLA_MISSED: _ClassVar[DecisionReason]
    DECISION_REASON_ROLLBACK_POINTER_MISSING: _ClassVar[DecisionReason]
    DECISION_REASON_NO_CONSUMER: _ClassVar[DecisionReason]
    DECISION_REASON_OPERATOR_REQUEST: _ClassVar[DecisionReason]
    DECISION_REASON_JUDGE_ROLLBACK: _ClassVar[DecisionReason]
    DECISION_REASON_BASELINE_REPLACED: _ClassVar[DecisionReason]
    DECISION_REASON_FROZEN_SET_MISSING: _ClassVar[DecisionReason]
    DECISION_REASON_FROZEN_SET_LEAKED: _ClassVar[DecisionReason]
    DECISION_REASON_FROZEN_SET_REGRESSION: _ClassVar[DecisionReason]
    DECISION_REASON_CONFUSION_NOT_REDUCED: _ClassVar[DecisionReason]
    DECISION_REASON_SAFETY_DEFECT_OPEN: _ClassVar[DecisionReason]

class ApprovalKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPROVAL_KIND_UNSPECIFIED: _ClassVar[ApprovalKind]
    APPROVAL_KIND_CODE: _ClassVar[ApprovalKind]
    APPROVAL_KIND_LAUNCH: _ClassVar[ApprovalKind]
    APPROVAL_KIND_POLICY: _ClassVar[ApprovalKind]
    APPROVAL_KIND_PRIVACY: _ClassVar[ApprovalKind]

class Gate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GATE_UNSPECIFIED: _ClassVar[Gate]
    GATE_GOVERNANCE: _ClassVar[Gate]
    GATE_LEARNING_BRIDGE: _ClassVar[Gate]
    GATE_CODE_APPROVAL: _ClassVar[Gate]
    GATE_LAUNCH_APPROVAL: _ClassVar[Gate]
    GATE_RELEASE: _ClassVar[Gate]
    GATE_CONSUMPTION_PROOF: _ClassVar[Gate]
DECISION_ACTION_UNSPECIFIED: DecisionAction
DECISION_ACTION_ACTIVATE: DecisionAction
DECISION_ACTION_PROMOTE: DecisionAction
DECISION_ACTION_ROLLBACK: DecisionAction
DECISION_UNSPECIFIED: Decision
DECISION_ALLOW: Decision
DECISION_HOLD: Decision
DECISION_BLOCK: Decision
DECISION_ROLLBACK: Decision
DECISION_REASON_UNSPECIFIED: DecisionReason
DECISION_REASON_GATES_PASSED: DecisionReason
DECISION_REASON_POLICY_VIOLATION: DecisionReason
DECISION_REASON_PRIVACY_VIOLATION: DecisionReason
DECISION_REASON_CONSENT_INACTIVE: DecisionReason
DECISION_REASON_TENANT_SCOPE_UNVERIFIED: DecisionReason
DECISION_REASON_COHORT_GATE_FAILED: DecisionReason
DECISION_REASON_STABILITY_WINDOW_NOT_MET: DecisionReason
DECISION_REASON_CONSENT_REVOKED: DecisionReason
DECISION_REASON_REVOCATION_SLA_MISSED: DecisionReason
DECISION_REASON_ROLLBACK_POINTER_MISSING: DecisionReason
DECISION_REASON_NO_CONSUMER: DecisionReason
DECISION_REASON_OPERATOR_REQUEST: DecisionReason
DECISION_REASON_JUDGE_ROLLBACK: DecisionReason
DECISION_REASON_BASELINE_REPLACED: DecisionReason
DECISION_REASON_FROZEN_SET_MISSING: DecisionReason
DECISION_REASON_FROZEN_SET_LEAKED: DecisionReason
DECISION_REASON_FROZEN_SET_REGRESSION: DecisionReason
DECISION_REASON_CONFUSION_NOT_REDUCED: DecisionReason
DECISION_REASON_SAFETY_DEFECT_OPEN: DecisionReason
APPROVAL_KIND_UNSPECIFIED: ApprovalKind
APPROVAL_KIND_CODE: ApprovalKind
APPROVAL_KIND_LAUNCH: ApprovalKind
APPROVAL_KIND_POLICY: ApprovalKind
APPROVAL_KIND_PRIVACY: ApprovalKind
GATE_UNSPECIFIED: Gate
GATE_GOVERNANCE: Gate
GATE_LEARNING_BRIDGE: Gate
GATE_CODE_APPROVAL: Gate
GATE_LAUNCH_APPROVAL: Gate
GATE_RELEASE: Gate
GATE_CONSUMPTION_PROOF: Gate

class ArtifactRef(_message.Message):
    __slots__ = ("artifact_id", "artifact_type", "artifact_version", "scope", "package_hash")
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_HASH_FIELD_NUMBER: _ClassVar[int]
    artifact_id: str
    artifact_type: str
    artifact_version: int
    scope: _scope_pb2.Scope
    package_hash: bytes
    def __init__(self, artifact_id: _Optional[str] = ..., artifact_type: _Optional[str] = ..., artifact_version: _Optional[int] = ..., scope: _Optional[_Union[_scope_pb2.Scope, _Mapping]] = ..., package_hash: _Optional[bytes] = ...) -> None: ...

class SignedStatement(_message.Message):
    __slots__ = ("payload_type", "payload", "signature", "signing_key_id")
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    payload_type: str
    payload: bytes
    signature: bytes
    signing_key_id: str
    def __init__(self, payload_type: _Optional[str] = ..., payload: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., signing_key_id: _Optional[str] = ...) -> None: ...

class DecisionStatement(_message.Message):
    __slots__ = ("decision_id", "tenant_id", "subject", "action", "decision", "reasons", "evidence_hash", "decided_at", "actor", "open_defects")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_HASH_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    OPEN_DEFECTS_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    tenant_id: str
    subject: ArtifactRef
    action: DecisionAction
    decision: Decision
    reasons: _containers.RepeatedScalarFieldContainer[DecisionReason]
    evidence_hash: bytes
    decided_at: _timestamp_pb2.Timestamp
    actor: str
    open_defects: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, decision_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., subject: _Optional[_Union[ArtifactRef, _Mapping]] = ..., action: _Optional[_Union[DecisionAction, str]] = ..., decision: _Optional[_Union[Decision, str]] = ..., reasons: _Optional[_Iterable[_Union[DecisionReason, str]]] = ..., evidence_hash: _Optional[bytes] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., open_defects: _Optional[_Iterable[str]] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("passed", "evidence_ref")
    PASSED_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_REF_FIELD_NUMBER: _ClassVar[int]
    passed: bool
    evidence_ref: str
    def __init__(self, passed: bool = ..., evidence_ref: _Optional[str] = ...) -> None: ...

class CohortResult(_message.Message):
    __slots__ = ("cohort", "genuine_trials", "false_rejects", "impostor_trials", "false_accepts")
    COHORT_FIELD_NUMBER: _ClassVar[int]
    GENUINE_TRIALS_FIELD_NUMBER: _ClassVar[int]
    FALSE_REJECTS_FIELD_NUMBER: _ClassVar[int]
    IMPOSTOR_TRIALS_FIELD_NUMBER: _ClassVar[int]
    FALSE_ACCEPTS_FIELD_NUMBER: _ClassVar[int]
    cohort: str
    genuine_trials: int
    false_rejects: int
    impostor_trials: int
    false_accepts: int
    def __init__(self, cohort: _Optional[str] = ..., genuine_trials: _Optional[int] = ..., false_rejects: _Optional[int] = ..., impostor_trials: _Optional[int] = ..., false_accepts: _Optional[int] = ...) -> None: ...

class DecisionEvidence(_message.Message):
    __slots__ = ("policy", "privacy", "required_cohorts", "cohort_results", "evaluation_ref")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_COHORTS_FIELD_NUMBER: _ClassVar[int]
    COHORT_RESULTS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_REF_FIELD_NUMBER: _ClassVar[int]
    policy: Check
    privacy: Check
    required_cohorts: _containers.RepeatedScalarFieldContainer[str]
    cohort_results: _containers.RepeatedCompositeFieldContainer[CohortResult]
    evaluation_ref: str
    def __init__(self, policy: _Optional[_Union[Check, _Mapping]] = ..., privacy: _Optional[_Union[Check, _Mapping]] = ..., required_cohorts: _Optional[_Iterable[str]] = ..., cohort_results: _Optional[_Iterable[_Union[CohortResult, _Mapping]]] = ..., evaluation_ref: _Optional[str] = ...) -> None: ...

class GovernanceDecision(_message.Message):
    __slots__ = ("statement", "signed")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    statement: DecisionStatement
    signed: SignedStatement
    def __init__(self, statement: _Optional[_Union[DecisionStatement, _Mapping]] = ..., signed: _Optional[_Union[SignedStatement, _Mapping]] = ...) -> None: ...

class ApprovalStatement(_message.Message):
    __slots__ = ("approval_id", "tenant_id", "subject", "kind", "approver", "approved_at")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    APPROVED_AT_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    tenant_id: str
    subject: ArtifactRef
    kind: ApprovalKind
    approver: str
    approved_at: _timestamp_pb2.Timestamp
    def __init__(self, approval_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., subject: _Optional[_Union[ArtifactRef, _Mapping]] = ..., kind: _Optional[_Union[ApprovalKind, str]] = ..., approver: _Optional[str] = ..., approved_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("statement", "signed")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    statement: ApprovalStatement
    signed: SignedStatement
    def __init__(self, statement: _Optional[_Union[ApprovalStatement, _Mapping]] = ..., signed: _Optional[_Union[SignedStatement, _Mapping]] = ...) -> None: ...

class VerificationSuite(_message.Message):
    __slots__ = ("contract_tests", "replay_tests", "calibration_checks", "conflict_state_tests", "failover_simulations", "secret_leak_tests")
    CONTRACT_TESTS_FIELD_NUMBER: _ClassVar[int]
    REPLAY_TESTS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_CHECKS_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_STATE_TESTS_FIELD_NUMBER: _ClassVar[int]
    FAILOVER_SIMULATIONS_FIELD_NUMBER: _ClassVar[int]
    SECRET_LEAK_TESTS_FIELD_NUMBER: _ClassVar[int]
    contract_tests: Check
    replay_tests: Check
    calibration_checks: Check
    conflict_state_tests: Check
    failover_simulations: Check
    secret_leak_tests: Check
    def __init__(self, contract_tests: _Optional[_Union[Check, _Mapping]] = ..., replay_tests: _Optional[_Union[Check, _Mapping]] = ..., calibration_checks: _Optional[_Union[Check, _Mapping]] = ..., conflict_state_tests: _Optional[_Union[Check, _Mapping]] = ..., failover_simulations: _Optional[_Union[Check, _Mapping]] = ..., secret_leak_tests: _Optional[_Union[Check, _Mapping]] = ...) -> None: ...

class BuilderReport(_message.Message):
    __slots__ = ("report_id", "source_engines", "signal_count", "evidence_refs", "release_candidate", "verification", "expected_replay_hash")
    REPORT_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ENGINES_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_REFS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REPLAY_HASH_FIELD_NUMBER: _ClassVar[int]
    report_id: str
    source_engines: _containers.RepeatedScalarFieldContainer[str]
    signal_count: int
    evidence_refs: _containers.RepeatedScalarFieldContainer[str]
    release_candidate: str
    verification: VerificationSuite
    expected_replay_hash: bytes
    def __init__(self, report_id: _Optional[str] = ..., source_engines: _Optional[_Iterable[str]] = ..., signal_count: _Optional[int] = ..., evidence_refs: _Optional[_Iterable[str]] = ..., release_candidate: _Optional[str] = ..., verification: _Optional[_Union[VerificationSuite, _Mapping]] = ..., expected_replay_hash: _Optional[bytes] = ...) -> None: ...

class GateBundle(_message.Message):
    __slots__ = ("tenant_id", "subject", "decision", "builder_report", "approvals", "missing")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    BUILDER_REPORT_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    subject: ArtifactRef
    decision: GovernanceDecision
    builder_report: BuilderReport
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    missing: _containers.RepeatedScalarFieldContainer[Gate]
    def __init__(self, tenant_id: _Optional[str] = ..., subject: _Optional[_Union[ArtifactRef, _Mapping]] = ..., decision: _Optional[_Union[GovernanceDecision, _Mapping]] = ..., builder_report: _Optional[_Union[BuilderReport, _Mapping]] = ..., approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ..., missing: _Optional[_Iterable[_Union[Gate, str]]] = ...) -> None: ...

class GateBundleStatement(_message.Message):
    __slots__ = ("tenant_id", "subject", "bundle_hash", "completed_at")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_HASH_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    subject: ArtifactRef
    bundle_hash: bytes
    completed_at: _timestamp_pb2.Timestamp
    def __init__(self, tenant_id: _Optional[str] = ..., subject: _Optional[_Union[ArtifactRef, _Mapping]] = ..., bundle_hash: _Optional[bytes] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ParserResult(_message.Message):
    __slots__ = ("accepted", "package_hash", "defect")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_HASH_FIELD_NUMBER: _ClassVar[int]
    DEFECT_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    package_hash: bytes
    defect: str
    def __init__(self, accepted: bool = ..., package_hash: _Optional[bytes] = ..., defect: _Optional[str] = ...) -> None: ...

class ShadowResult(_message.Message):
    __slots__ = ("turns", "safety_events_active", "safety_events_candidate", "privacy_leaks")
    TURNS_FIELD_NUMBER: _ClassVar[int]
    SAFETY_EVENTS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    SAFETY_EVENTS_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_LEAKS_FIELD_NUMBER: _ClassVar[int]
    turns: int
    safety_events_active: int
    safety_events_candidate: int
    privacy_leaks: int
    def __init__(self, turns: _Optional[int] = ..., safety_events_active: _Optional[int] = ..., safety_events_candidate: _Optional[int] = ..., privacy_leaks: _Optional[int] = ...) -> None: ...

class ConsumptionReplay(_message.Message):
    __slots__ = ("parser", "replay_hash", "shadow", "beside_version", "evidence_refs")
    PARSER_FIELD_NUMBER: _ClassVar[int]
    REPLAY_HASH_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    BESIDE_VERSION_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_REFS_FIELD_NUMBER: _ClassVar[int]
    parser: ParserResult
    replay_hash: bytes
    shadow: ShadowResult
    beside_version: int
    evidence_refs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parser: _Optional[_Union[ParserResult, _Mapping]] = ..., replay_hash: _Optional[bytes] = ..., shadow: _Optional[_Union[ShadowResult, _Mapping]] = ..., beside_version: _Optional[int] = ..., evidence_refs: _Optional[_Iterable[str]] = ...) -> None: ...

class ConsumptionVerdict(_message.Message):
    __slots__ = ("proof", "parser", "shadow", "passed", "block_reasons", "judged_at", "found", "proved_by")
    PROOF_FIELD_NUMBER: _ClassVar[int]
    PARSER_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    BLOCK_REASONS_FIELD_NUMBER: _ClassVar[int]
    JUDGED_AT_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    PROVED_BY_FIELD_NUMBER: _ClassVar[int]
    proof: _artifacts_pb2.ConsumptionProof
    parser: ParserResult
    shadow: ShadowResult
    passed: bool
    block_reasons: _containers.RepeatedScalarFieldContainer[_artifacts_pb2.ConsumptionBlockReason]
    judged_at: _timestamp_pb2.Timestamp
    found: ConsumptionReplay
    proved_by: str
    def __init__(self, proof: _Optional[_Union[_artifacts_pb2.ConsumptionProof, _Mapping]] = ..., parser: _Optional[_Union[ParserResult, _Mapping]] = ..., shadow: _Optional[_Union[ShadowResult, _Mapping]] = ..., passed: bool = ..., block_reasons: _Optional[_Iterable[_Union[_artifacts_pb2.ConsumptionBlockReason, str]]] = ..., judged_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., found: _Optional[_Union[ConsumptionReplay, _Mapping]] = ..., proved_by: _Optional[str] = ...) -> None: ...
