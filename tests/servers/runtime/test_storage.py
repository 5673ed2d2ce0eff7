"""The store as the settings open it: which master keys it is given."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from servers.runtime.config import ConfigError, load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.server import development_key
from servers.runtime.storage import open_store, retired_master_keys
from store import WrongMasterKey
from tests.support.servers import SteppedClock
from tests.support.stores import audit

FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))


def key_file(folder: Path, name: str, key: bytes) -> Path:
    path = folder / name
    path.write_text(base64.b64encode(key).decode() + "\n")
    return path


async def test_a_master_key_is_replaced_while_its_file_is_among_the_retired(tmp_path: Path) -> None:
    first, second = key_file(tmp_path, "first", FIRST), key_file(tmp_path, "second", SECOND)
    clock = SteppedClock()
    ids = UuidV7Ids(clock)
    before = await open_store(load_settings(flags={"data_dir": tmp_path, "master_key.file": first}), clock, ids)
    async with before.transaction() as tx:
        sealed = await tx.vault.seal("t1", "mira", "test", b"kept")
        audit(tx)
    await before.close()
    replaced = {"data_dir": tmp_path, "master_key.file": second}
    with pytest.raises(WrongMasterKey):
        await open_store(load_settings(flags=replaced), clock, ids)
    after = await open_store(load_settings(flags={**replaced, "master_key.retired_files": [first]}), clock, ids)
    assert await after.vault.open("t1", "mira", "test", sealed) == b"kept"
    await after.close()


def test_a_retired_key_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("canary")
    for name in ("short", "absent"):
        settings = load_settings(flags={"master_key.retired_files": [tmp_path / name]})
        with pytest.raises(ConfigError, match=name) as caught:
            retired_master_keys(settings)
        assert "canary" not in str(caught.value)


async def test_git_ignores_a_data_dir_that_is_made_and_one_that_is_there_is_left_alone(tmp_path: Path) -> None:
    clock = SteppedClock()
    master = {"master_key.file": key_file(tmp_path, "key", FIRST)}
    for folder in (tmp_path / "fresh", tmp_path):
        settings = load_settings(flags={**master, "data_dir": folder})
        await (await open_store(settings, clock, UuidV7Ids(clock))).close()
    assert (tmp_path / "fresh" / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / ".gitignore").exists()


def test_git_ignores_a_data_dir_that_a_development_key_made(tmp_path: Path) -> None:
    development_key(tmp_path / "fresh")
    assert (tmp_path / "fresh" / ".gitignore").read_text() == "*\n"
