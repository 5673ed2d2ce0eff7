"""Governance as it is served: artifacts in a real store, people with tokens, time that a test lets pass."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from selene.artifacts.v1.artifacts_pb2 import (
    ARTIFACT_STATUS_CANDIDATE,
    ArtifactPointer,
    ArtifactRow,
    ConsumptionProof,
)
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.governance.v1 import service_pb2 as v1
from selene.governance.v1 import service_pb2_grpc as governance_grpc

from clients.errors import SeleneError
from servers.governance.controller import Controller
from servers.runtime.auth import Principal, issue_token
from tests.servers.governance.windows import Counts, both
from tests.support.governed import refusal
from tests.support.learned import REF, learned
from tests.support.live_packs import vocabulary
from tests.support.owners import Owners, serving
from tests.support.recorded import utterances

TENANT = "dev"
SCOPE = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)
PACK = "STT_VOCAB_PACK"
PASSED = decisions.Check(passed=True, evidence_ref=REF)
SUITE = decisions.VerificationSuite(**{field.name: PASSED for field in decisions.VerificationSuite.DESCRIPTOR.fields})
EVIDENCE = decisions.DecisionEvidence(
    policy=PASSED,
    privacy=PASSED,
    required_cohorts=["language:en"],
    cohort_results=[decisions.CohortResult(cohort="language:en", genuine_trials=1_000, false_rejects=10)],
    evaluation_ref=REF,
)
REPORT = decisions.BuilderReport(
    report_id="report-1",
    source_engines=["PH1.C"],
    signal_count=500,
    evidence_refs=[REF],
    release_candidate="rc-7",
    verification=SUITE,
    expected_replay_hash=b"r" * 32,
)
"""A report that a replay contradicts; `Governed.report` gives one that holds."""
SERVICES = ("GovernanceService", "ConsentService", "DefectService")
ROLES = {
    "ann": ("operator",),
    "bob": ("approver",),
    "cay": ("approver",),
    "build": ("service",),
    "dan": ("operator", "approver"),
    "sam": ("service",),
    "tess": ("service", "approver"),
    "PH1.C": ("service",),
    "PH1.TTS": ("service",),
    "ula": ("user",),
}
"""Who is there: an operator, two approvers, services, some with two roles, a user."""

WORSE: Counts = {rollouts.KPI_METRIC_WORD_ERRORS: (1_300, 10_000), rollouts.KPI_METRIC_REJECTS: (20, 2_000)}
BEFORE: Counts = {rollouts.KPI_METRIC_WORD_ERRORS: (1_000, 10_000), rollouts.KPI_METRIC_REJECTS: (20, 2_000)}
BETTER: Counts = {rollouts.KPI_METRIC_WORD_ERRORS: (800, 10_000), rollouts.KPI_METRIC_REJECTS: (20, 2_000)}


def words(term: str) -> bytes:
    """A pack that knows one term."""
    return vocabulary(term)


class Governed:
    """A running owner, and everything that tests do with it."""

    def __init__(self, owners: Owners) -> None:
        self.owners = owners
        self.store = owners.store
        self.clock = owners.clock
        self.controller = self.another_controller()
        self._keys = itertools.count(1)

    def another_controller(self) -> Controller:
        """Control loops that look only when they are told to."""
        return Controller(self.owners.store, self.owners.clock, every_s=3600)

    def begin(self, who: str, method: str, *, tenant: str = TENANT, **fields: Any) -> Any:
        """One call, not awaited."""
        kind = getattr(v1, f"{method}Request")
        fields.setdefault("tenant_id", TENANT)
        if "idempotency_key" in kind.DESCRIPTOR.fields_by_name:
            fields.setdefault("idempotency_key", f"key-{next(self._keys)}")
        key = self.owners.running.development_key
        assert key is not None
        principal = Principal(tenant, who, "", frozenset(ROLES[who]))
        token = issue_token(key, principal, now=self.clock.now(), lifetime=timedelta(hours=1))
        connection = self.owners.connection("governance", token)
        for service in SERVICES:
            stub = getattr(governance_grpc, f"{service}Stub")(connection.channel)
            if hasattr(stub, method):
                return getattr(stub, method)(kind(**fields), timeout=20, metadata=connection.metadata())
        raise AssertionError(method)

    async def call(self, who: str, method: str, **fields: Any) -> Any:
        """The reply to one call."""
        return await self.begin(who, method, **fields)

    async def refused(self, who: str, method: str, **fields: Any) -> SeleneError:
        """How one call is refused."""
        return await refusal(self.begin(who, method, **fields))

    async def register(
        self,
        payload: bytes,
        *,
        pointer: str = "",
        artifact_type: str = PACK,
        scope: Scope = SCOPE,
        active: bool = False,
        learned_from_gold: bool = True,
    ) -> ArtifactRow:
        """A version in the ledger; `pointer` empty names the version before."""
        async with self.store.transaction() as tx:
            versions = await tx.artifacts.versions(artifact_type, TENANT, scope)
            row = await tx.artifacts.register(
                ArtifactRow(
                    artifact_type=artifact_type,
                    tenant_id=TENANT,
                    scope=scope,
                    provenance_ref="test",
                    created_by="PH1.KNOW",
                    idempotency_key=f"artifact-{next(self._keys)}",
                    status=ARTIFACT_STATUS_CANDIDATE,
                    rollback_pointer_ref=pointer or (f"{artifact_type}@{len(versions)}" if versions else ""),
                ),
                payload,
            )
            if active:
                await tx.artifacts.activate(artifact_type, TENANT, scope, row.artifact_version)
            if learned_from_gold:
                await learned(tx, TENANT, row.artifact_id)
            tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.registered", reason_code="TEST")
        return row

    async def candidate(self) -> ArtifactRow:
        """A version that may come after the one that is active."""
        pointer = await self.pointer()
        if pointer is None:
            await self.register(words("one"), active=True)
        return await self.recorded(await self.register(words(f"word {next(self._keys)}")))

    async def recorded(self, row: ArtifactRow, *heard: str, right: Sequence[str] = ()) -> ArtifactRow:
        """The same, with turns that it can be held against."""
        async with self.store.transaction() as tx:
            await utterances(tx, row, *(heard or ("ask one",)), right=right)
            tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.recorded", reason_code="TEST")
        return row

    async def replay(self, row: ArtifactRow) -> decisions.ConsumptionReplay:
        """What governance finds by itself."""
        return (await self.call("build", "ReplayArtifact", artifact_id=row.artifact_id)).replay

    async def report(self, row: ArtifactRow) -> decisions.BuilderReport:
        """The Builder's, which expects what a replay gives."""
        report = decisions.BuilderReport()
        report.CopyFrom(REPORT)
        report.expected_replay_hash = (await self.replay(row)).replay_hash or REPORT.expected_replay_hash
        return report

    async def pointer(self) -> ArtifactPointer | None:
        """What running servers load."""
        return await self.store.artifacts.pointer(PACK, TENANT, SCOPE)

    async def serves(self) -> bytes:
        """The content that running servers load."""
        pointer = await self.pointer()
        return await self.store.artifacts.payload(pointer.active_package_hash) if pointer else b""

    async def allow(self, row: ArtifactRow, **fields: Any) -> decisions.GovernanceDecision:
        """Have governance decide on the activation."""
        asked = {"action": decisions.DECISION_ACTION_ACTIVATE, "evidence": EVIDENCE, **fields}
        return (await self.call("ann", "Decide", artifact_id=row.artifact_id, **asked)).decision

    async def permit(self, row: ArtifactRow) -> str:
        """Decision, report and both permissions; the reference of the bundle."""
        await self.allow(row)
        await self.call("build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=await self.report(row))
        for who, kind in (("bob", decisions.APPROVAL_KIND_CODE), ("cay", decisions.APPROVAL_KIND_LAUNCH)):
            await self.call(who, "Approve", artifact_id=row.artifact_id, kind=kind)
        return (await self.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).gate_bundle_ref

    async def proof(self, row: ArtifactRow, bundle: str, **fields: Any) -> dict[str, Any]:
        """A consumption proof that holds, but for what is given."""
        replay_hash = (await self.replay(row)).replay_hash or REPORT.expected_replay_hash
        shown = {
            "artifact_id": row.artifact_id,
            "artifact_type": row.artifact_type,
            "artifact_version": row.artifact_version,
            "consumer_engine_id": "PH1.C",
            "consumer_capability_id": "stt.vocabulary",
            "apply_plan_hash": b"p" * 32,
            "replay_validation_hash": replay_hash,
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

    async def prove(self, row: ArtifactRow) -> decisions.ConsumptionVerdict:
        """Everything up to the consumption proof."""
        bundle = await self.permit(row)
        return (await self.call("build", "SubmitConsumptionProof", **await self.proof(row, bundle))).verdict

    async def start(self, row: ArtifactRow) -> rollouts.Rollout:
        """Everything up to the rollout."""
        await self.prove(row)
        return (await self.call("ann", "StartRollout", artifact_id=row.artifact_id)).rollout

    async def rollout(self, rollout_id: str) -> rollouts.Rollout:
        """A rollout as it stands."""
        return (await self.call("ann", "GetRollout", rollout_id=rollout_id)).rollout

    async def measure(
        self, rollout: rollouts.Rollout, candidate: Counts = BETTER, *, baseline: Counts = BEFORE, turns: int = 2_000
    ) -> rollouts.Rollout:
        """Let a day pass in the present stage, and hand in what both sides counted meanwhile."""
        stands = await self.rollout(rollout.rollout_id)
        since = max(stands.stages[-1].entered_at.ToDatetime(tzinfo=UTC), self.clock.now() - timedelta(seconds=1))
        self.skip(timedelta(hours=24, seconds=5))
        windows = both(turns, baseline, candidate, starts_at=since)
        reply = await self.call("build", "RecordKpis", rollout_id=rollout.rollout_id, windows=windows)
        return reply.rollout

    async def advance(self, rollout: rollouts.Rollout, *, until: rollouts.RolloutStage) -> rollouts.Rollout:
        """Good days, one after another, with the control loops looking, until the stage is reached."""
        for _ in range(12):
            if rollout.stages[-1].stage == until or rollout.state != rollouts.ROLLOUT_STATE_RUNNING:
                return rollout
            await self.measure(rollout)
            await self.controller.tick()
            rollout = await self.rollout(rollout.rollout_id)
        return rollout

    def skip(self, span: timedelta) -> None:
        """Let time pass."""
        self.clock.skip(span.total_seconds())

    def now(self) -> datetime:
        """The server's time."""
        return self.clock.now()

    async def trail(self, *transitions: str) -> Sequence[AuditEvent]:
        """The tenant's audit rows of these transitions."""
        return [event for event in await self.owners.trail(TENANT) if event.transition in transitions]


@asynccontextmanager
async def governing(data_dir: Path, flags: dict[str, Any] | None = None) -> AsyncIterator[Governed]:
    """Governance on a store of its own; its control loops look only when a test says so."""
    settings = {"owners.governance": {"loops": False}, "development.anonymous": False, **(flags or {})}
    async with serving(["governance"], data_dir, settings) as owners:
        yield Governed(owners)
