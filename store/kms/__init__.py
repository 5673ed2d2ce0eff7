"""What the secrets owner keeps (§26). `store.kms` reads and redeems; `tx.kms` reads and writes within a transaction.

Rooms: `secrets` (what is known of a secret, and its sealed versions), `leases`. Secrets belong to the deployment and
to no tenant. Each version is sealed under a data key of its own, which the master key wraps and which is destroyed
with the version.
"""

from __future__ import annotations

from datetime import datetime

from store.access import Reads, Writes
from store.errors import KeyDestroyed
from store.keys import MasterKeys
from store.kms.lease import Lease, LeaseFault, LeaseRefused, Leases, LeasesReader, proved, reference, refused
from store.kms.secret import PURPOSE, Secret, Secrets, SecretsReader, key_name
from store.vault import Vault, VaultReader

__all__ = ["Kms", "KmsReader", "Lease", "LeaseFault", "LeaseRefused", "Secret"]

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

    async def redeem(self, lease_ref: str, now: datetime) -> bytes:
        """The secret under a lease, for the one call that needs it: never logged, never kept.

        LeaseRefused says why not; StoreUnavailable, WrongMasterKey, SealBroken.
        """
        lease_id = proved(lease_ref, self._derived.derived(LEASE_KEYS))
        leased = await self.leases.leased(lease_id)
        fault = refused(leased, now)
        if leased is None or fault is not None:
            raise LeaseRefused(fault or LeaseFault.NOT_A_LEASE)
        try:
            return await self._opener.open("", key_name(leased.handle, leased.version), PURPOSE, leased.sealed)
        except KeyDestroyed:
            # Revoked or retired between the two reads.
            raise LeaseRefused(LeaseFault.VERSION_GONE) from None


class Kms(KmsReader):
    """The writing side, within one transaction; the caller audits."""

    def __init__(self, writes: Writes, vault: Vault, master_keys: MasterKeys) -> None:
        super().__init__(writes, vault, master_keys)
        self.leases: Leases = Leases(writes)
        self.secrets: Secrets = Secrets(writes, vault, self.leases)
