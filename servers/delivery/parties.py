"""Who writes to whom: what an intent says of both, checked before it is taken on (DLV-1). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_CHANNEL_PUSH,
    DELIVERY_CHANNEL_SMS,
    DELIVERY_CHANNEL_WECHAT,
    DELIVERY_CHANNEL_WHATSAPP,
    DeliveryChannel,
)

from servers.delivery.addresses import AddressInvalid, mail_address, phone_number

CAUSES: Final[Mapping[DeliveryChannel, str]] = MappingProxyType(
    {
        DELIVERY_CHANNEL_SMS: "NUMBER_INVALID",
        DELIVERY_CHANNEL_EMAIL: "MAIL_ADDRESS_INVALID",
        DELIVERY_CHANNEL_WHATSAPP: "NUMBER_INVALID",
        DELIVERY_CHANNEL_WECHAT: "OPENID_INVALID",
        DELIVERY_CHANNEL_PUSH: "DEVICE_TOKEN_INVALID",
    }
)
"""The cause of RECIPIENT_ADDRESS_INVALID, by channel."""
APNS: Final = "apns/"
FCM: Final = "fcm/"

_APNS_TOKEN: Final = re.compile(r"[0-9a-f]{64,200}")
_NAME_OR_SHORT_CODE: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}|[0-9]{3,8}")


def sender_sound(channel: DeliveryChannel, sender: str) -> bool:
    """Whether somebody of this name can send over the channel; empty is the account's own."""
    if not sender:
        return True
    try:
        if channel == DELIVERY_CHANNEL_EMAIL:
            return bool(mail_address(sender))
        if channel in (DELIVERY_CHANNEL_SMS, DELIVERY_CHANNEL_WHATSAPP):
            return _NAME_OR_SHORT_CODE.fullmatch(sender) is not None or bool(phone_number(sender))
    except AddressInvalid:
        return False
    return sender.isprintable() and " " not in sender


def reaches(provider_ref: str, address: str) -> bool:
    """Whether a provider can know an address: a device's token is of one push service only."""
    if provider_ref.startswith(APNS):
        return _APNS_TOKEN.fullmatch(address) is not None
    if provider_ref.startswith(FCM):
        return _APNS_TOKEN.fullmatch(address) is None
    return True
