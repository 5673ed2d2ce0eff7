"""What an operator may configure of learning (`[owners.learning]`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from servers.learning.intake import TimeLimits

DAY_S = 86_400


class IntakeSettings(BaseModel):
    """`owners.learning.intake`: which signals come in time, and how many are taken on together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skew_s: int = Field(default=60, ge=0, le=3600, description="how far a producer's clock may be ahead")
    oldest_s: int = Field(default=90 * DAY_S, ge=1, description="how old any signal may be")
    intake_s: int = Field(
        default=DAY_S, ge=1, description="how long a signal of the running system may take to arrive (FDBK-05)"
    )
    batch: int = Field(default=1000, ge=1, le=1000, description="signals of a stream that are committed together")
    outbox_every_s: float = Field(
        default=0.5, gt=0, le=60, description="how often is looked for what engines left; nobody waits for it"
    )

    def limits(self) -> TimeLimits:
        """As the rule takes them."""
        return TimeLimits(skew_s=self.skew_s, oldest_s=self.oldest_s, intake_s=self.intake_s)


class DriftSettings(BaseModel):
    """`owners.learning.drift`: whether this process looks for drift, and how often it asks whether a day is over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loop: bool = True
    look_every_s: float = Field(default=60.0, gt=0, le=3600)


class LearningSettings(BaseModel):
    """What learns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intake: IntakeSettings = IntakeSettings()
    drift: DriftSettings = DriftSettings()
