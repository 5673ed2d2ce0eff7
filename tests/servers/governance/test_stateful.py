"""Hypothesis leads the whole chain, from signals to packs that serve and back, and looks for the order of events in
which something goes live without its gates, or outlives the consent that it rests on.

`SELENE_CHAIN_EXAMPLES=400` looks at so many longer ones, and for the shortest that fails.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_STATE_REVERTED,
    GOLD_STATE_VALIDATING,
    GOLD_TIER_2_HUMAN_VERIFIED,
)
from selene.governance.v1 import consent_pb2 as consents
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts

from servers.runtime.clock import ManualClock
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.ids import SeededIds
from store import Store
from tests.servers.governance import oracle
from tests.servers.governance.chain import (
    ALIKE,
    BETTER,
    EVIDENCE,
    ON_THE_WAY,
    PACK,
    START,
    TENANT,
    WORSE,
    Chain,
    open_store,
    place,
)
from tests.servers.governance.oracle import Oracle
from tests.support.dying import Dying, Killed
from tests.support.stores import migrated_sqlite

T = TypeVar("T")

LINES: Final = (place("en"), place("de"))
USERS: Final = ("ula", "vic", "wim")
QUALITIES: Final = (BETTER, ALIKE, WORSE)
POOR: Final = decisions.DecisionEvidence(policy=EVIDENCE.policy, privacy=EVIDENCE.privacy)
WHAT: Final = {"domain": GOLD_DOMAIN_TTS_PRONUNCIATION, "tier": GOLD_TIER_2_HUMAN_VERIFIED}
EXPECTED: Final = frozenset(
    {
        "GATE_BLOCKED",
        "OWN_WORK_REFUSED",
        "ROLLOUT_STATE_REFUSED",
        "ARTIFACT_FROZEN",
        "CONSENT_REQUIRED",
        "ROLLBACK_TARGET_MISSING",
    }
)
"""How something that is out of its turn is refused."""

MANY: Final = int(os.environ.get("SELENE_CHAIN_EXAMPLES", "0"))
some = st.integers(0, 7)


def memory() -> Path:
    """A folder in memory, where there is one: how fast a disk is proves nothing here."""
    fast = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="selene-chain-", dir=fast if os.access(fast, os.W_OK) else None))


@functools.cache
def begun() -> bytes:
    """A store in which people have captured, proposed and labelled; each line has a pack that no gate has seen yet."""

    async def prepare(path: Path) -> None:
        clock, ids = ManualClock(START), SeededIds(1)
        store = await open_store(f"sqlite:///{path}", clock, ids)
        chain = Chain(store, clock, ids, keys="begun")
        await chain.evaluated()
        for line, groups in zip(LINES, (((0, 1, 2), (0, 1), (1, 2)), ((0, 1, 2),)), strict=True):
            for number, group in enumerate(groups):
                made = [await chain.capture(f"{line.scope_id}-{number}-{user}", USERS[user]) for user in group]
                gold_set_id = await chain.propose(line, made)
                await chain.evidence(gold_set_id, made)
                if number == 0:
                    await chain.packed(gold_set_id)
        await store.close()

    folder = memory()
    try:
        path = folder / "begun.db"
        path.write_bytes(migrated_sqlite())
        asyncio.run(prepare(path))
        return path.read_bytes()
    finally:
        shutil.rmtree(folder)


class Learning(RuleBasedStateMachine):
    """People, programs, control loops that die, and time, in any order."""

    chain: Chain

    @initialize(ahead=st.sampled_from((*oracle.STAGES, None)))
    def begin(self, ahead: rollouts.RolloutStage | None) -> None:
        self.runner = asyncio.Runner()
        self.folder = memory()
        path = self.folder / "chain.db"
        path.write_bytes(begun())
        self.clock = ManualClock(START + timedelta(hours=1))
        ids = SeededIds(2)
        self.store: Store = self.run(open_store(f"sqlite:///{path}", self.clock, ids))
        self.chain = Chain(self.store, self.clock, ids)
        self.oracle = Oracle(self.store, LINES)
        self.controller = self.chain.controller()
        self.last: tuple[str, str, Message, Message] | None = None
        self.captured = 0
        self.looked = 0
        if ahead is not None:
            self.run(self.chain.advance(self.run(self.chain.start(self.packs()[0])), ahead))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def ask(self, who: str, method: str, **fields: Any) -> Any:
        """What came of it; None where it was out of its turn."""
        request = self.chain.request(method, **fields)
        try:
            reply = self.run(self.chain.ask(who, method, request))
        except Refusal as refused:
            assert reason_name(refused.reason) in EXPECTED, refused
            return None
        self.last = (who, method, request, reply)
        return reply

    # What there is.

    def packs(self) -> list[ArtifactRow]:
        found = [row for line in LINES for row in self.run(self.store.artifacts.versions(PACK, TENANT, line))]
        return [row for row in found if row.idempotency_key != "baseline"]

    def gold(self) -> list[str]:
        return [each.gold_set_id for each in self.run(self.store.gold.page(TENANT, limit=100))]

    def running(self) -> list[rollouts.Rollout]:
        return self.run(self.store.governance.rollouts.all_running())

    # What is learned.

    @precondition(lambda self: self.captured < 3)
    @rule(user=st.sampled_from(USERS), line=st.sampled_from(LINES))
    def learn_from_another_signal(self, user: str, line: Any) -> None:
        self.captured += 1
        try:
            made = self.run(self.chain.capture(f"more-{self.captured}", user))
        except Refusal as refused:
            assert reason_name(refused.reason) == "CONSENT_REQUIRED"
            return
        reply = self.ask("ann", "ProposeGoldSet", **WHAT, scope=line, signal_ids=[made])
        assert reply is None or reply.candidate.signal_count == 1

    @rule(which=some, to_state=st.integers(GOLD_STATE_VALIDATING, GOLD_STATE_REVERTED))
    def ask_for_any_step_of_gold(self, which: int, to_state: Any) -> None:
        found = self.gold()
        self.ask("ann", "AdvanceGoldSet", gold_set_id=found[which % len(found)], to_state=to_state)

    @rule(which=some)
    def bring_gold_to_its_pack(self, which: int) -> None:
        found = self.gold()
        for state in ON_THE_WAY:
            self.ask("ann", "AdvanceGoldSet", gold_set_id=found[which % len(found)], to_state=state)

    # The gates.

    @rule(
        which=some,
        who=st.sampled_from(("ann", "dan")),
        evidence=st.sampled_from((EVIDENCE, POOR)),
        action=st.sampled_from(
            (decisions.DECISION_ACTION_ACTIVATE, decisions.DECISION_ACTION_PROMOTE, decisions.DECISION_ACTION_ROLLBACK)
        ),
    )
    def decide(self, which: int, who: str, evidence: Any, action: Any) -> None:
        self.ask(who, "Decide", artifact_id=self.pack(which).artifact_id, action=action, evidence=evidence)

    @rule(which=some, passed=st.booleans(), expected=st.sampled_from((b"", b"x" * 32)))
    def report(self, which: int, passed: bool, expected: bytes) -> None:
        row = self.pack(which)
        report = self.run(self.chain.report(row))
        report.verification.failover_simulations.passed = passed
        report.expected_replay_hash = expected or report.expected_replay_hash
        self.ask("build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=report)

    @rule(
        which=some,
        who=st.sampled_from(("bob", "cay", "dan")),
        kind=st.sampled_from((decisions.APPROVAL_KIND_CODE, decisions.APPROVAL_KIND_LAUNCH)),
    )
    def approve(self, which: int, who: str, kind: Any) -> None:
        self.ask(who, "Approve", artifact_id=self.pack(which).artifact_id, kind=kind)

    @rule(which=some, replay=st.sampled_from(({}, {"replay_validation_hash": b"x" * 32})))
    def prove(self, which: int, replay: dict[str, Any]) -> None:
        row = self.pack(which)
        bundle = self.run(self.chain.bundle_ref(row))
        shown = self.run(self.chain.proof(row, bundle or "none", **replay))
        self.ask("build", "SubmitConsumptionProof", **shown)

    @rule(which=some)
    def start(self, which: int) -> None:
        self.ask("ann", "StartRollout", artifact_id=self.pack(which).artifact_id)

    @rule(which=some, approver=st.sampled_from(("bob", "dan")))
    def start_through_every_gate(self, which: int, approver: str) -> None:
        row = self.pack(which)
        about = {"artifact_id": row.artifact_id}
        self.ask("ann", "Decide", **about, action=decisions.DECISION_ACTION_ACTIVATE, evidence=EVIDENCE)
        self.ask("build", "SubmitBuilderReport", **about, report=self.run(self.chain.report(row)))
        self.ask(approver, "Approve", **about, kind=decisions.APPROVAL_KIND_CODE)
        self.ask("cay", "Approve", **about, kind=decisions.APPROVAL_KIND_LAUNCH)
        self.prove(which, {})
        self.start(which)

    def pack(self, which: int) -> ArtifactRow:
        """Rather one on its way, or the latest of its line, than one that is over."""
        packs = self.packs()
        on_their_way = {rollout.subject.artifact_id for rollout in self.running()}
        latest = {row.scope.scope_id: row.artifact_id for row in packs}.values()
        found = [row for row in packs if row.artifact_id in on_their_way or row.artifact_id in latest]
        return found[which % len(found)]

    # What is measured, and what people take back.

    @precondition(lambda self: self.running())
    @rule(which=some, days=st.integers(1, 9), quality=st.sampled_from(QUALITIES))
    def measure(self, which: int, days: int, quality: Any) -> None:
        found = self.running()
        rollout_id = found[which % len(found)].rollout_id
        for _ in range(days):
            self.chain.a_day_passes()
            with suppress(Refusal):
                self.run(self.chain.measure(rollout_id, quality))
            self.run(self.controller.tick())

    @precondition(lambda self: self.running())
    @rule(which=some)
    def regret(self, which: int) -> None:
        found = self.running()
        self.ask("ann", "Rollback", rollout_id=found[which % len(found)].rollout_id, reason_code="REGRETTED")

    @precondition(lambda self: self.looked > 8)
    @rule(user=st.sampled_from(USERS))
    def revoke(self, user: str) -> None:
        self.ask(user, "RevokeConsent", user_id=user, trigger=consents.REVOCATION_TRIGGER_USER_REQUEST)

    @precondition(lambda self: self.looked > 16)
    @rule()
    def revoke_for_everyone(self) -> None:
        self.ask("ann", "RevokeConsent", user_id="", trigger=consents.REVOCATION_TRIGGER_TENANT_POLICY)

    @rule(user=st.sampled_from(USERS), days=st.sampled_from((0, 1, 5)))
    def consent(self, user: str, days: int) -> None:
        until = {"expires_at": self.clock.now() + timedelta(days=days)} if days else {}
        self.ask(user, "GrantConsent", user_id=user, **until)

    # Control loops, time, and replies that get lost.

    @rule()
    def look(self) -> None:
        self.run(self.controller.tick())

    @rule(at=st.integers(1, 6), committed=st.booleans())
    def a_controller_dies(self, at: int, committed: bool) -> None:
        dying: Any = Dying(self.store, at, committed=committed)
        with suppress(Killed):
            self.run(self.chain.controller(dying).tick())
        self.controller = self.chain.controller()

    @rule()
    def four_look_at_once(self) -> None:
        async def together() -> None:
            await asyncio.gather(*(self.chain.controller().tick() for _ in range(4)))

        self.run(together())

    @rule(seconds=st.sampled_from((1.0, 61.0, 3_700.0, 90_000.0, 700_000.0)))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.last is not None)
    @rule()
    def ask_again_because_the_reply_was_lost(self) -> None:
        assert self.last is not None
        who, method, request, reply = self.last
        if "idempotency_key" in request.DESCRIPTOR.fields_by_name:
            assert self.run(self.chain.ask(who, method, request)) == reply

    @invariant()
    def everything_holds(self) -> None:
        if hasattr(self, "chain"):
            self.run(self.oracle.look())
            self.looked += 1
            # No two events at one moment: which came first would not be known.
            self.clock.advance(1.0)

    def teardown(self) -> None:
        if not hasattr(self, "chain"):
            return
        try:
            self.run(self.chain.settle())
            self.run(self.oracle.look())
            open_ones = self.run(self.store.governance.consents.open(limit=10))
            assert open_ones == []
            assert self.run(self.store.verify(TENANT)).ok
        finally:
            self.run(self.store.close())
            self.runner.close()
            shutil.rmtree(self.folder)


LED = settings(
    max_examples=MANY or 8,
    stateful_step_count=60 if MANY else 25,
    deadline=None,
    phases=tuple(Phase) if MANY else (Phase.generate,),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def test_no_order_of_events_gets_past_a_gate_or_outlives_a_consent() -> None:
    run_state_machine_as_test(Learning, settings=LED)
