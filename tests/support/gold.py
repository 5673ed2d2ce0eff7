"""Gold as it is served: people who propose and who review, and evidence enough for a set to be approved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from selene.gold.v1.evidence_pb2 import (
    Boundary,
    GoldItem,
    GoldLabel,
    LabelledTurn,
    ModelOutput,
    Pronunciation,
    Ranking,
    RecognisedUtterance,
    RoutedTurn,
    RouteOutcome,
    VoiceTrial,
)
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_PAE_ROUTE, GoldDomain
from selene.learning.v1 import signal_pb2 as nouns
from selene.routing.v1.routing_pb2 import ProviderRoutingProfileV1
from selene_messages.selene.gold import v1 as said

from clients.gold import Gold
from clients.retry import NO_RETRY
from servers.learning.capturing import capture
from servers.routing.directory import DEPLOYMENT, register
from servers.routing.profile import ARTIFACT_TYPE
from servers.runtime.auth import Principal, issue_token
from store import Store
from store.learning import NewSignal
from tests.support.owners import Owners
from tests.support.servers import TENANT
from tests.support.signals import signal

ROUTED_TURNS = 800
"""The window of §16 for routes."""


def gold_of(owners: Owners, subject: str, *roles: str, tenant: str = TENANT) -> Gold:
    """A client of the learning owner as this person, with a channel of its own."""
    return Gold(owners.connection("learning", token_of(owners, subject, *roles, tenant=tenant)), policy=NO_RETRY)


def token_of(owners: Owners, subject: str, *roles: str, tenant: str = TENANT) -> str:
    """A token of this person."""
    key = owners.running.development_key
    assert key is not None
    caller = Principal(tenant, subject, "", frozenset(roles))
    return issue_token(key, caller, now=datetime.now(UTC), lifetime=timedelta(minutes=5))


async def captured(
    store: Store, *names: str, tenant: str = TENANT, domain: GoldDomain = GOLD_DOMAIN_PAE_ROUTE, **fields: Any
) -> list[str]:
    """Signals of a domain as if they had been taken on; their ids. Truth events, unless `fields` say otherwise."""
    usual: dict[str, Any] = {"capture_source": nouns.CAPTURE_SOURCE_TRUTH_EVENT, "domain": domain}
    signals = [signal(name, tenant, datetime.now(UTC), **{**usual, **fields}) for name in names]
    async with store.transaction() as tx:
        new = [NewSignal(one, nouns.INTAKE_PATH_IMPROVEMENT) for one in signals]
        await capture(tx, tenant, new, actor="system", reason="TEST")
    return [one.signal_id for one in signals]


async def routed_by_profile(store: Store) -> None:
    """A routing profile is active: what routes before anything is learned, and after what was learned came back."""
    async with store.transaction() as tx:
        profile = ProviderRoutingProfileV1(profile_id="test", profile_version=1)
        row = await register(tx, profile, idempotency_key="default", created_by="PH1.GOV")
        await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, row.artifact_version)
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.routed", reason_code="TEST")


def routed(item_id: str, signal_id: str, *, quality_bp: int = 9000, use: str = "stt") -> GoldItem:
    """A turn for which the proposed route was better than the one that was active."""
    return GoldItem(
        item_id=item_id,
        signal_id=signal_id,
        route=RoutedTurn(
            candidate=RouteOutcome(
                provider_ref=f"good/{use}", quality_bp=quality_bp, latency=_milliseconds(100), cost_micros=100
            ),
            baseline=RouteOutcome(
                provider_ref=f"plain/{use}", quality_bp=7000, latency=_milliseconds(200), cost_micros=200
            ),
        ),
    )


def turns(signal_id: str, count: int = ROUTED_TURNS) -> list[GoldItem]:
    """Routed turns, as many as §16 wants of them."""
    return [routed(f"turn-{number:05}", signal_id) for number in range(count)]


def distinct(content: Any, seed: int) -> Any:
    """The content as evidence of its own: for another seed it is another one, and nothing that is measured differs."""
    made = type(content)()
    made.CopyFrom(content)
    match made:
        case Boundary():
            made.end.FromMilliseconds(made.end.ToMilliseconds() + seed + 1)
        case RecognisedUtterance():
            made.tokens[-1] = f"{made.tokens[-1]}-{seed}"
        case Pronunciation():
            made.term = f"{made.term} {seed}"
        case LabelledTurn():
            made.text = f"{made.text}, {seed}"
        case ModelOutput():
            made.packet = json.dumps({**json.loads(made.packet), "reply": f"Number {seed}."}).encode()
        case Ranking():
            made.query_ref = f"{made.query_ref}-{seed}"
        case RoutedTurn():
            made.candidate.event_id, made.baseline.event_id = f"candidate-{seed}", f"baseline-{seed}"
        case VoiceTrial():
            made.test_ref = f"{made.test_ref}-{seed}"
        case _:
            raise AssertionError(made)
    return made


def items(several: Iterable[GoldItem]) -> Sequence[said.GoldItem]:
    """As a client sends them."""
    return [said.GoldItem.parse(one.SerializeToString()) for one in several]


def labels(several: Iterable[GoldLabel]) -> Sequence[said.GoldLabel]:
    """As a client sends them."""
    return [said.GoldLabel.parse(one.SerializeToString()) for one in several]


def _milliseconds(count: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(count)
    return duration
