"""Secrets of accounts that send are used by a running owner, taken or refused, and are found nowhere after (KMS-1)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import generate_latest
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_CHANNEL_SMS,
    DELIVERY_CHANNEL_WECHAT,
    DELIVERY_CHANNEL_WHATSAPP,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
    Content,
    EmailContent,
    Intent,
    TemplateContent,
)
from selene_messages.selene.kms import v1

from clients.retry import NO_RETRY
from clients.secrets import Secrets
from servers.runtime.storage import SYSTEM_TENANT
from tests.security.test_provider_secrets import left_in
from tests.support.canaries import everything_logged, found
from tests.support.deliveries import TENANT, Post, text
from tests.support.owners import serving
from tests.support.simulators.faults import FaultKind
from tests.support.simulators.messaging import Trouble
from tests.support.simulators.resend import ResendSimulator
from tests.support.simulators.sendgrid import SendGridSimulator
from tests.support.simulators.twilio import ACCOUNT, TwilioSimulator
from tests.support.simulators.vonage import VonageSimulator
from tests.support.simulators.wechat import APP_ID, WeChatSimulator
from tests.support.simulators.whatsapp import PHONE_NUMBER_ID, WhatsAppSimulator

HANDLES: Final = {
    "twilio": "kms://delivery/sms/twilio",
    "vonage": "kms://delivery/sms/vonage",
    "resend": "kms://delivery/email/resend",
    "sendgrid": "kms://delivery/email/sendgrid",
    "meta": "kms://delivery/whatsapp/meta",
    "wechat": "kms://delivery/wechat/wechat",
    "hook": "kms://delivery/sms/hook",
}
SECRETS: Final = {name: f"canary-{name}-Qp7xVt2mLd9sKe" for name in HANDLES}
CANARIES: Final = tuple(secret.encode() for secret in SECRETS.values())
OPENID: Final = "o6_bmjrPTlm6_2sgVt7hMZOPfL2M"


def told(name: str, channel: int, content: Content, address: str = "+41446681800") -> Intent:
    said = text(name, channel=channel, content=content)
    said.recipient.address = address
    return said


def intents(number: int) -> list[Intent]:
    """One over each channel."""
    template = Content(template=TemplateContent(template="tpl-1", locale="en", parameters={"1": "noon"}))
    mail = Content(email=EmailContent(subject="Hello", text="It is noon."))
    return [
        text(f"sms-{number}", channel=DELIVERY_CHANNEL_SMS),
        told(f"mail-{number}", DELIVERY_CHANNEL_EMAIL, mail, "ann@example.org"),
        told(f"whatsapp-{number}", DELIVERY_CHANNEL_WHATSAPP, template),
        told(f"wechat-{number}", DELIVERY_CHANNEL_WECHAT, template, OPENID),
    ]


class Vendors:
    """One of each kind; the first of SMS and of mail do not take our secret."""

    def __init__(self) -> None:
        self.twilio = TwilioSimulator(set())
        self.vonage = VonageSimulator({SECRETS["vonage"]})
        self.resend = ResendSimulator(set())
        self.sendgrid = SendGridSimulator({SECRETS["sendgrid"]})
        self.meta = WhatsAppSimulator({SECRETS["meta"]})
        self.wechat = WeChatSimulator({SECRETS["wechat"]})
        self.wechat.followers.add(OPENID)

    def accounts(self) -> dict[str, Any]:
        desk = "desk@example.org"
        return {
            "twilio/sms": {
                "account_sid": ACCOUNT,
                "sender": "+41446681800",
                "base_url": self.twilio.base_url,
                "webhook_secret": HANDLES["hook"],
            },
            "vonage/sms": {"api_key": "abcd1234", "sender": "Selene", "base_url": self.vonage.base_url},
            "resend/email": {"sender": desk, "base_url": self.resend.base_url},
            "sendgrid/email": {"sender": desk, "base_url": self.sendgrid.base_url},
            "meta/whatsapp": {"phone_number_id": PHONE_NUMBER_ID, "base_url": self.meta.base_url},
            "wechat/official": {"app_id": APP_ID, "base_url": self.wechat.base_url},
        }


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[tuple[Post, Vendors]]:
    vendors = Vendors()
    async with AsyncExitStack() as stack:
        for each in vars(vendors).values():
            await stack.enter_async_context(each.serve())
        flags = {
            "telemetry.traces": "console",
            "owners.delivery.accounts": vendors.accounts(),
            "owners.delivery.rules.backoff_s": 0.05,
            "owners.delivery.rules.backoff_max_s": 0.5,
            "owners.delivery.dispatch.poll_s": 0.05,
        }
        owners = await stack.enter_async_context(serving(["kms", "delivery"], folder, flags))
        operator = Secrets(owners.connection("kms"), policy=NO_RETRY)
        for name, handle in HANDLES.items():
            await operator.put(
                handle, SECRETS[name].encode(), environment=v1.Environment.PROD, granted_owners=["PH1.DELIVERY"]
            )
        yield Post(owners), vendors


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with everything_logged() as stream:
        yield stream


async def test_secrets_of_accounts_that_send_are_used_and_found_nowhere(
    tmp_path: Path, log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    async with house(tmp_path) as (post, vendors):
        for number, troubled in enumerate((False, True)):
            if troubled:
                vendors.vonage.plan(Trouble.MALFORMED)
                vendors.meta.plan(Trouble.LOSE_REPLY)
                vendors.sendgrid.faults.plan(FaultKind.INTERNAL)
            for intent in intents(number):
                sent = await post.send(intent)
                settled = [DELIVERY_STATE_SENT_ACKED, *([DELIVERY_STATE_UNKNOWN] if troubled else [])]
                heard.append(repr(await post.until(sent.delivery_id, *settled, within=30.0)))
        heard += [repr(each) for each in await post.watched(8)]
        assert {vendors.twilio.secret_of(each.headers) for each in vendors.twilio.asked} == {SECRETS["twilio"]}
        assert {call.secret for call in vendors.resend.calls} == {SECRETS["resend"]}
        assert vendors.vonage.accepted and vendors.meta.accepted and vendors.wechat.accepted and vendors.sendgrid.taken
        trails = [post.owners.store.audit.stream(tenant) for tenant in (SYSTEM_TENANT, TENANT)]
        rows = [str(one).encode() + one.SerializeToString() for trail in trails async for one in trail]
        assert len(rows) > 40
        places = {
            "audit": b"".join(rows),
            "metrics": generate_latest(post.owners.running.telemetry.registry),
            "answers": "".join(heard).encode(),
            **left_in(tmp_path),
        }
    places |= {"log": log.getvalue().encode(), "terminal, traces": "".join(capfd.readouterr()).encode()}
    assert b"selene.delivery.v1.DeliveryService/Send" in places["terminal, traces"]
    assert any(b"kms_versions" in content for content in places.values())
    assert {place: found(content, CANARIES) for place, content in places.items() if found(content, CANARIES)} == {}
