from buf.validate import validate_pb2 as _validate_pb2
from selene.artifacts.v1 import artifacts_pb2 as _artifacts_pb2
from selene.common.v1 import paging_pb2 as _paging_pb2
from selene.common.v1 import scope_pb2 as _scope_pb2
from selene.gold.v1 import evidence_pb2 as _evidence_pb2
from selene.gold.v1 import gold_pb2 as _gold_pb2
from selene.learning.v1 import domain_pb2 as _domain_pb2
from selene.learning.v1 import drift_pb2 as _drift_pb2
from selene.learning.v1 import signal_pb2 as _signal_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CaptureRequest(_message.Message):
    __slots__ = ("signal",)
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    signal: _signal_pb2.LearningSignal
    def __init__(self, signal: _Optional[_Union[_signal_pb2.LearningSignal, _Mapping]] = ...) -> None: ...

class CaptureResponse(_message.Message):
    __slots__ = ("captured", "repeated")
    CAPTURED_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    captured: _signal_pb2.CapturedSignal
    repeated: bool
    def __init__(self, captured: _Optional[_Union[_signal_pb2.CapturedSignal, _Mapping]] = ..., repeated: bool = ...) -> None: ...

class CaptureStreamConfig(_message.Message):
    __slots__ = ("tenant_id", "stream_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    stream_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., stream_id: _Optional[str] = ...) -> None: ...

class StreamedSignal(_message.Message):
    __slots__ = ("sequence", "signal")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    signal: _signal_pb2.LearningSignal
    def __init__(self, sequence: _Optional[int] = ..., signal: _Optional[_Union[_signal_pb2.LearningSignal, _Mapping]] = ...) -> None: ...

class StreamedSignals(_message.Message):
    __slots__ = ("first_sequence", "signals")
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    first_sequence: int
    signals: _containers.RepeatedCompositeFieldContainer[_signal_pb2.LearningSignal]
    def __init__(self, first_sequence: _Optional[int] = ..., signals: _Optional[_Iterable[_Union[_signal_pb2.LearningSignal, _Mapping]]] = ...) -> None: ...

class CaptureStreamRequest(_message.Message):
    __slots__ = ("config", "signal", "signals")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    config: CaptureStreamConfig
    signal: StreamedSignal
    signals: StreamedSignals
    def __init__(self, config: _Optional[_Union[CaptureStreamConfig, _Mapping]] = ..., signal: _Optional[_Union[StreamedSignal, _Mapping]] = ..., signals: _Optional[_Union[StreamedSignals, _Mapping]] = ...) -> None: ...

class RefusedSignal(_message.Message):
    __slots__ = ("sequence", "reason", "fields")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    reason: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sequence: _Optional[int] = ..., reason: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ...) -> None: ...

class CaptureStreamResponse(_message.Message):
    __slots__ = ("acknowledged_through", "taken", "repeated_count", "refused")
    ACKNOWLEDGED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    REPEATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    acknowledged_through: int
    taken: int
    repeated_count: int
    refused: _containers.RepeatedCompositeFieldContainer[RefusedSignal]
    def __init__(self, acknowledged_through: _Optional[int] = ..., taken: _Optional[int] = ..., repeated_count: _Optional[int] = ..., refused: _Optional[_Iterable[_Union[RefusedSignal, _Mapping]]] = ...) -> None: ...

class ListSignalsRequest(_message.Message):
    __slots__ = ("tenant_id", "domain", "intake_path", "user_id", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    INTAKE_PATH_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    domain: _gold_pb2.GoldDomain
    intake_path: _signal_pb2.IntakePath
    user_id: str
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., intake_path: _Optional[_Union[_signal_pb2.IntakePath, str]] = ..., user_id: _Optional[str] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListSignalsResponse(_message.Message):
    __slots__ = ("signals", "page")
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    signals: _containers.RepeatedCompositeFieldContainer[_signal_pb2.CapturedSignal]
    page: _paging_pb2.PageInfo
    def __init__(self, signals: _Optional[_Iterable[_Union[_signal_pb2.CapturedSignal, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ListDomainsRequest(_message.Message):
    __slots__ = ("only_incomplete",)
    ONLY_INCOMPLETE_FIELD_NUMBER: _ClassVar[int]
    only_incomplete: bool
    def __init__(self, only_incomplete: bool = ...) -> None: ...

class ListDomainsResponse(_message.Message):
    __slots__ = ("domains",)
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    domains: _containers.RepeatedCompositeFieldContainer[_domain_pb2.LearningDomain]
    def __init__(self, domains: _Optional[_Iterable[_Union[_domain_pb2.LearningDomain, _Mapping]]] = ...) -> None: ...

class ProposeGoldSetRequest(_message.Message):
    __slots__ = ("tenant_id", "domain", "tier", "scope", "signal_ids", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    domain: _gold_pb2.GoldDomain
    tier: _gold_pb2.GoldTier
    scope: _scope_pb2.Scope
    signal_ids: _containers.RepeatedScalarFieldContainer[str]
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., tier: _Optional[_Union[_gold_pb2.GoldTier, str]] = ..., scope: _Optional[_Union[_scope_pb2.Scope, _Mapping]] = ..., signal_ids: _Optional[_Iterable[str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ProposeGoldSetResponse(_message.Message):
    __slots__ = ("candidate",)
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    candidate: _evidence_pb2.GoldCandidate
    def __init__(self, candidate: _Optional[_Union[_evidence_pb2.GoldCandidate, _Mapping]] = ...) -> None: ...

class AddItemsRequest(_message.Message):
    __slots__ = ("tenant_id", "gold_set_id", "items")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    gold_set_id: str
    items: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.GoldItem]
    def __init__(self, tenant_id: _Optional[str] = ..., gold_set_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[_evidence_pb2.GoldItem, _Mapping]]] = ...) -> None: ...

class AddItemsResponse(_message.Message):
    __slots__ = ("item_count",)
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    item_count: int
    def __init__(self, item_count: _Optional[int] = ...) -> None: ...

class LabelItemsRequest(_message.Message):
    __slots__ = ("tenant_id", "gold_set_id", "labels")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    gold_set_id: str
    labels: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.GoldLabel]
    def __init__(self, tenant_id: _Optional[str] = ..., gold_set_id: _Optional[str] = ..., labels: _Optional[_Iterable[_Union[_evidence_pb2.GoldLabel, _Mapping]]] = ...) -> None: ...

class LabelItemsResponse(_message.Message):
    __slots__ = ("label_count",)
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    label_count: int
    def __init__(self, label_count: _Optional[int] = ...) -> None: ...

class AdvanceGoldSetRequest(_message.Message):
    __slots__ = ("tenant_id", "gold_set_id", "to_state")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    TO_STATE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    gold_set_id: str
    to_state: _gold_pb2.GoldState
    def __init__(self, tenant_id: _Optional[str] = ..., gold_set_id: _Optional[str] = ..., to_state: _Optional[_Union[_gold_pb2.GoldState, str]] = ...) -> None: ...

class AdvanceGoldSetResponse(_message.Message):
    __slots__ = ("transition", "candidate", "packs")
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    PACKS_FIELD_NUMBER: _ClassVar[int]
    transition: _gold_pb2.GoldTransition
    candidate: _evidence_pb2.GoldCandidate
    packs: _containers.RepeatedCompositeFieldContainer[_artifacts_pb2.ArtifactRow]
    def __init__(self, transition: _Optional[_Union[_gold_pb2.GoldTransition, _Mapping]] = ..., candidate: _Optional[_Union[_evidence_pb2.GoldCandidate, _Mapping]] = ..., packs: _Optional[_Iterable[_Union[_artifacts_pb2.ArtifactRow, _Mapping]]] = ...) -> None: ...

class GetGoldSetRequest(_message.Message):
    __slots__ = ("tenant_id", "gold_set_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    gold_set_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., gold_set_id: _Optional[str] = ...) -> None: ...

class GetGoldSetResponse(_message.Message):
    __slots__ = ("candidate", "assessment", "gold_set", "history")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    candidate: _evidence_pb2.GoldCandidate
    assessment: _evidence_pb2.Assessment
    gold_set: _gold_pb2.GoldSet
    history: _containers.RepeatedCompositeFieldContainer[_gold_pb2.GoldTransition]
    def __init__(self, candidate: _Optional[_Union[_evidence_pb2.GoldCandidate, _Mapping]] = ..., assessment: _Optional[_Union[_evidence_pb2.Assessment, _Mapping]] = ..., gold_set: _Optional[_Union[_gold_pb2.GoldSet, _Mapping]] = ..., history: _Optional[_Iterable[_Union[_gold_pb2.GoldTransition, _Mapping]]] = ...) -> None: ...

class ListGoldSetsRequest(_message.Message):
    __slots__ = ("tenant_id", "state", "domain", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    state: _gold_pb2.GoldState
    domain: _gold_pb2.GoldDomain
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., state: _Optional[_Union[_gold_pb2.GoldState, str]] = ..., domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListGoldSetsResponse(_message.Message):
    __slots__ = ("candidates", "page")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.GoldCandidate]
    page: _paging_pb2.PageInfo
    def __init__(self, candidates: _Optional[_Iterable[_Union[_evidence_pb2.GoldCandidate, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ListItemsRequest(_message.Message):
    __slots__ = ("tenant_id", "gold_set_id", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    gold_set_id: str
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., gold_set_id: _Optional[str] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListItemsResponse(_message.Message):
    __slots__ = ("items", "page")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.LabelledItem]
    page: _paging_pb2.PageInfo
    def __init__(self, items: _Optional[_Iterable[_Union[_evidence_pb2.LabelledItem, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ListLineageRequest(_message.Message):
    __slots__ = ("tenant_id", "ref", "descendants", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    DESCENDANTS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    ref: str
    descendants: bool
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., ref: _Optional[str] = ..., descendants: bool = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListLineageResponse(_message.Message):
    __slots__ = ("edges", "page")
    EDGES_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    edges: _containers.RepeatedCompositeFieldContainer[_domain_pb2.LineageEdge]
    page: _paging_pb2.PageInfo
    def __init__(self, edges: _Optional[_Iterable[_Union[_domain_pb2.LineageEdge, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ListDriftBreachesRequest(_message.Message):
    __slots__ = ("tenant_id", "subject", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    subject: str
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., subject: _Optional[str] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListDriftBreachesResponse(_message.Message):
    __slots__ = ("breaches", "page")
    BREACHES_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    breaches: _containers.RepeatedCompositeFieldContainer[_drift_pb2.DriftBreach]
    page: _paging_pb2.PageInfo
    def __init__(self, breaches: _Optional[_Iterable[_Union[_drift_pb2.DriftBreach, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ReviewDriftRequest(_message.Message):
    __slots__ = ("tenant_id", "subject", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    subject: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., subject: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ReviewDriftResponse(_message.Message):
    __slots__ = ("breaches",)
    BREACHES_FIELD_NUMBER: _ClassVar[int]
    breaches: int
    def __init__(self, breaches: _Optional[int] = ...) -> None: ...

class ListConfusionPairsRequest(_message.Message):
    __slots__ = ("tenant_id", "limit")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    limit: int
    def __init__(self, tenant_id: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListConfusionPairsResponse(_message.Message):
    __slots__ = ("pairs",)
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    pairs: _containers.RepeatedCompositeFieldContainer[_drift_pb2.ConfusionPair]
    def __init__(self, pairs: _Optional[_Iterable[_Union[_drift_pb2.ConfusionPair, _Mapping]]] = ...) -> None: ...
