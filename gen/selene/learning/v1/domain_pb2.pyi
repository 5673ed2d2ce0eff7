from selene.gold.v1 import gold_pb2 as _gold_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LearningDomain(_message.Message):
    __slots__ = ("domain", "gold_unit", "capture_fields", "storage", "producers", "packaging_owners", "approval_path", "consumers", "pack_types", "primary_kpi", "rollback_rule", "lacking")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    GOLD_UNIT_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELDS_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    PRODUCERS_FIELD_NUMBER: _ClassVar[int]
    PACKAGING_OWNERS_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_PATH_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    PACK_TYPES_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_KPI_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_RULE_FIELD_NUMBER: _ClassVar[int]
    LACKING_FIELD_NUMBER: _ClassVar[int]
    domain: _gold_pb2.GoldDomain
    gold_unit: str
    capture_fields: _containers.RepeatedScalarFieldContainer[str]
    storage: str
    producers: _containers.RepeatedScalarFieldContainer[str]
    packaging_owners: _containers.RepeatedScalarFieldContainer[str]
    approval_path: _containers.RepeatedScalarFieldContainer[str]
    consumers: _containers.RepeatedScalarFieldContainer[str]
    pack_types: _containers.RepeatedScalarFieldContainer[str]
    primary_kpi: str
    rollback_rule: str
    lacking: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., gold_unit: _Optional[str] = ..., capture_fields: _Optional[_Iterable[str]] = ..., storage: _Optional[str] = ..., producers: _Optional[_Iterable[str]] = ..., packaging_owners: _Optional[_Iterable[str]] = ..., approval_path: _Optional[_Iterable[str]] = ..., consumers: _Optional[_Iterable[str]] = ..., pack_types: _Optional[_Iterable[str]] = ..., primary_kpi: _Optional[str] = ..., rollback_rule: _Optional[str] = ..., lacking: _Optional[_Iterable[str]] = ...) -> None: ...

class LineageEdge(_message.Message):
    __slots__ = ("ancestor_ref", "descendant_ref", "depth")
    ANCESTOR_REF_FIELD_NUMBER: _ClassVar[int]
    DESCENDANT_REF_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    ancestor_ref: str
    descendant_ref: str
    depth: int
    def __init__(self, ancestor_ref: _Optional[str] = ..., descendant_ref: _Optional[str] = ..., depth: _Optional[int] = ...) -> None: ...
