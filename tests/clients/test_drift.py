"""The commands of drift against the real owner, with a token a person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from selene.learning.v1 import drift_pb2 as wire

from clients.drift import Drift
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from servers.runtime.auth import Principal, issue_token
from store.learning import Breach, Pair, Standing
from tests.support.owners import Owners, serving
from tests.support.talking import Run, command

DAY = timedelta(days=1)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def owners(quiet_log: None, tmp_path: Path) -> AsyncIterator[Owners]:
    settings = {"owners.learning.drift": {"loop": False}, "development.anonymous": False}
    async with serving(["learning"], tmp_path / "data", settings) as running:
        async with running.store.transaction() as tx:
            for number in range(5):
                await tx.learning.drift.note(
                    Breach(
                        tenant_id="dev",
                        window_ends_at=FIRST + number * DAY,
                        subject="cohort:noise:street",
                        detector=wire.DRIFT_DETECTOR_FALSE_ACCEPTS,
                        user_id="",
                        recent=0.004,
                        reference=0.001,
                        samples=5_000,
                        recovery=wire.DRIFT_RECOVERY_ADAPTATION,
                        outcome=wire.DRIFT_OUTCOME_FROZEN if number == 4 else wire.DRIFT_OUTCOME_STARTED,
                    )
                )
            await tx.learning.drift.locked("dev", "cohort:noise:street")
            await tx.learning.drift.stands("dev", "cohort:noise:street", Standing(frozen=True))
            await tx.learning.confusion.replace("dev", [Pair("mia", "noa", 3, 1, FIRST)])
            tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.prepared", reason_code="TEST")
        yield running


@pytest.fixture
def run(owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(owners, tmp_path, monkeypatch)


def token(owners: Owners, *roles: str) -> str:
    key = owners.running.development_key
    assert key is not None
    principal = Principal("dev", "rhea", "", frozenset(roles))
    return issue_token(key, principal, now=owners.clock.now(), lifetime=timedelta(hours=1))


async def test_breaches_are_read_to_the_last_page(owners: Owners) -> None:
    client = Drift(owners.connection("learning", token(owners, "operator")), policy=NO_RETRY)
    windows = [breach.window_ends_at async for breach in client.breaches(page_size=2)]
    assert windows == [FIRST + number * DAY for number in (4, 3, 2, 1, 0)]
    assert [breach async for breach in client.breaches(subject="user:mia")] == []


async def test_a_freeze_is_shown_and_ended_by_a_reviewer_only(run: Run, owners: Owners) -> None:
    listed = await run("drift", "list", "-n", "1", "--token", token(owners, "operator"))
    assert listed.exit_code == 0
    assert all(said in listed.stdout for said in ("cohort:noise:street", "false accepts", "0.004", "5000", "frozen"))
    refused = await run("drift", "review", "cohort:noise:street", "--token", token(owners, "operator"))
    assert refused.exit_code != 0
    reviewed = await run("drift", "review", "cohort:noise:street", "--json", "--token", token(owners, "reviewer"))
    assert json.loads(reviewed.stdout) == {"subject": "cohort:noise:street", "breaches": 5}
    standing = await owners.store.learning.drift.standing("dev", "cohort:noise:street")
    assert not standing.frozen and standing.reviewed_at is not None
    client = Drift(owners.connection("learning", token(owners, "reviewer")), policy=NO_RETRY)
    with pytest.raises(SeleneError) as again:
        await client.review("cohort:noise:street")
    assert again.value.reason == "RESOURCE_NOT_FOUND"


async def test_pairs_are_shown(run: Run, owners: Owners) -> None:
    shown = await run("drift", "pairs", "--token", token(owners, "service"))
    assert shown.exit_code == 0
    assert all(said in shown.stdout for said in ("mia", "noa", "3"))
    told = await run("drift", "pairs", "--json", "--token", token(owners, "service"))
    [pair] = json.loads(told.stdout)["pairs"]
    assert (pair["first_user_id"], pair["collisions"]) == ("mia", "3")
