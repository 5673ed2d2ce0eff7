"""Both serialisers write the same bytes for the same message, and read each other's."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.conformance.clients import dataclass_of

FOLDER = Path(__file__).parent
PROTO = FOLDER.parents[2] / "proto"
GOLDEN = yaml.safe_load((FOLDER / "messages.yaml").read_text(encoding="utf-8"))

# One value of each kind that is told, one that is the default and so is not, and the ends of the range.
SCALARS: dict[int, list[Any]] = {
    FieldDescriptor.TYPE_BOOL: [True, False],
    FieldDescriptor.TYPE_INT32: [1, 0, -1, 2**31 - 1, -(2**31)],
    FieldDescriptor.TYPE_INT64: [1, 0, -1, 2**63 - 1, -(2**63)],
    FieldDescriptor.TYPE_UINT64: [1, 0, 2**64 - 1],
    # Not -0.0: betterproto2 takes it for the default and leaves it out, google.protobuf tells it.
    FieldDescriptor.TYPE_DOUBLE: [0.5, 0.0, -1e308, float("inf"), float("-inf")],
    FieldDescriptor.TYPE_STRING: ["mira", "", "Zoë \u2603 \U0001f50a", "\x00"],
    FieldDescriptor.TYPE_BYTES: [b"\x00\xff", b""],
}
# betterproto2 keeps time in whole microseconds, and durations that are not negative: all that the contracts admit.
TIMES = {
    "google.protobuf.Duration": [(0, 0), (1, 0), (0, 1_000), (61, 500_000_000), (31_536_000, 999_999_000)],
    "google.protobuf.Timestamp": [(0, 0), (1_769_817_600, 0), (1_769_817_600, 1_000), (1_769_817_600, 999_999_000)],
}


def _messages() -> list[descriptor.Descriptor]:
    files = [
        importlib.import_module(
            str(path.relative_to(PROTO)).removesuffix(".proto").replace("/", ".") + "_pb2"
        ).DESCRIPTOR
        for path in sorted((PROTO / "selene").rglob("*.proto"))
    ]
    return [message for file in files for message in file.message_types_by_name.values()]


MESSAGES = _messages()


def _agree(wire: Message) -> None:
    """The dataclass of the bytes writes the same bytes, and so does the stub of the dataclass's."""
    raw = wire.SerializeToString(deterministic=True)
    dataclass = dataclass_of(wire.DESCRIPTOR).parse(raw)
    assert bytes(dataclass) == raw
    assert type(wire).FromString(bytes(dataclass)) == wire


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden["shows"])
def test_both_serialisers_write_the_golden_bytes(golden: dict[str, Any]) -> None:
    kind = descriptor_pool.Default().FindMessageTypeByName(golden["message"])
    wanted = bytes.fromhex(golden["wire"])
    stub = json_format.ParseDict(golden["json"], message_factory.GetMessageClass(kind)())
    assert stub.SerializeToString(deterministic=True) == wanted
    assert bytes(dataclass_of(kind).from_dict(golden["json"])) == wanted
    _agree(message_factory.GetMessageClass(kind).FromString(wanted))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.full_name)
def test_each_value_of_each_field_is_the_same_bytes(message: descriptor.Descriptor) -> None:
    kind = message_factory.GetMessageClass(message)
    _agree(kind())
    for one in message.fields:
        for value in _values(one):
            wire = kind()
            _set(wire, one, value)
            _agree(wire)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.full_name)
def test_a_message_with_every_field_is_the_same_bytes(message: descriptor.Descriptor) -> None:
    """Once for each alternative of its oneofs, three levels deep."""
    alternatives = max([len(group.fields) for group in message.oneofs], default=1)
    for alternative in range(alternatives):
        _agree(_whole(message, 3, alternative))


def test_every_kind_of_field_of_the_contract_is_in_the_golden_messages() -> None:
    used = {_kind(one) for message in MESSAGES for one in message.fields}
    shown: set[tuple[Any, ...]] = set()
    for golden in GOLDEN:
        kind = descriptor_pool.Default().FindMessageTypeByName(golden["message"])
        shown |= set(_kinds_set(message_factory.GetMessageClass(kind).FromString(bytes.fromhex(golden["wire"]))))
    assert used <= shown


def _is_map(one: FieldDescriptor) -> bool:
    return one.message_type is not None and one.message_type.GetOptions().map_entry


def _kind(one: FieldDescriptor) -> tuple[Any, ...]:
    if _is_map(one):
        return "map", *(part.type for part in one.message_type.fields)
    foreign = one.message_type.full_name if one.message_type and one.message_type.full_name in TIMES else ""
    return one.type, one.is_repeated, one.containing_oneof is not None, foreign


def _kinds_set(wire: Message) -> Iterator[tuple[Any, ...]]:
    for one, value in wire.ListFields():
        yield _kind(one)
        if one.message_type is not None and not _is_map(one):
            for item in value if one.is_repeated else [value]:
                yield from _kinds_set(item)


def _values(one: FieldDescriptor) -> list[Any]:
    """What a field may hold; lists of it for a repeated one. A map has one entry, for entries have no order."""
    if _is_map(one):
        key, value = one.message_type.fields
        return [{name: held} for name in SCALARS[key.type] for held in SCALARS[value.type]] + [{}]
    if one.message_type is not None and one.message_type.full_name in TIMES:
        values = [_time(one, *parts) for parts in TIMES[one.message_type.full_name]]
    elif one.message_type is not None:
        values = [_whole(one.message_type, 1, 0), message_factory.GetMessageClass(one.message_type)()]
    elif one.enum_type is not None:
        values = [value.number for value in one.enum_type.values] + [99]
    else:
        values = SCALARS[one.type]
    return [values, values[:1], []] if one.is_repeated else values


def _time(one: FieldDescriptor, seconds: int, nanos: int) -> Message:
    return message_factory.GetMessageClass(one.message_type)(seconds=seconds, nanos=nanos)


def _set(wire: Message, one: FieldDescriptor, value: Any) -> None:
    if _is_map(one):
        getattr(wire, one.name).update(value)
    elif one.is_repeated:
        getattr(wire, one.name).extend(value)
    elif one.message_type is not None:
        getattr(wire, one.name).CopyFrom(value)
        getattr(wire, one.name).SetInParent()
    else:
        setattr(wire, one.name, value)


def _whole(message: descriptor.Descriptor, depth: int, alternative: int) -> Message:
    """Every field set to its first value; of each oneof one alternative; messages within, so deep."""
    wire = message_factory.GetMessageClass(message)()
    chosen = {group.fields[min(alternative, len(group.fields) - 1)].name for group in message.oneofs}
    for one in message.fields:
        if one.containing_oneof is not None and one.name not in chosen:
            continue
        if _is_map(one):
            _set(wire, one, _values(one)[0])
            continue
        inner = one.message_type is not None and one.message_type.full_name not in TIMES
        if inner and not depth:
            continue
        value = _whole(one.message_type, depth - 1, alternative) if inner else _first(one)
        _set(wire, one, list(itertools.repeat(value, 2)) if one.is_repeated else value)
    return wire


def _first(one: FieldDescriptor) -> Any:
    """A value that is not the default."""
    values = _values(one)
    value = values[0][0] if one.is_repeated else values[0]
    return one.enum_type.values[1].number if one.enum_type else value
