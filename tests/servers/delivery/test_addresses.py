"""Addresses of each channel: one spelling for those that are sound, a cause for the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_CHANNEL_PUSH,
    DELIVERY_CHANNEL_SMS,
    DELIVERY_CHANNEL_UNSPECIFIED,
    DELIVERY_CHANNEL_WECHAT,
    DELIVERY_CHANNEL_WHATSAPP,
    DeliveryChannel,
)

from servers.delivery.addresses import AddressInvalid, normalised

CHANNELS = [
    DELIVERY_CHANNEL_SMS,
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_CHANNEL_WHATSAPP,
    DELIVERY_CHANNEL_WECHAT,
    DELIVERY_CHANNEL_PUSH,
]
OPEN_ID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
FCM = "dGVzdC10b2tlbg:APA91b" + "Hx_-" * 30


@pytest.mark.parametrize(
    ("channel", "address", "expected"),
    [
        (DELIVERY_CHANNEL_SMS, "+14155552671", "+14155552671"),
        (DELIVERY_CHANNEL_SMS, "+49 (170) 123-4567", "+491701234567"),
        (DELIVERY_CHANNEL_WHATSAPP, "+86 138 0013 8000", "+8613800138000"),
        (DELIVERY_CHANNEL_EMAIL, "Ada.Lovelace@EXAMPLE.com", "Ada.Lovelace@example.com"),
        (DELIVERY_CHANNEL_EMAIL, "a@xn--exmple-cua.com", "a@exämple.com"),
        (DELIVERY_CHANNEL_EMAIL, "jörg+tag@example.com", "jörg+tag@example.com"),
        (DELIVERY_CHANNEL_WECHAT, OPEN_ID, OPEN_ID),
        (DELIVERY_CHANNEL_PUSH, "AB" * 32, "ab" * 32),
        (DELIVERY_CHANNEL_PUSH, FCM, FCM),
    ],
)
def test_a_sound_address_has_one_spelling(channel: DeliveryChannel, address: str, expected: str) -> None:
    assert normalised(channel, address) == expected
    assert normalised(channel, expected) == expected


@pytest.mark.parametrize(
    ("channel", "address", "cause"),
    [
        (DELIVERY_CHANNEL_SMS, "4155552671", "NOT_E164"),
        (DELIVERY_CHANNEL_SMS, "+0155552671", "NOT_E164"),
        (DELIVERY_CHANNEL_SMS, "+1415555267a", "NOT_E164"),
        (DELIVERY_CHANNEL_SMS, "+999123456789", "NOT_E164"),
        (DELIVERY_CHANNEL_SMS, "+141555526", "NUMBER_LENGTH_IMPOSSIBLE"),
        (DELIVERY_CHANNEL_WHATSAPP, "+15551234567", "NUMBER_NOT_ASSIGNED"),
        (DELIVERY_CHANNEL_SMS, "+1415555२671", "NOT_E164"),
        (DELIVERY_CHANNEL_EMAIL, "nobody", "NOT_A_MAIL_ADDRESS"),
        (DELIVERY_CHANNEL_EMAIL, "a@b@example.com", "NOT_A_MAIL_ADDRESS"),
        (DELIVERY_CHANNEL_EMAIL, "a@localhost", "NOT_A_MAIL_ADDRESS"),
        (DELIVERY_CHANNEL_EMAIL, "a@[127.0.0.1]", "NOT_A_MAIL_ADDRESS"),
        (DELIVERY_CHANNEL_EMAIL, "Ada <a@example.com>", "NOT_A_MAIL_ADDRESS"),
        (DELIVERY_CHANNEL_EMAIL, "a@example.com,b@example.com", "NOT_A_MAIL_ADDRESS"),
        (DELIVERY_CHANNEL_EMAIL, "x" * 65 + "@example.com", "NOT_A_MAIL_ADDRESS"),
        (DELIVERY_CHANNEL_EMAIL, "a@example.com\r\nBcc: b@example.com", "CHARACTER_NOT_ALLOWED"),
        (DELIVERY_CHANNEL_EMAIL, " a@example.com", "CHARACTER_NOT_ALLOWED"),
        (DELIVERY_CHANNEL_WECHAT, "short", "NOT_AN_OPENID"),
        (DELIVERY_CHANNEL_WECHAT, OPEN_ID + "/../x", "NOT_AN_OPENID"),
        (DELIVERY_CHANNEL_PUSH, "ab" * 31, "NOT_A_DEVICE_TOKEN"),
        (DELIVERY_CHANNEL_PUSH, "ab" * 32 + "/x", "NOT_A_DEVICE_TOKEN"),
        (DELIVERY_CHANNEL_UNSPECIFIED, "+14155552671", "CHANNEL_UNKNOWN"),
    ],
)
def test_an_unsound_address_is_refused_by_its_cause_and_not_repeated(
    channel: DeliveryChannel, address: str, cause: str
) -> None:
    with pytest.raises(AddressInvalid) as refused:
        normalised(channel, address)
    assert refused.value.cause == cause
    assert str(refused.value) == cause


@given(channel=st.sampled_from(CHANNELS), address=st.text(max_size=80))
def test_whatever_is_given_is_refused_or_safe_in_a_request(channel: DeliveryChannel, address: str) -> None:
    try:
        found = normalised(channel, address)
    except AddressInvalid:
        return
    assert found.isprintable() and not set(found) & set(" <>,;\"'\\")
    assert normalised(channel, found) == found
