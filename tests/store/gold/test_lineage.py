from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import sqlite

from store import Conflict, Store
from store.gold import Edge
from store.gold.lineage import _EDGES, _ENDS
from tests.support.stores import audit

TENANT = "t1"


async def linked(store: Store, *edges: tuple[str, str], tenant: str = TENANT) -> None:
    async with store.transaction() as tx:
        for ancestor, descendant in edges:
            await tx.gold.lineage.link(tenant, [ancestor], descendant)
        audit(tx)


CHAIN = (
    ("signal:s1", "gold:g1"),
    ("signal:s2", "gold:g1"),
    ("signal:s2", "gold:g2"),
    ("gold:g1", "artifact:a1"),
    ("artifact:a1", "artifact:a2"),
    ("gold:g2", "artifact:a3"),
)


async def test_closure_reaches_everything_that_was_built_from_a_signal(store: Store) -> None:
    await linked(store, *CHAIN)
    assert await store.gold.lineage.closure(TENANT, ["signal:s1"], descendants=True) == {
        "gold:g1",
        "artifact:a1",
        "artifact:a2",
    }
    assert await store.gold.lineage.closure(TENANT, ["signal:s1", "signal:s2"], descendants=True) == {
        "gold:g1",
        "gold:g2",
        "artifact:a1",
        "artifact:a2",
        "artifact:a3",
    }


async def test_closure_upwards_reaches_everything_that_an_artifact_came_from(store: Store) -> None:
    await linked(store, *CHAIN)
    reached = await store.gold.lineage.closure(TENANT, ["artifact:a2"], descendants=False)
    assert reached == {"artifact:a1", "gold:g1", "signal:s1", "signal:s2"}


async def test_closure_stays_within_the_tenant(store: Store) -> None:
    await linked(store, *CHAIN)
    await linked(store, ("signal:s1", "gold:other"), tenant="t2")
    assert "gold:other" not in await store.gold.lineage.closure(TENANT, ["signal:s1"], descendants=True)
    assert await store.gold.lineage.closure("t2", ["signal:s1"], descendants=True) == {"gold:other"}


async def test_closure_of_more_refs_than_one_look_up_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.gold.lineage.AT_ONCE", 3)
    await linked(store, *((f"signal:{number}", f"gold:{number % 4}") for number in range(10)))
    refs = [f"signal:{number}" for number in range(10)]
    assert await store.gold.lineage.closure(TENANT, refs, descendants=True) == {f"gold:{number}" for number in range(4)}


async def test_edges_come_by_depth_and_each_once(store: Store) -> None:
    await linked(store, *CHAIN, ("signal:s2", "artifact:a1"))
    edges = await store.gold.lineage.edges(TENANT, "signal:s2", descendants=True, limit=100)
    assert edges == [
        Edge(1, "signal:s2", "artifact:a1"),
        Edge(1, "signal:s2", "gold:g1"),
        Edge(1, "signal:s2", "gold:g2"),
        Edge(2, "artifact:a1", "artifact:a2"),
        Edge(2, "gold:g1", "artifact:a1"),
        Edge(2, "gold:g2", "artifact:a3"),
    ]


@pytest.mark.parametrize("descendants", [True, False])
async def test_pages_of_edges_are_the_whole_in_order(store: Store, descendants: bool) -> None:
    await linked(store, *CHAIN)
    ref = "signal:s2" if descendants else "artifact:a2"
    whole = await store.gold.lineage.edges(TENANT, ref, descendants=descendants, limit=100)
    paged: list[Edge] = []
    while page := await store.gold.lineage.edges(
        TENANT, ref, descendants=descendants, after=paged[-1] if paged else None, limit=2
    ):
        paged += page
    assert paged == whole
    assert len(whole) > 2


@pytest.mark.parametrize(
    ("ancestor", "descendant"),
    [("gold:g1", "gold:g1"), ("artifact:a1", "gold:g1"), ("artifact:a2", "signal:s1")],
)
async def test_what_would_close_a_circle_is_refused_and_leaves_no_row(
    store: Store, ancestor: str, descendant: str
) -> None:
    await linked(store, *CHAIN)
    before = await store.gold.lineage.edges(TENANT, "signal:s1", descendants=True, limit=100)
    with pytest.raises(Conflict):
        await linked(store, (ancestor, descendant))
    assert await store.gold.lineage.edges(TENANT, "signal:s1", descendants=True, limit=100) == before


async def test_the_same_edge_again_changes_nothing(store: Store) -> None:
    await linked(store, *CHAIN)
    await linked(store, CHAIN[0])
    edges = await store.gold.lineage.edges(TENANT, "gold:g1", descendants=False, limit=100)
    assert edges == [Edge(1, "signal:s1", "gold:g1"), Edge(1, "signal:s2", "gold:g1")]


async def test_a_ref_is_known_by_its_edges_within_its_tenant(store: Store) -> None:
    await linked(store, CHAIN[0])
    assert await store.gold.lineage.knows(TENANT, "signal:s1")
    assert await store.gold.lineage.knows(TENANT, "gold:g1")
    assert not await store.gold.lineage.knows(TENANT, "gold:g2")
    assert not await store.gold.lineage.knows("t2", "signal:s1")


@pytest.mark.parametrize(("descendants", "near"), [(True, "ancestor_ref"), (False, "descendant_ref")])
@pytest.mark.parametrize("statements", [_ENDS, _EDGES], ids=["ends", "edges"])
def test_a_walk_looks_up_and_never_scans_the_tenant(
    sqlite_url: str, statements: Mapping[bool, Select[Any]], descendants: bool, near: str
) -> None:
    compiled = statements[descendants].compile(dialect=sqlite.dialect())
    values = {"tenant": TENANT, "refs": '["gold:g1"]'}
    bound = [values.get(name, 0) for name in compiled.positiontup or ()]
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {compiled}", bound).fetchall()
    assert [row[3] for row in plan if "gold_lineage" in row[3] and f"{near}=?" not in row[3]] == []
    assert any(f"{near}=?" in row[3] for row in plan)
