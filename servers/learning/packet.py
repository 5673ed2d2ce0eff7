"""A decision packet of PH1.D as JSON, read strictly: every field of `selene.llm.v1.DecisionPacket` is there, of its
type, within the contract's limits, and nothing else is (§5.2, §16). Pure.

The contract message is the schema; no list of its fields is kept here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from selene.llm.v1.service_pb2 import DecisionPacket

_SCALARS: Final[Mapping[int, type]] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_INT32: int,
    FieldDescriptor.TYPE_BOOL: bool,
}


class PacketInvalid(ValueError):
    """It is no decision packet."""


def read_packet(packet: bytes) -> DecisionPacket:
    """The packet that UTF-8 JSON holds. PacketInvalid."""
    try:
        wrote = json.loads(packet.decode(), object_pairs_hook=_without_repetition)
        read = DecisionPacket(**_fields(wrote, DecisionPacket.DESCRIPTOR))
    except (ValueError, RecursionError):
        raise PacketInvalid from None
    if protovalidate.collect_violations(read):
        raise PacketInvalid
    return read


def _fields(wrote: object, message: Any) -> dict[str, Any]:
    if not isinstance(wrote, dict) or wrote.keys() != set(message.fields_by_name):
        raise PacketInvalid
    return {field.name: _value(wrote[field.name], field) for field in message.fields}


def _value(wrote: object, field: Any) -> Any:
    if not field.is_repeated:
        return _single(wrote, field)
    if not isinstance(wrote, list):
        raise PacketInvalid
    return [_single(each, field) for each in wrote]


def _single(wrote: object, field: Any) -> Any:
    if field.message_type is not None:
        return _fields(wrote, field.message_type)
    if type(wrote) is not _SCALARS.get(field.type):  # exactly: True is an int to isinstance
        raise PacketInvalid
    return wrote


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise PacketInvalid
    return fields
