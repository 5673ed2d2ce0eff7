"""What voice identity makes of recorded trials by a threshold pack (§19): its own parser, posterior and ladder. Pure.

The trials are those of a frozen evaluation set, whose scores are log-likelihood ratios of one scorer: a pack of another
one answers none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from selene.voiceid.v2.voiceid_pb2 import IDENTITY_TIER_CONFIRMED

from servers import pack_formats
from servers.frozen_sets import scorer_sha256
from servers.pack_formats import PackUnusable
from servers.replays import Answer, Consumption, Recorded
from servers.voiceid import ladder
from servers.voiceid.calibration.pack import ARTIFACT_TYPE, PackError, PackFault, ThresholdPack, parse
from servers.voiceid.fusion import score_bp

FAULTS: Final[Mapping[PackFault, pack_formats.PackFault]] = MappingProxyType(
    {
        PackFault.NOT_JSON: pack_formats.PackFault.UNREADABLE,
        PackFault.VERSION_UNKNOWN: pack_formats.PackFault.OF_ANOTHER_TYPE,
        PackFault.FIELD_INVALID: pack_formats.PackFault.FIELD_INVALID,
        PackFault.NOT_CANONICAL: pack_formats.PackFault.NOT_CANONICAL,
    }
)


def read(payload: bytes) -> ThresholdPack:
    """A pack as this owner goes by it. PackUnusable."""
    try:
        return parse(payload)
    except PackError as error:
        raise PackUnusable(FAULTS[error.reason]) from error


def answers(pack: ThresholdPack, recorded: Recorded) -> Iterator[Answer]:
    """The tier of each trial. Unsafe: an impostor at or above the upper limit, whom a proven pack would confirm."""
    frozen = recorded.frozen
    if frozen is None or scorer_sha256(pack.model_dump(mode="json")) != frozen.scorer_sha256:
        return
    thresholds = pack.thresholds()
    prior, policy = thresholds.fused.prior, thresholds.policy
    trials = zip(frozen.llr.tolist(), frozen.genuine.tolist(), strict=True)
    for number, (llr, genuine) in enumerate(trials):
        score = score_bp(llr, prior)
        rung = ladder.climb(score, policy.conf_high_bp, policy.conf_mid_bp, provisional=thresholds.provisional)
        reached = ladder.tier_of_score(score, policy.conf_high_bp, policy.conf_mid_bp)
        accepted = reached == IDENTITY_TIER_CONFIRMED
        yield Answer(str(number), bytes((rung.tier, rung.reason)), unsafe=accepted and not genuine)


CONSUMPTION: Final[Mapping[str, Consumption]] = MappingProxyType(
    {ARTIFACT_TYPE: Consumption(engine_id="PH1.VOICE.ID", read=read, answers=answers, by_frozen_set=True)}
)
