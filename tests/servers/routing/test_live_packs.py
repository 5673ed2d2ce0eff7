"""The packs that a running owner goes by: followed, read by their consumer, refused audibly, kept for a whole call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from selene.common.v1.scope_pb2 import SCOPE_TYPE_USER, Scope
from selene.governance.v1.rollout_pb2 import (
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    RolloutStage,
)
from structlog.testing import capture_logs

from servers.pack_formats import PackFault, PackUnusable
from servers.routing import live_packs
from servers.routing.live_packs import NO_PACKS, LivePacks, PackMetrics
from servers.routing.pack_choice import Subject
from servers.runtime.storage import SYSTEM_TENANT
from store import Store, StoreUnavailable
from tests.support.live_packs import DEPLOYMENT, OF_TENANT, TENANT, begin, freeze, move, put, somebody, take_back
from tests.support.stores import audit

PACK, OTHER = "TEXT_PACK", "OTHER_PACK"
EARLY, LATE, NEVER = somebody(0, 500), somebody(500, 2_500), somebody(2_500, 10_000)


def read(payload: bytes) -> str:
    """A pack is a text that is no joke."""
    if b"joke" in payload:
        raise PackUnusable(PackFault.FIELD_INVALID, "it is one")
    if b"bug" in payload:
        raise ZeroDivisionError
    return payload.decode()


@dataclass
class Consumer:
    """An owner that reads two types."""

    store: Store
    registry: CollectorRegistry
    packs: LivePacks

    def by(self, key: str = "", *, tenant: str = TENANT, **fields: str) -> tuple[Any, dict[str, str]]:
        """What a call would go by that began now, and what its rows would say."""
        chosen = self.packs.choose(Subject(tenant, key=key, **fields))
        return chosen.get(PACK), {name.removeprefix("text_pack_"): value for name, value in chosen.facts.items()}

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"selene_packs_{name}_total", {"owner": "PH1.X", **labels}) or 0.0

    async def refusals(self, tenant: str = TENANT) -> list[tuple[str, str, dict[str, str]]]:
        rows = [chained.event async for chained in self.store.audit.stream(tenant)]
        return [
            (row.owner, row.reason_code, {fact.name: fact.value for fact in row.facts})
            for row in rows
            if row.transition == "pack.refused"
        ]


def consumer(store: Store, parser: Callable[[bytes], Any] = read) -> Consumer:
    registry = CollectorRegistry()
    parsers = {PACK: parser, OTHER: read}
    return Consumer(store, registry, LivePacks(store, store.trusted_keys(), "PH1.X", parsers, PackMetrics(registry)))


async def test_without_packs_calls_go_by_none_and_say_nothing(sqlite_store: Store) -> None:
    owner = consumer(sqlite_store)
    await owner.packs.refresh()
    assert owner.packs.choose(Subject(TENANT)) is NO_PACKS


async def test_a_pointer_that_moves_is_followed_and_a_rollback_as_well(store: Store) -> None:
    owner = consumer(store)
    for number, text in enumerate(("one", "two"), 1):
        await put(store, PACK, text.encode())
        await owner.packs.refresh()
        assert owner.by() == (text, {"text_pack": f"{PACK}@{number}"})
    async with store.transaction() as tx:
        await tx.artifacts.rollback(PACK, TENANT, OF_TENANT, created_by="test", idempotency_key="back")
        audit(tx, TENANT)
    await owner.packs.refresh()
    assert owner.by() == ("one", {"text_pack": f"{PACK}@3"})


async def test_a_call_keeps_what_it_began_with(sqlite_store: Store) -> None:
    owner = consumer(sqlite_store)
    await put(sqlite_store, PACK, b"one")
    await owner.packs.refresh()
    call = owner.packs.choose(Subject(TENANT))
    await put(sqlite_store, PACK, b"two")
    await owner.packs.refresh()
    assert (call.get(PACK), dict(call.facts)) == ("one", {"text_pack": f"{PACK}@1"})
    assert owner.by()[0] == "two"


async def test_what_is_withdrawn_serves_no_more(store: Store) -> None:
    owner = consumer(store)
    await put(store, PACK, b"wide", scope=DEPLOYMENT, tenant="")
    await put(store, PACK, b"close")
    await owner.packs.refresh()
    assert owner.by()[0] == "close" and owner.by(tenant="t-2")[0] == "wide"
    async with store.transaction() as tx:
        await tx.artifacts.withdraw(PACK, TENANT, OF_TENANT)
        audit(tx, TENANT)
    await owner.packs.refresh()
    assert owner.by()[0] == "wide"


@pytest.mark.parametrize(
    ("payload", "fields", "reason"),
    [
        (b"a joke", {}, "FIELD_INVALID"),
        (b"a bug", {}, "PARSER_FAILED"),
        (b"two", {"signature": bytes(64), "signing_key_id": "a stranger's"}, "NOT_IN_LEDGER"),
    ],
)
async def test_what_its_consumer_does_not_take_leaves_the_version_before_and_is_told_once(
    store: Store, payload: bytes, fields: dict[str, Any], reason: str
) -> None:
    owner = consumer(store)
    await put(store, PACK, b"one")
    await put(store, OTHER, b"beside")
    await owner.packs.refresh()
    await put(store, PACK, payload, **fields)
    with capture_logs() as said:
        for _ in range(3):
            await owner.packs.refresh()
    assert owner.by() == ("one", {"text_pack": f"{PACK}@1", "fault": "UNREADABLE", "other_pack": f"{OTHER}@1"})
    assert await owner.refusals() == [("PH1.X", reason, {"pack": f"{PACK}@2"})]
    assert owner.counted("refused", type=PACK, reason=reason) == 1
    assert [each["reason"] for each in said if each["event"].startswith("pack refused")] == [reason]
    await put(store, PACK, b"three")
    await owner.packs.refresh()
    assert owner.by()[0] == "three" and "fault" not in owner.by()[1]


async def test_looks_at_the_same_time_tell_of_a_refusal_once(sqlite_store: Store) -> None:
    owner = consumer(sqlite_store)
    await put(sqlite_store, PACK, b"joke")
    await asyncio.gather(*(owner.packs.refresh() for _ in range(4)))
    assert len(await owner.refusals()) == 1


async def test_a_first_version_that_is_refused_leaves_nothing(sqlite_store: Store) -> None:
    owner = consumer(sqlite_store)
    await put(sqlite_store, PACK, b"joke", scope=DEPLOYMENT, tenant="")
    await owner.packs.refresh()
    assert owner.by() == (None, {"fault": "UNREADABLE"})
    assert await owner.refusals(SYSTEM_TENANT) == [("PH1.X", "FIELD_INVALID", {"pack": f"{PACK}@1"})]


async def test_what_was_revoked_does_not_stand_in_for_what_is_refused(store: Store) -> None:
    owner = consumer(store)
    first = await put(store, PACK, b"one")
    await owner.packs.refresh()
    await put(store, PACK, b"joke")
    await owner.packs.refresh()
    assert owner.by()[0] == "one"
    await freeze(store, first)
    await owner.packs.refresh()
    assert owner.by() == (None, {"fault": "UNREADABLE"})


@pytest.mark.parametrize(
    ("stage", "served"),
    [
        (ROLLOUT_STAGE_SHADOW, set()),
        (ROLLOUT_STAGE_CANARY_1, {EARLY}),
        (ROLLOUT_STAGE_CANARY_2, {EARLY, LATE}),
        (ROLLOUT_STAGE_FULL, {EARLY, LATE, NEVER}),
    ],
)
async def test_the_candidate_serves_the_subjects_of_its_cohort(
    store: Store, stage: RolloutStage, served: set[str]
) -> None:
    owner = consumer(store)
    await put(store, PACK, b"one")
    await begin(store, await put(store, PACK, b"two", active=False), stage)
    await owner.packs.refresh()
    tests = stage in (ROLLOUT_STAGE_CANARY_1, ROLLOUT_STAGE_CANARY_2)
    for key in (EARLY, LATE, NEVER):
        text, facts = owner.by(key)
        assert (text == "two") == (key in served)
        arm = ("candidate" if key in served else "baseline") if tests else None
        assert (facts.get("arm"), facts.get("rollout")) == (arm, "rollout-1" if tests else None)
        assert facts["text_pack"] == f"{PACK}@{2 if key in served else 1}"
    assert owner.counted("served", type=PACK, arm="candidate") == (len(served) if tests else 0)


async def test_a_rollout_that_advances_or_is_taken_back_moves_calls_that_begin_then(store: Store) -> None:
    owner = consumer(store)
    await put(store, PACK, b"one")
    rollout = await begin(store, await put(store, PACK, b"two", active=False))
    await owner.packs.refresh()
    begun = owner.packs.choose(Subject(TENANT, key=EARLY))
    assert owner.by(LATE)[0] == "one"
    await move(store, rollout, ROLLOUT_STAGE_CANARY_2)
    await owner.packs.refresh()
    assert owner.by(LATE)[0] == "two"
    await take_back(store, rollout)
    await owner.packs.refresh()
    assert [owner.by(key)[0] for key in (EARLY, LATE)] == ["one", "one"] and begun.get(PACK) == "two"


async def test_a_candidate_that_is_frozen_refused_or_overtaken_serves_nobody(store: Store) -> None:
    owner = consumer(store)
    await put(store, PACK, b"one")
    candidate = await put(store, PACK, b"two", active=False)
    rollout = await begin(store, candidate)
    await freeze(store, candidate)
    await owner.packs.refresh()
    assert owner.by(EARLY) == ("one", {"text_pack": f"{PACK}@1", "rollout": "rollout-1", "fault": "REVOKED"})
    await take_back(store, rollout)
    again = await begin(store, await put(store, PACK, b"joke", active=False), rollout_id="rollout-2")
    await owner.packs.refresh()
    early = somebody(0, 500, rollout_id="rollout-2")
    assert owner.by(early)[1]["fault"] == "UNREADABLE" and owner.by(early)[0] == "one"
    assert [reason for _, reason, _ in await owner.refusals()] == ["FIELD_INVALID"]
    await take_back(store, again)
    await begin(store, await put(store, PACK, b"four", active=False), rollout_id="rollout-3")
    await put(store, PACK, b"five")
    await owner.packs.refresh()
    early = somebody(0, 500, rollout_id="rollout-3")
    assert (owner.by(early)[0], owner.by(early)[1]["fault"]) == ("five", "BASELINE_REPLACED")


async def test_a_rollout_of_the_whole_deployment_takes_tenants_as_a_whole(store: Store) -> None:
    owner = consumer(store)
    await put(store, PACK, b"one", scope=DEPLOYMENT, tenant="")
    await begin(store, await put(store, PACK, b"two", scope=DEPLOYMENT, tenant="", active=False))
    await owner.packs.refresh()
    for places, text in (((0, 500), "two"), ((500, 10_000), "one")):
        tenant = somebody(*places, prefix="tenant")
        assert {owner.by(key, tenant=tenant)[0] for key in (EARLY, NEVER, "")} == {text}


async def test_a_candidate_of_one_user_serves_that_user_only(sqlite_store: Store) -> None:
    owner = consumer(sqlite_store)
    mira = Scope(scope_type=SCOPE_TYPE_USER, scope_id="mira")
    await put(sqlite_store, PACK, b"one")
    await begin(sqlite_store, await put(sqlite_store, PACK, b"hers", scope=mira, active=False))
    await owner.packs.refresh()
    assert owner.by(EARLY, user_id="mira")[0] == "hers"
    assert owner.by(NEVER, user_id="mira")[0] == owner.by(EARLY, user_id="otto")[0] == "one"


async def test_while_the_store_is_away_what_is_known_goes_on(sqlite_store: Store) -> None:
    owner = consumer(sqlite_store)
    await put(sqlite_store, PACK, b"one")
    await owner.packs.refresh()
    await sqlite_store.close()
    with pytest.raises(StoreUnavailable):
        await owner.packs.refresh()
    assert owner.by()[0] == "one"


async def test_a_version_is_read_once_and_what_no_pointer_names_is_not_kept(sqlite_store: Store) -> None:
    seen: list[bytes] = []

    def counting(payload: bytes) -> str:
        seen.append(payload)
        return read(payload)

    owner = consumer(sqlite_store, counting)
    for text in (b"one", b"two"):
        await put(sqlite_store, PACK, text)
        for _ in range(live_packs.READ_ANEW_AFTER + 1):
            await owner.packs.refresh()
    assert seen == [b"one", b"two"]
    assert len(owner.packs._read) == 1


async def test_a_move_that_no_mark_shows_is_found_in_the_end(sqlite_store: Store) -> None:
    owner = consumer(sqlite_store)
    await put(sqlite_store, PACK, b"one")
    await owner.packs.refresh()
    mark = await sqlite_store.artifacts.pointers_mark((PACK, OTHER))
    await put(sqlite_store, PACK, b"two")
    owner.packs._mark = await sqlite_store.artifacts.pointers_mark((PACK, OTHER))
    assert owner.packs._mark != mark
    for _ in range(live_packs.READ_ANEW_AFTER):
        await owner.packs.refresh()
    assert owner.by()[0] == "two"
