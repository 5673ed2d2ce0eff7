"""A moment at which the control loops have everything to do at once, and what came of it, told without ids or times."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from selene.common.v1.scope_pb2 import Scope
from selene.governance.v1 import rollout_pb2 as rollouts

from servers.runtime.clock import ManualClock
from servers.runtime.ids import SeededIds
from store import Store
from tests.servers.governance.chain import (
    BEFORE,
    BETTER,
    PACK,
    START,
    TENANT,
    Chain,
    counts,
    open_store,
    place,
)
from tests.servers.governance.oracle import Oracle, decided
from tests.servers.governance.windows import both

SHADOW, CANARY, PROMOTED, REGRESSED, REVOKED, EXPIRED = (
    place(name) for name in ("shadow", "canary", "promoted", "regressed", "revoked", "expired")
)
LINES: Final = (SHADOW, CANARY, PROMOTED, REGRESSED, REVOKED, EXPIRED)
FULL: Final = rollouts.ROLLOUT_STAGE_FULL


@dataclass(frozen=True, slots=True)
class Scene:
    """When it is. `copy` makes a database of its own, of what is stored then, and returns its url, of which
    `is_deserted` says whether nobody is connected to it; where copies cost much, only every `stride`-th commit is died
    at.
    """

    at: datetime
    copy: Callable[[], str]
    is_deserted: Callable[[str], bool]
    stride: int

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Chain]:
        """The chain on a copy."""
        url = self.copy()
        async with at(url, self.at) as chain:
            yield chain


@asynccontextmanager
async def at(url: str, now: datetime, seed: int = 9) -> AsyncIterator[Chain]:
    """The chain as one process has it."""
    clock, ids = ManualClock(now), SeededIds(seed)
    store = await open_store(url, clock, ids)
    yield Chain(store, clock, ids, keys=f"key-{seed}")
    await store.close()


async def prepare(url: str) -> datetime:
    """Everything up to the moment, in a database that is migrated; when that is.

    A shadow and two canaries whose stage is over, the last of them with a version that serves everyone; a version that
    serves everyone and regressed since; a version that serves everyone and one on its way, of a user who revoked; and a
    version that serves everyone, of a user whose consent has run out.
    """
    async with at(url, START, seed=8) as chain:
        full = [
            await _serving(chain, line, f"{line.scope_id}-1", user)
            for line, user in ((PROMOTED, "wim"), (REGRESSED, "wim"), (REVOKED, "ula"), (EXPIRED, "vic"))
        ]
        await _measured(chain, full, 1, 1, 6, 1)
        _, regressed, _, _ = full
        promoted = await _serving(chain, PROMOTED, "promoted-2", "wim")
        await _measured(chain, [promoted], 1, 1, 4)
        canary = await _serving(chain, CANARY, "canary-1", "wim")
        on_its_way = await _serving(chain, REVOKED, "revoked-2", "ula")
        await _measured(chain, [canary, on_its_way], 1)
        shadow = await _serving(chain, SHADOW, "shadow-1", "wim")
        expires_at = chain.clock.now() + timedelta(hours=3)
        await chain.call("vic", "GrantConsent", user_id="vic", expires_at=expires_at)
        chain.a_day_passes()
        for rollout_id in (promoted, canary, shadow):
            await chain.measure(rollout_id, BETTER)
        await _regress(chain, regressed)
        await chain.revoke("ula")
        return chain.clock.now()


async def _serving(chain: Chain, line: Scope, name: str, user: str) -> str:
    """A rollout of what a user and somebody else taught."""
    return await chain.start(await chain.packaged(line, {f"{name}-own": user, f"{name}-else": "xan"}))


async def _measured(chain: Chain, rollout_ids: Sequence[str], *days: int) -> None:
    """After so many days each a good one, with the control loops looking at its end."""
    for many in days:
        for _ in range(many):
            chain.a_day_passes()
        for rollout_id in rollout_ids:
            await chain.measure(rollout_id, BETTER)
        await chain.controller().tick()


async def _regress(chain: Chain, rollout_id: str) -> None:
    """A day's measurements that nobody has judged yet."""
    rollout = await chain.rollout(rollout_id)
    day = timedelta(hours=24)
    async with chain.store.transaction() as tx:
        for window in both(2_000, BEFORE, counts(900, 1_600), starts_at=chain.clock.now() - day, lasts=day):
            assert await tx.governance.rollouts.measured(rollout, FULL, window)
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.measured", reason_code="TEST")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `told` counts the rows of the trail by transition, reason and line."""

    lines: dict[str, Any]
    rollouts: dict[Any, Any]
    revocations: dict[str, Any]
    gold: Counter[Any]
    decided: dict[Any, Any]
    told: Counter[Any]

    @property
    def whoever_was_first(self) -> tuple[Any, ...]:
        """The same without what depends on who of several did a thing: the judge, or the revocation that it heeds; and
        without looks that moved nothing.
        """
        rollouts_ended = {version: (state, stages) for version, (state, _, _, stages) in self.rollouts.items()}
        steps = {user: [step for step, _, _ in done] for user, (_, _, done) in self.revocations.items()}
        told = Counter[str]()
        for (transition, _, _), times in self.told.items():
            told[transition] += times
        told.pop("rollout.judged")
        return self.lines, rollouts_ended, steps, self.gold, told


async def outcome(store: Store) -> Outcome:
    """Read from the rows, which the oracle has found whole."""
    await Oracle(store, LINES).look()
    report = await store.verify(TENANT)
    assert report.ok, report.findings
    lines, versions = {}, {}
    for line in LINES:
        rows = await store.artifacts.versions(PACK, TENANT, line)
        versions.update({row.artifact_id: (line.scope_id, row.artifact_version) for row in rows})
        pointer = await store.artifacts.pointer(PACK, TENANT, line)
        serves = (pointer.active_version, pointer.rollback_version) if pointer else None
        lines[line.scope_id] = (serves, [(row.created_by, row.package_hash, row.status) for row in rows])
    events = [chained.event async for chained in store.audit.stream(TENANT)]
    gold = await store.gold.page(TENANT, limit=500)
    made_of = [await store.gold.signal_ids(TENANT, each.gold_set_id) for each in gold]
    return Outcome(
        lines=lines,
        rollouts={
            versions[each.subject.artifact_id]: (
                each.state,
                each.rollback_reason,
                each.revision,
                [(entry.stage, entry.HasField("left_at")) for entry in each.stages],
            )
            for each in await store.governance.rollouts.page(TENANT, limit=500)
        },
        revocations={
            each.user_id: (each.trigger, each.revision, [(done.step, done.affected, done.late) for done in each.steps])
            for each in await store.governance.consents.page(TENANT, limit=500, only_open=False)
        },
        gold=Counter(
            (tuple(signals), each.state, each.frozen, bool(each.rebuilt_from))
            for each, signals in zip(gold, made_of, strict=True)
        ),
        decided={
            version: [(one.action, one.decision, tuple(one.reasons)) for one in await decided(store, artifact_id)]
            for artifact_id, version in versions.items()
        },
        told=Counter((event.transition, event.reason_code, event.scope.scope_id) for event in events),
    )
