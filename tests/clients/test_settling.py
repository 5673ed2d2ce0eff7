"""`selene deliver` where nobody knows: a provider took a message and its answer was lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_SENT_ACKED, DELIVERY_STATE_UNKNOWN
from typer.testing import CliRunner

from clients import cli
from tests.support.deliveries import Post, posting, text
from tests.support.simulators.plain_delivery import BLIND, Act, PlainAdapter, Provider, provider
from tests.support.talking import command

HOW = ("--reason", "VENDOR_CONSOLE")


@dataclass
class Lost:
    """A delivery that is UNKNOWN, its owner, and the provider that has it once."""

    post: Post
    vendor: Provider
    delivery_id: str

    async def run(self, *arguments: str, said: str = "") -> Any:
        """The command, with what is typed when it asks."""
        return await asyncio.to_thread(CliRunner().invoke, cli.build(), ["deliver", *arguments], input=said)


@pytest.fixture
async def lost(quiet_log: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lost]:
    async with provider() as vendor:
        vendor.plan(Act.TAKE_AND_LOSE_REPLY)
        adapter = PlainAdapter("plain/sms", vendor.url, BLIND)
        async with posting(tmp_path, [adapter], rules={"poll_every_s": 60.0}) as post:
            command(post.owners, tmp_path, monkeypatch)
            delivery = await post.send(text("m-1"))
            await post.until(delivery.delivery_id, DELIVERY_STATE_UNKNOWN)
            yield Lost(post, vendor, delivery.delivery_id)


async def test_it_is_shown_and_settled_once_evidence_and_a_yes_were_typed(lost: Lost) -> None:
    result = await lost.run("resolve", lost.delivery_id, "sent", *HOW, said="T-481\ny\n")
    assert result.exit_code == 0, result.output
    assert "UNKNOWN" in result.stderr and "plain/sms" in result.stderr
    assert "never sent again" in result.stderr
    settled = await lost.post.get(lost.delivery_id)
    assert settled.state == DELIVERY_STATE_SENT_ACKED
    assert settled.attempts[0].provider_ack_ref == "T-481"


async def test_a_no_settles_nothing(lost: Lost) -> None:
    result = await lost.run("resolve", lost.delivery_id, "retry", *HOW, "--evidence", "T-481", said="n\n")
    assert result.exit_code == 2
    assert "TWICE" in result.stderr and "nothing was settled" in result.stderr
    assert (await lost.post.get(lost.delivery_id)).state == DELIVERY_STATE_UNKNOWN
    assert len(lost.vendor.ledger) == 1


async def test_no_evidence_settles_nothing(lost: Lost) -> None:
    result = await lost.run("resolve", lost.delivery_id, "sent", *HOW, "--yes", said=" \n")
    assert result.exit_code == 2
    assert (await lost.post.get(lost.delivery_id)).state == DELIVERY_STATE_UNKNOWN


async def test_where_nobody_answers_nothing_is_settled_and_it_is_said_how_not_to_be_asked(lost: Lost) -> None:
    result = await lost.run("resolve", lost.delivery_id, "sent", *HOW, "--evidence", "T-481", said="")
    assert result.exit_code == 2
    assert "nobody answered; without a terminal, pass --evidence and --yes" in result.stderr
    assert (await lost.post.get(lost.delivery_id)).state == DELIVERY_STATE_UNKNOWN


async def test_what_was_not_sent_is_sent_again_where_a_person_says_so(lost: Lost) -> None:
    deadline = asyncio.get_running_loop().time() + 15
    settle = ("resolve", lost.delivery_id, "retry", *HOW, "--evidence", "T-481", "--yes", "--json")
    while (result := await lost.run(*settle)).exit_code:  # not before no byte of it can be under way
        assert "DELIVERY_STATE_REFUSED" in result.stderr
        assert asyncio.get_running_loop().time() < deadline
    settled = await lost.post.until(lost.delivery_id, DELIVERY_STATE_SENT_ACKED)
    assert len(settled.attempts) == 2


async def test_it_is_counted_listed_and_asked_about(lost: Lost) -> None:
    status = json.loads((await lost.run("status", "--json")).stdout)
    (sms,) = [each for each in status["channels"] if each["channel"] == "SMS"]
    assert sms["states"]["UNKNOWN"] == 1
    listed = json.loads((await lost.run("list", "--state", "unknown", "--channel", "sms", "--json")).stdout)
    assert [each["delivery_id"] for each in listed["deliveries"]] == [lost.delivery_id]
    assert json.loads((await lost.run("reconcile", lost.delivery_id, "--json")).stdout) == {"due": 1}
