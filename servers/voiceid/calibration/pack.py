"""Threshold packs, `VOICEID_THRESHOLD_PACK_V1` (VID-4, VID-11, §38.1): canonical, signed, and no more than they can
prove.

The canonical bytes are RFC 8785 JSON; `package_hash` is their SHA-256 and the Ed25519 signature is over that hash.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Final, Literal

import rfc8785
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from servers.voiceid.fusion import Calibration
from servers.voiceid.policy import DecisionPolicy, Setting, Thresholds

ARTIFACT_TYPE: Final = "VOICEID_THRESHOLD_PACK_V1"
FORMAT: Final = 1

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class PackFault(StrEnum):
    """Why a pack is refused; stable, for programs."""

    NOT_JSON = "NOT_JSON"
    NOT_CANONICAL = "NOT_CANONICAL"
    VERSION_UNKNOWN = "VERSION_UNKNOWN"
    FIELD_INVALID = "FIELD_INVALID"


class PackError(ValueError):
    """A pack was refused: `reason` is for programs, the message for people."""

    def __init__(self, reason: PackFault, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class PackStatus(StrEnum):
    """CANDIDATE passed every gate of §38.1; PROVISIONAL did not, and its CONFIRMED counts as PROBABLE."""

    CANDIDATE = "CANDIDATE"
    PROVISIONAL = "PROVISIONAL"


class Basis(StrEnum):
    """What fixed a setting of the policy."""

    IMPOSTORS = "IMPOSTORS"
    GENUINE = "GENUINE"
    SEARCHES = "SEARCHES"
    LADDER = "LADDER"
    POSTERIOR = "POSTERIOR"


class ReasonCode(StrEnum):
    """Why a pack is PROVISIONAL."""

    GENUINE_TRIALS_TOO_FEW = "GENUINE_TRIALS_TOO_FEW"
    IMPOSTOR_TRIALS_TOO_FEW = "IMPOSTOR_TRIALS_TOO_FEW"
    GENUINE_SAME_SESSION = "GENUINE_SAME_SESSION"
    TAR_LOWER_BOUND = "TAR_LOWER_BOUND"
    FAR_UPPER_BOUND = "FAR_UPPER_BOUND"
    FRR_UPPER_BOUND = "FRR_UPPER_BOUND"
    TARGET_UNPROVEN = "TARGET_UNPROVEN"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Measured(_Strict):
    """A rate, or an error rate, with its 95 % bounds."""

    value: Rate
    lower: Rate
    upper: Rate

    @model_validator(mode="after")
    def _ordered(self) -> Measured:
        if not self.lower <= self.upper:
            raise ValueError("lower exceeds upper")
        return self


class OperatingPoint(_Strict):
    """Rates at one threshold of the ladder."""

    threshold_bp: Annotated[int, Field(ge=0, le=10_000)]
    tar: Measured
    frr: Measured
    far: Measured


class CohortRow(_Strict):
    """What the frozen holdout shows for one cohort (§38.3) at one length of speech, with profiles of `clips` clips."""

    language: str
    accent_band: str
    device_class: str
    noise_class: str
    condition: Name
    clips: Annotated[int, Field(ge=1)]
    genuine: Count
    genuine_same_session: Count
    impostor: Count
    speakers: Count
    genuine_speakers: Count
    eer: Measured | None
    high: OperatingPoint | None
    mid: OperatingPoint | None
    # Whether promotion depends on this row: speech long enough to decide, profiles as deployed.
    gated: bool


class Reason(_Strict):
    """One gate that failed: what was observed against what is required, and where."""

    code: ReasonCode
    where: Name
    observed: float
    required: float


class Derived(_Strict):
    """Where one setting of the policy comes from; see `limits.Derivation`."""

    setting: Name
    basis: Basis
    value: float
    target: float
    observed: Rate
    upper: Rate
    trials: Count
    proven: bool


class Input(_Strict):
    """A file or folder that the pack was made from. A folder's hash is that of its `sha256sum` listing."""

    name: Name
    sha256: Digest
    items: Count


class ConfusedPair(_Strict):
    """Two users who were taken for each other (§38.7), and the score below which neither is named beside the other.

    `users` are commitments by the users' own keys, in hex and sorted: who is erased is nobody's any more. Of the
    `impostors` trials between them, `named` would have been named by the pack before.
    """

    users: Annotated[list[Digest], Field(min_length=2, max_length=2)]
    min_score_bp: Annotated[int, Field(ge=1, le=10_000)]
    impostors: Annotated[int, Field(ge=1)]
    named: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _sorted(self) -> ConfusedPair:
        if not self.users[0] < self.users[1] or self.named > self.impostors:
            raise ValueError("a pair is two users, sorted, and no more were named than spoke")
        return self


class Data(_Strict):
    """Provenance: what was heard, who calibrated, who only measured."""

    inputs: Annotated[list[Input], Field(min_length=1)]
    unusable_clips: Count
    calibration_speakers: Count
    holdout_speakers: Count
    # SHA-256 over the holdout's names, sorted, one a line: the frozen set (§38.8).
    holdout_sha256: Digest
    split_salt: str
    calibration_trials: Count
    holdout_trials: Count


class FittedMap(_Strict):
    """`fusion.Calibration`, field by field."""

    models: Annotated[list[Name], Field(min_length=1)]
    weights: list[float]
    bias: float
    duration_bias: float
    duration_weights: list[float]
    min_seconds: float
    max_seconds: float
    reference_seconds: float
    prior: float

    @classmethod
    def of(cls, calibration: Calibration) -> FittedMap:
        """The same numbers, as JSON holds them."""
        fields = asdict(calibration).items()
        return cls.model_validate({name: list(value) if isinstance(value, tuple) else value for name, value in fields})

    def calibration(self) -> Calibration:
        """ValueError when the numbers make no calibration."""
        return Calibration(
            models=tuple(self.models),
            weights=tuple(self.weights),
            bias=self.bias,
            duration_bias=self.duration_bias,
            duration_weights=tuple(self.duration_weights),
            min_seconds=self.min_seconds,
            max_seconds=self.max_seconds,
            reference_seconds=self.reference_seconds,
            prior=self.prior,
        )


class Quality(_Strict):
    """The LLRs of the holdout: Cllr in bits against its minimum, detection cost at the pack's prior against its
    minimum.
    """

    cllr: float
    min_cllr: float
    act_dcf: float
    min_dcf: float


class ThresholdPack(_Strict):
    """The whole pack. `policy` and both maps are checked by the rules that will use them."""

    artifact_type: Literal["VOICEID_THRESHOLD_PACK_V1"]
    format: Literal[1]
    version: Annotated[int, Field(ge=1)]
    status: PackStatus
    reasons: list[Reason]
    cohort: Name
    note: str
    model_set_hash: Digest
    prune: FittedMap
    fused: FittedMap
    policy: dict[str, int | float | bool | None]
    derivations: list[Derived]
    quality: Quality
    cohorts: Annotated[list[CohortRow], Field(min_length=1)]
    bounds: Name
    data: Data
    tool: Name
    created_at: AwareDatetime
    # §38.7. A pack that knows of none has no such field.
    pairs: Annotated[list[ConfusedPair], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> ThresholdPack:
        self.thresholds()
        users = [pair.users for pair in self.pairs or ()]
        if users != sorted(users) or len({tuple(pair) for pair in users}) < len(users):
            raise ValueError("pairs are sorted, and each stands there once")
        if (self.status is PackStatus.PROVISIONAL) != bool(self.reasons):
            raise ValueError("a pack is PROVISIONAL exactly when it lists reasons")
        return self

    @property
    def ref(self) -> str:
        """``VOICEID_THRESHOLD_PACK_V1@version``."""
        return f"{self.artifact_type}@{self.version}"

    def thresholds(self) -> Thresholds:
        """The pack as a decision uses it."""
        settings: dict[str, Setting] = dict(self.policy)
        return Thresholds(
            pack_ref=self.ref,
            cohort=self.cohort,
            provisional=self.status is PackStatus.PROVISIONAL,
            policy=DecisionPolicy.from_mapping(settings),
            prune=self.prune.calibration(),
            fused=self.fused.calibration(),
            pairs={frozenset(map(bytes.fromhex, pair.users)): pair.min_score_bp for pair in self.pairs or ()},
        )

    def canonical(self) -> bytes:
        """RFC 8785 JSON."""
        return rfc8785.dumps(self.model_dump(mode="json", exclude=None if self.pairs else {"pairs"}))


def parse(canonical_json: bytes) -> ThresholdPack:
    """A pack from its canonical bytes. PackError: NOT_JSON, VERSION_UNKNOWN, FIELD_INVALID, NOT_CANONICAL."""
    try:
        content = json.loads(canonical_json)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise PackError(PackFault.NOT_JSON, "the pack is not JSON") from error
    if not isinstance(content, dict):
        raise PackError(PackFault.NOT_JSON, "the pack is not a JSON object")
    kind = (content.get("artifact_type"), content.get("format"))
    if kind != (ARTIFACT_TYPE, FORMAT) or isinstance(content.get("format"), bool):
        raise PackError(PackFault.VERSION_UNKNOWN, f"{kind[0]!r} of format {kind[1]!r} is not known here")
    try:
        # From JSON, so that strictness admits what JSON has to write as strings: times and enums.
        pack = ThresholdPack.model_validate_json(canonical_json)
    except ValidationError as error:
        raise PackError(PackFault.FIELD_INVALID, _first(error)) from error
    if pack.canonical() != canonical_json:
        raise PackError(PackFault.NOT_CANONICAL, "the pack's bytes are not canonical JSON")
    return pack


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'pack'}: {first['msg']}"
