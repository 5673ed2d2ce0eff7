"""What voice identity learns (§38.1): the score that a speaker is accepted by, of the pack that is in force. Pure.

The pack's maps stay what they are; CONF_HIGH_BP moves to what the labelled trials prove, and never below what the
posterior alone asks for. What the frozen set has not measured at the new limit is not claimed: such a pack is
PROVISIONAL until it has.

Trials in which one enrolled user would have been named for another are hard negatives (§38.7): the two are a pair, and
each is named beside the other only above whatever either reached as the other. All of it is of this gold set's trials;
nothing that an earlier set taught is carried on, so that what is revoked is gone.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import rfc8785
from selene.gold.v1.evidence_pb2 import LabelledItem

from servers.learning.consensus import agreed
from servers.learning.figures import MAX_FAR, Judged, Name, Setting, Weights, trials
from servers.statistics import clopper_pearson

BASIS_POINTS: Final = 10_000
POSTERIOR_BP: Final = 9_000
"""What CONF_HIGH_BP is at least: a posterior of 0.9."""

_GOLD_SET: Final = re.compile(r"GOLD_SET_[A-Z0-9_]+@[1-9][0-9]*")
"""How a pack names a gold set, among its inputs and where a limit is unproven."""

_UNUSED: Final = Setting(
    tenant_id="",
    user_of=lambda _: "",
    rollback_pointer_present=False,
    weights=Weights(quality=1.0, latency=0.0, cost=0.0),
    threshold=None,
    packet_valid=lambda _: False,
)


def with_trials(
    base: Mapping[str, Any],
    items: Sequence[LabelledItem],
    gold_set_ref: str,
    gold_set_hash: bytes,
    built_at: str,
    commitments: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:
    """The pack in force with the limits that these trials prove, RFC 8785; b"" where it is the one in force already.

    `commitments` are those of the trials' users; who has none is in no pair. ValueError where no limit keeps FAR, or
    the base is no pack.
    """
    limit = high_bp(items, _prior(base))
    pairs = confused(items, _prior(base), base["policy"]["conf_mid_bp"], commitments)
    policy = dict(base["policy"])
    if policy["conf_high_bp"] == limit and base.get("pairs", []) == pairs:
        return b""
    policy["conf_high_bp"] = limit
    accepted, impostors = _accepted_impostors(items, limit, _prior(base))
    far = clopper_pearson(accepted, impostors)
    derived = {
        "setting": "conf_high_bp",
        "basis": "POSTERIOR" if limit == POSTERIOR_BP else "IMPOSTORS",
        "value": limit,
        "target": MAX_FAR,
        "observed": accepted / impostors,
        "upper": far.upper,
        "trials": impostors,
        "proven": far.upper <= MAX_FAR,
    }
    others = [one for one in base["derivations"] if one["setting"] != "conf_high_bp"]
    # What an earlier gold set taught is not carried on, so nothing of this pack is said to come from it.
    reasons = [one for one in base["reasons"] if not _GOLD_SET.fullmatch(one["where"])]
    inputs = [one for one in base["data"]["inputs"] if not _GOLD_SET.fullmatch(one["name"])]
    unmeasured = {"code": "TARGET_UNPROVEN", "where": gold_set_ref, "observed": far.upper, "required": MAX_FAR}
    heard = {"name": gold_set_ref, "sha256": gold_set_hash.hex(), "items": len(items)}
    pack = {
        **{name: value for name, value in base.items() if name != "pairs"},
        **({"pairs": pairs} if pairs else {}),
        "version": base["version"] + 1,
        "status": "PROVISIONAL",
        "reasons": [*reasons, unmeasured],
        "policy": policy,
        "derivations": [derived, *others],
        # Rates at a limit that is no more the pack's.
        "cohorts": [{**row, "high": None} for row in base["cohorts"]],
        "data": {**base["data"], "inputs": [*inputs, heard]},
        "tool": "PH1.LEARN",
        "created_at": built_at,
    }
    return rfc8785.dumps(pack)


def high_bp(items: Sequence[LabelledItem], prior: float) -> int:
    """CONF_HIGH_BP that these trials prove: the lowest at which FAR keeps its bound in every cohort. ValueError."""
    judged = [Judged(each.item, tuple(each.labels), counts=True) for each in items]
    shown = {value.name: value.value for value in trials(judged, _UNUSED).values}
    threshold = shown.get(Name.PROPOSED_THRESHOLD, math.inf)
    posterior = posterior_bp(threshold, prior)
    if posterior >= BASIS_POINTS:
        raise ValueError("no limit keeps FAR within its bound over these trials")
    return max(POSTERIOR_BP, math.floor(posterior) + 1)


def confused(
    items: Sequence[LabelledItem], prior: float, mid_bp: int, commitments: Mapping[str, bytes]
) -> list[dict[str, Any]]:
    """The pairs with a hard negative, as a pack lists them: sorted by their users' commitments, in hex."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for trial in (each.item.trial for each in items if _is_impostor(each)):
        users = {commitments[name].hex() for name in (trial.enrolled_ref, trial.test_ref) if name in commitments}
        if len(users) == 2:
            first, second = sorted(users)
            scores[first, second].append(posterior_bp(trial.score, prior))
    return [
        {
            "users": list(users),
            "min_score_bp": min(math.floor(max(reached)) + 1, BASIS_POINTS),
            "impostors": len(reached),
            "named": sum(score >= mid_bp for score in reached),
        }
        for users, reached in sorted(scores.items())
        if max(reached) >= mid_bp
    ]


def posterior_bp(llr: float, prior: float) -> float:
    """The same-speaker posterior of a log-likelihood ratio, in basis points; saturates, never overflows."""
    log_odds = llr + math.log(prior) - math.log1p(-prior)
    if log_odds >= 0:
        return BASIS_POINTS / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return BASIS_POINTS * odds / (1.0 + odds)


def _accepted_impostors(items: Sequence[LabelledItem], limit: int, prior: float) -> tuple[int, int]:
    scores = [each.item.trial.score for each in items if _is_impostor(each)]
    return sum(posterior_bp(score, prior) >= limit for score in scores), len(scores)


def _is_impostor(labelled: LabelledItem) -> bool:
    verdict = agreed(labelled)
    return verdict is not None and not verdict.trial.genuine


def _prior(base: Mapping[str, Any]) -> float:
    prior = base.get("fused", {}).get("prior")
    if not isinstance(prior, float) or not 0.0 < prior < 1.0:
        raise ValueError("the pack in force has no prior")
    return prior
