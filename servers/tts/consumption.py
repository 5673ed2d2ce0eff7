"""What synthesis makes of recorded terms by what it learned (§19), as `lexicon` applies it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from servers.replays import Answer, Consumption, Recorded
from servers.routing.consumption import routed
from servers.tts import ENGINE_ID, lexicon

RANKING: Final = "TTS_ROUTING_POLICY_PACK"


def spoken(terms: lexicon.Lexicon, recorded: Recorded) -> Iterator[Answer]:
    """How each term would be spoken. Unsafe: as every reviewer said that it is not."""
    for labelled in recorded.items:
        if not labelled.item.HasField("pronunciation"):
            continue
        judged = labelled.item.pronunciation
        found = [each.phonemes for each in terms.serving(judged.term, judged.locale)]
        rejected = bool(labelled.labels) and not any(label.pronunciation.accepted for label in labelled.labels)
        outcome = "\n".join(found).encode()
        yield Answer(labelled.item.item_id, outcome, unsafe=rejected and judged.phonemes in found)


CONSUMPTION: Final[Mapping[str, Consumption]] = MappingProxyType(
    {
        lexicon.PACK: Consumption(engine_id=ENGINE_ID, read=lexicon.read, answers=spoken),
        RANKING: routed(ENGINE_ID, RANKING),
    }
)
