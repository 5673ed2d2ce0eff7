"""Decision packets: read strictly by the contract, and as PH1.D reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.llm.v1.service_pb2 import DecisionPacket, Slot

from servers.learning.packet import PacketInvalid, read_packet
from servers.llm.packet import PacketMalformed
from servers.llm.packet import read_packet as read_by_the_owner
from tests.servers.learning.items import PACKET


def without(name: str) -> dict[str, object]:
    return {field: value for field, value in PACKET.items() if field != name}


def wrote(**fields: object) -> bytes:
    return json.dumps({**PACKET, **fields}).encode()


SOUND = json.dumps(PACKET).encode()
BROKEN = [
    *(json.dumps(without(name)).encode() for name in PACKET),
    wrote(further=1),
    wrote(intent="Not An Intent"),
    wrote(intent=7),
    wrote(reply=""),
    wrote(reply=None),
    wrote(confidence_bp=10_001),
    wrote(confidence_bp=-1),
    wrote(confidence_bp=2**40),
    wrote(confidence_bp=9000.0),
    wrote(confidence_bp="9000"),
    wrote(confidence_bp=True),
    wrote(needs_clarification=0),
    wrote(slots={}),
    wrote(slots=["minutes"]),
    wrote(slots=[{"name": "minutes"}]),
    wrote(slots=[{"name": "minutes", "value": 5}]),
    wrote(slots=[{"name": "minutes", "value": "5", "unit": "m"}]),
    wrote(slots=[{"name": "minutes", "value": "5"}] * 2),
    wrote(reply="\ud800"),
    SOUND.replace(b'{"intent"', b'{"intent": "timer.stop", "intent"', 1),
    SOUND[:-1],
    SOUND + b"x",
    SOUND.decode().encode("utf-16"),
    b"\xff",
    b"",
    b"[]",
    b"null",
    b"[" * 60_000,
    wrote().replace(b"9000", b"9" * 5000),
]


def test_a_packet_is_read() -> None:
    assert read_packet(SOUND) == DecisionPacket(
        intent="timer.set",
        slots=[Slot(name="minutes", value="5")],
        reply="Five minutes from now.",
        confidence_bp=9000,
        needs_clarification=False,
    )


@pytest.mark.parametrize("packet", BROKEN, ids=range(len(BROKEN)))
def test_what_is_not_exactly_a_packet_is_none(packet: bytes) -> None:
    with pytest.raises(PacketInvalid):
        read_packet(packet)


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10_001) | st.sampled_from(["", "a", "a.b", "A", "9000"]) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "value", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*PACKET, "further"]), values, max_size=3), st.sets(st.sampled_from([*PACKET])))
def test_it_is_a_packet_here_exactly_where_it_is_one_for_its_owner(fields: dict[str, Any], taken: set[str]) -> None:
    made = {name: value for name, value in {**PACKET, **fields}.items() if name in fields or name not in taken}
    packet = json.dumps(made)
    try:
        read_by_the_owner(packet)
        owners = True
    except PacketMalformed:
        owners = False
    try:
        read_packet(packet.encode())
        ours = True
    except PacketInvalid:
        ours = False
    assert ours is owners
