"""A real SMTP server that keeps what it received, byte for byte, and goes wrong by script.

A mail has one piece, its acceptance: a fault with ``after=0`` comes while the mail arrives, before the final dot; one
with ``after=1`` when the server has taken it, and only the answer is lost. LATENCY is before that answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.simulators.faults import Fault, FaultKind, FaultScript

_REPLIES = {
    FaultKind.BUSY: ("RCPT", "451 4.3.2 Try again later"),
    FaultKind.BAD_REQUEST: ("RCPT", "550 5.1.1 No such user here"),
    FaultKind.UNAVAILABLE: ("MAIL", "421 4.3.0 Closing"),
    FaultKind.FORBIDDEN: ("MAIL", "550 5.7.1 Not allowed to send"),
    FaultKind.INTERNAL: ("DOT", "451 4.3.0 Local error in processing"),
    FaultKind.UNAUTHENTICATED: ("MAIL", "530 5.7.0 Authentication required"),
}


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that the server took: ``content`` is what stood before the final dot, without stuffed dots."""

    sender: str
    recipients: tuple[str, ...]
    options: tuple[str, ...]
    content: bytes
    queue_id: str

    @property
    def parsed(self) -> EmailMessage:
        """As a reader understands it."""
        message = message_from_bytes(self.content, policy=default)
        assert isinstance(message, EmailMessage)
        return message


@dataclass(slots=True)
class Mailbox:
    """Served by `serve`. ``logins`` are the users and passwords that it accepts, None where it wants none.

    ``refuses`` is a reply by step (MAIL, RCPT, DATA before the content, DOT after it) to every mail. ``received`` is
    the ledger of what it took, ``attempts`` the users that logged in or tried to, ``connections`` all that were made.
    """

    logins: dict[str, str] | None = None
    smtputf8: bool = True
    size_limit: int | None = 33_554_432
    faults: FaultScript = field(default_factory=FaultScript)
    refuses: dict[str, str] = field(default_factory=dict)
    answer: str = "250 2.0.0 Ok: queued as {queue_id}"
    received: list[Received] = field(default_factory=list)
    attempts: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0
    open: set[_Server] = field(default_factory=set)
    port: int = 0
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def serve(
        self, *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> AsyncIterator[Mailbox]:
        """On a port of its own, until left; encrypted from STARTTLS on, or from the start."""
        loop = asyncio.get_running_loop()

        def connected() -> _Server:
            self.connections += 1
            return _Server(self, starttls)

        server = await loop.create_server(connected, "127.0.0.1", port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.hang_up()
            await server.wait_closed()

    def hang_up(self) -> None:
        """Close every connection from this side."""
        for server in tuple(self.open):
            server.hang_up()

    def check(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
        """Whether a login is accepted."""
        assert isinstance(given, LoginPassword)
        user, password = given.login.decode(), given.password.decode()
        self.attempts.append((user, password))
        return AuthResult(success=self.logins is not None and self.logins.get(user) == password, handled=False)

    def take(self, envelope: Envelope) -> Received:
        """Note a mail."""
        assert envelope.mail_from is not None and isinstance(envelope.original_content, bytes)
        mail = Received(
            envelope.mail_from,
            tuple(envelope.rcpt_tos),
            tuple(envelope.mail_options),
            envelope.original_content,
            f"Q{len(self.received):07d}",
        )
        self.received.append(mail)
        return mail


class _Server(SMTP):
    """One connection."""

    def __init__(self, mailbox: Mailbox, starttls: ssl.SSLContext | None) -> None:
        super().__init__(
            self,
            data_size_limit=mailbox.size_limit,
            enable_SMTPUTF8=mailbox.smtputf8,
            hostname="mailbox.example.com",
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_required=mailbox.logins is not None,
            auth_require_tls=False,
            authenticator=mailbox.check,
            loop=asyncio.get_running_loop(),
        )
        self._mailbox = mailbox
        self._fault: Fault | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._mailbox.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._mailbox.open.discard(self)
        self._mailbox.gone.set()
        super().connection_lost(error)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self._fault = self._mailbox.faults.take()
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._reply("MAIL") or "250 2.1.0 Ok"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (reply := await self._reply("RCPT")) is not None:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def smtp_DATA(self, arg: str) -> None:
        fault = self._fault
        if (reply := await self._reply("DATA")) is not None:
            await self.push(reply)
        elif fault is not None and fault.kind in (FaultKind.RESET, FaultKind.HANG) and fault.after == 0:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self._reader.readline()
            if fault.kind is FaultKind.HANG:
                await self._hang()
            self._break()
        else:
            await super().smtp_DATA(arg)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if (reply := await self._reply("DOT")) is not None:
            return reply
        mail = self._mailbox.take(envelope)
        match self._fault:
            case Fault(kind=FaultKind.RESET):
                self._break()
            case Fault(kind=FaultKind.HANG):
                await self._hang()
            case Fault(kind=FaultKind.LATENCY, seconds=seconds):
                await asyncio.sleep(seconds)
            case Fault(kind=FaultKind.MALFORMED):
                return "what was that?"
            case Fault(kind=FaultKind.WRONG_SCHEMA):
                return "354 go on"
        return self._mailbox.answer.format(queue_id=mail.queue_id)

    async def _reply(self, step: str) -> str | None:
        """What this step is refused with."""
        if self._fault is not None and _REPLIES.get(self._fault.kind, ("", ""))[0] == step:
            return _REPLIES[self._fault.kind][1]
        return self._mailbox.refuses.get(step)

    async def _hang(self) -> None:
        self._mailbox.hung.set()
        await asyncio.Event().wait()

    def hang_up(self) -> None:
        """Break the connection."""
        if self.transport is not None:
            cast(asyncio.WriteTransport, self.transport).abort()

    def _break(self) -> None:
        self.hang_up()
        raise asyncio.CancelledError  # nothing more is said on this connection


def certified(folder: Path, *, now: datetime) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate of 127.0.0.1, and the file of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    pem, secret = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context, pem
