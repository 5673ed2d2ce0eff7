from __future__ import annotations

from store import Store
from tests.support.stores import audit


async def test_members_and_owner_belong_to_a_device_of_a_tenant(store: Store) -> None:
    async with store.transaction() as tx:
        devices = tx.voiceid.devices
        assert await devices.add_member("t1", "d1", "u2")
        assert await devices.add_member("t1", "d1", "u1")
        assert not await devices.add_member("t1", "d1", "u1")
        await devices.set_owner("t1", "d1", "u1")
        await devices.set_owner("t1", "d1", "u2")
        audit(tx)
    assert await store.voiceid.devices.members("t1", "d1") == ["u1", "u2"]
    assert await store.voiceid.devices.owner("t1", "d1") == "u2"
    assert await store.voiceid.devices.members("t2", "d1") == []
    assert await store.voiceid.devices.owner("t2", "d1") is None


async def test_a_member_leaves_once(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.devices.add_member("t1", "d1", "u1")
        assert await tx.voiceid.devices.remove_member("t1", "d1", "u1")
        assert not await tx.voiceid.devices.remove_member("t1", "d1", "u1")
        audit(tx)
    assert await store.voiceid.devices.members("t1", "d1") == []
