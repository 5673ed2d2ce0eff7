"""The numbers that a decision rests on, as the active threshold pack carries them (VID-4, §38.1).

What separates people (thresholds, margins, how much speech) has no default: a pack that does not say is refused.
What the source itself fixes as a default has that default, with its section.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields

from servers.voiceid.fusion import BASIS_POINTS, Calibration

Setting = int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPolicy:
    """Limits of one decision. Scores and margins in basis points of the posterior, LLRs natural, ratios 0 to 1.

    Raises ValueError for thresholds out of order, a ratio beyond its range or a number that is not finite.
    """

    # CONF_HIGH_BP and CONF_MID_BP of the ladder (VID.CONF.2).
    conf_high_bp: int
    conf_mid_bp: int
    # Smallest margin to the next candidate outside the gray zone (§38.2).
    min_margin_bp: int
    # A competitor is close when it scores at least the floor, within the margin of the best (§38.5 PROFILE_MISMATCH).
    close_competitor_margin_bp: int
    close_competitor_floor_bp: int
    # A signed-in owner who scores below this is not the one speaking (§38.5 DEVICE_OWNER_MISMATCH). 0 never says so.
    owner_reject_bp: int
    # Voiced speech below this decides nothing.
    min_voiced_seconds: float
    # Stage 1 alone decides at or beyond these LLRs (§38.4); None: stage 2 always runs.
    stage1_high_llr: float | None = None
    stage1_margin_llr: float | None = None
    stage1_low_llr: float | None = None
    # Estimated SNR below this is too noisy; None: noise is left to the score.
    min_snr_db: float | None = None
    # §33.3: clipped samples, lost audio, and voiced frames with more than one voice.
    max_clipped_ratio: float = 0.01
    max_lost_ratio: float = 0.01
    max_overlap_ratio: float = 0.02
    # ALL-1: speech whose spoof check did not run names nobody.
    require_spoof_check: bool = True

    def __post_init__(self) -> None:
        for one in fields(self):
            _refuse_wrong_type(one.name, one.type, getattr(self, one.name))
        for name in ("conf_high_bp", "conf_mid_bp", *_MARGINS_BP):
            if not 0 <= getattr(self, name) <= BASIS_POINTS:
                raise ValueError(f"{name} must lie between 0 and {BASIS_POINTS}")
        if not 0 < self.conf_mid_bp <= self.conf_high_bp:
            raise ValueError("thresholds must satisfy 0 < conf_mid_bp <= conf_high_bp")
        if self.owner_reject_bp > self.conf_mid_bp:
            raise ValueError("owner_reject_bp must not exceed conf_mid_bp: who is named is not rejected")
        for name in ("max_clipped_ratio", "max_lost_ratio", "max_overlap_ratio"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1")
        if self.min_voiced_seconds <= 0.0:
            raise ValueError("min_voiced_seconds must be positive")
        if (self.stage1_high_llr is None) != (self.stage1_margin_llr is None):
            raise ValueError("stage1_high_llr and stage1_margin_llr come together")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Setting]) -> "DecisionPolicy":
        """From the pack's JSON object. Raises ValueError for a key that is unknown or missing, or a value refused."""
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown settings: {', '.join(unknown)}")
        required = {one.name for one in fields(cls) if one.default is MISSING}
        if missing := sorted(required - set(values)):
            raise ValueError(f"missing settings: {', '.join(missing)}")
        return cls(**values)  # type: ignore[arg-type]  # every value's type is checked in __post_init__

    def to_mapping(self) -> dict[str, Setting]:
        """For the pack's JSON object; `from_mapping` gives the same policy back."""
        return asdict(self)


_MARGINS_BP = ("min_margin_bp", "close_competitor_margin_bp", "close_competitor_floor_bp", "owner_reject_bp")


def _refuse_wrong_type(name: str, wanted: object, value: object) -> None:
    if value is None and wanted == float | None:
        return
    if wanted is bool or isinstance(value, bool):
        accepted = wanted is bool and isinstance(value, bool)
    elif wanted is int:
        accepted = isinstance(value, int)
    else:
        accepted = isinstance(value, int | float) and math.isfinite(value)
    if not accepted:
        raise ValueError(f"{name} does not accept {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """An active, verified threshold pack, as a decision uses it.

    `prune` scores stage 1 with one of the models of `fused`; `provisional` packs had too few trials (VID-11). `pairs`
    are users who were taken for each other, by their commitments, with the score that naming one beside the other takes
    (§38.7).
    """

    pack_ref: str
    cohort: str
    provisional: bool
    policy: DecisionPolicy
    prune: Calibration
    fused: Calibration
    pairs: Mapping[frozenset[bytes], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.prune.models) != 1 or self.prune.models[0] not in self.fused.models:
            raise ValueError("the prune is calibrated on exactly one of the fused models")
