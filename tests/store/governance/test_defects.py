"""Defects at which safety is at stake, on SQLite and PostgreSQL: open until they are closed, and closed for good."""

from __future__ import annotations

from datetime import timedelta

import pytest
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_PAE_ROUTE, GOLD_DOMAIN_VOICE_IDENTITY
from selene.governance.v1.decision_pb2 import ArtifactRef, SignedStatement
from selene.governance.v1.defect_pb2 import DefectFix
from selene.learning.v1.signal_pb2 import INTAKE_PATH_DEFECT
from sqlalchemy import text

from store import Conflict, Store
from store.learning import NewSignal
from tests.support.signals import signal
from tests.support.stores import audit
from tests.support.time import FakeClock

VOICE, ROUTES = GOLD_DOMAIN_VOICE_IDENTITY, GOLD_DOMAIN_PAE_ROUTE
SIGNED = SignedStatement(payload_type="kind", payload=b"payload", signature=bytes(64), signing_key_id="key")
TABLES = {
    "governance_defect_fixes": "fix_id",
    "governance_defect_fix_signals": "fix_id",
    "governance_defect_closures": "fix_id",
}


def defect(name: str, domain: int = VOICE, *, at_stake: bool = True) -> NewSignal:
    made = signal(name, domain=domain)
    return NewSignal(made, INTAKE_PATH_DEFECT, safety_critical=at_stake)


async def captured(store: Store, *new: NewSignal, tenant: str = "t1") -> None:
    async with store.transaction() as tx:
        await tx.learning.signals.capture(tenant, new, lambda signal, seen: 1)
        audit(tx, tenant)


async def named(store: Store, fix_id: str, *names: str, artifact: str = "") -> None:
    fix = DefectFix(fix_id=fix_id, tenant_id="t1", signal_ids=[f"signal-{name}" for name in names])
    if artifact:
        fix.artifact.CopyFrom(ArtifactRef(artifact_id=artifact))
    async with store.transaction() as tx:
        await tx.governance.defects.name_fix(fix)
        audit(tx)


async def closed(store: Store, name: str, fix_id: str) -> None:
    async with store.transaction() as tx:
        await tx.governance.defects.close("t1", f"signal-{name}", fix_id, SIGNED)
        audit(tx)


async def held(store: Store, *domains: int, artifact: str = "a-1", limit: int = 9) -> list[str]:
    found = await store.governance.defects.holding("t1", domains, artifact, limit=limit)
    return [signal_id.removeprefix("signal-") for signal_id in found]


async def test_open_defects_hold_their_own_domain_and_tenant_the_oldest_first(store: Store, clock: FakeClock) -> None:
    await captured(store, defect("1"), defect("2", at_stake=False))
    clock.advance(timedelta(hours=1))
    await captured(store, defect("3"), defect("4", ROUTES))
    assert await held(store, VOICE) == ["1", "3"]
    assert await held(store, VOICE, limit=1) == ["1"]
    assert await held(store, VOICE, ROUTES) == ["1", "3", "4"]
    assert await held(store) == []
    assert await store.governance.defects.holding("t2", [VOICE], "a-1", limit=9) == []
    await named(store, "f-1", "1")
    assert await held(store, VOICE) == ["1", "3"]
    await closed(store, "1", "f-1")
    assert await held(store, VOICE) == ["3"]


async def test_a_defect_does_not_hold_the_artifact_that_is_named_as_its_fix(store: Store) -> None:
    await captured(store, defect("1"), defect("2"))
    await named(store, "f-1", "1", artifact="a-1")
    assert await held(store, VOICE, artifact="a-1") == ["2"]
    assert await held(store, VOICE, artifact="a-2") == ["1", "2"]
    assert await store.governance.defects.named_for("t1", "a-1") == ["signal-1"]
    assert await store.governance.defects.named_for("t1", "a-2") == []
    assert await store.governance.defects.named_for("t1", "") == []


async def test_pages_show_every_defect_with_the_last_fix_or_the_one_that_closed_it(store: Store) -> None:
    await captured(store, *(defect(str(number)) for number in range(1, 6)), defect("6", at_stake=False))
    await named(store, "f-1", "1", "2")
    await named(store, "f-2", "1", "2")
    await closed(store, "1", "f-1")
    defects = store.governance.defects
    first = await defects.page("t1", limit=3)
    rest = await defects.page("t1", limit=3, after=first[-1].sequence)
    shown = [(row.signal_id, row.fix.fix_id if row.fix else "", row.closure == SIGNED) for row in (*first, *rest)]
    assert shown == [
        ("signal-1", "f-1", True),
        ("signal-2", "f-2", False),
        *((f"signal-{number}", "", False) for number in (3, 4, 5)),
    ]
    assert [row.signal_id for row in await defects.page("t1", limit=2, only_open=True)] == ["signal-2", "signal-3"]
    assert await defects.page("t1", limit=9, domain=ROUTES) == []
    assert set(await defects.by_ids("t1", ["signal-1", "signal-6", "nothing"])) == {"signal-1"}
    assert await defects.by_ids("t2", ["signal-1"]) == {}


async def test_a_defect_is_closed_once(store: Store) -> None:
    await captured(store, defect("1"))
    await named(store, "f-1", "1")
    await closed(store, "1", "f-1")
    with pytest.raises(Conflict):
        await closed(store, "1", "f-1")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
async def test_what_mended_a_defect_never_changes(store: Store, table: str, change: str) -> None:
    await captured(store, defect("1"))
    await named(store, "f-1", "1")
    await closed(store, "1", "f-1")
    with pytest.raises(Conflict, match="append-only"):
        async with store.transaction() as tx:
            await tx.write(text(change.format(table=table, column=TABLES[table])))
            audit(tx)
