"""Which frozen set is in force is changed from the command line: audited, immutable, and refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from clients import cli
from servers import frozen
from servers.frozen import FrozenReason, FrozenRefused
from servers.frozen_sets import FROZEN_SET, FrozenSetUnusable
from servers.packs import scope_of
from servers.runtime.storage import MASTER_KEY, SYSTEM_TENANT
from store import Store
from tests.support.frozen import Sample, frozen_set

FIRST, SECOND = (frozen_set(Sample(genuine=number, impostors=10)).canonical() for number in (5, 6))


async def states(store: Store, tenant: str) -> list[tuple[int, str, int]]:
    return [(row["version"], row["state"], row["genuine"]) for row in await frozen.listed(store, tenant)]


async def test_another_set_is_another_version_and_in_force_at_once(store: Store) -> None:
    for _ in range(2):
        assert (await frozen.add(store, FIRST, "first.json", "dev"))["version"] == 1
    await frozen.add(store, SECOND, "second.json", "dev")
    assert await states(store, "dev") == [(1, "", 5), (2, "ACTIVE", 6)]
    assert await states(store, "") == []
    row = await store.artifacts.version(FROZEN_SET, "dev", scope_of("dev"), 1)
    assert await store.artifacts.payload(row.package_hash) == FIRST


async def test_a_set_that_was_replaced_does_not_come_back(sqlite_store: Store) -> None:
    for payload in (FIRST, SECOND):
        await frozen.add(sqlite_store, payload, "f.json", "dev")
    with pytest.raises(FrozenRefused) as refused:
        await frozen.add(sqlite_store, FIRST, "f.json", "dev")
    assert refused.value.reason is FrozenReason.OLDER_THAN_ACTIVE
    assert await states(sqlite_store, "dev") == [(1, "", 5), (2, "ACTIVE", 6)]


@pytest.mark.parametrize("tenant", ["", "dev"])
async def test_rows_of_signals_that_nobody_captured_are_refused(sqlite_store: Store, tenant: str) -> None:
    payload = frozen_set(Sample(genuine=5, impostors=10), signals=["s-1"]).canonical()
    with pytest.raises(FrozenRefused) as refused:
        await frozen.add(sqlite_store, payload, "f.json", tenant)
    assert refused.value.reason is FrozenReason.SIGNALS_UNKNOWN
    assert await states(sqlite_store, tenant) == []


async def test_what_is_no_set_is_refused(sqlite_store: Store) -> None:
    with pytest.raises(FrozenSetUnusable):
        await frozen.add(sqlite_store, b"{}", "f.json", "dev")
    assert await states(sqlite_store, "dev") == []


async def test_every_set_that_is_put_in_force_is_audited(sqlite_store: Store) -> None:
    await frozen.add(sqlite_store, FIRST, "f.json", "")
    [event] = [chained.event async for chained in sqlite_store.audit.stream(SYSTEM_TENANT)]
    assert (event.transition, event.reason_code) == ("frozen_set.registered", "EVALUATION_SET_IN_FORCE")
    assert {fact.name: fact.value for fact in event.facts} == {"frozen_set": f"{FROZEN_SET}@1", "trials": "15"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / MASTER_KEY).write_bytes(bytes(32))
    (tmp_path / "frozen.json").write_bytes(FIRST)
    (tmp_path / "junk.json").write_bytes(b"junk")
    return lambda *arguments: CliRunner().invoke(cli.build(), ["frozen", *arguments, "--data-dir", "data", "--json"])


def test_the_commands_say_what_they_did_as_json(run: Callable[..., Result]) -> None:
    assert json.loads(run("list").stdout) == []
    [added] = json.loads(run("add", "frozen.json", "--tenant", "dev").stdout)
    assert (added["version"], added["state"], added["genuine"], added["impostors"]) == (1, "ACTIVE", 5, 10)
    assert [row["sha256"] for row in json.loads(run("list", "--tenant", "dev").stdout)] == [added["sha256"]]


def test_a_file_that_is_no_set_ends_the_command_in_one_line(run: Callable[..., Result]) -> None:
    refused = run("add", "junk.json")
    assert refused.exit_code != 0
    assert isinstance(refused.exception, SystemExit)
    assert "NOT_JSON" in refused.output
