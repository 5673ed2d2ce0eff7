"""The client of gold, `selene gold` and `selene lineage`, against the real owner behind a real channel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_TTS_PRONUNCIATION
from selene_messages.selene.gold import v1
from selene_messages.selene.learning.v1 import LineageEdge
from typer.testing import CliRunner

from clients.cli import gold as command
from clients.cli import lineage
from clients.cli.registry import Commands
from clients.gold import AT_ONCE, Gold, Tree, tree
from store import Store
from tests.servers.learning.items import item, pronunciation
from tests.support.gold import captured, distinct, gold_of, items, token_of
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT
from tests.support.stores import audit

Run = Callable[..., Awaitable[Any]]
SPOKEN = {
    "item_id": "i1",
    "signal_id": "signal-1",
    "pronunciation": {"term": "Selene", "phonemes": "si li ni", "locale": "en-GB"},
}


@pytest.fixture
async def owners(tmp_path: Path) -> AsyncIterator[Owners]:
    async with serving(["learning"], tmp_path, {"owners.learning": {"intake": {"outbox_every_s": 60}}}) as served:
        yield served


@pytest.fixture
def run(owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `selene …` as somebody, with a loop of its own, beside the server's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("SELENE_TARGET", owners.running.target("learning"))
    monkeypatch.setenv("COLUMNS", "250")
    app = typer.Typer()
    commands = Commands(app)
    command.register(commands)
    lineage.register(commands)

    async def invoke(*arguments: str, who: str = "maker", role: str = "operator", stdin: str = "") -> Any:
        token = token_of(owners, who, role)
        return await asyncio.to_thread(CliRunner().invoke, app, [*arguments], input=stdin, env={"SELENE_TOKEN": token})

    return invoke


@pytest.fixture
async def proposed(owners: Owners, run: Run) -> str:
    """The id of a candidate of pronunciations that the maker proposed by command."""
    await captured(owners.store, "1", domain=GOLD_DOMAIN_TTS_PRONUNCIATION)
    done = await run("gold", "propose", "signal-1", "--domain", "tts_pronunciation", "--json")
    assert done.exit_code == 0
    gold_set_id: str = json.loads(done.stdout)["gold_set_id"]
    return gold_set_id


async def row_of(run: Run) -> dict[str, str]:
    done = await run("gold", "board", "--json")
    [row] = json.loads(done.stdout)["gold_sets"]
    found: dict[str, str] = row
    return found


async def froze(store: Store, gold_set_id: str) -> None:
    async with store.transaction() as tx:
        await tx.gold.freeze(TENANT, [gold_set_id])
        audit(tx, TENANT)


async def test_a_set_goes_by_commands_from_a_proposal_to_review(run: Run, proposed: str) -> None:
    added = await run("gold", "items", proposed, "--add", "-", stdin=json.dumps(SPOKEN) + "\n\n")
    assert (added.exit_code, added.stdout) == (0, "1 items\n")
    label = json.dumps({"item_id": "i1", "pronunciation": {"accepted": True, "confidence_bp": 9500}})
    said = await run("gold", "label", proposed, "-", who="ann", role="reviewer", stdin=label)
    assert (said.exit_code, said.stdout) == (0, "1 labels\n")
    listed = await run("gold", "items", proposed)
    assert "Selene" in listed.stdout and f"labelled by {TENANT}/ann" in listed.stdout
    for state in ("validating", "awaiting_review"):
        assert (await run("gold", "advance", proposed, state)).exit_code == 0
    refused = await run("gold", "advance", proposed, "gold_approved")
    assert refused.exit_code == 1
    assert "AWAITING_REVIEW stays: no GOLD_APPROVED, GOLD_THRESHOLD_NOT_MET" in refused.stdout
    shown = await run("gold", "show", proposed)
    assert "PRONUNCIATION_JUDGMENTS" in shown.stdout and "VALIDATING → AWAITING_REVIEW" in shown.stdout


async def test_copies_are_shown_with_what_counts_in_their_place(run: Run, proposed: str) -> None:
    again = [{**SPOKEN, "item_id": f"z{number:02}"} for number in range(12)]
    await run("gold", "items", proposed, "--add", "-", stdin="\n".join(map(json.dumps, [SPOKEN, *again])))
    shown = await run("gold", "show", proposed)
    assert "z00 is i1 again and counts once" in shown.stdout and "z10 is" not in shown.stdout
    assert "and 2 further copies" in shown.stdout


async def test_the_board_says_what_blocks_a_set_and_who_must_act(owners: Owners, run: Run, proposed: str) -> None:
    row = await row_of(run)
    assert (row["state"], row["blocked_by"], row["actor"]) == ("CANDIDATE", "no items", f"{TENANT}/maker")
    await run("gold", "items", proposed, "--add", "-", stdin=json.dumps(SPOKEN))
    for state in ("validating", "awaiting_review"):
        await run("gold", "advance", proposed, state)
    row = await row_of(run)
    assert row["actor"] == "reviewers" and row["how"].startswith(f"selene gold items {proposed}")
    assert "PRONUNCIATION_JUDGMENTS 0 (wants ≥ 250)" in row["blocked_by"]
    await froze(owners.store, proposed)
    row = await row_of(run)
    assert (row["state"], row["blocked_by"], row["actor"]) == (
        "AWAITING_REVIEW, frozen",
        "CONSENT_REVOKED",
        "governance",
    )


async def test_what_is_no_item_or_label_is_named_by_its_line_and_nothing_is_sent(run: Run, proposed: str) -> None:
    for lines in (json.dumps(SPOKEN) + "\n{", json.dumps(SPOKEN) + "\n[1]"):
        wrong = await run("gold", "items", proposed, "--add", "-", stdin=lines)
        assert wrong.exit_code == 2 and "line 2 is no GoldItem" in wrong.stderr
    assert (await run("gold", "items", proposed)).stdout == ""
    wrong = await run("gold", "label", proposed, "-", who="ann", role="reviewer", stdin="labels")
    assert wrong.exit_code == 2 and "line 1 is no GoldLabel" in wrong.stderr


async def test_a_refusal_exits_with_1_and_says_why(run: Run, proposed: str) -> None:
    refused = await run("gold", "label", proposed, "-", stdin=json.dumps({"item_id": "i1", "trial": {}}))
    assert refused.exit_code == 1 and "ROLE_REQUIRED" in refused.stderr
    unknown = await run("gold", "show", "nothing")
    assert unknown.exit_code == 1 and "RESOURCE_NOT_FOUND" in unknown.stderr


async def test_domains_and_sets_are_listed(run: Run, proposed: str) -> None:
    incomplete = await run("gold", "domains", "--incomplete", "--json")
    assert "PERSONA_TONE" in incomplete.stdout and "NLP_INTENT_SLOT" not in incomplete.stdout
    listed = await run("gold", "list", "--state", "candidate", "--domain", "tts_pronunciation")
    assert proposed in listed.stdout
    assert proposed not in (await run("gold", "list", "--state", "packaged")).stdout


async def test_lineage_is_a_tree_and_a_picture(run: Run, proposed: str, tmp_path: Path) -> None:
    picture = tmp_path / "lineage.svg"
    done = await run("lineage", "signal:signal-1", "--descendants", "--svg", str(picture))
    assert done.exit_code == 0
    assert "signal:signal-1" in done.stdout and f"gold:{proposed}" in done.stdout
    texts = [node.text for node in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["signal:signal-1", f"gold:{proposed}"]
    assert (await run("lineage", "pack:1")).exit_code == 2
    assert (await run("lineage", "artifact:nothing")).exit_code == 1


async def test_more_items_than_a_request_holds_are_sent_as_several(owners: Owners) -> None:
    [signal_id] = await captured(owners.store, "1", domain=GOLD_DOMAIN_TTS_PRONUNCIATION)
    maker: Gold = gold_of(owners, "maker", "service")
    candidate = await maker.propose(v1.GoldDomain.TTS_PRONUNCIATION, v1.GoldTier._2_HUMAN_VERIFIED, [signal_id])
    spoken = [item(distinct(pronunciation(), number), f"i{number}", signal_id) for number in range(AT_ONCE + 1)]
    assert await maker.add_items(candidate.gold_set_id, items(spoken)) == AT_ONCE + 1


def edge(ancestor: str, descendant: str, depth: int) -> LineageEdge:
    return LineageEdge(ancestor_ref=ancestor, descendant_ref=descendant, depth=depth)


def test_a_ref_that_is_reached_twice_is_shown_whole_once() -> None:
    edges = [
        edge("signal:s", "gold:a", 1),
        edge("signal:s", "gold:b", 1),
        edge("gold:a", "artifact:x", 2),
        edge("gold:b", "artifact:x", 2),
        edge("artifact:x", "artifact:y", 3),
    ]
    whole = Tree("artifact:x", (Tree("artifact:y"),))
    again = Tree("artifact:x", again=True)
    assert tree("signal:s", edges, descendants=True) == Tree(
        "signal:s", (Tree("gold:a", (whole,)), Tree("gold:b", (again,)))
    )
    assert tree("artifact:y", edges[-1:], descendants=False) == Tree("artifact:y", (Tree("artifact:x"),))
