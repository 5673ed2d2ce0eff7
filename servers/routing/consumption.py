"""What a routing owner makes of recorded turns by a learned ranking (§19), as `ranking` applies it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from servers.replays import Answer, Consumption, Recorded
from servers.routing.ranking import Ranking, ordered, ranking_of


def routed(engine_id: str, pack_type: str) -> Consumption:
    """How an owner consumes its ranking."""
    return Consumption(engine_id=engine_id, read=partial(ranking_of, pack_type), answers=first)


def first(ranking: Ranking, recorded: Recorded) -> Iterator[Answer]:
    """Who of the two that a turn was measured with would be asked first. Unsafe: who gave nothing of use there, while
    the other did.
    """
    for labelled in recorded.items:
        if not labelled.item.HasField("route"):
            continue
        route = labelled.item.route
        sides = {each.provider_ref: each.quality_bp for each in (route.baseline, route.candidate)}
        asked = ordered(tuple(sides), ranking.pairs)[0]
        yield Answer(labelled.item.item_id, asked.encode(), unsafe=not sides[asked] and any(sides.values()))
