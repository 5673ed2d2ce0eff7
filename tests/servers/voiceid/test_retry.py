"""The one retry after an identity prompt (VID.CONF.9), and the retries of conflicts (§38.5): told in both generations,
kept in the store, the same on every server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2 as v2_service
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.voiceid.decision import Situation
from store import Store
from tests.servers.voiceid.test_resolved_conflicts import (
    COMPETITOR,
    LIKELY,
    NAMED,
    NOBODY,
    OTHER_OWNER,
    OVERLAP,
    SPOOF,
    Session,
    beside,
)
from tests.support.decisions import heard
from tests.support.servers import TENANT, serving
from tests.support.stores import open_store
from tests.support.time import FakeClock

GRAY = beside(heard(9_990), "mia's sister")
COOLDOWN = timedelta(seconds=600)
Told = tuple[str, str, int, bool]
"""The reason, the next action, the retries that are left, and whether the speaker may be asked."""


def told(final: v2_service.FinalDecision) -> Told:
    """What the decision says, which both generations say, but for the prompt that V1 does not know."""
    first, second = final.v1, final.v2
    assert (first.reason_code, first.next_action, first.retries_left, first.conflict_state) == (
        second.reason_code,
        second.next_action,
        second.retries_left,
        second.conflict_state,
    )
    return (
        v1.VoiceIdReason.Name(second.reason_code).removeprefix("VOICE_ID_REASON_"),
        v1.NextAction.Name(second.next_action).removeprefix("NEXT_ACTION_"),
        second.retries_left,
        second.may_prompt_identity,
    )


@asynccontextmanager
async def two_stores(url: str, clock: FakeClock) -> AsyncIterator[tuple[Store, Store]]:
    """One database, open in two servers."""
    async with AsyncExitStack() as stack:
        stores = [await open_store(url, clock, prefix=f"server{number}") for number in range(2)]
        for store in stores:
            stack.push_async_callback(store.close)
        yield stores[0], stores[1]


async def test_after_a_prompt_somebody_is_heard_once_more_and_then_nobody_is_asked(
    store: Store, clock: FakeClock
) -> None:
    session = Session(store, clock)
    assert told(await session.both(NOBODY)) == ("SCORE_LOW", "PROCEED_GENERIC", 1, True)
    assert told(await session.both(NOBODY)) == ("SCORE_LOW", "NON_PERSONALIZED", 0, False)
    clock.advance(2 * COOLDOWN)
    assert told(await session.both(GRAY)) == ("GRAY_ZONE_MARGIN", "NON_PERSONALIZED", 0, False)
    assert told(await session.both(LIKELY)) == ("PACK_PROVISIONAL", "PROCEED_GENERIC", 0, False)
    assert told(await session.both(NOBODY)) == ("SCORE_LOW", "NON_PERSONALIZED", 0, False)
    assert told(await Session(store, clock, "s-2").both(NOBODY)) == ("SCORE_LOW", "PROCEED_GENERIC", 1, True)


async def test_a_phrase_is_asked_for_with_the_prompt_only(store: Store, clock: FakeClock) -> None:
    session = Session(store, clock)
    assert told(await session.both(GRAY)) == ("GRAY_ZONE_MARGIN", "RETRY_CHALLENGE_PHRASE", 1, True)
    assert told(await session.both(GRAY)) == ("GRAY_ZONE_MARGIN", "NON_PERSONALIZED", 0, False)
    cooling_down = Session(store, clock, "s-2")
    for _ in "12":
        assert told(await cooling_down.both(GRAY)) == ("GRAY_ZONE_MARGIN", "PROCEED_GENERIC", 0, False)


async def test_a_retry_that_names_nobody_is_not_asked_as_somebody_else(store: Store, clock: FakeClock) -> None:
    """The prompt was for whoever seemed to speak; who is not known has a budget and a cooldown of its own."""
    session = Session(store, clock)
    assert told(await session.both(LIKELY)) == ("PACK_PROVISIONAL", "PROCEED_GENERIC", 1, True)
    assert told(await session.both(NOBODY)) == ("SCORE_LOW", "NON_PERSONALIZED", 0, False)
    assert told(await session.both(NOBODY)) == ("SCORE_LOW", "NON_PERSONALIZED", 0, False)


async def test_a_retry_may_come_by_another_branch(sqlite_store: Store, clock: FakeClock) -> None:
    assert (await Session(sqlite_store, clock, branch="BR-02").on(NOBODY)).may_prompt_identity
    answering = Session(sqlite_store, clock, branch="BR-03", server="other")
    assert told(await answering.both(NOBODY)) == ("SCORE_LOW", "NON_PERSONALIZED", 0, False)


@pytest.mark.parametrize("named", [NAMED, LIKELY], ids=["confirmed", "probable"])
async def test_a_retry_that_names_somebody_answers_the_prompt(store: Store, clock: FakeClock, named: Situation) -> None:
    session = Session(store, clock)
    assert (await session.on(NOBODY)).may_prompt_identity
    answer = await session.on(named)
    assert answer.candidate_set and not answer.may_prompt_identity
    assert (await store.voiceid.prompts.spent(TENANT, "s-1", "kitchen")).after_prompt is None
    assert told(await session.both(NOBODY)) == ("SCORE_LOW", "PROCEED_GENERIC", 0, False), "its budget stays spent"


async def test_a_retry_that_meets_a_conflict_follows_the_conflict(store: Store, clock: FakeClock) -> None:
    session = Session(store, clock)
    assert (await session.on(NOBODY)).may_prompt_identity
    assert told(await session.both(OVERLAP)) == ("MULTI_SPEAKER_OVERLAP", "RETRY_SINGLE_SPEAKER", 1, False)
    assert told(await session.both(NOBODY)) == ("SCORE_LOW", "NON_PERSONALIZED", 0, False)


async def test_a_restart_gives_no_other_retry(store_url: str, clock: FakeClock) -> None:
    for number, (action, left, asks) in enumerate(
        [("PROCEED_GENERIC", 1, True), ("NON_PERSONALIZED", 0, False), ("NON_PERSONALIZED", 0, False)]
    ):
        store = await open_store(store_url, clock, prefix=f"start{number}")
        said = await Session(store, clock, server=str(number)).both(NOBODY)
        assert told(said) == ("SCORE_LOW", action, left, asks)
        await store.close()
        clock.advance(COOLDOWN)


async def test_of_two_servers_that_hear_one_session_one_asks_and_one_has_the_retry(
    store_url: str, clock: FakeClock
) -> None:
    async with two_stores(store_url, clock) as stores:
        servers = [Session(store, clock, server=f"server {number} ") for number, store in enumerate(stores)]
        at_once = await asyncio.gather(*(servers[number % 2].both(NOBODY) for number in range(8)))
        assert sum(one.v2.may_prompt_identity for one in at_once) == 1
        assert sum(one.v2.retries_left for one in at_once) == 1
        later = await asyncio.gather(*(servers[number % 2].both(heard(20)) for number in range(8)))
        assert {told(one) for one in later} == {("SCORE_LOW", "NON_PERSONALIZED", 0, False)}


async def test_of_two_servers_that_meet_a_conflict_at_once_one_tells_the_next_retry(
    store_url: str, clock: FakeClock
) -> None:
    async with two_stores(store_url, clock) as stores:
        for round_ in range(5):
            sessions = [Session(store, clock, f"s-{round_}", server=f"{at}-") for at, store in enumerate(stores)]
            met = await asyncio.gather(*(session.both(COMPETITOR) for session in (*sessions, *sessions)))
            assert sorted(told(one)[:3] for one in met) == [
                ("CONFLICT_UNRESOLVED", "RE_ENROLL", 0),
                ("CONFLICT_UNRESOLVED", "RE_ENROLL", 0),
                ("PROFILE_MISMATCH", "RETRY_CHALLENGE_PHRASE", 1),
                ("PROFILE_MISMATCH", "RETRY_CHALLENGE_PHRASE", 2),
            ]


UNRESOLVED = "CONFLICT_UNRESOLVED"


@pytest.mark.parametrize(
    ("conflict", "rows"),
    [
        (SPOOF, [("SPOOF_RISK", "STEP_UP", 0, False), (UNRESOLVED, "LOCK_AND_REVIEW", 0, False)]),
        (
            OVERLAP,
            [
                ("MULTI_SPEAKER_OVERLAP", "RETRY_SINGLE_SPEAKER", 1, True),
                (UNRESOLVED, "NON_PERSONALIZED", 0, False),
            ],
        ),
        (
            OTHER_OWNER,
            [
                ("DEVICE_OWNER_MISMATCH", "CONFIRM_OWNERSHIP", 1, True),
                (UNRESOLVED, "OWNERSHIP_DISPUTE", 0, False),
            ],
        ),
        (
            COMPETITOR,
            [
                ("PROFILE_MISMATCH", "RETRY_CHALLENGE_PHRASE", 2, True),
                ("PROFILE_MISMATCH", "RETRY_CHALLENGE_PHRASE", 1, False),
                (UNRESOLVED, "RE_ENROLL", 0, False),
            ],
        ),
    ],
    ids=["spoof", "overlap", "owner", "profile"],
)
async def test_each_row_of_the_conflict_table_is_told_kept_and_audited(
    store_url: str, clock: FakeClock, conflict: Situation, rows: list[Told]
) -> None:
    """Every turn on a server of its own, and once more after the last row: what ended stays ended."""
    for number, row in enumerate([*rows, rows[-1]]):
        store = await open_store(store_url, clock, prefix=f"start{number}")
        final = await Session(store, clock, server=str(number)).both(conflict)
        assert told(final) == row
        assert (final.v1.decision, final.v2.identity_tier) == (v1.DECISION_UNKNOWN, v2.IDENTITY_TIER_UNKNOWN)
        assert not final.v1.candidate_set and not final.v2.candidate_set
        *_, event = [one.event async for one in store.audit.stream(TENANT)]
        facts = {fact.name: fact.value for fact in event.facts}
        assert (event.reason_code, facts["next_action"]) == row[:2]
        assert facts["conflict"] == v1.ConflictState.Name(final.v2.conflict_state).removeprefix("CONFLICT_STATE_")
        await store.close()


async def test_a_confirmed_answer_needs_no_retry(home: Path) -> None:
    async with serving(home) as house:
        client = house.client()

        async def asked() -> tuple[str, Told]:
            config = client.config()
            config.session_id = "s-1"
            async with client.identify(config) as stream:
                outcome = await stream.finish()
            kept = await house.store.voiceid.streams.get(TENANT, outcome.stream_id)
            return outcome.stream_id, told(v2_service.FinalDecision.FromString(kept.decision))

        stream_id, first = await asked()
        assert first == ("NO_SPEECH", "PROCEED_GENERIC", 1, True)
        assert (await client.confirm(stream_id, "mira")).cooldown_cleared
        assert (await asked())[1] == ("NO_SPEECH", "PROCEED_GENERIC", 0, False)
