"""What evidence of each domain shows, as numbers: agreement, overlap, precision, lift, error rates (§16, §38.1). Pure.

Agreement is unanimity: of an item on which one labeller differs nothing is agreed, so no further label makes an item
agree more than it did. Where only one label is wanted (TIER_1), there is nobody to disagree with.

Agreement and rates are over the items that count; conflicts and violations are looked for in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from types import MappingProxyType
from typing import Final

from selene.gold.v1.evidence_pb2 import GoldItem, GoldLabel, RankedContext, RouteOutcome, SpanEdit, VoiceTrial
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_CONTEXT_RANK,
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_NLP_INTENT_SLOT,
    GOLD_DOMAIN_PAE_ROUTE,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_VOICE_IDENTITY,
    GOLD_DOMAIN_WAKE_ENDPOINT,
    GoldDomain,
)

from servers.learning.evidence import nanoseconds
from servers.statistics import clopper_pearson

MAX_BOUNDARY_DISAGREEMENT_NS: Final = 120_000_000
"""Labellers may place a start, or an end, this far apart (§16)."""
TOP: Final = 3
"""How many ranks precision is measured over (§16)."""
MAX_FAR: Final = 0.001
"""What the upper bound of every cohort's FAR may be at most (§38.1)."""
NEVER: Final = 1001.0
"""A threshold above every score that the contract allows: nobody is accepted."""


class Name(StrEnum):
    """The figures. Those of voice identity carry their cohort in brackets, ``TAR_LOWER[en/gb/phone/quiet]``."""

    BOUNDARY_EVENTS = "BOUNDARY_EVENTS"
    BOUNDARY_IOU = "BOUNDARY_IOU"
    TRIGGER_AGREEMENT = "TRIGGER_AGREEMENT"
    BOUNDARY_DISAGREEMENTS = "BOUNDARY_DISAGREEMENTS"
    CORRECTED_UTTERANCES = "CORRECTED_UTTERANCES"
    SPAN_EDIT_AGREEMENT = "SPAN_EDIT_AGREEMENT"
    UNRESOLVED_TOKEN_RATE = "UNRESOLVED_TOKEN_RATE"
    ENTITY_DISAGREEMENTS = "ENTITY_DISAGREEMENTS"
    PRONUNCIATION_JUDGMENTS = "PRONUNCIATION_JUDGMENTS"
    ACCEPTED_RATE = "ACCEPTED_RATE"
    REVIEWER_CONFIDENCE = "REVIEWER_CONFIDENCE"
    REVIEWER_DISAGREEMENT = "REVIEWER_DISAGREEMENT"
    LABELLED_TURNS = "LABELLED_TURNS"
    INTENT_AGREEMENT = "INTENT_AGREEMENT"
    REQUIRED_SLOT_AGREEMENT = "REQUIRED_SLOT_AGREEMENT"
    REQUIRED_SLOT_CONFLICTS = "REQUIRED_SLOT_CONFLICTS"
    VALIDATED_OUTPUTS = "VALIDATED_OUTPUTS"
    SCHEMA_VALID_RATE = "SCHEMA_VALID_RATE"
    POLICY_CONFLICT_RATE = "POLICY_CONFLICT_RATE"
    RANKED_JUDGMENTS = "RANKED_JUDGMENTS"
    PRECISION_AT_3 = "PRECISION_AT_3"
    LEAKAGE_RATE = "LEAKAGE_RATE"
    ROUTED_TURNS = "ROUTED_TURNS"
    WEIGHTED_LIFT = "WEIGHTED_LIFT"
    CANDIDATE_PREFERRED = "CANDIDATE_PREFERRED"
    ROLLBACK_POINTER = "ROLLBACK_POINTER"
    GENUINE_TRIALS = "GENUINE_TRIALS"
    IMPOSTOR_TRIALS = "IMPOSTOR_TRIALS"
    TAR_LOWER = "TAR_LOWER"
    FAR_UPPER = "FAR_UPPER"
    FRR_UPPER = "FRR_UPPER"
    TRIAL_DISAGREEMENTS = "TRIAL_DISAGREEMENTS"
    CONSENSUS_AGREEMENT = "CONSENSUS_AGREEMENT"
    FLEISS_KAPPA = "FLEISS_KAPPA"
    PROPOSED_THRESHOLD = "PROPOSED_THRESHOLD"


@dataclass(frozen=True, slots=True)
class Judged:
    """An item, one label of each person who labelled it, and whether they are enough for it to count."""

    item: GoldItem
    labels: tuple[GoldLabel, ...]
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each side of a route weighs; their sum is 1."""

    quality: float
    latency: float
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the figures rest on besides the items.

    ``user_of`` gives the user of a query by its signal's id, empty where unknown. ``threshold`` is the score to accept
    speakers by, None to propose one. ``packet_valid`` says whether bytes are a decision packet.
    """

    tenant_id: str
    user_of: Callable[[str], str]
    rollback_pointer_present: bool
    weights: Weights
    threshold: float | None
    packet_valid: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Value:
    """One figure; ``cohort`` is empty but for voice identity."""

    name: Name
    value: float
    cohort: str = ""


@dataclass(slots=True)
class Shown:
    """What the evidence shows. A figure that nothing can be computed from is absent.

    ``ratings`` are the categories that raters chose, a sequence for each thing rated; ``offending`` the items at fault,
    by the figure that they spoil.
    """

    values: list[Value] = field(default_factory=list)
    ratings: list[Sequence[Hashable]] = field(default_factory=list)
    offending: dict[Name, list[str]] = field(default_factory=dict)

    def rate(self, name: Name, part: float, whole: float, *, vacuous: float | None = None) -> None:
        """A share; where there is no whole it is ``vacuous``, or absent."""
        if whole > 0:
            self.values.append(Value(name, part / whole))
        elif vacuous is not None:
            self.values.append(Value(name, vacuous))

    def count(self, name: Name, count: int) -> None:
        self.values.append(Value(name, float(count)))

    def found(self, name: Name, item_ids: list[str]) -> None:
        """How many items are at fault, and which."""
        self.count(name, len(item_ids))
        self.offending[name] = item_ids


def boundaries(items: Sequence[Judged], _: Setting) -> Shown:
    """The overlap of an item is that of the two labellers who overlap least."""
    shown, overlaps, agreed, far_apart = Shown(), [], 0, []
    for judged in items:
        spans = [
            (nanoseconds(label.boundary.start), nanoseconds(label.boundary.end), label.boundary.triggered)
            for label in judged.labels
        ]
        if _apart(start for start, _, _ in spans) or _apart(end for _, end, _ in spans):
            far_apart.append(judged.item.item_id)
        if not judged.counts:
            continue
        triggers = [triggered for _, _, triggered in spans]
        overlaps.append(min((_overlap(one, other) for one, other in combinations(spans, 2)), default=1.0))
        agreed += _unanimous(triggers)
        shown.ratings.append(triggers)
    shown.count(Name.BOUNDARY_EVENTS, len(overlaps))
    shown.rate(Name.BOUNDARY_IOU, math.fsum(overlaps), len(overlaps))
    shown.rate(Name.TRIGGER_AGREEMENT, agreed, len(overlaps))
    shown.found(Name.BOUNDARY_DISAGREEMENTS, far_apart)
    return shown


def _apart(instants: Iterable[int]) -> bool:
    ordered = sorted(instants)
    return len(ordered) > 1 and ordered[-1] - ordered[0] > MAX_BOUNDARY_DISAGREEMENT_NS


def _overlap(one: tuple[int, int, bool], other: tuple[int, int, bool]) -> float:
    """Intersection over union of two segments."""
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / ((one[1] - one[0]) + (other[1] - other[0]) - shared)


def transcripts(items: Sequence[Judged], _: Setting) -> Shown:
    """Of the edits that anybody made, the share that everybody made; an utterance is corrected where everybody edits
    it. Tokens are unresolved where one labeller cannot make them out.
    """
    shown, corrected, common, any_edits, unresolved, tokens, disputed = Shown(), 0, 0, 0, 0, 0, []
    for judged in items:
        edits = [{_edit(edit) for edit in label.transcript.edits} for label in judged.labels]
        union, shared = (set[Edit]().union(*edits), edits[0].intersection(*edits)) if edits else (set(), set())
        if any(entity for _, _, _, entity in union - shared):
            disputed.append(judged.item.item_id)
        if not judged.counts:
            continue
        corrected += all(edits)
        # Whether an edit is of an entity is another question than whether it is right.
        plain = [{edit[:3] for edit in each} for each in edits]
        common += len(plain[0].intersection(*plain))
        any_edits += len(set().union(*plain))
        unresolved += max(label.transcript.unresolved_tokens for label in judged.labels)
        tokens += len(judged.item.utterance.tokens)
        shown.ratings.append([bool(each) for each in edits])
    shown.count(Name.CORRECTED_UTTERANCES, corrected)
    shown.rate(Name.SPAN_EDIT_AGREEMENT, common, any_edits)
    shown.rate(Name.UNRESOLVED_TOKEN_RATE, unresolved, tokens)
    shown.found(Name.ENTITY_DISAGREEMENTS, disputed)
    return shown


Edit = tuple[int, int, tuple[str, ...], bool]


def _edit(edit: SpanEdit) -> Edit:
    return edit.start_token, edit.end_token, tuple(edit.replacement), edit.entity


def pronunciations(items: Sequence[Judged], _: Setting) -> Shown:
    """The accepted rate and the confidence are over judgments, of which an item has several; reviewers disagree by
    item.
    """
    shown, accepted, disagreed, confidences = Shown(), 0, [], []
    for judged in items:
        if not judged.counts:
            continue
        verdicts = [label.pronunciation.accepted for label in judged.labels]
        accepted += sum(verdicts)
        if not _unanimous(verdicts):
            disagreed.append(judged.item.item_id)
        confidences += [label.pronunciation.confidence_bp for label in judged.labels]
        shown.ratings.append(verdicts)
    shown.count(Name.PRONUNCIATION_JUDGMENTS, len(shown.ratings))
    shown.rate(Name.ACCEPTED_RATE, accepted, len(confidences))
    shown.rate(Name.REVIEWER_CONFIDENCE, sum(confidences), 10_000 * len(confidences))
    shown.rate(Name.REVIEWER_DISAGREEMENT, len(disagreed), len(shown.ratings))
    shown.offending[Name.REVIEWER_DISAGREEMENT] = disagreed
    return shown


def turns(items: Sequence[Judged], _: Setting) -> Shown:
    """A required slot is agreed where everybody gives it the same value, or everybody finds none; it conflicts where
    two people give it different values.
    """
    shown, agreed, slots_agreed, slots, conflicting = Shown(), 0, 0, 0, []
    for judged in items:
        labelled = [label.turn.slots for label in judged.labels]
        given = [{values.get(name) for values in labelled} for name in judged.item.turn.required_slots]
        if any(len(values - {None}) > 1 for values in given):
            conflicting.append(judged.item.item_id)
        if not judged.counts:
            continue
        intents = [label.turn.intent for label in judged.labels]
        agreed += _unanimous(intents)
        slots_agreed += sum(len(values) == 1 for values in given)
        slots += len(given)
        shown.ratings.append(intents)
    count = len(shown.ratings)
    shown.count(Name.LABELLED_TURNS, count)
    shown.rate(Name.INTENT_AGREEMENT, agreed, count)
    shown.rate(Name.REQUIRED_SLOT_AGREEMENT, slots_agreed, slots, vacuous=1.0 if count else None)
    shown.found(Name.REQUIRED_SLOT_CONFLICTS, conflicting)
    return shown


def outputs(items: Sequence[Judged], setting: Setting) -> Shown:
    """Every packet of the candidate set is checked, whether it counts or not; one label is enough for a conflict."""
    shown, validated, invalid, conflicting = Shown(), 0, [], []
    for judged in items:
        valid = setting.packet_valid(judged.item.output.packet)
        conflicts = [label.output.policy_conflict for label in judged.labels]
        if not valid:
            invalid.append(judged.item.item_id)
        if any(conflicts):
            conflicting.append(judged.item.item_id)
        if judged.counts:
            validated += valid
            shown.ratings.append(conflicts)
    shown.count(Name.VALIDATED_OUTPUTS, validated)
    shown.rate(Name.SCHEMA_VALID_RATE, len(items) - len(invalid), len(items))
    shown.rate(Name.POLICY_CONFLICT_RATE, len(conflicting), len(items))
    shown.offending[Name.SCHEMA_VALID_RATE] = invalid
    shown.offending[Name.POLICY_CONFLICT_RATE] = conflicting
    return shown


def rankings(items: Sequence[Judged], setting: Setting) -> Shown:
    """Precision over the first three ranks, an empty one counting as irrelevant; a context is relevant where everybody
    says so. Any context of another tenant, or of a user who is not the query's, leaks.
    """
    shown, relevant, count, leaking = Shown(), 0, 0, []
    for judged in items:
        contexts, user = judged.item.ranking.contexts, setting.user_of(judged.item.signal_id)
        if any(_leaks(context, setting.tenant_id, user) for context in contexts):
            leaking.append(judged.item.item_id)
        if not judged.counts:
            continue
        count += 1
        said = [set(label.ranking.relevant_refs) for label in judged.labels]
        for context in contexts[:TOP]:
            ratings = [context.ref in refs for refs in said]
            relevant += all(ratings)
            shown.ratings.append(ratings)
    shown.count(Name.RANKED_JUDGMENTS, count)
    shown.rate(Name.PRECISION_AT_3, relevant, TOP * count)
    shown.rate(Name.LEAKAGE_RATE, len(leaking), len(items))
    shown.offending[Name.LEAKAGE_RATE] = leaking
    return shown


def _leaks(context: RankedContext, tenant_id: str, user_id: str) -> bool:
    return context.tenant_id != tenant_id or context.user_id not in ("", user_id)


def routes(items: Sequence[Judged], setting: Setting) -> Shown:
    """The mean lift of a turn: its relative differences in quality, latency and cost, weighted."""
    shown, lifts, preferred, unanimous = Shown(), [], 0, 0
    for judged in items:
        if not judged.counts:
            continue
        lifts.append(_lift(judged.item.route.candidate, judged.item.route.baseline, setting.weights))
        if verdicts := [label.route.candidate_better for label in judged.labels]:
            unanimous += _unanimous(verdicts)
            preferred += all(verdicts)
            shown.ratings.append(verdicts)
    shown.count(Name.ROUTED_TURNS, len(lifts))
    shown.rate(Name.WEIGHTED_LIFT, math.fsum(lifts), len(lifts))
    shown.rate(Name.CANDIDATE_PREFERRED, preferred, unanimous)
    shown.count(Name.ROLLBACK_POINTER, int(setting.rollback_pointer_present))
    return shown


def _lift(candidate: RouteOutcome, baseline: RouteOutcome, weights: Weights) -> float:
    return (
        weights.quality * _gain(candidate.quality_bp, baseline.quality_bp)
        + weights.latency * _gain(nanoseconds(baseline.latency), nanoseconds(candidate.latency))
        + weights.cost * _gain(baseline.cost_micros, candidate.cost_micros)
    )


def _gain(more: int, less: int) -> float:
    """The difference as a share of the larger of two that are not negative, in [-1, 1]."""
    larger = max(more, less)
    return (more - less) / larger if larger else 0.0


def trials(items: Sequence[Judged], setting: Setting) -> Shown:
    """Error rates of each cohort at the threshold, by their 95 % bounds. A trial on whose truth people differ is none.

    Bounds at a threshold that was proposed from these trials are of the trials that chose it: a frozen set has to
    confirm them (§38.8).
    """
    shown, disputed, sides = Shown(), [], dict[str, tuple[list[float], list[float]]]()
    for judged in items:
        verdicts = [label.trial.genuine for label in judged.labels]
        if len(set(verdicts)) > 1:
            disputed.append(judged.item.item_id)
        if not judged.counts:
            continue
        shown.ratings.append(verdicts)
        if _unanimous(verdicts):
            _side(sides, judged.item.trial, genuine=verdicts[0]).append(judged.item.trial.score)
    proposed = (_threshold(impostors) for _, impostors in sides.values())
    threshold = setting.threshold
    if threshold is None:
        threshold = max((each for each in proposed if each is not None), default=NEVER)
    for cohort, (genuine, impostors) in sorted(sides.items()):
        shown.values += _rates(cohort, genuine, impostors, threshold)
    shown.found(Name.TRIAL_DISAGREEMENTS, disputed)
    if sides:
        shown.values.append(Value(Name.PROPOSED_THRESHOLD, threshold))
    return shown


def _side(sides: dict[str, tuple[list[float], list[float]]], trial: VoiceTrial, *, genuine: bool) -> list[float]:
    return sides.setdefault(trial.cohort, ([], []))[0 if genuine else 1]


def _threshold(impostors: Sequence[float]) -> float | None:
    """The lowest score to accept from, so that the upper bound of FAR keeps its limit; None where too few trials are
    there to show that.
    """
    falling, accepted = sorted(impostors, reverse=True), -1
    while accepted + 1 < len(falling) and clopper_pearson(accepted + 1, len(falling)).upper <= MAX_FAR:
        accepted += 1
    return None if accepted < 0 else math.nextafter(falling[accepted], math.inf)


def _rates(cohort: str, genuine: Sequence[float], impostors: Sequence[float], threshold: float) -> Iterator[Value]:
    frr = clopper_pearson(sum(score < threshold for score in genuine), len(genuine))
    far = clopper_pearson(sum(score >= threshold for score in impostors), len(impostors))
    yield Value(Name.GENUINE_TRIALS, float(len(genuine)), cohort)
    yield Value(Name.IMPOSTOR_TRIALS, float(len(impostors)), cohort)
    yield Value(Name.TAR_LOWER, 1.0 - frr.upper, cohort)
    yield Value(Name.FAR_UPPER, far.upper, cohort)
    yield Value(Name.FRR_UPPER, frr.upper, cohort)


def _unanimous(verdicts: Sequence[Hashable]) -> bool:
    return len(set(verdicts)) <= 1


MEASURES: Final[Mapping[GoldDomain, Callable[[Sequence[Judged], Setting], Shown]]] = MappingProxyType(
    {
        GOLD_DOMAIN_WAKE_ENDPOINT: boundaries,
        GOLD_DOMAIN_STT_TRANSCRIPT: transcripts,
        GOLD_DOMAIN_TTS_PRONUNCIATION: pronunciations,
        GOLD_DOMAIN_NLP_INTENT_SLOT: turns,
        GOLD_DOMAIN_LLM_BOUNDARY: outputs,
        GOLD_DOMAIN_CONTEXT_RANK: rankings,
        GOLD_DOMAIN_PAE_ROUTE: routes,
        GOLD_DOMAIN_VOICE_IDENTITY: trials,
    }
)
