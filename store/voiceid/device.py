"""Who belongs to a device, and who owns it: the enrolled set of a device, and DEVICE_OWNER_MISMATCH (§38.5)."""

from __future__ import annotations

from sqlalchemy import delete, select

from store.access import Reads, Writes
from store.schema import device_members, device_owners


class DevicesReader:
    """Reading devices."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def members(self, tenant_id: str, device_id: str) -> list[str]:
        """User ids enrolled on the device, sorted."""
        chosen = select(device_members.c.user_id).where(
            device_members.c.tenant_id == tenant_id, device_members.c.device_id == device_id
        )
        return [row.user_id for row in await self._reads.rows(chosen.order_by(device_members.c.user_id))]

    async def owner(self, tenant_id: str, device_id: str) -> str | None:
        """The user id of the owner, if the device has one."""
        chosen = select(device_owners.c.user_id).where(
            device_owners.c.tenant_id == tenant_id, device_owners.c.device_id == device_id
        )
        rows = await self._reads.rows(chosen)
        return rows[0].user_id if rows else None


class Devices(DevicesReader):
    """Changing devices inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def add_member(self, tenant_id: str, device_id: str, user_id: str) -> bool:
        """False where the user is a member already."""
        added = self._writes.insert(device_members).values(
            tenant_id=tenant_id, device_id=device_id, user_id=user_id, created_at=self._writes.clock.now()
        )
        added = added.on_conflict_do_nothing()
        return bool((await self._writes.write(added.returning(device_members.c.user_id))).rows)

    async def remove_member(self, tenant_id: str, device_id: str, user_id: str) -> bool:
        """False where the user is no member."""
        chosen = delete(device_members).where(
            device_members.c.tenant_id == tenant_id,
            device_members.c.device_id == device_id,
            device_members.c.user_id == user_id,
        )
        return (await self._writes.write(chosen)).count > 0

    async def set_owner(self, tenant_id: str, device_id: str, user_id: str) -> None:
        """Make the user the device's owner, in place of whoever was."""
        owned = {"user_id": user_id, "updated_at": self._writes.clock.now()}
        statement = self._writes.insert(device_owners).values(tenant_id=tenant_id, device_id=device_id, **owned)
        await self._writes.write(
            statement.on_conflict_do_update(index_elements=list(device_owners.primary_key), set_=owned)
        )
