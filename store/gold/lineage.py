"""Lineage: what everything was built from, a row an edge, written with what it builds (LRN-6, §21).

A ref is `signal:<id>`, `gold:<id>` or `artifact:<id>`. Edges never make a circle, and a walk ends even if they did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Select, bindparam, select

from store.access import Reads, Writes, for_dialects
from store.errors import Conflict
from store.gold.many import one_of
from store.gold.tables import gold_lineage

AT_ONCE = 20_000
"""Refs of one look-up: some megabytes of parameter at most, and a few tens of milliseconds of the database."""

_UP, _DOWN = False, True


def signal_ref(signal_id: str) -> str:
    """`signal:<id>`. Pure."""
    return f"signal:{signal_id}"


def gold_ref(gold_set_id: str) -> str:
    """`gold:<id>`. Pure."""
    return f"gold:{gold_set_id}"


def artifact_ref(artifact_id: str) -> str:
    """`artifact:<id>`. Pure."""
    return f"artifact:{artifact_id}"


def ids_among(refs: Iterable[str], ref_of: Callable[[str], str]) -> list[str]:
    """The ids of those refs that `ref_of` makes, such as `gold_ref`, in their order. Pure."""
    prefix = ref_of("")
    return [ref.removeprefix(prefix) for ref in refs if ref.startswith(prefix)]


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """One row, and how far from the ref that was asked about it begins, from 1. In the order of a walk."""

    depth: int
    ancestor_ref: str
    descendant_ref: str


def _statement(*columns: Any, near: Any) -> Select[Any]:
    many = bindparam("refs", type_=JSON)
    return select(*columns).where(gold_lineage.c.tenant_id == bindparam("tenant"), one_of(near, many))


def _ends(far: Any, *, near: Any) -> Select[Any]:
    """Each far end once. The inner query is fenced off: SQLite would scan the tenant by the index that is sorted by the
    far end, rather than look up the near ones.
    """
    found = _statement(far.label("ref"), near=near).offset(0).subquery()
    return select(found.c.ref).distinct()


_ANCESTOR, _DESCENDANT = gold_lineage.c.ancestor_ref, gold_lineage.c.descendant_ref
_ENDS: Mapping[bool, Select[Any]] = {
    _DOWN: _ends(_DESCENDANT, near=_ANCESTOR),
    _UP: _ends(_ANCESTOR, near=_DESCENDANT),
}
_EDGES: Mapping[bool, Select[Any]] = {
    _DOWN: _statement(_ANCESTOR, _DESCENDANT, near=_ANCESTOR),
    _UP: _statement(_ANCESTOR, _DESCENDANT, near=_DESCENDANT),
}
_KNOWN = (
    select(gold_lineage.c.ancestor_ref)
    .where(
        gold_lineage.c.tenant_id == bindparam("tenant"),
        (gold_lineage.c.ancestor_ref == bindparam("ref")) | (gold_lineage.c.descendant_ref == bindparam("ref")),
    )
    .limit(1)
)
_WRITE = for_dialects(lambda insert: insert(gold_lineage).on_conflict_do_nothing())


class LineageReader:
    """Walking lineage. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def knows(self, tenant_id: str, ref: str) -> bool:
        """Whether there is an edge to or from this ref."""
        return bool(await self._reads.rows(_KNOWN, {"tenant": tenant_id, "ref": ref}))

    async def closure(self, tenant_id: str, refs: Iterable[str], *, descendants: bool) -> set[str]:
        """Everything that these led to, or came from; without themselves, unless a circle leads back."""
        reached: set[str] = set()
        frontier = list(dict.fromkeys(refs))
        while frontier:
            # In the order of the index, which is that of the next look-up too: sorting a million refs would cost more.
            found: dict[str, None] = {}
            for some in _chunks(frontier):
                rows = await self._reads.rows(_ENDS[descendants], {"tenant": tenant_id, "refs": some})
                found.update((ref, None) for (ref,) in rows)
            frontier = [ref for ref in found if ref not in reached]
            reached.update(frontier)
        return reached

    async def gold_sets(self, tenant_id: str, ref: str) -> list[str]:
        """The ids of the gold sets that something was built from, sorted. Their signals, which may be many, are left
        alone.
        """
        found: set[str] = set()
        frontier, seen = [ref], {ref}
        while frontier:
            rows = await self._reads.rows(_ENDS[_UP], {"tenant": tenant_id, "refs": frontier})
            above = {end for (end,) in rows} - seen
            seen |= above
            found.update(ids_among(above, gold_ref))
            frontier = sorted(end for end in above if end.startswith("artifact:"))
        return sorted(found)

    async def edges(
        self, tenant_id: str, ref: str, *, descendants: bool, after: Edge | None = None, limit: int
    ) -> list[Edge]:
        """Up to `limit` edges from `ref` outwards, each once, in their order: by depth, then by their refs.

        `after`: the last edge of the page before.
        """
        found: list[Edge] = []
        visited, frontier, depth = {ref}, [ref], 0
        while frontier and len(found) < limit:
            depth += 1
            level: set[Edge] = set()
            for some in _chunks(frontier):
                rows = await self._reads.rows(_EDGES[descendants], {"tenant": tenant_id, "refs": some})
                level.update(Edge(depth, row.ancestor_ref, row.descendant_ref) for row in rows)
            found += sorted(edge for edge in level if after is None or edge > after)
            ends = {edge.descendant_ref if descendants else edge.ancestor_ref for edge in level}
            frontier = sorted(ends - visited)
            visited |= ends
        return found[:limit]


class Lineage(LineageReader):
    """Writing lineage, within the transaction that builds the descendant; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def link(self, tenant_id: str, ancestor_refs: Iterable[str], descendant_ref: str) -> None:
        """Note what a descendant was built from; again changes nothing. Conflict for what would close a circle."""
        ancestors = sorted(set(ancestor_refs))
        after = await self.closure(tenant_id, (descendant_ref,), descendants=True)
        circle = [ref for ref in ancestors if ref == descendant_ref or ref in after]
        if circle:
            raise Conflict(f"{descendant_ref} leads to {circle[0]} already: nothing comes from itself")
        rows = [{"tenant_id": tenant_id, "ancestor_ref": ref, "descendant_ref": descendant_ref} for ref in ancestors]
        if rows:
            await self._writes.write(_WRITE[self._writes.dialect], rows)


def _chunks(refs: Sequence[str]) -> Iterator[Sequence[str]]:
    return (refs[start : start + AT_ONCE] for start in range(0, len(refs), AT_ONCE))
