"""`selene deliver` against the real owner."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from selene_messages.selene.delivery import v1
from selene_messages.selene.routing import v1 as routing

from clients.cli import channels, senders
from clients.cli.deliver import deliver_send, expiry, line
from clients.cli.intents import IntentUnusable, Said, content, duration, person
from clients.cli.output import Output
from clients.cli.session import Session
from clients.cli.settings import Settings
from clients.cli.standings import Standing
from clients.delivery import Deliveries
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT, until
from tests.support.talking import Run, command

ANN = ("--to", "ann@example.org", "--subject", "Hello")
MAIL = (*ANN, "--text", "It is noon.")
ABSENT = "ab" * 32


@pytest.fixture
async def delivering(quiet_log: None, tmp_path: Path) -> AsyncIterator[Owners]:
    """Delivery without a dispatcher, so that what is handed over stays as it is."""
    async with serving(["delivery"], tmp_path, {"owners.delivery": {"dispatch": {"enabled": False}}}) as owners:
        yield owners


@pytest.fixture
def run(delivering: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield command(delivering, tmp_path, monkeypatch)


async def sent(run: Run, *arguments: str) -> dict[str, Any]:
    result = await run("deliver", "send", "email", *(arguments or MAIL), "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


async def test_a_message_is_handed_over_under_a_new_id_which_is_printed(run: Run) -> None:
    first = await run("deliver", "send", "email", *MAIL)
    assert first.exit_code == 0, first.stderr
    assert "cli-" in first.stdout and "ACCEPTED" in first.stdout
    one, other = await sent(run), await sent(run)
    assert one["message_id"] != other["message_id"]
    assert (one["channel"], one["repeated"]) == ("DELIVERY_CHANNEL_EMAIL", False)


async def test_the_same_message_again_is_the_same_delivery(run: Run) -> None:
    first = await sent(run, *MAIL, "--message-id", "order-17")
    again = await run("deliver", "send", "email", *MAIL, "--message-id", "order-17", "--json")
    assert json.loads(again.stdout) == {**first, "repeated": True}
    assert "nothing more is sent" in again.stderr


async def test_the_same_message_with_other_content_is_refused_and_says_what_helps(run: Run) -> None:
    first = await sent(run, *MAIL, "--message-id", "order-17")
    result = await run("deliver", "send", "email", *ANN, "--text", "It is one.", "--message-id", "order-17")
    assert result.exit_code == 1
    assert "INTENT_CONTENT_CHANGED" in result.stderr and first["delivery_id"] in result.stderr.replace("\n", "")


async def test_a_refusal_tells_the_message_id_to_hand_it_over_again_with(run: Run) -> None:
    result = await run("deliver", "send", "sms", "--to", "0207", "--text", "hello", "--message-id", "m-9")
    assert result.exit_code == 1
    assert "RECIPIENT_ADDRESS_INVALID" in result.stderr and "message m-9" in result.stderr


async def test_a_delivery_is_shown_without_its_address_or_content(run: Run) -> None:
    made = await sent(run)
    shown = await run("deliver", "get", made["delivery_id"])
    assert made["delivery_id"] in shown.stdout and made["message_id"] in shown.stdout
    assert "ann@example.org" not in shown.stdout and "noon" not in shown.stdout


async def test_deliveries_are_listed_latest_first_by_state_and_channel(run: Run) -> None:
    made = [await sent(run) for _ in range(3)]
    listed = json.loads((await run("deliver", "list", "-n", "2", "--json")).stdout)["deliveries"]
    assert [each["delivery_id"] for each in listed] == [made[2]["delivery_id"], made[1]["delivery_id"]]
    assert json.loads((await run("deliver", "list", "--state", "unknown", "--json")).stdout) == {"deliveries": []}
    assert "there is none" in (await run("deliver", "list", "--channel", "sms")).stdout
    piped = (await run("deliver", "list")).stdout
    assert "…" not in piped
    assert all(each["message_id"] in piped for each in made)


async def test_an_id_or_a_reason_of_another_form_is_told_in_words(run: Run) -> None:
    resolving = ("deliver", "resolve", "17", "sent", "--evidence", "T-1", "--yes", "--reason")
    assert "must be 64 hexadecimal digits" in (await run(*resolving, "VENDOR_CONSOLE")).stderr
    assert "is not UPPER_SNAKE_CASE" in (await run(*resolving, "I saw it")).stderr


async def test_ctrl_c_while_waiting_tells_that_the_delivery_goes_on_and_how_to_look(
    delivering: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    err = io.StringIO()
    output = Output(as_json=False, err=Console(file=err, width=200))
    session = Session(Settings(tenant=TENANT, timeout=10), output, delivering.connection("delivery"))
    sending = asyncio.ensure_future(
        deliver_send(session, "email", "ann@example.org", text="It is noon.", subject="Noon", wait=True)
    )
    await until(lambda: "ACCEPTED" in err.getvalue())
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    [made] = [each async for each in Deliveries(delivering.connection("delivery")).list()]
    assert f"the delivery goes on: `selene deliver watch {made.delivery_id} --until-final`" in err.getvalue()
    assert f"`selene deliver cancel {made.delivery_id}` takes it back" in err.getvalue()


async def test_a_delivery_that_is_waited_for_ends_as_it_ended(run: Run, delivering: Owners) -> None:
    """Taken back meanwhile, it was not sent: the command says so by its exit code."""
    waiting = asyncio.ensure_future(run("deliver", "send", "email", *MAIL, "--message-id", "m-1", "--wait", "--json"))
    deliveries = Deliveries(delivering.connection("delivery"))
    async for change in deliveries.watch():
        assert change.delivery is not None
        await deliveries.cancel(change.delivery.delivery_id, "ORDER_WITHDRAWN")
        break
    result = await waiting
    assert result.exit_code == 1
    assert json.loads(result.stdout)["state"] == "DELIVERY_STATE_CANCELLED"
    assert ": it is durable; Ctrl-C ends this waiting, not the delivery\nACCEPTED  ACCEPTED\n" in result.stderr


async def test_who_waits_for_what_nobody_can_send_is_told_where_to_look(
    quiet_log: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(["delivery"], tmp_path) as owners:
        run = command(owners, tmp_path, monkeypatch)
        waiting = asyncio.ensure_future(run("deliver", "send", "email", *MAIL, "--message-id", "m-1", "--wait"))
        deliveries = Deliveries(owners.connection("delivery"))
        async for change in deliveries.watch():
            if change.delivery is not None and change.delivery.reason_code == "NO_PROVIDER":
                await deliveries.cancel(change.delivery.delivery_id, "ORDER_WITHDRAWN")
                break
        result = await waiting
    assert change.delivery is not None and f"{change.delivery.delivery_id}: it is durable" in result.stderr
    assert result.stderr.count("`selene deliver status` says what each account lacks") == 1


async def test_a_delivery_is_taken_back_and_is_not_taken_back_twice(run: Run) -> None:
    made = await sent(run)
    taken = await run("deliver", "cancel", made["delivery_id"], "--reason", "ORDER_WITHDRAWN", "--json")
    document = json.loads(taken.stdout)
    assert (document["state"], document["reason_code"]) == ("DELIVERY_STATE_CANCELLED", "ORDER_WITHDRAWN")
    again = await run("deliver", "cancel", made["delivery_id"])
    assert again.exit_code == 1 and "DELIVERY_STATE_REFUSED" in again.stderr


async def test_a_watch_goes_on_after_a_cursor_and_ends_with_the_delivery(run: Run) -> None:
    made = await sent(run)
    await run("deliver", "cancel", made["delivery_id"], "--reason", "ORDER_WITHDRAWN")
    whole = await run("deliver", "watch", made["delivery_id"], "--until-final", "--json")
    changes = [json.loads(text) for text in whole.stdout.splitlines()]
    assert changes[0]["delivery"]["state"] == "DELIVERY_STATE_ACCEPTED"
    assert changes[-1]["delivery"]["state"] == "DELIVERY_STATE_CANCELLED"
    assert whole.exit_code == 1
    cursor = changes[-2]["cursor"]
    rest = await run("deliver", "watch", made["delivery_id"], "--until-final", "--after", cursor)
    assert len(rest.stdout.splitlines()) == 1 and "CANCELLED" in rest.stdout


async def test_a_watch_of_all_has_no_end_to_wait_for(run: Run) -> None:
    assert (await run("deliver", "watch", "--until-final")).exit_code == 2


async def test_only_what_is_unknown_is_settled(run: Run) -> None:
    made = await sent(run)
    settle = ("deliver", "resolve", made["delivery_id"], "sent", "--reason", "VENDOR_CONSOLE")
    result = await run(*settle, "--evidence", "T-1", "--yes")
    assert result.exit_code == 1 and "DELIVERY_STATE_REFUSED" in result.stderr
    unasked = await run(*settle, "--evidence", "T-1")
    assert unasked.exit_code == 1 and "Settle it" not in unasked.stderr
    assert "there is nothing to settle: it is ACCEPTED, not UNKNOWN" in unasked.stderr


async def test_nothing_is_settled_without_evidence_or_without_a_yes(run: Run, delivering: Owners) -> None:
    made = await sent(run)
    settle = ("deliver", "resolve", made["delivery_id"], "sent", "--reason", "VENDOR_CONSOLE")
    for arguments in (("--json", "--yes"), ("--json", "--evidence", "T-1")):
        result = await run(*settle, *arguments)
        assert result.exit_code == 2 and "nothing was settled" in result.stderr
    assert not [event for event in await delivering.trail() if event.transition == "delivery.resolved"]


async def test_reconciling_says_how_many_are_asked_about(run: Run) -> None:
    await sent(run)
    assert json.loads((await run("deliver", "reconcile", "--json")).stdout) == {"due": 0}


async def test_the_table_counts_deliveries_by_channel_and_shows_the_circuits(run: Run) -> None:
    await sent(run)
    cancelled = await sent(run)
    await run("deliver", "cancel", cancelled["delivery_id"])
    document = json.loads((await run("deliver", "status", "--json")).stdout)
    (email,) = [each for each in document["channels"] if each["channel"] == "EMAIL"]
    assert email["states"]["CANCELLED"] == 1
    assert sum(email["states"].values()) == 2
    assert {"smtp/primary", "twilio/sms"} <= {each["provider_ref"] for each in document["circuits"]["providers"]}
    told = (await run("deliver", "status")).stdout
    assert "NOT_CONFIGURED" in told and "WECHAT" in told


async def test_the_channels_tell_who_sends_what_each_lacks_and_what_can_be_done(run: Run) -> None:
    document = json.loads((await run("deliver", "channels", "--json")).stdout)
    of = {each["channel"]: each["providers"] for each in document["channels"]}
    assert list(of) == [f"DELIVERY_CHANNEL_{name}" for name in ("SMS", "EMAIL", "WHATSAPP", "WECHAT", "PUSH")]
    assert [each["standing"]["provider_ref"] for each in of["DELIVERY_CHANNEL_SMS"]] == ["twilio/sms", "vonage/sms"]
    assert {each["standing"]["reason_code"] for each in of["DELIVERY_CHANNEL_SMS"]} == {"NO_ADAPTER"}
    told = (await run("deliver", "channels", "--over", "email")).stdout
    assert "smtp/primary" in told and "twilio/sms" not in told
    assert "NO_ADAPTER: on the server" in told
    assert '[owners.delivery.accounts."smtp/primary"]' in told and 'host = "smtp.example.org"' in told
    assert "selene secrets put kms://delivery/email/smtp" in told
    over_sms = (await run("deliver", "channels", "--over", "sms")).stdout
    assert '[owners.delivery.accounts."twilio/sms"]' in over_sms and "kms://delivery/sms/twilio" in over_sms


async def test_a_watch_begins_at_one_place(run: Run) -> None:
    result = await run("deliver", "watch", "--after", "3", "--from-now")
    assert result.exit_code == 2 and "--from-now" in result.stderr


def test_what_a_provider_promises_is_told_beside_what_it_lacks() -> None:
    promise = v1.ProviderPromise(key_window=timedelta(hours=24), reports=True)
    provider = v1.ChannelProvider(standing=routing.ProviderStanding(provider_ref="resend/email"), promise=promise)
    standing = v1.ChannelStanding(channel=v1.DeliveryChannel.EMAIL, providers=[provider])
    console = Console(width=200, record=True)
    console.print(senders.rendered([standing], console))
    (row,) = [line.split() for line in console.export_text().splitlines() if "resend/email" in line]
    assert row[-5:] == ["24", "h", "no", "yes", "no"]


@pytest.mark.parametrize(
    ("availability", "reason", "says"),
    [
        (routing.Availability.NOT_CONFIGURED, "NO_ADAPTER", True),
        (routing.Availability.NOT_CONFIGURED, "NO_SECRET", False),
        (routing.Availability.READY, "", False),
    ],
)
def test_how_to_begin_is_told_only_where_no_account_is_configured(
    availability: routing.Availability, reason: str, says: bool
) -> None:
    channel = v1.ChannelStanding(channel=v1.DeliveryChannel.EMAIL)
    for ref, stands, why in (
        ("resend/email", availability, reason),
        ("smtp/primary", routing.Availability.NOT_CONFIGURED, "NO_ADAPTER"),
    ):
        standing = routing.ProviderStanding(provider_ref=ref, availability=stands, reason_code=why)
        channel.providers.append(v1.ChannelProvider(standing=standing))
    console = Console(width=200, record=True)
    console.print(senders.rendered([channel], console))
    assert (senders.NOTHING in console.export_text()) is says


async def test_a_delivery_that_is_not_there_is_said_so(run: Run) -> None:
    result = await run("deliver", "get", ABSENT)
    assert result.exit_code == 1 and "RESOURCE_NOT_FOUND" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sms", "--to", "+442071838750"), "--text"),
        (("sms", "--to", "+442071838750", "--text", "x", "--subject", "y"), "--subject"),
        (("email", "--to", "a@example.org", "--text", "x"), "--subject"),
        (("wechat", "--to", "o" * 28), "--template"),
        (("whatsapp", "--to", "+442071838750", "--text", "x", "--param", "a=b"), "--template"),
        (("whatsapp", "--to", "+442071838750", "--template", "t", "--param", "a=b"), "--locale"),
        (("whatsapp", "--to", "+44", "--template", "t", "--locale", "en", "--param", "a"), "name=value"),
        (("whatsapp", "--to", "+44", "--template", "t", "--locale", "en", "--param", "a=1", "--param", "a=2"), "twice"),
        (("whatsapp", "--to", "+44", "--template", "t", "--locale", "en", "--text", "x"), "not both"),
        (("push", "--to", "t" * 64, "--text", "x", "--template", "t"), "--template"),
        (("sms", "--to", "+442071838750", "--text", "x", "--expires-in", "soon"), "duration"),
        (("sms", "--to", "+442071838750", "--text", "x", "--expires-in", "0m"), "duration"),
        (("sms", "--to", "+442071838750", "--text", "x", "--expires-in", "999999999d"), "calendar"),
        (("sms", "--to", "+442071838750", "--text", "x", "--file", "/nowhere"), "not both"),
        (("sms", "--to", "+442071838750", "--file", "/nowhere"), "/nowhere"),
    ],
)
async def test_what_makes_no_message_is_said_before_anything_is_sent(
    run: Run, delivering: Owners, arguments: tuple[str, ...], said: str
) -> None:
    result = await run("deliver", "send", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert [each async for each in Deliveries(delivering.connection("delivery")).list()] == []


def test_a_mail_has_its_text_html_and_files(tmp_path: Path) -> None:
    page, bill = tmp_path / "page.html", tmp_path / "bill.pdf"
    page.write_text("<p>Grüße</p>")
    bill.write_bytes(b"%PDF")
    said = content("email", Said(subject="Grüße", text="hello", html=page, attach=[bill]))
    assert said.email is not None
    assert (said.email.subject, said.email.text, said.email.html) == ("Grüße", "hello", "<p>Grüße</p>")
    (file,) = said.email.attachments
    assert (file.filename, file.media_type, file.content) == ("bill.pdf", "application/pdf", b"%PDF")


def test_a_value_may_hold_an_equals_sign() -> None:
    said = content("push", Said(title="t", text="x", data=["link=https://example.org/?a=b", "empty="]))
    assert said.push is not None
    assert said.push.data == {"link": "https://example.org/?a=b", "empty": ""}


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(b"\xff")
    with pytest.raises(IntentUnusable, match="UTF-8"):
        content("email", Said(subject="s", text="t", html=page))


def test_a_person_without_an_id_is_the_same_one_again_and_is_not_named() -> None:
    first, again, other = (person(address, "", "") for address in ("a@example.org", "a@example.org", "b@example.org"))
    assert first == again
    assert first.recipient_id != other.recipient_id
    assert "example" not in first.recipient_id
    assert person("a@example.org", "ann", "Europe/London").recipient_id == "ann"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400)])
def test_a_duration_reads_as_it_is_said(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


def test_what_may_not_go_yet_is_over_so_long_after_it_may() -> None:
    begins = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert expiry("2h", begins) == begins + timedelta(hours=2)
    assert expiry("", begins) is None


def test_a_line_tells_the_cursor_the_state_and_the_receipt() -> None:
    delivery = v1.Delivery(
        delivery_id=ABSENT,
        message_id="m-1",
        channel=v1.DeliveryChannel.SMS,
        state=v1.DeliveryState.SENT_ACKED,
        reason_code="ACCEPTED",
        receipt=v1.DeliveryReceipt.DELIVERED,
    )
    assert line(v1.WatchResponse(cursor=12, delivery=delivery)).plain.split() == [
        "12", "-", "SMS", "SENT_ACKED", "ACCEPTED", "m-1", ABSENT, "DELIVERED",
    ]  # fmt: skip


def test_a_count_that_is_not_whole_says_so() -> None:
    seen = channels.Seen(
        {(v1.DeliveryChannel.SMS, v1.DeliveryState.ACCEPTED): channels.COUNTED},
        frozenset({v1.DeliveryState.ACCEPTED}),
        Standing("delivery", routing.ListProvidersResponse()),
    )
    console = Console(width=120, record=True)
    console.print(channels.rendered(seen, console))
    rows = {words[0]: words[1:] for words in map(str.split, console.export_text().splitlines()) if words}
    assert rows["SMS"][0] == "1,000+"
    assert rows["EMAIL"][0] == "0+"
    assert channels.document(seen)["more"] == ["ACCEPTED"]
