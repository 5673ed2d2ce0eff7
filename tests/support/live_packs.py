"""Packs in a store, as governance leaves them there: active, in a rollout, taken back, frozen."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.message import Message
from selene.artifacts.v1 import packs_pb2 as packs
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, SCOPE_TYPE_TENANT, Scope
from selene.governance.v1.decision_pb2 import ArtifactRef
from selene.governance.v1.rollout_pb2 import (
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    ROLLOUT_STATE_ROLLED_BACK,
    ROLLOUT_STATE_RUNNING,
    Rollout,
    RolloutStage,
    StageEntry,
)

from servers.cohort import place_bp
from servers.routing.pack_choice import Subject
from store import Store
from tests.support.owners import Owners
from tests.support.servers import until
from tests.support.stores import audit

TENANT: Final = "dev"
OF_TENANT: Final = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)
DEPLOYMENT: Final = Scope(scope_type=SCOPE_TYPE_GLOBAL)
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
SHARES: Final[Mapping[RolloutStage, int]] = MappingProxyType(
    {
        ROLLOUT_STAGE_SHADOW: 0,
        ROLLOUT_STAGE_CANARY_1: 500,
        ROLLOUT_STAGE_CANARY_2: 2_500,
        ROLLOUT_STAGE_FULL: 10_000,
    }
)
WRITTEN_WITHIN_S: Final = 10.0
_keys = itertools.count(1)


def header(artifact_type: str) -> packs.PackHeader:
    """Of a pack without a gold set."""
    return packs.PackHeader(pack_type=artifact_type, format=1)


def canonical(pack: Message) -> bytes:
    """A pack's bytes."""
    return pack.SerializeToString(deterministic=True)


def pronunciations(*entries: tuple[str, str], locale: str = "en") -> bytes:
    """A TTS_PRONUNCIATION_PACK of terms and their IPA."""
    spoken = [packs.LexiconEntry(locale=locale, term=term, phonemes=ipa) for term, ipa in entries]
    return canonical(packs.TtsPronunciationPack(header=header("TTS_PRONUNCIATION_PACK"), entries=spoken))


def vocabulary(*terms: str, locale: str = "en") -> bytes:
    """An STT_VOCAB_PACK."""
    known = [packs.VocabTerm(locale=locale, term=term, utterances=1) for term in terms]
    return canonical(packs.SttVocabPack(header=header("STT_VOCAB_PACK"), terms=known))


def adaptation(*pairs: tuple[str, str], locale: str = "en") -> bytes:
    """An STT_ADAPTATION_PROFILE of what is heard and what was meant."""
    found = [packs.SttSubstitution(locale=locale, heard=heard, meant=meant, utterances=1) for heard, meant in pairs]
    return canonical(packs.SttAdaptationProfile(header=header("STT_ADAPTATION_PROFILE"), substitutions=found))


def preference(first: str, over: str, **changed: int) -> packs.RoutePreference:
    """One that is supported, unless `changed` says otherwise."""
    usual = {"turns": 800, "preferred_bp": 8_000, "quality_delta_bp": 100}
    return packs.RoutePreference(provider_ref=first, over_provider_ref=over, **{**usual, **changed})


def stt_ranking(*preferences: packs.RoutePreference) -> bytes:
    """An STT_ROUTING_POLICY_PACK."""
    return canonical(packs.SttRoutingPolicyPack(header=header("STT_ROUTING_POLICY_PACK"), preferences=preferences))


async def put(
    store: Store,
    artifact_type: str,
    payload: bytes,
    *,
    scope: Scope = OF_TENANT,
    tenant: str = TENANT,
    active: bool = True,
    **fields: Any,
) -> ArtifactRow:
    """The next version of a line; `fields` are of its row."""
    async with store.transaction() as tx:
        row = await tx.artifacts.register(
            ArtifactRow(
                artifact_type=artifact_type,
                tenant_id=tenant,
                scope=scope,
                provenance_ref="test",
                created_by="test",
                idempotency_key=f"pack-{next(_keys)}",
                status=ARTIFACT_STATUS_CANDIDATE,
                **fields,
            ),
            payload,
        )
        if active:
            await tx.artifacts.activate(artifact_type, tenant, scope, row.artifact_version)
        audit(tx, tenant or "system")
    return row


async def begin(
    store: Store, row: ArtifactRow, stage: RolloutStage = ROLLOUT_STAGE_CANARY_1, *, rollout_id: str = "rollout-1"
) -> Rollout:
    """A rollout of a version at a stage, beside what is active now."""
    async with store.transaction() as tx:
        before = await tx.artifacts.pointer(row.artifact_type, row.tenant_id, row.scope)
        rollout = Rollout(
            rollout_id=rollout_id,
            tenant_id=row.tenant_id,
            subject=ArtifactRef(
                artifact_id=row.artifact_id,
                artifact_type=row.artifact_type,
                artifact_version=row.artifact_version,
                scope=row.scope,
                package_hash=row.package_hash,
            ),
            baseline_version=before.active_version if before else 0,
            state=ROLLOUT_STATE_RUNNING,
        )
        await tx.governance.rollouts.start(rollout, NOW)
        audit(tx, row.tenant_id or "system")
    await move(store, rollout, stage)
    return rollout


async def move(store: Store, rollout: Rollout, stage: RolloutStage) -> None:
    """To a stage, as governance moves it: FULL moves the pointer."""
    rollout.stages.append(StageEntry(stage=stage, share_bp=SHARES[stage]))
    subject = rollout.subject
    async with store.transaction() as tx:
        await tx.governance.rollouts.save(rollout, NOW)
        if stage == ROLLOUT_STAGE_FULL:
            line = (subject.artifact_type, rollout.tenant_id, subject.scope)
            await tx.artifacts.activate(*line, subject.artifact_version)
        audit(tx, rollout.tenant_id or "system")


async def take_back(store: Store, rollout: Rollout) -> None:
    """As the judge does in a canary."""
    rollout.state = ROLLOUT_STATE_ROLLED_BACK
    async with store.transaction() as tx:
        await tx.governance.rollouts.save(rollout, NOW)
        audit(tx, rollout.tenant_id or "system")


async def freeze(store: Store, row: ArtifactRow) -> None:
    """As a revocation does."""
    async with store.transaction() as tx:
        await tx.governance.cases.freeze(row.tenant_id, [row.artifact_id], "revocation-1")
        audit(tx, row.tenant_id or "system")


def somebody(least: int, below: int, *, prefix: str = "device", rollout_id: str = "rollout-1") -> str:
    """A subject whose place in the rollout lies between."""
    names = (f"{prefix}-{number}" for number in range(100_000))
    return next(name for name in names if least <= place_bp(rollout_id, name) < below)


async def taken_on(router: Any, ref: str, **subject: str) -> None:
    """Wait until calls of this subject that begin go by this version, `artifact_type@version`."""
    name = ref.partition("@")[0].lower()
    who = Subject(TENANT, **subject)
    await until(lambda: router.packs(who).facts.get(name) == ref)


async def told(owners: Owners, request_id: str) -> dict[str, str]:
    """What the last audit row of a call says of its packs."""
    deadline = time.monotonic() + WRITTEN_WITHIN_S
    while time.monotonic() < deadline:
        for event in await owners.trail(TENANT):
            facts = {fact.name: fact.value for fact in event.facts}
            if event.transition == "call.finished" and facts["request_id"] == request_id:
                return {name: value for name, value in facts.items() if "_pack" in name or "_profile" in name}
        await asyncio.sleep(0.02)
    raise AssertionError(f"no end of {request_id} in the trail")
