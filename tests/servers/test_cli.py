"""The server's part of `selene`: JSON that is only JSON, wrong usage in one line, stores that `selene up` made."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from clients import cli
from servers.runtime.storage import MASTER_KEY

Run = Callable[..., Result]
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder; the result has `exit_code`, `stdout` and `stderr`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(cli.build(), list(arguments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("config",), "data_dir"),
        (("migrate", "--config", "selene.toml"), "schema"),
        (("token", "key", "signing.pem"), "keys"),
        (("token", "issue", "mira", "--data-dir", "."), "token"),
    ],
)
def test_json_is_all_that_is_on_stdout(run: Run, tmp_path: Path, arguments: Sequence[str], said: str) -> None:
    (tmp_path / "selene.toml").write_text(f'master_key.value = "{KEY}"')
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert said in json.loads(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("up", "--port", "kitchen=1"), "there is no owner 'kitchen'; there are: voiceid, audit"),
        (("serve", "kitchen"), "there is no owner 'kitchen'; there are: voiceid, audit"),
        (("up", "--port", "voiceid=soon"), "--port wants OWNER=PORT"),
        (("up", "--port", "8401"), "--port wants OWNER=PORT"),
        (("serve", "audit", "--port", "8401"), "master_key: give"),  # a bare number is understood
        (("calibrate", "absent", "--cohort", "c"), "does not exist"),
        (("calibrate", ".", "--cohort", "c", "--activate", "--config", "empty.toml"), "master_key: give"),
        (("migrate",), "master_key: give"),
        (("token", "issue", "mira", "--role", "admin"), "there is no role 'admin'; there are: user, service"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    run: Run, tmp_path: Path, arguments: Sequence[str], said: str
) -> None:
    (tmp_path / "empty.toml").write_text("")
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_a_store_that_up_made_is_opened_as_up_does(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / MASTER_KEY).write_bytes(bytes(32))
    assert run("migrate", "--data-dir", "data").exit_code == 0
    assert (tmp_path / "data" / "selene.db").is_file()


def test_an_extra_that_is_not_installed_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "asyncpg":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return really(name, *rest, **named)

    Path("ledger_signing_seed").write_bytes(bytes(32))
    monkeypatch.setenv("SELENE_DATA_DIR", ".")
    monkeypatch.setattr(builtins, "__import__", without)
    result = run("audit", "verify", "--store", "postgresql://nobody:hidden@127.0.0.1:1/x")
    assert result.exit_code == 2
    assert "pip install 'selene-platform[postgres]'" in result.stderr
    assert "hidden" not in result.stderr
