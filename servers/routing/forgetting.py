"""Circuits that no active profile comes to any more are forgotten after a while (§24, §27).

A circuit belongs to a resolved profile. When another profile is active for long enough, so that nobody is likely to
return to the one before, circuits of what the active profile comes to for nobody are kept no longer: a row of the
trail says how each stood, and its history stays. One that an operator holds lasts until it is released.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from servers.routing.beside import Beside
from servers.routing.board import FORCED, Board
from servers.routing.circuit import Circuit
from servers.routing.directory import DEPLOYMENT, Active, Directory
from servers.routing.kept import circuit_of, state_name
from servers.routing.profile import ARTIFACT_TYPE
from servers.runtime.clock import Clock
from servers.runtime.storage import SYSTEM_TENANT, turn
from store import Store, StoreError, Transaction
from store.routing import KeptCircuit

LOOK_EVERY_S: Final = 60.0
AT_ONCE: Final = 100

_log = structlog.get_logger("selene.routing")


class Forgetting:
    """For one owner's process; of several, whoever comes first forgets in the store, and each in its own memory."""

    def __init__(self, store: Store, clock: Clock, directory: Directory, board: Board, after_s: float) -> None:
        self._store = store
        self._clock = clock
        self._directory = directory
        self._board = board
        self._after = timedelta(seconds=after_s)
        self._looked_at: float | None = None
        self._beside = Beside()

    async def follow(self) -> None:
        """`forget` once a minute, which no store may hold up."""
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            await self._beside.run(self.forget)

    async def forget(self) -> None:
        """Forget what is due, a hundred circuits at most. Never raises for the store."""
        active, before = self._directory.active, self._clock.now() - self._after
        if active is None or active.since > before:
            return
        try:
            unchanged = await self._store.routing.circuits.unchanged_since(self._board.owner, before)
            known = {profile_hash for profile_hash, _ in self._board.circuits()}
            if not known and not unchanged:
                return
            holding = await self._directory.hashes()
            if holding is None:
                return
            due = [(row, circuit) for row in unchanged if row.profile_hash not in holding and (circuit := _idle(row))]
            if due:
                await self._forget(due[:AT_ONCE], active)
        except StoreError as error:
            _log.warning("circuits of superseded profiles are not forgotten yet", cause=type(error).__name__)
            return
        self._board.forget(holding)

    async def _forget(self, due: list[tuple[KeptCircuit, Circuit]], active: Active) -> None:
        async with self._store.transaction() as tx:
            pointer = await tx.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
            if pointer is None or pointer.active_version != active.version:
                return
            for row, circuit in due:
                if await tx.routing.circuits.forget(row):
                    _audit(tx, row, circuit, active)


def _idle(row: KeptCircuit) -> Circuit | None:
    """The circuit of a row; None where an operator holds it, or the row says nothing that is understood."""
    try:
        circuit = circuit_of(row.body)
    except (KeyError, TypeError, ValueError):
        return None
    return None if circuit.state in FORCED else circuit


def _audit(tx: Transaction, row: KeptCircuit, circuit: Circuit, active: Active) -> None:
    tx.audit(
        tenant_id=SYSTEM_TENANT,
        owner=row.owner,
        actor="system",
        transition="circuit.forgotten",
        reason_code="PROFILE_SUPERSEDED",
        turn=turn(),
        hashes={"profile": row.profile_hash},
        facts={
            "provider_ref": row.provider_ref,
            "state": state_name(circuit.state),
            "reason": circuit.reason,
            "since": datetime.fromtimestamp(circuit.since, UTC).isoformat(),
            "trips": str(circuit.trips),
            "active_version": str(active.version),
        },
    )
