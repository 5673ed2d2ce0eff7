"""Recorded turns that a pack of a test is held against (§19): gold that it came from, of a user of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.gold.v1.evidence_pb2 import GoldCandidate, GoldItem, GoldLabel, RecognisedUtterance, TranscriptLabel
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_STT_TRANSCRIPT, GOLD_TIER_2_HUMAN_VERIFIED
from selene.learning.v1.signal_pb2 import INTAKE_PATH_IMPROVEMENT

from store import Transaction
from store.gold import artifact_ref, gold_ref
from store.learning import NewSignal
from tests.support.signals import signal

TEACHER: Final = "rae"
AT: Final = datetime(2026, 1, 1, tzinfo=UTC)


async def utterances(
    tx: Transaction, row: ArtifactRow, *heard: str, right: Sequence[str] = (), locale: str = "en"
) -> str:
    """A gold set of these utterances that led to the artifact; its id. What is `right` a reviewer found so."""
    name = f"recorded-{row.artifact_id}"
    turns = [
        GoldItem(
            item_id=f"{name}.{number}",
            signal_id=name,
            utterance=RecognisedUtterance(tokens=text.split(), locale=locale),
        )
        for number, text in enumerate((*heard, *right))
    ]
    candidate = GoldCandidate(
        gold_set_id=name,
        domain=GOLD_DOMAIN_STT_TRANSCRIPT,
        tier=GOLD_TIER_2_HUMAN_VERIFIED,
        tenant_id=row.tenant_id,
        scope=row.scope,
        proposed_by="system",
        policy_version="1",
    )
    taught = signal(name, tenant_id=row.tenant_id, user_id=TEACHER, signal_id=name)
    await tx.learning.signals.capture(row.tenant_id, [NewSignal(taught, INTAKE_PATH_IMPROVEMENT)], lambda one, seen: 1)
    await tx.gold.propose(candidate, [name])
    await tx.gold.add_items(row.tenant_id, name, turns)
    labels = [GoldLabel(item_id=one.item_id, transcript=TranscriptLabel()) for one in turns[len(heard) :]]
    await tx.gold.label(row.tenant_id, name, "rhea", labels, AT)
    await tx.gold.lineage.link(row.tenant_id, [gold_ref(name)], artifact_ref(row.artifact_id))
    return name
