"""What the demonstration tells: five acts, each of which goes by what the owners answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from rich.console import Console
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow, ConsumptionBlockReason
from selene.gold.v1.evidence_pb2 import Assessment
from selene.gold.v1.gold_pb2 import GoldReason, GoldState
from selene.governance.v1 import consent_pb2 as consents
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.learning.v1.signal_pb2 import SIGNAL_CLASS_FALSE_ACCEPT, SIGNAL_CLASS_FALSE_REJECT, SignalClass

from servers.governance.statement import opened
from servers.learning_demonstration import chain
from servers.learning_demonstration.house import House, reason_of
from servers.learning_demonstration.voices import ALIKE, UNLIKE, Trial, Voices, evaluated, recorded, trials
from servers.voiceid.calibration.pack import ThresholdPack, parse

ALIKE_USERS: Final = ("mia", "noa", "eli", "ida", "leo", "tom")
UNLIKE_USERS: Final = ("ava", "ben", "kim", "uma", "zoe")
REVOKES: Final = "leo"
CORRECTIONS: Final = 3
"""Of each user."""
LONGEST: Final = 16
"""Days that a rollout is given."""
TRAFFIC_SEED: Final = 20_000
_REVIEWERS: Final = ("rhea", "ravi")


class Stopped(Exception):
    """The demonstration cannot go on; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A gold set and the pack that came of it."""

    gold_set_id: str
    signals: Sequence[tuple[str, str]]
    row: ArtifactRow


class Story:
    """The acts, in order. Stopped where an owner does not do what the next one needs."""

    def __init__(self, house: House, out: Console) -> None:
        self._house = house
        self._out = out
        self._began = house.clock.now()

    async def tell(self) -> None:
        """All of them."""
        await self._freeze()
        learned = await self._learn()
        self._act("2", "Gates, and a rollout in stages")
        await self._held(learned)
        fix_id = await self._name_fix(learned)
        live = await self._go_live(learned)
        await self._close(fix_id)
        await self._try_a_worse_one()
        await chain.looked(self._house, live.rollout_id)
        await self._revoke(learned)
        await self._check_trail()

    async def _freeze(self) -> None:
        """What packs are held against by governance itself, beside what their proposers say."""
        told = await chain.freeze(self._house, UNLIKE, seed=400)
        self._say(
            f"A frozen set is in force: {told['genuine']:,} genuine and {told['impostors']:,} impostor trials of "
            f"{told['speakers']} speakers of whom nobody learns, none of them alike."
        )

    async def _learn(self) -> Learned:
        self._act("1", "Corrections become signals, signals become gold")
        users = ", ".join(ALIKE_USERS)
        self._say(f"{users} live together and sound alike: each says {CORRECTIONS} times that somebody else was heard.")
        return await self._gold(ALIKE, ALIKE_USERS, SIGNAL_CLASS_FALSE_ACCEPT, genuine=100, impostors=1_034, seed=7)

    async def _gold(
        self, voices: Voices, users: Sequence[str], wrong: SignalClass, *, genuine: int, impostors: int, seed: int
    ) -> Learned:
        """Signals, items, labels of two people, every transition, the pack."""
        told = await chain.corrections(self._house, users, each=CORRECTIONS, wrong=wrong)
        self._say(f"{len(told)} corrections captured, each with the consent of its user.")
        drawn = list(trials(voices, told, genuine=genuine, impostors=impostors, seed=seed))
        gold_set_id = await chain.propose(self._house, [signal_id for _, signal_id in told])
        await self._evidence(gold_set_id, drawn)
        row = await self._adjudicate(gold_set_id)
        return Learned(gold_set_id, told, row)

    async def _evidence(self, gold_set_id: str, drawn: Sequence[Trial]) -> None:
        with self._out.status("trials and labels, in batches"):
            items = await chain.add(self._house, gold_set_id, drawn)
            labels = 0
            for reviewer in _REVIEWERS:
                labels = await chain.label(self._house, gold_set_id, drawn, reviewer)
        self._say(f"{items:,} trials (scores drawn by seed), {labels:,} labels by {' and '.join(_REVIEWERS)}.")

    async def _adjudicate(self, gold_set_id: str) -> ArtifactRow:
        with self._out.status("assessing by §16 and §38.1"):
            row = await chain.packaged(self._house, gold_set_id)
            now = await chain.shown(self._house, gold_set_id)
        states = [_name(GoldState, transition.to_state) for transition in now.history if transition.applied]
        self._say(" → ".join(("CANDIDATE", *states)))
        self._figures(now.assessment)
        if row is None:
            reason = _name(GoldReason, now.assessment.reason_code)
            raise Stopped(f"the gold set was not packaged: {reason} {now.assessment.advice}")
        pack = await chain.loaded(self._house, row)
        limit, pairs = pack.policy["conf_high_bp"], len(pack.pairs or ())
        self._say(f"→ {row.artifact_type}@{row.artifact_version}: CONF_HIGH_BP {limit}, in the ledger, signed.")
        self._say(f"  Confused with one another: {pairs} pair(s) of users, each with a limit of its own (§38.7).")
        return row

    async def _held(self, learned: Learned) -> None:
        """Whoever was taken for somebody else is a defect at which safety is at stake: it holds every pack."""
        candidate = await chain.loaded(self._house, learned.row)
        results = evaluated(candidate, ALIKE, seed=500)
        statement = await chain.decide(self._house, learned.row, learned.gold_set_id, results)
        if decisions.DECISION_REASON_SAFETY_DEFECT_OPEN not in statement.reasons:
            raise Stopped("governance allowed a pack while defects are open at which safety is at stake")
        self._say(f"Each of these corrections is a defect at which safety is at stake. Governance: {_told(statement)}.")

    async def _name_fix(self, learned: Learned) -> str:
        """The pack that the defects taught is what mends them."""
        active, candidate = await self._active(), await chain.loaded(self._house, learned.row)
        proposal = chain.Proposal(learned.row, learned.gold_set_id, len(learned.signals), active, candidate)
        fix_id = await chain.name_fix(self._house, proposal, [signal_id for _, signal_id in learned.signals])
        self._say("ann names the pack that they taught as their fix: of all packs these defects do not hold this one.")
        await self._refused("To close them before it serves", lambda: chain.close(self._house, fix_id, "lena"))
        return fix_id

    async def _close(self, fix_id: str) -> None:
        closed = await chain.close(self._house, fix_id, "lena")
        self._say(f"lena closes {len(closed)} defects, which the pack that serves has mended; each closure is signed.")

    async def _go_live(self, learned: Learned) -> rollouts.Rollout:
        """Every gate, every stage, and the version that serves before and after."""
        before = await self._house.active_pack()
        self._say(f"Voice identity serves {before.pack_ref}: CONF_HIGH_BP {before.conf_high_bp}.")
        await self._refused("A rollout now", lambda: chain.start(self._house, learned.row))
        if not await self._pass_gates(learned, ALIKE):
            raise Stopped("a gate stayed shut for a pack that the evidence supports")
        rollout = await self._roll_out(learned, lambda day: ALIKE)
        after = await self._house.active_pack()
        if rollout.stages[-1].stage != rollouts.ROLLOUT_STAGE_FULL or after.package_hash != learned.row.package_hash:
            raise Stopped(f"the rollout did not reach everyone: {self._judged(rollout)}")
        self._say(f"Voice identity serves {after.pack_ref}: CONF_HIGH_BP {after.conf_high_bp}. Nobody restarted it.")
        return rollout

    async def _pass_gates(self, learned: Learned, evaluation: Voices) -> bool:
        """Decision, report, two permissions, proof and release gate; False where governance does not allow it.

        `evaluation` is who speaks in what the proposer evaluates by; what is replayed is the frozen set.
        """
        house, row = self._house, learned.row
        active, candidate = await self._active(), await chain.loaded(house, row)
        results = evaluated(candidate, evaluation, seed=500)
        statement = await chain.decide(house, row, f"gold:{learned.gold_set_id}", results)
        worst = max(result.false_accepts / result.impostor_trials for result in results)
        told = f"an evaluation with FAR {worst:.3%} at worst, and by its own of the frozen set"
        self._say(f"Governance, by {told}: {_told(statement)}.")
        if statement.decision != decisions.DECISION_ALLOW:
            return False
        proposal = chain.Proposal(row, f"gold:{learned.gold_set_id}", len(learned.signals), active, candidate)
        await chain.report(house, proposal)
        for who, kind in chain.APPROVERS:
            await chain.approve(house, row, who, kind)
            self._say(f"{who} gives the {_name(decisions.ApprovalKind, kind, 'APPROVAL_KIND_')} permission.")
        gate = await chain.proved_by_itself(house, row)
        blocks = [_name(ConsumptionBlockReason, one, "CONSUMPTION_BLOCK_REASON_") for one in gate.block_reasons]
        self._say(f"Parser, replay and shadow, by voice identity's own process: {', '.join(blocks) or 'proved'}.")
        self._say(f"Release gate: {'open' if gate.open else 'shut'}.")
        return gate.open

    async def _roll_out(self, learned: Learned, traffic: Callable[[int], Voices]) -> rollouts.Rollout:
        """Days of replayed traffic, until everyone is served or the rollout is taken back. Control loops move it."""
        active, candidate = await self._active(), await chain.loaded(self._house, learned.row)
        rollout = await chain.start(self._house, learned.row)
        self._stage(rollout)
        for day in range(LONGEST):
            turns = recorded(traffic(day), seed=TRAFFIC_SEED + day)
            stages = len(rollout.stages)
            with self._out.status(f"replaying day {day + 1} of the rollout"):
                rollout = await chain.another_day(self._house, rollout, active, candidate, turns)
            if rollout.state != rollouts.ROLLOUT_STATE_RUNNING:
                break
            if len(rollout.stages) > stages:
                self._stage(rollout)
            if rollout.stages[-1].stage == rollouts.ROLLOUT_STAGE_FULL:
                break
        return rollout

    async def _try_a_worse_one(self) -> None:
        self._act("3", "A worse pack is tried")
        self._say("Another household, where nobody sounds alike, would like to be asked less often.")
        rejected = SIGNAL_CLASS_FALSE_REJECT
        worse = await self._gold(UNLIKE, UNLIKE_USERS, rejected, genuine=100, impostors=1_000, seed=11)
        before = await self._house.active_pack()
        self._house.clock.skip(chain.DAY)
        if await self._pass_gates(worse, ALIKE):
            raise Stopped("governance allowed a pack that accepts too many impostors")
        await self._refused("A rollout all the same", lambda: chain.start(self._house, worse.row))
        self._say("Its proposer evaluates it again, on voices that are not alike:")
        if not await self._pass_gates(worse, UNLIKE):
            raise Stopped("the flattering evaluation did not pass either")
        rollout = await self._roll_out(worse, lambda day: UNLIKE if day == 0 else ALIKE)
        if rollout.state != rollouts.ROLLOUT_STATE_ROLLED_BACK:
            raise Stopped(f"the worse pack was not taken back: {self._judged(rollout)}")
        last = rollout.stages[-1]
        self._say(f"{self._when()} At {last.share_bp // 100} % the siblings are heard. Judge: {self._judged(rollout)}")
        after = await self._house.active_pack()
        held = "still" if after.pack_ref == before.pack_ref else "now"
        self._say(f"Rolled back by itself. Voice identity {held} serves {after.pack_ref}.")

    async def _revoke(self, learned: Learned) -> None:
        house = self._house
        self._act("4", f"{REVOKES} revokes consent")
        before = await house.active_pack()
        mine = next(signal_id for user, signal_id in learned.signals if user == REVOKES)
        self._say(f"What came of signal:{mine}:")
        for ancestor, descendant in await chain.lineage(house, f"signal:{mine}", descendants=True):
            self._say(f"  {ancestor} → {descendant}")
        revocation = await chain.revoke(house, REVOKES)
        revocation = await chain.settled(house, REVOKES, revocation.revocation_id)
        for step in revocation.steps:
            self._say(f"{_name(consents.RevocationStep, step.step, 'REVOCATION_STEP_')}: {step.affected}")
        receipt = opened(revocation.receipt, consents.ErasureReceipt, house.store.trusted_keys())
        self._say(
            f"Receipt, Ed25519 by {revocation.receipt.signing_key_id}: {receipt.signals} signals, "
            f"{len(receipt.invalidated)} artifacts invalidated, for commitment {receipt.subject[:16]}…"
        )
        after = await house.active_pack()
        self._say(f"Voice identity serves {after.pack_ref} (CONF_HIGH_BP {after.conf_high_bp}), not {before.pack_ref}.")
        if after.package_hash == learned.row.package_hash:
            raise Stopped("the pack of the revoked user still serves")
        await self._rebuild(learned)

    async def _rebuild(self, learned: Learned) -> None:
        house = self._house
        anew = await chain.rebuilt(house, learned.gold_set_id)
        if not anew:
            raise Stopped("the gold set was not rebuilt")
        left = [(user, signal_id) for user, signal_id in learned.signals if user != REVOKES]
        self._act("5", f"Built again without {REVOKES}")
        row = await self._adjudicate(anew)
        refs = {
            ancestor for ancestor, _ in await chain.lineage(house, f"artifact:{row.artifact_id}", descendants=False)
        }
        signals = {ref for ref in refs if ref.startswith("signal:")}
        if signals != {f"signal:{signal_id}" for _, signal_id in left}:
            raise Stopped("the rebuilt pack comes from other signals than those that are left")
        self._say(f"It comes from {len(signals)} signals, none of them {REVOKES}'s. It passes every gate anew:")
        await self._go_live(Learned(anew, left, row))

    async def _check_trail(self) -> None:
        found = await self._house.ledger()
        told = "whole" if found.whole else "; ".join(found.findings)
        self._say(f"\nThe audit trail of all that: {found.rows} rows, {told}.")
        if not found.whole:
            raise Stopped("the audit trail is not whole")

    async def _active(self) -> ThresholdPack:
        return parse((await self._house.active_pack()).canonical_json.encode())

    async def _refused(self, what: str, attempt: Callable[[], Awaitable[object]]) -> None:
        """Show that an attempt is refused."""
        try:
            await attempt()
        except grpc.aio.AioRpcError as refusal:
            reason, told = reason_of(refusal)
            self._say(f"{what}: {reason} ({', '.join(f'{name} {value}' for name, value in sorted(told.items()))}).")
            return
        raise Stopped(f"{what.lower()} was not refused")

    def _act(self, number: str, title: str) -> None:
        self._out.print(f"\n[bold]{number}. {title}[/bold]", highlight=False)

    def _say(self, text: str) -> None:
        self._out.print(f"   {text}", highlight=False, markup=False, soft_wrap=True)

    def _figures(self, assessment: Assessment) -> None:
        for figure in assessment.figures:
            if figure.threshold > -1:
                relation = "≤" if figure.at_most else "≥"
                held = "✓" if figure.met else "✗"
                name = figure.name.partition("[")[0]
                self._say(f"  {held} {name} {figure.value:.6g} {relation} {figure.threshold:.6g}")

    def _stage(self, rollout: rollouts.Rollout) -> None:
        stage = rollout.stages[-1]
        name = _name(rollouts.RolloutStage, stage.stage, "ROLLOUT_STAGE_")
        self._say(f"{self._when(stage.entered_at.ToDatetime(tzinfo=UTC))} {name}: {stage.share_bp / 100:g} %")

    def _when(self, at: datetime | None = None) -> str:
        return f"[day {((at or self._house.clock.now()) - self._began).days:2}]"

    def _judged(self, rollout: rollouts.Rollout) -> str:
        judgement = rollout.last_judgement
        reasons = ", ".join(_name(rollouts.JudgeReason, each, "JUDGE_REASON_") for each in judgement.reasons)
        told = [f"{_name(rollouts.JudgeVerdict, judgement.verdict, 'JUDGE_VERDICT_')} ({reasons})"]
        for finding in judgement.findings:
            name = _name(rollouts.KpiMetric, finding.metric, "KPI_METRIC_")
            told.append(f"{name} {finding.candidate_ppm / 10_000:.3f} % against {finding.baseline_ppm / 10_000:.3f} %")
        return "; ".join(told)


def _name(enum: Any, value: int, prefix: str = "") -> str:
    """An enum's value as it is spoken of: without the name of its enum."""
    name: str = enum.Name(value)
    return name.removeprefix(prefix or "GOLD_STATE_").removeprefix("GOLD_REASON_")


def _told(statement: decisions.DecisionStatement) -> str:
    """What was decided, and why."""
    named = ", ".join(_name(decisions.DecisionReason, each, "DECISION_REASON_") for each in statement.reasons)
    return f"{_name(decisions.Decision, statement.decision, 'DECISION_')} ({named})"
