"""What language makes of recorded packets by what it learned (§19), as `learned` applies it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from selene.gold.v1.evidence_pb2 import LabelledItem

from servers.llm import ENGINE_ID, learned
from servers.llm.adapter import KnownIntent
from servers.llm.packet import PacketMalformed, read_packet
from servers.replays import Answer, Consumption, Recorded


def told(intents: tuple[KnownIntent, ...], recorded: Recorded) -> Iterator[Answer]:
    """What a provider would be told of the intent of each packet. Unsafe: it is told of one that only packets have
    which every reviewer found to conflict with the policy.
    """
    found = [(labelled, _intent(labelled)) for labelled in recorded.items if labelled.item.HasField("output")]
    sound = {intent for labelled, intent in found if not _conflicts(labelled)}
    known = {each.name: each for each in intents}
    for labelled, intent in found:
        named = known.get(intent)
        outcome = "" if named is None else "\n".join((named.name, *named.slots))
        yield Answer(labelled.item.item_id, outcome.encode(), unsafe=named is not None and intent not in sound)


def _intent(labelled: LabelledItem) -> str:
    try:
        return read_packet(labelled.item.output.packet.decode()).intent
    except (PacketMalformed, UnicodeDecodeError):
        return ""


def _conflicts(labelled: LabelledItem) -> bool:
    return bool(labelled.labels) and all(label.output.policy_conflict for label in labelled.labels)


CONSUMPTION: Final[Mapping[str, Consumption]] = MappingProxyType(
    {learned.PACK: Consumption(engine_id=ENGINE_ID, read=learned.read, answers=told)}
)
