"""What Google's adapters share (§22, §23, §26): the channel, the key of a call, and Google's errors in routing's words.

Nothing that Google says in words is passed on: its texts quote requests.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final, TypeVar

import grpc
from google.api_core.exceptions import GoogleAPICallError, from_grpc_error
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]  # the wheel ships no stubs

from servers.routing.credentials import Credential, CredentialUnavailable
from servers.routing.reasons import ProviderReason

_T = TypeVar("_T")

_KEY_HEADER: Final = "x-goog-api-key"
_KEY_REFUSED: Final = "API_KEY_INVALID"

_MASK: Final = "Internal error from Core"
_STATUS_S: Final = 1.0

_REASONS: Final[Mapping[grpc.StatusCode | None, ProviderReason]] = {
    grpc.StatusCode.UNAUTHENTICATED: ProviderReason.CREDENTIAL_REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: ProviderReason.CREDENTIAL_REFUSED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ProviderReason.PROVIDER_BUSY,
    grpc.StatusCode.DEADLINE_EXCEEDED: ProviderReason.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE: ProviderReason.PROVIDER_UNAVAILABLE,
    grpc.StatusCode.INTERNAL: ProviderReason.PROVIDER_UNAVAILABLE,
    grpc.StatusCode.UNKNOWN: ProviderReason.PROVIDER_UNAVAILABLE,
    grpc.StatusCode.CANCELLED: ProviderReason.PROVIDER_UNAVAILABLE,
    grpc.StatusCode.ABORTED: ProviderReason.PROVIDER_UNAVAILABLE,
    grpc.StatusCode.INVALID_ARGUMENT: ProviderReason.REQUEST_REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: ProviderReason.REQUEST_REFUSED,
    grpc.StatusCode.NOT_FOUND: ProviderReason.REQUEST_REFUSED,
    grpc.StatusCode.OUT_OF_RANGE: ProviderReason.REQUEST_REFUSED,
}


class CallFailed(Exception):
    """A call came to nothing. ``refused_fields`` are the request's fields that Google named as wrong."""

    def __init__(self, reason: ProviderReason, refused_fields: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused_fields = refused_fields


class Interrupted(Exception):
    """The caller's interrupt was set first."""


def open_channel(endpoint: str, *, plaintext: bool, max_response_bytes: int) -> grpc.aio.Channel:
    """A channel to ``host:port`` that sends nothing again that Google has seen.

    ``plaintext`` is for a loopback address and is refused, with ValueError, for any other: the key would be read on
    the way.
    """
    options = [
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", max_response_bytes),
    ]
    if not plaintext:
        return grpc.aio.secure_channel(endpoint, grpc.ssl_channel_credentials(), options=options)
    if not _is_loopback(endpoint):
        raise ValueError("plaintext is for a loopback endpoint only")
    return grpc.aio.insecure_channel(endpoint, options=[*options, ("grpc.enable_http_proxy", 0)])


def without_metadata(logger: str) -> None:
    """Keep what holds a call's metadata out of the log: at DEBUG, Google's client writes the key there in clear."""
    logging.getLogger(logger).addFilter(_has_no_metadata)


def wire_timeout(seconds: float) -> float | None:
    """What is left until a deadline, as timeouts are written: None where there is no end."""
    return None if math.isinf(seconds) else max(0.0, seconds)


async def connected(channel: grpc.aio.Channel, within_s: float) -> bool:
    """Whether a connection was there, or could be made, in that time; later calls find it open."""
    try:
        async with asyncio.timeout(within_s):
            await channel.channel_ready()
    except TimeoutError:
        return False
    return True


async def key_metadata(
    credential: Credential, seconds: float, interrupt: asyncio.Event | None = None
) -> tuple[tuple[str, str], ...]:
    """The metadata of one call, with its key. CallFailed, Interrupted."""
    revealing = await _first(credential.reveal(), seconds, interrupt)
    try:
        key = revealing.result()
    except (CredentialUnavailable, asyncio.CancelledError):  # this task was not cancelled
        raise CallFailed(ProviderReason.CREDENTIAL_UNAVAILABLE) from None
    # grpc quotes metadata that it cannot send in the error that says so.
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise CallFailed(ProviderReason.CREDENTIAL_UNAVAILABLE)
    return ((_KEY_HEADER, key),)


async def answer(asked: Awaitable[_T], seconds: float, interrupt: asyncio.Event | None = None) -> _T:
    """What Google's client answers within ``seconds``. CallFailed, Interrupted; then the call was cancelled."""
    done = await _first(asked, seconds, interrupt)
    if done.cancelled():  # this task was not: the channel was closed, or Google gave the call up
        raise CallFailed(ProviderReason.PROVIDER_UNAVAILABLE)
    error = done.exception()
    if error is None:
        return done.result()
    if isinstance(error, CallFailed):
        raise error
    if isinstance(error, GoogleAPICallError):
        raise CallFailed(_reason_of(error), _refused_fields(error)) from None
    # Google's client raises whatever it stumbles over in a status that is not as documented.
    raise CallFailed(ProviderReason.RESPONSE_MALFORMED) from None


class Stream:
    """A bidirectional call of Google's client. Only `read` says how it ended, and says it as Google did.

    grpc.aio overwrites the status of a call with INTERNAL when a write fails because the call has just been ended
    (grpc/grpc#36066), so that a refused key would look like a crash. Each status that is set on a call runs its done
    callbacks, hence Google's own is noted there, whichever of the two comes first.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._given: grpc.aio.AioRpcError | None = None
        self._ended = asyncio.Event()
        call.add_done_callback(self._note)

    @classmethod
    async def open(cls, asked: Awaitable[Any], seconds: float, interrupt: asyncio.Event | None = None) -> Stream:
        """The call that Google's client begins. CallFailed, Interrupted."""
        # The client hands the call out when its headers have gone: one given up before must still be cancelled.
        opening = asyncio.ensure_future(asked)
        try:
            return cls(await answer(asyncio.shield(opening), seconds, interrupt))
        except BaseException:
            opening.add_done_callback(_cancel_opened)
            raise

    async def write(self, message: Any) -> bool:
        """Waits until the message is past flow control; False where the call has ended and it was dropped."""
        try:
            await self._call.write(message)
        except Exception:  # whatever it is, `read` says it better
            return False
        return True

    async def half_close(self) -> bool:
        """No more is written; False where the call has ended already."""
        if self._call.done():
            return False
        with suppress(Exception):
            await self._call.done_writing()
        return True

    async def read(self, seconds: float, interrupt: asyncio.Event | None = None) -> Any:
        """The next message; None at the end of a call that went well. CallFailed, Interrupted."""
        message = await answer(self._read(), seconds, interrupt)
        if message is None:  # grpc's word for bytes that are no message of the type
            raise CallFailed(ProviderReason.RESPONSE_MALFORMED)
        return None if message is grpc.aio.EOF else message

    def cancel(self) -> None:
        """Give the call up; nothing happens where it has ended."""
        self._call.cancel()

    async def _read(self) -> Any:
        try:
            return await self._call.read()
        except GoogleAPICallError as error:
            if error.message != _MASK:
                raise
            masked = error
        with suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_S):
                await self._ended.wait()
        if self._given is None:
            raise masked
        if self._given.code() is grpc.StatusCode.OK:
            raise CallFailed(ProviderReason.RESPONSE_TRUNCATED)
        raise from_grpc_error(self._given)  # type: ignore[no-untyped-call]  # api_core is typed in parts

    def _note(self, call: Any) -> None:
        details = _now(call.details())
        if details != _MASK:
            self._given = grpc.aio.AioRpcError(
                _now(call.code()), _now(call.initial_metadata()), _now(call.trailing_metadata()), details
            )
            self._ended.set()


async def _first(asked: Awaitable[_T], seconds: float, interrupt: asyncio.Event | None) -> asyncio.Future[_T]:
    """The finished task of ``asked``; where it was not the first to finish it is cancelled."""
    task = asyncio.ensure_future(asked)
    waits: list[asyncio.Future[Any]] = [task]
    if interrupt is not None:
        waits.append(asyncio.ensure_future(interrupt.wait()))
    try:
        done, _ = await asyncio.wait(waits, timeout=wire_timeout(seconds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    if interrupt is not None and interrupt.is_set():
        raise Interrupted
    if task not in done:
        raise CallFailed(ProviderReason.DEADLINE_EXCEEDED)
    return task


def _cancel_opened(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().cancel()


def _reason_of(error: GoogleAPICallError) -> ProviderReason:
    if error.reason == _KEY_REFUSED:  # Google says so with INVALID_ARGUMENT
        return ProviderReason.CREDENTIAL_REFUSED
    return _REASONS.get(error.grpc_status_code, ProviderReason.RESPONSE_MALFORMED)


def _refused_fields(error: GoogleAPICallError) -> tuple[str, ...]:
    return tuple(
        violation.field
        for detail in error.details
        if isinstance(detail, BadRequest)
        for violation in detail.field_violations
    )


def _is_loopback(endpoint: str) -> bool:
    try:
        return ip_address(endpoint.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return False


def _has_no_metadata(record: logging.LogRecord) -> bool:
    return not hasattr(record, "metadata")


def _now(status: Coroutine[Any, Any, _T]) -> _T:
    """The value of a status coroutine inside a done callback, where it is known and nothing suspends."""
    try:
        status.send(None)
    except StopIteration as finished:
        value: _T = finished.value
        return value
    raise RuntimeError("the status of a finished call is not known")
