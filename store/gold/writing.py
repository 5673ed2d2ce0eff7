"""Writing gold inside a transaction; the caller audits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.protobuf.message import Message
from selene.gold.v1.evidence_pb2 import GoldCandidate, GoldItem, GoldLabel, LabelledItem, SealedItem
from selene.gold.v1.gold_pb2 import (
    GOLD_STATE_ACTIVATED,
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_REVERTED,
    GoldSet,
    GoldState,
    GoldTransition,
)
from sqlalchemy import JSON, Executable, bindparam, func, select, update

from store.access import Writes, for_dialects
from store.errors import Conflict, KeyDestroyed, NotFound
from store.gold.lineage import Lineage, gold_ref, signal_ref
from store.gold.many import one_of
from store.gold.reading import (
    ITEM_PURPOSE,
    LABEL_PURPOSE,
    PAYLOAD_PURPOSE,
    Candidate,
    GoldReader,
    candidate,
    erased_item,
)
from store.gold.tables import gold_candidates, gold_items, gold_labels, gold_sets, gold_transitions
from store.learning.reading import signal_keys
from store.learning.row import subject_of
from store.vault import Vault

OF_GOVERNANCE: Final = frozenset(
    {(GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED), (GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED)}
)
"""The steps that only `decide` takes: gates and judge stand before them (§17)."""


@dataclass(frozen=True, slots=True)
class Added:
    """How many rows are new, and the ids of items of which something else is kept already."""

    new: int
    contradicted: tuple[str, ...]


def _this(table: Any) -> tuple[Any, ...]:
    return (table.c.tenant_id == bindparam("tenant"), table.c.gold_set_id == bindparam("gold_set"))


_LOCK = select(gold_candidates).where(*_this(gold_candidates)).with_for_update()
_THESE_ITEMS = one_of(gold_items.c.item_id, bindparam("ids", type_=JSON))
_ITEMS = select(gold_items.c.item_id, gold_items.c.signal_id, gold_items.c.content).where(
    *_this(gold_items), _THESE_ITEMS
)
_ALL_ITEMS = select(gold_items).where(*_this(gold_items))
_ALL_LABELS = select(gold_labels).where(*_this(gold_labels))
_LABELS_BY = select(gold_labels.c.item_id, gold_labels.c.content).where(
    *_this(gold_labels),
    gold_labels.c.labeller == bindparam("by"),
    one_of(gold_labels.c.item_id, bindparam("ids", type_=JSON)),
)
_GROW = (
    update(gold_candidates)
    .where(*_this(gold_candidates))
    .values(
        item_count=gold_candidates.c.item_count + bindparam("more_items"),
        label_count=gold_candidates.c.label_count + bindparam("more_labels"),
        revision=gold_candidates.c.revision + 1,
    )
)
_STEP = (
    update(gold_candidates)
    .where(*_this(gold_candidates))
    .values(state=bindparam("to"), revision=gold_candidates.c.revision + 1)
)
_FREEZE = (
    update(gold_candidates)
    .where(*_this(gold_candidates), gold_candidates.c.frozen.is_(False))
    .values(frozen=True, revision=gold_candidates.c.revision + 1)
)
_REBUILT = (
    select(gold_candidates.c.gold_set_id)
    .where(gold_candidates.c.tenant_id == bindparam("tenant"), gold_candidates.c.rebuilt_from == bindparam("gold_set"))
    .limit(1)
)
_STEPS = select(func.count().label("many")).where(*_this(gold_transitions))
_ADD_ITEM = for_dialects(lambda insert: insert(gold_items))
_ADD_LABEL = for_dialects(lambda insert: insert(gold_labels))
_NOTE_STEP = for_dialects(lambda insert: insert(gold_transitions))
_KEEP_SET = for_dialects(lambda insert: insert(gold_sets))


class Gold(GoldReader):
    """The writing side, within one transaction; the caller audits, and has locked what it changes."""

    def __init__(self, writes: Writes, vault: Vault) -> None:
        super().__init__(writes, vault)
        self._writes = writes
        self._vault = vault
        self.lineage: Lineage = Lineage(writes)

    async def locked(self, tenant_id: str, gold_set_id: str) -> Candidate | None:
        """A candidate, which nobody else changes until the transaction ends; None where there is none."""
        rows = await self._writes.rows(_LOCK, {"tenant": tenant_id, "gold_set": gold_set_id})
        return candidate(rows[0]) if rows else None

    async def propose(self, message: GoldCandidate, signal_ids: Iterable[str]) -> Candidate:
        """Keep a new candidate without items, and where it comes from. Conflict for an id that is taken."""
        signals = sorted(set(signal_ids))
        values = {
            "tenant_id": message.tenant_id,
            "gold_set_id": message.gold_set_id,
            "domain": message.domain,
            "tier": message.tier,
            "scope_type": message.scope.scope_type,
            "scope_id": message.scope.scope_id,
            "state": GOLD_STATE_CANDIDATE,
            "frozen": False,
            "revision": 1,
            "signal_count": len(signals),
            "item_count": 0,
            "label_count": 0,
            "proposed_by": message.proposed_by,
            "proposed_at": self._writes.clock.now(),
            "policy_version": message.policy_version,
            "rebuilt_from": message.rebuilt_from,
        }
        made = self._writes.insert(gold_candidates).values(values).returning(*gold_candidates.c)
        row = (await self._writes.write(made)).rows[0]
        ref = gold_ref(message.gold_set_id)
        await self.lineage.link(message.tenant_id, (signal_ref(signal_id) for signal_id in signals), ref)
        return candidate(row)

    async def items_of(self, tenant_id: str, gold_set_id: str, item_ids: Collection[str]) -> dict[str, GoldItem]:
        """Those of these items that there are, by id; of what was erased, its ids."""
        which = {"tenant": tenant_id, "gold_set": gold_set_id, "ids": sorted(set(item_ids))}
        rows = await self._writes.rows(_ITEMS, which)
        contents = await self._contents(tenant_id, ITEM_PURPOSE, rows)
        return {
            row.item_id: erased_item(row.item_id, row.signal_id).item if one is None else GoldItem.FromString(one)
            for row, one in zip(rows, contents, strict=True)
        }

    async def add_items(self, tenant_id: str, gold_set_id: str, items: Sequence[GoldItem]) -> Added:
        """Keep items; the same again changes nothing. Nothing is written where one contradicts what is kept.

        NotFound for one of a signal that there is not, KeyDestroyed for one of a signal that was erased.
        """
        found = await self.items_of(tenant_id, gold_set_id, [item.item_id for item in items])
        known = {item_id: _bytes(item) for item_id, item in found.items()}
        fresh, contradicted = _compared(known, ((item.item_id, _bytes(item)) for item in items))
        signals = {item.item_id: item.signal_id for item in items}
        if contradicted or not fresh:
            return Added(0, contradicted)
        which = {"tenant_id": tenant_id, "gold_set_id": gold_set_id}
        sealed = await self._sealed(
            tenant_id, ITEM_PURPOSE, [(signals[item_id], content) for item_id, content in fresh.items()]
        )
        rows = [
            {**which, "item_id": item_id, "signal_id": signals[item_id], "content": content}
            for item_id, content in zip(fresh, sealed, strict=True)
        ]
        await self._writes.write(_ADD_ITEM[self._writes.dialect], rows)
        await self._grow(tenant_id, gold_set_id, items=len(rows))
        return Added(len(rows), ())

    async def label(
        self, tenant_id: str, gold_set_id: str, labeller: str, labels: Sequence[GoldLabel], at: datetime
    ) -> Added:
        """Keep what one person says of items that there are; the same again changes nothing.

        Nothing is written where one contradicts what this person said before. KeyDestroyed for an item that was erased.
        """
        said = [(label.item_id, _bytes(_verdict(label))) for label in labels]
        which = {"tenant": tenant_id, "gold_set": gold_set_id, "by": labeller}
        rows = await self._writes.rows(_LABELS_BY, {**which, "ids": sorted({item_id for item_id, _ in said})})
        known = zip(rows, await self._contents(tenant_id, LABEL_PURPOSE, rows), strict=True)
        fresh, contradicted = _compared({row.item_id: content or b"" for row, content in known}, said)
        if contradicted or not fresh:
            return Added(0, contradicted)
        of_items = {"tenant": tenant_id, "gold_set": gold_set_id, "ids": sorted(fresh)}
        signals = {row.item_id: row.signal_id for row in await self._writes.rows(_ITEMS, of_items)}
        sealed = await self._sealed(
            tenant_id, LABEL_PURPOSE, [(signals[item_id], content) for item_id, content in fresh.items()]
        )
        whose = {"tenant_id": tenant_id, "gold_set_id": gold_set_id, "labeller": labeller, "labelled_at": at}
        new = [
            {**whose, "item_id": item_id, "content": content} for item_id, content in zip(fresh, sealed, strict=True)
        ]
        await self._writes.write(_ADD_LABEL[self._writes.dialect], new)
        await self._grow(tenant_id, gold_set_id, labels=len(new))
        return Added(len(new), ())

    async def move(self, tenant_id: str, transition: GoldTransition) -> Candidate:
        """Apply a step of §17 up to PACKAGED and note it.

        Conflict where the gold set is not in `from_state` (any more), is frozen, or the step is governance's: `decide`.
        NotFound.
        """
        if (transition.from_state, transition.to_state) in OF_GOVERNANCE:
            raise Conflict("that step is governance's")
        return await self._step(tenant_id, transition, back=False)

    async def decide(self, tenant_id: str, transition: GoldTransition) -> Candidate:
        """Apply PACKAGED → ACTIVATED or ACTIVATED → REVERTED and note it: called by governance, after its gates.

        Conflict for another step, where the gold set is not in `from_state` (any more), or where a revocation froze
        what would be activated; what is frozen can be reverted. NotFound.
        """
        if (transition.from_state, transition.to_state) not in OF_GOVERNANCE:
            raise Conflict("governance activates what is packaged and reverts what is active, nothing else")
        return await self._step(tenant_id, transition, back=transition.to_state == GOLD_STATE_REVERTED)

    async def keep_set(self, gold_set: GoldSet) -> None:
        """Keep the immutable set of a candidate that was approved. Conflict where it has one."""
        unplaced = GoldSet()
        unplaced.CopyFrom(gold_set)
        unplaced.ClearField("state")
        row = {"tenant_id": gold_set.tenant_id, "gold_set_id": gold_set.gold_set_id, "canonical": _bytes(unplaced)}
        await self._writes.write(_KEEP_SET[self._writes.dialect], [row])

    async def freeze(self, tenant_id: str, gold_set_ids: Iterable[str]) -> list[str]:
        """Let nothing of these move until it is rebuilt (§21); the ids of those that were not frozen before, sorted."""
        frozen = []
        for gold_set_id in sorted(set(gold_set_ids)):
            which = {"tenant": tenant_id, "gold_set": gold_set_id}
            if (await self._writes.write(_FREEZE, which)).count:
                frozen.append(gold_set_id)
        return frozen

    async def rebuild(
        self, tenant_id: str, gold_set_id: str, *, new_id: str, without: Collection[str]
    ) -> Candidate | None:
        """A new CANDIDATE of everything in a gold set but what comes from the signals `without` (§21).

        Items keep their labels. It comes from the other signals and not from the old set, and passes every gate anew.
        None where no signal is left, or it was built anew before: then nothing was written. NotFound, Conflict for an
        id that is taken.
        """
        old = await self.locked(tenant_id, gold_set_id)
        if old is None:
            raise NotFound(gold_ref(gold_set_id))
        if await self._writes.rows(_REBUILT, {"tenant": tenant_id, "gold_set": gold_set_id}):
            return None
        left_out = set(without)
        signals = [one for one in await self.signal_ids(tenant_id, gold_set_id) if one not in left_out]
        if not signals:
            return None
        anew = GoldCandidate()
        anew.CopyFrom(old.message)
        anew.gold_set_id, anew.rebuilt_from = new_id, gold_set_id
        await self.propose(anew, signals)
        # Sealed as they are: nobody's key is asked for, and what was erased since stays so.
        old_set = {"tenant": tenant_id, "gold_set": gold_set_id}
        items = [row for row in await self._writes.rows(_ALL_ITEMS, old_set) if row.signal_id not in left_out]
        kept = {row.item_id for row in items}
        which = {"tenant_id": tenant_id, "gold_set_id": new_id}
        rows = [
            {**which, "item_id": row.item_id, "signal_id": row.signal_id, "content": bytes(row.content)}
            for row in items
        ]
        labels = [
            {
                **which,
                "item_id": row.item_id,
                "labeller": row.labeller,
                "labelled_at": row.labelled_at,
                "content": bytes(row.content),
            }
            for row in await self._writes.rows(_ALL_LABELS, old_set)
            if row.item_id in kept
        ]
        await self._insert(_ADD_ITEM, rows)
        await self._insert(_ADD_LABEL, labels)
        await self._grow(tenant_id, new_id, items=len(rows), labels=len(labels))
        return await self.get(tenant_id, new_id)

    async def seal_payload(self, tenant_id: str, items: Sequence[LabelledItem]) -> list[SealedItem]:
        """Items as a gold set's payload holds them, in their order; the same items give the same bytes.

        NotFound for one of a signal that there is not, KeyDestroyed for one of a signal that was erased.
        """
        contents = [(one.item.signal_id, _bytes(one)) for one in items]
        sealed = await self._sealed(tenant_id, PAYLOAD_PURPOSE, contents)
        return [
            SealedItem(item_id=one.item.item_id, signal_id=one.item.signal_id, sealed=some)
            for one, some in zip(items, sealed, strict=True)
        ]

    async def _sealed(self, tenant_id: str, purpose: str, contents: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Contents sealed, each under the key of the user whose signal it comes from: the one that its signal is under.

        A signal from before signals were sealed names its user: of them a key is made.
        """
        signal_ids = {signal_id for signal_id, _ in contents}
        signals = await signal_keys(self._writes, tenant_id, signal_ids)
        unknown = signal_ids - signals.keys()
        if unknown:
            raise NotFound(signal_ref(min(unknown)))
        keys = await self._vault.by_ids(tenant_id, {one.key_id for one in signals.values() if one.key_id})
        named = {one.user_id for one in signals.values() if not one.key_id}
        by_user = await self._vault.keys_for(tenant_id, {subject_of(user_id) for user_id in named}) if named else {}
        sealings = {}
        for signal_id, one in signals.items():
            key = keys.get(one.key_id) if one.key_id else by_user[subject_of(one.user_id)]
            if key is None:
                raise KeyDestroyed(f"{signal_ref(signal_id)} was erased")
            sealings[signal_id] = key.sealing(purpose)
        return [sealings[signal_id].seal_alike(content) for signal_id, content in contents]

    async def _step(self, tenant_id: str, transition: GoldTransition, *, back: bool) -> Candidate:
        which = {"tenant": tenant_id, "gold_set": transition.gold_set_id}
        present = await self.locked(tenant_id, transition.gold_set_id)
        if present is None:
            raise NotFound(gold_ref(transition.gold_set_id))
        if present.message.state != transition.from_state:
            raise Conflict(f"{gold_ref(transition.gold_set_id)} is {GoldState.Name(present.message.state)}")
        if present.message.frozen and not back:
            raise Conflict(f"{gold_ref(transition.gold_set_id)} is frozen")
        number = (await self._writes.rows(_STEPS, which))[0].many + 1
        row = {
            "tenant_id": tenant_id,
            "gold_set_id": transition.gold_set_id,
            "number": number,
            "from_state": transition.from_state,
            "to_state": transition.to_state,
            "canonical": _bytes(transition),
        }
        await self._writes.write(_NOTE_STEP[self._writes.dialect], [row])
        await self._writes.write(_STEP, {**which, "to": transition.to_state})
        moved = await self.get(tenant_id, transition.gold_set_id)
        if moved is None:
            raise NotFound(gold_ref(transition.gold_set_id))
        return moved

    async def _insert(self, statement: Mapping[str, Executable], rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            await self._writes.write(statement[self._writes.dialect], rows)

    async def _grow(self, tenant_id: str, gold_set_id: str, *, items: int = 0, labels: int = 0) -> None:
        which = {"tenant": tenant_id, "gold_set": gold_set_id}
        await self._writes.write(_GROW, {**which, "more_items": items, "more_labels": labels})


def _compared(
    known: Mapping[str, bytes], said: Iterable[tuple[str, bytes]]
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """What is new, by item; and the items of which something else is known, or is said in the same breath."""
    fresh: dict[str, bytes] = {}
    contradicted: set[str] = set()
    for item_id, content in said:
        earlier = known.get(item_id, fresh.get(item_id))
        if earlier is None:
            fresh[item_id] = content
        elif earlier != content:
            contradicted.add(item_id)
    return fresh, tuple(sorted(contradicted))


def _verdict(label: GoldLabel) -> GoldLabel:
    said = GoldLabel()
    said.CopyFrom(label)
    said.ClearField("labeller")
    said.ClearField("labelled_at")
    return said


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)
