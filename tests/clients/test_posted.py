"""The messages of the demonstration: every owner real, the mailbox's two servers real, the first one's refusal real."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from clients import posted
from clients.cli.session import OK, REFUSED, USAGE, Session, remote
from clients.posted import PRIMARY, SECONDARY, permit, two_messages
from servers.mailbox import mailbox
from tests.support.owners import Owners, serving
from tests.support.talking import command

Post = Callable[[Owners, str], Awaitable[Any]]


@pytest.fixture
def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Post:
    """Sends the messages as the demonstration does: the exit code, the lines, what was noted."""

    async def both(owners: Owners, url: str) -> Any:
        command(owners, tmp_path, monkeypatch)

        async def run(session: Session) -> int:
            await permit(session)
            return OK if await two_messages(session, url) else REFUSED

        app = typer.Typer()
        app.command()(remote(run))
        return await asyncio.to_thread(CliRunner().invoke, app, ["--json"])

    return both


async def test_the_secondary_takes_what_the_primary_refuses_and_the_ledger_has_each_once(
    quiet_log: None, tmp_path: Path, post: Post
) -> None:
    with mailbox() as mails:
        flags = {"owners.delivery": tomllib.loads(mails.settings())["owners"]["delivery"]}
        async with serving(["kms", "delivery"], tmp_path, flags) as owners:
            result = await post(owners, mails.url)
        taken = mails.taken
    assert result.exit_code == OK, result.output
    first, second, ledger = map(json.loads, result.stdout.splitlines())
    assert [each["provider_ref"] for each in first["attempts"]] == [PRIMARY]
    assert [each["provider_ref"] for each in second["attempts"]] == [PRIMARY, SECONDARY]
    assert ledger == {
        "event": "ledger",
        "smtp": {"The first message": 1},
        "resend": {"The second message": 1},
        "worked": True,
    }
    assert {name: dict(counts) for name, counts in taken.items()} == {
        "smtp": {"The first message": 1},
        "resend": {"The second message": 1},
    }


async def test_without_providers_the_messages_are_skipped_and_that_is_said(
    quiet_log: None, tmp_path: Path, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posted, "_READY_WITHIN_S", 0.5)
    with mailbox() as mails:
        async with serving(["kms", "delivery"], tmp_path) as owners:
            result = await post(owners, mails.url)
    assert result.exit_code == OK and result.stdout == ""
    assert "skipped" in result.stderr


async def test_a_mailbox_that_is_gone_is_named(quiet_log: None, tmp_path: Path, post: Post) -> None:
    with mailbox() as mails:
        flags = {"owners.delivery": tomllib.loads(mails.settings())["owners"]["delivery"]}
        async with serving(["kms", "delivery"], tmp_path, flags) as owners:
            result = await post(owners, "http://127.0.0.1:1")
    assert result.exit_code == USAGE
    assert "http://127.0.0.1:1" in result.stderr
