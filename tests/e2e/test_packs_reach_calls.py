"""A learned pack on its way through the gates reaches running calls by itself: first the cohort, then everyone, and
nobody any more once the judge takes it back. No server is restarted and no owner is told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from selene.governance.v1 import rollout_pb2 as rollouts

from servers.runtime.server import Runtime, Service
from servers.stt.assembly import assemble
from tests.servers.governance.house import WORSE, Governed
from tests.servers.stt.test_service import OPENAI, Desk, final, routed
from tests.support.keys import RotatingKey
from tests.support.live_packs import adaptation, somebody, taken_on, told
from tests.support.owners import serving
from tests.support.simulators.google import google_simulator
from tests.support.simulators.openai import OpenAiSimulator

PROFILE = "STT_ADAPTATION_PROFILE"
NAME = PROFILE.lower()


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[tuple[Governed, Desk]]:
    """Governance and transcription in one process."""
    key = RotatingKey()
    async with OpenAiSimulator({key.secret}).serve() as openai, google_simulator(key.secret) as google:
        openai.answers.text = "ask shivon"
        settings = {
            "owners.stt.local_workers": 0,
            "owners.stt.openai.base_url": openai.base_url,
            "owners.governance": {"loops": False},
        }

        async def build(runtime: Runtime) -> Sequence[Service]:
            return await assemble(runtime, credential_of=lambda provider_ref: key)

        async with serving(
            ["governance", "stt"], folder, settings, profile=routed(OPENAI), builds={"stt": build}
        ) as owners:
            yield Governed(owners), Desk(owners, openai, google)


async def test_what_the_gates_let_pass_reaches_calls_and_what_the_judge_takes_back_leaves_them(tmp_path: Path) -> None:
    async with house(tmp_path) as (governed, stt):
        calls = 0

        async def heard(who: str) -> tuple[str, str, str]:
            """What is written for somebody, by which version, on which side."""
            nonlocal calls
            calls += 1
            events = await stt.ask(user=who, idempotency_key=f"k-{calls}")
            facts = await told(stt.owners, events[0].started.request_id)
            return final(events).transcript.text, facts.get(NAME, ""), facts.get(f"{NAME}_arm", "")

        await governed.register(adaptation(("shivon", "Siobhan")), artifact_type=PROFILE, active=True)
        row = await governed.register(adaptation(("shivon", "Siobhán")), artifact_type=PROFILE)
        rollout = await governed.start(await governed.recorded(row, "ask shivon"))
        early, late = (
            somebody(*places, prefix="user", rollout_id=rollout.rollout_id) for places in ((0, 500), (2_500, 10_000))
        )
        before, after = ("ask Siobhan", f"{PROFILE}@1"), ("ask Siobhán", f"{PROFILE}@2")
        router = stt.service._router
        await taken_on(router, f"{PROFILE}@1")
        assert [await heard(who) for who in (early, late)] == [(*before, ""), (*before, "")]

        rollout = await governed.advance(rollout, until=rollouts.ROLLOUT_STAGE_CANARY_1)
        await taken_on(router, f"{PROFILE}@2", key=early)
        assert [await heard(who) for who in (early, late)] == [(*after, "candidate"), (*before, "baseline")]

        rollout = await governed.advance(rollout, until=rollouts.ROLLOUT_STAGE_FULL)
        await taken_on(router, f"{PROFILE}@2", key=late)
        assert [await heard(who) for who in (early, late)] == [(*after, ""), (*after, "")]

        await governed.measure(rollout, WORSE)
        await governed.controller.tick()
        assert (await governed.rollout(rollout.rollout_id)).state == rollouts.ROLLOUT_STATE_ROLLED_BACK
        await taken_on(router, f"{PROFILE}@3")
        assert [await heard(who) for who in (early, late)] == [(before[0], f"{PROFILE}@3", "")] * 2
