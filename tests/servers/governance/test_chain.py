"""Whatever is tried in whatever order: nothing enters a rollout without the signed row of every gate."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from grpc.aio import AioRpcError
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_LOCALE, Scope
from selene.governance.v1 import decision_pb2 as v1

from clients.errors import SeleneError, from_rpc
from servers.governance.statement import opened
from tests.servers.governance.house import EVIDENCE, Governed, governing, words

POOR = v1.DecisionEvidence(policy=EVIDENCE.policy, privacy=EVIDENCE.privacy)
TRIES = 14
STEPS = 26


class Walk:
    """Somebody who tries things with one artifact, without a plan."""

    def __init__(self, house: Governed, row: ArtifactRow, chance: random.Random) -> None:
        self.house = house
        self.row = row
        self.chance = chance
        self.started = False

    async def step(self) -> None:
        """One try; whatever refuses it may do so."""
        try:
            await self.chance.choice([self.decide, self.report, self.approve, self.approve, self.prove, self.start])()
        except SeleneError as refused:
            assert refused.reason in ("GATE_BLOCKED", "OWN_WORK_REFUSED", "ROLLOUT_STATE_REFUSED"), refused

    async def ask(self, who: str, method: str, **fields: Any) -> Any:
        try:
            return await self.house.call(who, method, **fields)
        except AioRpcError as error:
            raise from_rpc(error) from None

    async def decide(self) -> None:
        evidence = self.chance.choice([EVIDENCE, EVIDENCE, EVIDENCE, POOR])
        action, who = v1.DECISION_ACTION_ACTIVATE, self.chance.choice(["ann", "ann", "dan"])
        about = {"artifact_id": self.row.artifact_id, "action": action, "evidence": evidence}
        await self.ask(who, "Decide", **about)

    async def report(self) -> None:
        report = await self.house.report(self.row)
        report.verification.failover_simulations.passed = self.chance.choice([True, True, False])
        await self.ask("build", "SubmitBuilderReport", artifact_id=self.row.artifact_id, report=report)

    async def approve(self) -> None:
        who = self.chance.choice(["bob", "cay", "dan"])
        kind = self.chance.choice([v1.APPROVAL_KIND_CODE, v1.APPROVAL_KIND_LAUNCH])
        await self.ask(who, "Approve", artifact_id=self.row.artifact_id, kind=kind)

    async def prove(self) -> None:
        bundle = (await self.ask("ann", "GetGateBundle", artifact_id=self.row.artifact_id)).gate_bundle_ref
        if bundle:
            replay = self.chance.choice([{}, {}, {"replay_validation_hash": b"x" * 32}])
            await self.ask("build", "SubmitConsumptionProof", **await self.house.proof(self.row, bundle, **replay))

    async def start(self) -> None:
        await self.ask("ann", "StartRollout", artifact_id=self.row.artifact_id)
        self.started = True


async def proved(house: Governed, row: ArtifactRow) -> bool:
    """Whether the store holds a row for each gate, read without the server's rules."""
    cases, trusted = house.store.governance.cases, house.store.trusted_keys()
    decided = [
        opened(signed, v1.DecisionStatement, trusted) for signed in await cases.decisions("dev", row.artifact_id)
    ]
    given = [opened(signed, v1.ApprovalStatement, trusted) for signed in await cases.approvals("dev", row.artifact_id)]
    case = await cases.get("dev", row.artifact_id)
    people = {approval.approver for approval in given}
    suite = case.report.verification if case.report else v1.VerificationSuite()
    return (
        bool(decided)
        and decided[-1].decision == v1.DECISION_ALLOW
        and {approval.kind for approval in given} == {v1.APPROVAL_KIND_CODE, v1.APPROVAL_KIND_LAUNCH}
        and len(people) == 2
        and people.isdisjoint(case.proposers)
        and all(getattr(suite, field.name).passed for field in suite.DESCRIPTOR.fields)
        and case.verdict is not None
        and case.verdict.passed
        and case.report is not None
        and case.verdict.proof.replay_validation_hash
        == case.verdict.found.replay_hash
        == case.report.expected_replay_hash
    )


async def test_no_order_of_tries_gets_past_a_gate(tmp_path: Path) -> None:
    started = 0
    async with governing(tmp_path) as house:
        for seed in range(TRIES):
            scope = Scope(scope_type=SCOPE_TYPE_LOCALE, scope_id=f"locale-{seed}")
            await house.register(words("one"), scope=scope, active=True)
            row = await house.recorded(await house.register(words("two"), scope=scope))
            walk = Walk(house, row, random.Random(seed))
            for _ in range(STEPS):
                await walk.step()
                if walk.started:
                    assert await proved(house, walk.row), seed
                    started += 1
                    break
        pointer = await house.store.artifacts.pointer("STT_VOCAB_PACK", "dev", scope)
    assert 0 < started < TRIES
    assert pointer is not None and pointer.active_version == 1
