"""Rollouts in stages (§29): which there are, what has to hold to leave one, how often each control loop looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Final

from selene.governance.v1.rollout_pb2 import (
    JUDGE_REASON_COHORT_REGRESSION,
    JUDGE_REASON_NO_ROW,
    JUDGE_REASON_NO_TRAFFIC,
    JUDGE_REASON_PROMPT_RATE,
    JUDGE_REASON_REGRESSION,
    JUDGE_REASON_TOO_FEW_SAMPLES,
    JUDGE_REASON_WINDOW_TOO_SHORT,
    JUDGE_VERDICT_PROMOTE,
    JUDGE_VERDICT_ROLLBACK,
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    Judgement,
    RolloutStage,
)

STAGE_MINIMUM: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage: whom the candidate serves, how long at least, and whether the judge must say PROMOTE to leave it."""

    stage: RolloutStage
    share_bp: int
    following: RolloutStage | None
    needs_promote: bool
    needs_stability: bool = False
    at_least: timedelta = STAGE_MINIMUM


STAGES: Final[Mapping[RolloutStage, Stage]] = MappingProxyType(
    {
        stage.stage: stage
        for stage in (
            # Mirrored: nobody sees it, so what it may not show is a regression, and what it cannot show is a gain.
            Stage(stage=ROLLOUT_STAGE_SHADOW, share_bp=0, following=ROLLOUT_STAGE_CANARY_1, needs_promote=False),
            Stage(stage=ROLLOUT_STAGE_CANARY_1, share_bp=500, following=ROLLOUT_STAGE_CANARY_2, needs_promote=True),
            Stage(
                stage=ROLLOUT_STAGE_CANARY_2,
                share_bp=2_500,
                following=ROLLOUT_STAGE_FULL,
                needs_promote=True,
                needs_stability=True,
            ),
            Stage(stage=ROLLOUT_STAGE_FULL, share_bp=10_000, following=None, needs_promote=False),
        )
    }
)
"""The stages of §29 in their order."""

FIRST: Final = ROLLOUT_STAGE_SHADOW


@dataclass(frozen=True, slots=True)
class Loop:
    """A control loop of §29: how often it looks."""

    name: str
    every: timedelta


PROMOTE_CHECK: Final = Loop("rollout.promote_check", timedelta(minutes=15))
ROLLBACK_CHECK: Final = Loop("rollout.rollback_check", timedelta(seconds=60))
"""The heartbeat; measurements that come in are looked at when they come."""


class Move(Enum):
    """What a control loop does."""

    STAY = "STAY"
    ADVANCE = "ADVANCE"
    ROLLBACK = "ROLLBACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A running rollout, as a control loop finds it."""

    stage: RolloutStage
    entered_at: datetime
    judgement: Judgement
    guards_measured: bool = False
    """A shadow was measured by what would take it back: without that it has shown no regression, and no safety."""
    stability_allowed: bool = False
    """Governance allows PROMOTE: the stability window and the cohort gates hold (§38.9)."""


def check_rollback(standing: Standing) -> Move:
    """What the heartbeat does: ROLLBACK, or nothing."""
    return Move.ROLLBACK if standing.judgement.verdict == JUDGE_VERDICT_ROLLBACK else Move.STAY


def check_promote(standing: Standing, now: datetime) -> Move:
    """What the promotion check does. A regression comes before any time that is still to pass."""
    if check_rollback(standing) is Move.ROLLBACK:
        return Move.ROLLBACK
    stage = STAGES[standing.stage]
    if stage.following is None or now - standing.entered_at < stage.at_least:
        return Move.STAY
    if stage.needs_promote and standing.judgement.verdict != JUDGE_VERDICT_PROMOTE:
        return Move.STAY
    if not stage.needs_promote and not (standing.guards_measured and _mirrored(standing.judgement)):
        return Move.STAY
    if stage.needs_stability and not standing.stability_allowed:
        return Move.STAY
    return Move.ADVANCE


UNSTABLE: Final = frozenset({JUDGE_REASON_COHORT_REGRESSION, JUDGE_REASON_PROMPT_RATE, JUDGE_REASON_REGRESSION})
"""Reasons of a HOLD that begin the stability window anew, and keep a shadow where it is."""


UNSEEN: Final = frozenset(
    {
        JUDGE_REASON_NO_ROW,
        JUDGE_REASON_NO_TRAFFIC,
        JUDGE_REASON_TOO_FEW_SAMPLES,
        JUDGE_REASON_WINDOW_TOO_SHORT,
    }
)
"""Reasons of a HOLD that say that a regression could not have shown."""


def _mirrored(judgement: Judgement) -> bool:
    """Whether enough was mirrored for a regression to show, and none did."""
    seen = bool(judgement.candidate_turns and judgement.baseline_turns)
    return seen and (UNSTABLE | UNSEEN).isdisjoint(judgement.reasons)


def stable_since(before: datetime, judgement: Judgement, now: datetime) -> datetime:
    """Since when the canaries have passed: a regression begins the window anew."""
    return before if UNSTABLE.isdisjoint(judgement.reasons) else now


def stability_days(since: datetime, now: datetime, longest: int) -> int:
    """Whole days since then, of which the latest `longest` count."""
    return min(max((now - since) // timedelta(days=1), 0), longest)
