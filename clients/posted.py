"""The third part of the demonstration: a mail goes out by SMTP, the primary refuses the next, the secondary takes it.

The judge is the mailbox's own ledger, of what each of the two took; ours is only compared with it.
"""

import asyncio
import json
import time
import urllib.error
import urllib.request
from typing import Any, Final

from rich.rule import Rule
from rich.text import Text
from selene_messages.selene.delivery import v1
from selene_messages.selene.kms import v1 as kms
from selene_messages.selene.routing import v1 as routing

from clients.cli import routed
from clients.cli.intents import new_message_id, person
from clients.cli.session import Session
from clients.cli.settings import SettingsUnusable
from clients.delivery import Deliveries
from clients.routing import Circuits
from clients.secrets import Secrets
from clients.wire import to_document

PRIMARY: Final = "smtp/primary"
SECONDARY: Final = "resend/email"
_HANDLE: Final = f"kms://delivery/email/{SECONDARY.partition('/')[0]}"
_OWNER: Final = "PH1.DELIVERY"
_WITHIN_S: Final = 15.0
_READY_WITHIN_S: Final = 10.0
_LOOK_S: Final = 0.1


async def permit(session: Session) -> None:
    """Put the secret that the second provider wants. Its owner learns of it within two seconds: others speak meanwhile.

    SeleneError.
    """
    async with session.settings.connect("kms") as connection:
        # The endpoint takes any key; that there is one is what the real one would want.
        await Secrets(connection).put(
            _HANDLE, b"demonstration", environment=kms.Environment.DEV, granted_owners=[_OWNER]
        )


async def two_messages(session: Session, mailbox: str) -> bool:
    """Both messages, told as they go, after `permit`. Whether each was accepted once, and by whom it should have been.

    SeleneError.

    ``mailbox`` is where its ledger is read (`GET {mailbox}/ledger`) and its SMTP side told to refuse.
    """
    _heading(session, "Two messages: one by SMTP, one that the primary refuses and the secondary takes")
    async with session.settings.connect("delivery") as connection:
        if not await _ready(session, Circuits(connection)):
            session.output.note(f"The messages are skipped: {PRIMARY} and {SECONDARY} are not both ready")
            return True
        deliveries = Deliveries(connection, tenant_id=session.settings.tenant)
        first = await _sent(session, deliveries, "The first message")
        await asyncio.to_thread(_asked, mailbox, "/refuse", b"")
        second = await _sent(session, deliveries, "The second message")
    ledger = await asyncio.to_thread(_asked, mailbox, "/ledger")
    return _conclude(session, [first, second], ledger)


async def _ready(session: Session, circuits: Circuits) -> bool:
    """Whether both can be asked. The owner learns of a secret a moment after it was put: for a while it is waited."""
    subject = routed.subject(session, locale=routed.REFERENCE_LOCALE, user="", channel="")
    until = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until:
        providers = (await circuits.providers(subject)).providers
        ready = {each.provider_ref for each in providers if each.availability is routing.Availability.READY}
        if {PRIMARY, SECONDARY} <= ready:
            return True
        await asyncio.sleep(_LOOK_S)
    return False


async def _sent(session: Session, deliveries: Deliveries, subject: str) -> v1.Delivery:
    intent = v1.Intent(
        message_id=new_message_id(),
        recipient=person("mira@example.org", "mira", ""),
        channel=v1.DeliveryChannel.EMAIL,
        content=v1.Content(email=v1.EmailContent(subject=subject, text="It is noon.")),
    )
    reply = await deliveries.send(intent)
    delivery = reply.delivery or v1.Delivery()
    try:
        async with asyncio.timeout(_WITHIN_S):
            delivery = await deliveries.until_final(delivery.delivery_id)
    except TimeoutError:
        delivery = await deliveries.get(delivery.delivery_id)
    told = Text(f"{subject}: ", style="dim").append(delivery.state.name or "?", style="bold")
    for attempt in delivery.attempts:
        told.append(
            f"  {attempt.provider_ref} {attempt.reason_code}", style="green" if attempt.provider_ack_ref else "red"
        )
        told.append(f" {attempt.provider_ack_ref}", style="dim")
    session.output.line({"event": "delivered", "subject": subject, **to_document(delivery)}, told)
    return delivery


def _conclude(session: Session, sent: list[v1.Delivery], ledger: Any) -> bool:
    smtp, resend = (dict(ledger.get(name, {})) for name in ("smtp", "resend"))
    worked = (
        all(each.state is v1.DeliveryState.SENT_ACKED for each in sent)
        and smtp == {"The first message": 1}
        and resend == {"The second message": 1}
    )
    told = f"the mailbox's own ledger: by SMTP {_words(smtp)}, by the secondary {_words(resend)}"
    document = {"event": "ledger", "smtp": smtp, "resend": resend, "worked": worked}
    session.output.line(document, Text(told if worked else f"not as it should be: {told}", style="bold"))
    return worked


def _words(taken: dict[str, int]) -> str:
    return ", ".join(f"{subject} {count} x" for subject, count in taken.items()) or "nothing"


def _asked(mailbox: str, path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"{mailbox}{path}", data=body)
    try:
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, ValueError) as error:
        raise SettingsUnusable(f"the mailbox {mailbox} does not answer: {error}") from None


def _heading(session: Session, title: str) -> None:
    if not session.output.as_json:
        session.output.out.print()
        session.output.out.print(Rule(title, align="left", style="dim"))
