"""`selene deliver`: send to people, see what became of it, settle what nobody knows."""

import asyncio
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from selene_messages.selene.delivery import v1

from clients.cli import channels, routed, senders
from clients.cli.intents import (
    CHANNELS,
    PRIORITIES,
    ChannelName,
    IntentUnusable,
    PriorityName,
    Said,
    content,
    duration,
    instant,
    new_message_id,
    person,
    text_of,
)
from clients.cli.output import whole
from clients.cli.reasons import reason_code
from clients.cli.registry import Commands
from clients.cli.session import ASKED_NO_MORE, EXIT_CODES, LOOKED_ON, OK, REFUSED, USAGE, Session, remote
from clients.cli.standings import clock
from clients.delivery import FINAL, Deliveries
from clients.errors import SeleneError
from clients.routing import Circuits
from clients.wire import to_document

OWNER: Final = "delivery"
_EVERY_S: Final = 1.0

StateName = Literal[
    "accepted", "leased", "sending", "sent_acked", "retryable", "unknown", "failed_definite", "cancelled", "expired"
]
ResolutionName = Literal["sent", "retry", "give-up"]
_RESOLUTIONS: Final[dict[ResolutionName, tuple[v1.Resolution, str]]] = {
    "sent": (v1.Resolution.SENT, "a provider has it: it is never sent again"),
    "retry": (v1.Resolution.NOT_SENT_RETRY, "no provider has it: it is sent again, TWICE if you are wrong"),
    "give-up": (v1.Resolution.NOT_SENT_GIVE_UP, "no provider has it, and none shall: it is never sent"),
}
_CANCELLING: Final = {
    v1.CancelOutcome.PROVIDER_ASKED: "it may have left: its provider is asked to take it back; nothing more is sent",
    v1.CancelOutcome.NOTHING_MORE_SENT: "it may have left, and its provider takes nothing back: nothing more is sent",
}
"""What is said beside a delivery that was not simply taken back."""
_STYLES: Final = {
    v1.DeliveryState.SENT_ACKED: "bold green",
    v1.DeliveryState.UNKNOWN: "bold magenta",
    v1.DeliveryState.RETRYABLE: "yellow",
    v1.DeliveryState.FAILED_DEFINITE: "bold red",
    v1.DeliveryState.EXPIRED: "red",
    v1.DeliveryState.CANCELLED: "dim",
}

_Over = Annotated[ChannelName, typer.Argument(help="Over what", show_default=False)]
_To = Annotated[str, typer.Option("--to", help="Number (+44…), mail address, OpenID or device token")]
_Recipient = Annotated[str, typer.Option("--recipient", help="Your id of the person; unset: a digest of --to")]
_Zone = Annotated[str, typer.Option("--time-zone", help="The person's, such as Europe/London, for quiet hours")]
_Text = Annotated[str, typer.Option("--text", help="What is said", show_default=False)]
_File = Annotated[Path | None, typer.Option("--file", help="The text is in this file; - is stdin")]
_Subject = Annotated[str, typer.Option("--subject", help="Of a mail", show_default=False)]
_Html = Annotated[Path | None, typer.Option("--html", help="The mail as HTML beside its text")]
_Attach = Annotated[list[Path] | None, typer.Option("--attach", help="A file of a mail; repeatable")]
_Title = Annotated[str, typer.Option("--title", help="Of a push", show_default=False)]
_Data = Annotated[list[str] | None, typer.Option("--data", help="name=value for the app of a push; repeatable")]
_Template = Annotated[str, typer.Option("--template", help="A template that the provider knows", show_default=False)]
_Locale = Annotated[str, typer.Option("--locale", help="The template's language (BCP 47)", show_default=False)]
_Param = Annotated[list[str] | None, typer.Option("--param", help="name=value for the template; repeatable")]
_Sender = Annotated[str, typer.Option("--sender", help="Who sends, where the account has several", show_default=False)]
_MessageId = Annotated[str, typer.Option("--message-id", help="Your id of the message; unset: a new one, printed")]
_Simulation = Annotated[str, typer.Option("--simulation", help="Simulation that authorised it", show_default=False)]
_NotBefore = Annotated[datetime | None, typer.Option("--not-before", help="Not before, local time")]
_Expires = Annotated[str, typer.Option("--expires-in", help="Not after, such as 30m or 2h (a day)", show_default=False)]
_Priority = Annotated[PriorityName, typer.Option("--priority", help="urgent goes first, and in quiet hours, too")]
_Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is sent or never will be; exit 1 for never")]
_Id = Annotated[str, typer.Argument(help="The delivery's id, as `deliver send` prints it", show_default=False)]
_OfId = Annotated[str, typer.Argument(help="Only this delivery", show_default=False)]
_State = Annotated[StateName | None, typer.Option("--state", help="Only in this state")]
_OfChannel = Annotated[ChannelName | None, typer.Option("--channel", help="Only over this channel")]
_OnlyOver = Annotated[ChannelName | None, typer.Option("--over", help="Only this channel")]
_Last = Annotated[int, typer.Option("--last", "-n", help="How many", min=1)]
_After = Annotated[int, typer.Option("--after", help="Go on after this cursor; 0: from the beginning", min=0)]
_FromNow = Annotated[bool, typer.Option("--from-now", help="Only what happens from now on")]
_UntilFinal = Annotated[bool, typer.Option("--until-final", help="End once the delivery is in a final state")]
_Reason = Annotated[str, typer.Option("--reason", help="Why, in UPPER_SNAKE_CASE, for the trail", callback=reason_code)]
_Known = Annotated[
    str,
    typer.Option("--reason", help="How you know, in UPPER_SNAKE_CASE, such as VENDOR_CONSOLE", callback=reason_code),
]
_Resolution = Annotated[ResolutionName, typer.Argument(help="What is the case", show_default=False)]
_Evidence = Annotated[str, typer.Option("--evidence", help="Where the evidence is, such as a ticket; asked if unset")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask")]
_Once = Annotated[bool, typer.Option("--once", help="Show the table once; so does output that is no terminal")]


_INTERRUPTED: Final = {
    "send": "interrupted: what was handed over goes on without you",
    "watch": LOOKED_ON,
    "status": LOOKED_ON,
    "channels": LOOKED_ON,
}


def register(commands: Commands) -> None:
    """Adds `selene deliver` and its sub-commands."""
    deliver = commands.group(
        "deliver", help_text="Messages to people: accepted means durable, and nothing is ever sent twice blindly."
    )
    for name, command in (
        ("send", deliver_send),
        ("get", deliver_get),
        ("list", deliver_list),
        ("watch", deliver_watch),
        ("cancel", deliver_cancel),
        ("resolve", deliver_resolve),
        ("reconcile", deliver_reconcile),
        ("status", deliver_status),
        ("channels", deliver_channels),
    ):
        interrupted = _INTERRUPTED.get(name, ASKED_NO_MORE)
        deliver.command(name, epilog=EXIT_CODES)(remote(command, owner=OWNER, interrupted=interrupted))


async def deliver_send(
    session: Session,
    channel: _Over,
    to: _To,
    text: _Text = "",
    file: _File = None,
    subject: _Subject = "",
    html: _Html = None,
    attach: _Attach = None,
    title: _Title = "",
    data: _Data = None,
    template: _Template = "",
    locale: _Locale = "",
    param: _Param = None,
    sender: _Sender = "",
    recipient: _Recipient = "",
    time_zone: _Zone = "",
    message_id: _MessageId = "",
    simulation: _Simulation = "",
    not_before: _NotBefore = None,
    expires_in: _Expires = "",
    priority: _Priority = "normal",
    as_channel: routed.Channel = "",
    wait: _Wait = False,
) -> int:
    """Hand over a message. Once this returns it is durable: it will be sent, or you will see why not.

    The same --message-id to the same person again sends nothing more, so a script may simply be run again. With other
    content it is refused.

    \b
      selene deliver send email --to ann@example.org --subject 'Your order' --text 'It is on its way.'
      selene deliver send sms --to +442071838750 --text 'Your code is 1234.' --expires-in 5m --priority urgent
      selene deliver send email --to ann@example.org --subject Invoice --file body.txt --attach invoice.pdf --wait
      selene deliver send whatsapp --to +442071838750 --template order_sent --locale en-GB --param order=17
      selene deliver send push --to $TOKEN --title Selene --text 'Mira is home.' --data open=door
    """
    said = Said(
        subject=subject,
        html=html,
        attach=attach or (),
        title=title,
        data=data or (),
        template=template,
        locale=locale,
        param=param or (),
    )
    try:
        intent = v1.Intent(
            message_id=message_id or new_message_id(),
            recipient=person(to, recipient, time_zone),
            channel=CHANNELS[channel],
            content=content(channel, said.with_text(text_of(text, file))),
            sender=sender,
            simulation_id=simulation,
            priority=PRIORITIES[priority],
            not_before=instant(not_before),
            expires_at=expiry(expires_in, not_before),
            routing_channel=as_channel,
        )
    except IntentUnusable as error:
        session.output.misuse(str(error))
        return USAGE
    deliveries = _deliveries(session)
    try:
        reply = await deliveries.send(intent)
    except (SeleneError, asyncio.CancelledError):
        session.output.note(
            f"message {intent.message_id}: with --message-id it can be handed over again, and is sent once"
        )
        raise
    delivery = reply.delivery or v1.Delivery()
    if reply.repeated:
        session.output.note("it had been handed over before; nothing more is sent")
    if wait:
        delivery = await _until_final(session, deliveries, delivery.delivery_id)
    session.output.show({"repeated": reply.repeated, **to_document(delivery)}, _one(delivery))
    return REFUSED if wait and delivery.state is not v1.DeliveryState.SENT_ACKED else OK


async def deliver_get(session: Session, delivery_id: _Id) -> None:
    """Show a delivery as it stands and every call of a provider so far; never the address or the content."""
    delivery = await _deliveries(session).get(delivery_id)
    session.output.show(to_document(delivery), _one(delivery))


async def deliver_list(session: Session, state: _State = None, channel: _OfChannel = None, last: _Last = 20) -> None:
    """List deliveries, latest first.

    \b
      selene deliver list --state unknown
      selene deliver list --channel sms -n 500 --json | jq -r '.deliveries[].delivery_id'
    """
    found: list[v1.Delivery] = []
    pages = _deliveries(session).list(
        state=v1.DeliveryState[state.upper()] if state else v1.DeliveryState.UNSPECIFIED,
        channel=CHANNELS[channel] if channel else v1.DeliveryChannel.UNSPECIFIED,
        page_size=min(last, 1000),
    )
    async with aclosing(pages):
        async for delivery in pages:
            found.append(delivery)
            if len(found) == last:
                break
    told = _many(found) if found else Text("there is none")
    session.output.show({"deliveries": [to_document(each) for each in found]}, told)


async def deliver_watch(
    session: Session,
    delivery_id: _OfId = "",
    after: _After = 0,
    from_now: _FromNow = False,
    until_final: _UntilFinal = False,
) -> int:
    """Follow deliveries as they change, across dropped connections, without gap or repeat; Ctrl-C ends it.

    Each line begins with a cursor: give the last one to --after, and it goes on there.

    \b
      selene deliver watch
      selene deliver watch $ID --until-final
      selene deliver watch --from-now
      selene deliver watch --after 1204 --json >> deliveries.jsonl
    """
    if from_now and after:
        session.output.misuse("--from-now and --after are two places to begin: give one")
        return USAGE
    if until_final and not delivery_id:
        session.output.misuse("--until-final is of one delivery: name it")
        return USAGE
    async with aclosing(_deliveries(session).watch(delivery_id, after=after, from_now=from_now)) as changes:
        async for change in changes:
            session.output.line(to_document(change), line(change))
            delivery = change.delivery or v1.Delivery()
            if until_final and delivery.state in FINAL:
                return OK if delivery.state is v1.DeliveryState.SENT_ACKED else REFUSED
    return OK


async def deliver_cancel(session: Session, delivery_id: _Id, reason: _Reason = "CANCELLED_BY_HAND") -> None:
    """Take a delivery back. Once something may have left, nothing more is sent, and a provider that can is asked to
    take it back; `deliver watch` shows whether that came too late. It is refused once a provider is known to have it.

    \b
      selene deliver cancel $ID --reason ORDER_WITHDRAWN
    """
    reply = await _deliveries(session).cancel(delivery_id, reason)
    if told := _CANCELLING.get(reply.outcome):
        session.output.note(told)
    delivery = reply.delivery or v1.Delivery()
    session.output.show({**to_document(delivery), "outcome": reply.outcome.name}, _one(delivery))


async def deliver_resolve(
    session: Session,
    delivery_id: _Id,
    resolution: _Resolution,
    reason: _Known,
    evidence: _Evidence = "",
    yes: _Yes = False,
) -> int:
    """Settle an UNKNOWN delivery: say what you found out at the provider, and where that is written.

    Nobody knows whether a provider has it; that is why it is not sent again by itself. Look at the provider's console
    first. `retry` sends it again: where you are wrong the person gets it twice. Needs role `operator`; audited.

    \b
      sent      a provider has it; it is never sent again
      retry     no provider has it; it is sent again
      give-up   no provider has it; it is never sent

    \b
      selene deliver list --state unknown
      selene deliver resolve $ID sent --reason VENDOR_CONSOLE --evidence TICKET-481
    """
    meaning, told = _RESOLUTIONS[resolution]
    may_ask = not session.output.as_json
    deliveries = _deliveries(session)
    if may_ask and not (yes and evidence):
        delivery = await deliveries.get(delivery_id)
        whole(session.output.err, _one(delivery))
        if delivery.state is not v1.DeliveryState.UNKNOWN:
            session.output.misuse(f"there is nothing to settle: it is {_name(delivery.state)}, not UNKNOWN")
            return REFUSED
    try:
        if not evidence and may_ask:
            evidence = str(typer.prompt("Where is the evidence", err=True)).strip()
        agreed = yes or not evidence or (may_ask and typer.confirm(f"Settle it as `{resolution}` ({told})?", err=True))
    except typer.Abort:
        session.output.misuse("nothing was settled: nobody answered; without a terminal, pass --evidence and --yes")
        return USAGE
    if not evidence:
        session.output.misuse("nothing was settled; say with --evidence where the evidence is")
        return USAGE
    if not agreed:
        session.output.misuse("nothing was settled; --yes settles without asking")
        return USAGE
    delivery = await deliveries.resolve(delivery_id, meaning, reason, evidence_ref=evidence)
    session.output.show(to_document(delivery), _one(delivery))
    return OK


async def deliver_reconcile(session: Session, delivery_id: _OfId = "") -> None:
    """Have the providers asked now what became of UNKNOWN deliveries, of one or of all. Needs role `operator`."""
    due = await _deliveries(session).reconcile(delivery_id)
    session.output.show({"due": due}, Text(f"about {due} {'delivery' if due == 1 else 'deliveries'} is asked now"))


async def deliver_status(
    session: Session,
    once: _Once = False,
    locale: routed.Locale = routed.REFERENCE_LOCALE,
    user: routed.User = "",
    channel: routed.Channel = "",
) -> None:
    """Channels, how many deliveries are where, and every provider's circuit: live, until Ctrl-C.

    Counts are of the latest 1,000 deliveries in each state. ▶ marks who gets the next message of its channel.

    \b
      selene deliver status
      selene deliver status --once --json
    """
    subject = routed.subject(session, locale=locale, user=user, channel=channel)
    deliveries = _deliveries(session)
    circuits = Circuits(session.connection, timeout=session.settings.timeout)
    seen = await channels.look(deliveries, circuits, subject)
    out = session.output.out
    if session.output.as_json or once or not out.is_terminal:
        session.output.show(channels.document(seen), channels.rendered(seen, out))
        return
    with Live(channels.rendered(seen, out), console=out, auto_refresh=False) as shown:
        while True:
            await asyncio.sleep(_EVERY_S)
            seen = await channels.look(deliveries, circuits, subject)
            shown.update(channels.rendered(seen, out), refresh=True)


async def deliver_channels(
    session: Session,
    of_channel: _OnlyOver = None,
    once: _Once = False,
    locale: routed.Locale = routed.REFERENCE_LOCALE,
    user: routed.User = "",
    as_channel: routed.Channel = "",
) -> None:
    """Who sends over each channel, in which order, what each lacks and what each promises: live, until Ctrl-C.

    What a provider does not promise is paid for with waiting: where it neither takes the same key twice, nor can be
    asked, nor reports by itself, a lost answer leaves the delivery UNKNOWN until a person settles it.

    \b
      selene deliver channels
      selene deliver channels --over sms --once
      selene deliver channels --once --json
    """
    subject = routed.subject(session, locale=locale, user=user, channel=as_channel)
    deliveries = _deliveries(session)
    channel = CHANNELS[of_channel] if of_channel else v1.DeliveryChannel.UNSPECIFIED
    found = await deliveries.channels(subject, channel)
    out = session.output.out
    if session.output.as_json or once or not out.is_terminal:
        session.output.show(senders.document(found), senders.rendered(found, out))
        return
    with Live(senders.rendered(found, out), console=out, auto_refresh=False) as shown:
        while True:
            await asyncio.sleep(_EVERY_S)
            shown.update(senders.rendered(await deliveries.channels(subject, channel), out), refresh=True)


def expiry(expires_in: str, not_before: datetime | None) -> datetime | None:
    """When it is over: so long after now, or after it may begin. IntentUnusable."""
    if not expires_in:
        return None
    begins = instant(not_before) or instant(datetime.now())
    try:
        return None if begins is None else begins + duration(expires_in)
    except OverflowError:
        raise IntentUnusable(f"`{expires_in}` is longer than any calendar") from None


def line(change: v1.WatchResponse) -> Text:
    """A change on one line: cursor, since when, over what, where it stands and why, whose message."""
    delivery = change.delivery or v1.Delivery()
    told = Text(f"{change.cursor:>6}  {_when(delivery.since)}  {_name(delivery.channel):<8}  ")
    told.append(f"{_name(delivery.state):<15}", style=_STYLES.get(delivery.state, ""))
    told.append(f"  {delivery.reason_code}  {delivery.message_id}  {delivery.delivery_id}")
    if delivery.receipt is not v1.DeliveryReceipt.UNSPECIFIED:
        told.append(f"  {_name(delivery.receipt)}", style="cyan")
    return told


async def _until_final(session: Session, deliveries: Deliveries, delivery_id: str) -> v1.Delivery:
    """The delivery as it ended; meanwhile each change is told, so that a wait is never without its reason."""
    delivery = await deliveries.get(delivery_id)
    if delivery.state in FINAL:
        return delivery
    session.output.note(f"{delivery_id}: it is durable; Ctrl-C ends this waiting, not the delivery")
    advised = False
    try:
        async with aclosing(deliveries.watch(delivery_id)) as changes:
            async for change in changes:
                delivery = change.delivery or delivery
                if delivery.state in FINAL:
                    break
                session.output.err.print(Text(f"{_name(delivery.state)}  {delivery.reason_code}", style="dim"))
                if delivery.reason_code == "NO_PROVIDER" and not advised:
                    advised = True
                    session.output.note(
                        "nobody can send it now; it goes out once somebody can. `selene deliver status` says what each "
                        "account lacks"
                    )
    except asyncio.CancelledError:
        look, take_back = f"selene deliver watch {delivery_id}", f"selene deliver cancel {delivery_id}"
        session.output.note(f"the delivery goes on: `{look} --until-final` waits again, `{take_back}` takes it back")
        raise
    return delivery


def _deliveries(session: Session) -> Deliveries:
    return Deliveries(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _one(delivery: v1.Delivery) -> Group:
    pairs = Table(box=None, pad_edge=False, show_header=False)
    state = Text(_name(delivery.state), style=_STYLES.get(delivery.state, ""))
    for name, value in (
        ("delivery", Text(delivery.delivery_id)),
        ("message", Text(delivery.message_id)),
        ("to", Text(f"{delivery.recipient_id} over {_name(delivery.channel)}")),
        ("state", state.append(f"  {delivery.reason_code}", style="not bold")),
        ("receipt", Text("" if not delivery.receipt else _name(delivery.receipt))),
        ("since", Text(_when(delivery.since))),
        ("next", Text(_when(delivery.next_at) if delivery.next_at else "")),
        ("expires", Text(_when(delivery.expires_at) if delivery.expires_at else "")),
    ):
        if value.plain:
            pairs.add_row(name, value)
    return Group(pairs, _attempts(delivery)) if delivery.attempts else Group(pairs)


def _attempts(delivery: v1.Delivery) -> Table:
    rows = Table("call", "provider", "sent", "ended", "why", "message id", "acknowledged as", box=None, pad_edge=False)
    for attempt in delivery.attempts:
        rows.add_row(
            str(attempt.number),
            Text(attempt.provider_ref),
            clock(attempt.sent_at),
            clock(attempt.ended_at),
            Text(attempt.reason_code),
            Text(attempt.provider_message_id),
            Text(attempt.provider_ack_ref),
        )
    return rows


def _many(found: list[v1.Delivery]) -> Table:
    rows = Table("delivery", "accepted", "over", "state", "why", "message", "calls", box=None, pad_edge=False)
    rows.columns[0].no_wrap = True
    for each in found:
        rows.add_row(
            each.delivery_id,
            clock(each.accepted_at),
            _name(each.channel),
            Text(_name(each.state), style=_STYLES.get(each.state, "")),
            Text(each.reason_code),
            Text(each.message_id),
            str(len(each.attempts)),
        )
    return rows


def _when(moment: datetime | None) -> str:
    return moment.isoformat(timespec="milliseconds") if moment else "-"


def _name(value: v1.DeliveryState | v1.DeliveryChannel | v1.DeliveryReceipt) -> str:
    return value.name or "?"
