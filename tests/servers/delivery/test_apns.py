"""Apple's push service over HTTP/2, judged by the simulator's ledger."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from selene.delivery.v1.delivery_pb2 import DELIVERY_CHANNEL_PUSH
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS

from servers.delivery.adapter import Certainty, Content, DeliveryReason, Message, Sent
from servers.delivery.apns import TOKEN_LIVES_S, Apns, ApnsSettings, make
from servers.routing.credentials import CredentialUnavailable
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import SystemClock
from tests.support.canaries import everything_logged
from tests.support.keys import keeps
from tests.support.messages import KEY, checked, find, message, send, trace
from tests.support.simulators.apns import KEY_ID, TEAM, TOPIC, ApnsSimulator
from tests.support.simulators.messaging import Trouble, Wrong
from tests.support.time import FakeClock

DEVICE = "0a1b" * 16
OWN = {"team_id": TEAM, "key_id": KEY_ID, "topic": TOPIC}


class Team:
    """The team's signing key, as long as there is one."""

    def __init__(self, secret: str) -> None:
        self.secret: str | None = secret

    async def reveal(self) -> str:
        if self.secret is None:
            raise CredentialUnavailable("no lease")
        return self.secret


@pytest.fixture
async def cloud() -> AsyncIterator[ApnsSimulator]:
    simulator = ApnsSimulator()
    simulator.devices.add(DEVICE)
    async with simulator.serve():
        yield simulator


@pytest.fixture
def team(cloud: ApnsSimulator) -> Team:
    return Team(cloud.signing_key())


@pytest.fixture
async def adapter(cloud: ApnsSimulator, team: Team) -> AsyncIterator[Apns]:
    made = make("apns/push", {**OWN, "base_url": cloud.base_url}, team, SystemClock())
    yield made
    await made.close()


def push(device: str = DEVICE, **more: Any) -> Message:
    content = Content(title="Table", text="Zürich, 19:30 🕛", data={"screen": "booking"})
    return message(device, **{"channel": DELIVERY_CHANNEL_PUSH, "content": content, **more})


def told(sent: Sent) -> tuple[Certainty, str]:
    return sent.certainty, sent.result.reason_code


async def test_a_push_is_in_the_ledger_as_it_was_said(adapter: Apns, cloud: ApnsSimulator) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=90)
    sent = await send(adapter, push(expires_at=expires_at))
    (taken,) = cloud.accepted
    assert told(sent) == (Certainty.ACCEPTED, "ACCEPTED")
    assert taken.device == DEVICE
    assert taken.said == {
        "aps": {"alert": {"title": "Table", "body": "Zürich, 19:30 🕛"}, "sound": "default"},
        "screen": "booking",
    }
    assert taken.headers["apns-expiration"] == str(int(expires_at.timestamp()))
    assert (taken.headers["apns-push-type"], taken.headers["apns-priority"]) == ("alert", "10")


async def test_a_notification_is_named_by_its_key_which_is_no_promise_and_declared_as_none(
    adapter: Apns, cloud: ApnsSimulator
) -> None:
    first, second = await send(adapter, push()), await send(adapter, push())
    assert [taken.headers["apns-id"] for taken in cloud.accepted] == [adapter.token(KEY)] * 2
    assert first.provider_message_id == second.provider_message_id == adapter.token(KEY)
    assert str(UUID(adapter.token(KEY))) == adapter.token(KEY) != adapter.token("6f" * 32)
    declares = adapter.declares
    assert (declares.key_window_s, declares.lookups, declares.webhooks) == (None, frozenset(), False)


async def test_calls_at_once_share_a_connection_and_a_token(adapter: Apns, cloud: ApnsSimulator) -> None:
    await send(adapter, push())
    await asyncio.gather(*(send(adapter, push()) for _ in range(8)))
    assert len(cloud.accepted) == 9
    assert len({taken.connection for taken in cloud.accepted}) == 1
    assert len({taken.headers["authorization"] for taken in cloud.accepted}) == 1


async def test_a_token_is_made_anew_before_apple_calls_it_old(cloud: ApnsSimulator, team: Team) -> None:
    clock = FakeClock()
    adapter = make("apns/push", {**OWN, "base_url": cloud.base_url}, team, clock)
    for wait_s in (0.0, TOKEN_LIVES_S - 1, 2.0):
        clock.advance(timedelta(seconds=wait_s))
        assert (await adapter.send(push(), deadline=clock.monotonic() + 10)).certainty is Certainty.ACCEPTED
    await adapter.close()
    tokens = [taken.headers["authorization"] for taken in cloud.accepted]
    assert tokens[0] == tokens[1] != tokens[2]


async def test_a_token_that_apple_calls_old_is_replaced_for_the_next_call(adapter: Apns, cloud: ApnsSimulator) -> None:
    await send(adapter, push())
    cloud.plan(Wrong(Trouble.REFUSE, status=403, code="ExpiredProviderToken"))
    assert told(await send(adapter, push())) == (Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE)
    assert (await send(adapter, push())).certainty is Certainty.ACCEPTED


async def test_another_key_signs_another_token_and_none_signs_none(
    adapter: Apns, cloud: ApnsSimulator, team: Team
) -> None:
    await send(adapter, push())
    cloud.replace_key()
    assert told(await send(adapter, push())) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
    team.secret = cloud.signing_key()
    assert (await send(adapter, push())).certainty is Certainty.ACCEPTED
    asked = len(cloud.asked)
    for secret in (None, "", "no key"):
        team.secret = secret
        assert told(await send(adapter, push())) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert len(cloud.asked) == asked


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, "BadDeviceToken", DeliveryReason.RECIPIENT_INVALID),
        (400, "DeviceTokenNotForTopic", DeliveryReason.RECIPIENT_INVALID),
        (410, "Unregistered", DeliveryReason.RECIPIENT_UNREACHABLE),
        (410, "ExpiredToken", DeliveryReason.RECIPIENT_UNREACHABLE),
        (400, "TopicDisallowed", DeliveryReason.SENDER_REFUSED),
        (403, "InvalidProviderToken", ProviderReason.CREDENTIAL_REFUSED),
        (413, "PayloadTooLarge", DeliveryReason.CONTENT_TOO_LONG),
        (429, "TooManyRequests", ProviderReason.PROVIDER_BUSY),
        (429, "TooManyProviderTokenUpdates", ProviderReason.PROVIDER_BUSY),
        (503, "ServiceUnavailable", ProviderReason.PROVIDER_UNAVAILABLE),
        (503, "Shutdown", ProviderReason.PROVIDER_UNAVAILABLE),
        (400, "BadPriority", ProviderReason.REQUEST_REFUSED),
    ],
)
async def test_a_documented_refusal_is_definite_and_named(
    adapter: Apns, cloud: ApnsSimulator, status: int, code: str, reason: str
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=status, code=code, retry_after="7"))
    assert told(await send(adapter, push())) == (Certainty.REFUSED, reason)
    assert cloud.accepted == []


@pytest.mark.parametrize(
    ("wrong", "reason", "taken"),
    [
        (Wrong(Trouble.LOSE_REPLY), DeliveryReason.ANSWER_LOST, 1),
        (Wrong(Trouble.RESET), DeliveryReason.ANSWER_LOST, 0),
        (Wrong(Trouble.HANG), DeliveryReason.ANSWER_LOST, 1),
        (Wrong(Trouble.WRONG_SCHEMA), ProviderReason.RESPONSE_MALFORMED, 1),
        (Wrong(Trouble.TAKE_AND_FAIL, status=500, code="InternalServerError"), ProviderReason.PROVIDER_UNAVAILABLE, 1),
        (Wrong(Trouble.TAKE_AND_FAIL, status=503), ProviderReason.PROVIDER_UNAVAILABLE, 1),
    ],
)
async def test_whatever_may_have_been_taken_is_unknown(
    adapter: Apns, cloud: ApnsSimulator, wrong: Wrong, reason: str, taken: int
) -> None:
    cloud.plan(wrong)
    assert told(await send(adapter, push(), within_s=2.0)) == (Certainty.UNKNOWN, reason)
    assert (len(cloud.accepted), len(cloud.asked)) == (taken, 1)


async def test_a_connection_that_broke_is_made_anew_for_the_next_call(adapter: Apns, cloud: ApnsSimulator) -> None:
    cloud.plan(None, Trouble.RESET)
    outcomes = [(await send(adapter, push())).certainty for _ in range(3)]
    assert outcomes == [Certainty.ACCEPTED, Certainty.UNKNOWN, Certainty.ACCEPTED]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Content(), DeliveryReason.CONTENT_REFUSED),
        (Content(template="welcome"), DeliveryReason.CONTENT_REFUSED),
        (Content(text="hello", data={"aps": "forged"}), DeliveryReason.CONTENT_REFUSED),
        (Content(text="ü" * 2048), DeliveryReason.CONTENT_TOO_LONG),
    ],
)
async def test_what_cannot_be_said_is_refused_without_a_call(
    adapter: Apns, cloud: ApnsSimulator, content: Content, reason: str
) -> None:
    assert told(await send(adapter, push(content=content))) == (Certainty.REFUSED, reason)
    assert cloud.asked == []


@pytest.mark.parametrize("device", ["", "../../x", "0a1b?x=1", "0a1b\r\nx: y", "é" * 64])
async def test_what_is_no_device_never_becomes_a_path(adapter: Apns, cloud: ApnsSimulator, device: str) -> None:
    assert told(await send(adapter, push(device))) == (Certainty.REFUSED, DeliveryReason.RECIPIENT_INVALID)
    assert cloud.asked == []


async def test_a_deadline_that_is_over_and_a_connection_that_is_never_made_refuse(
    adapter: Apns, cloud: ApnsSimulator, team: Team
) -> None:
    assert told(await send(adapter, push(), within_s=0.0)) == (Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = {**OWN, "base_url": f"http://127.0.0.1:{taken.getsockname()[1]}"}
        elsewhere = make("apns/push", nowhere, team, SystemClock())
        sent = await send(elsewhere, push())
        await elsewhere.close()
    assert told(sent) == (Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE)
    assert cloud.asked == []


async def test_a_cancelled_call_ends_at_once_and_the_next_one_goes_well(adapter: Apns, cloud: ApnsSimulator) -> None:
    cloud.plan(Trouble.HANG)
    call = asyncio.create_task(adapter.send(push(), deadline=time.monotonic() + 60))
    await asyncio.wait_for(cloud.hung.wait(), 5.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await send(adapter, push())).certainty is Certainty.ACCEPTED


async def test_nobody_can_be_asked_and_nothing_taken_back(adapter: Apns, cloud: ApnsSimulator) -> None:
    known = trace(provider_message_id=adapter.token(KEY))
    assert (await find(adapter, known, CAPABILITY_DELIVERY_STATUS)).certainty is Certainty.UNKNOWN
    kept = await adapter.cancel(message(), known, deadline=time.monotonic() + 5)
    assert checked(adapter, message(), kept, CAPABILITY_DELIVERY_CANCEL).certainty is Certainty.UNKNOWN
    assert cloud.asked == []


async def test_neither_key_nor_token_nor_device_nor_text_is_in_a_log_a_result_or_what_is_kept(
    adapter: Apns, cloud: ApnsSimulator, team: Team
) -> None:
    assert team.secret is not None
    part_of_key = team.secret.splitlines()[1][:40]
    said: list[str] = []
    with everything_logged() as log:
        cloud.plan(None, Wrong(Trouble.REFUSE, status=400, code="BadDeviceToken"), Trouble.LOSE_REPLY)
        for _ in range(4):
            sent = await send(adapter, push())
            said.append(f"{sent!r} {sent.result} {adapter!r} {push()!r}")
    token = cloud.accepted[0].headers["authorization"].split()[1]
    whole = "".join(said) + log.getvalue()
    for canary in (DEVICE, "19:30", token, part_of_key):
        assert canary not in whole
    team.secret = None
    assert not keeps(adapter, part_of_key)


@pytest.mark.parametrize("wrong", [{"base_url": "http://apple.example.com"}, {"topic": "a b"}, {"key": "x"}])
def test_settings_that_would_send_a_token_in_clear_are_none(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ApnsSettings.model_validate({**OWN, **wrong})
