"""The judge (§20): six rows as data, voice identity by §38.1, and what takes a rollout back at once (§20, §29).

A rollout is judged by what was measured on both sides in the same time. Whatever is neither PROMOTE nor ROLLBACK is
HOLD: too few samples, no traffic, a metric that was not measured, a gain that may be chance. Rates are exact
fractions: a cell holds at its number, and not a millionth beside it.

The numbers of the rollback column count as they are. A promotion needs its numbers and, where rates are compared, a
difference that chance explains with less than 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    ARM_CANDIDATE,
    JUDGE_DOMAIN_CONTEXT,
    JUDGE_DOMAIN_LLM_BOUNDARY,
    JUDGE_DOMAIN_NLP,
    JUDGE_DOMAIN_PAE_ROUTING,
    JUDGE_DOMAIN_STT,
    JUDGE_DOMAIN_TTS,
    JUDGE_DOMAIN_VOICE_IDENTITY,
    JUDGE_REASON_AUDIT_INCOMPLETE,
    JUDGE_REASON_AUTHORITY_VIOLATION,
    JUDGE_REASON_BELOW_PROMOTE,
    JUDGE_REASON_COHORT_REGRESSION,
    JUDGE_REASON_CONSENT_REVOKED,
    JUDGE_REASON_DUPLICATE_SIDE_EFFECT,
    JUDGE_REASON_METRIC_MISSING,
    JUDGE_REASON_NO_ROW,
    JUDGE_REASON_NO_TRAFFIC,
    JUDGE_REASON_NOT_SIGNIFICANT,
    JUDGE_REASON_PRIVACY_LEAK,
    JUDGE_REASON_PROMOTE_MET,
    JUDGE_REASON_PROMPT_RATE,
    JUDGE_REASON_REGRESSION,
    JUDGE_REASON_SAFETY_CONFLICT,
    JUDGE_REASON_TOO_FEW_SAMPLES,
    JUDGE_REASON_WINDOW_TOO_SHORT,
    JUDGE_VERDICT_HOLD,
    JUDGE_VERDICT_PROMOTE,
    JUDGE_VERDICT_ROLLBACK,
    KPI_METRIC_CORRECTION_RECURRENCE,
    KPI_METRIC_FALSE_ACCEPTS,
    KPI_METRIC_FALSE_REJECTS,
    KPI_METRIC_IDENTITY_PROMPTS,
    KPI_METRIC_INTENT_F1,
    KPI_METRIC_INTERRUPTION_FALSE_POSITIVES,
    KPI_METRIC_INTERRUPTION_SUCCESS,
    KPI_METRIC_MISPRONUNCIATION_COMPLAINTS,
    KPI_METRIC_POLICY_CONFLICTS,
    KPI_METRIC_PROMPT_CONFIRMATIONS,
    KPI_METRIC_QUALITY_COST_SCORE,
    KPI_METRIC_REJECTS,
    KPI_METRIC_REPEAT_PROMPT_VIOLATIONS,
    KPI_METRIC_SCHEMA_VALID,
    KPI_METRIC_SLOT_F1,
    KPI_METRIC_UNSPECIFIED,
    KPI_METRIC_WORD_ERRORS,
    Arm,
    JudgeDomain,
    JudgeFinding,
    Judgement,
    JudgeReason,
    JudgeVerdict,
    KpiMetric,
    KpiWindow,
    SafetyCounts,
)

from servers.governance.significance import ALPHA, Rate, p_higher, p_lower
from servers.statistics import clopper_pearson

DAY: Final = timedelta(hours=24)
BUCKET_GROWTH: Final = 1.01
PPM: Final = 1_000_000
BOUNDLESS: Final = Fraction(10**6)
"""How much a rate rose that was zero before: more than any cell asks."""

LATENCY_P95: Final = KPI_METRIC_UNSPECIFIED
"""The one figure that is no rate."""


class Measure(Enum):
    """What of a metric is held against a cell's number."""

    LEVEL = "level"
    """The candidate's rate."""
    DELTA = "delta"
    """Candidate less baseline."""
    RELATIVE = "relative"
    """Candidate less baseline, of the baseline."""
    LOWER = "lower"
    """The lower end of the candidate's 95 % interval."""
    UPPER = "upper"
    """The upper end of the candidate's 95 % interval."""


COMPARED: Final = frozenset({Measure.DELTA, Measure.RELATIVE})


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition of a row: it holds where the measure is at most, at least, below or above a number."""

    metric: KpiMetric
    measure: Measure
    relation: str
    number: Fraction
    tested: bool = False
    """The difference must not be chance: asked of gains that a promotion rests on."""

    def holds(self, value: Fraction) -> bool:
        """Whether a value of the measure satisfies the cell."""
        match self.relation:
            case "<=":
                return value <= self.number
            case ">=":
                return value >= self.number
            case "<":
                return value < self.number
            case ">":
                return value > self.number
        raise ValueError(self.relation)


def _percent(text: str) -> Fraction:
    return Fraction(text) / 100


def _gain(metric: KpiMetric, measure: Measure, relation: str, percent: str) -> Cell:
    return Cell(metric, measure, relation, _percent(percent), tested=True)


def _cell(metric: KpiMetric, measure: Measure, relation: str, percent: str) -> Cell:
    return Cell(metric, measure, relation, _percent(percent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table. All of `promote` must hold; any of `rollback` suffices; `at_once` does not wait for the
    window; none of `guarded` may be higher than the baseline's beyond chance."""

    turns: int
    promote: tuple[Cell, ...]
    rollback: tuple[Cell, ...]
    at_once: tuple[Cell, ...] = ()
    guarded: tuple[KpiMetric, ...] = ()
    prompts: bool = False
    """The prompt rates of BLD-07 must have been measured."""
    window: timedelta = DAY


_R, _D, _L = Measure.RELATIVE, Measure.DELTA, Measure.LEVEL

TABLE: Final[Mapping[JudgeDomain, Row]] = MappingProxyType(
    {
        JUDGE_DOMAIN_STT: Row(
            turns=1_000,
            promote=(
                _gain(KPI_METRIC_WORD_ERRORS, _R, "<=", "-8"),
                _cell(KPI_METRIC_REJECTS, _D, "<=", "0.3"),
            ),
            rollback=(
                _cell(KPI_METRIC_WORD_ERRORS, _R, ">=", "3"),
                _cell(KPI_METRIC_REJECTS, _D, ">=", "1.0"),
            ),
        ),
        JUDGE_DOMAIN_TTS: Row(
            turns=500,
            promote=(
                _gain(KPI_METRIC_MISPRONUNCIATION_COMPLAINTS, _R, "<=", "-20"),
                _gain(KPI_METRIC_INTERRUPTION_SUCCESS, _D, ">=", "5"),
            ),
            rollback=(
                _cell(KPI_METRIC_MISPRONUNCIATION_COMPLAINTS, _R, ">=", "10"),
                _cell(KPI_METRIC_INTERRUPTION_FALSE_POSITIVES, _D, ">=", "2"),
            ),
        ),
        JUDGE_DOMAIN_NLP: Row(
            turns=800,
            promote=(
                _gain(KPI_METRIC_INTENT_F1, _D, ">=", "4"),
                _gain(KPI_METRIC_SLOT_F1, _D, ">=", "3"),
            ),
            rollback=(
                _cell(KPI_METRIC_INTENT_F1, _D, "<=", "-2"),
                _cell(KPI_METRIC_SLOT_F1, _D, "<=", "-2"),
            ),
        ),
        JUDGE_DOMAIN_LLM_BOUNDARY: Row(
            turns=800,
            promote=(
                _cell(KPI_METRIC_SCHEMA_VALID, _L, ">=", "99.9"),
                _cell(KPI_METRIC_POLICY_CONFLICTS, _L, "<=", "0"),
            ),
            rollback=(_cell(KPI_METRIC_SCHEMA_VALID, _L, "<", "99.5"),),
            # §29: at once, and so where few outputs show it already.
            at_once=(
                _cell(KPI_METRIC_POLICY_CONFLICTS, _L, ">", "0"),
                _cell(KPI_METRIC_SCHEMA_VALID, Measure.UPPER, "<", "99.5"),
            ),
        ),
        JUDGE_DOMAIN_CONTEXT: Row(
            turns=600,
            promote=(_gain(KPI_METRIC_CORRECTION_RECURRENCE, _R, "<=", "-15"),),
            # Leakage is a global trigger.
            rollback=(_cell(KPI_METRIC_CORRECTION_RECURRENCE, _R, ">=", "5"),),
        ),
        JUDGE_DOMAIN_PAE_ROUTING: Row(
            turns=1_200,
            promote=(
                _gain(KPI_METRIC_QUALITY_COST_SCORE, _R, ">=", "5"),
                _cell(LATENCY_P95, _R, "<=", "5"),
            ),
            rollback=(
                _cell(KPI_METRIC_QUALITY_COST_SCORE, _R, "<=", "-3"),
                _cell(LATENCY_P95, _R, ">=", "15"),
            ),
        ),
        # Not a row of §20: promotion by the bounds of §38.1, rollback where they are surely left.
        JUDGE_DOMAIN_VOICE_IDENTITY: Row(
            turns=1_000,
            promote=(
                _cell(KPI_METRIC_FALSE_REJECTS, Measure.UPPER, "<=", "1.0"),
                _cell(KPI_METRIC_FALSE_ACCEPTS, Measure.UPPER, "<=", "0.10"),
            ),
            rollback=(
                _cell(KPI_METRIC_FALSE_REJECTS, Measure.LOWER, ">", "1.0"),
                _cell(KPI_METRIC_FALSE_ACCEPTS, Measure.LOWER, ">", "0.10"),
            ),
            guarded=(KPI_METRIC_FALSE_ACCEPTS,),
            prompts=True,
        ),
    }
)

GLOBAL_TRIGGERS: Final[tuple[tuple[str, JudgeReason], ...]] = (
    ("authority_violations", JUDGE_REASON_AUTHORITY_VIOLATION),
    ("duplicate_side_effects", JUDGE_REASON_DUPLICATE_SIDE_EFFECT),
    ("privacy_leaks", JUDGE_REASON_PRIVACY_LEAK),
    ("safety_conflicts", JUDGE_REASON_SAFETY_CONFLICT),
)
"""Counts of the candidate that take it back at once, however few turns there were (§20, §29)."""

PROMPTS_PER_SESSION: Final = Fraction(1)
"""VID.CONF.9: `max_identity_prompts_per_session`."""

_PROMPT_METRICS: Final = (
    KPI_METRIC_IDENTITY_PROMPTS,
    KPI_METRIC_REPEAT_PROMPT_VIOLATIONS,
    KPI_METRIC_PROMPT_CONFIRMATIONS,
)

ONLY_SERVED: Final = frozenset(
    {KPI_METRIC_INTERRUPTION_FALSE_POSITIVES, KPI_METRIC_MISPRONUNCIATION_COMPLAINTS, LATENCY_P95}
)
"""What only a candidate that serves can show: nobody hears a mirrored one, and nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Trail:
    """How many rows the audit trail of the activation should hold, and how many it does."""

    expected: int
    found: int

    @property
    def complete(self) -> bool:
        """100 %, and not a row less."""
        return self.found >= self.expected


@dataclass(slots=True)
class _Side:
    """What was counted on one side of one cohort."""

    turns: int = 0
    spans: list[tuple[datetime, datetime]] = field(default_factory=list)
    counts: dict[KpiMetric, tuple[int, int]] = field(default_factory=dict)
    latencies: dict[int, int] = field(default_factory=dict)
    safety: dict[str, int] = field(default_factory=dict)

    def add(self, window: KpiWindow) -> None:
        self.turns += window.turns
        self.spans.append((window.starts_at.ToDatetime(), window.ends_at.ToDatetime()))
        for count in window.counts:
            events, trials = self.counts.get(count.metric, (0, 0))
            self.counts[count.metric] = (events + count.numerator, trials + count.denominator)
        for bucket in window.latencies:
            self.latencies[bucket.index] = self.latencies.get(bucket.index, 0) + bucket.turns
        for name, _ in GLOBAL_TRIGGERS:
            self.safety[name] = self.safety.get(name, 0) + getattr(window.safety, name)

    @property
    def covered(self) -> timedelta:
        """How much time was measured. What two sources measured at once counts once."""
        total, reached = timedelta(0), datetime.min
        for starts_at, ends_at in sorted(self.spans):
            total += max(timedelta(0), ends_at - max(starts_at, reached))
            reached = max(reached, ends_at)
        return total

    def rate(self, metric: KpiMetric) -> Fraction | None:
        events, trials = self.counts.get(metric, (0, 0))
        return Fraction(events, trials) if trials else None

    def counted(self, metric: KpiMetric) -> Rate:
        return Rate(*self.counts.get(metric, (0, 0)))

    @property
    def counted_any(self) -> bool:
        """Whether anything was counted but turns."""
        return any(trials for _, trials in self.counts.values())

    def p95_us(self) -> Fraction | None:
        """The upper end of the bucket that the 95th of 100 turns falls into."""
        total = sum(self.latencies.values())
        below = 0
        for index in sorted(self.latencies):
            below += self.latencies[index]
            if 100 * below >= 95 * total:
                return Fraction(BUCKET_GROWTH ** (index + 1))
        return None


@dataclass(frozen=True, slots=True)
class _Pair:
    """Both sides of one cohort."""

    candidate: _Side
    baseline: _Side

    def value(self, metric: KpiMetric, measure: Measure) -> Fraction | None:
        """A measure of a metric; None where it was not measured."""
        candidate, baseline = self.levels(metric)
        if candidate is None:
            return None
        if measure is Measure.LEVEL:
            return candidate
        if measure not in COMPARED:
            return self._bound(metric, measure)
        if baseline is None:
            return None
        difference = candidate - baseline
        if measure is Measure.DELTA:
            return difference
        if baseline:
            return difference / baseline
        return BOUNDLESS if difference else Fraction(0)

    def levels(self, metric: KpiMetric) -> tuple[Fraction | None, Fraction | None]:
        """Candidate and baseline; None where it was not measured."""
        if metric == LATENCY_P95:
            return self.candidate.p95_us(), self.baseline.p95_us()
        return self.candidate.rate(metric), self.baseline.rate(metric)

    def _bound(self, metric: KpiMetric, measure: Measure) -> Fraction:
        counted = self.candidate.counted(metric)
        interval = clopper_pearson(min(counted.events, counted.trials), counted.trials)
        return Fraction(interval.lower if measure is Measure.LOWER else interval.upper)

    def chance(self, metric: KpiMetric, *, lower: bool) -> float:
        """How likely chance alone makes the candidate so much lower, or higher; 1 for what is no rate."""
        test = p_lower if lower else p_higher
        return test(self.candidate.counted(metric), self.baseline.counted(metric))


def judge(
    domain: JudgeDomain,
    windows: Sequence[KpiWindow],
    *,
    trail: Trail,
    now: datetime,
    safety: SafetyCounts | None = None,
    revoked: bool = False,
    concurrent: bool = True,
) -> Judgement:
    """The verdict, its reasons and its figures. `safety`: what the trail tells of the candidate, beside the windows.

    Of the baseline only windows that overlap the time of the candidate's count. `concurrent` is False where everybody
    has the candidate already: then it is held against the baseline as it was last measured.
    """
    pairs = _pairs(windows, concurrent=concurrent)
    everyone = pairs.pop("", _Pair(_Side(), _Side()))
    row = TABLE.get(domain)
    triggers = _triggers(everyone, pairs, trail, safety or SafetyCounts(), revoked=revoked)
    verdict, reasons = _verdict(row, everyone, pairs, triggers)
    judgement = Judgement(
        verdict=verdict,
        reasons=reasons,
        domain=domain,
        candidate_turns=everyone.candidate.turns,
        baseline_turns=everyone.baseline.turns,
    )
    judgement.judged_at.FromDatetime(now)
    if row is not None:
        for cohort, pair in (("", everyone), *sorted(pairs.items())):
            judgement.findings.extend(_findings(row, cohort, pair))
    return judgement


def guards_measured(domain: JudgeDomain, windows: Sequence[KpiWindow]) -> bool:
    """Whether a shadow was measured by everything that would take it back, as far as a mirror can show it (§29).

    One that no row is about, or of which nothing at all was counted, shows nothing.
    """
    row, everyone = TABLE.get(domain), _pairs(windows, concurrent=True).get("")
    if row is None or everyone is None or not (everyone.candidate.counted_any and everyone.baseline.counted_any):
        return False
    return all(everyone.value(metric, measure) is not None for metric, measure in _mirrored(_guards(row)))


def unmeasured(domain: JudgeDomain, windows: Sequence[KpiWindow], *, mirrored: bool) -> list[tuple[KpiMetric, Arm]]:
    """What was not measured, on which side, of what has to be before the stage may be left, in the order of the row.

    Of a shadow (`mirrored`) what would take it back, and where nothing at all was counted, what would promote it; of a
    canary every cell, and the prompts. Nothing where no row is about the artifact: no measurement would help it.
    """
    row = TABLE.get(domain)
    if row is None:
        return []
    everyone = _pairs(windows, concurrent=True).get("", _Pair(_Side(), _Side()))
    is_compared = everyone.baseline.counted_any
    asked = _guards(row)
    if not mirrored or not (is_compared and everyone.candidate.counted_any):
        asked = [*_measures(row.promote), *asked]
    if mirrored:
        asked = _mirrored(asked)
    elif row.prompts:
        asked += [(metric, Measure.LEVEL) for metric in _PROMPT_METRICS]
    found: dict[tuple[KpiMetric, Arm], None] = {}
    for metric, measure in asked:
        candidate, baseline = everyone.levels(metric)
        if candidate is None:
            found[metric, ARM_CANDIDATE] = None
        if baseline is None and (measure in COMPARED or not is_compared):
            found[metric, ARM_BASELINE] = None
    return list(found)


def _measures(cells: Iterable[Cell]) -> list[tuple[KpiMetric, Measure]]:
    return [(cell.metric, cell.measure) for cell in cells]


def _guards(row: Row) -> list[tuple[KpiMetric, Measure]]:
    """What would take a candidate back, or keep it from going on."""
    return [*_measures((*row.rollback, *row.at_once)), *((metric, Measure.DELTA) for metric in row.guarded)]


def _mirrored(asked: Iterable[tuple[KpiMetric, Measure]]) -> list[tuple[KpiMetric, Measure]]:
    """What a mirror can show of it."""
    return [(metric, measure) for metric, measure in asked if metric not in ONLY_SERVED]


def _verdict(
    row: Row | None, everyone: _Pair, cohorts: Mapping[str, _Pair], triggers: list[JudgeReason]
) -> tuple[JudgeVerdict, list[JudgeReason]]:
    if triggers:
        return JUDGE_VERDICT_ROLLBACK, triggers
    if row is None:
        return JUDGE_VERDICT_HOLD, [JUDGE_REASON_NO_ROW]
    if any(_met(cell, pair) for pair in (everyone, *cohorts.values()) for cell in row.at_once):
        return JUDGE_VERDICT_ROLLBACK, [JUDGE_REASON_SAFETY_CONFLICT]
    lacking = _lacking(row, everyone)
    if lacking:
        return JUDGE_VERDICT_HOLD, lacking
    if any(_met(cell, everyone) for cell in row.rollback):
        return JUDGE_VERDICT_ROLLBACK, [JUDGE_REASON_REGRESSION]
    regressed = [pair for pair in cohorts.values() if any(_met(cell, pair) for cell in row.rollback)]
    if any(pair.candidate.turns >= row.turns for pair in regressed):
        return JUDGE_VERDICT_ROLLBACK, [JUDGE_REASON_COHORT_REGRESSION]
    against = [reason for holds, reason in _AGAINST if holds(row, everyone)]
    if regressed:
        against.insert(0, JUDGE_REASON_COHORT_REGRESSION)
    if against:
        return JUDGE_VERDICT_HOLD, against
    return JUDGE_VERDICT_PROMOTE, [JUDGE_REASON_PROMOTE_MET]


def _triggers(
    everyone: _Pair, cohorts: Mapping[str, _Pair], trail: Trail, safety: SafetyCounts, *, revoked: bool
) -> list[JudgeReason]:
    """What takes it back at once. A cohort's count is no less a count where nobody told it of everyone."""
    sides = [everyone.candidate, *(pair.candidate for pair in cohorts.values())]
    found = [
        reason
        for name, reason in GLOBAL_TRIGGERS
        if getattr(safety, name) or any(side.safety.get(name) for side in sides)
    ]
    if not trail.complete:
        found.append(JUDGE_REASON_AUDIT_INCOMPLETE)
    if revoked:
        found.append(JUDGE_REASON_CONSENT_REVOKED)
    return found


def _lacking(row: Row, pair: _Pair) -> list[JudgeReason]:
    """Why there is not enough to judge by."""
    if not pair.candidate.turns or not pair.baseline.turns:
        return [JUDGE_REASON_NO_TRAFFIC]
    found = []
    if min(pair.candidate.turns, pair.baseline.turns) < row.turns:
        found.append(JUDGE_REASON_TOO_FEW_SAMPLES)
    if pair.candidate.covered < row.window:
        found.append(JUDGE_REASON_WINDOW_TOO_SHORT)
    return found


def _unmeasured(row: Row, pair: _Pair) -> bool:
    cells = (*row.promote, *row.rollback, *row.at_once)
    if any(pair.value(cell.metric, cell.measure) is None for cell in cells):
        return True
    return row.prompts and any(pair.candidate.rate(metric) is None for metric in _PROMPT_METRICS)


def _below(row: Row, pair: _Pair) -> bool:
    return any(pair.value(cell.metric, cell.measure) is not None and not _met(cell, pair) for cell in row.promote)


def _by_chance(row: Row, pair: _Pair) -> bool:
    """Whether a gain that the promotion rests on may be chance."""
    tested = [cell for cell in row.promote if cell.tested and _met(cell, pair)]
    return any(pair.chance(cell.metric, lower=cell.number < 0) >= ALPHA for cell in tested)


def _guard_broken(row: Row, pair: _Pair) -> bool:
    return any(pair.chance(metric, lower=False) < ALPHA for metric in row.guarded)


def _prompts_exceed(row: Row, pair: _Pair) -> bool:
    """The ask-once rules (§40.6 BLD-07): held wherever prompts were counted."""
    prompts = pair.candidate.rate(KPI_METRIC_IDENTITY_PROMPTS)
    repeated = pair.candidate.rate(KPI_METRIC_REPEAT_PROMPT_VIOLATIONS)
    if (prompts is not None and prompts > PROMPTS_PER_SESSION) or repeated:
        return True
    return pair.chance(KPI_METRIC_PROMPT_CONFIRMATIONS, lower=True) < ALPHA


_AGAINST: Final[tuple[tuple[Callable[[Row, _Pair], bool], JudgeReason], ...]] = (
    (_guard_broken, JUDGE_REASON_REGRESSION),
    (_unmeasured, JUDGE_REASON_METRIC_MISSING),
    (_prompts_exceed, JUDGE_REASON_PROMPT_RATE),
    (_below, JUDGE_REASON_BELOW_PROMOTE),
    (_by_chance, JUDGE_REASON_NOT_SIGNIFICANT),
)
"""What keeps from a promotion, the gravest first."""


def _met(cell: Cell, pair: _Pair) -> bool:
    value = pair.value(cell.metric, cell.measure)
    return value is not None and cell.holds(value)


def _pairs(windows: Iterable[KpiWindow], *, concurrent: bool) -> dict[str, _Pair]:
    by_cohort: dict[str, list[KpiWindow]] = {}
    for window in windows:
        by_cohort.setdefault(window.cohort, []).append(window)
    return {cohort: _pair(some, concurrent=concurrent) for cohort, some in by_cohort.items()}


def _pair(windows: Sequence[KpiWindow], *, concurrent: bool) -> _Pair:
    candidate, baseline = _Side(), _Side()
    taken = [window for window in windows if window.arm == ARM_CANDIDATE]
    for window in taken:
        candidate.add(window)
    for window in windows:
        if window.arm == ARM_BASELINE and (not concurrent or any(_overlap(window, other) for other in taken)):
            baseline.add(window)
    return _Pair(candidate, baseline)


def _overlap(one: KpiWindow, other: KpiWindow) -> bool:
    return (
        one.starts_at.ToDatetime() < other.ends_at.ToDatetime()
        and other.starts_at.ToDatetime() < one.ends_at.ToDatetime()
    )


def _findings(row: Row, cohort: str, pair: _Pair) -> list[JudgeFinding]:
    """A figure for each metric of the row that was measured."""
    found: dict[KpiMetric, JudgeFinding] = {}
    for cell in (*row.promote, *row.rollback):
        candidate, baseline = pair.levels(cell.metric)
        if candidate is None or cell.metric in found:
            continue
        scale = 1 if cell.metric == LATENCY_P95 else PPM
        measure = cell.measure if cell.measure in COMPARED else Measure.DELTA
        delta = pair.value(cell.metric, measure)
        likely = 1.0
        if cell.metric != LATENCY_P95 and baseline is not None:
            likely = pair.chance(cell.metric, lower=candidate < baseline)
        found[cell.metric] = JudgeFinding(
            metric=cell.metric,
            cohort=cohort,
            baseline_ppm=round((baseline or Fraction(0)) * scale),
            candidate_ppm=round(candidate * scale),
            delta_ppm=round((delta or Fraction(0)) * PPM),
            p_value_ppm=math.ceil(likely * PPM),
        )
    return list(found.values())
