"""What language goes by that was learned (§11: LLM_GOLD_LABEL_PACK), as its consumer reads it. Pure.

Of the packets that reviewers found right a provider is told which intents there are and how their slots are named.
Nothing else goes out: replies and values are of other people's turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from servers.llm.adapter import DecisionPacket, KnownIntent
from servers.llm.packet import PacketMalformed, read_packet
from servers.pack_formats import PackFault, PackUnusable, parse

PACK: Final = "LLM_GOLD_LABEL_PACK"
MOST_INTENTS: Final = 100
"""That a provider is told of: those of most packets."""


def read(payload: bytes) -> tuple[KnownIntent, ...]:
    """A pack as this owner goes by it: every packet in it has to be one. PackUnusable."""
    try:
        return intents(read_packet(each.packet.decode()) for each in parse(PACK, payload).packets)
    except (PacketMalformed, UnicodeDecodeError):
        raise PackUnusable(PackFault.FIELD_INVALID, "packet") from None


def intents(packets: Iterable[DecisionPacket]) -> tuple[KnownIntent, ...]:
    """The intents that could be acted on, the most frequent first."""
    counted: Counter[str] = Counter()
    slots: dict[str, set[str]] = {}
    for packet in packets:
        if not packet.needs_clarification:
            counted[packet.intent] += 1
            slots.setdefault(packet.intent, set()).update(name for name, _ in packet.slots)
    by_frequency = sorted(counted.items(), key=lambda each: (-each[1], each[0]))[:MOST_INTENTS]
    return tuple(KnownIntent(name, tuple(sorted(slots[name]))) for name, _ in by_frequency)
