"""(b) How long a gold set of 10,000 items takes to validate: every row of the policy matrix, from its evidence."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Final

from google.protobuf.duration_pb2 import Duration
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.gold.v1 import evidence_pb2 as evidence
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_CONTEXT_RANK,
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_NLP_INTENT_SLOT,
    GOLD_DOMAIN_PAE_ROUTE,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_VOICE_IDENTITY,
    GOLD_DOMAIN_WAKE_ENDPOINT,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_TIER_2_HUMAN_VERIFIED,
    GOLD_TIER_3_CONSENSUS,
    GoldDomain,
    GoldTier,
)

from bench.parts import Say
from bench.report import Cell, Report, Table, Target
from bench.stats import percentile
from servers.learning.identity import canonical_payload, idempotency_key, payload_hash
from servers.learning.matrix import POLICY_VERSION, Subject, assess

ITEMS: Final = 10_000
TRIALS: Final = 16_500
"""The least that voice identity's row takes of one cohort."""
IMPOSTORS: Final = 15_000
LABELLERS: Final = ("ann", "ben", "cleo")
DISSENT: Final = 0.005
"""How often one of the three differs, where the row bears it."""
REPEATS: Final = 9
QUICK_REPEATS: Final = 1
LIMIT_S: Final = 2.0
SUBJECT: Final = Subject(tenant_id="t1", rollback_pointer_present=True)
SCOPE: Final = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id="t1")

Made = tuple[dict[str, object], list[dict[str, object]]]
"""What an item holds, and what each labeller says of it."""


@dataclass(frozen=True, slots=True)
class Validated:
    """One gold set: its size; median seconds to decode it, to assess it, to hash its canonical payload; the median and
    the slowest of both, and the processor's seconds of the median.
    """

    domain: str
    items: int
    megabytes: float
    decode_s: float
    assess_s: float
    payload_s: float
    whole_s: float
    slowest_s: float
    cpu_s: float


def measure(say: Say, *, quick: bool) -> Report:
    """Each row of the matrix, one after the other, in this process."""
    report = Report("b", "Validating a gold set: figures from its evidence, payload, hash and key")
    repeats = QUICK_REPEATS if quick else REPEATS
    report.notes += [
        f"{ITEMS:,} items ({TRIALS:,} trials for voice identity, the least that its row takes) with {len(LABELLERS)} "
        f"labels each, of which {DISSENT:.1%} differ where the row bears it. Every set is one that is approved.",
        f"Medians of {repeats}, on one core, without the store. Decoding the set's bytes is the least that anybody "
        "does who reads it. The processor's seconds are what is left where other programs run beside it.",
    ]
    found = []
    for domain, tier, made in ROWS:
        say(f"validating {GoldDomain.Name(domain)}")
        found.append(_validated(domain, tier, made, repeats))
    columns = ("domain", "items", "MB", "decode s", "assess s", "payload s", "whole s", "slowest s", "CPU s", "items/s")
    rows: list[list[Cell]] = [
        [
            one.domain,
            one.items,
            one.megabytes,
            one.decode_s,
            one.assess_s,
            one.payload_s,
            one.whole_s,
            one.slowest_s,
            one.cpu_s,
            one.items / one.whole_s,
        ]
        for one in found
    ]
    report.tables.append(Table("A gold set, validated", columns, rows))
    report.targets.append(
        Target(f"the slowest row's set of {ITEMS:,} items or more", LIMIT_S, max(one.whole_s for one in found), "s")
    )
    report.data["sets"] = [asdict(one) for one in found]
    return report


def _validated(
    domain: GoldDomain, tier: GoldTier, made: Callable[[random.Random, int], Made], repeats: int
) -> Validated:
    items = _items(made, TRIALS if domain == GOLD_DOMAIN_VOICE_IDENTITY else ITEMS)
    wire = evidence.GoldCandidate(domain=domain, tier=tier, tenant_id="t1", scope=SCOPE, policy_version=POLICY_VERSION)
    packed = [each.SerializeToString() for each in items]
    signal_ids = [each.item.signal_id for each in items]
    spent: list[tuple[float, float, float, float]] = []
    for _ in range(repeats):
        began = time.perf_counter()
        decoded = [evidence.LabelledItem.FromString(each) for each in packed]
        read, ran = time.perf_counter(), time.process_time()
        assessment = assess(domain, tier, decoded, SUBJECT)
        assessed = time.perf_counter()
        payload_hash(canonical_payload(wire, decoded))
        idempotency_key(SCOPE, domain, POLICY_VERSION, signal_ids, 1)
        ended, cpu = time.perf_counter(), time.process_time() - ran
        if assessment.verdict != GOLD_STATE_GOLD_APPROVED:
            raise RuntimeError(f"{GoldDomain.Name(domain)}: {assessment.advice}")
        spent.append((read - began, assessed - read, ended - assessed, cpu))
    decode, assessing, payload, cpus = zip(*spent, strict=True)
    wholes = [one + other for one, other in zip(assessing, payload, strict=True)]
    return Validated(
        domain=GoldDomain.Name(domain).removeprefix("GOLD_DOMAIN_"),
        items=len(items),
        megabytes=sum(map(len, packed)) / 1e6,
        decode_s=percentile(decode, 0.5),
        assess_s=percentile(assessing, 0.5),
        payload_s=percentile(payload, 0.5),
        whole_s=percentile(wholes, 0.5),
        slowest_s=max(wholes),
        cpu_s=percentile(cpus, 0.5),
    )


def _items(made: Callable[[random.Random, int], Made], count: int) -> Sequence[evidence.LabelledItem]:
    chance, items = random.Random(count), []
    for index in range(count):
        item_id = f"item-{sha256(str(index).encode()).hexdigest()[:16]}"
        content, verdicts = made(chance, index)
        labels = [
            evidence.GoldLabel(item_id=item_id, labeller=labeller, **verdict)  # type: ignore[arg-type] # by its name
            for labeller, verdict in zip(LABELLERS, verdicts, strict=True)
        ]
        item = evidence.GoldItem(item_id=item_id, signal_id=f"signal-{index}", **content)  # type: ignore[arg-type] # by its name
        items.append(evidence.LabelledItem(item=item, labels=labels))
    return items


def _differs(chance: random.Random) -> int:
    """Which labeller differs from the others; none is behind the last."""
    return chance.randrange(len(LABELLERS)) if chance.random() < DISSENT else len(LABELLERS)


def _duration(milliseconds: int) -> Duration:
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def _boundary(chance: random.Random, start: int, end: int, *, triggered: bool = True) -> evidence.Boundary:
    near = chance.randrange(-10, 10)
    return evidence.Boundary(start=_duration(start + near), end=_duration(end + near), triggered=triggered)


def _wake(chance: random.Random, _: int) -> Made:
    start, odd = chance.randrange(10, 60_000), _differs(chance)
    end = start + chance.randrange(600, 1500)
    said = [_boundary(chance, start, end, triggered=who != odd) for who in range(len(LABELLERS))]
    return {"boundary": _boundary(chance, start, end)}, [{"boundary": each} for each in said]


def _transcript(chance: random.Random, _: int) -> Made:
    tokens, odd = [f"word{chance.randrange(5000)}" for _ in range(chance.randrange(6, 18))], _differs(chance)
    at = chance.randrange(1, len(tokens) - 3)
    common = [
        evidence.SpanEdit(start_token=at, end_token=at + 1, replacement=["name"], entity=True),
        evidence.SpanEdit(start_token=at + 2, end_token=at + 3, replacement=["two", "words"]),
    ]
    said = [
        evidence.TranscriptLabel(edits=common[:1] if who == odd else common, unresolved_tokens=0)
        for who in range(len(LABELLERS))
    ]
    utterance = evidence.RecognisedUtterance(tokens=tokens, locale="en-GB")
    return {"utterance": utterance}, [{"transcript": each} for each in said]


def _pronunciation(chance: random.Random, index: int) -> Made:
    odd = _differs(chance)
    said = [
        evidence.PronunciationLabel(accepted=who != odd, confidence_bp=chance.randrange(9200, 9900))
        for who in range(len(LABELLERS))
    ]
    term = evidence.Pronunciation(term=f"term {index}", phonemes="t r m", locale="en-GB")
    return {"pronunciation": term}, [{"pronunciation": each} for each in said]


def _turn(chance: random.Random, index: int) -> Made:
    odd, slots = _differs(chance), {"time": str(chance.randrange(24)), "day": "today"}
    said = [
        evidence.TurnLabel(intent="alarm.stop" if who == odd else "alarm.set", slots=slots)
        for who in range(len(LABELLERS))
    ]
    turn = evidence.LabelledTurn(text=f"wake me at {index}", required_slots=["time"])
    return {"turn": turn}, [{"turn": each} for each in said]


def _output(_: random.Random, index: int) -> Made:
    slots = [{"name": "minutes", "value": str(index)}]
    packet = {"intent": "timer.set", "slots": slots, "reply": f"In {index} minutes.", "confidence_bp": 9000}
    output = evidence.ModelOutput(packet=json.dumps({**packet, "needs_clarification": False}).encode())
    return {"output": output}, [{"output": evidence.OutputLabel()} for _ in LABELLERS]


def _ranking(chance: random.Random, index: int) -> Made:
    refs, odd = [f"context-{index}-{rank}" for rank in range(8)], _differs(chance)
    contexts = [evidence.RankedContext(ref=ref, tenant_id="t1") for ref in refs]
    said = [evidence.RankingLabel(relevant_refs=refs[:2] if who == odd else refs[:4]) for who in range(len(LABELLERS))]
    return {"ranking": evidence.Ranking(query_ref="q", contexts=contexts)}, [{"ranking": each} for each in said]


def _route(chance: random.Random, index: int) -> Made:
    odd, sides = _differs(chance), []
    for side, quality, latency in (("c", 9000, 300), ("b", 8200, 420)):
        took = _duration(latency + chance.randrange(-50, 50))
        quality_bp, cost = quality + chance.randrange(-500, 500), 4000 + chance.randrange(-500, 500)
        sides.append(
            evidence.RouteOutcome(
                provider_ref="p", quality_bp=quality_bp, latency=took, cost_micros=cost, event_id=f"{side}-{index}"
            )
        )
    said = [evidence.RouteLabel(candidate_better=who != odd) for who in range(len(LABELLERS))]
    turn = evidence.RoutedTurn(candidate=sides[0], baseline=sides[1])
    return {"route": turn}, [{"route": each} for each in said]


def _trial(chance: random.Random, index: int) -> Made:
    genuine = index >= IMPOSTORS
    score = chance.gauss(12.0 if genuine else -12.0, 2.5)
    trial = evidence.VoiceTrial(score=score, cohort="en/gb/phone/quiet", enrolled_ref="a", test_ref="b")
    return {"trial": trial}, [{"trial": evidence.TrialLabel(genuine=genuine)} for _ in LABELLERS]


ROWS: Final[Sequence[tuple[GoldDomain, GoldTier, Callable[[random.Random, int], Made]]]] = (
    (GOLD_DOMAIN_WAKE_ENDPOINT, GOLD_TIER_2_HUMAN_VERIFIED, _wake),
    (GOLD_DOMAIN_STT_TRANSCRIPT, GOLD_TIER_2_HUMAN_VERIFIED, _transcript),
    (GOLD_DOMAIN_TTS_PRONUNCIATION, GOLD_TIER_2_HUMAN_VERIFIED, _pronunciation),
    (GOLD_DOMAIN_NLP_INTENT_SLOT, GOLD_TIER_2_HUMAN_VERIFIED, _turn),
    (GOLD_DOMAIN_LLM_BOUNDARY, GOLD_TIER_2_HUMAN_VERIFIED, _output),
    (GOLD_DOMAIN_CONTEXT_RANK, GOLD_TIER_3_CONSENSUS, _ranking),
    (GOLD_DOMAIN_PAE_ROUTE, GOLD_TIER_3_CONSENSUS, _route),
    (GOLD_DOMAIN_VOICE_IDENTITY, GOLD_TIER_2_HUMAN_VERIFIED, _trial),
)
