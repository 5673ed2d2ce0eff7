"""A store that is locked, full, gone or damaged: UNKNOWN or a refusal, and everything works again afterwards."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from clients.errors import SeleneError
from servers.runtime.storage import DATABASE
from tests.support.servers import CONSENT, House, ask, serving, stream_config
from tests.support.speech import Person
from tests.support.stores import Database, Postgres

NO_REPLAY = {"owners.voiceid.replay_min_s": 600.0}


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Another connection holds the database."""
    with closing(sqlite3.connect(home / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


async def stored_decisions(house: House, tenant: str = "dev") -> int:
    return sum(event.transition == "voiceid.decided" for event in await house.trail(tenant))


async def test_a_locked_store_decides_unknown_in_bounded_time_and_recovers(home: Path, mira: Person) -> None:
    async with serving(home, NO_REPLAY, lock_timeout_s=0.2) as house:
        with locked(home):
            began = time.monotonic()
            decision = (await ask(house, mira.ask, session_id="locked")).v2
            assert time.monotonic() - began < 5.0
            with pytest.raises(SeleneError) as caught:
                await house.client().revoke_profile("mira")
        assert (decision.identity_tier, decision.reason_code) == (
            v2.IDENTITY_TIER_UNKNOWN,
            v1.VOICE_ID_REASON_STORE_UNAVAILABLE,
        )
        assert not decision.candidate_set and not decision.may_prompt_identity
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert caught.value.metadata == {"cause": "STORE_LOCKED"}
        assert await stored_decisions(house) == 0
        assert (await ask(house, mira.ask, session_id="free")).v2.candidate_set[0].user_id == "mira"
        assert (await house.store.verify("dev")).ok


async def test_a_full_store_decides_unknown_and_recovers(home: Path, mira: Person) -> None:
    async with serving(home, NO_REPLAY) as house:
        await ask(house, mira.ask, session_id="first")
        connection = house.store._database.writer._connection
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        reasons = [(await ask(house, mira.ask, session_id=f"full-{turn}")).v2.reason_code for turn in range(8)]
        assert v1.VOICE_ID_REASON_STORE_UNAVAILABLE in reasons
        kept = await stored_decisions(house)
        assert kept == 1 + sum(reason != v1.VOICE_ID_REASON_STORE_UNAVAILABLE for reason in reasons)
        house.store._database.writer._connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert (await ask(house, mira.ask, session_id="room")).v2.candidate_set[0].user_id == "mira"
        assert (await house.store.verify("dev")).ok


async def test_a_store_that_is_closed_under_the_server_names_nobody(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        line = house.line()
        await line.config(stream_config())
        await line.started()
        await line.frames(mira.ask.frames())
        await house.store.close()
        decision = (await line.finish()).v2
    assert decision.reason_code == v1.VOICE_ID_REASON_STORE_UNAVAILABLE
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN and not decision.candidate_set


async def test_a_stream_cannot_begin_without_the_store(home: Path) -> None:
    async with serving(home) as house:
        await house.store.close()
        line = house.line()
        await line.config(stream_config())
        refusal = await line.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


def damage(home: Path, statement: str) -> None:
    """Change the database behind the server's back; what the append-only triggers guard is not touched."""
    with closing(sqlite3.connect(home / DATABASE)) as database:
        changed = database.execute(statement).rowcount
        database.commit()
    assert changed > 0


async def test_a_damaged_embedding_takes_only_its_owner_out_of_the_gallery(
    home: Path, mira: Person, otto: Person
) -> None:
    damage(home, "UPDATE voiceid_profiles SET sealed = x'00112233' WHERE user_id = 'mira'")
    async with serving(home) as house:
        decision = (await ask(house, mira.ask)).v2
        assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
        assert (await ask(house, otto.ask, session_id="s-2")).v2.candidate_set[0].user_id == "otto"


async def test_a_damaged_fingerprint_does_not_let_a_replay_pass(home: Path, mira: Person) -> None:
    """Without its earlier audio nothing tells whether this is a replay, so nobody is named."""
    damage(
        home, "UPDATE voiceid_fingerprints SET sealed = CAST(substr(sealed, 1, length(sealed) - 1) || x'00' AS BLOB)"
    )
    async with serving(home) as house:
        decision = (await ask(house, mira.ask)).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
    assert not decision.candidate_set


async def test_an_enrolment_that_the_store_refused_is_not_half_there(home: Path, mira: Person) -> None:
    async with serving(home, lock_timeout_s=0.2) as house:
        client = house.client()
        enrollment = await client.create_enrollment("eve", consent_ref=CONSENT)
        with locked(home), pytest.raises(SeleneError) as caught:
            await client.add_clip(enrollment.enrollment_id, mira.clips[0], idempotency_key="k-1")
        assert caught.value.reason == "STORE_UNAVAILABLE"
        assert (await client.get_enrollment(enrollment.enrollment_id)).accepted_clips == 0
        graded = await client.add_clip(enrollment.enrollment_id, mira.clips[0], idempotency_key="k-1")
        assert graded.accepted
        assert (await client.get_enrollment(enrollment.enrollment_id)).accepted_clips == 1


async def test_a_database_server_that_is_gone_decides_unknown_and_recovers(
    postgres: Postgres, postgres_database: Database, models_dir: Path, tmp_path: Path, mira: Person
) -> None:
    flags: dict[str, Any] = {"store.url": postgres_database.url, **NO_REPLAY}
    async with serving(tmp_path, flags, lock_timeout_s=1.0) as house:
        await house.client().enroll("mira", mira.clips, consent_ref=CONSENT)
        line = house.line()
        await line.config(stream_config())
        await line.started()
        await line.frames(mira.ask.frames())
        take_away(postgres, postgres_database)
        decision = (await line.finish()).v2
        assert decision.reason_code == v1.VOICE_ID_REASON_STORE_UNAVAILABLE
        assert not decision.candidate_set
        bring_back(postgres, postgres_database)
        assert (await ask(house, mira.ask, session_id="back")).v2.candidate_set[0].user_id == "mira"
        assert (await house.store.verify("dev")).ok


def take_away(postgres: Postgres, database: Database) -> None:
    """End every connection to the database and let nobody find it."""
    postgres._server.psql(
        f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false; "
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.name}';"
    )


def bring_back(postgres: Postgres, database: Database) -> None:
    postgres._server.psql(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true;")
