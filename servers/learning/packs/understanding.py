"""What understanding learns: labelled texts, decision packets, relevant contexts (§11). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from selene.artifacts.v1.packs_pb2 import JudgedQuery, LabelledPacket, LabelledText, SlotValue
from selene.gold.v1.evidence_pb2 import LabelledItem

from servers.learning.consensus import agreed


def texts(items: Sequence[LabelledItem]) -> list[LabelledText]:
    """Turns with the intent and the slots that everybody gave, by text. A text that means two things is left out."""
    found: dict[str, LabelledText] = {}
    ambiguous: set[str] = set()
    for labelled in items:
        verdict = agreed(labelled)
        if verdict is None:
            continue
        slots = [SlotValue(name=name, value=value) for name, value in sorted(verdict.turn.slots.items())]
        meant = LabelledText(text=labelled.item.turn.text, intent=verdict.turn.intent, slots=slots)
        if found.setdefault(meant.text, meant) != meant:
            ambiguous.add(meant.text)
    return [found[text] for text in sorted(found.keys() - ambiguous)]


def packets(items: Sequence[LabelledItem]) -> list[LabelledPacket]:
    """Packets that everybody found to keep to the policy, by item."""
    kept = []
    for labelled in sorted(items, key=lambda one: one.item.item_id):
        verdict = agreed(labelled)
        if verdict is not None and not verdict.output.policy_conflict:
            kept.append(LabelledPacket(item_id=labelled.item.item_id, packet=labelled.item.output.packet))
    return kept


def contexts(items: Sequence[LabelledItem]) -> list[JudgedQuery]:
    """What everybody found relevant, in the order of the ranking, by query; the first ranking of a query counts."""
    found: dict[str, JudgedQuery] = {}
    for labelled in sorted(items, key=lambda one: one.item.item_id):
        verdict = agreed(labelled)
        if verdict is None:
            continue
        relevant = set(verdict.ranking.relevant_refs)
        ranking = labelled.item.ranking
        refs = [context.ref for context in ranking.contexts if context.ref in relevant]
        if refs:
            found.setdefault(ranking.query_ref, JudgedQuery(query_ref=ranking.query_ref, relevant_refs=refs))
    return [found[query] for query in sorted(found)]
