"""Firebase Cloud Messaging, judged by the simulator's ledger."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from selene.delivery.v1.delivery_pb2 import DELIVERY_CHANNEL_PUSH
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS

from servers.delivery.adapter import Certainty, Content, DeliveryReason, Message, Sent
from servers.delivery.fcm import SCOPE, Fcm, FcmSettings, make
from servers.routing.credentials import CredentialUnavailable
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import SystemClock
from tests.support.canaries import everything_logged
from tests.support.messages import checked, find, message, send, trace
from tests.support.simulators.fcm import PROJECT, FcmSimulator
from tests.support.simulators.messaging import Trouble, Wrong

DEVICE = "fK3:APA91b-" + "x" * 120


class Account:
    """The service account's key, as long as there is one."""

    def __init__(self, secret: str) -> None:
        self.secret: str | None = secret

    async def reveal(self) -> str:
        if self.secret is None:
            raise CredentialUnavailable("no lease")
        return self.secret


@pytest.fixture
async def cloud() -> AsyncIterator[FcmSimulator]:
    simulator = FcmSimulator()
    simulator.devices.add(DEVICE)
    async with simulator.serve():
        yield simulator


@pytest.fixture
def account(cloud: FcmSimulator) -> Account:
    return Account(cloud.service_account())


def settings(cloud: FcmSimulator) -> dict[str, Any]:
    return {"project_id": PROJECT, "base_url": cloud.base_url, "token_url": cloud.token_url}


@pytest.fixture
async def adapter(cloud: FcmSimulator, account: Account) -> AsyncIterator[Fcm]:
    made = make("fcm/push", settings(cloud), account, SystemClock())
    yield made
    await made.close()


def push(device: str = DEVICE, **more: Any) -> Message:
    content = Content(title="Table", text="Zürich, 19:30 🕛", data={"screen": "booking"})
    return message(device, **{"channel": DELIVERY_CHANNEL_PUSH, "content": content, **more})


def told(sent: Sent) -> tuple[Certainty, str]:
    return sent.certainty, sent.result.reason_code


async def test_a_push_is_in_the_ledger_as_it_was_said(adapter: Fcm, cloud: FcmSimulator) -> None:
    sent = await send(adapter, push(expires_at=datetime.now(UTC) + timedelta(seconds=90)))
    (taken,) = cloud.accepted
    assert told(sent) == (Certainty.ACCEPTED, "ACCEPTED")
    assert sent.provider_message_id == sent.provider_ack_ref == taken.message_id
    assert taken.body["notification"] == {"title": "Table", "body": "Zürich, 19:30 🕛"}
    assert taken.body["data"] == {"screen": "booking"}
    assert taken.body["android"]["ttl"] in ("89s", "90s")


async def test_the_token_is_asked_for_once_by_a_signed_assertion_and_used_until_near_its_end(
    adapter: Fcm, cloud: FcmSimulator
) -> None:
    await asyncio.gather(*(send(adapter, push()) for _ in range(5)))
    (claims,) = cloud.assertions
    assert (claims["scope"], claims["aud"], claims["exp"] - claims["iat"]) == (SCOPE, cloud.token_url, 3600)
    assert len(cloud.accepted) == 5


async def test_a_token_that_ends_soon_is_not_used_again(adapter: Fcm, cloud: FcmSimulator) -> None:
    cloud.expires_in = 200
    assert [told(await send(adapter, push()))[0] for _ in range(2)] == [Certainty.ACCEPTED] * 2
    assert len(cloud.granted) == 2


async def test_a_token_that_was_revoked_is_replaced_for_the_next_call(adapter: Fcm, cloud: FcmSimulator) -> None:
    await send(adapter, push())
    cloud.revoke()
    refused = await send(adapter, push())
    assert told(refused) == (Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE)
    assert (await send(adapter, push())).certainty is Certainty.ACCEPTED
    assert len(cloud.accepted) == 2


async def test_a_new_token_that_is_refused_is_the_account_s_fault(adapter: Fcm, cloud: FcmSimulator) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=401, code="UNAUTHENTICATED"))
    assert told(await send(adapter, push())) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)


async def test_another_secret_makes_another_token_and_none_makes_none(
    adapter: Fcm, cloud: FcmSimulator, account: Account
) -> None:
    await send(adapter, push())
    account.secret = json.dumps({**json.loads(cloud.service_account()), "private_key_id": "k2"})
    await send(adapter, push())
    account.secret = None
    assert told(await send(adapter, push())) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert len(cloud.granted) == len(cloud.accepted) == 2


@pytest.mark.parametrize("secret", ["", "no json", "[]", "{}", '{"client_email": "a", "private_key": "b"}'])
async def test_a_secret_that_is_no_account_is_never_sent(
    adapter: Fcm, cloud: FcmSimulator, account: Account, secret: str
) -> None:
    account.secret = secret
    assert told(await send(adapter, push())) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert (cloud.asked, cloud.granted) == ([], [])


async def test_an_account_that_google_does_not_know_is_refused(
    adapter: Fcm, cloud: FcmSimulator, account: Account
) -> None:
    account.secret = FcmSimulator("somebody else").service_account()
    assert told(await send(adapter, push())) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
    assert cloud.asked == []


@pytest.mark.parametrize(("status", "expires_in"), [(500, 3599), (503, 3599), (200, "soon"), (200, None)])
async def test_without_a_token_nothing_was_sent_for_certain(
    adapter: Fcm, cloud: FcmSimulator, status: int, expires_in: object
) -> None:
    cloud.token_status, cloud.expires_in = status, expires_in
    assert (await send(adapter, push())).certainty is Certainty.REFUSED
    assert cloud.asked == []


@pytest.mark.parametrize(
    ("wrong", "reason", "taken"),
    [
        (Wrong(Trouble.LOSE_REPLY), DeliveryReason.ANSWER_LOST, 1),
        (Wrong(Trouble.HALF_REPLY), DeliveryReason.ANSWER_LOST, 1),
        (Wrong(Trouble.RESET), DeliveryReason.ANSWER_LOST, 0),
        (Wrong(Trouble.HANG), DeliveryReason.ANSWER_LOST, 1),
        (Wrong(Trouble.MALFORMED), ProviderReason.RESPONSE_MALFORMED, 1),
        (Wrong(Trouble.WRONG_SCHEMA), ProviderReason.RESPONSE_MALFORMED, 1),
        (Wrong(Trouble.TAKE_AND_FAIL, status=500, code="INTERNAL"), ProviderReason.PROVIDER_UNAVAILABLE, 1),
        (Wrong(Trouble.TAKE_AND_FAIL, status=503, code="UNAVAILABLE"), ProviderReason.PROVIDER_UNAVAILABLE, 1),
    ],
)
async def test_whatever_may_have_been_taken_is_unknown(
    adapter: Fcm, cloud: FcmSimulator, wrong: Wrong, reason: str, taken: int
) -> None:
    cloud.plan(wrong)
    assert told(await send(adapter, push(), within_s=2.0)) == (Certainty.UNKNOWN, reason)
    assert (len(cloud.accepted), len(cloud.asked)) == (taken, 1)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (404, "UNREGISTERED", DeliveryReason.RECIPIENT_UNREACHABLE),
        (400, "INVALID_ARGUMENT", DeliveryReason.RECIPIENT_INVALID),
        (400, "message.token", DeliveryReason.RECIPIENT_INVALID),
        (400, "message.data[0].value", DeliveryReason.CONTENT_REFUSED),
        (400, "message.android.ttl", ProviderReason.REQUEST_REFUSED),
        (403, "SENDER_ID_MISMATCH", DeliveryReason.RECIPIENT_INVALID),
        (403, "PERMISSION_DENIED", ProviderReason.CREDENTIAL_REFUSED),
        (401, "THIRD_PARTY_AUTH_ERROR", DeliveryReason.SENDER_REFUSED),
        (429, "QUOTA_EXCEEDED", ProviderReason.PROVIDER_BUSY),
    ],
)
async def test_a_documented_refusal_is_definite_and_named(
    adapter: Fcm, cloud: FcmSimulator, status: int, code: str, reason: str
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=status, code=code))
    assert told(await send(adapter, push())) == (Certainty.REFUSED, reason)
    assert cloud.accepted == []


@pytest.mark.parametrize(("header", "wait_s"), [("7", 7.0), ("", 60.0)])
async def test_a_quota_that_is_used_up_says_for_how_long(
    adapter: Fcm, cloud: FcmSimulator, header: str, wait_s: float
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=429, code="QUOTA_EXCEEDED", retry_after=header))
    assert (await send(adapter, push())).retry_after_s == wait_s


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Content(), DeliveryReason.CONTENT_REFUSED),
        (Content(template="welcome"), DeliveryReason.CONTENT_REFUSED),
        (Content(text="ü" * 2048), DeliveryReason.CONTENT_TOO_LONG),
    ],
)
async def test_what_cannot_be_said_is_refused_without_a_call(
    adapter: Fcm, cloud: FcmSimulator, content: Content, reason: str
) -> None:
    assert told(await send(adapter, push(content=content))) == (Certainty.REFUSED, reason)
    assert (cloud.asked, cloud.granted) == ([], [])


async def test_a_deadline_that_is_over_and_a_connection_that_is_never_made_refuse(
    adapter: Fcm, cloud: FcmSimulator, account: Account
) -> None:
    assert told(await send(adapter, push(), within_s=0.0)) == (Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = {**settings(cloud), "base_url": f"http://127.0.0.1:{taken.getsockname()[1]}"}
        elsewhere = make("fcm/push", nowhere, account, SystemClock())
        sent = await send(elsewhere, push())
        await elsewhere.close()
    assert told(sent) == (Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE)
    assert cloud.asked == []


async def test_a_cancelled_call_ends_at_once_and_the_next_one_goes_well(adapter: Fcm, cloud: FcmSimulator) -> None:
    cloud.plan(Trouble.HANG)
    call = asyncio.create_task(adapter.send(push(), deadline=time.monotonic() + 60))
    await asyncio.wait_for(cloud.hung.wait(), 5.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await send(adapter, push())).certainty is Certainty.ACCEPTED


async def test_nobody_can_be_asked_and_nothing_taken_back_and_it_says_so(adapter: Fcm, cloud: FcmSimulator) -> None:
    declares = adapter.declares
    assert (declares.key_window_s, declares.lookups, declares.webhooks, declares.cancels) == (
        None,
        frozenset(),
        False,
        False,
    )
    known = trace(provider_message_id="projects/p/messages/1")
    assert (await find(adapter, known, CAPABILITY_DELIVERY_STATUS)).certainty is Certainty.UNKNOWN
    kept = await adapter.cancel(message(), known, deadline=time.monotonic() + 5)
    assert checked(adapter, message(), kept, CAPABILITY_DELIVERY_CANCEL).certainty is Certainty.UNKNOWN
    assert cloud.asked == []


async def test_neither_secret_nor_device_nor_text_is_in_a_log_or_a_result(
    adapter: Fcm, cloud: FcmSimulator, account: Account
) -> None:
    said: list[str] = []
    with everything_logged() as log:
        cloud.plan(None, Trouble.LOSE_REPLY, Wrong(Trouble.REFUSE, status=400, code="INVALID_ARGUMENT"))
        for _ in range(4):
            sent = await send(adapter, push())
            said.append(f"{sent!r} {sent.result} {adapter!r} {push()!r}")
    whole = "".join(said) + log.getvalue()
    assert account.secret is not None
    for canary in (DEVICE, "19:30", "ya29.", json.loads(account.secret)["private_key"][40:80]):
        assert canary not in whole


@pytest.mark.parametrize(
    "wrong",
    [{"base_url": "http://fcm.example.com"}, {"token_url": "http://example.com"}, {"project_id": "a/b"}, {"key": "x"}],
)
def test_settings_that_would_send_a_key_in_clear_are_none(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        FcmSettings.model_validate({"project_id": PROJECT, **wrong})
