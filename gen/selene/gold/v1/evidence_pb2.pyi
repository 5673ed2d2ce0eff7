import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.common.v1 import scope_pb2 as _scope_pb2
from selene.gold.v1 import gold_pb2 as _gold_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Boundary(_message.Message):
    __slots__ = ("start", "end", "triggered")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TRIGGERED_FIELD_NUMBER: _ClassVar[int]
    start: _duration_pb2.Duration
    end: _duration_pb2.Duration
    triggered: bool
    def __init__(self, start: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., end: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., triggered: bool = ...) -> None: ...

class RecognisedUtterance(_message.Message):
    __slots__ = ("tokens", "locale")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[str]
    locale: str
    def __init__(self, tokens: _Optional[_Iterable[str]] = ..., locale: _Optional[str] = ...) -> None: ...

class SpanEdit(_message.Message):
    __slots__ = ("start_token", "end_token", "replacement", "entity")
    START_TOKEN_FIELD_NUMBER: _ClassVar[int]
    END_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REPLACEMENT_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    start_token: int
    end_token: int
    replacement: _containers.RepeatedScalarFieldContainer[str]
    entity: bool
    def __init__(self, start_token: _Optional[int] = ..., end_token: _Optional[int] = ..., replacement: _Optional[_Iterable[str]] = ..., entity: bool = ...) -> None: ...

class Pronunciation(_message.Message):
    __slots__ = ("term", "phonemes", "locale")
    TERM_FIELD_NUMBER: _ClassVar[int]
    PHONEMES_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    term: str
    phonemes: str
    locale: str
    def __init__(self, term: _Optional[str] = ..., phonemes: _Optional[str] = ..., locale: _Optional[str] = ...) -> None: ...

class LabelledTurn(_message.Message):
    __slots__ = ("text", "required_slots")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    text: str
    required_slots: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, text: _Optional[str] = ..., required_slots: _Optional[_Iterable[str]] = ...) -> None: ...

class ModelOutput(_message.Message):
    __slots__ = ("packet",)
    PACKET_FIELD_NUMBER: _ClassVar[int]
    packet: bytes
    def __init__(self, packet: _Optional[bytes] = ...) -> None: ...

class RankedContext(_message.Message):
    __slots__ = ("ref", "tenant_id", "user_id")
    REF_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ref: str
    tenant_id: str
    user_id: str
    def __init__(self, ref: _Optional[str] = ..., tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class Ranking(_message.Message):
    __slots__ = ("query_ref", "contexts")
    QUERY_REF_FIELD_NUMBER: _ClassVar[int]
    CONTEXTS_FIELD_NUMBER: _ClassVar[int]
    query_ref: str
    contexts: _containers.RepeatedCompositeFieldContainer[RankedContext]
    def __init__(self, query_ref: _Optional[str] = ..., contexts: _Optional[_Iterable[_Union[RankedContext, _Mapping]]] = ...) -> None: ...

class RouteOutcome(_message.Message):
    __slots__ = ("provider_ref", "quality_bp", "latency", "cost_micros", "event_id")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    QUALITY_BP_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    COST_MICROS_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    quality_bp: int
    latency: _duration_pb2.Duration
    cost_micros: int
    event_id: str
    def __init__(self, provider_ref: _Optional[str] = ..., quality_bp: _Optional[int] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cost_micros: _Optional[int] = ..., event_id: _Optional[str] = ...) -> None: ...

class RoutedTurn(_message.Message):
    __slots__ = ("candidate", "baseline")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    candidate: RouteOutcome
    baseline: RouteOutcome
    def __init__(self, candidate: _Optional[_Union[RouteOutcome, _Mapping]] = ..., baseline: _Optional[_Union[RouteOutcome, _Mapping]] = ...) -> None: ...

class VoiceTrial(_message.Message):
    __slots__ = ("score", "cohort", "enrolled_ref", "test_ref", "frozen")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_REF_FIELD_NUMBER: _ClassVar[int]
    TEST_REF_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    score: float
    cohort: str
    enrolled_ref: str
    test_ref: str
    frozen: bool
    def __init__(self, score: _Optional[float] = ..., cohort: _Optional[str] = ..., enrolled_ref: _Optional[str] = ..., test_ref: _Optional[str] = ..., frozen: bool = ...) -> None: ...

class GoldItem(_message.Message):
    __slots__ = ("item_id", "signal_id", "boundary", "utterance", "pronunciation", "turn", "output", "ranking", "route", "trial")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_ID_FIELD_NUMBER: _ClassVar[int]
    BOUNDARY_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    PRONUNCIATION_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RANKING_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    signal_id: str
    boundary: Boundary
    utterance: RecognisedUtterance
    pronunciation: Pronunciation
    turn: LabelledTurn
    output: ModelOutput
    ranking: Ranking
    route: RoutedTurn
    trial: VoiceTrial
    def __init__(self, item_id: _Optional[str] = ..., signal_id: _Optional[str] = ..., boundary: _Optional[_Union[Boundary, _Mapping]] = ..., utterance: _Optional[_Union[RecognisedUtterance, _Mapping]] = ..., pronunciation: _Optional[_Union[Pronunciation, _Mapping]] = ..., turn: _Optional[_Union[LabelledTurn, _Mapping]] = ..., output: _Optional[_Union[ModelOutput, _Mapping]] = ..., ranking: _Optional[_Union[Ranking, _Mapping]] = ..., route: _Optional[_Union[RoutedTurn, _Mapping]] = ..., trial: _Optional[_Union[VoiceTrial, _Mapping]] = ...) -> None: ...

class TranscriptLabel(_message.Message):
    __slots__ = ("edits", "unresolved_tokens")
    EDITS_FIELD_NUMBER: _ClassVar[int]
    UNRESOLVED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    edits: _containers.RepeatedCompositeFieldContainer[SpanEdit]
    unresolved_tokens: int
    def __init__(self, edits: _Optional[_Iterable[_Union[SpanEdit, _Mapping]]] = ..., unresolved_tokens: _Optional[int] = ...) -> None: ...

class PronunciationLabel(_message.Message):
    __slots__ = ("accepted", "confidence_bp")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_BP_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    confidence_bp: int
    def __init__(self, accepted: bool = ..., confidence_bp: _Optional[int] = ...) -> None: ...

class TurnLabel(_message.Message):
    __slots__ = ("intent", "slots")
    class SlotsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INTENT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    intent: str
    slots: _containers.ScalarMap[str, str]
    def __init__(self, intent: _Optional[str] = ..., slots: _Optional[_Mapping[str, str]] = ...) -> None: ...

class OutputLabel(_message.Message):
    __slots__ = ("policy_conflict",)
    POLICY_CONFLICT_FIELD_NUMBER: _ClassVar[int]
    policy_conflict: bool
    def __init__(self, policy_conflict: bool = ...) -> None: ...

class RankingLabel(_message.Message):
    __slots__ = ("relevant_refs",)
    RELEVANT_REFS_FIELD_NUMBER: _ClassVar[int]
    relevant_refs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, relevant_refs: _Optional[_Iterable[str]] = ...) -> None: ...

class RouteLabel(_message.Message):
    __slots__ = ("candidate_better",)
    CANDIDATE_BETTER_FIELD_NUMBER: _ClassVar[int]
    candidate_better: bool
    def __init__(self, candidate_better: bool = ...) -> None: ...

class TrialLabel(_message.Message):
    __slots__ = ("genuine",)
    GENUINE_FIELD_NUMBER: _ClassVar[int]
    genuine: bool
    def __init__(self, genuine: bool = ...) -> None: ...

class GoldLabel(_message.Message):
    __slots__ = ("item_id", "labeller", "labelled_at", "boundary", "transcript", "pronunciation", "turn", "output", "ranking", "route", "trial")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    LABELLER_FIELD_NUMBER: _ClassVar[int]
    LABELLED_AT_FIELD_NUMBER: _ClassVar[int]
    BOUNDARY_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    PRONUNCIATION_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RANKING_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    labeller: str
    labelled_at: _timestamp_pb2.Timestamp
    boundary: Boundary
    transcript: TranscriptLabel
    pronunciation: PronunciationLabel
    turn: TurnLabel
    output: OutputLabel
    ranking: RankingLabel
    route: RouteLabel
    trial: TrialLabel
    def __init__(self, item_id: _Optional[str] = ..., labeller: _Optional[str] = ..., labelled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., boundary: _Optional[_Union[Boundary, _Mapping]] = ..., transcript: _Optional[_Union[TranscriptLabel, _Mapping]] = ..., pronunciation: _Optional[_Union[PronunciationLabel, _Mapping]] = ..., turn: _Optional[_Union[TurnLabel, _Mapping]] = ..., output: _Optional[_Union[OutputLabel, _Mapping]] = ..., ranking: _Optional[_Union[RankingLabel, _Mapping]] = ..., route: _Optional[_Union[RouteLabel, _Mapping]] = ..., trial: _Optional[_Union[TrialLabel, _Mapping]] = ...) -> None: ...

class LabelledItem(_message.Message):
    __slots__ = ("item", "labels", "erased")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ERASED_FIELD_NUMBER: _ClassVar[int]
    item: GoldItem
    labels: _containers.RepeatedCompositeFieldContainer[GoldLabel]
    erased: bool
    def __init__(self, item: _Optional[_Union[GoldItem, _Mapping]] = ..., labels: _Optional[_Iterable[_Union[GoldLabel, _Mapping]]] = ..., erased: bool = ...) -> None: ...

class SealedItem(_message.Message):
    __slots__ = ("item_id", "signal_id", "sealed")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    signal_id: str
    sealed: bytes
    def __init__(self, item_id: _Optional[str] = ..., signal_id: _Optional[str] = ..., sealed: _Optional[bytes] = ...) -> None: ...

class Figure(_message.Message):
    __slots__ = ("name", "value", "threshold", "at_most", "met")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    threshold: float
    at_most: bool
    met: bool
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., threshold: _Optional[float] = ..., at_most: bool = ..., met: bool = ...) -> None: ...

class ItemCopy(_message.Message):
    __slots__ = ("item_id", "of_item_id")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    OF_ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    of_item_id: str
    def __init__(self, item_id: _Optional[str] = ..., of_item_id: _Optional[str] = ...) -> None: ...

class Assessment(_message.Message):
    __slots__ = ("verdict", "reason_code", "figures", "offending_item_ids", "advice", "copies")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    OFFENDING_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    verdict: _gold_pb2.GoldState
    reason_code: _gold_pb2.GoldReason
    figures: _containers.RepeatedCompositeFieldContainer[Figure]
    offending_item_ids: _containers.RepeatedScalarFieldContainer[str]
    advice: str
    copies: _containers.RepeatedCompositeFieldContainer[ItemCopy]
    def __init__(self, verdict: _Optional[_Union[_gold_pb2.GoldState, str]] = ..., reason_code: _Optional[_Union[_gold_pb2.GoldReason, str]] = ..., figures: _Optional[_Iterable[_Union[Figure, _Mapping]]] = ..., offending_item_ids: _Optional[_Iterable[str]] = ..., advice: _Optional[str] = ..., copies: _Optional[_Iterable[_Union[ItemCopy, _Mapping]]] = ...) -> None: ...

class GoldCandidate(_message.Message):
    __slots__ = ("gold_set_id", "domain", "tier", "tenant_id", "scope", "state", "frozen", "signal_count", "item_count", "label_count", "proposed_by", "proposed_at", "policy_version", "rebuilt_from")
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_BY_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_AT_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REBUILT_FROM_FIELD_NUMBER: _ClassVar[int]
    gold_set_id: str
    domain: _gold_pb2.GoldDomain
    tier: _gold_pb2.GoldTier
    tenant_id: str
    scope: _scope_pb2.Scope
    state: _gold_pb2.GoldState
    frozen: bool
    signal_count: int
    item_count: int
    label_count: int
    proposed_by: str
    proposed_at: _timestamp_pb2.Timestamp
    policy_version: str
    rebuilt_from: str
    def __init__(self, gold_set_id: _Optional[str] = ..., domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., tier: _Optional[_Union[_gold_pb2.GoldTier, str]] = ..., tenant_id: _Optional[str] = ..., scope: _Optional[_Union[_scope_pb2.Scope, _Mapping]] = ..., state: _Optional[_Union[_gold_pb2.GoldState, str]] = ..., frozen: bool = ..., signal_count: _Optional[int] = ..., item_count: _Optional[int] = ..., label_count: _Optional[int] = ..., proposed_by: _Optional[str] = ..., proposed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., policy_version: _Optional[str] = ..., rebuilt_from: _Optional[str] = ...) -> None: ...
