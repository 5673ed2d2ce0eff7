"""Which threshold pack is in force is changed from the command line: audited, and refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ARTIFACT_STATUS_REVERTED, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_LOCALE, Scope
from selene.governance.v1.decision_pb2 import SignedStatement
from selene.learning.v1.signal_pb2 import INTAKE_PATH_DEFECT
from typer.testing import CliRunner

from clients import cli
from servers import packs
from servers.learning.packs.build import empty
from servers.packs import PackReason, PackRefused
from servers.runtime.storage import MASTER_KEY, SYSTEM_TENANT
from servers.shipped import ARTIFACT_TYPE, DEPLOYMENT, register_pack, register_shipped_pack
from servers.voiceid.active_packs import ActivePack, Packs
from servers.voiceid.precedence import Subject
from store import Store
from store.gold import artifact_ref
from store.learning import NewSignal
from tests.support.packs import shipped, variant
from tests.support.signals import signal
from tests.support.stores import audit, open_store


async def register(store: Store, payload: bytes) -> None:
    await register_pack(store, payload, scope=DEPLOYMENT, tenant_id="", provenance_ref="test", activate=False)


async def states(store: Store, tenant: str = "") -> list[tuple[int, str, str]]:
    return [(row["version"], row["state"], row["status"]) for row in await packs.listed(store, tenant)]


async def refused(work: Awaitable[Any]) -> PackReason:
    with pytest.raises(PackRefused) as caught:
        await work
    return caught.value.reason


async def transitions(store: Store) -> list[tuple[str, str, str]]:
    trail = [chained.event async for chained in store.audit.stream(SYSTEM_TENANT)]
    return [
        (event.transition, event.reason_code, {fact.name: fact.value for fact in event.facts}["pack"])
        for event in trail
    ]


async def test_a_registered_pack_decides_nothing_until_it_is_activated(store: Store) -> None:
    await register_shipped_pack(store)
    added = await packs.add(store, variant(proven=True), "pack.json", "")
    assert (added["version"], added["state"], added["status"]) == (2, "", "CANDIDATE")
    assert await states(store) == [(1, "ACTIVE", "PROVISIONAL"), (2, "", "CANDIDATE")]
    await packs.activate(store, 2, "", accept_provisional=False)
    assert await states(store) == [(1, "PREVIOUS", "PROVISIONAL"), (2, "ACTIVE", "CANDIDATE")]


async def test_a_rollback_is_a_new_version_with_the_content_of_before(store: Store) -> None:
    await register_shipped_pack(store)
    await register(store, variant(proven=True))
    await packs.activate(store, 2, "", accept_provisional=False)
    returned = await packs.rollback(store, "")
    assert (returned["version"], returned["state"], returned["status"]) == (3, "ACTIVE", "PROVISIONAL")
    rows = await packs.listed(store, "")
    assert rows[2]["sha256"] == rows[0]["sha256"] != rows[1]["sha256"]
    assert await transitions(store) == [
        ("threshold_pack.activated", "PROVISIONAL", f"{ARTIFACT_TYPE}@1"),
        ("threshold_pack.registered", "CALIBRATED", f"{ARTIFACT_TYPE}@2"),
        ("threshold_pack.activated", "CALIBRATED", f"{ARTIFACT_TYPE}@2"),
        ("threshold_pack.rolled_back", "OPERATOR_ROLLBACK", f"{ARTIFACT_TYPE}@3"),
    ]


async def test_a_server_that_runs_decides_by_the_new_pack_at_once(store_url: str) -> None:
    serving = await open_store(store_url, prefix="server")
    beside = await open_store(store_url, prefix="command")
    decisions = Packs(serving, serving.trusted_keys(), shipped().model_set_hash)

    async def limit() -> int:
        found = await decisions.active("t-1", Subject())
        assert isinstance(found, ActivePack), found
        return found.thresholds.policy.conf_high_bp

    await register(beside, variant(proven=True, policy={"conf_high_bp": 9_100}))
    await register(beside, variant(proven=True, policy={"conf_high_bp": 9_200}))
    seen = []
    for change in (
        lambda: packs.activate(beside, 1, "", accept_provisional=False),
        lambda: packs.activate(beside, 2, "", accept_provisional=False),
        lambda: packs.rollback(beside, ""),
    ):
        await change()
        seen.append(await limit())
    assert seen == [9_100, 9_200, 9_100]
    await serving.close()
    await beside.close()


async def test_a_pack_that_is_not_proven_has_to_be_accepted_as_such(store: Store) -> None:
    await register(store, variant())
    assert await refused(packs.activate(store, 1, "", accept_provisional=False)) == PackReason.PACK_PROVISIONAL
    assert await states(store) == [(1, "", "PROVISIONAL")]
    accepted = await packs.activate(store, 1, "", accept_provisional=True)
    assert accepted["state"] == "ACTIVE"


async def test_an_older_version_is_returned_to_by_rollback_only(store: Store) -> None:
    for limit in (9_100, 9_200):
        await register(store, variant(proven=True, policy={"conf_high_bp": limit}))
    await packs.activate(store, 2, "", accept_provisional=False)
    reason = await refused(packs.activate(store, 1, "", accept_provisional=False))
    assert reason == PackReason.PACK_OLDER_THAN_ACTIVE
    # Version 1 was never in force, so there is nothing to return to.
    assert await refused(packs.rollback(store, "")) == PackReason.NOTHING_TO_ROLL_BACK_TO


async def test_what_is_in_force_already_is_activated_without_a_second_event(store: Store) -> None:
    await register(store, variant(proven=True))
    for _ in range(2):
        assert (await packs.activate(store, 1, "", accept_provisional=False))["state"] == "ACTIVE"
    assert [transition for transition, _, _ in await transitions(store)].count("threshold_pack.activated") == 1


async def test_a_tenants_packs_are_its_own(store: Store) -> None:
    await register_shipped_pack(store)
    await packs.add(store, variant(proven=True), "pack.json", "t-1")
    await packs.activate(store, 1, "t-1", accept_provisional=False)
    assert await states(store, "t-1") == [(1, "ACTIVE", "CANDIDATE")]
    assert await states(store) == [(1, "ACTIVE", "PROVISIONAL")]
    assert await states(store, "t-2") == []
    assert await refused(packs.activate(store, 1, "t-2", accept_provisional=True)) == PackReason.PACK_UNKNOWN


@pytest.mark.parametrize(
    ("row", "payload", "reason"),
    [
        (ArtifactRow(status=ARTIFACT_STATUS_REVERTED), variant(proven=True), PackReason.PACK_TAKEN_BACK),
        (ArtifactRow(status=1, signature=bytes(64), signing_key_id="x"), b"{}", PackReason.PACK_SIGNATURE_UNTRUSTED),
        (ArtifactRow(status=1), b"{}", PackReason.PACK_DAMAGED),
    ],
)
async def test_a_pack_that_no_server_would_accept_is_refused(
    store: Store, row: ArtifactRow, payload: bytes, reason: PackReason
) -> None:
    row.artifact_type, row.created_by, row.idempotency_key = ARTIFACT_TYPE, "test", "k"
    row.scope.CopyFrom(DEPLOYMENT)
    async with store.transaction() as tx:
        await tx.artifacts.register(row, payload)
        audit(tx)
    assert await refused(packs.activate(store, 1, "", accept_provisional=True)) == reason
    assert await store.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT) is None


LEARNED, BEFORE, AFTER = (variant(proven=True, policy={"conf_high_bp": limit}) for limit in (9_300, 9_100, 9_200))
LOCALE = Scope(scope_type=SCOPE_TYPE_LOCALE, scope_id="de")


async def put(store: Store, payload: bytes, scope: Scope | None = None, *ancestors: str) -> ArtifactRow:
    """A pack of the tenant t-1; with ancestors it was learned from them."""
    scope = scope or packs.scope_of("t-1")
    row = await register_pack(store, payload, scope=scope, tenant_id="t-1", provenance_ref="test", activate=False)
    async with store.transaction() as tx:
        await tx.gold.lineage.link("t-1", ancestors, artifact_ref(row.artifact_id))
        audit(tx)
    return row


async def serve(store: Store, *rows: ArtifactRow) -> None:
    """As governance puts them in force, one after the other."""
    async with store.transaction() as tx:
        for row in rows:
            await tx.artifacts.activate(ARTIFACT_TYPE, row.tenant_id, row.scope, row.artifact_version)
        audit(tx)


async def freeze(store: Store, row: ArtifactRow) -> None:
    """As a revocation does at once; what it takes back follows later."""
    async with store.transaction() as tx:
        await tx.governance.cases.freeze("t-1", [row.artifact_id], "r-1")
        audit(tx)


async def in_force(store: Store, tenant: str = "t-1") -> tuple[int, int]:
    pointer = await store.artifacts.pointer(ARTIFACT_TYPE, tenant, packs.scope_of(tenant))
    return (pointer.active_version, pointer.rollback_version) if pointer else (0, 0)


@pytest.mark.parametrize("accept_provisional", [False, True])
async def test_what_was_learned_is_left_to_its_gates(store: Store, accept_provisional: bool) -> None:
    row = await put(store, variant(), None, "gold:g-1")
    with pytest.raises(PackRefused) as caught:
        await packs.activate(store, 1, "t-1", accept_provisional=accept_provisional)
    assert caught.value.reason == PackReason.PACK_NEEDS_GATES
    for command in ("gate show", "rollout start"):
        assert f"`selene {command} {row.artifact_id}`" in str(caught.value)
    assert await in_force(store) == (0, 0)


@pytest.mark.parametrize("tenant", ["t-1", "t-2", ""])
async def test_what_was_learned_passes_no_gate_by_being_added_by_hand(store: Store, tenant: str) -> None:
    await put(store, LEARNED, LOCALE, "gold:g-1")
    await packs.add(store, LEARNED, "pack.json", tenant)
    assert await refused(packs.activate(store, 1, tenant, accept_provisional=True)) == PackReason.PACK_NEEDS_GATES
    assert await in_force(store, tenant) == (0, 0)


async def test_an_open_defect_holds_what_is_put_in_force_by_hand(store: Store) -> None:
    made = signal("1", "t-1")
    async with store.transaction() as tx:
        new = [NewSignal(made, INTAKE_PATH_DEFECT, safety_critical=True)]
        await tx.learning.signals.capture("t-1", new, lambda signal, seen: 1)
        audit(tx, "t-1")
    for tenant in ("t-1", "t-2"):
        await packs.add(store, variant(proven=True), "pack.json", tenant)
    await packs.activate(store, 1, "t-2", accept_provisional=False)
    assert await refused(packs.activate(store, 1, "t-1", accept_provisional=False)) == PackReason.PACK_HELD_BY_DEFECT
    assert await in_force(store) == (0, 0)
    async with store.transaction() as tx:
        await tx.governance.defects.close("t-1", made.signal_id, "f-1", SignedStatement())
        audit(tx, "t-1")
    await packs.activate(store, 1, "t-1", accept_provisional=False)
    assert await in_force(store) == (1, 0)


async def test_what_governance_put_in_force_stays_so_and_is_returned_to(store: Store) -> None:
    learned, after = await put(store, LEARNED, None, "gold:g-1"), await put(store, AFTER)
    await serve(store, learned)
    assert (await packs.activate(store, 1, "t-1", accept_provisional=False))["state"] == "ACTIVE"
    await packs.activate(store, after.artifact_version, "t-1", accept_provisional=False)
    returned = await packs.rollback(store, "t-1")
    assert (returned["state"], returned["sha256"]) == ("ACTIVE", learned.package_hash.hex())
    assert await in_force(store) == (3, 1)


async def test_what_a_revocation_froze_is_not_activated(store: Store) -> None:
    learned = await put(store, LEARNED, None, "gold:g-1")
    await freeze(store, learned)
    assert await refused(packs.activate(store, 1, "t-1", accept_provisional=True)) == PackReason.PACK_REVOKED
    assert await in_force(store) == (0, 0)


async def test_content_that_was_frozen_does_not_come_back_as_what_a_rollback_made_of_it(store: Store) -> None:
    learned, after = await put(store, LEARNED, None, "gold:g-1"), await put(store, AFTER)
    await serve(store, learned, after)
    assert (await packs.rollback(store, "t-1"))["version"] == 3
    await freeze(store, learned)
    async with store.transaction() as tx:
        await tx.artifacts.withdraw(ARTIFACT_TYPE, "t-1", packs.scope_of("t-1"))
        audit(tx)
    assert await refused(packs.activate(store, 3, "t-1", accept_provisional=True)) == PackReason.PACK_REVOKED
    assert (await packs.activate(store, 2, "t-1", accept_provisional=False))["state"] == "ACTIVE"


@pytest.mark.parametrize("where", [None, LOCALE])
async def test_a_rollback_does_not_return_to_what_was_revoked_in_any_line(store: Store, where: Scope | None) -> None:
    learned = await put(store, LEARNED, where, "gold:g-1")
    before, after = await put(store, LEARNED), await put(store, AFTER)
    await serve(store, before, after)
    await freeze(store, learned)
    stands = await in_force(store)
    assert await refused(packs.rollback(store, "t-1")) == PackReason.PACK_REVOKED
    assert await in_force(store) == stands
    assert len(await packs.listed(store, "t-1")) == 2


async def test_a_copy_of_what_was_revoked_is_revoked(store: Store) -> None:
    learned = await put(store, LEARNED, LOCALE, "gold:g-1")
    copy, after = await put(store, BEFORE, None, artifact_ref(learned.artifact_id)), await put(store, AFTER)
    await serve(store, copy, after)
    await freeze(store, learned)
    assert await refused(packs.rollback(store, "t-1")) == PackReason.PACK_REVOKED


async def test_what_serves_of_every_other_type_and_scope_is_listed_with_what_it_returns_to(store: Store) -> None:
    await register_shipped_pack(store)
    learned = await put(store, LEARNED, LOCALE, "gold:g-1")
    async with store.transaction() as tx:
        await tx.artifacts.activate(ARTIFACT_TYPE, "t-1", LOCALE, learned.artifact_version)
        for payload in (empty("TTS_PRONUNCIATION_PACK"), b"no pack", b"never active"):
            row = await tx.artifacts.register(
                ArtifactRow(
                    artifact_type="TTS_PRONUNCIATION_PACK",
                    tenant_id="t-1",
                    scope=packs.scope_of("t-1"),
                    provenance_ref="test",
                    created_by="PH1.KNOW",
                    idempotency_key=payload.hex(),
                    status=ARTIFACT_STATUS_CANDIDATE,
                ),
                payload,
            )
            if payload != b"never active":
                line = (row.artifact_type, "t-1", row.scope)
                await tx.artifacts.activate(*line, row.artifact_version)
        audit(tx)
    assert [row["type"] for row in await packs.listed(store, "")] == [ARTIFACT_TYPE]

    async def told() -> list[tuple[Any, ...]]:
        names = ("type", "scope", "version", "state", "status")
        return [tuple(row[name] for name in names) for row in await packs.listed(store, "t-1")]

    here = f"LOCALE {LOCALE.scope_id}"
    rest = [
        ("TTS_PRONUNCIATION_PACK", "TENANT t-1", 1, "PREVIOUS", "CANDIDATE"),
        ("TTS_PRONUNCIATION_PACK", "TENANT t-1", 2, "ACTIVE", "PACK_DAMAGED"),
    ]
    assert sorted(await told()) == [*rest, (ARTIFACT_TYPE, here, 1, "ACTIVE", "CANDIDATE")]
    await freeze(store, learned)
    assert (ARTIFACT_TYPE, here, 1, "ACTIVE", "PACK_REVOKED") in await told()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`selene packs …` on a store that `selene up` might have made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / MASTER_KEY).write_bytes(bytes(32))
    (tmp_path / "pack.json").write_bytes(variant(proven=True))
    (tmp_path / "weak.json").write_bytes(variant())
    (tmp_path / "junk.json").write_bytes(b"junk")
    return lambda *arguments: CliRunner().invoke(cli.build(), ["packs", *arguments, "--data-dir", "data", "--json"])


def test_the_commands_say_what_they_did_as_json(run: Callable[..., Result]) -> None:
    assert json.loads(run("list").stdout) == []
    for arguments, state in (
        (("add", "weak.json"), ""),
        (("activate", "1", "--accept-provisional"), "ACTIVE"),
        (("add", "pack.json"), ""),
        (("activate", "2"), "ACTIVE"),
        (("rollback",), "ACTIVE"),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.stderr
        [said] = json.loads(result.stdout)
        assert said["state"] == state
    versions = [(row["version"], row["state"], row["status"]) for row in json.loads(run("list").stdout)]
    assert versions == [(1, "PREVIOUS", "PROVISIONAL"), (2, "", "CANDIDATE"), (3, "ACTIVE", "PROVISIONAL")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("activate", "7"), "PACK_UNKNOWN: there is no version 7 here; see `selene packs list`"),
        (("activate", "1"), "--accept-provisional"),
        (("rollback",), "NOTHING_TO_ROLL_BACK_TO"),
        (("add", "junk.json"), "NOT_JSON"),
    ],
)
def test_a_refusal_exits_with_1_and_says_what_to_do(
    run: Callable[..., Result], arguments: tuple[str, ...], said: str
) -> None:
    assert run("add", "weak.json").exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stdout == ""


def test_the_help_of_activate_teaches_every_refusal_that_a_learned_pack_meets(run: Callable[..., Result]) -> None:
    told = CliRunner().invoke(cli.build(), ["packs", "activate", "--help"]).stdout
    for what in (PackReason.PACK_NEEDS_GATES, PackReason.PACK_REVOKED, "selene gate show", "selene rollout start"):
        assert what in told
