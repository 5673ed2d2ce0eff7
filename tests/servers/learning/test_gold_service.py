"""Gold through a real channel: from signals to an immutable set and its packs; what is refused moves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_ACTIVE, ArtifactRow
from selene.artifacts.v1.packs_pb2 import SttRoutingPolicyPack, TtsPronunciationPack
from selene.common.v1 import scope_pb2 as wire
from selene.gold.v1.evidence_pb2 import LabelledItem, PronunciationLabel
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_PAE_ROUTE, GOLD_DOMAIN_TTS_PRONUNCIATION, GOLD_DOMAIN_WAKE_ENDPOINT
from selene.learning.v1 import signal_pb2 as nouns
from selene_messages.selene.common.v1 import Scope, ScopeType
from selene_messages.selene.gold import v1

from clients.errors import SeleneError
from clients.gold import Gold
from servers import pack_formats
from servers.learning.identity import canonical_items, canonical_payload, read_payload
from store import Store, Transaction
from tests.servers.learning.items import boundary, item, label, pronunciation
from tests.support.gold import (
    ROUTED_TURNS,
    captured,
    distinct,
    gold_of,
    items,
    labels,
    numbered,
    routed,
    routed_by_profile,
    turns,
)
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT
from tests.support.stores import audit

State = v1.GoldState
ON_THE_WAY = (State.VALIDATING, State.AWAITING_REVIEW, State.GOLD_APPROVED, State.PACKAGED)


@dataclass
class House:
    """The owner, somebody who proposes and three people who review."""

    owners: Owners
    maker: Gold
    ann: Gold
    ben: Gold
    both: Gold

    @property
    def store(self) -> Store:
        return self.owners.store

    async def proposed(self, *signal_ids: str, domain: int = GOLD_DOMAIN_PAE_ROUTE, **fields: Any) -> str:
        tier = fields.pop("tier", v1.GoldTier._1_HARD_TRUTH)
        candidate = await self.maker.propose(v1.GoldDomain(domain), tier, signal_ids, **fields)
        return candidate.gold_set_id

    async def advanced(self, gold_set_id: str, *states: v1.GoldState) -> list[tuple[bool, v1.GoldReason]]:
        outcomes = []
        for state in states:
            transition = (await self.maker.advance(gold_set_id, state)).transition
            assert transition is not None
            outcomes.append((transition.applied, transition.reason_code))
        return outcomes

    async def trail(self) -> list[tuple[str, str]]:
        events = await self.owners.trail()
        return [(event.transition, event.reason_code) for event in events if event.transition.startswith("gold.")]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with serving(["learning"], tmp_path, {"owners.learning": {"intake": {"outbox_every_s": 60}}}) as owners:
        await routed_by_profile(owners.store)
        yield at_home(owners)


def at_home(owners: Owners) -> House:
    return House(
        owners,
        gold_of(owners, "maker", "operator"),
        gold_of(owners, "ann", "reviewer"),
        gold_of(owners, "ben", "reviewer"),
        gold_of(owners, "both", "operator", "reviewer"),
    )


async def refusal(call: Awaitable[Any]) -> SeleneError:
    with pytest.raises(SeleneError) as caught:
        await call
    return caught.value


DONE = (True, v1.GoldReason.UNSPECIFIED)


async def test_measured_routes_become_a_gold_set_and_a_pack_that_its_consumer_reads(
    store_url: str, tmp_path: Path
) -> None:
    flags = {"owners.learning": {"intake": {"outbox_every_s": 60}}, "store.url": store_url}
    async with serving(["learning"], tmp_path, flags) as owners:
        await routed_by_profile(owners.store)
        await _from_signal_to_pack(at_home(owners))


async def _from_signal_to_pack(house: House) -> None:
    signal_ids = await captured(house.store, *numbered())
    gold_set_id = await house.proposed(*signal_ids)
    assert await house.maker.add_items(gold_set_id, items(turns(signal_ids))) == ROUTED_TURNS
    assert await house.advanced(gold_set_id, *ON_THE_WAY[:3]) == [DONE] * 3
    packaged = await house.maker.advance(gold_set_id, State.PACKAGED)
    assert packaged.transition is not None and packaged.transition.applied
    [pack] = packaged.packs
    assert (pack.artifact_type, pack.artifact_version, pack.created_by) == ("STT_ROUTING_POLICY_PACK", 2, "PH1.LEARN")
    assert pack.rollback_pointer_ref == "STT_ROUTING_POLICY_PACK@1"

    read = pack_formats.parse(pack.artifact_type, await house.store.artifacts.payload(pack.package_hash))
    assert isinstance(read, SttRoutingPolicyPack)
    [preference] = read.preferences
    assert (preference.provider_ref, preference.over_provider_ref) == ("good/stt", "plain/stt")
    assert (preference.turns, preference.preferred_bp, preference.quality_delta_bp) == (ROUTED_TURNS, 10_000, 10_000)

    shown = await house.maker.get(gold_set_id)
    assert shown.gold_set is not None and shown.candidate is not None
    assert (shown.gold_set.artifact_type, shown.gold_set.version) == ("GOLD_SET_PAE_ROUTE_V1", 1)
    assert shown.gold_set.created_by == "PH1.LEARN" and shown.gold_set.signal_ids == signal_ids
    assert read.header.gold_set_hash == shown.gold_set.package_hash
    assert [one.to_state for one in shown.history] == list(ON_THE_WAY)
    down = [
        (edge.ancestor_ref, edge.descendant_ref)
        async for edge in house.maker.lineage(f"signal:{signal_ids[0]}", descendants=True)
    ]
    assert down[0] == (f"signal:{signal_ids[0]}", f"gold:{gold_set_id}")
    assert [one[1].partition(":")[0] for one in down] == ["gold", "artifact", "artifact"]
    assert down[-1][1] == f"artifact:{pack.artifact_id}"
    up = [edge.ancestor_ref async for edge in house.maker.lineage(f"artifact:{pack.artifact_id}")]
    assert up[-1] == f"signal:{signal_ids[-1]}"
    assert [why for what, why in await house.trail() if what in ("gold.golded", "gold.packaged")] == ["OK", "OK"]
    # Only governance goes further.
    assert await house.advanced(gold_set_id, State.ACTIVATED) == [(False, v1.GoldReason.ACTIVATION_GATE_BLOCKED)]


async def test_an_approved_set_replays_the_bytes_that_it_was_approved_from(house: House) -> None:
    signal_ids = await captured(house.store, *numbered())
    gold_set_id = await house.proposed(*signal_ids)
    await house.maker.add_items(gold_set_id, items(reversed(turns(signal_ids))))
    await house.advanced(gold_set_id, *ON_THE_WAY[:3])
    gold_set = await house.store.gold.gold_set(TENANT, gold_set_id)
    assert gold_set is not None
    payload = await house.store.artifacts.payload(gold_set.package_hash)
    again = [LabelledItem.FromString(bytes(one)) async for one in house.maker.items(gold_set_id, page_size=37)]
    header, _ = read_payload(payload)
    async with house.store.transaction() as tx:
        sealed = await tx.gold.seal_payload(TENANT, canonical_items(again))
    assert canonical_payload(header, sealed) == payload
    assert b"good/stt" not in payload
    assert [one.item.item_id for one in again] == sorted(one.item.item_id for one in again)


async def test_reviewed_pronunciations_become_the_pack_that_only_know_writes(house: House) -> None:
    [signal_id] = await captured(house.store, "1", domain=GOLD_DOMAIN_TTS_PRONUNCIATION)
    gold_set_id = await house.proposed(
        signal_id, domain=GOLD_DOMAIN_TTS_PRONUNCIATION, tier=v1.GoldTier._2_HUMAN_VERIFIED
    )
    spoken = [item(distinct(pronunciation(), number), f"i{number:03}", signal_id) for number in range(250)]
    said = PronunciationLabel(accepted=True, confidence_bp=9500)
    await house.maker.add_items(gold_set_id, items(spoken))
    for reviewer in (house.ann, house.ben):
        await reviewer.label(gold_set_id, labels([label(said, "", one.item_id) for one in spoken]))
    assert await house.advanced(gold_set_id, *ON_THE_WAY) == [DONE] * 4
    rows = await house.store.gold.artifacts(TENANT, gold_set_id)
    assert [(row.artifact_type, row.created_by) for row in rows] == [
        ("GOLD_SET_TTS_PRONUNCIATION_V1", "PH1.LEARN"),
        ("TTS_PRONUNCIATION_PACK", "PH1.KNOW"),
    ]
    pack = pack_formats.parse("TTS_PRONUNCIATION_PACK", await house.store.artifacts.payload(rows[1].package_hash))
    assert isinstance(pack, TtsPronunciationPack)
    assert {(one.term, one.phonemes) for one in pack.entries} == {
        (f"Selene {number}", "si li ni") for number in range(250)
    }


async def test_the_next_set_of_a_line_is_a_higher_version_that_returns_to_the_one_before(house: House) -> None:
    signal_ids = await captured(house.store, *numbered(ROUTED_TURNS + 2))
    hashes = []
    for version in (1, 2):
        gold_set_id = await house.proposed(*signal_ids)
        await house.maker.add_items(gold_set_id, items(turns(signal_ids[: ROUTED_TURNS + version])))
        assert (await house.advanced(gold_set_id, *ON_THE_WAY))[-1] == DONE
        rows = await house.store.gold.artifacts(TENANT, gold_set_id)
        assert [row.artifact_version for row in rows] == [version, version + 1]
        assert rows[1].rollback_pointer_ref == f"STT_ROUTING_POLICY_PACK@{version}"
        hashes.append(rows[0].package_hash)
        assert rows[0].rollback_pointer_ref == ("" if version == 1 else "GOLD_SET_PAE_ROUTE_V1@1")
    assert len(set(hashes)) == 2


async def test_too_little_evidence_is_deferred_and_never_approved(house: House) -> None:
    signal_ids = await captured(house.store, *numbered(ROUTED_TURNS - 1))
    gold_set_id = await house.proposed(*signal_ids)
    await house.maker.add_items(gold_set_id, items(turns(signal_ids)))
    await house.advanced(gold_set_id, *ON_THE_WAY[:2])
    assert await house.advanced(gold_set_id, State.GOLD_APPROVED) == [(False, v1.GoldReason.THRESHOLD_NOT_MET)]
    assert await house.advanced(gold_set_id, State.GOLD_REJECTED) == [(False, v1.GoldReason.HARD_RULE_VIOLATION)]
    assert await house.advanced(gold_set_id, State.GOLD_DEFERRED) == [(True, v1.GoldReason.INSUFFICIENT_EVIDENCE)]
    assert await house.store.gold.gold_set(TENANT, gold_set_id) is None


@pytest.fixture
async def unrouted(store_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """Where nothing routes: no owner has ever put a routing profile in force."""
    flags = {"owners.learning": {"intake": {"outbox_every_s": 60}}, "store.url": store_url}
    async with serving(["learning"], tmp_path, flags) as owners:
        yield at_home(owners)


async def awaiting(house: House, prefix: str, use: str = "stt") -> str:
    """A set of routes with all the evidence that §16 wants of it, of turns of its own."""
    signal_ids = await captured(house.store, *numbered(prefix=prefix), use=use)
    gold_set_id = await house.proposed(*signal_ids)
    await house.maker.add_items(gold_set_id, items(turns(signal_ids, use)))
    await house.advanced(gold_set_id, *ON_THE_WAY[:2])
    return gold_set_id


async def in_force(house: House, artifact_type: str, content: bytes, **fields: Any) -> ArtifactRow:
    """A version that serves the tenant."""
    scope = wire.Scope(scope_type=wire.SCOPE_TYPE_TENANT, scope_id=TENANT)
    row = ArtifactRow(
        artifact_type=artifact_type,
        tenant_id=TENANT,
        scope=scope,
        provenance_ref="test",
        created_by="PH1.LEARN",
        idempotency_key="test",
        status=ARTIFACT_STATUS_ACTIVE,
        **fields,
    )
    async with house.store.transaction() as tx:
        row = await tx.artifacts.register(row, content)
        await tx.artifacts.activate(artifact_type, TENANT, scope, row.artifact_version)
        audit(tx, TENANT)
    return row


async def test_routes_with_nothing_to_roll_back_to_are_rejected(unrouted: House) -> None:
    gold_set_id = await awaiting(unrouted, "a")
    assessment = (await unrouted.maker.get(gold_set_id)).assessment
    assert assessment is not None and assessment.verdict == State.GOLD_REJECTED
    [figure] = [one for one in assessment.figures if one.name == "ROLLBACK_POINTER"]
    assert (figure.value, figure.met) == (0.0, False)
    assert await unrouted.advanced(gold_set_id, State.GOLD_APPROVED) == [(False, v1.GoldReason.THRESHOLD_NOT_MET)]
    assert await unrouted.advanced(gold_set_id, State.GOLD_REJECTED) == [(True, v1.GoldReason.HARD_RULE_VIOLATION)]


async def test_routes_return_to_the_pack_of_their_use_that_serves_unless_it_was_revoked(unrouted: House) -> None:
    row = await in_force(unrouted, "STT_ROUTING_POLICY_PACK", b"stt")
    assert await unrouted.advanced(await awaiting(unrouted, "a"), State.GOLD_APPROVED) == [DONE]
    spoken = await awaiting(unrouted, "b", use="tts")
    assert (await unrouted.advanced(spoken, State.GOLD_REJECTED))[0][0]

    async with unrouted.store.transaction() as tx:
        await tx.gold.lineage.link(TENANT, ["signal:old"], f"artifact:{row.artifact_id}")
        await tx.governance.cases.freeze(TENANT, [row.artifact_id], "r-1")
        audit(tx, TENANT)
    assert (await unrouted.advanced(await awaiting(unrouted, "c"), State.GOLD_REJECTED))[0][0]
    await routed_by_profile(unrouted.store)
    assert await unrouted.advanced(await awaiting(unrouted, "d"), State.GOLD_APPROVED) == [DONE]


async def test_a_refused_transition_leaves_its_audit_row_and_nothing_else(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    gold_set_id = await house.proposed(signal_id)
    before = await house.store.gold.get(TENANT, gold_set_id)
    rows = await house.store.audit.size(TENANT)
    assert await house.advanced(gold_set_id, State.VALIDATING) == [(False, v1.GoldReason.INPUT_SCHEMA_INVALID)]
    assert await house.store.gold.get(TENANT, gold_set_id) == before
    assert await house.store.gold.history(TENANT, gold_set_id) == []
    assert await house.store.audit.size(TENANT) == rows + 1
    assert (await house.trail())[-1] == ("gold.transition_refused", "GOLD_INPUT_SCHEMA_INVALID")


@pytest.mark.parametrize(
    "state", [one for one in State if one not in (State.UNSPECIFIED, State.VALIDATING)], ids=lambda one: str(one.name)
)
async def test_no_candidate_takes_a_step_that_the_table_does_not_list(house: House, state: v1.GoldState) -> None:
    [signal_id] = await captured(house.store, "1")
    gold_set_id = await house.proposed(signal_id)
    await house.maker.add_items(gold_set_id, items(turns([signal_id])))
    assert await house.advanced(gold_set_id, state) == [(False, v1.GoldReason.STATE_TRANSITION_INVALID)]
    assert await house.store.gold.history(TENANT, gold_set_id) == []


async def test_withdrawn_consent_stops_a_set_wherever_it_stands(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    gold_set_id = await house.proposed(signal_id)
    await house.maker.add_items(gold_set_id, items(turns([signal_id])))
    await house.advanced(gold_set_id, State.VALIDATING)

    async def withdraw(tx: Transaction) -> None:
        await tx.governance.consents.end(TENANT, "mira")
        audit(tx, TENANT)

    await house.store.perform(withdraw)
    assert await house.advanced(gold_set_id, State.AWAITING_REVIEW) == [(False, v1.GoldReason.POLICY_SCOPE_VIOLATION)]
    again = await refusal(house.proposed(signal_id))
    assert again.reason == "CONSENT_REQUIRED"


async def test_a_frozen_set_goes_nowhere_and_takes_no_evidence(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    gold_set_id = await house.proposed(signal_id)
    await house.maker.add_items(gold_set_id, items(turns([signal_id])))
    async with house.store.transaction() as tx:
        assert await tx.gold.freeze(TENANT, [gold_set_id]) == [gold_set_id]
        audit(tx, TENANT)
    assert await house.advanced(gold_set_id, State.VALIDATING) == [(False, v1.GoldReason.POLICY_SCOPE_VIOLATION)]
    refused = await refusal(house.maker.add_items(gold_set_id, items([routed("late", signal_id)])))
    assert (refused.reason, refused.metadata) == ("GOLD_STATE_REFUSED", {"state": "CANDIDATE", "frozen": "true"})


@pytest.mark.parametrize(
    ("privacy", "scope", "goes_on"),
    [
        (nouns.PRIVACY_SCOPE_USER, Scope(ScopeType.TENANT, TENANT), False),
        (nouns.PRIVACY_SCOPE_USER, Scope(ScopeType.USER, "noor"), False),
        (nouns.PRIVACY_SCOPE_USER, Scope(ScopeType.USER, "mira"), True),
        (nouns.PRIVACY_SCOPE_TENANT, Scope(ScopeType.GLOBAL, ""), False),
        (nouns.PRIVACY_SCOPE_TENANT, Scope(ScopeType.LOCALE, "en-GB"), True),
        (nouns.PRIVACY_SCOPE_DEPLOYMENT, Scope(ScopeType.GLOBAL, ""), True),
    ],
)
async def test_nothing_is_learned_further_than_its_signals_may_go(
    house: House, privacy: Any, scope: Scope, goes_on: bool
) -> None:
    [signal_id] = await captured(house.store, "1", privacy_scope=privacy)
    gold_set_id = await house.proposed(signal_id, scope=scope)
    await house.maker.add_items(gold_set_id, items(turns([signal_id])))
    await house.advanced(gold_set_id, State.VALIDATING)
    outcome = (goes_on, v1.GoldReason.UNSPECIFIED if goes_on else v1.GoldReason.POLICY_SCOPE_VIOLATION)
    assert await house.advanced(gold_set_id, State.AWAITING_REVIEW) == [outcome]


async def test_proxies_never_train(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    gold_set_id = await house.proposed(signal_id, tier=v1.GoldTier.NON_GOLD_PROXY)
    await house.maker.add_items(gold_set_id, items(turns([signal_id])))
    assert await house.advanced(gold_set_id, State.VALIDATING, State.AWAITING_REVIEW) == [
        DONE,
        (False, v1.GoldReason.POLICY_SCOPE_VIOLATION),
    ]


async def test_a_signal_of_another_domain_is_no_complete_input(house: House) -> None:
    signal_ids = await captured(house.store, "1") + await captured(house.store, "2", domain=GOLD_DOMAIN_WAKE_ENDPOINT)
    gold_set_id = await house.proposed(*signal_ids)
    await house.maker.add_items(gold_set_id, items(turns(signal_ids[:1])))
    assert await house.advanced(gold_set_id, State.VALIDATING) == [(False, v1.GoldReason.INPUT_SCHEMA_INVALID)]


async def test_a_domain_whose_packs_nobody_reads_is_reported_and_never_packaged(house: House) -> None:
    [signal_id] = await captured(house.store, "1", domain=GOLD_DOMAIN_WAKE_ENDPOINT)
    gold_set_id = await house.proposed(signal_id, domain=GOLD_DOMAIN_WAKE_ENDPOINT, tier=v1.GoldTier._2_HUMAN_VERIFIED)
    events = [item(distinct(boundary(), number), f"i{number:03}", signal_id) for number in range(300)]
    await house.maker.add_items(gold_set_id, items(events))
    for reviewer in (house.ann, house.ben):
        await reviewer.label(gold_set_id, labels([label(boundary(), "", one.item_id) for one in events]))
    assert await house.advanced(gold_set_id, *ON_THE_WAY) == [
        DONE,
        DONE,
        DONE,
        (False, v1.GoldReason.PACKAGE_BUILD_FAILED),
    ]
    facts = {one.name: one.value for one in (await house.owners.trail())[-1].facts}
    assert facts["orphans"] == "WAKE_THRESHOLD_PACK"


async def test_nobody_labels_an_item_twice_or_what_they_proposed(house: House) -> None:
    [signal_id] = await captured(house.store, "1", domain=GOLD_DOMAIN_TTS_PRONUNCIATION)
    candidate = await house.both.propose(v1.GoldDomain.TTS_PRONUNCIATION, v1.GoldTier._2_HUMAN_VERIFIED, [signal_id])
    which = candidate.gold_set_id
    await house.both.add_items(which, items([item(pronunciation(), "i1", signal_id)]))
    good, bad = (label(PronunciationLabel(accepted=accepted, confidence_bp=9000), "eve") for accepted in (True, False))

    own = await refusal(house.both.label(which, labels([good])))
    assert (own.reason, own.metadata) == ("OWN_WORK_REFUSED", {"cause": "PROPOSER"})
    assert await house.ann.label(which, labels([good])) == 1
    assert await house.ann.label(which, labels([good])) == 1
    contradicted = await refusal(house.ann.label(which, labels([bad])))
    assert (contradicted.reason, contradicted.metadata) == ("EVIDENCE_CONTRADICTED", {"item_id": "i1"})
    assert await house.ben.label(which, labels([bad])) == 2
    [kept] = [one async for one in house.maker.items(which)]
    assert [one.labeller for one in kept.labels] == [f"{TENANT}/ann", f"{TENANT}/ben"]


async def test_several_channels_of_one_person_are_one_reviewer(house: House) -> None:
    [signal_id] = await captured(house.store, "1", domain=GOLD_DOMAIN_TTS_PRONUNCIATION)
    which = await house.proposed(signal_id, domain=GOLD_DOMAIN_TTS_PRONUNCIATION, tier=v1.GoldTier._2_HUMAN_VERIFIED)
    await house.maker.add_items(which, items([item(pronunciation(), "i1", signal_id)]))
    said = labels([label(PronunciationLabel(accepted=True, confidence_bp=9000), "somebody else")])
    twins = [gold_of(house.owners, "ann", "reviewer") for _ in range(4)]
    await asyncio.gather(*(twin.label(which, said) for twin in twins))
    [kept] = [one async for one in house.maker.items(which)]
    assert [one.labeller for one in kept.labels] == [f"{TENANT}/ann"]


async def test_evidence_that_is_none_is_refused_and_nothing_of_its_request_is_kept(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    which = await house.proposed(signal_id)
    good = routed("good", signal_id)
    for bad, cause in (
        (routed("bad", "signal-of-others"), "SIGNAL_NOT_OF_SET"),
        (item(pronunciation(), "bad", signal_id), "CONTENT_OF_ANOTHER_DOMAIN"),
    ):
        refused = await refusal(house.maker.add_items(which, items([good, bad])))
        assert (refused.reason, refused.metadata) == ("EVIDENCE_INVALID", {"item_id": "bad", "cause": cause})
    twice = await refusal(house.maker.add_items(which, items([good, routed("good", signal_id, swapped=True)])))
    assert (twice.reason, twice.metadata) == ("EVIDENCE_CONTRADICTED", {"item_id": "good"})
    assert [one async for one in house.maker.items(which)] == []
    assert await house.maker.add_items(which, items([good, good])) == 1
    assert await house.maker.add_items(which, items([good])) == 1


async def test_another_tenant_sees_and_changes_nothing(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    which = await house.proposed(signal_id)
    other = gold_of(house.owners, "maker", "operator", "reviewer", tenant="other")
    for call in (
        other.get(which),
        other.add_items(which, items([routed("x", signal_id)])),
        other.advance(which, State.VALIDATING),
        other.label(which, labels([label(PronunciationLabel(), "")])),
        anext(other.items(which)),
        anext(other.lineage(f"gold:{which}")),
        other.propose(v1.GoldDomain.PAE_ROUTE, v1.GoldTier._1_HARD_TRUTH, [signal_id]),
    ):
        assert (await refusal(call)).reason == "RESOURCE_NOT_FOUND"
    scope = Scope(ScopeType.TENANT, "other")
    assert (await refusal(house.proposed(signal_id, scope=scope))).reason == "TENANT_MISMATCH"
    assert [one async for one in other.list()] == []


async def test_the_same_proposal_again_is_the_same_candidate(house: House) -> None:
    signal_ids = await captured(house.store, "1", "2")
    first = await house.proposed(*signal_ids, idempotency_key="k")
    assert await house.proposed(*reversed(signal_ids), idempotency_key="k") == first
    reused = await refusal(house.proposed(signal_ids[0], idempotency_key="k"))
    assert reused.reason == "IDEMPOTENCY_KEY_REUSED"
    assert [one.gold_set_id async for one in house.maker.list()] == [first]


async def test_sets_are_listed_latest_first_a_page_at_a_time(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    made = [await house.proposed(signal_id) for _ in range(5)]
    assert [one.gold_set_id async for one in house.maker.list(page_size=2)] == made[::-1]
    assert [one.gold_set_id async for one in house.maker.list(domain=v1.GoldDomain.VOCABULARY)] == []
    await house.maker.add_items(made[1], items(turns([signal_id])))
    await house.advanced(made[1], State.VALIDATING)
    assert [one.gold_set_id async for one in house.maker.list(state=State.VALIDATING)] == [made[1]]


async def test_a_domain_says_what_it_lacks(house: House) -> None:
    every = await house.maker.domains()
    incomplete = await house.maker.domains(only_incomplete=True)
    assert len(every) == 13
    assert incomplete == [one for one in every if one.lacking]
    assert {one.domain for one in incomplete} >= {v1.GoldDomain.PERSONA_TONE, v1.GoldDomain.MULTIMODAL_FUSION}


async def test_advances_of_several_at_once_take_one_step(house: House) -> None:
    signal_ids = await captured(house.store, *numbered())
    which = await house.proposed(*signal_ids)
    await house.maker.add_items(which, items(turns(signal_ids)))
    await house.advanced(which, *ON_THE_WAY[:2])
    makers = [gold_of(house.owners, f"maker-{number}", "service") for number in range(4)]
    replies = await asyncio.gather(*(maker.advance(which, State.GOLD_APPROVED) for maker in makers))
    assert sorted(reply.transition is not None and reply.transition.applied for reply in replies) == [
        False,
        False,
        False,
        True,
    ]
    assert len(await house.store.gold.artifacts(TENANT, which)) == 1


async def test_what_routes_gave_is_the_trails_word_and_not_the_proposers(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    which = await house.proposed(signal_id)
    boast = routed("i1", signal_id)
    boast.route.candidate.quality_bp, boast.route.baseline.cost_micros = 9_999, 1_000_000
    await house.maker.add_items(which, items([boast]))
    [kept] = [one async for one in house.maker.items(which)]
    assert kept.item is not None and kept.item.route is not None
    candidate, baseline = kept.item.route.candidate, kept.item.route.baseline
    assert candidate is not None and (candidate.quality_bp, candidate.cost_micros) == (10_000, 100)
    assert baseline is not None and (baseline.quality_bp, baseline.cost_micros) == (0, 0)
    told = {event.event_id: event.transition for event in await house.owners.trail()}
    assert told[candidate.event_id] == told[baseline.event_id] == "call.attempted"


async def test_what_the_router_saw_is_the_truth_of_what_was_executed(house: House) -> None:
    seen = nouns.CAPTURE_SOURCE_RUNTIME_OUTCOME
    signal_ids = await captured(house.store, *numbered(), capture_source=seen)
    which = await house.proposed(*signal_ids)
    await house.maker.add_items(which, items(turns(signal_ids)))
    assert await house.advanced(which, *ON_THE_WAY[:3]) == [DONE] * 3


async def test_a_route_that_no_call_took_is_no_evidence(house: House) -> None:
    [signal_id] = await captured(house.store, "1")
    [unheard] = await captured(house.store, "2", told=False)
    [of_speech] = await captured(house.store, "3", input_ref="stream:1")
    which = await house.proposed(signal_id, unheard, of_speech)
    for one in (routed("i1", signal_id, use="tts"), routed("i1", unheard), routed("i1", of_speech)):
        refused = await refusal(house.maker.add_items(which, items([one])))
        assert (refused.reason, refused.metadata) == (
            "EVIDENCE_INVALID",
            {"item_id": "i1", "cause": "ROUTE_NOT_RECORDED"},
        )
    assert [one async for one in house.maker.items(which)] == []


async def test_signals_of_one_call_are_one_routed_turn(house: House) -> None:
    names = numbered(ROUTED_TURNS - 1)
    signal_ids = await captured(house.store, *names)
    signal_ids += await captured(house.store, "again", correlation_id="c-00000", input_ref="call:request-00000")
    which = await house.proposed(*signal_ids)
    await house.maker.add_items(which, items(turns(signal_ids)))
    shown = (await house.maker.get(which)).assessment
    assert shown is not None
    assert [(one.item_id, one.of_item_id) for one in shown.copies] == [("turn-00799", "turn-00000")]
    await house.advanced(which, *ON_THE_WAY[:2])
    assert await house.advanced(which, State.GOLD_APPROVED) == [(False, v1.GoldReason.THRESHOLD_NOT_MET)]
    assert await house.advanced(which, State.GOLD_DEFERRED) == [(True, v1.GoldReason.INSUFFICIENT_EVIDENCE)]
