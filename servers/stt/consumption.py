"""What transcription makes of recorded utterances by what it learned (§19), as `learned` applies it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from servers.replays import Answer, Consumption, Recorded
from servers.routing.consumption import routed
from servers.stt import ENGINE_ID, learned

RANKING: Final = "STT_ROUTING_POLICY_PACK"


def hinted(terms: learned.Terms, recorded: Recorded) -> Iterator[Answer]:
    """The hints that a provider would be told of with each utterance."""
    for labelled in recorded.items:
        if labelled.item.HasField("utterance"):
            hints = terms.serving(labelled.item.utterance.locale)
            yield Answer(labelled.item.item_id, "\n".join(hints).encode())


def rewritten(adaptation: learned.Adaptation, recorded: Recorded) -> Iterator[Answer]:
    """Each utterance as it would be written. Unsafe: one that every reviewer found right is written otherwise."""
    for labelled in recorded.items:
        if not labelled.item.HasField("utterance"):
            continue
        utterance = labelled.item.utterance
        heard = " ".join(utterance.tokens)
        written = adaptation.serving(utterance.locale).text(heard)
        right = bool(labelled.labels) and not any(
            label.transcript.edits or label.transcript.unresolved_tokens for label in labelled.labels
        )
        yield Answer(labelled.item.item_id, written.encode(), unsafe=right and written != heard)


CONSUMPTION: Final[Mapping[str, Consumption]] = MappingProxyType(
    {
        learned.VOCABULARY: Consumption(engine_id=ENGINE_ID, read=learned.read_terms, answers=hinted),
        learned.ADAPTATION: Consumption(engine_id=ENGINE_ID, read=learned.read_adaptation, answers=rewritten),
        RANKING: routed(ENGINE_ID, RANKING),
    }
)
