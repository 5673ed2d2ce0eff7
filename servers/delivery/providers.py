"""Every provider that can be configured: how its adapter is made of an account, and who reads what it reports.

Each is imported when it is wanted: its client may not be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from servers.delivery.adapter import DeliveryAdapter, Webhook
from servers.routing.credentials import Credential
from servers.runtime.clock import Clock

Make = Callable[[str, Mapping[str, Any], Credential, Clock], DeliveryAdapter]
"""An adapter, of its name, its account's own settings and its secret. ValidationError, ImportError."""
Read = Callable[[str, Mapping[str, Any]], Webhook]
"""A reader of webhooks, of its name and its account's own settings. ValidationError, ImportError."""


def _smtp(ref: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery.mail_settings import SmtpSettings
    from servers.delivery.smtp import Smtp

    settings = SmtpSettings.model_validate(own)
    secret = credential if settings.needs_secret else None
    return Smtp(ref, settings, secret, monotonic=clock.monotonic, now=clock.now)


def _resend(ref: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery.mail_settings import ResendSettings
    from servers.delivery.resend import Resend

    return Resend(ref, ResendSettings.model_validate(own), credential, monotonic=clock.monotonic)


def _sendgrid(ref: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery.mail_settings import SendGridSettings
    from servers.delivery.sendgrid import SendGrid

    return SendGrid(ref, SendGridSettings.model_validate(own), credential, monotonic=clock.monotonic)


def _twilio_sms(_: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery.twilio import TwilioSettings, TwilioSms

    return TwilioSms(TwilioSettings.model_validate(own), credential, clock=clock)


def _twilio_whatsapp(_: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery.twilio import TwilioSettings, TwilioWhatsApp

    return TwilioWhatsApp(TwilioSettings.model_validate(own), credential, clock=clock)


def _vonage(_: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery.vonage import VonageSettings, VonageSms

    return VonageSms(VonageSettings.model_validate(own), credential, clock=clock)


def _meta(_: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery.whatsapp import WhatsAppCloud, WhatsAppSettings

    return WhatsAppCloud(WhatsAppSettings.model_validate(own), credential, clock=clock)


def _wechat(ref: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery import wechat

    return wechat.make(ref, own, credential, clock)


def _wechat_standby(ref: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery import wechat

    return wechat.make_standby(ref, own, credential, clock)


def _fcm(ref: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery import fcm

    return fcm.make(ref, own, credential, clock)


def _apns(ref: str, own: Mapping[str, Any], credential: Credential, clock: Clock) -> DeliveryAdapter:
    from servers.delivery import apns

    return apns.make(ref, own, credential, clock)


ADAPTERS: Final[Mapping[str, Make]] = MappingProxyType(
    {
        "smtp/primary": _smtp,
        "resend/email": _resend,
        "sendgrid/email": _sendgrid,
        "twilio/sms": _twilio_sms,
        "vonage/sms": _vonage,
        "meta/whatsapp": _meta,
        "twilio/whatsapp": _twilio_whatsapp,
        "wechat/official": _wechat,
        "wechat/standby": _wechat_standby,
        "fcm/push": _fcm,
        "apns/push": _apns,
    }
)


def _reads_resend(ref: str, _: Mapping[str, Any]) -> Webhook:
    from servers.delivery.resend import ResendWebhook

    return ResendWebhook(ref)


def _reads_sendgrid(ref: str, _: Mapping[str, Any]) -> Webhook:
    from servers.delivery.sendgrid import SendGridWebhook

    return SendGridWebhook(ref)


def _reads_twilio(ref: str, _: Mapping[str, Any]) -> Webhook:
    from servers.delivery.twilio import TwilioWebhook

    return TwilioWebhook(provider_ref=ref)


def _reads_vonage(ref: str, _: Mapping[str, Any]) -> Webhook:
    from servers.delivery.vonage import VonageWebhook

    return VonageWebhook(provider_ref=ref)


def _reads_meta(ref: str, _: Mapping[str, Any]) -> Webhook:
    from servers.delivery.whatsapp import WhatsAppWebhook

    return WhatsAppWebhook(provider_ref=ref)


def _reads_wechat(ref: str, own: Mapping[str, Any]) -> Webhook:
    from servers.delivery.wechat import WeChatSettings, WeChatWebhook

    return WeChatWebhook(app_id=WeChatSettings.model_validate(own).app_id, provider_ref=ref)


READERS: Final[Mapping[str, Read]] = MappingProxyType(
    {
        "resend/email": _reads_resend,
        "sendgrid/email": _reads_sendgrid,
        "twilio/sms": _reads_twilio,
        "vonage/sms": _reads_vonage,
        "meta/whatsapp": _reads_meta,
        "twilio/whatsapp": _reads_twilio,
        "wechat/official": _reads_wechat,
    }
)
