"""What routing learns: how providers fared beside those that were active (§11). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from selene.artifacts.v1.packs_pb2 import RoutePreference
from selene.gold.v1.evidence_pb2 import LabelledItem

from servers.learning.consensus import agreed

_TOP_BP = 10_000


def preferences(items: Sequence[LabelledItem], use: str) -> list[RoutePreference]:
    """How each provider of a use (`stt`, `tts`) fared over each that was active, by both.

    A provider's use is what stands behind the slash of its reference. Turns that nobody labelled were measured: the
    proposed provider is preferred where its quality is higher.
    """
    pairs: dict[tuple[str, str], list[LabelledItem]] = {}
    for labelled in items:
        route = labelled.item.route
        if route.candidate.provider_ref.rpartition("/")[2] == use:
            pairs.setdefault((route.candidate.provider_ref, route.baseline.provider_ref), []).append(labelled)
    return [_preference(pair, turns) for pair, turns in sorted(pairs.items())]


def _preference(pair: tuple[str, str], turns: Sequence[LabelledItem]) -> RoutePreference:
    preferred = sum(_preferred(turn) for turn in turns)
    routes = [turn.item.route for turn in turns]
    delta = fmean(route.candidate.quality_bp - route.baseline.quality_bp for route in routes)
    return RoutePreference(
        provider_ref=pair[0],
        over_provider_ref=pair[1],
        turns=len(turns),
        preferred_bp=preferred * _TOP_BP // len(turns),
        quality_delta_bp=round(delta),
    )


def _preferred(turn: LabelledItem) -> bool:
    if turn.labels:
        verdict = agreed(turn)
        return verdict is not None and verdict.route.candidate_better
    return turn.item.route.candidate.quality_bp > turn.item.route.baseline.quality_bp
