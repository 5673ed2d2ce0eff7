"""The decision packet as a language model has to write it: its JSON schema, and the strict reading of what it wrote
(RTE-7). What is not exactly a packet is none (§23).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import protovalidate
from selene.llm.v1.service_pb2 import DecisionPacket as Contract
from selene.llm.v1.service_pb2 import Slot

from servers.llm.adapter import DecisionPacket

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "intent": {"type": "string", "description": "Dotted lower case, such as timer.set; unknown where unclear."},
        "slots": {
            "type": "array",
            "description": "Values that the utterance names, each name at most once.",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "Lower case with underscores."},
                    "value": {"type": "string"},
                },
                "required": ["name", "value"],
                "additionalProperties": False,
            },
        },
        "reply": {"type": "string", "description": "What to say, never empty."},
        "confidence_bp": {"type": "integer", "minimum": 0, "maximum": 10_000, "description": "Basis points."},
        "needs_clarification": {"type": "boolean"},
    },
    "required": ["intent", "slots", "reply", "confidence_bp", "needs_clarification"],
    "additionalProperties": False,
}
"""Within what structured outputs take in strict mode: every property required, none further."""


class PacketMalformed(ValueError):
    """It is no decision packet."""


def read_packet(text: str) -> DecisionPacket:
    """The packet that a whole answer is: every field there, of its type and within the contract's limits, and nothing
    else. PacketMalformed.
    """
    try:
        wrote = json.loads(text, object_pairs_hook=_without_repetition)
        packet = _packet(wrote)
    except (ValueError, RecursionError):
        raise PacketMalformed from None
    if protovalidate.collect_violations(packet):
        raise PacketMalformed
    return DecisionPacket(
        intent=packet.intent,
        slots=tuple((slot.name, slot.value) for slot in packet.slots),
        reply=packet.reply,
        confidence_bp=packet.confidence_bp,
        needs_clarification=packet.needs_clarification,
    )


def _packet(wrote: object) -> Contract:
    fields = _fields(wrote, intent=str, slots=list, reply=str, confidence_bp=int, needs_clarification=bool)
    fields["slots"] = [Slot(**_fields(slot, name=str, value=str)) for slot in fields["slots"]]
    return Contract(**fields)


def _fields(wrote: object, **types: type) -> dict[str, Any]:
    if not isinstance(wrote, dict) or wrote.keys() != types.keys():
        raise PacketMalformed
    if any(type(wrote[name]) is not kind for name, kind in types.items()):  # exactly: True is an int to isinstance
        raise PacketMalformed
    return dict(wrote)


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise PacketMalformed
    return fields
