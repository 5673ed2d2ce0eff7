import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Domain(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DOMAIN_UNSPECIFIED: _ClassVar[Domain]
    DOMAIN_STT: _ClassVar[Domain]
    DOMAIN_TTS: _ClassVar[Domain]
    DOMAIN_LLM: _ClassVar[Domain]
    DOMAIN_SMS: _ClassVar[Domain]
    DOMAIN_EMAIL: _ClassVar[Domain]
    DOMAIN_WHATSAPP: _ClassVar[Domain]
    DOMAIN_WECHAT: _ClassVar[Domain]
    DOMAIN_PUSH: _ClassVar[Domain]

class ProfileLayer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROFILE_LAYER_UNSPECIFIED: _ClassVar[ProfileLayer]
    PROFILE_LAYER_GLOBAL_DEFAULT: _ClassVar[ProfileLayer]
    PROFILE_LAYER_TENANT_OVERRIDE: _ClassVar[ProfileLayer]
    PROFILE_LAYER_LOCALE_OVERRIDE: _ClassVar[ProfileLayer]
    PROFILE_LAYER_CHANNEL_OVERRIDE: _ClassVar[ProfileLayer]
    PROFILE_LAYER_USER_EXCEPTION: _ClassVar[ProfileLayer]

class Measure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEASURE_UNSPECIFIED: _ClassVar[Measure]
    MEASURE_TIMEOUT_RATE_60S: _ClassVar[Measure]
    MEASURE_ERROR_RATE_60S: _ClassVar[Measure]
    MEASURE_P95_LATENCY_5M: _ClassVar[Measure]
    MEASURE_TRANSCRIPT_ACCEPT_RATE_200: _ClassVar[Measure]
    MEASURE_COMPLAINT_RATE_500: _ClassVar[Measure]
    MEASURE_SCHEMA_INVALID_RATE_200: _ClassVar[Measure]
    MEASURE_POLICY_CONFLICT_COUNT_200: _ClassVar[Measure]
    MEASURE_SEND_FAIL_RATE_100: _ClassVar[Measure]
    MEASURE_AUTH_FAIL_EVENTS: _ClassVar[Measure]
    MEASURE_HARD_BLOCK_EVENTS: _ClassVar[Measure]

class Comparison(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARISON_UNSPECIFIED: _ClassVar[Comparison]
    COMPARISON_AT_LEAST: _ClassVar[Comparison]
    COMPARISON_MORE_THAN: _ClassVar[Comparison]
    COMPARISON_LESS_THAN: _ClassVar[Comparison]
    COMPARISON_EQUAL: _ClassVar[Comparison]

class CircuitState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CIRCUIT_STATE_UNSPECIFIED: _ClassVar[CircuitState]
    CIRCUIT_STATE_CLOSED: _ClassVar[CircuitState]
    CIRCUIT_STATE_OPEN: _ClassVar[CircuitState]
    CIRCUIT_STATE_HALF_OPEN: _ClassVar[CircuitState]
    CIRCUIT_STATE_FORCED_OPEN: _ClassVar[CircuitState]
    CIRCUIT_STATE_FORCED_CLOSED: _ClassVar[CircuitState]
DOMAIN_UNSPECIFIED: Domain
DOMAIN_STT: Domain
DOMAIN_TTS: Domain
DOMAIN_LLM: Domain
DOMAIN_SMS: Domain
DOMAIN_EMAIL: Domain
DOMAIN_WHATSAPP: Domain
DOMAIN_WECHAT: Domain
DOMAIN_PUSH: Domain
PROFILE_LAYER_UNSPECIFIED: ProfileLayer
PROFILE_LAYER_GLOBAL_DEFAULT: ProfileLayer
PROFILE_LAYER_TENANT_OVERRIDE: ProfileLayer
PROFILE_LAYER_LOCALE_OVERRIDE: ProfileLayer
PROFILE_LAYER_CHANNEL_OVERRIDE: ProfileLayer
PROFILE_LAYER_USER_EXCEPTION: ProfileLayer
MEASURE_UNSPECIFIED: Measure
MEASURE_TIMEOUT_RATE_60S: Measure
MEASURE_ERROR_RATE_60S: Measure
MEASURE_P95_LATENCY_5M: Measure
MEASURE_TRANSCRIPT_ACCEPT_RATE_200: Measure
MEASURE_COMPLAINT_RATE_500: Measure
MEASURE_SCHEMA_INVALID_RATE_200: Measure
MEASURE_POLICY_CONFLICT_COUNT_200: Measure
MEASURE_SEND_FAIL_RATE_100: Measure
MEASURE_AUTH_FAIL_EVENTS: Measure
MEASURE_HARD_BLOCK_EVENTS: Measure
COMPARISON_UNSPECIFIED: Comparison
COMPARISON_AT_LEAST: Comparison
COMPARISON_MORE_THAN: Comparison
COMPARISON_LESS_THAN: Comparison
COMPARISON_EQUAL: Comparison
CIRCUIT_STATE_UNSPECIFIED: CircuitState
CIRCUIT_STATE_CLOSED: CircuitState
CIRCUIT_STATE_OPEN: CircuitState
CIRCUIT_STATE_HALF_OPEN: CircuitState
CIRCUIT_STATE_FORCED_OPEN: CircuitState
CIRCUIT_STATE_FORCED_CLOSED: CircuitState

class Threshold(_message.Message):
    __slots__ = ("measure", "comparison", "limit", "windows", "min_samples")
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    MIN_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    measure: Measure
    comparison: Comparison
    limit: int
    windows: int
    min_samples: int
    def __init__(self, measure: _Optional[_Union[Measure, str]] = ..., comparison: _Optional[_Union[Comparison, str]] = ..., limit: _Optional[int] = ..., windows: _Optional[int] = ..., min_samples: _Optional[int] = ...) -> None: ...

class CircuitPolicy(_message.Message):
    __slots__ = ("open_when", "return_when", "cooldown", "max_cooldown", "probes", "window")
    OPEN_WHEN_FIELD_NUMBER: _ClassVar[int]
    RETURN_WHEN_FIELD_NUMBER: _ClassVar[int]
    COOLDOWN_FIELD_NUMBER: _ClassVar[int]
    MAX_COOLDOWN_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    open_when: _containers.RepeatedCompositeFieldContainer[Threshold]
    return_when: _containers.RepeatedCompositeFieldContainer[Threshold]
    cooldown: _duration_pb2.Duration
    max_cooldown: _duration_pb2.Duration
    probes: int
    window: _duration_pb2.Duration
    def __init__(self, open_when: _Optional[_Iterable[_Union[Threshold, _Mapping]]] = ..., return_when: _Optional[_Iterable[_Union[Threshold, _Mapping]]] = ..., cooldown: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_cooldown: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., probes: _Optional[int] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Provider(_message.Message):
    __slots__ = ("provider_ref", "priority", "enabled", "kms_handle_ref", "timeout", "max_retries", "circuit", "region", "allowed_tenants", "locales")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    KMS_HANDLE_REF_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_TENANTS_FIELD_NUMBER: _ClassVar[int]
    LOCALES_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    priority: int
    enabled: bool
    kms_handle_ref: str
    timeout: _duration_pb2.Duration
    max_retries: int
    circuit: CircuitPolicy
    region: str
    allowed_tenants: _containers.RepeatedScalarFieldContainer[str]
    locales: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provider_ref: _Optional[str] = ..., priority: _Optional[int] = ..., enabled: bool = ..., kms_handle_ref: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_retries: _Optional[int] = ..., circuit: _Optional[_Union[CircuitPolicy, _Mapping]] = ..., region: _Optional[str] = ..., allowed_tenants: _Optional[_Iterable[str]] = ..., locales: _Optional[_Iterable[str]] = ...) -> None: ...

class DomainSection(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    def __init__(self, providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ...) -> None: ...

class DeliverySection(_message.Message):
    __slots__ = ("sms", "email", "whatsapp", "wechat", "push")
    SMS_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    WHATSAPP_FIELD_NUMBER: _ClassVar[int]
    WECHAT_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    sms: DomainSection
    email: DomainSection
    whatsapp: DomainSection
    wechat: DomainSection
    push: DomainSection
    def __init__(self, sms: _Optional[_Union[DomainSection, _Mapping]] = ..., email: _Optional[_Union[DomainSection, _Mapping]] = ..., whatsapp: _Optional[_Union[DomainSection, _Mapping]] = ..., wechat: _Optional[_Union[DomainSection, _Mapping]] = ..., push: _Optional[_Union[DomainSection, _Mapping]] = ...) -> None: ...

class ProviderOverride(_message.Message):
    __slots__ = ("domain", "provider_ref", "priority", "enabled", "timeout", "max_retries", "circuit")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    domain: Domain
    provider_ref: str
    priority: int
    enabled: bool
    timeout: _duration_pb2.Duration
    max_retries: int
    circuit: CircuitPolicy
    def __init__(self, domain: _Optional[_Union[Domain, str]] = ..., provider_ref: _Optional[str] = ..., priority: _Optional[int] = ..., enabled: bool = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_retries: _Optional[int] = ..., circuit: _Optional[_Union[CircuitPolicy, _Mapping]] = ...) -> None: ...

class LayerSection(_message.Message):
    __slots__ = ("providers", "allowed_regions", "allow_cross_region", "allow_cross_locale", "allow_inconclusive_fallback")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_REGIONS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_CROSS_REGION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_CROSS_LOCALE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_INCONCLUSIVE_FALLBACK_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[ProviderOverride]
    allowed_regions: _containers.RepeatedScalarFieldContainer[str]
    allow_cross_region: bool
    allow_cross_locale: bool
    allow_inconclusive_fallback: bool
    def __init__(self, providers: _Optional[_Iterable[_Union[ProviderOverride, _Mapping]]] = ..., allowed_regions: _Optional[_Iterable[str]] = ..., allow_cross_region: bool = ..., allow_cross_locale: bool = ..., allow_inconclusive_fallback: bool = ...) -> None: ...

class TenantOverride(_message.Message):
    __slots__ = ("tenant_id", "section")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    section: LayerSection
    def __init__(self, tenant_id: _Optional[str] = ..., section: _Optional[_Union[LayerSection, _Mapping]] = ...) -> None: ...

class ScopedOverride(_message.Message):
    __slots__ = ("tenant_id", "scope_id", "section")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_ID_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    scope_id: str
    section: LayerSection
    def __init__(self, tenant_id: _Optional[str] = ..., scope_id: _Optional[str] = ..., section: _Optional[_Union[LayerSection, _Mapping]] = ...) -> None: ...

class SelectionOwner(_message.Message):
    __slots__ = ("domain", "engine")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    domain: str
    engine: str
    def __init__(self, domain: _Optional[str] = ..., engine: _Optional[str] = ...) -> None: ...

class ProviderRoutingProfileV1(_message.Message):
    __slots__ = ("schema_version", "profile_id", "profile_version", "effective_from", "precedence_order", "selection_owner_engine", "stt", "tts", "llm", "delivery", "global_default", "tenant_overrides", "locale_overrides", "channel_overrides", "user_exceptions", "artifact_id", "rollback_pointer_ref", "judge_threshold_set_id")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FROM_FIELD_NUMBER: _ClassVar[int]
    PRECEDENCE_ORDER_FIELD_NUMBER: _ClassVar[int]
    SELECTION_OWNER_ENGINE_FIELD_NUMBER: _ClassVar[int]
    STT_FIELD_NUMBER: _ClassVar[int]
    TTS_FIELD_NUMBER: _ClassVar[int]
    LLM_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    TENANT_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    LOCALE_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    USER_EXCEPTIONS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_POINTER_REF_FIELD_NUMBER: _ClassVar[int]
    JUDGE_THRESHOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    schema_version: str
    profile_id: str
    profile_version: int
    effective_from: _timestamp_pb2.Timestamp
    precedence_order: _containers.RepeatedScalarFieldContainer[ProfileLayer]
    selection_owner_engine: _containers.RepeatedCompositeFieldContainer[SelectionOwner]
    stt: DomainSection
    tts: DomainSection
    llm: DomainSection
    delivery: DeliverySection
    global_default: LayerSection
    tenant_overrides: _containers.RepeatedCompositeFieldContainer[TenantOverride]
    locale_overrides: _containers.RepeatedCompositeFieldContainer[ScopedOverride]
    channel_overrides: _containers.RepeatedCompositeFieldContainer[ScopedOverride]
    user_exceptions: _containers.RepeatedCompositeFieldContainer[ScopedOverride]
    artifact_id: str
    rollback_pointer_ref: str
    judge_threshold_set_id: str
    def __init__(self, schema_version: _Optional[str] = ..., profile_id: _Optional[str] = ..., profile_version: _Optional[int] = ..., effective_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., precedence_order: _Optional[_Iterable[_Union[ProfileLayer, str]]] = ..., selection_owner_engine: _Optional[_Iterable[_Union[SelectionOwner, _Mapping]]] = ..., stt: _Optional[_Union[DomainSection, _Mapping]] = ..., tts: _Optional[_Union[DomainSection, _Mapping]] = ..., llm: _Optional[_Union[DomainSection, _Mapping]] = ..., delivery: _Optional[_Union[DeliverySection, _Mapping]] = ..., global_default: _Optional[_Union[LayerSection, _Mapping]] = ..., tenant_overrides: _Optional[_Iterable[_Union[TenantOverride, _Mapping]]] = ..., locale_overrides: _Optional[_Iterable[_Union[ScopedOverride, _Mapping]]] = ..., channel_overrides: _Optional[_Iterable[_Union[ScopedOverride, _Mapping]]] = ..., user_exceptions: _Optional[_Iterable[_Union[ScopedOverride, _Mapping]]] = ..., artifact_id: _Optional[str] = ..., rollback_pointer_ref: _Optional[str] = ..., judge_threshold_set_id: _Optional[str] = ...) -> None: ...

class RoutingSubject(_message.Message):
    __slots__ = ("tenant_id", "locale", "channel", "user_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    locale: str
    channel: str
    user_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., locale: _Optional[str] = ..., channel: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("field", "layer", "scope_id")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    SCOPE_ID_FIELD_NUMBER: _ClassVar[int]
    field: str
    layer: ProfileLayer
    scope_id: str
    def __init__(self, field: _Optional[str] = ..., layer: _Optional[_Union[ProfileLayer, str]] = ..., scope_id: _Optional[str] = ...) -> None: ...

class Circuit(_message.Message):
    __slots__ = ("owner", "provider_ref", "profile_hash", "state", "reason_code", "since", "retry_at", "trips")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    PROFILE_HASH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AT_FIELD_NUMBER: _ClassVar[int]
    TRIPS_FIELD_NUMBER: _ClassVar[int]
    owner: str
    provider_ref: str
    profile_hash: bytes
    state: CircuitState
    reason_code: str
    since: _timestamp_pb2.Timestamp
    retry_at: _timestamp_pb2.Timestamp
    trips: int
    def __init__(self, owner: _Optional[str] = ..., provider_ref: _Optional[str] = ..., profile_hash: _Optional[bytes] = ..., state: _Optional[_Union[CircuitState, str]] = ..., reason_code: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retry_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trips: _Optional[int] = ...) -> None: ...
