"""Stage 2 is skipped where stage 1 settles the matter, by a pack that says when it does (VID-5, §38.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.shipped import register_pack
from tests.support.packs import shipped, variant
from tests.support.servers import TENANT, House, ask, enrol, serving
from tests.support.speech import Person

SAME_AUDIO = {"owners.voiceid.replay_min_s": 600.0}
"""The same recording again is no replay here."""
LIMITS = {"stage1_high_llr": 11.5, "stage1_margin_llr": 1.0, "stage1_low_llr": 2.0}
"""Mira's 3 s lie above them, otto's first clip below; her first 2 s and his question in between."""
FIRST, BOTH = shipped().thresholds().prune.models, shipped().thresholds().fused.models
"""Whose scores decide."""


@pytest.fixture
async def house(tmp_path: Path, models_dir: Path, mira: Person) -> AsyncIterator[House]:
    """Mira is enrolled, otto is a stranger, and the tenant's pack has limits for stage 1."""
    async with serving(tmp_path, SAME_AUDIO) as house:
        await enrol(house.client(), mira)
        scope = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)
        pack = variant(proven=True, policy=LIMITS)
        await register_pack(house.store, pack, scope=scope, tenant_id=TENANT, provenance_ref="test")
        yield house


def settled(decision: v2.VoiceIdDecision) -> tuple[bool, tuple[str, ...]]:
    """Whether stage 2 was skipped, and the models that decided."""
    return decision.telemetry.stage2_skipped, tuple(decision.provenance.models)


@pytest.mark.parametrize("claim", ["", "mira"])
async def test_who_is_surely_enrolled_is_named_by_stage_1(house: House, mira: Person, claim: str) -> None:
    decision = (await ask(house, mira.ask, claim=claim)).v2
    assert settled(decision) == (True, FIRST)
    assert decision.identity_tier == v2.IDENTITY_TIER_CONFIRMED
    assert [one.user_id for one in decision.candidate_set] == ["mira"]


@pytest.mark.parametrize("claim", ["", "mira"])
async def test_who_is_surely_a_stranger_is_named_by_nobody(house: House, otto: Person, claim: str) -> None:
    decision = (await ask(house, otto.clips[0], claim=claim)).v2
    assert settled(decision) == (True, FIRST)
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN and not decision.candidate_set
    assert decision.reason_code == v1.VOICE_ID_REASON_SCORE_LOW


async def test_who_lies_between_is_verified_by_both_stages(house: House, mira: Person, otto: Person) -> None:
    short, stranger = [(await ask(house, one)).v2 for one in (mira.ask.cut(0.0, 2.0), otto.ask)]
    assert settled(short) == settled(stranger) == (False, BOTH)
    assert short.candidate_set[0].user_id == "mira"
    assert stranger.identity_tier == v2.IDENTITY_TIER_UNKNOWN and not stranger.candidate_set


async def test_the_pack_that_ships_always_asks_both_stages(home: Path, mira: Person) -> None:
    async with serving(home, SAME_AUDIO) as house:
        assert settled((await ask(house, mira.ask)).v2) == (False, BOTH)
