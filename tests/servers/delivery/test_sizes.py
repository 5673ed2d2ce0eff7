"""What the contract allows is taken however large it is, through a real channel, and nothing beyond."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from selene.routing.v1.routing_pb2 import DOMAIN_EMAIL, DOMAIN_SMS, ProviderRoutingProfileV1
from selene_messages.selene.delivery import v1

from clients.delivery import Deliveries
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from servers.delivery.mail_settings import SmtpSettings
from servers.delivery.smtp import Smtp
from servers.routing.defaults import ProviderSeed, default_profile
from tests.support.deliveries import Post, posting
from tests.support.simulators.mailbox import Mailbox

MIB = 1024 * 1024
NAME = "Rechnung März 你好.pdf"


def profile() -> ProviderRoutingProfileV1:
    seeds = [ProviderSeed(provider_ref="smtp/primary", region="eu", timeout_s=9.0)]
    return default_profile(
        {DOMAIN_EMAIL: seeds, DOMAIN_SMS: [ProviderSeed(provider_ref="nobody/sms", region="eu", timeout_s=1.0)]},
        effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        judge_threshold_set_id="t-1",
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Post, Mailbox]]:
    async with Mailbox().serve() as mailbox:
        account = SmtpSettings(
            host="127.0.0.1", port=mailbox.port, security="none", sender="desk@example.org", needs_secret=False
        )
        smtp = Smtp("smtp/primary", account, None)
        async with posting(
            tmp_path_factory.mktemp("sizes"),
            [smtp],
            profile=profile(),
            rules={"call_timeout_s": 10.0},
            dispatch={"lease_s": 30.0},
        ) as post:
            yield post, mailbox


def deliveries(post: Post) -> Deliveries:
    return Deliveries(post.owners.connection("delivery"), policy=NO_RETRY)


def mail(message_id: str, *files: bytes) -> v1.Intent:
    attached = [v1.Attachment(filename=NAME, media_type="application/pdf", content=content) for content in files]
    email = v1.EmailContent(subject="Grüße 你好", text="Straße\n" * 1000, attachments=attached)
    return v1.Intent(
        message_id=message_id,
        recipient=v1.Recipient(recipient_id=message_id, address="ada@example.org"),
        channel=v1.DeliveryChannel.EMAIL,
        content=v1.Content(email=email),
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_a_mail_with_a_large_file_arrives_byte_for_byte(house: tuple[Post, Mailbox]) -> None:
    post, mailbox = house
    content = random.Random(7).randbytes(2 * MIB)
    client = deliveries(post)
    reply = await client.send(mail("large", content))
    assert reply.delivery is not None
    assert (await client.until_final(reply.delivery.delivery_id)).state is v1.DeliveryState.SENT_ACKED
    (received,) = mailbox.received
    (attachment,) = received.parsed.iter_attachments()
    assert attachment.get_filename() == NAME
    assert attachment.get_content() == content
    body = received.parsed.get_body(("plain",))
    assert body is not None and body.get_content() == "Straße\r\n" * 1000
    assert received.parsed["Subject"] == "Grüße 你好"


@pytest.mark.asyncio(loop_scope="module")
async def test_as_many_as_a_batch_may_hold_are_taken_in_one_call(house: tuple[Post, Mailbox]) -> None:
    post, _ = house
    client = deliveries(post)
    intents = [
        v1.Intent(
            message_id=f"m-{number}",
            recipient=v1.Recipient(recipient_id=f"r-{number}", address="+41446681800"),
            channel=v1.DeliveryChannel.SMS,
            content=v1.Content(text=v1.TextContent(text="x" * 1000)),
        )
        for number in range(500)
    ]
    before = len(await post.owners.trail())
    items = await client.send_batch(intents)
    assert [item.delivery.message_id for item in items if item.delivery] == [intent.message_id for intent in intents]
    assert not any(item.repeated or item.refusal for item in items)
    taken = [event.transition for event in (await post.owners.trail())[before:]]
    assert taken.count("delivery.accepted") == 500


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("files", [(6 * MIB, 6 * MIB), (11 * MIB,)], ids=["together", "one"])
async def test_files_that_no_mail_may_hold_are_refused_by_their_field(
    house: tuple[Post, Mailbox], files: tuple[int, ...]
) -> None:
    with pytest.raises(SeleneError) as refused:
        await deliveries(house[0]).send(mail("too-large", *(bytes(size) for size in files)))
    assert refused.value.reason == "FIELD_INVALID"
    (field,) = refused.value.violations
    assert field.field.startswith("intent.content.email.attachments")


async def test_a_limit_of_the_operator_s_own_is_kept(tmp_path: Path) -> None:
    limit = {"limits.receive_bytes_of.delivery": MIB}
    async with posting(tmp_path, [], profile=profile(), flags=limit, dispatch={"enabled": False}) as post:
        with pytest.raises(SeleneError) as refused:
            await deliveries(post).send(mail("m", bytes(MIB)))
        (violation,) = refused.value.violations
        assert (violation.field, violation.description.split(",")[0]) == ("", f"a message is at most {MIB} bytes")
        reply = await deliveries(post).send(mail("m", bytes(MIB // 2)))
        assert reply.delivery is not None and reply.delivery.state is v1.DeliveryState.ACCEPTED
