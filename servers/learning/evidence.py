"""What may be evidence at all (§5.2, §38.8): content of its domain, labels that fit their item. Pure.

What a contract can express is checked before this; here is what takes an item and its domain, or a label and its item.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from selene.gold.v1.evidence_pb2 import GoldItem, GoldLabel
from selene.gold.v1.gold_pb2 import GoldDomain


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something is no evidence; ``cause`` is stable, for programs."""

    cause: str


def problem_of_item(domain: GoldDomain, item: GoldItem, signal_ids: Container[str]) -> Problem | None:
    """What is wrong with an item of a gold set of ``domain`` built from ``signal_ids``; None where nothing is."""
    return None if item.signal_id in signal_ids else Problem("SIGNAL_NOT_OF_SET")


def problem_of_label(item: GoldItem, label: GoldLabel) -> Problem | None:
    """What is wrong with a label of an item; None where nothing is."""
    return None if label.item_id == item.item_id else Problem("LABEL_OF_ANOTHER_ITEM")
