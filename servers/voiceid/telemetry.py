"""Metrics of voice identity (VID-10): decisions, latency and the circuit, by cohort, never by person."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2 as v2_service
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.voiceid.breaker import Phase
from store.voiceid import DecidedStream

# Around the 60 and 120 ms of §32.
LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.09, 0.12, 0.2, 0.5, 1.0)
COHORT_LABELS = ("language", "accent_band", "device_class", "noise_class")
MAX_COHORTS = 200
OTHER = "other"


def cohort_labels(cohort: v1.CohortLabels) -> dict[str, str]:
    """The labels by name, as they are stored."""
    return {name: getattr(cohort, name) for name in COHORT_LABELS}


class DecisionMetrics:
    """Registered once per server. Beyond `MAX_COHORTS` label sets, which callers choose, all are `other`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._cohorts: set[tuple[str, ...]] = set()
        self._decisions = Counter(
            "selene_voiceid_decisions", "Final decisions", (*COHORT_LABELS, "tier", "reason"), registry=registry
        )
        self._latency = Histogram(
            "selene_voiceid_decision_seconds",
            "Half-close to the stored decision",
            COHORT_LABELS,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._confirmed = Counter(
            "selene_voiceid_confirmed",
            "Decisions whose speaker became known: accepted is whether the right person was named, or anyone at all",
            (*COHORT_LABELS, "truth", "accepted"),
            registry=registry,
        )
        self._streams = Gauge("selene_voiceid_streams", "Streams being heard", registry=registry)
        self._phase = Gauge("selene_voiceid_circuit_open", "1 while the circuit is not closed", registry=registry)

    def decided(self, final: v2_service.FinalDecision, cohort: v1.CohortLabels, *, latency_s: float) -> None:
        """One final decision."""
        labels = self._cohort(tuple(getattr(cohort, name) for name in COHORT_LABELS))
        tier = v2.IdentityTier.Name(final.v2.identity_tier).removeprefix("IDENTITY_TIER_")
        reason = v1.VoiceIdReason.Name(final.v2.reason_code).removeprefix("VOICE_ID_REASON_")
        self._decisions.labels(*labels, tier, reason).inc()
        self._latency.labels(*labels).observe(latency_s)

    def confirmed(self, stream: DecidedStream) -> None:
        """The speaker of a decided stream became known: TAR, FRR and FAR are ratios of these counts (VID-10)."""
        speaker, named = stream.speaker_user_id, stream.named_user_id
        labels = self._cohort(tuple(stream.cohort[name] for name in COHORT_LABELS))
        if speaker:
            self._confirmed.labels(*labels, "genuine", str(named == speaker).lower()).inc()
        if not speaker or named not in ("", speaker):
            self._confirmed.labels(*labels, "impostor", str(bool(named)).lower()).inc()

    def streams(self, change: int) -> None:
        """A stream began (1) or ended (-1)."""
        self._streams.inc(change)

    def phase(self, phase: Phase) -> None:
        """The circuit changed its phase."""
        self._phase.set(0 if phase is Phase.CLOSED else 1)

    def _cohort(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        if labels not in self._cohorts and len(self._cohorts) >= MAX_COHORTS:
            return (OTHER,) * len(COHORT_LABELS)
        self._cohorts.add(labels)
        return labels
