"""The commands of governance against the real owner, with a token a person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from selene.governance.v1 import service_pb2 as messages
from selene_messages.selene.governance import v1

from clients.errors import SeleneError
from clients.governance import Consents, Governance
from clients.retry import NO_RETRY
from servers.runtime.auth import Principal, issue_token
from tests.servers.governance.house import EVIDENCE, ROLES, Governed, governing
from tests.servers.governance.windows import both
from tests.support.talking import Run, command


@pytest.fixture
async def house(quiet_log: None, tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path / "data") as governed:
        yield governed


@pytest.fixture
def run(house: Governed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(house.owners, tmp_path, monkeypatch)


def token(house: Governed, who: str) -> str:
    key = house.owners.running.development_key
    assert key is not None
    principal = Principal("dev", who, "", frozenset(ROLES[who]))
    return issue_token(key, principal, now=house.now(), lifetime=timedelta(hours=1))


def client(house: Governed, who: str) -> Governance:
    return Governance(house.owners.connection("governance", token(house, who)), policy=NO_RETRY)


def written(folder: Path, name: str, message: Any) -> Path:
    file = folder / name
    file.write_text(json_format.MessageToJson(message, preserving_proto_field_name=True))
    return file


async def test_commands_take_an_artifact_through_the_gates_into_a_rollout_and_back(
    run: Run, house: Governed, tmp_path: Path
) -> None:
    row = await house.candidate()
    evidence, report = (
        written(tmp_path, "e.json", EVIDENCE),
        written(tmp_path, "r.json", await house.report(row)),
    )

    async def by(who: str, *arguments: object) -> Any:
        return await run(*arguments, "--token", token(house, who))

    shut = await by("ann", "gate", "check", row.artifact_id)
    assert shut.exit_code == 3 and "governance, learning_bridge" in shut.stdout
    decided = await by("ann", "gate", "decide", row.artifact_id, evidence)
    assert decided.exit_code == 0 and "ALLOW: gates_passed" in decided.stdout
    assert (await by("build", "gate", "report", row.artifact_id, report)).exit_code == 0
    assert (await by("bob", "gate", "approve", row.artifact_id, "code")).exit_code == 0
    own = await by("bob", "gate", "approve", row.artifact_id, "launch")
    assert own.exit_code == 1 and "OWN_WORK_REFUSED" in own.stderr and "ask somebody else" in own.stderr
    assert "every gate has passed" in (await by("cay", "gate", "approve", row.artifact_id, "launch")).stdout

    shown = json.loads((await by("ann", "gate", "show", row.artifact_id, "--json")).stdout)
    asked = messages.SubmitConsumptionProofRequest(**await house.proof(row, shown["gate_bundle_ref"]))
    proved = await by("build", "gate", "prove", written(tmp_path, "p.json", asked))
    assert proved.exit_code == 0 and "passed" in proved.stdout
    assert (await by("ann", "gate", "check", row.artifact_id)).exit_code == 0

    started = json.loads((await by("ann", "rollout", "start", row.artifact_id, "--json")).stdout)["rollout"]
    board = await by("ann", "gate", "board")
    assert "controller" in board.stdout and started["rollout_id"] in board.stdout
    judged = await by("ann", "judge", started["rollout_id"])
    assert "HOLD: no_traffic" in judged.stdout
    assert "shadow" in (await by("ann", "rollout", "list", "--state", "running")).stdout
    report_of = json.loads((await by("ann", "rollout", "report", started["rollout_id"])).stdout)
    assert report_of["report"]["rollout"]["rollout_id"] == started["rollout_id"]
    back = await by("ann", "rollout", "rollback", started["rollout_id"], "--reason", "VENDOR_INCIDENT")
    assert back.exit_code == 0 and "rolled_back" in back.stdout


async def test_a_replay_is_shown_and_exits_as_below_what_is_required_where_nobody_would_load_it(
    run: Run, house: Governed
) -> None:
    row = await house.candidate()
    found = await house.replay(row)
    shown = await run("gate", "replay", row.artifact_id, "--token", token(house, "build"))
    assert shown.exit_code == 0
    assert found.replay_hash.hex() in shown.stdout and "1 turns beside version 1" in shown.stdout
    broken = await house.register(b"no pack")
    refused = await run("gate", "replay", broken.artifact_id, "--token", token(house, "build"))
    assert refused.exit_code == 3 and "would not load it: UNREADABLE" in refused.stdout


async def test_a_proof_that_is_blocked_exits_as_below_what_is_required(
    run: Run, house: Governed, tmp_path: Path
) -> None:
    row = await house.candidate()
    asked = messages.SubmitConsumptionProofRequest(**await house.proof(row, "store://nothing"))
    file = written(tmp_path, "p.json", asked)
    blocked = await run("gate", "prove", file, "--token", token(house, "build"))
    assert blocked.exit_code == 3 and "GATE_BUNDLE_INCOMPLETE" in blocked.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gate", "approve", "a-1", "everything"), "code, launch"),
        (("gate", "check", "a-1", "--through", "garden"), "learning_bridge"),
        (("rollout", "list", "--state", "asleep"), "rolled_back"),
        (("gate", "decide", "a-1", "{file}"), "nonsense"),
        (("gate", "report", "a-1", "{file}"), "nonsense"),
        (("gate", "prove", "{file}"), "nonsense"),
        (("rollout", "record", "r-1", "{file}"), "a list is wanted"),
        (("rollout", "rollback", "r-1", "--reason", "not so"), "UPPER_SNAKE_CASE"),
    ],
)
async def test_what_cannot_be_meant_is_told_before_anything_is_asked(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    file = tmp_path / "file.json"
    file.write_text('{"nonsense": 1}')
    done = await run(*(argument.format(file=file) for argument in arguments))
    assert done.exit_code == 2 and told in done.stderr


async def test_measurements_are_recorded_from_a_file(run: Run, house: Governed, tmp_path: Path) -> None:
    rollout = await house.start(await house.candidate())
    entered = rollout.stages[-1].entered_at.ToDatetime(tzinfo=UTC)
    house.skip(timedelta(hours=2))
    windows = both(7, {}, {}, starts_at=entered, lasts=timedelta(hours=1))
    documents = [json_format.MessageToDict(window, preserving_proto_field_name=True) for window in windows]
    file = tmp_path / "windows.json"
    file.write_text(json.dumps(documents))
    done = await run("rollout", "record", rollout.rollout_id, file, "--token", token(house, "build"), "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["taken"] == 2


async def test_commands_grant_show_and_revoke_a_consent(run: Run, house: Governed) -> None:
    mine = ("--token", token(house, "ula"))
    assert "ula consents until" in (await run("consent", "grant", "ula", "--days", "30", *mine)).stdout
    revoked = json.loads((await run("consent", "revoke", "ula", "--json", *mine)).stdout)["revocation"]
    assert "consents no more" in (await run("consent", "show", "ula", *mine)).stdout
    shown = await run("consent", "revocation", revoked["revocation_id"], *mine)
    assert shown.exit_code == 0 and "impact_graph" in shown.stdout
    operator = ("--token", token(house, "ann"))
    listed = await run("consent", "revocations", "--open", *operator)
    assert revoked["revocation_id"] in listed.stdout and "user_request" in listed.stdout
    stranger = await run("consent", "revoke", "otto", *mine)
    assert stranger.exit_code == 1 and "SUBJECT_MISMATCH" in stranger.stderr
    mistyped = await run("consent", "revoke", "nobody", *operator)
    assert mistyped.exit_code == 0 and "nothing was kept of nobody: is the name right?" in mistyped.stderr
    everyone = await run("consent", "revoke", "--policy", *operator)
    assert everyone.exit_code == 0 and "everyone" in everyone.stdout


async def test_lists_are_read_a_page_at_a_time(house: Governed) -> None:
    ids = [(await house.candidate()).artifact_id for _ in range(3)]
    for artifact_id in ids:
        row = await house.store.governance.cases.artifact("dev", artifact_id)
        assert row is not None
        await house.allow(row)
    governance = client(house, "ann")
    found = [row.subject.artifact_id async for row in governance.board(page_size=1) if row.subject]
    assert found == ids[::-1]
    consents = Consents(house.owners.connection("governance", token(house, "ann")), policy=NO_RETRY)
    for user in ("mira", "otto"):
        await consents.revoke(user)
    assert [one.user_id async for one in consents.revocations(page_size=1)] == ["otto", "mira"]


async def test_the_typed_client_gives_decisions_and_errors_as_they_are(house: Governed) -> None:
    row = await house.candidate()
    await house.allow(row)
    governance = client(house, "ann")
    decided = await governance.decisions(row.artifact_id)
    assert decided[0].statement is not None and decided[0].statement.decision is v1.Decision.ALLOW
    with pytest.raises(SeleneError) as caught:
        await governance.start(row.artifact_id)
    assert caught.value.reason == "GATE_BLOCKED"
    assert "selene gate show" in caught.value.next_step
