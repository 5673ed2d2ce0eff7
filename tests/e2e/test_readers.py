"""Five readers enrolled from three clips and asked with 4 s of others, beside people who are enrolled nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from selene.voiceid.v2 import voiceid_pb2 as v2

from clients.audio import Recording
from servers.shipped import DEPLOYMENT, register_pack
from tests.support.packs import variant
from tests.support.servers import House, ask, enrol, serving
from tests.support.speech import Person

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT_ONCE = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    models_dir: object, readers: Sequence[Person], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """All five readers live here, and the pack counts as proven, so that CONFIRMED is not capped."""
    async with serving(tmp_path_factory.mktemp("readers")) as served:
        await register_pack(served.store, variant(proven=True), scope=DEPLOYMENT, tenant_id="", provenance_ref="test")
        client = served.client()
        for reader in readers:
            await enrol(client, reader)
        yield served


async def asked(house: House, recordings: Sequence[Recording]) -> list[Any]:
    """Every recording on a stream of its own, a few at a time."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(recording: Recording) -> Any:
        async with turn:
            return (await ask(house, recording, session_id=recording.name)).v2

    return await asyncio.gather(*(one(recording) for recording in recordings))


async def test_every_reader_is_named(house: House, readers: Sequence[Person]) -> None:
    expected = [reader.name for reader in readers for _ in reader.asks]
    decisions = await asked(house, [recording for reader in readers for recording in reader.asks])
    assert [one.candidate_set[0].user_id if one.candidate_set else "" for one in decisions] == expected


async def test_no_stranger_is_confirmed(house: House, strangers: Sequence[Recording]) -> None:
    decisions = await asked(house, strangers)
    assert all(one.identity_tier != v2.IDENTITY_TIER_CONFIRMED for one in decisions)
    assert sum(one.identity_tier == v2.IDENTITY_TIER_UNKNOWN for one in decisions) >= len(strangers) - 1


async def test_a_reader_is_not_accepted_as_another(house: House, readers: Sequence[Person]) -> None:
    for reader, other in zip(readers, [*readers[1:], readers[0]], strict=True):
        decision = (await ask(house, reader.asks[0], claim=other.name, session_id=f"as-{other.name}")).v2
        assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN, (reader.name, other.name, decision.score_bp)
