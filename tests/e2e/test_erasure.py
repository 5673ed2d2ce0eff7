"""Learning and governance as they are served: once a user revokes, nothing that they said can be read, and nothing else
is lost (§21).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from selene.governance.v1 import consent_pb2 as said
from selene_messages.selene.gold import v1 as gold
from selene_messages.selene.governance import v1
from selene_messages.selene.learning import v1 as learning
from sqlalchemy import select

from clients.governance import Consents
from clients.retry import NO_RETRY
from clients.signals import Signals
from clients.wire import to_message, to_wire
from servers.governance.controller import Controller
from servers.governance.statement import StatementRefused, opened
from store.engine import open_database
from store.schema import artifact_payloads, subject_keys
from tests.servers.learning.test_gold_service import House, at_home, refusal
from tests.support.gold import ROUTED_TURNS, captured, items, numbered, routed, routed_by_profile, token_of
from tests.support.owners import serving
from tests.support.servers import TENANT
from tests.support.signals import signal
from tests.support.stores import audit

State = gold.GoldState
EVERY_STEP = 7


@dataclass
class Erasing:
    """Both owners on one store, whose users are mira and otto; the control loops look when they are told to."""

    house: House
    mira: Consents
    operator: Consents
    signals: Signals
    controller: Controller
    store_url: str

    async def learned(self, turns: int = 6) -> str:
        """A set, half of mira's signals and half of otto's; approved where the turns are enough."""
        half = turns // 2
        of_mira = await captured(self.house.store, *numbered(half, "of-mira-"), user_id="mira", use="mira")
        of_otto = await captured(self.house.store, *numbered(half, "of-otto-"), user_id="otto")
        which = await self.house.proposed(*of_mira, *of_otto)
        evidence = [routed(f"m-{number:05}", one, use="mira") for number, one in enumerate(of_mira)]
        evidence += [routed(f"o-{number:05}", one) for number, one in enumerate(of_otto)]
        await self.house.maker.add_items(which, items(evidence))
        if turns < ROUTED_TURNS:
            return which
        on_the_way = (State.VALIDATING, State.AWAITING_REVIEW, State.GOLD_APPROVED)
        assert all(applied for applied, _ in await self.house.advanced(which, *on_the_way))
        return which

    async def revoked(self) -> said.Revocation:
        """Mira's consent ended, and every step done."""
        revocation = await self.mira.revoke("mira")
        await self.controller.tick()
        return await self.settled(revocation.revocation_id)

    async def settled(self, revocation_id: str) -> said.Revocation:
        """A revocation whose steps are all done."""
        found = to_wire(await self.operator.revocation(revocation_id), said.Revocation)
        assert (found.next_step, len(found.steps)) == (said.REVOCATION_STEP_UNSPECIFIED, EVERY_STEP)
        return found

    def receipt(self, revocation: said.Revocation) -> said.ErasureReceipt:
        return opened(revocation.receipt, said.ErasureReceipt, self.house.store.trusted_keys())

    async def keys(self) -> set[str]:
        """Ids of the keys that the database holds."""
        database = open_database(self.store_url, lock_timeout_s=5.0, connections=1)
        rows = await database.reader.rows(select(subject_keys.c.key_id))
        await database.close()
        return {bytes(row.key_id).hex() for row in rows}


@pytest.fixture
async def erasing(tmp_path: Path, store_url: str) -> AsyncIterator[Erasing]:
    flags = {
        "owners.learning": {"intake": {"outbox_every_s": 60}},
        "owners.governance": {"loops": False},
        "store.url": store_url,
    }
    async with serving(["learning", "governance"], tmp_path, flags) as owners:
        await routed_by_profile(owners.store)
        house = at_home(owners)

        def consents(subject: str, *roles: str) -> Consents:
            return Consents(owners.connection("governance", token_of(owners, subject, *roles)), policy=NO_RETRY)

        yield Erasing(
            house,
            consents("mira", "user"),
            consents("ann", "operator"),
            Signals(owners.connection("learning", token_of(owners, "feeder", "service")), policy=NO_RETRY),
            Controller(owners.store, owners.clock, every_s=3600),
            store_url,
        )


async def test_nothing_of_a_user_can_be_read_once_they_revoked_and_everything_of_others_can(erasing: Erasing) -> None:
    house, which = erasing.house, await erasing.learned(ROUTED_TURNS)
    before = [one async for one in house.maker.items(which)]
    revocation = await erasing.revoked()
    after = [one async for one in house.maker.items(which)]
    mine = ROUTED_TURNS // 2
    assert after[mine:] == before[mine:]
    for one, was in zip(after[:mine], before[:mine], strict=True):
        assert was.item is not None
        left = gold.GoldItem(item_id=was.item.item_id, signal_id=was.item.signal_id)
        assert one == gold.LabelledItem(item=left, erased=True)
    listed = {one.signal.signal_id: one async for one in erasing.signals.list() if one.signal is not None}
    assert (listed["signal-of-mira-00000"].erased, listed["signal-of-otto-00000"].erased) == (True, False)
    standing = await house.maker.get(which)
    assert standing.candidate is not None and standing.candidate.frozen
    assert [edge.descendant_ref async for edge in house.maker.lineage("signal:signal-of-mira-00000", descendants=True)]
    refused = await refusal(house.maker.add_items(which, items([routed("late", "signal-of-mira-00000")])))
    assert refused.reason == "GOLD_STATE_REFUSED"
    assert erasing.receipt(revocation).erasure.gold_items == mine
    assert (await house.store.verify(TENANT)).ok


async def test_what_is_built_anew_holds_nothing_of_who_revoked(erasing: Erasing) -> None:
    which = await erasing.learned()
    await erasing.revoked()
    [anew] = [one async for one in erasing.house.maker.list() if one.rebuilt_from == which]
    rows = [one async for one in erasing.house.maker.items(anew.gold_set_id)]
    assert {one.item.signal_id for one in rows if one.item is not None} == {
        f"signal-{name}" for name in numbered(3, "of-otto-")
    }
    assert (len(rows), any(one.erased for one in rows)) == (3, False)


async def test_the_ledger_never_held_what_a_user_said(erasing: Erasing) -> None:
    await erasing.learned(ROUTED_TURNS)
    database = open_database(erasing.store_url, lock_timeout_s=5.0, connections=1)
    payloads = [bytes(row.payload) for row in await database.reader.rows(select(artifact_payloads.c.payload))]
    await database.close()
    sets = [payload for payload in payloads if b"signal-of-mira" in payload]
    assert len(sets) == 1
    assert b"good/mira" not in sets[0] and b"call:request-of-mira" not in sets[0]


async def test_the_receipt_names_the_keys_that_are_gone_and_nobody_by_name(erasing: Erasing) -> None:
    await erasing.learned()
    await erasing.mira.grant("mira")
    async with erasing.house.store.transaction() as tx:
        user = await tx.vault.commitment(TENANT, "mira", b"actor")
        await tx.voiceid.profiles.lock(
            TENANT,
            "mira",
            embedding=b"voice",
            model_set_hash="aa",
            clip_count=3,
            voiced_ms=9_000,
            consent_ref="c-1",
        )
        audit(tx, TENANT)
    before = await erasing.keys()
    revocation = await erasing.revoked()
    erasure = erasing.receipt(revocation).erasure
    assert (erasure.keys, erasure.signals, erasure.voice_profiles, erasure.unsealed_signals) == (2, 3, 1, 0)
    assert erasure.subject == erasing.receipt(revocation).subject == user.hex()
    assert set(erasure.key_ids) == before - await erasing.keys()
    assert b"mira" not in revocation.receipt.payload
    gallery = [one async for one in erasing.house.store.voiceid.profiles.gallery(TENANT)]
    assert gallery == []
    forged = said.Revocation.FromString(revocation.SerializeToString()).receipt
    forged.payload = forged.payload.replace(erasure.key_ids[0].encode(), b"0" * 32)
    with pytest.raises(StatementRefused):
        opened(forged, said.ErasureReceipt, erasing.house.store.trusted_keys())


async def test_nothing_of_who_revoked_is_taken_on_until_they_consent_again(erasing: Erasing) -> None:
    clock = erasing.house.owners.clock

    def sent(name: str) -> learning.LearningSignal:
        return to_message(signal(name, TENANT, clock.now()), learning.LearningSignal)

    first = sent("1")
    await erasing.signals.capture(first)
    await erasing.revoked()
    missed = sent("2")
    for one in (first, missed):
        assert (await refusal(erasing.signals.capture(one))).reason == "CONSENT_REQUIRED"
    async with erasing.signals.stream("phone") as stream:
        await stream.send(sent("3"))
    assert [one.reason for one in stream.told.refused] == ["CONSENT_REQUIRED"]
    clock.skip(1)
    await erasing.mira.grant("mira")
    # What happened under the consent that was revoked is not taken on under the new one either.
    assert (await refusal(erasing.signals.capture(first))).reason == "CONSENT_REQUIRED"
    assert not (await erasing.signals.capture(sent("4"))).repeated


async def test_a_consent_that_runs_out_erases_by_itself(erasing: Erasing) -> None:
    clock = erasing.house.owners.clock
    await erasing.learned()
    await erasing.mira.grant("mira", expires_at=clock.now() + timedelta(minutes=1))
    await erasing.controller.tick()
    assert not [one async for one in erasing.operator.revocations()]
    clock.skip(61)
    await erasing.controller.tick()
    [revocation] = [one async for one in erasing.operator.revocations()]
    assert revocation.trigger is v1.RevocationTrigger.EXPIRED_TTL
    assert erasing.receipt(await erasing.settled(revocation.revocation_id)).erasure.signals == 3
    listed = [one async for one in erasing.signals.list() if one.erased]
    assert sorted(one.signal.signal_id for one in listed if one.signal is not None) == [
        f"signal-{name}" for name in numbered(3, "of-mira-")
    ]


async def test_a_tenants_policy_erases_everyone_and_says_nobody_in_particular(erasing: Erasing) -> None:
    await erasing.learned()
    revocation = await erasing.operator.revoke("", trigger=v1.RevocationTrigger.TENANT_POLICY)
    await erasing.controller.tick()
    erasure = erasing.receipt(await erasing.settled(revocation.revocation_id)).erasure
    assert (erasure.subject, erasure.signals, erasure.gold_items) == ("", 6, 6)
    assert all([one.erased async for one in erasing.signals.list()])
