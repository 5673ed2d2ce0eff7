"""Proofs of the trail as a user meets them: the client and `selene audit`, against the real owner, then without it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from clients.audit import Audit
from clients.cli import trail
from clients.cli.registry import Commands
from clients.errors import SeleneError
from clients.proof import Fault, ProofBroken, findings
from store.keys import SigningKey
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT
from tests.support.stores import audit

Run = Callable[..., Awaitable[Any]]
OTHER_KEY = SigningKey(bytes(32)).public


@pytest.fixture
async def owners(tmp_path: Path) -> AsyncIterator[Owners]:
    async with serving(["audit"], tmp_path) as served:
        await wrote(served, 5)
        yield served


@pytest.fixture
def client(owners: Owners) -> Audit:
    return Audit(owners.connection("audit"), tenant_id=TENANT)


@pytest.fixture
def run(owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `selene audit …` with a loop of its own, beside the server's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("SELENE_TARGET", owners.running.target("audit"))
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    trail.register(Commands(app))

    async def invoke(*arguments: object) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, ["audit", *map(str, arguments)])

    return invoke


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Runs `selene audit …` where nothing listens."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    trail.register(Commands(app))
    return lambda *arguments: CliRunner().invoke(
        app, ["audit", *map(str, arguments)], env={"SELENE_TARGET": "127.0.0.1:1"}
    )


async def wrote(owners: Owners, count: int) -> None:
    for _ in range(count):
        async with owners.store.transaction() as tx:
            audit(tx, TENANT)


async def kept(run: Run, file: Path) -> Path:
    """The checkpoint of now, in a file."""
    exported = await run("checkpoint", "export")
    assert exported.exit_code == 0, exported.stderr
    await asyncio.to_thread(file.write_text, exported.stdout)
    return file


async def test_the_client_proves_an_event_and_that_the_trail_only_grew(owners: Owners, client: Audit) -> None:
    before = (await client.checkpoint()).checkpoint
    assert before is not None
    await wrote(owners, 4)
    [key] = owners.store.trusted_keys().values()
    evidence = await client.inclusion_proof(3, key=key, since=before)
    assert (evidence.event.sequence, evidence.checkpoint.tree_size, before.tree_size) == (3, 9, 5)
    assert findings(evidence, key=key, since=before) == []
    grown = await client.consistency_proof(before, key=key)
    assert grown.inclusion is None and findings(grown, key=key, since=before) == []


async def test_the_client_believes_no_server_that_signs_with_another_key(client: Audit) -> None:
    with pytest.raises(ProofBroken, match="SIGNATURE_BROKEN") as caught:
        await client.inclusion_proof(3, key=OTHER_KEY)
    assert [one.fault for one in caught.value.findings] == [Fault.SIGNATURE_BROKEN]


async def test_an_event_that_is_not_there_is_the_servers_to_refuse(client: Audit) -> None:
    for sequence, reason in ((6, "RESOURCE_NOT_FOUND"), (0, "FIELD_INVALID")):
        with pytest.raises(SeleneError) as caught:
            await client.inclusion_proof(sequence)
        assert caught.value.reason == reason


async def test_a_proof_that_a_command_printed_is_checked_where_no_server_is(
    owners: Owners, run: Run, offline: Callable[..., Any], tmp_path: Path
) -> None:
    monday = await kept(run, tmp_path / "monday.json")
    await wrote(owners, 3)
    printed = await run("prove", 2, "--since", monday)
    assert printed.exit_code == 0, printed.stderr
    assert "holds: 8 rows" in printed.stderr and "event 2" in printed.stderr
    proof = tmp_path / "proof.json"
    proof.write_text(printed.stdout)
    [key] = owners.store.trusted_keys().values()
    for believed in (["--public-key", monday], ["--public-key", key.hex()], ["--since", monday]):
        checked = offline("check", proof, *believed)
        assert checked.exit_code == 0, checked.output
        assert "event 2, test.changed OK, is in it" in checked.stdout
    assert "it only grew since it had 5 rows" in offline("check", proof, "--since", monday).stdout
    document = json.loads(offline("check", proof, "--since", monday, "--json").stdout)
    assert (document["holds"], document["sequence"], document["tree_size"]) == (True, 2, 8)
    assert (document["since_size"], document["findings"]) == (5, [])


async def test_a_checkpoint_alone_and_growth_alone_are_checked_too(
    owners: Owners, run: Run, offline: Callable[..., Any], tmp_path: Path
) -> None:
    monday = await kept(run, tmp_path / "monday.json")
    [key] = owners.store.trusted_keys().values()
    assert offline("check", monday, "--public-key", key.hex()).exit_code == 0
    await wrote(owners, 1)
    grown = tmp_path / "grown.json"
    grown.write_text((await run("prove", "--since", monday)).stdout)
    assert "it only grew since it had 5 rows" in offline("check", grown, "--since", monday).stdout


async def test_a_proof_that_was_edited_is_broken_and_says_where(
    run: Run, offline: Callable[..., Any], tmp_path: Path
) -> None:
    monday = await kept(run, tmp_path / "monday.json")
    whole = json.loads((await run("prove", 2)).stdout)
    event = whole["inclusion"]["event"]["event"]
    proof = tmp_path / "proof.json"
    for path, fault in (
        ((event, "reason_code", "OTHER"), "EVENT_CHANGED"),
        ((whole["checkpoint"], "tree_size", "4"), "SIGNATURE_BROKEN"),
        ((whole["inclusion"]["proof"], "path", [base64.b64encode(bytes(32)).decode()]), "NOT_INCLUDED"),
    ):
        where, name, value = path
        was, where[name] = where[name], value
        proof.write_text(json.dumps(whole))
        where[name] = was
        checked = offline("check", proof, "--public-key", monday)
        assert checked.exit_code == 1 and checked.stdout.startswith("BROKEN: do not rely on it")
        assert fault in checked.stdout


async def test_a_file_is_never_believed_by_the_key_that_it_brings_itself(
    run: Run, offline: Callable[..., Any], tmp_path: Path
) -> None:
    monday = await kept(run, tmp_path / "monday.json")
    checked = offline("check", monday)
    assert checked.exit_code == 2
    assert "--public-key" in checked.stderr and json.loads(monday.read_text())["public_key"]
    assert offline("check", monday, "--public-key", OTHER_KEY.hex()).exit_code == 1
    assert (await run("prove", 1, "--public-key", OTHER_KEY.hex())).exit_code == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("{", "no JSON: a name in double quotes is expected at column 2"),
        ('{"checkpoint":\n', "no JSON: a value is expected at column 1 of line 2"),
        ('{"checkpoint" 1}', "no JSON: ':' delimiter is expected at column 15"),
        ("[]", "no checkpoint is in it"),
        ('{"checkpoint": {"tree_size": "x"}}', "tree_size"),
        ('{"checkpoint": {"tree_sise": 4}}', "unknown field `tree_sise` in checkpoint; did you mean `tree_size`?"),
        ('{"checkpoint": {}, "inclusion": [1]}', "inclusion"),
    ],
)
def test_a_file_that_holds_no_evidence_is_named_with_what_is_wrong(
    offline: Callable[..., Any], tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "proof.json"
    file.write_text(content)
    checked = offline("check", file, "--public-key", OTHER_KEY.hex())
    assert checked.exit_code == 2
    assert str(file) in checked.stderr and said in checked.stderr


def test_nothing_to_prove_and_keys_that_are_none_are_misuse(offline: Callable[..., Any]) -> None:
    assert "nothing to prove" in offline("prove").stderr
    assert "neither a key of 64" in offline("prove", 1, "--public-key", "abc").stderr
    assert offline("prove").exit_code == offline("prove", 1, "--public-key", "abc").exit_code == 2
