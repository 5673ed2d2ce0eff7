import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.artifacts.v1 import artifacts_pb2 as _artifacts_pb2
from selene.common.v1 import paging_pb2 as _paging_pb2
from selene.gold.v1 import gold_pb2 as _gold_pb2
from selene.governance.v1 import consent_pb2 as _consent_pb2
from selene.governance.v1 import decision_pb2 as _decision_pb2
from selene.governance.v1 import defect_pb2 as _defect_pb2
from selene.governance.v1 import rollout_pb2 as _rollout_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecideRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id", "action", "evidence", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    action: _decision_pb2.DecisionAction
    evidence: _decision_pb2.DecisionEvidence
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., action: _Optional[_Union[_decision_pb2.DecisionAction, str]] = ..., evidence: _Optional[_Union[_decision_pb2.DecisionEvidence, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class DecideResponse(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: _decision_pb2.GovernanceDecision
    def __init__(self, decision: _Optional[_Union[_decision_pb2.GovernanceDecision, _Mapping]] = ...) -> None: ...

class ListDecisionsRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ...) -> None: ...

class ListDecisionsResponse(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[_decision_pb2.GovernanceDecision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[_decision_pb2.GovernanceDecision, _Mapping]]] = ...) -> None: ...

class SubmitBuilderReportRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id", "report", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    report: _decision_pb2.BuilderReport
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., report: _Optional[_Union[_decision_pb2.BuilderReport, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SubmitBuilderReportResponse(_message.Message):
    __slots__ = ("bundle",)
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    bundle: _decision_pb2.GateBundle
    def __init__(self, bundle: _Optional[_Union[_decision_pb2.GateBundle, _Mapping]] = ...) -> None: ...

class ApproveRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id", "kind", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    kind: _decision_pb2.ApprovalKind
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., kind: _Optional[_Union[_decision_pb2.ApprovalKind, str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ApproveResponse(_message.Message):
    __slots__ = ("approval", "bundle")
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    approval: _decision_pb2.Approval
    bundle: _decision_pb2.GateBundle
    def __init__(self, approval: _Optional[_Union[_decision_pb2.Approval, _Mapping]] = ..., bundle: _Optional[_Union[_decision_pb2.GateBundle, _Mapping]] = ...) -> None: ...

class GetGateBundleRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ...) -> None: ...

class GetGateBundleResponse(_message.Message):
    __slots__ = ("bundle", "signed", "gate_bundle_ref")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    GATE_BUNDLE_REF_FIELD_NUMBER: _ClassVar[int]
    bundle: _decision_pb2.GateBundle
    signed: _decision_pb2.SignedStatement
    gate_bundle_ref: str
    def __init__(self, bundle: _Optional[_Union[_decision_pb2.GateBundle, _Mapping]] = ..., signed: _Optional[_Union[_decision_pb2.SignedStatement, _Mapping]] = ..., gate_bundle_ref: _Optional[str] = ...) -> None: ...

class SubmitConsumptionProofRequest(_message.Message):
    __slots__ = ("tenant_id", "proof", "parser", "shadow", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    PARSER_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    proof: _artifacts_pb2.ConsumptionProof
    parser: _decision_pb2.ParserResult
    shadow: _decision_pb2.ShadowResult
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., proof: _Optional[_Union[_artifacts_pb2.ConsumptionProof, _Mapping]] = ..., parser: _Optional[_Union[_decision_pb2.ParserResult, _Mapping]] = ..., shadow: _Optional[_Union[_decision_pb2.ShadowResult, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SubmitConsumptionProofResponse(_message.Message):
    __slots__ = ("verdict",)
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    verdict: _decision_pb2.ConsumptionVerdict
    def __init__(self, verdict: _Optional[_Union[_decision_pb2.ConsumptionVerdict, _Mapping]] = ...) -> None: ...

class CheckReleaseGateRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id", "through")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    through: _decision_pb2.Gate
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., through: _Optional[_Union[_decision_pb2.Gate, str]] = ...) -> None: ...

class CheckReleaseGateResponse(_message.Message):
    __slots__ = ("open", "missing", "block_reasons", "open_defects")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    BLOCK_REASONS_FIELD_NUMBER: _ClassVar[int]
    OPEN_DEFECTS_FIELD_NUMBER: _ClassVar[int]
    open: bool
    missing: _containers.RepeatedScalarFieldContainer[_decision_pb2.Gate]
    block_reasons: _containers.RepeatedScalarFieldContainer[_artifacts_pb2.ConsumptionBlockReason]
    open_defects: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, open: bool = ..., missing: _Optional[_Iterable[_Union[_decision_pb2.Gate, str]]] = ..., block_reasons: _Optional[_Iterable[_Union[_artifacts_pb2.ConsumptionBlockReason, str]]] = ..., open_defects: _Optional[_Iterable[str]] = ...) -> None: ...

class ReplayArtifactRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ...) -> None: ...

class ReplayArtifactResponse(_message.Message):
    __slots__ = ("replay",)
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    replay: _decision_pb2.ConsumptionReplay
    def __init__(self, replay: _Optional[_Union[_decision_pb2.ConsumptionReplay, _Mapping]] = ...) -> None: ...

class StartRolloutRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class StartRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: _rollout_pb2.Rollout
    def __init__(self, rollout: _Optional[_Union[_rollout_pb2.Rollout, _Mapping]] = ...) -> None: ...

class GetRolloutRequest(_message.Message):
    __slots__ = ("tenant_id", "rollout_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    rollout_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., rollout_id: _Optional[str] = ...) -> None: ...

class GetRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: _rollout_pb2.Rollout
    def __init__(self, rollout: _Optional[_Union[_rollout_pb2.Rollout, _Mapping]] = ...) -> None: ...

class ListRolloutsRequest(_message.Message):
    __slots__ = ("tenant_id", "state", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    state: _rollout_pb2.RolloutState
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., state: _Optional[_Union[_rollout_pb2.RolloutState, str]] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListRolloutsResponse(_message.Message):
    __slots__ = ("rollouts", "page")
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    rollouts: _containers.RepeatedCompositeFieldContainer[_rollout_pb2.Rollout]
    page: _paging_pb2.PageInfo
    def __init__(self, rollouts: _Optional[_Iterable[_Union[_rollout_pb2.Rollout, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class RecordKpisRequest(_message.Message):
    __slots__ = ("tenant_id", "rollout_id", "windows", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    rollout_id: str
    windows: _containers.RepeatedCompositeFieldContainer[_rollout_pb2.KpiWindow]
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., rollout_id: _Optional[str] = ..., windows: _Optional[_Iterable[_Union[_rollout_pb2.KpiWindow, _Mapping]]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RecordKpisResponse(_message.Message):
    __slots__ = ("taken", "rollout")
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    taken: int
    rollout: _rollout_pb2.Rollout
    def __init__(self, taken: _Optional[int] = ..., rollout: _Optional[_Union[_rollout_pb2.Rollout, _Mapping]] = ...) -> None: ...

class JudgeRolloutRequest(_message.Message):
    __slots__ = ("tenant_id", "rollout_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    rollout_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., rollout_id: _Optional[str] = ...) -> None: ...

class JudgeRolloutResponse(_message.Message):
    __slots__ = ("judgement",)
    JUDGEMENT_FIELD_NUMBER: _ClassVar[int]
    judgement: _rollout_pb2.Judgement
    def __init__(self, judgement: _Optional[_Union[_rollout_pb2.Judgement, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("tenant_id", "rollout_id", "reason_code", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    rollout_id: str
    reason_code: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., rollout_id: _Optional[str] = ..., reason_code: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("rollout", "decision", "returned")
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    rollout: _rollout_pb2.Rollout
    decision: _decision_pb2.GovernanceDecision
    returned: _decision_pb2.ArtifactRef
    def __init__(self, rollout: _Optional[_Union[_rollout_pb2.Rollout, _Mapping]] = ..., decision: _Optional[_Union[_decision_pb2.GovernanceDecision, _Mapping]] = ..., returned: _Optional[_Union[_decision_pb2.ArtifactRef, _Mapping]] = ...) -> None: ...

class GetPromotionReportRequest(_message.Message):
    __slots__ = ("tenant_id", "rollout_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    rollout_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., rollout_id: _Optional[str] = ...) -> None: ...

class GetPromotionReportResponse(_message.Message):
    __slots__ = ("report", "signed")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    report: _rollout_pb2.PromotionReport
    signed: _decision_pb2.SignedStatement
    def __init__(self, report: _Optional[_Union[_rollout_pb2.PromotionReport, _Mapping]] = ..., signed: _Optional[_Union[_decision_pb2.SignedStatement, _Mapping]] = ...) -> None: ...

class GetBoardRequest(_message.Message):
    __slots__ = ("tenant_id", "page", "artifact_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    page: _paging_pb2.PageRequest
    artifact_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ..., artifact_id: _Optional[str] = ...) -> None: ...

class GetBoardResponse(_message.Message):
    __slots__ = ("rows", "page")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[_consent_pb2.BoardRow]
    page: _paging_pb2.PageInfo
    def __init__(self, rows: _Optional[_Iterable[_Union[_consent_pb2.BoardRow, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class GrantConsentRequest(_message.Message):
    __slots__ = ("tenant_id", "user_id", "expires_at", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    user_id: str
    expires_at: _timestamp_pb2.Timestamp
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class GrantConsentResponse(_message.Message):
    __slots__ = ("consent",)
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    consent: _consent_pb2.Consent
    def __init__(self, consent: _Optional[_Union[_consent_pb2.Consent, _Mapping]] = ...) -> None: ...

class GetConsentRequest(_message.Message):
    __slots__ = ("tenant_id", "user_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    user_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class GetConsentResponse(_message.Message):
    __slots__ = ("consent",)
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    consent: _consent_pb2.Consent
    def __init__(self, consent: _Optional[_Union[_consent_pb2.Consent, _Mapping]] = ...) -> None: ...

class RevokeConsentRequest(_message.Message):
    __slots__ = ("tenant_id", "user_id", "trigger", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    user_id: str
    trigger: _consent_pb2.RevocationTrigger
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., trigger: _Optional[_Union[_consent_pb2.RevocationTrigger, str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RevokeConsentResponse(_message.Message):
    __slots__ = ("revocation",)
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    revocation: _consent_pb2.Revocation
    def __init__(self, revocation: _Optional[_Union[_consent_pb2.Revocation, _Mapping]] = ...) -> None: ...

class GetRevocationRequest(_message.Message):
    __slots__ = ("tenant_id", "revocation_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    revocation_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., revocation_id: _Optional[str] = ...) -> None: ...

class GetRevocationResponse(_message.Message):
    __slots__ = ("revocation",)
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    revocation: _consent_pb2.Revocation
    def __init__(self, revocation: _Optional[_Union[_consent_pb2.Revocation, _Mapping]] = ...) -> None: ...

class ListRevocationsRequest(_message.Message):
    __slots__ = ("tenant_id", "only_open", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_OPEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    only_open: bool
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., only_open: bool = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListRevocationsResponse(_message.Message):
    __slots__ = ("revocations", "page")
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[_consent_pb2.Revocation]
    page: _paging_pb2.PageInfo
    def __init__(self, revocations: _Optional[_Iterable[_Union[_consent_pb2.Revocation, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ListDefectsRequest(_message.Message):
    __slots__ = ("tenant_id", "only_open", "domain", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_OPEN_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    only_open: bool
    domain: _gold_pb2.GoldDomain
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., only_open: bool = ..., domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListDefectsResponse(_message.Message):
    __slots__ = ("defects", "page")
    DEFECTS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    defects: _containers.RepeatedCompositeFieldContainer[_defect_pb2.Defect]
    page: _paging_pb2.PageInfo
    def __init__(self, defects: _Optional[_Iterable[_Union[_defect_pb2.Defect, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ProposeDefectFixRequest(_message.Message):
    __slots__ = ("tenant_id", "signal_ids", "root_cause_ref", "fix_plan_ref", "regression_test", "report", "artifact_id", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    ROOT_CAUSE_REF_FIELD_NUMBER: _ClassVar[int]
    FIX_PLAN_REF_FIELD_NUMBER: _ClassVar[int]
    REGRESSION_TEST_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    signal_ids: _containers.RepeatedScalarFieldContainer[str]
    root_cause_ref: str
    fix_plan_ref: str
    regression_test: _decision_pb2.Check
    report: _decision_pb2.BuilderReport
    artifact_id: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., signal_ids: _Optional[_Iterable[str]] = ..., root_cause_ref: _Optional[str] = ..., fix_plan_ref: _Optional[str] = ..., regression_test: _Optional[_Union[_decision_pb2.Check, _Mapping]] = ..., report: _Optional[_Union[_decision_pb2.BuilderReport, _Mapping]] = ..., artifact_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ProposeDefectFixResponse(_message.Message):
    __slots__ = ("fix",)
    FIX_FIELD_NUMBER: _ClassVar[int]
    fix: _defect_pb2.DefectFix
    def __init__(self, fix: _Optional[_Union[_defect_pb2.DefectFix, _Mapping]] = ...) -> None: ...

class CloseDefectsRequest(_message.Message):
    __slots__ = ("tenant_id", "fix_id", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    FIX_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    fix_id: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., fix_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class CloseDefectsResponse(_message.Message):
    __slots__ = ("closures",)
    CLOSURES_FIELD_NUMBER: _ClassVar[int]
    closures: _containers.RepeatedCompositeFieldContainer[_defect_pb2.DefectClosure]
    def __init__(self, closures: _Optional[_Iterable[_Union[_defect_pb2.DefectClosure, _Mapping]]] = ...) -> None: ...
