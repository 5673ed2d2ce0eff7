"""What a process checks before it begins anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from clients import cli
from servers.process import OWNERS, SHARED, beside_others, check_ports
from servers.runtime.config import Settings, load_settings
from servers.runtime.tls import ListenError


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def on(**ports: int) -> Settings:
    return load_settings(None, {f"listen.ports.{name}": ports.get(name, 0) for name in OWNERS})


def test_a_port_that_is_taken_is_named_with_its_owner_and_what_to_do(busy: int) -> None:
    check_ports(tuple(OWNERS), on())
    with pytest.raises(ListenError) as caught:
        check_ports(tuple(OWNERS), on(llm=busy, kms=busy))
    assert f"127.0.0.1:{busy} (llm) and 1 more: Address already in use" in str(caught.value)
    assert "--port 0" in str(caught.value)


def test_up_says_so_in_one_line_before_it_begins_anything(busy: int, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    given = ["up", "--data-dir", str(folder), "--port", "0", "--port", f"tts={busy}"]
    result = CliRunner().invoke(cli.build(), given)
    assert result.exit_code == 2 and not result.stdout
    assert [line for line in result.stderr.splitlines() if line] == [result.stderr.strip()]
    assert f"127.0.0.1:{busy} (tts)" in result.stderr and not folder.exists()


def said(settings: Settings) -> list[str]:
    """What is said of others that serve the store, by one more that begins to."""
    with structlog.testing.capture_logs() as lines, beside_others(settings):
        return [line["database"] for line in lines if line["event"] == SHARED]


def test_a_second_server_of_an_embedded_store_says_that_they_share_it(tmp_path: Path) -> None:
    settings = load_settings(None, {"data_dir": tmp_path / "state"})
    database = str(tmp_path / "state" / "selene.db")
    assert said(settings) == []
    with beside_others(settings):
        assert said(settings) == [database]
        with beside_others(settings):
            assert said(settings) == [database]
    assert said(settings) == [], "whoever ended serves it no more"


def test_servers_of_one_database_share_it_wherever_their_data_folders_are(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one, other = (load_settings(None, {"data_dir": tmp_path / name, "store.url": url}) for name in ("one", "other"))
    with beside_others(one):
        assert said(other) == [str(tmp_path / "shared.db")]


@pytest.mark.parametrize("url", ["postgresql://localhost/selene", "sqlite:////nowhere/at/all/selene.db"])
def test_nothing_is_said_of_a_store_of_many_or_of_none(tmp_path: Path, url: str) -> None:
    settings = load_settings(None, {"data_dir": tmp_path / "state", "store.url": url})
    with beside_others(settings):
        assert said(settings) == []
