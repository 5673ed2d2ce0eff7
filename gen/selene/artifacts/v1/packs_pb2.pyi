from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PackHeader(_message.Message):
    __slots__ = ("pack_type", "format", "gold_set_ref", "gold_set_hash")
    PACK_TYPE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_REF_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_HASH_FIELD_NUMBER: _ClassVar[int]
    pack_type: str
    format: int
    gold_set_ref: str
    gold_set_hash: bytes
    def __init__(self, pack_type: _Optional[str] = ..., format: _Optional[int] = ..., gold_set_ref: _Optional[str] = ..., gold_set_hash: _Optional[bytes] = ...) -> None: ...

class SttAdaptationProfile(_message.Message):
    __slots__ = ("header", "substitutions")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    SUBSTITUTIONS_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    substitutions: _containers.RepeatedCompositeFieldContainer[SttSubstitution]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., substitutions: _Optional[_Iterable[_Union[SttSubstitution, _Mapping]]] = ...) -> None: ...

class SttSubstitution(_message.Message):
    __slots__ = ("locale", "heard", "meant", "utterances")
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    MEANT_FIELD_NUMBER: _ClassVar[int]
    UTTERANCES_FIELD_NUMBER: _ClassVar[int]
    locale: str
    heard: str
    meant: str
    utterances: int
    def __init__(self, locale: _Optional[str] = ..., heard: _Optional[str] = ..., meant: _Optional[str] = ..., utterances: _Optional[int] = ...) -> None: ...

class SttVocabPack(_message.Message):
    __slots__ = ("header", "terms")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    terms: _containers.RepeatedCompositeFieldContainer[VocabTerm]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., terms: _Optional[_Iterable[_Union[VocabTerm, _Mapping]]] = ...) -> None: ...

class VocabTerm(_message.Message):
    __slots__ = ("locale", "term", "utterances")
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    UTTERANCES_FIELD_NUMBER: _ClassVar[int]
    locale: str
    term: str
    utterances: int
    def __init__(self, locale: _Optional[str] = ..., term: _Optional[str] = ..., utterances: _Optional[int] = ...) -> None: ...

class SttRoutingPolicyPack(_message.Message):
    __slots__ = ("header", "preferences")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    preferences: _containers.RepeatedCompositeFieldContainer[RoutePreference]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., preferences: _Optional[_Iterable[_Union[RoutePreference, _Mapping]]] = ...) -> None: ...

class TtsRoutingPolicyPack(_message.Message):
    __slots__ = ("header", "preferences")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    preferences: _containers.RepeatedCompositeFieldContainer[RoutePreference]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., preferences: _Optional[_Iterable[_Union[RoutePreference, _Mapping]]] = ...) -> None: ...

class RoutePreference(_message.Message):
    __slots__ = ("provider_ref", "over_provider_ref", "turns", "preferred_bp", "quality_delta_bp")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    OVER_PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_BP_FIELD_NUMBER: _ClassVar[int]
    QUALITY_DELTA_BP_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    over_provider_ref: str
    turns: int
    preferred_bp: int
    quality_delta_bp: int
    def __init__(self, provider_ref: _Optional[str] = ..., over_provider_ref: _Optional[str] = ..., turns: _Optional[int] = ..., preferred_bp: _Optional[int] = ..., quality_delta_bp: _Optional[int] = ...) -> None: ...

class TtsPronunciationPack(_message.Message):
    __slots__ = ("header", "entries")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    entries: _containers.RepeatedCompositeFieldContainer[LexiconEntry]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., entries: _Optional[_Iterable[_Union[LexiconEntry, _Mapping]]] = ...) -> None: ...

class LexiconEntry(_message.Message):
    __slots__ = ("locale", "term", "phonemes")
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    PHONEMES_FIELD_NUMBER: _ClassVar[int]
    locale: str
    term: str
    phonemes: str
    def __init__(self, locale: _Optional[str] = ..., term: _Optional[str] = ..., phonemes: _Optional[str] = ...) -> None: ...

class PersonaToneProfileDelta(_message.Message):
    __slots__ = ("header", "deltas")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    deltas: _containers.RepeatedCompositeFieldContainer[ToneDelta]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., deltas: _Optional[_Iterable[_Union[ToneDelta, _Mapping]]] = ...) -> None: ...

class ToneDelta(_message.Message):
    __slots__ = ("trait", "delta_bp")
    TRAIT_FIELD_NUMBER: _ClassVar[int]
    DELTA_BP_FIELD_NUMBER: _ClassVar[int]
    trait: str
    delta_bp: int
    def __init__(self, trait: _Optional[str] = ..., delta_bp: _Optional[int] = ...) -> None: ...

class ContextRankingPack(_message.Message):
    __slots__ = ("header", "queries")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    queries: _containers.RepeatedCompositeFieldContainer[JudgedQuery]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., queries: _Optional[_Iterable[_Union[JudgedQuery, _Mapping]]] = ...) -> None: ...

class JudgedQuery(_message.Message):
    __slots__ = ("query_ref", "relevant_refs")
    QUERY_REF_FIELD_NUMBER: _ClassVar[int]
    RELEVANT_REFS_FIELD_NUMBER: _ClassVar[int]
    query_ref: str
    relevant_refs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, query_ref: _Optional[str] = ..., relevant_refs: _Optional[_Iterable[str]] = ...) -> None: ...

class NlpGoldLabelPack(_message.Message):
    __slots__ = ("header", "texts")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    texts: _containers.RepeatedCompositeFieldContainer[LabelledText]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., texts: _Optional[_Iterable[_Union[LabelledText, _Mapping]]] = ...) -> None: ...

class LabelledText(_message.Message):
    __slots__ = ("text", "intent", "slots")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    text: str
    intent: str
    slots: _containers.RepeatedCompositeFieldContainer[SlotValue]
    def __init__(self, text: _Optional[str] = ..., intent: _Optional[str] = ..., slots: _Optional[_Iterable[_Union[SlotValue, _Mapping]]] = ...) -> None: ...

class SlotValue(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class LlmGoldLabelPack(_message.Message):
    __slots__ = ("header", "packets")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    header: PackHeader
    packets: _containers.RepeatedCompositeFieldContainer[LabelledPacket]
    def __init__(self, header: _Optional[_Union[PackHeader, _Mapping]] = ..., packets: _Optional[_Iterable[_Union[LabelledPacket, _Mapping]]] = ...) -> None: ...

class LabelledPacket(_message.Message):
    __slots__ = ("item_id", "packet")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    packet: bytes
    def __init__(self, item_id: _Optional[str] = ..., packet: _Optional[bytes] = ...) -> None: ...
