import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.common.v1 import paging_pb2 as _paging_pb2
from selene.provider.v1 import provider_pb2 as _provider_pb2
from selene.routing.v1 import routing_pb2 as _routing_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Availability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AVAILABILITY_UNSPECIFIED: _ClassVar[Availability]
    AVAILABILITY_READY: _ClassVar[Availability]
    AVAILABILITY_NOT_CONFIGURED: _ClassVar[Availability]
    AVAILABILITY_NOT_ALLOWED: _ClassVar[Availability]
    AVAILABILITY_CIRCUIT_OPEN: _ClassVar[Availability]

class CircuitForce(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CIRCUIT_FORCE_UNSPECIFIED: _ClassVar[CircuitForce]
    CIRCUIT_FORCE_OPEN: _ClassVar[CircuitForce]
    CIRCUIT_FORCE_CLOSED: _ClassVar[CircuitForce]
    CIRCUIT_FORCE_RELEASED: _ClassVar[CircuitForce]

class PolicyEffect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_EFFECT_UNSPECIFIED: _ClassVar[PolicyEffect]
    POLICY_EFFECT_ALLOW: _ClassVar[PolicyEffect]
    POLICY_EFFECT_DENY: _ClassVar[PolicyEffect]

class BudgetPeriod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUDGET_PERIOD_UNSPECIFIED: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_DAY: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_MONTH: _ClassVar[BudgetPeriod]
AVAILABILITY_UNSPECIFIED: Availability
AVAILABILITY_READY: Availability
AVAILABILITY_NOT_CONFIGURED: Availability
AVAILABILITY_NOT_ALLOWED: Availability
AVAILABILITY_CIRCUIT_OPEN: Availability
CIRCUIT_FORCE_UNSPECIFIED: CircuitForce
CIRCUIT_FORCE_OPEN: CircuitForce
CIRCUIT_FORCE_CLOSED: CircuitForce
CIRCUIT_FORCE_RELEASED: CircuitForce
POLICY_EFFECT_UNSPECIFIED: PolicyEffect
POLICY_EFFECT_ALLOW: PolicyEffect
POLICY_EFFECT_DENY: PolicyEffect
BUDGET_PERIOD_UNSPECIFIED: BudgetPeriod
BUDGET_PERIOD_DAY: BudgetPeriod
BUDGET_PERIOD_MONTH: BudgetPeriod

class ProfileProblem(_message.Message):
    __slots__ = ("code", "where", "description")
    CODE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    code: str
    where: str
    description: str
    def __init__(self, code: _Optional[str] = ..., where: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class ValidateProfileRequest(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: _routing_pb2.ProviderRoutingProfileV1
    def __init__(self, profile: _Optional[_Union[_routing_pb2.ProviderRoutingProfileV1, _Mapping]] = ...) -> None: ...

class ValidateProfileResponse(_message.Message):
    __slots__ = ("problems", "content_hash", "warnings")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[ProfileProblem]
    content_hash: bytes
    warnings: _containers.RepeatedCompositeFieldContainer[ProfileProblem]
    def __init__(self, problems: _Optional[_Iterable[_Union[ProfileProblem, _Mapping]]] = ..., content_hash: _Optional[bytes] = ..., warnings: _Optional[_Iterable[_Union[ProfileProblem, _Mapping]]] = ...) -> None: ...

class ProfileVersion(_message.Message):
    __slots__ = ("profile_version", "content_hash", "registered_at", "active", "rollback_target")
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_TARGET_FIELD_NUMBER: _ClassVar[int]
    profile_version: int
    content_hash: bytes
    registered_at: _timestamp_pb2.Timestamp
    active: bool
    rollback_target: bool
    def __init__(self, profile_version: _Optional[int] = ..., content_hash: _Optional[bytes] = ..., registered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., active: bool = ..., rollback_target: bool = ...) -> None: ...

class PutProfileRequest(_message.Message):
    __slots__ = ("profile", "idempotency_key")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    profile: _routing_pb2.ProviderRoutingProfileV1
    idempotency_key: str
    def __init__(self, profile: _Optional[_Union[_routing_pb2.ProviderRoutingProfileV1, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class PutProfileResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: ProfileVersion
    def __init__(self, version: _Optional[_Union[ProfileVersion, _Mapping]] = ...) -> None: ...

class ActivateProfileRequest(_message.Message):
    __slots__ = ("profile_version", "reason_code", "idempotency_key")
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    profile_version: int
    reason_code: str
    idempotency_key: str
    def __init__(self, profile_version: _Optional[int] = ..., reason_code: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ActivateProfileResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: ProfileVersion
    def __init__(self, version: _Optional[_Union[ProfileVersion, _Mapping]] = ...) -> None: ...

class RollbackProfileRequest(_message.Message):
    __slots__ = ("reason_code", "idempotency_key")
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    reason_code: str
    idempotency_key: str
    def __init__(self, reason_code: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RollbackProfileResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: ProfileVersion
    def __init__(self, version: _Optional[_Union[ProfileVersion, _Mapping]] = ...) -> None: ...

class GetProfileRequest(_message.Message):
    __slots__ = ("profile_version",)
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    profile_version: int
    def __init__(self, profile_version: _Optional[int] = ...) -> None: ...

class GetProfileResponse(_message.Message):
    __slots__ = ("profile", "version")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    profile: _routing_pb2.ProviderRoutingProfileV1
    version: ProfileVersion
    def __init__(self, profile: _Optional[_Union[_routing_pb2.ProviderRoutingProfileV1, _Mapping]] = ..., version: _Optional[_Union[ProfileVersion, _Mapping]] = ...) -> None: ...

class ListProfilesRequest(_message.Message):
    __slots__ = ("page",)
    PAGE_FIELD_NUMBER: _ClassVar[int]
    page: _paging_pb2.PageRequest
    def __init__(self, page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListProfilesResponse(_message.Message):
    __slots__ = ("versions", "page")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[ProfileVersion]
    page: _paging_pb2.PageInfo
    def __init__(self, versions: _Optional[_Iterable[_Union[ProfileVersion, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ResolveProfileRequest(_message.Message):
    __slots__ = ("subject",)
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    subject: _routing_pb2.RoutingSubject
    def __init__(self, subject: _Optional[_Union[_routing_pb2.RoutingSubject, _Mapping]] = ...) -> None: ...

class ResolvedProvider(_message.Message):
    __slots__ = ("domain", "provider_ref", "priority", "enabled", "timeout", "max_retries", "region", "tenant_allowed", "locales")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    TENANT_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    LOCALES_FIELD_NUMBER: _ClassVar[int]
    domain: _routing_pb2.Domain
    provider_ref: str
    priority: int
    enabled: bool
    timeout: _duration_pb2.Duration
    max_retries: int
    region: str
    tenant_allowed: bool
    locales: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, domain: _Optional[_Union[_routing_pb2.Domain, str]] = ..., provider_ref: _Optional[str] = ..., priority: _Optional[int] = ..., enabled: bool = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_retries: _Optional[int] = ..., region: _Optional[str] = ..., tenant_allowed: bool = ..., locales: _Optional[_Iterable[str]] = ...) -> None: ...

class ResolveProfileResponse(_message.Message):
    __slots__ = ("profile_id", "profile_version", "profile_hash", "providers", "allowed_regions", "allow_cross_region", "allow_cross_locale", "allow_inconclusive_fallback")
    PROFILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_HASH_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_REGIONS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_CROSS_REGION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_CROSS_LOCALE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_INCONCLUSIVE_FALLBACK_FIELD_NUMBER: _ClassVar[int]
    profile_id: str
    profile_version: int
    profile_hash: bytes
    providers: _containers.RepeatedCompositeFieldContainer[ResolvedProvider]
    allowed_regions: _containers.RepeatedScalarFieldContainer[str]
    allow_cross_region: bool
    allow_cross_locale: bool
    allow_inconclusive_fallback: bool
    def __init__(self, profile_id: _Optional[str] = ..., profile_version: _Optional[int] = ..., profile_hash: _Optional[bytes] = ..., providers: _Optional[_Iterable[_Union[ResolvedProvider, _Mapping]]] = ..., allowed_regions: _Optional[_Iterable[str]] = ..., allow_cross_region: bool = ..., allow_cross_locale: bool = ..., allow_inconclusive_fallback: bool = ...) -> None: ...

class ExplainProfileRequest(_message.Message):
    __slots__ = ("subject", "prefix")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    subject: _routing_pb2.RoutingSubject
    prefix: str
    def __init__(self, subject: _Optional[_Union[_routing_pb2.RoutingSubject, _Mapping]] = ..., prefix: _Optional[str] = ...) -> None: ...

class ExplainProfileResponse(_message.Message):
    __slots__ = ("fields", "profile_hash")
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_HASH_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[_routing_pb2.Provenance]
    profile_hash: bytes
    def __init__(self, fields: _Optional[_Iterable[_Union[_routing_pb2.Provenance, _Mapping]]] = ..., profile_hash: _Optional[bytes] = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ("subject",)
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    subject: _routing_pb2.RoutingSubject
    def __init__(self, subject: _Optional[_Union[_routing_pb2.RoutingSubject, _Mapping]] = ...) -> None: ...

class MeasureReading(_message.Message):
    __slots__ = ("measure", "value", "samples")
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    measure: _routing_pb2.Measure
    value: float
    samples: int
    def __init__(self, measure: _Optional[_Union[_routing_pb2.Measure, str]] = ..., value: _Optional[float] = ..., samples: _Optional[int] = ...) -> None: ...

class ProviderStanding(_message.Message):
    __slots__ = ("provider_ref", "priority", "priority_layer", "availability", "reason_code", "circuit", "readings", "next", "last_succeeded_at", "last_failed_at", "last_failure")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_LAYER_FIELD_NUMBER: _ClassVar[int]
    AVAILABILITY_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    READINGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    LAST_SUCCEEDED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    priority: int
    priority_layer: _routing_pb2.ProfileLayer
    availability: Availability
    reason_code: str
    circuit: _routing_pb2.Circuit
    readings: _containers.RepeatedCompositeFieldContainer[MeasureReading]
    next: bool
    last_succeeded_at: _timestamp_pb2.Timestamp
    last_failed_at: _timestamp_pb2.Timestamp
    last_failure: str
    def __init__(self, provider_ref: _Optional[str] = ..., priority: _Optional[int] = ..., priority_layer: _Optional[_Union[_routing_pb2.ProfileLayer, str]] = ..., availability: _Optional[_Union[Availability, str]] = ..., reason_code: _Optional[str] = ..., circuit: _Optional[_Union[_routing_pb2.Circuit, _Mapping]] = ..., readings: _Optional[_Iterable[_Union[MeasureReading, _Mapping]]] = ..., next: bool = ..., last_succeeded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_failed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_failure: _Optional[str] = ...) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("domain", "providers", "profile_hash", "refusal")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_HASH_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    domain: _routing_pb2.Domain
    providers: _containers.RepeatedCompositeFieldContainer[ProviderStanding]
    profile_hash: bytes
    refusal: str
    def __init__(self, domain: _Optional[_Union[_routing_pb2.Domain, str]] = ..., providers: _Optional[_Iterable[_Union[ProviderStanding, _Mapping]]] = ..., profile_hash: _Optional[bytes] = ..., refusal: _Optional[str] = ...) -> None: ...

class CircuitKey(_message.Message):
    __slots__ = ("provider_ref", "profile_hash")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    PROFILE_HASH_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    profile_hash: bytes
    def __init__(self, provider_ref: _Optional[str] = ..., profile_hash: _Optional[bytes] = ...) -> None: ...

class GetCircuitRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: CircuitKey
    def __init__(self, key: _Optional[_Union[CircuitKey, _Mapping]] = ...) -> None: ...

class GetCircuitResponse(_message.Message):
    __slots__ = ("circuit",)
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    circuit: _routing_pb2.Circuit
    def __init__(self, circuit: _Optional[_Union[_routing_pb2.Circuit, _Mapping]] = ...) -> None: ...

class WatchCircuitsRequest(_message.Message):
    __slots__ = ("provider_ref",)
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    def __init__(self, provider_ref: _Optional[str] = ...) -> None: ...

class WatchCircuitsResponse(_message.Message):
    __slots__ = ("circuit",)
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    circuit: _routing_pb2.Circuit
    def __init__(self, circuit: _Optional[_Union[_routing_pb2.Circuit, _Mapping]] = ...) -> None: ...

class CircuitTransition(_message.Message):
    __slots__ = ("provider_ref", "profile_hash", "before", "after", "reason_code", "at")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    PROFILE_HASH_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    profile_hash: bytes
    before: _routing_pb2.CircuitState
    after: _routing_pb2.CircuitState
    reason_code: str
    at: _timestamp_pb2.Timestamp
    def __init__(self, provider_ref: _Optional[str] = ..., profile_hash: _Optional[bytes] = ..., before: _Optional[_Union[_routing_pb2.CircuitState, str]] = ..., after: _Optional[_Union[_routing_pb2.CircuitState, str]] = ..., reason_code: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListTransitionsRequest(_message.Message):
    __slots__ = ("provider_ref", "page")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    page: _paging_pb2.PageRequest
    def __init__(self, provider_ref: _Optional[str] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListTransitionsResponse(_message.Message):
    __slots__ = ("transitions", "page")
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    transitions: _containers.RepeatedCompositeFieldContainer[CircuitTransition]
    page: _paging_pb2.PageInfo
    def __init__(self, transitions: _Optional[_Iterable[_Union[CircuitTransition, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class ForceCircuitRequest(_message.Message):
    __slots__ = ("key", "force", "reason_code", "idempotency_key")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    key: CircuitKey
    force: CircuitForce
    reason_code: str
    idempotency_key: str
    def __init__(self, key: _Optional[_Union[CircuitKey, _Mapping]] = ..., force: _Optional[_Union[CircuitForce, str]] = ..., reason_code: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ForceCircuitResponse(_message.Message):
    __slots__ = ("circuit",)
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    circuit: _routing_pb2.Circuit
    def __init__(self, circuit: _Optional[_Union[_routing_pb2.Circuit, _Mapping]] = ...) -> None: ...

class PolicyRule(_message.Message):
    __slots__ = ("rule_id", "effect", "reason_code", "domains", "capabilities", "channels", "users")
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    effect: PolicyEffect
    reason_code: str
    domains: _containers.RepeatedScalarFieldContainer[_routing_pb2.Domain]
    capabilities: _containers.RepeatedScalarFieldContainer[_provider_pb2.Capability]
    channels: _containers.RepeatedScalarFieldContainer[str]
    users: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rule_id: _Optional[str] = ..., effect: _Optional[_Union[PolicyEffect, str]] = ..., reason_code: _Optional[str] = ..., domains: _Optional[_Iterable[_Union[_routing_pb2.Domain, str]]] = ..., capabilities: _Optional[_Iterable[_Union[_provider_pb2.Capability, str]]] = ..., channels: _Optional[_Iterable[str]] = ..., users: _Optional[_Iterable[str]] = ...) -> None: ...

class PutPolicyRuleRequest(_message.Message):
    __slots__ = ("tenant_id", "rule", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    rule: PolicyRule
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., rule: _Optional[_Union[PolicyRule, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class PutPolicyRuleResponse(_message.Message):
    __slots__ = ("replaced",)
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    replaced: bool
    def __init__(self, replaced: bool = ...) -> None: ...

class DeletePolicyRuleRequest(_message.Message):
    __slots__ = ("tenant_id", "rule_id", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    rule_id: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class DeletePolicyRuleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPolicyRulesRequest(_message.Message):
    __slots__ = ("tenant_id", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class TenantPolicyRule(_message.Message):
    __slots__ = ("tenant_id", "rule")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    rule: PolicyRule
    def __init__(self, tenant_id: _Optional[str] = ..., rule: _Optional[_Union[PolicyRule, _Mapping]] = ...) -> None: ...

class ListPolicyRulesResponse(_message.Message):
    __slots__ = ("rules", "page")
    RULES_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[TenantPolicyRule]
    page: _paging_pb2.PageInfo
    def __init__(self, rules: _Optional[_Iterable[_Union[TenantPolicyRule, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("domain", "period", "limit_micros", "currency")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_MICROS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    domain: _routing_pb2.Domain
    period: BudgetPeriod
    limit_micros: int
    currency: str
    def __init__(self, domain: _Optional[_Union[_routing_pb2.Domain, str]] = ..., period: _Optional[_Union[BudgetPeriod, str]] = ..., limit_micros: _Optional[int] = ..., currency: _Optional[str] = ...) -> None: ...

class SetBudgetRequest(_message.Message):
    __slots__ = ("tenant_id", "budget", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    budget: Budget
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SetBudgetResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: BudgetStanding
    def __init__(self, budget: _Optional[_Union[BudgetStanding, _Mapping]] = ...) -> None: ...

class DeleteBudgetRequest(_message.Message):
    __slots__ = ("tenant_id", "domain", "period", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    domain: _routing_pb2.Domain
    period: BudgetPeriod
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., domain: _Optional[_Union[_routing_pb2.Domain, str]] = ..., period: _Optional[_Union[BudgetPeriod, str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class DeleteBudgetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BudgetStanding(_message.Message):
    __slots__ = ("budget", "period_start", "spent_micros", "reserved_micros")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    PERIOD_START_FIELD_NUMBER: _ClassVar[int]
    SPENT_MICROS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_MICROS_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    period_start: _timestamp_pb2.Timestamp
    spent_micros: int
    reserved_micros: int
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ..., period_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spent_micros: _Optional[int] = ..., reserved_micros: _Optional[int] = ...) -> None: ...

class ListBudgetsRequest(_message.Message):
    __slots__ = ("tenant_id",)
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    def __init__(self, tenant_id: _Optional[str] = ...) -> None: ...

class ListBudgetsResponse(_message.Message):
    __slots__ = ("budgets",)
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[BudgetStanding]
    def __init__(self, budgets: _Optional[_Iterable[_Union[BudgetStanding, _Mapping]]] = ...) -> None: ...

class Quota(_message.Message):
    __slots__ = ("domain", "capacity", "refill_per_s")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    REFILL_PER_S_FIELD_NUMBER: _ClassVar[int]
    domain: _routing_pb2.Domain
    capacity: float
    refill_per_s: float
    def __init__(self, domain: _Optional[_Union[_routing_pb2.Domain, str]] = ..., capacity: _Optional[float] = ..., refill_per_s: _Optional[float] = ...) -> None: ...

class SetQuotaRequest(_message.Message):
    __slots__ = ("tenant_id", "quota", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    quota: Quota
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., quota: _Optional[_Union[Quota, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SetQuotaResponse(_message.Message):
    __slots__ = ("quota",)
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    quota: QuotaStanding
    def __init__(self, quota: _Optional[_Union[QuotaStanding, _Mapping]] = ...) -> None: ...

class DeleteQuotaRequest(_message.Message):
    __slots__ = ("tenant_id", "domain", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    domain: _routing_pb2.Domain
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., domain: _Optional[_Union[_routing_pb2.Domain, str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class DeleteQuotaResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class QuotaStanding(_message.Message):
    __slots__ = ("quota", "tokens")
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    quota: Quota
    tokens: float
    def __init__(self, quota: _Optional[_Union[Quota, _Mapping]] = ..., tokens: _Optional[float] = ...) -> None: ...

class ListQuotasRequest(_message.Message):
    __slots__ = ("tenant_id",)
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    def __init__(self, tenant_id: _Optional[str] = ...) -> None: ...

class ListQuotasResponse(_message.Message):
    __slots__ = ("quotas",)
    QUOTAS_FIELD_NUMBER: _ClassVar[int]
    quotas: _containers.RepeatedCompositeFieldContainer[QuotaStanding]
    def __init__(self, quotas: _Optional[_Iterable[_Union[QuotaStanding, _Mapping]]] = ...) -> None: ...
