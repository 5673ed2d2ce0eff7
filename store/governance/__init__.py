"""What governance keeps (§12, §20, §21, §29). `store.governance` reads; `tx.governance` reads and writes within a
transaction.

Rooms: `cases` (an artifact's evidence, decisions and permissions), `rollouts` (with what they are judged by),
`measured` (what owners tell of them from rows of their own), `consents` (with their revocations), `defects` (at which
safety is at stake, with what mended them). Decisions, permissions and closures are append-only and signed with the
store's own key. What is due is locked by the controller that works on
it, for the one transaction that the work takes: a controller that dies leaves nothing half done, and nothing is done
twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from store.access import Reads, Writes
from store.governance.case import Case, Cases, CasesReader, Unproved, gate_bundle_ref
from store.governance.consent import Consents, ConsentsReader, KeptConsent, KeptRevocation
from store.governance.defect import DefectRow, Defects, DefectsReader
from store.governance.measured import Measured, MeasuredReader
from store.governance.rollout import Rollouts, RolloutsReader
from store.keys import SigningKey

__all__ = [
    "Case",
    "DefectRow",
    "Governance",
    "GovernanceReader",
    "KeptConsent",
    "KeptRevocation",
    "Signature",
    "Unproved",
    "gate_bundle_ref",
]


@dataclass(frozen=True, slots=True)
class Signature:
    """64 bytes of Ed25519, and the key that made them."""

    signature: bytes
    key_id: str


class GovernanceReader:
    """The reading side."""

    def __init__(self, reads: Reads) -> None:
        self.cases = CasesReader(reads)
        self.rollouts = RolloutsReader(reads)
        self.measured = MeasuredReader(reads)
        self.consents = ConsentsReader(reads)
        self.defects = DefectsReader(reads)


class Governance(GovernanceReader):
    """The writing side, within one transaction; the caller audits."""

    def __init__(self, writes: Writes, signing_key: SigningKey) -> None:
        super().__init__(writes)
        self.cases: Cases = Cases(writes)
        self.rollouts: Rollouts = Rollouts(writes)
        self.measured: Measured = Measured(writes)
        self.consents: Consents = Consents(writes)
        self.defects: Defects = Defects(writes)
        self._signing_key = signing_key

    def sign(self, statement: bytes) -> Signature:
        """The store's signature over what a statement is signed by."""
        return Signature(self._signing_key.sign(statement), self._signing_key.key_id)
