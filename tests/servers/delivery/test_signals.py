"""What deliveries say of who had to send for whom: to learning, and in the trail, kept with the delivery's change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selene.common.v1.scope_pb2 import TurnRef
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_SMS,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
)
from selene.learning.v1 import signal_pb2 as nouns
from selene.routing.v1 import service_pb2 as routing
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import CIRCUIT_STATE_OPEN, RoutingSubject

from servers.delivery.adapter import Certainty, Declares, Report, ReportKind
from servers.delivery.machine import Attempt, AttemptKind, Delivery, Rules, accepted
from servers.delivery.reports import Reports
from servers.delivery.signals import seen_in
from servers.runtime.clock import ManualClock
from servers.runtime.ids import SeededIds
from servers.runtime.signals import Producer
from store import Store
from tests.servers.delivery.test_crashes import START
from tests.support.crashing import house
from tests.support.deliveries import TENANT, Post, posting, profile, text
from tests.support.simulators.plain_delivery import KEYED, Act, PlainAdapter, provider
from tests.support.stores import MASTER_KEY, SIGNING_KEY, audit

CONSENT = {"owners.signals.tenants": [TENANT]}


async def left(post: Post) -> list[nouns.LearningSignal]:
    """What waits for learning; taken, so that it is seen once."""
    async with post.owners.store.transaction() as tx:
        audit(tx, TENANT)
        return [one.signal for one in await tx.learning.outbox.take(100)]


async def opened(post: Post, provider_ref: str) -> None:
    """Returns once the provider's circuit is open."""
    stub = routing_grpc.CircuitServiceStub(post.owners.connection("delivery").channel)
    subject = RoutingSubject(tenant_id=TENANT)
    states: dict[str, Any] = {}
    for _ in range(2000):
        reply = await stub.ListProviders(routing.ListProvidersRequest(subject=subject))
        states = {each.provider_ref: each.circuit.state for each in reply.providers}
        if states[provider_ref] == CIRCUIT_STATE_OPEN:
            return
    raise AssertionError(states)


async def test_whoever_sends_for_another_is_told_of_and_why(tmp_path: Path) -> None:
    async with provider() as first, provider() as second:
        adapters = [PlainAdapter("a/sms", first.url, KEYED), PlainAdapter("b/sms", second.url, KEYED)]
        first.plan(Act.CREDENTIAL)
        async with posting(tmp_path, adapters, flags=CONSENT) as post:
            moved = await post.send(text("m1", recipient="mira"))
            await post.until(moved.delivery_id, DELIVERY_STATE_SENT_ACKED)
            (failover,) = await left(post)
            assert (failover.signal_class, failover.reason_code) == (
                nouns.SIGNAL_CLASS_FAILOVER,
                "CREDENTIAL_REFUSED",
            )
            assert (failover.source_engine_id, failover.input_ref) == ("PH1.DELIVERY", f"delivery:{moved.delivery_id}")
            assert (failover.output_ref, failover.user_id) == ("provider:b/sms", "anonymous")
            assert "mira" not in str(failover)
            # A secret that is not taken opens the circuit: the first choice is not even asked.
            await opened(post, "a/sms")
            passed = await post.send(text("m2"))
            await post.until(passed.delivery_id, DELIVERY_STATE_SENT_ACKED)
            (fallback,) = await left(post)
            assert (fallback.signal_class, fallback.reason_code) == (nouns.SIGNAL_CLASS_FALLBACK, "CIRCUIT_OPEN")
            assert fallback.output_ref == "provider:b/sms"
            assert len(first.requests) == 1
            begun = [row for row in await post.owners.trail() if row.transition == "delivery.sending"]
        facts = [{fact.name: fact.value for fact in row.facts} for row in begun]
        assert [row.reason_code for row in begun] == ["SENDING", "FAILOVER", "FAILOVER"]
        assert "failover_from" not in facts[0]
        moved = [(each["failover_from"], each["failover_reason"], each["provider_ref"]) for each in facts[1:]]
        assert moved == [("a/sms", "CREDENTIAL_REFUSED", "b/sms"), ("a/sms", "CIRCUIT_OPEN", "b/sms")]


async def test_an_acceptance_that_only_a_webhook_told_of_is_told_of_too(sqlite_url: str) -> None:
    clock = ManualClock(START)
    store = await Store.open(sqlite_url, clock=clock, ids=SeededIds(1), signing_key=SIGNING_KEY, master_key=MASTER_KEY)
    async with provider() as first, provider() as second:
        first.plan(Act.CREDENTIAL)
        second.plan(Act.TAKE_AND_LOSE_REPLY)
        declares = Declares(webhooks=True)
        adapters = [
            PlainAdapter("a/sms", first.url, declares, clock),
            PlainAdapter("b/sms", second.url, declares, clock),
        ]
        async with house(store, clock, adapters, profile("a/sms", "b/sms"), Rules()) as there:
            (lost,) = await there.accept(text("m1"))
            process = await there.process()
            while await process.round():
                await process.quiet()
            assert (await there.delivery(TENANT, lost)).state == DELIVERY_STATE_UNKNOWN
            report = Report(
                provider_ref="b/sms", event_id="e-1", kind=ReportKind.DELIVERED, at=clock.now(), idempotency_key=lost
            )
            told = Reports(store, clock, Rules(), producer=Producer("PH1.DELIVERY", frozenset({TENANT})))
            assert (await told.take([report])).new == 1
            assert (await there.delivery(TENANT, lost)).state == DELIVERY_STATE_SENT_ACKED
        for adapter in adapters:
            await adapter.close()
    async with store.transaction() as tx:
        audit(tx, TENANT)
        (failover,) = [one.signal for one in await tx.learning.outbox.take(100)]
    assert (failover.signal_class, failover.output_ref) == (nouns.SIGNAL_CLASS_FAILOVER, "provider:b/sms")
    await store.close()


@pytest.mark.parametrize(("flags", "acts"), [({}, [Act.CREDENTIAL]), (CONSENT, [Act.BUSY]), (CONSENT, [])])
async def test_nothing_is_said_without_consent_or_where_the_first_choice_sent_it(
    tmp_path: Path, flags: dict[str, Any], acts: list[Act]
) -> None:
    async with provider() as first, provider() as second:
        adapters = [PlainAdapter("a/sms", first.url, KEYED), PlainAdapter("b/sms", second.url, KEYED)]
        first.plan(*acts)
        async with posting(tmp_path, adapters, flags=flags) as post:
            sent = await post.send(text("m1"))
            await post.until(sent.delivery_id, DELIVERY_STATE_SENT_ACKED)
            assert await left(post) == []


def _attempt(number: int, provider_ref: str, certainty: Certainty, reason: str) -> Attempt:
    return Attempt(
        number=number,
        provider_ref=provider_ref,
        request_id=f"r-{number}",
        kind=AttemptKind.FRESH,
        declares=Declares(),
        token_sent="",
        sent_at=1.0,
        deadline_at=31.0,
        certainty=certainty,
        reason=reason,
        ack_ref="ack" if certainty is Certainty.ACCEPTED else "",
    )


BEFORE = accepted(
    delivery_id="d" * 64, tenant_id="t", message_id="m", recipient_id="r", channel=DELIVERY_CHANNEL_SMS, now=1.0
)
REFUSED = _attempt(1, "a", Certainty.REFUSED, "PROVIDER_BUSY")
TAKEN = _attempt(2, "b", Certainty.ACCEPTED, "ACCEPTED")
SENT = replace(BEFORE, state=DELIVERY_STATE_SENT_ACKED, attempts=(REFUSED, TAKEN))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BEFORE, lambda sent: replace(sent, state=BEFORE.state)),
        (SENT, lambda sent: sent),
        (BEFORE, lambda sent: replace(sent, attempts=(replace(TAKEN, number=1),))),
    ],
    ids=["not sent yet", "sent before", "nobody was passed over"],
)
def test_only_the_step_that_ends_with_another_provider_s_acceptance_says_something(
    before: Delivery, after: Callable[[Delivery], Delivery]
) -> None:
    assert seen_in(BEFORE, SENT, "", TurnRef()) is not None
    assert seen_in(before, after(SENT), "", TurnRef()) is None
