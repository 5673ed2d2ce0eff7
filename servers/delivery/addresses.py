"""Who can be reached under what (§25): addresses of each channel, checked and in one spelling. Pure, no look-ups."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_CHANNEL_PUSH,
    DELIVERY_CHANNEL_SMS,
    DELIVERY_CHANNEL_WECHAT,
    DELIVERY_CHANNEL_WHATSAPP,
    DeliveryChannel,
)

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_PUNCTUATION: Final = re.compile(r"[ ().\-/]")
_OPEN_ID: Final = re.compile(r"[A-Za-z0-9_-]{20,64}")
_APNS_TOKEN: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){32,100}")
_FCM_TOKEN: Final = re.compile(r"[A-Za-z0-9_:-]{64,1024}")


class AddressInvalid(ValueError):
    """An address that its channel cannot reach: ``cause`` is a code in UPPER_SNAKE_CASE, and nothing of the address."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def normalised(channel: DeliveryChannel, address: str) -> str:
    """The address as providers are given it: an E.164 number (SMS, WHATSAPP), a mail address with its domain in lower
    case, an OpenID (WECHAT), a device token (PUSH; one of APNs in lower case). AddressInvalid.
    """
    if channel not in _RULES:
        raise AddressInvalid("CHANNEL_UNKNOWN")
    if not address.isprintable() or address != address.strip():
        raise AddressInvalid("CHARACTER_NOT_ALLOWED")
    return _RULES[channel](address)


def mail_address(address: str) -> str:
    """A mail address as it goes into an envelope: its domain in lower case and in Unicode. AddressInvalid."""
    try:
        found = validate_email(
            address, check_deliverability=False, allow_quoted_local=False, allow_domain_literal=False, strict=True
        )
    except EmailNotValidError:
        raise AddressInvalid("NOT_A_MAIL_ADDRESS") from None
    return found.normalized


def phone_number(address: str) -> str:
    """A number in E.164, whatever spaces, dots, brackets and hyphens stood in it. AddressInvalid."""
    compact = _PUNCTUATION.sub("", address)
    if not _E164.fullmatch(compact):
        raise AddressInvalid("NOT_E164")
    try:
        number = phonenumbers.parse(compact, None)
    except phonenumbers.NumberParseException:
        raise AddressInvalid("NOT_E164") from None
    if not phonenumbers.is_possible_number(number):
        raise AddressInvalid("NUMBER_LENGTH_IMPOSSIBLE")
    if not phonenumbers.is_valid_number(number):
        raise AddressInvalid("NUMBER_NOT_ASSIGNED")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def open_id(address: str) -> str:
    """A user's OpenID of one WeChat account. AddressInvalid."""
    if not _OPEN_ID.fullmatch(address):
        raise AddressInvalid("NOT_AN_OPENID")
    return address


def device_token(address: str) -> str:
    """A device's token: hexadecimal digits of APNs, or the text of FCM's registration. AddressInvalid."""
    if _APNS_TOKEN.fullmatch(address):
        return address.lower()
    if not _FCM_TOKEN.fullmatch(address):
        raise AddressInvalid("NOT_A_DEVICE_TOKEN")
    return address


_RULES: Final[Mapping[DeliveryChannel, Callable[[str], str]]] = MappingProxyType(
    {
        DELIVERY_CHANNEL_SMS: phone_number,
        DELIVERY_CHANNEL_EMAIL: mail_address,
        DELIVERY_CHANNEL_WHATSAPP: phone_number,
        DELIVERY_CHANNEL_WECHAT: open_id,
        DELIVERY_CHANNEL_PUSH: device_token,
    }
)
