"""How often drift may act by itself (§38.6): recovery must not thrash.

Times are of one user and cohort. What is frozen stays so until a review unfreezes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

ADAPTATION_EVERY: Final = timedelta(hours=24)
REENROLMENT_EVERY: Final = timedelta(hours=72)
BREACH_WINDOW: Final = timedelta(days=14)
BREACHES_THAT_FREEZE: Final = 3


class Recovery(StrEnum):
    """What drift asks for."""

    ADAPTATION = "ADAPTATION"
    REENROLMENT = "REENROLMENT"


class DriftReason(StrEnum):
    """Why it may, or may not."""

    ALLOWED = "DRIFT_RECOVERY_ALLOWED"
    ADAPTATION_RATE_LIMITED = "DRIFT_ADAPTATION_RATE_LIMITED"
    REENROLMENT_RATE_LIMITED = "DRIFT_REENROLMENT_RATE_LIMITED"
    FROZEN = "DRIFT_AUTO_APPLY_FROZEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened before. ``reviewed_at`` is when a review last unfroze."""

    adaptations: tuple[datetime, ...] = ()
    reenrolments: tuple[datetime, ...] = ()
    breaches: tuple[datetime, ...] = ()
    reviewed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the recovery may begin by itself, and why."""

    allowed: bool
    reason: DriftReason


def frozen(history: History, now: datetime) -> bool:
    """Whether three breaches fell into some 14 days since the last review.

    Once they did, it stays so: time alone unfreezes nothing.
    """
    counted = sorted(
        at for at in history.breaches if at <= now and (history.reviewed_at is None or at > history.reviewed_at)
    )
    last = BREACHES_THAT_FREEZE - 1
    return any(later - earlier <= BREACH_WINDOW for earlier, later in zip(counted, counted[last:], strict=False))


def recover(kind: Recovery, history: History, now: datetime) -> Answer:
    """Whether a drift breach may start this recovery by itself now. A freeze stops adaptation, not the prompt."""
    if kind is Recovery.REENROLMENT:
        if _within(history.reenrolments, now, REENROLMENT_EVERY):
            return Answer(False, DriftReason.REENROLMENT_RATE_LIMITED)
        return Answer(True, DriftReason.ALLOWED)
    if frozen(history, now):
        return Answer(False, DriftReason.FROZEN)
    if _within(history.adaptations, now, ADAPTATION_EVERY):
        return Answer(False, DriftReason.ADAPTATION_RATE_LIMITED)
    return Answer(True, DriftReason.ALLOWED)


def _within(times: Iterable[datetime], now: datetime, limit: timedelta) -> bool:
    return any(now - at < limit for at in times)
