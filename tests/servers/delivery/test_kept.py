"""Deliveries as the store keeps them and the contract shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from servers.delivery.kept import delivery_message, delivery_of, kept, references
from servers.delivery.machine import Delivery
from tests.servers.delivery.simulation import World
from tests.servers.delivery.test_machine import LOST, NOW, STATES, YES, ended, in_state, leased, taken_on


@pytest.mark.parametrize("state", STATES)
def test_a_delivery_is_the_same_after_it_was_kept(state: int) -> None:
    value = in_state(state)  # type: ignore[arg-type]  # protobuf enums are ints
    assert delivery_of(json.loads(json.dumps(kept(value), allow_nan=False))) == value


def test_every_delivery_of_a_world_is_the_same_after_it_was_kept() -> None:
    values = [row.value for seed in range(20) for row in World(seed).run().rows.values()]
    assert len(values) > 20
    assert [delivery_of(json.loads(json.dumps(kept(value), allow_nan=False))) for value in values] == values


@pytest.mark.parametrize("name", sorted(kept(ended(taken_on(), LOST)).keys() - {"cancel_reason"}))
def test_a_body_that_lacks_something_is_refused(name: str) -> None:
    body = kept(ended(taken_on(), LOST))
    del body[name]
    with pytest.raises(KeyError):
        delivery_of(body)


@pytest.mark.parametrize(
    ("name", "value"),
    [("certainty", "MAYBE"), ("kind", "MAYBE"), ("number", "one"), ("sent_at", "now"), ("declares", None)],
)
def test_an_attempt_that_nobody_made_is_refused(name: str, value: Any) -> None:
    body = kept(ended(taken_on(), LOST))
    body["attempts"][0][name] = value
    with pytest.raises((KeyError, TypeError, ValueError)):
        delivery_of(body)


def test_a_message_says_where_it_stands_and_what_was_tried() -> None:
    message = delivery_message(ended(taken_on(), YES), 4)
    assert (message.delivery_id, message.reason_code, message.revision) == ("d" * 64, "ACCEPTED", 4)
    assert not message.HasField("next_at")
    attempt = message.attempts[0]
    assert (attempt.number, attempt.provider_ref, attempt.provider_ack_ref) == (1, "a", "ack")
    assert attempt.provider_idempotency_token_sent == "a-token"
    assert attempt.ended_at.ToSeconds() == NOW


def test_a_message_says_what_happens_next_by_itself() -> None:
    assert delivery_message(ended(taken_on(), LOST), 1).next_at.ToSeconds() == NOW + 2
    assert not delivery_message(leased(taken_on()), 1).attempts


def test_a_webhook_finds_it_by_every_name_that_providers_have_for_it() -> None:
    value: Delivery = ended(ended(taken_on(), LOST), LOST, now=NOW + 9)
    assert references(taken_on()) == frozenset()
    assert references(value) == {("a", "d" * 64), ("a", "a-token"), ("a", "m1")}


def test_what_was_kept_before_anything_could_be_taken_back_is_read_as_it_was() -> None:
    delivery = ended(taken_on(), LOST)
    body = kept(delivery)
    del body["cancel_reason"], body["attempts"][0]["cancels"]
    assert delivery_of(body) == delivery
