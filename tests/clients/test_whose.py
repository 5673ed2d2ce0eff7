"""A refusal of the tenant names the one that the command's calls speak for, and never the token."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import grpc
import pytest

from clients.channel import connect
from clients.cli.whose import naming_tenant
from clients.errors import SeleneError
from tests.support.owners import Owners
from tests.support.talking import Run, command

MISMATCH = SeleneError(grpc.StatusCode.PERMISSION_DENIED, "refused", reason="TENANT_MISMATCH")


@pytest.fixture
def run(talking: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(talking, tmp_path, monkeypatch)


def token(tenant_id: str) -> str:
    """A JWT that nobody signed."""
    parts = [{"alg": "none"}, {"tid": tenant_id}]
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts), "signature"])


async def test_the_tenant_of_the_token_is_named_and_not_the_token() -> None:
    carried = token("acme")
    async with connect("127.0.0.1:1", token=carried) as connection:
        told = naming_tenant(MISMATCH, connection, "globex")
    assert "the token speaks for tenant `acme`, not for `globex`" in told.next_step
    assert carried not in str(told) and "signature" not in str(told)
    assert (told.code, told.reason, told.message) == (MISMATCH.code, MISMATCH.reason, MISMATCH.message)


@pytest.mark.parametrize("carried", ["opaque", "a.b.c"])
async def test_a_token_that_cannot_be_read_leaves_the_general_advice(carried: str) -> None:
    async with connect("127.0.0.1:1", token=carried) as connection:
        assert naming_tenant(MISMATCH, connection, "globex").next_step == MISMATCH.next_step


async def test_other_refusals_keep_their_advice() -> None:
    error = SeleneError(grpc.StatusCode.PERMISSION_DENIED, "refused", reason="DEVICE_MISMATCH")
    async with connect("127.0.0.1:1", token=token("acme")) as connection:
        assert naming_tenant(error, connection, "globex") is error


@pytest.mark.parametrize(
    "arguments", [("ask", "hello", "--tenant", "globex"), ("routes", "--once", "--tenant", "globex")]
)
async def test_without_a_token_the_tenant_of_the_development_mode_is_named(
    run: Run, arguments: tuple[str, ...]
) -> None:
    result = await run(*arguments)
    assert "TENANT_MISMATCH" in result.stderr
    assert "calls without a token speak for tenant `dev`, not for `globex`: leave --tenant" in result.stderr
    assert "the token" not in result.stderr
