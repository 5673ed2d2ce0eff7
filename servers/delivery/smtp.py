"""Mail over SMTP (RFC 5321) to one server (§24, §25, DLV-3).

A server has taken a mail when it answers the final dot with 250, and cannot have taken it before that dot was written:
until then every end is a definite no. SMTP knows no keys, no look-up and no recall, so a lost answer to the dot stays
unknown until a person resolves it. The Message-ID is the same in every attempt.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS, Capability

from servers.delivery.adapter import Certainty, Declares, DeliveryReason, Message, Sent, Trace
from servers.delivery.mail_settings import SmtpSettings
from servers.delivery.mime import Mailbox, MailRefused, mail, mailbox, message_id
from servers.delivery.outcome import Ended, accepted, ended, identifier
from servers.routing.credentials import Credential, CredentialUnavailable
from servers.routing.reasons import ProviderReason

_LEADING_DOT: Final = re.compile(rb"(?m)^\.")
_ENHANCED: Final = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})\b")
_QUEUE_IDS: Final = (
    re.compile(r"queued (?:mail for delivery )?as <?([A-Za-z0-9._-]{4,128})>?", re.IGNORECASE),  # Postfix, aiosmtpd
    re.compile(r"\bid=([A-Za-z0-9._-]{4,128})"),  # Exim
    re.compile(r"\b([A-Za-z0-9]{8,64}) Message accepted", re.IGNORECASE),  # Sendmail
    re.compile(r"^(?:2\.\d\.\d )?ok:? ([A-Za-z0-9._-]{16,128})$", re.IGNORECASE),  # Amazon SES
)

_REFUSALS: Final = range(400, 600)
_LOGIN_REFUSED: Final = frozenset({530, 534, 535, 538})


class _Step(StrEnum):
    """What the server was last asked."""

    CONNECT = "CONNECT"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"


_REFUSED_AT: Final[Mapping[_Step, StrEnum]] = MappingProxyType(
    {
        _Step.CONNECT: ProviderReason.PROVIDER_UNAVAILABLE,
        _Step.AUTH: ProviderReason.CREDENTIAL_REFUSED,
        _Step.MAIL: DeliveryReason.SENDER_REFUSED,
        _Step.RCPT: DeliveryReason.RECIPIENT_UNREACHABLE,
        _Step.DATA: DeliveryReason.CONTENT_REFUSED,
    }
)
# What the codes of RFC 3463 and RFC 5321 tell beyond the step at which they come.
_BY_CODE: Final[Mapping[tuple[_Step, int], StrEnum]] = MappingProxyType(
    {
        (_Step.MAIL, 552): DeliveryReason.CONTENT_TOO_LONG,
        (_Step.RCPT, 501): DeliveryReason.RECIPIENT_INVALID,
        (_Step.RCPT, 553): DeliveryReason.RECIPIENT_INVALID,
        (_Step.DATA, 552): DeliveryReason.CONTENT_TOO_LONG,
    }
)
_BY_ENHANCED: Final[Mapping[tuple[_Step, int, int], StrEnum]] = MappingProxyType(
    {
        (_Step.MAIL, 3, 4): DeliveryReason.CONTENT_TOO_LONG,
        (_Step.RCPT, 1, 3): DeliveryReason.RECIPIENT_INVALID,
        (_Step.RCPT, 1, 7): DeliveryReason.SENDER_REFUSED,
        (_Step.RCPT, 1, 8): DeliveryReason.SENDER_REFUSED,
        (_Step.RCPT, 3, 4): DeliveryReason.CONTENT_TOO_LONG,
        (_Step.DATA, 1, 1): DeliveryReason.RECIPIENT_UNREACHABLE,
        (_Step.DATA, 1, 3): DeliveryReason.RECIPIENT_INVALID,
        (_Step.DATA, 2, 1): DeliveryReason.RECIPIENT_UNREACHABLE,
        (_Step.DATA, 2, 2): DeliveryReason.RECIPIENT_UNREACHABLE,
        (_Step.DATA, 2, 3): DeliveryReason.CONTENT_TOO_LONG,
        (_Step.DATA, 3, 4): DeliveryReason.CONTENT_TOO_LONG,
    }
)
_POLICY: Final = 7


@dataclass(frozen=True, slots=True)
class _Login:
    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Mail:
    sender: Mailbox
    recipient: Mailbox
    content: bytes = field(repr=False)

    @property
    def needs_utf8(self) -> bool:
        return self.sender.needs_utf8 or self.recipient.needs_utf8


@dataclass(slots=True)
class _Progress:
    """How far a call has come. ``dotted``: the final dot was written, and nothing is certain without an answer."""

    step: _Step = _Step.CONNECT
    dotted: bool = False


@dataclass(slots=True, eq=False)
class _Session:
    """A connection that is past its login. ``account`` tells whether another call may use it."""

    client: aiosmtplib.SMTP
    protocol: SMTPProtocol
    writer: asyncio.StreamWriter
    account: bytes = field(repr=False)
    idle_since: float = 0.0

    def abort(self) -> None:
        """Break the connection, and forget what it has not written."""
        _abort(self.client)


class Smtp:
    """Sends over the server of ``settings``; ``credential`` is None where it wants no login.

    The secret is asked for in every call, and a connection is used again only under the login that opened it.
    ``monotonic`` gives seconds and is the clock of every deadline; ``now`` dates the mails. Close it when done.
    """

    declares: Final = Declares()

    def __init__(
        self,
        provider_ref: str,
        settings: SmtpSettings,
        credential: Credential | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.provider_ref = provider_ref
        self._settings = settings
        self._credential = credential
        self._monotonic = monotonic
        self._now = now
        self._tls = None if settings.security == "none" else ssl.create_default_context(cafile=settings.ca_file or None)
        self._places = asyncio.Semaphore(settings.max_connections)
        self._sessions: set[_Session] = set()
        self._idle: list[_Session] = []
        self._salt = secrets.token_bytes(16)
        self._closed = False

    def token(self, idempotency_key: str) -> str:
        """The Message-ID."""
        return message_id(idempotency_key, self._settings.id_domain)

    async def send(self, message: Message, *, deadline: float) -> Sent:
        """See `servers.delivery.adapter.DeliveryAdapter`."""
        began_at = self._monotonic()
        progress = _Progress()
        token = ""
        try:
            prepared = self._prepared(message)
            token = self.token(message.idempotency_key)
            reply = await self._within(deadline, progress, lambda: self._deliver(prepared, progress))
        except Ended as end:
            latency_s = self._monotonic() - began_at
            return ended(message, end, provider_ref=self.provider_ref, latency_s=latency_s, token_sent=token)
        queue_id = _queue_id(reply)
        return accepted(
            message,
            provider_ref=self.provider_ref,
            ack_ref=queue_id or token,
            latency_s=self._monotonic() - began_at,
            token_sent=token,
            provider_message_id=queue_id,
        )

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """UNKNOWN, without a call: SMTP cannot be asked."""
        return self._unasked(message, CAPABILITY_DELIVERY_STATUS)

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """UNKNOWN, without a call: SMTP takes nothing back."""
        return self._unasked(message, CAPABILITY_DELIVERY_CANCEL)

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        self._closed = True
        for session in tuple(self._sessions):
            self._drop(session)

    def _unasked(self, message: Message, capability: Capability) -> Sent:
        end = Ended(Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
        return ended(message, end, provider_ref=self.provider_ref, latency_s=0.0, capability=capability)

    def _prepared(self, message: Message) -> _Mail:
        settings = self._settings
        name = "" if message.sender else settings.sender_name
        try:
            sender = mailbox(message.sender or settings.sender, field="sender", name=name)
            recipient = mailbox(message.recipient.address, field="recipient")
            content = mail(
                message.content,
                sender=sender,
                recipient=recipient,
                idempotency_key=message.idempotency_key,
                domain=settings.id_domain,
                date=self._now(),
            )
        except MailRefused as refused:
            raise Ended(Certainty.REFUSED, refused.reason) from None
        return _Mail(sender, recipient, content)

    async def _within(self, deadline: float, progress: _Progress, call: Callable[[], Awaitable[str]]) -> str:
        """What the call returns; Ended where it fails, or where the deadline comes first."""
        left = deadline - self._monotonic()
        if left <= 0:
            raise Ended(Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
        reason: StrEnum = ProviderReason.PROVIDER_UNAVAILABLE
        try:
            async with asyncio.timeout(None if left == float("inf") else left) as scope:
                return await call()
        except aiosmtplib.SMTPResponseException as said:
            if said.code in _REFUSALS:
                raise Ended(Certainty.REFUSED, _reason(progress.step, said.code, said.message)) from None
            reason = ProviderReason.RESPONSE_MALFORMED
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and scope.expired():
                reason = ProviderReason.DEADLINE_EXCEEDED
        if progress.dotted:
            raise Ended(Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)
        raise Ended(Certainty.REFUSED, reason)

    async def _deliver(self, prepared: _Mail, progress: _Progress) -> str:
        """The text of the answer to the final dot."""
        login = await self._login()
        async with self._places, self._session(login, progress) as session:
            client = session.client
            encoding = "utf-8" if prepared.needs_utf8 else "ascii"
            progress.step = _Step.MAIL
            await client.mail(prepared.sender.address, options=_options(client, prepared), encoding=encoding)
            progress.step = _Step.RCPT
            await client.rcpt(prepared.recipient.address, encoding=encoding)
            progress.step = _Step.DATA
            return await self._data(session, prepared.content, progress)

    async def _data(self, session: _Session, content: bytes, progress: _Progress) -> str:
        go = await session.client.execute_command(b"DATA")
        if go.code != 354:
            raise aiosmtplib.SMTPDataError(go.code, go.message)
        session.writer.write(_LEADING_DOT.sub(b"..", content))
        await session.writer.drain()
        session.protocol.write(b".\r\n")
        progress.dotted = True
        reply = await session.protocol.read_response()
        if not 200 <= reply.code < 300:
            raise aiosmtplib.SMTPDataError(reply.code, reply.message)
        return reply.message

    async def _login(self) -> _Login | None:
        """The secret of this call. Ended."""
        if self._credential is None:
            return None
        try:
            secret = await self._credential.reveal()
        except CredentialUnavailable:
            raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE) from None
        user, colon, password = (self._settings.user, ":", secret) if self._settings.user else secret.partition(":")
        if not (user and colon and password) or not secret.isprintable():
            raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
        return _Login(user, password)

    @asynccontextmanager
    async def _session(self, login: _Login | None, progress: _Progress) -> AsyncIterator[_Session]:
        """A connection of one call's own. It is kept for another only where the server's last word was heard."""
        account = self._account(login)
        session = await self._reused(account) or await self._opened(login, account, progress)
        heard = False
        try:
            yield session
            heard = True
        except Ended:
            heard = True
            raise
        except aiosmtplib.SMTPResponseException as said:
            heard = said.code in _REFUSALS
            raise
        finally:
            if heard and session.client.is_connected and not self._closed:
                session.idle_since = self._monotonic()
                self._idle.append(session)
            else:
                self._drop(session)

    async def _reused(self, account: bytes) -> _Session | None:
        """The connection that was used last under this login, if it still answers."""
        stale = self._monotonic() - self._settings.idle_s
        for session in tuple(self._idle):
            if session.idle_since < stale or session.account != account or not session.client.is_connected:
                self._drop(session)
        while self._idle:
            session = self._idle.pop()
            answers = False
            try:
                await session.client.rset()
                answers = True
            except (aiosmtplib.SMTPException, OSError):
                continue
            finally:
                if not answers:
                    self._drop(session)
            return session
        return None

    async def _opened(self, login: _Login | None, account: bytes, progress: _Progress) -> _Session:
        settings = self._settings
        progress.step = _Step.CONNECT
        client = aiosmtplib.SMTP(
            hostname=settings.host.strip("[]"),
            port=settings.port,
            local_hostname=settings.ehlo_name,
            timeout=None,
            use_tls=settings.security == "tls",
            start_tls=False,
            tls_context=self._tls,
        )
        try:
            await client.connect()
            if settings.security == "starttls":
                await client.starttls()
            await client.ehlo()
            if login is not None:
                progress.step = _Step.AUTH
                await _authenticate(client, login)
            if client.protocol is None or client.transport is None or self._closed:
                raise aiosmtplib.SMTPServerDisconnected("the connection was closed")
        except BaseException:
            _abort(client)
            raise
        transport = cast(asyncio.WriteTransport, client.transport)
        transport.set_write_buffer_limits(high=0)  # so that draining it means that all is written
        writer = asyncio.StreamWriter(transport, client.protocol, None, asyncio.get_running_loop())
        session = _Session(client, client.protocol, writer, account)
        self._sessions.add(session)
        return session

    def _drop(self, session: _Session) -> None:
        session.abort()
        self._sessions.discard(session)
        if session in self._idle:
            self._idle.remove(session)

    def _account(self, login: _Login | None) -> bytes:
        """What tells logins apart, and from which none can be found."""
        if login is None:
            return b""
        return blake2b(f"{len(login.user)}:{login.user}{login.password}".encode(), key=self._salt).digest()


async def _authenticate(client: aiosmtplib.SMTP, login: _Login) -> None:
    """By one method, once: trying them all would count as so many wrong passwords."""
    offered = client.server_auth_methods
    if "plain" in offered:
        await client.auth_plain(login.user, login.password)
    elif "login" in offered:
        await client.auth_login(login.user, login.password)
    elif "cram-md5" in offered:
        await client.auth_crammd5(login.user, login.password)
    else:
        raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)


def _options(client: aiosmtplib.SMTP, prepared: _Mail) -> list[str]:
    """The parameters of MAIL FROM. Ended where the server cannot take such a mail, by what it offers."""
    options: list[str] = []
    if client.supports_extension("size"):
        limit = client.esmtp_extensions["size"].strip()
        if limit.isascii() and limit.isdigit() and 0 < int(limit) < len(prepared.content):
            raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_TOO_LONG)
        options.append(f"SIZE={len(prepared.content)}")
    if prepared.needs_utf8:
        if not client.supports_extension("smtputf8") or not client.supports_extension("8bitmime"):
            raise Ended(Certainty.REFUSED, ProviderReason.REQUEST_REFUSED)
        options += ["BODY=8BITMIME", "SMTPUTF8"]
    return options


def _reason(step: _Step, code: int, text: str) -> StrEnum:
    """Why the server said no."""
    if code < 500:
        return ProviderReason.PROVIDER_BUSY
    if code in _LOGIN_REFUSED:
        return ProviderReason.CREDENTIAL_REFUSED
    enhanced = _ENHANCED.match(text)
    if enhanced is not None:
        subject, detail = int(enhanced[1]), int(enhanced[2])
        if step is _Step.RCPT and subject == _POLICY:
            return DeliveryReason.SENDER_REFUSED  # such as `Relay access denied`: of us, not of the recipient
        if (found := _BY_ENHANCED.get((step, subject, detail))) is not None:
            return found
    return _BY_CODE.get((step, code), _REFUSED_AT[step])


def _queue_id(reply: str) -> str:
    """The server's own id of a mail that it took, empty where it told none."""
    found = next((match for pattern in _QUEUE_IDS if (match := pattern.search(reply))), None)
    return "" if found is None else identifier(found[1])


def _abort(client: aiosmtplib.SMTP) -> None:
    if client.transport is not None:
        cast(asyncio.WriteTransport, client.transport).abort()
    client.close()
