"""Decisions in bulk: an engine of voice identity, without models, keeps what it decides on scores that a test gives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from prometheus_client import CollectorRegistry
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.auth import Principal
from servers.runtime.clock import Clock
from servers.voiceid.batcher import Batcher
from servers.voiceid.decision import Evidence, Situation
from servers.voiceid.engine import Ask, Engine, Hearing
from servers.voiceid.fusion import Calibration, CandidateCosines
from servers.voiceid.settings import VoiceIdSettings
from servers.voiceid.telemetry import DecisionMetrics
from store import Store, Transaction
from tests.support.packs import shipped

AT_ONCE = 500
"""Decisions, or confirmations, of one transaction."""
SPEAKER = "mia"


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a device hears: how likely it is that `SPEAKER` speaks, in basis points; and who it was, None for unsaid."""

    device_id: str
    score_bp: int
    speaker: str | None = None
    session_id: str = ""
    language: str = "en"


class Traffic:
    """Decisions of one tenant. What reads and writes is the engine; only what models would say is made up."""

    def __init__(self, store: Store, clock: Clock, tenant_id: str) -> None:
        self._store = store
        self._clock = clock
        self._tenant_id = tenant_id
        self._streams = itertools.count(1)
        metrics = DecisionMetrics(CollectorRegistry())
        self.engine = Engine(store, clock, VoiceIdSettings(), None, Batcher(workers=0), metrics)
        self.engine.packs = type(self.engine.packs)(store, store.trusted_keys(), shipped().model_set_hash)

    async def speak(self, turns: Iterable[Spoken]) -> list[str]:
        """Decide on turns, and say who spoke where that is known; the streams' ids."""
        remaining, ids = iter(turns), []
        while some := list(itertools.islice(remaining, AT_ONCE)):
            ids += await self._speak(some)
        return ids

    async def _speak(self, turns: list[Spoken]) -> list[str]:
        hearings = {}
        for device_id in {turn.device_id for turn in turns}:
            hearing = Hearing(self._ask(Spoken(device_id, 0)), None)
            await self.engine._basis(hearing)
            hearings[device_id] = hearing

        async def decide(tx: Transaction) -> list[str]:
            return [await self._decided(tx, turn, hearings[turn.device_id]) for turn in turns]

        return await self._store.perform(decide)

    async def _decided(self, tx: Transaction, turn: Spoken, like: Hearing) -> str:
        ask = self._ask(turn)
        hearing = Hearing(ask, None)
        hearing.served = like.served
        assert hearing.served is not None
        await self.engine._kept(tx, hearing, replace(heard(turn.score_bp), thresholds=hearing.served.thresholds))
        if turn.speaker is not None:
            await tx.voiceid.streams.name_speaker(self._tenant_id, ask.stream_id, turn.speaker)
            await tx.voiceid.observations.confirm(self._tenant_id, ask.stream_id, turn.speaker)
        return ask.stream_id

    def _ask(self, turn: Spoken) -> Ask:
        number = next(self._streams)
        config = v1.StreamConfig(
            tenant_id=self._tenant_id,
            device_id=turn.device_id,
            session_id=turn.session_id or f"session-{number}",
            cohort=v1.CohortLabels(language=turn.language),
        )
        return Ask(f"stream-{number:06}", config, "", Principal(self._tenant_id, "kitchen", "", frozenset()))


@lru_cache
def heard(score_bp: int) -> Situation:
    """What the models say of an utterance that `SPEAKER` speaks with such a probability; the thresholds are shipped."""
    thresholds = shipped().thresholds()
    first, both = thresholds.prune, thresholds.fused
    return Situation(
        evidence=Evidence(
            audio_seconds=4.0,
            voiced_seconds=both.reference_seconds,
            lost_seconds=0.0,
            snr_db=30.0,
            clipped_ratio=0.0,
            overlap_ratio=0.0,
            replay_similarity=0.0,
            spoof=v1.SPOOF_LIVENESS_STATUS_LOW,
        ),
        thresholds=thresholds,
        loaded_models=both.models,
        model_set_hash=bytes.fromhex(shipped().model_set_hash),
        breaker_open=False,
        failure=None,
        enrolled=1,
        # Stage 1 cannot tell, so that stage 2 decides.
        stage1=(CandidateCosines(SPEAKER, 1, (_cosine(first, 0.0),)),),
        stage2=(CandidateCosines(SPEAKER, 1, (_cosine(both, _llr(both, score_bp)),) * len(both.models)),),
        claimed_user_id="",
        device_owner_user_id="",
        earlier_conflicts={},
        decision_latency_seconds=0.02,
    )


def _llr(calibration: Calibration, score_bp: int) -> float:
    odds = (score_bp + 0.5) / (10_000 - score_bp - 0.5)
    return math.log(odds) - math.log(calibration.prior / (1.0 - calibration.prior))


def _cosine(calibration: Calibration, llr: float) -> float:
    return (llr - calibration.bias) / sum(calibration.weights)
