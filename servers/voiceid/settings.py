"""What an operator may configure of voice identity (`[owners.voiceid]`). No threshold is here: those come in packs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from servers.voiceid.models.registry import CAMPPLUS_ID, GE2E_ID, SEGMENTATION_ID


class VoiceIdSettings(BaseModel):
    """Durations in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models_dir: Path | None = Field(default=None, description="where `selene models` keeps models; unset: user cache")
    models: tuple[str, ...] = Field(
        default=(GE2E_ID, CAMPPLUS_ID), min_length=1, description="first prunes, all verify"
    )
    overlap_model: str | None = Field(
        default=SEGMENTATION_ID, description="finds two voices at once; unset: not looked for"
    )
    countermeasure: str | None = Field(default=None, description="model that detects spoofs, added by manifest")
    countermeasure_medium: float = Field(default=0.0, description="log-odds of a spoof from which the risk is MEDIUM")
    countermeasure_high: float = Field(default=4.0, description="log-odds of a spoof from which the risk is HIGH")
    default_stage: Literal["M0", "M1", "M2", "M3"] = Field(default="M2", description="stage of tenants that have none")
    max_audio_s: float = Field(default=60.0, gt=0, le=600, description="longest utterance")
    resume_window_s: float = Field(default=30.0, gt=0, description="how long a dropped stream can be resumed")
    decision_budget_s: float = Field(default=1.0, gt=0, description="half-close to the last embedding; then MODEL_SLOW")
    interim_interval_s: float = Field(default=0.5, gt=0, description="audio between interim events")
    min_clips: int = Field(default=3, ge=1, description="clips before a profile can be locked")
    min_total_voiced_s: float = Field(default=6.0, gt=0, description="voiced speech before a profile can be locked")
    profile_lifetime_days: int = Field(default=365, ge=1, description="a profile must be renewed after it")
    kept_fingerprints: int = Field(default=50, ge=1, description="earlier utterances of a person kept against replay")
    replay_max_bit_error_rate: float = Field(default=0.32, gt=0, lt=0.5, description="below it, audio is a replay")
    replay_min_s: float = Field(default=1.0, gt=0, description="speech that must agree before audio is a replay")
    kpi_window_s: float = Field(default=900.0, gt=0, description="KPI windows of rollouts end at multiples of it")
    kpi_look_s: float = Field(default=5.0, gt=0, description="how often it is looked whether a KPI window has ended")
    breaker_window: int = Field(default=100, ge=1, description="decisions that the circuit breaker looks back on")
    breaker_min_samples: int = Field(default=20, ge=1)
    breaker_max_uncertain_share: float = Field(default=0.5, gt=0, le=1)
    breaker_max_failed_share: float = Field(default=0.2, gt=0, le=1)
    breaker_max_slow_share: float = Field(default=0.2, gt=0, le=1)
