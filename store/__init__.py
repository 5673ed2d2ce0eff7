"""Tables, migrations and append-only ledgers over SQLite and PostgreSQL: the only code that knows SQL.

    store = await Store.open("sqlite:///selene.db", clock=clock, ids=ids, signing_key=seed, master_key=key)
    await store.migrate()
    async with store.transaction() as tx:                                  # durable when the block ends
        first = await tx.idempotent(tenant, "Enroll", key, request_hash(...))
        if first is None:
            await tx.voiceid.enrollments.start(tenant, enrollment_id, user_id=..., device_id=..., consent_ref=...)
            tx.audit(tenant_id=tenant, owner="PH1.VOICE.ID", actor=..., transition="enrollment.started", ...)
            await tx.remember(tenant, "Enroll", key, response)
    await store.voiceid.profiles.gallery_version(tenant)                   # reading needs no transaction

Rooms of `tx`: `artifacts`, `delivery`, `gold`, `governance`, `kms`, `learning`, `routing`, `settings`, `vault`,
`voiceid.{enrollments, profiles, devices, prompts, streams, fingerprints}`; `store` has the reading half of each, and
`audit`; `store.together` reads from several in one hop. Errors are in `store.errors`: on `StoreUnavailable` nothing was
kept and the caller fails closed.
"""

from store.errors import (
    Conflict,
    IdempotencyConflict,
    KeyDestroyed,
    NotFound,
    SealBroken,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
    UnansweredClaim,
    UnauditedChange,
    Unavailability,
    WrongMasterKey,
)
from store.idempotency import request_hash
from store.ledger import AuditFilter
from store.store import Rooms, Store, audit_trail
from store.transaction import Transaction

__all__ = [
    "AuditFilter",
    "Conflict",
    "IdempotencyConflict",
    "KeyDestroyed",
    "NotFound",
    "Rooms",
    "SealBroken",
    "Store",
    "StoreError",
    "StoreTooNew",
    "StoreUnavailable",
    "Transaction",
    "UnansweredClaim",
    "UnauditedChange",
    "Unavailability",
    "WrongMasterKey",
    "audit_trail",
    "request_hash",
]
