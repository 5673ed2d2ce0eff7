"""Reading gold: candidates, their signals, evidence, history and sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1.scope_pb2 import Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate, GoldItem, GoldLabel, LabelledItem, SealedItem
from selene.gold.v1.gold_pb2 import GoldSet, GoldTransition
from sqlalchemy import LargeBinary, Row, Select, Text, bindparam, func, select, tuple_

from store.access import Reads
from store.gold.lineage import LineageReader, artifact_ref, gold_ref, ids_among
from store.gold.tables import gold_candidates, gold_items, gold_labels, gold_lineage, gold_sets, gold_transitions
from store.schema import Instant, artifacts_ledger
from store.vault import KEY_ID_BYTES, VaultReader, sealed_under

ITEM_PURPOSE = "gold.item"
LABEL_PURPOSE = "gold.label"
PAYLOAD_PURPOSE = "gold.payload"
AT_ONCE = 500
"""Values of one look-up: what a statement binds stays below every database's limit."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate as it stands, and its revision: what was computed of its evidence holds for that one only."""

    message: GoldCandidate
    revision: int


def _of(table: Any) -> tuple[Any, ...]:
    return (table.c.tenant_id == bindparam("tenant"), table.c.gold_set_id == bindparam("gold_set"))


_GET = select(gold_candidates).where(*_of(gold_candidates))
_SIGNALS = (
    select(gold_lineage.c.ancestor_ref)
    .where(gold_lineage.c.tenant_id == bindparam("tenant"), gold_lineage.c.descendant_ref == bindparam("ref"))
    .order_by(gold_lineage.c.ancestor_ref)
)
_ITEMS = (
    select(gold_items.c.item_id, gold_items.c.signal_id, gold_items.c.content)
    .where(*_of(gold_items), gold_items.c.item_id > bindparam("after"))
    .order_by(gold_items.c.item_id)
)
_SOME_ITEMS = _ITEMS.limit(bindparam("at_most"))
_LABELS = (
    select(gold_labels.c.item_id, gold_labels.c.labeller, gold_labels.c.labelled_at, gold_labels.c.content)
    .where(*_of(gold_labels), gold_labels.c.item_id > bindparam("after"))
    .order_by(gold_labels.c.item_id, gold_labels.c.labeller)
)
_LABELS_UP_TO = _LABELS.where(gold_labels.c.item_id <= bindparam("last"))
_HISTORY = select(gold_transitions.c.canonical).where(*_of(gold_transitions)).order_by(gold_transitions.c.number)
_SET = select(gold_sets.c.canonical).where(*_of(gold_sets))


def _sealed_under_these(table: Any) -> Select[Any]:
    """How many rows of these gold sets lie under these keys: a row says of which key it is behind its first byte."""
    key_id = func.substr(table.c.content, 2, KEY_ID_BYTES, type_=LargeBinary)
    return (
        select(func.count().label("many"))
        .select_from(table)
        .where(
            table.c.tenant_id == bindparam("tenant"),
            table.c.gold_set_id.in_(bindparam("gold_sets", expanding=True)),
            key_id.in_(bindparam("keys", expanding=True)),
        )
    )


_ITEMS_UNDER = _sealed_under_these(gold_items)
_LABELS_UNDER = _sealed_under_these(gold_labels)
_IN_STATE = (
    select(gold_candidates.c.state, func.count().label("many"))
    .where(gold_candidates.c.tenant_id == bindparam("tenant"))
    .group_by(gold_candidates.c.state)
)
_ARTIFACT = select(artifacts_ledger.c.canonical).where(
    artifacts_ledger.c.tenant_id == bindparam("tenant"), artifacts_ledger.c.artifact_id == bindparam("artifact")
)


class GoldReader:
    """The reading side. Everything raises StoreUnavailable.

    Items and labels lie sealed under the key of the user whose signal they come from: where that was destroyed, only
    their ids are left (§21).
    """

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self._reads = reads
        self._opener = vault
        self.lineage = LineageReader(reads)

    async def get(self, tenant_id: str, gold_set_id: str) -> Candidate | None:
        """A candidate as it stands; None where there is none."""
        rows = await self._reads.rows(_GET, _which(tenant_id, gold_set_id))
        return candidate(rows[0]) if rows else None

    async def page(
        self,
        tenant_id: str,
        *,
        limit: int,
        state: int = 0,
        domain: int = 0,
        before: tuple[datetime, str] | None = None,
    ) -> list[GoldCandidate]:
        """Up to `limit` of a tenant's candidates, latest proposed first; a state or domain of 0 means all.

        `before`: `proposed_at` and `gold_set_id` of the last of the page before.
        """
        table = gold_candidates.c
        found = select(gold_candidates).where(table.tenant_id == tenant_id)
        if state:
            found = found.where(table.state == state)
        if domain:
            found = found.where(table.domain == domain)
        if before is not None:
            at, last = bindparam("at", before[0], type_=Instant), bindparam("last", before[1], type_=Text)
            found = found.where(tuple_(table.proposed_at, table.gold_set_id) < tuple_(at, last))
        found = found.order_by(table.proposed_at.desc(), table.gold_set_id.desc()).limit(limit)
        return [candidate(row).message for row in await self._reads.rows(found)]

    async def counts(self, tenant_id: str) -> dict[int, int]:
        """How many candidates are in each state; none of 0."""
        rows = await self._reads.rows(_IN_STATE, {"tenant": tenant_id})
        return {row.state: row.many for row in rows}

    async def signal_ids(self, tenant_id: str, gold_set_id: str) -> list[str]:
        """The signals that it is built from, sorted."""
        rows = await self._reads.rows(_SIGNALS, {"tenant": tenant_id, "ref": gold_ref(gold_set_id)})
        refs = (row.ancestor_ref.split(":", 1) for row in rows)
        return sorted(signal_id for kind, signal_id in refs if kind == "signal")

    async def items(
        self, tenant_id: str, gold_set_id: str, *, after: str = "", limit: int | None = None
    ) -> list[LabelledItem]:
        """Items by their ids, each with its labels by labeller: the order of the canonical payload.

        `after`: the last item id of the page before; no `limit` means all.
        """
        which = {**_which(tenant_id, gold_set_id), "after": after}
        if limit is None:
            rows = await self._reads.rows(_ITEMS, which)
            labels = await self._reads.rows(_LABELS, which)
        else:
            rows = await self._reads.rows(_SOME_ITEMS, {**which, "at_most": limit})
            last = {**which, "last": rows[-1].item_id} if rows else {}
            labels = await self._reads.rows(_LABELS_UP_TO, last) if rows else ()
        said = await self._contents(tenant_id, LABEL_PURPOSE, labels)
        by_item: dict[str, list[GoldLabel]] = {}
        for row, content in zip(labels, said, strict=True):
            if content is not None:
                by_item.setdefault(row.item_id, []).append(label(row, content))
        found = []
        for row, content in zip(rows, await self._contents(tenant_id, ITEM_PURPOSE, rows), strict=True):
            if content is None:
                found.append(erased_item(row.item_id, row.signal_id))
            else:
                item = GoldItem.FromString(content)
                found.append(LabelledItem(item=item, labels=by_item.get(row.item_id, ())))
        return found

    async def evidence(self, tenant_id: str, gold_set_id: str) -> list[GoldItem]:
        """Items by their ids, without labels; what was erased is left out."""
        rows = await self._reads.rows(_ITEMS, {**_which(tenant_id, gold_set_id), "after": ""})
        contents = await self._contents(tenant_id, ITEM_PURPOSE, rows)
        return [GoldItem.FromString(content) for content in contents if content is not None]

    async def opened(self, tenant_id: str, frames: Sequence[SealedItem]) -> list[LabelledItem]:
        """What a gold set's payload holds; of items that were erased, what is left of them. SealBroken."""
        contents = await self._opener.open_all(tenant_id, PAYLOAD_PURPOSE, [one.sealed for one in frames])
        return [
            erased_item(one.item_id, one.signal_id) if content is None else LabelledItem.FromString(content)
            for one, content in zip(frames, contents, strict=True)
        ]

    async def under_keys(
        self, tenant_id: str, gold_set_ids: Sequence[str], key_ids: Sequence[bytes]
    ) -> tuple[int, int]:
        """How many items and how many labels of these gold sets lie under these keys."""
        items = labels = 0
        for some_sets in _chunks(gold_set_ids):
            for some_keys in _chunks(key_ids):
                which = {"tenant": tenant_id, "gold_sets": some_sets, "keys": some_keys}
                items += int((await self._reads.rows(_ITEMS_UNDER, which))[0].many)
                labels += int((await self._reads.rows(_LABELS_UNDER, which))[0].many)
        return items, labels

    async def _contents(self, tenant_id: str, purpose: str, rows: Sequence[Any]) -> list[bytes | None]:
        """What rows hold, opened; None where the key was destroyed. Rows from before they were sealed hold it open."""
        contents = [bytes(row.content) for row in rows]
        sealed = [one for one in contents if sealed_under(one) is not None]
        if not sealed:
            return list(contents)
        opened = iter(await self._opener.open_all(tenant_id, purpose, sealed))
        return [one if sealed_under(one) is None else next(opened) for one in contents]

    async def history(self, tenant_id: str, gold_set_id: str) -> list[GoldTransition]:
        """Every transition that was applied, oldest first. Those that were refused are in the audit trail only."""
        rows = await self._reads.rows(_HISTORY, _which(tenant_id, gold_set_id))
        return [GoldTransition.FromString(row.canonical) for row in rows]

    async def gold_set(self, tenant_id: str, gold_set_id: str) -> GoldSet | None:
        """The immutable set, with the state that its candidate is in; None before it was approved."""
        which = _which(tenant_id, gold_set_id)
        rows = await self._reads.rows(_SET, which)
        if not rows:
            return None
        kept = GoldSet.FromString(rows[0].canonical)
        kept.state = (await self._reads.rows(_GET, which))[0].state
        return kept

    async def artifact(self, tenant_id: str, artifact_id: str) -> ArtifactRow | None:
        """A row of the artifacts ledger by its id; None where this tenant has none."""
        rows = await self._reads.rows(_ARTIFACT, {"tenant": tenant_id, "artifact": artifact_id})
        return ArtifactRow.FromString(rows[0].canonical) if rows else None

    async def artifacts(self, tenant_id: str, gold_set_id: str) -> list[ArtifactRow]:
        """Everything in the ledger that was built from a gold set, the set itself first, by sequence."""
        refs = await self.lineage.closure(tenant_id, (gold_ref(gold_set_id),), descendants=True)
        ids = sorted(ids_among(refs, artifact_ref))
        found = [await self.artifact(tenant_id, artifact_id) for artifact_id in ids]
        return sorted((row for row in found if row is not None), key=lambda row: row.sequence)


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def _which(tenant_id: str, gold_set_id: str) -> dict[str, str]:
    return {"tenant": tenant_id, "gold_set": gold_set_id}


def candidate(row: Row[Any]) -> Candidate:
    """A row of `gold_candidates` as a value."""
    message = GoldCandidate(
        gold_set_id=row.gold_set_id,
        domain=row.domain,
        tier=row.tier,
        tenant_id=row.tenant_id,
        scope=Scope(scope_type=row.scope_type, scope_id=row.scope_id),
        state=row.state,
        frozen=row.frozen,
        signal_count=row.signal_count,
        item_count=row.item_count,
        label_count=row.label_count,
        proposed_by=row.proposed_by,
        proposed_at=row.proposed_at,
        policy_version=row.policy_version,
        rebuilt_from=row.rebuilt_from,
    )
    return Candidate(message, row.revision)


def erased_item(item_id: str, signal_id: str) -> LabelledItem:
    """What is left of an item whose user's key was destroyed."""
    return LabelledItem(item=GoldItem(item_id=item_id, signal_id=signal_id), erased=True)


def label(row: Row[Any], content: bytes) -> GoldLabel:
    """A row of `gold_labels` as a value."""
    said = GoldLabel.FromString(content)
    said.labeller = row.labeller
    said.labelled_at.FromDatetime(row.labelled_at)
    return said
