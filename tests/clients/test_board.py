"""`selene gold board` and `selene audit trail` of what is packaged: against the real owners, with a token a person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.governance.v1 import decision_pb2 as decisions

from servers.runtime.auth import Principal, issue_token
from store.ledger import AuditTrail
from tests.servers.governance.chain import EVIDENCE, TENANT, Chain, place
from tests.support.learned import EVALUATED
from tests.support.owners import Owners, serving
from tests.support.talking import command

Run = Callable[..., Awaitable[Any]]
FLAGS = {
    "owners.learning": {"intake": {"outbox_every_s": 60}},
    "owners.governance": {"loops": False},
    "development.anonymous": False,
}


@pytest.fixture
async def owners(quiet_log: None, tmp_path: Path) -> AsyncIterator[Owners]:
    async with serving(["learning", "governance", "audit"], tmp_path / "data", FLAGS) as served:
        yield served


@pytest.fixture
def chain(owners: Owners) -> Chain:
    return Chain(owners.store, owners.clock)


@pytest.fixture
def run(owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `selene …` as somebody of this role."""
    invoke = command(owners, tmp_path, monkeypatch, columns=400)

    async def by(role: str, *arguments: object) -> Any:
        key = owners.running.development_key
        assert key is not None
        principal = Principal(TENANT, "nell", "", frozenset({role}))
        token = issue_token(key, principal, now=owners.clock.now(), lifetime=timedelta(hours=1))
        return await invoke(*arguments, "--token", token)

    return by


@pytest.fixture
async def pack(chain: Chain) -> ArtifactRow:
    return await chain.packaged(place("de"), {"s-1": "ula", "s-2": "xan"})


async def board_row(run: Run, role: str = "operator") -> dict[str, str]:
    done = await run(role, "gold", "board", "--json")
    assert done.exit_code == 0, done.stderr
    [row] = [one for one in json.loads(done.stdout)["gold_sets"] if one["gold_set_id"] != EVALUATED]
    found: dict[str, str] = row
    return found


async def test_the_board_says_at_which_gate_a_packaged_set_is_and_who_opens_it(
    run: Run, chain: Chain, pack: ArtifactRow
) -> None:
    about = {"artifact_id": pack.artifact_id}
    row = await board_row(run)
    assert row["state"] == "PACKAGED"
    assert row["blocked_by"].startswith(f"TTS_PRONUNCIATION_PACK@{pack.artifact_version}: governance, learning_bridge")
    assert row["how"] == f"selene gate decide {pack.artifact_id} evidence.json"
    await chain.call("ann", "Decide", **about, action=decisions.DECISION_ACTION_ACTIVATE, evidence=EVIDENCE)
    assert (await board_row(run))["actor"] == "the Builder"
    await chain.call("build", "SubmitBuilderReport", **about, report=await chain.report(pack))
    row = await board_row(run)
    assert (row["actor"], row["how"]) == ("an approver", f"selene gate approve {pack.artifact_id} code")
    await chain.call("bob", "Approve", **about, kind=decisions.APPROVAL_KIND_CODE)
    assert (await board_row(run))["how"] == f"selene gate approve {pack.artifact_id} launch"
    await chain.call("cay", "Approve", **about, kind=decisions.APPROVAL_KIND_LAUNCH)
    row = await board_row(run)
    assert row["blocked_by"].endswith(": consumption_proof") and row["actor"] == "the consumer"
    await chain.call("build", "SubmitConsumptionProof", **await chain.proof(pack, await chain.bundle_ref(pack)))
    row = await board_row(run)
    assert row["blocked_by"].endswith(": nothing")
    assert (row["actor"], row["how"]) == ("an operator", f"selene rollout start {pack.artifact_id}")
    rollout = (await chain.call("ann", "StartRollout", **about)).rollout
    row = await board_row(run)
    assert "in shadow, no_traffic" in row["blocked_by"]
    assert row["actor"] == "nobody" and row["how"].endswith(f"selene rollout show {rollout.rollout_id}")


async def test_who_may_not_ask_governance_is_told_that_it_knows(run: Run, pack: ArtifactRow) -> None:
    row = await board_row(run, "reviewer")
    assert (row["blocked_by"], row["actor"]) == ("not known: ROLE_REQUIRED by governance", "governance")


async def test_the_trail_of_an_activation_is_shown_row_by_row(run: Run, chain: Chain, pack: ArtifactRow) -> None:
    rollout_id = await chain.start(pack)
    whole = await run("auditor", "audit", "trail", pack.artifact_id)
    assert whole.exit_code == 0 and f"complete: 7 of 7 rows, rollout {rollout_id}" in whole.stdout
    assert "rollout.started" in whole.stdout and "MISSING" not in whole.stdout


async def test_a_gap_in_a_trail_exits_with_1(
    run: Run, chain: Chain, pack: ArtifactRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout_id = await chain.start(pack)
    whole = AuditTrail.page

    async def page(self: AuditTrail, *asked: Any, **which: Any) -> Any:
        return [each for each in await whole(self, *asked, **which) if each.event.reason_code != "LAUNCH"]

    monkeypatch.setattr(AuditTrail, "page", page)
    gap = await run("auditor", "audit", "trail", "--rollout", rollout_id)
    assert gap.exit_code == 1
    assert "GAP: 6 of 7 rows" in gap.stdout and "MISSING" in gap.stdout
    told = json.loads((await run("auditor", "audit", "trail", "--rollout", rollout_id, "--json")).stdout)
    [missing] = [row for row in told["rows"] if row["state"] == "TRAIL_ROW_STATE_MISSING"]
    assert (missing["transition"], missing.get("event")) == ("approval.given", None)
    assert [fact["name"] for fact in missing["facts"]] == ["approval_id"]


@pytest.mark.parametrize("whose", [(), ("a-1", "--rollout", "r-1")])
async def test_whose_trail_has_to_be_said_once(run: Run, whose: tuple[str, ...]) -> None:
    done = await run("auditor", "audit", "trail", *whose)
    assert done.exit_code == 2 and "whose trail?" in done.stderr
