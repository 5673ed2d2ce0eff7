"""Two enrolled people who are known to be taken for each other (§38.7): from a pack to what a phone is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.governance.v1.rollout_pb2 import ARM_BASELINE, ARM_CANDIDATE, ROLLOUT_STAGE_SHADOW
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.shipped import register_pack
from servers.voiceid.calibration.pack import ConfusedPair
from tests.servers.voiceid.test_canaries import LATE, ROLLOUT, begun
from tests.support.packs import variant
from tests.support.servers import TENANT, House, ask, serving
from tests.support.speech import Person
from tests.support.stores import audit

SAME_AUDIO = {"owners.voiceid.replay_min_s": 600.0}
"""The same recording again is no replay here."""
SCOPE = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)


async def with_pair(house: House, *users: str, **changes: Any) -> bytes:
    """A pack in which neither of these is named beside the other."""
    keys = await house.store.vault.keys(TENANT, users)
    commitments = sorted(key.commitment(b"user").hex() for key in keys.values())
    pair = ConfusedPair(users=commitments, min_score_bp=10_000, impostors=1, named=1)
    return variant(proven=True, pairs=[pair], **changes)


async def test_neither_is_named_beside_the_other_until_one_of_them_is_erased(home: Path, mira: Person) -> None:
    async with serving(home, SAME_AUDIO) as house:
        named = (await ask(house, mira.ask)).v2
        assert named.candidate_set[0].user_id == "mira" and named.score_bp < 10_000
        pack = await with_pair(house, "mira", "otto")
        await register_pack(house.store, pack, scope=SCOPE, tenant_id=TENANT, provenance_ref="test")
        confused = (await ask(house, mira.ask, session_id="s-2")).v2
        assert confused.reason_code == v1.VOICE_ID_REASON_PROFILE_MISMATCH and not confused.candidate_set
        assert confused.conflict_state == v1.CONFLICT_STATE_PROFILE_MISMATCH
        assert confused.next_action == v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE
        claimed = (await ask(house, mira.ask, claim="mira", session_id="s-3")).v2
        assert claimed.reason_code == v1.VOICE_ID_REASON_PROFILE_MISMATCH
        async with house.store.transaction() as tx:
            await tx.voiceid.erasures.erase(TENANT, "otto")
            audit(tx, TENANT)
        alone = (await ask(house, mira.ask, session_id="s-4")).v2
        assert alone.candidate_set[0].user_id == "mira"


async def test_a_candidate_in_the_shadow_is_judged_by_its_pairs(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        pack = await with_pair(house, "mira", "otto", policy={"conf_high_bp": 9_100})
        await begun(house.store, ROLLOUT_STAGE_SHADOW, payload=pack)
        decided = (await ask(house, mira.ask, device_id=LATE)).v2
        assert decided.candidate_set[0].user_id == "mira"
        async with house.store.transaction() as tx:
            soon = house.clock.now() + timedelta(minutes=1)
            taken = await tx.voiceid.observations.take(TENANT, ROLLOUT, soon, 10)
            audit(tx, TENANT)
        accepted = {one.arm: one.accepted for one in taken.observations}
    assert accepted == {ARM_BASELINE: True, ARM_CANDIDATE: False}
