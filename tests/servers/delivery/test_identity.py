"""Keys of deliveries: canonical, and different for whatever differs."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_CHANNEL_SMS,
    Content,
    TemplateContent,
    TextContent,
)

from servers.delivery.identity import (
    attempt_group_id,
    attempt_request_id,
    delivery_idem,
    intent_key,
    payload_hash,
    recipient_lock,
)

texts = st.text(max_size=8)


def test_the_key_is_sha256_over_length_prefixed_fields() -> None:
    fields = (b"t", b"message", b"r", b"1", b"\x00hash", b"sim")
    encoded = b"".join(len(field).to_bytes(8, "big") + field for field in fields)
    assert delivery_idem("t", "message", "r", DELIVERY_CHANNEL_SMS, b"\x00hash", "sim") == sha256(encoded).hexdigest()


@given(st.tuples(texts, texts, texts, texts), st.tuples(texts, texts, texts, texts))
def test_no_shifted_boundary_makes_two_intents_alike(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    keys = [delivery_idem(a, b, c, DELIVERY_CHANNEL_SMS, b"p", d) for a, b, c, d in (one, other)]
    intents = [intent_key(a, b, c, DELIVERY_CHANNEL_SMS, d) for a, b, c, d in (one, other)]
    assert (keys[0] == keys[1]) is (intents[0] == intents[1]) is (one == other)


def test_the_same_message_with_other_content_is_another_delivery_of_the_same_intent() -> None:
    one, other = (
        payload_hash(Content(text=TextContent(text=text)), "+491701234567", "") for text in ("hello", "goodbye")
    )
    who = ("t", "m", "r", DELIVERY_CHANNEL_SMS)
    assert delivery_idem(*who, one, "") != delivery_idem(*who, other, "")
    assert intent_key(*who, "") != intent_key("t", "m", "r", DELIVERY_CHANNEL_EMAIL, "")


def test_a_payload_is_its_content_its_address_and_its_sender() -> None:
    content = Content(text=TextContent(text="hello"))
    hashes = {
        payload_hash(content, "ab", ""),
        payload_hash(content, "a", "b"),
        payload_hash(content, "", "ab"),
        payload_hash(Content(text=TextContent(text="hello!")), "ab", ""),
    }
    assert len(hashes) == 4


@given(st.dictionaries(st.text(min_size=1, max_size=4), texts, min_size=2, max_size=6))
def test_the_order_of_parameters_does_not_matter(parameters: dict[str, str]) -> None:
    reverse = dict(reversed(parameters.items()))
    one, other = (
        Content(template=TemplateContent(template="t", locale="en", parameters=each)) for each in (parameters, reverse)
    )
    assert payload_hash(one, "a", "") == payload_hash(other, "a", "")


@pytest.mark.parametrize("made", [attempt_group_id, lambda each: attempt_request_id(each, 1)])
def test_ids_of_attempts_follow_from_the_delivery(made: object) -> None:
    assert callable(made)
    assert made("d" * 64) == made("d" * 64) != made("e" * 64)


def test_every_attempt_has_its_own_request_id() -> None:
    assert len({attempt_request_id("d" * 64, number) for number in range(1, 100)}) == 99


def test_a_lock_is_of_one_person_of_one_tenant() -> None:
    assert (
        len({recipient_lock("t", "r"), recipient_lock("t", "s"), recipient_lock("u", "r"), recipient_lock("tr", "")})
        == 4
    )
