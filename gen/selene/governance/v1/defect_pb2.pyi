import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.gold.v1 import gold_pb2 as _gold_pb2
from selene.governance.v1 import decision_pb2 as _decision_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DefectState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEFECT_STATE_UNSPECIFIED: _ClassVar[DefectState]
    DEFECT_STATE_OPEN: _ClassVar[DefectState]
    DEFECT_STATE_FIX_PROPOSED: _ClassVar[DefectState]
    DEFECT_STATE_CLOSED: _ClassVar[DefectState]
DEFECT_STATE_UNSPECIFIED: DefectState
DEFECT_STATE_OPEN: DefectState
DEFECT_STATE_FIX_PROPOSED: DefectState
DEFECT_STATE_CLOSED: DefectState

class DefectFix(_message.Message):
    __slots__ = ("fix_id", "tenant_id", "signal_ids", "root_cause_ref", "fix_plan_ref", "regression_test", "report", "artifact", "proposer", "proposed_at")
    FIX_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    ROOT_CAUSE_REF_FIELD_NUMBER: _ClassVar[int]
    FIX_PLAN_REF_FIELD_NUMBER: _ClassVar[int]
    REGRESSION_TEST_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_AT_FIELD_NUMBER: _ClassVar[int]
    fix_id: str
    tenant_id: str
    signal_ids: _containers.RepeatedScalarFieldContainer[str]
    root_cause_ref: str
    fix_plan_ref: str
    regression_test: _decision_pb2.Check
    report: _decision_pb2.BuilderReport
    artifact: _decision_pb2.ArtifactRef
    proposer: str
    proposed_at: _timestamp_pb2.Timestamp
    def __init__(self, fix_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., signal_ids: _Optional[_Iterable[str]] = ..., root_cause_ref: _Optional[str] = ..., fix_plan_ref: _Optional[str] = ..., regression_test: _Optional[_Union[_decision_pb2.Check, _Mapping]] = ..., report: _Optional[_Union[_decision_pb2.BuilderReport, _Mapping]] = ..., artifact: _Optional[_Union[_decision_pb2.ArtifactRef, _Mapping]] = ..., proposer: _Optional[str] = ..., proposed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DefectClosureStatement(_message.Message):
    __slots__ = ("tenant_id", "signal_id", "fix_id", "fix_hash", "closer", "closed_at")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_ID_FIELD_NUMBER: _ClassVar[int]
    FIX_ID_FIELD_NUMBER: _ClassVar[int]
    FIX_HASH_FIELD_NUMBER: _ClassVar[int]
    CLOSER_FIELD_NUMBER: _ClassVar[int]
    CLOSED_AT_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    signal_id: str
    fix_id: str
    fix_hash: bytes
    closer: str
    closed_at: _timestamp_pb2.Timestamp
    def __init__(self, tenant_id: _Optional[str] = ..., signal_id: _Optional[str] = ..., fix_id: _Optional[str] = ..., fix_hash: _Optional[bytes] = ..., closer: _Optional[str] = ..., closed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DefectClosure(_message.Message):
    __slots__ = ("statement", "signed")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    statement: DefectClosureStatement
    signed: _decision_pb2.SignedStatement
    def __init__(self, statement: _Optional[_Union[DefectClosureStatement, _Mapping]] = ..., signed: _Optional[_Union[_decision_pb2.SignedStatement, _Mapping]] = ...) -> None: ...

class Defect(_message.Message):
    __slots__ = ("signal_id", "domain", "captured_at", "priority_bp", "state", "fix", "closure")
    SIGNAL_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_BP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    CLOSURE_FIELD_NUMBER: _ClassVar[int]
    signal_id: str
    domain: _gold_pb2.GoldDomain
    captured_at: _timestamp_pb2.Timestamp
    priority_bp: int
    state: DefectState
    fix: DefectFix
    closure: DefectClosure
    def __init__(self, signal_id: _Optional[str] = ..., domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., priority_bp: _Optional[int] = ..., state: _Optional[_Union[DefectState, str]] = ..., fix: _Optional[_Union[DefectFix, _Mapping]] = ..., closure: _Optional[_Union[DefectClosure, _Mapping]] = ...) -> None: ...
