"""The whole learning chain in one process and without a network: the owners' own services over a real store, a clock
that stands still, and people who call them.

From corrections to a pack that serves and back, as pronunciations take it: 250 judgments of two reviewers, one pack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.message import Message
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow, ConsumptionProof
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.scope_pb2 import SCOPE_TYPE_LOCALE, Scope
from selene.gold.v1.evidence_pb2 import GoldItem, GoldLabel, Pronunciation, PronunciationLabel
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_VALIDATING,
    GOLD_TIER_2_HUMAN_VERIFIED,
    GoldState,
)
from selene.governance.v1 import consent_pb2 as consents
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.governance.v1 import service_pb2 as governance
from selene.learning.v1 import service_pb2 as learning
from selene.learning.v1.signal_pb2 import CAPTURE_SOURCE_RUNTIME_OUTCOME

from servers.consumers import CONSUMERS
from servers.governance.consent_service import ConsentsV1
from servers.governance.controller import Controller
from servers.governance.defect_service import DefectsV1
from servers.governance.service import GovernanceV1
from servers.learning.capturing import Rules
from servers.learning.gold_service import GoldV1
from servers.learning.service import SignalsV1
from servers.learning.settings import IntakeSettings
from servers.runtime.auth import Principal, set_principal
from servers.runtime.clock import ManualClock
from servers.runtime.ids import Ids, SeededIds
from store import Store
from tests.servers.governance.windows import Counts, both
from tests.support.learned import REF, evaluated
from tests.support.signals import signal
from tests.support.stores import MASTER_KEY, SIGNING_KEY, audit

TENANT: Final = "dev"
PACK: Final = "TTS_PRONUNCIATION_PACK"
START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "ann": ("operator",),
    "dan": ("operator", "approver"),
    "bob": ("approver",),
    "cay": ("approver",),
    "build": ("service",),
    "rhea": ("reviewer",),
    "ravi": ("reviewer",),
}
"""Who is there. Everybody else is a user who speaks for nobody but themselves."""

PASSED: Final = decisions.Check(passed=True, evidence_ref=REF)
SUITE: Final = decisions.VerificationSuite(
    **{field.name: PASSED for field in decisions.VerificationSuite.DESCRIPTOR.fields}
)
EVIDENCE: Final = decisions.DecisionEvidence(
    policy=PASSED,
    privacy=PASSED,
    required_cohorts=["language:en"],
    cohort_results=[decisions.CohortResult(cohort="language:en", genuine_trials=1_000, false_rejects=10)],
    evaluation_ref=REF,
)
REPORT: Final = decisions.BuilderReport(
    report_id="report-1",
    source_engines=["PH1.TTS"],
    signal_count=3,
    evidence_refs=[REF],
    release_candidate="rc-1",
    verification=SUITE,
    expected_replay_hash=b"r" * 32,
)
ON_THE_WAY: Final[Sequence[GoldState]] = (
    GOLD_STATE_VALIDATING,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
)
ITEMS_OF_A_SIGNAL: Final = 130
"""Two signals are enough for a set; one is not."""

_DAY: Final = timedelta(hours=24, seconds=1)


def counts(complaints: int, successes: int) -> Counts:
    """What two thousand turns said of a pronunciation."""
    return {
        rollouts.KPI_METRIC_MISPRONUNCIATION_COMPLAINTS: (complaints, 2_000),
        rollouts.KPI_METRIC_INTERRUPTION_SUCCESS: (successes, 2_000),
        rollouts.KPI_METRIC_INTERRUPTION_FALSE_POSITIVES: (20, 2_000),
    }


BEFORE: Final = counts(200, 1_600)
BETTER: Final = counts(120, 1_800)
ALIKE: Final = counts(199, 1_601)
WORSE: Final = counts(300, 1_600)


def place(name: str) -> Scope:
    """A line of packs of its own."""
    return Scope(scope_type=SCOPE_TYPE_LOCALE, scope_id=name)


async def open_store(url: str, clock: ManualClock, ids: Ids) -> Store:
    """The store of one process."""
    return await Store.open(url, clock=clock, ids=ids, signing_key=SIGNING_KEY, master_key=MASTER_KEY, connections=4)


class Chain:
    """The services of one process on a store, and the steps that people and programs take with them."""

    def __init__(self, store: Store, clock: ManualClock, ids: Ids | None = None, keys: str = "key") -> None:
        ids = ids or SeededIds(1)
        self.store = store
        self.clock = clock
        limits = IntakeSettings().limits()
        self._services: tuple[Any, ...] = (
            SignalsV1(store, clock, Rules(limits), asyncio.Event(), batch=1),
            GoldV1(store, clock, ids),
            GovernanceV1(store, clock, ids, CONSUMERS),
            ConsentsV1(store, clock),
            DefectsV1(store, clock, ids),
        )
        self._keys = keys
        self._asked = 0

    def controller(self, store: Store | None = None) -> Controller:
        """Control loops that look only when they are told to; `store`: another process's."""
        return Controller(store or self.store, self.clock, every_s=3600)

    def request(self, method: str, **fields: Any) -> Message:
        """What is asked, with a key of its own."""
        kind = getattr(governance, f"{method}Request", None) or getattr(learning, f"{method}Request")
        if "tenant_id" in kind.DESCRIPTOR.fields_by_name:
            fields.setdefault("tenant_id", TENANT)
        if "idempotency_key" in kind.DESCRIPTOR.fields_by_name:
            self._asked += 1
            fields.setdefault("idempotency_key", f"{self._keys}-{self._asked}")
        made: Message = kind(**fields)
        return made

    async def ask(self, who: str, method: str, request: Message) -> Any:
        """The reply to a request. Refusal."""
        set_principal(Principal(TENANT, who, "", frozenset(ROLES.get(who, ("user",)))))
        for service in self._services:
            if hasattr(service, method):
                return await getattr(service, method)(request, None)
        raise AssertionError(method)

    async def call(self, who: str, method: str, **fields: Any) -> Any:
        """The reply to a request that is asked once. Refusal."""
        return await self.ask(who, method, self.request(method, **fields))

    async def capture(self, name: str, user: str, **fields: Any) -> str:
        """A signal of a user; its id."""
        captured = signal(
            name,
            TENANT,
            self.clock.now(),
            user_id=user,
            source_engine_id="PH1.TTS",
            **{"domain": GOLD_DOMAIN_TTS_PRONUNCIATION, "capture_source": CAPTURE_SOURCE_RUNTIME_OUTCOME, **fields},
        )
        reply = await self.call("build", "Capture", signal=captured)
        return str(reply.captured.signal.signal_id)

    async def propose(self, scope: Scope, signal_ids: Iterable[str]) -> str:
        """A candidate without evidence; its id."""
        reply = await self.call(
            "ann",
            "ProposeGoldSet",
            domain=GOLD_DOMAIN_TTS_PRONUNCIATION,
            tier=GOLD_TIER_2_HUMAN_VERIFIED,
            scope=scope,
            signal_ids=sorted(signal_ids),
        )
        return str(reply.candidate.gold_set_id)

    async def evidence(self, gold_set_id: str, signal_ids: Iterable[str]) -> None:
        """Judgments enough for each signal, of two reviewers. The words are the signal's own."""
        spoken = [
            GoldItem(
                item_id=f"{signal_id}/{number:03}",
                signal_id=signal_id,
                pronunciation=Pronunciation(term=f"{signal_id} {number}", phonemes="si li ni", locale="en-GB"),
            )
            for signal_id in sorted(signal_ids)
            for number in range(ITEMS_OF_A_SIGNAL)
        ]
        await self.call("ann", "AddItems", gold_set_id=gold_set_id, items=spoken)
        said = PronunciationLabel(accepted=True, confidence_bp=9500)
        labels = [GoldLabel(item_id=one.item_id, pronunciation=said) for one in spoken]
        for reviewer in ("rhea", "ravi"):
            await self.call(reviewer, "LabelItems", gold_set_id=gold_set_id, labels=labels)

    async def advance_gold(self, gold_set_id: str, to_state: GoldState) -> learning.AdvanceGoldSetResponse:
        """Ask for a step of §17."""
        reply: learning.AdvanceGoldSetResponse = await self.call(
            "ann", "AdvanceGoldSet", gold_set_id=gold_set_id, to_state=to_state
        )
        return reply

    async def evaluated(self) -> None:
        """What the evidence of proposals refers to."""
        async with self.store.transaction() as tx:
            await evaluated(tx, TENANT)
            audit(tx, TENANT)

    async def packaged(self, scope: Scope, signals: Mapping[str, str]) -> ArtifactRow:
        """From signals (name → user) to a pack in the ledger."""
        return await self.learned(scope, [await self.capture(name, user) for name, user in signals.items()])

    async def learned(self, scope: Scope, ids: Sequence[str]) -> ArtifactRow:
        """From captured signals to a pack in the ledger."""
        await self.evaluated()
        gold_set_id = await self.propose(scope, ids)
        await self.evidence(gold_set_id, ids)
        return await self.packed(gold_set_id)

    async def packed(self, gold_set_id: str) -> ArtifactRow:
        """A set with its evidence becomes a pack."""
        for state in ON_THE_WAY:
            reply = await self.advance_gold(gold_set_id, state)
            assert reply.transition.applied, reply.transition
        [row] = reply.packs
        return row

    async def report(self, row: ArtifactRow) -> decisions.BuilderReport:
        """The Builder's, which expects what a replay gives."""
        report = decisions.BuilderReport()
        report.CopyFrom(REPORT)
        report.expected_replay_hash = await self.replay_hash(row)
        return report

    async def replay_hash(self, row: ArtifactRow) -> bytes:
        """What a replay of the turns that the pack came from gives."""
        return bytes((await self.call("build", "ReplayArtifact", artifact_id=row.artifact_id)).replay.replay_hash)

    async def proof(self, row: ArtifactRow, bundle: str, **fields: Any) -> dict[str, Any]:
        """A consumption proof that holds, but for what is given."""
        shown = {
            "artifact_id": row.artifact_id,
            "artifact_type": row.artifact_type,
            "artifact_version": row.artifact_version,
            "consumer_engine_id": "PH1.TTS",
            "consumer_capability_id": "tts.lexicon",
            "apply_plan_hash": b"p" * 32,
            "replay_validation_hash": await self.replay_hash(row),
            "shadow_eval_result_ref": "shadow://1",
            "rollback_pointer_ref": row.rollback_pointer_ref,
            "gate_bundle_ref": bundle,
            **fields,
        }
        return {
            "proof": ConsumptionProof(**shown),
            "parser": decisions.ParserResult(accepted=True, package_hash=row.package_hash),
            "shadow": decisions.ShadowResult(turns=1_000),
        }

    async def bundle_ref(self, row: ArtifactRow) -> str:
        """The reference of the complete bundle; empty while it is not."""
        return str((await self.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).gate_bundle_ref)

    async def prove(self, row: ArtifactRow) -> None:
        """Every gate, one after the other."""
        about = {"artifact_id": row.artifact_id}
        await self.call("ann", "Decide", **about, action=decisions.DECISION_ACTION_ACTIVATE, evidence=EVIDENCE)
        await self.call("build", "SubmitBuilderReport", **about, report=await self.report(row))
        await self.call("bob", "Approve", **about, kind=decisions.APPROVAL_KIND_CODE)
        await self.call("cay", "Approve", **about, kind=decisions.APPROVAL_KIND_LAUNCH)
        shown = await self.proof(row, await self.bundle_ref(row))
        assert (await self.call("build", "SubmitConsumptionProof", **shown)).verdict.passed

    async def start(self, row: ArtifactRow) -> str:
        """Through every gate into its rollout; its id."""
        await self.prove(row)
        reply = await self.call("ann", "StartRollout", artifact_id=row.artifact_id)
        return str(reply.rollout.rollout_id)

    async def measure(self, rollout_id: str, candidate: Counts) -> rollouts.Rollout:
        """Hand in what both sides counted in the day that ends now; the rollout was in its stage all day."""
        rollout = await self.rollout(rollout_id)
        since = max(rollout.stages[-1].entered_at.ToDatetime(tzinfo=UTC), self.clock.now() - _DAY)
        windows = both(2_000, BEFORE, candidate, starts_at=since, lasts=self.clock.now() - since)
        reply = await self.call("build", "RecordKpis", rollout_id=rollout_id, windows=windows)
        measured: rollouts.Rollout = reply.rollout
        return measured

    async def advance(self, rollout_id: str, until: rollouts.RolloutStage) -> None:
        """Good days until the stage is reached, with the control loops looking at the end of each."""
        for days in (0, 1, 1, 6):
            if days:
                self.clock.advance(days * _DAY.total_seconds())
                await self.measure(rollout_id, BETTER)
                await self.controller().tick()
            if (await self.rollout(rollout_id)).stages[-1].stage == until:
                return
        raise AssertionError(await self.rollout(rollout_id))

    def a_day_passes(self) -> None:
        """And a little: what takes a day is over."""
        self.clock.advance(_DAY.total_seconds())

    async def rollout(self, rollout_id: str) -> rollouts.Rollout:
        """As it stands."""
        found = await self.store.governance.rollouts.get(TENANT, rollout_id)
        assert found is not None
        return found

    async def revoke(self, user: str) -> consents.Revocation:
        """A user's own revocation, without the steps that follow by themselves."""
        reply = await self.call(user, "RevokeConsent", user_id=user, trigger=consents.REVOCATION_TRIGGER_USER_REQUEST)
        revocation: consents.Revocation = reply.revocation
        return revocation

    async def settle(self, store: Store | None = None) -> int:
        """Let a fresh controller look until it finds nothing to do; how often it found something."""
        controller, rounds = self.controller(store), 0
        while await controller.tick():
            rounds += 1
            assert rounds < 50, "the control loops never come to an end"
        return rounds

    async def serves(self, scope: Scope) -> ArtifactRow | None:
        """The version that consumers of a line load."""
        pointer = await self.store.artifacts.pointer(PACK, TENANT, scope)
        if pointer is None:
            return None
        return await self.store.artifacts.version(PACK, TENANT, scope, pointer.active_version)

    async def trail(self) -> list[AuditEvent]:
        """The tenant's audit rows."""
        return [chained.event async for chained in self.store.audit.stream(TENANT)]
