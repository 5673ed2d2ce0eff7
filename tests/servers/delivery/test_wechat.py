"""WeChat official accounts, judged by the simulator's ledger."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from selene.delivery.v1.delivery_pb2 import DELIVERY_CHANNEL_WECHAT, DELIVERY_STATE_SENT_ACKED, TemplateContent
from selene.delivery.v1.delivery_pb2 import Content as IntentContent
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS
from selene.routing.v1.routing_pb2 import DOMAIN_WECHAT

from servers.delivery.adapter import Certainty, Content, DeliveryReason, Message, ReportKind, Sent, WebhookRefused
from servers.delivery.providers import ADAPTERS
from servers.delivery.wechat import StandbySettings, WeChat, WeChatSettings, WeChatWebhook, make
from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import SystemClock
from tests.support.canaries import everything_logged
from tests.support.deliveries import posting, text
from tests.support.keys import RotatingKey, keeps
from tests.support.messages import KEY, checked, find, message, send, trace
from tests.support.simulators.messaging import Accepted, Hook, Trouble, Wrong
from tests.support.simulators.wechat import APP_ID, WeChatSimulator

SECOND = "wechat/standby"
OPENID = "o6_bmjrPTlm6_2sgVt7hMZOPfL2M"
TOLD = "Zürich, 19:30"
AES_KEY = base64.b64encode(bytes(range(32))).decode().rstrip("=")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def cloud(key: RotatingKey) -> AsyncIterator[WeChatSimulator]:
    simulator = WeChatSimulator({key.secret})
    simulator.followers.add(OPENID)
    async with simulator.serve():
        yield simulator


@pytest.fixture
async def adapter(cloud: WeChatSimulator, key: RotatingKey) -> AsyncIterator[WeChat]:
    own = {"app_id": APP_ID, "base_url": cloud.base_url, "reports": True}
    made = make("wechat/official", own, key, SystemClock())
    yield made
    await made.close()


def template(openid: str = OPENID, **more: Any) -> Message:
    content = Content(template="tpl-1", parameters={"thing1": TOLD})
    return message(openid, **{"channel": DELIVERY_CHANNEL_WECHAT, "content": content, **more})


def told(sent: Sent) -> tuple[Certainty, str]:
    return sent.certainty, sent.result.reason_code


async def test_a_template_is_in_the_ledger_as_it_was_said(adapter: WeChat, cloud: WeChatSimulator) -> None:
    sent = await send(adapter, template())
    (taken,) = cloud.accepted
    assert told(sent) == (Certainty.ACCEPTED, "ACCEPTED")
    assert sent.provider_ack_ref == sent.provider_message_id == taken.message_id
    assert (taken.to, taken.body["data"]) == (OPENID, {"thing1": {"value": TOLD}})
    assert sent.token_sent == taken.reference == KEY


@pytest.mark.parametrize("repeat_code", [0, 45065])
async def test_a_second_request_under_a_key_sends_nothing_and_is_the_first_one_s(
    adapter: WeChat, cloud: WeChatSimulator, repeat_code: int
) -> None:
    cloud.repeat_code = repeat_code
    cloud.plan(Trouble.LOSE_REPLY)
    lost, again = await send(adapter, template()), await send(adapter, template())
    assert told(lost) == (Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)
    (taken,) = cloud.accepted
    assert (again.certainty, again.provider_message_id) == (Certainty.ACCEPTED, taken.message_id)
    assert adapter.declares.key_window_s == 600
    assert adapter.declares.lookups == frozenset() and not adapter.declares.cancels


async def test_the_second_site_takes_over_where_the_first_cannot_be_reached(
    tmp_path: Path, cloud: WeChatSimulator, key: RotatingKey
) -> None:
    first, second = (ProviderSeed(provider_ref=ref, region="us", timeout_s=1.5) for ref in ("wechat/official", SECOND))
    routed = default_profile(
        {DOMAIN_WECHAT: [first, second]},
        effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        judge_threshold_set_id="t-1",
    )
    gone = make("wechat/official", {"app_id": APP_ID, "base_url": "http://127.0.0.1:9"}, key, SystemClock())
    there = ADAPTERS[SECOND](SECOND, {"app_id": APP_ID, "base_url": cloud.base_url}, key, SystemClock())
    said = TemplateContent(template="tpl-1", locale="zh-CN", parameters={"thing1": TOLD})
    intent = text("m1", channel=DELIVERY_CHANNEL_WECHAT, content=IntentContent(template=said))
    intent.recipient.address = OPENID
    async with posting(tmp_path, [gone, there], profile=routed, rules={"tries_per_provider": 1}) as post:
        sent = await post.until((await post.send(intent)).delivery_id, DELIVERY_STATE_SENT_ACKED)
    assert [each.provider_ref for each in sent.attempts] == ["wechat/official", SECOND]
    (taken,) = cloud.accepted
    assert (taken.to, taken.reference) == (OPENID, sent.delivery_id)
    await gone.close()
    await there.close()


def test_the_second_site_is_wechat_s_own_and_reports_nothing() -> None:
    assert StandbySettings(app_id=APP_ID).base_url == "https://api2.weixin.qq.com"
    with pytest.raises(ValidationError, match="wechat/official"):
        StandbySettings(app_id=APP_ID, reports=True)


async def test_another_key_is_another_message(adapter: WeChat, cloud: WeChatSimulator) -> None:
    await send(adapter, template())
    await send(adapter, template(key="6f" * 32))
    assert len(cloud.accepted) == 2


async def test_calls_at_once_share_a_token_and_an_expired_one_is_replaced_for_the_next(
    adapter: WeChat, cloud: WeChatSimulator
) -> None:
    await asyncio.gather(*(send(adapter, template(key=f"{number:064x}")) for number in range(4)))
    assert (len(cloud.accepted), cloud.granted) == (4, 1)
    cloud.expire()
    refused = await send(adapter, template())
    assert told(refused) == (Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE)
    assert (await send(adapter, template())).certainty is Certainty.ACCEPTED
    assert cloud.granted == 2


async def test_a_rotated_secret_makes_a_new_token_and_a_wrong_one_none(
    adapter: WeChat, cloud: WeChatSimulator, key: RotatingKey
) -> None:
    await send(adapter, template())
    key.rotate()
    refused = await send(adapter, template())
    assert told(refused) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
    cloud.app_secrets = {key.secret}
    assert (await send(adapter, template())).certainty is Certainty.ACCEPTED
    assert not keeps(adapter, key.secret)
    key.available = False
    assert told(await send(adapter, template())) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (40013, ProviderReason.CREDENTIAL_REFUSED),
        (40001, ProviderReason.CREDENTIAL_REFUSED),
        (40164, ProviderReason.CREDENTIAL_REFUSED),
        (45009, ProviderReason.PROVIDER_BUSY),
        (-1, ProviderReason.PROVIDER_UNAVAILABLE),
    ],
)
async def test_without_a_token_nothing_was_sent_for_certain(
    adapter: WeChat, cloud: WeChatSimulator, code: int, reason: str
) -> None:
    cloud.token_code = code
    assert told(await send(adapter, template())) == (Certainty.REFUSED, reason)
    assert cloud.asked == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (40001, ProviderReason.CREDENTIAL_REFUSED),
        (40003, DeliveryReason.RECIPIENT_INVALID),
        (40037, DeliveryReason.TEMPLATE_UNKNOWN),
        (43004, DeliveryReason.RECIPIENT_UNREACHABLE),
        (43101, DeliveryReason.RECIPIENT_OPTED_OUT),
        (45009, ProviderReason.PROVIDER_BUSY),
        (47003, DeliveryReason.CONTENT_REFUSED),
        (48001, DeliveryReason.SENDER_REFUSED),
        (49999, ProviderReason.REQUEST_REFUSED),
    ],
)
async def test_a_documented_refusal_is_definite_and_named(
    adapter: WeChat, cloud: WeChatSimulator, code: int, reason: str
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=200, code=code))
    assert told(await send(adapter, template())) == (Certainty.REFUSED, reason)
    assert cloud.accepted == []


@pytest.mark.parametrize(
    ("wrong", "reason", "taken"),
    [
        (Wrong(Trouble.HALF_REPLY), DeliveryReason.ANSWER_LOST, 1),
        (Wrong(Trouble.RESET), DeliveryReason.ANSWER_LOST, 0),
        (Wrong(Trouble.HANG), DeliveryReason.ANSWER_LOST, 1),
        (Wrong(Trouble.MALFORMED), ProviderReason.RESPONSE_MALFORMED, 1),
        (Wrong(Trouble.WRONG_SCHEMA), ProviderReason.RESPONSE_MALFORMED, 1),
        (Wrong(Trouble.TAKE_AND_FAIL, status=200, code=-1), ProviderReason.PROVIDER_UNAVAILABLE, 1),
        (Wrong(Trouble.TAKE_AND_FAIL, status=502, code=-1), ProviderReason.PROVIDER_UNAVAILABLE, 1),
        (Wrong(Trouble.TAKE_AND_FAIL, status=200, code=45066), DeliveryReason.STILL_UNKNOWN, 1),
        (Wrong(Trouble.TAKE_AND_FAIL, status=200, code="0"), ProviderReason.RESPONSE_MALFORMED, 1),
    ],
)
async def test_whatever_may_have_been_taken_is_unknown(
    adapter: WeChat, cloud: WeChatSimulator, wrong: Wrong, reason: str, taken: int
) -> None:
    cloud.plan(wrong)
    assert told(await send(adapter, template(), within_s=2.0)) == (Certainty.UNKNOWN, reason)
    assert (len(cloud.accepted), len(cloud.asked)) == (taken, 1)


async def test_only_templates_are_written(adapter: WeChat, cloud: WeChatSimulator) -> None:
    sent = await send(adapter, template(content=Content(text="hello")))
    assert told(sent) == (Certainty.REFUSED, DeliveryReason.CONTENT_REFUSED)
    assert cloud.asked == []


async def test_nobody_can_be_asked_and_nothing_taken_back(adapter: WeChat, cloud: WeChatSimulator) -> None:
    known = trace(provider_message_id="200228332")
    assert (await find(adapter, known, CAPABILITY_DELIVERY_STATUS)).certainty is Certainty.UNKNOWN
    kept = await adapter.cancel(message(), known, deadline=time.monotonic() + 5)
    assert checked(adapter, message(), kept, CAPABILITY_DELIVERY_CANCEL).certainty is Certainty.UNKNOWN
    assert cloud.asked == []


async def test_neither_secret_nor_token_nor_recipient_is_in_a_log_or_a_result(
    adapter: WeChat, cloud: WeChatSimulator, key: RotatingKey
) -> None:
    said: list[str] = []
    with everything_logged() as log:
        cloud.plan(None, Trouble.LOSE_REPLY, Wrong(Trouble.REFUSE, status=200, code=40003), Trouble.MALFORMED)
        for _ in range(4):
            sent = await send(adapter, template())
            said.append(f"{sent!r} {sent.result} {adapter!r} {template()!r}")
    ours = [line for line in log.getvalue().splitlines() if "aiohttp.access" not in line]  # that is the simulator's
    whole = "".join((*said, *ours))
    for canary in (OPENID, TOLD, "simulated-access", key.secret):
        assert canary not in whole


@pytest.mark.parametrize("wrong", [{"base_url": "http://api.example.com"}, {"app_id": "gh_1"}, {"secret": "x"}])
def test_settings_that_would_send_a_secret_in_clear_are_none(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        WeChatSettings.model_validate({"app_id": APP_ID, **wrong})


def event(status: str = "success", *, at: datetime = NOW, aes_key: str = "", message_id: str = "200228332") -> Hook:
    simulator = WeChatSimulator(set())
    simulator.aes_key = aes_key
    return simulator.hook(Accepted(message_id, OPENID, KEY, {}), status, at=at)


def read(hook: Hook, *, secret: bytes = b"hook-token", now: datetime = NOW, body: bytes | None = None) -> Any:
    return WeChatWebhook(app_id=APP_ID).read(
        url=f"https://hooks.example.com/webhooks/wechat/official{hook.url}",
        headers=hook.headers,
        body=hook.body if body is None else body,
        secret=secret,
        now=now,
    )


def refused(hook: Hook, **how: Any) -> str:
    with pytest.raises(WebhookRefused) as caught:
        read(hook, **how)
    return caught.value.reason


SECURE = f"hook-token {AES_KEY}".encode()


@pytest.mark.parametrize(("aes_key", "secret"), [("", b"hook-token"), (AES_KEY, SECURE)])
@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        ("success", ReportKind.DELIVERED, ""),
        ("failed:user block", ReportKind.FAILED, DeliveryReason.RECIPIENT_OPTED_OUT),
        ("failed: system failed", ReportKind.FAILED, ""),
    ],
)
def test_an_event_tells_of_its_message(aes_key: str, secret: bytes, status: str, kind: ReportKind, reason: str) -> None:
    (report,) = read(event(status, aes_key=aes_key), secret=secret)
    assert (report.kind, report.reason_code, report.at) == (kind, reason, NOW)
    assert (report.provider_ref, report.provider_message_id) == ("wechat/official", "200228332")


def test_an_event_has_one_name_however_often_it_comes_and_another_for_another_statement() -> None:
    ids = [read(hook)[0].event_id for hook in (event(), event(at=NOW - timedelta(seconds=30)), event("failed"))]
    assert ids[0] == ids[1] != ids[2]


def test_what_is_unsigned_wrongly_signed_or_old_is_refused() -> None:
    assert refused(Hook("?timestamp=1&nonce=2", {}, b"<xml></xml>")) == "SIGNATURE_MISSING"
    assert refused(event(), secret=b"another") == "SIGNATURE_INVALID"
    assert refused(event(), secret=b"") == "SIGNATURE_INVALID"
    assert refused(event(), now=NOW + timedelta(minutes=5, seconds=1)) == "TOO_OLD"
    assert refused(event(), now=NOW - timedelta(minutes=5, seconds=1)) == "TOO_OLD"


def test_an_account_that_encrypts_takes_nothing_that_is_altered_plain_or_somebody_else_s() -> None:
    sealed = event(aes_key=AES_KEY)
    other = event("failed", aes_key=AES_KEY)
    assert refused(sealed, secret=SECURE, body=other.body) == "SIGNATURE_INVALID"
    assert refused(event(), secret=SECURE) == "SIGNATURE_MISSING"
    assert refused(sealed, secret=f"hook-token {AES_KEY[::-1]}".encode()) == "MALFORMED"
    elsewhere = WeChatWebhook(app_id="wxffffffffffffffff")
    with pytest.raises(WebhookRefused, match="MALFORMED"):
        elsewhere.read(url=f"https://x/{sealed.url}", headers={}, body=sealed.body, secret=SECURE, now=NOW)


def test_other_events_say_nothing_and_a_broken_one_is_refused() -> None:
    assert read(event(), body=b"<xml><Event><![CDATA[subscribe]]></Event></xml>") == ()
    assert refused(event(message_id="1;2")) == "MALFORMED"


@given(st.binary(max_size=400))
def test_garbage_under_a_sound_signature_is_refused_or_says_nothing(body: bytes) -> None:
    try:
        assert read(event(), body=body) == ()
    except WebhookRefused as caught:
        assert caught.reason == "MALFORMED"


def test_wechat_is_told_its_own_word_only_by_our_token() -> None:
    webhook = WeChatWebhook(app_id=APP_ID)
    url = f"https://x/{event().url}"
    assert webhook.challenge(url=f"{url}&echostr=5276998", secret=b"hook-token", now=NOW) == "5276998"
    for echo, secret in (("&echostr=5276998", b"guess"), ("&echostr=a+b", b"hook-token"), ("", b"hook-token")):
        with pytest.raises(WebhookRefused):
            webhook.challenge(url=url + echo, secret=secret, now=NOW)
