"""What observations of decisions say to the judge (§20, §38.1, §40.6 BLD-07), by side and cohort.

Who was falsely accepted or rejected is known only where somebody said who spoke: decisions that nobody confirmed or
corrected count as turns, and in no rate of errors. As in calibration (§38.1) somebody is accepted at or above the upper
limit; below it, where a person is asked, nobody is. Accepting another enrolled person is a false rejection and a false
acceptance at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol

from selene.governance.v1.rollout_pb2 import (
    KPI_METRIC_FALSE_ACCEPTS,
    KPI_METRIC_FALSE_REJECTS,
    KPI_METRIC_IDENTITY_CONFLICTS,
    KPI_METRIC_IDENTITY_PROMPTS,
    KPI_METRIC_PROMPT_CONFIRMATIONS,
    KPI_METRIC_REJECTS,
    KPI_METRIC_REPEAT_PROMPT_VIOLATIONS,
    Arm,
)

from servers.kpi_windows import Tallies, Tally

DIMENSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"language": "language", "accent_band": "accent", "device_class": "device", "noise_class": "noise"}
)
"""A decision's cohort labels, and the dimensions that governance asks for (§38.3)."""


class Observed(Protocol):
    """One decision on one side; `is_confirmed` where it is what somebody said of it later."""

    @property
    def arm(self) -> Arm: ...
    @property
    def at(self) -> datetime: ...
    @property
    def session_id(self) -> str: ...
    @property
    def cohort(self) -> Mapping[str, str]: ...
    @property
    def named_user_id(self) -> str: ...
    @property
    def accepted(self) -> bool: ...
    @property
    def conflict_state(self) -> int: ...
    @property
    def prompt_key(self) -> bytes: ...
    @property
    def prompted(self) -> bool: ...
    @property
    def asked(self) -> bool: ...
    @property
    def latency_us(self) -> int | None: ...
    @property
    def speaker_user_id(self) -> str | None: ...
    @property
    def is_confirmed(self) -> bool: ...


def measure(
    observed: Iterable[Observed],
    into: Tallies,
    sessions: frozenset[tuple[Arm, str]],
    prompts: frozenset[tuple[Arm, str, bytes]],
) -> None:
    """Count observations, by time. `sessions` and `prompts` are those of them that earlier windows counted."""
    known, asked = set(sessions), set(prompts)
    for one in observed:
        cohorts = [(dimension, one.cohort.get(label, "")) for label, dimension in DIMENSIONS.items()]
        tallies = list(into.of(one.at, one.arm, cohorts))
        if one.is_confirmed:
            for tally in tallies:
                _confirmed(one, tally)
            continue
        session, prompt = (one.arm, one.session_id), (one.arm, one.session_id, one.prompt_key)
        for tally in tallies:
            _decided(one, tally, is_new=session not in known, is_repeated=prompt in asked)
        known.add(session)
        if one.prompted:
            asked.add(prompt)


def _decided(one: Observed, tally: Tally, *, is_new: bool, is_repeated: bool) -> None:
    tally.turn(one.latency_us)
    tally.add(KPI_METRIC_REJECTS, not one.named_user_id, 1)
    tally.add(KPI_METRIC_IDENTITY_CONFLICTS, bool(one.conflict_state), 1)
    # §38.5: a conflict ends in UNKNOWN. Whoever is named in one was guessed.
    tally.safety_conflicts += bool(one.conflict_state and one.named_user_id)
    tally.add(KPI_METRIC_IDENTITY_PROMPTS, one.prompted, is_new)
    if one.prompted:
        tally.add(KPI_METRIC_REPEAT_PROMPT_VIOLATIONS, is_repeated, 1)
    if one.asked:
        tally.add(KPI_METRIC_PROMPT_CONFIRMATIONS, 0, 1)


def _confirmed(one: Observed, tally: Tally) -> None:
    accepted, speaker = one.named_user_id if one.accepted else "", one.speaker_user_id or ""
    is_mixed_up = accepted not in ("", speaker)
    if speaker:
        tally.add(KPI_METRIC_FALSE_REJECTS, accepted != speaker, 1)
    if not speaker or is_mixed_up:
        tally.add(KPI_METRIC_FALSE_ACCEPTS, bool(accepted), 1)
    if one.asked:
        tally.add(KPI_METRIC_PROMPT_CONFIRMATIONS, 1, 0)
