"""From the end of an utterance to a stored, audited decision. It gathers what the rules need; the rules decide.

Whatever fails on the way (a model, the store, a missing pack) becomes a reason in the decision, never an exception and
never a name (VID-9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import structlog
from selene.common.v1.scope_pb2 import SCOPE_TYPE_DEVICE, Scope
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2 as v2_service
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.runtime.auth import Principal
from servers.runtime.clock import Clock
from servers.runtime.signals import Producer
from servers.runtime.storage import actor
from servers.voiceid import ask_once, breaker, conflict, observing, reenrolling, signals
from servers.voiceid.active_packs import PackRows, Packs, Served
from servers.voiceid.batcher import Batcher, ModelFailed, ModelSlow
from servers.voiceid.circuit import Circuit
from servers.voiceid.decision import Evidence, Situation, VoiceDecision, beside, decide, to_v1, to_v2
from servers.voiceid.fingerprint import Fingerprint, ReplayMatch, ReplayPolicy, is_replay, match
from servers.voiceid.fusion import CandidateCosines, Ranking, ScoringFailure, rank
from servers.voiceid.pipeline import Heard
from servers.voiceid.policy import Thresholds
from servers.voiceid.precedence import Subject
from servers.voiceid.prune import Decisiveness, decisive, prune
from servers.voiceid.roster import EMPTY, Roster, Rosters
from servers.voiceid.scorer import Listening, Models
from servers.voiceid.settings import VoiceIdSettings
from servers.voiceid.telemetry import DecisionMetrics, cohort_labels
from store import Rooms, Store, StoreError, Transaction
from store.voiceid import DecidedStream

ENGINE_ID = "PH1.VOICE.ID"
FRAMES_A_TURN = 50
"""When audio is heard again: others get their turn on the event loop after that many frames."""

_ASK_ONCE = ask_once.AskOncePolicy()
_SPOOF_RISK = v1.ConflictState.Name(v1.CONFLICT_STATE_SPOOF_RISK)
_log = structlog.get_logger("selene.voiceid")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a stream asks: its id, its config, the claim of a Verify (empty for Identify), who calls, and whether its
    reply has room to ask a user to enrol again: that of V2 has.
    """

    stream_id: str
    config: v1.StreamConfig
    claimed_user_id: str
    caller: Principal
    asks_to_enrol: bool = False

    @property
    def kind(self) -> str:
        return "VERIFY" if self.claimed_user_id else "IDENTIFY"

    @property
    def subject(self) -> Subject:
        """Whom settings are resolved for."""
        user_id = self.claimed_user_id or self.config.device_owner_user_id
        return Subject(self.config.locale, self.config.channel, user_id)


class Hearing:
    """One stream being heard. Without `listen`, no model is loaded: audio is then taken and not looked at."""

    def __init__(self, ask: Ask, listen: Callable[[], Listening] | None) -> None:
        self.ask = ask
        self.listening = listen() if listen else None
        self.failure: v1.VoiceIdReason | None = None if listen else v1.VOICE_ID_REASON_MODEL_UNAVAILABLE
        self.interim_basis: _Basis | None = None
        self.served: Served | None = None
        self.basis: asyncio.Task[_Basis | Exception] | None = None
        self.finished = False
        self._listen = listen
        self._frames: list[tuple[bytes, float | None]] = []
        self._spoiled = False

    def push(self, audio: bytes, offset_s: float | None, *, deadline: float) -> Heard:
        """Take one frame. A model that fails is remembered, not raised; AudioError passes through."""
        if self.listening is None or self.failure is not None:
            return Heard()
        try:
            heard = self.listening.push(audio, offset_s, deadline=deadline)
        except ModelFailed as error:
            return self._failed(error)
        self._frames.append((audio, offset_s))
        return heard

    def hurry(self) -> None:
        """The stream is ending."""
        if self.listening is not None:
            self.listening.hurry()

    def finish(self, *, deadline: float) -> Heard:
        """The stream was half-closed; once more changes nothing. AudioError passes through."""
        if self.listening is None or self.failure is not None or self.finished:
            return Heard()
        self.finished = True
        try:
            return self.listening.finish(deadline=deadline)
        except ModelFailed as error:
            return self._failed(error)

    def unfinish(self) -> None:
        """It was no half-close: the caller may come back with more, see `hear_again`."""
        self._stop()
        if self.finished:
            self.finished, self._spoiled = False, True

    async def hear_again(self, *, deadline: float) -> None:
        """Before more is pushed: make good what `finish` did, from the frames that were kept."""
        if not self._spoiled or self._listen is None:
            return
        listening = self._listen()
        for index, (audio, offset_s) in enumerate(self._frames, start=1):
            listening.push(audio, offset_s, deadline=deadline)
            if index % FRAMES_A_TURN == 0:
                await asyncio.sleep(0)
        self.listening, self._spoiled = listening, False

    def release(self) -> None:
        """The stream is decided, or gone for good: nothing of its audio is kept."""
        self._stop()
        self.listening = None
        self.interim_basis = None
        self._frames.clear()

    def _stop(self) -> None:
        if self.listening is not None:
            self.listening.abandon()
        if self.basis is not None:
            self.basis.cancel()
            self.basis = None

    def _failed(self, error: ModelFailed) -> Heard:
        _log.error("model failed", stream_id=self.ask.stream_id, detail=str(error))
        self.failure = v1.VOICE_ID_REASON_MODEL_FAILED
        return Heard()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The final decision in both generations, and whether it is stored: a store that fails keeps none."""

    final: v2_service.FinalDecision
    stored: bool


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a stream is judged by: the thresholds or why there are none, and who is enrolled."""

    thresholds: Thresholds | v1.VoiceIdReason
    roster: Roster
    mirrored: tuple[Thresholds, ...] = ()


@dataclass(frozen=True, slots=True)
class _Replay:
    """How the utterance resembles earlier audio of a person; no match where nothing is kept of them, or too little."""

    user_id: str
    match: ReplayMatch | None


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What the utterance was compared with, and what came of it."""

    enrolled: int = 0
    stage1: tuple[CandidateCosines, ...] = ()
    stage2: tuple[CandidateCosines, ...] | None = None
    overlap_ratio: float | None = None
    countermeasure_score: float | None = None
    replay: _Replay | None = None
    failure: v1.VoiceIdReason | None = None


@dataclass(frozen=True, slots=True)
class _Spoof:
    status: v1.SpoofLivenessStatus
    similarity: float


_NOT_CHECKED = _Spoof(v1.SPOOF_LIVENESS_STATUS_NOT_CHECKED, 0.0)


class Engine:
    """All of a server's streams share one. `models` is None, with `why_not`, when none passed its start-up check."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: VoiceIdSettings,
        models: Models | None,
        batcher: Batcher,
        metrics: DecisionMetrics,
        producer: Producer | None = None,
    ) -> None:
        self.models = models
        self.settings = settings
        self._store = store
        self._clock = clock
        self._batcher = batcher
        self._metrics = metrics
        self._producer = producer
        dimensions = [model.dimension for model in models.speakers] if models else [1]
        model_set_hash = models.model_set_hash.hex() if models else ""
        self.rosters = Rosters(store, dimensions, model_set_hash)
        self.packs = Packs(store, store.trusted_keys(), model_set_hash)
        self._circuit = Circuit(
            breaker.BreakerPolicy(
                window=settings.breaker_window,
                min_samples=settings.breaker_min_samples,
                max_uncertain_share=settings.breaker_max_uncertain_share,
                max_failed_share=settings.breaker_max_failed_share,
                max_slow_share=settings.breaker_max_slow_share,
            ),
            metrics,
        )

    def hear(self, ask: Ask) -> Hearing:
        """Begin to hear a stream. AudioError when its format cannot be decoded."""
        models = self.models
        if models is None:
            return Hearing(ask, None)
        return Hearing(ask, lambda: Listening(models, self._batcher, ask.config.audio_format))

    def prepare(self, hearing: Hearing) -> None:
        """The stream seems to be ending: read meanwhile what `decide` rests on."""
        if hearing.basis is None:
            hearing.basis = asyncio.create_task(self._basis_or_error(hearing))

    async def interim(self, hearing: Hearing) -> v1.InterimConfidence | None:
        """How sure we are so far, or None when nothing can be said yet. Nothing is named and nothing is stored."""
        listening = hearing.listening
        if listening is None or hearing.failure is not None:
            return None
        try:
            query = listening.first_so_far(deadline=self._clock.monotonic() + self.settings.decision_budget_s)
            everything = listening.so_far().all()
        except (ModelFailed, ModelSlow, CancelledError):
            return None  # the final decision will say so
        if query is None:
            return None
        if hearing.interim_basis is None:
            # Read once a stream: an interim commits to nothing, and the final decision reads all but the pack afresh.
            try:
                hearing.interim_basis = await self._basis(hearing)
            except StoreError:
                return None
        thresholds, roster = hearing.interim_basis.thresholds, hearing.interim_basis.roster
        if not isinstance(thresholds, Thresholds) or not len(roster):
            return None
        pruned = prune(query, roster.first, always=_always(hearing.ask, roster))
        if isinstance(pruned, ScoringFailure):
            return None
        seconds = listening.utterance.voiced_seconds
        if everything is None:
            stage, ranking = 1, rank(roster.of_first(list(pruned.indices), pruned.cosines), seconds, thresholds.prune)
        else:
            stage, ranking = 2, rank(roster.compare(list(pruned.indices), everything), seconds, thresholds.fused)
        if isinstance(ranking, ScoringFailure):
            return None
        wanted = hearing.ask.claimed_user_id or ranking.best.user_id
        subject = next((one for one in ranking.candidates if one.user_id == wanted), None)
        if subject is None:
            return None
        next_best = max((one.score_bp for one in ranking.candidates if one is not subject), default=0)
        interim = v1.InterimConfidence(
            score_bp=subject.score_bp, margin_to_next_bp=subject.score_bp - next_best, stage=stage
        )
        interim.voiced.FromTimedelta(timedelta(seconds=seconds))
        interim.audio.FromTimedelta(timedelta(seconds=listening.utterance.audio_seconds))
        return interim

    async def decide(self, hearing: Hearing, half_closed_at: float) -> Verdict:
        """The final decision on a stream that was finished; `half_closed_at` is of the monotonic clock.

        Cancelled, it has either stored its decision or not; asked again, it finds the one that was stored.
        """
        admitted = self._circuit.admit(self._clock.monotonic())
        outcome = breaker.Outcome.NOT_COUNTED
        try:
            situation = await self._situation(hearing, half_closed_at, breaker_open=not admitted)
            verdict = await self._keep_or_say_why(hearing, situation)
            outcome = breaker.outcome_of(verdict.final.v2.reason_code)
        finally:
            if admitted:
                self._circuit.observe(outcome, self._clock.monotonic())
        latency_s = self._clock.monotonic() - half_closed_at
        self._metrics.decided(verdict.final, hearing.ask.config.cohort, latency_s=latency_s)
        return verdict

    async def _keep_or_say_why(self, hearing: Hearing, situation: Situation) -> Verdict:
        try:
            return Verdict(await self._keep(hearing, situation), stored=True)
        except _AlreadyDecided as earlier:
            return Verdict(earlier.final, stored=True)
        except Exception as error:  # whatever kept it from being stored, the caller gets an answer, and no name
            _log.error("decision not stored", stream_id=hearing.ask.stream_id, cause=f"{type(error).__name__}: {error}")
            lost = decide(replace(situation, failure=v1.VOICE_ID_REASON_STORE_UNAVAILABLE))
            return Verdict(_final(lost, may_prompt=False), stored=False)

    async def _situation(self, hearing: Hearing, half_closed_at: float, *, breaker_open: bool) -> Situation:
        ask, models = hearing.ask, self.models
        failure = hearing.failure
        basis = _Basis(v1.VOICE_ID_REASON_NO_THRESHOLD_PACK, EMPTY)
        comparison, spoof = _Comparison(), _NOT_CHECKED
        try:
            basis = await self._prepared(hearing)
            comparison = _Comparison(enrolled=len(basis.roster))
            if failure is None and not breaker_open:
                comparison = await self._compare(hearing, basis)
                spoof = await self._spoof(hearing, comparison, basis)
        except StoreError as error:
            _log.error("store failed", stream_id=ask.stream_id, cause=str(error))
            failure = failure or v1.VOICE_ID_REASON_STORE_UNAVAILABLE
        except Exception:  # a defect must not cost the caller the decision that the contract promises
            _log.exception("comparison failed", stream_id=ask.stream_id)
            failure = failure or v1.VOICE_ID_REASON_MODEL_FAILED
        return Situation(
            evidence=_evidence(hearing.listening, comparison, spoof),
            thresholds=basis.thresholds,
            loaded_models=models.names if models else (),
            model_set_hash=models.model_set_hash if models else b"",
            breaker_open=breaker_open,
            failure=failure or comparison.failure,
            enrolled=comparison.enrolled,
            stage1=comparison.stage1,
            stage2=comparison.stage2,
            claimed_user_id=ask.claimed_user_id,
            device_owner_user_id=ask.config.device_owner_user_id,
            earlier_conflicts={},
            decision_latency_seconds=self._clock.monotonic() - half_closed_at,
        )

    async def _prepared(self, hearing: Hearing) -> _Basis:
        """What was read since the half-close; asked again, what holds now. StoreError."""
        reading, hearing.basis = hearing.basis, None
        read = await (reading or self._basis_or_error(hearing))
        if isinstance(read, Exception):
            raise read
        return read

    async def _basis_or_error(self, hearing: Hearing) -> _Basis | Exception:
        try:
            return await self._basis(hearing)
        except Exception as error:  # raised where it is asked for: a stream that is dropped never asks
            return error

    async def _basis(self, hearing: Hearing) -> _Basis:
        """One read of everything that the decision rests on; the pack's version stays what it was. StoreError."""
        ask, config = hearing.ask, hearing.ask.config
        held = hearing.served.held if hearing.served else None

        async def read(rooms: Rooms) -> tuple[PackRows, int, list[str]]:
            packs = await self.packs.rows(rooms, config.tenant_id, config.device_id, held)
            version = await rooms.voiceid.profiles.gallery_version(config.tenant_id)
            limited = config.device_members_only
            members = await rooms.voiceid.devices.members(config.tenant_id, config.device_id) if limited else []
            return packs, version, members

        packs, version, members = await self._store.together(read)
        hearing.served = served = await self.packs.serve(packs, ask.subject, held)
        roster = await self.rosters.at(config.tenant_id, version, self._clock.now())
        if config.device_members_only:
            roster = roster.only({*members, ask.claimed_user_id, config.device_owner_user_id})
        return _Basis(served.thresholds, roster, tuple(thresholds for _, thresholds in served.mirrored))

    async def _compare(self, hearing: Hearing, basis: _Basis) -> _Comparison:
        """Stage 1, then stage 2 unless stage 1 was decisive: then its last windows are not waited for (VID-5).

        Whoever stage 1 has first is checked for a replay while the models are still at work.
        """
        listening, roster, thresholds = hearing.listening, basis.roster, basis.thresholds
        assert listening is not None  # without models `failure` is set
        budget = self._clock.monotonic() + self.settings.decision_budget_s
        comparison, replay = _Comparison(enrolled=len(roster)), None
        try:
            first = (await listening.ended(0, deadline=budget)).of(0)
            if first is None or not len(roster) or not isinstance(thresholds, Thresholds):
                await listening.ended_all(deadline=budget)
                return await self._checked(listening, comparison, budget)
            pruned = prune(first, roster.first, always=_always(hearing.ask, roster))
            if isinstance(pruned, ScoringFailure):
                return replace(comparison, failure=pruned.reason)
            rows = [int(row) for row in pruned.indices]
            comparison = replace(comparison, stage1=roster.of_first(rows, pruned.cosines))
            replay = asyncio.ensure_future(self._replay(hearing, comparison.stage1[0].user_id))
            seconds = listening.utterance.voiced_seconds
            # A candidate in the shadow decides too, so what it needs is waited for.
            if any(_undecided(comparison, seconds, each) for each in (thresholds, *basis.mirrored)):
                everything = (await listening.ended_all(deadline=budget)).all()
                comparison = replace(comparison, stage2=roster.compare(rows, everything) if everything else None)
            comparison = await self._checked(listening, comparison, budget)
            return replace(comparison, replay=await replay)
        except ModelSlow:
            return replace(comparison, failure=v1.VOICE_ID_REASON_MODEL_SLOW)
        except ModelFailed as error:
            _log.error("model failed", stream_id=hearing.ask.stream_id, detail=str(error))
            return replace(comparison, failure=v1.VOICE_ID_REASON_MODEL_FAILED)
        finally:
            if replay is not None:
                replay.cancel()

    async def _checked(self, listening: Listening, comparison: _Comparison, budget: float) -> _Comparison:
        """With what the models say that do not compare voices. ModelFailed, ModelSlow."""
        overlap_ratio = await listening.overlap(deadline=budget)
        score = await listening.spoof_score(deadline=budget)
        return replace(comparison, overlap_ratio=overlap_ratio, countermeasure_score=score)

    async def _replay(self, hearing: Hearing, user_id: str) -> _Replay:
        """The best match of the utterance with earlier audio of one person (VID-14). StoreError."""
        stored = await self._store.voiceid.fingerprints.all(hearing.ask.config.tenant_id, user_id)
        if not stored or hearing.listening is None:
            return _Replay(user_id, None)
        query = hearing.listening.fingerprint()
        return _Replay(user_id, await asyncio.to_thread(_best_match, query, stored, self.settings.replay_min_s))

    async def _spoof(self, hearing: Hearing, comparison: _Comparison, basis: _Basis) -> _Spoof:
        """The countermeasure's level, or HIGH where whoever might be named is being replayed."""
        level = self._countermeasure_level(comparison.countermeasure_score)
        subject = _likely(hearing, comparison, basis.thresholds)
        if subject is None:
            return _Spoof(level, 0.0)
        replay = comparison.replay
        if replay is None or replay.user_id != subject:
            replay = await self._replay(hearing, subject)
        if replay.match is None:
            return _Spoof(level, 0.0)
        limits = ReplayPolicy(self.settings.replay_max_bit_error_rate, self.settings.replay_min_s)
        replayed = is_replay(replay.match, limits)
        return _Spoof(v1.SPOOF_LIVENESS_STATUS_HIGH if replayed else level, replay.match.similarity)

    def _countermeasure_level(self, score: float | None) -> v1.SpoofLivenessStatus:
        if score is None or score < self.settings.countermeasure_medium:
            return v1.SPOOF_LIVENESS_STATUS_LOW
        is_high = score >= self.settings.countermeasure_high
        return v1.SPOOF_LIVENESS_STATUS_HIGH if is_high else v1.SPOOF_LIVENESS_STATUS_MEDIUM

    async def _keep(self, hearing: Hearing, situation: Situation) -> v2_service.FinalDecision:
        """Decide, spend what the decision spends, and store it with its audit row, all in one transaction."""

        async def keep(tx: Transaction) -> v2_service.FinalDecision:
            return await self._kept(tx, hearing, situation)

        return await self._store.perform(keep)

    async def _kept(self, tx: Transaction, hearing: Hearing, situation: Situation) -> v2_service.FinalDecision:
        """Awaits nothing but the transaction."""
        ask, config, now = hearing.ask, hearing.ask.config, self._clock.now()
        spent = await tx.voiceid.prompts.spent(config.tenant_id, config.session_id, config.device_id)
        commitments = await _commitments(tx, config.tenant_id, situation, hearing.served)
        earlier = {row.state: spent.conflicts.get(v1.ConflictState.Name(row.state), 0) for row in conflict.TABLE}
        decision = decide(replace(situation, earlier_conflicts=earlier, commitments=commitments))
        if decision.conflict_state:
            decision = await _retried(tx, config, decision)
        elif decision.named_user_id:
            await _resolve(tx, config, spent.conflicts)
        keys = _prompt_keys(ask, decision)
        prompt = await _prompt(tx, config, decision, keys, spent.after_prompt, now)
        may_prompt = prompt is ask_once.Prompt.GRANTED
        decision = beside(decision, prompt, max_retries=_ASK_ONCE.max_retries_after_prompt)
        final = _final(decision, may_prompt=may_prompt)
        if ask.asks_to_enrol and decision.named_user_id:
            await reenrolling.tell(tx, config.tenant_id, decision.named_user_id, now, final)
        row = _row(ask, decision, final, keys[1], now)
        kept = await tx.voiceid.streams.decide(row)
        if not kept.first:
            # Another server decided this stream first: nothing that this one spent may stay spent.
            raise _AlreadyDecided(kept.decision)
        if decision.named_user_id and hearing.listening is not None:
            await tx.voiceid.fingerprints.add(
                config.tenant_id,
                decision.named_user_id,
                hearing.listening.fingerprint().to_bytes(),
                keep=self.settings.kept_fingerprints,
            )
        hashes = {"decision": sha256(final.SerializeToString(deterministic=True)).digest()}
        if decision.named_user_id:
            hashes["candidate"] = await tx.vault.commitment(config.tenant_id, decision.named_user_id, b"user")
        tx.audit(
            tenant_id=config.tenant_id,
            owner=ENGINE_ID,
            actor=await actor(tx, ask.caller),
            transition="voiceid.decided",
            reason_code=v1.VoiceIdReason.Name(decision.reason).removeprefix("VOICE_ID_REASON_"),
            scope=Scope(scope_type=SCOPE_TYPE_DEVICE, scope_id=config.device_id),
            turn=config.turn,
            session_id=config.session_id,
            device_id=config.device_id,
            hashes=hashes,
            facts={
                **_facts(ask, decision, prompt, phase=self._circuit.phase),
                **_pack_facts(decision, hearing.served),
            },
        )
        if final.HasField("re_enrollment"):
            await _note_asked(tx, ask, final.re_enrollment, hashes["candidate"])
        await self._leave_signal(tx, ask, decision, row)
        if hearing.served is not None:
            pending = config.step_up_pending
            await observing.observe(tx, row, decision, hearing.served, may_prompt=may_prompt, step_up_pending=pending)
        return final

    async def _leave_signal(self, tx: Transaction, ask: Ask, decision: VoiceDecision, stream: DecidedStream) -> None:
        """For learning, of whom the stream was to be, if they consent. Most decisions leave none, at no cost."""
        said = signals.row_of(decision.conflict_state, decision.reason)
        user_id = ask.claimed_user_id or ask.config.device_owner_user_id
        if said is None or not user_id or self._producer is None or not self._producer.wants(stream.tenant_id):
            return
        if signals.consents(await tx.voiceid.profiles.current(stream.tenant_id, user_id), stream.decided_at):
            seen = signals.decided(said, stream, decision.reason, ask.config.turn, user_id)
            await self._producer.leave(tx, [seen])


async def _retried(tx: Transaction, config: v1.StreamConfig, decision: VoiceDecision) -> VoiceDecision:
    """A conflict is counted before it is told: of two servers that meet it at once, one tells the next retry."""
    state = decision.conflict_state
    count = await tx.voiceid.prompts.count_retry(config.tenant_id, config.session_id, v1.ConflictState.Name(state))
    earlier = {**decision.situation.earlier_conflicts, state: count - 1}
    return decide(replace(decision.situation, earlier_conflicts=earlier))


async def _prompt(
    tx: Transaction,
    config: v1.StreamConfig,
    decision: VoiceDecision,
    keys: tuple[bytes, bytes],
    retries: int | None,
    now: datetime,
) -> ask_once.Prompt:
    """Spend what the decision spends of its session's prompt, or of the retry after it; `retries` are those before."""
    prompts, session = tx.voiceid.prompts, (config.tenant_id, config.session_id, config.device_id)
    if retries is not None and retries >= _ASK_ONCE.max_retries_after_prompt:
        return ask_once.Prompt.UNANSWERED
    retried = None if retries is None else await prompts.retry(*session, now)
    if retried is not None:
        stands = ask_once.after_retry(retried, _ASK_ONCE, is_named=bool(decision.named_user_id))
        if stands is ask_once.Prompt.ANSWERED:
            await prompts.answered(*session, at_most=retried)
        return stands
    if not ask_once.eligible(decision.tier, decision.next_action, step_up_pending=config.step_up_pending):
        return ask_once.Prompt.NONE
    granted = await prompts.claim(
        config.tenant_id,
        *keys,
        session_id=config.session_id,
        device_id=config.device_id,
        max_per_session=_ASK_ONCE.max_prompts_per_session,
        cooldown=_ASK_ONCE.cooldown,
        now=now,
    )
    return ask_once.Prompt.GRANTED if granted else ask_once.Prompt.NONE


async def _resolve(tx: Transaction, config: v1.StreamConfig, spent: Mapping[str, int]) -> None:
    """Somebody was named, so what the session was in conflict about is resolved: the next has its full retries (§38.5).

    Not so SPOOF_RISK: a real voice after a replay says nothing of whoever played it. Where nothing was counted, this
    asks the store nothing.
    """
    if resolved := sorted(spent.keys() - {_SPOOF_RISK}):
        await tx.voiceid.prompts.clear_retries(config.tenant_id, config.session_id, resolved)


async def _commitments(
    tx: Transaction, tenant_id: str, situation: Situation, served: Served | None
) -> dict[str, bytes]:
    """Of whoever was compared, where a pack that decides, or is mirrored, knows of confused pairs; else nothing."""
    packs = [situation.thresholds, *(each for _, each in (served.mirrored if served else ()))]
    if not any(isinstance(each, Thresholds) and each.pairs for each in packs):
        return {}
    keys = await tx.vault.keys(tenant_id, [one.user_id for one in situation.stage1])
    return {user_id: key.commitment(b"user") for user_id, key in keys.items()}


async def _note_asked(tx: Transaction, ask: Ask, asked: v2_service.ReEnrollmentPrompt, subject: bytes) -> None:
    tx.audit(
        tenant_id=ask.config.tenant_id,
        owner=ENGINE_ID,
        actor=await actor(tx, ask.caller),
        transition="voiceid.reenrollment_prompted",
        reason_code=reenrolling.reason_of(asked.cause),
        scope=Scope(scope_type=SCOPE_TYPE_DEVICE, scope_id=ask.config.device_id),
        turn=ask.config.turn,
        session_id=ask.config.session_id,
        device_id=ask.config.device_id,
        hashes={"subject": subject},
        facts={"stream_id": ask.stream_id, "asked_at": asked.asked_at.ToDatetime(UTC).isoformat()},
    )


class _AlreadyDecided(Exception):
    """Undoes a transaction that found the stream decided."""

    def __init__(self, decision: bytes) -> None:
        super().__init__()
        self.final = v2_service.FinalDecision.FromString(decision)


def _always(ask: Ask, roster: Roster) -> list[int]:
    """Rows that no prune may drop: the claimed user and the device's owner."""
    users = {ask.claimed_user_id, ask.config.device_owner_user_id}
    return sorted(roster.index[user_id] for user_id in users if user_id in roster.index)


def _undecided(comparison: _Comparison, seconds: float, thresholds: Thresholds) -> bool:
    """Whether stage 1 leaves it to stage 2."""
    ranking = rank(comparison.stage1, seconds, thresholds.prune)
    return not isinstance(ranking, Ranking) or decisive(ranking, thresholds.policy) is Decisiveness.NONE


def _likely(hearing: Hearing, comparison: _Comparison, thresholds: Thresholds | v1.VoiceIdReason) -> str | None:
    """Who might be named: the claimed user, or the best candidate, if the ladder's lower threshold is reached."""
    if not isinstance(thresholds, Thresholds) or hearing.listening is None or not comparison.stage1:
        return None
    seconds = hearing.listening.utterance.voiced_seconds
    if comparison.stage2 is None:
        ranking = rank(comparison.stage1, seconds, thresholds.prune)
    else:
        ranking = rank(comparison.stage2, seconds, thresholds.fused)
    if isinstance(ranking, ScoringFailure) or ranking.best.score_bp < thresholds.policy.conf_mid_bp:
        return None
    return hearing.ask.claimed_user_id or ranking.best.user_id


def _best_match(query: Fingerprint, stored: Sequence[bytes], min_length_s: float) -> ReplayMatch | None:
    return match(query, [Fingerprint.from_bytes(one) for one in stored], min_length_s)


def _evidence(listening: Listening | None, comparison: _Comparison, spoof: _Spoof) -> Evidence:
    quality = listening.utterance.quality if listening else None
    return Evidence(
        audio_seconds=quality.duration_s if quality else 0.0,
        voiced_seconds=listening.utterance.voiced_seconds if listening else 0.0,
        lost_seconds=quality.lost_s if quality else 0.0,
        snr_db=(quality.snr_db or 0.0) if quality else 0.0,
        clipped_ratio=quality.clipped_ratio if quality else 0.0,
        overlap_ratio=comparison.overlap_ratio,
        countermeasure_score=comparison.countermeasure_score,
        replay_similarity=spoof.similarity,
        spoof=spoof.status,
    )


def _final(decision: VoiceDecision, *, may_prompt: bool) -> v2_service.FinalDecision:
    return v2_service.FinalDecision(v1=to_v1(decision), v2=to_v2(decision, may_prompt=may_prompt))


def _prompt_keys(ask: Ask, decision: VoiceDecision) -> tuple[bytes, bytes]:
    """Session budget key and cooldown key of VID.CONF.9."""
    config = ask.config
    scope = ask_once.PromptScope(
        tenant_id=config.tenant_id,
        user_scope_id=ask_once.user_scope_id(decision.named_user_id, config.device_owner_user_id),
        device_id=config.device_id,
        session_id=config.session_id,
        voice_branch_id=config.voice_branch_id,
    )
    return ask_once.budget_key(scope), ask_once.cooldown_key(scope)


def _row(
    ask: Ask, decision: VoiceDecision, final: v2_service.FinalDecision, cooldown_key: bytes, now: datetime
) -> DecidedStream:
    return DecidedStream(
        tenant_id=ask.config.tenant_id,
        stream_id=ask.stream_id,
        session_id=ask.config.session_id,
        device_id=ask.config.device_id,
        kind=ask.kind,
        claimed_user_id=ask.claimed_user_id,
        named_user_id=decision.named_user_id,
        cohort=cohort_labels(ask.config.cohort),
        decision=final.SerializeToString(deterministic=True),
        cooldown_key=cooldown_key,
        latency_us=round(decision.situation.decision_latency_seconds * 1e6),
        decided_at=now,
        speaker_user_id=None,
    )


def _facts(ask: Ask, decision: VoiceDecision, prompt: ask_once.Prompt, *, phase: breaker.Phase) -> dict[str, str]:
    """What the trail says of a decision: numbers and names of rules, never of people."""
    facts = {
        "kind": ask.kind,
        "tier": v2.IdentityTier.Name(decision.tier).removeprefix("IDENTITY_TIER_"),
        "decision_v1": v1.Decision.Name(to_v1(decision).decision).removeprefix("DECISION_"),
        "score_bp": str(decision.score_bp),
        "margin_bp": str(decision.margin_to_next_bp),
        "may_prompt_identity": str(prompt is ask_once.Prompt.GRANTED).lower(),
        "next_action": v1.NextAction.Name(decision.next_action).removeprefix("NEXT_ACTION_"),
        "breaker": phase.value,
        "stream_id": ask.stream_id,
    }
    if decision.conflict_state:
        facts["conflict"] = v1.ConflictState.Name(decision.conflict_state).removeprefix("CONFLICT_STATE_")
    if prompt is not ask_once.Prompt.NONE:
        facts["identity_prompt"] = prompt.value
    return facts


def _pack_facts(decision: VoiceDecision, served: Served | None) -> dict[str, str]:
    """Which version decided, whether as a canary and of which rollout, and why a candidate did not."""
    facts = {}
    if isinstance(decision.situation.thresholds, Thresholds) and served is not None and served.held is not None:
        facts["threshold_pack"] = decision.situation.thresholds.pack_ref
        facts["canary"] = str(bool(served.held.rollout_id)).lower()
        if served.held.rollout_id:
            facts["rollout_id"] = served.held.rollout_id
    if served is not None and served.fault is not None:
        facts["candidate_fault"] = served.fault.value
    return facts
