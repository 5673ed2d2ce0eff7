"""What an operator may configure of governance (`[owners.governance]`). Its rules are not among it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class GovernanceSettings(BaseModel):
    """Whether this process runs the control loops, and how often they look for work, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loops: bool = True
    look_every_s: float = Field(default=1.0, gt=0, le=60)
