"""What a process checks before it begins anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients import cli
from servers.process import OWNERS, check_ports
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
