"""What the secrets owner keeps (§26). `store.kms` reads and redeems; `tx.kms` reads and writes within a transaction.

Rooms: `secrets` (what is known of a secret, and its sealed versions), `leases`. Secrets belong to the deployment and
to no tenant. Each version is sealed under a data key of its own, which the master key wraps and which is destroyed
with the version; or another backend keeps it, and the store knows its number there.
"""

from __future__ import annotations

from datetime import datetime

from store.access import Reads, Writes
from store.errors import KeyDestroyed
from store.keys import MasterKeys
from store.kms.lease import Lease, Leased, LeaseFault, LeaseRefused, Leases, LeasesReader, proved, reference, refused
from store.kms.secret import PURPOSE, KeptElsewhere, Secret, Secrets, SecretsReader, key_name
from store.vault import Vault, VaultReader

__all__ = ["KeptElsewhere", "Kms", "KmsReader", "Lease", "LeaseFault", "LeaseRefused", "Leased", "Secret"]

LEASE_KEYS = "kms.lease"
SEALING_SEEDS = "kms.sealing"


class KmsReader:
    """The reading side, and the one place where a lease becomes the secret."""

    def __init__(self, reads: Reads, vault: VaultReader, master_keys: MasterKeys) -> None:
        self.secrets = SecretsReader(reads)
        self.leases = LeasesReader(reads)
        self._opener = vault
        self._derived = master_keys

    def sealing_seeds(self) -> tuple[bytes, ...]:
        """32 bytes each, to make the sealing keys of: the one in use first, then those of retired master keys."""
        return self._derived.derived(SEALING_SEEDS)

    def lease_ref(self, lease_id: str) -> str:
        """`lease://<lease id>/<43 characters>`: the same for the same lease, and nothing that is stored."""
        return reference(lease_id, self._derived.derived(LEASE_KEYS)[0])

    async def presented(self, lease_ref: str, now: datetime) -> Leased:
        """The lease of a reference, if it gives its secret now. LeaseRefused says why not; StoreUnavailable."""
        leased = await self.leases.leased(proved(lease_ref, self._derived.derived(LEASE_KEYS)))
        fault = refused(leased, now)
        if leased is None or fault is not None:
            raise LeaseRefused(fault or LeaseFault.NOT_A_LEASE, leased)
        return leased

    async def opened(self, leased: Leased) -> bytes:
        """The secret of a lease that was `presented`, where the store keeps it: never logged, never kept.

        LeaseRefused, StoreUnavailable, WrongMasterKey, SealBroken.
        """
        if leased.backend_version is not None:
            raise LeaseRefused(LeaseFault.KEPT_ELSEWHERE, leased)
        try:
            return await self._opener.open("", key_name(leased.handle, leased.version), PURPOSE, leased.sealed)
        except KeyDestroyed:
            # Revoked or retired between the two reads.
            raise LeaseRefused(LeaseFault.VERSION_GONE, leased) from None

    async def redeem(self, lease_ref: str, now: datetime) -> bytes:
        """`presented` and `opened`. Servers redeem through `servers.runtime.secrets`, which audits, and asks backends.

        LeaseRefused, StoreUnavailable, WrongMasterKey, SealBroken.
        """
        return await self.opened(await self.presented(lease_ref, now))


class Kms(KmsReader):
    """The writing side, within one transaction; the caller audits."""

    def __init__(self, writes: Writes, vault: Vault, master_keys: MasterKeys) -> None:
        super().__init__(writes, vault, master_keys)
        self.leases: Leases = Leases(writes)
        self.secrets: Secrets = Secrets(writes, vault, self.leases)
