"""The edge of delivery over gRPC: accepted is durable, what is wrong has a name, and what happens is seen."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from selene.common.v1.paging_pb2 import PageRequest
from selene.delivery.v1 import service_pb2 as v1
from selene.delivery.v1 import service_pb2_grpc as delivery_grpc
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_CHANNEL_PUSH,
    DELIVERY_CHANNEL_WECHAT,
    DELIVERY_STATE_ACCEPTED,
    DELIVERY_STATE_CANCELLED,
    DELIVERY_STATE_FAILED_DEFINITE,
    DELIVERY_STATE_SENDING,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
    Content,
    EmailContent,
    Intent,
    PushContent,
    Recipient,
    TemplateContent,
)
from selene.routing.v1.service_pb2 import POLICY_EFFECT_DENY
from selene_messages.selene.kms.v1 import Environment

from clients.errors import SeleneError, from_rpc
from clients.retry import NO_RETRY
from clients.secrets import Secrets
from servers.runtime.auth import ROLE_SERVICE, ROLE_USER, Principal, issue_token
from store.routing import Rule
from tests.support.deliveries import TENANT, Post, posting, profile, text
from tests.support.simulators.plain_delivery import BLIND, KEYED, TAKES_BACK, Act, PlainAdapter, provider

NOBODY = "http://127.0.0.1:9"
SLOW = {"enabled": False}


def nobody() -> list[PlainAdapter]:
    """A provider where nobody listens; with `SLOW` nobody calls it either."""
    return [PlainAdapter("plain/sms", NOBODY, BLIND)]


async def refused(call: Any) -> SeleneError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc(caught.value)


def as_(post: Post, *roles: str, tenant: str = TENANT) -> Any:
    """A stub of somebody with these roles."""
    key = post.owners.running.development_key
    assert key is not None
    who = Principal(tenant, "someone", "", frozenset(roles))
    token = issue_token(key, who, now=post.owners.clock.now(), lifetime=timedelta(hours=1))
    connection = post.owners.connection("delivery", token)
    return _Authorised(delivery_grpc.DeliveryServiceStub(connection.channel), connection.metadata())


class _Authorised:
    def __init__(self, stub: Any, metadata: Any) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._stub, method)
        return lambda request: call(request, timeout=20, metadata=self._metadata)


async def test_a_text_goes_out_once_and_the_watch_shows_it(tmp_path: Path) -> None:
    async with provider() as simulator, posting(tmp_path, [PlainAdapter("plain/sms", simulator.url, KEYED)]) as post:
        taken_on = await post.send(text("m1", "how are you"))
        assert taken_on.state == DELIVERY_STATE_ACCEPTED
        events = await post.watched(3)
        states = [event.delivery.state for event in events]
        assert states == [DELIVERY_STATE_ACCEPTED, DELIVERY_STATE_SENDING, DELIVERY_STATE_SENT_ACKED]
        assert [taken.text for taken in simulator.ledger] == ["how are you"]
        assert simulator.accepted == [taken_on.delivery_id]
        assert events[-1].delivery.attempts[0].provider_ack_ref == "m-1"
        # Whoever comes back with a cursor misses nothing and sees nothing twice.
        assert [event.cursor for event in await post.watched(2, after=events[0].cursor)] == [2, 3]
        trail = [event.transition for event in await post.owners.trail() if event.transition.startswith("delivery.")]
        assert trail == ["delivery.accepted", "delivery.sending", "delivery.sent_acked"]


async def test_the_same_intent_again_is_the_same_delivery_and_is_sent_once(tmp_path: Path) -> None:
    async with provider() as simulator, posting(tmp_path, [PlainAdapter("plain/sms", simulator.url, KEYED)]) as post:
        replies = await asyncio.gather(*(post.stub.Send(v1.SendRequest(intent=text("m1"))) for _ in range(20)))
        assert len({reply.delivery.delivery_id for reply in replies}) == 1
        assert sum(not reply.repeated for reply in replies) == 1
        await post.until(replies[0].delivery.delivery_id, DELIVERY_STATE_SENT_ACKED)
        again = await post.stub.Send(v1.SendRequest(intent=text("m1")))
        assert (again.repeated, again.delivery.state) == (True, DELIVERY_STATE_SENT_ACKED)
        assert len(simulator.requests) == 1


async def test_the_same_message_with_other_content_is_refused_by_name(tmp_path: Path) -> None:
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        first = await post.send(text("m1", "yes"))
        error = await refused(post.stub.Send(v1.SendRequest(intent=text("m1", "no"))))
        assert error.reason == "INTENT_CONTENT_CHANGED"
        assert error.metadata["delivery_id"] == first.delivery_id


BAD = [
    (text("m", recipient="r"), {"address": "+4144"}, "NUMBER_INVALID"),
    (text("m", recipient="r"), {"address": "not a number"}, "NUMBER_INVALID"),
    (
        text("m", channel=DELIVERY_CHANNEL_EMAIL, content=Content(email=EmailContent(subject="s", text="t"))),
        {"address": "mira@example"},
        "MAIL_ADDRESS_INVALID",
    ),
    (
        text("m", channel=DELIVERY_CHANNEL_EMAIL, content=Content(email=EmailContent(subject="s", text="t"))),
        {"address": "mira@example.org\r\nBcc: all@example.org"},
        "MAIL_ADDRESS_INVALID",
    ),
    (
        text(
            "m", channel=DELIVERY_CHANNEL_WECHAT, content=Content(template=TemplateContent(template="t", locale="zh"))
        ),
        {"address": "?"},
        "OPENID_INVALID",
    ),
    (
        text("m", channel=DELIVERY_CHANNEL_PUSH, content=Content(push=PushContent(text="t"))),
        {"address": "short"},
        "DEVICE_TOKEN_INVALID",
    ),
]


async def test_addresses_that_are_none_are_refused_with_their_cause_and_nothing_is_kept(tmp_path: Path) -> None:
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        for intent, recipient, cause in BAD:
            wrong = Intent()
            wrong.CopyFrom(intent)
            wrong.recipient.CopyFrom(Recipient(recipient_id="r", **recipient))
            error = await refused(post.stub.Send(v1.SendRequest(intent=wrong)))
            assert (error.reason, error.metadata["cause"]) == ("RECIPIENT_ADDRESS_INVALID", cause)
        assert (await post.stub.List(v1.ListRequest(tenant_id=TENANT))).deliveries == []


async def test_what_the_contract_does_not_see_in_a_field_is_refused_too(tmp_path: Path) -> None:
    past = Timestamp()
    past.FromSeconds(1_000_000_000)
    zone = Recipient(recipient_id="r", address="+41446681800", time_zone="Europe/Nowhere")
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        for intent, field in (
            (text("m1", sender="a\r\nb"), "intent.sender"),
            (text("m1", expires_at=past), "intent.expires_at"),
            (Intent(**_with(text("m1"), recipient=zone)), "intent.recipient.time_zone"),
        ):
            error = await refused(post.stub.Send(v1.SendRequest(intent=intent)))
            assert error.reason == "FIELD_INVALID"
            assert [violation.field for violation in error.violations] == [field]


def _with(intent: Intent, **changes: Any) -> dict[str, Any]:
    return {field.name: value for field, value in intent.ListFields()} | changes


async def test_each_of_a_batch_is_taken_on_or_refused_by_itself(tmp_path: Path) -> None:
    wrong = text("m2")
    wrong.recipient.address = "+1"
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        request = v1.SendBatchRequest(
            tenant_id=TENANT, intents=[text("m1"), wrong, text("m3"), text("m1"), text("m1", "?")]
        )
        items = (await post.stub.SendBatch(request)).items
        assert [item.refusal for item in items] == ["", "RECIPIENT_ADDRESS_INVALID", "", "", "INTENT_CONTENT_CHANGED"]
        assert sorted(item.repeated for item in (items[0], items[3])) == [False, True]
        foreign = text("m4", tenant_id="other")
        error = await refused(post.stub.SendBatch(v1.SendBatchRequest(tenant_id=TENANT, intents=[text("m5"), foreign])))
        assert (error.reason, error.violations[0].field) == ("FIELD_INVALID", "intents[1].tenant_id")


async def test_pages_of_the_list_hold_every_delivery_once_the_latest_first(tmp_path: Path) -> None:
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        sent = [(await post.send(text(f"m{number}"))).delivery_id for number in range(5)]
        seen: list[str] = []
        token = ""
        while True:
            page = PageRequest(page_size=2, page_token=token)
            reply = await post.stub.List(v1.ListRequest(tenant_id=TENANT, page=page))
            seen += [each.delivery_id for each in reply.deliveries]
            token = reply.page.next_page_token
            if not token:
                break
        assert seen == sent[::-1]


async def test_a_delivery_is_taken_back_while_nothing_has_left_and_not_after(tmp_path: Path) -> None:
    later = Timestamp()
    async with provider() as simulator, posting(tmp_path, [PlainAdapter("plain/sms", simulator.url, KEYED)]) as post:
        later.FromDatetime(post.owners.clock.now() + timedelta(hours=1))
        waiting = await post.send(text("m1", not_before=later))
        cancel = v1.CancelRequest(
            tenant_id=TENANT, delivery_id=waiting.delivery_id, reason_code="CHANGED_MIND", idempotency_key="k1"
        )
        replies = [await post.stub.Cancel(cancel) for _ in range(2)]
        assert replies[0] == replies[1]
        assert replies[0].delivery.state == DELIVERY_STATE_CANCELLED
        gone = await post.send(text("m2"))
        await post.until(gone.delivery_id, DELIVERY_STATE_SENT_ACKED)
        cancel = v1.CancelRequest(
            tenant_id=TENANT, delivery_id=gone.delivery_id, reason_code="CHANGED_MIND", idempotency_key="k2"
        )
        error = await refused(post.stub.Cancel(cancel))
        assert (error.reason, error.metadata["state"]) == ("DELIVERY_STATE_REFUSED", "SENT_ACKED")
        post.owners.clock.skip(3700)
        await asyncio.sleep(0.3)
        assert simulator.accepted == [gone.delivery_id]


async def test_an_unknown_delivery_is_sent_again_only_after_a_person_said_so(tmp_path: Path) -> None:
    async with provider(keyed=False) as simulator:
        simulator.plan(Act.RESET)
        async with posting(tmp_path, [PlainAdapter("plain/sms", simulator.url, BLIND)]) as post:
            lost = await post.send(text("m1"))
            unknown = await post.until(lost.delivery_id, DELIVERY_STATE_UNKNOWN)
            assert unknown.attempts[0].reason_code == "ANSWER_LOST"
            assert (await post.stub.Reconcile(v1.ReconcileRequest(tenant_id=TENANT))).due == 1
            # The dispatcher looks, can ask nobody, and leaves it.
            await post.watched(5, delivery_id=lost.delivery_id)
            assert len(simulator.requests) == 1
            post.owners.clock.skip(10)
            resolve = v1.ResolveRequest(
                tenant_id=TENANT,
                delivery_id=lost.delivery_id,
                resolution=v1.RESOLUTION_NOT_SENT_RETRY,
                reason_code="VENDOR_CONSOLE",
                evidence_ref="ticket-7",
                idempotency_key="k1",
            )
            await post.stub.Resolve(resolve)
            await post.until(lost.delivery_id, DELIVERY_STATE_SENT_ACKED)
            assert simulator.accepted == [lost.delivery_id]
            (row,) = [each for each in await post.owners.trail() if each.transition == "delivery.resolved"]
            assert ("evidence_ref", "ticket-7") in [(fact.name, fact.value) for fact in row.facts]


async def test_the_second_provider_has_its_turn_after_a_definite_no(tmp_path: Path) -> None:
    async with provider() as first, provider() as second:
        adapters = [PlainAdapter("a/sms", first.url, KEYED), PlainAdapter("b/sms", second.url, KEYED)]
        first.plan(Act.BUSY)
        async with posting(tmp_path, adapters, rules={"tries_per_provider": 1}) as post:
            busy = await post.send(text("m1"))
            done = await post.until(busy.delivery_id, DELIVERY_STATE_SENT_ACKED)
            assert [attempt.reason_code for attempt in done.attempts] == ["PROVIDER_BUSY", "ACCEPTED"]
            assert (first.accepted, second.accepted) == ([], [busy.delivery_id])


@pytest.mark.parametrize(("retries", "asked"), [(1, 2), (2, 3)])
async def test_a_profile_says_how_often_a_provider_is_asked_before_the_next_has_its_turn(
    tmp_path: Path, retries: int, asked: int
) -> None:
    routed = profile("a/sms", "b/sms")
    routed.delivery.sms.providers[0].max_retries = retries
    async with provider() as first, provider() as second:
        adapters = [PlainAdapter("a/sms", first.url, KEYED), PlainAdapter("b/sms", second.url, KEYED)]
        first.plan(*[Act.BUSY] * 9)
        async with posting(tmp_path, adapters, profile=routed, rules={"tries_per_provider": 5}) as post:
            sent = await post.until((await post.send(text("m1"))).delivery_id, DELIVERY_STATE_SENT_ACKED)
    assert [each.provider_ref for each in sent.attempts] == ["a/sms"] * asked + ["b/sms"]


async def test_no_other_provider_is_asked_where_the_answer_was_lost_or_nobody_is_there(tmp_path: Path) -> None:
    async with provider() as first, provider() as second:
        adapters = [PlainAdapter("a/sms", first.url, KEYED), PlainAdapter("b/sms", second.url, KEYED)]
        first.plan(Act.RECIPIENT_INVALID, Act.TAKE_AND_LOSE_REPLY)
        async with posting(tmp_path, adapters, rules={"tries_per_provider": 1}) as post:
            invalid = await post.send(text("m1"))
            failed = await post.until(invalid.delivery_id, DELIVERY_STATE_FAILED_DEFINITE)
            assert failed.reason_code == "RECIPIENT_INVALID"
            lost = await post.send(text("m2"))
            await post.until(lost.delivery_id, DELIVERY_STATE_SENT_ACKED)
            assert (first.accepted, second.requests) == ([lost.delivery_id], [])


async def test_who_may_not_send_may_not_look_either(tmp_path: Path) -> None:
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        user, service, foreign = as_(post, ROLE_USER), as_(post, ROLE_SERVICE), as_(post, ROLE_SERVICE, tenant="other")
        send = v1.SendRequest(intent=text("m1"))
        assert (await refused(user.Send(send))).reason == "ROLE_REQUIRED"
        assert (await refused(foreign.Send(send))).reason == "TENANT_MISMATCH"
        taken_on = (await service.Send(send)).delivery
        get = v1.GetRequest(tenant_id=TENANT, delivery_id=taken_on.delivery_id)
        assert (await refused(user.Get(get))).reason == "ROLE_REQUIRED"
        assert (await refused(foreign.Get(get))).reason == "TENANT_MISMATCH"
        reconcile = v1.ReconcileRequest(tenant_id=TENANT)
        assert (await refused(service.Reconcile(reconcile))).reason == "ROLE_REQUIRED"


async def test_a_rule_of_policy_refuses_and_what_was_taken_on_before_stays(tmp_path: Path) -> None:
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        before = await post.send(text("m1"))
        async with post.owners.store.transaction() as tx:
            await tx.routing.rules.put(
                Rule(tenant_id="", rule_id="quiet", effect=POLICY_EFFECT_DENY, reason="MAINTENANCE")
            )
            tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.denied", reason_code="TEST")
        error = None
        for number in range(200):
            try:
                await post.send(text(f"after-{number}"))
            except grpc.aio.AioRpcError as caught:
                error = from_rpc(caught)
                break
            await asyncio.sleep(0.02)
        assert error is not None and (error.reason, error.metadata["rule_id"]) == ("POLICY_REFUSED", "deployment:quiet")
        again = await post.stub.Send(v1.SendRequest(intent=text("m1")))
        assert (again.repeated, again.delivery.delivery_id) == (True, before.delivery_id)


async def test_a_watch_ends_where_the_server_stops(tmp_path: Path) -> None:
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        await post.send(text("m1"))
        call: Any = post.stub.Watch(v1.WatchRequest(tenant_id=TENANT))
        assert (await call.read()).cursor == 1
        stopping = asyncio.ensure_future(post.owners.running.stop(5.0))
        error = await refused(call.read())
        assert error.reason == "NOT_SERVING"
        await stopping


def cancel(delivery_id: str, key: str = "k-1") -> v1.CancelRequest:
    return v1.CancelRequest(
        tenant_id=TENANT, delivery_id=delivery_id, reason_code="ORDER_WITHDRAWN", idempotency_key=key
    )


async def test_a_provider_takes_back_what_it_may_have_where_it_can(tmp_path: Path) -> None:
    async with (
        provider() as simulator,
        posting(tmp_path, [PlainAdapter("plain/sms", simulator.url, TAKES_BACK)]) as post,
    ):
        simulator.plan(Act.TAKE_AND_LOSE_REPLY)
        sent = await post.send(text("m1"))
        await post.until(sent.delivery_id, DELIVERY_STATE_UNKNOWN)
        reply = await post.stub.Cancel(cancel(sent.delivery_id))
        assert reply.outcome == v1.CANCEL_OUTCOME_PROVIDER_ASKED
        assert reply.delivery.cancel_reason_code == "ORDER_WITHDRAWN"
        back = await post.until(sent.delivery_id, DELIVERY_STATE_CANCELLED)
        assert (back.reason_code, simulator.taken_back) == ("ORDER_WITHDRAWN", [sent.delivery_id])
        assert len(simulator.requests) == 1
        trail = [event.transition for event in await post.owners.trail() if "cancel" in event.transition]
        assert trail == ["delivery.cancelled", "delivery.cancel_sending", "delivery.cancel_sent"]


async def test_where_a_provider_takes_nothing_back_it_is_said_and_nothing_more_is_sent(tmp_path: Path) -> None:
    async with provider() as simulator, posting(tmp_path, [PlainAdapter("plain/sms", simulator.url, BLIND)]) as post:
        simulator.plan(Act.TAKE_AND_LOSE_REPLY)
        sent = await post.send(text("m1"))
        await post.until(sent.delivery_id, DELIVERY_STATE_UNKNOWN)
        reply = await post.stub.Cancel(cancel(sent.delivery_id))
        assert reply.outcome == v1.CANCEL_OUTCOME_NOTHING_MORE_SENT
        assert reply.delivery.state == DELIVERY_STATE_UNKNOWN
        resolve = v1.ResolveRequest(
            tenant_id=TENANT,
            delivery_id=sent.delivery_id,
            resolution=v1.RESOLUTION_NOT_SENT_RETRY,
            reason_code="VENDOR_CONSOLE",
            evidence_ref="T-1",
            idempotency_key="k-2",
        )
        post.owners.clock.skip(10)  # no byte may leave any more
        settled = await post.stub.Resolve(resolve)
        assert (settled.delivery.state, settled.delivery.reason_code) == (DELIVERY_STATE_CANCELLED, "ORDER_WITHDRAWN")
        assert len(simulator.requests) == 1


async def test_what_is_taken_back_while_it_is_sent_is_sent_where_that_came_too_late(tmp_path: Path) -> None:
    async with provider() as simulator, posting(tmp_path, [PlainAdapter("plain/sms", simulator.url, BLIND)]) as post:
        simulator.plan(Act.TAKE_AND_HANG)
        sent = await post.send(text("m1"))
        await simulator.came.wait()
        reply = await post.stub.Cancel(cancel(sent.delivery_id))
        assert (reply.outcome, reply.delivery.state) == (v1.CANCEL_OUTCOME_NOTHING_MORE_SENT, DELIVERY_STATE_SENDING)
        simulator.go_on.set()
        done = await post.until(sent.delivery_id, DELIVERY_STATE_SENT_ACKED)
        assert done.cancel_reason_code == "ORDER_WITHDRAWN"
        error = await refused(post.stub.Cancel(cancel(sent.delivery_id, "k-2")))
        assert (error.reason, error.metadata["state"]) == ("DELIVERY_STATE_REFUSED", "SENT_ACKED")


async def test_a_watch_from_now_on_tells_first_where_it_begins_and_then_only_what_happens(tmp_path: Path) -> None:
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        await post.send(text("before"))
        call: Any = post.stub.Watch(v1.WatchRequest(tenant_id=TENANT, from_now=True), timeout=20)
        first = await call.read()
        assert (first.cursor, first.HasField("delivery")) == (1, False)
        await post.send(text("after"))
        second = await call.read()
        assert (second.cursor, second.delivery.message_id) == (2, "after")
        call.cancel()


async def test_a_watch_that_is_broken_off_again_and_again_misses_nothing_of_several_writers(tmp_path: Path) -> None:
    async with posting(tmp_path, nobody(), dispatch=SLOW) as post:
        names = [[f"{writer}-{number}" for number in range(15)] for writer in range(6)]

        async def write(own: list[str]) -> None:
            for name in own:
                await post.send(text(name))

        writing = asyncio.gather(*map(write, names))
        cursors: list[int] = []
        seen: list[str] = []
        request = v1.WatchRequest(tenant_id=TENANT, from_now=True)
        while len(seen) < 90:
            call: Any = post.stub.Watch(request, timeout=20)
            for _ in range(7):
                if len(seen) == 90:
                    break
                event = await call.read()
                request = v1.WatchRequest(tenant_id=TENANT, after=event.cursor)
                if event.HasField("delivery"):
                    cursors.append(event.cursor)
                    seen.append(event.delivery.message_id)
            call.cancel()
        await writing
    assert sorted(seen) == sorted(name for own in names for name in own)
    assert cursors == sorted(set(cursors))


async def test_a_delivery_waits_for_the_secret_of_its_provider_and_says_so(tmp_path: Path) -> None:
    account = {"owners.delivery.accounts": {"twilio/sms": {"sender": "+41446681800"}}}
    keyed = profile("twilio/sms", kms_handle_ref="kms://delivery/sms/twilio")
    async with posting(tmp_path, [PlainAdapter("twilio/sms", NOBODY, BLIND)], flags=account, profile=keyed) as post:
        sent = await post.send(text("m1"))
        events = await post.watched(2, delivery_id=sent.delivery_id)
        waits = events[-1].delivery
        assert (waits.state, waits.reason_code, list(waits.attempts)) == (DELIVERY_STATE_ACCEPTED, "SECRET_AWAITED", [])


class Warm(PlainAdapter):
    """A provider whose connection can be opened ahead."""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self.warmed = asyncio.Event()

    async def prewarm(self) -> bool:
        self.warmed.set()
        return True


async def test_once_its_provider_has_a_secret_its_connection_is_opened_and_what_waited_goes_out(tmp_path: Path) -> None:
    account = {"owners.delivery.accounts": {"twilio/sms": {"sender": "+41446681800"}}}
    handle = "kms://delivery/sms/twilio"
    keyed = profile("twilio/sms", kms_handle_ref=handle)
    async with provider() as simulator:
        adapter = Warm("twilio/sms", simulator.url, KEYED)
        async with posting(tmp_path, [adapter], flags=account, profile=keyed, beside=["kms"]) as post:
            sent = await post.send(text("m1"))
            await post.watched(2, delivery_id=sent.delivery_id)
            assert not adapter.warmed.is_set() and not simulator.requests
            operator = Secrets(post.owners.connection("kms"), policy=NO_RETRY)
            await operator.put(handle, b"a-secret", environment=Environment.PROD, granted_owners=["PH1.DELIVERY"])
            await post.until(sent.delivery_id, DELIVERY_STATE_SENT_ACKED)
            assert adapter.warmed.is_set() and simulator.requests == [sent.delivery_id]
