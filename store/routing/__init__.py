"""What the routing owners keep (§22). `store.routing` reads; `tx.routing` reads and writes within a transaction.

Rooms: `calls` (what calls add to KPI windows), `served` (keys of calls that were served), `circuits`, `rules`,
`budgets`, `quotas` (what operators set), `grants` (what processes hold of budgets). Every change of what operators set
has a revision, so that a process learns with one read what changed.
"""

from __future__ import annotations

from store.access import Reads, Writes
from store.routing.calls import CallObservation, CallObservations, CallObservationsReader
from store.routing.circuits import Circuits, CircuitsReader, KeptCircuit, Transition
from store.routing.grants import Grant, Grants, GrantsReader, Spending
from store.routing.limits import (
    ELSEWHERE,
    Budget,
    Budgets,
    BudgetsReader,
    Key,
    Quota,
    Quotas,
    QuotasReader,
    Revisions,
    RevisionsReader,
    Rule,
    Rules,
    RulesReader,
)
from store.routing.served import ServedCall, ServedCalls, ServedCallsReader, name_of

__all__ = [
    "ELSEWHERE",
    "Budget",
    "CallObservation",
    "Grant",
    "KeptCircuit",
    "Key",
    "Quota",
    "Routing",
    "RoutingReader",
    "Rule",
    "ServedCall",
    "Spending",
    "Transition",
    "name_of",
]


class RoutingReader:
    """The reading side."""

    def __init__(self, reads: Reads) -> None:
        self.calls = CallObservationsReader(reads)
        self.served = ServedCallsReader(reads)
        self.circuits = CircuitsReader(reads)
        self.revisions = RevisionsReader(reads)
        self.rules = RulesReader(reads)
        self.budgets = BudgetsReader(reads)
        self.quotas = QuotasReader(reads)
        self.grants = GrantsReader(reads)


class Routing(RoutingReader):
    """The writing side, within one transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self.calls: CallObservations = CallObservations(writes)
        self.served: ServedCalls = ServedCalls(writes)
        self.circuits: Circuits = Circuits(writes)
        revisions = Revisions(writes)
        self.revisions: Revisions = revisions
        self.rules: Rules = Rules(writes, revisions)
        self.budgets: Budgets = Budgets(writes, revisions)
        self.quotas: Quotas = Quotas(writes, revisions)
        self.grants: Grants = Grants(writes)
