"""Where the versions of secrets are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from selene.kms.v1 import kms_pb2 as kms

from store import Transaction
from store.kms import Secret


class Backend(Protocol):
    """What the secrets owner asks of a keystore."""

    name: str
    """As `GetSealingKeyResponse.backend` tells it."""

    async def available(self) -> bool:
        """Whether it would keep and give secrets right now. Never raises."""

    async def put(
        self,
        tx: Transaction,
        handle: str,
        secret: bytes,
        *,
        environment: kms.Environment,
        granted_owners: Sequence[str],
        now: datetime,
        rotate_by: datetime,
        overlap_until: datetime,
    ) -> Secret:
        """Keep the next version, within the transaction that makes it known."""


class LocalKeystore:
    """The store itself: each version under a data key of its own, wrapped by the master key.

    Available whenever the store is; a store that is not refuses the transaction.
    """

    name = "local"

    async def available(self) -> bool:
        """Always."""
        return True

    async def put(
        self,
        tx: Transaction,
        handle: str,
        secret: bytes,
        *,
        environment: kms.Environment,
        granted_owners: Sequence[str],
        now: datetime,
        rotate_by: datetime,
        overlap_until: datetime,
    ) -> Secret:
        """Sealed into the same transaction."""
        return await tx.kms.secrets.put(
            handle,
            secret,
            environment=environment,
            granted_owners=granted_owners,
            now=now,
            rotate_by=rotate_by,
            overlap_until=overlap_until,
        )
