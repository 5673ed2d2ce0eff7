"""Circuits as every process of an owner shares them: changed by compare-and-swap on their revision (RTE-5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, select, update

from store.access import Reads, Writes
from store.schema import routing_circuits, routing_transitions


@dataclass(frozen=True, slots=True)
class KeptCircuit:
    """A circuit: whose, its revision from 1, and its state as JSON, which only the rule understands."""

    owner: str
    provider_ref: str
    profile_hash: bytes
    revision: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Transition:
    """What happened to a circuit; states are numbers of the contract's enum. Ids sort by time."""

    transition_id: str
    owner: str
    provider_ref: str
    profile_hash: bytes
    before: int
    after: int
    reason_code: str
    at: datetime


_OF = select(routing_circuits).where(routing_circuits.c.owner == bindparam("of"))
_ALL = _OF.order_by(routing_circuits.c.provider_ref, routing_circuits.c.profile_hash)
_ONE = _OF.where(
    routing_circuits.c.provider_ref == bindparam("provider"), routing_circuits.c.profile_hash == bindparam("profile")
)


class CircuitsReader:
    """Reading circuits."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def all(self, owner: str) -> list[KeptCircuit]:
        """Every circuit of an owner, by provider and profile."""
        return [_circuit(row) for row in await self._reads.rows(_ALL, {"of": owner})]

    async def get(self, owner: str, provider_ref: str, profile_hash: bytes) -> KeptCircuit | None:
        """One circuit; None where it never changed."""
        which = {"of": owner, "provider": provider_ref, "profile": profile_hash}
        rows = await self._reads.rows(_ONE, which)
        return _circuit(rows[0]) if rows else None

    async def unchanged_since(self, owner: str, before: datetime) -> list[KeptCircuit]:
        """An owner's circuits that last changed before an instant, the longest unchanged first."""
        table = routing_circuits.c
        found = select(routing_circuits).where(table.owner == owner, table.updated_at < before)
        rows = await self._reads.rows(found.order_by(table.updated_at, table.provider_ref))
        return [_circuit(row) for row in rows]

    async def transitions(
        self, owner: str, *, provider_ref: str = "", before: str = "", limit: int = 100
    ) -> list[Transition]:
        """Up to `limit` of what happened before the transition `before`, latest first."""
        table = routing_transitions.c
        found = select(routing_transitions).where(table.owner == owner)
        if provider_ref:
            found = found.where(table.provider_ref == provider_ref)
        if before:
            found = found.where(table.transition_id < before)
        rows = await self._reads.rows(found.order_by(table.transition_id.desc()).limit(limit))
        return [_transition(row) for row in rows]


class Circuits(CircuitsReader):
    """Changing inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def swap(self, circuit: KeptCircuit) -> bool:
        """Keep this state in place of that of `circuit.revision`, 0 where there is none yet; its revision is then one
        higher. False where somebody else was faster: nothing is changed.
        """
        key = {"owner": circuit.owner, "provider_ref": circuit.provider_ref, "profile_hash": circuit.profile_hash}
        new = {"revision": circuit.revision + 1, "body": dict(circuit.body), "updated_at": self._writes.clock.now()}
        if circuit.revision == 0:
            made = self._writes.insert(routing_circuits).values(**key, **new).on_conflict_do_nothing()
            return (await self._writes.write(made)).count > 0
        changed = update(routing_circuits).where(
            *(routing_circuits.c[name] == value for name, value in key.items()),
            routing_circuits.c.revision == circuit.revision,
        )
        return (await self._writes.write(changed.values(**new))).count > 0

    async def forget(self, circuit: KeptCircuit) -> bool:
        """Keep it no longer; what happened to it stays. False where it is of another revision, or not there."""
        table = routing_circuits.c
        gone = delete(routing_circuits).where(
            table.owner == circuit.owner,
            table.provider_ref == circuit.provider_ref,
            table.profile_hash == circuit.profile_hash,
            table.revision == circuit.revision,
        )
        return (await self._writes.write(gone)).count > 0

    async def note(self, transition: Transition) -> None:
        """Keep what happened."""
        values = {field.name: getattr(transition, field.name) for field in fields(transition)}
        await self._writes.write(self._writes.insert(routing_transitions).values(**values))


def _transition(row: Row[Any]) -> Transition:
    return Transition(
        row.transition_id,
        row.owner,
        row.provider_ref,
        bytes(row.profile_hash),
        row.before,
        row.after,
        row.reason_code,
        row.at,
    )


def _circuit(row: Row[Any]) -> KeptCircuit:
    return KeptCircuit(row.owner, row.provider_ref, bytes(row.profile_hash), row.revision, row.body)
