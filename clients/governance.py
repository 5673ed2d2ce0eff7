"""Governance from the client's side: decisions, gates, rollouts and their judge; defects; consents and their end."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from selene.governance.v1 import service_pb2 as wire
from selene.governance.v1 import service_pb2_grpc as rpc
from selene_messages.selene.artifacts.v1 import ConsumptionProof
from selene_messages.selene.common.v1 import PageInfo, PageRequest
from selene_messages.selene.gold.v1 import GoldDomain
from selene_messages.selene.governance import v1

from clients.calls import D, UnaryMethod, ask
from clients.channel import Connection
from clients.retry import RetryPolicy
from clients.routed import new_key
from clients.voiceid import CALL_TIMEOUT, DEVELOPMENT_TENANT
from clients.wire import to_wire


class _Calls:
    """What both clients share. Every method raises SeleneError; what changes something is retried safely by its key."""

    def __init__(
        self,
        connection: Connection,
        *,
        tenant_id: str = "",
        policy: RetryPolicy | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        self.tenant_id = tenant_id or connection.claims().tenant_id or DEVELOPMENT_TENANT
        self._connection = connection
        self._policy = policy or RetryPolicy()
        self._timeout = timeout

    async def _ask(self, method: UnaryMethod, message: Any, request: Any, reply: type[D]) -> D:
        asked = to_wire(message, request)
        return await ask(self._connection, method, asked, reply, within=self._timeout, policy=self._policy)


class Governance(_Calls):
    """The GovernanceService over one connection."""

    def __init__(
        self,
        connection: Connection,
        *,
        tenant_id: str = "",
        policy: RetryPolicy | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        super().__init__(connection, tenant_id=tenant_id, policy=policy, timeout=timeout)
        self._stub = rpc.GovernanceServiceStub(connection.channel)

    async def decide(
        self,
        artifact_id: str,
        action: v1.DecisionAction,
        evidence: v1.DecisionEvidence,
        *,
        idempotency_key: str = "",
    ) -> v1.GovernanceDecision:
        """Whether something may happen to an artifact, signed. Who asks is its proposer. `service` or `operator`."""
        message = v1.DecideRequest(
            tenant_id=self.tenant_id,
            artifact_id=artifact_id,
            action=action,
            evidence=evidence,
            idempotency_key=idempotency_key or new_key(),
        )
        reply = await self._ask(self._stub.Decide, message, wire.DecideRequest, v1.DecideResponse)
        return reply.decision or v1.GovernanceDecision()

    async def decisions(self, artifact_id: str) -> list[v1.GovernanceDecision]:
        """Everything that was decided of an artifact, oldest first."""
        message = v1.ListDecisionsRequest(tenant_id=self.tenant_id, artifact_id=artifact_id)
        reply = await self._ask(self._stub.ListDecisions, message, wire.ListDecisionsRequest, v1.ListDecisionsResponse)
        return reply.decisions

    async def report(self, artifact_id: str, report: v1.BuilderReport, *, idempotency_key: str = "") -> v1.GateBundle:
        """Hand in the Builder's report; the gates as they stand then. `service` or `operator`."""
        message = v1.SubmitBuilderReportRequest(
            tenant_id=self.tenant_id,
            artifact_id=artifact_id,
            report=report,
            idempotency_key=idempotency_key or new_key(),
        )
        reply = await self._ask(
            self._stub.SubmitBuilderReport, message, wire.SubmitBuilderReportRequest, v1.SubmitBuilderReportResponse
        )
        return reply.bundle or v1.GateBundle()

    async def approve(
        self, artifact_id: str, kind: v1.ApprovalKind, *, idempotency_key: str = ""
    ) -> v1.ApproveResponse:
        """Give a permission, as the person that the token names. `approver`; OWN_WORK_REFUSED."""
        message = v1.ApproveRequest(
            tenant_id=self.tenant_id,
            artifact_id=artifact_id,
            kind=kind,
            idempotency_key=idempotency_key or new_key(),
        )
        return await self._ask(self._stub.Approve, message, wire.ApproveRequest, v1.ApproveResponse)

    async def bundle(self, artifact_id: str) -> v1.GetGateBundleResponse:
        """The evidence of an artifact's gates, what is missing, and the signature where nothing is."""
        message = v1.GetGateBundleRequest(tenant_id=self.tenant_id, artifact_id=artifact_id)
        return await self._ask(self._stub.GetGateBundle, message, wire.GetGateBundleRequest, v1.GetGateBundleResponse)

    async def replay(self, artifact_id: str) -> v1.ConsumptionReplay:
        """What governance finds when it replays recorded turns by an artifact itself; a proof has to agree with it."""
        message = v1.ReplayArtifactRequest(tenant_id=self.tenant_id, artifact_id=artifact_id)
        reply = await self._ask(
            self._stub.ReplayArtifact, message, wire.ReplayArtifactRequest, v1.ReplayArtifactResponse
        )
        return reply.replay or v1.ConsumptionReplay()

    async def prove(
        self,
        proof: ConsumptionProof,
        parser: v1.ParserResult,
        shadow: v1.ShadowResult,
        *,
        idempotency_key: str = "",
    ) -> v1.ConsumptionVerdict:
        """Hand in a consumption proof, as the engine that will load the artifact. `service`; OWN_WORK_REFUSED."""
        message = v1.SubmitConsumptionProofRequest(
            tenant_id=self.tenant_id,
            proof=proof,
            parser=parser,
            shadow=shadow,
            idempotency_key=idempotency_key or new_key(),
        )
        reply = await self._ask(
            self._stub.SubmitConsumptionProof,
            message,
            wire.SubmitConsumptionProofRequest,
            v1.SubmitConsumptionProofResponse,
        )
        return reply.verdict or v1.ConsumptionVerdict()

    async def gate(self, artifact_id: str, through: v1.Gate = v1.Gate.UNSPECIFIED) -> v1.CheckReleaseGateResponse:
        """Whether an artifact may begin its rollout, or has passed the gates up to one."""
        message = v1.CheckReleaseGateRequest(tenant_id=self.tenant_id, artifact_id=artifact_id, through=through)
        return await self._ask(
            self._stub.CheckReleaseGate, message, wire.CheckReleaseGateRequest, v1.CheckReleaseGateResponse
        )

    async def start(self, artifact_id: str, *, idempotency_key: str = "") -> v1.Rollout:
        """Begin a staged rollout. `operator`; GATE_BLOCKED names what is missing."""
        message = v1.StartRolloutRequest(
            tenant_id=self.tenant_id, artifact_id=artifact_id, idempotency_key=idempotency_key or new_key()
        )
        reply = await self._ask(self._stub.StartRollout, message, wire.StartRolloutRequest, v1.StartRolloutResponse)
        return reply.rollout or v1.Rollout()

    async def rollout(self, rollout_id: str) -> v1.Rollout:
        """A rollout as it stands."""
        message = v1.GetRolloutRequest(tenant_id=self.tenant_id, rollout_id=rollout_id)
        reply = await self._ask(self._stub.GetRollout, message, wire.GetRolloutRequest, v1.GetRolloutResponse)
        return reply.rollout or v1.Rollout()

    async def rollouts(
        self, *, state: v1.RolloutState = v1.RolloutState.UNSPECIFIED, page_size: int = 100
    ) -> AsyncGenerator[v1.Rollout, None]:
        """The tenant's rollouts, latest first; UNSPECIFIED means in any state."""
        token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=token)
            message = v1.ListRolloutsRequest(tenant_id=self.tenant_id, state=state, page=page)
            reply = await self._ask(self._stub.ListRollouts, message, wire.ListRolloutsRequest, v1.ListRolloutsResponse)
            for rollout in reply.rollouts:
                yield rollout
            token = _next(reply.page)
            if not token:
                return

    async def record(
        self, rollout_id: str, windows: Sequence[v1.KpiWindow], *, idempotency_key: str = ""
    ) -> v1.RecordKpisResponse:
        """Hand in what was measured on both sides of a running rollout. `service`."""
        message = v1.RecordKpisRequest(
            tenant_id=self.tenant_id,
            rollout_id=rollout_id,
            windows=list(windows),
            idempotency_key=idempotency_key or new_key(),
        )
        return await self._ask(self._stub.RecordKpis, message, wire.RecordKpisRequest, v1.RecordKpisResponse)

    async def judge(self, rollout_id: str) -> v1.Judgement:
        """What the judge says of a rollout now; nothing moves."""
        message = v1.JudgeRolloutRequest(tenant_id=self.tenant_id, rollout_id=rollout_id)
        reply = await self._ask(self._stub.JudgeRollout, message, wire.JudgeRolloutRequest, v1.JudgeRolloutResponse)
        return reply.judgement or v1.Judgement()

    async def rollback(self, rollout_id: str, reason_code: str, *, idempotency_key: str = "") -> v1.RollbackResponse:
        """Take a running rollout back. `operator`; ``reason_code`` is UPPER_SNAKE_CASE."""
        message = v1.RollbackRequest(
            tenant_id=self.tenant_id,
            rollout_id=rollout_id,
            reason_code=reason_code,
            idempotency_key=idempotency_key or new_key(),
        )
        return await self._ask(self._stub.Rollback, message, wire.RollbackRequest, v1.RollbackResponse)

    async def promotion_report(self, rollout_id: str) -> v1.GetPromotionReportResponse:
        """What a rollout was, stage by stage, signed."""
        message = v1.GetPromotionReportRequest(tenant_id=self.tenant_id, rollout_id=rollout_id)
        return await self._ask(
            self._stub.GetPromotionReport, message, wire.GetPromotionReportRequest, v1.GetPromotionReportResponse
        )

    async def board(self, *, page_size: int = 100) -> AsyncGenerator[v1.BoardRow, None]:
        """Where everything that was proposed stands, latest first."""
        token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=token)
            message = v1.GetBoardRequest(tenant_id=self.tenant_id, page=page)
            reply = await self._ask(self._stub.GetBoard, message, wire.GetBoardRequest, v1.GetBoardResponse)
            for row in reply.rows:
                yield row
            token = _next(reply.page)
            if not token:
                return

    async def board_row(self, artifact_id: str) -> v1.BoardRow:
        """Where one artifact stands, also before anybody proposed it."""
        message = v1.GetBoardRequest(tenant_id=self.tenant_id, artifact_id=artifact_id)
        reply = await self._ask(self._stub.GetBoard, message, wire.GetBoardRequest, v1.GetBoardResponse)
        return reply.rows[0] if reply.rows else v1.BoardRow()


class Defects(_Calls):
    """The DefectService over one connection: defects at which safety is at stake, and what closes them (§8)."""

    def __init__(
        self,
        connection: Connection,
        *,
        tenant_id: str = "",
        policy: RetryPolicy | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        super().__init__(connection, tenant_id=tenant_id, policy=policy, timeout=timeout)
        self._stub = rpc.DefectServiceStub(connection.channel)

    async def list(
        self, *, only_open: bool = False, domain: GoldDomain = GoldDomain.UNSPECIFIED, page_size: int = 100
    ) -> AsyncGenerator[v1.Defect, None]:
        """The tenant's defects, the oldest first; UNSPECIFIED means of any domain."""
        token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=token)
            message = v1.ListDefectsRequest(tenant_id=self.tenant_id, only_open=only_open, domain=domain, page=page)
            reply = await self._ask(self._stub.ListDefects, message, wire.ListDefectsRequest, v1.ListDefectsResponse)
            for defect in reply.defects:
                yield defect
            token = _next(reply.page)
            if not token:
                return

    async def fix(self, proof: v1.ProposeDefectFixRequest, *, idempotency_key: str = "") -> v1.DefectFix:
        """Name what mends defects, with the proof; its tenant and key are filled in. `service` or `operator`.

        DEFECT_STATE_REFUSED, DEFECT_FIX_UNPROVED.
        """
        message = replace(proof, tenant_id=self.tenant_id, idempotency_key=idempotency_key or new_key())
        reply = await self._ask(
            self._stub.ProposeDefectFix, message, wire.ProposeDefectFixRequest, v1.ProposeDefectFixResponse
        )
        return reply.fix or v1.DefectFix()

    async def close(self, fix_id: str, *, idempotency_key: str = "") -> Sequence[v1.DefectClosure]:
        """Close the defects of a fix for good, as the person that the token names. `approver`; OWN_WORK_REFUSED,
        DEFECT_FIX_UNPROVED.
        """
        message = v1.CloseDefectsRequest(
            tenant_id=self.tenant_id, fix_id=fix_id, idempotency_key=idempotency_key or new_key()
        )
        reply = await self._ask(self._stub.CloseDefects, message, wire.CloseDefectsRequest, v1.CloseDefectsResponse)
        return reply.closures


class Consents(_Calls):
    """The ConsentService over one connection: for the user that the token names, or for others by role."""

    def __init__(
        self,
        connection: Connection,
        *,
        tenant_id: str = "",
        policy: RetryPolicy | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        super().__init__(connection, tenant_id=tenant_id, policy=policy, timeout=timeout)
        self._stub = rpc.ConsentServiceStub(connection.channel)

    async def grant(self, user_id: str, *, expires_at: datetime | None = None, idempotency_key: str = "") -> v1.Consent:
        """Consent to be learned from, until then or until it is revoked."""
        message = v1.GrantConsentRequest(
            tenant_id=self.tenant_id,
            user_id=user_id,
            expires_at=expires_at,
            idempotency_key=idempotency_key or new_key(),
        )
        reply = await self._ask(self._stub.GrantConsent, message, wire.GrantConsentRequest, v1.GrantConsentResponse)
        return reply.consent or v1.Consent()

    async def get(self, user_id: str) -> v1.Consent:
        """A user's consent as it stands. RESOURCE_NOT_FOUND where none was ever given."""
        message = v1.GetConsentRequest(tenant_id=self.tenant_id, user_id=user_id)
        reply = await self._ask(self._stub.GetConsent, message, wire.GetConsentRequest, v1.GetConsentResponse)
        return reply.consent or v1.Consent()

    async def revoke(
        self,
        user_id: str,
        *,
        trigger: v1.RevocationTrigger = v1.RevocationTrigger.USER_REQUEST,
        idempotency_key: str = "",
    ) -> v1.Revocation:
        """End a consent; what depends on it is frozen on return, and the rest follows by itself."""
        message = v1.RevokeConsentRequest(
            tenant_id=self.tenant_id,
            user_id=user_id,
            trigger=trigger,
            idempotency_key=idempotency_key or new_key(),
        )
        reply = await self._ask(self._stub.RevokeConsent, message, wire.RevokeConsentRequest, v1.RevokeConsentResponse)
        return reply.revocation or v1.Revocation()

    async def revocation(self, revocation_id: str) -> v1.Revocation:
        """A revocation as it stands, with its receipt once nothing serves any more what was revoked."""
        message = v1.GetRevocationRequest(tenant_id=self.tenant_id, revocation_id=revocation_id)
        reply = await self._ask(self._stub.GetRevocation, message, wire.GetRevocationRequest, v1.GetRevocationResponse)
        return reply.revocation or v1.Revocation()

    async def revocations(
        self, *, only_open: bool = False, page_size: int = 100
    ) -> AsyncGenerator[v1.Revocation, None]:
        """The tenant's revocations, latest first. `service` or `operator`."""
        token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=token)
            message = v1.ListRevocationsRequest(tenant_id=self.tenant_id, only_open=only_open, page=page)
            reply = await self._ask(
                self._stub.ListRevocations, message, wire.ListRevocationsRequest, v1.ListRevocationsResponse
            )
            for revocation in reply.revocations:
                yield revocation
            token = _next(reply.page)
            if not token:
                return


def _next(page: PageInfo | None) -> str:
    return page.next_page_token if page else ""
