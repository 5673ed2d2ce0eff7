"""The commands of defects against the real owner, with a token a person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_STT_TRANSCRIPT
from selene.governance.v1 import service_pb2 as messages
from selene.learning.v1.signal_pb2 import INTAKE_PATH_DEFECT

from clients.governance import Defects
from clients.retry import NO_RETRY
from servers.runtime.auth import Principal, issue_token
from store.learning import NewSignal
from tests.servers.governance.house import EVIDENCE, PASSED, REPORT, ROLES, Governed, governing
from tests.support.signals import signal
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


def written(folder: Path, name: str, message: Any) -> Path:
    file = folder / name
    file.write_text(json_format.MessageToJson(message, preserving_proto_field_name=True))
    return file


async def captured(house: Governed, *names: str) -> Sequence[str]:
    made = [signal(name, "dev", domain=GOLD_DOMAIN_STT_TRANSCRIPT) for name in names]
    async with house.store.transaction() as tx:
        new = [NewSignal(one, INTAKE_PATH_DEFECT, safety_critical=True) for one in made]
        await tx.learning.signals.capture("dev", new, lambda signal, seen: 1)
        tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.captured", reason_code="TEST")
    return [one.signal_id for one in made]


async def test_a_defect_holds_a_pack_until_two_people_have_closed_it(run: Run, house: Governed, tmp_path: Path) -> None:
    row = await house.candidate()
    first, second = await captured(house, "1", "2")
    proof = messages.ProposeDefectFixRequest(
        signal_ids=[first],
        root_cause_ref="incident://1",
        fix_plan_ref="plan://1",
        regression_test=PASSED,
        report=REPORT,
    )
    file, evidence = written(tmp_path, "proof.json", proof), written(tmp_path, "evidence.json", EVIDENCE)

    async def by(who: str, *arguments: object) -> Any:
        return await run(*arguments, "--token", token(house, who))

    listed = await by("ann", "defects", "list")
    assert listed.exit_code == 0 and all(one in listed.stdout for one in (first, second, "open", "stt transcript"))
    decided = await by("ann", "gate", "decide", row.artifact_id, evidence)
    assert "HOLD: safety_defect_open" in decided.stdout
    checked = await by("ann", "gate", "check", row.artifact_id)
    assert checked.exit_code == 3 and f"open defects: {first}, {second}" in checked.stdout
    board = json.loads((await by("ann", "gate", "board", "--json")).stdout)["rows"]
    assert [one["open_defects"] for one in board] == [[first, second]]
    assert f"defect {first} open" in " ".join((await by("ann", "gate", "board")).stdout.split())
    started = await by("ann", "rollout", "start", row.artifact_id)
    assert started.exit_code == 1 and f"`selene defects list`: {first},{second}" in started.stderr

    named = json.loads((await by("dan", "defects", "fix", file, second, "--json")).stdout)["fix"]
    assert named["signal_ids"] == [first, second]
    own = await by("dan", "defects", "close", named["fix_id"])
    assert own.exit_code == 1 and "OWN_WORK_REFUSED" in own.stderr
    closed = await by("bob", "defects", "close", named["fix_id"])
    assert closed.exit_code == 0 and f"closed: {first}, {second}" in closed.stdout
    again = await by("bob", "defects", "close", named["fix_id"])
    assert again.exit_code == 1 and "DEFECT_STATE_REFUSED" in again.stderr and "CLOSED" in again.stderr
    assert first not in (await by("ann", "defects", "list")).stdout
    shown = json.loads((await by("ann", "defects", "list", "--all", "--domain", "stt_transcript", "--json")).stdout)
    assert [one["state"] for one in shown["defects"]] == ["DEFECT_STATE_CLOSED"] * 2
    assert "ALLOW" in (await by("ann", "gate", "decide", row.artifact_id, evidence)).stdout


async def test_what_a_file_lacks_is_told_before_anything_is_sent(run: Run, house: Governed, tmp_path: Path) -> None:
    file = written(tmp_path, "proof.json", messages.ProposeDefectFixRequest(signal_ids=["s-1"]))
    refused = await run("defects", "fix", file, "--token", token(house, "ann"))
    assert refused.exit_code == 2 and "`regression_test` and `report` are wanted" in refused.stderr
    unknown = await run("defects", "list", "--domain", "nothing", "--token", token(house, "ann"))
    assert unknown.exit_code == 2 and "there is no 'nothing'" in unknown.stderr


async def test_defects_are_read_to_the_last_page(house: Governed) -> None:
    ids = await captured(house, *(str(number) for number in range(5)))
    client = Defects(house.owners.connection("governance", token(house, "ann")), policy=NO_RETRY)
    assert [one.signal_id async for one in client.list(page_size=2)] == list(ids)
