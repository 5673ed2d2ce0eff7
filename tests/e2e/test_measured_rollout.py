"""A rollout that nobody reports on: voice identity measures it, governance judges it, over the owners as they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from selene.governance.v1 import rollout_pb2 as rollouts

from servers.cohort import place_bp
from servers.kpi_windows import last_end
from servers.learning_demonstration import chain
from servers.learning_demonstration.house import TENANT, House, housed, until
from servers.learning_demonstration.voices import UNLIKE
from servers.voiceid.engine import ENGINE_ID as VOICE_ID
from tests.e2e.test_learning_chain import candidate, pass_gates_one_by_one, proposal_of
from tests.support.decisions import SPEAKER, Spoken, Traffic
from tests.support.servers import begin_migrated, settings_of

WINDOW = timedelta(minutes=15)
"""How often voice identity ends a KPI window, where nothing else is configured."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    begin_migrated(settings_of(tmp_path))
    async with housed(tmp_path, proves=False) as opened_house:
        await chain.freeze(opened_house, UNLIKE, seed=400)
        yield opened_house


async def measured_day(house: House, rollout: rollouts.Rollout) -> rollouts.Rollout:
    """A day passes; voice identity ends its windows by itself, and then the control loops look."""
    house.clock.skip(chain.DAY + 2 * WINDOW)
    end = last_end(house.clock.now(), WINDOW)
    await until(lambda: house.store.governance.measured.until(rollout, VOICE_ID), lambda reached: reached >= end)
    house.clock.skip(chain.PROMOTE_CHECK)
    return await chain.looked(house, rollout.rollout_id)


def device(rollout: rollouts.Rollout, least: int, below: int) -> str:
    """One whose place in the rollout lies between."""
    names = (f"device-{number}" for number in range(100_000))
    return next(name for name in names if least <= place_bp(rollout.rollout_id, name) < below)


async def test_a_rollout_is_judged_by_what_voice_identity_measured_itself(house: House) -> None:
    row = await candidate(house, conf_high_bp=9_100)
    await pass_gates_one_by_one(house, await proposal_of(house, row, "", 1))
    before = await house.active_pack()
    rollout = await chain.start(house, row)
    traffic = Traffic(house.store, house.clock, TENANT)

    strangers, members = [Spoken("hall", 50, "")] * 3_700, [Spoken("hall", 9_990, SPEAKER)] * 400
    await traffic.speak([*strangers, *members])
    rollout = await measured_day(house, rollout)
    judged = rollout.stages[0].judgement
    assert list(judged.reasons) == [rollouts.JUDGE_REASON_PROMOTE_MET]
    assert (judged.baseline_turns, judged.candidate_turns) == (4_100, 4_100), "the shadow is mirrored, each turn once"
    assert rollout.stages[-1].stage == rollouts.ROLLOUT_STAGE_CANARY_1

    # Surer than the active limit, less sure than the candidate's: it turns away whom the other lets in.
    for name in (device(rollout, 0, 500), device(rollout, 2_500, 10_000)):
        await traffic.speak([Spoken(name, 9_050, SPEAKER)] * 200 + [Spoken(name, 9_050)] * 800)
    rollout = await measured_day(house, rollout)
    assert rollout.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert list(rollout.last_judgement.reasons) == [rollouts.JUDGE_REASON_REGRESSION]
    assert (rollout.last_judgement.baseline_turns, rollout.last_judgement.candidate_turns) == (1_000, 1_000)
    [rejects] = [
        finding
        for finding in rollout.last_judgement.findings
        if (finding.metric, finding.cohort) == (rollouts.KPI_METRIC_FALSE_REJECTS, "")
    ]
    assert (rejects.baseline_ppm, rejects.candidate_ppm) == (0, 1_000_000)
    assert (await house.active_pack()).pack_ref == before.pack_ref
    assert (await house.ledger()).whole
