"""What the store can refuse, as types: servers map each to a status or to their fail-closed outcome."""

from __future__ import annotations

from enum import StrEnum


class Unavailability(StrEnum):
    """Why the store cannot take or answer anything right now; the values are `ErrorReason` names without prefix."""

    LOCKED = "STORE_LOCKED"
    FULL = "STORE_FULL"
    UNAVAILABLE = "STORE_UNAVAILABLE"


class StoreError(Exception):
    """Base of everything the store raises on purpose."""


class StoreUnavailable(StoreError):
    """The store is locked, full, closed or unreachable: nothing of the transaction was kept. Callers fail closed."""

    def __init__(self, reason: Unavailability, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail


class StoreTooNew(StoreError):
    """The database was migrated by a later version of this code; running on it would corrupt it."""


class UnauditedChange(StoreError):
    """A transaction changed state and wrote no audit row (ALL-2): a programming error, rolled back."""


class UnansweredClaim(StoreError):
    """A transaction claimed an idempotency key and committed without `remember`: a programming error, rolled back."""


class IdempotencyConflict(StoreError):
    """The key was used before with other content (ALL-4)."""

    def __init__(self, method: str, key: str) -> None:
        super().__init__(f"idempotency key {key!r} of {method} was used with other content")
        self.method = method
        self.key = key


class Conflict(StoreError):
    """A row with this identity exists already, or the state does not allow the change."""


class NotFound(StoreError):
    """No such row for this tenant."""


class WrongMasterKey(StoreError):
    """Subject keys are wrapped by a master key that was not given."""


class KeyDestroyed(StoreError):
    """The subject's key was destroyed (crypto-erasure): what it sealed can never be read again."""


class SealBroken(StoreError):
    """The sealed bytes were altered, or belong to another tenant, subject or purpose."""
