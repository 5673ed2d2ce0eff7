"""The client of the secrets owner and `selene secrets`, against the real owner behind a real channel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from selene_messages.selene.kms import v1
from typer.testing import CliRunner

from clients.channel import connect
from clients.cli import secrets as command
from clients.cli.registry import Commands
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from clients.secrets import MAX_SECRET_BYTES, Secrets, SecretUnusable, seal
from servers.process import owner
from servers.runtime.clock import SystemClock
from servers.runtime.ids import UuidV7Ids
from servers.runtime.server import Parts, RunningServer, serve
from store import Store
from tests.support.servers import settings_of
from tests.support.stores import MASTER_KEY, SIGNING_KEY

HANDLE = "kms://providers/openai/stt"
OWNER = "PH1.C"
SECRET = b"canary-Zk9qT4-first"
NEXT = b"canary-Zk9qT4-second"

Run = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Served:
    """The owner in development mode, a client of it, and the store behind it."""

    running: RunningServer
    store: Store
    secrets: Secrets


@pytest.fixture
async def served(quiet_log: None, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    clock = SystemClock()
    ids = UuidV7Ids(clock)
    store = await Store.open(sqlite_url, clock=clock, ids=ids, signing_key=SIGNING_KEY, master_key=MASTER_KEY)
    parts = Parts(clock=clock, ids=ids, store=store, on_stop=(store.close,))
    async with await serve([owner("kms")], settings_of(tmp_path, {"listen.ports.kms": 0}), parts) as running:
        async with connect(running.target("kms")) as connection:
            yield Served(running, store, Secrets(connection, policy=NO_RETRY))
        await running.stop(0)


@pytest.fixture
def run(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `selene secrets …` with a loop of its own, beside the server's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("SELENE_TARGET", served.running.target("kms"))
    monkeypatch.setenv("COLUMNS", "80")
    app = typer.Typer()
    command.register(Commands(app))
    app.callback()(lambda: None)

    async def invoke(*arguments: str, stdin: bytes = b"") -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, ["secrets", *arguments], input=stdin)

    return invoke


async def redeemed(served: Served, lease_ref: str) -> bytes:
    return await served.store.kms.redeem(lease_ref, SystemClock().now())


async def put(served: Served, secret: bytes = SECRET) -> v1.SecretInfo:
    return await served.secrets.put(HANDLE, secret, environment=v1.Environment.STAGE, granted_owners=[OWNER])


async def test_the_client_does_the_whole_life_of_a_secret(served: Served) -> None:
    assert (await put(served)).version == 1
    lease = await served.secrets.lease(HANDLE, OWNER, ttl=timedelta(minutes=2))
    assert await redeemed(served, lease.lease_ref) == SECRET
    rotated = await served.secrets.rotate(HANDLE, NEXT)
    assert (rotated.version, rotated.environment, rotated.granted_owners) == (2, v1.Environment.STAGE, [OWNER])
    assert (await served.secrets.evaluate(HANDLE, OWNER)).outcome is v1.AccessOutcome.ALLOW
    assert lease.lease is not None
    assert (await served.secrets.end_lease(lease.lease.lease_id)).lease_id == lease.lease.lease_id
    assert [found.handle async for found in served.secrets.list()] == [HANDLE]
    await served.secrets.revoke(HANDLE, "drill")
    assert (await served.secrets.get(HANDLE)).state is v1.SecretState.REVOKED


async def test_rotating_what_is_not_there_is_refused(served: Served) -> None:
    with pytest.raises(SeleneError) as caught:
        await served.secrets.rotate(HANDLE, NEXT)
    assert caught.value.reason == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize("secret", [b"", bytes(MAX_SECRET_BYTES + 1)])
def test_a_secret_of_no_length_or_too_long_is_not_sealed(secret: bytes) -> None:
    with pytest.raises(SecretUnusable, match=str(len(secret))):
        seal(secret, HANDLE, sealing_key_id="k", public_key=X25519PrivateKey.generate().public_key().public_bytes_raw())


async def test_the_longest_secret_fits(served: Served) -> None:
    longest = bytes(range(256)) * 64
    await put(served, longest)
    assert await redeemed(served, (await served.secrets.lease(HANDLE, OWNER)).lease_ref) == longest


async def test_put_reads_the_secret_from_stdin_and_leaves_one_line_break_away(served: Served, run: Run) -> None:
    result = await run("put", HANDLE, "-e", "prod", "-g", OWNER, "-g", "PH1.D", "--json", stdin=SECRET + b"\n\n")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["version"], document["granted_owners"]) == ("1", [OWNER, "PH1.D"])
    assert (await served.secrets.get(HANDLE)).environment is v1.Environment.PROD
    assert await redeemed(served, (await served.secrets.lease(HANDLE, OWNER)).lease_ref) == SECRET + b"\n"


async def test_rotate_reads_the_secret_from_a_file(served: Served, run: Run, tmp_path: Path) -> None:
    await put(served)
    file = tmp_path / "key.txt"
    file.write_bytes(NEXT + b"\r\n")
    result = await run("rotate", HANDLE, "--file", str(file), "--overlap", "0")
    assert result.exit_code == 0, result.stderr
    assert await redeemed(served, (await served.secrets.lease(HANDLE, OWNER)).lease_ref) == NEXT


async def test_owners_are_named_by_themselves_or_by_their_engines(served: Served, run: Run) -> None:
    assert (await run("put", HANDLE, "-g", "stt", "-g", "PH1.D", stdin=SECRET)).exit_code == 0
    assert (await served.secrets.get(HANDLE)).granted_owners == ["PH1.C", "PH1.D"]
    assert (await run("lease", HANDLE, "--owner", "llm")).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("put", HANDLE, "-g", "sst"), "there is no owner 'sst' that uses secrets; there are stt (PH1.C)"),
        (("put", "kms://providers/OpenAI/stt", "-g", "stt"), "kms://providers/<vendor>/<use>"),
    ],
)
async def test_what_is_allowed_is_said_in_words(run: Run, arguments: tuple[str, ...], told: str) -> None:
    result = await run(*arguments, stdin=SECRET)
    assert result.exit_code != 0
    assert told in " ".join(result.stderr.replace("│", " ").split()) and "[A-Z" not in result.stderr


async def test_a_secret_cannot_be_given_as_an_argument(served: Served, run: Run) -> None:
    result = await run("put", HANDLE, SECRET.decode(), "-g", OWNER)
    assert result.exit_code == 2
    assert [found async for found in served.secrets.list()] == []


@pytest.mark.parametrize("arguments", [("put", HANDLE, "-g", OWNER), ("rotate", HANDLE)])
async def test_no_secret_at_all_is_wrong_usage(served: Served, run: Run, arguments: tuple[str, ...]) -> None:
    await put(served)
    result = await run(*arguments, stdin=b"\n")
    assert result.exit_code == 2
    assert "1 to 16384 bytes" in result.stderr
    assert (await served.secrets.get(HANDLE)).version == 1


async def test_a_file_that_is_not_there_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    result = await run("put", HANDLE, "-g", OWNER, "--file", str(tmp_path / "absent"))
    assert result.exit_code == 2
    assert "No such file" in result.stderr


async def test_no_command_shows_the_secret(served: Served, run: Run) -> None:
    shown = await run("put", HANDLE, "-g", OWNER, stdin=SECRET)
    for arguments in (("list",), ("show", HANDLE), ("lease", HANDLE, "--owner", OWNER), ("rotate", HANDLE)):
        for flags in ((), ("--json",)):
            result = await run(*arguments, *flags, stdin=SECRET)
            assert result.exit_code == 0, result.stderr
            assert result.stdout.strip()
            assert SECRET.decode() not in result.output
    assert SECRET.decode() not in shown.output


async def test_lease_prints_a_reference_that_redeems(served: Served, run: Run) -> None:
    await put(served)
    as_json = await run("lease", HANDLE, "--owner", OWNER, "--minutes", "60", "--json")
    assert await redeemed(served, json.loads(as_json.stdout)["lease_ref"]) == SECRET
    in_words = await run("lease", HANDLE, "--owner", OWNER)
    (reference,) = [word for word in in_words.stdout.split() if word.startswith("lease://")]
    assert await redeemed(served, reference) == SECRET


async def test_a_denied_lease_exits_with_1_and_says_why(served: Served, run: Run) -> None:
    await put(served)
    result = await run("lease", HANDLE, "--owner", "PH1.D", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["metadata"]["cause"] == "NO_GRANT"


async def test_revoke_asks_first_and_is_done_with_yes(served: Served, run: Run) -> None:
    await put(served)
    lease = await served.secrets.lease(HANDLE, OWNER)
    refused = await run("revoke", HANDLE, "--reason", "leaked", stdin=b"n\n")
    assert refused.exit_code == 2
    assert await redeemed(served, lease.lease_ref) == SECRET
    done = await run("revoke", HANDLE, "--reason", "leaked", "--yes")
    assert (done.exit_code, "1 running lease ended" in done.stdout) == (0, True)
    assert (await served.secrets.get(HANDLE)).state is v1.SecretState.REVOKED


async def test_a_list_shows_whole_handles_on_a_narrow_terminal(served: Served, run: Run) -> None:
    await put(served)
    assert HANDLE in (await run("list")).stdout


async def test_revoke_without_anyone_to_ask_says_to_pass_yes(served: Served, run: Run) -> None:
    refused = await run("revoke", HANDLE, "--reason", "leaked", stdin=b"")
    assert refused.exit_code == 2
    assert "pass --yes" in refused.stderr
