"""Gold as it is served: people who propose and who review, and evidence enough for a set to be approved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from selene.common.v1.scope_pb2 import TurnRef
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
from store import Store, Transaction
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
    store: Store,
    *names: str,
    tenant: str = TENANT,
    domain: GoldDomain = GOLD_DOMAIN_PAE_ROUTE,
    use: str = "stt",
    told: bool = True,
    **fields: Any,
) -> list[str]:
    """Signals of a domain as if they had been taken on, each of a turn of its own; their ids. Truth events, unless
    `fields` say otherwise. Those of routes are about calls in which `use` failed over, and of which the trail tells.
    """
    signals = [_captured(name, tenant, domain, fields) for name in names]
    async with store.transaction() as tx:
        new = [NewSignal(one, nouns.INTAKE_PATH_IMPROVEMENT) for one in signals]
        await capture(tx, tenant, new, actor="system", reason="TEST")
        if told and domain == GOLD_DOMAIN_PAE_ROUTE:
            for one in signals:
                tell(tx, one, plain=f"plain/{use}", good=f"good/{use}")
    return [one.signal_id for one in signals]


async def routed_by_profile(store: Store) -> None:
    """A routing profile is active: what routes before anything is learned, and after what was learned came back."""
    async with store.transaction() as tx:
        profile = ProviderRoutingProfileV1(profile_id="test", profile_version=1)
        row = await register(tx, profile, idempotency_key="default", created_by="PH1.GOV")
        await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, row.artifact_version)
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.routed", reason_code="TEST")


def _captured(name: str, tenant: str, domain: GoldDomain, fields: dict[str, Any]) -> nouns.LearningSignal:
    usual: dict[str, Any] = {
        "capture_source": nouns.CAPTURE_SOURCE_TRUTH_EVENT,
        "domain": domain,
        "correlation_id": f"c-{name}",
        "turn_id": f"turn-{name}",
        "input_ref": f"call:request-{name}",
    }
    return signal(name, tenant, datetime.now(UTC), **{**usual, **fields})


def tell(tx: Transaction, about: nouns.LearningSignal, *, plain: str, good: str) -> None:
    """The rows of the call that a signal is about, as the router writes them: the first choice failed."""
    request = {"request_id": about.input_ref.removeprefix("call:")}
    rows: list[tuple[str, str, dict[str, str]]] = [
        (
            "call.attempted",
            "PROVIDER_BUSY",
            {"provider_ref": plain, "status": "RETRYABLE_ERROR", "latency_ms": "200.0"},
        ),
        ("call.attempted", "ANSWERED", {"provider_ref": good, "status": "OK", "latency_ms": "100.0"}),
        ("call.finished", "ANSWERED", {"provider_ref": good, "attempts": "2", "cost_micros": "100"}),
    ]
    for transition, reason, facts in rows:
        tx.audit(
            tenant_id=about.tenant_id,
            owner="PH1.C",
            actor="system",
            transition=transition,
            reason_code=reason,
            turn=TurnRef(correlation_id=about.correlation_id, turn_id=about.turn_id),
            facts={**request, **facts},
        )


def routed(item_id: str, signal_id: str, *, use: str = "stt", swapped: bool = False) -> GoldItem:
    """A turn for which a route is proposed in place of the one that was active. What both gave, the server knows."""
    candidate, baseline = RouteOutcome(provider_ref=f"good/{use}"), RouteOutcome(provider_ref=f"plain/{use}")
    if swapped:
        candidate, baseline = baseline, candidate
    return GoldItem(item_id=item_id, signal_id=signal_id, route=RoutedTurn(candidate=candidate, baseline=baseline))


def turns(signal_ids: Sequence[str], use: str = "stt") -> list[GoldItem]:
    """A routed turn of each signal."""
    return [routed(f"turn-{number:05}", signal_id, use=use) for number, signal_id in enumerate(signal_ids)]


def numbered(count: int = ROUTED_TURNS, prefix: str = "") -> list[str]:
    """Names of as many signals."""
    return [f"{prefix}{number:05}" for number in range(count)]


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
